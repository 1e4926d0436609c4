// How many requests a client may send: token buckets, one for each principal and
// address.
//
// One table of fixed size serves all workers. With more clients than it has places,
// those that have been quiet longest are forgotten, which gives them a full bucket.
// Threads: any.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/network.h"

struct pl_limits;

// A bucket holds `burst` tokens and gets `rate` per second; a request takes one.
struct pl_limit_rule {
	int rate, burst; // rate 0: no limit; burst 0: the same as rate
};

// The answer to a client whose bucket is empty.
struct pl_limit_answer {
	int limit;         // tokens of a full bucket
	int retry_after_s; // until there is a token again; at least 1
	int reset_s;       // until the bucket is full
};

struct pl_limits *pl_limits_new(void);
void pl_limits_free(struct pl_limits **limits_p);

// Takes a token at `now_us` (pl_mono_us). Returns true if the request may pass; else
// fills *answer_r. After a reload, the next call may pass other numbers.
bool pl_limits_take_principal(struct pl_limits *limits, const char *principal,
                              const struct pl_limit_rule *rule, int64_t now_us,
                              struct pl_limit_answer *answer_r);
// The same for an address; the addresses of one IPv6 network of 64 bits share a bucket.
bool pl_limits_take_address(struct pl_limits *limits, const struct pl_address *address,
                            const struct pl_limit_rule *rule, int64_t now_us,
                            struct pl_limit_answer *answer_r);
