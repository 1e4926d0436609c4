// Retrying parked events: see parked_retry.h. apply/batch_retry.c tries them.
#include "apply/parked_retry.h"

#include "base/clock.h"
#include "base/log.h"

#include <string.h>

#define INTERVAL_US      INT64_C(200000)
#define AFTER_FAILURE_US INT64_C(1200000)
#define BUSY_US          INT64_C(500000) // for this long after other events were applied
// How long one retry may take, and how many times longer the pause after it is than the
// time that it spent in vain.
#define BUSY_BUDGET_US   INT64_C(20000)
#define IDLE_BUDGET_US   INT64_C(50000)
#define BUSY_PAUSE       19
#define SLOW_US          INT64_C(200000)
#define SLOW_PAUSE       4

void pl_parked_retry_all(struct pl_parked_retry *r)
{
	r->all_due = true;
	r->due_id = 0;
	r->next_us = 0; // a slow refusal may have caused a long pause, and its cause may be gone
}

bool pl_parked_retry_is_due(const struct pl_parked_retry *r, int64_t now_us)
{
	return now_us >= r->next_us && (r->parked > 0 || r->all_due || r->letters_due);
}

int pl_parked_retry_patience_ms(const struct pl_parked_retry *r, int ms)
{
	int64_t left_ms = r->more ? (r->next_us - pl_mono_us() + 999) / 1000 : ms;

	return left_ms < 0 ? 0 : left_ms < ms ? (int)left_ms : ms;
}

void pl_parked_retry_note_others(struct pl_parked_retry *r)
{
	r->busy_until_us = pl_mono_us() + BUSY_US;
}

// In several steps if there are many.
static int hurry(struct pl_parked_retry *r, const struct pl_apply_tools *tools, struct pl_error *err)
{
	int code = r->all_due ? pl_apply_rows_parked_hurry(tools->session, &r->due_id, err) : 0;

	if (code == 0 && r->due_id == INT64_MAX)
		r->all_due = false;
	return code;
}

static int retry(struct pl_apply_batch *batch, const struct pl_apply_tools *tools, enum pl_kept kept,
                 struct pl_apply_counts *counts, struct pl_retry *sum, struct pl_error *err)
{
	struct pl_retry one = { .budget_us = sum->budget_us };
	int code = pl_apply_batch_retry(batch, tools, kept, counts, &one, err);

	sum->tried += one.tried;
	sum->done += one.done;
	sum->wasted_us += one.wasted_us;
	sum->more |= one.more;
	sum->left_out |= one.left_out;
	return code;
}

int pl_parked_retry_run(struct pl_parked_retry *r, struct pl_apply_batch *batch,
                        const struct pl_apply_tools *tools, struct pl_apply_counts *counts, int *tried_r,
                        struct pl_error *err)
{
	int64_t begun_us = pl_mono_us(), pause_us;
	bool busy = begun_us < r->busy_until_us;
	struct pl_retry sum = { .budget_us = busy ? BUSY_BUDGET_US : IDLE_BUDGET_US };
	int code = hurry(r, tools, err);

	if (code == 0)
		code = retry(batch, tools, PL_KEPT_PARKED, counts, &sum, err);
	if (code == 0 && r->letters_due)
		code = retry(batch, tools, PL_KEPT_LETTERS, counts, &sum, err);
	if (sum.done == 0)
		sum.wasted_us = pl_mono_us() - begun_us;
	// Finding others among thousands that are left out takes time, too.
	pause_us = (busy && sum.tried > 0) || sum.left_out ? BUSY_PAUSE * sum.wasted_us : 0;
	// What takes long may be in the way of others that come any moment.
	if (pause_us == 0 && sum.wasted_us > SLOW_US)
		pause_us = SLOW_PAUSE * sum.wasted_us;
	r->more = code == 0 && sum.more;
	if (!r->more && pause_us < INTERVAL_US)
		pause_us = INTERVAL_US;
	*tried_r = sum.tried;
	r->next_us = pl_mono_us() + (code < 0 ? AFTER_FAILURE_US : pause_us);
	return code;
}

int pl_parked_retry_count(struct pl_parked_retry *r, struct pl_apply_batch *batch,
                          const struct pl_apply_tools *tools, int64_t *dead_r, struct pl_error *err)
{
	int code = pl_apply_rows_count_kept(tools->session, &r->parked, dead_r, &r->letters_due, err);

	if (code == 0)
		pl_apply_batch_expect_parked(batch, r->parked > 0);
	return code;
}

// If an event was parked, and its table changed, since the last look, this misses the
// change; but such an event is due within a second anyway.
int pl_parked_retry_look(struct pl_parked_retry *r, const struct pl_apply_tools *tools, struct pl_error *err)
{
	char now[PL_DEFINITIONS_MAX] = "";
	int code = r->parked > 0 ? pl_apply_rows_definitions(tools->sql, tools->session, now, err) : 0;

	if (code < 0)
		return code;
	if (r->definitions[0] && now[0] && strcmp(now, r->definitions) != 0) {
		pl_notice("retrying %lld parked events: a table has changed, or a daemon of the region came "
		          "or went",
		          (long long)r->parked);
		pl_parked_retry_all(r);
	}
	memcpy(r->definitions, now, sizeof(now));
	return 0;
}
