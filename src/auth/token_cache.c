// See token_cache.h.
#include "auth/token_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define ROWS  1024
#define WAYS  4 // places in a row
#define LOCKS 32

struct cached_token {
	uint8_t sha256[PL_SHA256_SIZE];
	int64_t until_us;        // 0: the place is free
	char *principal, *roles; // roles: "editor,admin", or "-"
};

struct pl_token_cache {
	pthread_mutex_t locks[LOCKS];
	struct cached_token rows[ROWS][WAYS];
};

struct pl_token_cache *pl_token_cache_new(void)
{
	struct pl_token_cache *cache = pl_calloc(1, sizeof(*cache));

	for (int i = 0; i < LOCKS; i++)
		pthread_mutex_init(&cache->locks[i], NULL);
	return cache;
}

static void clear(struct cached_token *entry)
{
	free(entry->principal);
	free(entry->roles);
	*entry = (struct cached_token){ 0 };
}

void pl_token_cache_free(struct pl_token_cache **cache_p)
{
	struct pl_token_cache *cache = *cache_p;

	if (!cache)
		return;
	for (int i = 0; i < ROWS; i++)
		for (int j = 0; j < WAYS; j++)
			clear(&cache->rows[i][j]);
	for (int i = 0; i < LOCKS; i++)
		pthread_mutex_destroy(&cache->locks[i]);
	free(cache);
	*cache_p = NULL;
}

static size_t row_of(const uint8_t sha256[PL_SHA256_SIZE])
{
	return ((size_t)sha256[0] << 8 | sha256[1]) % ROWS;
}

bool pl_token_cache_find(struct pl_token_cache *cache, const uint8_t sha256[PL_SHA256_SIZE],
                         int64_t *until_us, struct pl_arena *arena, struct pl_identity *identity_r)
{
	size_t row = row_of(sha256);
	bool found = false;

	pthread_mutex_lock(&cache->locks[row % LOCKS]);
	for (int i = 0; i < WAYS && !found; i++) {
		struct cached_token *entry = &cache->rows[row][i];
		if (entry->until_us == 0 || memcmp(entry->sha256, sha256, PL_SHA256_SIZE) != 0)
			continue;
		if (*until_us >= entry->until_us) {
			clear(entry);
			break;
		}
		identity_r->principal = pl_arena_strdup(arena, entry->principal);
		found = pl_roles_parse(arena, entry->roles, &identity_r->roles) == 0;
		if (found)
			*until_us = entry->until_us;
	}
	pthread_mutex_unlock(&cache->locks[row % LOCKS]);
	return found;
}

// Prints roles in the form that pl_roles_parse reads.
static char *print_roles(const struct pl_roles *roles)
{
	size_t len = 2;

	for (int i = 0; i < roles->n; i++)
		len += strlen(roles->names[i]) + 1;
	char *text = pl_calloc(1, len);
	for (int i = 0; i < roles->n; i++) {
		strcat(text, i > 0 ? "," : "");
		strcat(text, roles->names[i]);
	}
	return roles->n > 0 ? text : strcpy(text, "-");
}

void pl_token_cache_add(struct pl_token_cache *cache, const uint8_t sha256[PL_SHA256_SIZE], int64_t until_us,
                        const struct pl_identity *identity)
{
	size_t row = row_of(sha256);

	pthread_mutex_lock(&cache->locks[row % LOCKS]);
	struct cached_token *place =
		&cache->rows[row][0]; // the same token's, or a free one, or the first to expire
	for (int i = 1; i < WAYS; i++)
		if (cache->rows[row][i].until_us < place->until_us)
			place = &cache->rows[row][i];
	for (int i = 0; i < WAYS; i++)
		if (memcmp(cache->rows[row][i].sha256, sha256, PL_SHA256_SIZE) == 0)
			place = &cache->rows[row][i];
	clear(place);
	memcpy(place->sha256, sha256, PL_SHA256_SIZE);
	place->until_us = until_us;
	place->principal = pl_strdup(identity->principal);
	place->roles = print_roles(&identity->roles);
	pthread_mutex_unlock(&cache->locks[row % LOCKS]);
}
