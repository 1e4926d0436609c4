// See key_source.h.
//
// A fetched set replaces the previous one as a whole. A user keeps a reference to the
// set that it began with, so the lock protects only pointers and numbers.
#include "auth/key_source.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/wake.h"

#define EARLY_US     10000000 // least time between an attempt and an early one
#define RETRY_MIN_US 1000000  // after a failure
#define RETRY_MAX_US 60000000
#define LATE_TIMES   3 // fetches that are missing

struct set {
	struct pl_key_set shown; // must be first: pl_key_source_give casts it to the set
	atomic_int refs;
	struct pl_arena *arena;
	uint8_t sha256[PL_SHA256_SIZE]; // of the text
};

struct pl_key_source {
	atomic_int refs;
	char *url, *ca;
	struct pl_wake *early;
	_Atomic uint64_t number; // of the set; 0: none yet
	pthread_mutex_t lock;    // protects what follows
	int64_t refresh_us;
	struct set *set; // NULL: none yet
	struct pl_backoff backoff;
	int64_t due_us, tried_us; // pl_mono_us; tried 0: not yet
	int64_t fetched_us;       // pl_now_us
	uint64_t fetches, failures;
	char why[PL_ERROR_TEXT_MAX];
};

static void set_refresh(struct pl_key_source *source, int64_t refresh_us)
{
	source->refresh_us = refresh_us;
	source->backoff.max_us = refresh_us < RETRY_MIN_US   ? RETRY_MIN_US
	                         : refresh_us > RETRY_MAX_US ? RETRY_MAX_US
	                                                     : refresh_us;
}

struct pl_key_source *pl_key_source_new(const struct pl_config *config)
{
	struct pl_key_source *source = pl_calloc(1, sizeof(*source));

	atomic_init(&source->refs, 1);
	source->url = pl_strdup(config->auth.jwt.jwks_url);
	source->ca = config->auth.jwt.jwks_ca ? pl_strdup(config->auth.jwt.jwks_ca) : NULL;
	source->backoff.min_us = RETRY_MIN_US;
	set_refresh(source, config->auth.jwt.refresh_us);
	source->early = pl_wake_new();
	pthread_mutex_init(&source->lock, NULL);
	return source;
}

static void set_unref(struct set **set_p)
{
	struct set *set = *set_p;

	*set_p = NULL;
	if (!set || atomic_fetch_sub(&set->refs, 1) > 1)
		return;
	pl_jwks_fini(&set->shown.jwks);
	pl_arena_free(&set->arena);
	free(set);
}

struct pl_key_source *pl_key_source_ref(struct pl_key_source *source)
{
	if (source)
		atomic_fetch_add(&source->refs, 1);
	return source;
}

void pl_key_source_unref(struct pl_key_source **source_p)
{
	struct pl_key_source *source = *source_p;

	*source_p = NULL;
	if (!source || atomic_fetch_sub(&source->refs, 1) > 1)
		return;
	set_unref(&source->set);
	pl_wake_free(&source->early);
	pthread_mutex_destroy(&source->lock);
	free(source->url);
	free(source->ca);
	free(source);
}

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool pl_key_source_same(const struct pl_key_source *a, const struct pl_key_source *b)
{
	return same(a->url, b->url) && same(a->ca, b->ca);
}

void pl_key_source_pace(struct pl_key_source *source, const struct pl_key_source *other)
{
	pthread_mutex_lock(&source->lock);
	bool failing = source->why[0] != '\0'; // then the next attempt is due sooner
	set_refresh(source, other->refresh_us);
	if (source->tried_us != 0 && !failing)
		source->due_us = source->tried_us + source->refresh_us;
	pthread_mutex_unlock(&source->lock);
}

// ---- using the keys

const struct pl_key_set *pl_key_source_take(struct pl_key_source *source)
{
	pthread_mutex_lock(&source->lock);
	struct set *set = source->set;
	if (set)
		atomic_fetch_add(&set->refs, 1);
	pthread_mutex_unlock(&source->lock);
	return set ? &set->shown : NULL;
}

void pl_key_source_give(const struct pl_key_set **set_p)
{
	struct set *set = (struct set *)(uintptr_t)*set_p;

	*set_p = NULL;
	set_unref(&set);
}

uint64_t pl_key_source_number(const struct pl_key_source *source)
{
	return atomic_load(&source->number);
}

