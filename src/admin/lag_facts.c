// What is known about the lag of the regions.
//
// Facts come from databases (positions, heartbeats, outboxes), Kafka (committed
// offsets, ends, the time of the first message not yet applied) and daemons (their
// /replication-lag). Then they are judged, by pure code that is tested separately.
// Threads: one at a time.
#include "admin/lag_facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/cell.h"
#include "admin/daemon.h"
#include "base/clock.h"
#include "base/json.h"

#define SILENT_HEARTBEATS  5
#define SILENT_AT_LEAST_US 5000000

const char *pl_lag_facts_state_name(enum pl_lag_state state)
{
	static const char *const words[] = { "ok",     "catching-up", "unknown", "rebuilding",
		                             "silent", "behind",      "gap",     "broker-down" };
	return words[state];
}

enum pl_lag_state pl_lag_facts_judge(bool broker, int64_t events, double seconds, double max_seconds)
{
	if (!broker)
		return PL_LAG_BROKER_DOWN;
	if (seconds > max_seconds)
		return PL_LAG_BEHIND;
	return events > 0 || seconds > 0 ? PL_LAG_CATCHING_UP : PL_LAG_OK;
}

bool pl_lag_facts_is_silent(const struct pl_config *config, int64_t heard_us)
{
	int64_t patience = config->kafka.heartbeat_us * SILENT_HEARTBEATS;
	if (patience < SILENT_AT_LEAST_US)
		patience = SILENT_AT_LEAST_US;
	return heard_us < 0 || heard_us > patience;
}

int64_t pl_lag_facts_from(const struct pl_offset *offset, int64_t applied)
{
	int64_t from = offset->committed > offset->end ? -1 : offset->committed;
	if (applied <= offset->end && applied > from)
		from = applied;
	return from < offset->low ? offset->low : from;
}

static double larger(double a, double b)
{
	return a > b ? a : b;
}

// ---- the databases

static void look_at_outbox(struct pl_lag_of_region *lag)
{
	PGresult *result = pl_region_sessions_query(
		lag->region_session,
		"SELECT count(*), (extract(epoch FROM clock_timestamp() - min(created_at)) * "
		"1000000)::bigint FROM plist.outbox "
		"WHERE refused_at IS NOT NULL OR id > coalesce((SELECT max(floor_id) FROM "
		"plist.outbox_marks), 0)",
		0, NULL);
	lag->outbox_events = result ? pl_cell_int(result, 0, 0, 0) : -1;
	lag->outbox_us = result ? pl_cell_int(result, 0, 1, 0) : -1;
	PQclear(result);
}

static void look_at_heartbeats(struct pl_lag_of_region *lag)
{
	PGresult *result = pl_region_sessions_query(
		lag->region_session,
		"SELECT region, (extract(epoch FROM clock_timestamp() - heard_at) * 1000000)::bigint, "
		"outbox_events FROM plist.region_heartbeats",
		0, NULL);
	for (int row = 0; result && row < PQntuples(result); row++)
		for (int i = 0; i < lag->norigins; i++)
			if (strcmp(lag->origins[i].origin->name, pl_cell(result, row, 0)) == 0) {
				lag->origins[i].heard_us = pl_cell_int(result, row, 1, -1);
				lag->origins[i].outbox_events = pl_cell_int(result, row, 2, -1);
			}
	PQclear(result);
}

static void look_at_positions(struct pl_lag_of_region *lag, struct pl_arena *arena)
{
	PGresult *result = pl_region_sessions_query(
		lag->region_session,
		"SELECT topic, partition, next_offset FROM plist.applied_positions ORDER BY 1, 2", 0, NULL);
	int n = result ? PQntuples(result) : 0;
	lag->partitions = pl_arena_alloc(arena, (size_t)(n + 1) * sizeof(*lag->partitions));
	for (int i = 0; i < n; i++)
		lag->partitions[lag->npartitions++] =
			(struct pl_lag_of_partition){ .topic = pl_arena_strdup(arena, pl_cell(result, i, 0)),
			                              .partition = (int32_t)pl_cell_int(result, i, 1, 0),
			                              .committed = -1,
			                              .applied = pl_cell_int(result, i, 2, -1),
			                              .end = -1,
			                              .behind = -1,
			                              .seconds = PL_UNKNOWN };
	PQclear(result);
}

static void look_at_database(struct pl_lag_of_region *lag, const struct pl_config *config,
                             struct pl_arena *arena)
{
	for (int i = 0; i < config->nregions; i++)
		if (&config->regions[i] != lag->region_session->region)
			lag->origins[lag->norigins++] =
				(struct pl_lag_of_origin){ .origin = &config->regions[i],
				                           .events_behind = -1,
				                           .outbox_events = -1,
				                           .seconds = PL_UNKNOWN,
				                           .heard_us = -1 };
	look_at_outbox(lag);
	look_at_heartbeats(lag);
	look_at_positions(lag, arena);
}

// ---- Kafka

