// Marks: up to which row of the outbox everything was acknowledged, with which sequence
// numbers, and which regions have received all of it.
#pragma once

#include "config/config.h"
#include "event/sequence.h"

#define PL_MARKS_MAX 1000

struct pl_mark {
	int64_t id;         // in the database; 0: it is not stored there
	int64_t floor;      // every row up to this id was acknowledged
	int64_t rows_total; // the number of these rows since the beginning
	int64_t made_us;    // pl_mono_us, which no step of the clock changes
	struct pl_sequences published;
};

// What a region reports about this region's events.
struct pl_mark_region {
	char name[PL_REGION_MAX + 1];
	bool heard;        // it reports how far it has received them
	bool disbelieved;  // its report cannot be true, and does not count
	int64_t silent_us; // since its last heartbeat; -1: it never sent one
	bool counts;       // rows are kept for it
	bool lost;         // it lacks rows that were deleted
	int64_t unapplied; // rows that it has not applied, as far as is known
	struct pl_sequences received;
};

// Ascending by floor. The first one is the base: rows up to it may have been deleted.
struct pl_marks {
	int n;
	int64_t restarted_seq; // chains that end before it belong to a stream that was abandoned
	struct pl_mark *marks; // room for PL_MARKS_MAX
};

void pl_marks_init(struct pl_marks *marks);
void pl_marks_fini(struct pl_marks *marks);
// Appends a mark; takes over what `mark` points to.
void pl_marks_add(struct pl_marks *marks, struct pl_mark *mark);
// Removes the marks after the one at `at`, or those before it.
void pl_marks_cut(struct pl_marks *marks, int at);
void pl_marks_rebase(struct pl_marks *marks, int at);
// Removes every other old mark when there are too many; their ids go to `ids_r` (room
// for PL_MARKS_MAX).
int pl_marks_thin(struct pl_marks *marks, int64_t ids_r[PL_MARKS_MAX]);

// The index of the newest mark that the region has received completely. If there is
// none, the base: what the region lacks up to it cannot be sent again, and `lost` is
// set.
int pl_marks_received(const struct pl_marks *marks, struct pl_mark_region *region);
// Whether all that it reports was given out: numbers below `end`.
bool pl_marks_possible(const struct pl_mark_region *region, int64_t end);
// Whether the region reports that it will not receive messages of a mark that was made
// before `before_us`: it is at the end of a partition, or later messages have arrived.
bool pl_marks_lacks(const struct pl_marks *marks, int received, const struct pl_mark_region *region,
                    int64_t before_us);
