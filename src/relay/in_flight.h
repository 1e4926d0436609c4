// Rows in flight: read from the outbox and not yet completed. This is all that the
// relay remembers, bounded by its window.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pl_in_flight_state {
	PL_IN_FLIGHT_SENT,    // the broker has not answered
	PL_IN_FLIGHT_DONE,    // acknowledged
	PL_IN_FLIGHT_REFUSED, // the broker refuses the batch that contained it
};

struct pl_in_flight_row {
	int64_t id;
	uint32_t record;
	uint32_t slot;     // its stream (relay/streams), and its numbers in it
	int64_t seq, prev; // seq 0: it has no numbers
	size_t bytes;      // of its message, which the producer keeps until the broker answers
	enum pl_in_flight_state state;
};

struct pl_in_flight {
	int n, cap;
	struct pl_in_flight_row *rows; // ascending by id
	int sent, done, refused;       // the number of rows in each state
	size_t bytes;                  // of those that are sent
};

void pl_in_flight_fini(struct pl_in_flight *in_flight);
// `record` is the same number for all rows of one record.
void pl_in_flight_add(struct pl_in_flight *in_flight, const struct pl_in_flight_row *row);
// False if no such row is in flight (a late report).
bool pl_in_flight_set(struct pl_in_flight *in_flight, int64_t id, enum pl_in_flight_state state);
// The smallest id; INT64_MAX: there is none.
int64_t pl_in_flight_first(const struct pl_in_flight *in_flight);
// How many rows, from the first one on, are acknowledged. A later acknowledged row is
// kept, so that it can be sent again after an earlier one.
int pl_in_flight_settled(const struct pl_in_flight *in_flight);
// Also marks as refused the later rows of the same records, although they were
// acknowledged: they must be sent again after it. Returns how many rows are refused.
int pl_in_flight_recall(struct pl_in_flight *in_flight);
// Removes the rows in `state` up to this id.
void pl_in_flight_drop(struct pl_in_flight *in_flight, enum pl_in_flight_state state, int64_t last_id);
