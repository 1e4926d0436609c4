// store/statement_plain: a single write by the plain statement leaves what the other
// statement leaves, or nothing; and the store answers the same.
//
// Rows and writes are generated from a seed: rows with ordinary vectors, and with all
// that SQL, a restored table, another daemon or another region may leave in one; writes
// with correct and wrong versions, remembered requests, and any set of fields. Each pair
// is run twice on a fresh row, once with each of the two statements. PL_PLAIN_SEED and
// PL_PLAIN_CASES choose the first seed and the number of pairs.
#include "writes.h"

#include <stdio.h>
#include <stdlib.h>

#include "config/config_private.h"
#include "store/params.h"
#include "store/statement.h"

static uint32_t dice;

static uint32_t roll(uint32_t n)
{
	dice = dice * 1664525u + 1013904223u;
	return (dice >> 8) % n;
}

#define ONE_OF(list) (list)[roll((uint32_t)(sizeof(list) / sizeof((list)[0])))]

static int number_from(const char *name, int otherwise)
{
	return getenv(name) ? atoi(getenv(name)) : otherwise;
}

// The region eu is configured, ap is retired.
static struct pl_config *config_of_two(void)
{
	struct pl_config *config = fixture_config(64);
	struct pl_region *regions = pl_arena_alloc(config->arena, 2 * sizeof(regions[0]));

	regions[0] = config->regions[0];
	regions[1] = (struct pl_region){ .name = "eu" };
	config->regions = regions;
	config->nregions = 2;
	config->retired_regions[0] = "ap";
	return config;
}

// ---- rows

struct entry {
	const char *text;
	int64_t count; // what it adds to the version
};

static const struct entry own[] = { { "\"us\":1", 1 },
	                            { "\"us\":7", 7 },
	                            { "\"us\":999999997", 999999997 },
	                            { "\"us\":999999998", 999999998 },
	                            { "\"us\":1073741823", 1073741823 },
	                            { "", 0 },
	                            { "\"us\":0", 0 },
	                            { "\"us\":1.5", 1 },
	                            { "\"us\":1.5", 2 },
	                            { "\"us\":2.0", 2 },
	                            { "\"us\":-1", -1 },
	                            { "\"us\":-1", 1 },
	                            { "\"us\":null", 0 },
	                            { "\"us\":\"5\"", 5 },
	                            { "\"us\":true", 1 },
	                            { "\"us\":[]", 0 },
	                            { "\"us\":[5]", 5 } };

static const struct entry others[] = { { "", 0 },
	                               { ",\"eu\":4", 4 },
	                               { ",\"eu\":0", 0 },
	                               { ",\"ap\":2", 2 },
	                               { ",\"us.2\":3", 3 },
	                               { ",\"zz\":1", 1 },
	                               { ",\"\":1", 1 },
	                               { ",\"eu\":-3", -3 },
	                               { ",\"eu\":2.5", 2 },
	                               { ",\"eu\":0.5,\"ap\":0.5", 1 },
	                               { ",\"eu\":\"x\"", 0 },
	                               { ",\"eu\":[3]", 3 },
	                               { ",\"eu\":{}", 0 },
	                               { ",\"eu\":null", 0 } };

static const char *const oddities[] = {
	"has_siblings = true",
	"deleted_at = now()",
	"unknown_fields = '{\"pool\":true}'",
	"unknown_fields = '{\"bedrooms\":9}'",
	"price = 'NaN'",
	"bathrooms = NULL",
	"updated_at = '-infinity'",
	"updated_at = 'infinity'",
	"updated_at = now() + interval '23 hours'",
	"updated_at = now() + interval '25 hours'",
	"vector = '[]'",
	"vector = '7'",
	"vector = '{}'",
	"version = version + 1",
	"request_id = NULL",
	"region_origin = 'eu'",
};

struct row {
	const char *vector;
	int64_t version;
	const char *oddity; // or NULL
	bool left_locked;   // by a transaction that is over
	bool more_fields;   // another daemon knows one more
	const char *spoils; // what a trigger does to the row; NULL: there is none
};

static struct row row_draw(struct fixture *f)
{
	static const char *const spoiling[] = { "vector := NEW.vector || '{\"us\":5}'",
		                                "vector := '[1]'",
		                                "version := 9",
		                                "region_origin := 'eu'",
		                                "deleted_at := now()",
		                                "updated_at := now() + interval '2 days'",
		                                "bathrooms := 4" };
	struct row row = { 0 };
	const struct entry *ours = roll(2) ? &own[roll(2)] : &ONE_OF(own);
	const struct entry *theirs = roll(2) ? &others[roll(2)] : &ONE_OF(others);
	const char *entry = ours->text[0] ? theirs->text : theirs->text + (theirs->text[0] == ',');

