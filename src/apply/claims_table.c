// The rows of the claims: plist.apply_members and plist.partition_claims.
//
// A member's row names its session, as plist_leaders does for the relay (relay/outbox.c).
// Threads: the claims'.
#include "apply/claims_private.h"

#include "db/owner.h"

#define LEASE_MS     "2000" // LEASE_US
// A relay that publishes asks several times a second. On a busy machine, only the thread
// of the claims may have been late: then there is no reason to end the relay's session.
#define RELAY_SILENT "1 second"

// For processes of other roles, PostgreSQL does not show when they started.
#define LIVES                                                                \
	"EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.pid = m.pid AND " \
	"(a.backend_start IS NULL OR a.backend_start = m.backend_start))"

// ---- the member

// What the member's row should say, as an array's elements after the member's name.
static void describe(struct pl_claims *claims, struct pl_buf *sessions, struct pl_buf *topics, bool *hears_r)
{
	*hears_r = false;
	pthread_mutex_lock(&claims->mutex);
	pl_buf_addc(sessions, '{');
	for (int i = 0; i < claims->nlanes; i++) {
		*hears_r |= claims->lanes[i].hears;
		pl_buf_printf(sessions, "%s%d", i ? "," : "", claims->lanes[i].pid);
	}
	if (claims->relay && *claims->relay > 0)
		pl_buf_printf(sessions, ",%d", *claims->relay);
	pl_buf_addc(sessions, '}');
	for (int i = 0; i < claims->ntopics; i++)
		pl_buf_printf(topics, "%s%s", i ? "," : "", claims->topics[i].name);
	pthread_mutex_unlock(&claims->mutex);
	pl_buf_adds(topics, ""); // not NULL
}

static int write_member(struct pl_claims *claims, const char *const params[5], struct pl_error *err)
{
	PGresult *result = pl_session_exec(
		claims->session,
		"INSERT INTO plist.apply_members (member, lanes, hears, topics, sessions, pid, "
		"backend_start) SELECT $1, $2::integer, $3::boolean, $4, $5::integer[], a.pid, "
		"a.backend_start FROM pg_stat_activity AS a WHERE a.pid = pg_backend_pid() "
		"ON CONFLICT (member) DO UPDATE SET hears = excluded.hears, topics = excluded.topics, "
		"sessions = excluded.sessions, pid = excluded.pid, backend_start = excluded.backend_start, "
		"since = clock_timestamp()",
		5, params, err);

	if (!result)
		return err->code;
	PQclear(result);
	return pl_session_do(claims->session, "SET idle_session_timeout = " LEASE_MS, err);
}

int pl_claims_register(struct pl_claims *claims, struct pl_error *err)
{
	struct pl_buf sessions = { 0 }, topics = { 0 }, all = { 0 };
	char lanes[16];
	bool hears;
	int code = 0;

	describe(claims, &sessions, &topics, &hears);
	pl_buf_printf(&all, "%s %s %d", sessions.data, topics.data, hears);
	snprintf(lanes, sizeof(lanes), "%d", claims->nlanes);
	if (!claims->registered) // a new session; its database may be another one
		code = pl_owner_check(claims->session, claims->region->name, err);
	if (code == 0 && (!claims->registered || strcmp(claims->registered, all.data) != 0)) {
		code = write_member(claims,
		                    (const char *[]){ claims->member, lanes, hears ? "t" : "f", topics.data,
		                                      sessions.data },
		                    err);
		free(claims->registered);
		claims->registered = code == 0 ? pl_strdup(all.data) : NULL;
	}
	pl_buf_fini(&sessions);
	pl_buf_fini(&topics);
	pl_buf_fini(&all);
	return code;
}

// ---- reading

static int read_members(struct pl_claims *claims, struct claims_view *view, struct pl_error *err)
{
	PGresult *result =
		pl_session_exec(claims->session,
	                        "SELECT m.member, m.topics, m.lanes, m.hears, " LIVES
	                        ", m.pid = pg_backend_pid() FROM plist.apply_members AS m ORDER BY m.member",
	                        0, NULL, err);

	if (!result)
		return err->code;
	view->ours = -1;
	for (int i = 0; i < PQntuples(result); i++) {
		struct claims_member member = {
			.name = PQgetvalue(result, i, 0),
			.topics = PQgetvalue(result, i, 1),
			.lanes = (int)strtol(PQgetvalue(result, i, 2), NULL, 10),
			.hears = PQgetvalue(result, i, 3)[0] == 't',
			.lives = PQgetvalue(result, i, 4)[0] == 't',
		};

		member.ours = strcmp(member.name, claims->member) == 0 && member.lives &&
		              PQgetvalue(result, i, 5)[0] == 't';
		if (member.ours)
			view->ours = view->nmembers;
		pl_claims_view_member(view, &member);
	}
	PQclear(result);
	return 0;
}

