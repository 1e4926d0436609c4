// The lane: where runs of slow handlers wait for their turn, while the others go ahead.
//
// A worker has one, for all its VMs.
// Threads: the worker's.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct pl_lane;
struct pl_run;
struct pl_vm;
struct pl_script;

// `take_turn` begins or continues a run, which is no longer in the lane then. It adds the
// run again if it has used up another slice.
struct pl_lane *pl_lane_new(void);
void pl_lane_free(struct pl_lane **lane_p); // no run may be in it any more

bool pl_lane_is_slow(const struct pl_script *script); // it has used up a slice lately
// Whether a run of this script has to wait in the lane.
bool pl_lane_must_wait(const struct pl_lane *lane, const struct pl_script *script);
// Adds a run that has not begun. False: too many slow ones wait already.
bool pl_lane_add(struct pl_lane *lane, struct pl_run *run, void (*take_turn)(struct pl_run *run));
// Adds a run that was interrupted.
void pl_lane_add_paused(struct pl_lane *lane, struct pl_run *run, void (*take_turn)(struct pl_run *run));
void pl_lane_leave(struct pl_run *run); // also if it is in no lane
// For each call of a script: what it took by the clock, and whether it used up its slice.
void pl_lane_note(struct pl_lane *lane, struct pl_script *script, int64_t took_us, bool over_slice);

// Gives runs their turn, for a few milliseconds. To be called once per turn of the loop.
// Returns after how many ms it has to be called again; -1: when a run has been added.
int pl_lane_turn(struct pl_lane *lane);

struct pl_lane_stats {
	uint64_t interrupted; // slices used up
	int waiting;          // runs in the lane
};
void pl_lane_stats(const struct pl_lane *lane, struct pl_lane_stats *stats_r);
// Has the VM collected in the next turns, if it holds much, after the end of a run or of
// a turn.
void pl_lane_note_garbage(struct pl_lane *lane, struct pl_vm *vm);
