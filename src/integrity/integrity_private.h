// The inside of integrity/, shared by its files.
#pragma once

#include "integrity/integrity.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/background.h"
#include "integrity/resolution.h"
#include "script/rule.h"

#define SECOND INT64_C(1000000)

struct pl_integrity {
	struct pl_background *background;
	pthread_mutex_t lock; // guards `stats`
	struct pl_integrity_stats stats;

	// Used by the integrity thread only.
	const struct pl_config *config;
	const struct pl_region *region;
	struct pl_session *session;
	struct pl_vm *vm; // has the rules; NULL: no resource has one
	int64_t missing_us;
	bool guarded;    // some resource has unique fields or references
	bool looked;     // all records were noted since the configuration was loaded
	bool is_checker; // no other daemon of the region checks
	struct pl_log_limit found_limit;
};

// What is checked: a set of unique fields, or a field that refers to records.
struct pl_integrity_check {
	const struct pl_resource *resource;
	const char *type, *fields;
	const struct pl_unique *unique; // NULL: a reference
	int field;                      // of a reference: the field that refers
	const struct pl_resource *to;
};

// Gets the i-th check of a configuration. False: there are no more.
bool pl_integrity_check_at(const struct pl_config *config, int i, struct pl_integrity_check *check_r);

// integrity_sql.c. The queries of a check. Columns: subject, records (as in
// conflicts.siblings), vectors by id, first id. $1: ids of records, as bigint[], or
// subjects of violations, as text[].
void pl_integrity_sql_of_ids(struct pl_buf *sql, const struct pl_integrity_check *check);
void pl_integrity_sql_of_subjects(struct pl_buf *sql, const struct pl_integrity_check *check);
// Notes every record that may violate the check.
void pl_integrity_sql_full(struct pl_buf *sql, const struct pl_integrity_check *check);
// $1: notes (bigint[]), $2: seconds. Postpones the notes whose record refers to a
// missing one until they are that old.
void pl_integrity_sql_defer(struct pl_buf *sql, const struct pl_integrity_check *check);
// $1: records (bigint[]). Notes the records that refer to those of them that are
// missing.
void pl_integrity_sql_referring(struct pl_buf *sql, const struct pl_integrity_check *check);

// integrity_look.c: 0 or a code.
int pl_integrity_look(struct pl_integrity *integrity, struct pl_error *err);
// integrity_resolve.c
int pl_integrity_resolve(struct pl_integrity *integrity, struct pl_error *err);

// Runs a statement without a result.
int pl_integrity_do(struct pl_integrity *integrity, const char *sql, int n, const char *const *params,
                    struct pl_error *err);
