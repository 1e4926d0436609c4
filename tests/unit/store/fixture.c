// A store on a temporary PostgreSQL server: see fixture.h.
#include "fixture.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "config/config_private.h"

static const char schema[] = "DROP SCHEMA IF EXISTS plist CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA "
			     "public;";

static const char homes[] = "CREATE TABLE homes (id BIGINT PRIMARY KEY, name VARCHAR(40) NOT NULL, price "
			    "NUMERIC(9,1), rooms INTEGER CHECK (rooms < 1000),"
			    " open BOOLEAN, region_origin VARCHAR(32) NOT NULL, version INTEGER NOT NULL, "
			    "updated_at TIMESTAMPTZ NOT NULL, vector JSONB NOT NULL,"
			    " deleted_at TIMESTAMPTZ, has_siblings BOOLEAN NOT NULL DEFAULT false, "
			    "field_times JSONB, request_id VARCHAR(255), unknown_fields JSONB); CREATE "
			    "SEQUENCE homes_ids;"
			    "ALTER TABLE properties ADD CHECK (price <> 666)";

PGconn *another_session(void)
{
	PGconn *pg = PQconnectdb(getenv("DATABASE_URL"));

	assert_int_equal(PQstatus(pg), CONNECTION_OK);
	PQclear(PQexec(pg, "SET TimeZone = 'UTC'"));
	return pg;
}

static void execute(PGconn *pg, const char *sql)
{
	PGresult *result = PQexec(pg, sql);

	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail_msg("%s", PQerrorMessage(pg));
	PQclear(result);
}

static void execute_file(PGconn *pg, const char *name)
{
	char path[512], sql[65536];
	size_t n;
	FILE *file;

	snprintf(path, sizeof(path), "%s/sql/%s", getenv("PL_TOP_SRCDIR") ? getenv("PL_TOP_SRCDIR") : ".",
	         name);
	file = fopen(path, "r");
	assert_non_null(file);
	n = fread(sql, 1, sizeof(sql) - 1, file);
	fclose(file);
	sql[n] = '\0';
	execute(pg, sql);
}

// No healing thread runs here that could find out what a restarted server may have
// lost.
static const char claimed[] = "CREATE OR REPLACE FUNCTION plist.plist_run() RETURNS TEXT LANGUAGE sql AS "
			      "'SELECT ''one''::text'; "
			      "SELECT plist.plist_settle('us', '{}', 0, 0, 0, NULL, true, false)";

// All migrations, in order.
static void execute_files(PGconn *pg)
{
	char pattern[512];
	glob_t files;

	snprintf(pattern, sizeof(pattern), "%s/sql/[0-9]*.sql",
	         getenv("PL_TOP_SRCDIR") ? getenv("PL_TOP_SRCDIR") : ".");
	assert_int_equal(glob(pattern, 0, NULL, &files), 0);
	for (size_t i = 0; i < files.gl_pathc; i++)
		execute_file(pg, files.gl_pathv[i] + strlen(pattern) - strlen("[0-9]*.sql"));
	globfree(&files);
}

struct pl_config *fixture_config(int batch)
{
	struct pl_config *config = pl_config_new();
	struct pl_resource *r = pl_arena_alloc(config->arena, 2 * sizeof(*r));
	struct pl_region *region = pl_arena_alloc(config->arena, sizeof(*region));

	config->http.max_queued = 1024;
	config->database.batch = batch;
	config->database.write_connections = config->database.read_connections_per_worker = 1;
	config->database.connect_timeout_us = 1000000;
	config->database.statement_timeout_us = 2000000;
	config->database.lock_timeout_us = 1000000;
	r[0] = (struct pl_resource){ .name = "properties",
		                     .title = "Property",
		                     .table = "properties",
		                     .topic = "property-updates",
		                     .nfields = 3,
		                     .nall = 3,
		                     .fields = { { .name = "price",
		                                   .type = PL_FIELD_DECIMAL,
		                                   .required = true,
		                                   .precision = 12,
		                                   .scale = 2 },
		                                 { .name = "bedrooms", .type = PL_FIELD_INTEGER },
		                                 { .name = "bathrooms", .type = PL_FIELD_INTEGER } } };
	r[1] = (struct pl_resource){
		.name = "homes",
		.title = "Home",
		.table = "public.homes",
		.topic = "homes",
		.track_fields = true,
		.index = 1,
		.nfields = 4,
		.nall = 4,
		.fields = { { .name = "name", .type = PL_FIELD_STRING, .required = true, .max_length = 40 },
		            { .name = "price", .type = PL_FIELD_DECIMAL, .precision = 9, .scale = 1 },
		            { .name = "rooms", .type = PL_FIELD_INTEGER },
		            { .name = "open", .type = PL_FIELD_BOOLEAN } }
	};
	*region = (struct pl_region){ .name = "us",
		                      .database = pl_arena_strdup(config->arena, getenv("DATABASE_URL")),
		                      .id_base = 1000000000000 };
	config->nresources = 2;
	config->resources = r;
	config->nregions = 1;
	config->retired_regions = pl_arena_alloc(config->arena, sizeof(config->retired_regions[0]));
	config->retired_regions[0] = "eu";
	config->nretired = 1;
	config->regions = region;
	return config;
}