	row.vector = pl_arena_printf(f->arena, "{%s%s}", ours->text, entry);
	row.version = ours->count + theirs->count;
	row.oddity = roll(4) == 0 ? ONE_OF(oddities) : NULL;
	row.left_locked = roll(12) == 0;
	row.more_fields = roll(20) == 0;
	row.spoils = roll(12) == 0 ? ONE_OF(spoiling) : NULL;
	return row;
}

static void row_make(struct fixture *f, PGconn *another, const struct row *row)
{
	ask(f, "TRUNCATE properties, outbox, processed_requests; DELETE FROM plist.resource_fields");
	ask(f, "DROP TRIGGER IF EXISTS spoil ON properties");
	ask(f,
	    "INSERT INTO properties (id, price, bedrooms, bathrooms, region_origin, version, updated_at, "
	    "vector, request_id) VALUES (1, 5, 2, 1, 'us', %lld, now() - interval '1 hour', '%s', 'before')",
	    (long long)row->version, row->vector);
	ask(f,
	    "INSERT INTO processed_requests (request_id, fingerprint, resource, record_id, status, vector, "
	    "dots, expires_at) VALUES ('remembered', sha256('x'), 'properties', 1, 200, '{\"us\":1}', "
	    "'{\"us\":1}', '2096-01-01')");
	if (row->oddity)
		ask(f, "UPDATE properties SET %s", row->oddity);
	if (row->left_locked)
		PQclear(PQexec(another, "SELECT FROM properties FOR UPDATE"));
	if (row->more_fields)
		ask(f, "INSERT INTO plist.resource_fields (resource, name, type) VALUES ('properties', "
		       "'pool', 'boolean')");
	if (!row->spoils)
		return;
	ask(f,
	    "CREATE OR REPLACE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.%s; RETURN "
	    "NEW; END $$",
	    row->spoils);
	ask(f, "CREATE TRIGGER spoil BEFORE UPDATE ON properties FOR EACH ROW EXECUTE FUNCTION spoil()");
}

// ---- writes

static struct pl_write *write_draw(struct fixture *f, const struct row *row)
{
	static const char *const prices[] = { "1.00", "2.505", "9999999999.99", "10000000000", "0" };
	static const char *const rooms[] = { "3", "0", NULL };
	struct pl_write *write = write_new(f, PL_WRITE_UPDATE, roll(30) ? 1 : 2);

	if (roll(2))
		write_set(write, "price", roll(3) ? prices[0] : ONE_OF(prices));
	if (roll(2))
		write_set(write, "bedrooms", ONE_OF(rooms));
	if (roll(2))
		write_set(write, "bathrooms", ONE_OF(rooms));
	write->has_version = true;
	write->version = (int32_t)(roll(6) ? row->version : row->version - 1 + roll(3));
	if (write->version < 1 || write->version > 999999998)
		write->version = 1;
	if (roll(8) == 0)
		write->request_id = "remembered";
	if (roll(8) == 0)
		write->principal = "anna";
	if (roll(4) == 0)
		write->traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
	return write;
}

struct done {
	int rows;        // of its result; -1: an error
	const char *all; // the result, without the place in the outbox
	const char *left;
};

// Without the times of the run.
static const char *left_behind(struct fixture *f)
{
	static const char rows[] =
		"SELECT regexp_replace(concat_ws(E'\\n', (SELECT string_agg((to_jsonb(p) || "
		"jsonb_build_object('soon', p.updated_at BETWEEN now() - interval '1 minute' AND now() + "
		"interval '1 day'))::text, '') FROM properties AS p), (SELECT string_agg((to_jsonb(o) - 'id' "
		"- 'created_at')::text, '') FROM outbox AS o), (SELECT string_agg((to_jsonb(r) - "
		"'created_at')::text, '' ORDER BY request_id, principal) FROM processed_requests AS r)), "
		"'updated_at[^,}]*', '', 'g')";

	return pl_arena_strdup(f->arena, ask(f, rows));
}

static struct done run(struct fixture *f, PGconn *pg, const char *statement, const struct pl_write *write)
{
	struct pl_params params = { 0 };
	struct pl_conn_params p;
	struct done done = { 0 };
	struct pl_buf all = { 0 };
	PGresult *result;

