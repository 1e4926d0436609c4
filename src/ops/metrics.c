// All of a daemon's metrics as Prometheus text: `promtool check metrics` finds nothing to say.
//
// Stands at the end of GET /metrics. Names and meanings are listed in plistd(8); a test compares.
// Threads: any; reads what other threads publish.
#include "ops/builtin.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "config.h"

static void family(struct pl_buf *buf, const char *name, const char *type, const char *help)
{
	pl_buf_printf(buf, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void counter(struct pl_buf *buf, const char *name, const char *help, uint64_t value)
{
	family(buf, name, "counter", help);
	pl_buf_printf(buf, "%s %llu\n", name, (unsigned long long)value);
}

static void gauge(struct pl_buf *buf, const char *name, const char *help, double value)
{
	family(buf, name, "gauge", help);
	pl_buf_printf(buf, "%s %.15g\n", name, value);
}

static void labelled(struct pl_buf *buf, const char *name, const char *key, const char *label, double value)
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
}

static void add_samples(struct pl_stats_sample *sum, const struct pl_stats_sample *one)
{
	sum->listener.accepted += one->listener.accepted;
	sum->listener.evicted += one->listener.evicted;
	sum->listener.timed_out += one->listener.timed_out;
	sum->listener.unparsed += one->listener.unparsed;
	sum->listener.refused += one->listener.refused;
	sum->listener.overloaded += one->listener.overloaded;
	sum->listener.overdue += one->listener.overdue;
	sum->listener.connections += one->listener.connections;
	sum->listener.in_flight += one->listener.in_flight;
	add_store(&sum->store, &one->store);
}

static void print_listener(struct pl_buf *buf, const struct pl_listener_stats *s)
{
	gauge(buf, "plist_http_connections", "Open connections of clients.", s->connections);
	gauge(buf, "plist_http_requests_in_flight", "Requests that are not answered yet.", s->in_flight);
	counter(buf, "plist_http_connections_accepted_total", "Connections accepted.", s->accepted);
	counter(buf, "plist_http_connections_evicted_total", "Connections closed to make room for new ones.", s->evicted);
	counter(buf, "plist_http_connections_timed_out_total", "Connections closed in the middle of a request that took too long.", s->timed_out);
	counter(buf, "plist_http_requests_unparsed_total", "Requests that never came whole or were refused by libmicrohttpd.", s->unparsed);
	counter(buf, "plist_http_requests_refused_total", "Requests whose head could be read in two ways, or in none.", s->refused);
	counter(buf, "plist_http_requests_overloaded_total", "Requests answered 503 because too many were waiting.", s->overloaded);
	counter(buf, "plist_http_requests_overdue_total", "Requests answered past their deadline, their handler not being done.", s->overdue);
}

static void print_store(struct pl_buf *buf, const struct pl_store_stats *s)
{
	counter(buf, "plist_store_writes_total", "Writes sent to the database.", s->writes);
	counter(buf, "plist_store_batches_total", "Batches of writes: statements sent to the database, mostly a transaction each.", s->batches);
	counter(buf, "plist_store_single_total", "Batches of one write.", s->single);
	counter(buf, "plist_store_stacked_total", "Writes of hot records, in the transaction of an earlier write of their record.", s->stacked);
	counter(buf, "plist_store_retried_total", "Writes that were sent again after their transaction failed.", s->retried);
	counter(buf, "plist_store_deadlocks_total", "Transactions that the database ended because of a deadlock.", s->deadlocks);
	counter(buf, "plist_store_unknown_total", "Writes whose outcome was not known when the connection was lost.", s->unknown);
	counter(buf, "plist_store_settled_total", "Writes of unknown outcome that were found out afterwards.", s->settled);
	counter(buf, "plist_store_reads_total", "Records read by id.", s->reads);
	counter(buf, "plist_store_read_batches_total", "Statements that read records by id, many at a time.", s->read_batches);
	counter(buf, "plist_store_queries_total", "Lists and queries of handlers.", s->queries);
	counter(buf, "plist_store_reconnects_total", "Connections to the database that were made again.", s->reconnects);
	gauge(buf, "plist_store_write_queue", "Writes that wait for a connection.", s->write_queue);
	gauge(buf, "plist_store_read_queue", "Reads and queries that wait for a connection.", s->read_queue);
	gauge(buf, "plist_store_in_flight", "Writes and reads that are at the database.", s->in_flight);
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
	pl_writes_stats(daemon->writes, &writes);
	add_store(&sum->store, &writes);
	print_listener(buf, &sum->listener);
	print_store(buf, &sum->store);
	family(buf, "plist_lua_memory_bytes", "gauge", "Memory of a worker's Lua state.");
	for (int i = 0; i < n; i++) {
		snprintf(label, sizeof(label), "%d", i);
		labelled(buf, "plist_lua_memory_bytes", "worker", label, (double)samples[i].lua_memory);
	}
	family(buf, "plist_worker_database_up", "gauge", "Whether a worker has its connections to the database, those for reads.");
	for (int i = 0; i < n; i++) {
		snprintf(label, sizeof(label), "%d", i);
		labelled(buf, "plist_worker_database_up", "worker", label, samples[i].store_ready);
	}
	free(samples);
}

// ---- replication

static void print_relay(struct pl_buf *buf, const struct pl_relay_stats *s)
{
	gauge(buf, "plist_relay_leader", "Whether this daemon's relay is the one that publishes.", s->leader);
	counter(buf, "plist_relay_published_total", "Events that the broker has acknowledged.", s->published);
	counter(buf, "plist_relay_batches_total", "Portions of the outbox that were published.", s->batches);
	counter(buf, "plist_relay_failures_total", "Portions of the outbox that could not be published and were tried again.", s->failed);
	counter(buf, "plist_relay_producers_replaced_total", "Kafka producers given up because an event was not delivered.", s->producers_replaced);
	counter(buf, "plist_relay_heartbeats_total", "Heartbeats sent.", s->heartbeats);
	gauge(buf, "plist_outbox_events", "Events in the outbox when the relay looked last.", (double)s->outbox_events);
	double age_s = s->outbox_oldest_us ? (double)(pl_now_us() - s->outbox_oldest_us) / 1e6 : 0;
	gauge(buf, "plist_outbox_oldest_age_seconds", "Age of the oldest event in the outbox; 0 when it is empty.", age_s > 0 ? age_s : 0);
}

static void print_apply(struct pl_buf *buf, const struct pl_apply_stats *s)
{
	static const char events[] = "plist_apply_events_total", shadow[] = "plist_policy_shadow_total";
	family(buf, events, "counter", "Events taken from Kafka, by what became of them.");
	labelled(buf, events, "outcome", "applied", (double)s->applied);
	labelled(buf, events, "outcome", "stale", (double)s->stale);
	labelled(buf, events, "outcome", "own", (double)s->own);
	labelled(buf, events, "outcome", "dead_letter", (double)s->dead_letters);
	counter(buf, "plist_apply_foreign_total", "Events of other producers, without plist's headers.", s->foreign);
	counter(buf, "plist_apply_twins_total", "Writes recognised as a second execution of one request.", s->twins);
	counter(buf, "plist_apply_batches_total", "Transactions of the applier.", s->batches);
	counter(buf, "plist_apply_retries_total", "Transactions of the applier that were done again.", s->retries);
	gauge(buf, "plist_apply_anew_pending", "Whether records with siblings are still to be shown anew, after a start or a change of policies.", s->anew_pending);
	gauge(buf, "plist_apply_partitions", "Partitions assigned to this daemon.", s->partitions);
	counter(buf, "plist_conflicts_total", "Concurrent writes detected.", s->conflicts);
	counter(buf, "plist_policy_errors_total", "Conflicts that fell back to last_writer_wins because the policy failed.", s->policy_errors);
	family(buf, shadow, "counter", "Verdicts of shadow policies, compared with those that counted.");
	labelled(buf, shadow, "verdict", "same", (double)s->shadow_same);
	labelled(buf, shadow, "verdict", "different", (double)s->shadow_different);
	labelled(buf, shadow, "verdict", "failed", (double)s->shadow_failed);
}

static void print_up(struct pl_buf *buf, struct pl_daemon *daemon, const struct pl_relay_stats *relay, const struct pl_apply_stats *apply)
{
	struct pl_error why;
	family(buf, "plist_database_up", "gauge", "Whether a thread, or what the workers write through, has its connections to the database.");
	labelled(buf, "plist_database_up", "thread", "writes", pl_writes_ready(daemon->writes, &why));
	labelled(buf, "plist_database_up", "thread", "relay", relay->database_up);
	labelled(buf, "plist_database_up", "thread", "apply", apply->database_up);
	family(buf, "plist_broker_up", "gauge", "Whether a thread has its connection to Kafka.");
	labelled(buf, "plist_broker_up", "thread", "relay", relay->broker_up);
	labelled(buf, "plist_broker_up", "thread", "apply", apply->broker_up);
}

static void print_lag(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_lag *lag = pl_calloc(1, sizeof(*lag)); // large
	pl_apply_lag(daemon->apply, lag);
	gauge(buf, "plist_replication_lag_seconds", "How far this region is behind the others.", lag->seconds);
	gauge(buf, "plist_replication_events_behind", "Events of other regions that are known and not applied.", (double)lag->events_behind);
	family(buf, "plist_replication_origin_lag_seconds", "gauge", "How far this region is behind another, by the region that wrote.");
	for (int i = 0; i < lag->norigins; i++)
		labelled(buf, "plist_replication_origin_lag_seconds", "origin", lag->origins[i].region, lag->origins[i].seconds);
	family(buf, "plist_replication_origin_events_behind", "gauge", "Events of another region that are known and not applied, by the region that wrote.");
	for (int i = 0; i < lag->norigins; i++)
		labelled(buf, "plist_replication_origin_events_behind", "origin", lag->origins[i].region, (double)lag->origins[i].events_behind);
	free(lag);
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

static const char *own_hash(const struct pl_loaded *loaded, const char *resource)
{
	for (int i = 0; i < loaded->npolicies; i++)
		if (!loaded->policies[i].shadow && strcmp(loaded->policies[i].resource, resource) == 0)
			return loaded->policies[i].sha256;
	return NULL;
}

// What another region says it decides by; resources that we do not have are passed over. As two families, one after the other.
static void print_peer(struct pl_buf *info, struct pl_buf *mismatch, const struct pl_loaded *loaded, const char *region, const cJSON *policies)
{
	const cJSON *policy;
	cJSON_ArrayForEach(policy, policies) {
		const char *name = pl_json_string(policy, "name"), *hash = pl_json_string(policy, "sha256"), *own = own_hash(loaded, policy->string);
		if (!name || !hash || !own)
			continue;
		pl_buf_printf(info, "plist_policy_region_info{resource=\"%s\",region=\"%s\",policy=\"", policy->string, region);
		label_text(info, name);
		pl_buf_adds(info, "\",sha256=\"");
		label_text(info, hash);
		pl_buf_adds(info, "\"} 1\n");
		pl_buf_printf(mismatch, "plist_policy_mismatch{resource=\"%s\",region=\"%s\",sha256=\"", policy->string, region);
		label_text(mismatch, hash);
		pl_buf_printf(mismatch, "\",own_sha256=\"%s\"} %d\n", own, strcmp(hash, own) != 0);
	}
}

static void print_peers(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_board_policies said[PL_REGIONS_MAX];
	int n = pl_apply_policies(daemon->apply, arena, said);
	struct pl_buf mismatch = {0};
	family(buf, "plist_policy_region_info", "gauge", "The conflict policies that the other regions say they have in force.");
	pthread_mutex_lock(&daemon->lock);
	for (int i = 0; i < n; i++) {
		cJSON *policies = pl_json_parse(said[i].policies, strlen(said[i].policies), &pl_json_default_limits, NULL);
		print_peer(buf, &mismatch, daemon->loaded, said[i].region, policies);
		cJSON_Delete(policies);
	}
	pthread_mutex_unlock(&daemon->lock);
	family(buf, "plist_policy_mismatch", "gauge", "Whether another region decides by another policy than this one; both hashes are named.");
	pl_buf_add(buf, mismatch.data ? mismatch.data : "", mismatch.len);
	pl_buf_fini(&mismatch);
	pl_arena_free(&arena);
}

// ---- the daemon

static void print_config(struct pl_buf *buf, struct pl_daemon *daemon)
{
	pthread_mutex_lock(&daemon->lock);
	const struct pl_loaded *loaded = daemon->loaded;
	family(buf, "plist_config_info", "gauge", "The configuration that is in force.");
	pl_buf_printf(buf, "plist_config_info{sha256=\"%s\"} 1\n", loaded->config->sha256);
	gauge(buf, "plist_config_loaded_timestamp_seconds", "When the configuration in force was loaded.", (double)daemon->loaded_us / 1e6);
	counter(buf, "plist_config_reloads_total", "Reloads of the configuration that were taken.", daemon->reloads);
	counter(buf, "plist_config_reload_failures_total", "Reloads of the configuration that were refused.", daemon->reload_failures);
	gauge(buf, "plist_config_last_reload_successful", "Whether the last reload of the configuration, or the start, was taken.", daemon->last_reload_ok);
	family(buf, "plist_policy_info", "gauge", "The conflict policies in force.");
	for (int i = 0; i < loaded->npolicies; i++) {
		const struct pl_policy_facts *p = &loaded->policies[i];
		pl_buf_printf(buf, "plist_policy_info{resource=\"%s\",policy=\"", p->resource);
		label_text(buf, p->name);
		pl_buf_printf(buf, "\",sha256=\"%s\",shadow=\"%s\"} 1\n", p->sha256, p->shadow ? "true" : "false");
	}
	pthread_mutex_unlock(&daemon->lock);
}

static void print_housekeep(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_housekeep_stats s;
	pl_housekeep_stats(daemon->housekeep, &s);
	counter(buf, "plist_housekeeping_requests_expired_total", "Remembered request ids that have expired and were deleted.", s.requests_expired);
	counter(buf, "plist_housekeeping_conflicts_deleted_total", "Conflicts deleted one by one.", s.conflicts_deleted);
	counter(buf, "plist_housekeeping_partitions_dropped_total", "Monthly partitions of the table of conflicts that were dropped.", s.partitions_dropped);
	counter(buf, "plist_housekeeping_failures_total", "Rounds of housekeeping that failed and were tried again.", s.failures);
	gauge(buf, "plist_housekeeping_last_success_timestamp_seconds", "End of the last round of housekeeping that succeeded.", (double)s.last_run_us / 1e6);
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
	double cpu_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	family(buf, "plist_build_info", "gauge", "The version that runs, and its region.");
	pl_buf_printf(buf, "plist_build_info{version=\"%s\",region=\"%s\"} 1\n", PACKAGE_VERSION, daemon->region);
	family(buf, "process_cpu_seconds_total", "counter", "Processor time used.");
	pl_buf_printf(buf, "process_cpu_seconds_total %.6f\n", cpu_s);
	gauge(buf, "process_resident_memory_bytes", "Memory in use.", (double)resident_pages() * (double)sysconf(_SC_PAGESIZE));
	gauge(buf, "process_open_fds", "Open descriptors.", open_descriptors());
	gauge(buf, "process_start_time_seconds", "When the daemon was started.", (double)daemon->started_us / 1e6);
}

void pl_metrics_print(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_relay_stats relay = {0};
	struct pl_apply_stats apply = {0};
	pl_relay_stats(daemon->relay, &relay);
	pl_apply_stats(daemon->apply, &apply);
	pl_stats_print(buf, daemon->stats);
	print_workers(buf, daemon);
	print_relay(buf, &relay);
	print_apply(buf, &apply);
	print_up(buf, daemon, &relay, &apply);
	print_lag(buf, daemon);
	print_config(buf, daemon);
	print_peers(buf, daemon);
	print_housekeep(buf, daemon);
	print_process(buf, daemon);
}
