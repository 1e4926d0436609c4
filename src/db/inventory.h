// The inventory: whether what the migrations made in plist's schema is still there.
#pragma once

#include "base/buf.h"
#include "db/session.h"

// Appends to `missing` what is missing of tables, columns, indexes and functions: "table
// plist.outbox, column plist.conflicts.topic", and types that differ. *n_r: how
// many. A missing table stands for its columns and indexes. All migrations have to be
// applied. Returns 0 or the session's codes.
int pl_inventory_check(struct pl_session *session, struct pl_buf *missing, int *n_r, struct pl_error *err);

// The same for rows that each database of plist has, if no table is missing.
int pl_inventory_check_rows(struct pl_session *session, struct pl_buf *missing, int *n_r,
                            struct pl_error *err);

// The lines of src/db/inventory.inc that describe this database. NULL with err; free()
// it.
char *pl_inventory_lines(struct pl_session *session, struct pl_error *err);
