// The inside of healing, for the files heal*.c only.
#pragma once

#include "heal/heal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "compare/republish.h"
#include "db/background.h"

#define SECOND INT64_C(1000000)

// The other sessions of the region's daemons in this database; $1: the region.
#define PL_HEAL_SESSIONS                                                                      \
	"pg_stat_activity WHERE datname = current_database() AND usename = current_user AND " \
	"pid <> pg_backend_pid() AND application_name ~ ('^plistd? ' || $1 || ' ')"

struct pl_heal {
	struct pl_heal_options options;
	struct pl_background *background;
	_Atomic int gate;
	pthread_mutex_t lock; // guards the members from here to `stats`
	pthread_cond_t looked;
	bool first_look;
	char reason[PL_ERROR_TEXT_MAX];
	struct pl_heal_stats stats;

	// Used by the healing thread only.
	const struct pl_config *config;
	const struct pl_region *region;
	struct pl_session *session;
	int64_t began_us, heard_us, waited_us; // start; since when, and how long, others can be heard
	bool was_settled, asked;               // asked: plist_settle has been called before
	char life[160];                        // of the database, at the last look: see heal_settle.c
	bool end_sessions;                     // those of a former life
	int64_t sure_id, forget_sent; // outbox ids: the database must have the first; ignore the second
	bool elsewhere;               // at the last look, the database was a restored or moved one
	int64_t row_next;             // of plist.outbox_sequence, and the row's version; "": not seen yet
	char row_version[16];
	char id_base[24];         // of this region's row in plist.id_ranges; "": not seen yet
	int64_t missing_since_us; // a row that says what this database is; 0: none is missing
	int64_t tables_at_us, settle_at_us, rebuilt_at_us, asks_at_us;
	struct pl_log_limit limit, rows_limit, waiting_limit;
	char last_detail[PL_ERROR_TEXT_MAX];
	// What is being published for another region: see heal_asks.c.
	char serving[80], serving_region[PL_REGION_MAX + 1], serving_since[40];
	int serving_resource;
	struct pl_republish republish;
	bool republishing;
	int64_t served_records, ask_at_us;
	char selection[160]; // name of the republication
};

// heal_settle.c: 0 or a code.
int pl_heal_settle(struct pl_heal *heal, struct pl_error *err);
int pl_heal_rebuild(struct pl_heal *heal, struct pl_error *err);
// Returns the other configured regions as a PostgreSQL array, in `list`.
const char *pl_heal_others(const struct pl_heal *heal, struct pl_buf *list);
void pl_heal_set_gate(struct pl_heal *heal, enum pl_heal_gate gate, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

// heal_rows.c: checks whether the rows were replaced by a copy, and makes those again
// that are missing. 0 or a code.
int pl_heal_look_at_rows(struct pl_heal *heal, struct pl_error *err);

// heal_tables.c: 0 or a code.
int pl_heal_look_at_tables(struct pl_heal *heal, struct pl_error *err);

// heal_asks.c: publishes the next part of what others have asked for. *busy_r: more can
// follow at once.
int pl_heal_serve(struct pl_heal *heal, bool *busy_r, struct pl_error *err);
// Asks for events that will not arrive by themselves.
int pl_heal_ask(struct pl_heal *heal, struct pl_error *err);
