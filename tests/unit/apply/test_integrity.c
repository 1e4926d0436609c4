// What events do to unique values and references: each violation is found, whatever
// happens in between, shown until it is gone, and resolved by the region that is
// responsible.
#include "lab_applier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apply/created_twice.h"
#include "integrity/integrity.h"
#include "store/guard.h"

#define RULES "    track_fields: true\n    unique: [[price]]\n    violations: violations/raise_later.lua\n"
#define CONFLICTS                                                                                    \
	"SELECT string_agg(concat_ws(' ', record_id, type, CASE WHEN closed_at IS NULL THEN 'open' " \
	"ELSE 'closed' END, jsonb_array_length(siblings)), '; ' ORDER BY record_id, type, id) FROM " \
	"conflicts WHERE type IN ('multiple_unique_conflicts', 'reference_missing')"
#define OPEN "SELECT count(*) FROM violations WHERE gone_at IS NULL"

static struct pl_integrity *integrity;

static const char raise_later[] = "return { name = 'raise_later', doc = 'Later records cost more.',\n"
				  "  resolve = function(records, ctx)\n"
				  "    local changes = {}\n"
				  "    for i = 2, #records do\n"
				  "      changes[#changes + 1] = { id = records[i].id, fields = { price = "
				  "records[i].fields.price + i } }\n"
				  "    end\n"
				  "    return changes\n"
				  "  end }\n";

