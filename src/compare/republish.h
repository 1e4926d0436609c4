// Republishing: puts a region's copies of records into its outbox again, for regions
// that lack them.
//
// A record without siblings is republished as the write of its row, each sibling as its
// own write, and a tombstone as a delete. Each remembered request that has not expired
// is republished as an event that carries only the request. A region that knows these
// writes ignores them, since its vectors cover them. So republishing too much is
// harmless.
//
// The events carry the header plist-republished with this region's name. A region that
// has lost its own writes accepts them from such an event (apply/batch); without the
// header, an event in its own name would be an alarm.
//
// Order: a record's row is locked while its events get their ids in the outbox, so
// these lie between the ids of earlier and of later writes. Requests come after all
// rows, which cover them.
//
// A row that another session holds, for however long, holds up no other row. It is left,
// and tried again once all others are done. A run that is interrupted before goes on
// with the first of those that were left.
// Threads: the session's.
#pragma once

#include "config/config.h"
#include "db/session.h"

#define PL_REPUBLISH_BATCH    500    // records, or requests, per transaction
#define PL_REPUBLISH_LEFT_MAX 100000 // rows that are left; with more, these come first

// Which records: `ids`, or a range and a time.
struct pl_republish_selection {
	const int64_t *ids; // ascending; NULL: by range and time
	int nids;
	int64_t first, last; // both included
	const char *since;   // RFC 3339: written since then; NULL: at any time
	const char *name;    // under which it is stored and resumed: "all", "range 1..500"
};

struct pl_republish {
	const struct pl_resource *resource;
	const struct pl_region *region;
	struct pl_session *session;
	struct pl_republish_selection selection;
	int64_t id;                // its row in plist.republications
	bool resumed;              // it continues an interrupted run
	bool rows_done;            // requests are next
	int64_t records, requests; // put into the outbox, including the interrupted run's
	int64_t events;
	int64_t total;                        // the number of records, as far as known at the start
	int64_t after;                        // the last record's id
	char request_id[256], principal[257]; // the last request's
	int64_t *left;                        // ids, ascending
	int nleft, left_next;                 // their number, and which of them is tried next
	bool waiting; // the last step could do nothing, since other sessions hold what is left
};

// Finds the selection's unfinished row, or creates one. Returns 0 or a code, like all
// functions below.
int pl_republish_begin(struct pl_republish *republish, struct pl_error *err);
// Executes the next batch in one transaction. *done_r: nothing is left. After an error it
// has to be begun again.
int pl_republish_step(struct pl_republish *republish, bool *done_r, struct pl_error *err);
void pl_republish_fini(struct pl_republish *republish);
