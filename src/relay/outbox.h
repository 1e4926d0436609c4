// The outbox as the relay sees it: reading in order, statistics, deleting. All of it
// uses one session, which also holds the right to publish.
//
// Threads: those of the session.
#pragma once

#include "db/session.h"
#include "event/event.h"
#include "relay/id_ranges.h"

// The statements that the session's setup must contain; NULL-ended.
extern const char *const pl_outbox_setup[];

// Makes this session its region's relay (a row of plist_leaders) until the connection
// ends or is silent for longer than `silent_us`. Returns 1 if it succeeded, 0 if another
// session is the relay.
int pl_outbox_lock(struct pl_session *session, int64_t silent_us, struct pl_error *err);

// What has been read: see the essay in outbox.c.
struct pl_outbox_cursor {
	// All rows up to floor have been read, and none of them is in flight; high is
	// the largest id ever read.
	int64_t floor, high;
	struct pl_id_ranges read; // what was read in between
	// Once no transaction older than mark_xmax runs, no new row can appear at or
	// below mark_high.
	uint64_t mark_xmax;
	int64_t mark_high;
	// No new row appears up to here; the next read that gets this far makes it the
	// floor.
	int64_t next_floor;
	bool large; // the rows that were read last had more than their share of the bytes
};

// A read takes events of about this many bytes, however many rows it may take, but at
// least one.
#define PL_OUTBOX_READ_BYTES 4194304

struct pl_outbox_batch {
	int n;
	bool more;                  // there may be further rows
	struct pl_outbox_row *rows; // in the order of their ids
	PGresult *result;           // holds their texts
};

// Starts after `floor`.
void pl_outbox_begin(struct pl_outbox_cursor *cursor, int64_t floor);
void pl_outbox_cursor_fini(struct pl_outbox_cursor *cursor);
// Reads up to `limit` rows that are not in the cursor's `read`, without adding them to
// it; of large ones fewer. The floor stays below `first_in_flight` (INT64_MAX: nothing is
// in flight).
int pl_outbox_read(struct pl_session *session, struct pl_outbox_cursor *cursor, int64_t first_in_flight,
                   int limit, struct pl_outbox_batch *batch_r, struct pl_error *err);
void pl_outbox_batch_fini(struct pl_outbox_batch *batch);

// Advances the floor as far as no row is missing or in flight. Returns whether it
// moved.
bool pl_outbox_advance(struct pl_outbox_cursor *cursor, int64_t first_in_flight);
// Whether ids above the floor were skipped, which belong to transactions that still run
// or were rolled back.
bool pl_outbox_has_gap(const struct pl_outbox_cursor *cursor);
// Asks which transactions still run. Where no new row can appear, the next read
// advances the floor.
int pl_outbox_settle(struct pl_session *session, struct pl_outbox_cursor *cursor, struct pl_error *err);

// Deletes up to `limit` rows with ids in (*from, to]; advances *from. Events that were
// set aside stay. *deleted_r: the number of deleted rows.
int pl_outbox_delete(struct pl_session *session, int64_t *from, int64_t to, int limit, int *deleted_r,
                     struct pl_error *err);
int pl_outbox_count(struct pl_session *session, int64_t floor, int64_t *rows_r, struct pl_error *err);
// Called when an event that had been set aside was published: it becomes an ordinary
// row with a new id, which is returned; 0: it no longer exists.
int pl_outbox_renumber(struct pl_session *session, int64_t id, int64_t *id_r, struct pl_error *err);

struct pl_outbox_look {
	int64_t events;        // above the floor; exact up to ten thousand, then an estimate
	int64_t oldest_age_us; // by the database's clock; -1: the outbox is empty
	int64_t refused;       // events that cannot be published, wherever they are
};
// `floor` < 0: that of the newest mark, made by the region's relay. The ages of rows up
// to `first` are ignored.
int pl_outbox_look(struct pl_session *session, int64_t floor, int64_t first, struct pl_outbox_look *look_r,
                   struct pl_error *err);

// Events that cannot be published stay in the outbox, are skipped by pl_outbox_read,
// and have a time at which they are retried.

// Records that an event cannot be published, and why. `refusals_r` is how often that
// has happened (0: the row no longer exists). It is retried after a minute, then after
// twice as long, up to an hour.
int pl_outbox_refuse(struct pl_session *session, int64_t id, const char *why, int *refusals_r,
                     struct pl_error *err);
// The next one that is due, if there is one.
int pl_outbox_read_refused(struct pl_session *session, struct pl_outbox_batch *batch_r, struct pl_error *err);
// The first row that is set aside; INT64_MAX: there is none.
int pl_outbox_first_refused(struct pl_session *session, int64_t *id_r, struct pl_error *err);
// Makes all of them due.
int pl_outbox_retry(struct pl_session *session, struct pl_error *err);
// Makes those due that another configuration has refused with this reason, since it did
// not have their resource as this one has.
#define PL_OUTBOX_UNKNOWN_RESOURCE "the configuration has no such resource"
int pl_outbox_retry_known(struct pl_session *session, const struct pl_config *config, struct pl_error *err);
