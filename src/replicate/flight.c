// Rows in flight, in a sorted array: reads hand over ascending ids, so adding is nearly always at the end.
//
// Threads: the relay's.
#include "replicate/flight.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void pl_flights_fini(struct pl_flights *flights)
{
	free(flights->rows);
	memset(flights, 0, sizeof *flights);
}

static int *count_of(struct pl_flights *flights, enum pl_flight_state state)
{
	switch (state) {
	case PL_FLIGHT_SENT:
		return &flights->sent;
	case PL_FLIGHT_DONE:
		return &flights->done;
	default:
		return &flights->aside;
	}
}

// The first place whose id is not smaller.
static int place(const struct pl_flights *flights, int64_t id)
{
	int low = 0, high = flights->n;

	while (low < high) {
		int middle = low + (high - low) / 2;

		if (flights->rows[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void pl_flights_add(struct pl_flights *flights, int64_t id, enum pl_flight_state state)
{
	int at = flights->n > 0 && flights->rows[flights->n - 1].id < id ? flights->n : place(flights, id);

	if (flights->n == flights->cap) {
		flights->cap = flights->cap ? 2 * flights->cap : 1024;
		flights->rows = pl_realloc(flights->rows, sizeof flights->rows[0] * (size_t)flights->cap);
	}
	memmove(&flights->rows[at + 1], &flights->rows[at], sizeof flights->rows[0] * (size_t)(flights->n - at));
	flights->rows[at] = (struct pl_flight){ id, state };
	flights->n++;
	++*count_of(flights, state);
}

bool pl_flights_set(struct pl_flights *flights, int64_t id, enum pl_flight_state state)
{
	int at = place(flights, id);

	if (at == flights->n || flights->rows[at].id != id)
		return false;
	--*count_of(flights, flights->rows[at].state);
	flights->rows[at].state = state;
	++*count_of(flights, state);
	return true;
}

int pl_flights_ids(const struct pl_flights *flights, int64_t *ids_r)
{
	for (int i = 0; i < flights->n; i++)
		ids_r[i] = flights->rows[i].id;
	return flights->n;
}

int pl_flights_settled(const struct pl_flights *flights, int64_t *ids_r)
{
	int n = 0;

	for (int i = 0; i < flights->n && flights->rows[i].state != PL_FLIGHT_SENT; i++)
		if (flights->rows[i].state == PL_FLIGHT_DONE)
			ids_r[n++] = flights->rows[i].id;
	return n;
}

void pl_flights_drop(struct pl_flights *flights, enum pl_flight_state state, int64_t last_id)
{
	int n = 0;

	for (int i = 0; i < flights->n; i++)
		if (flights->rows[i].state != state || flights->rows[i].id > last_id)
			flights->rows[n++] = flights->rows[i];
	*count_of(flights, state) -= flights->n - n;
	flights->n = n;
}
