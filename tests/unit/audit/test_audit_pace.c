// How much the audit reads, and how fast, on a real PostgreSQL: large records must cost a
// region no more than its share of the time, and an answer must fit into a message.
#include "../apply/lab.h"

#include <stdlib.h>
#include <string.h>

#include "audit/audit_private.h"

#define SLEEP_US INT64_C(300000) // what each look at the slow table takes

static struct lab lab;
static struct pl_audit audit;
static struct pl_config config;
static struct pl_resource slow; // its rows take long to read
static struct pl_arena *arena;

static int start(void **state)
{
	lab_start(&lab, &(struct lab_options){ .regions = 1 });
	lab_ask(&lab, 0,
	        "CREATE VIEW slow AS SELECT p.* FROM properties AS p, LATERAL (SELECT pg_sleep(0.3), p.id) "
	        "AS s");
	return 0;
}

static int stop(void **state)
{
	lab_stop(&lab);
	return 0;
}

static void send(void *arg)
{
	(void)arg;
}

static int setup(void **state)
{
	static const char *const settings[] = { "SET jit = off", "SET plan_cache_mode = force_custom_plan",
		                                NULL };
	struct pl_error err = { 0 };

	lab_empty(&lab);
	arena = pl_arena_new(0);
	slow = *lab_properties(&lab);
	slow.table = "slow";
	config = *lab.config;
	config.audit.rows_per_second = 1000000;
	memset(&audit, 0, sizeof(audit));
	audit.config = &config;
	audit.region = lab_region(&lab, 0);
	audit.options.mail = pl_audit_mail_new();
	audit.options.send = send;
	audit.answering = pl_arena_new(0);
	pthread_mutex_init(&audit.lock, NULL);
	audit.session = pl_session_new(&(struct pl_session_options){ .dsn = lab.dsn[0],
	                                                             .application_name = "test audit",
	                                                             .connect_timeout_us = 2000000,
	                                                             .statement_timeout_us = 20000000,
	                                                             .stop_fd = -1,
	                                                             .setup = settings });
	if (pl_session_connect(audit.session, &err) < 0)
		fail_msg("%s", err.text);
	return 0;
}

static int teardown(void **state)
{
	pl_session_free(&audit.session);
	pl_audit_mail_free(&audit.options.mail);
	pl_arena_free(&audit.answering);
	pl_arena_free(&arena);
	pthread_mutex_destroy(&audit.lock);
	return 0;
}

// Records with these ids and as many counters in their vectors.
static void fill(int from, int until, int counters)
{
	lab_ask(&lab, 0,
	        "INSERT INTO properties (id, price, version, updated_at, region_origin, vector) SELECT i, 1, "
	        "%d, now(), 'us', (SELECT jsonb_object_agg('region-with-a-long-name-' || n, 1) FROM "
	        "generate_series(1, %d) AS n) FROM generate_series(%d, %d) AS i",
	        counters, counters, from, until - 1);
}

static void digests(const struct pl_resource *resource, bool ranges, int64_t until)
{
	struct pl_audit_span span = { 0, until, ranges, false };
	struct pl_buf lines = { 0 };
	struct pl_error err = { 0 };

	if (pl_audit_look_digests(&audit, resource, &span, &lines, &err) < 0)
		fail_msg("%s", err.text);
	pl_buf_fini(&lines);
}

static void records(const struct pl_resource *resource, const char *ids, struct pl_buf *lines)
{
	struct pl_error err = { 0 };

	if (pl_audit_look_records(&audit, resource, ids, lines, &err) < 0)
		fail_msg("%s", err.text);
}

// How long the audit has to wait now before it reads again.
static int64_t pause_us(void)
{
	int64_t us = audit.free_at_us - pl_mono_us();

	audit.free_at_us = 0;
	return us;
}

static void after_each_look_the_audit_rests_for_as_long_as_the_look_took(void **state)
{
	struct pl_buf lines = { 0 };

	fill(1, 2, 1);
	digests(&slow, true, RANGE);
	assert_true(pause_us() > SLEEP_US * 3 / 4);
	digests(&slow, false, RANGE);
	assert_true(pause_us() > SLEEP_US * 3 / 4);
	records(&slow, "{1}", &lines);
	assert_true(pause_us() > SLEEP_US * 3 / 4);
	pl_buf_fini(&lines);
}

