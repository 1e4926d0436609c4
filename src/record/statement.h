// The SQL of a resource: the texts that the store prepares, and the order of their parameters.
//
// Used by record/store and its parts. What a batch is and what happens to its rows is told in record/batch.c.
// Threads: any; nothing is shared.
#pragma once

#include "config/config.h"
#include "base/buf.h"

// The parameters of every statement that takes writes, in order; the resource's fields follow PL_PARAM_FIELD.
enum pl_param_place {
	PL_PARAM_ID,          // bigint; 0: take one of this region's
	PL_PARAM_FLAGS,       // bigint, below
	PL_PARAM_VERSION,     // integer or null
	PL_PARAM_ETAG,        // text of a vector, or null
	PL_PARAM_REQUEST_ID,  // text; "" for a write that nobody remembers
	PL_PARAM_PRINCIPAL,   // text
	PL_PARAM_FINGERPRINT, // bytea
	PL_PARAM_EXPIRES,     // timestamptz; also the mark by which a write knows its own row in processed_requests again
	PL_PARAM_PREFIX,      // text: the region of the request's path, for a create's Location
	PL_PARAM_TRACEPARENT, // text or null
	PL_PARAM_FIELD,       // the fields: decimal and string as text, integer, boolean
};
#define PL_PARAMS_MAX (PL_PARAM_FIELD + PL_FIELDS_MAX)

#define PL_FLAG_OP INT64_C(3)          // enum pl_write_op
#define PL_FLAG_ETAG_NEVER INT64_C(4)  // If-Match was given and can match nothing
#define PL_FLAG_UNLOCKED INT64_C(8)    // a lock is required and none was given
#define PL_FLAG_FIELD(i) (INT64_C(256) << (i)) // the field is set by this write; all are by a create

// What a statement is made for. A batch takes arrays, a single write takes values.
enum pl_statement_kind {
	PL_STATEMENT_CHANGE_BATCH, // updates and deletes of ordinary rows: nobody has locked them, no siblings, no tombstone
	PL_STATEMENT_CHANGE_ONE,
	PL_STATEMENT_CREATE_BATCH, // creates of ids that are free
	PL_STATEMENT_CREATE_ONE,
	PL_STATEMENT_MIXED_BATCH,  // both of the above
	PL_STATEMENT_CAREFUL,      // one write of any kind, whatever the row is like; waits for its lock
	PL_STATEMENT_ASK,          // why writes were not done, or whether they were: reads only
	PL_STATEMENT_READ,         // records by id: $1 bigint[]
	PL_STATEMENT_KINDS,
};

// Result columns of CHANGE, CREATE, MIXED and CAREFUL: only writes that were done have a row.
enum { PL_DONE_N, PL_DONE_VALUE, PL_DONE_VECTOR };
// Of ASK: a row for each.
enum {
	PL_ASKED_N, PL_ASKED_OUTCOME, PL_ASKED_OWN, PL_ASKED_STATUS, PL_ASKED_BODY, PL_ASKED_LOCATION, PL_ASKED_REMEMBERED_VECTOR,
	PL_ASKED_VALUE, PL_ASKED_VECTOR, PL_ASKED_DELETED, PL_ASKED_SIBLINGS,
};
#define PL_ASKED_AGAIN (-1) // an outcome of ASK: nothing stands in the way any more
// Of READ and of lists; a column for each field behind them.
enum { PL_READ_ID, PL_READ_REGION_ORIGIN, PL_READ_VERSION, PL_READ_UPDATED_AT, PL_READ_VECTOR, PL_READ_SIBLINGS, PL_READ_FIELDS };

// Appends the text.
void pl_statement_text(struct pl_buf *buf, enum pl_statement_kind kind, const struct pl_resource *resource, const struct pl_region *region);
const char *pl_statement_kind_name(enum pl_statement_kind kind); // "change_batch"; part of a prepared statement's name

// Pieces for lists: the columns of READ for rows of an alias `p`; a table's name quoted.
void pl_statement_read_columns(struct pl_buf *buf, const struct pl_resource *resource);
void pl_statement_table(struct pl_buf *buf, const struct pl_resource *resource);
void pl_statement_name(struct pl_buf *buf, const char *identifier); // quoted

// What a session is set to that asks by keys; NULL-ended.
extern const char *const pl_statement_pinned_plans[];
