// API keys: see keyring.h.
//
// The id only finds the line. The SHA-256 proves the key, and is compared in constant
// time. A fast hash suffices because the secret has 256 random bits.
// Threads: any; a ring is constant once it is read.
#include "auth/keyring.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hex.h"

#define FILE_MAX   ((size_t)32 << 20)
#define SECRET_LEN 52
#define SECRET_POS (sizeof(PL_KEYRING_PREFIX) - 1 + PL_KEYRING_ID_LEN + 1)
#define FIELDS     6

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

// ---- the file

static bool parse_hash(const char *text, uint8_t sha256[PL_SHA256_SIZE])
{
	return strspn(text, "0123456789abcdef") == PL_SHA256_HEX - 1 && text[PL_SHA256_HEX - 1] == '\0' &&
	       pl_hex_decode(text, PL_SHA256_SIZE, sha256);
}

static bool parse_time(const char *text, bool optional, int64_t *at_us_r)
{
	*at_us_r = 0;
	return (optional && strcmp(text, "-") == 0) || pl_clock_parse_time(text, strlen(text), at_us_r) == 0;
}

// Parses a line. Returns what is wrong with it, or NULL.
static const char *parse_line(struct pl_arena *arena, char *line, struct pl_api_key *key)
{
	char *fields[FIELDS + 1] = { 0 }, *save = NULL;
	int n = 0;

	for (char *word = strtok_r(line, " \t\r", &save); word && n <= FIELDS;
	     word = strtok_r(NULL, " \t\r", &save))
		fields[n++] = word;
	if (n != FIELDS)
		return "must have 6 fields: id, hash, principal, roles, created, expires";
	if (strlen(fields[0]) != PL_KEYRING_ID_LEN || strspn(fields[0], alphabet) != PL_KEYRING_ID_LEN)
		return "the first field must be an id of 8 characters";
	memcpy(key->id, fields[0], sizeof(key->id));
	if (!parse_hash(fields[1], key->sha256))
		return "the second field must be a SHA-256 in 64 lower-case hexadecimal digits";
	key->identity.principal = pl_arena_strdup(arena, fields[2]);
	if (!pl_roles_valid_principal(fields[2]))
		return "the third field must be a principal of at most 64 visible ASCII characters, but "
		       "not " PL_PRINCIPALS_OF_PLIST;
	if (pl_roles_parse(arena, fields[3], &key->identity.roles) != 0)
		return "the fourth field must be roles, separated by commas, or -";
	if (!parse_time(fields[4], false, &key->created_us))
		return "the fifth field must be the time at which the key was created";
	if (!parse_time(fields[5], true, &key->expires_us))
		return "the sixth field must be the time at which the key expires, or -";
	return NULL;
}

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct pl_api_key *)a)->id, ((const struct pl_api_key *)b)->id);
}

static int check_twice(const struct pl_keyring *ring, struct pl_error *err)
{
	for (int i = 1; i < ring->n; i++)
		if (strcmp(ring->keys[i - 1].id, ring->keys[i].id) == 0)
			return pl_error_set(err, PL_EINVAL, "line %d: the id %s occurs twice",
			                    ring->keys[i].line, ring->keys[i].id);
	return 0;
}

int pl_keyring_parse(struct pl_arena *arena, const char *text, struct pl_keyring *ring_r,
                     struct pl_error *err)
{
	int room = 1, number = 0;

	for (const char *c = text; *c; c++)
		room += *c == '\n';
	*ring_r = (struct pl_keyring){ .keys = pl_arena_array(arena, (size_t)room, sizeof(ring_r->keys[0])) };
	for (const char *at = text; *at; at += strspn(at, "\n") > 0) {
		char *line = pl_arena_strndup(arena, at, strcspn(at, "\n"));
		at += strlen(line);
		number++;
		if (line[strspn(line, " \t\r")] == '\0' || line[0] == '#')
			continue;
		struct pl_api_key *key = &ring_r->keys[ring_r->n++];
		const char *why = parse_line(arena, line, key);
		key->line = number;
		if (why)
			return pl_error_set(err, PL_EINVAL, "line %d: %s", number, why);
	}
	if (ring_r->n > PL_KEYRING_KEYS_MAX)
		return pl_error_set(err, PL_EINVAL, "has more than %d keys", PL_KEYRING_KEYS_MAX);
	qsort(ring_r->keys, (size_t)ring_r->n, sizeof(ring_r->keys[0]), by_id);
	return check_twice(ring_r, err);
}

