// The outbox as the relay sees it: read in order, look at, delete from. All over one session, which also holds the relay's lock.
//
// Threads: those of the session.
#pragma once

#include "db/session.h"
#include "replicate/event.h"

// What the session's setup has to hold for the statements below; NULL-ended.
extern const char *const pl_outbox_setup[];

// Takes the advisory lock that makes a daemon its region's relay; it is held until the connection ends, or is silent for longer than the
// lease. 1: ours now, 0: another has it.
int pl_outbox_lock(struct pl_session *session, int64_t lease_us, struct pl_error *err);

// What has been read and what not: see the essay in outbox.c.
struct pl_outbox_cursor {
	int64_t floor, high;        // up to floor all rows have been read; high is the largest id that was ever read
	uint64_t mark_xmax;         // once no transaction older than this runs, nothing new can appear at or below mark_high
	int64_t mark_high;
	int64_t next_floor;         // nothing new appears up to here; the next read that gets so far makes it the floor
};

struct pl_outbox_batch {
	int n;
	struct pl_outbox_row *rows; // in order of id
	PGresult *result;           // holds their texts
};

// Reads up to `limit` rows that are not in `excluded` (ids, ascending). With `whole`, from the very beginning of the table.
int pl_outbox_read(struct pl_session *session, struct pl_outbox_cursor *cursor, const int64_t *excluded, int nexcluded, int limit, bool whole,
                   struct pl_outbox_batch *batch_r, struct pl_error *err);
void pl_outbox_batch_fini(struct pl_outbox_batch *batch);

// Deletes rows; moves the cursor's floor where that is safe.
int pl_outbox_delete(struct pl_session *session, struct pl_outbox_cursor *cursor, const int64_t *ids, int n, struct pl_error *err);

struct pl_outbox_look {
	int64_t events;            // exact up to ten thousand, an estimate beyond
	int64_t oldest_age_us;     // by the database's clock; -1: empty
};
int pl_outbox_look(struct pl_session *session, struct pl_outbox_look *look_r, struct pl_error *err);
