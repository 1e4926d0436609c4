// Regions on a temporary PostgreSQL server: see lab.h.
#include "lab.h"

#include <arpa/inet.h>
#include <glob.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

static const char *const names[LAB_REGIONS_MAX] = { "us", "eu", "ap" };

static void execute(PGconn *sql, const char *text)
{
	PGresult *result = PQexec(sql, text);

	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail_msg("%.200s: %s", text, PQerrorMessage(sql));
	PQclear(result);
}

static void execute_file(PGconn *sql, const char *path)
{
	char text[65536];
	size_t n;
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[n] = '\0';
	execute(sql, text);
}

static const char *top(void)
{
	return getenv("PL_TOP_SRCDIR") ? getenv("PL_TOP_SRCDIR") : ".";
}

static void migrate(PGconn *sql)
{
	char pattern[1024];
	glob_t files;

	snprintf(pattern, sizeof(pattern), "%s/sql/[0-9]*.sql", top());
	assert_int_equal(glob(pattern, 0, NULL, &files), 0);
	for (size_t i = 0; i < files.gl_pathc; i++)
		execute_file(sql, files.gl_pathv[i]);
	globfree(&files);
}

// "postgresql:///postgres?host=…" with the name of another database.
static void dsn_for(char *dsn, size_t size, const char *region)
{
	const char *url = getenv("DATABASE_URL"), *rest = url ? strchr(url, '?') : NULL;

	if (!rest)
		fail_msg("DATABASE_URL is not set: run this with tests/support/with-postgres");
	snprintf(dsn, size, "postgresql:///lab_%s%s", region, rest);
}

struct pl_session *lab_session(struct lab *lab, int region, struct pl_session_options options)
{
	struct pl_error err = { 0 };
	struct pl_session *session;

	options.dsn = lab->dsn[region];
	options.connect_timeout_us = 2000000;
	options.statement_timeout_us = 5000000;
	options.stop_fd = -1;
	session = pl_session_new(&options);
	if (pl_session_connect(session, &err) < 0)
		fail_msg("%s", err.text);
	return session;
}

PGconn *lab_connect(struct lab *lab, int region)
{
	PGconn *sql = PQconnectdb(lab->dsn[region]);

	if (PQstatus(sql) != CONNECTION_OK)
		fail_msg("%s", PQerrorMessage(sql));
	execute(sql, "SET TIME ZONE 'UTC'");
	execute(sql, "SET client_min_messages = warning");
	return sql;
}

// No healing thread runs here that could find out what a restarted server may have
// lost, and tests restart it.
static void claim(PGconn *sql, const char *region)
{
	char text[128];

	execute(sql, "CREATE OR REPLACE FUNCTION plist.plist_run() RETURNS TEXT LANGUAGE sql AS 'SELECT "
	             "''one''::text'");
	snprintf(text, sizeof(text), "SELECT plist.plist_settle('%s', '{}', 0, 0, 0, NULL, true, false)",
	         region);
	execute(sql, text);
}

static void create_database(struct lab *lab, int region)
{
	PGconn *server = PQconnectdb(getenv("DATABASE_URL"));
	char text[128];

	assert_int_equal(PQstatus(server), CONNECTION_OK);
	execute(server, "SET client_min_messages = warning");
	snprintf(text, sizeof(text), "DROP DATABASE IF EXISTS lab_%s WITH (FORCE)", names[region]);
	execute(server, text);
	snprintf(text, sizeof(text), "CREATE DATABASE lab_%s", names[region]);
	execute(server, text);
	PQfinish(server);
	dsn_for(lab->dsn[region], sizeof(lab->dsn[region]), names[region]);
	lab->sql[region] = lab_connect(lab, region);
	migrate(lab->sql[region]);
	claim(lab->sql[region], names[region]);
	execute(lab->sql[region], "ALTER TABLE properties ADD CONSTRAINT not_666 CHECK (price <> 666)");
}

static void make_cabins(PGconn *sql)
{
	execute(sql, "CREATE TABLE cabins (LIKE properties INCLUDING ALL) PARTITION BY HASH (id); CREATE "
	             "TABLE cabins_0 PARTITION OF cabins FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE "
	             "TABLE cabins_1 PARTITION OF cabins FOR VALUES WITH (MODULUS 2, REMAINDER 1)");
}

