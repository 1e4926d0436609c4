// Lost connections: waiting until the backend that had the writes is gone.
//
// Comes between store/write_batch, whose connection was lost while writes were in
// flight, and store/write_outcome, which then asks whether they were committed. These
// must be two steps: first the old backend is known to be gone, then a later snapshot
// tells whether the request is remembered. In the other order, or in one statement, the
// backend could commit in between.
// Threads: used under the shared writer's lock.
#include <stdlib.h>
#include <utlist.h>

#include "base/clock.h"
#include "store/store_private.h"

#define BACKEND_PATIENCE_US 1000000 // after that, the orphaned backend is terminated

// A row while the backend exists. $3: terminate it.
static const char look_for_backend[] =
	"SELECT CASE WHEN $3::boolean THEN pg_terminate_backend(pid) END FROM pg_stat_activity "
	"WHERE pid = $1::integer AND backend_start = $2::timestamptz";

static void loss_free(struct pl_loss *loss)
{
	DL_DELETE(loss->writer->losses, loss);
	free(loss);
}

static void seen(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_loss *loss = arg;
	struct pl_shared_writer *writer = loss->writer;

	loss->asked = false;
	if (writer->db.stopping)
		return;
	// Gone: what it has not committed by now, it never will.
	if (result && err->code == 0 && PQntuples(result) == 0) {
		while (loss->tasks) {
			writer->stats.settled++;
			pl_write_task_move(loss->tasks, PL_WRITE_STAGE_ASKING, false);
		}
		loss_free(loss);
		return;
	}
	loss->next_look_us = pl_mono_us() + (INT64_C(5000) << (loss->looks < 5 ? loss->looks++ : 5));
	pl_database_wake_at(&writer->db, loss->next_look_us);
}

void pl_losses_look(struct pl_shared_writer *writer, int64_t now_us)
{
	struct pl_loss *loss, *next;

	DL_FOREACH_SAFE (writer->losses, loss, next) {
		const char *values[] = { loss->pid, loss->start,
			                 now_us - loss->since_us > BACKEND_PATIENCE_US ? "t" : "f" };
		struct pl_conn_params params = { .n = 3, .values = values };

		if (loss->asked)
			continue;
		if (!loss->tasks) // their deadlines have passed
			loss_free(loss);
		else if (now_us < loss->next_look_us)
			pl_database_wake_at(&writer->db, loss->next_look_us);
		else if (pl_conn_send_sql(writer->reader, look_for_backend, &params, seen, loss, NULL) == 0)
			loss->asked = true;
		else
			pl_database_wake_at(&writer->db, now_us + 20000);
	}
}

void pl_losses_add(struct pl_shared_writer *writer, const struct pl_in_flight_statement *in_flight)
{
	struct pl_loss *loss = pl_calloc(1, sizeof(*loss));

	loss->writer = writer;
	loss->since_us = pl_mono_us();
	snprintf(loss->pid, sizeof(loss->pid), "%d", pl_conn_backend_pid(in_flight->conn));
	snprintf(loss->start, sizeof(loss->start), "%s", pl_conn_backend_start(in_flight->conn));
	DL_APPEND(writer->losses, loss);
	for (int i = 0; i < in_flight->n; i++) {
		struct pl_write_task *task = in_flight->tasks[i];

		if (task && task->request.key)
			pl_write_task_lose(task, loss);
		else if (task) // without a request id there is nothing to look up
			pl_write_task_fail(task, PL_EUNKNOWN, PL_LOST_TEXT);
	}
	pl_database_wake_at(&writer->db, 0);
}

void pl_losses_free(struct pl_shared_writer *writer)
{
	struct pl_loss *loss, *next;

	DL_FOREACH_SAFE (writer->losses, loss, next)
		loss_free(loss);
}
