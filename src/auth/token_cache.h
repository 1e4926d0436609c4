// Remembers verified tokens, so that each signature is checked only once.
//
// Has a fixed size, and is shared by all workers. A token is found by its SHA-256 and
// is not itself kept. Belongs to the credentials of one configuration, so a reload
// forgets all tokens.
// Threads: any.
#pragma once

#include <stdint.h>

#include "auth/roles.h"
#include "base/sha256.h"

struct pl_token_cache;

struct pl_token_cache *pl_token_cache_new(void);
void pl_token_cache_free(struct pl_token_cache **cache_p);

// Whether the token is known and valid at `*until_us` (pl_now_us). Then *until_us
// becomes the time until which it is valid, and *identity_r its identity, in `arena`.
bool pl_token_cache_find(struct pl_token_cache *cache, const uint8_t sha256[PL_SHA256_SIZE],
                         int64_t *until_us, struct pl_arena *arena, struct pl_identity *identity_r);
// Remembers a token until then; may forget another one instead.
void pl_token_cache_add(struct pl_token_cache *cache, const uint8_t sha256[PL_SHA256_SIZE], int64_t until_us,
                        const struct pl_identity *identity);
