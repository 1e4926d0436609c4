// Regions that do not know the same fields compare those that both know and that have
// the same type.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "audit/audit_private.h"

static struct pl_resource *resource_of(struct pl_arena *arena)
{
	struct pl_resource *r = pl_arena_alloc(arena, sizeof(*r));

	*r = (struct pl_resource){ .name = "rooms", .table = "rooms", .track_fields = true };
	r->fields[0] = (struct pl_field){ .name = "ice", .type = PL_FIELD_INTEGER };
	r->fields[1] =
		(struct pl_field){ .name = "price", .type = PL_FIELD_DECIMAL, .precision = 12, .scale = 2 };
	r->fields[2] = (struct pl_field){ .name = "note", .type = PL_FIELD_STRING };
	r->nfields = 2;
	r->nall = 3; // one is retired
	return r;
}

static void shares(const char *theirs, const char *expected)
{
	struct pl_arena *arena = pl_arena_new(0);
	const struct pl_audit_message message = { .fields = theirs };
	const struct pl_resource *shared = pl_audit_fields_shared(arena, resource_of(arena), &message);
	struct pl_buf text = { 0 };

	pl_audit_fields_print(&text, shared);
	assert_string_equal(text.len ? text.data : "", expected);
	pl_buf_fini(&text);
	pl_arena_free(&arena);
}

#define ALL     "ice integer;price decimal(12,2);note string;"
#define BY_NAME "ice integer;note string;price decimal(12,2);"

static void regions_that_know_the_same_fields_share_all(void **state)
{
	shares(ALL, BY_NAME);
}

static void a_field_that_only_one_region_knows_is_left_out(void **state)
{
	shares("ice integer;note string;view boolean;", "ice integer;note string;");
	shares("", "");
}

// A field that one region has retired is in another place in that region's list.
static void the_order_is_the_same_in_all_regions(void **state)
{
	shares("note string;price decimal(12,2);ice integer;", BY_NAME);
}

static void a_field_with_another_type_or_a_longer_name_is_another_one(void **state)
{
	shares("price decimal(14,2);ice integer;", "ice integer;");
	shares("dice integer;keynote string;", "");
	shares("dice integer;ice integer;", "ice integer;");
}

static void times_of_fields_count_if_both_regions_have_them(void **state)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_audit_message message = { .fields = ALL, .track = true };

	assert_true(pl_audit_fields_shared(arena, resource_of(arena), &message)->track_fields);
	message.track = false;
	assert_false(pl_audit_fields_shared(arena, resource_of(arena), &message)->track_fields);
	pl_arena_free(&arena);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(regions_that_know_the_same_fields_share_all),
		cmocka_unit_test(a_field_that_only_one_region_knows_is_left_out),
		cmocka_unit_test(the_order_is_the_same_in_all_regions),
		cmocka_unit_test(a_field_with_another_type_or_a_longer_name_is_another_one),
		cmocka_unit_test(times_of_fields_count_if_both_regions_have_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
