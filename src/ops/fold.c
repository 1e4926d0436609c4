// See fold.h.
//
// A transaction moves the values of some hundred rows. If PostgreSQL refuses it, each of
// these rows is tried alone (sql/*_unknown_values.sql). Writers never wait: rows that are
// locked are skipped, and tried once more at the end, a second later.
#include "ops/fold.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/quote.h"
#include "store/statement.h"

#define BATCH    500 // rows of one transaction
#define PAUSE_US INT64_C(1000000)

struct folding {
	struct pl_session *session;
	const struct pl_resource *resource;
	struct pl_fold *fold;
	struct pl_buf move;  // $1: ids
	struct pl_buf left;  // $1: ids; which of them still have such values
	struct pl_buf again; // ids, to be tried once more: "{1,2"
	int64_t nagain;
	bool refused; // fold->reason is PostgreSQL's
};

// ---- the statements

// What would remain of the unknown fields of the row with this alias.
static void add_rest(struct pl_buf *sql, const struct pl_resource *resource, const char *alias)
{
	pl_buf_printf(sql, "plist.plist_unknown_rest(%s.unknown_fields, ", alias);
	pl_statement_field_types(sql, resource, resource->nall);
	pl_buf_addc(sql, ')');
}

static void add_names(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_buf_adds(sql, "'{");
	for (int i = 0; i < resource->nall; i++)
		pl_buf_printf(sql, "%s\"%s\"", i ? "," : "", resource->fields[i].name);
	pl_buf_adds(sql, "}'::text[]");
}

// The rows of the alias q that hold in unknown_fields what this configuration has a
// column for.
static void add_from(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_buf_adds(sql, " FROM ");
	pl_statement_table(sql, resource);
	pl_buf_adds(sql, " AS q WHERE q.unknown_fields IS NOT NULL AND q.unknown_fields ?| ");
	add_names(sql, resource);
}

static void add_move(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_buf_adds(sql, "UPDATE ");
	pl_statement_table(sql, resource);
	pl_buf_adds(sql, " AS p SET ");
	for (int i = 0; i < resource->nall; i++) {
		pl_quote_name(sql, resource->fields[i].name);
		pl_buf_adds(sql, " = ");
		pl_statement_field_value(sql, &resource->fields[i]);
		pl_buf_adds(sql, ", ");
	}
	pl_buf_adds(sql, "unknown_fields = ");
	add_rest(sql, resource, "p");
	pl_buf_adds(sql, " WHERE p.unknown_fields IS NOT NULL AND p.id = ANY (ARRAY(SELECT q.id");
	add_from(sql, resource);
	pl_buf_adds(sql, " AND q.id = ANY ($1::bigint[]) AND q.unknown_fields IS DISTINCT FROM ");
	add_rest(sql, resource, "q");
	pl_buf_adds(sql, " ORDER BY q.id FOR NO KEY UPDATE SKIP LOCKED))");
}

static void add_left(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_buf_adds(sql, "SELECT q.id, q.unknown_fields IS DISTINCT FROM ");
	add_rest(sql, resource, "q");
	add_from(sql, resource);
	pl_buf_adds(sql, " AND q.id = ANY ($1::bigint[]) ORDER BY q.id");
}

// Names that were fields, that were retired, and that have no column any more.
static void add_dropped(struct pl_buf *sql, const struct pl_resource *resource)
{
	struct pl_buf table = { 0 };

	pl_statement_table(&table, resource);
	pl_buf_printf(sql,
	              "(SELECT coalesce(array_agg(r.name), '{}') FROM plist.resource_fields AS r WHERE "
	              "r.resource = '%s' AND r.retired AND r.name <> ALL (",
	              resource->name);
	add_names(sql, resource);
	pl_buf_adds(sql, ") AND NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = to_regclass(");
	pl_quote_literal(sql, table.data);
	pl_buf_adds(sql, ") AND a.attname = r.name AND NOT a.attisdropped))");
	pl_buf_fini(&table);
}

static void add_forget(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_buf_adds(sql, "WITH dropped AS MATERIALIZED (SELECT ");
	add_dropped(sql, resource);
	pl_buf_adds(sql, " AS names) UPDATE ");
	pl_statement_table(sql, resource);
	pl_buf_adds(sql, " AS p SET unknown_fields = nullif(p.unknown_fields - (SELECT names FROM dropped), "
	                 "'{}') WHERE p.unknown_fields IS NOT NULL AND p.id = ANY (ARRAY(SELECT q.id FROM ");
	pl_statement_table(sql, resource);
	pl_buf_printf(sql,
	              " AS q WHERE q.unknown_fields IS NOT NULL AND q.unknown_fields ?| (SELECT names FROM "
	              "dropped) ORDER BY q.id LIMIT %d FOR NO KEY UPDATE SKIP LOCKED))",
	              BATCH);
}

// ---- some rows

static void note(struct folding *folding, int64_t id, const char *reason)
{
	folding->fold->first = id;
	snprintf(folding->fold->reason, sizeof(folding->fold->reason), "%s", reason);
}

static int move_each(struct folding *folding, const char *ids, struct pl_error *err)
{
	const char *params[] = { folding->move.data, ids };
	PGresult *result = pl_session_exec(folding->session, "SELECT * FROM plist.plist_for_each($1, $2)", 2,
	                                   params, err);

	if (!result)
		return err->code;
	if (PQntuples(result) > 0) {
		note(folding, strtoll(PQgetvalue(result, 0, 0), NULL, 10), PQgetvalue(result, 0, 1));
		folding->refused = true;
	}
	PQclear(result);
	return 0;
}

