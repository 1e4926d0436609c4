// Renewing: replacing a session that has become outdated.
//
// Works for db/conn and db/conn_pipeline. A session keeps what PostgreSQL gave it
// when it began: prepared statements, a search_path, the settings of its role and
// database. Other sessions change these things: they alter or replace tables, ALTER ROLE
// or DATABASE ...
// SET, DEALLOCATE through a pooler. What was prepared then fails, and would until the
// daemon is restarted. So a statement that fails in such a way (pl_db_error_stale) is
// called back as "send it again", and the session is replaced as soon as what was sent on
// it is answered. A statement that never worked in its session is not sent again within
// the first second of it: then the session is not to blame.
//
// Once a second each session is looked at, too, so that readiness does not depend on who
// asks for what: whether the prepared statements still hold (Describe makes PostgreSQL
// check them, without executing anything), whether the server takes writes, whether the
// settings for new sessions have changed, whether new sessions reach another server
// (db/server.h). The look does not wait for locks. A session is
// known to have the settings that were seen before it began if they are still the same
// after; else they changed while it began, and another one is needed.
//
// Invariant: a session is replaced only while nothing is in flight on it.
// Threads: as for the connection.
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/faults.h"
#include "base/mem.h"
#include "db/conn_private.h"
#include "db/dial.h"

#define LOOK_US  1000000
#define YOUNG_US 1000000
#define WHO_COLUMNS \
	"pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on', " PL_DB_SETTINGS

const char pl_conn_renew_who[] = "SELECT pid, backend_start, " WHO_COLUMNS
				 ", (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) "
				 "FROM pg_stat_activity WHERE pid = pg_backend_pid()";

void pl_conn_renew(struct pl_conn *conn, const char *why)
{
	if (conn->state != PL_CONN_UP || conn->renewing)
		return;
	conn->renewing = true;
	if (pl_log_limit_ok(&conn->renew_limit, 10000000))
		pl_notice("database: %s: begins a new session: %s", conn->name, why);
	if (conn->depth == 0) // otherwise it is done when the running callback returns
		pl_conn_renew_now(conn);
}

static bool is_young(const struct pl_conn *conn)
{
	return pl_mono_us() - conn->up_at_us < YOUNG_US;
}

void pl_conn_renew_old(struct pl_conn *conn, const char *why)
{
	if (!is_young(conn))
		pl_conn_renew(conn, why);
}

bool pl_conn_renew_for(struct pl_conn *conn, const struct pl_conn_command *failed, const struct pl_error *err)
{
	const struct pl_conn_statement *statement = failed->statement;

	if (conn->state != PL_CONN_UP || !statement || !pl_db_error_stale(err))
		return false;
	if (conn->renewing) // it was sent before the first one failed
		return statement->worked;
	if (!statement->worked && is_young(conn))
		return false;
	pl_conn_renew(conn, err->text);
	return true;
}

// ---- cleaning

static void cleaned(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_conn *conn = arg;

	if (result && err->code)
		pl_conn_drop(conn, err->text);
}

void pl_conn_discard(struct pl_conn *conn)
{
	char *settings = pl_dial_settings(
		&(struct pl_dial_options){ .statement_timeout_us = conn->statement_timeout_us,
	                                   .lock_timeout_us = conn->lock_timeout_us,
	                                   .read_only = conn->read_only });

	pl_conn_send_sql(conn, "DISCARD ALL", NULL, cleaned, conn, NULL);
	pl_conn_send_sql(conn, settings, NULL, cleaned, conn, NULL);
	for (char **sql = conn->setup; *sql; sql++)
		if (strncmp(*sql, "SET ", 4) == 0)
			pl_conn_send_sql(conn, *sql, NULL, cleaned, conn, NULL);
	free(settings);
}

// ---- checking a session

static void warn_of_superuser(const struct pl_conn *conn, bool superuser)
{
	static bool warned; // once per process, since all connections have the same role

	if (conn->tells_superuser)
		pl_faults_set_risk(PL_RISK_SUPERUSER, superuser);
	if (!superuser || !conn->tells_superuser || __atomic_exchange_n(&warned, true, __ATOMIC_RELAXED))
		return;
	pl_warning("database: the role \"%s\" is a superuser; an attacker who controls the daemon "
	           "controls the server: give plist an ordinary role, see "
	           "plist-security(7)",
	           PQuser(conn->pg));
}

static bool text_is_true(const PGresult *result, int column)
{
	return PQgetvalue(result, 0, column)[0] == 't';
}

