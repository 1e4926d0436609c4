// See limits.h.
//
// A bucket is one number: the time at which it will be full again. Taking a token moves
// that time on by 1/rate; the bucket is empty when it is burst/rate away (the generic
// cell rate algorithm). So no bucket has to be refilled, and a forgotten bucket is a
// full one.
//
// Clients are found by a keyed hash, so that nobody can choose names that collide.
// Invariant: a bucket is used only with the lock of its row held.
// Threads: any.
#include "auth/limits.h"

#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/sha256.h"

#define ROWS          8192
#define WAYS          8 // places in a row
#define LOCKS         64
#define KEY_MAX       128
#define SECRET_LEN    16
#define NS_PER_SECOND INT64_C(1000000000)

struct bucket {
	uint64_t hash;   // 0: the place is free
	int64_t full_ns; // when the bucket will be full
};

struct pl_limits {
	uint8_t secret[SECRET_LEN];
	pthread_mutex_t locks[LOCKS];
	struct bucket rows[ROWS][WAYS];
};

struct pl_limits *pl_limits_new(void)
{
	struct pl_limits *limits = pl_calloc(1, sizeof(*limits));

	if (RAND_bytes(limits->secret, sizeof(limits->secret)) != 1)
		pl_die("OpenSSL has no random numbers");
	for (int i = 0; i < LOCKS; i++)
		pthread_mutex_init(&limits->locks[i], NULL);
	return limits;
}

void pl_limits_free(struct pl_limits **limits_p)
{
	struct pl_limits *limits = *limits_p;

	if (!limits)
		return;
	for (int i = 0; i < LOCKS; i++)
		pthread_mutex_destroy(&limits->locks[i]);
	free(limits);
	*limits_p = NULL;
}

static uint64_t hash_of(const struct pl_limits *limits, char kind, const void *key, size_t len)
{
	uint8_t text[SECRET_LEN + 1 + KEY_MAX], digest[PL_SHA256_SIZE];
	uint64_t hash;

	len = len < KEY_MAX ? len : KEY_MAX;
	memcpy(text, limits->secret, SECRET_LEN);
	text[SECRET_LEN] = (uint8_t)kind;
	memcpy(text + SECRET_LEN + 1, key, len);
	pl_sha256(text, SECRET_LEN + 1 + len, digest);
	memcpy(&hash, digest, sizeof(hash));
	return hash ? hash : 1;
}

// Returns the client's bucket in its row; if there is none, takes the bucket that has
// been full longest from its former client.
static struct bucket *bucket_of(struct bucket *row, uint64_t hash)
{
	struct bucket *oldest = row;

	for (int i = 0; i < WAYS; i++) {
		if (row[i].hash == hash)
			return &row[i];
		if (row[i].full_ns < oldest->full_ns)
			oldest = &row[i];
	}
	*oldest = (struct bucket){ .hash = hash };
	return oldest;
}

static int seconds(int64_t ns)
{
	return (int)((ns + NS_PER_SECOND - 1) / NS_PER_SECOND);
}

static bool take(struct bucket *bucket, const struct pl_limit_rule *rule, int64_t now_ns,
                 struct pl_limit_answer *answer_r)
{
	int burst = rule->burst ? rule->burst : rule->rate;
	int64_t token_ns = NS_PER_SECOND / rule->rate, all_ns = token_ns * burst;
	int64_t full_ns = bucket->full_ns > now_ns ? bucket->full_ns : now_ns;

	// A reload may have made the bucket smaller than what was taken from it.
	if (full_ns > now_ns + all_ns)
		bucket->full_ns = full_ns = now_ns + all_ns;
	int64_t missing_ns = full_ns + token_ns - now_ns - all_ns;
	if (missing_ns <= 0) {
		bucket->full_ns = full_ns + token_ns;
		return true;
	}
	*answer_r = (struct pl_limit_answer){ .limit = burst,
		                              .retry_after_s = seconds(missing_ns),
		                              .reset_s = seconds(full_ns - now_ns) };
	return false;
}

static bool take_one(struct pl_limits *limits, uint64_t hash, const struct pl_limit_rule *rule,
                     int64_t now_us, struct pl_limit_answer *answer_r)
{
	size_t row = hash % ROWS;
	pthread_mutex_t *lock = &limits->locks[row % LOCKS];

	pthread_mutex_lock(lock);
	bool passes = take(bucket_of(limits->rows[row], hash), rule, now_us * 1000, answer_r);
	pthread_mutex_unlock(lock);
	return passes;
}

bool pl_limits_take_principal(struct pl_limits *limits, const char *principal,
                              const struct pl_limit_rule *rule, int64_t now_us,
                              struct pl_limit_answer *answer_r)
{
	if (rule->rate == 0)
		return true;
	return take_one(limits, hash_of(limits, 'p', principal, strlen(principal)), rule, now_us, answer_r);
}

bool pl_limits_take_address(struct pl_limits *limits, const struct pl_address *address,
                            const struct pl_limit_rule *rule, int64_t now_us,
                            struct pl_limit_answer *answer_r)
{
	if (rule->rate == 0)
		return true;
	size_t len = pl_network_is_v4(address) ? sizeof(address->bytes) : sizeof(address->bytes) / 2;
	return take_one(limits, hash_of(limits, 'a', address->bytes, len), rule, now_us, answer_r);
}
