// apply/batch on a real PostgreSQL: small events of large records, which are read and
// decided in parts.
#include "lab_applier.h"

#include <stdio.h>
#include <string.h>

#define N     40
#define LARGE 1000000

// Fields may have the names that a statement would like for its own columns.
static const char fields[] = "      size: { type: string, max_length: 65535 }\n";

static int start(void **state)
{
	lab_start(&lab, &(struct lab_options){ .regions = 2, .policy = "highest_price", .fields = fields });
	for (int i = 0; i < 2; i++)
		lab_ask(&lab, i, "ALTER TABLE properties ADD size text");
	return 0;
}

// Records 1 to n, written once by `origin`, each with `bytes` in its text.
static void fill(int n, const char *origin, int bytes)
{
	lab_ask(&lab, 1,
	        "INSERT INTO properties (id, price, region_origin, version, updated_at, vector, size) "
	        "SELECT n, 100, '%s', 1, '2026-02-21 09:00:00Z', '{\"%s\": 1}', repeat('x', %d) FROM "
	        "generate_series(1, %d) AS n",
	        origin, origin, bytes, n);
}

static void add_siblings(int n, int bytes)
{
	lab_ask(&lab, 1, "UPDATE properties SET has_siblings = true");
	lab_ask(&lab, 1,
	        "INSERT INTO record_siblings (resource, record_id, origin, counter, vector, updated_at, "
	        "fields) SELECT 'properties', n, o, 1, jsonb_build_object(o, 1), '2026-02-21 09:00:00Z', "
	        "jsonb_build_object('price', 100, 'size', repeat('x', %d)) FROM generate_series(1, %d) AS n, "
	        "(VALUES ('us'), ('eu')) AS v(o)",
	        bytes, n);
}

// One event for each of the records 1 to n. Returns the offset behind the last one.
static int64_t apply_to_all(int n, const char *origin, const char *vector)
{
	struct pl_message messages[N];

	for (int i = 0; i < n; i++)
		messages[i] = lab_message(
			&lab, &(struct lab_write){ .origin = origin, .vector = vector, .id = i + 1 });
	lab_apply_messages(messages, n);
	return messages[n - 1].offset + 1;
}

static void small_events_of_large_records_are_written_in_parts(void **state)
{
	char next[24];

	fill(N, "us", LARGE);
	snprintf(next, sizeof(next), "%lld", (long long)apply_to_all(N, "us", "{\"us\":2}"));
	assert_int_equal(eu.counts.batches, 3); // 16 MiB each
	assert_int_equal(eu.counts.applied, N);
	lab_is(&lab, "40 40", 1,
	       "SELECT count(*) || ' ' || count(*) FILTER (WHERE size IS NULL AND vector = '{\"us\": 2}') "
	       "FROM properties");
	lab_is(&lab, next, 1, "SELECT next_offset FROM applied_positions");
}

static void ordinary_records_are_written_at_once(void **state)
{
	fill(N, "us", 10000);
	apply_to_all(N, "us", "{\"us\":2}");
	assert_int_equal(eu.counts.batches, 1);
	assert_int_equal(eu.counts.applied, N);
}

static void a_record_that_is_larger_than_a_part_is_written_alone(void **state)
{
	fill(3, "us", 17000000);
	apply_to_all(3, "us", "{\"us\":2}");
	assert_int_equal(eu.counts.batches, 3);
	lab_is(&lab, "3", 1, "SELECT count(*) FROM properties WHERE size IS NULL");
}

// Its texts come with a second statement.
static void a_large_record_among_others_is_read_with_its_texts(void **state)
{
	fill(N, "eu", 10);
	lab_ask(&lab, 1, "UPDATE properties SET size = repeat('y', %d) WHERE id = 7", LARGE);
	lab_ask(&lab, 1,
	        "UPDATE properties SET unknown_fields = jsonb_build_object('note', repeat('z', %d)) WHERE "
	        "id = 9",
	        LARGE);
	apply_to_all(N, "us", "{\"us\":1}");
	assert_int_equal(eu.counts.batches, 1);
	assert_int_equal(eu.counts.conflicts, N);
	lab_is(&lab, "80 1000000 1000000 10", 1,
	       "SELECT format('%%s %%s %%s %%s', count(*), max(length(fields ->> 'size')) FILTER (WHERE "
	       "record_id = 7), max(length(fields ->> 'note')) FILTER (WHERE record_id = 9), "
	       "max(length(fields ->> 'size')) FILTER (WHERE record_id = 8)) FROM record_siblings");
}

