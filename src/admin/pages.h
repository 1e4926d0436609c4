// Reads of rows that may be large, such as events with their values: a page at a time,
// bounded in bytes, so that the tool's memory does not depend on how much is stored.
#pragma once

#include <libpq-fe.h>
#include <stdint.h>

#include "admin/region_sessions.h"

#define PL_PAGES_BYTES INT64_C(2097152) // of a page, and one row more

struct pl_pages {
	const char *order; // selects the number and the bytes of each row, in order
	int nparams;
	const char *const *params;
	const char *rows; // selects the rows with the numbers $1, a bigint[], in its order
	void (*add)(void *arg, const PGresult *page);
	void *arg;
};

// What `rows` ends with; the number is the column `id`.
#define PL_PAGES_IN_ORDER \
	" JOIN unnest($1::bigint[]) WITH ORDINALITY AS page(id, n) USING (id) ORDER BY page.n"

// Returns the number of the last row, or 0 if there is none or the database failed, which
// was reported then. Rows that are deleted meanwhile are left out.
int64_t pl_pages_read(struct pl_region_session *session, const struct pl_pages *pages);