static void committed(int writes, void *arg)
{
	struct fixture *f = arg;

	f->committed += writes;
}

bool fixture_is_ready(void *arg)
{
	struct pl_error why = { 0 };

	return pl_store_ready(((struct fixture *)arg)->store, &why);
}

void fixture_start(struct fixture *f)
{
	struct pl_error err;

	f->store = pl_store_new(&(struct pl_store_options){ .loop = f->loop,
	                                                    .config = f->config,
	                                                    .region = &f->config->regions[0],
	                                                    .committed = committed,
	                                                    .arg = f },
	                        &err);
	assert_non_null(f->store);
	assert_true(turn_until(f, fixture_is_ready, f));
}

int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	pl_log_init(PL_LOG_ERROR, PL_LOG_TEXT);
	f->sql = another_session();
	execute(f->sql, "SET client_min_messages = warning");
	execute(f->sql, schema);
	execute_files(f->sql);
	execute(f->sql, claimed);
	execute(f->sql, homes);
	f->loop = pl_loop_new();
	f->arena = pl_arena_new(0);
	f->config = fixture_config(64);
	fixture_start(f);
	*state = f;
	return 0;
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	pl_store_free(&f->store);
	pl_loop_free(&f->loop);
	pl_config_unref(&f->config);
	pl_arena_free(&f->arena);
	PQfinish(f->sql);
	free(f);
	return 0;
}

const struct pl_resource *fixture_resource(const struct fixture *f, int index)
{
	return &f->config->resources[index];
}

// ---- the loop

static void turn_store(void *arg)
{
	struct fixture *f = arg;

	if (f->store)
		pl_store_turn(f->store);
}

static bool never(void *arg)
{
	(void)arg;
	return false;
}

void turn_for(struct fixture *f, int64_t us)
{
	await_for(f->loop, us, turn_store, f, never, NULL);
}

bool turn_until(struct fixture *f, bool (*condition)(void *arg), void *arg)
{
	return await_for(f->loop, 20000000, turn_store, f, condition, arg);
}

// ---- writes

static void write_done(struct pl_write *write, void *arg)
{
	int *calls = arg;

	(void)write;
	++*calls;
}

struct pl_write *write_new(struct fixture *f, enum pl_write_op op, int64_t id)
{
	static int serial;
	struct pl_write *write = pl_arena_alloc(f->arena, sizeof(*write));

	write->arena = f->arena;
	write->resource = fixture_resource(f, PROPERTIES);
	write->op = op;
	write->id = id;
	write->changes.values = pl_arena_alloc(f->arena, PL_FIELDS_MAX * sizeof(write->changes.values[0]));
	write->changes.set = pl_arena_alloc(f->arena, PL_FIELDS_MAX * sizeof(write->changes.set[0]));
	write->request_id = pl_arena_printf(f->arena, "request-%d", ++serial);
	write->principal = "";
	memset(write->fingerprint, serial & 0xff, sizeof(write->fingerprint));
	write->region_prefix = "us";
	write->ttl_us = INT64_C(86400000000);
	write->deadline_us = pl_mono_us() + 10000000;
	write->done = write_done;
	write->arg = pl_arena_alloc(f->arena, sizeof(int));
	return write;
}

void write_set(struct pl_write *write, const char *field, const char *text)
{
	int i = pl_config_field(write->resource, field, strlen(field));

	assert_true(i >= 0);
	write->changes.set[i] = true;
	write->changes.values[i] = text ? pl_arena_strdup(write->arena, text) : NULL;
}

void write_send(struct fixture *f, struct pl_write *write)
{
	pl_store_write(f->store, write);
	assert_false(write_answered(write)); // the callback is never called from within the call
}

bool write_answered(const struct pl_write *write)
{
	assert_true(*(int *)write->arg <= 1);
	return *(int *)write->arg == 1;
}

struct writes {
	struct pl_write **list;
	int n;
};

static bool all_answered(void *arg)
{
	struct writes *writes = arg;

	for (int i = 0; i < writes->n; i++)
		if (!write_answered(writes->list[i]))
			return false;
	return true;
}

void writes_await(struct fixture *f, struct pl_write **list, int n)
{
	struct writes writes = { list, n };

	assert_true(turn_until(f, all_answered, &writes));
	turn_for(f, 1000); // a second answer would arrive now
	all_answered(&writes);
}

