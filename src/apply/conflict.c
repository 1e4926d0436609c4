// Conflicts as rows of the table: the writes that met, the policy's answer, the visible
// row.
//
// apply/decision detects them, apply/rows writes them. Threads: any; nothing is shared.
#include "apply/conflict.h"

#include <string.h>

#include "base/clock.h"
#include "record/fields.h"

static void add_time(struct pl_buf *buf, const char *name, int64_t at_us)
{
	char at[PL_TIME_TEXT_MAX];

	pl_buf_printf(buf, ",\"%s\":\"%s\"", name, pl_clock_format_time(at_us, at));
}

static void add_text(struct pl_buf *buf, const char *name, const char *text)
{
	pl_buf_printf(buf, ",\"%s\":", name);
	pl_buf_add_json(buf, text, text ? strlen(text) : 0);
}

static void add_sibling(struct pl_buf *buf, const struct pl_resource *resource,
                        const struct pl_sibling *write)
{
	pl_buf_printf(buf, "{\"origin\":\"%s\",\"counter\":%d,\"vector\":", write->dot.region,
	              write->dot.counter);
	pl_vector_print(buf, &write->vector);
	add_time(buf, "updated_at", write->updated_at_us);
	pl_buf_printf(buf, ",\"deleted\":%s,\"fields\":", write->deleted ? "true" : "false");
	pl_fields_print(buf, resource, write->values, write->unknown);
	pl_buf_printf(buf, ",\"field_times\":%s", write->field_times ? write->field_times : "null");
	add_text(buf, "request_id", write->request_id);
	add_text(buf, "principal", write->principal);
	pl_buf_addc(buf, '}');
}

static const char *taken(struct pl_arena *arena, struct pl_buf *buf)
{
	const char *text = pl_arena_strndup(arena, buf->data, buf->len);

	pl_buf_reset(buf);
	return text;
}

struct pl_conflict_row pl_conflict_make(struct pl_arena *arena, const struct pl_touched_row *touched,
                                        const struct pl_state *state, const struct pl_shown *shown,
                                        const struct pl_conflict_policy *policy, const struct pl_event *event)
{
	const struct pl_resource *resource = touched->resource;
	struct pl_conflict_row row = { .touched = touched,
		                       .policy_name = policy->name,
		                       .policy_sha256 = policy->sha256,
		                       .event = event };
	struct pl_buf buf = { 0 };

	row.type = pl_decide_conflict_type(shown->rows, shown->nrows);
	row.policy_error = shown->policy_failed ? pl_arena_strdup(arena, shown->policy_error.text) : NULL;
	row.vector = &state->vector;
	for (int i = 0; i < shown->nrows; i++) {
		pl_buf_addc(&buf, i ? ',' : '[');
		add_sibling(&buf, resource, &shown->rows[i]);
	}
	pl_buf_addc(&buf, ']');
	row.siblings = taken(arena, &buf);
	if (shown->nrows == 1 || shown->verdict.take >= 0) {
		pl_buf_printf(&buf, "{\"take\":%d}", shown->nrows == 1 ? 1 : shown->verdict.take + 1);
	} else {
		pl_buf_adds(&buf, "{\"merge\":");
		pl_fields_print(&buf, resource, shown->verdict.merged, shown->row.unknown);
		pl_buf_addc(&buf, '}');
	}
	row.verdict = taken(arena, &buf);
	pl_buf_adds(&buf, "{\"fields\":");
	pl_fields_print(&buf, resource, shown->row.values, shown->row.unknown);
	pl_buf_printf(&buf, ",\"origin\":\"%s\",\"version\":%d", shown->row.dot.region, state->version);
	add_time(&buf, "updated_at", shown->row.updated_at_us);
	pl_buf_printf(&buf, ",\"deleted\":%s}", shown->row.deleted ? "true" : "false");
	row.visible = taken(arena, &buf);
	pl_buf_fini(&buf);
	return row;
}
