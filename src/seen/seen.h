// What a client has seen: the token that it receives with an answer and sends with its
// next request, in the header Plist-Session. See seen.c for what a token promises and
// why.
//
// Threads: any; nothing is shared.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/mem.h"
#include "config/config.h"
#include "record/vector.h"

#define PL_SEEN_HEADER      "Plist-Session"
#define PL_SEEN_NEW         "new" // asks for a token, and names nothing
#define PL_SEEN_TEXT_MAX    400
#define PL_SEEN_TOKENS_MAX  8 // tokens in one request
#define PL_SEEN_RECORDS_MAX 16
#define PL_SEEN_COUNTS_MAX  12 // entries that are kept of a vector

// A row of a region's outbox. Everything up to that row was seen. Names are hashed.
struct pl_seen_position {
	uint32_t region;
	int64_t generation, id;
};

struct pl_seen_count {
	uint32_t key;
	int32_t n;
};

// A record, and the vector that it had.
struct pl_seen_record {
	uint32_t resource;
	int64_t id;
	bool deleted;
	int n;
	struct pl_seen_count counts[PL_SEEN_COUNTS_MAX];
};

// Records are in the order in which they were seen, the last one first.
struct pl_seen {
	int npositions, nrecords;
	struct pl_seen_position positions[PL_REGIONS_MAX];
	struct pl_seen_record records[PL_SEEN_RECORDS_MAX];
};

uint32_t pl_seen_hash(const char *name, size_t len);

// Everything up to this place of the region's outbox was seen. Places that are not known
// (0) change nothing.
void pl_seen_add_position(struct pl_seen *seen, const char *region, int64_t generation, int64_t id);
// A record was written or read. The caller must also add a position that covers its
// last write.
void pl_seen_add_record(struct pl_seen *seen, const char *resource, int64_t id,
                        const struct pl_vector *vector, bool deleted);
// The record, or any record, was seen in a state whose vector is not known, and which a
// position covers: what the token names may be older.
void pl_seen_forget(struct pl_seen *seen, const char *resource, int64_t id);
void pl_seen_forget_all(struct pl_seen *seen);
// Takes over all that another token names.
void pl_seen_merge(struct pl_seen *seen, const struct pl_seen *other);

// Finds a record. NULL: the token does not name it.
const struct pl_seen_record *pl_seen_find(const struct pl_seen *seen, const char *resource, int64_t id);
// Whether this vector covers all that was seen of the record; NULL: the record does not
// exist.
bool pl_seen_covered(const struct pl_seen_record *record, const struct pl_vector *vector);
// Whether the record was seen with exactly this vector.
bool pl_seen_equal(const struct pl_seen_record *record, const struct pl_vector *vector);

// Prints the token. Records that do not fit are left out, the oldest first.
void pl_seen_print(char text[PL_SEEN_TEXT_MAX + 1], const struct pl_seen *seen);
// Adds the tokens of a header, "token, token". Positions of regions that are not
// configured are left out. Returns NULL, or a sentence that says what is wrong.
const char *pl_seen_parse(struct pl_seen *seen, const struct pl_config *config, const char *text);
