// The messages at hand: those of the batch, and those that came while it was being written.
//
// Threads: a lane's.
#include "replicate/hand.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define PAST_US (60 * INT64_C(1000000)) // within which a rebalance ends; a partition that comes back later was read by another daemon meanwhile

void pl_hand_init(struct pl_hand *hand)
{
	memset(hand, 0, sizeof *hand);
	hand->now.arena = pl_arena_new(64 * 1024);
	hand->ahead.arena = pl_arena_new(64 * 1024);
	hand->done.arena = pl_arena_new(64 * 1024);
}

static void drop(struct pl_held *held)
{
	for (int i = 0; i < held->n; i++)
		rd_kafka_message_destroy(held->raw[i]);
	held->n = 0;
	held->bytes = 0;
	pl_arena_reset(held->arena);
}

void pl_hand_sweep(struct pl_hand *hand)
{
	drop(&hand->done);
}

void pl_hand_drop(struct pl_hand *hand)
{
	drop(&hand->done);
	drop(&hand->ahead);
	if (hand->writing)
		hand->orphaned = true;
	else
		drop(&hand->now);
}

static void free_partitions(struct pl_hand_partition **partitions, int *n)
{
	for (int i = 0; i < *n; i++)
		free((*partitions)[i].topic);
	free(*partitions);
	*partitions = NULL;
	*n = 0;
}

static void put_partitions_by(struct pl_hand *hand)
{
	if (hand->npartitions == 0)
		return; // between a revocation and an assignment
	free_partitions(&hand->past, &hand->npast);
	hand->past = hand->partitions;
	hand->npast = hand->npartitions;
	hand->past_us = pl_mono_us();
	hand->partitions = NULL;
	hand->npartitions = 0;
}

static struct pl_hand_partition *find(struct pl_hand_partition *partitions, int n, const char *topic, int32_t partition)
{
	for (int i = 0; i < n; i++)
		if (partitions[i].partition == partition && strcmp(partitions[i].topic, topic) == 0)
			return &partitions[i];
	return NULL;
}

static int64_t latest_before(const struct pl_hand *hand, const char *topic, int32_t partition)
{
	const struct pl_hand_partition *p = find(hand->past, hand->npast, topic, partition);

	return p && pl_mono_us() - hand->past_us < PAST_US ? p->latest_ms : 0;
}

static void fini(struct pl_held *held)
{
	drop(held);
	free(held->raw);
	free(held->messages);
	pl_arena_free(&held->arena);
}

void pl_hand_fini(struct pl_hand *hand)
{
	fini(&hand->now);
	fini(&hand->ahead);
	fini(&hand->done);
	free_partitions(&hand->partitions, &hand->npartitions);
	free_partitions(&hand->past, &hand->npast);
}

struct pl_held *pl_hand_open(struct pl_hand *hand)
{
	return hand->writing || hand->ahead.n > 0 ? &hand->ahead : &hand->now;
}

void pl_hand_take(struct pl_hand *hand, rd_kafka_message_t *message)
{
	struct pl_held *held = pl_hand_open(hand);

	if (held->n == held->cap) {
		held->cap = held->cap ? 2 * held->cap : 1024;
		held->raw = pl_realloc(held->raw, sizeof held->raw[0] * (size_t)held->cap);
		held->messages = pl_realloc(held->messages, sizeof held->messages[0] * (size_t)held->cap);
	}
	held->raw[held->n] = message;
	pl_consumer_message(held->arena, message, &held->messages[held->n++]);
	held->bytes += message->len + message->key_len;
}

void pl_hand_assign(struct pl_hand *hand, const rd_kafka_topic_partition_list_t *partitions)
{
	pl_hand_drop(hand);
	put_partitions_by(hand);
	if (!partitions || partitions->cnt == 0)
		return;
	hand->npartitions = partitions->cnt;
	hand->partitions = pl_calloc((size_t)partitions->cnt, sizeof hand->partitions[0]);
	for (int i = 0; i < partitions->cnt; i++)
		hand->partitions[i] = (struct pl_hand_partition){
			.topic = pl_strdup(partitions->elems[i].topic), .partition = partitions->elems[i].partition, .next = -1, .newer = -1,
			.latest_ms = latest_before(hand, partitions->elems[i].topic, partitions->elems[i].partition),
		};
}

struct pl_hand_partition *pl_hand_find(struct pl_hand *hand, const char *topic, int32_t partition)
{
	return find(hand->partitions, hand->npartitions, topic, partition);
}

void pl_hand_doubt(struct pl_hand *hand, struct pl_held *held)
{
	for (int i = 0; i < held->n; i++) {
		const struct pl_hand_partition *p = pl_hand_find(hand, held->messages[i].topic, held->messages[i].partition);

		held->messages[i].unsure = p && held->messages[i].offset < p->unsure_until;
	}
}

void pl_hand_begin(struct pl_hand *hand)
{
	hand->writing = true;
	hand->orphaned = false;
}

// What came ahead is the batch.
static void advance(struct pl_hand *hand)
{
	struct pl_held empty = hand->done;

	drop(&empty);
	hand->writing = hand->orphaned = false;
	hand->done = hand->now;
	hand->now = hand->ahead;
	hand->ahead = empty;
}

bool pl_hand_failed(struct pl_hand *hand)
{
	bool ours = !hand->orphaned;

	hand->writing = false;
	if (!ours)
		advance(hand);
	return ours;
}

static bool has_messages_of(const struct pl_held *held, const struct pl_hand_partition *p)
{
	for (int i = 0; i < held->n; i++)
		if (held->messages[i].partition == p->partition && strcmp(held->messages[i].topic, p->topic) == 0)
			return true;
	return false;
}

void pl_hand_done(struct pl_hand *hand, struct pl_consumer *consumer, bool in_database)
{
	for (int i = 0; i < hand->now.n && !hand->orphaned; i++) {
		struct pl_hand_partition *p = pl_hand_find(hand, hand->now.messages[i].topic, hand->now.messages[i].partition);

		if (!p)
			continue;
		p->next = hand->now.messages[i].offset + 1;
		if (hand->now.messages[i].broker_time_us / 1000 > p->latest_ms)
			p->latest_ms = hand->now.messages[i].broker_time_us / 1000;
		p->dirty = !in_database;
	}
	for (int i = 0; i < hand->npartitions && !hand->orphaned; i++)
		if (has_messages_of(&hand->now, &hand->partitions[i]))
			pl_consumer_store(consumer, hand->partitions[i].topic, hand->partitions[i].partition, hand->partitions[i].next);
	advance(hand);
}