	pl_params_begin(&params, write->resource);
	pl_params_write(&params, write, INT64_C(4000000000000000), &f->config->regions[0]);
	p = pl_params_one(&params);
	result = PQexecPrepared(pg, statement, p.n, p.values, p.lengths, p.formats, 0);
	pl_params_fini(&params);
	done.rows = PQresultStatus(result) == PGRES_TUPLES_OK ? PQntuples(result) : -1;
	if (done.rows < 0)
		pl_buf_printf(&all, "%s", PQresultErrorField(result, PG_DIAG_SQLSTATE));
	for (int i = 0; i < done.rows; i++)
		pl_buf_printf(&all, "%s %s", PQgetvalue(result, i, PL_DONE_N),
		              PQgetvalue(result, i, PL_DONE_VECTOR));
	done.all = pl_arena_strdup(f->arena, all.data ? all.data : "");
	pl_buf_fini(&all);
	PQclear(result);
	done.left = left_behind(f);
	return done;
}

static PGconn *session(struct pl_config *config, const enum pl_statement_kind kinds[2])
{
	PGconn *pg = another_session();

	for (int i = 0; i < 2; i++) {
		struct pl_buf text = { 0 };
		PGresult *result;

		pl_statement_text(&text, kinds[i], config, &config->resources[0], &config->regions[0], "us");
		result = PQprepare(pg, pl_statement_kind_name(kinds[i]), text.data, 0, NULL);
		if (PQresultStatus(result) != PGRES_COMMAND_OK)
			fail_msg("%s", PQerrorMessage(pg));
		PQclear(result);
		pl_buf_fini(&text);
	}
	return pg;
}

// ---- tests

struct tally {
	int done, nothing, errors, left_to_the_other;
};

// The session looks whether others know more fields.
static void look(PGconn *pg, const struct pl_config *config)
{
	struct pl_buf sql = { 0 };
	PGresult *result;

	pl_statement_look_at_fields(&sql, config->resources, config->nresources);
	result = PQexec(pg, sql.data);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail_msg("%s", PQerrorMessage(pg));
	PQclear(result);
	pl_buf_fini(&sql);
}

static void compare(struct fixture *f, PGconn *pg, PGconn *another, struct tally *tally)
{
	struct row row = row_draw(f);
	struct pl_write *write = write_draw(f, &row);
	bool looks_before = roll(2);
	struct done plain, other;
	const char *before;

	if (looks_before) // and not after what row_make changes
		look(pg, f->config);
	row_make(f, another, &row);
	if (!looks_before)
		look(pg, f->config);
	before = left_behind(f);
	plain = run(f, pg, "change_plain", write);
	row_make(f, another, &row);
	other = run(f, pg, "change_one", write);
	if (plain.rows == 1 ? other.rows != 1 || strcmp(plain.all, other.all) != 0 ||
	                              strcmp(plain.left, other.left) != 0
	                    : strcmp(plain.left, before) != 0) {
		print_error("before:\n%s\n", before);
		print_error("left by the plain statement:\n%s\n", plain.left);
		print_error("left by the other one:\n%s\n", other.left);
		fail_msg("%s version %lld, %s%s%s, write of version %d, request %s: plain %d rows (%s), "
		         "other %d (%s)",
		         row.vector, (long long)row.version, row.oddity ? row.oddity : "no oddity",
		         row.spoils ? ", trigger " : "", row.spoils ? row.spoils : "", write->version,
		         write->request_id, plain.rows, plain.all, other.rows, other.all);
	}
	// a number that is too large for its column
	if (strncmp(other.all, "22", 2) == 0 && strcmp(other.all, "22003") != 0)
		fail_msg("%s: the other statement failed with %s", row.vector, other.all);
	tally->done += plain.rows == 1;
	tally->nothing += plain.rows == 0;
	tally->errors += plain.rows < 0;
	tally->left_to_the_other += plain.rows != 1 && other.rows == 1;
	pl_arena_reset(f->arena);
}

static void it_leaves_what_the_other_statement_leaves_or_nothing(void **state)
{
	struct fixture *f = *state;
	struct pl_config *config = config_of_two();
	PGconn *another = another_session(), *pg;
	int n = number_from("PL_PLAIN_CASES", 1500);
	struct tally tally = { 0 };

	pg = session(config,
	             (enum pl_statement_kind[]){ PL_STATEMENT_CHANGE_PLAIN, PL_STATEMENT_CHANGE_ONE });
	dice = (uint32_t)number_from("PL_PLAIN_SEED", 1);
	for (int i = 0; i < n; i++)
		compare(f, pg, another, &tally);
	assert_true(tally.done > n / 8 && tally.nothing > n / 8 && tally.errors > n / 20);
	assert_true(tally.left_to_the_other > n / 50);
	PQfinish(pg);
	PQfinish(another);
	pl_config_unref(&config);
}

