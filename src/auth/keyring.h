// API keys: the file with their hashes, and the check of a key that a client has sent.
//
// A key is "plk_", 8 characters that identify it, "_", and 52 characters of secret, all
// of them from a-z and 2-7. The file has one line for each key:
//
//   <id> <SHA-256 of the key> <principal> <roles, or -> <created> <expires, or ->
//
// Empty lines and lines that begin with # are skipped. The keys themselves are not
// stored.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "auth/roles.h"
#include "base/error.h"
#include "base/sha256.h"

#define PL_KEYRING_PREFIX   "plk_"
#define PL_KEYRING_ID_LEN   8
#define PL_KEYRING_KEY_LEN  65 // of a complete key
#define PL_KEYRING_KEYS_MAX 100000

struct pl_api_key {
	char id[PL_KEYRING_ID_LEN + 1];
	uint8_t sha256[PL_SHA256_SIZE];
	struct pl_identity identity;
	int64_t created_us, expires_us; // pl_now_us; expires 0: never
	int line;                       // line number in the file, from 1
};

struct pl_keyring {
	int n;
	struct pl_api_key *keys; // sorted by id
};

// Parses the text of a file into `arena`. Returns 0 or PL_EINVAL; the error names the
// line and never quotes it.
int pl_keyring_parse(struct pl_arena *arena, const char *text, struct pl_keyring *ring_r,
                     struct pl_error *err);
// Reads the file, which no other user may be able to read. Fails with PL_ENOTFOUND,
// PL_EINVAL or PL_EUNAVAIL; the error begins with the name of the file.
int pl_keyring_read(struct pl_arena *arena, const char *file, struct pl_keyring *ring_r,
                    struct pl_error *err);

// Returns the key with that id, or NULL.
const struct pl_api_key *pl_keyring_find(const struct pl_keyring *ring, const char *id);
// Returns the key that a client has sent, if it is in the ring and has not expired;
// otherwise NULL and, for the log, a reason that contains no part of the key. Takes as
// long for an unknown id as for a wrong secret.
const struct pl_api_key *pl_keyring_check(const struct pl_keyring *ring, const char *text, int64_t now_us,
                                          const char **why_r);

// Makes a new key: writes its text to `text`, which the caller must clear after use,
// and its id and hash to `key_r`.
void pl_keyring_make(char text[PL_KEYRING_KEY_LEN + 1], struct pl_api_key *key_r);
