// Starting and stopping a daemon's threads, in this order: relay, applier, housekeeping, workers, the operators' socket.
//
// Stands under src/plistd.c, which only waits for signals. The workers come late, so that who can connect finds everything there; and
// they end first, so that what they wrote can still be published.
// Invariant: pl_daemon_stop accepts whatever pl_daemon_start leaves, at whichever step it gave up. Threads: the main thread's.
#include "ops/daemon.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/bind.h"
#include "ops/builtin.h"

#define WORKERS_MAX 64
#define SOCKET_MODE 0666   // as open as the port: who may not connect is kept out of its directory
#define SOCKET_BACKLOG 1024
#define OTHER_DESCRIPTORS 256 // the database, Kafka, Lua files, logs

struct pl_config *pl_daemon_config(struct pl_daemon *daemon)
{
	pthread_mutex_lock(&daemon->lock);
	struct pl_config *config = pl_config_ref(daemon->loaded->config);
	pthread_mutex_unlock(&daemon->lock);
	return config;
}

// ---- the operators' socket

static int set_log_level(struct pl_daemon *daemon, const cJSON *request, struct pl_buf *members, struct pl_error *err)
{
	static const char *const names[] = {"debug", "info", "notice", "warning", "error"};
	const char *level = pl_json_string(request, "level");
	for (int i = 0; level && i < 5; i++)
		if (strcmp(level, names[i]) == 0) {
			struct pl_config *config = pl_daemon_config(daemon);
			pl_log_init((enum pl_log_level)i, config->log.format);
			pl_config_unref(&config);
			pl_notice("log level is %s now, until the next reload", level);
			pl_buf_printf(members, ",\"level\":\"%s\"", level);
			return 0;
		}
	return pl_error_set(err, PL_EINVAL, "level is one of debug, info, notice, warning, error");
}

static int on_control(const cJSON *request, struct pl_buf *members, struct pl_error *err, void *arg)
{
	struct pl_daemon *daemon = arg;
	const char *command = pl_json_string(request, "command");
	if (!command)
		return pl_error_set(err, PL_EINVAL, "command is missing");
	if (strcmp(command, "status") == 0)
		return pl_status_print(members, daemon), 0;
	if (strcmp(command, "policies") == 0)
		return pl_status_policies(members, daemon), 0;
	if (strcmp(command, "reload") == 0)
		return pl_daemon_reload(daemon, members, err);
	if (strcmp(command, "activate") == 0)
		return pl_daemon_activate(daemon, request, members, err);
	if (strcmp(command, "log-level") == 0)
		return set_log_level(daemon, request, members, err);
	return pl_error_set(err, PL_EINVAL, "command is one of status, policies, reload, activate, log-level");
}

// A daemon without it serves as well; two of one region on one machine cannot both have it.
static void start_control(struct pl_daemon *daemon, const struct pl_region *region)
{
	struct pl_error err;
	if (!region->control)
		return;
	daemon->control = pl_control_start(region->control, on_control, daemon, &err);
	if (!daemon->control)
		pl_warning("operators' socket: %s; plist-admin cannot ask this daemon", err.text);
}

// ---- workers

static int number_of_workers(const struct pl_config *config)
{
	long n = config->http.workers;
	if (n <= 0)
		n = sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > WORKERS_MAX ? WORKERS_MAX : (int)n;
}

// Connections are descriptors: the soft limit is raised as far as it may be.
static void raise_descriptors(const struct pl_config *config, int nworkers)
{
	struct rlimit limit;
	rlim_t wanted = (rlim_t)nworkers * ((rlim_t)config->http.max_connections + 128) + OTHER_DESCRIPTORS;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max >= wanted ? wanted : limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted)
		pl_warning("%d workers with http.max_connections %d may need %llu descriptors, and the limit is %llu", nworkers,
		           config->http.max_connections, (unsigned long long)wanted, (unsigned long long)limit.rlim_cur);
}

