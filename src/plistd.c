// plistd: one region of plist.
//
// The way of a request, which is also a map of the source:
//
//   client → NGINX (config/nginx.c generates its configuration)
//     → http/listener  libmicrohttpd in the event loop of a worker
//     → http/raw       checks that libmicrohttpd leaves out; http/target decodes the path
//     → http/router    finds the route
//     → http/client    who sent it, and whether that client may
//     → http/request   id, lock, JSON, fingerprint
//     → script/run     runs a Lua handler as a coroutine; script/bind/ has its functions
//     → store/store    the database; store/write_batch: one transaction for many requests
//     → PostgreSQL     the record, processed_requests and outbox
//   and back: script/exchange maps outcomes to statuses, http/response and http/problem
//   write the answer.
//
// The way of an event to the other regions:
//
//   PostgreSQL → relay/outbox → relay/relay → Kafka
//     → apply/apply    events of the other regions; event/event decodes them
//     → decide/decide  which writes are current; script/policy: Lua, only for conflicts
//     → PostgreSQL of that region
//
// Around them: config/ (one YAML file → one immutable configuration), ops/ (threads,
// reload, metrics), base/ (memory, errors, logs, JSON) and admin/ (plist-admin).
//
// This file parses the command line and then waits for signals: SIGHUP reloads; SIGTERM
// and SIGINT drain and stop (a second one stops immediately); SIGUSR1 logs the state.
// Threads: the main thread.
#define _GNU_SOURCE // sigabbrev_np
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/core_dump.h"
#include "base/faults.h"
#include "base/log.h"
#include "config.h"
#include "ops/builtin.h"
#include "ops/commands.h"
#include "ops/daemon.h"
#include "ops/operators.h"
#include "ops/reload.h"
#include "ops/service.h"

#define STOP_GRACE_S 10

enum { OK = 0, FAILED = 1, USAGE = 64, UNAVAILABLE = 69, CONFIGURATION = 78 };

static const char help[] =
	"usage: plistd --config FILE --region NAME\n"
	"       plistd --config FILE [--region NAME] --check-config\n"
	"\n"
	"  -c, --config FILE    configuration file (default: $PLIST_CONFIG, then " PL_SYSCONFDIR
	"/plist/plist.yaml)\n"
	"  -r, --region NAME    region to serve (default: $REGION, then the only configured one)\n"
	"      --alone          do not wait to hear from the other regions before the first write:\n"
	"                       none knows more than this one's database\n"
	"      --core-dumps     let the kernel write core dumps, which contain passwords and records\n"
	"      --check-config   check the configuration and all Lua files, list all problems, and exit\n"
	"  -V, --version        print the version\n"
	"  -h, --help           print this\n"
	"\n"
	"Runs in the foreground and logs to standard error. Signals: SIGHUP reloads the configuration,\n"
	"SIGTERM drains and stops, SIGUSR1 logs the state.\n"
	"Exit status: 0 stopped on request, 1 failure, 64 wrong usage, 69 a required service or address\n"
	"is unavailable, 78 invalid configuration. See plistd(8) and plist.yaml(5).\n";

struct options {
	const char *config, *region;
	bool check, alone, core_dumps;
};

static int usage(const char *why, const char *what)
{
	fprintf(stderr, "plistd: %s%s\nTry plistd --help.\n", why, what);
	return USAGE;
}

