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
// Threads: the healing thread.
#include "heal/heal_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOLD_US (3 * SECOND) // long enough for the others' heartbeats to say what they know

static const char look_sql[] =
	"SELECT s.next, s.xmin, i.state <> 'new' AND i.place IS DISTINCT FROM plist.plist_place() FROM "
	"plist.outbox_sequence AS s, plist.identity AS i";

static const char mark_sql[] =
	"WITH marked AS (UPDATE plist.identity SET place = 'rows that were put back' WHERE region = $1 AND "
	"state <> 'new' AND plist.plist_key(region, generation) = $2 RETURNING 1) "
	"SELECT count(pg_terminate_backend(pid, 5000)) FROM marked, pg_stat_activity WHERE datname = "
	"current_database() AND usename = current_user AND pid <> pg_backend_pid() AND application_name ~ "
	"('^plistd? ' || $1 || ' ')";

static const char floor_sql[] =
	"UPDATE plist.outbox_marks SET floor_id = known.floor_id FROM (SELECT coalesce((SELECT min(id) - 1 "
	"FROM plist.outbox), pg_sequence_last_value(pg_get_serial_sequence('plist.outbox', 'id')), 0) AS "
	"floor_id) AS known WHERE outbox_marks.floor_id > known.floor_id";

// Takes the lock that a starting relay takes, so that the relay reads the marks as they
// are left here. If another daemon of the region has done all this already, the key has
// changed, and nothing is marked.
static int mark(struct pl_heal *heal, struct pl_error *err)
{
	const char *params[2] = { heal->region->name, heal->stats.key };
	PGresult *result;
	int code = pl_session_do(heal->session,
	                         "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT FROM plist.plist_leaders "
	                         "WHERE name = 'relay' FOR UPDATE",
	                         err);

	if (code < 0)
		return code;
	result = pl_session_exec(heal->session, mark_sql, 2, params, err);
	if (!result || pl_session_do(heal->session, floor_sql, err) < 0) {
		PQclear(result);
		if (pl_session_connected(heal->session))
			pl_session_do(heal->session, "ROLLBACK", NULL);
		return err->code;
	}
	PQclear(result);
	if ((code = pl_session_do(heal->session, "COMMIT", err)) < 0)
		return code;
	pl_warning("heal: the rows of this database were replaced by a copy; writes may be lost here");
	return 0;
}

// The database is not the same as before. The heartbeats in a restored one date from
// the time of the backup: only those heard from now on say what the others know of this
// region.
static int begin_again(struct pl_heal *heal, bool copied, struct pl_error *err)
{
	int code;

	pl_heal_set_gate(heal, PL_HEAL_CLOSED, "%s",
	                 copied ? "the rows of this region's database were replaced by a copy"
	                        : "the database was restored or moved; waiting for what the other "
	                          "regions know of it");
	if (copied && (code = mark(heal, err)) < 0)
		return code;
	heal->started[0] = '\0';
	heal->began_us = pl_mono_us();
	heal->heard_us = heal->waited_us = 0;
	heal->hold_until_us = heal->began_us + HOLD_US;
	return pl_heal_ask_clock(heal, err);
}

int pl_heal_look_at_rows(struct pl_heal *heal, struct pl_error *err)
{
	PGresult *result = pl_session_exec(heal->session, look_sql, 0, NULL, err);
	int64_t next;
	bool copied, elsewhere;
	int code = 0;

	if (!result)
		return err->code;
	if (PQntuples(result) == 1) {
		next = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
		copied = heal->row_version[0] && next <= heal->row_next &&
		         strcmp(PQgetvalue(result, 0, 1), heal->row_version) != 0;
		elsewhere = copied || PQgetvalue(result, 0, 2)[0] == 't';
		if (copied || (elsewhere && !heal->elsewhere))
			code = begin_again(heal, copied, err);
		heal->elsewhere = elsewhere;
		if (code == 0) {
			heal->row_next = next;
			snprintf(heal->row_version, sizeof(heal->row_version), "%s",
			         PQgetvalue(result, 0, 1));
		}
	}
	PQclear(result);
	return code;
}