static uint64_t statements(struct fixture *f)
{
	struct pl_store_stats stats;

	pl_store_stats(f->store, &stats);
	return stats.batches;
}

static struct pl_write *versioned(struct fixture *f, int version)
{
	struct pl_write *write = update(f, 1, "9.00");

	write->has_version = true;
	write->version = version;
	return write;
}

static void the_other_statement_writes_what_it_leaves(void **state)
{
	static const char *const cases[] = { "vector = '{\"us\":1,\"eu\":1}', version = 2", // eu is retired
		                             "unknown_fields = '{\"pool\":true}'",
		                             "vector = '{\"us\":1073741822}', version = 1073741822" };
	struct fixture *f = *state;

	for (int i = 0; i < (int)(sizeof(cases) / sizeof(cases[0])); i++) {
		ask(f, "TRUNCATE properties");
		outcome_is(f, create(f, 1, "1.00"), PL_OUTCOME_DONE);
		ask(f, "UPDATE properties SET %s", cases[i]);
		outcome_is(f, versioned(f, atoi(ask(f, "SELECT version FROM properties"))), PL_OUTCOME_DONE);
		ask_is(f, "9.00", "SELECT price FROM properties");
		outcome_is(f, versioned(f, 1), PL_OUTCOME_VERSION);
	}
}

// A table full of such rows pays for the vain attempt only now and then.
static void after_a_row_of_another_kind_it_is_not_tried_for_a_while(void **state)
{
	struct fixture *f = *state;
	uint64_t begun;

	outcome_is(f, create(f, 1, "1.00"), PL_OUTCOME_DONE);
	begun = statements(f);
	outcome_is(f, versioned(f, 1), PL_OUTCOME_DONE);
	assert_int_equal(statements(f) - begun, 1);
	ask(f, "UPDATE properties SET vector = '{\"us\":1,\"eu\":1}'");
	begun = statements(f);
	outcome_is(f, versioned(f, 2), PL_OUTCOME_DONE);
	assert_int_equal(statements(f) - begun, 2);
	begun = statements(f);
	for (int i = 0; i < 64; i++)
		outcome_is(f, versioned(f, 3 + i), PL_OUTCOME_DONE);
	assert_int_equal(statements(f) - begun, 64);
	begun = statements(f);
	outcome_is(f, versioned(f, 67), PL_OUTCOME_DONE);
	assert_int_equal(statements(f) - begun, 2);
}

// ---- fields that other daemons know

static PGconn *plain_session(struct pl_config *config)
{
	return session(config,
	               (enum pl_statement_kind[]){ PL_STATEMENT_CHANGE_PLAIN, PL_STATEMENT_CHANGE_ONE });
}

// How many rows the plain statement writes.
static int written_as(struct fixture *f, PGconn *pg, const struct pl_resource *resource)
{
	struct pl_write *write = update(f, 1, "9.00");

	write->resource = resource;
	write->has_version = true;
	write->version = atoi(ask(f, "SELECT version FROM properties"));
	return run(f, pg, "change_plain", write).rows;
}

static int written(struct fixture *f, PGconn *pg)
{
	return written_as(f, pg, &f->config->resources[0]);
}

static void each_change_of_the_known_fields_ends_what_a_session_has_seen(void **state)
{
	static const char *const changes[] = {
		"INSERT INTO plist.resource_fields (resource, name, type) VALUES ('other', 'a', 'boolean')",
		"UPDATE plist.resource_fields SET name = 'b' WHERE name = 'a'",
		"DELETE FROM plist.resource_fields WHERE name = 'b'",
		"TRUNCATE plist.resource_fields",
	};
	struct fixture *f = *state;
	PGconn *pg = plain_session(f->config);

	outcome_is(f, create(f, 1, "1.00"), PL_OUTCOME_DONE);
	assert_int_equal(written(f, pg), 0);
	for (int i = 0; i < (int)(sizeof(changes) / sizeof(changes[0])); i++) {
		look(pg, f->config);
		assert_int_equal(written(f, pg), 1);
		ask(f, "%s", changes[i]);
		assert_int_equal(written(f, pg), 0);
	}
	look(pg, f->config);
	ask(f,
	    "INSERT INTO plist.resource_fields (resource, name, type) VALUES ('properties', 'a', 'boolean')");
	look(pg, f->config);
	assert_int_equal(written(f, pg), 0);
	ask(f, "UPDATE plist.resource_fields SET has_column = false");
	look(pg, f->config);
	assert_int_equal(written(f, pg), 1);
	PQfinish(pg);
}

