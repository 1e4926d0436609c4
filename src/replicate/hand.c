// The messages at hand.
//
// Threads: a lane's.
#include "replicate/hand.h"

#include <stdlib.h>
#include <string.h>

void pl_hand_init(struct pl_hand *hand)
{
	memset(hand, 0, sizeof *hand);
	hand->arena = pl_arena_new(64 * 1024);
}

void pl_hand_drop(struct pl_hand *hand)
{
	for (int i = 0; i < hand->n; i++)
		rd_kafka_message_destroy(hand->raw[i]);
	hand->n = 0;
	hand->bytes = 0;
	pl_arena_reset(hand->arena);
}

static void drop_partitions(struct pl_hand *hand)
{
	for (int i = 0; i < hand->npartitions; i++)
		free(hand->partitions[i].topic);
	free(hand->partitions);
	hand->partitions = NULL;
	hand->npartitions = 0;
}

void pl_hand_fini(struct pl_hand *hand)
{
	pl_hand_drop(hand);
	drop_partitions(hand);
	free(hand->raw);
	free(hand->messages);
	pl_arena_free(&hand->arena);
}

void pl_hand_take(struct pl_hand *hand, rd_kafka_message_t *message)
{
	if (hand->n == hand->cap) {
		hand->cap = hand->cap ? 2 * hand->cap : 1024;
		hand->raw = pl_realloc(hand->raw, sizeof hand->raw[0] * (size_t)hand->cap);
		hand->messages = pl_realloc(hand->messages, sizeof hand->messages[0] * (size_t)hand->cap);
	}
	hand->raw[hand->n] = message;
	pl_consumer_message(hand->arena, message, &hand->messages[hand->n++]);
	hand->bytes += message->len + message->key_len;
}

void pl_hand_assign(struct pl_hand *hand, const rd_kafka_topic_partition_list_t *partitions)
{
	pl_hand_drop(hand);
	drop_partitions(hand);
	if (!partitions || partitions->cnt == 0)
		return;
	hand->npartitions = partitions->cnt;
	hand->partitions = pl_calloc((size_t)partitions->cnt, sizeof hand->partitions[0]);
	for (int i = 0; i < partitions->cnt; i++)
		hand->partitions[i] = (struct pl_hand_partition){
			.topic = pl_strdup(partitions->elems[i].topic), .partition = partitions->elems[i].partition, .next = -1,
		};
}

struct pl_hand_partition *pl_hand_find(struct pl_hand *hand, const char *topic, int32_t partition)
{
	for (int i = 0; i < hand->npartitions; i++)
		if (hand->partitions[i].partition == partition && strcmp(hand->partitions[i].topic, topic) == 0)
			return &hand->partitions[i];
	return NULL;
}

void pl_hand_doubt(struct pl_hand *hand)
{
	for (int i = 0; i < hand->n; i++) {
		const struct pl_hand_partition *p = pl_hand_find(hand, hand->messages[i].topic, hand->messages[i].partition);

		hand->messages[i].unsure = p && hand->messages[i].offset < p->unsure_until;
	}
}

void pl_hand_done(struct pl_hand *hand, struct pl_consumer *consumer, bool in_database)
{
	for (int i = 0; i < hand->n; i++) {
		struct pl_hand_partition *p = pl_hand_find(hand, hand->messages[i].topic, hand->messages[i].partition);

		if (!p)
			continue;
		p->next = hand->messages[i].offset + 1;
		p->dirty = !in_database;
	}
	for (int i = 0; i < hand->npartitions; i++) {
		struct pl_hand_partition *p = &hand->partitions[i];
		bool moved = false;

		for (int j = 0; j < hand->n && !moved; j++)
			moved = hand->messages[j].partition == p->partition && strcmp(hand->messages[j].topic, p->topic) == 0;
		if (moved)
			pl_consumer_store(consumer, p->topic, p->partition, p->next);
	}
	pl_hand_drop(hand);
}
