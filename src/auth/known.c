// See known.h.
//
// Behind NGINX, many clients share a connection. So tokens are compared in constant
// time: a client must not learn by trial how much of another client's token it has
// guessed.
// Invariant: a token is overwritten before its memory is freed.
#include "auth/known.h"

#include <openssl/crypto.h>
#include <string.h>

#define TOKEN_MAX 2048 // longer ones are checked each time, to bound the memory of a connection

static void copy(struct pl_arena *arena, const struct pl_identity *from, struct pl_identity *to_r)
{
	to_r->principal = pl_arena_strdup(arena, from->principal);
	to_r->roles = (struct pl_roles){ .n = from->roles.n };
	if (from->roles.n == 0)
		return;
	to_r->roles.names = pl_arena_array(arena, (size_t)from->roles.n, sizeof(to_r->roles.names[0]));
	for (int i = 0; i < from->roles.n; i++)
		to_r->roles.names[i] = pl_arena_strdup(arena, from->roles.names[i]);
}

// Takes the same time for all texts of the same length, like CRYPTO_memcmp, which
// compares byte by byte and would cost as much as the rest of the check.
static bool is_same(const char *a, const char *b, size_t len)
{
	uint64_t differs = 0, x, y;

	for (; len >= sizeof(x); len -= sizeof(x), a += sizeof(x), b += sizeof(x)) {
		memcpy(&x, a, sizeof(x));
		memcpy(&y, b, sizeof(y));
		differs |= x ^ y;
	}
	differs |= (uint64_t)CRYPTO_memcmp(a, b, len);
	__asm__ volatile("" : "+r"(differs)); // keeps the compiler from ending the loop early
	return differs == 0;
}

bool pl_known_find(const struct pl_known *known, const struct pl_known_proof *now, const char *token,
                   struct pl_arena *arena, struct pl_identity *identity_r)
{
	const struct pl_known_proof *proof = &known->proof;

	if (!known->arena || proof->credentials != now->credentials || proof->keys != now->keys ||
	    now->until_us >= proof->until_us)
		return false;
	if (strlen(token) != known->len || !is_same(token, known->token, known->len))
		return false;
	copy(arena, &known->identity, identity_r);
	return true;
}

void pl_known_keep(struct pl_known *known, const struct pl_known_proof *proof, const char *token,
                   const struct pl_identity *identity)
{
	size_t len = strlen(token);

	pl_known_forget(known);
	if (len > TOKEN_MAX)
		return;
	known->arena = pl_arena_new(len + 512);
	known->token = pl_arena_strndup(known->arena, token, len);
	known->len = len;
	known->proof = *proof;
	copy(known->arena, identity, &known->identity);
}

void pl_known_forget(struct pl_known *known)
{
	if (!known->arena)
		return;
	OPENSSL_cleanse(known->token, known->len);
	pl_arena_free(&known->arena);
	*known = (struct pl_known){ 0 };
}
