// Health, readiness and the other routes that the daemon answers itself.
//
// Called for the built-in routes of http/router. Health does not check anything: a region
// whose database is unavailable is still alive, and a restart would not help. Readiness
// is for load balancers.
// Threads: any worker's, and that of the operators' listener.
#include "ops/builtin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apply/apply.h"
#include "heal/heal.h"
#include "http/problem.h"
#include "ops/keys.h"
#include "ops/ops_private.h"
#include "ops/stats.h"
#include "ops/watchdog.h"
#include "relay/relay.h"
#include "store/shared_writer.h"
#include "store/table_gate.h"

// shorter failures recover by themselves: a deadlock, a broken connection
#define FAILING_US (2 * INT64_C(1000000))
// a worker takes a sample of itself several times a second
#define SILENT_US  (10 * INT64_C(1000000))

static void reason(struct pl_buf *json, int *n, const char *text)
{
	pl_buf_adds(json, (*n)++ ? "," : "");
	pl_buf_add_json(json, text, strlen(text));
}

static bool unusable(char why[PL_ERROR_TEXT_MAX], const char *text)
{
	struct pl_error err;
	pl_error_set(&err, PL_EUNAVAIL, "the database is unavailable: %s", text);
	snprintf(why, PL_ERROR_TEXT_MAX, "%s", err.text);
	return false;
}

// Checks the connections of the shared writer and of each worker. A worker that calls has
// just taken its own sample.
static bool workers_ready(struct pl_daemon *daemon, char why[PL_ERROR_TEXT_MAX])
{
	int n = pl_stats_blocks(daemon->stats);
	struct pl_error err;
	if (!pl_shared_writer_ready(daemon->writes, &err))
		return unusable(why, err.text);
	for (int i = 0; i < n; i++) {
		struct pl_stats_sample sample;
		pl_stats_get_sample(daemon->stats, i, &sample);
		if (!sample.store_ready)
			return unusable(why, sample.why[0] ? sample.why : "it does not respond");
	}
	return true;
}

// One that hangs in a library or for a lock: the watchdog sees only what hangs in Lua.
static void workers_turn(struct pl_daemon *daemon, struct pl_buf *json, int *n)
{
	char why[96];
	int64_t age_us = pl_stats_age_us(daemon->stats);
	if (age_us < SILENT_US)
		return;
	snprintf(why, sizeof(why), "a worker has done nothing for %lld s", (long long)(age_us / 1000000));
	reason(json, n, why);
}

// A broker that is unavailable is no reason by itself: writes wait in the outbox.
static void applier_ready(const struct pl_apply_stats *apply, bool serving, struct pl_buf *json, int *n)
{
	char why[PL_ERROR_TEXT_MAX + 100];
	const char *none = apply->broker_up ? "the consumer has no partitions yet"
	                                    : "Kafka is unavailable, and the consumer has no partitions";
	if (!apply->assigned) {
		snprintf(why, sizeof(why), "%s%s%s", none, apply->trouble[0] ? ": " : "", apply->trouble);
		reason(json, n, why);
	} else if (serving && apply->failing_us > FAILING_US) { // else the database, already named
		snprintf(why, sizeof(why), "events of other regions have not been applied for %lld s: %s",
		         (long long)(apply->failing_us / 1000000), apply->trouble);
		reason(json, n, why);
	}
}

// As long as the topic, or a table, is like this, writes would only wait in the outbox.
static void relay_ready(struct pl_daemon *daemon, bool serving, struct pl_buf *json, int *n)
{
	struct pl_buf all = { 0 };
	struct pl_relay_stats relay;
	char refused[PL_ERROR_TEXT_MAX], why[PL_ERROR_TEXT_MAX + 100];
	pl_relay_stats(daemon->relay, &relay);
	if (serving && relay.failing_us > FAILING_US) {
		snprintf(why, sizeof(why), "events of this region have not been published for %lld s: %s",
		         (long long)(relay.failing_us / 1000000), relay.trouble);
		reason(json, n, why);
	}
	pl_relay_topics(daemon->relay, &all, refused);
	if (refused[0])
		reason(json, n, refused);
	pl_buf_fini(&all);
}

