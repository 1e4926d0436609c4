// Errors: a code that the caller can decide by, and one sentence for people.
//
// Functions that can fail return 0 or a negative code and take a `struct pl_error *err` last. The error is returned or
// logged, never both: whoever knows the context adds it (pl_error_prefix), the loop at the top logs it once.
#pragma once

#include <stdbool.h>

enum pl_code {
	PL_OK = 0,
	PL_EINVAL = -1,    // the input is wrong; the same input will be wrong again
	PL_ENOTFOUND = -2, // there is no such thing
	PL_ECONFLICT = -3, // the thing is in another state than was asked for
	PL_EBUSY = -4,     // a bounded queue or pool is full; later it may not be
	PL_EUNAVAIL = -5,  // a service is away; nothing was done
	PL_EUNKNOWN = -6,  // a service was lost at the wrong moment: it may or may not have happened
	PL_ETIMEOUT = -7,  // the deadline passed; nothing was done
	PL_EBUDGET = -8,   // a script used up its instructions, time or memory
	PL_ESCRIPT = -9,   // a script raised
	PL_ESTOPPED = -10, // the program is stopping
	PL_EINTERNAL = -11,// a fault of plist itself
};

#define PL_ERROR_TEXT_MAX 512

struct pl_error {
	int code;          // enum pl_code
	bool retryable;    // the same call may succeed later
	char sqlstate[6];  // PostgreSQL's code, or ""
	char text[PL_ERROR_TEXT_MAX];
};

// Fills *err (which may be NULL) and returns `code`, so that a failing function can end in `return pl_error_set(…)`. Retryable are
// PL_EBUSY, PL_EUNAVAIL and PL_ETIMEOUT, and there is no SQLSTATE, until the caller says otherwise.
int pl_error_set(struct pl_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

// Puts "context: " before the text of an error that is being passed on; returns its code.
int pl_error_prefix(struct pl_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// A code's name for logs and metrics: "unavailable", "unknown_outcome", …
const char *pl_code_name(int code);

// The end: writes one line to standard error and aborts. Only for what cannot happen and for memory that is not there.
_Noreturn void pl_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
