// The lane: how a worker with one thread stays responsive while handlers use up their
// budgets.
//
// A worker runs handlers itself, so a request waits for all that are before it. That is
// microseconds, unless a handler computes for its whole time limit, and a dozen such
// requests would hold up all others for seconds. So:
//
// - A handler that has used up its slice (script/call) is interrupted and put here. Each
//   turn of the worker's loop gives the lane one slice; then sockets, the database's
//   answers and other handlers come first again.
// - The script of such a handler is slow for a while: its next runs begin here instead of
//   at once.
// - A script of which no run has ended yet begins here, too, since nothing is known about
//   it; but before the slow ones.
// - The next to get a turn is the one whose script has had least of the lane, so that an
//   honest slow handler does not wait for all the requests of an endless one.
// - At most BEGUN_MAX runs in the lane have begun, because a run keeps its memory.
// - Runs that are short, but many at once, wait here, too, when a turn of the loop has
//   spent the time of a slice on scripts.
// - A call that took much longer than a slice, because Lua could not be interrupted, is
//   followed by a rest of the same length.
// - What runs have left behind is collected step by step, if it is much.
//
// Threads: the worker's.
#include "script/lane.h"

#include <stdlib.h>
#include <time.h>
#include <utlist.h>

#include "base/clock.h"
#include "script/run_state.h"
#include "script/state.h"

#define BEGUN_MAX  2
#define WAIT_MAX   256     // runs that have not begun
#define SLOW_US    5000000 // how long a script is slow after it used up a slice
#define TURN_US    PL_CALL_SLICE_US
#define LONG_US    20000 // a call that is followed by a rest
#define BLOCKED_US 50000 // a call that was slow although nobody looked at its slice
// The processor time of the thread costs a system call, so not every turn asks for it.
// What the thread has done since the last time is blamed on a call of BLOCKED_US or more,
// and is a small part of it.
#define ASK_US     (BLOCKED_US / 10)

struct pl_lane {
	struct pl_run *runs;   // in the order in which they came
	int n, begun, slow;    // in all; that have begun; that have not, and are slow
	int64_t used_us;       // by all runs since the last turn
	struct pl_vm *garbage; // holds much of it, probably; NULL: none does
	int64_t rest_until_us; // pl_mono_us
	int64_t served_us;     // of the script that had its turn last: others begin from there
	int64_t worked_us;     // processor time of the thread when it was last asked
	int64_t asked_us;      // pl_mono_us: when that was
	struct pl_lane_stats stats;
};

static int64_t worked_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

struct pl_lane *pl_lane_new(void)
{
	return pl_calloc(1, sizeof(struct pl_lane));
}

void pl_lane_free(struct pl_lane **lane_p)
{
	if ((*lane_p)->garbage)
		pl_state_release((*lane_p)->garbage);
	free(*lane_p);
	*lane_p = NULL;
}

bool pl_lane_is_slow(const struct pl_script *script)
{
	return script->slow_until_us && script->slow_until_us > pl_mono_us();
}

static bool is_unknown(const struct pl_script *script)
{
	return !script->proven && !script->slow_until_us;
}

bool pl_lane_must_wait(const struct pl_lane *lane, const struct pl_script *script)
{
	return lane->used_us >= TURN_US || is_unknown(script) || pl_lane_is_slow(script);
}

static void add(struct pl_lane *lane, struct pl_run *run, void (*take_turn)(struct pl_run *run), bool begun)
{
	struct pl_script *script = run->script;

	run->turn.lane = lane;
	run->turn.take = take_turn;
	run->turn.begun = begun;
	if (script->served_us < lane->served_us)
		script->served_us = lane->served_us;
	run->turn.slow = !begun && pl_lane_is_slow(script);
	lane->n++;
	lane->begun += begun;
	lane->slow += run->turn.slow;
	DL_APPEND2(lane->runs, run, turn.prev, turn.next);
}

