// Answers the asks of other regions, which audit_talk.c receives, from what audit_look.c
// reads. Nothing is remembered between two asks.
// Threads: the audit's.
#include "audit/audit_private.h"

#include <stdio.h>

#include "compare/digest.h"

// Chooses the ranges of an answer: they begin with the first one that has a record, and
// are no more than may be read in about a second.
static int find_ranges(struct pl_audit *audit, const struct pl_resource *resource,
                       const struct pl_audit_message *ask, struct pl_audit_span *span_r,
                       struct pl_audit_message *answer, struct pl_error *err)
{
	int64_t most = audit->config->audit.rows_per_second / RANGE, id, first;

	most = most < ask->ranges ? most : ask->ranges;
	if (audit->range_us > 0 && most > SECOND / audit->range_us)
		most = SECOND / audit->range_us;
	most = most < 1 ? 1 : most > RANGES_MAX ? RANGES_MAX : most;
	if (ask->from == INT64_MAX || !pl_audit_look_next(audit, resource, ask->from, &id, err)) {
		answer->end = true;
		return err->code;
	}
	first = id >> PL_DIGEST_RANGE_BITS;
	span_r->from = first * RANGE < ask->from ? ask->from : first * RANGE;
	span_r->until = first > INT64_MAX / RANGE - most ? INT64_MAX : (first + most) * RANGE;
	return 0;
}

static int look(struct pl_audit *audit, const struct pl_resource *resource,
                const struct pl_audit_message *ask, struct pl_audit_message *answer, struct pl_buf *rows,
                struct pl_error *err)
{
	struct pl_audit_span span = { ask->from, ask->until, ask->what == PL_AUDIT_RANGES, answer->by_text };
	int64_t n;
	int code = 0;

	if (ask->what == PL_AUDIT_RECORDS)
		return pl_audit_look_records(audit, resource, ask->ids, rows, err);
	if (ask->what == PL_AUDIT_RANGES)
		code = find_ranges(audit, resource, ask, &span, answer, err);
	if (ask->what == PL_AUDIT_ROWS && !pl_audit_judge_span(ask->from, ask->until, RANGE))
		return pl_error_set(err, PL_EINVAL, "it asks for more than a range");
	if (code < 0 || answer->end)
		return code;
	n = pl_audit_look_digests(audit, resource, &span, rows, err);
	answer->from = span.from;
	answer->until = span.until;
	return n < 0 ? (int)n : 0;
}

static void send(struct pl_audit *audit, const struct pl_audit_message *answer)
{
	struct pl_buf text = { 0 };

	pl_audit_message_print(&text, answer);
	pl_audit_mail_send(audit->options.mail, answer->to, &text);
	audit->options.send(audit->options.arg);
	pl_buf_fini(&text);
	pthread_mutex_lock(&audit->lock);
	audit->stats.answers++;
	pthread_mutex_unlock(&audit->lock);
}

static int answer_with(struct pl_audit *audit, const struct pl_resource *resource,
                       const struct pl_audit_message *ask, struct pl_audit_message *answer,
                       struct pl_error *err)
{
	const struct pl_resource *shared = pl_audit_fields_shared(audit->answering, resource, ask);
	int major = PQserverVersion(pl_session_pg(audit->session)) / 10000, code;
	struct pl_buf fields = { 0 }, positions = { 0 }, rows = { 0 };

	pl_audit_fields_print(&fields, shared);
	answer->fields = fields.data;
	answer->track = shared->track_fields;
	answer->by_text = major != ask->major || major < 14; // older servers cannot hash a row
	code = look(audit, shared, ask, answer, &rows, err);
	if (code == 0)
		code = pl_audit_look_positions(audit, &positions, err); // after the rows: covers them
	answer->positions = positions.data;
	answer->rows = rows.len ? rows.data : "";
	if (code == 0)
		send(audit, answer);
	pl_buf_fini(&fields);
	pl_buf_fini(&positions);
	pl_buf_fini(&rows);
	return code;
}

void pl_audit_answer(struct pl_audit *audit, const struct pl_audit_message *ask)
{
	const struct pl_resource *resource = pl_config_resource(audit->config, ask->resource);
	struct pl_audit_message answer = { .is_answer = true,
		                           .what = ask->what,
		                           .resource = ask->resource,
		                           .from = ask->from,
		                           .until = ask->until };
	struct pl_error err = { 0 };

	snprintf(answer.region, sizeof(answer.region), "%s", audit->region->name);
	snprintf(answer.to, sizeof(answer.to), "%s", ask->region);
	memcpy(answer.id, ask->id, sizeof(answer.id));
	if (!resource) {
		answer.fault = "it has no such resource";
		send(audit, &answer);
		return;
	}
	if (pl_audit_wait_turn(audit, &err) == 0 && answer_with(audit, resource, ask, &answer, &err) == 0)
		return;
	if (err.code != PL_ESTOPPED && pl_log_limit_ok(&audit->answer_limit, 10 * SECOND))
		pl_warning("audit: region %s asks for %s, and there is no answer: %s", ask->region,
		           ask->resource, err.text);
	if (err.sqlstate[0]) { // the other region need not wait for an answer that will not come
		answer.fault = pl_arena_printf(audit->answering, "its database says: %s", err.text);
		send(audit, &answer);
	}
}