static int64_t applied_of(const struct pl_lag_of_region *lag, const struct pl_offset *offset)
{
	for (int i = 0; i < lag->npartitions; i++)
		if (lag->partitions[i].partition == offset->partition &&
		    strcmp(lag->partitions[i].topic, offset->topic) == 0)
			return lag->partitions[i].applied;
	return -1;
}

// Replaces the partitions known to the database by Kafka's; there may be more of them.
static void take_offsets(struct pl_lag_of_region *lag, const struct pl_offset *list, int n, int64_t now_us,
                         struct pl_arena *arena)
{
	struct pl_lag_of_partition *partitions = pl_arena_alloc(arena, (size_t)(n + 1) * sizeof(*partitions));
	for (int i = 0; i < n; i++) {
		struct pl_lag_of_partition *p = &partitions[i];
		*p = (struct pl_lag_of_partition){ .topic = list[i].topic,
			                           .partition = list[i].partition,
			                           .committed = list[i].committed,
			                           .applied = applied_of(lag, &list[i]),
			                           .end = list[i].end,
			                           .behind = list[i].end - list[i].from,
			                           .seconds = PL_UNKNOWN };
		if (p->behind == 0)
			p->seconds = 0;
		else if (list[i].event_at_us)
			p->seconds = larger(0, (double)(now_us - list[i].event_at_us) / 1e6);
	}
	lag->partitions = partitions;
	lag->npartitions = n;
}

static int look_at_group(struct pl_lag_facts *facts, struct pl_lag_of_region *lag, struct pl_offsets *offsets,
                         struct pl_offset *list, int n)
{
	int rc = pl_offsets_committed(offsets, lag->region_session->region, list, n, &facts->broker_err);
	if (rc)
		return rc;
	for (int i = 0; i < n; i++) {
		int64_t from = pl_lag_facts_from(&list[i], applied_of(lag, &list[i]));
		if (from != list[i].from) // else it is the message found for the previous region
			list[i].event_at_us = 0;
		list[i].from = from;
	}
	pl_offsets_times(offsets, list, n);
	take_offsets(lag, list, n, pl_now_us(), facts->arena);
	return 0;
}

static void look_at_kafka(struct pl_lag_facts *facts, struct pl_offsets *offsets)
{
	struct pl_offset *list = NULL;
	int n = pl_offsets_ends(offsets, &list, &facts->broker_err);
	int rc = n < 0 ? n : 0;
	for (int i = 0; i < facts->n && !rc; i++)
		rc = look_at_group(facts, &facts->each[i], offsets, list, n);
	facts->broker = rc == 0;
	free(list);
}

// ---- the daemons

static double number_of(const cJSON *object, const char *key)
{
	const cJSON *item = pl_json_get(object, key);
	const char *text = item ? pl_json_number_text(item) : NULL;
	return text ? strtod(text, NULL) : PL_UNKNOWN;
}

// How long ago the daemon had a heartbeat from an origin; -1: never.
static int64_t heard_us_of(const cJSON *origin, int64_t now_us)
{
	const char *text = pl_json_string(origin, "last_heartbeat_at");
	int64_t at_us;
	if (!text || pl_clock_parse_time(text, strlen(text), &at_us))
		return -1;
	return now_us > at_us ? now_us - at_us : 0;
}

// What a daemon's report says beyond its seconds.
static enum pl_lag_state state_of(const char *text)
{
	static const enum pl_lag_state states[] = { PL_LAG_UNKNOWN, PL_LAG_REBUILDING, PL_LAG_GAP };
	for (size_t i = 0; text && i < sizeof(states) / sizeof(states[0]); i++)
		if (strcmp(text, pl_lag_facts_state_name(states[i])) == 0)
			return states[i];
	return PL_LAG_OK;
}

static void take_daemons_word(struct pl_lag_of_region *lag, const cJSON *json)
{
	const cJSON *origins = pl_json_get(json, "origins");
	lag->daemon_seconds = number_of(json, "lag_seconds");
	lag->events_behind = (int64_t)number_of(json, "events_behind");
	for (int i = 0; i < lag->norigins; i++) {
		const cJSON *origin = origins ? pl_json_get(origins, lag->origins[i].origin->name) : NULL;
		if (!origin)
			continue;
		lag->origins[i].seconds = number_of(origin, "lag_seconds");
		lag->origins[i].events_behind = (int64_t)number_of(origin, "events_behind");
		lag->origins[i].said = state_of(pl_json_string(origin, "state"));
		if (lag->origins[i].heard_us < 0) // the database could not be queried
			lag->origins[i].heard_us = heard_us_of(origin, pl_now_us());
	}
}

