// See owner.h. Threads: the session's.
#include "db/owner.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/sha256.h"

static const char judge_sql[] =
	"SELECT region, state <> 'new' AND place = plist.plist_place() AND run IS NOT "
	"DISTINCT FROM plist.plist_run() FROM plist.identity";

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

static bool is_local(const char *host)
{
	return host[0] == '\0' || strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
	       strcmp(host, "::1") == 0;
}

void pl_owner_address(struct pl_session *session, char address_r[PL_OWNER_ADDRESS_MAX + 1])
{
	const PGconn *pg = pl_session_pg(session);
	const char *host = PQhost(pg);
	char machine[256] = "", text[1024], hex[PL_SHA256_HEX];
	uint8_t digest[PL_SHA256_SIZE];
	int len;

	if (host[0] == '/' || is_local(host))
		gethostname(machine, sizeof(machine) - 1);
	len = snprintf(text, sizeof(text), "%s %s %s %s", machine, is_local(host) ? "" : host, PQport(pg),
	               PQdb(pg));
	pl_sha256(text, len < (int)sizeof(text) ? (size_t)len : sizeof(text) - 1, digest);
	snprintf(address_r, PL_OWNER_ADDRESS_MAX + 1, "%.*s", PL_OWNER_ADDRESS_MAX,
	         pl_sha256_hex(digest, hex));
}