static void note_claim(struct claims_view *view, const char *member, struct claims_partition *p, int lane)
{
	for (int i = 0; i < view->nmembers; i++)
		if (strcmp(view->members[i].name, member) == 0 && view->members[i].lives) {
			p->member = i;
			p->lane = view->members[i].first + lane;
		}
}

int pl_claims_read(struct pl_claims *claims, struct claims_view *view, struct pl_error *err)
{
	PGresult *result;
	int code = read_members(claims, view, err);

	if (code < 0)
		return code;
	result = pl_session_exec(claims->session,
	                         "SELECT topic, partition, member, lane FROM plist.partition_claims", 0, NULL,
	                         err);
	if (!result)
		return err->code;
	for (int i = 0; i < PQntuples(result); i++)
		note_claim(view, PQgetvalue(result, i, 2),
		           pl_claims_view_partition(view, PQgetvalue(result, i, 0),
		                                    (int32_t)strtol(PQgetvalue(result, i, 1), NULL, 10)),
		           (int)strtol(PQgetvalue(result, i, 3), NULL, 10));
	PQclear(result);
	return 0;
}

// ---- writing

int pl_claims_bury(struct pl_claims *claims, const struct claims_view *view, struct pl_error *err)
{
	PGresult *result;
	int dead = 0;

	for (int i = 0; i < view->nmembers; i++)
		dead += !view->members[i].lives;
	if (dead == 0)
		return 0;
	result = pl_session_exec(
		claims->session,
		"WITH gone AS (DELETE FROM plist.apply_members AS m WHERE NOT " LIVES " RETURNING sessions) "
		"SELECT pg_terminate_backend(a.pid, 200) FROM gone, pg_stat_activity AS a WHERE a.pid = "
		"ANY(gone.sessions) AND a.datname = current_database() AND a.usename = current_user AND "
		"(a.application_name LIKE 'plistd % apply-%' OR (a.application_name LIKE "
		"'plistd % relay' AND a.state_change < clock_timestamp() - interval '" RELAY_SILENT "'))",
		0, NULL, err);
	if (!result)
		return err->code;
	pl_notice("%d daemon%s of this region ended or is silent; taking over the partitions", dead,
	          dead > 1 ? "s" : "");
	PQclear(result);
	return 0;
}

static int take_one(struct pl_claims *claims, struct claims_view *view, struct claims_partition *p,
                    struct pl_error *err)
{
	char number[16], lane[16];
	PGresult *result;

	snprintf(number, sizeof(number), "%d", (int)p->number);
	snprintf(lane, sizeof(lane), "%d", p->to - view->members[view->ours].first);
	result = pl_session_exec(
		claims->session,
		"INSERT INTO plist.partition_claims (topic, partition, member, lane) VALUES ($1, "
		"$2::integer, $3, $4::integer) ON CONFLICT (topic, partition) DO NOTHING RETURNING 1",
		4, (const char *[]){ p->topic, number, claims->member, lane }, err);
	// Nothing can be applied to it either. What was claimed stays claimed.
	if (!result && !pl_db_error_read_only(err))
		return err->code;
	if (!result || PQntuples(result) > 0) {
		p->member = view->ours;
		p->lane = p->to;
	}
	PQclear(result);
	return 0;
}

int pl_claims_take(struct pl_claims *claims, struct claims_view *view, struct pl_error *err)
{
	int code = 0;

	for (int i = 0; i < view->npartitions && code == 0; i++) {
		struct claims_partition *p = &view->partitions[i];

		if (p->lane < 0 && pl_claims_view_is_ours(view, p->to))
			code = take_one(claims, view, p, err);
	}
	return code;
}

int pl_claims_release(struct pl_claims *claims, const struct claims_partition *p, struct pl_error *err)
{
	char number[16];
	PGresult *result;

	snprintf(number, sizeof(number), "%d", (int)p->number);
	result = pl_session_exec(
		claims->session,
		"DELETE FROM plist.partition_claims WHERE topic = $1 AND partition = $2::integer AND member "
		"= $3",
		3, (const char *[]){ p->topic, number, claims->member }, err);
	if (!result)
		return pl_db_error_read_only(err) ? 0 : err->code;
	PQclear(result);
	return 0;
}
