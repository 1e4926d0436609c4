// The fetch buffer: see fetch_buffer.h.
//
// Threads: an applier's.
#include "apply/fetch_buffer.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

// Partitions move in less time than this. One that comes back later has been read by
// another daemon.
#define PAST_US (60 * INT64_C(1000000))

void pl_fetch_buffer_init(struct pl_fetch_buffer *buffer)
{
	memset(buffer, 0, sizeof(*buffer));
	buffer->now.arena = pl_arena_new(64 * 1024);
	buffer->ahead.arena = pl_arena_new(64 * 1024);
	buffer->done.arena = pl_arena_new(64 * 1024);
}

static void drop(struct pl_fetched *held)
{
	for (int i = 0; i < held->n; i++)
		rd_kafka_message_destroy(held->raw[i]);
	held->n = 0;
	held->bytes = 0;
	pl_arena_reset(held->arena);
}

void pl_fetch_buffer_sweep(struct pl_fetch_buffer *buffer)
{
	drop(&buffer->done);
}

void pl_fetch_buffer_give_back(struct pl_fetch_buffer *buffer)
{
	pl_arena_give_back(buffer->now.arena);
	pl_arena_give_back(buffer->ahead.arena);
	pl_arena_give_back(buffer->done.arena);
}

void pl_fetch_buffer_drop(struct pl_fetch_buffer *buffer)
{
	drop(&buffer->done);
	drop(&buffer->ahead);
	if (buffer->writing)
		buffer->orphaned = true;
	else
		drop(&buffer->now);
}

static void free_partitions(struct pl_fetch_partition **partitions, int *n)
{
	for (int i = 0; i < *n; i++)
		free((*partitions)[i].topic);
	free(*partitions);
	*partitions = NULL;
	*n = 0;
}

static void put_partitions_by(struct pl_fetch_buffer *buffer)
{
	if (buffer->npartitions == 0)
		return; // revoked, and not assigned again yet
	free_partitions(&buffer->past, &buffer->npast);
	buffer->past = buffer->partitions;
	buffer->npast = buffer->npartitions;
	buffer->past_us = pl_mono_us();
	buffer->partitions = NULL;
	buffer->npartitions = 0;
}

static struct pl_fetch_partition *find(struct pl_fetch_partition *partitions, int n, const char *topic,
                                       int32_t partition)
{
	for (int i = 0; i < n; i++)
		if (partitions[i].partition == partition && strcmp(partitions[i].topic, topic) == 0)
			return &partitions[i];
	return NULL;
}

static int64_t latest_before(const struct pl_fetch_buffer *buffer, const char *topic, int32_t partition)
{
	const struct pl_fetch_partition *p = find(buffer->past, buffer->npast, topic, partition);

	return p && pl_mono_us() - buffer->past_us < PAST_US ? p->latest_ms : 0;
}

static void fini(struct pl_fetched *held)
{
	drop(held);
	free(held->raw);
	free(held->messages);
	pl_arena_free(&held->arena);
}

void pl_fetch_buffer_fini(struct pl_fetch_buffer *buffer)
{
	fini(&buffer->now);
	fini(&buffer->ahead);
	fini(&buffer->done);
	free_partitions(&buffer->partitions, &buffer->npartitions);
	free_partitions(&buffer->past, &buffer->npast);
}

struct pl_fetched *pl_fetch_buffer_open(struct pl_fetch_buffer *buffer)
{
	return buffer->writing || buffer->ahead.n > 0 ? &buffer->ahead : &buffer->now;
}

// With the headers: those of a delete hold the last record, and its value is empty.
static size_t size_of(const struct pl_message *message)
{
	size_t size = message->key_len + message->value_len;

	for (int i = 0; i < message->nheaders; i++)
		size += message->headers[i].len;
	return size;
}

void pl_fetch_buffer_take(struct pl_fetch_buffer *buffer, rd_kafka_message_t *message)
{
	struct pl_fetched *held = pl_fetch_buffer_open(buffer);

	if (held->n == held->cap) {
		held->cap = held->cap ? 2 * held->cap : 1024;
		held->raw = pl_realloc(held->raw, sizeof(held->raw[0]) * (size_t)held->cap);
		held->messages = pl_realloc(held->messages, sizeof(held->messages[0]) * (size_t)held->cap);
	}
	held->raw[held->n] = message;
	pl_consumer_message(held->arena, message, &held->messages[held->n]);
	held->bytes += size_of(&held->messages[held->n++]);
}

