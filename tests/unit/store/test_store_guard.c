// store/guard: unique values and references hold for clients' writes of a region, however
// many daemons write at once.
#include "writes.h"

#include <stdio.h>

#include "config/config_private.h"
#include "store/guard.h"

enum { CLIENTS = 64 };

// homes: unique [name] and [price, rooms]; homes.rooms refers to properties.
static int setup(void **state)
{
	struct fixture *f;
	struct pl_resource *homes;

	fixture_setup(state);
	f = *state;
	pl_store_free(&f->store);
	homes = &f->config->resources[HOMES];
	homes->unique = pl_arena_alloc(f->config->arena, 2 * sizeof(homes->unique[0]));
	homes->unique[0] = "name";
	homes->unique[1] = "price,rooms";
	homes->nunique = 2;
	homes->fields[2].references = "properties";
	pl_config_sort_fields(f->config);
	ask(f, "CREATE INDEX ON homes (name); CREATE INDEX ON homes (price, rooms)");
	fixture_start(f);
	for (int i = 1; i <= 9; i++)
		outcome_is(f, create(f, i, "1.00"), PL_OUTCOME_DONE);
	return 0;
}

static struct pl_write *home(struct fixture *f, enum pl_write_op op, int64_t id, const char *name)
{
	struct pl_write *write = write_new(f, op, id);

	write->resource = fixture_resource(f, HOMES);
	if (name)
		write_set(write, "name", name);
	return write;
}

static struct pl_write *with(struct pl_write *write, const char *field, const char *text)
{
	write_set(write, field, text);
	return write;
}

static struct pl_write *placed(struct fixture *f, int64_t id, const char *name, const char *price,
                               const char *rooms)
{
	return with(with(home(f, PL_WRITE_CREATE, id, name), "price", price), "rooms", rooms);
}

static void refused(struct fixture *f, struct pl_write *write, enum pl_outcome outcome, const char *guard)
{
	outcome_is(f, write, outcome);
	assert_string_equal(write->guard, guard);
}

static void a_value_in_use_is_refused(void **state)
{
	struct fixture *f = *state;

	outcome_is(f, home(f, PL_WRITE_CREATE, 1, "a"), PL_OUTCOME_DONE);
	outcome_is(f, home(f, PL_WRITE_CREATE, 2, "b"), PL_OUTCOME_DONE);
	refused(f, home(f, PL_WRITE_CREATE, 3, "a"), PL_OUTCOME_TAKEN, "name");
	refused(f, home(f, PL_WRITE_CREATE, 0, "a"), PL_OUTCOME_TAKEN, "name");
	refused(f, home(f, PL_WRITE_UPDATE, 2, "a"), PL_OUTCOME_TAKEN, "name");
	outcome_is(f, home(f, PL_WRITE_UPDATE, 1, "a"), PL_OUTCOME_DONE); // the record's own value
	ask_is(f, "a b", "SELECT string_agg(name, ' ' ORDER BY id) FROM homes");
	ask_is(f, "3", "SELECT count(*) FROM outbox WHERE resource = 'homes'");
}

static void a_deleted_record_has_no_values(void **state)
{
	struct fixture *f = *state;

	outcome_is(f, home(f, PL_WRITE_CREATE, 1, "a"), PL_OUTCOME_DONE);
	outcome_is(f, home(f, PL_WRITE_DELETE, 1, NULL), PL_OUTCOME_DONE);
	outcome_is(f, home(f, PL_WRITE_CREATE, 2, "a"), PL_OUTCOME_DONE);
	refused(f, home(f, PL_WRITE_CREATE, 1, "a"), PL_OUTCOME_TAKEN, "name"); // a create over its tombstone
	outcome_is(f, home(f, PL_WRITE_CREATE, 1, "c"), PL_OUTCOME_DONE);
}

static void null_values_never_collide(void **state)
{
	struct fixture *f = *state;

	outcome_is(f, placed(f, 1, "a", "5.0", NULL), PL_OUTCOME_DONE);
	outcome_is(f, placed(f, 2, "b", "5.0", NULL), PL_OUTCOME_DONE);
	outcome_is(f, placed(f, 3, "c", NULL, "7"), PL_OUTCOME_DONE);
	outcome_is(f, placed(f, 4, "d", NULL, "7"), PL_OUTCOME_DONE);
}

static void a_partial_update_is_checked_with_the_rows_other_values(void **state)
{
	struct fixture *f = *state;

	outcome_is(f, placed(f, 1, "a", "5.0", "7"), PL_OUTCOME_DONE);
	outcome_is(f, placed(f, 2, "b", "5.0", "8"), PL_OUTCOME_DONE);
	refused(f, with(home(f, PL_WRITE_UPDATE, 2, NULL), "rooms", "7"), PL_OUTCOME_TAKEN, "price,rooms");
	outcome_is(f, with(home(f, PL_WRITE_UPDATE, 2, NULL), "rooms", "9"), PL_OUTCOME_DONE);
}

