// Marks and sequence numbers in the database, and what the regions' heartbeats
// reported. Uses the relay's session.
//
// Threads: those of the session.
#pragma once

#include "db/session.h"
#include "relay/marks.h"

// All stored marks, ascending, and the id up to which rows were deleted.
int pl_outbox_marks_load(struct pl_session *session, struct pl_marks *marks, struct pl_error *err);
// Sets the mark's id.
int pl_outbox_marks_add(struct pl_session *session, struct pl_mark *mark, struct pl_error *err);
// Records that rows are deleted up to this mark from now on.
int pl_outbox_marks_rebase(struct pl_session *session, int64_t id, struct pl_error *err);
// Deletes the marks after `id`; those in a list.
int pl_outbox_marks_cut(struct pl_session *session, int64_t id, struct pl_error *err);
int pl_outbox_marks_drop(struct pl_session *session, const int64_t *ids, int n, struct pl_error *err);
// Reserves `n` sequence numbers, all of them at least `least`, and returns the first.
// Waits for the disk.
int pl_outbox_marks_reserve(struct pl_session *session, int64_t least, int64_t n, int64_t *first_r,
                            struct pl_error *err);
// Reads the last heartbeats of the other regions: sets `heard`, `silent_us` and
// `received` of those that are listed.
int pl_outbox_marks_heard(struct pl_session *session, const char *own, struct pl_mark_region *regions, int n,
                          struct pl_error *err);
// Of the region's key; 0: it has none yet.
int pl_outbox_marks_generation(struct pl_session *session, int64_t *generation_r, struct pl_error *err);
// What else the region tells the others in its heartbeats: JSON. See plist_word in
// sql/014_identity.sql. Not `whole`: only who it is, and what it knows of the others.
int pl_outbox_marks_word(struct pl_session *session, const char *own, bool whole, struct pl_buf *json,
                         int64_t *generation_r, struct pl_error *err);
// How far this region has received events of the others, as JSON for its heartbeats.
int pl_outbox_marks_applied(struct pl_session *session, struct pl_buf *json, struct pl_error *err);
