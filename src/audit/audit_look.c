// What the audit reads from this region's database. Threads: the audit's.
#include "audit/audit_private.h"

#include <stdio.h>

#include "compare/digest.h"
#include "store/statement.h"

// ---- the fields that both regions know, with equal types

static void print_field(struct pl_buf *text, const struct pl_field *field)
{
	char type[PL_FIELD_TYPE_MAX];

	pl_buf_printf(text, "%s %s;", field->name, pl_config_field_type(field, type));
}

void pl_audit_fields_print(struct pl_buf *text, const struct pl_resource *resource)
{
	for (int i = 0; i < resource->nall; i++)
		print_field(text, &resource->fields[i]);
}

// Whether the item "name type;" is in the list.
static bool is_listed(const char *list, const char *item, size_t len)
{
	for (const char *at = list; (at = strstr(at, item)); at += len)
		if (at == list || at[-1] == ';')
			return true;
	return false;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct pl_field *)a)->name, ((const struct pl_field *)b)->name);
}

// Fields are in the order of their names, since a field that only one region has
// retired is in another place in that region's configuration.
const struct pl_resource *pl_audit_fields_shared(struct pl_arena *arena, const struct pl_resource *resource,
                                                 const struct pl_audit_message *message)
{
	struct pl_resource *shared = pl_arena_alloc(arena, sizeof(*shared));
	struct pl_buf item = { 0 };

	*shared = *resource;
	shared->nall = 0;
	shared->track_fields = resource->track_fields && message->track;
	for (int i = 0; i < resource->nall; i++) {
		pl_buf_reset(&item);
		print_field(&item, &resource->fields[i]);
		if (is_listed(message->fields, item.data, item.len))
			shared->fields[shared->nall++] = resource->fields[i];
	}
	qsort(shared->fields, (size_t)shared->nall, sizeof(shared->fields[0]), by_name);
	shared->nfields = shared->nall;
	pl_buf_fini(&item);
	return shared;
}

// ---- reading

static int64_t number(const PGresult *result, int row, int column)
{
	return PQgetisnull(result, row, column) ? 0 : strtoll(PQgetvalue(result, row, column), NULL, 10);
}

static PGresult *look(struct pl_audit *audit, const char *sql, int64_t from, int64_t until,
                      struct pl_error *err)
{
	char first[24], end[24];
	const char *params[] = { first, end };

	snprintf(first, sizeof(first), "%lld", (long long)from);
	snprintf(end, sizeof(end), "%lld", (long long)until);
	return pl_session_exec(audit->session, sql, until > from ? 2 : 1, params, err);
}

// Records may be large: so the audit reads for at most half of the time, however few they
// are.
static void count_look(struct pl_audit *audit, int64_t begun_us, int64_t rows)
{
	int64_t now_us = pl_mono_us(), free_at_us = now_us + (now_us - begun_us);

	pl_audit_count_rows(audit, rows);
	if (audit->free_at_us < free_at_us)
		audit->free_at_us = free_at_us;
}

static void count_ranges(struct pl_audit *audit, int64_t begun_us, const struct pl_audit_span *span)
{
	int64_t n = span->until / RANGE - span->from / RANGE;

	audit->range_us = (pl_mono_us() - begun_us) / (n > 0 ? n : 1);
}

int64_t pl_audit_look_digests(struct pl_audit *audit, const struct pl_resource *resource,
                              const struct pl_audit_span *span, struct pl_buf *lines, struct pl_error *err)
{
	struct pl_buf sql = { 0 };
	PGresult *result;
	int64_t n = 0, begun_us = pl_mono_us();

	if (span->until <= span->from)
		return 0;
	(span->ranges ? pl_digest_ranges_sql : pl_digest_rows_sql)(&sql, resource, span->by_text);
	result = look(audit, sql.data, span->from, span->until, err);
	pl_buf_fini(&sql);
	if (!result)
		return err->code;
	for (int i = 0; i < PQntuples(result); i++) {
		pl_buf_printf(lines, "%s %s\n", PQgetvalue(result, i, 0), PQgetvalue(result, i, 2));
		n += number(result, i, 1);
	}
	PQclear(result);
	if (span->ranges)
		count_ranges(audit, begun_us, span);
	count_look(audit, begun_us, n);
	return n;
}