enum pl_outcome write_now(struct fixture *f, struct pl_write *write)
{
	write_send(f, write);
	writes_await(f, &write, 1);
	return write->outcome;
}

// ---- reads

static void read_done(struct pl_read *read, void *arg)
{
	(void)read;
	*(bool *)arg = true;
}

static void query_done(struct pl_query *query, void *arg)
{
	(void)query;
	*(bool *)arg = true;
}

static bool flag(void *arg)
{
	return *(bool *)arg;
}

struct pl_read *read_now(struct fixture *f, const struct pl_resource *resource, int64_t id)
{
	struct pl_read *read = pl_arena_alloc(f->arena, sizeof(*read));
	bool done = false;

	*read = (struct pl_read){ .arena = f->arena,
		                  .resource = resource,
		                  .id = id,
		                  .deadline_us = pl_mono_us() + 10000000,
		                  .done = read_done,
		                  .arg = &done };
	pl_store_read(f->store, read);
	assert_false(done);
	assert_true(turn_until(f, flag, &done));
	return read;
}

struct pl_query *query_new(struct fixture *f)
{
	struct pl_query *query = pl_arena_alloc(f->arena, sizeof(*query));

	query->arena = f->arena;
	query->deadline_us = pl_mono_us() + 10000000;
	query->done = query_done;
	return query;
}

void query_run(struct fixture *f, struct pl_query *query)
{
	bool done = false;

	query->arg = &done;
	pl_store_query(f->store, query);
	assert_false(done);
	assert_true(turn_until(f, flag, &done));
}

struct pl_query *query_now(struct fixture *f, const char *sql, int max_rows)
{
	struct pl_query *query = query_new(f);

	query->sql = sql;
	query->max_rows = max_rows;
	query_run(f, query);
	return query;
}

static void lookup_done(struct pl_remember_lookup *lookup, void *arg)
{
	(void)lookup;
	*(bool *)arg = true;
}

struct pl_remember_lookup *lookup_now(struct fixture *f, const char *request_id, const char *principal,
                                      const uint8_t *fingerprint)
{
	struct pl_remember_lookup *lookup = pl_arena_alloc(f->arena, sizeof(*lookup));
	bool done = false;

	*lookup = (struct pl_remember_lookup){ .arena = f->arena,
		                               .request_id = request_id,
		                               .principal = principal,
		                               .deadline_us = pl_mono_us() + 10000000,
		                               .done = lookup_done,
		                               .arg = &done };
	memcpy(lookup->fingerprint, fingerprint, sizeof(lookup->fingerprint));
	pl_store_remembered(f->store, lookup);
	assert_false(done);
	assert_true(turn_until(f, flag, &done));
	return lookup;
}

static void answer_done(struct pl_remember_answer *answer, void *arg)
{
	(void)answer;
	*(bool *)arg = true;
}

struct pl_remember_answer *answer_now(struct fixture *f, const char *request_id, int status, const char *body)
{
	struct pl_remember_answer *answer = pl_arena_alloc(f->arena, sizeof(*answer));
	bool done = false;

	*answer = (struct pl_remember_answer){ .arena = f->arena,
		                               .request_id = request_id,
		                               .principal = "",
		                               .status = status,
		                               .body = body,
		                               .op = PL_WRITE_CREATE,
		                               .value = "{}",
		                               .vector = "{}",
		                               .deadline_us = pl_mono_us() + 10000000,
		                               .done = answer_done,
		                               .arg = &done };
	pl_store_remember_answer(f->store, answer);
	assert_false(done);
	assert_true(turn_until(f, flag, &done));
	return answer;
}

// ---- the plain connection

static const char *vask(struct fixture *f, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

static const char *vask(struct fixture *f, const char *fmt, va_list ap)
{
	static char value[4096];
	char sql[8192];
	PGresult *result;

	vsnprintf(sql, sizeof(sql), fmt, ap);
	result = PQexec(f->sql, sql);
	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(f->sql));
	snprintf(value, sizeof(value), "%s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
	PQclear(result);
	return value;
}

const char *ask(struct fixture *f, const char *fmt, ...)
{
	const char *value;
	va_list ap;

	va_start(ap, fmt);
	value = vask(f, fmt, ap);
	va_end(ap);
	return value;
}

void ask_is(struct fixture *f, const char *expected, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	assert_string_equal(vask(f, fmt, ap), expected);
	va_end(ap);
}

void control_server(const char *verb)
{
	char command[256];

	snprintf(command, sizeof(command), "%s %s", getenv("PL_POSTGRES_CTL"), verb);
	assert_int_equal(system(command), 0);
}

const char *outcome_name(enum pl_outcome outcome)
{
	static const char *const names[] = { "done",   "remembered", "reused",     "running",  "not found",
		                             "exists", "version",    "etag",       "unlocked", "edge",
		                             "taken",  "dangling",   "referenced", "refused",  "failed" };

	return names[outcome];
}
