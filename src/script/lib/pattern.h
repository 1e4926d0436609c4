// Lua's patterns, matched step by step at a price. For lib/string.c only.
#pragma once

#include <lauxlib.h>
#include <stdbool.h>
#include <stddef.h>

#define PL_PATTERN_CAPTURES 32

struct pl_pattern_match {
	lua_State *L;
	const char *text, *text_end;
	const char *pattern, *pattern_end;
	bool anchored; // began with ^, which `pattern` no longer has
	int depth;     // of recursion left
	int steps;     // not yet charged
	int ncaptures;
	struct {
		const char *start;
		ptrdiff_t len;
	} captures[PL_PATTERN_CAPTURES]; // len: see pattern.c
};

void pl_pattern_match_init(struct pl_pattern_match *m, lua_State *L, const char *text, size_t text_len,
                           const char *pattern, size_t pattern_len);
// The end of the match that begins at `at`, or NULL. Raises for a malformed pattern, and
// when the budget is gone.
const char *pl_pattern_match_at(struct pl_pattern_match *m, const char *at);
// Pushes capture `i` (from 0); with no captures at all, capture 0 is the whole match from
// `start` to `end`.
void pl_pattern_match_push(struct pl_pattern_match *m, int i, const char *start, const char *end);
// Pushes all of them, or the whole match where there are none and `start` is not NULL.
// How many were pushed.
int pl_pattern_match_push_all(struct pl_pattern_match *m, const char *start, const char *end);
