// What a daemon knows of itself, as JSON: the answer to "status" and "policies" on the operators' socket.
//
// Stands between the daemon's threads and plist-admin. Threads: the operators' socket's.
#include "ops/builtin.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "config.h"

static void text(struct pl_buf *buf, const char *name, const char *value)
{
	pl_buf_printf(buf, ",\"%s\":", name);
	pl_buf_add_json(buf, value, strlen(value));
}

static void when(struct pl_buf *buf, const char *name, int64_t at_us)
{
	char at[PL_TIME_TEXT_MAX];
	if (at_us)
		pl_buf_printf(buf, ",\"%s\":\"%s\"", name, pl_time_format(at_us, at));
	else
		pl_buf_printf(buf, ",\"%s\":null", name);
}

static const char *truth(bool b)
{
	return b ? "true" : "false";
}

static void print_config(struct pl_buf *buf, struct pl_daemon *daemon)
{
	pthread_mutex_lock(&daemon->lock);
	pl_buf_printf(buf, ",\"config\":{\"sha256\":\"%s\"", daemon->loaded->config->sha256);
	text(buf, "file", daemon->file);
	when(buf, "loaded_at", daemon->loaded_us);
	pl_buf_printf(buf, ",\"reloads\":%llu,\"reload_failures\":%llu,\"last_reload_ok\":%s", (unsigned long long)daemon->reloads,
	              (unsigned long long)daemon->reload_failures, truth(daemon->last_reload_ok));
	if (daemon->reload_error[0])
		text(buf, "reload_error", daemon->reload_error);
	pl_buf_addc(buf, '}');
	pthread_mutex_unlock(&daemon->lock);
}

static void print_worker(struct pl_buf *buf, const struct pl_stats_sample *s)
{
	pl_buf_printf(buf,
	              "{\"database_up\":%s,\"connections\":%d,\"in_flight\":%d,\"accepted\":%llu,\"read_queue\":%d,"
	              "\"reads\":%llu,\"reconnects\":%llu,\"lua_memory\":%zu,\"config_sha256\":\"%s\"",
	              truth(s->store_ready), s->listener.connections, s->listener.in_flight, (unsigned long long)s->listener.accepted,
	              s->store.read_queue, (unsigned long long)s->store.reads, (unsigned long long)s->store.reconnects, s->lua_memory,
	              s->config_sha256);
	if (s->why[0])
		text(buf, "why", s->why);
	pl_buf_addc(buf, '}');
}

static void print_writes(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_store_stats s;
	struct pl_error why;
	bool up = pl_writes_ready(daemon->writes, &why);
	pl_writes_stats(daemon->writes, &s);
	pl_buf_printf(buf, ",\"writes\":{\"database_up\":%s,\"queue\":%d,\"at_database\":%d,\"done\":%llu,\"batches\":%llu,\"reconnects\":%llu",
	              truth(up), s.write_queue, s.in_flight, (unsigned long long)s.writes, (unsigned long long)s.batches,
	              (unsigned long long)s.reconnects);
	if (!up)
		text(buf, "why", why.text);
	pl_buf_addc(buf, '}');
}

static void print_workers(struct pl_buf *buf, struct pl_daemon *daemon)
{
	int n = pl_stats_blocks(daemon->stats);
	pl_buf_adds(buf, ",\"workers\":[");
	for (int i = 0; i < n; i++) {
		struct pl_stats_sample sample;
		pl_stats_get_sample(daemon->stats, i, &sample);
		pl_buf_adds(buf, i ? "," : "");
		print_worker(buf, &sample);
	}
	pl_buf_addc(buf, ']');
}

static void print_relay(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_relay_stats s = {0};
	pl_relay_stats(daemon->relay, &s);
	pl_buf_printf(buf,
	              ",\"relay\":{\"leader\":%s,\"database_up\":%s,\"broker_up\":%s,\"published\":%llu,\"failed\":%llu,\"producers_replaced\":%llu,"
	              "\"outbox_events\":%lld",
	              truth(s.leader), truth(s.database_up), truth(s.broker_up), (unsigned long long)s.published, (unsigned long long)s.failed,
	              (unsigned long long)s.producers_replaced, (long long)s.outbox_events);
	when(buf, "outbox_oldest_at", s.outbox_oldest_us);
	when(buf, "last_publish_at", s.last_publish_us);
	pl_buf_addc(buf, '}');
}

