// Rows that were put back: while the daemon was running, somebody has restored the
// contents of the tables, but not the tables themselves.
//
// This changes neither the place nor the run (heal_settle.c), and if clients write
// enough before the others are heard, the outbox even gets ahead of what the others
// know. But plist only ever replaces the row of plist.outbox_sequence by one with a
// larger number. If the row has a new version without a larger number, it is a copy.
// The database is then marked as being at another place, so that the region counts
// under a new key and fetches what it lacks. All of its sessions are ended, since what
// their threads remember of the outbox and of the positions belongs to the former rows.
// By then, the relay may have marked rows as published that it had read before; their
// ids are assigned again, and the next relay would skip the rows that have them now. So
// no row that is in the outbox counts as published, and no id that will be assigned.
//
// A row that every database of plist has may also be missing, if somebody has deleted it.
// It is made again: as it was where that is known, else in a way that gives no number a
// second time.
// Threads: the healing thread.
#include "heal/heal_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_US (3 * SECOND) // rows that are missing may be on their way

// While a dump is being restored, the rows come before the keys of their tables: without
// these, they are on their way.
static const char look_sql[] =
	"SELECT s.next, s.xmin, i.state <> 'new' AND i.place IS DISTINCT FROM plist.plist_place(), s.one IS "
	"NULL, i.one IS NULL, (SELECT count(*) FROM plist.plist_leaders WHERE name IN ('relay', "
	"'housekeeping')) < 2, (SELECT id_base FROM plist.id_ranges WHERE region = $1), (SELECT count(*) "
	"FROM pg_constraint WHERE contype = 'p' AND conrelid IN ('plist.outbox_sequence'::regclass, "
	"'plist.identity'::regclass, 'plist.plist_leaders'::regclass, 'plist.id_ranges'::regclass)) = 4 "
	"FROM (SELECT) AS t LEFT JOIN plist.outbox_sequence AS s ON true LEFT JOIN plist.identity AS i ON "
	"true";
enum { L_NEXT, L_VERSION, L_ELSEWHERE, L_NO_SEQUENCE, L_NO_IDENTITY, L_NO_LEADER, L_ID_BASE, L_KEYED };

#define END_SESSIONS "SELECT count(pg_terminate_backend(pid, 5000)) FROM marked, " PL_HEAL_SESSIONS

static const char mark_sql[] =
	"WITH marked AS (UPDATE plist.identity SET place = 'rows that were put back', question = NULL "
	"WHERE region = $1 AND state <> 'new' AND plist.plist_key(region, generation) = $2 "
	"RETURNING 1) " END_SESSIONS;

// The generation is one that no database of the region can have had, and below the next.
static const char identity_sql[] =
	"WITH marked AS (INSERT INTO plist.identity (generation, drained) VALUES (extract(epoch FROM "
	"clock_timestamp())::bigint, $2) ON CONFLICT DO NOTHING RETURNING 1) " END_SESSIONS;

static const char sequence_sql[] =
	"INSERT INTO plist.outbox_sequence (next) VALUES (greatest($1::bigint, (extract(epoch FROM "
	"clock_timestamp()) * 1000000)::bigint) + 1) ON CONFLICT DO NOTHING";

static const char leaders_sql[] = "INSERT INTO plist.plist_leaders (name) VALUES ('relay'), "
				  "('housekeeping') ON CONFLICT DO NOTHING";

static const char range_sql[] =
	"INSERT INTO plist.id_ranges (region, id_base) VALUES ($1, $2) ON CONFLICT DO NOTHING";

static const char floor_sql[] =
	"UPDATE plist.outbox_marks SET floor_id = known.floor_id FROM (SELECT coalesce((SELECT min(id) - 1 "
	"FROM plist.outbox), pg_sequence_last_value(pg_get_serial_sequence('plist.outbox', 'id')), 0) AS "
	"floor_id) AS known WHERE outbox_marks.floor_id > known.floor_id";

static int execute(struct pl_heal *heal, const char *sql, int n, const char *const *params,
                   struct pl_error *err)
{
	PGresult *result = pl_session_exec(heal->session, sql, n, params, err);

	PQclear(result);
	return result ? 0 : err->code;
}

// Takes the lock that a starting relay takes, so that the relay reads the marks as they
// are left here. If another daemon of the region has done all this already, `sql` marks
// nothing.
static int mark(struct pl_heal *heal, const char *sql, const char *with, struct pl_error *err)
{
	const char *params[2] = { heal->region->name, with };
	int code = pl_session_do(heal->session,
	                         "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT FROM plist.plist_leaders "
	                         "WHERE name = 'relay' FOR UPDATE",
	                         err);

	if (code < 0)
		return code;
	if ((code = execute(heal, sql, 2, params, err)) == 0)
		code = pl_session_do(heal->session, floor_sql, err);
	if (code == 0)
		return pl_session_do(heal->session, "COMMIT", err);
	if (pl_session_connected(heal->session))
		pl_session_do(heal->session, "ROLLBACK", NULL);
	return code;
}

// The database is not the same as before. What it holds of the others may be of the time
// of a backup, so it asks them.
static void begin_again(struct pl_heal *heal)
{
	heal->began_us = pl_mono_us();
	heal->heard_us = heal->waited_us = 0;
}

