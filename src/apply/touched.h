// The outcome of a batch before it is written: records, requests to remember,
// conflicts, dead letters, parked events, positions.
//
// Plain data in the batch's arena, made by apply/batch and apply/decision, written by
// apply/rows.
#pragma once

#include <uthash.h>

#include "decide/decide.h"

// A record that events of the batch concern.
struct pl_touched_row {
	struct pl_touched_row_key {
		int resource;
		int64_t id;
	} key;
	const struct pl_resource *resource;
	bool exists;  // the table has its row, and we hold its lock
	bool flagged; // the row says that it has siblings
	// another session holds the row, so nothing was read of it
	bool locked;
	bool cut;         // its texts are still to be read
	bool was_deleted; // as loaded
	bool changed;     // the row is to be written
	// it has siblings, and they or what is known of them changed
	bool ask;
	struct pl_state state;  // as loaded, then as decided
	struct pl_sibling row;  // the visible row, as loaded, then as resolved
	struct pl_shown *shown; // the policy's answer, when it was asked
	// The last conflict of this record that this batch detected.
	struct pl_conflict_seen *detected;
	// For resolving: its requests that this batch carries, and those that are
	// stored.
	struct pl_known_request *known_requests;
	struct pl_stored_request *stored_requests;
	UT_hash_handle hh;
};

// A request that events carry.
struct pl_known_request {
	const struct pl_event *event;   // one that carries it, with the answer to remember
	struct pl_touched_row *touched; // its record
	int ndots;
	// of its executions in this batch, one for each region
	const struct pl_dot *dots;
	// another request of the batch has the same id: written after that one
	bool later;
	struct pl_known_request *next; // of the same record
};

// What is remembered of a request on this record.
struct pl_stored_request {
	struct pl_touched_row *touched;
	struct pl_twins twins;
	struct pl_stored_request *next; // of the same record
};
struct pl_stored_requests {
	struct pl_stored_request *items;
	int n;
};

// A conflict: concurrent writes of a record, detected when an event arrived.
struct pl_conflict_seen {
	struct pl_touched_row *touched;
	const struct pl_event *event;
	struct pl_state state;
	struct pl_shown shown;
	bool closed; // a later event of the same batch replaced all of them
};

struct pl_dead_letter {
	const char *topic;
	int32_t partition;
	int64_t offset;
	const void *key, *value;
	size_t key_len, value_len;
	const char *headers; // JSON
	const char *error;
	int64_t broker_time_us; // 0: unknown
};

// An event that the database does not accept.
struct pl_parked {
	const struct pl_event *event; // NULL: not readable under this configuration
	// as received; `headers` is a list, `error` the reason
	struct pl_dead_letter message;
	int64_t broker_time_us;
	const char *sqlstate, *constraint, *column;
	bool lock;
};

struct pl_position {
	const char *topic;
	int32_t partition;
	int64_t next_offset, event_at_us;
};
