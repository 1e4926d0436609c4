// A key source: the public keys of an issuer, which are fetched from a URL.
//
// Keeps the keys and their state; auth/key_fetcher fetches them. Belongs to the
// credentials of one configuration, and is handed on to those of the next if it names the
// same URL and authority, so that a reload does not forget the keys.
// Threads: any; reference-counted.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "auth/jwks.h"
#include "config/config.h"

struct pl_key_source;

// One answer of the URL: immutable, reference-counted.
struct pl_key_set {
	struct pl_jwks jwks;
	uint64_t number; // differs whenever the keys have changed
};

struct pl_key_source *pl_key_source_new(const struct pl_config *config);
struct pl_key_source *pl_key_source_ref(struct pl_key_source *source);
void pl_key_source_unref(struct pl_key_source **source_p); // also of NULL
bool pl_key_source_same(const struct pl_key_source *a, const struct pl_key_source *b);
// Takes over the fetch interval of another source of the same keys.
void pl_key_source_pace(struct pl_key_source *source, const struct pl_key_source *other);

// Takes the latest keys, which the caller must give back; NULL: none have been fetched
// yet.
const struct pl_key_set *pl_key_source_take(struct pl_key_source *source);
void pl_key_source_give(const struct pl_key_set **set_p);
// The number of the latest keys; 0: none have been fetched yet.
uint64_t pl_key_source_number(const struct pl_key_source *source);
// Reports that a token names a key that is not in the set, perhaps a new one. Leads to
// an early fetch unless the last attempt was a few seconds ago, since anybody can send
// such tokens.
void pl_key_source_miss(struct pl_key_source *source);

// ---- for the fetcher

const char *pl_key_source_url(const struct pl_key_source *source);
const char *pl_key_source_ca(const struct pl_key_source *source); // NULL: the system's
// Readable when an early fetch is wanted; drained by pl_key_source_begin.
int pl_key_source_fd(const struct pl_key_source *source);
int64_t pl_key_source_due_us(struct pl_key_source *source); // pl_mono_us of the next attempt
void pl_key_source_begin(struct pl_key_source *source);
// The result of an attempt: _store parses and stores an answer, or fails if it is not a
// set of keys. A failure is logged and leaves the keys as they were.
void pl_key_source_store(struct pl_key_source *source, const char *text, size_t len);
void pl_key_source_fail(struct pl_key_source *source, const struct pl_error *err);
// Parses an answer; an error says that the answer is at fault. See pl_jwks_parse.
int pl_key_source_parse(struct pl_arena *arena, const char *text, size_t len, struct pl_jwks *jwks_r,
                        struct pl_error *err);

// ---- for operators

struct pl_key_source_facts {
	char url[512];
	int keys;
	int64_t fetched_us; // pl_now_us of the last success; 0: none yet
	bool overdue;       // none for three times auth.jwt.refresh
	uint64_t fetches, failures;
	char why[PL_ERROR_TEXT_MAX]; // why the last attempt failed; "" if it did not
};
void pl_key_source_facts(struct pl_key_source *source, struct pl_key_source_facts *facts_r);