// Returns -1 to continue, or the exit status.
static int parse(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' }, { "region", required_argument, NULL, 'r' },
		{ "alone", no_argument, NULL, 'a' },        { "core-dumps", no_argument, NULL, 'D' },
		{ "check-config", no_argument, NULL, 'C' }, { "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },         { 0 },
	};
	for (int c; (c = getopt_long(argc, argv, ":c:r:Vh", longs, NULL)) != -1;)
		switch (c) {
		case 'c': options->config = optarg; break;
		case 'r': options->region = optarg; break;
		case 'a': options->alone = true; break;
		case 'D': options->core_dumps = true; break;
		case 'C': options->check = true; break;
		case 'V': puts("plistd " PACKAGE_VERSION); return OK;
		case 'h': fputs(help, stdout); return OK;
		case ':': return usage("missing value after ", argv[optind - 1]);
		default: return usage("unknown option ", argv[optind - 1]);
		}
	if (optind < argc)
		return usage("unexpected argument ", argv[optind]);
	if (!options->config)
		options->config = getenv("PLIST_CONFIG");
	if (!options->config || !*options->config)
		options->config = PL_SYSCONFDIR "/plist/plist.yaml";
	if (!options->region)
		options->region = getenv("REGION");
	if (options->region && !*options->region)
		options->region = NULL;
	return -1;
}

// ---- configuration

static void print_problems(const struct pl_diagnostics *diagnostics)
{
	for (int i = 0; i < diagnostics->n; i++)
		fprintf(stderr, "%s\n", diagnostics->lines[i].text);
}

// The region that was named, or the only one that is configured; NULL if that is
// ambiguous.
static const struct pl_region *choose_region(const struct pl_config *config, const char *name)
{
	if (name)
		return pl_config_region(config, name, strlen(name));
	return config->nregions == 1 ? &config->regions[0] : NULL;
}

static int refuse_region(const struct options *options, const struct pl_config *config)
{
	if (options->region)
		fprintf(stderr, "plistd: %s: regions: there is no region \"%s\"; there are", options->config,
		        options->region);
	else
		fprintf(stderr, "plistd: --region is missing; there are");
	for (int i = 0; i < config->nregions; i++)
		fprintf(stderr, "%s %s", i ? "," : "", config->regions[i].name);
	fputc('\n', stderr);
	return options->region ? CONFIGURATION : USAGE;
}

static struct pl_loaded *load(const struct options *options)
{
	struct pl_diagnostics diagnostics = { 0 };
	struct pl_loaded *loaded = pl_loaded_new(options->config, options->region, NULL, &diagnostics);
	print_problems(&diagnostics);
	if (!loaded)
		fprintf(stderr, "plistd: %s: %d problem%s\n", options->config,
		        diagnostics.n - diagnostics.warnings,
		        diagnostics.n - diagnostics.warnings == 1 ? "" : "s");
	pl_diagnostics_fini(&diagnostics);
	return loaded;
}

// ---- signals

static void signal_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGUSR1);
}

// Only an operator can have sent a signal.
static void audit(const siginfo_t *info, const char *what, const char *failure)
{
	struct pl_control_peer peer = { .known = info->si_code == SI_USER || info->si_code == SI_QUEUE,
		                        .uid = info->si_uid,
		                        .pid = info->si_pid };
	pl_operators_audit(&peer, "with a signal", what, failure);
}

static void reload(struct pl_daemon *daemon, const siginfo_t *info)
{
	struct pl_error err;
	pl_service_notify("RELOADING=1");
	int code = pl_reload_file(daemon, NULL, &err); // logs the outcome
	audit(info, "reload", code ? err.text : NULL);
	pl_service_notify("READY=1");
}

static void log_state(struct pl_daemon *daemon)
{
	struct pl_buf members = { 0 };
	pl_status_print(&members, daemon);
	pl_notice("state: {%s}", members.data + 1);
	pl_buf_fini(&members);
}

static void wait_for_end(struct pl_daemon *daemon, const sigset_t *set)
{
	int64_t interval_us = pl_service_interval_us();
	struct timespec interval = { .tv_sec = interval_us / 1000000,
		                     .tv_nsec = interval_us % 1000000 * 1000 };
	for (;;) {
		siginfo_t info = { 0 };
		int signo = interval_us ? sigtimedwait(set, &info, &interval) : sigwaitinfo(set, &info);
		if (interval_us)
			pl_service_alive(daemon);
		if (signo == SIGHUP)
			reload(daemon, &info);
		else if (signo == SIGUSR1)
			log_state(daemon);
		else if (signo == SIGTERM || signo == SIGINT) {
			audit(&info, "stop", NULL);
			pl_notice("SIG%s: draining", sigabbrev_np(signo));
			return;
		}
	}
}

