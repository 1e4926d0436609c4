// See owner.h. Threads: the session's.
#include "db/owner.h"

int pl_owner_check(struct pl_session *session, const char *region, struct pl_error *err)
{
	PGresult *result = pl_session_exec(session, "SELECT region FROM plist.identity WHERE region <> $1", 1,
	                                   &region, err);
	int code = result ? 0 : err->code;

	if (result && PQntuples(result) > 0)
		code = pl_error_set(err, PL_EUNAVAIL,
		                    "this database belongs to region %s, not to region %s: check "
		                    "regions.%s.database",
		                    PQgetvalue(result, 0, 0), region, region);
	PQclear(result);
	return code;
}