// In a session that we made read-only, the setting says nothing about the default.
static void take_state(struct pl_conn *conn, const PGresult *result, int first)
{
	bool was_writable = !conn->standby && !conn->frozen;
	struct pl_error why;

	conn->standby = text_is_true(result, first);
	conn->frozen = !conn->read_only && text_is_true(result, first + 1);
	if (!conn->read_only && was_writable && !pl_conn_writable(conn, &why))
		pl_warning("database: %s: %s", conn->name, why.text);
	else if (!conn->read_only && !was_writable && pl_conn_writable(conn, NULL))
		pl_notice("database: %s: the database takes writes again", conn->name);
}

void pl_conn_renew_take_who(struct pl_conn *conn, const PGresult *result)
{
	conn->backend_pid = atoi(PQgetvalue(result, 0, 0));
	snprintf(conn->backend_start, sizeof(conn->backend_start), "%s", PQgetvalue(result, 0, 1));
	take_state(conn, result, 2);
	conn->unsure = conn->settings[0] && strcmp(PQgetvalue(result, 0, 4), conn->settings) != 0;
	snprintf(conn->settings, sizeof(conn->settings), "%s", PQgetvalue(result, 0, 4));
	warn_of_superuser(conn, text_is_true(result, 5));
}

// A session that began where nothing could be written was not set up for writing: the
// claims of the database are made at its beginning. So a new one begins.
static void state_seen(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_conn *conn = arg;
	bool was_writable = pl_conn_writable(conn, NULL);
	const char *why = NULL;

	if (!result || err->code || PQntuples(result) != 1)
		return;
	take_state(conn, result, 0);
	if (!conn->read_only && !was_writable && pl_conn_writable(conn, NULL))
		why = "the database takes writes again";
	if (strcmp(PQgetvalue(result, 0, 2), conn->settings) != 0) {
		snprintf(conn->settings, sizeof(conn->settings), "%s", PQgetvalue(result, 0, 2));
		why = PL_RENEW_SETTINGS;
	}
	if (why)
		pl_conn_renew(conn, why);
}

static void look_ended(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_conn *conn = arg;

	(void)err;
	conn->looking = false;
	if (result)
		pl_loop_timer_set(conn->look, LOOK_US);
}

// The result of Describe was handled by pl_conn_renew_for; the caller need not know
// that the session was outdated.
static void described(void *arg, PGresult *result, const struct pl_error *err)
{
	(void)arg;
	(void)result;
	(void)err;
}

static void look_at_statements(struct pl_conn *conn)
{
	static const char brief[] =
		// milliseconds: a locked table must not delay statements on other
		// tables
		"SET LOCAL lock_timeout = 50";

	pl_conn_send_sql(conn, "BEGIN", NULL, NULL, NULL, NULL);
	pl_conn_send_sql(conn, brief, NULL, NULL, NULL, NULL);
	for (struct pl_conn_statement *statement = conn->statements; statement; statement = statement->next) {
		if (!statement->prepared ||
		    pl_conn_pipeline_sent(conn, PQsendDescribePrepared(conn->pg, statement->name), described,
		                          conn, NULL, NULL) < 0)
			continue;
		conn->newest->statement = statement;
	}
	pl_conn_send_sql(conn, "ROLLBACK", NULL, NULL, NULL, NULL);
}

static void look(struct pl_conn *conn)
{
	struct pl_error why;

	if (pl_server_is_former(&conn->server, conn->up_at_us)) {
		pl_conn_renew(conn, PL_SERVER_MOVED);
		return;
	}
	if (!pl_conn_prepared(conn, &why) && pl_mono_us() >= conn->renew_at_us) {
		pl_conn_renew(conn, why.text);
		return;
	}
	conn->looking = true;
	look_at_statements(conn);
	if (pl_conn_send_sql(conn, "SELECT " WHO_COLUMNS, NULL, state_seen, conn, NULL) < 0 ||
	    pl_conn_send_sql(conn, "SELECT", NULL, look_ended, conn, NULL) < 0)
		conn->looking = false;
}

// A busy connection is checked between two of its commands, like any other; nothing
// waits for the answer.
void pl_conn_renew_look(void *arg)
{
	struct pl_conn *conn = arg;

	if (!pl_conn_up(conn) || conn->looking)
		return;
	conn->depth++; // prevents a renewal before this function has finished
	look(conn);
	if (!conn->looking && pl_conn_up(conn))
		pl_loop_timer_set(conn->look, LOOK_US);
	conn->depth--;
	if (conn->renewing)
		pl_conn_renew_now(conn);
}

bool pl_conn_writable(const struct pl_conn *conn, struct pl_error *why)
{
	if (!conn->standby && !conn->frozen)
		return true;
	pl_error_set(why, PL_EUNAVAIL,
	             conn->standby ? "the server is a standby (it is in recovery) and takes no writes"
	                           : "the database takes no writes: default_transaction_read_only is on");
	if (why)
		strcpy(why->sqlstate, "25006");
	return false;
}
