// Asking and serving: a region that lacks records asks the others to publish again what
// they hold, and publishes what others ask it for.
//
// Asks and their answers travel in heartbeats (plist_word), so nothing has to be
// configured, and the databases need not reach each other. An ask has an id. The region
// that serves it republishes record by record (compare/republish), notes its newest
// sequence numbers before and after (served_asks), and reports both. The region that
// asked has everything once it has received the messages between these numbers.
//
// Work that a daemon leaves unfinished is continued where it stopped. Only the daemon
// that publishes for its region serves asks.
//
// A region asks about a gap if the origin no longer has what is missing: its first mark
// is beyond what was received here, so its relay cannot go back to it
// (relay/relay_marks.c). It asks for all records, not for those written since the last
// message before the gap: that would be a time of one clock compared with times of
// others, and a clock that was wrong meanwhile would leave records out, for good and
// without a word. Threads: the healing thread.
#include "heal/heal_private.h"

#include <stdio.h>

#define LOOK_US  (SECOND / 2)
#define PIECE_US (SECOND / 4)
#define STEPS    20

static int run(struct pl_heal *heal, const char *sql, int n, const char *const *params, struct pl_error *err)
{
	PGresult *result = pl_session_exec(heal->session, sql, n, params, err);

	if (!result)
		return err->code;
	PQclear(result);
	return 0;
}

// ---- serving

static const char next_ask[] =
	"SELECT a ->> 'id', h.region, a ->> 'since' FROM plist.region_heartbeats AS h CROSS JOIN LATERAL "
	"jsonb_array_elements(h.word -> 'asks') AS a WHERE h.region = ANY ($2::text[]) AND a ->> 'of' = $1 "
	"AND h.heard_at > "
	"now() - interval '1 minute' AND NOT EXISTS (SELECT FROM plist.served_asks AS s WHERE s.id = a ->> "
	"'id' AND s.outbox_to IS NOT NULL) ORDER BY h.region, 1 LIMIT 1";

static const char begin_ask[] =
	"INSERT INTO plist.served_asks (id, for_region, written_since, published_from) VALUES ($1, $2, "
	"$3::timestamptz, coalesce((SELECT published FROM plist.outbox_marks ORDER BY id DESC "
	"LIMIT 1), '{}')) "
	"ON CONFLICT DO NOTHING";

// Asks that have been published completely: the newest mark covers all rows but those
// that Kafka refuses. There is no mark as long as this region has never published
// anything.
static const char settle_asks[] =
	"UPDATE plist.served_asks AS s SET published_to = coalesce(m.published, '{}'), done_at = "
	"clock_timestamp() FROM (SELECT) AS one LEFT JOIN (SELECT floor_id, published FROM "
	"plist.outbox_marks ORDER BY id DESC LIMIT 1) AS m ON true WHERE s.done_at IS NULL AND s.outbox_to "
	"IS NOT NULL AND NOT EXISTS (SELECT FROM plist.outbox AS o WHERE o.id > coalesce(m.floor_id, 0) AND "
	"o.id <= s.outbox_to AND o.refused_at IS NULL)";

static int begin(struct pl_heal *heal, struct pl_error *err)
{
	struct pl_buf list = { 0 };
	const char *params[3] = { heal->region->name, pl_heal_others(heal, &list) };
	PGresult *result = pl_session_exec(heal->session, next_ask, 2, params, err);
	int code = 0;

	pl_buf_fini(&list);
	if (!result)
		return err->code;
	heal->serving[0] = '\0';
	if (PQntuples(result) == 1) {
		snprintf(heal->serving, sizeof(heal->serving), "%s", PQgetvalue(result, 0, 0));
		snprintf(heal->serving_region, sizeof(heal->serving_region), "%s", PQgetvalue(result, 0, 1));
		snprintf(heal->serving_since, sizeof(heal->serving_since), "%s", PQgetvalue(result, 0, 2));
		params[0] = heal->serving;
		params[1] = heal->serving_region;
		params[2] = heal->serving_since[0] ? heal->serving_since : NULL;
		code = run(heal, begin_ask, 3, params, err);
		heal->serving_resource = 0;
		heal->served_records = 0;
		heal->republishing = false;
		pl_notice("heal: region %s asks for what this region holds%s%s; publishing it again",
		          heal->serving_region, heal->serving_since[0] ? " and was written since " : "",
		          heal->serving_since);
	}
	PQclear(result);
	return code;
}

static int begin_resource(struct pl_heal *heal, struct pl_error *err)
{
	struct pl_republish *r = &heal->republish;

	snprintf(heal->selection, sizeof(heal->selection),
	         "for %s: "
	         "%s",
	         heal->serving_region, heal->serving);
	pl_republish_fini(r);
	*r = (struct pl_republish){
		.resource = &heal->config->resources[heal->serving_resource],
		.region = heal->region,
		.session = heal->session,
		.selection = { .first = 0,
		               .last = INT64_MAX,
		               .since = heal->serving_since[0] ? heal->serving_since : NULL,
		               .name = heal->selection },
	};
	heal->republishing = true;
	return pl_republish_begin(r, err);
}

