// What a resource's table has that refuses or changes rows: constraints, unique
// indexes, triggers, rules and row-level security.
//
// A write that one region has acknowledged may be refused by such a guard in another
// one, and is parked there. So the operator has to name each in resources.X.tolerate.
// What cannot refuse or change an acknowledged write is no guard: the key on id alone,
// NOT NULL (plist-admin schema diff compares it with the fields), indexes that are not
// unique, AFTER triggers other than constraint triggers, and triggers and rules for
// deletes, since a deleted record's row stays.
//
// Used by heal/heal_tables and plist-admin. Threads: any; nothing is shared.
#pragma once

#include <libpq-fe.h>

#include "base/buf.h"
#include "config/config.h"

struct pl_table_guard {
	int resource;      // its index in the configuration
	const char *kind;  // "constraint", "index", "trigger", "rule", "policy", ...
	const char *name;  // as tolerate lists it
	const char *oid;   // of its row in the catalog
	const char *owner; // quoted: the table that has it, if that is another one; or NULL
};

// The statement that lists the guards of several tables, and its only parameter: the
// tables of these resources. It waits for no lock on them.
extern const char pl_table_guards_sql[];
void pl_table_guards_tables(struct pl_buf *param, const struct pl_resource *resources, int n);
// A row of the result, which it points to.
struct pl_table_guard pl_table_guards_scan(const PGresult *result, int row);
// The statement that prints the definition of one guard, of this kind ($1) and oid ($2).
// It waits while another session has locked the table.
extern const char pl_table_guards_definition_sql[];

// Whether tolerate can be enough: PostgreSQL executes none of plist's statements on a
// table with a rule for INSERT or UPDATE.
bool pl_table_guards_can_be_tolerated(const struct pl_table_guard *guard);
bool pl_table_guards_is_tolerated(const struct pl_resource *resource, const struct pl_table_guard *guard);
// Whether it can change rows, not only refuse them.
bool pl_table_guards_can_change(const struct pl_table_guard *guard);
// Appends the statement that takes it away; `table` is quoted.
void pl_table_guards_undo(struct pl_buf *sql, const char *table, const struct pl_table_guard *guard);