static void a_change_that_is_not_committed_yet_is_not_passed_over(void **state)
{
	struct fixture *f = *state;
	PGconn *pg = plain_session(f->config), *another = another_session();

	outcome_is(f, create(f, 1, "1.00"), PL_OUTCOME_DONE);
	PQclear(PQexec(another, "BEGIN"));
	PQclear(PQexec(another, "INSERT INTO plist.resource_fields (resource, name, type) VALUES "
	                        "('properties', 'pool', 'boolean')"));
	look(pg, f->config);
	PQclear(PQexec(another, "COMMIT"));
	assert_int_equal(written(f, pg), 0);
	PQfinish(pg);
	PQfinish(another);
}

// After a reload the session has statements of another definition of the resource.
static void what_was_seen_holds_for_one_definition_of_a_resource(void **state)
{
	struct fixture *f = *state;
	struct pl_config *fewer = fixture_config(64);
	PGconn *pg;

	ask(f, "INSERT INTO plist.resource_fields (resource, name, type) VALUES ('properties', 'bathrooms', "
	       "'integer') ON CONFLICT DO NOTHING");
	fewer->resources[0].nfields--;
	assert_string_equal(fewer->resources[0].fields[fewer->resources[0].nfields].name, "bathrooms");
	pg = plain_session(fewer);
	outcome_is(f, create(f, 1, "1.00"), PL_OUTCOME_DONE);
	look(pg, f->config);
	assert_int_equal(written_as(f, pg, &fewer->resources[0]), 0);
	PQfinish(pg);
	pl_config_unref(&fewer);
}

static void after_a_change_that_does_not_concern_it_it_is_used_again(void **state)
{
	struct fixture *f = *state;
	uint64_t begun;

	outcome_is(f, create(f, 1, "1.00"), PL_OUTCOME_DONE);
	ask(f, "INSERT INTO plist.resource_fields (resource, name, type) VALUES ('other', 'a', 'boolean')");
	begun = statements(f);
	outcome_is(f, versioned(f, 1), PL_OUTCOME_DONE);
	assert_int_equal(statements(f) - begun, 2);
	for (int i = 0; i < 64; i++)
		outcome_is(f, versioned(f, 2 + i), PL_OUTCOME_DONE);
	begun = statements(f);
	outcome_is(f, versioned(f, 66), PL_OUTCOME_DONE);
	outcome_is(f, versioned(f, 67), PL_OUTCOME_DONE);
	assert_int_equal(statements(f) - begun, 2);
	ask_is(f, "68", "SELECT version FROM properties");
}

// The insert of the remembered request meets the first one, though the row is again as
// that request found it.
static void a_remembered_request_is_found_by_its_insert(void **state)
{
	struct fixture *f = *state;
	struct pl_write *first, *again, *reused;

	outcome_is(f, create(f, 1, "1.00"), PL_OUTCOME_DONE);
	first = versioned(f, 1);
	outcome_is(f, first, PL_OUTCOME_DONE);
	ask(f, "UPDATE properties SET version = 1, vector = '{\"us\":1}', price = 1");
	again = versioned(f, 1);
	again->request_id = first->request_id;
	memcpy(again->fingerprint, first->fingerprint, sizeof(again->fingerprint));
	outcome_is(f, again, PL_OUTCOME_REMEMBERED);
	vector_is(&again->remembered.vector, "{\"us\":2}");
	reused = versioned(f, 1);
	reused->request_id = first->request_id;
	outcome_is(f, reused, PL_OUTCOME_REUSED);
	ask_is(f, "1.00 2", "SELECT price || ' ' || (SELECT count(*) FROM outbox) FROM properties");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define t(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
		t(it_leaves_what_the_other_statement_leaves_or_nothing),
		t(the_other_statement_writes_what_it_leaves),
		t(after_a_row_of_another_kind_it_is_not_tried_for_a_while),
		t(a_remembered_request_is_found_by_its_insert),
		t(each_change_of_the_known_fields_ends_what_a_session_has_seen),
		t(a_change_that_is_not_committed_yet_is_not_passed_over),
		t(what_was_seen_holds_for_one_definition_of_a_resource),
		t(after_a_change_that_does_not_concern_it_it_is_used_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
