// See shared_writer.h. How workers enter is in writer_client.c; what is done with a
// write, in write_batch.c.
//
// Its connections:
//
//	write    database.write_connections of them; one batch at a time on each
//	serial   one, made when first needed: single writes, which may wait for a lock
//	read     one, for questions about writes
#include "store/shared_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_private.h"

#define TURNS_MAX 16 // of the loop in one turn of the writer

// Deadlines, delays after a deadlock, lost backends.
static void due(void *owner, int64_t now_us)
{
	struct pl_shared_writer *writer = owner;

	pl_write_batch_due(writer, now_us);
	pl_losses_look(writer, now_us);
	pl_write_answer_due(writer, now_us);
}

static void take_key(struct pl_shared_writer *writer);

// The watch on the loop is edge-triggered, so the loop is turned until nothing is
// ready.
bool pl_shared_writer_turn(struct pl_shared_writer *writer)
{
	int turns = 0;

	take_key(writer);
	while (pl_loop_turn(writer->db.loop) && ++turns < TURNS_MAX)
		;
	pl_write_batch_send(writer);
	pl_write_outcome_ask(writer);
	return turns == TURNS_MAX;
}

// ---- making and freeing

static struct pl_conn *connect_batch(struct pl_shared_writer *writer)
{
	struct pl_conn *conn = pl_writer_conns_batch(writer);

	pl_write_answer_prepare(conn);
	return conn;
}

static void take_key(struct pl_shared_writer *writer)
{
	if (strcmp(writer->db.key, writer->next_key) == 0)
		return;
	snprintf(writer->db.key, sizeof(writer->db.key), "%s", writer->next_key);
	pl_statement_set_reconfigure(&writer->db);
	pl_writer_conns_set_up_anew(writer);
}

void pl_shared_writer_set_key(struct pl_shared_writer *writer, const char *key)
{
	pthread_mutex_lock(&writer->lock);
	if (strcmp(writer->next_key, key) != 0) {
		snprintf(writer->next_key, sizeof(writer->next_key), "%s", key);
		if (writer->clients) // the connections belong to the loop that a worker turns
			pl_wake_ring(writer->clients->wake);
		else
			take_key(writer);
	}
	pthread_mutex_unlock(&writer->lock);
}

void pl_shared_writer_set_gate(struct pl_shared_writer *writer, struct pl_table_gate *tables)
{
	writer->tables = tables;
}

static void connect_all(struct pl_shared_writer *writer)
{
	int wanted = writer->db.config->database.write_connections;

	writer->nbatch_conns = wanted > 0 ? wanted : 1;
	writer->batch_conns = pl_calloc((size_t)writer->nbatch_conns, sizeof(writer->batch_conns[0]));
	for (int i = 0; i < writer->nbatch_conns; i++) {
		struct pl_batch_conn *batch_conn = &writer->batch_conns[i];

		batch_conn->conn = connect_batch(writer);
		for (int k = 0; k < PL_LAYERS_MAX; k++)
			pl_in_flight_statement_init(&batch_conn->layers[k], writer, batch_conn->conn, k > 0);
	}
	writer->reader = pl_database_connect(
		&writer->db, &(struct pl_database_conn_options){ .purpose = "read",
	                                                         .required_for = "reads",
	                                                         .read_only = true,
	                                                         .setup = pl_statement_pinned_plans,
	                                                         .first = PL_STATEMENT_ASK,
	                                                         .nkinds = 1 });
	pl_in_flight_statement_init(&writer->serial, writer, NULL, false);
	pl_in_flight_statement_init(&writer->asker, writer, writer->reader, false);
}

struct pl_shared_writer *pl_shared_writer_new(const struct pl_config *config, const struct pl_region *region,
                                              struct pl_error *err)
{
	struct pl_shared_writer *writer;

	if (!region || !region->database) {
		pl_error_set(err, PL_EINVAL, "the region has no database");
		return NULL;
	}
	writer = pl_calloc(1, sizeof(*writer));
	pthread_mutex_init(&writer->lock, NULL);
	writer->running = pl_running_ids_new();
	pl_database_init(&writer->db, pl_loop_new(), config, region, due, writer);
	snprintf(writer->next_key, sizeof(writer->next_key), "%s", region->name);
	connect_all(writer);
	return writer;
}

void pl_shared_writer_free(struct pl_shared_writer **writer_p)
{
	struct pl_shared_writer *writer = *writer_p;

	if (!writer)
		return;
	*writer_p = NULL;
	pl_database_close(&writer->db);
	pl_losses_free(writer);
	for (int i = 0; i < writer->nbatch_conns; i++)
		for (int k = 0; k < PL_LAYERS_MAX; k++)
			pl_in_flight_statement_fini(&writer->batch_conns[i].layers[k]);
	pl_in_flight_statement_fini(&writer->serial);
	pl_in_flight_statement_fini(&writer->asker);
	free(writer->batch_conns);
	pl_database_fini(&writer->db);
	pl_loop_free(&writer->db.loop);
	pl_running_ids_free(&writer->running);
	pthread_mutex_destroy(&writer->lock);
	free(writer);
}

// ---- for the daemon

void pl_shared_writer_reconfigure(struct pl_shared_writer *writer, const struct pl_config *config,
                                  const struct pl_region *region)
{
	pthread_mutex_lock(&writer->lock);
	if (writer->db.config != config)
		pl_database_reconfigure(&writer->db, config, region);
	pthread_mutex_unlock(&writer->lock);
}

bool pl_shared_writer_ready(struct pl_shared_writer *writer, struct pl_error *why)
{
	bool ready;

	pthread_mutex_lock(&writer->lock);
	ready = pl_database_ready(&writer->db, why);
	pthread_mutex_unlock(&writer->lock);
	return ready;
}

void pl_shared_writer_stats(struct pl_shared_writer *writer, struct pl_store_stats *stats_r)
{
	struct pl_write_task *task;
	int waiting = 0;

	pthread_mutex_lock(&writer->lock);
	*stats_r = writer->stats;
	DL_FOREACH (writer->waiting, task)
		waiting++;
	stats_r->write_queue = waiting;
	stats_r->in_flight = writer->ntasks - waiting;
	stats_r->reconnects = pl_database_reconnects(&writer->db);
	pthread_mutex_unlock(&writer->lock);
}
