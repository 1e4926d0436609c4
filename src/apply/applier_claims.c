// How an applier follows its claims: it begins to read the partitions that it should, and
// gives up those that it should not.
//
// Called by apply/applier between two batches. Partitions that stay keep their messages.
// Those without a leader are given up, too, and read again when they have one.
// Threads: the applier's.
#include "apply/applier_private.h"

// The daemon that had the partition before may have ended in the middle of a transaction
// that set its position. That has been rolled back or committed by then.
#define REWRITE_US (8 * SECOND)

static rd_kafka_topic_partition_list_t *read_now(const struct pl_applier *applier)
{
	const struct pl_fetch_buffer *buffer = &applier->buffer;
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(buffer->npartitions);

	for (int i = 0; i < buffer->npartitions; i++)
		rd_kafka_topic_partition_list_add(list, buffer->partitions[i].topic,
		                                  buffer->partitions[i].partition);
	return list;
}

static bool has(const rd_kafka_topic_partition_list_t *list, const rd_kafka_topic_partition_t *p)
{
	return rd_kafka_topic_partition_list_find((rd_kafka_topic_partition_list_t *)list, p->topic,
	                                          p->partition) != NULL;
}

// Those of `list` that are not in `others` and, if they are to be read, are known to this
// configuration.
static rd_kafka_topic_partition_list_t *without(const rd_kafka_topic_partition_list_t *list,
                                                const rd_kafka_topic_partition_list_t *others,
                                                const struct pl_config *config)
{
	rd_kafka_topic_partition_list_t *rest = rd_kafka_topic_partition_list_new(list->cnt);

	for (int i = 0; i < list->cnt; i++)
		if (!has(others, &list->elems[i]) &&
		    (!config || pl_config_resource_of_topic(config, list->elems[i].topic)))
			rd_kafka_topic_partition_list_add(rest, list->elems[i].topic,
			                                  list->elems[i].partition);
	return rest;
}

// Our own events in them may have moved them on since the last second.
static void write_positions(struct pl_applier *applier)
{
	struct pl_positions positions = { &applier->buffer, applier->consumer, &applier->tools,
		                          applier->arena };
	struct pl_error ignored;

	if (applier->unchecked || !pl_session_connected(applier->tools.session) ||
	    !pl_claims_hold(applier->claims))
		return;
	pl_arena_reset(applier->arena);
	pl_positions_flush(&positions, &ignored);
}

static int give_up(struct pl_applier *applier, const rd_kafka_topic_partition_list_t *removed,
                   struct pl_error *err)
{
	int code;

	write_positions(applier);
	if ((code = pl_consumer_remove(applier->consumer, removed, err)) < 0)
		return code;
	for (int i = 0; i < removed->cnt; i++)
		pl_fetch_buffer_remove(&applier->buffer, removed->elems[i].topic,
		                       removed->elems[i].partition);
	pl_applier_read_again(applier);
	pl_info("gave up %d partitions", removed->cnt);
	return 0;
}

static int begin(struct pl_applier *applier, const rd_kafka_topic_partition_list_t *added,
                 struct pl_error *err)
{
	int code = pl_consumer_add(applier->consumer, added, err);

	if (code < 0)
		return code;
	for (int i = 0; i < added->cnt; i++)
		pl_fetch_buffer_add(&applier->buffer, added->elems[i].topic, added->elems[i].partition);
	applier->unchecked = true;
	applier->rewrite_at_us = pl_mono_us() + REWRITE_US;
	pl_info("assigned %d partitions", added->cnt);
	return 0;
}

static int64_t leaderless_since(const struct pl_applier *applier, const rd_kafka_topic_partition_t *p)
{
	return pl_leaderless_since(&applier->leaderless, p->topic, p->partition);
}

static bool track_if_leaderless(const struct pl_applier *applier, const rd_kafka_topic_partition_t *p,
                                struct pl_lag_tracker_partition *tracked_r)
{
	*tracked_r = (struct pl_lag_tracker_partition){ .topic = p->topic,
		                                        .partition = p->partition,
		                                        .next = -1,
		                                        .end = -1,
		                                        .unread_since_us = leaderless_since(applier, p) };
	return tracked_r->unread_since_us > 0;
}

