// Health, readiness and the other routes that the daemon answers itself.
//
// Stands where http/router finds a built-in route. Health never looks at anything: a region whose database is away still lives, and restarting
// it would not help. Readiness is for those who send it work.
// Threads: any worker's.
#include "ops/builtin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/problem.h"

static void reason(struct pl_buf *json, int *n, const char *text)
{
	pl_buf_adds(json, (*n)++ ? "," : "");
	pl_buf_add_json(json, text, strlen(text));
}

// Why there are no connections for writes, or a worker has none to read on. Whoever asks has just taken its own sample.
static bool workers_ready(struct pl_daemon *daemon, char why[PL_ERROR_TEXT_MAX])
{
	int n = pl_stats_blocks(daemon->stats);
	struct pl_error err;
	if (!pl_writes_ready(daemon->writes, &err)) {
		snprintf(why, PL_ERROR_TEXT_MAX, "%s", err.text);
		return false;
	}
	for (int i = 0; i < n; i++) {
		struct pl_stats_sample sample;
		pl_stats_get_sample(daemon->stats, i, &sample);
		if (!sample.store_ready) {
			snprintf(why, PL_ERROR_TEXT_MAX, "%s", sample.why[0] ? sample.why : "the database does not answer");
			return false;
		}
	}
	return true;
}

int pl_ready_reasons(struct pl_daemon *daemon, struct pl_buf *json)
{
	struct pl_apply_stats apply = {0};
	char why[PL_ERROR_TEXT_MAX];
	int n = 0;
	pl_buf_addc(json, '[');
	if (atomic_load(&daemon->draining))
		reason(json, &n, "the daemon is stopping");
	if (!workers_ready(daemon, why))
		reason(json, &n, why);
	pl_apply_stats(daemon->apply, &apply);
	if (!apply.assigned)
		reason(json, &n, apply.broker_up ? "the consumer has no partitions yet" : "Kafka does not answer, and the consumer has no partitions");
	pl_buf_addc(json, ']');
	return n;
}

static void answer_health(struct pl_daemon *daemon, struct pl_answer *answer)
{
	answer->status = 200;
	pl_buf_printf(&answer->body, "{\"status\":\"ok\",\"region\":\"%s\"}", daemon->region);
}

// A problem with one member more than others have; so it is printed here.
static void answer_ready(struct pl_daemon *daemon, const struct pl_request *request, struct pl_answer *answer)
{
	struct pl_buf reasons = {0};
	if (pl_ready_reasons(daemon, &reasons) == 0) {
		answer->status = 200;
		pl_buf_printf(&answer->body, "{\"status\":\"ready\",\"region\":\"%s\"}", daemon->region);
	} else {
		struct pl_problem problem = {.status = 503, .title = "Not ready", .retryable = 1};
		answer->status = 503;
		answer->content_type = "application/problem+json";
		pl_problem_print(&answer->body, &problem, request->request_id);
		answer->body.len--; // the closing brace
		pl_buf_printf(&answer->body, ",\"region\":\"%s\",\"reasons\":", daemon->region);
		pl_buf_add(&answer->body, reasons.data, reasons.len);
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

void pl_builtin_answer(struct pl_daemon *daemon, enum pl_builtin which, const struct pl_request *request, struct pl_answer *answer)
{
	switch (which) {
	case PL_BUILTIN_NONE:
	case PL_BUILTIN_HEALTH:
		answer_health(daemon, answer);
		return;
	case PL_BUILTIN_READY:
		answer_ready(daemon, request, answer);
		return;
	case PL_BUILTIN_METRICS:
		answer->status = 200;
		answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
		pl_metrics_print(&answer->body, daemon);
		return;
	case PL_BUILTIN_LAG:
		answer_lag(daemon, answer);
		return;
	}
}
