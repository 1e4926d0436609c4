// plist-direct: sends plist's batch statement with libpq over a few connections,
// without HTTP, Lua and checks. The difference from the daemon is what those cost. Used
// by tests/bench/bench.py.
//
// usage: plist-direct CONFIG REGION SECONDS BATCH [CONNECTIONS]; prints one JSON object.
// The records 1 to 960 must exist; connections do not share records.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sha256.h"
#include "config/config.h"
#include "store/params.h"
#include "store/statement.h"

#define RECORDS         960
#define CONNECTIONS_MAX 8

struct sender {
	pthread_t thread;
	const struct pl_config *config;
	const struct pl_region *region;
	const char *sql;
	int index, count, batch;
	int64_t until_us;
	long done, batches, failed;
	int32_t versions[RECORDS + 1];
};

static void die(const char *what, const char *why)
{
	fprintf(stderr, "plist-direct: %s: %s\n", what, why);
	exit(1);
}

static PGconn *open_connection(const struct sender *s)
{
	PGconn *conn = PQconnectdb(s->region->database);
	static const char *const setup[] = { "SET plan_cache_mode = force_generic_plan",
		                             "SET enable_seqscan = off", "SET enable_bitmapscan = off",
		                             "SET enable_hashjoin = off", "SET enable_mergejoin = off" };

	if (PQstatus(conn) != CONNECTION_OK)
		die("connect", PQerrorMessage(conn));
	for (size_t i = 0; i < sizeof(setup) / sizeof(setup[0]); i++)
		PQclear(PQexec(conn, setup[i]));
	PGresult *result = PQprepare(conn, "batch", s->sql, 0, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		die("prepare", PQerrorMessage(conn));
	PQclear(result);
	return conn;
}

static void read_versions(struct sender *s, PGconn *conn)
{
	PGresult *result = PQexec(conn, "SELECT id, version FROM properties WHERE id <= 960");

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		die("versions", PQerrorMessage(conn));
	for (int i = 0; i < PQntuples(result); i++)
		s->versions[atoi(PQgetvalue(result, i, 0))] = atoi(PQgetvalue(result, i, 1));
	PQclear(result);
}

static void add_row(struct sender *s, struct pl_params *params, int64_t id, long serial)
{
	const struct pl_resource *resource = &s->config->resources[0];
	uint8_t fingerprint[PL_SHA256_SIZE] = { 1 };
	char request_id[64], price[32];

	snprintf(request_id, sizeof(request_id), "direct-%d-%d-%ld-%lld", (int)getpid(), s->index, serial,
	         (long long)id);
	snprintf(price, sizeof(price), "%ld.%02ld", 100000 + serial % 900000, serial % 100);
	pl_params_int64(params, PL_PARAM_ID, id);
	pl_params_int64(params, PL_PARAM_FLAGS, 1 | PL_FLAG_FIELD(0)); // an update that sets the first field
	pl_params_int32(params, PL_PARAM_VERSION, s->versions[id]);
	pl_params_null(params, PL_PARAM_ETAG);
	pl_params_text(params, PL_PARAM_REQUEST_ID, request_id);
	pl_params_text(params, PL_PARAM_PRINCIPAL, "");
	pl_params_bytes(params, PL_PARAM_FINGERPRINT, fingerprint, sizeof(fingerprint));
	pl_params_time(params, PL_PARAM_EXPIRES, pl_now_us() + INT64_C(86400000000));
	pl_params_text(params, PL_PARAM_PREFIX, s->region->name);
	pl_params_null(params, PL_PARAM_TRACEPARENT);
	pl_params_field(params, 0, price);
	for (int f = 1; f < resource->nfields; f++)
		pl_params_field(params, f, NULL);
	pl_params_row(params);
}

static void *run(void *arg)
{
	struct sender *s = arg;
	PGconn *conn = open_connection(s);
	struct pl_params params = { 0 };
	int own = RECORDS / s->count, first = 1 + s->index * own, next = 0;

	read_versions(s, conn);
	for (long serial = 0; pl_mono_us() < s->until_us; serial++) {
		pl_params_begin(&params, &s->config->resources[0]);
		int from = next;
		for (int i = 0; i < s->batch; i++, next = (next + 1) % own)
			add_row(s, &params, first + next, serial);
		struct pl_conn_params p = pl_params_batch(&params);
		PGresult *result = PQexecPrepared(conn, "batch", p.n, p.values, p.lengths, p.formats, 0);
		if (PQresultStatus(result) != PGRES_TUPLES_OK)
			die("batch", PQerrorMessage(conn));
		s->done += PQntuples(result);
		s->failed += s->batch - PQntuples(result);
		s->batches++;
		PQclear(result);
		for (int i = 0; i < s->batch; i++)
			s->versions[first + (from + i) % own]++;
	}
	pl_params_fini(&params);
	PQfinish(conn);
	return NULL;
}

int main(int argc, char **argv)
{
	static struct sender senders[CONNECTIONS_MAX];
	struct pl_diagnostics diagnostics = { 0 };
	struct pl_buf sql = { 0 };

	if (argc < 5)
		die("usage", "plist-direct CONFIG REGION SECONDS BATCH [CONNECTIONS]");
	struct pl_config *config = pl_config_load(argv[1], argv[2], &diagnostics);
	const struct pl_region *region = config ? pl_config_region(config, argv[2], strlen(argv[2])) : NULL;
	int count = argc > 5 ? atoi(argv[5]) : 2, batch = atoi(argv[4]);
	double seconds = atof(argv[3]);

	if (!region || count < 1 || count > CONNECTIONS_MAX || batch < 1 || batch > RECORDS / count)
		die("usage", "no such configuration or region, or numbers out of range");
	pl_statement_text(&sql, PL_STATEMENT_CHANGE_BATCH, config, &config->resources[0], region,
	                  region->name);
	for (int i = 0; i < count; i++) {
		senders[i] = (struct sender){ .config = config,
			                      .region = region,
			                      .sql = sql.data,
			                      .index = i,
			                      .count = count,
			                      .batch = batch,
			                      .until_us = pl_mono_us() + (int64_t)(seconds * 1e6) };
		if (pthread_create(&senders[i].thread, NULL, run, &senders[i]) != 0)
			die("thread", "cannot be created");
	}
	long done = 0, batches = 0, failed = 0;
	for (int i = 0; i < count; i++) {
		pthread_join(senders[i].thread, NULL);
		done += senders[i].done;
		batches += senders[i].batches;
		failed += senders[i].failed;
	}
	printf("{\"rate\":%.1f,\"done\":%ld,\"failed\":%ld,\"batches\":%ld}\n", (double)done / seconds, done,
	       failed, batches);
	pl_buf_fini(&sql);
	pl_config_unref(&config);
	pl_diagnostics_fini(&diagnostics);
	return 0;
}