// And no longer, unless it has read as many records as it may in that time.
static void a_quick_look_costs_as_much_as_the_records_that_it_read(void **state)
{
	fill(1, 101, 1);
	digests(lab_properties(&lab), false, RANGE);
	assert_true(pause_us() < SLEEP_US);
	config.audit.rows_per_second = 100;
	digests(lab_properties(&lab), false, RANGE);
	assert_in_range(pause_us(), 1000000, (100 + LOOK_ROWS) * INT64_C(10000));
	digests(lab_properties(&lab), false, RANGE);
	digests(lab_properties(&lab), false, RANGE); // two looks at once cost twice as much
	assert_in_range(pause_us(), 2000000, 2 * (100 + LOOK_ROWS) * INT64_C(10000));
}

// ---- answers

static const struct pl_audit_message *answer_to(const struct pl_audit_message *ask)
{
	struct pl_audit_message *answer = pl_arena_alloc(arena, sizeof(*answer));
	struct pl_buf text = { 0 };
	struct pl_error err = { 0 };
	char to[PL_REGION_MAX + 1];

	pl_audit_answer(&audit, ask);
	assert_true(pl_audit_mail_sent(audit.options.mail, to, &text));
	if (pl_audit_message_parse(arena, text.data, text.len, answer, &err) < 0)
		fail_msg("%s", err.text);
	assert_null(answer->fault);
	pl_buf_fini(&text);
	return answer;
}

static struct pl_audit_message ask_for(enum pl_audit_what what)
{
	struct pl_buf fields = { 0 };
	struct pl_audit_message ask = { .region = "eu", .to = "us", .id = "1", .what = what };

	pl_audit_fields_print(&fields, lab_properties(&lab));
	ask.resource = "properties";
	ask.fields = pl_arena_strdup(arena, fields.data);
	ask.major = PQserverVersion(lab.sql[0]) / 10000;
	ask.from = INT64_MIN;
	pl_buf_fini(&fields);
	return ask;
}

static int64_t ranges_of_answer(void)
{
	struct pl_audit_message ask = ask_for(PL_AUDIT_RANGES);
	const struct pl_audit_message *answer;

	ask.ranges = RANGES_MAX;
	answer = answer_to(&ask);
	audit.free_at_us = 0;
	return answer->until / RANGE - answer->from / RANGE;
}

static void an_answer_has_no_more_ranges_than_can_be_read_in_a_second(void **state)
{
	fill(1, 2, 1);
	assert_int_equal(ranges_of_answer(), RANGES_MAX);
	audit.range_us = 400000;
	assert_int_equal(ranges_of_answer(), 2);
	audit.range_us = 5000000;
	assert_int_equal(ranges_of_answer(), 1);
	audit.range_us = 0;
	config.audit.rows_per_second = 3 * RANGE;
	assert_int_equal(ranges_of_answer(), 3);
}

// What a range takes is known from the last one.
static void a_slow_range_is_noted_for_the_next_answer(void **state)
{
	fill(1, 2, 1);
	digests(&slow, true, RANGE);
	pause_us();
	assert_in_range(audit.range_us, SLEEP_US, 4 * SLEEP_US);
	assert_in_range(ranges_of_answer(), 1, 3);
}

static void an_answer_has_no_more_copies_of_records_than_fit_into_a_message(void **state)
{
	struct pl_audit_message ask = ask_for(PL_AUDIT_RECORDS);
	const struct pl_audit_message *answer;
	struct pl_buf ids = { 0 };
	const char *at;
	struct pl_audit_copy copy;
	int n = 0;

	fill(1, PL_AUDIT_IDS_MAX + 1, 60); // each of about two kilobytes
	for (int i = 1; i <= PL_AUDIT_IDS_MAX; i++)
		pl_buf_printf(&ids, "%c%d", i == 1 ? '{' : ',', i);
	pl_buf_addc(&ids, '}');
	ask.ids = ids.data;
	answer = answer_to(&ask);
	assert_in_range(strlen(answer->rows), PL_AUDIT_BYTES, PL_AUDIT_BYTES + 4096);
	for (at = answer->rows; pl_audit_judge_parse(&at, &copy);)
		assert_int_equal(copy.id, ++n); // the first ones
	assert_in_range(n, 50, PL_AUDIT_IDS_MAX - 1);
	pl_buf_fini(&ids);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(after_each_look_the_audit_rests_for_as_long_as_the_look_took),
		TEST(a_quick_look_costs_as_much_as_the_records_that_it_read),
		TEST(an_answer_has_no_more_ranges_than_can_be_read_in_a_second),
		TEST(a_slow_range_is_noted_for_the_next_answer),
		TEST(an_answer_has_no_more_copies_of_records_than_fit_into_a_message),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
