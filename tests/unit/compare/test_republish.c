// What a region puts into its outbox again.
#include "../apply/lab.h"

#include "compare/republish.h"

static struct lab lab;
static struct pl_session *session;

static int start(void **state)
{
	lab_start(&lab, &(struct lab_options){ .regions = 2 });
	session = lab_session(&lab, 0, (struct pl_session_options){ .application_name = "test republish" });
	return 0;
}

static int stop(void **state)
{
	pl_session_free(&session);
	lab_stop(&lab);
	return 0;
}

static int setup(void **state)
{
	lab_empty(&lab);
	return 0;
}

static void republishes_all_since(const char *since)
{
	struct pl_republish republish = { .resource = lab_properties(&lab),
		                          .region = lab_region(&lab, 0),
		                          .session = session,
		                          .selection = {
						  .last = INT64_MAX, .since = since, .name = "test" } };
	struct pl_error err = { 0 };
	bool done = false;

	if (pl_republish_begin(&republish, &err) < 0)
		fail_msg("%s", err.text);
	while (!done)
		if (pl_republish_step(&republish, &done, &err) < 0)
			fail_msg("%s", err.text);
}

// `key` counts the region's writes after its database was lost.
static void is_written_under(const char *key, const char *price, int count, const char *request)
{
	lab_ask(&lab, 0,
	        "WITH p AS (INSERT INTO properties (id, price, region_origin, version, updated_at, vector, "
	        "request_id) VALUES (1, %2$s, '%1$s', %3$d, now(), '{\"%1$s\": %3$d}', '%4$s') ON CONFLICT "
	        "(id) DO UPDATE SET price = excluded.price, version = excluded.version, vector = "
	        "excluded.vector, request_id = excluded.request_id RETURNING *) INSERT INTO "
	        "processed_requests (request_id, fingerprint, resource, record_id, status, response_body, "
	        "vector, dots, expires_at) SELECT '%4$s', sha256(''), 'properties', 1, 200, "
	        "jsonb_build_object('id', 1, 'price', price, 'bedrooms', NULL, 'bathrooms', NULL, "
	        "'region_origin', 'us', 'version', version, 'updated_at', updated_at), vector, vector, "
	        "now() + interval '1 day' FROM p",
	        key, price, count, request);
}

static void a_request_brings_its_first_answer_under_every_key_of_its_region(void **state)
{
	static const char *const keys[] = { "us", "us.2" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		lab_empty(&lab);
		is_written_under(keys[i], "5.00", 1, "first");
		is_written_under(keys[i], "6.00", 2, "second");
		republishes_all_since(NULL);
		lab_is(&lab, "5.00 1", 0,
		       "SELECT concat_ws(' ', value::jsonb -> 'price', value::jsonb -> 'version') FROM "
		       "plist.outbox WHERE request_id = 'first' AND republished = 'us; request'");
	}
}

// What the policy shows of two siblings may be the older one.
static void a_record_was_written_when_its_latest_sibling_was(void **state)
{
	static const char *const since = "2026-02-21T11:00:00Z";

	lab_ask(&lab, 0,
	        "INSERT INTO properties (id, price, region_origin, version, updated_at, vector, "
	        "has_siblings, request_id) VALUES (1, 9, 'eu', 2, '2026-02-21T10:00:00Z', "
	        "'{\"eu\":1,\"us\":1}', true, 'a'), (2, 9, 'eu', 1, '2026-02-21T10:00:00Z', '{\"eu\":1}', "
	        "false, 'c')");
	lab_ask(&lab, 0,
	        "INSERT INTO record_siblings (resource, record_id, origin, counter, vector, updated_at, "
	        "fields, request_id) VALUES ('properties', 1, 'eu', 1, '{\"eu\":1}', "
	        "'2026-02-21T10:00:00Z', '{\"price\":9}', 'a'), ('properties', 1, 'us', 1, '{\"us\":1}', "
	        "'2026-02-21T12:00:00Z', '{\"price\":8}', 'b')");
	republishes_all_since(since);
	lab_is(&lab, "1 eu, 1 us", 0,
	       "SELECT string_agg(concat_ws(' ', record_id, origin), ', ' ORDER BY id) FROM plist.outbox");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_request_brings_its_first_answer_under_every_key_of_its_region,
		                       setup),
		cmocka_unit_test_setup(a_record_was_written_when_its_latest_sibling_was, setup),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
