// What another region's answer says about this region: pure code.
//
// The answer shows what the other region had, and this region has received all of that
// before it read its own rows. So each place (a record, or a range of ids) of the
// answer must exist here as well, while a place that only this region has proves
// nothing.
// Threads: any.
#pragma once

#include "base/mem.h"
#include "compare/classify.h"

// Finds the places of `there` that are missing `here` or have another digest there.
// Both lists are ordered by place. Returns the number of places found, at most `max`.
int pl_audit_judge_digests(const char *here, const char *there, int64_t *places_r, int max);
// Whether the span has 1 to `most` ids. Another region sent both numbers, so they may
// have any value.
bool pl_audit_judge_span(int64_t from, int64_t until, int64_t most);
// Whether all places, which are ids or ranges of 2^bits ids, lie within the span.
bool pl_audit_judge_places(const int64_t *places, int n, int bits, int64_t from, int64_t until);

// A record as one line of an answer: "id content siblings vector". The vector of a
// record that does not exist is "-".
struct pl_audit_copy {
	int64_t id;
	struct pl_copy copy;
};
void pl_audit_judge_print(struct pl_buf *lines, const struct pl_audit_copy *copy);
// Parses the next line and advances *at. False at the end, and at a malformed line.
bool pl_audit_judge_parse(const char **at, struct pl_audit_copy *copy_r);
// Returns what is wrong with the local copy, which was read later; PL_DIFFERENCE_NONE:
// nothing.
enum pl_difference pl_audit_judge_copies(const struct pl_copy *here, const struct pl_copy *there);
