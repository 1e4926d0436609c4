// What a connection has proved: the identity of the token that it sent last.
//
// The next request usually brings the same token, which need not be checked again: the
// same bytes prove the same identity as long as they have not expired and the
// credentials that they were checked against are in force. Belongs to one connection,
// and is never used for another.
// Threads: the worker of the connection.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "auth/roles.h"

// What a token was checked against, and until when it is valid.
struct pl_known_proof {
	uint64_t credentials; // number of the credentials, see credentials.c
	uint64_t keys;        // number of the fetched key set; 0: none
	int64_t until_us;     // pl_now_us; INT64_MAX: it does not expire
};

struct pl_known { // zeroed: nothing
	struct pl_arena *arena;
	char *token;
	size_t len;
	struct pl_known_proof proof;
	struct pl_identity identity;
};

// Whether this is the last token that the connection has proved, and still valid: `now`
// says what it would be checked against, and its until_us is the present time. Copies
// the identity into `arena`.
bool pl_known_find(const struct pl_known *known, const struct pl_known_proof *now, const char *token,
                   struct pl_arena *arena, struct pl_identity *identity_r);
// Remembers this token instead of the last one.
void pl_known_keep(struct pl_known *known, const struct pl_known_proof *proof, const char *token,
                   const struct pl_identity *identity);
void pl_known_forget(struct pl_known *known);
