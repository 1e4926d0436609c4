// Whose database it is: a daemon must neither publish for another region nor apply events
// in its name, when its configuration names the wrong database; nor may two databases of
// one region, such as a copy, speak for it.
//
// The judgement is in the database, in the row of plist.identity, and the same for all:
// a database is the region's if it was accepted as such in the place where it is now
// (plist_place in sql/014_identity.sql). The healing thread accepts and refuses
// (heal/heal_settle); everybody else asks here at the beginning of each session, or where
// writes begin (plist_claim_identity). When a database is no longer accepted, its
// sessions are ended, so that all of them ask again.
//
// Threads: the session's.
#pragma once

#include <stdbool.h>

#include "db/session.h"

// What plist.identity.place says instead of a place once another database was found to
// serve the region: see plist_settle in sql/022_questions.sql.
#define PL_OWNER_PLACE_REFUSED "another database serves the region"

// 0, or a code: the database belongs to another region, or failed. In one that has not
// been accepted, nothing may be published, applied or written; only heartbeats are
// exchanged, which ask whether it may be accepted.
int pl_owner_judge(struct pl_session *session, const char *region, bool *accepted_r, struct pl_error *err);
// The same, where only an accepted database is of use: PL_EBUSY if it is not.
int pl_owner_check(struct pl_session *session, const char *region, struct pl_error *err);
