// What a resource's table lacks, so that writes cannot work: a key, a right, a column's
// fitting type, or a default of a column that plist does not know.
//
// The statements of writes are prepared without noticing this; they fail when they are
// executed. So it is looked for, whether or not requests arrive.
//
// Used by heal/heal_tables and plist-admin. Threads: any; nothing is shared.
#pragma once

#include <libpq-fe.h>

#include "base/buf.h"
#include "config/config.h"

struct pl_table_lack {
	int resource;     // its index in the configuration
	const char *what; // "has no unique index on id alone that ON CONFLICT can use"
	const char *sql;  // what to run
};

// The statement, and its two parameters: the tables of these resources, as for
// pl_table_guards_sql, and their columns that plist fills, with the types that fit.
extern const char pl_table_lacks_sql[];
void pl_table_lacks_columns(struct pl_buf *param, const struct pl_resource *resources, int n);
// A row of the result, which it points to.
struct pl_table_lack pl_table_lacks_scan(const PGresult *result, int row);