bool pl_audit_look_next(struct pl_audit *audit, const struct pl_resource *resource, int64_t from,
                        int64_t *id_r, struct pl_error *err)
{
	struct pl_buf sql = { 0 };
	PGresult *result;
	bool any;

	pl_buf_adds(&sql, "SELECT least((SELECT min(id) FROM ");
	pl_statement_table(&sql, resource);
	pl_buf_printf(&sql,
	              " WHERE id >= $1::bigint), (SELECT min(record_id) FROM plist.record_siblings WHERE "
	              "resource = '%s' AND record_id >= $1::bigint))",
	              resource->name);
	result = look(audit, sql.data, from, from, err);
	pl_buf_fini(&sql);
	err->code = result ? 0 : err->code;
	any = result && !PQgetisnull(result, 0, 0);
	*id_r = any ? number(result, 0, 0) : 0;
	PQclear(result);
	return any;
}

// Reads a damaged vector like the applier: all writes are attributed to the row's
// origin.
static void read_copy(const PGresult *result, int row, struct pl_audit_copy *copy_r)
{
	struct pl_copy *copy = &copy_r->copy;
	const char *vector;

	memset(copy_r, 0, sizeof(*copy_r));
	copy_r->id = number(result, row, PL_DIGEST_ID);
	copy->siblings = number(result, row, PL_DIGEST_SIBLINGS_DIGEST);
	copy->exists = !PQgetisnull(result, row, PL_DIGEST_VECTOR);
	if (!copy->exists)
		return;
	copy->content = number(result, row, PL_DIGEST_CONTENT);
	vector = PQgetvalue(result, row, PL_DIGEST_VECTOR);
	if (pl_vector_parse(&copy->vector, vector, strlen(vector)) < 0) {
		copy->vector.n = 0;
		pl_vector_set(&copy->vector, PQgetvalue(result, row, PL_DIGEST_ORIGIN),
		              (int32_t)number(result, row, PL_DIGEST_VERSION));
	}
}

int pl_audit_look_records(struct pl_audit *audit, const struct pl_resource *resource, const char *ids,
                          struct pl_buf *lines, struct pl_error *err)
{
	struct pl_buf sql = { 0 };
	PGresult *result;
	int64_t begun_us = pl_mono_us();

	// Leaves out the fields themselves, which may be large: PostgreSQL does not
	// compute columns that are not selected.
	pl_buf_adds(&sql,
	            "SELECT id, vector, origin, version, NULL, NULL, NULL, NULL, content, digest FROM (");
	pl_digest_records_sql(&sql, resource, true);
	pl_buf_adds(&sql, ") AS r (id, vector, origin, version, updated_at, deleted, fields, list, content, "
	                  "digest, has_siblings) ORDER BY id");
	result = pl_session_exec(audit->session, sql.data, 1, &ids, err);
	pl_buf_fini(&sql);
	if (!result)
		return err->code;
	for (int i = 0; i < PQntuples(result) && (i == 0 || lines->len < PL_AUDIT_BYTES); i++) {
		struct pl_audit_copy copy;

		read_copy(result, i, &copy);
		pl_audit_judge_print(lines, &copy);
	}
	count_look(audit, begun_us, PQntuples(result));
	PQclear(result);
	return 0;
}

// An event that waits for its database was received, but its record does not show it.
PGresult *pl_audit_look_parked(struct pl_audit *audit, const struct pl_resource *resource, const char *ids,
                               struct pl_error *err)
{
	const char *params[] = { resource->name, ids };

	return pl_session_exec(audit->session,
	                       "SELECT DISTINCT record_id FROM plist.parked_events WHERE resource = $1 AND "
	                       "record_id = ANY ($2::bigint[])",
	                       2, params, err);
}

bool pl_audit_look_is_parked(const PGresult *parked, int64_t id)
{
	for (int i = 0; i < PQntuples(parked); i++)
		if (number(parked, i, 0) == id)
			return true;
	return false;
}

int pl_audit_look_positions(struct pl_audit *audit, struct pl_buf *json, struct pl_error *err)
{
	const char *params[] = { audit->region->name };
	PGresult *result =
		pl_session_exec(audit->session,
	                        "SELECT coalesce(jsonb_object_agg(region, jsonb_build_array("
	                        "latest_generation, latest_id)), '{}') FROM plist.plist_positions($1) "
	                        "WHERE latest_generation > 0 AND latest_id > 0",
	                        1, params, err);

	if (!result)
		return err->code;
	pl_buf_adds(json, PQgetvalue(result, 0, 0));
	PQclear(result);
	return 0;
}
