// Version vectors and dots: who has written a record how often, and which write a write is.
//
// A vector maps regions to counts of writes; a region that is absent counts 0. Entries are sorted by region name, so equal vectors are
// equal bytes and equal text.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "config/config.h"

struct pl_dot {
	char region[PL_REGION_MAX + 1];
	int32_t counter;
};

struct pl_vector {
	int n;
	struct pl_dot dots[PL_REGIONS_MAX]; // counter > 0
};

// [a-z][a-z0-9-]*, up to PL_REGION_MAX bytes.
bool pl_region_name_ok(const char *name, size_t len);

int32_t pl_vector_get(const struct pl_vector *v, const char *region);
int pl_vector_set(struct pl_vector *v, const char *region, int32_t counter); // 0 removes. -1: no room, or no such name possible
int64_t pl_vector_sum(const struct pl_vector *v);
bool pl_vector_covers(const struct pl_vector *v, const struct pl_dot *dot);
bool pl_vector_le(const struct pl_vector *a, const struct pl_vector *b);
bool pl_vector_equal(const struct pl_vector *a, const struct pl_vector *b);
int pl_vector_join(struct pl_vector *into, const struct pl_vector *other); // element-wise maximum; -1: no room
int pl_dot_cmp(const struct pl_dot *a, const struct pl_dot *b); // region, then counter

// JSON text {"eu":1,"us":2}, appended; and back. Spaces and order do not matter in what is parsed. 0 or -1.
void pl_vector_print(struct pl_buf *buf, const struct pl_vector *v);
int pl_vector_parse(struct pl_vector *v, const char *text, size_t len);

// The strong entity tag with its quotes: "eu:1+us:2". Parsing takes one tag; -1 for a weak or foreign one.
#define PL_ETAG_MAX (PL_REGIONS_MAX * (PL_REGION_MAX + 13) + 3)
char *pl_vector_etag(const struct pl_vector *v, char text[PL_ETAG_MAX]);
int pl_vector_parse_etag(struct pl_vector *v, const char *text, size_t len);