static int note(struct pl_heal *heal, bool all, struct pl_error *err)
{
	char records[24], total[24];
	const char *params[4] = { heal->serving, records, total, all ? "t" : "f" };

	snprintf(records, sizeof(records), "%lld",
	         (long long)(heal->served_records + heal->republish.records));
	snprintf(total, sizeof(total), "%lld", (long long)(heal->served_records + heal->republish.total));
	return run(heal,
	           "UPDATE plist.served_asks SET records = $2::bigint, total = greatest(total, "
	           "$3::bigint), "
	           "outbox_to = CASE WHEN $4::boolean THEN plist.plist_outbox_high() END WHERE id = $1",
	           4, params, err);
}

// Begins with the next resource, or ends.
static int next(struct pl_heal *heal, struct pl_error *err)
{
	bool all = ++heal->serving_resource >= heal->config->nresources;
	int code = note(heal, all, err);

	heal->served_records += heal->republish.records;
	heal->republish.records = heal->republish.total = 0;
	heal->republishing = false;
	if (!all || code < 0)
		return code;
	pl_notice("heal: %lld records were published again for region %s", (long long)heal->served_records,
	          heal->serving_region);
	heal->serving[0] = '\0';
	pthread_mutex_lock(&heal->lock);
	heal->stats.served++;
	pthread_mutex_unlock(&heal->lock);
	return 0;
}

static void say_waiting(struct pl_heal *heal)
{
	const struct pl_republish *r = &heal->republish;

	if (r->waiting && pl_log_limit_ok(&heal->waiting_limit, 10 * SECOND))
		pl_warning(
			"heal: other sessions have locked %d records of %s, %lld among them, which region %s "
			"waits for",
			r->nleft, r->resource->name, (long long)r->left[0], heal->serving_region);
}

int pl_heal_serve(struct pl_heal *heal, bool *busy_r, struct pl_error *err)
{
	int64_t until_us = pl_mono_us() + PIECE_US;
	bool done = false;
	int code;

	if (!heal->options.leads(heal->options.arg)) {
		heal->serving[0] = '\0';
		return 0;
	}
	if (!heal->serving[0]) {
		if (pl_mono_us() < heal->asks_at_us)
			return 0;
		heal->asks_at_us = pl_mono_us() + LOOK_US;
		if ((code = run(heal, settle_asks, 0, NULL, err)) < 0 || (code = begin(heal, err)) < 0 ||
		    !heal->serving[0])
			return code;
	}
	if (!heal->republishing && (code = begin_resource(heal, err)) < 0)
		return code;
	for (int i = 0; i < STEPS && !done && !heal->republish.waiting && pl_mono_us() < until_us; i++)
		if ((code = pl_republish_step(&heal->republish, &done, err)) < 0)
			return code;
	*busy_r = !heal->republish.waiting;
	say_waiting(heal);
	heal->republish.waiting = false;
	return done ? next(heal, err) : note(heal, false, err);
}

// ---- asking

// Finds partitions whose origin no longer keeps the events that are missing here.
static const char gaps_sql[] =
	"SELECT DISTINCT s.origin FROM plist.applied_sequences AS s JOIN plist.region_heartbeats AS h ON "
	"h.region = s.origin WHERE h.heard_at > now() - interval '1 minute' AND "
	"s.seq < coalesce(substring(split_part(h.word -> 'base' ->> s.topic, ',', s.partition + 1) FROM "
	"'^[0-9]{1,18}')::bigint, 0) AND (s.chain_to > 0 OR s.level) AND NOT EXISTS (SELECT FROM plist.asks "
	"AS a WHERE a.of_region = s.origin AND a.done_at IS NULL)";

static int ask_for_gaps(struct pl_heal *heal, struct pl_error *err)
{
	PGresult *result = pl_session_exec(heal->session, gaps_sql, 0, NULL, err);
	int code = 0;

	if (!result)
		return err->code;
	for (int i = 0; i < PQntuples(result) && code == 0; i++) {
		const char *params[1] = { PQgetvalue(result, i, 0) };

		pl_warning("heal: region %s no longer keeps events that are missing here; asking it to "
		           "publish again all that it holds",
		           params[0]);
		code = run(heal, "SELECT plist.plist_ask(ARRAY[$1::text], 'gap', NULL)", 1, params, err);
		pthread_mutex_lock(&heal->lock);
		heal->stats.asked++;
		pthread_mutex_unlock(&heal->lock);
	}
	PQclear(result);
	return code;
}

int pl_heal_ask(struct pl_heal *heal, struct pl_error *err)
{
	int code;

	if (!heal->was_settled || pl_mono_us() < heal->ask_at_us || !heal->options.leads(heal->options.arg))
		return 0;
	heal->ask_at_us = pl_mono_us() + SECOND;
	if ((code = run(heal, "SELECT plist.plist_take_served()", 0, NULL, err)) < 0)
		return code;
	return heal->config->repair == PL_REPAIR_AUTOMATIC ? ask_for_gaps(heal, err) : 0;
}
