// See settle.h. Threads: the tool has one.
#include "admin/settle.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "admin/cell.h"
#include "admin/offsets.h"
#include "base/clock.h"

#define LOOK_US 100000

struct settle {
	struct pl_invocation *invocation;
	struct pl_region_sessions *sessions;
	int64_t until_us;
	int64_t mark[PL_REGIONS_MAX]; // the last row of the outbox at the start
	struct pl_offset *ends;
	int nends;
	const char *why;
};

static int64_t ask_number(struct pl_region_session *session, const char *sql, const char *param)
{
	PGresult *result = pl_region_sessions_query(session, sql, param != NULL, &param);
	int64_t number = result && PQntuples(result) > 0 ? pl_cell_int(result, 0, 0, 0) : -1;
	PQclear(result);
	return number;
}

static int take_marks(struct settle *s)
{
	for (int i = 0; i < s->sessions->n; i++) {
		s->mark[i] = ask_number(
			&s->sessions->each[i],
			"SELECT coalesce(max(id), 0) FROM plist.outbox WHERE refused_at IS NULL", NULL);
		if (s->mark[i] < 0)
			return -1;
	}
	return 0;
}

// Whether everything in a region's outbox up to the mark has been published; -1: the
// query failed. Published rows stay in the outbox until every region has applied them.
static int is_published(struct settle *s, int i)
{
	const char *mark = pl_arena_printf(s->invocation->arena, "%" PRId64, s->mark[i]);
	int64_t left = s->mark[i] == 0
	                       ? 0
	                       : ask_number(&s->sessions->each[i],
	                                    "SELECT count(*) FROM (SELECT FROM plist.outbox WHERE id <= "
	                                    "$1::bigint AND refused_at IS NULL AND id > coalesce((SELECT "
	                                    "max(floor_id) FROM plist.outbox_marks), 0) LIMIT 1) AS o",
	                                    mark);
	if (left > 0)
		s->why = pl_arena_printf(s->invocation->arena, "%s has not published all of its outbox",
		                         s->sessions->each[i].region->name);
	return left < 0 ? -1 : left == 0;
}

static int64_t end_of(const struct settle *s, const char *topic, int32_t partition)
{
	for (int i = 0; i < s->nends; i++)
		if (s->ends[i].partition == partition && strcmp(s->ends[i].topic, topic) == 0)
			return i;
	return -1;
}

static int is_applied(struct settle *s, int i)
{
	bool *applied = pl_calloc((size_t)s->nends + 1, sizeof(*applied));
	int missing = 0;
	PGresult *result = pl_region_sessions_query(
		&s->sessions->each[i], "SELECT topic, partition, next_offset FROM plist.applied_positions", 0,
		NULL);
	for (int p = 0; p < s->nends; p++)
		applied[p] = s->ends[p].end <= s->ends[p].low; // the partition has no messages
	for (int row = 0; result && row < PQntuples(result); row++) {
		int64_t p = end_of(s, pl_cell(result, row, 0), (int32_t)pl_cell_int(result, row, 1, 0));
		if (p >= 0)
			applied[p] |= pl_cell_int(result, row, 2, 0) >= s->ends[p].end;
	}
	for (int p = 0; p < s->nends; p++)
		missing += !applied[p];
	free(applied);
	PQclear(result);
	if (!result)
		return -1;
	if (missing)
		s->why = pl_arena_printf(
			s->invocation->arena,
			"%s has not applied %d of %d partitions up to their ends; is its daemon running?",
			s->sessions->each[i].region->name, missing, s->nends);
	return missing == 0;
}

// An event that met a locked row or table is parked and tried again within seconds. The
// lock may have been ours: a repair locks the records that it publishes again.
static int is_unlocked(struct settle *s, int i)
{
	int64_t left = ask_number(&s->sessions->each[i],
	                          "SELECT count(*) FROM plist.parked_events WHERE sqlstate = '55P03'", NULL);
	if (left > 0)
		s->why = pl_arena_printf(s->invocation->arena,
		                         "%s has parked %" PRId64
		                         " event%s whose records another session has locked",
		                         s->sessions->each[i].region->name, left, left == 1 ? "" : "s");
	return left < 0 ? -1 : left == 0;
}

// Repeats a check until it holds for every region.
static int wait_for(struct settle *s, int (*holds)(struct settle *s, int i))
{
	for (int i = 0; i < s->sessions->n; i++) {
		int rc;
		while ((rc = holds(s, i)) == 0) {
			if (pl_mono_us() > s->until_us)
				return -1;
			pl_session_pause(s->sessions->each[i].session, LOOK_US);
		}
		if (rc < 0) {
			s->why = pl_arena_strdup(s->invocation->arena, s->sessions->each[i].err.text);
			return -1;
		}
	}
	return 0;
}

static int ask_ends(struct settle *s)
{
	struct pl_error err = { 0 };
	struct pl_offsets *offsets =
		pl_offsets_new(s->invocation->config, pl_invocation_timeout_us(s->invocation));
	s->nends = pl_offsets_ends(offsets, &s->ends, &err);
	pl_offsets_free(&offsets);
	if (s->nends >= 0)
		return 0;
	s->nends = 0;
	s->why = pl_arena_printf(s->invocation->arena, "cannot read the ends of the topics from Kafka: %s",
	                         err.text);
	return -1;
}

int pl_settle(struct pl_invocation *invocation, struct pl_region_sessions *sessions, int64_t wait_us,
              const char **why_r)
{
	struct settle s = { .invocation = invocation,
		            .sessions = sessions,
		            .until_us = pl_mono_us() + wait_us,
		            .why = "the connection to a database was lost" };
	int rc = take_marks(&s);
	if (rc == 0)
		rc = wait_for(&s, is_published);
	if (rc == 0)
		rc = ask_ends(&s);
	if (rc == 0)
		rc = wait_for(&s, is_applied);
	if (rc == 0)
		rc = wait_for(&s, is_unlocked);
	free(s.ends);
	*why_r = rc ? s.why : NULL;
	return rc;
}
