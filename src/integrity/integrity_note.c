// Notes all records in the tables that may violate a constraint: at the daemon's start,
// and after plist-admin seed has written rows without any check.
//
// Threads: the session's.
#include <stdlib.h>

#include "integrity/integrity_private.h"

static int note(struct pl_session *session, const struct pl_integrity_check *check, int64_t *n_r,
                struct pl_error *err)
{
	struct pl_buf sql = { 0 };
	PGresult *result;

	pl_integrity_sql_full(&sql, check);
	result = pl_session_exec(session, sql.data, 0, NULL, err);
	pl_buf_fini(&sql);
	if (!result)
		return err->code;
	*n_r = strtoll(PQcmdTuples(result), NULL, 10);
	PQclear(result);
	return 0;
}

int pl_integrity_note_all(struct pl_session *session, const struct pl_config *config,
                          void (*found)(void *arg, const struct pl_integrity_noted *noted), void *arg,
                          struct pl_error *err)
{
	struct pl_integrity_check check;

	for (int i = 0; pl_integrity_check_at(config, i, &check); i++) {
		struct pl_integrity_noted noted = { check.resource, check.fields, check.unique != NULL, 0 };
		int code = note(session, &check, &noted.n, err);

		if (code < 0)
			return code;
		if (found && noted.n > 0)
			found(arg, &noted);
	}
	return 0;
}
