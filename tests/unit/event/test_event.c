// Encoding and decoding events: the result equals the input, and invalid messages are
// refused with a reason.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "event/event.h"

static const struct pl_resource resource = {
	.name = "properties",
	.title = "Property",
	.table = "properties",
	.topic = "property-updates",
	.track_fields = true,
	.nfields = 4,
	.fields = {
		{ .name = "price",
		  .type = PL_FIELD_DECIMAL,
		  .required = true,
		  .min = "0",
		  .precision = 12,
		  .scale = 2 },
		{ .name = "bedrooms", .type = PL_FIELD_INTEGER, .min = "0", .max = "100" },
		{ .name = "note", .type = PL_FIELD_STRING, .max_length = 255 },
		{ .name = "sold", .type = PL_FIELD_BOOLEAN },
	},
};

#define VALUE                                                                  \
	"{\"id\":7,\"price\":500000.00,\"bedrooms\":3,\"note\":\"a \\\"b\\\" " \
	"\xc3\xa4\",\"sold\":true,\"region_origin\":\"us\","                   \
	"\"version\":6,\"updated_at\":\"2026-02-21T10:00:00.123456Z\"}"
#define FINGERPRINT "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"
#define TIMES       "{\"price\":{\"at\":1771668000000000,\"origin\":\"us\"}}"

static const struct pl_outbox_row row = {
	.id = 41,
	.resource = "properties",
	.record_id = "7",
	.origin = "us",
	.value = VALUE,
	.vector = "{\"eu\": 1, \"us\": 5}",
	.field_times = TIMES,
	.request_id = "put-1",
	.principal = "anna",
	.fingerprint = "\\x" FINGERPRINT,
	.status = "201",
	.expires_at = "2026-02-22 10:00:00.5+00",
	.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
};

static struct pl_arena *arena;

static int setup(void **state)
{
	arena = pl_arena_new(0);
	return 0;
}

static int teardown(void **state)
{
	pl_arena_free(&arena);
	return 0;
}

static struct pl_outgoing_message encoded(const struct pl_outbox_row *from)
{
	struct pl_outgoing_message message;
	struct pl_error err;

	assert_int_equal(pl_event_encode(arena, from, "last_writer_wins sha256:ab", &message, &err), 0);
	return message;
}

// As Kafka delivers it.
static struct pl_message received(const struct pl_outgoing_message *m)
{
	return (struct pl_message){ .key = m->key,
		                    .key_len = m->key_len,
		                    .value = m->value,
		                    .value_len = m->value_len,
		                    .headers = m->headers,
		                    .nheaders = m->nheaders };
}

static struct pl_event *decoded(const struct pl_outgoing_message *m)
{
	struct pl_message message = received(m);
	struct pl_event *event;
	struct pl_error err = { 0 };

	if (pl_event_decode(arena, &resource, &message, &event, &err) < 0)
		fail_msg("%s", err.text);
	return event;
}

// Refused, with a message that contains `says`.
static void assert_refused(const struct pl_outgoing_message *m, const char *says)
{
	struct pl_message message = received(m);
	struct pl_event *event;
	struct pl_error err = { 0 };

	assert_int_equal(pl_event_decode(arena, &resource, &message, &event, &err), PL_EINVAL);
	if (!strstr(err.text, says))
		fail_msg("\"%s\" does not say \"%s\"", err.text, says);
}

static struct pl_message_header *header(struct pl_outgoing_message *m, const char *name)
{
	for (int i = 0; i < m->nheaders; i++)
		if (strcmp(m->headers[i].name, name) == 0)
			return &m->headers[i];
	fail_msg("no header %s", name);
	return NULL;
}

static void set_header(struct pl_outgoing_message *m, const char *name, const char *value)
{
	struct pl_message_header *h = header(m, name);

	h->value = value;
	h->len = strlen(value);
}

static void drop_header(struct pl_outgoing_message *m, const char *name)
{
	struct pl_message_header *h = header(m, name);

	*h = m->headers[--m->nheaders];
}