static void write_rule(const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/violations/raise_later.lua", lab.dir);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static const char *text_field; // another one, for the next configurations

// Makes price unique, or bedrooms a reference to properties; `rule`: whether the rule
// applies.
static void configure(bool rule, bool refers)
{
	struct pl_resource *resource;

	write_rule(raise_later);
	lab_config(&lab, &(struct lab_options){ .regions = 2,
	                                        .policy = "highest_price",
	                                        .resource = refers ? "" : "    unique: [[price]]\n",
	                                        .fields = text_field,
	                                        .more = "  heartbeat: 100ms\n" });
	resource = (struct pl_resource *)lab_properties(&lab);
	if (rule)
		resource->violations = "violations/raise_later.lua";
	if (refers)
		resource->fields[1].references = "properties";
	pl_config_sort_fields(lab.config);
}

static void start(int region)
{
	struct pl_error err = { 0 };

	integrity = pl_integrity_start(&(struct pl_integrity_options){ .config = lab.config,
	                                                               .region = lab_region(&lab, region),
	                                                               .missing_us = 1000000 },
	                               &err);
	assert_non_null(integrity);
}

static void begin_with(bool rule, bool refers)
{
	lab_empty(&lab);
	configure(rule, refers);
	lab_applier_open(&eu, 1);
}

static void begin(bool rule)
{
	begin_with(rule, false);
}

static int end(void **state)
{
	pl_integrity_stop(&integrity);
	lab_applier_close(&eu);
	text_field = NULL;
	return 0;
}

#define US(ident, cost)                                                                            \
	{                                                                                          \
		.origin = "us", .vector = "{\"us\":1}", .id = ident, .price = cost, .create = true \
	}
#define US_AGAIN(ident, cost)                                                                        \
	{                                                                                            \
		.origin = "us", .vector = "{\"us\":2}", .id = ident, .price = cost, .at = "11:00:00" \
	}

// The configuration has been checked, so only memory that is short would do this.
static void rules_that_cannot_be_loaded_are_a_fault(void **state)
{
	struct pl_integrity_stats stats;
	struct pl_script_source *source;
	const char *good;

	begin(true);
	start(1);
	pl_integrity_stats(integrity, &stats);
	assert_false(stats.rules_missing);
	pl_integrity_stop(&integrity);
	source = (struct pl_script_source *)(uintptr_t)pl_config_source(lab.config,
	                                                                lab.config->resources[0].violations);
	good = source->text;
	source->text = "x";
	source->len = 1;
	start(1);
	for (int i = 0; i < 1000 && !stats.rules_missing; i++) {
		usleep(10000);
		pl_integrity_stats(integrity, &stats);
	}
	assert_true(stats.rules_missing);
	source->text = good;
	source->len = strlen(good);
}

static void two_records_with_the_same_value_are_a_violation_until_one_changes(void **state)
{
	struct pl_integrity_stats stats;

	begin(false);
	start(1);
	lab_write(&lab, lab.sql[1], "eu", 200, "5.00", "one");
	APPLY(US(300, "5.00"), US(301, "6.00"));
	lab_until(&lab, "200 multiple_unique_conflicts open 2", 1, CONFLICTS);
	lab_is(&lab, "200 300 \"[5]\"", 1,
	       "SELECT concat_ws(' ', siblings -> 0 -> 'id', siblings -> 1 -> 'id', verdict -> 'subject') "
	       "FROM conflicts");
	lab_until(&lab, "1", 1, OPEN);
	APPLY(US(302, "5.00")); // a third one: the same violation
	lab_until(&lab, "200 multiple_unique_conflicts open 3", 1, CONFLICTS);
	APPLY(US_AGAIN(302, "7.00"), US_AGAIN(300, "8.00"));
	lab_until(&lab, "200 multiple_unique_conflicts closed 3", 1, CONFLICTS);
	lab_is(&lab, "0", 1, OPEN);
	lab_until(&lab, "0", 1, "SELECT count(*) FROM integrity_checks");
	pl_integrity_stats(integrity, &stats);
	assert_int_equal(stats.found, 1);
}

static void violations_from_before_the_start_are_found(void **state)
{
	begin(false);
	lab_write(&lab, lab.sql[1], "eu", 200, "5.00", "one");
	lab_write(&lab, lab.sql[1], "eu", 201, "5.00", "two"); // by a daemon without the key
	start(1);
	lab_until(&lab, "200 multiple_unique_conflicts open 2", 1, CONFLICTS);
	pl_integrity_stop(&integrity);
	APPLY(US(300, "7.00"), US(301, "7.00")); // noted, while nobody looks
	lab_ask(&lab, 1, "UPDATE properties SET price = 9 WHERE id = 201");
	start(1);
	lab_until(&lab, "200 multiple_unique_conflicts closed 2; 300 multiple_unique_conflicts open 2", 1,
	          CONFLICTS);
}

static void the_look_waits_for_client_writes_that_were_checked_before(void **state)
{
	PGconn *client;
	PGresult *result;
	char sql[128];

	begin(false);
	start(1);
	lab_until(&lab, "1", 1,
	          "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%%integrity' AND "
	          "state = 'idle'");
	client = lab_connect(&lab, 1);
	snprintf(sql, sizeof(sql), "BEGIN; SELECT pg_advisory_xact_lock_shared(%lld)",
	         (long long)pl_guard_resource_key(lab_properties(&lab)));
	result = PQexec(client, sql); // as the store's batch
	assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
	PQclear(result);
	APPLY(US(300, "5.00"));
	lab_until(&lab, "1", 1, // the look waits
	          "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
	lab_is(&lab, "1", 1, "SELECT count(*) FROM integrity_checks");
	result = PQexec(client,
	                "INSERT INTO properties (id, price, region_origin, version, vector) VALUES (200, 5, "
	                "'eu', 1, '{\"eu\": 1}'); COMMIT");
	PQclear(result);
	PQfinish(client);
	lab_until(&lab, "200 multiple_unique_conflicts open 2", 1, CONFLICTS);
}

static void a_reference_may_arrive_before_its_record_for_a_while(void **state)
{
	begin_with(false, true);
	start(1);
	APPLY({ .origin = "us",
	        .vector = "{\"us\":1}",
	        .id = 300,
	        .price = "1.00",
	        .bedrooms = 77,
	        .create = true });
	lab_until(&lab, "t", 1, "SELECT due_at > noted_at FROM integrity_checks WHERE record_id = 300");
	lab_is(&lab, "", 1, CONFLICTS);
	APPLY({ .origin = "us",
	        .vector = "{\"us\":1}",
	        .id = 77,
	        .price = "2.00",
	        .bedrooms = 77,
	        .create = true });
	lab_until(&lab, "0", 1, "SELECT count(*) FROM integrity_checks");
	lab_is(&lab, "", 1, CONFLICTS);
	// Deleting the record leaves the reference dangling; a new record with the same
	// id ends that.
	APPLY({ .origin = "us", .vector = "{\"us\":2}", .id = 77, .deleted = true, .at = "11:00:00" });
	lab_until(&lab, "300 reference_missing open 1", 1, CONFLICTS);
	APPLY({ .origin = "us",
	        .vector = "{\"us\":3}",
	        .id = 77,
	        .price = "3.00",
	        .bedrooms = 77,
	        .at = "12:00:00" });
	lab_until(&lab, "300 reference_missing closed 1", 1, CONFLICTS);
}

static void the_region_of_a_losing_record_changes_it_once(void **state)
{
	begin(true);
	lab_write(&lab, lab.sql[1], "eu", 300, "5.00", "one");
	start(1);
	APPLY(US(200, "5.00")); // the first one stays
	lab_until(&lab, "7.00", 1, "SELECT price FROM properties WHERE id = 300");
	lab_until(&lab, "200 multiple_unique_conflicts closed 2", 1, CONFLICTS);
	lab_is(&lab, "1 {\"eu\": 2} 200 plist:violation t", 1,
	       "SELECT concat_ws(' ', count(*), min(vector::text), min(status), min(principal), "
	       "bool_and(request_id ~ "
	       "'^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$')) FROM outbox WHERE "
	       "record_id = 300 AND request_id <> 'one'");
	lab_is(&lab, "true raise_later", 1,
	       "SELECT concat_ws(' ', verdict -> 'written', policy_name) FROM conflicts");
}

// A change by the rule that causes the next violation counts as a try of that one: so
// rules do not go on for ever. A client's write counts for nothing, even if it has the
// request id of such a change, which is in the events and can be computed.
static void only_changes_of_a_rule_count_as_tries_whatever_request_id_a_client_uses(void **state)
{
	const char *id;

	begin(true);
	lab_write(&lab, lab.sql[1], "eu", 300, "5.00", "one");
	start(1);
	APPLY(US(200, "5.00"));
	lab_until(&lab, "7.00", 1, "SELECT price FROM properties WHERE id = 300");
	lab_until(&lab, "200 multiple_unique_conflicts closed 2", 1, CONFLICTS);
	id = lab_ask(&lab, 1, "SELECT request_id FROM outbox WHERE principal = 'plist:violation'");
	lab_write(&lab, lab.sql[1], "eu", 301, "20.00", id);
	APPLY(US(201, "20.00"));
	lab_until(&lab, "22.00", 1, "SELECT price FROM properties WHERE id = 301");
	lab_until(&lab, "1", 1, "SELECT tries FROM violations WHERE subject = '[20]'");
	APPLY(US(199, "7.00"));
	lab_until(&lab, "9.00", 1, "SELECT price FROM properties WHERE id = 300");
	lab_until(&lab, "2", 1, "SELECT tries FROM violations WHERE subject = '[7]'");
}

static void a_losing_record_of_another_region_waits_for_that_region(void **state)
{
	begin(true);
	lab_write(&lab, lab.sql[1], "eu", 200, "5.00", "one");
	start(1);
	APPLY(US(300, "5.00"));
	lab_until(&lab, "t", 1, "SELECT tried = records AND tries = 0 FROM violations");
	lab_is(&lab, "0", 1, "SELECT count(*) FROM outbox WHERE request_id <> 'one'");
	lab_is(&lab, "200 multiple_unique_conflicts open 2", 1, CONFLICTS);
	APPLY({ .origin = "us", .vector = "{\"us\":2}", .id = 300, .price = "7.00", .at = "11:00:00" });
	lab_until(&lab, "200 multiple_unique_conflicts closed 2", 1, CONFLICTS);
}

// The value that the rule gives is in use as well.
static void a_change_that_would_violate_something_itself_is_left_to_people(void **state)
{
	begin(true);
	lab_write(&lab, lab.sql[1], "eu", 300, "5.00", "one");
	lab_write(&lab, lab.sql[1], "eu", 301, "7.00", "two");
	start(1);
	APPLY(US(200, "5.00"));
	lab_until(&lab, "t", 1,
	          "SELECT policy_error LIKE 'a change of the rule was not written%%' AND closed_at IS NULL "
	          "FROM conflicts");
	lab_is(&lab, "5.00", 1, "SELECT price FROM properties WHERE id = 300");
	lab_is(&lab, "1", 1, "SELECT tries FROM violations");
}

#define PRICE "SELECT price FROM properties WHERE id = %d"

// One record is locked, and a constraint refuses the new value of another.
static void a_change_that_cannot_be_written_holds_up_no_other(void **state)
{
	PGconn *other = lab_connect(&lab, 1);

	begin(true);
	lab_write(&lab, lab.sql[1], "eu", 300, "5.00", "one");
	lab_write(&lab, lab.sql[1], "eu", 301, "20.00", "two");
	lab_write(&lab, lab.sql[1], "eu", 302, "40.00", "three");
	lab_ask(&lab, 1, "ALTER TABLE properties ADD CONSTRAINT stays CHECK (id <> 301 OR price = 20)");
	APPLY(US(200, "5.00"), US(201, "20.00"), US(202, "40.00"));
	PQclear(PQexec(other, "BEGIN; SELECT FROM properties WHERE id = 300 FOR UPDATE"));
	start(1);
	lab_until(&lab, "42.00", 1, PRICE, 302);
	lab_until(&lab, "t", 1,
	          "SELECT policy_error LIKE '%%stays%%' FROM conflicts WHERE closed_at IS NULL AND record_id "
	          "= 201");
	lab_is(&lab, "5.00", 1, PRICE, 300);
	PQclear(PQexec(other, "ROLLBACK"));
	PQfinish(other);
	lab_until(&lab, "7.00", 1, PRICE, 300);
	lab_ask(&lab, 1, "ALTER TABLE properties DROP CONSTRAINT stays");
	lab_until(&lab, "22.00", 1, PRICE, 301);
	lab_until(&lab, "0", 1, OPEN);
}

static void a_locked_table_leaves_its_notes_and_violations_for_later(void **state)
{
	PGconn *other = lab_connect(&lab, 1);

	begin(false);
	lab_write(&lab, lab.sql[1], "eu", 300, "5.00", "one");
	APPLY(US(200, "5.00"));
	start(1);
	lab_until(&lab, "1", 1, OPEN);
	PQclear(PQexec(other, "BEGIN; LOCK TABLE properties"));
	lab_ask(&lab, 1,
	        "INSERT INTO integrity_checks (resource, record_id) VALUES ('properties', 300); UPDATE "
	        "violations SET looked_at = '2000-01-01'");
	lab_until(&lab, "t", 1, "SELECT bool_or(due_at > noted_at) FROM integrity_checks");
	lab_until(&lab, "t", 1, "SELECT looked_at > now() - interval '1 hour' FROM violations");
	PQclear(PQexec(other, "ROLLBACK"));
	PQfinish(other);
	lab_until(&lab, "0", 1, "SELECT count(*) FROM integrity_checks");
	lab_is(&lab, "1", 1, OPEN);
}

// Of two records that one request created, the rule would change the one that stays.
static void twins_are_left_to_the_delete_of_one_of_them(void **state)
{
	struct pl_created_twice settling = { 0 };

	begin(true);
	lab_write(&lab, lab.sql[1], "eu", 300, "5.00", "one");
	start(1);
	APPLY({ .origin = "us",
	        .vector = "{\"us\":1}",
	        .id = 200,
	        .price = "5.00",
	        .create = true,
	        .request = "one",
	        .fingerprint = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed" });
	lab_is(&lab, "200 300", 1, "SELECT record_id || ' ' || kept_id FROM created_twice");
	lab_until(&lab, "t", 1, // as long as the rule waits otherwise
	          "SELECT changed_at < now() - interval '1 second' FROM violations");
	lab_is(&lab, "f 5.00", 1,
	       "SELECT concat_ws(' ', (SELECT tried IS NOT NULL FROM violations), price) FROM properties "
	       "WHERE id = 300");
	assert_int_equal(pl_created_twice_run(&settling, &eu.tools), 0); // us deletes its own
	APPLY({ .origin = "us", .vector = "{\"us\":2}", .id = 200, .deleted = true, .at = "11:00:00" });
	lab_until(&lab, "200 multiple_unique_conflicts closed 2", 1, CONFLICTS);
}

static void with_rule(const char *text)
{
	write_rule(text);
	lab_config(&lab, &(struct lab_options){ .regions = 2,
	                                        .policy = "highest_price",
	                                        .resource = RULES + strlen("    track_fields: true\n"),
	                                        .more = "  heartbeat: 100ms\n" });
}

static void a_rule_that_fails_says_why(void **state)
{
	static const struct {
		const char *text, *error;
	} rules[] = {
		{ "return { resolve = function(r) error('no idea') end }", "%%no idea%%" },
		{ "return { resolve = function(r) return {} end }", "the rule changes none%%" },
		{ "return { resolve = function(r) end }", "%%returns nothing instead of a list of changes" },
		{ "return { resolve = function(r) return { { id = 9, delete = true } } end }",
		  "%%change 1 names no id of one of the records" },
		{ "return { resolve = function(r) return { { id = r[2].id } } end }",
		  "%%must have fields, or delete = true" },
		{ "return { resolve = function(r) return { { id = r[2].id, fields = { price = 'x' } } } "
		  "end }",
		  "%%/price must be a number" },
		{ "return { resolve = function(r) return { { id = r[1].id, delete = true }, { id = r[1].id, "
		  "delete = true } } end }",
		  "%%names a record for the second time" },
		{ "return { resolve = function(r) while true do end end }", "%%instructions%%" },
	};

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		begin(true);
		with_rule(rules[i].text);
		lab_write(&lab, lab.sql[1], "eu", 300, "5.00", "one");
		start(1);
		APPLY(US(200, "5.00"));
		lab_until(&lab, "t", 1, "SELECT policy_error LIKE '%s' FROM conflicts", rules[i].error);
		lab_is(&lab, "5.00", 1, "SELECT price FROM properties WHERE id = 300");
		if (i + 1 < sizeof(rules) / sizeof(rules[0]))
			end(NULL);
	}
}

static void a_corrected_rule_is_asked_again(void **state)
{
	begin(true);
	with_rule("return { resolve = function(r) error('no idea') end }");
	lab_write(&lab, lab.sql[1], "eu", 300, "5.00", "one");
	start(1);
	APPLY(US(200, "5.00"));
	lab_until(&lab, "t", 1, "SELECT policy_error LIKE '%%no idea%%' FROM conflicts");
	with_rule(raise_later);
	pl_integrity_reconfigure(integrity, lab.config, lab_region(&lab, 1));
	lab_until(&lab, "7.00", 1, "SELECT price FROM properties WHERE id = 300");
	lab_until(&lab, "200 multiple_unique_conflicts closed 2", 1, CONFLICTS);
}

// Only changes by a rule that cause another violation are counted.
static void clients_may_violate_with_one_record_again_and_again(void **state)
{
	begin(true);
	start(1);
	for (int i = 1; i <= 7; i++) {
		char price[16], after[16], request[16];

		snprintf(price, sizeof(price), "%d.00", 10 * i);
		snprintf(after, sizeof(after), "%d.00", 10 * i + 2);
		snprintf(request, sizeof(request), "request-%d", i);
		assert_true(lab_write(&lab, lab.sql[1], "eu", 300, price, request));
		APPLY(US(200 + i, price));
		lab_until(&lab, after, 1, "SELECT price FROM properties WHERE id = 300");
	}
	lab_until(&lab, "0", 1, OPEN);
}

// Records n × 10, …, whose texts have so many bytes.
static void write_large(int from, int n, const char *price, int bytes)
{
	lab_ask(&lab, 1,
	        "INSERT INTO properties (id, price, bedrooms, region_origin, version, vector, size) SELECT "
	        "n * 10, %s, 77, 'eu', 1, '{\"eu\": 1}', repeat('x', %d) FROM generate_series(%d, %d) AS n",
	        price, bytes, from, from + n - 1);
}

static void begin_with_texts(bool rule, bool refers)
{
	text_field = "      size: { type: string }\n";
	lab_ask(&lab, 1, "ALTER TABLE properties ADD COLUMN IF NOT EXISTS size text");
	begin_with(rule, refers);
}

// Nor does it hold up the others.
static void a_violation_of_records_that_are_too_large_is_left_to_people(void **state)
{
	begin_with_texts(true, false);
	write_large(20, 2, "5", 9000000);
	write_large(30, 2, "6", 10);
	start(1);
	lab_until(&lab, "8.00", 1, "SELECT price FROM properties WHERE id = 310");
	lab_until(&lab, "t", 1,
	          "SELECT policy_error LIKE 'its records are too large%%' AND length(siblings #>> '{1, "
	          "fields, size}') = 9000000 FROM conflicts WHERE record_id = 200");
	lab_is(&lab, "5.00 5.00", 1,
	       "SELECT string_agg(price::text, ' ') FROM properties WHERE id IN (200, 210)");
	lab_until(&lab, "t", 1, "SELECT tried = records FROM violations WHERE subject = '[5]'");
}

static long peak_kib(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[256];
	long kib = -1;

	while (fgets(line, sizeof(line), file))
		if (strncmp(line, "VmHWM:", 6) == 0)
			kib = strtol(line + 6, NULL, 10);
	fclose(file);
	return kib;
}

// They go from one table to another in the database.
static void violations_of_large_records_take_no_memory(void **state)
{
	long before;

	begin_with_texts(false, true);
	write_large(20, 60, "1", 1000000);
	before = peak_kib();
	start(1);
	lab_until(&lab, "60 1000000", 1,
	          "SELECT concat_ws(' ', count(*), min(length(siblings #>> '{0, fields, size}'))) FROM "
	          "conflicts");
	lab_until(&lab, "0", 1, "SELECT count(*) FROM integrity_checks");
	assert_in_range(peak_kib() - before, 0, 20 * 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(two_records_with_the_same_value_are_a_violation_until_one_changes,
		                          end),
		cmocka_unit_test_teardown(rules_that_cannot_be_loaded_are_a_fault, end),
		cmocka_unit_test_teardown(violations_from_before_the_start_are_found, end),
		cmocka_unit_test_teardown(the_look_waits_for_client_writes_that_were_checked_before, end),
		cmocka_unit_test_teardown(a_reference_may_arrive_before_its_record_for_a_while, end),
		cmocka_unit_test_teardown(the_region_of_a_losing_record_changes_it_once, end),
		cmocka_unit_test_teardown(
			only_changes_of_a_rule_count_as_tries_whatever_request_id_a_client_uses, end),
		cmocka_unit_test_teardown(a_losing_record_of_another_region_waits_for_that_region, end),
		cmocka_unit_test_teardown(a_change_that_would_violate_something_itself_is_left_to_people,
		                          end),
		cmocka_unit_test_teardown(a_change_that_cannot_be_written_holds_up_no_other, end),
		cmocka_unit_test_teardown(a_locked_table_leaves_its_notes_and_violations_for_later, end),
		cmocka_unit_test_teardown(twins_are_left_to_the_delete_of_one_of_them, end),
		cmocka_unit_test_teardown(a_rule_that_fails_says_why, end),
		cmocka_unit_test_teardown(a_corrected_rule_is_asked_again, end),
		cmocka_unit_test_teardown(clients_may_violate_with_one_record_again_and_again, end),
		cmocka_unit_test_teardown(violations_of_large_records_take_no_memory, end),
		cmocka_unit_test_teardown(a_violation_of_records_that_are_too_large_is_left_to_people, end),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("integrity", tests, lab_applier_start, lab_applier_stop);
}
