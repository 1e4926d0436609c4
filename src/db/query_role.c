// The role for handlers' SQL: see query_role.h.
//
// Called by plist-admin migrate. Threads: the session's.
#include "db/query_role.h"

#include <string.h>

#include "base/buf.h"

// The role itself, or a role whose privileges it could assume.
const char pl_query_role_check[] =
	"DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles AS r WHERE pg_has_role(session_user, r.oid, 'MEMBER') "
	"AND (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls "
	"OR r.rolname IN ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files', "
	"'pg_signal_backend', 'pg_write_all_data', 'pg_checkpoint') "
	"OR r.rolname IN (SELECT tableowner FROM pg_tables WHERE tablename = 'plist_leaders'))) THEN "
	"RAISE EXCEPTION 'the role \"%\" may do more than read, and the SQL of handlers is not run "
	"with it: it is, or is "
	"a member of, a role that is a superuser, may create roles or databases, reaches the server''s "
	"files, programs or "
	"sessions, or owns the tables', session_user USING ERRCODE = '42501'; END IF; END $$";

static void add_literal(struct pl_buf *sql, PGconn *pg, const char *text, bool name)
{
	char *quoted =
		name ? PQescapeIdentifier(pg, text, strlen(text)) : PQescapeLiteral(pg, text, strlen(text));

	pl_buf_adds(sql, quoted ? quoted : "''");
	PQfreemem(quoted);
}

static int run(struct pl_session *session, struct pl_buf *sql, struct pl_error *err)
{
	int code = pl_session_do(session, sql->data, err);

	pl_buf_reset(sql);
	return code;
}

static int exists(struct pl_session *session, const char *name, bool *there_r, struct pl_error *err)
{
	const char *params[] = { name };
	PGresult *result =
		pl_session_exec(session, "SELECT FROM pg_roles WHERE rolname = $1", 1, params, err);

	if (!result)
		return err->code;
	*there_r = PQntuples(result) == 1;
	PQclear(result);
	return 0;
}

// Logs in with the session's password, if it has one.
static int create(struct pl_session *session, struct pl_query_role *role, struct pl_error *err)
{
	PGconn *pg = pl_session_pg(session);
	const char *password = PQpass(pg);
	struct pl_buf sql = { 0 };
	bool there = false;
	int code = exists(session, role->name, &there, err);

	if (code == 0 && !there) {
		pl_buf_adds(&sql, "CREATE ROLE ");
		add_literal(&sql, pg, role->name, true);
		pl_buf_adds(&sql, " LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS "
		                  "NOINHERIT");
		if (password && password[0]) {
			pl_buf_adds(&sql, " PASSWORD ");
			add_literal(&sql, pg, password, false);
		}
		code = run(session, &sql, err);
		role->made = code == 0;
	}
	if (code != 0 && strcmp(err->sqlstate, "42501") == 0)
		code = pl_error_set(
			err, PL_EINVAL,
			"the role \"%s\" for the SQL of handlers is missing, and \"%s\" may not create "
			"roles. An administrator "
			"creates it, with the password of \"%s\": CREATE ROLE %s LOGIN NOINHERIT "
			"PASSWORD '...'; then run migrate again",
			role->name, PQuser(pg), PQuser(pg), role->name);
	if (sql.data)
		explicit_bzero(sql.data, sql.len);
	pl_buf_fini(&sql);
	return code;
}

// Grants reading of the relations that the session's role owns, present and future, in
// its schema and in plist's, except plist's internal ones.
static int grant(struct pl_session *session, const char *name, struct pl_error *err)
{
	static const char grants[] =
		"SELECT CASE WHEN c.relname ~ '^plist_' OR c.oid = to_regclass('plist.migrations') "
		"THEN format('REVOKE ALL ON %I.%I FROM %I', n.nspname, c.relname, $1::text) "
		"ELSE format('GRANT SELECT ON %I.%I TO %I', n.nspname, c.relname, $1::text) END FROM "
		"pg_class c "
		"JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN (current_schema(), "
		"'plist') "
		"AND c.relkind IN ('r', 'p', 'v', 'm') AND pg_has_role(c.relowner, 'USAGE') "
		"UNION ALL SELECT format('ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO %I', "
		"$1::text) "
		// Only the owner of a schema can grant its use; other schemas are
		// accessible already, or not ours to grant.
		"UNION ALL SELECT format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, $1::text) FROM "
		"pg_namespace n "
		"WHERE n.nspname IN (current_schema(), 'plist') AND pg_has_role(n.nspowner, 'USAGE')";
	const char *params[] = { name };
	PGresult *result = pl_session_exec(session, grants, 1, params, err);
	int code = result ? 0 : err->code;

	for (int i = 0; code == 0 && i < PQntuples(result); i++)
		code = pl_session_do(session, PQgetvalue(result, i, 0), err);
	PQclear(result);
	return code;
}

static int set_password(struct pl_session *session, const char *name)
{
	PGconn *pg = pl_session_pg(session);
	struct pl_buf sql = { 0 };
	struct pl_error ignored;
	int code = PL_ENOTFOUND;

	if (PQpass(pg) && PQpass(pg)[0]) {
		pl_buf_adds(&sql, "ALTER ROLE ");
		add_literal(&sql, pg, name, true);
		pl_buf_adds(&sql, " PASSWORD ");
		add_literal(&sql, pg, PQpass(pg), false);
		code = pl_session_do(session, sql.data, &ignored);
		explicit_bzero(sql.data, sql.len);
	}
	pl_buf_fini(&sql);
	return code;
}

// Connects as the daemon will.
static int try(const struct pl_query_role *role, struct pl_error *err)
{
	const char *const setup[] = { pl_query_role_check, NULL };
	struct pl_session *session =
		pl_session_new(&(struct pl_session_options){ .dsn = role->dsn,
	                                                     .dsn_file = role->dsn_file,
	                                                     .user = role->name,
	                                                     .application_name = "plist-admin migrate",
	                                                     .connect_timeout_us = 5000000,
	                                                     .statement_timeout_us = 5000000,
	                                                     .stop_fd = -1,
	                                                     .setup = setup });
	int code = pl_session_connect(session, err);

	pl_session_free(&session);
	if (code == 0)
		return 0;
	pl_error_prefix(
		err,
		"the role \"%s\" for the SQL of handlers cannot be used (it logs in with the password "
		"of the region's own role)",
		role->name);
	return err->code = PL_EINVAL;
}

int pl_query_role_make(struct pl_session *session, struct pl_query_role *role, struct pl_error *err)
{
	int code;

	role->made = false;
	if ((code = create(session, role, err)) < 0 || (code = grant(session, role->name, err)) < 0)
		return code;
	code = try(role, err);
	// Its password may be outdated, and this session may be allowed to update it.
	if (code < 0 && !err->sqlstate[0] && set_password(session, role->name) == 0)
		code = try(role, err);
	return code;
}
