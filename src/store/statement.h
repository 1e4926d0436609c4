// The SQL of a resource: the texts that the store prepares, and the order of their
// parameters.
//
// Used by the files of store/. What a batch is and what happens to its rows is
// described in store/write_batch.c.
// Threads: any; nothing is shared.
#pragma once

#include "base/buf.h"
#include "config/config.h"

// The parameters of every statement that takes writes, in order; the resource's fields
// follow PL_PARAM_FIELD.
enum pl_param_place {
	PL_PARAM_ID,          // bigint; 0: take one of this region's
	PL_PARAM_FLAGS,       // bigint, below
	PL_PARAM_VERSION,     // integer or null
	PL_PARAM_ETAG,        // text of a vector, or null
	PL_PARAM_REQUEST_ID,  // text; "" for a write that is not remembered
	PL_PARAM_PRINCIPAL,   // text
	PL_PARAM_FINGERPRINT, // bytea
	// timestamptz; also the mark by which a write recognises its own row in
	// processed_requests
	PL_PARAM_EXPIRES,
	PL_PARAM_PREFIX,      // text: the region of the request's path, for a create's Location
	PL_PARAM_TRACEPARENT, // text or null
	PL_PARAM_FIELD,       // the fields: decimal and string as text, integer, boolean
};
#define PL_PARAMS_MAX      (PL_PARAM_FIELD + PL_FIELDS_MAX)

// The lowest two bits of the flags are the enum pl_write_op.
#define PL_FLAG_ETAG_NEVER INT64_C(4)            // If-Match was given and can match nothing
#define PL_FLAG_UNLOCKED   INT64_C(8)            // a lock is required and none was given
#define PL_FLAG_FIELD(i)   (INT64_C(256) << (i)) // the field is set by this write; all are by a create

// The purpose of a statement. A batch takes arrays, a single write takes values.
enum pl_statement_kind {
	// updates and deletes of ordinary rows: not locked, no siblings, no tombstone
	PL_STATEMENT_CHANGE_BATCH,
	PL_STATEMENT_CHANGE_ONE,
	// the same for an update that is locked by its version, in the plain case
	PL_STATEMENT_CHANGE_PLAIN,
	PL_STATEMENT_CREATE_BATCH, // creates of ids that are free
	PL_STATEMENT_CREATE_ONE,
	PL_STATEMENT_MIXED_BATCH, // both of the above
	PL_STATEMENT_SERIAL,      // one write of any kind, on any row; waits for its lock
	PL_STATEMENT_ASK,         // why writes were not done, or whether they were: reads only
	PL_STATEMENT_READ,        // records by id: $1 bigint[]
	PL_STATEMENT_KINDS,
};

// Result columns of all that write: only writes that were done have a row.
enum { PL_DONE_N, PL_DONE_VALUE, PL_DONE_VECTOR, PL_DONE_OUTBOX_ID };
// Of ASK: a row for each write.
enum {
	PL_ASKED_N,
	PL_ASKED_OUTCOME,
	PL_ASKED_OWN,
	PL_ASKED_STATUS,
	PL_ASKED_BODY,
	PL_ASKED_LOCATION,
	PL_ASKED_REMEMBERED_VECTOR,
	PL_ASKED_VALUE,
	PL_ASKED_VECTOR,
	PL_ASKED_DELETED,
	PL_ASKED_SIBLINGS,
	PL_ASKED_GUARD, // of the outcomes TAKEN, DANGLING and REFERENCED: which fields; or null
};
#define PL_ASKED_AGAIN (-1) // an outcome of ASK: nothing prevents the write
// Of READ and of lists; a column for each field behind them.
enum {
	PL_READ_ID,
	PL_READ_REGION_ORIGIN,
	PL_READ_VERSION,
	PL_READ_UPDATED_AT,
	PL_READ_VECTOR,
	PL_READ_SIBLINGS,
	PL_READ_UNKNOWN, // the row's unknown_fields, which take precedence over the columns
	PL_READ_FIELDS
};

// Appends the text. Writes are counted under `key` (record/vector.h).
void pl_statement_text(struct pl_buf *buf, enum pl_statement_kind kind, const struct pl_config *config,
                       const struct pl_resource *resource, const struct pl_region *region, const char *key);
const char *
pl_statement_kind_name(enum pl_statement_kind kind); // "change_batch"; part of a prepared statement's name

// For lists: the columns of READ for rows with the alias `p`; a table's name, quoted.
void pl_statement_read_columns(struct pl_buf *buf, const struct pl_resource *resource);
// and the JSON of a row of the alias `p`, as pl_record_print makes it.
void pl_statement_record_json(struct pl_buf *buf, const struct pl_resource *resource);
// The table's name with a suffix: "properties_ids".
void pl_statement_table_named(struct pl_buf *buf, const struct pl_resource *resource, const char *suffix);
void pl_statement_table(struct pl_buf *buf, const struct pl_resource *resource);
// For a sum of bytes: " + " and the size of each text of the row with the alias `p`.
void pl_statement_plus_texts(struct pl_buf *buf, const struct pl_resource *resource);

// Of fields that this daemon or another one does not know, in a row with the alias `p`.
// Ordinary rows cost a look at a column that is null.

// {"price":"decimal(12,2)",…} of the first `n` fields, as a literal.
void pl_statement_field_types(struct pl_buf *buf, const struct pl_resource *resource, int n);
// The field's value: its column, unless unknown_fields has a newer value for it.
void pl_statement_field_value(struct pl_buf *buf, const struct pl_field *field);
// The row's fields that this daemon does not show, as an event carries them: jsonb or
// null.
void pl_statement_unknown(struct pl_buf *buf, const struct pl_resource *resource);
// The same as the row holds them, with nulls, and with newer values for known fields.
void pl_statement_stored_unknown(struct pl_buf *buf, const struct pl_resource *resource);
// What to store in unknown_fields with a row that has these unknown fields (an SQL
// expression, or NULL: none).
void pl_statement_written_unknown(struct pl_buf *buf, const struct pl_resource *resource,
                                  const char *unknown);
// A record's JSON (text) with these unknown fields added; both SQL expressions.
void pl_statement_with_unknown(struct pl_buf *buf, const char *json, const char *unknown);
// Enters the fields that this daemon knows into plist.resource_fields, for a session that
// will write; whole statements.
void pl_statement_claim_fields(struct pl_buf *buf, const struct pl_config *config);
// A statement by which a session finds out whether other daemons know more fields of the
// resources, for PL_STATEMENT_CHANGE_PLAIN.
void pl_statement_look_at_fields(struct pl_buf *buf, const struct pl_resource *resources, int n);

// A statement that moves the resource's sequence above all existing ids. It returns the
// id after which the sequence continues, or null if nothing was moved.
void pl_statement_pass_taken_ids(struct pl_buf *buf, const struct pl_resource *resource,
                                 const struct pl_region *region);
// For a new connection that writes: fails unless the database is the region's, is whole,
// and counts its writes under `key`. See sql/014_identity.sql.
void pl_statement_claim_identity(struct pl_buf *buf, const struct pl_region *region, const char *key);
// For a new connection that writes: claims the region's range of ids, and does the same
// for all resources. See sql/007_id_ranges.sql.
void pl_statement_claim_ids(struct pl_buf *buf, const struct pl_config *config,
                            const struct pl_region *region);

// Takes the locks of a transaction's writes (store/guard.h): $1 those that are exclusive,
// $2 the shared ones.
extern const char pl_statement_guard_locks[];

// Settings for a session whose statements find rows by key; NULL-ended.
extern const char *const pl_statement_pinned_plans[];
