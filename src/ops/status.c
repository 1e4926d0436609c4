// The state of a daemon as JSON: the answers to the control commands "status" and
// "policies".
//
// Threads: the thread of the control socket, and the main thread for SIGUSR1.
#include "ops/builtin.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apply/apply.h"
#include "audit/audit.h"
#include "base/clock.h"
#include "base/log.h"
#include "config.h"
#include "heal/heal.h"
#include "integrity/integrity.h"
#include "ops/certificates.h"
#include "ops/housekeep.h"
#include "ops/keys.h"
#include "ops/members.h"
#include "ops/ops_private.h"
#include "ops/stats.h"
#include "relay/relay.h"
#include "store/shared_writer.h"

static const char *truth(bool b)
{
	return b ? "true" : "false";
}

static void print_config(struct pl_buf *buf, struct pl_daemon *daemon)
{
	pthread_mutex_lock(&daemon->lock);
	pl_buf_printf(buf, ",\"config\":{\"sha256\":\"%s\"", daemon->loaded->config->sha256);
	pl_members_add_text(buf, "file", daemon->file);
	pl_members_add_time(buf, "loaded_at", daemon->loaded_us);
	pl_buf_printf(buf, ",\"reloads\":%llu,\"reload_failures\":%llu,\"last_reload_ok\":%s",
	              (unsigned long long)daemon->reloads, (unsigned long long)daemon->reload_failures,
	              truth(daemon->last_reload_ok));
	if (daemon->reload_error[0])
		pl_members_add_text(buf, "reload_error", daemon->reload_error);
	pl_members_add_list(buf, "restart_keys", daemon->loaded->held, daemon->loaded->nheld);
	pl_buf_addc(buf, '}');
	pthread_mutex_unlock(&daemon->lock);
}

static void print_worker(struct pl_buf *buf, const struct pl_stats_sample *s)
{
	pl_buf_printf(
		buf,
		"{\"database_up\":%s,\"connections\":%d,\"in_flight\":%d,\"accepted\":%llu,\"read_queue\":%d,"
		"\"reads\":%llu,\"reconnects\":%llu,\"lua_memory\":%zu,\"config_sha256\":\"%s\"",
		truth(s->store_ready), s->listener.connections, s->listener.in_flight,
		(unsigned long long)s->listener.accepted, s->store.read_queue,
		(unsigned long long)s->store.reads, (unsigned long long)s->store.reconnects, s->lua_memory,
		s->config_sha256);
	if (s->why[0])
		pl_members_add_text(buf, "why", s->why);
	pl_buf_addc(buf, '}');
}

static void print_writes(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_store_stats s;
	struct pl_error why;
	bool up = pl_shared_writer_ready(daemon->writes, &why);
	pl_shared_writer_stats(daemon->writes, &s);
	pl_buf_printf(buf,
	              ",\"writes\":{\"database_up\":%s,\"queue\":%d,\"at_database\":%d,\"done\":%llu,"
	              "\"batches\":%llu,\"reconnects\":%llu",
	              truth(up), s.write_queue, s.in_flight, (unsigned long long)s.writes,
	              (unsigned long long)s.batches, (unsigned long long)s.reconnects);
	if (!up)
		pl_members_add_text(buf, "why", why.text);
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
	struct pl_relay_stats s = { 0 };
	pl_relay_stats(daemon->relay, &s);
	pl_buf_printf(buf,
	              ",\"relay\":{\"leader\":%s,\"database_up\":%s,\"broker_up\":%s,\"published\":%llu,"
	              "\"failed\":%llu,\"producers_replaced\":%llu,\"outbox_events\":%lld,"
	              "\"refused_events\":%lld,\"kept_rows\":%lld,\"republished\":%llu",
	              truth(s.leader), truth(s.database_up), truth(s.broker_up),
	              (unsigned long long)s.published, (unsigned long long)s.failed,
	              (unsigned long long)s.producers_replaced, (long long)s.outbox_events,
	              (long long)s.refused, (long long)s.kept_rows, (unsigned long long)s.republished);
	pl_buf_printf(buf, ",\"failing_seconds\":%lld", (long long)s.failing_us / 1000000);
	if (s.trouble[0])
		pl_members_add_text(buf, "trouble", s.trouble);
	pl_members_add_time(buf, "outbox_oldest_at", s.outbox_oldest_us);
	pl_members_add_time(buf, "last_publish_at", s.last_publish_us);
	char refused[PL_ERROR_TEXT_MAX];
	pl_buf_adds(buf, ",\"topic_problems\":");
	pl_relay_topics(daemon->relay, buf, refused);
	pl_buf_addc(buf, '}');
}

