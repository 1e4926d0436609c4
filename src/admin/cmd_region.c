// plist-admin region list|drain|resume|remove: the life of a region.
//
// Each command looks first, says what it finds, and does only what is missing, so it
// can be run again. region add and rebuild are in cmd_region_rebuild.c.
#include "admin/cmd_region.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "admin/cell.h"
#include "admin/commands.h"
#include "admin/messages.h"
#include "admin/table.h"
#include "base/clock.h"
#include "db/owner.h"

#define LOOK_US 200000

// ---- list

enum { NAME, KEY, STATE, SINCE, UNPUBLISHED, KEPT, MISSING, INCARNATION };

// clang-format off
static const struct pl_table_column columns[] = {
	[NAME] = { "region", PL_CELL_TEXT },
	[KEY] = { "key", PL_CELL_TEXT },
	[STATE] = { "state", PL_CELL_TEXT },
	[SINCE] = { "since", PL_CELL_TEXT },
	[UNPUBLISHED] = { "unpublished", PL_CELL_NUMBER },
	[KEPT] = { "kept", PL_CELL_NUMBER },
	[MISSING] = { "records_to_fetch", PL_CELL_NUMBER },
	[INCARNATION] = { "incarnation", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	{ NULL },
};
// clang-format on

#define SHOWN_STATE                                                                        \
	"CASE WHEN i.place = '" PL_OWNER_PLACE_REFUSED "' THEN 'refused' WHEN i.place <> " \
	"plist.plist_place() THEN 'unaccepted' WHEN i.drained THEN 'drained' ELSE i.state END"
#define MISSING_RECORDS                                                                        \
	"(SELECT coalesce(sum(greatest(coalesce(total, 0) - records, 0)), 0) FROM plist.asks " \
	"WHERE done_at IS NULL)"
// clang-format off
#define LIST_SQL                                                                               \
	"SELECT plist.plist_key(coalesce(i.region, '-'), i.generation), " SHOWN_STATE ", "     \
	PL_EPOCH("i.since") ", plist.plist_outbox_unpublished(), (SELECT count(*) FROM "       \
	"plist.outbox), " MISSING_RECORDS ", i.incarnation FROM plist.identity AS i"
// clang-format on

static void add_row(struct pl_table *table, struct pl_region_session *session)
{
	PGresult *result = pl_region_sessions_query(session, LIST_SQL, 0, NULL);
	if (result && PQntuples(result) == 1) {
		const char *state = pl_cell(result, 0, 1);
		pl_table_row(table);
		pl_table_text(table, NAME, session->region->name);
		pl_table_text(table, KEY, pl_cell(result, 0, 0));
		pl_table_text(table, STATE, state);
		pl_table_tone(table, STATE, strcmp(state, "settled") == 0 ? PL_TONE_GOOD : PL_TONE_DOUBT);
		pl_table_time(table, SINCE, pl_cell_time(result, 0, 2));
		pl_table_number(table, UNPUBLISHED, pl_cell_int(result, 0, 3, 0));
		pl_table_number(table, KEPT, pl_cell_int(result, 0, 4, 0));
		pl_table_number(table, MISSING, pl_cell_int(result, 0, 5, 0));
		pl_table_text(table, INCARNATION, pl_cell(result, 0, 6));
	}
	PQclear(result);
}

static int list(struct pl_invocation *invocation)
{
	struct pl_region_sessions sessions;
	int rc = pl_invocation_regions(invocation);
	if (rc)
		return rc;
	struct pl_table *table = pl_table_new("regions", columns);
	pl_region_sessions_open(invocation, &sessions, pl_invocation_timeout_us(invocation));
	for (int i = 0; i < sessions.n; i++)
		add_row(table, &sessions.each[i]);
	rc = pl_region_sessions_exit(&sessions, PL_EXIT_YES);
	pl_table_print(invocation, table, NULL);
	pl_table_free(&table);
	pl_region_sessions_close(&sessions);
	return rc;
}

// ---- what the commands for one region share

int pl_cmd_region_open(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                       struct pl_region_session **named_r)
{
	const char *name = invocation->args[0];
	int rc = pl_invocation_regions(invocation);
	*named_r = NULL;
	if (rc)
		return rc;
	if (!pl_config_region(invocation->config, name, strlen(name))) {
		pl_fail("'%s': there is no such region in %s", name, invocation->config->file);
		return PL_EXIT_USAGE;
	}
	pl_region_sessions_open(invocation, sessions, 0);
	for (int i = 0; i < sessions->n; i++)
		if (strcmp(sessions->each[i].region->name, name) == 0)
			*named_r = &sessions->each[i];
	return (*named_r)->up ? 0 : PL_EXIT_UNREACHABLE;
}

int64_t pl_cmd_region_number(struct pl_region_session *session, const char *sql)
{
	PGresult *result = pl_region_sessions_query(session, sql, 0, NULL);
	int64_t number = result && PQntuples(result) == 1 ? pl_cell_int(result, 0, 0, -1) : -1;
	PQclear(result);
	return number;
}

static int run(struct pl_region_session *session, const char *sql, int n, const char *const *params)
{
	PGresult *result = pl_region_sessions_query(session, sql, n, params);
	PQclear(result);
	return result ? 0 : PL_EXIT_NO;
}

// ---- drain and resume

static int set_drained(struct pl_invocation *invocation, struct pl_region_session *session, bool drained)
{
	const char *name = session->region->name, *params[] = { drained ? "t" : "f" };
	bool was = pl_cmd_region_number(session, "SELECT drained::int FROM plist.identity") == 1;
	if (!session->up)
		return PL_EXIT_UNREACHABLE;
	if (was == drained)
		pl_say("%s: %s", name, drained ? "is drained already" : "lets requests in already");
	else if (pl_invocation_has(invocation, "dry-run"))
		pl_say("%s: would %s", name,
		       drained ? "send all requests to the other regions" : "let requests in again");
	else if (run(session, "UPDATE plist.identity SET drained = $1::boolean", 1, params) != 0)
		return PL_EXIT_UNREACHABLE;
	else
		pl_say("%s: %s", name,
		       drained ? "its daemons send all requests to the other regions from now on"
		               : "its daemons let requests in again within a second");
	return 0;
}

// Whether all that the region has written is published, and applied everywhere: its
// relay then keeps nothing. What is left, for people, in *left_r.
static bool is_empty(struct pl_region_session *session, char left_r[160])
{
	int64_t unpublished = pl_cmd_region_number(session, "SELECT plist.plist_outbox_unpublished()"),
		kept = pl_cmd_region_number(session, "SELECT count(*) FROM plist.outbox");
	snprintf(left_r, 160,
	         "%" PRId64 " events are not published, %" PRId64 " are not "
	         "applied everywhere",
	         unpublished, kept > unpublished ? kept - unpublished : 0);
	return kept == 0;
}

static int wait_until_empty(struct pl_invocation *invocation, struct pl_region_session *session)
{
	int64_t until_us = pl_mono_us() + pl_invocation_us(invocation, "wait", 60000000);
	char left[160];
	while (session->up && !is_empty(session, left)) {
		if (pl_mono_us() > until_us) {
			pl_fail("%s: %s; is its daemon running, and are those of the other "
			        "regions? Repeat the command",
			        session->region->name, left);
			return PL_EXIT_NO;
		}
		pl_session_pause(session->session, LOOK_US);
	}
	if (!session->up)
		return PL_EXIT_UNREACHABLE;
	pl_say("%s: its outbox is empty: everything it wrote is applied in every region that has not been "
	       "silent for outbox.retention",
	       session->region->name);
	return PL_EXIT_YES;
}

static int drain(struct pl_invocation *invocation)
{
	struct pl_region_sessions sessions = { 0 };
	struct pl_region_session *session;
	int rc = pl_cmd_region_open(invocation, &sessions, &session);
	if (!rc && invocation->config->nregions < 2) {
		pl_fail("%s is the only region: nothing else could answer its requests",
		        session->region->name);
		rc = PL_EXIT_NO;
	}
	if (!rc)
		rc = set_drained(invocation, session, true);
	if (!rc && !pl_invocation_has(invocation, "dry-run"))
		rc = wait_until_empty(invocation, session);
	pl_region_sessions_close(&sessions);
	return rc;
}

static int resume(struct pl_invocation *invocation)
{
	struct pl_region_sessions sessions = { 0 };
	struct pl_region_session *session;
	int rc = pl_cmd_region_open(invocation, &sessions, &session);
	if (!rc)
		rc = set_drained(invocation, session, false);
	pl_region_sessions_close(&sessions);
	return rc;
}

// ---- remove

static bool is_retired(const struct pl_config *config, const char *name)
{
	for (int i = 0; i < config->nretired; i++)
		if (strcmp(config->retired_regions[i], name) == 0)
			return true;
	return false;
}

// Asks that the retired region can no longer answer.
static void say_unanswered(struct pl_region_session *session, const char *name)
{
	const char *params[] = { name };
	PGresult *result = pl_region_sessions_query(
		session, "SELECT count(*) FROM plist.asks WHERE of_region = $1 AND done_at IS NULL", 1,
		params);
	if (result && pl_cell_int(result, 0, 0, 0) > 0)
		pl_fail("%s: it has asked %s for events that it lacks and never got them; if another region "
		        "has them, 'plist-admin repair' finds and republishes them",
		        session->region->name, name);
	PQclear(result);
}

// What the other regions keep about a region that the configuration has retired. What
// they know of its key stays: a region of the same name must not count anew.
static int forget(struct pl_invocation *invocation, const char *name)
{
	struct pl_region_sessions sessions = { 0 };
	const char *params[] = { name };
	int rc = pl_invocation_regions(invocation);
	if (rc)
		return rc;
	pl_region_sessions_open(invocation, &sessions, 0);
	for (int i = 0; i < sessions.n; i++) {
		struct pl_region_session *session = &sessions.each[i];
		if (!session->up)
			continue;
		say_unanswered(session, name);
		if (pl_invocation_has(invocation, "dry-run"))
			continue;
		if (run(session, "DELETE FROM plist.region_heartbeats WHERE region = $1", 1, params) == 0 &&
		    run(session, "DELETE FROM plist.heard_databases WHERE region = $1", 1, params) == 0 &&
		    run(session, "DELETE FROM plist.asks WHERE of_region = $1", 1, params) == 0)
			pl_say("%s: region %s is forgotten", session->region->name, name);
	}
	rc = pl_region_sessions_exit(&sessions, PL_EXIT_YES);
	pl_region_sessions_close(&sessions);
	return rc;
}

// The others hold nothing of the region back: none of its events is parked or a dead
// letter.
static int64_t held_elsewhere(struct pl_region_sessions *sessions, const struct pl_region_session *session)
{
	const char *params[] = { session->region->name };
	int64_t held = 0;
	for (int i = 0; i < sessions->n; i++) {
		struct pl_region_session *other = &sessions->each[i];
		if (other == session || !other->up)
			continue;
		PGresult *result = pl_region_sessions_query(
			other,
			"SELECT count(*) FROM plist.parked_events WHERE split_part(origin, '.', 1) = $1", 1,
			params);
		int64_t n = result ? pl_cell_int(result, 0, 0, 0) : 1;
		PQclear(result);
		if (n > 0)
			pl_fail("%s: %" PRId64 " events of %s are parked; see 'plist-admin parked list'",
			        other->region->name, n, session->region->name);
		held += n;
	}
	return held;
}

#define LACKING_SQL                                                                               \
	"SELECT count(*), CASE WHEN bool_and(s.applied_at IS NOT NULL) THEN " PL_EPOCH(           \
		"min(s.applied_at)") " END FROM jsonb_each_text($2::jsonb) AS t(topic, "          \
				     "numbers) CROSS JOIN LATERAL string_to_table(t.numbers, "    \
				     "',') WITH ORDINALITY AS p(number, n) LEFT JOIN "            \
				     "plist.applied_sequences AS s ON s.origin = $1 AND s.topic " \
				     "= t.topic AND s.partition = p.n - 1 WHERE coalesce(s.seq, " \
				     "0) < coalesce(substring(p.number FROM "                     \
				     "'^[0-9]{1,18}')::bigint, 0)"

// How many partitions hold events of the region that another one has not received, by the
// numbers of the region's newest mark (relay/relay_marks); *since_r: when it received the
// last one before the first of these, 0: none. -1: the database failed.
static int64_t count_lacking(struct pl_region_session *other, const char *name, const char *published,
                             int64_t *since_r)
{
	const char *params[] = { name, published };
	PGresult *result = pl_region_sessions_query(other, LACKING_SQL, 2, params);
	int64_t n = result ? pl_cell_int(result, 0, 0, -1) : -1;

	*since_r = n > 0 ? pl_cell_time(result, 0, 1) : 0;
	PQclear(result);
	return n;
}

// The region's outbox is empty, but it may have stopped keeping events for a region that
// was silent for outbox.retention. Says what that one lacks, and who else has it. Returns
// how many regions lack something; -1: a database failed.
static int report_lacking(struct pl_region_sessions *sessions, struct pl_region_session *session)
{
	const char *name = session->region->name, *holder = NULL;
	char at[PL_TIME_TEXT_MAX];
	int64_t n[PL_REGIONS_MAX] = { 0 }, since[PL_REGIONS_MAX];
	int nlacking = 0;
	PGresult *mark = pl_region_sessions_query(
		session,
		"SELECT coalesce((SELECT published FROM plist.outbox_marks ORDER BY id DESC LIMIT 1), '{}')",
		0, NULL);

	for (int i = 0; mark && i < sessions->n; i++) {
		struct pl_region_session *other = &sessions->each[i];
		if (other == session)
			continue;
		n[i] = count_lacking(other, name, pl_cell(mark, 0, 0), &since[i]);
		nlacking = n[i] < 0 || nlacking < 0 ? -1 : nlacking + (n[i] > 0);
		holder = n[i] == 0 ? other->region->name : holder;
	}
	for (int i = 0; nlacking > 0 && i < sessions->n; i++)
		if (n[i] > 0)
			pl_fail("%s lacks what %s has written since %s, in %" PRId64
			        " partitions; %s no longer "
			        "keeps these events for it, since it was silent for outbox.retention",
			        sessions->each[i].region->name, name,
			        since[i] ? pl_clock_format_time(since[i], at) : "the beginning", n[i], name);
	if (nlacking > 0 && holder)
		pl_fail("%s has all of it", holder);
	else if (nlacking > 0)
		pl_fail("no other region has all of it: what they lack would be lost with %s", name);
	PQclear(mark);
	return mark ? nlacking : -1;
}

static int check_lacking(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                         struct pl_region_session *session)
{
	const char *name = session->region->name;
	int n = report_lacking(sessions, session);
	if (n < 0)
		return PL_EXIT_PARTIAL;
	if (n == 0) {
		pl_say("%s: everything it wrote is applied in every other region", name);
		return 0;
	}
	if (pl_invocation_has(invocation, "leave-behind")) {
		pl_say("%s: is removed anyway (--leave-behind)", name);
		return 0;
	}
	pl_fail("nothing was removed; start the daemons of the regions that lack something and wait until "
	        "they have asked for it (repair: automatic), or run 'plist-admin repair', then repeat this "
	        "command; or remove %s anyway, with --leave-behind",
	        name);
	return PL_EXIT_NO;
}

static int check_removable(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                           struct pl_region_session *session)
{
	const char *name = session->region->name;
	char left[160];
	int rc;
	if (pl_region_sessions_exit(sessions, 0) != 0) {
		pl_fail("all regions must be reachable: what one of them lacks would be lost "
		        "with %s",
		        name);
		return PL_EXIT_PARTIAL;
	}
	if (pl_cmd_region_number(session, "SELECT drained::int FROM plist.identity") != 1) {
		pl_fail("%s still lets requests in: drain it first, with 'plist-admin region "
		        "drain %s'",
		        name, name);
		return PL_EXIT_NO;
	}
	if (!is_empty(session, left)) {
		pl_fail("%s: %s; nothing was removed", name, left);
		return PL_EXIT_NO;
	}
	if (held_elsewhere(sessions, session) > 0)
		return PL_EXIT_NO;
	if ((rc = check_lacking(invocation, sessions, session)) != 0)
		return rc;
	pl_say("now stop the daemons of %s; in %s, move it from regions to retired_regions; reload the other "
	       "daemons, and NGINX with its new configuration; then repeat this command",
	       name, invocation->config->file);
	return PL_EXIT_YES;
}

static int remove_region(struct pl_invocation *invocation)
{
	struct pl_region_sessions sessions = { 0 };
	struct pl_region_session *session;
	int rc = pl_invocation_config(invocation);
	if (rc)
		return rc;
	if (is_retired(invocation->config, invocation->args[0]))
		return forget(invocation, invocation->args[0]);
	rc = pl_cmd_region_open(invocation, &sessions, &session);
	if (!rc)
		rc = check_removable(invocation, &sessions, session);
	pl_region_sessions_close(&sessions);
	return rc;
}

// ---- the commands

const struct pl_command pl_cmd_region_list = {
	.noun = "region",
	.verb = "list",
	.summary = "show the state of each region's database",
	.help = "Shows under which key each region counts its writes, whether its database is whole, and "
		"what its outbox holds. state: new (no daemon has claimed the database yet), settled, "
		"rebuilding, drained, unaccepted (restored, moved, or a copy), or refused (another "
		"database serves the region).",
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = list,
};

static const struct pl_option drain_options[] = {
	{ "dry-run", 0, PL_OPTION_SWITCH, NULL, "show what would be done, and do nothing" },
	{ "wait", 0, PL_OPTION_DURATION, "TIME", "how long to wait until the outbox is empty (default: 1m)" },
	{ NULL },
};

const struct pl_command pl_cmd_region_drain = {
	.noun = "region",
	.verb = "drain",
	.arguments = "REGION",
	.min_args = 1,
	.max_args = 1,
	.summary = "send a region's requests to the others",
	.help = "The region's daemons answer what they have, and send everything that comes "
		"from then on to "
		"the next region: NGINX asks it, and no request is lost. /ready is 503. Then the command "
		"waits until every other region has applied everything that this one has written. "
		"The region stays drained, even if its daemons restart, until 'region "
		"resume'.\n\nExit status 0: it is drained, and its outbox is "
		"empty; 1: something is left.",
	.options = drain_options,
	.waits = true,
	.run = drain,
};

static const struct pl_option dry_options[] = {
	{ "dry-run", 0, PL_OPTION_SWITCH, NULL, "show what would be done, and do nothing" },
	{ NULL },
};

const struct pl_command pl_cmd_region_resume = {
	.noun = "region",
	.verb = "resume",
	.arguments = "REGION",
	.min_args = 1,
	.max_args = 1,
	.summary = "let a drained region answer requests again",
	.help = "The reverse of 'region drain'.",
	.options = dry_options,
	.waits = true,
	.run = resume,
};

static const struct pl_option remove_options[] = {
	{ "dry-run", 0, PL_OPTION_SWITCH, NULL, "show what would be done, and do nothing" },
	{ "leave-behind", 0, PL_OPTION_SWITCH, NULL, "remove it even if other regions lack what it wrote" },
	{ NULL },
};

const struct pl_command pl_cmd_region_remove = {
	.noun = "region",
	.verb = "remove",
	.arguments = "REGION",
	.min_args = 1,
	.max_args = 1,
	.summary = "check that a region can go, and forget it",
	.help = "While the region is in the configuration: refuses unless it is drained and "
		"everything that it "
		"wrote is published and applied in every other region, and says what is left to do. That "
		"includes a region that was silent for longer than outbox.retention, for which its events "
		"are no longer kept: the command says what that region lacks and whether another one has "
		"it. Once the configuration has it in retired_regions: the other regions forget "
		"its heartbeats.\n\n"
		"Exit status 0: it can go, or is gone; 1: something of it would be lost.",
	.options = remove_options,
	.waits = true,
	.run = remove_region,
};
