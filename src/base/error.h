// Errors: a code for the caller to act on, and one sentence for people.
//
// Functions that can fail return 0 or a negative code and take a `struct pl_error *err`
// as their last argument. An error is either returned or logged, never both: callers that
// know the context add it (pl_error_prefix), and the top-level loop logs it once.
#pragma once

#include <stdbool.h>

enum pl_code {
	PL_OK = 0,
	PL_EINVAL = -1,    // the input is invalid; the same input will be invalid again
	PL_ENOTFOUND = -2, // no such thing
	PL_ECONFLICT = -3, // the state is not the one that was expected
	PL_EBUSY = -4,     // a bounded queue or pool is full; may succeed later
	PL_EUNAVAIL = -5,  // a service is unavailable; nothing was done
	// a service was lost at the wrong moment: the operation may or may not have
	// happened
	PL_EUNKNOWN = -6,
	PL_ETIMEOUT = -7,   // the deadline has passed; nothing was done
	PL_EBUDGET = -8,    // a script exceeded its limit of instructions, time or memory
	PL_ESCRIPT = -9,    // a script raised an error
	PL_ESTOPPED = -10,  // the program is stopping
	PL_EINTERNAL = -11, // a bug in plist
	PL_EBEHIND = -12,   // the region has not applied yet what the client has seen
};

#define PL_ERROR_TEXT_MAX 512

struct pl_error {
	int code;         // enum pl_code
	bool retryable;   // the same call may succeed later
	char sqlstate[6]; // of PostgreSQL, or ""
	// raised inside a database function, such as a trigger, not by the statement
	// itself
	bool nested;
	char constraint[64], columns[128]; // names of what was violated, "room, day"; or ""
	char text[PL_ERROR_TEXT_MAX];
};

// Fills *err (which may be NULL) and returns `code`, so that a function can end in
// `return pl_error_set(…)`. PL_EBUSY, PL_EUNAVAIL and PL_ETIMEOUT are retryable, and
// there is no SQLSTATE, unless the caller changes that.
int pl_error_set(struct pl_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

// Prepends "context: " to the text of an error that is passed on, and returns its code.
int pl_error_prefix(struct pl_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// The name of a code for logs and metrics: "unavailable", "unknown_outcome", …
const char *pl_error_code_name(int code);

// Writes one line to standard error and aborts. Only for conditions that cannot happen,
// and for running out of memory.
_Noreturn void pl_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
