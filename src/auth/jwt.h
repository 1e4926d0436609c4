// JSON Web Tokens (RFC 7519) from clients: signed by a key of the set, meant for us,
// and valid now.
#pragma once

#include "auth/jwks.h"
#include "auth/roles.h"

#define PL_JWT_LEN_MAX 8192

// What a token must contain.
struct pl_jwt_rules {
	const char *issuer, *audience;
	int64_t leeway_us;           // how far the issuer's clock and the region's may differ
	const char *principal_claim; // the claim whose value is the principal
	int nroles_claim;
	const char *const *roles_claim; // path to the list of roles: {"realm_access", "roles"}
};

struct pl_jwt_result {
	int64_t now_us; // set by the caller: pl_now_us
	struct pl_identity identity;
	int64_t until_us; // when the token expires, the leeway included
	bool unknown_key; // the set lacks the key that the token names
	const char *why;  // for the log only: why it is refused; contains no part of the token
};

// Checks a token. Returns 0 and the identity, in `arena`, or PL_EINVAL and why.
int pl_jwt_check(const struct pl_jwks *jwks, const struct pl_jwt_rules *rules, struct pl_arena *arena,
                 const char *token, struct pl_jwt_result *result_r);