static int begin_again_elsewhere(struct pl_heal *heal, bool copied, struct pl_error *err)
{
	int code;

	pl_heal_set_gate(heal, PL_HEAL_CLOSED, "%s",
	                 copied ? "the rows of this region's database were replaced by a copy"
	                        : "the database was restored or moved; waiting for what the other "
	                          "regions know of it");
	if (copied && (code = mark(heal, mark_sql, heal->stats.key, err)) < 0)
		return code;
	if (copied)
		pl_warning("heal: the rows of this database were replaced by a copy; writes may be lost "
		           "here");
	begin_again(heal);
	return 0;
}

// ---- rows that are missing

// Nothing is lost with these: no session is named as the relay then, and where the
// region's ids begin is remembered.
static int make_harmless(struct pl_heal *heal, const PGresult *look, struct pl_error *err)
{
	const char *params[2] = { heal->region->name, heal->id_base };
	bool no_leader = PQgetvalue(look, 0, L_NO_LEADER)[0] == 't', no_range = false;
	int code = 0;

	if (PQgetvalue(look, 0, L_KEYED)[0] != 't')
		return 0;
	if (!PQgetisnull(look, 0, L_ID_BASE))
		snprintf(heal->id_base, sizeof(heal->id_base), "%s", PQgetvalue(look, 0, L_ID_BASE));
	else
		no_range = heal->id_base[0] != '\0';
	if ((no_leader || no_range) && pl_log_limit_ok(&heal->rows_limit, 10 * SECOND))
		pl_warning("heal: a row of %s was missing; making it again",
		           no_leader ? "plist.plist_leaders" : "plist.id_ranges");
	if (no_leader)
		code = execute(heal, leaders_sql, 0, NULL, err);
	if (no_range && code == 0)
		code = execute(heal, range_sql, 2, params, err);
	// A frozen database is still read.
	return code < 0 && pl_db_error_read_only(err) && pl_session_connected(heal->session) ? 0 : code;
}

// With the identity, it is not known what this database is and under which key it has
// counted; without the sequence, a copy of its row cannot be told from the row. Somebody
// who empties a table may be about to fill it from a backup, so the rows get a moment to
// arrive. Then they are made, and the region begins under a new key.
static int make_telling(struct pl_heal *heal, bool no_identity, bool keyed, struct pl_error *err)
{
	const char *what = no_identity ? "plist.identity" : "plist.outbox_sequence";
	char next[24];
	const char *params[1] = { next };
	int code = 0;

	pl_heal_set_gate(heal, PL_HEAL_CLOSED,
	                 "the row of %s is missing; unless a backup is being restored, it is made again in "
	                 "%d s, the region counts its writes under a new key, and fetches from the others "
	                 "what may be lost",
	                 what, (int)(PATIENCE_US / SECOND));
	if (heal->missing_since_us == 0) {
		pl_err("heal: the row of %s is missing; no requests are answered until it is there, or made "
		       "again in %d s",
		       what, (int)(PATIENCE_US / SECOND));
		heal->missing_since_us = pl_mono_us();
	}
	if (!keyed || pl_mono_us() - heal->missing_since_us < PATIENCE_US)
		return 0;
	snprintf(next, sizeof(next), "%lld", (long long)heal->row_next);
	if (no_identity)
		code = mark(heal, identity_sql, heal->stats.drained ? "t" : "f", err);
	else if ((code = execute(heal, sequence_sql, 1, params, err)) == 0)
		code = mark(heal, mark_sql, heal->stats.key, err);
	if (code < 0)
		return code;
	pl_warning("heal: the row of %s was made again", what);
	heal->row_version[0] = '\0';
	begin_again(heal);
	return 0;
}

static int take_look(struct pl_heal *heal, const PGresult *look, struct pl_error *err)
{
	int64_t next = strtoll(PQgetvalue(look, 0, L_NEXT), NULL, 10);
	bool copied = heal->row_version[0] && next <= heal->row_next &&
	              strcmp(PQgetvalue(look, 0, L_VERSION), heal->row_version) != 0;
	bool elsewhere = copied || PQgetvalue(look, 0, L_ELSEWHERE)[0] == 't';
	int code = 0;

	if (copied || (elsewhere && !heal->elsewhere))
		code = begin_again_elsewhere(heal, copied, err);
	heal->elsewhere = elsewhere;
	if (code == 0) {
		heal->row_next = next;
		snprintf(heal->row_version, sizeof(heal->row_version), "%s", PQgetvalue(look, 0, L_VERSION));
	}
	return code;
}

int pl_heal_look_at_rows(struct pl_heal *heal, struct pl_error *err)
{
	const char *params[1] = { heal->region->name };
	PGresult *look = pl_session_exec(heal->session, look_sql, 1, params, err);
	bool no_identity, no_sequence;
	int code;

	if (!look)
		return err->code;
	no_identity = PQgetvalue(look, 0, L_NO_IDENTITY)[0] == 't';
	no_sequence = PQgetvalue(look, 0, L_NO_SEQUENCE)[0] == 't';
	if ((code = make_harmless(heal, look, err)) == 0) {
		if (no_identity || no_sequence) {
			code = make_telling(heal, no_identity, PQgetvalue(look, 0, L_KEYED)[0] == 't', err);
		} else {
			heal->missing_since_us = 0;
			code = take_look(heal, look, err);
		}
	}
	PQclear(look);
	return code;
}
