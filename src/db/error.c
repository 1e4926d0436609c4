// What PostgreSQL's error codes mean to plist: whether to try again, to refuse the row, or to say that the database is away.
//
// Used by db/conn, db/session and db/dial. Threads: any.
#include "db/conn.h"

#include <string.h>

struct rule { const char *state; int code; bool retryable; };

// The first row that matches counts; a row of two letters is a class.
static const struct rule rules[] = {
	{ "40001", PL_ECONFLICT, true },  // serialization failure
	{ "40P01", PL_ECONFLICT, true },  // deadlock
	{ "55P03", PL_ETIMEOUT, true },   // lock not available
	{ "57014", PL_ETIMEOUT, true },   // statement timeout, or cancelled by hand
	{ "57P01", PL_EUNAVAIL, true },   // shutting down, terminated by hand
	{ "57P02", PL_EUNAVAIL, true },   // crashing
	{ "57P03", PL_EUNAVAIL, true },   // starting
	{ "57P05", PL_EUNAVAIL, true },   // idle session timeout
	{ "25P03", PL_EUNAVAIL, true },   // idle in transaction
	{ "25006", PL_EUNAVAIL, true },   // a standby: it may be promoted
	{ "08", PL_EUNAVAIL, true },      // connection
	{ "53", PL_EUNAVAIL, true },      // disk full, out of memory, too many connections
	{ "58", PL_EUNAVAIL, true },      // I/O
	{ "22", PL_EINVAL, false },       // the value is wrong
	{ "23", PL_EINVAL, false },       // a constraint
	{ "P0001", PL_EINVAL, false },    // a trigger said no
	{ "28", PL_EUNAVAIL, false },     // not let in
	{ "", PL_EINTERNAL, false },      // the statement is wrong: a table is missing, or plist is
};

static const struct rule *rule_of(const char *state)
{
	const struct rule *rule = rules;

	while (strncmp(rule->state, state, strlen(rule->state)) != 0)
		rule++;
	return rule;
}

void pl_db_error(struct pl_error *err, const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
	const struct rule *rule = rule_of(state ? state : "");

	if (!err)
		return;
	if (!message)
		message = PQresultErrorMessage(result);
	if (detail)
		pl_error_set(err, rule->code, "%s (%s)", message, detail);
	else
		pl_error_set(err, rule->code, "%s", message);
	err->retryable = rule->retryable;
	strncpy(err->sqlstate, state ? state : "", sizeof err->sqlstate - 1);
	err->sqlstate[sizeof err->sqlstate - 1] = '\0';
}

bool pl_db_fatal(const PGresult *result)
{
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

	if (PQresultStatus(result) != PGRES_FATAL_ERROR)
		return false;
	// No severity: the error is libpq's own, and those it makes of a loss. PQstatus may still say OK then: libpq takes a failed send back
	// to look for what the server had to say first.
	return !severity || strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0;
}
