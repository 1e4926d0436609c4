// Finds the records of a resource that differ between databases.
//
// Asks all databases for the digests of the same ranges at the same time, searches the
// ranges that differ, and returns the ids whose rows differ. Their events may merely
// still be on their way, so the caller checks again later (admin/comparison).
// Threads: one at a time; the databases work in parallel.
#pragma once

#include "compare/classify.h"
#include "db/session.h"

#define PL_SCAN_IDS_MAX 1000000 // further records that differ are only counted

struct pl_scan {
	const struct pl_resource *resource;
	int n;
	struct pl_session *sessions[PL_REGIONS_MAX];              // connected
	int64_t first, last;                                      // the ids to compare, both included
	void (*progress)(void *arg, int64_t done, int64_t total); // of ids; may be NULL
	void *arg;

	// The result.
	int64_t rows[PL_REGIONS_MAX];
	int64_t ranges, ranges_different;
	int64_t *ids; // ascending
	int nids, ids_cap;
	bool more; // more records differ than PL_SCAN_IDS_MAX

	int look;   // how many records the next query for whole records reads
	int serial; // of its prepared statements
	int failed; // the index of the failed session, after a call has failed
};

// Prepares the sessions. Returns 0 or a code, like all functions below.
int pl_scan_begin(struct pl_scan *scan, struct pl_error *err);
int pl_scan_run(struct pl_scan *scan, struct pl_error *err);
void pl_scan_fini(struct pl_scan *scan);

// One region's copy of a record, as text for people. Valid as long as the result that it
// comes from.
struct pl_scan_copy {
	struct pl_copy copy;
	const char *vector, *origin, *version, *updated_at, *fields, *siblings; // siblings may be NULL
	bool deleted;
	bool has_siblings; // the row says so; siblings that no row claims do not count
};

// Reads the records with these ids (ascending) from all databases, and calls `each` for
// every id with its copies, one per session. Large records are read a few at a time.
typedef void pl_scan_each_fn(void *arg, int64_t id, const struct pl_scan_copy *copies);
int pl_scan_look(struct pl_scan *scan, const int64_t *ids, int nids, pl_scan_each_fn *each, void *arg,
                 struct pl_error *err);
