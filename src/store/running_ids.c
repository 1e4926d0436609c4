// See running.h. Shards, so that workers seldom meet; in each a hash table under a lock of its own.
#include "record/running.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"

#define SHARDS 32 // a power of two

struct shard {
	pthread_mutex_t lock;
	struct pl_running_entry *entries;
};

struct pl_running {
	struct shard shards[SHARDS];
};

struct pl_running *pl_running_new(void)
{
	struct pl_running *running = pl_calloc(1, sizeof *running);

	for (int i = 0; i < SHARDS; i++)
		pthread_mutex_init(&running->shards[i].lock, NULL);
	return running;
}

void pl_running_free(struct pl_running **at)
{
	struct pl_running *running = *at;

	if (!running)
		return;
	*at = NULL;
	for (int i = 0; i < SHARDS; i++)
		pthread_mutex_destroy(&running->shards[i].lock);
	free(running);
}

// The high bits: the table takes its buckets by the low ones.
static struct shard *shard_of(struct pl_running *running, unsigned hash)
{
	return &running->shards[(hash >> 24) & (SHARDS - 1)];
}

bool pl_running_enter(struct pl_running *running, struct pl_running_entry *entry)
{
	struct pl_running_entry *other;
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

void pl_running_leave(struct pl_running *running, struct pl_running_entry *entry)
{
	struct shard *shard = shard_of(running, entry->hh.hashv);

	pthread_mutex_lock(&shard->lock);
	HASH_DEL(shard->entries, entry);
	pthread_mutex_unlock(&shard->lock);
}

bool pl_running_has(struct pl_running *running, const void *key, unsigned len)
{
	struct pl_running_entry *entry;
	struct shard *shard;
	unsigned hash;

	HASH_VALUE(key, len, hash);
	shard = shard_of(running, hash);
	pthread_mutex_lock(&shard->lock);
	HASH_FIND_BYHASHVALUE(hh, shard->entries, key, len, hash, entry);
	pthread_mutex_unlock(&shard->lock);
	return entry != NULL;
}