static int start_workers(struct pl_daemon *daemon, const struct pl_config *config, const struct pl_region *region, struct pl_error *err)
{
	int n = number_of_workers(config);
	if (pl_bind_probe(region->listen, err) != 0)
		return err->code;
	if (region->socket) {
		daemon->socket = pl_sockfile_new(region->socket, SOCKET_MODE, SOCKET_BACKLOG, err);
		if (!daemon->socket)
			return err->code;
	}
	raise_descriptors(config, n);
	daemon->writes = pl_writes_new(&(struct pl_store_options){.config = config, .region = region, .running = daemon->running}, err);
	if (!daemon->writes)
		return err->code;
	daemon->workers = pl_calloc((size_t)n, sizeof(daemon->workers[0]));
	for (int i = 0; i < n; i++) {
		int fd = pl_bind_listen(region->listen, err);
		if (fd < 0)
			return err->code;
		daemon->workers[i] = pl_worker_start(daemon, i + 1, fd, config, err);
		if (!daemon->workers[i])
			return err->code;
		daemon->nworkers++;
	}
	return 0;
}

// ---- start and stop

static int start(struct pl_daemon *daemon, struct pl_error *err)
{
	const struct pl_config *config = daemon->loaded->config;
	const struct pl_region *region = pl_config_region(config, daemon->region, strlen(daemon->region));
	daemon->relay = pl_relay_start(config, region, err);
	if (!daemon->relay)
		return err->code;
	daemon->apply = pl_apply_start(config, region, err);
	if (!daemon->apply)
		return err->code;
	daemon->housekeep = pl_housekeep_start(config, daemon->region, err);
	if (!daemon->housekeep)
		return err->code;
	if (start_workers(daemon, config, region, err) != 0)
		return err->code;
	start_control(daemon, region);
	pl_notice("serving %s on %s%s%s with %d workers; configuration %s, sha256 %.12s", daemon->region, region->listen,
	          region->socket ? " and " : "", region->socket ? region->socket : "", daemon->nworkers, daemon->file, config->sha256);
	return 0;
}

struct pl_daemon *pl_daemon_start(struct pl_loaded *loaded, const char *region, struct pl_error *err)
{
	struct pl_daemon *daemon = pl_calloc(1, sizeof(*daemon));
	daemon->region = pl_strdup(region);
	daemon->file = pl_strdup(loaded->config->file);
	daemon->started_us = daemon->loaded_us = pl_now_us();
	daemon->loaded = loaded;
	daemon->last_reload_ok = true;
	daemon->stats = pl_stats_new();
	daemon->running = pl_running_new();
	pthread_mutex_init(&daemon->lock, NULL);
	pthread_mutex_init(&daemon->reloading, NULL);
	if (start(daemon, err) != 0)
		pl_daemon_stop(&daemon);
	return daemon;
}

static void stop_workers(struct pl_daemon *daemon, int64_t drain_us)
{
	if (daemon->socket)
		pl_sockfile_hide(daemon->socket);
	for (int i = 0; i < daemon->nworkers; i++)
		pl_worker_drain(daemon->workers[i], drain_us);
	for (int i = 0; i < daemon->nworkers; i++)
		pl_worker_join(&daemon->workers[i]);
	free(daemon->workers);
	pl_sockfile_free(&daemon->socket);
	pl_writes_free(&daemon->writes);
}

void pl_daemon_stop(struct pl_daemon **daemon_r)
{
	struct pl_daemon *daemon = *daemon_r;
	if (!daemon)
		return;
	int64_t drain_us = daemon->loaded->config->http.drain_timeout_us;
	// A reload that is under way ends first; none begins after this.
	pthread_mutex_lock(&daemon->reloading);
	atomic_store(&daemon->draining, true);
	pthread_mutex_unlock(&daemon->reloading);
	pl_control_stop(&daemon->control);
	stop_workers(daemon, drain_us);
	pl_info("stop: requests are answered");
	pl_relay_stop(&daemon->relay, drain_us);
	pl_info("stop: the relay has ended");
	pl_apply_stop(&daemon->apply);
	pl_info("stop: the applier has ended");
	pl_housekeep_stop(&daemon->housekeep);
	pl_running_free(&daemon->running);
	pl_stats_free(&daemon->stats);
	pl_loaded_free(&daemon->loaded);
	pthread_mutex_destroy(&daemon->lock);
	pthread_mutex_destroy(&daemon->reloading);
	free(daemon->region);
	free(daemon->file);
	free(daemon);
	*daemon_r = NULL;
}
