// The relay's marks in the database.
//
// Between PostgreSQL and relay/relay_marks.
// Threads: those of the session.
#include "relay/outbox_marks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "db/owner.h"

static int64_t number(const PGresult *result, int row, int column)
{
	return strtoll(PQgetvalue(result, row, column), NULL, 10);
}

static void take_mark(struct pl_marks *marks, const PGresult *result, int row)
{
	struct pl_mark mark = { .id = number(result, row, 0),
		                .floor = number(result, row, 1),
		                .rows_total = number(result, row, 3),
		                .made_us = pl_mono_us() - number(result, row, 4) };

	pl_sequence_parse_text(PQgetvalue(result, row, 2), &mark.published);
	pl_marks_add(marks, &mark);
}

int pl_outbox_marks_load(struct pl_session *session, struct pl_marks *marks, struct pl_error *err)
{
	PGresult *result = pl_session_exec(
		session,
		"SELECT id, floor_id, published, rows_total, greatest(0, (extract(epoch FROM "
		"clock_timestamp() - made_at) * 1000000)::bigint), deleted "
		"FROM (SELECT * FROM plist.outbox_marks WHERE id >= coalesce((SELECT max(id) FROM "
		"plist.outbox_marks WHERE deleted), 0) "
		"ORDER BY id DESC LIMIT 1000) AS m ORDER BY id",
		0, NULL, err);

	if (!result)
		return err->code;
	pl_marks_cut(marks, -1);
	// If nothing was ever deleted, the base is empty.
	if (PQntuples(result) == 0 || PQgetvalue(result, 0, 5)[0] != 't')
		pl_marks_add(marks, &(struct pl_mark){ .made_us = pl_mono_us() });
	for (int i = 0; i < PQntuples(result); i++)
		take_mark(marks, result, i);
	if (marks->marks[0].id == 0 && marks->n > 1)
		marks->marks[0].made_us = marks->marks[1].made_us;
	PQclear(result);
	return 0;
}

static int run(struct pl_session *session, const char *sql, int n, const char *const *params,
               int64_t *number_r, struct pl_error *err)
{
	PGresult *result = pl_session_exec(session, sql, n, params, err);

	if (!result)
		return err->code;
	if (number_r && PQntuples(result))
		*number_r = number(result, 0, 0);
	PQclear(result);
	return 0;
}

static const char *print_number(char text[24], int64_t n)
{
	snprintf(text, 24, "%lld", (long long)n);
	return text;
}

int pl_outbox_marks_add(struct pl_session *session, struct pl_mark *mark, struct pl_error *err)
{
	char floor[24], total[24];
	struct pl_buf published = { 0 };
	const char *params[3] = { print_number(floor, mark->floor), NULL,
		                  print_number(total, mark->rows_total) };
	int code;

	pl_sequence_print(&published, &mark->published);
	params[1] = published.data;
	code = run(session,
	           "INSERT INTO plist.outbox_marks (floor_id, published, rows_total) VALUES ($1, $2, $3) "
	           "RETURNING id",
	           3, params, &mark->id, err);
	pl_buf_fini(&published);
	return code;
}

int pl_outbox_marks_rebase(struct pl_session *session, int64_t id, struct pl_error *err)
{
	char text[24];
	const char *params[1] = { print_number(text, id) };

	return run(session,
	           "WITH gone AS (DELETE FROM plist.outbox_marks WHERE id < $1) "
	           "UPDATE plist.outbox_marks SET deleted = true WHERE id = $1",
	           1, params, NULL, err);
}

int pl_outbox_marks_cut(struct pl_session *session, int64_t id, struct pl_error *err)
{
	char text[24];
	const char *params[1] = { print_number(text, id) };

	return run(session, "DELETE FROM plist.outbox_marks WHERE id > $1", 1, params, NULL, err);
}

int pl_outbox_marks_drop(struct pl_session *session, const int64_t *ids, int n, struct pl_error *err)
{
	struct pl_buf list = { 0 };
	const char *params[1];
	int code;

	pl_buf_addc(&list, '{');
	for (int i = 0; i < n; i++) {
		pl_buf_adds(&list, i ? "," : "");
		pl_buf_add_i64(&list, ids[i]);
	}
	pl_buf_addc(&list, '}');
	params[0] = list.data;
	code = run(session, "DELETE FROM plist.outbox_marks WHERE id = ANY($1::bigint[])", 1, params, NULL,
	           err);
	pl_buf_fini(&list);
	return code;
}