// Otherwise the record could not be written again until the violation is resolved.
static void a_record_in_violation_keeps_its_values(void **state)
{
	struct fixture *f = *state;

	outcome_is(f, home(f, PL_WRITE_CREATE, 1, "a"), PL_OUTCOME_DONE);
	outcome_is(f, home(f, PL_WRITE_CREATE, 2, "b"), PL_OUTCOME_DONE);
	ask(f, "UPDATE homes SET name = 'a', rooms = 99");
	outcome_is(f, with(home(f, PL_WRITE_UPDATE, 2, "a"), "rooms", "99"), PL_OUTCOME_DONE);
	outcome_is(f, home(f, PL_WRITE_UPDATE, 2, "c"), PL_OUTCOME_DONE);
}

static void references_name_records_that_exist(void **state)
{
	struct fixture *f = *state;

	refused(f, placed(f, 1, "a", NULL, "10"), PL_OUTCOME_DANGLING, "rooms");
	refused(f, placed(f, 1, "a", NULL, "-1"), PL_OUTCOME_DANGLING, "rooms");
	outcome_is(f, placed(f, 1, "a", NULL, "7"), PL_OUTCOME_DONE);
	refused(f, with(home(f, PL_WRITE_UPDATE, 1, NULL), "rooms", "10"), PL_OUTCOME_DANGLING, "rooms");
	refused(f, write_new(f, PL_WRITE_DELETE, 7), PL_OUTCOME_REFERENCED, "homes.rooms");
	outcome_is(f, with(home(f, PL_WRITE_UPDATE, 1, NULL), "rooms", NULL), PL_OUTCOME_DONE);
	outcome_is(f, write_new(f, PL_WRITE_DELETE, 7), PL_OUTCOME_DONE);
	refused(f, placed(f, 2, "b", NULL, "7"), PL_OUTCOME_DANGLING, "rooms");
	outcome_is(f, write_new(f, PL_WRITE_DELETE, 8), PL_OUTCOME_DONE);
}

// ---- races

// Two daemons of the region.
struct daemons {
	struct fixture *f;
	struct pl_store *second;
	struct pl_write **writes;
	int n;
};

static void turn(void *arg)
{
	struct daemons *d = arg;

	pl_store_turn(d->f->store);
	pl_store_turn(d->second);
}

static bool second_is_ready(void *arg)
{
	struct pl_error why;

	return pl_store_ready(((struct daemons *)arg)->second, &why);
}

static bool all_answered(void *arg)
{
	struct daemons *d = arg;

	for (int i = 0; i < d->n; i++)
		if (!write_answered(d->writes[i]))
			return false;
	return true;
}

static void daemons_start(struct daemons *d, struct fixture *f)
{
	struct pl_error err;

	d->f = f;
	d->second = pl_store_new(&(struct pl_store_options){ .loop = f->loop,
	                                                     .config = f->config,
	                                                     .region = &f->config->regions[0] },
	                         &err);
	assert_non_null(d->second);
	assert_true(await_for(f->loop, 20000000, turn, d, second_is_ready, d));
}

static void race(struct daemons *d, struct pl_write **writes, int n)
{
	d->writes = writes;
	d->n = n;
	for (int i = 0; i < n; i++)
		pl_store_write(i % 2 ? d->second : d->f->store, writes[i]);
	assert_true(await_for(d->f->loop, 20000000, turn, d, all_answered, d));
}

static int count(struct pl_write **writes, int n, enum pl_outcome outcome)
{
	int found = 0;

	for (int i = 0; i < n; i++)
		found += writes[i]->outcome == outcome;
	return found;
}

static void of_64_clients_one_gets_the_value(void **state)
{
	struct fixture *f = *state;
	struct pl_write *writes[CLIENTS];
	struct daemons d;

	daemons_start(&d, f);
	for (int round = 0; round < 20; round++) {
		char name[16];

		snprintf(name, sizeof(name), "n%d", round);
		for (int i = 0; i < CLIENTS; i++) // some with an id, some without
			writes[i] = home(f, PL_WRITE_CREATE, i % 3 ? 0 : 1000 * (round + 1) + i, name);
		race(&d, writes, CLIENTS);
		if (count(writes, CLIENTS, PL_OUTCOME_DONE) != 1 ||
		    count(writes, CLIENTS, PL_OUTCOME_TAKEN) != CLIENTS - 1)
			fail_msg("round %d: %d done, %d taken", round,
			         count(writes, CLIENTS, PL_OUTCOME_DONE),
			         count(writes, CLIENTS, PL_OUTCOME_TAKEN));
	}
	ask_is(f, "20 20", "SELECT count(*) || ' ' || count(DISTINCT name) FROM homes");
	pl_store_free(&d.second);
}

