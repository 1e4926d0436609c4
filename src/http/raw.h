// What came before libmicrohttpd made it nice: checks of a request's head that the library leaves out.
#pragma once

#include <microhttpd.h>

#include "base/mem.h"
#include "script/exchange.h"

#define PL_HEAD_MAX 8192     // bytes of the request line and all headers; more is 431
#define PL_HEADERS_MAX 100

struct pl_raw {
	// As libmicrohttpd gave them.
	struct MHD_Connection *connection;
	const char *method, *version; // of the access handler
	const char *target;           // of the URI callback: where the target began, not yet changed
	size_t target_len;            // at that time
	// What was found.
	struct pl_header *headers;    // names in lower case, in order, in the arena
	bool http_1_0;
	bool has_length, chunked;
	uint64_t length;              // of the body, if has_length
	bool expects_continue;
};

// 0, or the status that the request is to be refused with before its connection is closed, and a sentence in *why_r.
int pl_raw_check(struct pl_arena *arena, struct pl_raw *raw, const char **why_r);

// The first value of the header, whatever the case of its name; NULL if there is none; *n_r, if not NULL, is how often it was given.
const char *pl_header_get(const struct pl_header *headers, const char *name, int *n_r);