int pl_outbox_marks_reserve(struct pl_session *session, int64_t least, int64_t n, int64_t *first_r,
                            struct pl_error *err)
{
	char from[24], many[24];
	const char *params[2] = { print_number(from, least), print_number(many, n) };
	struct pl_error ignored;
	// Other commits of the session do not wait for the disk.
	int code = pl_session_do(session, "BEGIN; SET LOCAL synchronous_commit = on", err);

	if (code == 0)
		code = run(
			session,
			"UPDATE plist.outbox_sequence SET next = greatest(next, $1) + $2 RETURNING next - $2",
			2, params, first_r, err);
	if (code == 0)
		return pl_session_do(session, "COMMIT", err);
	if (pl_session_connected(session))
		pl_session_do(session, "ROLLBACK", &ignored);
	return code;
}

int pl_outbox_marks_generation(struct pl_session *session, int64_t *generation_r, struct pl_error *err)
{
	*generation_r = 0;
	return run(session, "SELECT generation FROM plist.identity", 0, NULL, generation_r, err);
}

int pl_outbox_marks_word(struct pl_session *session, const char *own, bool whole, struct pl_buf *json,
                         int64_t *generation_r, struct pl_error *err)
{
	char here[PL_OWNER_ADDRESS_MAX + 1];
	PGresult *result;

	pl_owner_address(session, here);
	result = pl_session_exec(
		session,
		whole ? "SELECT plist.plist_word($1, $2), (SELECT generation FROM plist.identity)"
		      : "SELECT plist.plist_word($1, $2) - '{base,asks,served}'::text[], (SELECT "
			"generation FROM plist.identity)",
		2, (const char *[]){ own, here }, err);
	if (!result)
		return err->code;
	if (PQntuples(result) == 1 && !PQgetisnull(result, 0, 1)) {
		pl_buf_adds(json, PQgetvalue(result, 0, 0));
		*generation_r = number(result, 0, 1);
	}
	PQclear(result);
	return 0;
}

static void take_word(struct pl_mark_region *region, const PGresult *result, int row)
{
	pl_sequence_fini(&region->received);
	region->silent_us = number(result, row, 1);
	region->heard = !PQgetisnull(result, row, 2) &&
	                pl_sequence_parse_text(PQgetvalue(result, row, 2), &region->received) == 0;
}

int pl_outbox_marks_heard(struct pl_session *session, const char *own, struct pl_mark_region *regions, int n,
                          struct pl_error *err)
{
	const char *params[1] = { own };
	PGresult *result = pl_session_exec(
		session,
		"SELECT region, greatest(0, (extract(epoch FROM clock_timestamp() - heard_at) * "
		"1000000)::bigint), "
		"CASE WHEN applied IS NOT NULL THEN coalesce(applied -> $1, '{}') END FROM "
		"plist.region_heartbeats",
		1, params, err);

	if (!result)
		return err->code;
	for (int i = 0; i < n; i++) {
		regions[i].silent_us = -1;
		regions[i].heard = false;
		for (int row = 0; row < PQntuples(result); row++)
			if (strcmp(PQgetvalue(result, row, 0), regions[i].name) == 0)
				take_word(&regions[i], result, row);
	}
	PQclear(result);
	return 0;
}

static void take_sequence(struct pl_sequences *sequences, const PGresult *result, int row)
{
	struct pl_sequence *s =
		pl_sequence_at(sequences, PQgetvalue(result, row, 1), (int32_t)number(result, row, 2));

	if (s)
		*s = (struct pl_sequence){ .seq = number(result, row, 3),
			                   .chain_from = number(result, row, 4),
			                   .chain_to = number(result, row, 5),
			                   .level = PQgetvalue(result, row, 6)[0] == 't' };
}

int pl_outbox_marks_applied(struct pl_session *session, struct pl_buf *json, struct pl_error *err)
{
	PGresult *result =
		pl_session_exec(session,
	                        "SELECT origin, topic, partition, seq, chain_from, chain_to, level FROM "
	                        "plist.applied_sequences ORDER BY 1, 2, 3",
	                        0, NULL, err);
	struct pl_sequences sequences = { 0 };

	if (!result)
		return err->code;
	pl_buf_addc(json, '{');
	for (int i = 0; i < PQntuples(result); i++) {
		const char *origin = PQgetvalue(result, i, 0);

		take_sequence(&sequences, result, i);
		if (i + 1 < PQntuples(result) && strcmp(origin, PQgetvalue(result, i + 1, 0)) == 0)
			continue;
		pl_buf_adds(json, json->len > 1 ? "," : "");
		pl_buf_add_json(json, origin, strlen(origin));
		pl_buf_addc(json, ':');
		pl_sequence_print(json, &sequences);
		pl_sequence_fini(&sequences);
	}
	pl_buf_addc(json, '}');
	PQclear(result);
	return 0;
}