static void an_update_comes_out_as_it_went_in(void **state)
{
	struct pl_outgoing_message m = encoded(&row);
	struct pl_event *e = decoded(&m);
	int64_t at;

	assert_false(e->foreign);
	assert_int_equal(e->id, 7);
	assert_int_equal(e->version, 6);
	assert_string_equal(e->write.dot.region, "us");
	assert_int_equal(e->write.dot.counter, 5);
	assert_int_equal(pl_vector_get(&e->write.vector, "eu"), 1);
	assert_int_equal(pl_vector_sum(&e->write.vector), 6);
	pl_clock_parse_time("2026-02-21T10:00:00.123456Z", 27, &at);
	assert_true(e->write.updated_at_us == at);
	assert_string_equal(e->write.values[0], "500000.00");
	assert_string_equal(e->write.values[1], "3");
	assert_string_equal(e->write.values[2], "a \"b\" \xc3\xa4");
	assert_string_equal(e->write.values[3], "t");
	assert_string_equal(e->write.field_times, TIMES);
	assert_string_equal(e->write.request_id, "put-1");
	assert_string_equal(e->write.principal, "anna");
	assert_int_equal(e->write.fingerprint[1], 1);
	assert_int_equal(e->write.fingerprint[31], 0xff);
	assert_int_equal(e->status, 201);
	pl_clock_parse_time("2026-02-22T10:00:00.5Z", 22, &at);
	assert_true(e->expires_at_us == at);
	assert_string_equal(e->event_id, "us/properties/7/5");
	assert_string_equal(e->policy, "last_writer_wins sha256:ab");
	assert_string_equal(e->traceparent, row.traceparent);
	assert_false(e->write.deleted);
}

static void a_delete_travels_with_a_null_value(void **state)
{
	struct pl_outbox_row gone = row;
	struct pl_outgoing_message m;
	struct pl_event *e;

	gone.deleted = true;
	m = encoded(&gone);
	assert_null(m.value);
	e = decoded(&m);
	assert_true(e->write.deleted);
	assert_string_equal(e->write.values[0], "500000.00");
	drop_header(&m, "plist-deleted");
	assert_refused(&m, "neither value");
}

static void values_that_an_outbox_row_lacks_make_no_header(void **state)
{
	struct pl_outbox_row bare = row;
	struct pl_outgoing_message m;
	struct pl_event *e;

	bare.principal = "";
	bare.traceparent = bare.field_times = NULL;
	bare.expires_at = "infinity";
	m = encoded(&bare);
	e = decoded(&m);
	assert_string_equal(e->write.principal, "");
	assert_null(e->write.field_times);
	assert_null(e->traceparent);
	assert_int_equal(e->expires_at_us, 0);
}

static void an_answer_that_does_not_follow_from_the_record_travels(void **state)
{
	struct pl_outbox_row own = row;
	struct pl_outgoing_message m = encoded(&row);

	assert_null(decoded(&m)->answer.own);
	assert_null(decoded(&m)->answer.location);
	own.answer = "{\"status\": 409, \"headers\": [], \"body\": \"no\"}";
	m = encoded(&own);
	assert_string_equal(decoded(&m)->answer.own, own.answer);
	assert_int_equal(decoded(&m)->answer.status, 409);
	assert_int_equal(decoded(&m)->status, 201);
	set_header(&m, "plist-answer", "{\"status\": 409}");
	assert_refused(&m, "header plist-answer: has no list of headers");
}

static void a_republished_event_says_by_whom_and_whether_it_is_a_write(void **state)
{
	struct pl_outbox_row again = row;
	struct pl_outgoing_message m = encoded(&again);

	assert_null(decoded(&m)->republished.region);
	again.republished = "eu";
	m = encoded(&again);
	assert_string_equal(decoded(&m)->republished.region, "eu");
	assert_false(decoded(&m)->republished.request_only);
	again.republished = "eu; request";
	m = encoded(&again);
	assert_string_equal(decoded(&m)->republished.region, "eu");
	assert_true(decoded(&m)->republished.request_only);
	again.republished = "eu; all";
	m = encoded(&again);
	assert_refused(&m, "plist-republished");
	again.request_id = "";
	again.republished = NULL;
	m = encoded(&again); // without a request, there is no fingerprint
	assert_null(decoded(&m)->write.fingerprint);
}

