// All metrics of a daemon as Prometheus text, which `promtool check metrics` accepts
// without complaint.
//
// Serves GET /metrics. plistd(8) lists names and meanings; a test compares.
// Threads: any; reads values that other threads publish.
#include "ops/metrics_private.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "apply/apply.h"
#include "audit/audit.h"
#include "base/clock.h"
#include "config.h"
#include "db/server.h"
#include "heal/heal.h"
#include "integrity/integrity.h"
#include "ops/certificates.h"
#include "ops/housekeep.h"
#include "ops/keys.h"
#include "ops/ops_private.h"
#include "ops/stats.h"
#include "ops/watchdog.h"
#include "relay/relay.h"
#include "seen/waits.h"
#include "store/shared_writer.h"
#include "store/table_gate.h"

void pl_metrics_family(struct pl_buf *buf, const char *name, const char *type, const char *help)
{
	pl_buf_printf(buf, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void pl_metrics_counter(struct pl_buf *buf, const char *name, const char *help, uint64_t value)
{
	pl_metrics_family(buf, name, "counter", help);
	pl_buf_printf(buf, "%s %llu\n", name, (unsigned long long)value);
}

void pl_metrics_gauge(struct pl_buf *buf, const char *name, const char *help, double value)
{
	pl_metrics_family(buf, name, "gauge", help);
	pl_buf_printf(buf, "%s %.15g\n", name, value);
}

void pl_metrics_labelled(struct pl_buf *buf, const char *name, const char *key, const char *label,
                         double value)
{
	pl_buf_printf(buf, "%s{%s=\"%s\"} %.15g\n", name, key, label, value);
}

// ---- workers

static void add_store(struct pl_store_stats *sum, const struct pl_store_stats *one)
{
	sum->batches += one->batches;
	sum->writes += one->writes;
	sum->single += one->single;
	sum->stacked += one->stacked;
	sum->retried += one->retried;
	sum->deadlocks += one->deadlocks;
	sum->unknown += one->unknown;
	sum->settled += one->settled;
	sum->reads += one->reads;
	sum->read_batches += one->read_batches;
	sum->queries += one->queries;
	sum->reconnects += one->reconnects;
	sum->write_queue += one->write_queue;
	sum->read_queue += one->read_queue;
	sum->in_flight += one->in_flight;
	sum->queries_down += one->queries_down;
}

static void add_samples(struct pl_stats_sample *sum, const struct pl_stats_sample *one)
{
	sum->listener.accepted += one->listener.accepted;
	sum->listener.evicted += one->listener.evicted;
	sum->listener.timed_out += one->listener.timed_out;
	sum->listener.reclaimed += one->listener.reclaimed;
	sum->listener.lane.interrupted += one->listener.lane.interrupted;
	sum->listener.lane.waiting += one->listener.lane.waiting;
	sum->listener.stuck += one->listener.stuck;
	sum->listener.unparsed += one->listener.unparsed;
	sum->listener.refused += one->listener.refused;
	sum->listener.overloaded += one->listener.overloaded;
	sum->listener.unauthenticated += one->listener.unauthenticated;
	sum->listener.forbidden += one->listener.forbidden;
	sum->listener.limited += one->listener.limited;
	sum->listener.not_executed += one->listener.not_executed;
	sum->listener.overdue += one->listener.overdue;
	sum->listener.connections += one->listener.connections;
	sum->listener.in_flight += one->listener.in_flight;
	add_store(&sum->store, &one->store);
}

static void print_sessions(struct pl_buf *buf)
{
	struct pl_seen_waits waits;

	pl_seen_waits_read(&waits);
	pl_metrics_counter(buf, "plist_session_waits_total",
	                   "Requests that had to wait until this region had what their clients had seen.",
	                   waits.waits);
	pl_metrics_counter(
		buf, "plist_session_timeouts_total",
		"Requests answered 503 because this region still lacked it after http.session_wait.",
		waits.timeouts);
	pl_metrics_counter(buf, "plist_session_refused_total",
	                   "Requests answered 503 because too many of them were waiting.", waits.refused);
	pl_buf_printf(buf,
	              "# HELP plist_session_wait_seconds_total How long requests have waited in total.\n"
	              "# TYPE plist_session_wait_seconds_total counter\n"
	              "plist_session_wait_seconds_total %.6f\n",
	              (double)waits.total_us / 1e6);
	pl_metrics_gauge(buf, "plist_session_waiting", "Requests that are waiting now.", waits.waiting);
}

static void print_listener(struct pl_buf *buf, const struct pl_listener_stats *s)
{
	pl_metrics_gauge(buf, "plist_http_connections", "Open client connections.", s->connections);
	pl_metrics_gauge(buf, "plist_http_requests_in_flight", "Requests that have not been answered yet.",
	                 s->in_flight);
	pl_metrics_counter(buf, "plist_http_connections_accepted_total", "Connections accepted.",
	                   s->accepted);
	pl_metrics_counter(buf, "plist_http_connections_evicted_total",
	                   "Connections closed to make room for new ones.", s->evicted);
	pl_metrics_counter(
		buf, "plist_http_connections_timed_out_total",
		"Connections closed because a request took too long to arrive, or a response to be read.",
		s->timed_out);
	pl_metrics_counter(
		buf, "plist_http_connections_reclaimed_total",
		"Connections closed because the bodies and responses of slow clients took too much memory.",
		s->reclaimed);
	pl_metrics_counter(
		buf, "plist_http_connections_stuck_total",
		"Connections closed by force because they were still open one second after they were shut "
		"down.",
		s->stuck);
	pl_metrics_counter(buf, "plist_http_requests_unparsed_total",
	                   "Requests that never arrived completely, or that libmicrohttpd refused.",
	                   s->unparsed);
	pl_metrics_counter(buf, "plist_http_requests_refused_total",
	                   "Requests refused because their head was ambiguous or malformed.", s->refused);
	pl_metrics_counter(buf, "plist_http_requests_unauthenticated_total",
	                   "Requests answered 401 because they had no valid credentials.",
	                   s->unauthenticated);
	pl_metrics_counter(buf, "plist_http_requests_forbidden_total",
	                   "Requests answered 403 because the client lacks the role that the route needs.",
	                   s->forbidden);
	pl_metrics_counter(buf, "plist_http_requests_limited_total",
	                   "Requests answered 429 because the client had sent too many.", s->limited);
	pl_metrics_counter(buf, "plist_http_requests_not_executed_total",
	                   "Requests answered \"X-Plist-Executed: no\".", s->not_executed);
	pl_metrics_counter(buf, "plist_http_requests_overloaded_total",
	                   "Requests answered 503 because too many requests were waiting.", s->overloaded);
	pl_metrics_counter(buf, "plist_http_requests_overdue_total",
	                   "Requests answered at their deadline because the handler had not finished.",
	                   s->overdue);
	pl_metrics_counter(buf, "plist_lua_interrupted_total",
	                   "How often a handler was interrupted because it had run for long.",
	                   s->lane.interrupted);
	print_sessions(buf);
	pl_metrics_gauge(buf, "plist_lua_waiting",
	                 "Requests that wait for other requests, because their handlers are slow.",
	                 s->lane.waiting);
}

static void print_store(struct pl_buf *buf, const struct pl_store_stats *s)
{
	pl_metrics_counter(buf, "plist_store_writes_total", "Writes sent to the database.", s->writes);
	pl_metrics_counter(buf, "plist_store_batches_total", "Batches of writes sent to the database.",
	                   s->batches);
	pl_metrics_counter(buf, "plist_store_single_total", "Batches of one write.", s->single);
	pl_metrics_counter(buf, "plist_store_stacked_total",
	                   "Writes that shared the transaction of an earlier write of the same record.",
	                   s->stacked);
	pl_metrics_counter(buf, "plist_store_retried_total",
	                   "Writes that were retried after their transaction failed.", s->retried);
	pl_metrics_counter(buf, "plist_store_deadlocks_total",
	                   "Transactions that the database aborted because of a deadlock.", s->deadlocks);
	pl_metrics_counter(buf, "plist_store_unknown_total",
	                   "Writes whose outcome was unknown when the connection was lost.", s->unknown);
	pl_metrics_counter(buf, "plist_store_settled_total",
	                   "Writes of unknown outcome whose outcome was determined "
	                   "afterwards.",
	                   s->settled);
	pl_metrics_counter(buf, "plist_store_reads_total", "Records read by id.", s->reads);
	pl_metrics_counter(buf, "plist_store_read_batches_total",
	                   "Statements that read records by id, each for a batch "
	                   "of records.",
	                   s->read_batches);
	pl_metrics_counter(buf, "plist_store_queries_total", "Lists and queries that handlers ran.",
	                   s->queries);
	pl_metrics_counter(buf, "plist_store_reconnects_total", "Reconnects to the database.", s->reconnects);
	pl_metrics_gauge(buf, "plist_store_write_queue", "Writes waiting for a connection.", s->write_queue);
	pl_metrics_gauge(buf, "plist_store_read_queue", "Reads and queries waiting for a connection.",
	                 s->read_queue);
	pl_metrics_gauge(buf, "plist_store_in_flight", "Writes and reads running in the database.",
	                 s->in_flight);
	pl_metrics_gauge(buf, "plist_store_query_connections_down",
	                 "Connections for db.query that cannot be made.", s->queries_down);
	pl_metrics_gauge(
		buf, "plist_database_alternates",
		"Whether connections have reached now one server, now another, in the last ten minutes.",
		pl_server_alternates());
}

static void print_workers(struct pl_buf *buf, struct pl_daemon *daemon)
{
	int n = pl_stats_blocks(daemon->stats);
	struct pl_stats_sample *samples = pl_calloc((size_t)n + 1, sizeof(samples[0])), *sum = &samples[n];
	struct pl_store_stats writes;
	char label[16];
	for (int i = 0; i < n; i++) {
		pl_stats_get_sample(daemon->stats, i, &samples[i]);
		add_samples(sum, &samples[i]);
	}
	pl_shared_writer_stats(daemon->writes, &writes);
	add_store(&sum->store, &writes);
	print_listener(buf, &sum->listener);
	print_store(buf, &sum->store);
	pl_metrics_family(buf, "plist_lua_memory_bytes", "gauge",
	                  "Memory used by the Lua state of a worker.");
	for (int i = 0; i < n; i++) {
		snprintf(label, sizeof(label), "%d", i);
		pl_metrics_labelled(buf, "plist_lua_memory_bytes", "worker", label,
		                    (double)samples[i].lua_memory);
	}
	struct pl_watchdog_stats watchdog;
	pl_watchdog_stats(daemon->watchdog, &watchdog);
	pl_metrics_counter(buf, "plist_lua_stuck_total", "Calls into Lua that the watchdog found stuck.",
	                   watchdog.stuck);
	pl_metrics_gauge(buf, "plist_lua_stuck", "Calls into Lua that are stuck now.", watchdog.now);
	pl_metrics_family(buf, "plist_worker_database_up", "gauge",
	                  "Whether a worker has its database connections for reads.");
	for (int i = 0; i < n; i++) {
		snprintf(label, sizeof(label), "%d", i);
		pl_metrics_labelled(buf, "plist_worker_database_up", "worker", label, samples[i].store_ready);
	}
	free(samples);
}

// ---- policies

// A label's value: a script, or another region, chose it.
static void label_text(struct pl_buf *buf, const char *text)
{
	for (const char *c = text; *c; c++) {
		if (*c == '"' || *c == '\\')
			pl_buf_addc(buf, '\\');
		pl_buf_addc(buf, (unsigned char)*c < 0x20 ? ' ' : *c);
	}
}

// Prints the policies that another region reports, in two metric families. Resources that
// this region does not have are skipped.
static void print_peer(struct pl_buf *info, struct pl_buf *mismatch, const struct pl_loaded *loaded,
                       const char *region, const cJSON *policies)
{
	const cJSON *policy;
	cJSON_ArrayForEach (policy, policies) {
		const char *name = pl_json_string(policy, "name"), *hash = pl_json_string(policy, "sha256");
		const struct pl_policy_facts *own = pl_loaded_policy(loaded, policy->string);
		if (!name || !hash || !own)
			continue;
		pl_buf_printf(info, "plist_policy_region_info{resource=\"%s\",region=\"%s\",policy=\"",
		              policy->string, region);
		label_text(info, name);
		pl_buf_adds(info, "\",sha256=\"");
		label_text(info, hash);
		pl_buf_adds(info, "\"} 1\n");
		pl_buf_printf(mismatch, "plist_policy_mismatch{resource=\"%s\",region=\"%s\",sha256=\"",
		              policy->string, region);
		label_text(mismatch, hash);
		pl_buf_printf(mismatch, "\",own_sha256=\"%s\"} %d\n", own->sha256,
		              strcmp(hash, own->sha256) != 0);
	}
}

static void print_peers(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_lag_tracker_policies said[PL_REGIONS_MAX];
	int n = pl_apply_policies(daemon->apply, arena, said);
	struct pl_buf mismatch = { 0 };
	pl_metrics_family(buf, "plist_policy_region_info", "gauge",
	                  "The conflict policies that are in force in other regions, as they report.");
	pthread_mutex_lock(&daemon->lock);
	for (int i = 0; i < n; i++) {
		cJSON *policies = pl_json_parse(said[i].policies, strlen(said[i].policies),
		                                &pl_json_default_limits, NULL);
		print_peer(buf, &mismatch, daemon->loaded, said[i].region, policies);
		cJSON_Delete(policies);
	}
	pthread_mutex_unlock(&daemon->lock);
	pl_metrics_family(buf, "plist_policy_mismatch", "gauge",
	                  "Whether another region uses a different policy than this one, with both hashes.");
	pl_buf_add(buf, mismatch.data ? mismatch.data : "", mismatch.len);
	pl_buf_fini(&mismatch);
	pl_arena_free(&arena);
}

// ---- the daemon

static void print_tables(struct pl_buf *buf, struct pl_daemon *daemon)
{
	static const char name[] = "plist_resource_writes_refused";
	pthread_mutex_lock(&daemon->lock);
	const struct pl_config *config = daemon->loaded->config;
	pl_metrics_family(
		buf, name, "gauge",
		"Whether writes are refused because of a constraint or trigger that resources.X.tolerate "
		"does not list.");
	for (int i = 0; i < config->nresources; i++)
		pl_metrics_labelled(buf, name, "resource", config->resources[i].name,
		                    pl_table_gate_is_closed(daemon->tables, config->resources[i].name, NULL));
	pthread_mutex_unlock(&daemon->lock);
}

static void print_config(struct pl_buf *buf, struct pl_daemon *daemon)
{
	pthread_mutex_lock(&daemon->lock);
	const struct pl_loaded *loaded = daemon->loaded;
	pl_metrics_family(buf, "plist_config_info", "gauge", "The configuration in force.");
	pl_buf_printf(buf, "plist_config_info{sha256=\"%s\"} 1\n", loaded->config->sha256);
	pl_metrics_gauge(buf, "plist_config_loaded_timestamp_seconds",
	                 "When the configuration in force was loaded.", (double)daemon->loaded_us / 1e6);
	pl_metrics_counter(buf, "plist_config_reloads_total", "Reloads of the configuration that succeeded.",
	                   daemon->reloads);
	pl_metrics_counter(buf, "plist_config_reload_failures_total",
	                   "Reloads of the configuration that were refused.", daemon->reload_failures);
	pl_metrics_gauge(buf, "plist_config_last_reload_successful",
	                 "Whether the last reload of the configuration, or the start, succeeded.",
	                 daemon->last_reload_ok);
	pl_metrics_gauge(buf, "plist_config_restart_keys",
	                 "Keys of which the file has new values that take effect only after a restart.",
	                 loaded->nheld);
	pl_metrics_family(buf, "plist_policy_info", "gauge", "The conflict policies in force.");
	for (int i = 0; i < loaded->npolicies; i++) {
		const struct pl_policy_facts *p = &loaded->policies[i];
		pl_buf_printf(buf, "plist_policy_info{resource=\"%s\",policy=\"", p->resource);
		label_text(buf, p->name);
		pl_buf_printf(buf, "\",sha256=\"%s\",shadow=\"%s\"} 1\n", p->sha256,
		              p->shadow ? "true" : "false");
	}
	pthread_mutex_unlock(&daemon->lock);
}

// Whether the region's database is whole, as a 1 beside the other states' 0.
static void print_heal(struct pl_buf *buf, struct pl_daemon *daemon)
{
	static const char name[] = "plist_region_state";
	struct pl_heal_stats s;
	pl_heal_stats(daemon->heal, &s);
	pl_metrics_family(buf, name, "gauge",
	                  "The state of this region's database: 1 for the one that it is in.");
	pl_metrics_labelled(buf, name, "state", "settled", s.settled);
	pl_metrics_labelled(buf, name, "state", "rebuilding", s.rebuilding);
	pl_metrics_labelled(buf, name, "state", "unsettled", !s.settled && !s.rebuilding);
	pl_metrics_gauge(buf, "plist_region_other_databases",
	                 "Other databases that speak for this region, such as copies.",
	                 (double)s.other_databases);
	pl_metrics_gauge(buf, "plist_region_drained", "Whether the operator has drained this region.",
	                 s.drained);
	pl_metrics_gauge(buf, "plist_rebuild_records",
	                 "Records that the other regions have published for the rebuilding of this one.",
	                 (double)s.records);
	pl_metrics_gauge(buf, "plist_rebuild_records_expected",
	                 "Records that the other regions will publish for it; 0 until that is known.",
	                 (double)s.total);
	pl_metrics_counter(buf, "plist_repair_asked_total",
	                   "How often this region asked another one to publish again what is missing here.",
	                   s.asked);
	pl_metrics_counter(buf, "plist_repair_served_total",
	                   "How often this region published again what another one asked for.", s.served);
}

static void print_integrity(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_integrity_stats s;
	pl_integrity_stats(daemon->integrity, &s);
	pl_metrics_gauge(buf, "plist_open_violations",
	                 "Violations of unique values and references that are there now.", (double)s.open);
	pl_metrics_counter(buf, "plist_violations_found_total",
	                   "Violations that this daemon has found since its start.", s.found);
	pl_metrics_counter(buf, "plist_violations_resolved_total",
	                   "Records that this daemon has changed because the rule for a violation said so.",
	                   s.resolved);
	pl_metrics_gauge(buf, "plist_violations_rules_missing",
	                 "Whether the rules for violations could not be loaded, so that none is applied.",
	                 s.rules_missing);
	pl_metrics_counter(buf, "plist_violations_looks_failed_total",
	                   "Looks for violations that failed and were retried.", s.failures);
}

static void print_audit(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_audit_stats s;
	pl_audit_stats(daemon->audit, &s);
	pl_metrics_gauge(buf, "plist_audit_differing_records",
	                 "Records in which this region lacks something that another one has, or differs "
	                 "from it.",
	                 (double)s.differing);
	pl_metrics_gauge(
		buf, "plist_audit_last_success_timestamp_seconds",
		"When all records had last been compared with those of every other region; 0: never.",
		(double)s.last_success_us / 1e6);
	pl_metrics_counter(buf, "plist_audit_rounds_total",
	                   "Rounds of comparing with another region that have ended, complete or not.",
	                   s.rounds);
	pl_metrics_counter(buf, "plist_audit_rounds_incomplete_total",
	                   "Rounds that could not compare all records and are retried.", s.incomplete);
	pl_metrics_counter(buf, "plist_audit_records_total",
	                   "Records that this daemon has compared with those of other regions.", s.records);
	pl_metrics_counter(buf, "plist_audit_answers_total",
	                   "Answers that this daemon has given to audits of other regions.", s.answers);
	pl_metrics_counter(buf, "plist_audit_failures_total",
	                   "Failures of the database that interrupted the audit.", s.failures);
	pl_metrics_counter(buf, "plist_audit_messages_refused_total",
	                   "Messages to this region's audit that no region can have sent.", s.refused);
	pl_metrics_counter(buf, "plist_audit_messages_dropped_total",
	                   "Messages of audits that were dropped, because too many were waiting.",
	                   pl_audit_mail_dropped(daemon->mail));
}

static void print_housekeep(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_housekeep_stats s;
	pl_housekeep_stats(daemon->housekeep, &s);
	pl_metrics_counter(buf, "plist_housekeeping_requests_expired_total",
	                   "Expired request ids that were deleted.", s.requests_expired);
	pl_metrics_counter(buf, "plist_housekeeping_fields_moved_total",
	                   "Rows whose values were moved from unknown_fields to their columns.",
	                   s.fields_folded);
	pl_metrics_gauge(buf, "plist_housekeeping_fields_left",
	                 "Rows whose values could not be moved there, and are tried again.",
	                 (double)s.fields_left);
	pl_metrics_counter(buf, "plist_housekeeping_conflicts_deleted_total", "Conflicts deleted row by row.",
	                   s.conflicts_deleted);
	pl_metrics_counter(buf, "plist_housekeeping_dead_letters_deleted_total",
	                   "Dead letters deleted after their retention.", s.dead_letters_deleted);
	pl_metrics_counter(buf, "plist_housekeeping_partitions_dropped_total",
	                   "Monthly partitions of the table conflicts that were dropped.",
	                   s.partitions_dropped);
	pl_metrics_counter(buf, "plist_housekeeping_failures_total",
	                   "Rounds of housekeeping that failed and were retried.", s.failures);
	pl_metrics_gauge(buf, "plist_housekeeping_last_success_timestamp_seconds",
	                 "End of the last round of housekeeping that succeeded.",
	                 (double)s.last_run_us / 1e6);
}

static long resident_pages(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (!f)
		return 0;
	if (fscanf(f, "%*d %ld", &pages) != 1)
		pages = 0;
	fclose(f);
	return pages;
}

static int open_descriptors(void)
{
	int n = 0;
	DIR *dir = opendir("/proc/self/fd");
	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n > 3 ? n - 3 : 0; // ".", "..", and the directory itself
}

static void print_process(struct pl_buf *buf, const struct pl_daemon *daemon)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	double cpu_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	pl_metrics_family(buf, "plist_build_info", "gauge",
	                  "The version of plistd and the region that it serves.");
	pl_buf_printf(buf, "plist_build_info{version=\"%s\",region=\"%s\"} 1\n", PACKAGE_VERSION,
	              daemon->region);
	pl_metrics_family(buf, "process_cpu_seconds_total", "counter", "Total user and system CPU time.");
	pl_buf_printf(buf, "process_cpu_seconds_total %.6f\n", cpu_s);
	pl_metrics_gauge(buf, "process_resident_memory_bytes", "Resident memory size.",
	                 (double)resident_pages() * (double)sysconf(_SC_PAGESIZE));
	pl_metrics_gauge(buf, "process_open_fds", "Open file descriptors.", open_descriptors());
	pl_metrics_gauge(buf, "process_start_time_seconds", "Start time of the daemon.",
	                 (double)daemon->started_us / 1e6);
}

void pl_metrics_print(struct pl_buf *buf, struct pl_daemon *daemon)
{
	pl_stats_print(buf, daemon->stats);
	print_workers(buf, daemon);
	pl_metrics_replication(buf, daemon);
	print_heal(buf, daemon);
	print_integrity(buf, daemon);
	print_audit(buf, daemon);
	print_config(buf, daemon);
	print_tables(buf, daemon);
	print_peers(buf, daemon);
	print_housekeep(buf, daemon);
	pl_certificates_print_metrics(buf, daemon);
	pl_keys_print_metrics(buf, daemon);
	pl_metrics_faults(buf, daemon);
	print_process(buf, daemon);
}
