// plist-admin region accept: the operator says that the database which served a region
// is gone for good, so that the one that the configuration names takes its place at once.
//
// It only ends a wait: a database that still speaks for the region is not replaced.
#include "admin/cmd_region.h"

#include <string.h>

#include "admin/cell.h"
#include "admin/commands.h"
#include "admin/messages.h"

#define HERE "i.place = plist.plist_place() AND i.run = plist.plist_run() AND i.state <> 'new'"

// Since 10 seconds ago, in any of the databases: another one that serves the region.
static bool is_served_elsewhere(struct pl_region_sessions *sessions, const char *name, const PGresult *own)
{
	const char *params[] = { name, pl_cell(own, 0, 1), pl_cell(own, 0, 2) };
	bool served = false;

	for (int i = 0; i < sessions->n && !served; i++) {
		PGresult *result;

		if (!sessions->each[i].up)
			continue;
		result = pl_region_sessions_query(
			&sessions->each[i],
			"SELECT incarnation FROM plist.heard_databases WHERE region = $1 AND (place, run) <> "
			"($2, $3) AND served_at > clock_timestamp() - interval '10 seconds' LIMIT 1",
			3, params);
		served = result && PQntuples(result) > 0;
		if (served)
			pl_fail("%s: another database (incarnation %s) has just spoken for it, as %s has "
			        "heard; stop its daemons, and give this command again after 10 seconds",
			        name, pl_cell(result, 0, 0), sessions->each[i].region->name);
		PQclear(result);
	}
	return served;
}

static int take_over(struct pl_invocation *invocation, struct pl_region_session *session)
{
	PGresult *result;

	if (pl_invocation_has(invocation, "dry-run")) {
		pl_say("%s: would take this database as the region's, in place of the one that served it",
		       session->region->name);
		return PL_EXIT_YES;
	}
	result = pl_region_sessions_query(session, "UPDATE plist.identity SET takes_over = true", 0, NULL);
	PQclear(result);
	if (!result)
		return PL_EXIT_UNREACHABLE;
	pl_say("%s: its daemon takes this database as the region's within seconds, and fetches what it lacks "
	       "from the other regions; what only the former one has is lost",
	       session->region->name);
	return PL_EXIT_YES;
}

static int accept_database(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                           struct pl_region_session *session)
{
	const char *name = session->region->name, *owner;
	PGresult *own = pl_region_sessions_query(session,
	                                         "SELECT " HERE ", md5(plist.plist_place()), "
	                                         "plist.plist_run(), i.region FROM plist.identity AS i",
	                                         0, NULL);
	int rc = PL_EXIT_NO;

	if (!own || PQntuples(own) == 0) {
		PQclear(own);
		return PL_EXIT_UNREACHABLE;
	}
	owner = pl_cell(own, 0, 3);
	if (owner && strcmp(owner, name) != 0) {
		pl_fail("%s: this database belongs to region %s: check regions.%s.database", name, owner,
		        name);
	} else if (pl_cell(own, 0, 0) && pl_cell(own, 0, 0)[0] == 't') {
		pl_say("%s: this database is accepted already", name);
		rc = PL_EXIT_YES;
	} else if (!is_served_elsewhere(sessions, name, own)) {
		rc = take_over(invocation, session);
	}
	PQclear(own);
	return rc;
}

static int accept_region(struct pl_invocation *invocation)
{
	struct pl_region_sessions sessions = { 0 };
	struct pl_region_session *session;
	int rc = pl_cmd_region_open(invocation, &sessions, &session);

	if (!rc)
		rc = accept_database(invocation, &sessions, session);
	pl_region_sessions_close(&sessions);
	return rc;
}

static const struct pl_option options[] = {
	{ "dry-run", 0, PL_OPTION_SWITCH, NULL, "say what would be done" },
	{ NULL },
};

const struct pl_command pl_cmd_region_accept = {
	.noun = "region",
	.verb = "accept",
	.arguments = "REGION",
	.min_args = 1,
	.max_args = 1,
	.summary = "say that a region's former database is gone for good",
	.help = "A database that was restored or made at another address may be a copy, and the one that "
		"served the region may only be restarting. So it waits until nobody has heard that one for "
		"database.replace_after. This command ends the wait, and lets a database that was refused "
		"take over: stop the daemons of the other one first. What only the former database has is "
		"lost.\n\nExit status 0: it is taken, or was already; 1: another database still speaks for "
		"the region, or this one is another region's.",
	.options = options,
	.waits = true,
	.run = accept_region,
};
