// What a batch of events is turned into before it is written: its records, the requests to remember, what was detected, what cannot be read.
//
// Plain data in the batch's arena, made by replicate/batch, filled in and written out by replicate/apply_sql.
#pragma once

#include <uthash.h>

#include "replicate/decide.h"

// A record that the batch's events are about.
struct pl_target {
	struct pl_target_key { int resource; int64_t id; } key;
	const struct pl_resource *resource;
	bool exists;                  // the table has its row, which we hold locked
	bool flagged;                 // the row says that there are siblings
	bool changed;                 // the row is to be written
	bool ask;                     // to be shown: siblings stand, or stood and something was heard of them
	struct pl_state state;        // as loaded, then as decided
	struct pl_sibling row;        // the visible row, as loaded, then as shown
	struct pl_shown *shown;       // when the policy was asked
	struct pl_detection *detected;// the last time that concurrent writes of it were detected in this batch
	struct pl_heard *heard;       // when it is shown: what this batch heard of its requests, …
	struct pl_remembrance *remembered; // … and what the database remembers of them
	UT_hash_handle hh;
};

// A request that some event tells of.
struct pl_heard {
	const struct pl_event *event; // the first that told of it
	struct pl_target *target;     // its record
	int ndots; const struct pl_dot *dots; // of all executions that the batch tells of, one of each region
	bool later;                   // its id is another request's of the same batch: remembered after that one
	struct pl_heard *next;        // of the same record
};

// What is remembered of a request on this record.
struct pl_remembrance {
	struct pl_target *target;
	struct pl_twins twins;
	struct pl_remembrance *next;  // of the same record
};

// Concurrent writes, detected.
struct pl_detection {
	struct pl_target *target;
	const struct pl_event *event;
	struct pl_state state;
	struct pl_shown shown;
	bool closed;                  // a later event of the same batch replaced them all
};

struct pl_dead_letter {
	const char *topic; int32_t partition; int64_t offset;
	const void *key, *value; size_t key_len, value_len;
	const char *headers;          // JSON
	const char *error;
};

struct pl_position { const char *topic; int32_t partition; int64_t next_offset, event_at_us; };