static void a_row_without_its_own_dot_is_not_an_event(void **state)
{
	struct pl_outbox_row bad = row;
	struct pl_outgoing_message m;
	struct pl_error err;

	bad.vector = "{\"eu\": 1}";
	assert_int_equal(pl_event_encode(arena, &bad, NULL, &m, &err), PL_EINVAL);
	bad.vector = "[]";
	assert_int_equal(pl_event_encode(arena, &bad, NULL, &m, &err), PL_EINVAL);
}

static void without_our_headers_it_is_foreign(void **state)
{
	struct pl_outgoing_message m = {
		.key = "seven", .key_len = 5, .value = VALUE, .value_len = strlen(VALUE)
	};
	struct pl_event *e = decoded(&m);

	assert_true(e->foreign);
	assert_int_equal(e->id, 7);
	assert_int_equal(e->version, 6);
	assert_string_equal(e->write.dot.region, "us");
	m.value = NULL;
	m.value_len = 0;
	assert_refused(&m, "neither a value");
}

static void hostile_values_are_refused(void **state)
{
	static const struct {
		const char *value, *says;
	} cases[] = {
		{ "", "" },
		{ "not json", "" },
		{ "[]", "object" },
		{ "{}", "id" },
		{ "null", "object" },
		{ VALUE "x", "" },
		{ "{\"id\":7,\"id\":8}", "" },
		{ "{\"id\":9007199254740992,\"price\":1,\"region_origin\":\"us\",\"version\":6,\"updated_"
		  "at\":\"2026-02-21T10:00:00Z\"}",
		  "id" },
		{ "{\"id\":7,\"price\":1,\"note\":\"\\u0000\",\"region_origin\":\"us\",\"version\":6,"
		  "\"updated_at\":\"2026-02-21T10:00:00Z\"}",
		  "" },
		{ "{\"id\":7,\"price\":1,\"note\":\"\xff\",\"region_origin\":\"us\",\"version\":6,\"updated_"
		  "at\":\"2026-02-21T10:00:00Z\"}",
		  "" },
		{ "{\"id\":7,\"price\":1,\"region_origin\":\"US\",\"version\":6,\"updated_at\":\"2026-02-"
		  "21T10:00:00Z\"}",
		  "region_origin" },
		{ "{\"id\":7,\"price\":1,\"region_origin\":\"us\",\"version\":0,\"updated_at\":\"2026-02-"
		  "21T10:00:00Z\"}",
		  "version" },
		{ "{\"id\":7,\"price\":1,\"region_origin\":\"us\",\"version\":2147483648,\"updated_at\":"
		  "\"2026-02-21T10:00:00Z\"}",
		  "version" },
		{ "{\"id\":7,\"price\":1,\"region_origin\":\"us\",\"version\":6,\"updated_at\":"
		  "\"yesterday\"}",
		  "updated_at" },
		{ "{\"id\":7,\"price\":1,\"region_origin\":\"us\",\"version\":5,\"updated_at\":\"2026-02-"
		  "21T10:00:00Z\"}",
		  "sum" },
		{ "{\"id\":7,\"price\":1,\"region_origin\":\"eu\",\"version\":6,\"updated_at\":\"2026-02-"
		  "21T10:00:00Z\"}",
		  "plist-origin" },
		{ "{\"id\":8,\"price\":1,\"region_origin\":\"us\",\"version\":6,\"updated_at\":\"2026-02-"
		  "21T10:00:00Z\"}",
		  "key" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pl_outgoing_message m = encoded(&row);

		m.value = cases[i].value;
		m.value_len = strlen(cases[i].value);
		assert_refused(&m, cases[i].says);
	}
}

static void hostile_headers_are_refused(void **state)
{
	static const struct {
		const char *name, *value, *says;
	} cases[] = {
		{ "plist-origin", "US", "plist-origin" },
		{ "plist-origin", "", "empty" },
		{ "plist-origin", "eu", "region_origin" },
		{ "plist-vector", "{}", "does not count" },
		{ "plist-vector", "{\"us\":-1}", "not a vector" },
		{ "plist-vector", "{\"us\":5", "not a vector" },
		{ "plist-vector", "{\"us\":99999999999}", "not a vector" },
		{ "plist-vector", "{\"eu\":6}", "does not count" },
		{ "plist-request-id", "a b", "request id" },
		{ "plist-request-id", "\xff", "UTF-8" },
		{ "plist-fingerprint", "00", "64 hex" },
		{ "plist-fingerprint", FINGERPRINT "00", "too long" },
		{ "plist-fingerprint", "zz0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff",
		  "64 hex" },
		{ "plist-status", "500", "2xx" },
		{ "plist-status", "2x", "2xx" },
		{ "plist-expires", "soon", "plist-expires" },
		{ "plist-schema", "2", "schema" },
		{ "plist-field-times", "[]", "no object" },
		{ "plist-field-times", "{\"price\":1}", "when and where" },
		{ "plist-field-times", "{\"price\":{\"at\":1.5,\"origin\":\"us\"}}", "when and where" },
		{ "plist-field-times", "{", "field-times" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pl_outgoing_message m = encoded(&row);

		set_header(&m, cases[i].name, cases[i].value);
		assert_refused(&m, cases[i].says);
	}
}

static void missing_duplicate_and_binary_headers_are_refused(void **state)
{
	struct pl_outgoing_message m = encoded(&row);

	drop_header(&m, "plist-vector");
	assert_refused(&m, "plist-vector");
	m = encoded(&row);
	drop_header(&m, "plist-fingerprint");
	assert_refused(&m, "plist-fingerprint");
	m = encoded(&row);
	m.headers[m.nheaders++] = (struct pl_message_header){ "plist-origin", "us", 2 };
	assert_refused(&m, "twice");
	m = encoded(&row);
	header(&m, "plist-origin")->value = "u\0";
	assert_refused(&m, "UTF-8");
	m = encoded(&row);
	m.key = NULL;
	m.key_len = 0;
	assert_refused(&m, "key");
	m = encoded(&row);
	header(&m, "plist-vector")->value = NULL;
	assert_refused(&m, "empty");
}

static void a_bad_traceparent_does_not_lose_the_write(void **state)
{
	struct pl_outgoing_message m = encoded(&row);

	set_header(&m, "traceparent", "\xff\xff");
	assert_null(decoded(&m)->traceparent);
}

// Changes every single byte of an event: the event is accepted or refused, and nothing
// worse happens, which the sanitizers check.
static void flipped_bytes_do_no_harm(void **state)
{
	struct pl_outgoing_message m = encoded(&row);
	struct pl_message message = received(&m);
	char value[sizeof(VALUE)];
	struct pl_event *event;
	struct pl_error err;

	for (size_t i = 0; i < sizeof(VALUE) - 1; i++) {
		memcpy(value, VALUE, sizeof(VALUE));
		value[i] ^= (char)(1 << (i % 8));
		message.value = value;
		message.value_len = sizeof(VALUE) - 1;
		pl_event_decode(arena, &resource, &message, &event, &err);
		message.value_len = i;
		pl_event_decode(arena, &resource, &message, &event, &err);
	}
	message.value = VALUE;
	message.value_len = sizeof(VALUE) - 1;
	for (int h = 0; h < m.nheaders; h++) {
		struct pl_message_header kept = m.headers[h];

		for (size_t i = 0; i < kept.len; i++) {
			char *copy = pl_arena_strndup(arena, kept.value, kept.len);

			copy[i] ^= (char)(1 << (i % 8));
			m.headers[h].value = copy;
			pl_event_decode(arena, &resource, &message, &event, &err);
		}
		m.headers[h] = kept;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_update_comes_out_as_it_went_in, setup, teardown),
		cmocka_unit_test_setup_teardown(a_delete_travels_with_a_null_value, setup, teardown),
		cmocka_unit_test_setup_teardown(values_that_an_outbox_row_lacks_make_no_header, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(an_answer_that_does_not_follow_from_the_record_travels, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_republished_event_says_by_whom_and_whether_it_is_a_write,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(a_row_without_its_own_dot_is_not_an_event, setup, teardown),
		cmocka_unit_test_setup_teardown(without_our_headers_it_is_foreign, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_values_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_headers_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(missing_duplicate_and_binary_headers_are_refused, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_bad_traceparent_does_not_lose_the_write, setup, teardown),
		cmocka_unit_test_setup_teardown(flipped_bytes_do_no_harm, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
