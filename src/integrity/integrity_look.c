// Finding violations, and noticing when they are gone.
//
// Called by the thread. Each step is one transaction, or may be repeated without harm.
// Threads: the integrity thread.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "integrity/integrity_private.h"
#include "store/guard.h"

#define NOTES_AT_ONCE "1000"
#define OPEN_AT_ONCE  "200"
// What another session has locked is hardly waited for.
#define BEGIN_LOOK    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = 50"

// Adds to an array, "{1,2}", a text that contains neither commas nor quotes.
static void add_item(struct pl_buf *array, const char *text)
{
	pl_buf_adds(array, array->len ? "," : "{");
	pl_buf_adds(array, text);
}

static void add_quoted(struct pl_buf *array, const char *text)
{
	pl_buf_adds(array, array->len ? ",\"" : "{\"");
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			pl_buf_addc(array, '\\');
		pl_buf_addc(array, *text);
	}
	pl_buf_addc(array, '"');
}

// ---- opening and closing

static void found(struct pl_integrity *integrity, const struct pl_integrity_check *check, const char *subject,
                  const char *conflict)
{
	pthread_mutex_lock(&integrity->lock);
	integrity->stats.found++;
	pthread_mutex_unlock(&integrity->lock);
	if (!pl_log_limit_ok(&integrity->found_limit, SECOND))
		return;
	if (check->unique)
		pl_warning("integrity: records of %s have the same (%s), %s (conflict %s)",
		           check->resource->name, check->fields, subject, conflict);
	else
		pl_warning("integrity: %s %s refers by %s to a record of %s that does not exist (conflict "
		           "%s)",
		           check->resource->name, subject, check->fields, check->to->name, conflict);
}

// The violation stays in the database: its records may be large, and many.
static const char open_sql[] =
	"), old AS (SELECT records, conflict FROM plist.violations WHERE resource = $2 AND type = $3 AND "
	"fields = $4 AND subject = $5 AND gone_at IS NULL), c AS (INSERT INTO plist.conflicts (resource, "
	"record_id, type, policy_name, policy_sha256, siblings, verdict, visible, vector) SELECT $2, first, "
	"$3, $6, '', records, jsonb_build_object('fields', $4::text, 'subject', $5::text, 'records', n), "
	"'{}', '{}' FROM found WHERE NOT EXISTS (SELECT FROM old) RETURNING id), u AS (UPDATE "
	"plist.conflicts AS k SET "
	"siblings = f.records, verdict = k.verdict || jsonb_build_object('records', f.n) FROM found AS f, "
	"old WHERE k.id = old.conflict AND (old.records <> f.vectors OR (k.verdict ->> 'records')::bigint IS "
	"DISTINCT FROM f.n)) "
	"INSERT INTO plist.violations AS v (resource, type, fields, subject, records, conflict, tries) "
	"SELECT $2, $3, $4, $5, f.vectors, coalesce((SELECT id FROM c), (SELECT conflict FROM old)), "
	"coalesce((SELECT max(tries) FROM plist.violations AS o WHERE o.resource = $2 AND o.written && "
	"ARRAY(SELECT concat_ws(' ', r ->> 'id', r ->> 'origin', r ->> 'counter') FROM "
	"jsonb_array_elements(f.records) AS r)), 0) FROM found AS f ON CONFLICT (resource, type, fields, "
	"subject) DO UPDATE SET "
	"records = excluded.records, conflict = excluded.conflict, found_at = CASE WHEN v.gone_at "
	"IS NULL THEN v.found_at ELSE now() END, changed_at = CASE WHEN v.records = "
	"excluded.records AND v.gone_at IS NULL THEN v.changed_at ELSE now() END, "
	"tries = CASE WHEN v.records = excluded.records AND v.gone_at IS NULL THEN v.tries ELSE "
	"excluded.tries END, written = CASE WHEN excluded.tries > 0 OR v.gone_at IS NULL THEN "
	"v.written ELSE '{}' END, tried = CASE WHEN v.gone_at IS NULL THEN "
	"v.tried END, looked_at = now(), gone_at = NULL RETURNING (SELECT id FROM c)";

