// How the copies of one record in several regions are related.
//
// A vector says which writes a copy has seen, so nothing has to be guessed: a copy is
// behind if another one's vector covers its own; if neither covers the other, they
// contain concurrent writes. No write explains equal vectors with different contents:
// somebody has changed a row by hand.
// Threads: any; pure.
#pragma once

#include "record/vector.h"

struct pl_copy {
	bool exists;
	struct pl_vector vector;
	int64_t content, siblings; // digests
};

enum pl_difference {
	PL_DIFFERENCE_NONE,
	PL_DIFFERENCE_MISSING,    // a region has no such record
	PL_DIFFERENCE_BEHIND,     // another copy's vector covers it
	PL_DIFFERENCE_CONCURRENT, // no copy has seen all writes
	PL_DIFFERENCE_SIBLINGS,   // equal vectors and rows, different siblings
	PL_DIFFERENCE_CONTENT,    // equal vectors, different contents
	PL_DIFFERENCES,
};

enum pl_copy_state { PL_COPY_NEWEST, PL_COPY_MISSING, PL_COPY_BEHIND, PL_COPY_CONCURRENT };

struct pl_classified {
	enum pl_difference difference; // the most serious one
	enum pl_copy_state state[PL_REGIONS_MAX];
	// the copies that have to be republished to bring all others up to date: one
	// for each vector that no other vector covers
	bool publish[PL_REGIONS_MAX];
};

void pl_classify(const struct pl_copy *copies, int n, struct pl_classified *classified_r);
// "missing", "behind", "concurrent", "siblings-differ", "content-differs".
const char *pl_classify_name(enum pl_difference difference);
enum pl_difference pl_classify_named(const char *name); // PL_DIFFERENCE_NONE: unknown name
const char *pl_classify_state_name(enum pl_copy_state state);
