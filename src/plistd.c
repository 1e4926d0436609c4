// plistd: one region of plist.
//
// The way of the data, which is also the map of the source:
//
//   client → NGINX (config/nginx.c writes its configuration)
//     → http/listener     libmicrohttpd in the worker's loop; connections and their deadlines
//     → http/raw          what libmicrohttpd does not check          → http/target   path and query, decoded
//     → http/router       which route                                → http/request  id, principal, lock, JSON, fingerprint
//     → script/vm, run    a Lua handler, as a coroutine              → script/bind_records, bind_db, …
//     → record/store      the worker's database connections          → record/batch  one transaction for many requests
//     → PostgreSQL        the record, processed_requests, outbox: sql/001_plist.sql, sql/002_properties.sql
//   and back: script/exchange makes outcomes statuses, http/response and http/problem write them.
//
//   PostgreSQL → replicate/outbox → replicate/relay → Kafka
//     → replicate/apply   events of the other regions                → replicate/event   what one says
//     → replicate/decide  which writes stand                         → script/policy     Lua, only where siblings meet
//     → PostgreSQL of this region
//
//   config/   one YAML → one immutable configuration: every key is a row in config/schema.c
//   ops/      the threads around all that: daemon (start, stop), worker, reload, housekeep, control, metrics, ready
//   base/     what everything stands on: memory, errors, logs, time, loop, JSON, decimals
//   admin/    plist-admin, a file per command
//
// This file reads the command line, and then waits for signals: SIGHUP reloads, SIGTERM and SIGINT drain and end (a second one ends at once),
// SIGUSR1 writes the state into the log.
// Threads: the main one.
#define _GNU_SOURCE // sigabbrev_np
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "config.h"
#include "ops/builtin.h"
#include "ops/daemon.h"

#define STOP_GRACE_S 10

enum { OK = 0, FAILED = 1, USAGE = 64, UNAVAILABLE = 69, CONFIGURATION = 78 };

static const char help[] =
	"usage: plistd --config FILE --region NAME\n"
	"       plistd --config FILE [--region NAME] --check-config\n"
	"\n"
	"  -c, --config FILE    the configuration, plist.yaml(5) (default: $PLIST_CONFIG, then " PL_SYSCONFDIR "/plist/plist.yaml)\n"
	"  -r, --region NAME    the region to serve (default: $REGION, then the only one that is configured)\n"
	"      --check-config   load the configuration and every Lua file, list all problems, and end\n"
	"  -V, --version        print the version\n"
	"  -h, --help           print this\n"
	"\n"
	"Runs in the foreground and logs to standard error. SIGHUP reloads, SIGTERM drains and ends, SIGUSR1 logs the state.\n"
	"Exit: 0 ended as asked, 1 failed, 64 usage, 69 something needed is not available, 78 the configuration is wrong.\n";

struct options {
	const char *config, *region;
	bool check;
};

static int usage(const char *why, const char *what)
{
	fprintf(stderr, "plistd: %s%s\nTry plistd --help.\n", why, what);
	return USAGE;
}

// -1: go on; else the exit status.
static int parse(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{"config", required_argument, NULL, 'c'}, {"region", required_argument, NULL, 'r'}, {"check-config", no_argument, NULL, 'C'},
		{"version", no_argument, NULL, 'V'},      {"help", no_argument, NULL, 'h'},         {0},
	};
	for (int c; (c = getopt_long(argc, argv, ":c:r:Vh", longs, NULL)) != -1;)
		switch (c) {
		case 'c':
			options->config = optarg;
			break;
		case 'r':
			options->region = optarg;
			break;
		case 'C':
			options->check = true;
			break;
		case 'V':
			puts("plistd " PACKAGE_VERSION);
			return OK;
		case 'h':
			fputs(help, stdout);
			return OK;
		case ':':
			return usage("a value is missing after ", argv[optind - 1]);
		default:
			return usage("unknown option ", argv[optind - 1]);
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

static void print_problems(const struct pl_problems *problems)
{
	for (int i = 0; i < problems->n; i++)
		fprintf(stderr, "%s\n", problems->lines[i].text);
}

// The region that was named, or the only one there is. NULL when it is not to be known.
static const struct pl_region *choose_region(const struct pl_config *config, const char *name)
{
	if (name)
		return pl_config_region(config, name, strlen(name));
	return config->nregions == 1 ? &config->regions[0] : NULL;
}

static int refuse_region(const struct options *options, const struct pl_config *config)
{
	if (options->region)
		fprintf(stderr, "plistd: %s: regions: there is no region \"%s\"; there are", options->config, options->region);
	else
		fprintf(stderr, "plistd: --region is missing; there are");
	for (int i = 0; i < config->nregions; i++)
		fprintf(stderr, "%s %s", i ? "," : "", config->regions[i].name);
	fputc('\n', stderr);
	return options->region ? CONFIGURATION : USAGE;
}

static struct pl_loaded *load(const struct options *options)
{
	struct pl_problems problems = {0};
	struct pl_loaded *loaded = pl_loaded_new(options->config, options->region, &problems);
	print_problems(&problems);
	if (!loaded)
		fprintf(stderr, "plistd: %s: %d problem%s\n", options->config, problems.n - problems.warnings,
		        problems.n - problems.warnings == 1 ? "" : "s");
	pl_problems_fini(&problems);
	return loaded;
}

// ---- telling systemd

// The protocol of sd_notify(3): one datagram to the socket that the variable names.
static void notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(addr.sun_path))
		return;
	memcpy(addr.sun_path, path, strlen(path));
	if (path[0] == '@')
		addr.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr, len) < 0)
		pl_debug("NOTIFY_SOCKET: %s", strerror(errno));
	close(fd);
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

