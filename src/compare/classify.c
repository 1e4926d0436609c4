// How the copies of one record are related: see classify.h.
#include "compare/classify.h"

#include <string.h>

static const char *const names[PL_DIFFERENCES] = {
	[PL_DIFFERENCE_NONE] = "none",
	[PL_DIFFERENCE_MISSING] = "missing",
	[PL_DIFFERENCE_BEHIND] = "behind",
	[PL_DIFFERENCE_CONCURRENT] = "concurrent",
	[PL_DIFFERENCE_SIBLINGS] = "siblings-differ",
	[PL_DIFFERENCE_CONTENT] = "content-differs",
};

const char *pl_classify_name(enum pl_difference difference)
{
	return names[difference];
}

enum pl_difference pl_classify_named(const char *name)
{
	for (int i = 1; i < PL_DIFFERENCES; i++)
		if (strcmp(names[i], name) == 0)
			return (enum pl_difference)i;
	return PL_DIFFERENCE_NONE;
}

const char *pl_classify_state_name(enum pl_copy_state state)
{
	static const char *const states[] = { "newest", "missing", "behind", "concurrent" };
	return states[state];
}

static bool is_covered(const struct pl_copy *copies, int n, int i)
{
	for (int j = 0; j < n; j++)
		if (copies[j].exists && pl_vector_le(&copies[i].vector, &copies[j].vector) &&
		    !pl_vector_equal(&copies[i].vector, &copies[j].vector))
			return true;
	return false;
}

// Compares copy `i` with those earlier copies that no other one covers.
static void meet(const struct pl_copy *copies, int i, struct pl_classified *c, bool *concurrent,
                 enum pl_difference *worst)
{
	c->publish[i] = true;
	for (int j = 0; j < i; j++) {
		if (c->state[j] != PL_COPY_NEWEST)
			continue;
		if (!pl_vector_equal(&copies[i].vector, &copies[j].vector)) {
			*concurrent = true;
			continue;
		}
		c->publish[i] = false;
		if (copies[i].content != copies[j].content)
			*worst = PL_DIFFERENCE_CONTENT;
		else if (copies[i].siblings != copies[j].siblings && *worst == PL_DIFFERENCE_NONE)
			*worst = PL_DIFFERENCE_SIBLINGS;
	}
}

void pl_classify(const struct pl_copy *copies, int n, struct pl_classified *classified_r)
{
	struct pl_classified *c = classified_r;
	bool concurrent = false;
	int missing = 0, behind = 0;
	enum pl_difference worst = PL_DIFFERENCE_NONE;
	memset(c, 0, sizeof(*c));
	for (int i = 0; i < n; i++) {
		c->state[i] = !copies[i].exists          ? PL_COPY_MISSING
		              : is_covered(copies, n, i) ? PL_COPY_BEHIND
		                                         : PL_COPY_NEWEST;
		missing += c->state[i] == PL_COPY_MISSING;
		behind += c->state[i] == PL_COPY_BEHIND;
		if (c->state[i] == PL_COPY_NEWEST)
			meet(copies, i, c, &concurrent, &worst);
	}
	for (int i = 0; i < n && concurrent; i++)
		if (c->state[i] == PL_COPY_NEWEST)
			c->state[i] = PL_COPY_CONCURRENT;
	if (missing == n) { // no region has a row; some may have siblings without one
		missing = 0;
		for (int i = 1; i < n; i++)
			if (copies[i].siblings != copies[0].siblings)
				worst = PL_DIFFERENCE_SIBLINGS;
	}
	c->difference = worst        ? worst
	                : concurrent ? PL_DIFFERENCE_CONCURRENT
	                : missing    ? PL_DIFFERENCE_MISSING
	                : behind     ? PL_DIFFERENCE_BEHIND
	                             : PL_DIFFERENCE_NONE;
}
