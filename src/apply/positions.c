// Positions: see positions.h.
#include "apply/positions.h"

#include <string.h>

#include "base/log.h"

#define ANSWER_MS 3000

int pl_positions_load(const struct pl_positions *p, struct pl_positions_written *written_r,
                      struct pl_error *err)
{
	return pl_apply_rows_where(p->tools->sql, p->tools->session, p->arena, &written_r->of, &written_r->n,
	                           err);
}

// ---- what the broker says

static int64_t written_of(const struct pl_positions_written *written, const struct pl_fetch_partition *p)
{
	for (int i = 0; i < written->n; i++)
		if (written->of[i].partition == p->partition && strcmp(written->of[i].topic, p->topic) == 0)
			return written->of[i].next_offset;
	return -1;
}

static rd_kafka_topic_partition_list_t *partition_list(const struct pl_fetch_buffer *buffer)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(buffer->npartitions);

	for (int i = 0; i < buffer->npartitions; i++)
		rd_kafka_topic_partition_list_add(list, buffer->partitions[i].topic,
		                                  buffer->partitions[i].partition);
	return list;
}

static rd_kafka_topic_partition_list_t *unsettled_list(const struct pl_fetch_buffer *buffer)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(buffer->npartitions);

	for (int i = 0; i < buffer->npartitions; i++)
		if (!buffer->partitions[i].settled)
			rd_kafka_topic_partition_list_add(list, buffer->partitions[i].topic,
			                                  buffer->partitions[i].partition);
	return list;
}

// Where this daemon has read before, it knows better than the group.
static int ask_committed(const struct pl_positions *p, struct pl_error *err)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(p->buffer->npartitions);
	int code = 0;

	for (int i = 0; i < p->buffer->npartitions; i++)
		if (!p->buffer->partitions[i].settled && p->buffer->partitions[i].next < 0)
			rd_kafka_topic_partition_list_add(list, p->buffer->partitions[i].topic,
			                                  p->buffer->partitions[i].partition);
	if (list->cnt > 0)
		code = pl_consumer_committed(p->consumer, list, ANSWER_MS, err);
	for (int i = 0; i < list->cnt && code == 0; i++)
		if (list->elems[i].offset >= 0)
			pl_fetch_buffer_find(p->buffer, list->elems[i].topic, list->elems[i].partition)
				->next = list->elems[i].offset;
	rd_kafka_topic_partition_list_destroy(list);
	return code;
}

// The first offset of each partition, and the end up to which it may hold writes of ours
// that our database has lost.
static int ask_ranges(const struct pl_positions *p, struct pl_error *err)
{
	rd_kafka_topic_partition_list_t *first = unsettled_list(p->buffer),
					*end = rd_kafka_topic_partition_list_copy(first);
	int code = pl_consumer_ask_ends(p->consumer, first, true, ANSWER_MS, err);

	if (code == 0)
		code = pl_consumer_ask_ends(p->consumer, end, false, ANSWER_MS, err);
	for (int i = 0; i < first->cnt && code == 0; i++) {
		struct pl_fetch_partition *partition =
			pl_fetch_buffer_find(p->buffer, first->elems[i].topic, first->elems[i].partition);

		partition->first = first->elems[i].offset;
		partition->unsure_until = end->elems[i].offset;
	}
	rd_kafka_topic_partition_list_destroy(first);
	rd_kafka_topic_partition_list_destroy(end);
	return code;
}

// The offset of the first message that is newer than all that we have read of a
// partition. The group's offset must not be behind it: after a broker has lost its
// disk, librdkafka may commit what it had stored for the old topic into the group of
// the new one.
static int ask_newer(const struct pl_positions *p, struct pl_error *err)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(p->buffer->npartitions);
	int code = 0;

	for (int i = 0; i < p->buffer->npartitions; i++) {
		struct pl_fetch_partition *partition = &p->buffer->partitions[i];

		partition->newer = -1;
		if (!partition->settled && partition->latest_ms > 0 && partition->next > partition->first)
			rd_kafka_topic_partition_list_add(list, partition->topic, partition->partition)
				->offset = partition->latest_ms + 1;
	}
	if (list->cnt > 0)
		code = pl_consumer_since(p->consumer, list, ANSWER_MS, err);
	for (int i = 0; i < list->cnt && code == 0; i++)
		pl_fetch_buffer_find(p->buffer, list->elems[i].topic, list->elems[i].partition)->newer =
			list->elems[i].offset;
	rd_kafka_topic_partition_list_destroy(list);
	return code;
}

// ---- going back

