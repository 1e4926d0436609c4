// A statement for several writes: filled by store/write_batch or store/write_outcome, in
// flight until its result has been taken.
//
// Its memory is kept from one use to the next.
// Threads: used under the shared writer's lock.
#include <stdlib.h>

#include "store/store_private.h"

void pl_in_flight_statement_init(struct pl_in_flight_statement *in_flight, struct pl_shared_writer *writer,
                                 struct pl_conn *conn, bool stacked)
{
	in_flight->writer = writer;
	in_flight->conn = conn;
	in_flight->stacked = stacked;
}

// Grows as needed: a reload may bring a larger database.batch.
void pl_in_flight_statement_add(struct pl_in_flight_statement *in_flight, struct pl_write_task *task)
{
	if (in_flight->n == in_flight->room) {
		in_flight->room = in_flight->room ? 2 * in_flight->room : 64;
		in_flight->tasks =
			pl_realloc(in_flight->tasks, (size_t)in_flight->room * sizeof(in_flight->tasks[0]));
	}
	task->in_flight = in_flight;
	task->place = in_flight->n;
	in_flight->tasks[in_flight->n++] = task;
}

void pl_in_flight_statement_fini(struct pl_in_flight_statement *in_flight)
{
	pl_params_fini(&in_flight->params);
	pl_guard_union_fini(&in_flight->guard);
	free(in_flight->tasks);
	in_flight->tasks = NULL;
}