// A table with a constraint or trigger that is not tolerated takes no writes.
static void tables_ready(struct pl_daemon *daemon, struct pl_buf *json, int *n)
{
	pthread_mutex_lock(&daemon->lock);
	const struct pl_config *config = daemon->loaded->config;
	for (int i = 0; i < config->nresources; i++) {
		const char *name = config->resources[i].name;
		char why[PL_ERROR_TEXT_MAX + 64];
		struct pl_error err;
		if (!pl_table_gate_is_closed(daemon->tables, name, &err))
			continue;
		snprintf(why, sizeof(why), "%s, and resources.%s.tolerate does not list it", err.text, name);
		reason(json, n, why);
	}
	pthread_mutex_unlock(&daemon->lock);
}

int pl_builtin_ready_reasons(struct pl_daemon *daemon, struct pl_buf *json)
{
	struct pl_apply_stats apply = { 0 };
	struct pl_watchdog_stats watchdog;
	char why[PL_ERROR_TEXT_MAX];
	int n = 0;
	pl_buf_addc(json, '[');
	if (atomic_load(&daemon->draining))
		reason(json, &n, "the daemon is stopping");
	bool open = pl_heal_reason(daemon->heal, why) == PL_HEAL_OPEN;
	if (!open)
		reason(json, &n, why);
	bool serving = workers_ready(daemon, why);
	if (!serving && open) // else connections that write wait for that
		reason(json, &n, why);
	tables_ready(daemon, json, &n);
	pl_watchdog_stats(daemon->watchdog, &watchdog);
	if (watchdog.now > 0)
		reason(json, &n, watchdog.why);
	workers_turn(daemon, json, &n);
	if (!pl_keys_ready(daemon, why))
		reason(json, &n, why);
	pl_apply_stats(daemon->apply, &apply);
	applier_ready(&apply, serving, json, &n);
	relay_ready(daemon, serving, json, &n);
	pl_buf_addc(json, ']');
	return n;
}

static void answer_health(struct pl_daemon *daemon, struct pl_answer *answer)
{
	answer->status = 200;
	pl_buf_printf(&answer->body, "{\"status\":\"ok\",\"region\":\"%s\"}", daemon->region);
}

// Printed here because it has more members than other problems. Why a daemon is not ready
// is only for operators: the reasons name hosts, tables and files.
static void answer_ready(struct pl_daemon *daemon, const struct pl_request *request, struct pl_answer *answer,
                         bool with_reasons)
{
	struct pl_buf reasons = { 0 };
	if (pl_builtin_ready_reasons(daemon, &reasons) == 0) {
		answer->status = 200;
		pl_buf_printf(&answer->body, "{\"status\":\"ready\",\"region\":\"%s\"}", daemon->region);
	} else {
		struct pl_problem problem = { .status = 503, .title = "Not ready", .retryable = 1 };
		answer->status = 503;
		answer->not_executed = true;
		answer->content_type = "application/problem+json";
		pl_problem_print(&answer->body, &problem, request->request_id);
		answer->body.len--; // the closing brace
		pl_buf_printf(&answer->body, ",\"region\":\"%s\"", daemon->region);
		if (with_reasons)
			pl_buf_printf(&answer->body, ",\"reasons\":%s", reasons.data);
		pl_buf_addc(&answer->body, '}');
	}
	pl_buf_fini(&reasons);
}

static void answer_lag(struct pl_daemon *daemon, struct pl_answer *answer)
{
	struct pl_lag *lag = pl_calloc(1, sizeof(*lag)); // large
	pl_apply_lag(daemon->apply, lag);
	answer->status = 200;
	pl_lag_print(&answer->body, lag);
	free(lag);
}

void pl_builtin_answer(struct pl_daemon *daemon, enum pl_builtin which, const struct pl_request *request,
                       struct pl_answer *answer)
{
	switch (which) {
	case PL_BUILTIN_NONE:
	case PL_BUILTIN_HEALTH: answer_health(daemon, answer); return;
	case PL_BUILTIN_READY: answer_ready(daemon, request, answer, false); return;
	case PL_BUILTIN_REASONS: answer_ready(daemon, request, answer, true); return;
	case PL_BUILTIN_METRICS:
		answer->status = 200;
		answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
		pl_metrics_print(&answer->body, daemon);
		return;
	case PL_BUILTIN_LAG: answer_lag(daemon, answer); return;
	}
}
