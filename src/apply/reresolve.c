// Re-resolving: see reresolve.h.
#include "apply/reresolve.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define STEP       200
#define STEP_MIN   25 // while the database refuses some, which takes several tries each
#define HELD_STEP  8  // each of them may wait for a lock
#define LOCKED_US  INT64_C(1000000)
#define REFUSED_US INT64_C(10000000)  // the pause doubles up to this,
#define MANY_US    INT64_C(300000000) // or this, if all records have to be gone through again

void pl_reresolve_begin(struct pl_reresolve *r, bool pending)
{
	memset(r, 0, sizeof(*r));
	r->pending = pending;
	r->pause_us = LOCKED_US;
	r->step = STEP;
}

bool pl_reresolve_is_due(const struct pl_reresolve *r, int64_t now_us)
{
	return r->pending && now_us >= r->next_us;
}

int pl_reresolve_patience_ms(const struct pl_reresolve *r, int ms)
{
	int64_t left_ms = r->pending ? (r->next_us - pl_mono_us() + 999) / 1000 : ms;

	return left_ms < 0 ? 0 : left_ms < ms ? (int)left_ms : ms;
}

static int count(struct pl_reresolve *r, int n, const struct pl_apply_tools *tools, struct pl_error *err)
{
	int64_t total = 0;
	int code = n > 0 ? pl_apply_rows_count_flagged(tools->session, &total, err) : 0;

	if (code == 0)
		r->total = (uint64_t)total;
	return code;
}

static void log_progress(const struct pl_reresolve *r, uint64_t n)
{
	uint64_t every = 50 * STEP, before = r->seen - n;

	if (r->seen > 0 && (!r->pending || (!r->passed && r->seen / every > before / every)))
		pl_notice("re-resolved %llu records with concurrent writes; %llu of them changed%s",
		          (unsigned long long)r->seen, (unsigned long long)r->changed,
		          r->pending ? "; there are more" : "");
}

static void hold(struct pl_reresolve *r, const struct pl_flagged *record)
{
	struct pl_reresolve_held *held = &r->held[r->nheld];

	r->refused |= record->state == PL_FLAGGED_REFUSED;
	r->overflowed |= r->nheld == PL_RERESOLVE_HELD_MAX;
	if (r->nheld == PL_RERESOLVE_HELD_MAX)
		return;
	snprintf(held->resource, sizeof(held->resource), "%s", record->resource);
	held->id = record->id;
	r->nheld++;
}

// Notes which of these are done, and holds the others.
static void take(struct pl_reresolve *r, const struct pl_flagged *records, int n, int changed)
{
	for (int i = 0; i < n; i++)
		if (records[i].state == PL_FLAGGED_DONE)
			r->seen++;
		else
			hold(r, &records[i]);
	r->changed += (uint64_t)changed;
}

// ---- all records, once

// This many locked records of one resource, and none of another: its table must be
// locked. The rest of it is left for the next time.
static bool is_table_locked(const struct pl_flagged *found, int n)
{
	int locked = 0;

	while (locked < n && found[n - 1 - locked].state == PL_FLAGGED_LOCKED &&
	       strcmp(found[n - 1 - locked].resource, found[n - 1].resource) == 0)
		locked++;
	return locked >= STEP_MIN &&
	       (locked == n || strcmp(found[n - 1 - locked].resource, found[n - 1].resource) != 0);
}

static void move_behind(struct pl_reresolve *r, const struct pl_flagged *found, int n)
{
	bool skip = is_table_locked(found, n);

	snprintf(r->resource, sizeof(r->resource), "%s", found[n - 1].resource);
	r->id = skip ? INT64_MAX : found[n - 1].id;
	r->overflowed |= skip;
}

static int step_on(struct pl_reresolve *r, struct pl_apply_batch *batch, const struct pl_apply_tools *tools,
                   struct pl_arena *arena, struct pl_error *err)
{
	struct pl_flagged *found, after = { .resource = r->resource, .id = r->id };
	int n = pl_apply_rows_flagged(tools->session, arena, &after, r->step, &found, err);
	int held = r->nheld, changed = 0, code = n;

	if (n < 0 || (r->total == 0 && (code = count(r, n, tools, err)) < 0) ||
	    (n > 0 && (code = pl_apply_batch_reresolve(batch, tools, found, n, &changed, err)) < 0))
		return code;
	take(r, found, n, changed);
	if (n > 0)
		move_behind(r, found, n);
	r->passed = n == 0; // a step takes fewer records if they are large
	r->step = r->nheld > held ? STEP_MIN : 2 * r->step < STEP ? 2 * r->step : STEP;
	return 0;
}

// ---- those that are held

// The first few, which are then behind the others.
static int step_held(struct pl_reresolve *r, struct pl_apply_batch *batch, const struct pl_apply_tools *tools,
                     struct pl_error *err)
{
	struct pl_reresolve_held tried[HELD_STEP];
	int n = r->nheld < HELD_STEP ? r->nheld : HELD_STEP;

	memcpy(tried, r->held, sizeof(tried[0]) * (size_t)n);
	r->nheld -= n;
	memmove(r->held, r->held + n, sizeof(r->held[0]) * (size_t)r->nheld);
	for (int i = 0; i < n; i++) {
		struct pl_flagged one = { .resource = tried[i].resource, .id = tried[i].id };
		int changed, code = pl_apply_batch_reresolve(batch, tools, &one, 1, &changed, err);

		if (code < 0) { // of all the rest
			for (; i < n; i++)
				r->held[r->nheld++] = tried[i];
			return code;
		}
		take(r, &one, 1, changed);
	}
	return 0;
}

static void go_through_again(struct pl_reresolve *r)
{
	r->nheld = 0;
	r->seen = 0;
	r->resource[0] = '\0';
	r->id = 0;
	r->passed = r->overflowed = false;
}

static int64_t next_pause(const struct pl_reresolve *r)
{
	int64_t most = r->overflowed ? MANY_US : REFUSED_US;

	if (!r->refused && !r->overflowed)
		return LOCKED_US;
	return 2 * r->pause_us < most ? 2 * r->pause_us : most;
}

// What is left waits for a while, unless some of it could be done. If not all could be
// noted, all records are gone through again: those that are done are hardly any work.
static void wait_or_end(struct pl_reresolve *r, bool again, bool any_done)
{
	if (r->nheld == 0) {
		r->pending = false;
		r->left = 0;
		r->total = r->seen; // siblings were added and removed meanwhile
		return;
	}
	if (any_done)
		return;
	if (again)
		r->left = (uint64_t)r->nheld;
	r->pause_us = next_pause(r);
	r->next_us = pl_mono_us() + r->pause_us;
	r->refused = false;
	if (r->overflowed)
		go_through_again(r);
}

int pl_reresolve_step(struct pl_reresolve *r, struct pl_apply_batch *batch,
                      const struct pl_apply_tools *tools, struct pl_arena *arena, struct pl_error *err)
{
	uint64_t seen = r->seen;
	bool again = r->passed;
	int code;

	pl_arena_reset(arena);
	code = again ? step_held(r, batch, tools, err) : step_on(r, batch, tools, arena, err);
	if (code < 0) {
		r->next_us = pl_mono_us() + LOCKED_US;
		return code;
	}
	if (r->passed)
		wait_or_end(r, again, again && r->seen > seen);
	log_progress(r, r->seen > seen ? r->seen - seen : 0);
	return 0;
}
