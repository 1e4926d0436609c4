// Rows in flight: read from the outbox, not yet gone from it. The relay's memory, bounded by its window.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum pl_flight_state {
	PL_FLIGHT_SENT,       // the broker has not answered
	PL_FLIGHT_DONE,       // acknowledged: to be deleted
	PL_FLIGHT_ASIDE,      // the broker will not have it: left in the outbox, looked at again later
};

struct pl_flight { int64_t id; enum pl_flight_state state; };

struct pl_flights {
	int n, cap;
	struct pl_flight *rows; // ascending by id
	int sent, done, aside;  // how many of each
};

void pl_flights_fini(struct pl_flights *flights);
void pl_flights_add(struct pl_flights *flights, int64_t id, enum pl_flight_state state);
// False when there is no such row in flight (a report about an earlier life).
bool pl_flights_set(struct pl_flights *flights, int64_t id, enum pl_flight_state state);
// All ids, ascending, into `ids_r` (room for n).
int pl_flights_ids(const struct pl_flights *flights, int64_t *ids_r);
// The ids of what is acknowledged and was sent before all that is not: a later row stays, so that it can follow an earlier one that is sent again.
int pl_flights_settled(const struct pl_flights *flights, int64_t *ids_r);
// Of those in `state`, the ones up to this id.
void pl_flights_drop(struct pl_flights *flights, enum pl_flight_state state, int64_t last_id);