// Opens the violation with this subject, or updates it. Returns whether there is one, or
// a code. A new violation inherits the tries of earlier ones only if a change by a rule
// has caused it: clients may cause violations with one record as often as they like.
// ids: of records that have the subject, as an array; NULL: those of the violation, which
// is there already, since a subject may be only the hash of its values.
static int open_one(struct pl_integrity *integrity, const struct pl_integrity_check *check,
                    const char *subject, const char *ids, struct pl_error *err)
{
	struct pl_buf sql = { 0 }, subjects = { 0 };
	PGresult *result;
	int code;

	add_quoted(&subjects, subject);
	pl_buf_addc(&subjects, '}');
	pl_buf_adds(&sql, "WITH found (subject, records, vectors, first, n) AS (");
	pl_buf_adds(&sql, ids ? "SELECT f.* FROM (" : "");
	if (ids)
		pl_integrity_sql_of_ids(&sql, check);
	else
		pl_integrity_sql_of_subjects(&sql, check);
	pl_buf_adds(&sql, ids ? ") AS f (subject, records, vectors, first, n) WHERE f.subject = $5" : "");
	pl_buf_adds(&sql, open_sql);
	result = pl_session_exec(
		integrity->session, sql.data, 6,
		(const char *const[]){ ids ? ids : subjects.data, check->resource->name, check->type,
	                               check->fields, subject,
	                               check->resource->violations ? check->resource->violations : "none" },
		err);
	pl_buf_fini(&sql);
	pl_buf_fini(&subjects);
	if (!result)
		return err->code;
	code = PQntuples(result) > 0;
	if (code > 0 && !PQgetisnull(result, 0, 0))
		found(integrity, check, subject, PQgetvalue(result, 0, 0));
	PQclear(result);
	return code;
}

static int close_one(struct pl_integrity *integrity, const char *const key[4], struct pl_error *err)
{
	return pl_integrity_do(
		integrity,
		"WITH v AS (UPDATE plist.violations SET gone_at = now() WHERE resource = $1 AND type = $2 "
		"AND fields = $3 AND subject = $4 RETURNING conflict) UPDATE plist.conflicts SET closed_at = "
		"now() WHERE closed_at IS NULL AND id = (SELECT conflict FROM v)",
		4, key, err);
}

static int open_all(struct pl_integrity *integrity, const struct pl_integrity_check *check, const char *ids,
                    struct pl_error *err)
{
	struct pl_buf sql = { 0 };
	PGresult *rows;
	int code;

	pl_buf_adds(&sql, "SELECT subject FROM (");
	pl_integrity_sql_of_ids(&sql, check);
	pl_buf_adds(&sql, ") AS found (subject, records, vectors, first, n)");
	rows = pl_session_exec(integrity->session, sql.data, 1, &ids, err);
	pl_buf_fini(&sql);
	code = rows ? 0 : err->code;
	for (int i = 0; rows && i < PQntuples(rows) && code >= 0; i++)
		code = open_one(integrity, check, PQgetvalue(rows, i, 0),
		                PQgetvalue(rows, i, 0)[0] == '{' ? ids : NULL, err);
	PQclear(rows);
	return code < 0 ? code : 0;
}

// ---- all records

static int look_at_all(struct pl_integrity *integrity, struct pl_error *err)
{
	int code = pl_integrity_note_all(integrity->session, integrity->config, NULL, NULL, err);

	integrity->looked = code == 0;
	return code;
}

// ---- notes

struct notes {
	PGresult *rows; // id, resource, record_id, whether the note is old
	const char *seconds;
};

// Prints as an array the ids of notes, or of their records, of one resource (NULL: of
// all).
static void ids_of(const struct notes *notes, const char *resource, int column, bool old,
                   struct pl_buf *array)
{
	pl_buf_reset(array);
	for (int i = 0; i < PQntuples(notes->rows); i++)
		if ((!resource || strcmp(PQgetvalue(notes->rows, i, 1), resource) == 0) &&
		    (!old || PQgetvalue(notes->rows, i, 3)[0] == 't'))
			add_item(array, PQgetvalue(notes->rows, i, column));
	if (array->len)
		pl_buf_addc(array, '}');
}

// Appends an array to an array that is not ended yet.
static void add_ids(struct pl_buf *array, const struct pl_buf *more)
{
	if (more->len > 2)
		pl_buf_printf(array, "%c%.*s", array->len ? ',' : '{', (int)more->len - 2, more->data + 1);
}

// Waits for clients' writes that were checked before the notes were made.
static int await_writes(struct pl_integrity *integrity, struct pl_error *err)
{
	struct pl_buf sql = { 0 };
	int code;

	pl_guard_lock_all(&sql, integrity->config);
	code = sql.len ? pl_integrity_do(integrity, sql.data, 0, NULL, err) : 0;
	pl_buf_fini(&sql);
	return code;
}

