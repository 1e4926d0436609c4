// See running_ids.h. The table is split into shards, each with a lock, so that workers
// rarely contend.
#include "store/running_ids.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"

#define SHARDS 32 // a power of two

struct shard {
	pthread_mutex_t lock;
	struct pl_running_id *entries;
};

struct pl_running_ids {
	struct shard shards[SHARDS];
};

struct pl_running_ids *pl_running_ids_new(void)
{
	struct pl_running_ids *running = pl_calloc(1, sizeof(*running));

	for (int i = 0; i < SHARDS; i++)
		pthread_mutex_init(&running->shards[i].lock, NULL);
	return running;
}

void pl_running_ids_free(struct pl_running_ids **ids_p)
{
	struct pl_running_ids *running = *ids_p;

	if (!running)
		return;
	*ids_p = NULL;
	for (int i = 0; i < SHARDS; i++)
		pthread_mutex_destroy(&running->shards[i].lock);
	free(running);
}

// By the high bits, because the hash table uses the low ones for its buckets.
static struct shard *shard_of(struct pl_running_ids *running, unsigned hash)
{
	return &running->shards[(hash >> 24) & (SHARDS - 1)];
}

bool pl_running_ids_enter(struct pl_running_ids *running, struct pl_running_id *entry)
{
	struct pl_running_id *other;
	struct shard *shard;
	unsigned hash;

	HASH_VALUE(entry->key, entry->len, hash);
	shard = shard_of(running, hash);
	pthread_mutex_lock(&shard->lock);
	HASH_FIND_BYHASHVALUE(hh, shard->entries, entry->key, entry->len, hash, other);
	if (!other)
		HASH_ADD_KEYPTR_BYHASHVALUE(hh, shard->entries, entry->key, entry->len, hash, entry);
	pthread_mutex_unlock(&shard->lock);
	return !other;
}

void pl_running_ids_leave(struct pl_running_ids *running, struct pl_running_id *entry)
{
	struct shard *shard = shard_of(running, entry->hh.hashv);

	pthread_mutex_lock(&shard->lock);
	HASH_DEL(shard->entries, entry);
	pthread_mutex_unlock(&shard->lock);
}

bool pl_running_ids_has(struct pl_running_ids *running, const void *key, unsigned len)
{
	struct pl_running_id *entry;
	struct shard *shard;
	unsigned hash;

	HASH_VALUE(key, len, hash);
	shard = shard_of(running, hash);
	pthread_mutex_lock(&shard->lock);
	HASH_FIND_BYHASHVALUE(hh, shard->entries, key, len, hash, entry);
	pthread_mutex_unlock(&shard->lock);
	return entry != NULL;
}