static void write_cabins(FILE *file, const struct lab_options *options)
{
	fprintf(file,
	        "  cabins:\n    table: cabins\n    topic: cabin-updates\n    policy: policies/%s.lua\n"
	        "    fields:\n      price: { type: decimal, required: true, min: 0, precision: 12, scale: "
	        "2 }\n      bedrooms: { type: integer, min: 0, max: 100 }\n      bathrooms: { type: "
	        "integer, min: 0, max: 100 }\n",
	        options->policy ? options->policy : "last_writer_wins");
}

static void write_yaml(struct lab *lab, const char *path, const struct lab_options *options)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fprintf(file, "resources:\n");
	if (options->cabins)
		write_cabins(file, options);
	fprintf(file,
	        "  properties:\n    table: properties\n    topic: property-updates\n    "
	        "policy: policies/%s.lua\n"
	        "    track_fields: %s\n%s    fields:\n      price: { type: decimal, required: true, min: 0, "
	        "precision: 12, scale: 2 }\n"
	        "      bedrooms: { type: integer, min: 0, max: 100 }\n      bathrooms: { type: integer, "
	        "min: 0, max: 100 }\n%sregions:\n",
	        options->policy ? options->policy : "last_writer_wins",
	        options->track_fields ? "true" : "false", options->resource ? options->resource : "",
	        options->fields ? options->fields : "");
	for (int i = 0; i < lab->nregions; i++)
		fprintf(file,
		        "  %s: { listen: \"127.0.0.1:%d\", database: \"%s\", control_socket: \"%s.sock\" }\n",
		        names[i], 1 + i, lab->dsn[i], names[i]);
	fprintf(file, "%s", lab->nregions < 3 ? "retired_regions: [ap]\n" : "");
	fprintf(file,
	        "kafka:\n  brokers: \"%s\"\n%s%sdatabase: { statement_timeout: 5s, lock_timeout: 2s, "
	        "connect_timeout: 2s }\n"
	        "lua: { path: \"%s\" }\nroutes:\n  - { method: GET, path: \"/:region/properties/:id\", "
	        "handler: handlers/property_get.lua }\n",
	        options->brokers ? options->brokers : "127.0.0.1:1",
	        options->more && strstr(options->more, "heartbeat:") ? "" : "  heartbeat: 200ms\n",
	        options->more ? options->more : "", lab->dir);
	fclose(file);
}

static void link_lua(struct lab *lab)
{
	static const char *const folders[] = { "handlers", "policies", "plist", "violations" };
	char from[1024], to[128];

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(to, sizeof(to), "%s/%s", lab->dir, folders[i]);
		mkdir(to, 0777);
		// Links may not lead out of the Lua root, so the files are copied.
		snprintf(from, sizeof(from), "cp %s/lua/%s/*.lua %s/ 2>/dev/null", top(), folders[i], to);
		if (system(from) != 0)
			continue; // a directory without files
	}
}

struct pl_config *lab_config(struct lab *lab, const struct lab_options *options)
{
	struct pl_diagnostics diagnostics = { 0 };
	struct pl_config *config;
	char path[128];

	snprintf(path, sizeof(path), "%s/plist.yaml", lab->dir);
	write_yaml(lab, path, options);
	config = pl_config_load(path, NULL, &diagnostics);
	for (int i = 0; i < diagnostics.n; i++)
		if (!diagnostics.lines[i].warning)
			print_message("%s\n", diagnostics.lines[i].text);
	pl_diagnostics_fini(&diagnostics);
	assert_non_null(config);
	if (lab->config)
		pl_config_unref(&lab->config);
	lab->config = config;
	return config;
}

void lab_start(struct lab *lab, const struct lab_options *options)
{
	memset(lab, 0, sizeof(*lab));
	pl_log_init(getenv("LAB_LOG") ? PL_LOG_DEBUG : PL_LOG_ERROR, PL_LOG_TEXT);
	strcpy(lab->dir, "/tmp/plist-lab.XXXXXX");
	assert_non_null(mkdtemp(lab->dir));
	lab->arena = pl_arena_new(0);
	lab->nregions = options->regions ? options->regions : 2;
	for (int i = 0; i < lab->nregions; i++) {
		create_database(lab, i);
		if (options->cabins)
			make_cabins(lab->sql[i]);
	}
	link_lua(lab);
	lab_config(lab, options);
}

