// Version vectors and dots: how often each region has written a record, and the
// identity of a single write.
//
// A vector maps regions to counts of writes; a region that is absent has 0. Entries are
// sorted by region name, so equal vectors have equal bytes and equal text. A dot is one
// write: its region and that region's count.
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

// A record's history may name more regions than exist now: removed regions, and earlier
// incarnations of a region.
#define PL_VECTOR_MAX 64

// Names are stored as indexes into a table of the process, which keeps a vector of 64
// names small. Only vector.c uses the members.
struct pl_vector {
	int n;
	int32_t counters[PL_VECTOR_MAX]; // > 0
	uint16_t names[PL_VECTOR_MAX];
};

// A region counts its writes under a key: its name, or, after its count may have been
// lost, "eu.2", "eu.3", … So no dot is given to two writes. A dot's and an entry's
// "region" is such a key. Up to PL_REGION_MAX bytes: [a-z][a-z0-9-]*, and a generation.
bool pl_vector_region_name_ok(const char *name, size_t len);
size_t pl_vector_region_len(const char *key, size_t len); // of the region's name in a key
void pl_vector_region_of(const char *key, char region_r[PL_REGION_MAX + 1]);
bool pl_vector_same_region(const char *key, const char *other);

// Adds a name to the process's table of names. Names that arrive in data are no longer
// added well before the table is full, so there is always room for the names of a
// configuration, which are added when it is loaded.
void pl_vector_region_name_keep(const char *name);

int32_t pl_vector_get(const struct pl_vector *v, const char *region);
int pl_vector_set(struct pl_vector *v, const char *region,
                  int32_t counter); // 0 removes. -1: no room, or not a valid name
int64_t pl_vector_sum(const struct pl_vector *v);
bool pl_vector_covers(const struct pl_vector *v, const struct pl_dot *dot);
bool pl_vector_le(const struct pl_vector *a, const struct pl_vector *b);
bool pl_vector_equal(const struct pl_vector *a, const struct pl_vector *b);
int pl_vector_join(struct pl_vector *into,
                   const struct pl_vector *other); // element-wise maximum; -1: no room
// The i-th entry, 0 <= i < n. *region_r stays valid until the process ends.
int32_t pl_vector_at(const struct pl_vector *v, int i, const char **region_r);
int pl_vector_dot_cmp(const struct pl_dot *a, const struct pl_dot *b); // region, then counter

// JSON text {"eu":1,"us":2}, appended; and back. The parser accepts any order and white
// space. 0 or -1.
void pl_vector_print(struct pl_buf *buf, const struct pl_vector *v);
int pl_vector_parse(struct pl_vector *v, const char *text, size_t len);

// The strong entity tag with its quotes: "eu:1+us:2". Parsing takes one tag and returns
// -1 for a weak one or one that plist did not make.
#define PL_ETAG_MAX (PL_VECTOR_MAX * (PL_REGION_MAX + 13) + 3)
char *pl_vector_etag(const struct pl_vector *v, char text[PL_ETAG_MAX]);
int pl_vector_parse_etag(struct pl_vector *v, const char *text, size_t len);