static void reload(struct pl_daemon *daemon)
{
	struct pl_error err;
	notify("RELOADING=1");
	pl_daemon_reload(daemon, NULL, &err); // logs what became of it
	notify("READY=1");
}

static void log_state(struct pl_daemon *daemon)
{
	struct pl_buf members = {0};
	pl_status_print(&members, daemon);
	pl_notice("state: {%s}", members.data + 1);
	pl_buf_fini(&members);
}

static void wait_for_end(struct pl_daemon *daemon, const sigset_t *set)
{
	for (;;) {
		int signo = sigwaitinfo(set, NULL);
		if (signo == SIGHUP)
			reload(daemon);
		else if (signo == SIGUSR1)
			log_state(daemon);
		else if (signo == SIGTERM || signo == SIGINT) {
			pl_notice("SIG%s: draining", sigabbrev_np(signo));
			return;
		}
	}
}

// ---- the whole

static int exit_of(const struct pl_error *err)
{
	return err->code == PL_EUNAVAIL || err->code == PL_EBUSY ? UNAVAILABLE : err->code == PL_EINVAL ? CONFIGURATION : FAILED;
}

// Everything that matters is in PostgreSQL and Kafka when this rings; what did not end in time is some library's thread.
static void on_overdue(int signo)
{
	static const char text[] = "plistd: stopping takes too long; ended without waiting for the rest\n";
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit(FAILED);
}

// Requests and outbox have the drain timeout each; beyond that nobody waits for us.
static void bound_the_stop(const struct pl_daemon *daemon)
{
	int64_t seconds = 2 * daemon->loaded->config->http.drain_timeout_us / 1000000 + STOP_GRACE_S;
	signal(SIGALRM, on_overdue);
	alarm((unsigned)seconds);
}

static int serve(struct pl_loaded *loaded, const char *region, const sigset_t *set)
{
	struct pl_error err = {0};
	struct pl_daemon *daemon = pl_daemon_start(loaded, region, &err);
	if (!daemon) {
		pl_err("%s", err.text);
		return exit_of(&err);
	}
	notify("READY=1");
	wait_for_end(daemon, set);
	notify("STOPPING=1");
	// From here on a second signal ends the process at once, as it does by default.
	pthread_sigmask(SIG_UNBLOCK, set, NULL);
	bound_the_stop(daemon);
	pl_daemon_stop(&daemon);
	alarm(0);
	pl_notice("ended");
	return OK;
}

int main(int argc, char **argv)
{
	struct options options = {0};
	int status = parse(argc, argv, &options);
	if (status >= 0)
		return status;
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
	char name[PL_REGION_MAX + 1]; // the configuration that it is read from is replaced by reloads
	snprintf(name, sizeof(name), "%s", region->name);
	sigset_t set;
	signal_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL); // before any other thread begins, so that only this one gets them
	signal(SIGPIPE, SIG_IGN);
	pl_log_init(loaded->config->log.level, loaded->config->log.format);
	pl_log_set_region(name);
	pl_log_set_thread("main");
	return serve(loaded, name, &set);
}