void lab_stop(struct lab *lab)
{
	char command[128];

	for (int i = 0; i < lab->nregions; i++)
		PQfinish(lab->sql[i]);
	pl_config_unref(&lab->config);
	pl_arena_free(&lab->arena);
	snprintf(command, sizeof(command), "rm -rf %s", lab->dir);
	assert_int_equal(system(command), 0);
}

const struct pl_region *lab_region(const struct lab *lab, int region)
{
	return pl_config_region(lab->config, names[region], strlen(names[region]));
}

const struct pl_resource *lab_properties(const struct lab *lab)
{
	return pl_config_resource(lab->config, "properties");
}

void lab_empty(struct lab *lab)
{
	for (int i = 0; i < lab->nregions; i++)
		execute(lab->sql[i],
		        "TRUNCATE properties, outbox, processed_requests, created_twice, "
		        "created_twice_closed, record_siblings, conflicts, "
		        "dead_letters, parked_events, applied_positions, outbox_marks, applied_sequences, "
		        "region_heartbeats, integrity_checks, violations");
}

void lab_server(const char *verb)
{
	char command[256];

	snprintf(command, sizeof(command), "%s %s", getenv("PL_POSTGRES_CTL"), verb);
	assert_int_equal(system(command), 0);
}

void lab_reconnect(struct lab *lab)
{
	for (int i = 0; i < lab->nregions; i++) {
		PQfinish(lab->sql[i]);
		lab->sql[i] = lab_connect(lab, i);
	}
}

// ---- queries

__attribute__((format(printf, 3, 0))) static const char *vask(struct lab *lab, int region, const char *fmt,
                                                              va_list ap)
{
	static char values[8][4096];
	static int next;
	char *value = values[next++ % 8], sql[8192];
	PGresult *result;

	vsnprintf(sql, sizeof(sql), fmt, ap);
	result = PQexec(lab->sql[region], sql);
	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(lab->sql[region]));
	snprintf(value, sizeof(values[0]), "%s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
	PQclear(result);
	return value;
}

const char *lab_ask(struct lab *lab, int region, const char *fmt, ...)
{
	const char *value;
	va_list ap;

	va_start(ap, fmt);
	value = vask(lab, region, fmt, ap);
	va_end(ap);
	return value;
}

void lab_is(struct lab *lab, const char *expected, int region, const char *fmt, ...)
{
	const char *value;
	va_list ap;

	va_start(ap, fmt);
	value = vask(lab, region, fmt, ap);
	va_end(ap);
	if (strcmp(value, expected) != 0)
		fail_msg("%s: %s is \"%s\", not \"%s\"", names[region], fmt, value, expected);
}

void lab_until(struct lab *lab, const char *expected, int region, const char *fmt, ...)
{
	int64_t deadline_us = pl_mono_us() + 20000000;
	char wanted[512]; // the lab keeps only the last seven values
	const char *value;
	va_list ap;

	snprintf(wanted, sizeof(wanted), "%s", expected);
	do {
		va_start(ap, fmt);
		value = vask(lab, region, fmt, ap);
		va_end(ap);
		if (strcmp(value, wanted) == 0)
			return;
		usleep(5000);
	} while (pl_mono_us() < deadline_us);
	fail_msg("%s: %s stays \"%s\" and does not become \"%s\"", names[region], fmt, value, wanted);
}

static char *whole(struct lab *lab, int region, const char *query)
{
	PGresult *result = PQexec(lab->sql[region], query);
	char *text;

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail_msg("%s", PQerrorMessage(lab->sql[region]));
	text = pl_arena_strdup(lab->arena, PQgetvalue(result, 0, 0));
	PQclear(result);
	return text;
}

