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

static bool same(const struct stuck *slow, const struct item *item)
{
	return item->event && slow->key.resource == item->event->resource->index &&
	       slow->key.id == item->event->id;
}

void pl_apply_batch_note_slow(struct pl_apply_batch *b, const struct item *item)
{
	int i = 0;

	pl_apply_batch_be_wary(b);
	while (i < b->nslow && !same(&b->slow[i], item))
		i++;
	if (i == STUCK_MAX) // what it takes is limited, too
		return;
	b->nslow += i == b->nslow;
	b->slow[i] = (struct stuck){ .key = { item->event->resource->index, item->event->id },
		                     .until_us = b->wary_until_us };
}

void pl_apply_batch_forget_slow(struct pl_apply_batch *b, const struct item *items, int n)
{
	for (int i = 0; i < b->nslow; i++)
		for (int j = 0; j < n; j++)
			if (!items[j].put_off && same(&b->slow[i], &items[j])) {
				b->slow[i--] = b->slow[--b->nslow];
				break;
			}
}

void pl_apply_batch_spare_slow(struct pl_apply_batch *b, struct item *items, int n)
{
	int64_t now_us = b->nslow > 0 ? pl_mono_us() : 0;

	for (int i = 0; i < b->nslow; i++) {
		if (b->slow[i].until_us < now_us) {
			b->slow[i--] = b->slow[--b->nslow];
			continue;
		}
		for (int j = 0; j < n; j++)
			if (!items[j].refusal && same(&b->slow[i], &items[j]))
				items[j].refusal = &slow_before;
	}
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
