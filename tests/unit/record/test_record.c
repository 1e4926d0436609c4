// record/record and record/changes: JSON in both directions, and the check of client
// input.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "record/record.h"

static const struct pl_resource homes = {
	.name = "homes",
	.nfields = 5,
	.fields = { { .name = "price",
	              .type = PL_FIELD_DECIMAL,
	              .required = true,
	              .precision = 6,
	              .scale = 2,
	              .min = "0" },
	            { .name = "rooms", .type = PL_FIELD_INTEGER, .min = "0", .max = "100" },
	            { .name = "name", .type = PL_FIELD_STRING, .max_length = 7 },
	            { .name = "open", .type = PL_FIELD_BOOLEAN },
	            { .name = "height", .type = PL_FIELD_INTEGER } },
};

static int setup(void **state)
{
	*state = pl_arena_new(0);
	return 0;
}

static int teardown(void **state)
{
	struct pl_arena *arena = *state;

	pl_arena_free(&arena);
	return 0;
}

static cJSON *parsed(const char *text)
{
	struct pl_error err;
	cJSON *json = pl_json_parse(text, strlen(text), &pl_json_default_limits, &err);

	if (!json)
		fail_msg("%s: %s", text, err.text);
	return json;
}

// ---- JSON

#define HOME                                                                              \
	"{\"id\":7,\"price\":500.10,\"rooms\":null,\"name\":\"Zo\xc3\xab "                \
	"\\\"x\\\"\",\"open\":true,\"height\":-3,\"region_origin\":\"us\",\"version\":2," \
	"\"updated_at\":\"2026-02-21T10:00:00.123456Z\"}"
#define PLAIN                                                                     \
	"{\"id\":9007199254740991,\"price\":0.00,\"rooms\":3,\"name\":\"a, "      \
	"b}\",\"open\":null,\"height\":0,\"region_origin\":\"us\",\"version\":1," \
	"\"updated_at\":\"2026-02-21T10:00:00.000000Z\"}"

static void prints_and_reads_back(void **state)
{
	struct pl_arena *arena = *state;
	struct pl_record *record;
	struct pl_buf buf = { 0 };
	cJSON *json = parsed(HOME);

	assert_int_equal(pl_record_parse(arena, &homes, json, &record, NULL), 0);
	assert_int_equal(record->id, 7);
	assert_string_equal(record->values[0], "500.10");
	assert_null(record->values[1]);
	assert_string_equal(record->values[2], "Zo\xc3\xab \"x\"");
	assert_string_equal(record->values[3], "t");
	assert_null(record->json);
	pl_record_print(&buf, record);
	assert_string_equal(buf.data, HOME);
	pl_buf_fini(&buf);
	cJSON_Delete(json);
}

static void scans_its_own_printing(void **state)
{
	static const char *const texts[] = { HOME, PLAIN };
	struct pl_arena *arena = *state;

	for (int i = 0; i < 2; i++) {
		struct pl_record *record, plain;
		struct pl_buf buf = { 0 };

		assert_int_equal(pl_record_scan(arena, &homes, texts[i], "{\"us\": 2}", &record, NULL), 0);
		assert_string_equal(record->json, texts[i]);
		assert_int_equal(pl_vector_get(&record->vector, "us"), 2);
		plain = *record;
		plain.json = NULL;
		pl_record_print(&buf, &plain);
		assert_string_equal(buf.data, texts[i]);
		pl_buf_fini(&buf);
	}
}

static void shows_a_nan_as_null(void **state)
{
	static const char *const texts[] = { "NaN", "Infinity", "-Infinity" };

	for (int i = 0; i < 3; i++) {
		const char *at = strstr(PLAIN, "0.00"),
			   *text = pl_arena_printf(*state, "%.*s%s%s", (int)(at - PLAIN), PLAIN, texts[i],
		                                   at + 4);
		struct pl_record *record;
		struct pl_buf buf = { 0 };

		assert_int_equal(pl_record_scan(*state, &homes, text, "{\"us\": 1}", &record, NULL), 0);
		assert_null(record->values[0]);
		pl_record_print(&buf, record);
		assert_non_null(strstr(buf.data, "\"price\":null,\"rooms\":3"));
		record->values[0] = texts[i]; // as in a row that was read
		pl_buf_reset(&buf);
		pl_record_print(&buf, record);
		assert_non_null(strstr(buf.data, "\"price\":null,\"rooms\":3"));
		pl_buf_fini(&buf);
	}
}