static void tell_first_difference(const char *what, const char *region, const char *a, const char *b)
{
	while (*a && *a == *b) {
		if (*a == '\n')
			break;
		a++;
		b++;
	}
	for (;;) {
		size_t x = strcspn(a, "\n"), y = strcspn(b, "\n");

		if (x != y || strncmp(a, b, x) != 0 || !a[x] || !b[y])
			fail_msg("%s of us and %s differ:\n  %.*s\n  %.*s", what, region, (int)x, a, (int)y,
			         b);
		a += x + 1;
		b += y + 1;
	}
}

void lab_regions_are_equal(struct lab *lab)
{
	static const char rows[] =
		"SELECT coalesce(string_agg(format('%s %s %s %s %s %s %s %s %s %s', id, price, bedrooms, "
		"bathrooms, region_origin, version, updated_at, vector, deleted_at IS NOT NULL, "
		"has_siblings), E'\\n' ORDER BY id), '') FROM properties";
	static const char standing[] =
		"SELECT coalesce(string_agg(format('%s %s:%s %s %s', record_id, origin, counter, vector, "
		"fields), E'\\n' ORDER BY record_id, origin, counter), '') FROM record_siblings";

	for (int i = 0; i < lab->nregions; i++) {
		lab_is(lab, "0", i, "SELECT plist.plist_outbox_unpublished()");
		lab_is(lab, "0", i, "SELECT count(*) FROM dead_letters");
		lab_is(lab, "0", i,
		       "SELECT count(*) FROM properties WHERE version <> (SELECT sum(v::int) FROM "
		       "jsonb_each_text(vector) AS e(k, v))");
		if (strcmp(whole(lab, 0, rows), whole(lab, i, rows)) != 0)
			tell_first_difference("rows", names[i], whole(lab, 0, rows), whole(lab, i, rows));
		if (strcmp(whole(lab, 0, standing), whole(lab, i, standing)) != 0)
			tell_first_difference("siblings", names[i], whole(lab, 0, standing),
			                      whole(lab, i, standing));
	}
}

// ---- writes

bool lab_write(struct lab *lab, PGconn *sql, const char *region, int64_t id, const char *price,
               const char *request)
{
	static _Atomic int serial;
	char id_text[24], own_request[64], text[4096];
	const char *params[4] = { id_text, price, request ? request : own_request, region };
	PGresult *result;
	bool done;

	snprintf(own_request, sizeof(own_request), "%s-%d-%d", region, (int)getpid(), ++serial);
	snprintf(id_text, sizeof(id_text), "%lld", (long long)id);
	snprintf(text, sizeof(text),
	         "WITH l AS MATERIALIZED (SELECT id FROM properties WHERE id = $1::bigint FOR NO KEY "
	         "UPDATE), u AS (INSERT INTO properties AS p (id, price, bedrooms, bathrooms, "
	         "region_origin, version, updated_at, vector, request_id) SELECT $1::bigint, "
	         "$2::numeric, 3, 2, $4::text, 1, now(), jsonb_build_object($4::text, 1), $3::text WHERE "
	         "$2::numeric IS NOT NULL AND NOT EXISTS (SELECT FROM l) RETURNING *), "
	         "w AS (UPDATE properties p SET price = coalesce($2::numeric, p.price), region_origin = "
	         "$4::text, version = version + 1, updated_at = greatest(now(), updated_at + interval '1 "
	         "microsecond'), vector = vector || jsonb_build_object($4::text, "
	         "coalesce((vector->>$4::text)::int, 0) + 1), deleted_at = CASE WHEN $2::numeric IS NULL "
	         "THEN greatest(now(), updated_at + interval '1 microsecond') END, "
	         "has_siblings = false, request_id = $3::text FROM l WHERE p.id = l.id AND ($2::numeric IS "
	         "NOT NULL OR p.deleted_at IS NULL) RETURNING p.*), d AS (SELECT * FROM u UNION ALL "
	         "SELECT * FROM w), o AS (INSERT INTO outbox (resource, record_id, origin, value, "
	         "deleted, vector, request_id, fingerprint, status, expires_at) SELECT 'properties', id, "
	         "$4::text, format('{\"id\":%%s,\"price\":%%s,\"bedrooms\":%%s,"
	         "\"bathrooms\":%%s,\"region_origin\":\"%%s\",\"version\":%%s,\"updated_at\":\"%%s\"}', id, "
	         "price, coalesce(bedrooms::text, 'null'), coalesce(bathrooms::text, 'null'), "
	         "region_origin, version, to_char(updated_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')), "
	         "deleted_at IS NOT NULL, vector, $3::text, sha256($3::text::bytea), 200, date_trunc('day', "
	         "now()) + interval '2 days' FROM d), r AS (INSERT INTO processed_requests (request_id, "
	         "fingerprint, resource, record_id, status, vector, dots, expires_at) "
	         "SELECT $3::text, sha256($3::text::bytea), 'properties', id, 200, vector, "
	         "jsonb_build_object($4::text, vector->$4::text), date_trunc('day', now()) + interval '2 "
	         "days' FROM d) SELECT id, CASE WHEN (SELECT count(*) FROM l) > 0 THEN "
	         "plist_replace_siblings('properties', id) END FROM d");
	result = PQexecParams(sql, text, 4, NULL, params, NULL, NULL, 0);
	done = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0;
	if (PQresultStatus(result) != PGRES_TUPLES_OK) {
		const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

		// Remembered already (23505), or blocked by another session: like the
		// store's, the caller decides whether to retry. Without an SQLSTATE,
		// the error is libpq's: the connection is lost, even if PQstatus does
		// not show it yet.
		if (state && strcmp(state, "23505") != 0 && strcmp(state, "40P01") != 0 &&
		    strcmp(state, "55P03") != 0 && strncmp(state, "57", 2) != 0)
			fail_msg("%s", PQresultErrorMessage(result));
	}
	PQclear(result);
	return done;
}

