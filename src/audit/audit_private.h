// The inside of the audit, for the files audit*.c only.
#pragma once

#include "audit/audit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "audit/audit_judge.h"
#include "base/clock.h"
#include "base/log.h"
#include "compare/digest.h"
#include "db/background.h"
#include "event/audit_message.h"

#define SECOND     INT64_C(1000000)
#define RANGE      (INT64_C(1) << PL_DIGEST_RANGE_BITS)
#define RANGES_MAX 64       // ranges of one ask
#define LISTED_MAX 1000     // records listed individually, per region; all are counted
#define LOOK_ROWS  20       // what a look costs besides the records that it reads
#define INCOMPLETE PL_EBUSY // the round cannot go on; not an error of the database

struct pl_audit {
	struct pl_audit_options options;
	struct pl_background *background;
	pthread_mutex_t lock; // guards `stats`
	struct pl_audit_stats stats;

	// Used by the audit thread only.
	const struct pl_config *config;
	const struct pl_region *region;
	struct pl_session *session;
	int64_t free_at_us; // when more records may be read, see audit.rows_per_second
	int64_t range_us;   // how long reading a range took last
	int64_t results_at_us, recheck_at_us;
	struct pl_arena *answering, *answered; // the ask being answered; the answer that came
	struct pl_buf in;
	const char *waiting_for; // id of the ask that has no answer yet; NULL: none
	struct pl_audit_message answer;
	struct pl_log_limit found_limit, answer_limit, refused_limit;
};

// A round with one other region.
struct pl_audit_round {
	struct pl_audit *audit;
	const char *with; // the region
	int64_t number;
	int64_t records, listed, unlisted;
	char why[PL_ERROR_TEXT_MAX]; // the first thing that could not be compared; ""
};

// Records of one resource that differ.
struct pl_audit_found {
	const struct pl_resource *resource;
	int n;
	int64_t ids[RANGE];
	enum pl_difference is[RANGE];
};

// audit_talk.c. All return 0 or a code: PL_ESTOPPED, INCOMPLETE, or one of the database.
// Sends the ask and waits for the answer, which stays valid until the next one.
int pl_audit_ask(struct pl_audit *audit, struct pl_audit_message *ask, struct pl_error *err);
// Waits until then, and answers other regions meanwhile.
int pl_audit_wait(struct pl_audit *audit, int64_t until_us, struct pl_error *err);
// Waits until this region has reached the answer's positions.
int pl_audit_await(struct pl_audit_round *round, struct pl_error *err);
void pl_audit_count_rows(struct pl_audit *audit, int64_t rows);
int pl_audit_wait_turn(struct pl_audit *audit, struct pl_error *err);

// audit_look.c. Prints a resource's fields; and returns a copy of the resource, in the
// arena, with only those fields that the message's region knows, too.
void pl_audit_fields_print(struct pl_buf *text, const struct pl_resource *resource);
const struct pl_resource *pl_audit_fields_shared(struct pl_arena *arena, const struct pl_resource *resource,
                                                 const struct pl_audit_message *message);
struct pl_audit_span {
	int64_t from, until; // ids: the first, and the one after the last
	bool ranges, by_text;
};
// Appends "place digest" lines. Returns the number of records, or a code.
int64_t pl_audit_look_digests(struct pl_audit *audit, const struct pl_resource *resource,
                              const struct pl_audit_span *span, struct pl_buf *lines, struct pl_error *err);
// Finds the smallest id from `from` on. False: there is none, or the database failed
// (err->code).
bool pl_audit_look_next(struct pl_audit *audit, const struct pl_resource *resource, int64_t from,
                        int64_t *id_r, struct pl_error *err);
// Appends lines of records: the first ones, as many as fit into a message. `ids`:
// "{1,2}", ascending. 0 or a code.
int pl_audit_look_records(struct pl_audit *audit, const struct pl_resource *resource, const char *ids,
                          struct pl_buf *lines, struct pl_error *err);
// Returns the records with these ids of which events are parked here; and looks for one
// among them.
PGresult *pl_audit_look_parked(struct pl_audit *audit, const struct pl_resource *resource, const char *ids,
                               struct pl_error *err);
bool pl_audit_look_is_parked(const PGresult *parked, int64_t id);
// Appends the positions that cover everything that has been read before.
int pl_audit_look_positions(struct pl_audit *audit, struct pl_buf *json, struct pl_error *err);

// audit_answer.c: answers an ask.
void pl_audit_answer(struct pl_audit *audit, const struct pl_audit_message *ask);

// audit_round.c
int pl_audit_round(struct pl_audit *audit, const char *with, struct pl_error *err);
int pl_audit_recheck(struct pl_audit *audit, const char *with, struct pl_error *err);

// audit_results.c
// Keeps one row for each other region, and deletes those of regions that are no longer
// configured.
int pl_audit_results_keep(struct pl_audit *audit, struct pl_error *err);
int pl_audit_results_load(struct pl_audit *audit, struct pl_error *err);
// Return the regions with which a round is due, and those from which records differ.
PGresult *pl_audit_results_due(struct pl_audit *audit, struct pl_error *err);
PGresult *pl_audit_results_differing(struct pl_audit *audit, struct pl_error *err);
// Returns the listed records: resource, "1,2,3".
PGresult *pl_audit_results_open(struct pl_audit *audit, const char *with, struct pl_error *err);
// Sets the round's number.
int pl_audit_results_begin(struct pl_audit_round *round, struct pl_error *err);
int pl_audit_results_found(struct pl_audit_round *round, const struct pl_audit_found *found,
                           struct pl_error *err);
int pl_audit_results_end(struct pl_audit_round *round, struct pl_error *err);
// Notes that of the records `ids` ("1,2,3"), which were looked at again, only `still`
// differ.
int pl_audit_results_gone(struct pl_audit_round *round, const char *resource,
                          const struct pl_audit_found *still, const char *ids, struct pl_error *err);