static void look_at_daemon(struct pl_invocation *invocation, struct pl_lag_of_region *lag)
{
	static const struct pl_json_limits limits = { PL_ANSWER_MAX, 16, 100000 };
	struct pl_buf body = { 0 };
	char path[PL_REGION_MAX + 32];
	snprintf(path, sizeof(path), "/%s/replication-lag", lag->region_session->region->name);
	lag->daemon_seconds = PL_UNKNOWN;
	lag->events_behind = -1;
	int status = pl_daemon_get(invocation->config, lag->region_session->region, path,
	                           pl_invocation_timeout_us(invocation), &body, &lag->daemon_err);
	cJSON *json = status == 200 ? pl_json_parse(body.data, body.len, &limits, &lag->daemon_err) : NULL;
	if (status > 0 && status != 200)
		pl_error_set(&lag->daemon_err, PL_EUNAVAIL, "GET %s answers %d", path, status);
	lag->daemon = json != NULL;
	if (json)
		take_daemons_word(lag, json);
	cJSON_Delete(json);
	pl_buf_fini(&body);
}

// ---- judging the facts

static const struct pl_lag_of_region *facts_of(const struct pl_lag_facts *facts,
                                               const struct pl_region *region)
{
	for (int i = 0; i < facts->n; i++)
		if (facts->each[i].region_session->region == region)
			return &facts->each[i];
	return NULL;
}

static void judge_origin(const struct pl_lag_facts *facts, const struct pl_config *config,
                         struct pl_lag_of_region *lag, struct pl_lag_of_origin *origin, double max_seconds)
{
	const struct pl_lag_of_region *there = facts_of(facts, origin->origin);
	// The origin itself knows best what is in its outbox; a heartbeat is older.
	if (there && there->outbox_events >= 0) {
		origin->outbox_events = there->outbox_events;
		// An empty outbox says nothing about events that wait in Kafka.
		if (there->outbox_events > 0 || facts->broker)
			origin->seconds = larger(origin->seconds, (double)there->outbox_us / 1e6);
	}
	// Without the daemon, nobody knows which region the waiting messages come from,
	// so they count for every origin.
	for (int i = 0; i < lag->npartitions && !lag->daemon; i++)
		origin->seconds = larger(origin->seconds, lag->partitions[i].seconds);
	int64_t events =
		origin->events_behind > origin->outbox_events ? origin->events_behind : origin->outbox_events;
	origin->state = pl_lag_facts_judge(facts->broker, events, origin->seconds, max_seconds);
	if (origin->state < origin->said)
		origin->state = origin->said;
	if (origin->state < PL_LAG_SILENT && pl_lag_facts_is_silent(config, origin->heard_us))
		origin->state = PL_LAG_SILENT;
}

static void judge_region(const struct pl_lag_facts *facts, const struct pl_config *config,
                         struct pl_lag_of_region *lag, double max_seconds)
{
	int64_t behind = 0, by_origin = 0;
	lag->seconds = lag->daemon_seconds;
	lag->state = pl_lag_facts_judge(facts->broker, lag->events_behind, lag->daemon_seconds, max_seconds);
	for (int i = 0; i < lag->npartitions; i++) {
		struct pl_lag_of_partition *p = &lag->partitions[i];
		p->state = pl_lag_facts_judge(facts->broker, p->behind, p->seconds, max_seconds);
		lag->seconds = larger(lag->seconds, p->seconds);
		lag->state = p->state > lag->state ? p->state : lag->state;
		behind += p->behind > 0 ? p->behind : 0;
	}
	for (int i = 0; i < lag->norigins; i++) {
		struct pl_lag_of_origin *origin = &lag->origins[i];
		judge_origin(facts, config, lag, origin, max_seconds);
		lag->seconds = larger(lag->seconds, origin->seconds);
		lag->state = origin->state > lag->state ? origin->state : lag->state;
		behind += !lag->daemon && origin->outbox_events > 0 ? origin->outbox_events : 0;
		by_origin += origin->events_behind > 0 ? origin->events_behind : 0;
	}
	// The daemon computed the total and its parts at slightly different times.
	if (lag->daemon)
		lag->events_behind = by_origin > lag->events_behind ? by_origin : lag->events_behind;
	else if (facts->broker)
		lag->events_behind = behind;
}

void pl_lag_facts_look(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                       struct pl_offsets *offsets, double max_seconds, struct pl_lag_facts *facts)
{
	pl_lag_facts_fini(facts);
	facts->arena = pl_arena_new(0);
	facts->n = sessions->n;
	facts->each = pl_arena_alloc(facts->arena, (size_t)sessions->n * sizeof(*facts->each));
	for (int i = 0; i < facts->n; i++) {
		facts->each[i].region_session = &sessions->each[i];
		look_at_database(&facts->each[i], invocation->config, facts->arena);
	}
	look_at_kafka(facts, offsets);
	for (int i = 0; i < facts->n; i++)
		look_at_daemon(invocation, &facts->each[i]);
	for (int i = 0; i < facts->n; i++)
		judge_region(facts, invocation->config, &facts->each[i], max_seconds);
}

void pl_lag_facts_fini(struct pl_lag_facts *facts)
{
	pl_arena_free(&facts->arena);
	memset(facts, 0, sizeof(*facts));
}