struct pl_message lab_message(struct lab *lab, const struct lab_write *w)
{
	static int64_t offset;
	static int serial;
	struct pl_outbox_row row = { .resource = w->cabin ? "cabins" : "properties" };
	struct pl_outgoing_message *message = pl_arena_alloc(lab->arena, sizeof(*message));
	struct pl_vector vector;
	struct pl_error err = { 0 };

	assert_int_equal(pl_vector_parse(&vector, w->vector, strlen(w->vector)), 0);
	row.record_id = pl_arena_printf(lab->arena, "%lld", (long long)(w->id ? w->id : 7));
	row.origin = w->origin;
	row.vector = w->vector;
	row.deleted = w->deleted;
	row.request_id = w->request ? w->request : pl_arena_printf(lab->arena, "request-%d", ++serial);
	row.fingerprint = pl_arena_printf(
		lab->arena, "\\x%s",
		w->fingerprint ? w->fingerprint
			       : "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
	row.status = w->deleted ? "204" : w->create ? "201" : "200";
	row.expires_at = w->expires ? w->expires : "2090-01-01 00:00:00+00";
	row.field_times = w->field_times;
	row.republished = w->republished;
	row.answer = w->answer;
	row.value = pl_arena_printf(
		lab->arena,
		"{\"id\":%s,\"price\":%s,\"bedrooms\":%d,\"bathrooms\":2,\"region_origin\":\"%s\","
		"\"version\":%lld,\"updated_at\":\"2026-02-21T%s.000000Z\"}",
		row.record_id, w->price ? w->price : "100.00", w->bedrooms ? w->bedrooms : 3, w->origin,
		(long long)pl_vector_sum(&vector), w->at ? w->at : "10:00:00");
	if (pl_event_encode(lab->arena, &row, "last_writer_wins sha256:00", message, &err) < 0)
		fail_msg("%s", err.text);
	return (struct pl_message){ .topic = w->cabin ? "cabin-updates" : "property-updates",
		                    .partition = 0,
		                    .offset = offset++,
		                    .broker_time_us = pl_now_us(),
		                    .key = message->key,
		                    .key_len = message->key_len,
		                    .value = message->value,
		                    .value_len = message->value_len,
		                    .nheaders = message->nheaders,
		                    .headers = message->headers };
}

const char *lab_free_address(void)
{
	static char text[64];
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	close(fd);
	snprintf(text, sizeof(text), "127.0.0.1:%d", ntohs(at.sin_port));
	return text;
}
