// The query plans of the store's statements: every row is found by an index, both in
// empty and in full tables.
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/params.h"
#include "store/statement.h"

static void explain(struct fixture *f, PGconn *pg, enum pl_statement_kind kind, const char *when)
{
	struct pl_buf sql = { 0 }, text = { 0 };
	int params = kind == PL_STATEMENT_READ ? 1 : PL_PARAM_FIELD + 3;
	PGresult *result;

	pl_statement_text(&text, kind, f->config, fixture_resource(f, PROPERTIES), &f->config->regions[0],
	                  f->config->regions[0].name);
	pl_buf_printf(&sql, "DEALLOCATE ALL; PREPARE s AS %s; EXPLAIN EXECUTE s(", text.data);
	for (int i = 0; i < params; i++)
		pl_buf_adds(&sql, i ? ", NULL" : "NULL");
	pl_buf_adds(&sql, ")");
	result = PQexec(pg, sql.data);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail_msg("%s", PQerrorMessage(pg));
	for (int i = 0; i < PQntuples(result); i++) {
		const char *line = PQgetvalue(result, i, 0);

		if (strstr(line, "Seq Scan") || strstr(line, "Bitmap") || strstr(line, "Sort"))
			fail_msg("%s, %s: %s", when, pl_statement_kind_name(kind), line);
		if ((strstr(line, "Index Scan") || strstr(line, "Index Only Scan")) &&
		    !strstr(PQgetvalue(result, i + 1, 0), "Index Cond"))
			fail_msg("%s, %s: a whole index is read: %s", when, pl_statement_kind_name(kind),
			         line);
	}
	PQclear(result);
	pl_buf_fini(&sql);
	pl_buf_fini(&text);
}

static void explain_all(struct fixture *f, const char *when)
{
	PGconn *pg = another_session();

	PQclear(PQexec(pg, "SET plan_cache_mode = force_generic_plan"));
	for (const char *const *sql = pl_statement_pinned_plans; *sql; sql++)
		PQclear(PQexec(pg, *sql));
	for (int kind = 0; kind < PL_STATEMENT_KINDS; kind++)
		explain(f, pg, (enum pl_statement_kind)kind, when);
	PQfinish(pg);
}

static void every_row_is_found_by_an_index(void **state)
{
	struct fixture *f = *state;
	const char *rows =
		getenv("PL_PLAN_ROWS") ? getenv("PL_PLAN_ROWS") : "50000"; // 1000000 takes a minute

	explain_all(f, "empty");
	ask(f, "INSERT INTO properties (id, price, region_origin, version) SELECT -i, 5, 'us', 1 FROM "
	       "generate_series(1, 2) i");
	ask(f, "ANALYZE");
	explain_all(f, "two rows, after ANALYZE");
	ask(f, "INSERT INTO properties (id, price, region_origin, version) SELECT i, 5, 'us', 1 FROM "
	       "generate_series(1, 1000) i");
	ask(f, "ANALYZE");
	explain_all(f, "a thousand rows");
	ask(f,
	    "INSERT INTO properties (id, price, region_origin, version) SELECT i, 5, 'us', 1 FROM "
	    "generate_series(1001, %s) i",
	    rows);
	ask(f,
	    "INSERT INTO processed_requests (request_id, fingerprint, resource, record_id, status, vector, "
	    "dots, expires_at) SELECT 'r' || i, sha256(''), "
	    "'properties', i, 200, '{}', '{}', now() FROM generate_series(1, %s) i",
	    rows);
	ask(f, "ANALYZE");
	explain_all(f, "many rows");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_row_is_found_by_an_index, fixture_setup,
		                                fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