static void print_apply(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_apply_stats s = {0};
	pl_apply_stats(daemon->apply, &s);
	pl_buf_printf(buf,
	              ",\"apply\":{\"assigned\":%s,\"partitions\":%d,\"database_up\":%s,\"broker_up\":%s,\"applied\":%llu,\"stale\":%llu,\"own\":%llu,"
	              "\"foreign\":%llu,\"dead_letters\":%llu,\"conflicts\":%llu,\"twins\":%llu,\"policy_errors\":%llu,\"retries\":%llu,"
	              "\"shadow\":{\"same\":%llu,\"different\":%llu,\"failed\":%llu},"
	              "\"anew\":{\"pending\":%s,\"total\":%llu,\"seen\":%llu,\"changed\":%llu}}",
	              truth(s.assigned), s.partitions, truth(s.database_up), truth(s.broker_up), (unsigned long long)s.applied,
	              (unsigned long long)s.stale, (unsigned long long)s.own, (unsigned long long)s.foreign, (unsigned long long)s.dead_letters,
	              (unsigned long long)s.conflicts, (unsigned long long)s.twins, (unsigned long long)s.policy_errors,
	              (unsigned long long)s.retries, (unsigned long long)s.shadow_same, (unsigned long long)s.shadow_different,
	              (unsigned long long)s.shadow_failed, truth(s.anew_pending), (unsigned long long)s.anew_total, (unsigned long long)s.anew_seen,
	              (unsigned long long)s.anew_changed);
}

static void print_lag(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_lag *lag = pl_calloc(1, sizeof(*lag)); // large
	pl_apply_lag(daemon->apply, lag);
	pl_buf_adds(buf, ",\"lag\":");
	pl_lag_print(buf, lag);
	free(lag);
}

static void print_housekeeping(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_housekeep_stats s;
	pl_housekeep_stats(daemon->housekeep, &s);
	pl_buf_printf(buf, ",\"housekeeping\":{\"requests_expired\":%llu,\"partitions_dropped\":%llu,\"failures\":%llu",
	              (unsigned long long)s.requests_expired, (unsigned long long)s.partitions_dropped, (unsigned long long)s.failures);
	when(buf, "last_run_at", s.last_run_us);
	pl_buf_addc(buf, '}');
}

void pl_status_policies(struct pl_buf *members, struct pl_daemon *daemon)
{
	pl_buf_adds(members, ",\"policies\":[");
	pthread_mutex_lock(&daemon->lock);
	for (int i = 0; i < daemon->loaded->npolicies; i++) {
		const struct pl_policy_facts *p = &daemon->loaded->policies[i];
		pl_buf_printf(members, "%s{\"resource\":\"%s\"", i ? "," : "", p->resource);
		text(members, "path", p->path);
		text(members, "name", p->name);
		text(members, "doc", p->doc ? p->doc : "");
		pl_buf_printf(members, ",\"sha256\":\"%s\",\"shadow\":%s}", p->sha256, truth(p->shadow));
	}
	pthread_mutex_unlock(&daemon->lock);
	pl_buf_addc(members, ']');
}

void pl_status_print(struct pl_buf *members, struct pl_daemon *daemon)
{
	struct pl_buf reasons = {0};
	text(members, "region", daemon->region);
	pl_buf_printf(members, ",\"version\":\"%s\",\"pid\":%d", PACKAGE_VERSION, (int)getpid());
	when(members, "started_at", daemon->started_us);
	print_config(members, daemon);
	print_writes(members, daemon);
	print_workers(members, daemon);
	int n = pl_ready_reasons(daemon, &reasons);
	pl_buf_printf(members, ",\"ready\":%s,\"reasons\":%s", truth(n == 0), reasons.data);
	pl_buf_fini(&reasons);
	print_relay(members, daemon);
	print_apply(members, daemon);
	print_lag(members, daemon);
	print_housekeeping(members, daemon);
	pl_status_policies(members, daemon);
}