// Each client writes one half of its record's values.
static void partial_updates_of_64_clients_leave_no_two_alike(void **state)
{
	struct fixture *f = *state;
	struct pl_write *writes[CLIENTS];
	struct daemons d;
	char text[16];

	daemons_start(&d, f);
	for (int i = 1; i <= 8; i++) {
		snprintf(text, sizeof(text), "h%d", i);
		outcome_is(f, placed(f, i, text, "1.0", i == 1 ? "1" : NULL), PL_OUTCOME_DONE);
	}
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < CLIENTS; i++) {
			writes[i] = home(f, PL_WRITE_UPDATE, 1 + (i * 7 + round) % 8, NULL);
			snprintf(text, sizeof(text), i % 2 ? "%d" : "%d.0", 1 + (i / 2 + round) % 3);
			write_set(writes[i], i % 2 ? "rooms" : "price", text);
		}
		race(&d, writes, CLIENTS);
		if (count(writes, CLIENTS, PL_OUTCOME_DONE) + count(writes, CLIENTS, PL_OUTCOME_TAKEN) !=
		    CLIENTS)
			fail_msg("round %d: %d done, %d taken", round,
			         count(writes, CLIENTS, PL_OUTCOME_DONE),
			         count(writes, CLIENTS, PL_OUTCOME_TAKEN));
		ask_is(f, "",
		       "SELECT price FROM homes WHERE price IS NOT NULL AND rooms IS NOT NULL "
		       "GROUP BY price, rooms HAVING count(*) > 1");
	}
	pl_store_free(&d.second);
}

static void a_record_is_not_deleted_while_others_begin_to_refer_to_it(void **state)
{
	struct fixture *f = *state;
	struct pl_write *writes[CLIENTS];
	struct daemons d;
	char name[24];

	daemons_start(&d, f);
	for (int round = 0; round < 9; round++) {
		for (int i = 0; i < CLIENTS; i++) {
			snprintf(name, sizeof(name), "r%d-%d", round, i);
			writes[i] = i % 8 == round % 8 ? write_new(f, PL_WRITE_DELETE, round + 1)
			                               : with(home(f, PL_WRITE_CREATE, 0, name), "rooms",
			                                      pl_arena_printf(f->arena, "%d", round + 1));
		}
		race(&d, writes, CLIENTS);
		ask_is(f, "0",
		       "SELECT count(*) FROM homes h WHERE NOT EXISTS (SELECT FROM properties p WHERE "
		       "p.id = h.rooms AND p.deleted_at IS NULL)");
	}
	pl_store_free(&d.second);
}

static void writes_that_concern_no_other_record_take_no_locks(void **state)
{
	struct fixture *f = *state;
	struct pl_write *plain = home(f, PL_WRITE_UPDATE, 1, NULL);
	struct pl_guard guard;

	write_set(plain, "open", "t");
	pl_guard_of_write(&guard, f->arena, plain);
	assert_int_equal(guard.n, 0);
	pl_guard_of_write(&guard, f->arena, home(f, PL_WRITE_DELETE, 1, NULL));
	assert_int_equal(guard.n, 0);
	pl_guard_of_write(&guard, f->arena, create(f, 1, "1.00"));
	assert_int_equal(guard.n, 0);
	pl_guard_of_write(&guard, f->arena, write_new(f, PL_WRITE_DELETE, 1)); // homes refer to it
	assert_int_equal(guard.n, 2);
}

// The hash of a value is no secret, so a client may choose one whose lock plist itself
// has taken, for as long as it runs: these are 32-bit numbers. The write would wait in
// vain, and all others of the daemon behind it.
static void no_value_of_a_client_waits_for_a_lock_of_plists_own(void **state)
{
	struct fixture *f = *state;

	ask(f, "SELECT pg_advisory_lock(key) FROM unnest('{-1916046959,835488466}'::bigint[]) AS key");
	outcome_is(f, home(f, PL_WRITE_CREATE, 1, "a01523134YH"), PL_OUTCOME_DONE);
	outcome_is(f, home(f, PL_WRITE_CREATE, 2, "b00190998^X"), PL_OUTCOME_DONE);
	refused(f, home(f, PL_WRITE_CREATE, 3, "a01523134YH"), PL_OUTCOME_TAKEN, "name");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_value_in_use_is_refused, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_deleted_record_has_no_values, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(null_values_never_collide, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_partial_update_is_checked_with_the_rows_other_values, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_record_in_violation_keeps_its_values, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(references_name_records_that_exist, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(of_64_clients_one_gets_the_value, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(partial_updates_of_64_clients_leave_no_two_alike, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_record_is_not_deleted_while_others_begin_to_refer_to_it,
		                                setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(no_value_of_a_client_waits_for_a_lock_of_plists_own, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(writes_that_concern_no_other_record_take_no_locks, setup,
		                                fixture_teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("store/guard", tests, NULL, NULL);
}