// What is not refused because of a row is an error: a lost connection, a locked table.
static int move_some(struct folding *folding, const char *ids, struct pl_error *err)
{
	const char *params[] = { ids };
	PGresult *result = pl_session_exec(folding->session, folding->move.data, 1, params, err);

	PQclear(result);
	if (result)
		return 0;
	if (!err->sqlstate[0] || err->retryable || !pl_session_connected(folding->session))
		return err->code;
	return move_each(folding, ids, err);
}

// Which of the ids still have such values: as *result_r, to be cleared.
static int look(struct folding *folding, const char *ids, PGresult **result_r, struct pl_error *err)
{
	const char *params[] = { ids };

	*result_r = pl_session_exec(folding->session, folding->left.data, 1, params, err);
	return *result_r ? 0 : err->code;
}

// ---- all rows

// The ids beyond *after_r, "{1,2}" in `ids_r`, and their number; or a code.
static int64_t next_ids(struct folding *folding, int64_t *after_r, struct pl_buf *ids_r, struct pl_error *err)
{
	struct pl_buf sql = { 0 };
	char after[24];
	const char *params[] = { after };
	PGresult *result;
	int64_t n;

	snprintf(after, sizeof(after), "%" PRId64, *after_r);
	pl_buf_adds(&sql, "SELECT count(*), max(id), array_agg(id)::text FROM (SELECT q.id");
	add_from(&sql, folding->resource);
	pl_buf_printf(&sql, " AND q.id > $1::bigint ORDER BY q.id LIMIT %d) AS c", BATCH);
	result = pl_session_exec(folding->session, sql.data, 1, params, err);
	pl_buf_fini(&sql);
	if (!result)
		return err->code;
	n = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	if (n > 0)
		*after_r = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
	pl_buf_reset(ids_r);
	pl_buf_adds(ids_r, PQgetvalue(result, 0, 2));
	PQclear(result);
	return n;
}

static int pass(struct folding *folding, struct pl_error *err)
{
	struct pl_buf ids = { 0 };
	PGresult *result = NULL;
	int64_t after = INT64_MIN, n;
	int code = 0;

	while (code == 0 && (n = next_ids(folding, &after, &ids, err)) != 0) {
		code = n < 0 ? (int)n : move_some(folding, ids.data, err);
		if (code < 0 || (code = look(folding, ids.data, &result, err)) < 0)
			break;
		folding->fold->moved += n - PQntuples(result);
		folding->fold->left += PQntuples(result);
		for (int i = 0; i < PQntuples(result) && folding->nagain < BATCH; i++, folding->nagain++)
			pl_buf_printf(&folding->again, "%s%s", folding->nagain ? "," : "{",
			              PQgetvalue(result, i, 0));
		PQclear(result);
	}
	pl_buf_fini(&ids);
	return code;
}

static int once_more(struct folding *folding, struct pl_error *err)
{
	struct pl_fold *fold = folding->fold;
	PGresult *result;
	int code, n;

	folding->refused = false;
	pl_buf_addc(&folding->again, '}');
	code = pl_session_pause(folding->session, PAUSE_US);
	if (code < 0)
		return pl_error_set(err, code, "it is time to stop");
	if ((code = move_some(folding, folding->again.data, err)) < 0 ||
	    (code = look(folding, folding->again.data, &result, err)) < 0)
		return code;
	n = PQntuples(result);
	fold->moved += folding->nagain - n;
	fold->left -= folding->nagain - n;
	if (n > 0 && !folding->refused)
		note(folding, strtoll(PQgetvalue(result, 0, 0), NULL, 10),
		     PQgetvalue(result, 0, 1)[0] == 't'
		             ? "another session has locked it, or a trigger skips the change"
		             : "a value does not fit the type of its field");
	PQclear(result);
	return 0;
}

// A daemon that had retired the field may have written its values there last. If they
// stayed when its column was dropped, they would come back with another field of that
// name, in some regions.
static int forget_dropped(struct folding *folding, struct pl_error *err)
{
	struct pl_buf sql = { 0 };
	PGresult *result;
	int64_t n;
	int code = 0;

	add_forget(&sql, folding->resource);
	do {
		result = pl_session_exec(folding->session, sql.data, 0, NULL, err);
		n = result ? strtoll(PQcmdTuples(result), NULL, 10) : 0;
		code = result ? 0 : err->code;
		folding->fold->forgotten += n;
		PQclear(result);
	} while (n == BATCH);
	pl_buf_fini(&sql);
	return code;
}

int pl_fold_resource(struct pl_session *session, const struct pl_resource *resource, struct pl_fold *fold_r,
                     struct pl_error *err)
{
	struct folding folding = { .session = session, .resource = resource, .fold = fold_r };
	int code;

	memset(fold_r, 0, sizeof(*fold_r));
	add_move(&folding.move, resource);
	add_left(&folding.left, resource);
	code = pass(&folding, err);
	if (code == 0 && fold_r->left > 0)
		code = once_more(&folding, err);
	if (code == 0)
		code = forget_dropped(&folding, err);
	pl_buf_fini(&folding.move);
	pl_buf_fini(&folding.left);
	pl_buf_fini(&folding.again);
	return code;
}