// ---- the whole

static int exit_of(const struct pl_error *err)
{
	return err->code == PL_EUNAVAIL || err->code == PL_EBUSY ? UNAVAILABLE
	       : err->code == PL_EINVAL                          ? CONFIGURATION
	                                                         : FAILED;
}

// When this fires, everything that matters is in PostgreSQL and Kafka; what has not ended
// in time is a thread of some library.
static void on_overdue(int signo)
{
	static const char text[] = "plistd: stopping takes too long; exiting without waiting for the rest\n";
	struct pollfd log = { .fd = STDERR_FILENO, .events = POLLOUT };
	if (poll(&log, 1, 0) > 0) // else nothing reads it, and the write would not return
		(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit(FAILED);
}

// Requests and the outbox get http.drain_timeout each; the process does not wait longer.
static void limit_stop(struct pl_daemon *daemon)
{
	struct pl_config *config = pl_daemon_config(daemon);
	int64_t seconds = 2 * config->http.drain_timeout_us / 1000000 + STOP_GRACE_S;
	pl_config_unref(&config);
	signal(SIGALRM, on_overdue);
	alarm((unsigned)seconds);
}

static int serve(struct pl_loaded *loaded, const char *region, bool alone, const sigset_t *set)
{
	struct pl_error err = { 0 };
	struct pl_daemon *daemon = pl_daemon_start(loaded, region, alone, &err);
	if (!daemon) {
		pl_err("%s", err.text);
		return exit_of(&err);
	}
	struct pl_control *control = pl_commands_listen(daemon);
	pl_service_notify("READY=1");
	wait_for_end(daemon, set);
	pl_service_notify("STOPPING=1");
	// From here on, a second signal ends the process immediately, as it does by
	// default.
	pthread_sigmask(SIG_UNBLOCK, set, NULL);
	limit_stop(daemon);
	pl_control_stop(&control);
	pl_daemon_stop(&daemon);
	alarm(0);
	pl_notice("ended");
	return OK;
}

// By default, glibc raises its threshold for mmap() with each large block that is freed,
// up to 32 MiB. Larger blocks, such as bodies and Lua tables, then fragment the heaps and
// are not returned to the system.
static void bound_heap(void)
{
#ifdef M_MMAP_THRESHOLD
	mallopt(M_MMAP_THRESHOLD, 256 * 1024);
	mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
#endif
}

int main(int argc, char **argv)
{
	struct options options = { 0 };
	bound_heap();
	int status = parse(argc, argv, &options);
	if (status >= 0)
		return status;
	if (options.core_dumps)
		pl_faults_set_risk(PL_RISK_CORE_DUMPS, true);
	else
		pl_core_dump_prevent();
	struct pl_loaded *loaded = load(&options);
	if (!loaded)
		return CONFIGURATION;
	const struct pl_region *region = choose_region(loaded->config, options.region);
	if (!region && (options.region || !options.check)) {
		status = refuse_region(&options, loaded->config);
		pl_loaded_free(&loaded);
		return status;
	}
	if (options.check) {
		pl_loaded_free(&loaded);
		fprintf(stderr, "plistd: %s: no problems\n", options.config);
		return OK;
	}
	char name[PL_REGION_MAX + 1]; // a copy: reloads replace the configuration that it comes from
	snprintf(name, sizeof(name), "%s", region->name);
	sigset_t set;
	signal_set(&set);
	pthread_sigmask(SIG_BLOCK, &set,
	                NULL); // before other threads start, so that only this one receives them
	signal(SIGPIPE, SIG_IGN);
	pl_log_init(loaded->config->log.level, loaded->config->log.format);
	pl_log_set_region(name);
	pl_log_set_thread("main");
	return serve(loaded, name, options.alone, &set);
}