void pl_fetch_buffer_add(struct pl_fetch_buffer *buffer, const char *topic, int32_t partition)
{
	int n = buffer->npartitions++;

	buffer->partitions = pl_realloc(buffer->partitions, sizeof(buffer->partitions[0]) * (size_t)(n + 1));
	buffer->partitions[n] = (struct pl_fetch_partition){
		.topic = pl_strdup(topic),
		.partition = partition,
		.next = -1,
		.newer = -1,
		.latest_ms = latest_before(buffer, topic, partition),
	};
}

void pl_fetch_buffer_assign(struct pl_fetch_buffer *buffer, const rd_kafka_topic_partition_list_t *partitions)
{
	pl_fetch_buffer_drop(buffer);
	put_partitions_by(buffer);
	for (int i = 0; partitions && i < partitions->cnt; i++)
		pl_fetch_buffer_add(buffer, partitions->elems[i].topic, partitions->elems[i].partition);
}

// Their headers stay in the arena until the batch has been written.
static void drop_messages_of(struct pl_fetched *held, const char *topic, int32_t partition)
{
	int n = 0;

	for (int i = 0; i < held->n; i++) {
		if (held->messages[i].partition == partition && strcmp(held->messages[i].topic, topic) == 0) {
			held->bytes -= size_of(&held->messages[i]);
			rd_kafka_message_destroy(held->raw[i]);
			continue;
		}
		held->raw[n] = held->raw[i];
		held->messages[n++] = held->messages[i];
	}
	held->n = n;
}

void pl_fetch_buffer_remove(struct pl_fetch_buffer *buffer, const char *topic, int32_t partition)
{
	struct pl_fetch_partition *p = pl_fetch_buffer_find(buffer, topic, partition);

	if (!p)
		return;
	drop_messages_of(&buffer->now, topic, partition);
	drop_messages_of(&buffer->ahead, topic, partition);
	free(p->topic);
	*p = buffer->partitions[--buffer->npartitions];
}

struct pl_fetch_partition *pl_fetch_buffer_find(struct pl_fetch_buffer *buffer, const char *topic,
                                                int32_t partition)
{
	return find(buffer->partitions, buffer->npartitions, topic, partition);
}

void pl_fetch_buffer_doubt(struct pl_fetch_buffer *buffer, struct pl_fetched *held)
{
	for (int i = 0; i < held->n; i++) {
		const struct pl_fetch_partition *p =
			pl_fetch_buffer_find(buffer, held->messages[i].topic, held->messages[i].partition);

		held->messages[i].unsure = p && held->messages[i].offset < p->unsure_until;
	}
}

void pl_fetch_buffer_begin(struct pl_fetch_buffer *buffer)
{
	buffer->writing = true;
	buffer->orphaned = false;
}

// The next batch takes the place of this one.
static void advance(struct pl_fetch_buffer *buffer)
{
	struct pl_fetched empty = buffer->done;

	drop(&empty);
	buffer->writing = buffer->orphaned = false;
	buffer->done = buffer->now;
	buffer->now = buffer->ahead;
	buffer->ahead = empty;
}

bool pl_fetch_buffer_failed(struct pl_fetch_buffer *buffer)
{
	bool ours = !buffer->orphaned;

	buffer->writing = false;
	if (!ours)
		advance(buffer);
	return ours;
}

static bool has_messages_of(const struct pl_fetched *held, const struct pl_fetch_partition *p)
{
	for (int i = 0; i < held->n; i++)
		if (held->messages[i].partition == p->partition &&
		    strcmp(held->messages[i].topic, p->topic) == 0)
			return true;
	return false;
}

void pl_fetch_buffer_done(struct pl_fetch_buffer *buffer, struct pl_consumer *consumer, bool in_database)
{
	for (int i = 0; i < buffer->now.n && !buffer->orphaned; i++) {
		struct pl_fetch_partition *p = pl_fetch_buffer_find(buffer, buffer->now.messages[i].topic,
		                                                    buffer->now.messages[i].partition);

		if (!p)
			continue;
		p->next = buffer->now.messages[i].offset + 1;
		if (buffer->now.messages[i].broker_time_us / 1000 > p->latest_ms)
			p->latest_ms = buffer->now.messages[i].broker_time_us / 1000;
		p->dirty = !in_database;
	}
	for (int i = 0; i < buffer->npartitions && !buffer->orphaned; i++)
		if (has_messages_of(&buffer->now, &buffer->partitions[i]))
			pl_consumer_store(consumer, buffer->partitions[i].topic,
			                  buffer->partitions[i].partition, buffer->partitions[i].next);
	advance(buffer);
}
