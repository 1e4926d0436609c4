// Whose database it is: a daemon must neither publish for another region nor apply events
// in its name, when its configuration names the wrong database; nor may two databases of
// one region, such as a copy, speak for it.
//
// The judgement is in the database, in the row of plist.identity, and the same for all:
// a database is the region's if it was accepted as such in the place where it is now
// (plist_place in sql/014_identity.sql), and in the present run of its server, since a
// base backup that was started beside it has the same place. The healing thread accepts
// and refuses (heal/heal_settle); everybody else asks here at the beginning of each
// session, or where writes begin (plist_claim_identity). When a database is no longer
// accepted, its sessions are ended, so that all of them ask again.
//
// Threads: the session's.
#pragma once

#include <stdbool.h>

#include "db/session.h"

// What plist.identity.place says instead of a place once another database was found to
// serve the region: see plist_settle in sql/027_copies.sql.
#define PL_OWNER_PLACE_REFUSED "another database serves the region"

// 0, or a code: the database belongs to another region, or failed. In one that has not
// been accepted, nothing may be published, applied or written; only heartbeats are
// exchanged, which ask whether it may be accepted.
int pl_owner_judge(struct pl_session *session, const char *region, bool *accepted_r, struct pl_error *err);
// The same, where only an accepted database is of use: PL_EBUSY if it is not.
int pl_owner_check(struct pl_session *session, const char *region, struct pl_error *err);

#define PL_OWNER_ADDRESS_MAX 32 // bytes of text
// Where this daemon reaches the database: a hash of host, port and name. Databases that
// replace each other have the same one; two that live at the same time have not. A
// loopback address or a socket counts together with the name of this machine.
void pl_owner_address(struct pl_session *session, char address_r[PL_OWNER_ADDRESS_MAX + 1]);
