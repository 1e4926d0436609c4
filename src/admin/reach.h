// Reaching the regions' databases: a session to each that was asked for, and the honest exit status when some cannot be had.
#pragma once

#include "admin/command.h"
#include "db/session.h"

struct pl_reach {
	const struct pl_region *region;
	struct pl_session *session;
	bool up;                // reached, and nothing has failed since
	struct pl_error err;    // why not
};

struct pl_reaches {
	int n;
	struct pl_reach *each;  // in the call's arena, one per region of the call
};

// Opens a session to the database of every region of the call (after pl_call_regions), saying which could not be reached.
// `statement_us` 0 lets statements take as long as they need.
void pl_reaches_open(struct pl_call *call, struct pl_reaches *reaches, int64_t statement_us);
// Tries again to reach those that are not up. Says nothing of those that still are not: it has been said.
void pl_reaches_again(struct pl_reaches *reaches);
void pl_reaches_close(struct pl_reaches *reaches);

// A query of one of them, to be PQclear-ed. NULL, after saying what went wrong, when it failed (the region is then no longer up) or the
// region was not up to begin with.
PGresult *pl_reach_query(struct pl_reach *reach, const char *sql, int nparams, const char *const *params);

// Says what went wrong with a region and marks it as lost.
void pl_reach_lost(struct pl_reach *reach, const struct pl_error *err);

// `answer` when all regions are up; PL_EXIT_UNREACHABLE or PL_EXIT_PARTIAL when some were not reached; PL_EXIT_NO when all were, and a
// database refused what it was asked.
int pl_reaches_exit(const struct pl_reaches *reaches, int answer);

// "us/12" or "12" as what a command is about: the region (NULL when none is named) and the number. 0, or PL_EXIT_USAGE after saying why.
int pl_reach_id(struct pl_call *call, const char *text, const struct pl_region **region_r, int64_t *id_r);

// Cells of a result. NULL is null.
const char *pl_cell(const PGresult *result, int row, int column);
int64_t pl_cell_int(const PGresult *result, int row, int column, int64_t otherwise);
int64_t pl_cell_time(const PGresult *result, int row, int column); // of a column written by PL_EPOCH; 0 for null
// Microseconds since 1970 as text, whatever the session's time zone and style: an expression for a timestamptz.
#define PL_EPOCH(expression) "(extract(epoch FROM " expression ") * 1000000)::bigint"
