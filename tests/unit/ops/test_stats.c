// Counters of several threads and their sum as text. Threads: one writes each block; the
// last test has two.
#include "ops/stats.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

static int setup(void **state)
{
	*state = pl_stats_new();
	return 0;
}

static int teardown(void **state)
{
	struct pl_stats *stats = *state;
	pl_stats_free(&stats);
	return 0;
}

static void served(struct pl_stats_block *block, const char *method, const char *path, int status,
                   int64_t took_us)
{
	pl_stats_served(block, &(struct pl_served){ method, path, status, took_us });
}

// The value of the line that begins with `sample` and a blank; -1 if there is none.
static double value(const struct pl_stats *stats, const char *sample)
{
	struct pl_buf buf = { 0 };
	double found = -1;
	size_t len = strlen(sample);
	pl_stats_print(&buf, stats);
	for (char *line = buf.data; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (strncmp(line, sample, len) == 0 && line[len] == ' ')
			found = strtod(line + len, NULL);
	pl_buf_fini(&buf);
	return found;
}

#define R "{method=\"GET\",route=\"/:region/properties/:id\""

static void answers_of_all_threads_are_added_up(void **state)
{
	struct pl_stats *stats = *state;
	struct pl_stats_block *a = pl_stats_block_new(stats), *b = pl_stats_block_new(stats);
	served(a, "GET", "/:region/properties/:id", 200, 700);
	served(b, "GET", "/:region/properties/:id", 200, 700);
	served(b, "GET", "/:region/properties/:id", 404, 700);
	served(b, "PUT", "/:region/properties/:id", 200, 700);
	assert_true(value(stats, "plist_http_requests_total" R ",status=\"200\"}") == 2);
	assert_true(value(stats, "plist_http_requests_total" R ",status=\"404\"}") == 1);
	assert_true(value(stats, "plist_http_requests_total{method=\"PUT\",route=\"/:region/properties/"
	                         ":id\",status=\"200\"}") == 1);
}

static void buckets_count_all_that_is_shorter(void **state)
{
	struct pl_stats *stats = *state;
	struct pl_stats_block *block = pl_stats_block_new(stats);
	served(block, "GET", "/:region/properties/:id", 200, 500);
	served(block, "GET", "/:region/properties/:id", 200, 501);
	served(block, "GET", "/:region/properties/:id", 200, 2000000);
	served(block, "GET", "/:region/properties/:id", 200, 60000000);
	assert_true(value(stats, "plist_http_request_duration_seconds_bucket" R ",le=\"0.0005\"}") == 1);
	assert_true(value(stats, "plist_http_request_duration_seconds_bucket" R ",le=\"0.001\"}") == 2);
	assert_true(value(stats, "plist_http_request_duration_seconds_bucket" R ",le=\"1\"}") == 2);
	assert_true(value(stats, "plist_http_request_duration_seconds_bucket" R ",le=\"2.5\"}") == 3);
	assert_true(value(stats, "plist_http_request_duration_seconds_bucket" R ",le=\"10\"}") == 3);
	assert_true(value(stats, "plist_http_request_duration_seconds_bucket" R ",le=\"+Inf\"}") == 4);
	assert_true(value(stats, "plist_http_request_duration_seconds_count" R "}") == 4);
	assert_true(value(stats, "plist_http_request_duration_seconds_sum" R "}") == 62.001001);
}

static void batches_are_counted_by_their_size(void **state)
{
	struct pl_stats *stats = *state;
	struct pl_stats_block *block = pl_stats_block_new(stats);
	pl_stats_batch(block, 1);
	pl_stats_batch(block, 64);
	pl_stats_batch(block, 65);
	pl_stats_batch(block, 1000);
	assert_true(value(stats, "plist_write_batch_size_bucket{le=\"1\"}") == 1);
	assert_true(value(stats, "plist_write_batch_size_bucket{le=\"64\"}") == 2);
	assert_true(value(stats, "plist_write_batch_size_bucket{le=\"128\"}") == 3);
	assert_true(value(stats, "plist_write_batch_size_bucket{le=\"+Inf\"}") == 4);
	assert_true(value(stats, "plist_write_batch_size_sum") == 1130);
}

static void labels_are_escaped(void **state)
{
	struct pl_stats *stats = *state;
	struct pl_stats_block *block = pl_stats_block_new(stats);
	served(block, "GET", "/a\"b\\c", 200, 1);
	assert_true(value(stats, "plist_http_requests_total{method=\"GET\",route=\"/"
	                         "a\\\"b\\\\c\",status=\"200\"}") == 1);
}

static void routes_that_do_not_fit_are_counted_together(void **state)
{
	struct pl_stats *stats = *state;
	struct pl_stats_block *block = pl_stats_block_new(stats);
	for (int i = 0; i < 300; i++) {
		char path[32];
		snprintf(path, sizeof(path), "/%d", i);
		served(block, "GET", path, 200, 1);
	}
	assert_true(value(stats, "plist_http_requests_total{method=\"GET\",route=\"/254\",status=\"200\"}") ==
	            1);
	assert_true(value(stats, "plist_http_requests_total{method=\"other\",route=\"other\",status="
	                         "\"200\"}") == 45);
}

static void statuses_that_do_not_fit_are_still_counted(void **state)
{
	struct pl_stats *stats = *state;
	struct pl_stats_block *block = pl_stats_block_new(stats);
	for (int status = 200; status < 240; status++)
		served(block, "GET", "/:region/properties/:id", status, 1);
	assert_true(value(stats, "plist_http_requests_total" R ",status=\"222\"}") == 1);
	assert_true(value(stats, "plist_http_requests_total" R ",status=\"0\"}") == 17);
}

static void *count_many(void *arg)
{
	for (int i = 0; i < 20000; i++)
		served(arg, "GET", i % 2 ? "/:region/properties/:id" : "/health", 200 + i % 3, i);
	return NULL;
}

static void a_scrape_while_threads_count_sees_no_torn_numbers(void **state)
{
	struct pl_stats *stats = *state;
	pthread_t threads[2];
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, count_many, pl_stats_block_new(stats));
	double last = 0;
	for (int i = 0; i < 50; i++) {
		double now = value(stats, "plist_http_request_duration_seconds_count" R "}");
		assert_true(now == -1 || (now >= last && now <= 20000));
		last = now > last ? now : last;
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_true(value(stats, "plist_http_request_duration_seconds_count" R "}") == 20000);
}

static void a_sample_is_the_last_one_that_was_stored(void **state)
{
	struct pl_stats *stats = *state;
	struct pl_stats_block *block = pl_stats_block_new(stats);
	struct pl_stats_sample sample = { .store_ready = true, .lua_memory = 5 }, seen;
	pl_stats_sample(block, &sample);
	assert_int_equal(pl_stats_blocks(stats), 1);
	pl_stats_get_sample(stats, 0, &seen);
	assert_true(seen.store_ready && seen.lua_memory == 5);
}

static void the_age_is_that_of_the_thread_that_has_been_silent_longest(void **state)
{
	struct pl_stats *stats = *state;
	struct pl_stats_sample sample = { 0 };
	assert_int_equal(pl_stats_age_us(stats), 0);
	struct pl_stats_block *silent = pl_stats_block_new(stats), *busy = pl_stats_block_new(stats);
	assert_int_equal(pl_stats_age_us(stats), 0); // they have only started
	pl_stats_sample(silent, &sample);
	for (int64_t since = pl_mono_us(); pl_mono_us() - since < 2000;)
		pl_stats_sample(busy, &sample);
	assert_true(pl_stats_age_us(stats) >= 2000);
	int64_t before = pl_mono_us();
	pl_stats_sample(silent, &sample);
	pl_stats_sample(busy, &sample);
	assert_true(pl_stats_age_us(stats) <= pl_mono_us() - before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(answers_of_all_threads_are_added_up, setup, teardown),
		cmocka_unit_test_setup_teardown(buckets_count_all_that_is_shorter, setup, teardown),
		cmocka_unit_test_setup_teardown(batches_are_counted_by_their_size, setup, teardown),
		cmocka_unit_test_setup_teardown(labels_are_escaped, setup, teardown),
		cmocka_unit_test_setup_teardown(routes_that_do_not_fit_are_counted_together, setup, teardown),
		cmocka_unit_test_setup_teardown(statuses_that_do_not_fit_are_still_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(a_scrape_while_threads_count_sees_no_torn_numbers, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_sample_is_the_last_one_that_was_stored, setup, teardown),
		cmocka_unit_test_setup_teardown(the_age_is_that_of_the_thread_that_has_been_silent_longest,
		                                setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
