// Code shared by the commands for rows that each region numbers by itself: dead
// letters, parked events, refused events. Such a row is named REGION/NUMBER.
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "admin/command.h"
#include "admin/region_sessions.h"
#include "admin/table.h"

// One kind of such rows.
struct pl_numbered {
	const char *table; // name of the output
	const struct pl_table_column *columns;
	void (*add_rows)(struct pl_table *table, const struct pl_region_session *session,
	                 const PGresult *result);
	const char *none;    // the message of `list` if there are no rows
	const char *missing; // the message of `show` for an unknown number
	const char *show;    // the command that prints one; NULL: there is none
};

// The rows given as arguments: ids[i] of regions[i].
struct pl_numbered_names {
	bool all; // instead, with --all: every region, with id 0
	int n;
	const struct pl_region **regions;
	int64_t *ids;
};

// Prints the rows of all selected regions. `order` selects their numbers and bytes, with
// one parameter: --limit, 50 by default; `rows` those of a page, see struct pl_pages.
// Returns an exit status.
int pl_numbered_list(struct pl_invocation *invocation, const struct pl_numbered *kind, const char *order,
                     const char *rows);
// For a list's table, before and after it is filled: people do not see the details, and
// in JSON those of the last rows are left out, with a message, beyond 16 MiB.
void pl_numbered_hold(const struct pl_invocation *invocation, struct pl_table *table);
void pl_numbered_say_left_out(const struct pl_invocation *invocation, const struct pl_table *table,
                              const char *show);
// Prints in full the row given by the first argument. `sql` has one parameter, its
// number. Returns an exit status.
int pl_numbered_show(struct pl_invocation *invocation, const struct pl_numbered *kind, const char *sql);

// Reads all arguments as names of rows; the arrays belong to the invocation. Returns 0,
// or an exit status after a message.
int pl_numbered_names(struct pl_invocation *invocation, struct pl_numbered_names *names_r);
// The same for a command that takes either names or the option --all; `many`
// is what the rows are called.
int pl_numbered_names_or_all(struct pl_invocation *invocation, const char *many,
                             struct pl_numbered_names *names_r);
// Calls `act` for each of them in a session with its region. `act` returns PL_EXIT_YES or
// PL_EXIT_NO. Returns an exit status.
int pl_numbered_each(struct pl_invocation *invocation, const struct pl_numbered_names *names,
                     int (*act)(struct pl_invocation *invocation, struct pl_region_session *session,
                                int64_t id, const void *arg),
                     const void *arg);

// What `retry` needs to know of a kind. The daemon of the region does the work.
struct pl_numbered_retry {
	const char *one, *many; // "parked event", "parked events"
	const char *make_due;   // an UPDATE; $1: the number, or 0 for all of the region
	// Selects how many of those that were made due at the time $2 wait for their
	// turn, and how many are still there.
	const char *look;
	const char *again; // what to call those that are still there when all were tried
	const char *list;  // the command that shows them
};
// Makes the daemon retry the rows that the arguments name (with the option --all, all of
// them), and says what became of them. Waits as long as there is progress. Returns an
// exit status.
int pl_numbered_retry(struct pl_invocation *invocation, const struct pl_numbered_retry *kind);
// For parameters of a query.
const char *pl_numbered_text(char text[24], int64_t number);