// The characters of a column may take four bytes each, and may be escaped, so a record
// may be larger than the limit of a request's body.
static void scans_a_record_that_is_larger_than_a_body(void **state)
{
	char *name = pl_arena_alloc(*state, 400001), *text;
	struct pl_record *record;

	memset(name, 'x', 400000);
	text = pl_arena_printf(*state,
	                       "{\"id\":7,\"price\":1.00,\"rooms\":null,\"name\":\"\\\"%s\",\"open\":null,"
	                       "\"height\":null,"
	                       "\"region_origin\":\"us\",\"version\":1,\"updated_at\":\"2026-02-21T10:00:00."
	                       "000000Z\"}",
	                       name);
	struct pl_resource large = homes;
	large.fields[2].max_length = 500000;
	assert_int_equal(pl_record_scan(*state, &large, text, "{\"us\": 1}", &record, NULL), 0);
	assert_int_equal(strlen(record->values[2]), 400001);
}

static void does_not_scan_text_that_is_not_a_record(void **state)
{
	static const char *const bad[] = { "", "{}", "[]", "{\"id\":7}",
		                           ("{\"id\":7,\"price\":1.00,\"rooms\":3,\"name\":5,\"open\":null,"
		                            "\"height\":0,"
		                            "\"region_origin\":\"us\",\"version\":1,\"updated_at\":\"2026-02-"
		                            "21T10:00:00.000000Z\"}") };
	struct pl_record *record;
	struct pl_error err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(pl_record_scan(*state, &homes, bad[i], "{}", &record, &err) < 0);
}

static void refuses_events_that_are_not_records(void **state)
{
	static const struct {
		const char *from, *to, *word;
	} faults[] = {
		{ "\"id\":7", "\"id\":1.5", "id" },
		{ "\"id\":7", "\"id\":\"7\"", "id" },
		{ "\"us\"", "5", "region_origin" },
		{ "\"version\":2", "\"version\":2147483648", "version" },
		{ "2026-02-21", "2026-02-31", "updated_at" },
	};

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		const char *at = strstr(HOME, faults[i].from);
		char *text = pl_arena_printf(*state, "%.*s%s%s", (int)(at - HOME), HOME, faults[i].to,
		                             at + strlen(faults[i].from));
		struct pl_record *record;
		struct pl_error err;
		cJSON *json = parsed(text);

		if (pl_record_parse(*state, &homes, json, &record, &err) == 0)
			fail_msg("taken: %s", text);
		assert_non_null(strstr(err.text, faults[i].word));
		cJSON_Delete(json);
	}
}

static void a_value_of_another_type_is_null_and_reported(void **state)
{
	struct pl_record *record;
	cJSON *json = parsed("{\"id\":1,\"price\":\"500\",\"updated_at\":\"2026-02-21T12:00:00Z\","
	                     "\"region_origin\":\"eu\",\"version\":1}");

	assert_int_equal(pl_record_parse(*state, &homes, json, &record, NULL), 0);
	assert_null(record->values[0]);
	assert_true(record->mistyped);
	assert_string_equal(record->unfit, "price must be a number");
	cJSON_Delete(json);
}

// Bounds and required fields apply to clients: a record that was accepted once is read
// without them.
static void values_that_a_region_has_accepted_are_not_checked_again(void **state)
{
	struct pl_record *record;
	cJSON *json = parsed("{\"id\":1,\"price\":-1,\"rooms\":null,\"region_origin\":\"us\",\"version\":1,"
	                     "\"updated_at\":\"2026-02-21T10:00:00Z\"}");

	assert_int_equal(pl_record_parse(*state, &homes, json, &record, NULL), 0);
	assert_string_equal(record->values[0], "-1.00");
	assert_null(record->unfit);
	assert_non_null(strstr(pl_record_fault(*state, &homes, json), "price must be at least 0"));
	cJSON_Delete(json);
	json = parsed("{\"id\":1,\"price\":1.005,\"region_origin\":\"us\",\"version\":1,\"updated_at\":"
	              "\"2026-02-21T10:00:00Z\"}");
	assert_int_equal(pl_record_parse(*state, &homes, json, &record, NULL), 0);
	assert_non_null(strstr(record->unfit, "price must have at most 2 digits"));
	cJSON_Delete(json);
}

