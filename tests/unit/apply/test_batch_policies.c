// apply/batch on a real PostgreSQL: the effect of a configuration's policies on a
// batch, and on records that already have siblings.
#include "lab_applier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/faults.h"
#include "script/policy.h"

static void reconfigure(const char *policy)
{
	lab_applier_close(&eu);
	lab_config(&lab, &(struct lab_options){ .policy = policy });
	lab_applier_open(&eu, 1);
}

static void write_policy(const char *name, const char *resolve)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/policies/%s.lua", lab.dir, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fprintf(file,
	        "local policy = require \"plist.policy\"\n"
	        "return { name = \"%s\", doc = \"A test.\", "
	        "resolve = function(rows, ctx) %s end }\n",
	        name, resolve);
	fclose(file);
}

static void show_anew(int *changed)
{
	struct pl_flagged *found;
	struct pl_error err = { 0 };
	int n;

	n = pl_apply_rows_flagged(eu.tools.session, lab.arena, &(struct pl_flagged){ .resource = "" }, 100,
	                          &found, &err);
	assert_true(n >= 0);
	if (pl_apply_batch_reresolve(eu.batch, &eu.tools, found, n, changed, &err) < 0)
		fail_msg("%s", err.text);
}

static void a_policy_that_fails_falls_back_and_a_corrected_one_decides_again(void **state)
{
	bool recent;
	int changed;

	write_policy("broken", "error(\"no idea\")");
	reconfigure("broken");
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "300.00", .at = "10:00:00" },
	      { .origin = "ap", .vector = "{\"ap\":1}", .price = "100.00", .at = "10:00:01" });
	lab_is(&lab, "100.00 ap 2 {\"ap\": 1, \"us\": 1} f t", 1, ROW); // the later one
	lab_is(&lab, "broken t", 1,
	       "SELECT format('%%s %%s', policy_name, policy_error LIKE '%%no idea%%') FROM conflicts");
	assert_int_equal(eu.counts.policy_errors, 1);
	assert_int_equal(pl_faults_losses(PL_LOSS_POLICY, pl_mono_us(), &recent), 1);
	assert_true(recent);
	reconfigure("highest_price");
	show_anew(&changed);
	assert_int_equal(changed, 1);
	lab_is(&lab, "300.00 us 2 {\"ap\": 1, \"us\": 1} f t", 1, ROW);
	lab_is(&lab, "highest_price t {\"take\": 1}", 1,
	       "SELECT format('%%s %%s %%s', policy_name, policy_error IS NULL, verdict) FROM conflicts");
	show_anew(&changed);
	assert_int_equal(changed, 0);
}

static void of_records_with_large_siblings_a_few_are_resolved_again_at_once(void **state)
{
	struct pl_flagged *found, after = { "", 0 };
	struct pl_error err = { 0 };
	int n[3];

	lab_ask(&lab, 1,
	        "INSERT INTO record_siblings (resource, record_id, origin, counter, vector, updated_at, "
	        "fields) SELECT 'properties', n, origin, 1, jsonb_build_object(origin, 1), now(), "
	        "jsonb_build_object('note', repeat('x', 1000000)) FROM generate_series(1, 6) AS n, (VALUES "
	        "('us'), ('ap')) AS o(origin)");
	for (int i = 0; i < 3; i++) {
		n[i] = pl_apply_rows_flagged(eu.tools.session, lab.arena, &after, 200, &found, &err);
		after = n[i] > 0 ? found[n[i] - 1] : after;
	}
	assert_int_equal(n[0], 5); // the fifth begins within 8 MiB
	assert_int_equal(n[1], 1);
	assert_int_equal(n[2], 0);
}