// A position past the end of the topic belongs to an earlier topic of this name, which
// the broker has lost. It says nothing about this one.
static bool is_of_lost_topic(const struct pl_fetch_partition *p, int64_t written)
{
	return written > p->unsure_until;
}

static bool skips_newer(const struct pl_fetch_partition *p)
{
	return p->newer >= 0 && p->newer < p->next;
}

static int64_t start_of(const struct pl_fetch_partition *p, int64_t written)
{
	int64_t start;

	if (p->settled)
		return p->next < p->first ? p->first : p->next;
	start = is_of_lost_topic(p, written) ? p->first : written < p->next ? written : p->next;

	if (skips_newer(p) && p->newer < start)
		start = p->newer;
	return start < p->first ? p->first : start;
}

static bool is_behind(const struct pl_fetch_partition *p, int64_t written)
{
	return start_of(p, written) < p->next;
}

static void log_reason(const struct pl_fetch_partition *p, int64_t written)
{
	if (written >= p->next && !is_of_lost_topic(p, written))
		pl_notice("%s %d: the group's offset is %lld, but the messages from %lld on are newer "
		          "than all that were read; reading from there",
		          p->topic, p->partition, (long long)p->next, (long long)start_of(p, written));
	else
		pl_notice("%s %d: the database has events up to %lld%s, the group up to %lld; reading "
		          "again from %lld",
		          p->topic, p->partition, (long long)(written < 0 ? 0 : written),
		          is_of_lost_topic(p, written) ? " of a topic that no longer exists" : "",
		          (long long)p->next, (long long)start_of(p, written));
}

// Goes back in the partitions in which the database is behind. The buffered messages are
// of all partitions and are dropped, so each partition is placed. By seeking: assigning
// the partitions again soon after the group did can leave librdkafka 2.0 with an
// assignment that it never starts to fetch.
static int go_back(const struct pl_positions *p, const struct pl_positions_written *written,
                   struct pl_error *err)
{
	rd_kafka_topic_partition_list_t *list = partition_list(p->buffer);
	bool back = false;
	int code = 0;

	for (int i = 0; i < list->cnt; i++) {
		const struct pl_fetch_partition *partition = &p->buffer->partitions[i];

		list->elems[i].offset = start_of(partition, written_of(written, partition));
		back |= is_behind(partition, written_of(written, partition));
	}
	if (back)
		code = pl_consumer_place(p->consumer, list, ANSWER_MS, err);
	for (int i = 0; i < list->cnt && back && code == 0; i++) {
		struct pl_fetch_partition *partition = &p->buffer->partitions[i];
		int64_t at = written_of(written, partition);

		if (!is_behind(partition, at))
			continue;
		log_reason(partition, at);
		partition->next = start_of(partition, at);
	}
	if (back && code == 0)
		pl_fetch_buffer_drop(p->buffer);
	rd_kafka_topic_partition_list_destroy(list);
	return code;
}

int pl_positions_settle(const struct pl_positions *p, const struct pl_positions_written *written,
                        struct pl_error *err)
{
	int code;

	if ((code = ask_committed(p, err)) < 0 || (code = ask_ranges(p, err)) < 0 ||
	    (code = ask_newer(p, err)) < 0)
		return code;
	if ((code = go_back(p, written, err)) < 0)
		return code;
	for (int i = 0; i < p->buffer->npartitions; i++)
		p->buffer->partitions[i].settled = true;
	return 0;
}

void pl_positions_unsettle(struct pl_fetch_buffer *buffer)
{
	for (int i = 0; i < buffer->npartitions; i++)
		buffer->partitions[i].settled = false;
}

// ---- writing

int pl_positions_flush(const struct pl_positions *p, struct pl_error *err)
{
	struct pl_fetch_partition *partitions = p->buffer->partitions;
	struct pl_position *positions =
		pl_arena_alloc(p->arena, sizeof(positions[0]) * (size_t)p->buffer->npartitions + 1);
	struct pl_apply_outcome outcome;
	int n = 0, code;

	for (int i = 0; i < p->buffer->npartitions; i++)
		if (partitions[i].dirty)
			positions[n++] = (struct pl_position){ partitions[i].topic, partitions[i].partition,
				                               partitions[i].next, 0 };
	outcome = (struct pl_apply_outcome){ .positions = positions, .npositions = n };
	if ((code = pl_apply_rows_positions(p->tools->sql, p->tools->session, &outcome, err)) < 0)
		return code;
	for (int i = 0; i < p->buffer->npartitions; i++)
		partitions[i].dirty = false;
	return 0;
}