void pl_key_source_miss(struct pl_key_source *source)
{
	int64_t now_us = pl_mono_us();

	pthread_mutex_lock(&source->lock);
	bool early =
		source->tried_us != 0 && now_us - source->tried_us >= EARLY_US && source->due_us > now_us;
	if (early)
		source->due_us = now_us;
	pthread_mutex_unlock(&source->lock);
	if (early)
		pl_wake_ring(source->early);
}

// ---- fetching them

const char *pl_key_source_url(const struct pl_key_source *source)
{
	return source->url;
}

const char *pl_key_source_ca(const struct pl_key_source *source)
{
	return source->ca;
}

int pl_key_source_fd(const struct pl_key_source *source)
{
	return pl_wake_fd(source->early);
}

int64_t pl_key_source_due_us(struct pl_key_source *source)
{
	pthread_mutex_lock(&source->lock);
	int64_t due_us = source->due_us;
	pthread_mutex_unlock(&source->lock);
	return due_us;
}

void pl_key_source_begin(struct pl_key_source *source)
{
	pl_wake_drain(source->early);
	pthread_mutex_lock(&source->lock);
	source->tried_us = pl_mono_us();
	source->due_us = source->tried_us + source->refresh_us;
	source->fetches++;
	pthread_mutex_unlock(&source->lock);
}

int pl_key_source_parse(struct pl_arena *arena, const char *text, size_t len, struct pl_jwks *jwks_r,
                        struct pl_error *err)
{
	int rc = pl_jwks_parse(arena, text, len, jwks_r, err);

	if (rc != 0)
		pl_error_prefix(err, "the answer is not a usable set of keys");
	return rc;
}

static struct set *parse(const char *text, size_t len, struct pl_error *err)
{
	struct set *set = pl_calloc(1, sizeof(*set));

	atomic_init(&set->refs, 1);
	set->arena = pl_arena_new(0);
	pl_sha256(text, len, set->sha256);
	if (pl_key_source_parse(set->arena, text, len, &set->shown.jwks, err) != 0)
		set_unref(&set);
	return set;
}

void pl_key_source_store(struct pl_key_source *source, const char *text, size_t len)
{
	struct pl_error err;
	struct set *set = parse(text, len, &err);

	if (!set) {
		pl_key_source_fail(source, &err);
		return;
	}
	int n = set->shown.jwks.n;
	pthread_mutex_lock(&source->lock);
	struct set *old = source->set;
	bool changed = !old || memcmp(old->sha256, set->sha256, PL_SHA256_SIZE) != 0;
	set->shown.number = (old ? old->shown.number : 0) + changed;
	source->set = set;
	atomic_store(&source->number, set->shown.number);
	source->fetched_us = pl_now_us();
	bool mended = source->why[0] != '\0';
	source->why[0] = '\0';
	pl_backoff_reset(&source->backoff);
	pthread_mutex_unlock(&source->lock);
	set_unref(&old);
	if (changed || mended)
		pl_notice("auth: fetched %d keys from %s%s", n, source->url,
		          changed ? "" : ", which are those from before");
}

void pl_key_source_fail(struct pl_key_source *source, const struct pl_error *err)
{
	pthread_mutex_lock(&source->lock);
	bool told = strcmp(source->why, err->text) == 0; // the same failure is not logged again
	snprintf(source->why, sizeof(source->why), "%s", err->text);
	source->failures++;
	source->due_us = pl_mono_us() + pl_backoff_next(&source->backoff);
	int keys = source->set ? source->set->shown.jwks.n : 0;
	pthread_mutex_unlock(&source->lock);
	if (!told)
		pl_warning("auth: cannot fetch the keys that verify tokens from %s: %s; %s", source->url,
		           err->text,
		           keys ? "those from before stay in force" : "until then, tokens are answered 503");
}

void pl_key_source_facts(struct pl_key_source *source, struct pl_key_source_facts *facts_r)
{
	*facts_r = (struct pl_key_source_facts){ 0 };
	snprintf(facts_r->url, sizeof(facts_r->url), "%s", source->url);
	pthread_mutex_lock(&source->lock);
	facts_r->keys = source->set ? source->set->shown.jwks.n : 0;
	facts_r->fetched_us = source->fetched_us;
	facts_r->overdue = source->fetched_us != 0 && source->why[0] &&
	                   pl_now_us() - source->fetched_us > LATE_TIMES * source->refresh_us;
	facts_r->fetches = source->fetches;
	facts_r->failures = source->failures;
	memcpy(facts_r->why, source->why, sizeof(facts_r->why));
	pthread_mutex_unlock(&source->lock);
}