// Looks at a reference. Recent notes wait, and old ones are violations. If a noted
// record is missing, the records that refer to it are noted, too.
static int look_at_reference(struct pl_integrity *integrity, const struct pl_integrity_check *check,
                             const struct notes *notes, struct pl_error *err)
{
	struct pl_buf sql = { 0 }, ids = { 0 };
	int code = 0;

	ids_of(notes, check->resource->name, 0, false, &ids);
	if (ids.len) {
		pl_integrity_sql_defer(&sql, check);
		code = pl_integrity_do(integrity, sql.data, 2,
		                       (const char *const[]){ ids.data, notes->seconds }, err);
		ids_of(notes, check->resource->name, 2, true, &ids);
		if (code == 0 && ids.len)
			code = open_all(integrity, check, ids.data, err);
	}
	ids_of(notes, check->to->name, 2, false, &ids);
	if (code == 0 && ids.len) {
		pl_buf_reset(&sql);
		pl_integrity_sql_referring(&sql, check);
		code = pl_integrity_do(integrity, sql.data, 1, (const char *const[]){ ids.data }, err);
	}
	pl_buf_fini(&sql);
	pl_buf_fini(&ids);
	return code;
}

static int look_at_notes_by(struct pl_integrity *integrity, const struct pl_integrity_check *check,
                            const struct notes *notes, struct pl_error *err)
{
	struct pl_buf ids = { 0 };
	int code = 0;

	if (!check->unique)
		return look_at_reference(integrity, check, notes, err);
	ids_of(notes, check->resource->name, 2, false, &ids);
	if (ids.len)
		code = open_all(integrity, check, ids.data, err);
	pl_buf_fini(&ids);
	return code;
}

// Looks at the notes by one check. If another session has locked one of its tables, its
// notes stay, and are due again in a moment. `kept`: an array of their ids.
static int look_or_keep(struct pl_integrity *integrity, const struct pl_integrity_check *check,
                        const struct notes *notes, struct pl_buf *kept, struct pl_error *err)
{
	struct pl_buf ids = { 0 };
	int code = pl_session_do(integrity->session, "SAVEPOINT look", err);

	if (code < 0 || (code = look_at_notes_by(integrity, check, notes, err)) >= 0 ||
	    strcmp(err->sqlstate, "55P03") != 0)
		return code;
	if ((code = pl_session_do(integrity->session, "ROLLBACK TO look", err)) < 0)
		return code;
	ids_of(notes, check->resource->name, 0, false, &ids);
	add_ids(kept, &ids);
	if (check->to) {
		ids_of(notes, check->to->name, 0, false, &ids);
		add_ids(kept, &ids);
	}
	pl_buf_fini(&ids);
	return 0;
}

static int forget_notes(struct pl_integrity *integrity, const struct notes *notes, const struct pl_buf *kept,
                        struct pl_error *err)
{
	struct pl_buf ids = { 0 };
	int code;

	ids_of(notes, NULL, 0, false, &ids);
	code = pl_integrity_do(integrity,
	                       "WITH kept AS (UPDATE plist.integrity_checks SET due_at = now() + interval '1 "
	                       "second' WHERE id = ANY ($2::bigint[])) DELETE FROM plist.integrity_checks "
	                       "WHERE id = ANY ($1::bigint[]) AND id <> ALL ($2::bigint[]) AND due_at <= "
	                       "now()",
	                       2, (const char *const[]){ ids.data, kept->len ? kept->data : "{}" }, err);
	pl_buf_fini(&ids);
	return code;
}

static int take_notes(struct pl_integrity *integrity, const struct notes *notes, struct pl_error *err)
{
	struct pl_buf kept = { 0 };
	struct pl_integrity_check check;
	int code = pl_session_do(integrity->session, BEGIN_LOOK, err);

	for (int i = 0; code >= 0 && pl_integrity_check_at(integrity->config, i, &check); i++)
		code = look_or_keep(integrity, &check, notes, &kept, err);
	if (kept.len)
		pl_buf_addc(&kept, '}');
	if (code >= 0)
		code = forget_notes(integrity, notes, &kept, err);
	pl_buf_fini(&kept);
	return code >= 0 ? pl_session_do(integrity->session, "COMMIT", err) : code;
}