static void siblings_count_among_the_bytes_of_a_record(void **state)
{
	fill(N, "us", 10);
	add_siblings(N, LARGE / 2);
	apply_to_all(N, "us", "{\"us\":2,\"eu\":1}");
	assert_int_equal(eu.counts.batches, 3);
	lab_is(&lab, "0", 1, "SELECT count(*) FROM record_siblings");
}

static void fields_without_a_column_count_among_the_bytes_of_a_record(void **state)
{
	fill(N, "us", 10);
	lab_ask(&lab, 1, "UPDATE properties SET unknown_fields = jsonb_build_object('note', repeat('z', %d))",
	        LARGE);
	apply_to_all(N, "us", "{\"us\":2}");
	assert_int_equal(eu.counts.batches, 3);
}

// Each of them keeps what it found.
static void conflicts_with_a_large_record_are_written_in_parts(void **state)
{
	struct pl_message messages[N];
	char vectors[N][16];

	fill(1, "eu", LARGE);
	for (int i = 0; i < N; i++) {
		snprintf(vectors[i], sizeof(vectors[i]), "{\"us\":%d}", i + 1);
		messages[i] = lab_message(
			&lab, &(struct lab_write){ .origin = "us", .vector = vectors[i], .id = 1 });
	}
	lab_apply_messages(messages, N);
	assert_int_equal(eu.counts.batches, 3);
	lab_is(&lab, "40 40000000", 1,
	       "SELECT format('%%s %%s', count(*), sum(length(s ->> 'size'))) FROM conflicts, LATERAL "
	       "(SELECT e -> 'fields' FROM jsonb_array_elements(siblings) AS e WHERE e ->> 'origin' = "
	       "'eu') AS f(s)");
}

static void parked_events_of_large_records_are_retried_in_smaller_groups(void **state)
{
	fill(N, "us", LARGE * 3 / 2); // so 16 of them are too many
	lab_ask(&lab, 1, "ALTER TABLE properties ADD CONSTRAINT small CHECK (size IS NOT NULL) NOT VALID");
	apply_to_all(N, "us", "{\"us\":2}");
	lab_is(&lab, "40", 1, PARKED);
	lab_ask(&lab, 1, "ALTER TABLE properties DROP CONSTRAINT small");
	lab_retry(N);
	lab_is(&lab, "0", 1, PARKED);
	lab_is(&lab, "40", 1, "SELECT count(*) FROM properties WHERE size IS NULL");
}

static void large_records_are_resolved_again_in_parts(void **state)
{
	struct pl_flagged records[N];
	struct pl_error err = { 0 };
	int changed;

	fill(N, "us", LARGE);
	add_siblings(N, 10);
	for (int i = 0; i < N; i++)
		records[i] = (struct pl_flagged){ "properties", i + 1 };
	if (pl_apply_batch_reresolve(eu.batch, &eu.tools, records, N, &changed, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(changed, N);
	lab_is(&lab, "40", 1, "SELECT count(*) FROM properties WHERE length(size) = 10");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lab_applier_setup, lab_applier_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(small_events_of_large_records_are_written_in_parts),
		TEST(ordinary_records_are_written_at_once),
		TEST(a_record_that_is_larger_than_a_part_is_written_alone),
		TEST(a_large_record_among_others_is_read_with_its_texts),
		TEST(siblings_count_among_the_bytes_of_a_record),
		TEST(fields_without_a_column_count_among_the_bytes_of_a_record),
		TEST(conflicts_with_a_large_record_are_written_in_parts),
		TEST(parked_events_of_large_records_are_retried_in_smaller_groups),
		TEST(large_records_are_resolved_again_in_parts),
	};

	return cmocka_run_group_tests(tests, start, lab_applier_stop);
}
