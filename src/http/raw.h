// The raw head of a request: checks that libmicrohttpd leaves out.
#pragma once

#include <microhttpd.h>

#include "base/mem.h"
#include "script/exchange.h"

#define PL_HEAD_MAX    8192 // bytes of the request line and all headers; more is 431
#define PL_HEADERS_MAX 100

struct pl_raw {
	// As libmicrohttpd passed them.
	struct MHD_Connection *connection;
	const char *method, *version; // of the access handler
	const char *target;           // as passed to the URI callback, where it began, before it was modified
	size_t target_len;            // at that time
	// Results of the check.
	struct pl_header *headers; // names in lower case, in order, in the arena
	bool http_1_0;
	bool has_length;
	bool too_large;  // too large to be sure that an answer fits into the buffer of the library as well
	uint64_t length; // of the body, if has_length
	bool expects_continue;
};

// Copies the target that the URI callback was given into the arena. The query is hidden
// from the library: raw.c says why.
const char *pl_raw_take_target(struct pl_arena *arena, struct pl_raw *raw, const char *target);

// Returns 0, or the status to refuse the request with before closing its connection, and
// a sentence in *why_r.
int pl_raw_check(struct pl_arena *arena, struct pl_raw *raw, const char **why_r);

// Why libmicrohttpd has refused a head that it read to the end: because of the length of
// the body, or because it had no room for cookies. Returns as above.
int pl_raw_check_lengths(struct pl_arena *arena, struct pl_raw *raw, const char **why_r);

// The first value of the header, matched without regard to case; NULL if there is none.
// *n_r, if not NULL, is set to the number of occurrences.
const char *pl_raw_header(const struct pl_header *headers, const char *name, int *n_r);

// Whether Host names this machine: an address, the host name, or "localhost", with or
// without a port. Without the header, too: every browser sends it.
bool pl_raw_names_this_machine(const struct pl_header *headers);
