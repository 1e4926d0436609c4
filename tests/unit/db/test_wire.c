// db/wire on a real PostgreSQL: values that are sent in binary format are printed
// correctly by the server.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <libpq-fe.h>

#include "db/wire.h"

static PGconn *sql;

static int start(void **state)
{
	(void)state;
	sql = PQconnectdb(getenv("DATABASE_URL"));
	PQclear(PQexec(sql, "SET TIME ZONE 'UTC'"));
	return PQstatus(sql) == CONNECTION_OK ? 0 : -1;
}

static int stop(void **state)
{
	(void)state;
	PQfinish(sql);
	return 0;
}

static void check(PGresult *result, const char *expected)
{
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail_msg("%s", PQresultErrorMessage(result));
	assert_string_equal(PQgetvalue(result, 0, 0), expected);
	PQclear(result);
}

static void array_is(const struct pl_buf *array, const char *type, const char *expected)
{
	char query[64];

	snprintf(query, sizeof(query), "SELECT $1::%s[]", type);
	check(PQexecParams(sql, query, 1, NULL, (const char *const[]){ array->data },
	                   (int[]){ (int)array->len }, (int[]){ 1 }, 0),
	      expected);
}

static void numbers_arrive(void **state)
{
	static const struct {
		enum pl_wire_type type;
		const char *name;
		int64_t value;
		const char *array;
	} all[] = {
		{ PL_WIRE_INT8, "bigint", INT64_MIN, "{-9223372036854775808,12,NULL}" },
		{ PL_WIRE_INT4, "integer", INT32_MAX, "{2147483647,12,NULL}" },
		{ PL_WIRE_INT4, "integer", -2, "{-2,12,NULL}" },
		{ PL_WIRE_INT2, "smallint", -32768, "{-32768,12,NULL}" },
	};
	struct pl_buf buf = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		pl_wire_array_begin(&buf);
		pl_wire_int(&buf, all[i].type, all[i].value);
		pl_wire_text(&buf, all[i].type, "12");
		pl_wire_null(&buf);
		pl_wire_array_end(&buf, all[i].type, 3, true);
		array_is(&buf, all[i].name, all[i].array);
	}
	pl_buf_fini(&buf);
}

static void texts_json_bytes_and_booleans_arrive(void **state)
{
	struct pl_buf buf = { 0 };

	(void)state;
	pl_wire_array_begin(&buf);
	pl_wire_text(&buf, PL_WIRE_TEXT, "a\"b\\c,{}");
	pl_wire_text(&buf, PL_WIRE_TEXT, "");
	pl_wire_text(&buf, PL_WIRE_TEXT, NULL);
	pl_wire_text(&buf, PL_WIRE_TEXT, "NULL");
	pl_wire_array_end(&buf, PL_WIRE_TEXT, 4, true);
	array_is(&buf, "text", "{\"a\\\"b\\\\c,{}\",\"\",NULL,\"NULL\"}");
	pl_wire_array_begin(&buf);
	pl_wire_text(&buf, PL_WIRE_JSONB, "{\"us\":1}");
	pl_wire_array_end(&buf, PL_WIRE_JSONB, 1, false);
	array_is(&buf, "jsonb", "{\"{\\\"us\\\": 1}\"}");
	pl_wire_array_begin(&buf);
	pl_wire_bytes(&buf, "\0\xff", 2);
	pl_wire_array_end(&buf, PL_WIRE_BYTEA, 1, false);
	array_is(&buf, "bytea", "{\"\\\\x00ff\"}");
	pl_wire_array_begin(&buf);
	pl_wire_bool(&buf, true);
	pl_wire_text(&buf, PL_WIRE_BOOL, "f");
	pl_wire_array_end(&buf, PL_WIRE_BOOL, 2, false);
	array_is(&buf, "boolean", "{t,f}");
	pl_buf_fini(&buf);
}

static void times_arrive(void **state)
{
	struct pl_buf buf = { 0 };

	(void)state;
	pl_wire_array_begin(&buf);
	pl_wire_time(&buf, INT64_C(1771668000000001));
	pl_wire_time(&buf, 0);
	pl_wire_array_end(&buf, PL_WIRE_TIMESTAMPTZ, 2, false);
	array_is(&buf, "timestamptz", "{\"2026-02-21 10:00:00.000001+00\",\"1970-01-01 00:00:00+00\"}");
	pl_buf_fini(&buf);
}

static void an_array_may_be_empty(void **state)
{
	struct pl_buf buf = { 0 };

	(void)state;
	pl_wire_array_begin(&buf);
	pl_wire_array_end(&buf, PL_WIRE_INT8, 0, false);
	array_is(&buf, "bigint", "{}");
	pl_buf_fini(&buf);
}

static void rows_are_copied(void **state)
{
	struct pl_buf buf = { 0 };

	(void)state;
	PQclear(PQexec(sql, "CREATE TEMP TABLE rows (id bigint, name varchar(9), at timestamptz)"));
	pl_wire_copy_begin(&buf);
	for (int i = 1; i <= 3; i++) {
		pl_wire_copy_row(&buf, 3);
		pl_wire_int(&buf, PL_WIRE_INT8, i);
		pl_wire_text(&buf, PL_WIRE_TEXT, i == 2 ? NULL : "a\tb\n\\.");
		pl_wire_time(&buf, i * INT64_C(1000000));
	}
	pl_wire_copy_end(&buf);
	PQclear(PQexec(sql, "COPY rows FROM STDIN (FORMAT binary)"));
	assert_int_equal(PQputCopyData(sql, buf.data, (int)buf.len), 1);
	assert_int_equal(PQputCopyEnd(sql, NULL), 1);
	for (PGresult *result; (result = PQgetResult(sql)); PQclear(result))
		assert_int_equal(PQresultStatus(result), PGRES_COMMAND_OK);
	check(PQexec(sql, "SELECT string_agg(id || ':' || coalesce(octet_length(name)::text, '-') || ':' || "
	                  "extract(second FROM at)::int, ' ' ORDER BY id) FROM rows"),
	      "1:6:1 2:-:2 3:6:3");
	pl_buf_fini(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_arrive),  cmocka_unit_test(texts_json_bytes_and_booleans_arrive),
		cmocka_unit_test(times_arrive),    cmocka_unit_test(an_array_may_be_empty),
		cmocka_unit_test(rows_are_copied),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
