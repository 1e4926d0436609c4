// Which tables accept writes: what closes the gate of a resource, what `tolerate`
// opens, and what the gate says.
#include "../apply/lab.h"

#include "heal/heal_private.h"
#include "store/table_guards.h"

#define TRIGGER                                                                                        \
	"CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE " \
	"TRIGGER skip BEFORE UPDATE ON properties FOR EACH ROW EXECUTE FUNCTION skip()"

static struct lab lab;
static struct pl_heal heal;
static const struct pl_region eu = { .name = "eu" }; // beside the lab's only one, us

static int start(void **state)
{
	lab_start(&lab, &(struct lab_options){ .regions = 1 });
	lab_ask(&lab, 0, "ALTER TABLE properties DROP CONSTRAINT not_666"); // the lab's own
	return 0;
}

static int stop(void **state)
{
	lab_stop(&lab);
	return 0;
}

static int setup(void **state)
{
	memset(&heal, 0, sizeof(heal));
	heal.options.tables = pl_table_gate_new();
	heal.config = lab_config(&lab, &(struct lab_options){ 0 });
	heal.region = &eu;
	heal.session = lab_session(&lab, 0, (struct pl_session_options){ .application_name = "test heal" });
	return 0;
}

static int teardown(void **state)
{
	pl_session_free(&heal.session);
	pl_table_gate_free(&heal.options.tables);
	return 0;
}

static void tolerate(const char *names)
{
	heal.config = lab_config(&lab, &(struct lab_options){ .resource = names });
}

// What the gate says of properties after a look; NULL: it is open.
static const char *look(void)
{
	static struct pl_error said;
	struct pl_error err = { 0 };

	if (pl_heal_look_at_tables(&heal, &err) < 0)
		fail_msg("%s", err.text);
	memset(&said, 0, sizeof(said));
	return pl_table_gate_is_closed(heal.options.tables, "properties", &said) ? said.text : NULL;
}

static void is_closed_by(const char *what)
{
	const char *said = look();

	assert_non_null(said);
	if (!strstr(said, what))
		fail_msg("'%s' does not name %s", said, what);
}

// ---- what closes it

static void each_guard_closes_the_gate_until_it_is_gone(void **state)
{
	static const struct {
		const char *make, *undo, *what;
	} guards[] = {
		{ "CREATE UNIQUE INDEX one_price ON properties (price)", "DROP INDEX one_price",
		  "its table has the index one_price, which can refuse rows" },
		{ "ALTER TABLE properties ADD CONSTRAINT cheap CHECK (price < 5) NOT VALID",
		  "ALTER TABLE properties DROP CONSTRAINT cheap",
		  "its table has the constraint cheap, which can refuse rows" },
		{ TRIGGER, "DROP FUNCTION skip CASCADE",
		  "its table has the trigger skip, which can change or refuse rows" },
		{ "CREATE RULE never AS ON UPDATE TO properties DO INSTEAD NOTHING",
		  "DROP RULE never ON properties",
		  "its table has the rule never, which can change or refuse rows" },
	};

	assert_null(look());
	for (size_t i = 0; i < sizeof(guards) / sizeof(guards[0]); i++) {
		lab_ask(&lab, 0, "%s", guards[i].make);
		is_closed_by(guards[i].what);
		lab_ask(&lab, 0, "%s", guards[i].undo);
		assert_null(look());
	}
}

static const char *wished(void)
{
	return lab_ask(&lab, 0,
	               "SELECT coalesce(string_agg(region, ' '), 'none') FROM plist.audits WHERE "
	               "wished_at IS NOT NULL");
}

// A trigger that changed rows has left no other trace.
static void records_are_compared_as_soon_as_a_gate_opens(void **state)
{
	assert_null(look());
	lab_ask(&lab, 0, "UPDATE plist.audits SET wished_at = NULL");
	lab_ask(&lab, 0, "%s", TRIGGER);
	for (int i = 0; i < 2; i++) {
		is_closed_by("the trigger skip");
		assert_string_equal("none", wished());
	}
	lab_ask(&lab, 0, "DROP FUNCTION skip CASCADE");
	assert_null(look());
	assert_string_equal("us", wished());
	lab_ask(&lab, 0, "UPDATE plist.audits SET wished_at = NULL");
	assert_null(look());
	assert_string_equal("none", wished());
}

static void objects_that_cannot_refuse_or_change_a_row_leave_it_open(void **state)
{
	lab_ask(&lab, 0, "CREATE INDEX by_price ON properties (price)");
	assert_null(look());
	lab_ask(&lab, 0, "DROP INDEX by_price");
}

