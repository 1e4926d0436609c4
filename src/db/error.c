// What PostgreSQL's error codes mean to plist: try again, refuse the row, or report
// that the database is unavailable.
//
// Used by db/conn, db/session and db/dial. Threads: any.
#include "db/conn.h"

#include <string.h>

#include "base/log.h"

struct rule {
	const char *state;
	int code;
	bool retryable;
};

// The first row that matches counts; a row of two letters is a class.
static const struct rule rules[] = {
	{ "40001", PL_ECONFLICT, true }, // serialization failure
	{ "40P01", PL_ECONFLICT, true }, // deadlock
	{ "55P03", PL_ETIMEOUT, true },  // lock not available
	{ "57014", PL_ETIMEOUT, true },  // statement timeout, or cancelled by hand
	{ "57P01", PL_EUNAVAIL, true },  // shutting down, terminated by hand
	{ "57P02", PL_EUNAVAIL, true },  // crashing
	{ "57P03", PL_EUNAVAIL, true },  // starting
	{ "57P05", PL_EUNAVAIL, true },  // idle session timeout
	{ "25P03", PL_EUNAVAIL, true },  // idle in transaction
	{ "25006", PL_EUNAVAIL, true },  // a standby: it may be promoted
	{ "08", PL_EUNAVAIL, true },     // connection
	{ "53", PL_EUNAVAIL, true },     // disk full, out of memory, too many connections
	{ "58", PL_EUNAVAIL, true },     // I/O
	{ "3F000", PL_EUNAVAIL, true },  // no such schema: a new database
	{ "22", PL_EINVAL, false },      // the value is wrong
	{ "23", PL_EINVAL, false },      // a constraint
	{ "44", PL_EINVAL, false },      // WITH CHECK OPTION of a view
	{ "P0001", PL_EINVAL, false },   // raised by a trigger
	{ "28", PL_EUNAVAIL, false },    // authentication failed
	{ "", PL_EINTERNAL, false },     // a missing table, or a bug in plist
};

// Of SQLSTATE 42501, a missing privilege concerns a whole table, but a policy refuses one
// row. Only the name of PostgreSQL's function tells them apart in every language.
static const struct rule *rule_of(const char *state, const char *function)
{
	static const struct rule policy = { "42501", PL_EINVAL, false };
	const struct rule *rule = rules;

	if (strcmp(state, policy.state) == 0 && function && strcmp(function, "ExecWithCheckOptions") == 0)
		return &policy;
	while (strncmp(rule->state, state, strlen(rule->state)) != 0)
		rule++;
	return rule;
}

static void copy(char *to, size_t size, const char *from, size_t len)
{
	if (len >= size)
		len = size - 1;
	memcpy(to, from, len);
	to[len] = '\0';
}

// The columns of a violated key are named only in the DETAIL, before their values: Key
// (room, day)=(7, 2026-02-21) already exists. It may be in another language.
static void take_columns(struct pl_error *err, const char *column, const char *detail)
{
	const char *open = detail ? strchr(detail, '(') : NULL, *close = open ? strstr(open, ")=(") : NULL;

	if (column)
		copy(err->columns, sizeof(err->columns), column, strlen(column));
	else if (close && strncmp(err->sqlstate, "23", 2) == 0)
		copy(err->columns, sizeof(err->columns), open + 1, (size_t)(close - open - 1));
}

// An invalid value is quoted at the end of the message. Where a query casts a column,
// the value may belong to another record. Of other languages' quotation marks only the
// first byte is known.
static size_t length_without_value(const char *state, const char *message)
{
	const char *value = strncmp(state, "22", 2) == 0 ? message : NULL;

	while (value && (value = strstr(value, ": ")) && value[2] != '"' && value[2] != '\'' &&
	       !((unsigned char)value[2] & 0x80))
		value += 2;
	return value ? (size_t)(value - message) : strlen(message);
}

// What the error's text omits: rows and the ids of other requests appear only in the
// log.
static void log_detail(const char *state, const char *message, const char *detail)
{
	static struct pl_log_limit limit;

	if (strncmp(state, "40", 2) != 0 && pl_log_limit_ok(&limit, 1000000))
		pl_notice("database: SQLSTATE %s: %s%s%s", state, message, detail ? "; DETAIL: " : "",
		          detail ? detail : "");
}

void pl_db_error(struct pl_error *err, const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
	const char *constraint = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);
	const struct rule *rule =
		rule_of(state ? state : "", PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION));
	size_t len;

	if (!err)
		return;
	if (!state)
		state = "";
	if (!message)
		message = PQresultErrorMessage(result);
	len = length_without_value(state, message);
	if (detail || message[len])
		log_detail(state, message, detail);
	if (strcmp(state, "25006") == 0)
		pl_error_set(err, rule->code,
		             "the database takes no writes (default_transaction_read_only is on, or it is a "
		             "standby): %s",
		             message);
	else
		pl_error_set(err, rule->code, "%.*s", (int)len, message);
	err->retryable = rule->retryable;
	copy(err->sqlstate, sizeof(err->sqlstate), state, strlen(state));
	if (constraint)
		copy(err->constraint, sizeof(err->constraint), constraint, strlen(constraint));
	err->nested = PQresultErrorField(result, PG_DIAG_CONTEXT) != NULL;
	take_columns(err, PQresultErrorField(result, PG_DIAG_COLUMN_NAME), detail);
}

bool pl_db_error_stale(const struct pl_error *err)
{
	if (err->nested) // an error inside a trigger does not concern this session
		return false;
	// All of class 42 except two: a missing privilege, which applies to a new
	// session as well, and a syntax error. The others may mean that tables were
	// replaced or moved, or that search_path was set for new sessions.
	if (strncmp(err->sqlstate, "42", 2) == 0)
		return strcmp(err->sqlstate, "42501") != 0 && strcmp(err->sqlstate, "42601") != 0;
	if (strcmp(err->sqlstate, "XX000") == 0) // messages of these two are never translated
		return strncmp(err->text, "cache lookup failed", 19) == 0 ||
		       strncmp(err->text, "could not open relation", 23) == 0;
	return strcmp(err->sqlstate, "0A000") == 0 || // cached plan must not change result type
	       strcmp(err->sqlstate, "26000") == 0 || // no such statement: DEALLOCATE, DISCARD
	       strcmp(err->sqlstate, "3F000") == 0 || // no such schema
	       strcmp(err->sqlstate, "08P01") == 0;   // a statement of that name, but another one
}

bool pl_db_error_read_only(const struct pl_error *err)
{
	return strcmp(err->sqlstate, "25006") == 0;
}

bool pl_db_error_again(const struct pl_error *err)
{
	return strcmp(err->sqlstate, "40000") == 0;
}

bool pl_db_error_is_fatal(const PGresult *result)
{
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

	if (PQresultStatus(result) != PGRES_FATAL_ERROR)
		return false;
	// No severity: the error comes from libpq, like those that it reports for a
	// loss. PQstatus may still be OK: after a failed send, libpq first reads what
	// the server still had to say.
	return !severity || strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0;
}
