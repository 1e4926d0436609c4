// Events that take too long, for example because a trigger sleeps.
//
// The database ends a statement after statement_timeout. If each event of a batch took
// that long, the others would wait for all of them. So after one statement was ended, for
// WARY_US
//
//   a batch, and then its parts, get less time: see time_ms. Whoever needs more is
//   parked, and gets it when it is tried again;
//
//   events of a record that was parked for this are parked untried. One that is applied
//   by a retry ends that;
//
//   after RUN_MAX events of a resource in a row were ended, the others of their batch are
//   parked untried, too: their table may be slow for all of them.
//
// When such an event is tried again, it gets FIRST_MS, then twice as much each time, up
// to statement_timeout. Threads: the batch's.
#include "apply/batch_private.h"

#define WARY_US  (60 * INT64_C(1000000))
#define RUN_MAX  8
#define FIRST_MS 500

static const struct refusal slow_before = {
	.reason = "another event of this record took too long a moment ago",
	.sqlstate = "57014",
};
static const struct refusal slow_others = {
	.reason = "other events of this resource took too long a moment ago",
	.sqlstate = "57014",
};

bool pl_apply_batch_is_slow(const struct pl_error *err)
{
	return strcmp(err->sqlstate, "57014") == 0;
}

bool pl_apply_batch_took_long(int64_t since_us, const struct pl_error *err)
{
	return pl_apply_batch_is_slow(err) && pl_mono_us() - since_us >= FIRST_MS * INT64_C(500);
}

void pl_apply_batch_be_wary(struct pl_apply_batch *b)
{
	b->wary_until_us = pl_mono_us() + WARY_US;
}

static bool is_wary(const struct pl_apply_batch *b)
{
	return b->wary_until_us > 0 && b->wary_until_us > pl_mono_us();
}

// ---- how much time a statement gets

static int time_ms(int n)
{
	return n > PL_CHUNK ? 4 * FIRST_MS : n > 1 ? 2 * FIRST_MS : FIRST_MS;
}

// 0: as long as statement_timeout says.
static const char *limit(struct pl_apply_batch *b, const struct pl_apply_tools *tools, int64_t ms)
{
	int64_t most_ms = tools->config->database.statement_timeout_us / 1000;

	snprintf(b->limit, sizeof(b->limit), "SET LOCAL statement_timeout = %lld",
	         (long long)(ms == 0 || (most_ms > 0 && most_ms < ms) ? most_ms : ms));
	return b->limit;
}

const char *pl_apply_batch_limit(struct pl_apply_batch *b, const struct pl_apply_tools *tools, int n)
{
	return is_wary(b) ? limit(b, tools, time_ms(n)) : "";
}

int pl_apply_batch_lift_limit(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                              struct pl_error *err)
{
	if (!is_wary(b) && !b->limited)
		return 0;
	b->limited = false;
	return pl_session_do(tools->session, limit(b, tools, 0), err);
}

int pl_apply_batch_limit_retry(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                               const struct item *items, int n, struct pl_error *err)
{
	int times = items[0].slow < 20 ? items[0].slow - 1 : 20;
	char sql[128];

	if (items[0].slow == 0 && !b->limited)
		return 0;
	b->limited = items[0].slow > 0;
	snprintf(sql, sizeof(sql), "RELEASE event; %s; " PL_SAVEPOINT_PASS,
	         limit(b, tools,
	               !b->limited ? 0
	               : n > 1     ? 4 * FIRST_MS
	                           : (int64_t)FIRST_MS << times));
	return pl_session_do(tools->session, sql, err);
}

// ---- records

void pl_apply_batch_note_slow(struct pl_apply_batch *b, const struct item *item)
{
	pl_apply_batch_be_wary(b);
	// If there are too many, what each takes is limited, too.
	pl_apply_batch_marks_add(&b->slow,
	                         (struct pl_touched_row_key){ item->event->resource->index, item->event->id },
	                         WARY_US);
}

void pl_apply_batch_forget_slow(struct pl_apply_batch *b, const struct item *items, int n)
{
	for (int i = b->slow.n - 1; i >= 0; i--)
		for (int j = 0; j < n; j++)
			if (!items[j].put_off && pl_apply_batch_mark_is(&b->slow.each[i], &items[j])) {
				pl_apply_batch_marks_drop(&b->slow, i);
				break;
			}
}

void pl_apply_batch_spare_slow(struct pl_apply_batch *b, struct item *items, int n)
{
	pl_apply_batch_marks_expire(&b->slow);
	for (int i = 0; i < b->slow.n; i++)
		for (int j = 0; j < n; j++)
			if (!items[j].refusal && pl_apply_batch_mark_is(&b->slow.each[i], &items[j]))
				items[j].refusal = &slow_before;
}

// items: the one that took too long, and those after it.
void pl_apply_batch_spare_run(struct pass *pass, struct item *items, int n)
{
	if (++pass->slow_run < RUN_MAX || !items->event)
		return;
	for (int i = 1; i < n; i++)
		if (items[i].event && !items[i].refusal && items[i].event->resource == items->event->resource)
			items[i].refusal = &slow_others;
}
