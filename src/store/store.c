// A worker's store: its connections for reads, its access to the writer, and the turn in
// which both get work.
//
// store/store_private.h lists the parts. The connections:
//
//	read     database.read_connections_per_worker of them: reads by id, look-ups
//	list     one, made when first needed: lists
//	query    one, made when first needed: db.query, with a role of its own
//
// The connections for writes belong to the shared writer (store/shared_writer.c).
// Threads: belongs to its worker's thread.
#include "store/store.h"

#include <limits.h>
#include <stdlib.h>

#include "store/store_private.h"

static void due(void *owner, int64_t now_us)
{
	struct pl_store *store = owner;

	pl_remembered_due(store, now_us);
	pl_read_due(store, now_us);
	pl_query_due(store, now_us);
}

static void send_all(struct pl_store *store)
{
	pl_writer_client_turn(store->client);
	pl_remembered_send(store);
	pl_read_send(store);
	pl_query_send(store);
}

static bool deliver_all(struct pl_store *store)
{
	bool writes = pl_writer_client_deliver(store->client), reads = pl_read_deliver(store),
	     queries = pl_query_deliver(store), lookups = pl_remembered_deliver(store);

	return writes || reads || queries || lookups;
}

void pl_store_turn(struct pl_store *store)
{
	do // first the next batch, so that the database works while the last one is delivered
		send_all(store);
	while (deliver_all(store)); // a caller that was answered may have asked for more
}

void pl_store_write(struct pl_store *store, struct pl_write *write)
{
	pl_writer_client_write(store->client, write);
}

void pl_store_remember_answer(struct pl_store *store, struct pl_remember_answer *answer)
{
	pl_writer_client_answer(store->client, answer);
}

// ---- making and freeing

static void connect_readers(struct pl_store *store)
{
	int wanted = store->db.config->database.read_connections_per_worker;

	store->nreaders = wanted > 0 ? wanted : 1;
	store->readers = pl_calloc((size_t)store->nreaders, sizeof(store->readers[0]));
	for (int i = 0; i < store->nreaders; i++) {
		store->readers[i] = pl_database_connect(
			&store->db, &(struct pl_database_conn_options){ .purpose = "read",
		                                                        .required_for = "reads",
		                                                        .read_only = true,
		                                                        .setup = pl_statement_pinned_plans,
		                                                        .first = PL_STATEMENT_READ,
		                                                        .nkinds = 1 });
		pl_remembered_prepare(store->readers[i]);
	}
}

struct pl_store *pl_store_new(const struct pl_store_options *options, struct pl_error *err)
{
	struct pl_shared_writer *own = NULL;
	struct pl_store *store;

	if (!options->region || !options->region->database) {
		pl_error_set(err, PL_EINVAL, "the region has no database");
		return NULL;
	}
	if (!options->writer && !(own = pl_shared_writer_new(options->config, options->region, err)))
		return NULL;
	if (own && options->key)
		pl_shared_writer_set_key(own, options->key);
	store = pl_calloc(1, sizeof(*store));
	store->own_writer = own;
	store->writer = own ? own : options->writer;
	store->client = pl_writer_client_new(store->writer, options->loop, options->committed, options->arg);
	if (own)
		store->client->hand_in_at = INT_MAX; // alone, a turn's writes are one batch
	pl_database_init(&store->db, options->loop, options->config, options->region, due, store);
	connect_readers(store);
	return store;
}

void pl_store_reconfigure(struct pl_store *store, const struct pl_config *config,
                          const struct pl_region *region)
{
	pl_shared_writer_reconfigure(store->writer, config, region);
	pl_database_reconfigure(&store->db, config, region);
}

void pl_store_free(struct pl_store **store_p)
{
	struct pl_store *store = *store_p;

	if (!store)
		return;
	*store_p = NULL;
	pl_writer_client_leave(store->client);
	pl_database_close(&store->db);
	pl_read_stop(store);
	pl_query_stop(store);
	pl_remembered_stop(store);
	while (deliver_all(store)) // a callback that calls again gets PL_ESTOPPED again
		;
	pl_writer_client_free(&store->client);
	pl_shared_writer_free(&store->own_writer);
	pl_database_fini(&store->db);
	free(store->readers);
	free(store);
}

// ---- state

bool pl_store_ready(const struct pl_store *store, struct pl_error *why)
{
	return (!store->own_writer || pl_shared_writer_ready(store->own_writer, why)) &&
	       pl_database_ready(&store->db, why);
}

void pl_store_stats(const struct pl_store *store, struct pl_store_stats *stats_r)
{
	*stats_r = store->stats;
	if (store->own_writer)
		pl_shared_writer_stats(store->own_writer, stats_r);
	stats_r->reads = store->stats.reads;
	stats_r->read_batches = store->stats.read_batches;
	stats_r->queries = store->stats.queries;
	stats_r->read_queue = store->nreads + store->nlookups + store->nqueries;
	stats_r->reconnects += pl_database_reconnects(&store->db);
	stats_r->queries_down = store->query_conn && pl_conn_refused(store->query_conn);
}
