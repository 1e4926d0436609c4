// See owner.h. Threads: the session's.
#include "db/owner.h"

#include <string.h>

static const char judge_sql[] = "SELECT region, state <> 'new' AND place = plist.plist_place() FROM "
				"plist.identity";

int pl_owner_judge(struct pl_session *session, const char *region, bool *accepted_r, struct pl_error *err)
{
	PGresult *result = pl_session_exec(session, judge_sql, 0, NULL, err);
	int code = 0;

	*accepted_r = false;
	if (!result)
		return err->code;
	if (PQntuples(result) == 1 && !PQgetisnull(result, 0, 0) &&
	    strcmp(PQgetvalue(result, 0, 0), region) != 0)
		code = pl_error_set(err, PL_EUNAVAIL,
		                    "this database belongs to region %s, not to region %s: check "
		                    "regions.%s.database",
		                    PQgetvalue(result, 0, 0), region, region);
	else
		*accepted_r = PQntuples(result) == 1 && PQgetvalue(result, 0, 1)[0] == 't';
	PQclear(result);
	return code;
}

int pl_owner_check(struct pl_session *session, const char *region, struct pl_error *err)
{
	bool accepted;
	int code = pl_owner_judge(session, region, &accepted, err);

	if (code < 0 || accepted)
		return code;
	return pl_error_set(err, PL_EBUSY,
	                    "the database is new, was restored or moved, or is not the one that serves "
	                    "region %s; nothing is applied to it yet",
	                    region);
}