// What it should read and can: see leaderless.h.
static rd_kafka_topic_partition_list_t *readable(const struct pl_applier *applier)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(applier->wanted->cnt);

	for (int i = 0; i < applier->wanted->cnt; i++)
		if (leaderless_since(applier, &applier->wanted->elems[i]) == 0)
			rd_kafka_topic_partition_list_add(list, applier->wanted->elems[i].topic,
			                                  applier->wanted->elems[i].partition);
	return list;
}

// Reports what is read now, and what should be and cannot.
static void tell(struct pl_applier *applier)
{
	const struct pl_fetch_buffer *buffer = &applier->buffer;
	rd_kafka_topic_partition_list_t *now = read_now(applier);
	int n = buffer->npartitions, most = n + (applier->wanted ? applier->wanted->cnt : 0);
	struct pl_lag_tracker_partition *tracked = pl_calloc((size_t)most + 1, sizeof(tracked[0]));

	for (int i = 0; i < buffer->npartitions; i++)
		tracked[i] = (struct pl_lag_tracker_partition){ .topic = buffer->partitions[i].topic,
			                                        .partition = buffer->partitions[i].partition,
			                                        .next = buffer->partitions[i].next,
			                                        .end = -1 };
	for (int i = 0; applier->wanted && i < applier->wanted->cnt; i++)
		n += track_if_leaderless(applier, &applier->wanted->elems[i], &tracked[n]);
	pl_lag_tracker_assign(applier->tracker, applier->index, tracked, n);
	NOTE(applier, leaderless, n - buffer->npartitions);
	free(tracked);
	pl_claims_has(applier->claims, applier->index, now);
	rd_kafka_topic_partition_list_destroy(now);
	NOTE(applier, partitions, buffer->npartitions);
}

static int change(struct pl_applier *applier, struct pl_error *err)
{
	rd_kafka_topic_partition_list_t *now = read_now(applier), *readable_now = readable(applier),
					*removed = without(now, readable_now, NULL),
					*added = without(readable_now, now, applier->config);
	int code = 0;

	if (removed->cnt > 0)
		code = give_up(applier, removed, err);
	if (code == 0 && added->cnt > 0)
		code = begin(applier, added, err);
	if (removed->cnt > 0 || added->cnt > 0 || readable_now->cnt < applier->wanted->cnt) {
		tell(applier);
		pl_applier_report_progress(applier);
	}
	rd_kafka_topic_partition_list_destroy(now);
	rd_kafka_topic_partition_list_destroy(readable_now);
	rd_kafka_topic_partition_list_destroy(removed);
	rd_kafka_topic_partition_list_destroy(added);
	return code;
}

void pl_applier_follow_claims(struct pl_applier *applier)
{
	rd_kafka_topic_partition_list_t *wanted =
		pl_claims_wanted(applier->claims, applier->index, &applier->claims_seen);
	struct pl_error err = { 0 };

	if (wanted) {
		if (applier->wanted)
			rd_kafka_topic_partition_list_destroy(applier->wanted);
		applier->wanted = wanted;
		applier->follows = false;
	}
	if (applier->wanted && !applier->follows) {
		if (change(applier, &err) == 0)
			applier->follows = true;
		else if (pl_log_limit_ok(&applier->kafka_limit, 10 * SECOND))
			pl_warning("%s; trying again", err.text);
	}
	if (applier->follows && !atomic_load(&applier->stats.assigned) &&
	    pl_claims_settled(applier->claims, applier->index)) {
		NOTE(applier, assigned, true);
		pl_applier_note_trouble(applier, "");
	}
}

void pl_applier_rewrite_positions(struct pl_applier *applier)
{
	if (applier->rewrite_at_us == 0 || pl_mono_us() < applier->rewrite_at_us)
		return;
	applier->rewrite_at_us = 0;
	for (int i = 0; i < applier->buffer.npartitions; i++)
		applier->buffer.partitions[i].dirty |= applier->buffer.partitions[i].next >= 0;
}

// With another consumer, everything is read again from the group's offsets.
void pl_applier_give_up_partitions(struct pl_applier *applier)
{
	pl_fetch_buffer_assign(&applier->buffer, NULL);
	pl_applier_read_again(applier);
	tell(applier);
	applier->follows = false;
	NOTE(applier, assigned, false);
}
