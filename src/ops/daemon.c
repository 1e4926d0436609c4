// Starting and stopping the threads of a daemon: first those that work in the background
// (see start), then the workers, and the operators' listener.
//
// Called by src/plistd.c. The workers start last, so that a client that can connect is
// served in full; they stop first, so that the relay can still publish what they wrote.
// Invariant: pl_daemon_stop accepts any state that a failed pl_daemon_start leaves.
// Threads: the main thread.
#include "ops/daemon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "apply/apply.h"
#include "audit/audit.h"
#include "auth/key_fetcher.h"
#include "base/clock.h"
#include "base/faults.h"
#include "base/log.h"
#include "base/sockfile.h"
#include "heal/heal.h"
#include "http/bind.h"
#include "integrity/integrity.h"
#include "ops/admin_listener.h"
#include "ops/certificates.h"
#include "ops/housekeep.h"
#include "ops/ops_private.h"
#include "ops/stats.h"
#include "ops/watchdog.h"
#include "ops/worker.h"
#include "relay/relay.h"
#include "store/shared_writer.h"
#include "store/table_gate.h"

#define SOCKET_MODE       0666 // as open as the port; its directory restricts access
#define SOCKET_BACKLOG    1024
#define OTHER_DESCRIPTORS 256 // the database, Kafka, Lua files, logs

struct pl_config *pl_daemon_config(struct pl_daemon *daemon)
{
	pthread_mutex_lock(&daemon->lock);
	struct pl_config *config = pl_config_ref(daemon->loaded->config);
	pthread_mutex_unlock(&daemon->lock);
	return config;
}

// ---- the key of this region's writes

// Called by the thread of healing, and once the writer is there.
static void use_key(void *arg, const char *key)
{
	struct pl_daemon *daemon = arg;

	pthread_mutex_lock(&daemon->lock);
	if (key)
		snprintf(daemon->key, sizeof(daemon->key), "%s", key);
	if (daemon->writes && daemon->key[0])
		pl_shared_writer_set_key(daemon->writes, daemon->key);
	pthread_mutex_unlock(&daemon->lock);
}

static int64_t last_sent(void *arg)
{
	struct pl_daemon *daemon = arg;
	struct pl_relay_stats stats;

	pl_relay_stats(daemon->relay, &stats);
	return stats.sent_id;
}

static bool publishes(void *arg)
{
	struct pl_daemon *daemon = arg;
	struct pl_relay_stats stats;

	pl_relay_stats(daemon->relay, &stats);
	return stats.leader;
}

static bool hears_others(void *arg)
{
	struct pl_daemon *daemon = arg;
	struct pl_apply_stats stats = { 0 };

	pl_apply_stats(daemon->apply, &stats);
	return stats.hears && stats.broker_up;
}

static int start_healing(struct pl_daemon *daemon, const struct pl_config *config,
                         const struct pl_region *region, struct pl_error *err)
{
	daemon->heal = pl_heal_start(
		&(struct pl_heal_options){
			.config = config,
			.region = region,
			.alone = daemon->alone,
			.tables = daemon->tables,
			.key = use_key,
			.sent = last_sent,
			.hears = hears_others,
			.leads = publishes,
			.arg = daemon,
		},
		err);
	return daemon->heal ? 0 : err->code;
}

static void send_mail(void *arg)
{
	struct pl_daemon *daemon = arg;

	pl_relay_wake(daemon->relay);
}

static bool is_whole(void *arg)
{
	struct pl_daemon *daemon = arg;
	struct pl_heal_stats stats;

	pl_heal_stats(daemon->heal, &stats);
	return stats.settled && !stats.rebuilding;
}

// After the relay, the applier and healing, which it asks.
static int start_audit(struct pl_daemon *daemon, const struct pl_config *config,
                       const struct pl_region *region, struct pl_error *err)
{
	pl_relay_set_mail(daemon->relay, daemon->mail);
	pl_apply_set_mail(daemon->apply, daemon->mail);
	daemon->audit = pl_audit_start(
		&(struct pl_audit_options){
			.config = config,
			.region = region,
			.mail = daemon->mail,
			.send = send_mail,
			.leads = publishes,
			.whole = is_whole,
			.arg = daemon,
		},
		err);
	return daemon->audit ? 0 : err->code;
}

// ---- workers

static int number_of_workers(const struct pl_config *config)
{
	long n = config->http.workers;
	if (n <= 0)
		n = sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > PL_WORKERS_MAX ? PL_WORKERS_MAX : (int)n;
}

// Raises the soft limit on file descriptors, as far as the hard limit allows, so that
// each worker can have all its connections.
static void raise_descriptors(const struct pl_config *config, int nworkers)
{
	struct rlimit limit;
	rlim_t wanted = (rlim_t)nworkers * ((rlim_t)config->http.max_connections + 128) + OTHER_DESCRIPTORS;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur =
		limit.rlim_max == RLIM_INFINITY || limit.rlim_max >= wanted ? wanted : limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= wanted)
		return;
	pl_faults_set_risk(PL_RISK_DESCRIPTORS, true);
	pl_warning("start: %d workers with http.max_connections %d may need %llu file descriptors, but "
	           "the limit is %llu; raise it (LimitNOFILE of the unit, ulimit -n), or lower "
	           "http.max_connections",
	           nworkers, config->http.max_connections, (unsigned long long)wanted,
	           (unsigned long long)limit.rlim_cur);
}

