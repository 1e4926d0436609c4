// The public keys that sign tokens: a JSON Web Key Set (RFC 7517), verified by libcrypto.
//
// Each key has one algorithm, given by its type: RSA → RS256, P-256 → ES256, Ed25519 →
// EdDSA. A token cannot choose another.
#pragma once

#include <openssl/types.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"

#define PL_JWKS_KEYS_MAX 64

enum pl_jwks_algorithm { PL_JWKS_RS256, PL_JWKS_ES256, PL_JWKS_EDDSA };

struct pl_jwks_key {
	const char *id; // NULL: it has none
	enum pl_jwks_algorithm algorithm;
	EVP_PKEY *key;
};

struct pl_jwks {
	int n, passed_over; // passed_over: keys for other purposes or of other types
	struct pl_jwks_key keys[PL_JWKS_KEYS_MAX];
};

// Parses a set; strings are in `arena`. Keys of other types, or for encryption, are
// passed over. PL_EINVAL if a key is invalid, private or symmetric, or if no key is
// left. The caller must call pl_jwks_fini in any case.
int pl_jwks_parse(struct pl_arena *arena, const char *text, size_t len, struct pl_jwks *jwks_r,
                  struct pl_error *err);
void pl_jwks_fini(struct pl_jwks *jwks);

// Finds the key for a token: the one with this id or, without an id, the only one for
// the algorithm. NULL if there is none, or if it has another algorithm.
const struct pl_jwks_key *pl_jwks_find(const struct pl_jwks *jwks, const char *id, const char *algorithm);
// Whether this is the key's signature of the text.
bool pl_jwks_verify(const struct pl_jwks_key *key, const void *text, size_t len, const uint8_t *signature,
                    size_t signature_len);

// Decodes base64url without padding into `bytes`, which has room for `max`. Returns the
// length, or -1 if there is an invalid character, if bits are left over, or if the text
// is too long.
int pl_jwks_decode(const char *text, size_t len, uint8_t *bytes, size_t max);
