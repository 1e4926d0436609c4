// Rows in flight, in a sorted array: reads return ascending ids, so rows are nearly
// always added at the end.
//
// Threads: the relay's.
#include "relay/in_flight.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void pl_in_flight_fini(struct pl_in_flight *in_flight)
{
	free(in_flight->rows);
	memset(in_flight, 0, sizeof(*in_flight));
}

static int *count_of(struct pl_in_flight *in_flight, enum pl_in_flight_state state)
{
	switch (state) {
	case PL_IN_FLIGHT_SENT: return &in_flight->sent;
	case PL_IN_FLIGHT_DONE: return &in_flight->done;
	default: return &in_flight->refused;
	}
}

static void count(struct pl_in_flight *in_flight, const struct pl_in_flight_row *row)
{
	++*count_of(in_flight, row->state);
	if (row->state == PL_IN_FLIGHT_SENT)
		in_flight->bytes += row->bytes;
}

static void uncount(struct pl_in_flight *in_flight, const struct pl_in_flight_row *row)
{
	--*count_of(in_flight, row->state);
	if (row->state == PL_IN_FLIGHT_SENT)
		in_flight->bytes -= row->bytes;
}

// The index of the first row whose id is not smaller.
static int place(const struct pl_in_flight *in_flight, int64_t id)
{
	int low = 0, high = in_flight->n;

	while (low < high) {
		int middle = low + (high - low) / 2;

		if (in_flight->rows[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void pl_in_flight_add(struct pl_in_flight *in_flight, const struct pl_in_flight_row *row)
{
	int at = in_flight->n > 0 && in_flight->rows[in_flight->n - 1].id < row->id
	                 ? in_flight->n
	                 : place(in_flight, row->id);

	if (in_flight->n == in_flight->cap) {
		in_flight->cap = in_flight->cap ? 2 * in_flight->cap : 1024;
		in_flight->rows =
			pl_realloc(in_flight->rows, sizeof(in_flight->rows[0]) * (size_t)in_flight->cap);
	}
	memmove(&in_flight->rows[at + 1], &in_flight->rows[at],
	        sizeof(in_flight->rows[0]) * (size_t)(in_flight->n - at));
	in_flight->rows[at] = *row;
	in_flight->n++;
	count(in_flight, row);
}

bool pl_in_flight_set(struct pl_in_flight *in_flight, int64_t id, enum pl_in_flight_state state)
{
	int at = place(in_flight, id);

	if (at == in_flight->n || in_flight->rows[at].id != id)
		return false;
	uncount(in_flight, &in_flight->rows[at]);
	in_flight->rows[at].state = state;
	count(in_flight, &in_flight->rows[at]);
	return true;
}

int64_t pl_in_flight_first(const struct pl_in_flight *in_flight)
{
	return in_flight->n > 0 ? in_flight->rows[0].id : INT64_MAX;
}

int pl_in_flight_settled(const struct pl_in_flight *in_flight)
{
	int n = 0;

	while (n < in_flight->n && in_flight->rows[n].state == PL_IN_FLIGHT_DONE)
		n++;
	return n;
}

static bool follows_a_refused_one(const struct pl_in_flight_row *rows, int at)
{
	for (int i = 0; i < at; i++)
		if (rows[i].state == PL_IN_FLIGHT_REFUSED && rows[i].record == rows[at].record)
			return true;
	return false;
}

int pl_in_flight_recall(struct pl_in_flight *in_flight)
{
	for (int i = 0; i < in_flight->n; i++)
		if (in_flight->rows[i].state == PL_IN_FLIGHT_DONE &&
		    follows_a_refused_one(in_flight->rows, i))
			pl_in_flight_set(in_flight, in_flight->rows[i].id, PL_IN_FLIGHT_REFUSED);
	return in_flight->refused;
}

void pl_in_flight_drop(struct pl_in_flight *in_flight, enum pl_in_flight_state state, int64_t last_id)
{
	int n = 0;

	for (int i = 0; i < in_flight->n; i++)
		if (in_flight->rows[i].state != state || in_flight->rows[i].id > last_id)
			in_flight->rows[n++] = in_flight->rows[i];
		else
			uncount(in_flight, &in_flight->rows[i]);
	in_flight->n = n;
}