bool pl_lane_add(struct pl_lane *lane, struct pl_run *run, void (*take_turn)(struct pl_run *run))
{
	if (lane->slow >= WAIT_MAX && pl_lane_is_slow(run->script))
		return false;
	add(lane, run, take_turn, false);
	return true;
}

void pl_lane_add_paused(struct pl_lane *lane, struct pl_run *run, void (*take_turn)(struct pl_run *run))
{
	lane->stats.interrupted++;
	add(lane, run, take_turn, true);
}

void pl_lane_leave(struct pl_run *run)
{
	struct pl_lane *lane = run->turn.lane;

	if (!lane)
		return;
	DL_DELETE2(lane->runs, run, turn.prev, turn.next);
	lane->n--;
	lane->begun -= run->turn.begun;
	lane->slow -= run->turn.slow;
	run->turn.lane = NULL;
}

void pl_lane_note(struct pl_lane *lane, struct pl_script *script, int64_t took_us, bool over_slice)
{
	lane->used_us += took_us;
	// The clock alone would blame a script for a busy machine.
	if (!over_slice && took_us >= BLOCKED_US)
		over_slice = worked_us() - lane->worked_us >= took_us / 2;
	if (over_slice)
		script->slow_until_us = pl_mono_us() + SLOW_US;
	else
		script->proven = true;
}

// The run whose turn it is. While the lane rests, no slow one.
static struct pl_run *next(const struct pl_lane *lane, bool resting)
{
	struct pl_run *run, *best = NULL;

	DL_FOREACH2(lane->runs, run, turn.next)
	{
		bool slow = run->turn.slow || run->turn.begun;

		if (is_unknown(run->script))
			return run;
		if (slow && (resting || (!run->turn.begun && lane->begun >= BEGUN_MAX)))
			continue;
		if (!best || run->script->served_us < best->script->served_us)
			best = run;
	}
	return best;
}

static void collect(struct pl_lane *lane)
{
	if (lane->garbage && pl_call_collect(lane->garbage)) {
		pl_state_release(lane->garbage);
		lane->garbage = NULL;
	}
}

void pl_lane_note_garbage(struct pl_lane *lane, struct pl_vm *vm)
{
	if (lane->garbage || lane->begun > 0 || !pl_state_holds_much(vm))
		return;
	pl_state_hold(vm);
	lane->garbage = vm;
}

static void note_worked(struct pl_lane *lane)
{
	int64_t now_us = pl_mono_us();

	if (now_us - lane->asked_us < ASK_US)
		return;
	lane->asked_us = now_us;
	lane->worked_us = worked_us();
}

int pl_lane_turn(struct pl_lane *lane)
{
	int64_t now_us = lane->n > 0 ? pl_mono_us() : 0, end_us = now_us + TURN_US;
	struct pl_run *run;

	collect(lane);
	while (now_us < end_us && (run = next(lane, now_us < lane->rest_until_us)) != NULL) {
		struct pl_script *script = run->script; // of the VM
		struct pl_vm *vm = run->vm;
		int64_t began_us = now_us;

		pl_state_hold(vm);
		pl_lane_leave(run);
		lane->served_us = script->served_us;
		run->turn.take(run);
		now_us = pl_mono_us();
		script->served_us += now_us - began_us;
		if (now_us - began_us >= LONG_US)
			lane->rest_until_us = 2 * now_us - began_us;
		pl_lane_note_garbage(lane, vm);
		pl_state_release(vm);
	}
	lane->used_us = 0;
	note_worked(lane);
	if (lane->n == 0)
		return lane->garbage ? 0 : -1;
	return lane->rest_until_us > now_us ? (int)((lane->rest_until_us - now_us) / 1000 + 1) : 0;
}

void pl_lane_stats(const struct pl_lane *lane, struct pl_lane_stats *stats_r)
{
	*stats_r = lane->stats;
	stats_r->waiting = lane->n;
}