static int start_workers(struct pl_daemon *daemon, const struct pl_config *config,
                         const struct pl_region *region, struct pl_error *err)
{
	int n = number_of_workers(config);
	if (pl_bind_probe(region->listen, err) != 0)
		return err->code;
	if (region->unix_socket) {
		daemon->socket = pl_sockfile_new(region->unix_socket, SOCKET_MODE, SOCKET_BACKLOG, err);
		if (!daemon->socket)
			return err->code;
	}
	raise_descriptors(config, n);
	daemon->writes = pl_shared_writer_new(config, region, err);
	if (!daemon->writes)
		return err->code;
	pl_shared_writer_set_gate(daemon->writes, daemon->tables);
	use_key(daemon, NULL);
	daemon->workers = pl_calloc((size_t)n, sizeof(daemon->workers[0]));
	for (int i = 0; i < n; i++) {
		int fd = pl_bind_listen(region->listen, err);
		if (fd < 0)
			return err->code;
		daemon->workers[i] = pl_worker_start(daemon, i + 1, fd, daemon->loaded, err);
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
	struct pl_tls_server *tls;
	struct pl_certificates *certificates = pl_certificates_load(config, daemon->region, &tls, err);
	if (!certificates)
		return err->code;
	pl_certificates_replace(daemon, certificates, tls);
	struct pl_key_source *keys = pl_credentials_key_source(daemon->loaded->credentials);
	if (pl_key_fetcher_use(daemon->keys, keys, err) != 0)
		return err->code;
	daemon->watchdog = pl_watchdog_start(err);
	if (!daemon->watchdog)
		return err->code;
	daemon->relay = pl_relay_start(config, region, err);
	if (!daemon->relay)
		return err->code;
	daemon->apply = pl_apply_start(config, region, err);
	if (!daemon->apply)
		return err->code;
	pl_apply_relay(daemon->apply, pl_relay_process(daemon->relay));
	pl_relay_set_beat_soon(daemon->relay, &daemon->beat_soon);
	pl_apply_set_beat_soon(daemon->apply, &daemon->beat_soon);
	daemon->housekeep = pl_housekeep_start(config, region, err);
	if (!daemon->housekeep)
		return err->code;
	if (start_healing(daemon, config, region, err) != 0)
		return err->code;
	daemon->integrity =
		pl_integrity_start(&(struct pl_integrity_options){ .config = config, .region = region }, err);
	if (!daemon->integrity)
		return err->code;
	if (start_audit(daemon, config, region, err) != 0)
		return err->code;
	if (start_workers(daemon, config, region, err) != 0)
		return err->code;
	daemon->admin_listener = pl_admin_listener_start(daemon, region->admin_listen, config, err);
	if (!daemon->admin_listener)
		return err->code;
	pl_notice("start: serving region %s on %s%s%s, operators on %s, with %d workers; configuration %s, "
	          "sha256 %.12s",
	          daemon->region, region->listen, region->unix_socket ? " and " : "",
	          region->unix_socket ? region->unix_socket : "", region->admin_listen, daemon->nworkers,
	          daemon->file, config->sha256);
	return 0;
}

struct pl_daemon *pl_daemon_start(struct pl_loaded *loaded, const char *region, bool alone,
                                  struct pl_error *err)
{
	struct pl_daemon *daemon = pl_calloc(1, sizeof(*daemon));
	daemon->region = pl_strdup(region);
	daemon->file = pl_strdup(loaded->config->file);
	daemon->alone = alone;
	daemon->started_us = daemon->loaded_us = pl_now_us();
	daemon->loaded = loaded;
	daemon->last_reload_ok = true;
	atomic_init(&daemon->control_up, -1);
	daemon->stats = pl_stats_new();
	daemon->limits = pl_limits_new();
	daemon->tables = pl_table_gate_new();
	daemon->mail = pl_audit_mail_new();
	daemon->keys = pl_key_fetcher_new();
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
	pl_admin_listener_stop(&daemon->admin_listener); // until here they could watch
	free(daemon->workers);
	pl_sockfile_free(&daemon->socket);
	pthread_mutex_lock(&daemon->lock);
	struct pl_shared_writer *writes = daemon->writes;
	daemon->writes = NULL;
	pthread_mutex_unlock(&daemon->lock);
	pl_shared_writer_free(&writes);
}

void pl_daemon_stop(struct pl_daemon **daemon_p)
{
	struct pl_daemon *daemon = *daemon_p;
	if (!daemon)
		return;
	int64_t drain_us = daemon->loaded->config->http.drain_timeout_us;
	// Wait for a reload or activation that is running; none starts after this.
	pthread_mutex_lock(&daemon->reloading);
	atomic_store(&daemon->draining, true);
	pthread_mutex_unlock(&daemon->reloading);
	stop_workers(daemon, drain_us);
	pl_info("stop: all requests are answered");
	pl_audit_stop(&daemon->audit); // it asks healing and the relay
	pl_integrity_stop(&daemon->integrity);
	pl_heal_stop(&daemon->heal); // it asks the relay and the applier
	if (daemon->apply)
		pl_apply_relay(daemon->apply, NULL);
	pl_relay_stop(&daemon->relay, drain_us);
	pl_info("stop: the relay has stopped");
	pl_apply_stop(&daemon->apply);
	pl_info("stop: the applier has stopped");
	pl_housekeep_stop(&daemon->housekeep);
	pl_key_fetcher_free(&daemon->keys);
	pl_watchdog_stop(&daemon->watchdog); // last: it sees what hangs while the others stop
	pl_certificates_replace(daemon, NULL, NULL);
	pl_stats_free(&daemon->stats);
	pl_limits_free(&daemon->limits);
	pl_table_gate_free(&daemon->tables);
	pl_audit_mail_free(&daemon->mail);
	pl_loaded_free(&daemon->loaded);
	pthread_mutex_destroy(&daemon->lock);
	pthread_mutex_destroy(&daemon->reloading);
	free(daemon->region);
	free(daemon->file);
	free(daemon);
	*daemon_p = NULL;
}
