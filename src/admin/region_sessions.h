// Sessions with the databases of the selected regions, and the exit status if some are
// unreachable.
#pragma once

#include "admin/command.h"
#include "db/session.h"

struct pl_region_session {
	const struct pl_region *region;
	struct pl_session *session;
	bool up;             // it was reached, and nothing has failed since
	struct pl_error err; // why it is not up
};

struct pl_region_sessions {
	int n;
	struct pl_region_session *each; // one per selected region, in the invocation's arena
};

// Opens a session with the database of every selected region (after
// pl_invocation_regions), reporting those that are unreachable. With statement_us 0,
// statements have no time limit.
void pl_region_sessions_open(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                             int64_t statement_us);
// Tries again to reach those that are not up. Does not repeat the report.
void pl_region_sessions_retry(struct pl_region_sessions *sessions);
void pl_region_sessions_close(struct pl_region_sessions *sessions);

// Runs a query in one of them; the result is freed with PQclear. NULL after reporting a
// failure (the region is then no longer up), or if the region was not up.
PGresult *pl_region_sessions_query(struct pl_region_session *region_session, const char *sql, int nparams,
                                   const char *const *params);

// The key under which the region counts its writes (record/vector.h), in the call's
// arena; its name, if it has none yet or cannot be asked.
const char *pl_region_sessions_key(struct pl_invocation *invocation,
                                   struct pl_region_session *region_session);

// Reports an error of a region and marks it as lost.
void pl_region_sessions_lost(struct pl_region_session *region_session, const struct pl_error *err);

// `answer` if all regions are up; PL_EXIT_UNREACHABLE or PL_EXIT_PARTIAL if some were
// not reached; PL_EXIT_NO if all were and a database refused a query.
int pl_region_sessions_exit(const struct pl_region_sessions *sessions, int answer);

// Parses "us/12" or "12": the region (NULL if none is named) and the number. Returns 0,
// or PL_EXIT_USAGE after a message.
int pl_region_sessions_parse_id(struct pl_invocation *invocation, const char *text,
                                const struct pl_region **region_r, int64_t *id_r);