static void a_vector_that_cannot_be_read_counts_all_writes_to_the_origin(void **state)
{
	struct pl_record *record;

	assert_int_equal(pl_record_scan(*state, &homes, PLAIN, "nonsense", &record, NULL), 0);
	assert_int_equal(pl_vector_get(&record->vector, record->region_origin), record->version);
	assert_int_equal(record->vector.n, 1);
}

static void an_event_may_have_unknown_fields_and_lack_optional_ones(void **state)
{
	struct pl_record *record;
	cJSON *json = parsed("{\"color\":\"red\",\"id\":1,\"updated_at\":\"2026-02-21T12:00:00+02:00\","
	                     "\"region_origin\":\"eu\",\"version\":1,\"price\":1e2}");

	assert_int_equal(pl_record_parse(*state, &homes, json, &record, NULL), 0);
	assert_string_equal(record->values[0], "100.00");
	assert_null(record->values[2]);
	assert_string_equal(record->unknown, "{\"color\":\"red\"}");
	cJSON_Delete(json);
}

static void puts_members_in_the_records_order(void **state)
{
	static const char *const pairs[][2] = {
		{ "{\"version\": 2, \"extra\": {\"b\": 1}, \"price\": 5.00, \"id\": 7}", "{\"id\":7,"
		                                                                         "\"price\":5.00,"
		                                                                         "\"version\":2,"
		                                                                         "\"extra\":{\"b\":1}"
		                                                                         "}" },
		{ "{}", "{}" },
		{ "[1, 2]", "[1,2]" },
		{ "\"x\"", "\"x\"" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		cJSON *json = parsed(pairs[i][0]);
		struct pl_buf buf = { 0 };

		pl_record_print_members(&buf, &homes, json);
		assert_string_equal(buf.data, pairs[i][1]);
		pl_buf_fini(&buf);
		cJSON_Delete(json);
	}
}

// ---- client input

static struct pl_changes changes;

static struct pl_fault *faults_of(struct pl_arena *arena, enum pl_body_kind kind, const char *text,
                                  int expected)
{
	static const char *const also[] = { "version", NULL };
	cJSON *json = parsed(text);
	struct pl_fault *faults = pl_changes_parse(arena, &homes, kind, json, also, &changes);
	int n = 0;

	for (const struct pl_fault *fault = faults; fault; fault = fault->next)
		n++;
	if (n != expected)
		fail_msg("%s: %d faults, first: %s %s", text, n, n ? faults->pointer : "",
		         n ? faults->detail : "");
	cJSON_Delete(json);
	return faults;
}

static void a_number_is_spelled_as_its_column_prints_it(void **state)
{
	static const char *const pairs[][2] = {
		{ "5", "5.00" },          { "5.1", "5.10" },       { "0.05", "0.05" },    { "5e-1", "0.50" },
		{ "5E2", "500.00" },      { "1.5e+3", "1500.00" }, { "-0", "0.00" },      { "0e300", "0.00" },
		{ "9999.99", "9999.99" }, { "1.500", "1.50" },     { "0.001e1", "0.01" }, { "100e-4", "0.01" }
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		faults_of(*state, PL_BODY_UPDATE, pl_arena_printf(*state, "{\"price\":%s}", pairs[i][0]), 0);
		assert_string_equal(changes.values[0], pairs[i][1]);
	}
}

static void each_fault_names_its_member(void **state)
{
	static const struct {
		const char *body, *pointer, *word;
	} cases[] = {
		{ "{\"price\":\"5\"}", "/price", "must be a number" },
		{ "{\"price\":null}", "/price", "must not be null" },
		{ "{\"price\":-0.01}", "/price", "at least 0" },
		{ "{\"price\":10000}", "/price", "at most 4 digits before" },
		{ "{\"price\":1e300}", "/price", "at most 4 digits before" },
		{ "{\"price\":1e-300}", "/price", "at most 2 digits after" },
		{ "{\"price\":0.001}", "/price", "at most 2 digits after" },
		{ "{\"rooms\":1.5}", "/rooms", "must be an integer" },
		{ "{\"rooms\":101}", "/rooms", "at most 100" },
		{ "{\"rooms\":-1}", "/rooms", "at least 0" },
		{ "{\"height\":2147483648}", "/height", "32 bits" },
		{ "{\"rooms\":true}", "/rooms", "must be an integer" },
		{ "{\"name\":5}", "/name", "must be a string" },
		{ "{\"name\":\"eight888\"}", "/name", "at most 7 characters" },
		{ "{\"open\":\"yes\"}", "/open", "true or false" },
		{ "{\"a/b~c\":1}", "/a~1b~0c", "not a field" },
		{ "{\"id\":1}", "/id", "not a field" },
		{ "{}", "", "names no field" },
		{ "{\"version\":1}", "", "names no field" },
		{ "[]", "", "must be a JSON object" },
		{ "null", "", "must be a JSON object" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pl_fault *fault = faults_of(*state, PL_BODY_UPDATE, cases[i].body, 1);

		assert_string_equal(fault->pointer, cases[i].pointer);
		if (!strstr(fault->detail, cases[i].word))
			fail_msg("%s: %s", cases[i].body, fault->detail);
	}
}

static void all_faults_are_listed_in_order(void **state)
{
	struct pl_fault *fault =
		faults_of(*state, PL_BODY_CREATE, "{\"rooms\":-1,\"color\":1,\"name\":\"12345678\"}", 4);

	assert_string_equal(fault->pointer, "/rooms");
	assert_string_equal(fault->next->pointer, "/color");
	assert_string_equal(fault->next->next->pointer, "/name");
	assert_string_equal(fault->next->next->next->pointer, "/price");
	assert_string_equal(fault->next->next->next->detail, "is required");
}

static void a_length_is_counted_in_characters(void **state)
{
	faults_of(*state, PL_BODY_UPDATE,
	          "{\"name\":\"12\xc3\xab\xc3\xab\xc3\xab\xe2\x82\xac\xf0\x9f\x8f\xa0\"}", 0);
	faults_of(*state, PL_BODY_UPDATE,
	          "{\"name\":\"12\xc3\xab\xc3\xab\xc3\xab\xe2\x82\xac\xf0\x9f\x8f\xa0!\"}", 1);
}

static void members_that_are_not_named_are_not_set(void **state)
{
	faults_of(*state, PL_BODY_UPDATE, "{\"version\":3,\"rooms\":null,\"open\":false}", 0);
	assert_false(changes.set[0]);
	assert_true(changes.set[1]);
	assert_null(changes.values[1]);
	assert_string_equal(changes.values[3], "f");
}

// ---- as printed

static uint32_t dice = 1;

static uint32_t roll(uint32_t n)
{
	dice = dice * 1664525u + 1013904223u;
	return (dice >> 8) % n;
}

#define ONE_OF(list) (list)[roll((uint32_t)(sizeof(list) / sizeof((list)[0])))]

// As plist prints it, or almost.
static char *drawn(struct pl_arena *arena, bool *as_printed_r)
{
	static const char *const ids[] = { "7",  "1",  "9007199254740991", "9007199254740992", "0", "07",
		                           "-1", "7.0" };
	static const char *const prices[] = { "500.10",   "0.00",  "-0.01", "9999.99", "null",
		                              "500.1",    "-0.00", "00.10", "5e1",     "500",
		                              "10000.00", "5.",    "-",     ".50",     "\"5\"" };
	static const char *const rooms[] = { "null",       "0",  "3",  "101", "-2147483648", "2147483647",
		                             "2147483648", "-0", "03", "3.0", "true" };
	static const char *const names[] = { "\"Zoe\"",  "\"\"",      "\"longer than seven\"",
		                             "null",     "\"a\\nb\"", "\"Zo\xc3\xab\"",
		                             "\"\xff\"", "\"\t\"",    "\"\x7f\"",
		                             "\"a",      "7" };
	static const char *const opens[] = { "true", "false", "null", "tru", "1" };
	static const char *const origins[] = { "\"us\"", "\"eu.2\"", "\"\"", "null",
		                               "\"a name of more than thirty-two letters\"" };
	static const char *const versions[] = { "2", "2147483647", "2147483648", "0", "-5", "null" };
	static const char *const times[] = { "\"2026-02-21T10:00:00.123456Z\"", "\"2026-02-21T10:00:00Z\"",
		                             "\"0001-01-01T00:00:00Z\"", "\"yesterday\"", "null" };
	static const char alphabet[] = "{}\",:0123456789.-e\\nulltrfas \xc3";
	bool odd = roll(2);
	char *text;

#define DRAW(list, plain) (odd && roll(6) == 0 ? ONE_OF(list) : (list)[roll(plain)])
	text = pl_arena_printf(arena,
	                       "{\"id\":%s,\"price\":%s,\"rooms\":%s,\"name\":%s,\"open\":%s,\"height\":%s,"
	                       "\"region_origin\":%s,\"version\":%s,\"updated_at\":%s}%s",
	                       DRAW(ids, 3), DRAW(prices, 5), DRAW(rooms, 6), DRAW(names, 4), DRAW(opens, 3),
	                       roll(2) ? "-3" : "null", DRAW(origins, 2), DRAW(versions, 2), DRAW(times, 3),
	                       odd && roll(10) == 0 ? " x" + roll(2) : "");
	size_t len = strlen(text), at = roll((uint32_t)len);

	*as_printed_r = !odd;
	switch (odd ? roll(8) : 9) {
	case 0: text[at] = alphabet[roll(sizeof(alphabet) - 1)]; break;
	case 1: memmove(text + at, text + at + 1, len - at); break;
	case 2: text[at] = '\0'; break;
	case 3:
		return pl_arena_printf(arena, "%.*s%c%s", (int)at, text, alphabet[roll(sizeof(alphabet) - 1)],
		                       text + at);
	default: break;
	}
	return text;
}

static bool same_record(const struct pl_record *a, const struct pl_record *b)
{
	bool same = a->id == b->id && a->version == b->version && a->updated_at_us == b->updated_at_us &&
	            strcmp(a->region_origin, b->region_origin) == 0 && !a->unknown && !b->unknown &&
	            !b->unfit && !b->mistyped;

	for (int i = 0; i < homes.nfields; i++)
		same = same && (a->values[i] && b->values[i] ? strcmp(a->values[i], b->values[i]) == 0
		                                             : a->values[i] == b->values[i]);
	return same;
}

static void a_printed_record_is_read_as_the_parser_reads_it(void **state)
{
	int taken = 0, left = 0, n = 20000;

	(void)state;
	for (int i = 0; i < n; i++) {
		struct pl_arena *arena = pl_arena_new(0);
		bool as_printed;
		const char *text = drawn(arena, &as_printed);
		size_t len = strlen(text);
		// what is behind it must not be read
		char *more = pl_arena_printf(arena, "%s0,}", text);
		struct pl_record *record = pl_record_read_printed(arena, &homes, more, len), *other = NULL;
		struct pl_error err;
		cJSON *json = pl_json_parse(more, len, &pl_json_default_limits, &err);

		if (json && pl_record_parse(arena, &homes, json, &other, &err) < 0)
			other = NULL;
		if (as_printed && !record)
			fail_msg("not read: %s", text);
		if (record && (!other || !same_record(record, other)))
			fail_msg("read differently: %s", text);
		taken += record != NULL;
		left += !record && other;
		cJSON_Delete(json);
		pl_arena_free(&arena);
	}
	if (taken < n / 3 || left < n / 100)
		fail_msg("only %d were read and %d left to the parser", taken, left);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define t(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		t(prints_and_reads_back),
		t(a_printed_record_is_read_as_the_parser_reads_it),
		t(scans_its_own_printing),
		t(shows_a_nan_as_null),
		t(scans_a_record_that_is_larger_than_a_body),
		t(does_not_scan_text_that_is_not_a_record),
		t(refuses_events_that_are_not_records),
		t(a_value_of_another_type_is_null_and_reported),
		t(values_that_a_region_has_accepted_are_not_checked_again),
		t(a_vector_that_cannot_be_read_counts_all_writes_to_the_origin),
		t(an_event_may_have_unknown_fields_and_lack_optional_ones),
		t(puts_members_in_the_records_order),
		t(a_number_is_spelled_as_its_column_prints_it),
		t(each_fault_names_its_member),
		t(all_faults_are_listed_in_order),
		t(a_length_is_counted_in_characters),
		t(members_that_are_not_named_are_not_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