int pl_keyring_read(struct pl_arena *arena, const char *file, struct pl_keyring *ring_r, struct pl_error *err)
{
	struct pl_buf text = { 0 };
	int rc = pl_file_read_private(file, FILE_MAX, &text, err);

	// plist-admin keys never leaves it empty: somebody else is about to write it.
	if (rc == 0 && text.len == 0)
		rc = pl_error_set(err, PL_EINVAL, "is empty; a file without keys has a comment");
	if (rc == 0 && memchr(text.data, '\0', text.len))
		rc = pl_error_set(err, PL_EINVAL, "contains a NUL");
	if (rc == 0)
		rc = pl_keyring_parse(arena, text.data, ring_r, err);
	if (rc != 0)
		pl_error_prefix(err, "%s", file);
	pl_buf_fini(&text);
	return rc;
}

// ---- checking

const struct pl_api_key *pl_keyring_find(const struct pl_keyring *ring, const char *id)
{
	struct pl_api_key wanted = { 0 };

	if (ring->n == 0 || strlen(id) != PL_KEYRING_ID_LEN)
		return NULL;
	memcpy(wanted.id, id, PL_KEYRING_ID_LEN);
	return bsearch(&wanted, ring->keys, (size_t)ring->n, sizeof(wanted), by_id);
}

static bool has_form(const char *text)
{
	const char *id = text + sizeof(PL_KEYRING_PREFIX) - 1;

	return strlen(text) == PL_KEYRING_KEY_LEN &&
	       strncmp(text, PL_KEYRING_PREFIX, sizeof(PL_KEYRING_PREFIX) - 1) == 0 &&
	       strspn(id, alphabet) == PL_KEYRING_ID_LEN && id[PL_KEYRING_ID_LEN] == '_' &&
	       strspn(text + SECRET_POS, alphabet) == SECRET_LEN;
}

const struct pl_api_key *pl_keyring_check(const struct pl_keyring *ring, const char *text, int64_t now_us,
                                          const char **why_r)
{
	static const uint8_t nothing[PL_SHA256_SIZE];
	uint8_t sha256[PL_SHA256_SIZE];
	char id[PL_KEYRING_ID_LEN + 1] = "";

	*why_r = "it does not have the form of an API key";
	if (!has_form(text))
		return NULL;
	memcpy(id, text + sizeof(PL_KEYRING_PREFIX) - 1, PL_KEYRING_ID_LEN);
	const struct pl_api_key *key = pl_keyring_find(ring, id);
	pl_sha256(text, PL_KEYRING_KEY_LEN, sha256);
	bool same = CRYPTO_memcmp(sha256, key ? key->sha256 : nothing, sizeof(sha256)) == 0;
	*why_r = key ? "its secret is wrong" : "no API key has this id";
	if (!key || !same)
		return NULL;
	*why_r = "the API key has expired";
	return key->expires_us == 0 || now_us < key->expires_us ? key : NULL;
}

// ---- making

// Uses 5 random bits for each character of the alphabet.
static void random_text(char *text, int n)
{
	unsigned char bytes[SECRET_LEN];

	if (RAND_bytes(bytes, n) != 1)
		pl_die("OpenSSL has no random numbers");
	for (int i = 0; i < n; i++)
		text[i] = alphabet[bytes[i] & 31];
	OPENSSL_cleanse(bytes, sizeof(bytes));
}

void pl_keyring_make(char text[PL_KEYRING_KEY_LEN + 1], struct pl_api_key *key_r)
{
	*key_r = (struct pl_api_key){ 0 };
	random_text(key_r->id, PL_KEYRING_ID_LEN);
	snprintf(text, PL_KEYRING_KEY_LEN + 1, PL_KEYRING_PREFIX "%s_", key_r->id);
	random_text(text + SECRET_POS, SECRET_LEN);
	text[PL_KEYRING_KEY_LEN] = '\0';
	pl_sha256(text, PL_KEYRING_KEY_LEN, key_r->sha256);
}