// Returns the number of notes, or a code.
static int look_at_notes(struct pl_integrity *integrity, struct pl_error *err)
{
	char seconds[32];
	struct notes notes = { .seconds = seconds };
	int code, n;

	snprintf(seconds, sizeof(seconds), "%.6f", (double)integrity->missing_us / 1e6);
	notes.rows = pl_session_exec(
		integrity->session,
		"SELECT id, resource, record_id, noted_at <= now() - $1::float8 * interval '1 second' FROM "
		"plist.integrity_checks WHERE due_at <= now() ORDER BY due_at, id LIMIT " NOTES_AT_ONCE,
		1, (const char *const[]){ seconds }, err);
	if (!notes.rows)
		return err->code;
	n = PQntuples(notes.rows);
	code = n > 0 ? await_writes(integrity, err) : 0;
	if (n > 0 && code == 0)
		code = take_notes(integrity, &notes, err);
	PQclear(notes.rows);
	return code < 0 ? code : n;
}

// ---- open violations

static bool finds(const struct pl_config *config, const char *const key[4],
                  struct pl_integrity_check *check_r)
{
	for (int i = 0; pl_integrity_check_at(config, i, check_r); i++)
		if (strcmp(check_r->resource->name, key[0]) == 0 && strcmp(check_r->type, key[1]) == 0 &&
		    strcmp(check_r->fields, key[2]) == 0)
			return true;
	return false;
}

// Whether more records were counted than the violation names: with a subject that has
// only the hash of the values, these cannot be found once no named one has them.
static int has_more(struct pl_integrity *integrity, const char *const key[4], struct pl_error *err)
{
	PGresult *rows = pl_session_exec(
		integrity->session,
		"SELECT FROM plist.violations AS v JOIN plist.conflicts AS c ON c.id = v.conflict WHERE "
		"v.resource = $1 AND v.type = $2 AND v.fields = $3 AND v.subject = $4 AND (c.verdict ->> "
		"'records')::bigint > (SELECT count(*) FROM jsonb_object_keys(v.records))",
		4, key, err);
	int code = rows ? PQntuples(rows) > 0 : err->code;

	PQclear(rows);
	return code;
}

static int look_again(struct pl_integrity *integrity, const char *const key[4], struct pl_error *err)
{
	struct pl_integrity_check check;
	int code = finds(integrity->config, key, &check) ? open_one(integrity, &check, key[3], NULL, err) : 0;

	if (code == 0 && key[3][0] == '{' && (code = has_more(integrity, key, err)) > 0) {
		integrity->looked = false; // the others may share the values still
		code = 0;
	}
	return code > 0 ? 0 : code < 0 ? code : close_one(integrity, key, err);
}

// Those of tables that another session has locked are left for the next turn. So that
// they are not always the first ones, they count as looked at.
static int look_again_or_leave(struct pl_integrity *integrity, const char *const key[4], struct pl_error *err)
{
	int code;

	if ((code = pl_session_do(integrity->session, BEGIN_LOOK, err)) < 0)
		return code;
	code = look_again(integrity, key, err);
	if (code >= 0)
		return pl_session_do(integrity->session, "COMMIT", err);
	if (strcmp(err->sqlstate, "55P03") != 0 ||
	    (code = pl_session_do(integrity->session, "ROLLBACK", err)) < 0)
		return code;
	return pl_integrity_do(integrity,
	                       "UPDATE plist.violations SET looked_at = now() WHERE resource = $1 AND type = "
	                       "$2 AND fields = $3 AND subject = $4",
	                       4, key, err);
}

static int look_at_open(struct pl_integrity *integrity, struct pl_error *err)
{
	PGresult *rows = pl_session_exec(
		integrity->session,
		"WITH d AS (DELETE FROM plist.violations WHERE gone_at < now() - interval '10 minutes') "
		"SELECT resource, type, fields, subject FROM plist.violations WHERE gone_at IS NULL ORDER BY "
		"looked_at LIMIT " OPEN_AT_ONCE,
		0, NULL, err);
	int code = rows ? 0 : err->code;

	for (int i = 0; rows && i < PQntuples(rows) && code == 0; i++)
		code = look_again_or_leave(
			integrity,
			(const char *const[4]){ PQgetvalue(rows, i, 0), PQgetvalue(rows, i, 1),
		                                PQgetvalue(rows, i, 2), PQgetvalue(rows, i, 3) },
			err);
	PQclear(rows);
	return code;
}

int pl_integrity_look(struct pl_integrity *integrity, struct pl_error *err)
{
	int code = 0;

	if (!integrity->looked && (code = look_at_all(integrity, err)) < 0)
		return code;
	while ((code = look_at_notes(integrity, err)) == atoi(NOTES_AT_ONCE))
		;
	return code < 0 ? code : look_at_open(integrity, err);
}