static void print_apply(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_apply_stats s = { 0 };
	pl_apply_stats(daemon->apply, &s);
	pl_buf_printf(
		buf,
		",\"apply\":{\"assigned\":%s,\"partitions\":%d,\"database_up\":%s,\"broker_up\":%s,"
		"\"applied\":%llu,\"stale\":%llu,\"own\":%llu,"
		"\"foreign\":%llu,\"dead_letters\":%llu,\"parked\":%lld,\"dead_letters_kept\":%lld,"
		"\"not_ours\":%llu,\"conflicts\":%llu,\"twins\":%llu,\"policy_errors\":%llu,\"retries\":%llu,"
		"\"shadow\":{\"same\":%llu,\"different\":%llu,\"failed\":%llu},"
		"\"reresolve\":{\"pending\":%s,\"total\":%llu,\"seen\":%llu,\"changed\":%llu,"
		"\"left\":%llu},"
		"\"consumers_replaced\":%llu,\"failing_seconds\":%lld",
		truth(s.assigned), s.partitions, truth(s.database_up), truth(s.broker_up),
		(unsigned long long)s.applied, (unsigned long long)s.stale, (unsigned long long)s.own,
		(unsigned long long)s.foreign, (unsigned long long)s.dead_letters, (long long)s.parked,
		(long long)s.dead, (unsigned long long)s.not_ours, (unsigned long long)s.conflicts,
		(unsigned long long)s.twins, (unsigned long long)s.policy_errors,
		(unsigned long long)s.retries, (unsigned long long)s.shadow_same,
		(unsigned long long)s.shadow_different, (unsigned long long)s.shadow_failed,
		truth(s.reresolve_pending), (unsigned long long)s.reresolve_total,
		(unsigned long long)s.reresolve_seen, (unsigned long long)s.reresolve_changed,
		(unsigned long long)s.reresolve_left, (unsigned long long)s.consumers_replaced,
		(long long)s.failing_us / 1000000);
	if (s.trouble[0])
		pl_members_add_text(buf, "trouble", s.trouble);
	pl_buf_addc(buf, '}');
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
	pl_buf_printf(
		buf,
		",\"housekeeping\":{\"requests_expired\":%llu,\"partitions_dropped\":%llu,\"failures\":%llu",
		(unsigned long long)s.requests_expired, (unsigned long long)s.partitions_dropped,
		(unsigned long long)s.failures);
	pl_members_add_time(buf, "last_run_at", s.last_run_us);
	pl_buf_addc(buf, '}');
}

static void print_heal(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_heal_stats s;
	char reason[PL_ERROR_TEXT_MAX];
	pl_heal_stats(daemon->heal, &s);
	pl_heal_reason(daemon->heal, reason);
	pl_buf_printf(buf,
	              ",\"heal\":{\"settled\":%s,\"rebuilding\":%s,\"drained\":%s,\"key\":\"%s\","
	              "\"records\":%lld,\"total\":%lld,\"asked\":%llu,\"served\":%llu",
	              truth(s.settled), truth(s.rebuilding), truth(s.drained), s.key, (long long)s.records,
	              (long long)s.total, (unsigned long long)s.asked, (unsigned long long)s.served);
	if (reason[0])
		pl_members_add_text(buf, "reason", reason);
	pl_buf_addc(buf, '}');
}

static void print_integrity(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_integrity_stats s;
	pl_integrity_stats(daemon->integrity, &s);
	pl_buf_printf(buf, ",\"integrity\":{\"open\":%lld,\"found\":%llu,\"resolved\":%llu}",
	              (long long)s.open, (unsigned long long)s.found, (unsigned long long)s.resolved);
}

static void print_audit(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_audit_stats s;
	pl_audit_stats(daemon->audit, &s);
	pl_buf_printf(buf,
	              ",\"audit\":{\"differing\":%lld,\"rounds\":%llu,\"incomplete\":%llu,\"records\":%llu",
	              (long long)s.differing, (unsigned long long)s.rounds, (unsigned long long)s.incomplete,
	              (unsigned long long)s.records);
	pl_members_add_time(buf, "last_success_at", s.last_success_us);
	pl_buf_addc(buf, '}');
}

static void print_log(struct pl_buf *buf)
{
	bool incomplete;
	unsigned long long dropped = pl_log_dropped(pl_mono_us(), &incomplete);
	pl_buf_printf(buf, ",\"log\":{\"lines_dropped\":%llu,\"incomplete\":%s}", dropped, truth(incomplete));
}

void pl_status_policies(struct pl_buf *members, struct pl_daemon *daemon)
{
	pl_buf_adds(members, ",\"policies\":[");
	pthread_mutex_lock(&daemon->lock);
	for (int i = 0; i < daemon->loaded->npolicies; i++) {
		const struct pl_policy_facts *p = &daemon->loaded->policies[i];
		pl_buf_printf(members, "%s{\"resource\":\"%s\"", i ? "," : "", p->resource);
		pl_members_add_text(members, "path", p->path);
		pl_members_add_text(members, "name", p->name);
		pl_members_add_text(members, "doc", p->doc ? p->doc : "");
		pl_buf_printf(members, ",\"sha256\":\"%s\",\"shadow\":%s}", p->sha256, truth(p->shadow));
	}
	pthread_mutex_unlock(&daemon->lock);
	pl_buf_addc(members, ']');
}

void pl_status_print(struct pl_buf *members, struct pl_daemon *daemon)
{
	struct pl_buf reasons = { 0 };
	pl_members_add_text(members, "region", daemon->region);
	pl_buf_printf(members, ",\"version\":\"%s\",\"pid\":%d", PACKAGE_VERSION, (int)getpid());
	pl_members_add_time(members, "started_at", daemon->started_us);
	print_config(members, daemon);
	print_writes(members, daemon);
	print_workers(members, daemon);
	int n = pl_builtin_ready_reasons(daemon, &reasons);
	pl_buf_printf(members, ",\"ready\":%s,\"reasons\":%s", truth(n == 0), reasons.data);
	pl_buf_fini(&reasons);
	print_relay(members, daemon);
	print_apply(members, daemon);
	print_lag(members, daemon);
	print_heal(members, daemon);
	print_integrity(members, daemon);
	print_audit(members, daemon);
	print_housekeeping(members, daemon);
	print_log(members);
	pl_certificates_print_status(members, daemon);
	pl_keys_print_status(members, daemon);
	pl_status_policies(members, daemon);
}
