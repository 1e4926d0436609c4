// The SQL for comparing a resource's rows: digests of ranges, digests of rows, and
// whole rows.
//
// A row's digest covers what every region must agree on: id, vector, origin, version,
// time, tombstone, all configured fields, and the record's siblings. It leaves out what
// belongs to one database, such as the row's request id, which a region forgets when
// the request expires. A field counts the same in its column as in unknown_fields,
// where daemons keep fields that they do not know. Fields that the given configuration
// does not name are left out, since only some regions may have a column for them.
//
// Digests are sums of 64-bit hashes rather than XORs, in which two equal changes would
// cancel out. For a million rows, PostgreSQL needs 0.6 s of processor time to hash the
// values, and 1.1 s to hash their text. Its hashes of values are guaranteed to be equal
// only between servers of one major version; otherwise the text is hashed (`by_text`),
// which requires sessions that print times in the same format (admin/region_sessions).
// Threads: any; nothing is shared.
#pragma once

#include "base/buf.h"
#include "config/config.h"

#define PL_DIGEST_RANGE_BITS 12 // a range is 4,096 ids

// (range, rows, digest) of the ids in [$1, $2), ordered by range.
void pl_digest_ranges_sql(struct pl_buf *sql, const struct pl_resource *resource, bool by_text);
// (id, digest) of the same ids, ordered by id.
void pl_digest_rows_sql(struct pl_buf *sql, const struct pl_resource *resource, bool by_text);
// The records with the ids $1 (bigint[], ascending): one row for each id, even if there
// is no such record.
enum {
	PL_DIGEST_ID,
	PL_DIGEST_VECTOR, // null: there is no such record
	PL_DIGEST_ORIGIN,
	PL_DIGEST_VERSION,
	PL_DIGEST_UPDATED_AT,
	PL_DIGEST_DELETED,
	PL_DIGEST_FIELDS,   // JSON
	PL_DIGEST_SIBLINGS, // JSON; null: none
	PL_DIGEST_CONTENT,  // digest of the row without its vector
	PL_DIGEST_SIBLINGS_DIGEST,
	PL_DIGEST_HAS_SIBLINGS, // what the row says; null: there is no such record
};
void pl_digest_records_sql(struct pl_buf *sql, const struct pl_resource *resource, bool by_text);