static void a_merge_is_shown_and_never_sent(void **state)
{
	write_policy(
		"mean",
		"local sum = rows[1].fields.price for i = 2, #rows do sum = sum + rows[i].fields.price end "
		"return policy.merge { price = sum:div(#rows, 2), bedrooms = 1, "
		"bathrooms = rows[1].fields.bathrooms }");
	reconfigure("mean");
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "100.00", .at = "10:00:00" },
	      { .origin = "ap", .vector = "{\"ap\":1}", .price = "301.00", .at = "10:00:01" });
	lab_is(&lab, "200.50 ap 2 {\"ap\": 1, \"us\": 1} f t", 1, ROW);
	lab_is(&lab, "{\"merge\": {\"price\": 200.50, \"bedrooms\": 1, \"bathrooms\": 2}}", 1,
	       "SELECT verdict FROM conflicts");
	lab_is(&lab, "0", 1, "SELECT count(*) FROM outbox");
	reconfigure("highest_price");
}

static void a_shadow_policy_is_counted_and_changes_nothing(void **state)
{
	struct pl_diagnostics diagnostics = { 0 };

	// Takes the first row: a different answer from the highest price if the later
	// row has the higher one.
	write_policy("first", "return policy.take(1)");
	reconfigure("highest_price");
	((struct pl_resource *)(uintptr_t)lab_properties(&lab))->shadow_policy = "policies/first.lua";
	pl_vm_free(&eu.vm);
	eu.vm = pl_vm_new(lab.config, PL_CONTEXT_POLICY, &diagnostics);
	pl_diagnostics_fini(&diagnostics);
	assert_non_null(eu.vm);
	eu.policies[0] = pl_policy_find(eu.vm, "policies/highest_price.lua");
	eu.shadows[0] = pl_policy_find(eu.vm, "policies/first.lua");
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "300.00", .at = "10:00:00" },
	      { .origin = "ap", .vector = "{\"ap\":1}", .price = "100.00", .at = "10:00:01" });
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "1.00", .id = 8 },
	      { .origin = "ap", .vector = "{\"ap\":1}", .price = "2.00", .at = "10:00:01", .id = 8 });
	lab_is(&lab, "2.00", 1, "SELECT price FROM properties WHERE id = 8");
	assert_int_equal(eu.counts.shadow_same, 1);
	assert_int_equal(eu.counts.shadow_different, 1);
	reconfigure("highest_price");
}

static void fields_are_dated_where_they_are_tracked(void **state)
{
	lab_applier_close(&eu);
	lab_config(&lab, &(struct lab_options){ .policy = "field_merge", .track_fields = true });
	lab_applier_open(&eu, 1);
	APPLY({ .origin = "us",
	        .vector = "{\"us\":1}",
	        .price = "100.00",
	        .bedrooms = 5,
	        .at = "10:00:00",
	        .field_times =
	                "{\"price\":{\"at\":10,\"origin\":\"us\"},\"bedrooms\":{\"at\":30,\"origin\":\"us\"},"
	                "\"bathrooms\":{\"at\":10,\"origin\":\"us\"}}" },
	      { .origin = "ap",
	        .vector = "{\"ap\":1}",
	        .price = "300.00",
	        .bedrooms = 1,
	        .at = "10:00:01",
	        .field_times =
	                "{\"price\":{\"at\":20,\"origin\":\"ap\"},\"bedrooms\":{\"at\":20,\"origin\":\"ap\"},"
	                "\"bathrooms\":{\"at\":20,\"origin\":\"ap\"}}" });
	lab_is(&lab, "300.00 5", 1, "SELECT format('%%s %%s', price, bedrooms) FROM properties WHERE id = 7");
	lab_is(&lab, "20 30", 1,
	       "SELECT format('%%s %%s', field_times->'price'->>'at', field_times->'bedrooms'->>'at') "
	       "FROM properties WHERE id = 7");
	reconfigure("highest_price");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lab_applier_setup, lab_applier_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_policy_that_fails_falls_back_and_a_corrected_one_decides_again),
		TEST(of_records_with_large_siblings_a_few_are_resolved_again_at_once),
		TEST(a_merge_is_shown_and_never_sent),
		TEST(a_shadow_policy_is_counted_and_changes_nothing),
		TEST(fields_are_dated_where_they_are_tracked),
	};

	return cmocka_run_group_tests(tests, lab_applier_start, lab_applier_stop);
}