static bool is_closed(const char *resource, const char *what)
{
	struct pl_error said = { 0 };

	return pl_table_gate_is_closed(heal.options.tables, resource, &said) && strstr(said.text, what);
}

// An operator alters one of its partitions, for example. PostgreSQL's own functions for
// partitions and definitions would wait, and with them the look at all other tables.
static void a_locked_table_is_looked_at_and_holds_up_no_other(void **state)
{
	struct pl_error err = { 0 };
	PGconn *other = lab_connect(&lab, 0);

	lab_ask(&lab, 0,
	        "CREATE TABLE cabins (LIKE properties INCLUDING ALL) PARTITION BY HASH (id); CREATE TABLE "
	        "cabins_0 PARTITION OF cabins (CHECK (price < 5)) FOR VALUES WITH (MODULUS 1, REMAINDER 0)");
	lab_ask(&lab, 0, "CREATE UNIQUE INDEX one_price ON properties (price)");
	heal.config = lab_config(&lab, &(struct lab_options){ .cabins = true });
	PQclear(PQexec(other, "BEGIN; LOCK TABLE cabins"));
	if (pl_heal_look_at_tables(&heal, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(is_closed("properties", "index one_price"));
	assert_true(is_closed("cabins", "constraint cabins_0_price_check"));
	PQclear(PQexec(other, "ROLLBACK"));
	PQfinish(other);
	lab_ask(&lab, 0, "DROP TABLE cabins; DROP INDEX one_price");
}

// ---- tolerate

static void tolerate_opens_it_for_the_names_that_it_lists_and_no_others(void **state)
{
	lab_ask(&lab, 0, "CREATE UNIQUE INDEX one_price ON properties (price); " TRIGGER);
	is_closed_by("the index one_price and 1 more");
	tolerate("    tolerate: [one_price]\n");
	is_closed_by("the trigger skip, which");
	tolerate("    tolerate: [skip, one_price, of_another_region]\n");
	assert_null(look());
	tolerate("    tolerate: [one_pric, ski, one_price_]\n");
	is_closed_by("the index one_price and 1 more");
	lab_ask(&lab, 0, "DROP INDEX one_price; DROP FUNCTION skip CASCADE");
	assert_null(look());
}

// PostgreSQL executes none of plist's statements on such a table.
static void a_rule_closes_it_even_if_it_is_listed(void **state)
{
	lab_ask(&lab, 0, "CREATE RULE never AS ON UPDATE TO properties DO INSTEAD NOTHING");
	tolerate("    tolerate: [never]\n");
	is_closed_by("the rule never");
	lab_ask(&lab, 0, "DROP RULE never ON properties");
	assert_null(look());
}

// ---- the gate

static void a_resource_that_is_no_longer_configured_is_open(void **state)
{
	struct pl_table_gate *gate = heal.options.tables;

	assert_true(pl_table_gate_set(gate, "gone", "its table has a trigger"));
	assert_true(pl_table_gate_is_closed(gate, "gone", NULL));
	assert_null(look());
	assert_false(pl_table_gate_is_closed(gate, "gone", NULL));
}

static void the_gate_says_what_has_changed_and_why_it_is_closed(void **state)
{
	struct pl_table_gate *gate = heal.options.tables;
	struct pl_error err = { 0 };

	assert_false(pl_table_gate_is_closed(NULL, "properties", NULL));
	assert_false(pl_table_gate_set(gate, "properties", NULL));
	assert_true(pl_table_gate_set(gate, "properties", "its table has the rule r"));
	assert_false(pl_table_gate_set(gate, "properties", "its table has the rule r"));
	assert_true(pl_table_gate_set(gate, "properties", "its table has the rule s"));
	assert_false(pl_table_gate_is_closed(gate, "rooms", NULL));
	assert_true(pl_table_gate_is_closed(gate, "properties", &err));
	assert_string_equal(err.text,
	                    "writes to properties are refused in this region: its table has the rule s");
	assert_string_equal(err.sqlstate, PL_TABLE_GATE_STATE);
	assert_true(pl_table_gate_set(gate, "properties", NULL));
	assert_false(pl_table_gate_is_closed(gate, "properties", NULL));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(each_guard_closes_the_gate_until_it_is_gone),
		T(records_are_compared_as_soon_as_a_gate_opens),
		T(objects_that_cannot_refuse_or_change_a_row_leave_it_open),
		T(a_locked_table_is_looked_at_and_holds_up_no_other),
		T(tolerate_opens_it_for_the_names_that_it_lists_and_no_others),
		T(a_rule_closes_it_even_if_it_is_listed),
		T(a_resource_that_is_no_longer_configured_is_open),
		T(the_gate_says_what_has_changed_and_why_it_is_closed),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
