// Positions that other regions report, compared with the numbers that were received.
//
// "Every row of us's outbox up to id 120 was published, in topic properties by the
// numbers 900, 870, …": when this region has received these numbers without a gap, it has
// applied all those rows, and has reached the position. The numbers of all daemons of the
// region count, so they are read from the database.
//
// A number says this only within a run of the relay. When the relay has started or gone
// back (a broker has lost messages), it sends rows again under new numbers, each
// partition's first one following a number of an earlier run. A region that has received
// nothing behind that earlier number takes the new message as its successor, and would
// believe that it has the numbers between, which were lost. The header plist-run of that
// message says where the new run begins. A position that came with a lower number in that
// partition is not believed from then on; the relay reports it again with numbers of the
// new run.
#include "apply/reached.h"

#include <string.h>

#include "base/clock.h"

#define PARKED_US 1000000 // between two attempts while an event is parked

void pl_reached_fini(struct pl_reached *reached)
{
	for (int i = 0; i < PL_REGIONS_MAX; i++)
		for (int j = 0; j < reached->of[i].n; j++)
			pl_sequence_fini(&reached->of[i].told[j].published);
	memset(reached, 0, sizeof(*reached));
}

static struct pl_reached_region *region_of(struct pl_reached *reached, const char *name)
{
	for (int i = 0; i < PL_REGIONS_MAX; i++) {
		struct pl_reached_region *region = &reached->of[i];

		if (region->region[0] == '\0')
			strcpy(region->region, name);
		if (strcmp(region->region, name) == 0)
			return region;
	}
	return NULL;
}

static struct pl_outbox_place passed_by(const struct pl_heartbeat_position *told)
{
	return (struct pl_outbox_place){ told->position.generation, told->passed };
}

static bool is_other(const struct pl_config *config, const char *own, const char *name)
{
	return strcmp(name, own) != 0 && pl_config_region(config, name, strlen(name));
}

void pl_reached_take(struct pl_reached *reached, const struct pl_config *config, const char *own,
                     const rd_kafka_message_t *message)
{
	struct pl_heartbeat_position told;
	struct pl_reached_region *region;
	struct pl_outbox_place passed;

	if (!message->payload ||
	    pl_heartbeat_parse_position(message->payload, message->len, pl_now_us(), &told) < 0)
		return;
	region = is_other(config, own, told.region) ? region_of(reached, told.region) : NULL;
	passed = passed_by(&told);
	if (!region || (!pl_sequence_place_is_later(&told.position, &region->reached) &&
	                !pl_sequence_place_is_later(&passed, &region->passed))) {
		pl_sequence_fini(&told.published);
		return;
	}
	if (region->n == PL_REACHED_TOLD_MAX)
		pl_sequence_fini(&region->told[--region->n].published);
	region->told[region->n++] = told;
	reached->look_at_us = 0;
}

bool pl_reached_pending(const struct pl_reached *reached)
{
	for (int i = 0; i < PL_REGIONS_MAX; i++)
		if (reached->of[i].n > 0)
			return true;
	return false;
}

bool pl_reached_due(const struct pl_reached *reached, int64_t now_us)
{
	return now_us >= reached->look_at_us && pl_reached_pending(reached);
}

bool pl_reached_is(const struct pl_heartbeat_position *told, struct pl_applied_sequences *sequences)
{
	for (int i = 0; i < told->published.n; i++) {
		const struct pl_sequence_topic *topic = &told->published.topics[i];

		for (int j = 0; j < topic->n; j++) {
			int64_t published = topic->partitions[j].seq;
			const struct pl_sequence *known;

			if (published == 0)
				continue;
			known = pl_sequences_find(sequences, told->region, topic->name, j);
			if (!known || known->seq < published || known->run > published)
				return false;
		}
	}
	return true;
}

static void drop_told(struct pl_reached_region *region, int n)
{
	for (int i = 0; i < n; i++)
		pl_sequence_fini(&region->told[i].published);
	region->n -= n;
	memmove(&region->told[0], &region->told[n], sizeof(region->told[0]) * (size_t)region->n);
}

// Returns whether the database takes it, or a code.
static int write_down(const struct pl_reached_region *region, const struct pl_outbox_place *place,
                      struct pl_session *session, struct pl_error *err)
{
	int taken;
	char generation[24], id[24];
	const char *params[3] = { region->region, generation, id };
	PGresult *result;

	snprintf(generation, sizeof(generation), "%lld", (long long)place->generation);
	snprintf(id, sizeof(id), "%lld", (long long)place->id);
	result = pl_session_exec_prepared(session, "apply_reach", 3, params, err);
	if (!result)
		return err->code;
	taken = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return taken;
}

// The newest position that was reached; earlier ones add nothing. While an event is
// parked, it is kept, and tried again.
static int look_at(struct pl_reached_region *region, struct pl_applied_sequences *sequences,
                   struct pl_session *session, bool *taken_r, struct pl_error *err)
{
	int at = region->n - 1, code = 1;
	struct pl_outbox_place passed;

	while (at >= 0 && !pl_reached_is(&region->told[at], sequences))
		at--;
	if (at < 0)
		return 0;
	drop_told(region, at);
	passed = passed_by(&region->told[0]);
	if (pl_sequence_place_is_later(&passed, &region->passed))
		region->passed = passed;
	if (pl_sequence_place_is_later(&region->told[0].position, &region->reached))
		code = write_down(region, &region->told[0].position, session, err);
	*taken_r = code != 0;
	if (code <= 0)
		return code;
	if (pl_sequence_place_is_later(&region->told[0].position, &region->reached))
		region->reached = region->told[0].position;
	drop_told(region, 1);
	return 0;
}

int pl_reached_look(struct pl_reached *reached, struct pl_applied_sequences *sequences,
                    struct pl_session *session, struct pl_error *err)
{
	int code = pl_sequences_load(sequences, session, err);
	bool taken = true;

	for (int i = 0; i < PL_REGIONS_MAX && code == 0; i++)
		if (reached->of[i].n > 0)
			code = look_at(&reached->of[i], sequences, session, &taken, err);
	reached->look_at_us = pl_mono_us() + (taken ? PL_REACHED_LOOK_MS * 1000 : PARKED_US);
	return code;
}
