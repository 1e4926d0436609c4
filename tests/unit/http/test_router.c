// Which route answers. Threads: one.
#include "http/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct pl_region regions[] = { { .name = "us", .index = 0 }, { .name = "eu", .index = 1 } };
static struct pl_route routes[] = {
	{ .method = "GET", .path = "/:region/properties", .index = 0 },
	{ .method = "POST", .path = "/:region/properties", .index = 1 },
	{ .method = "GET", .path = "/:region/properties/:id", .index = 2 },
	{ .method = "PUT", .path = "/:region/properties/:id", .index = 3 },
	{ .method = "GET", .path = "/:region/properties/cheapest", .index = 4 },
	{ .method = "GET", .path = "/:region", .index = 5 },
};
static struct pl_config config = { .nregions = 2, .regions = regions, .nroutes = 6, .routes = routes };

struct fixture {
	struct pl_arena *arena;
	struct pl_router *router;
	struct pl_route_match match;
};

static int setup(void **state)
{
	static struct fixture f;
	f.arena = pl_arena_new(0);
	f.router = pl_router_new(&config, PL_AUDIENCE_CLIENTS);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	pl_router_free(&f->router);
	pl_arena_free(&f->arena);
	return 0;
}

static const struct pl_route_match *find(struct fixture *f, const char *method, const char *path)
{
	struct pl_target target;
	const char *why;
	assert_int_equal(pl_target_parse(f->arena, path, strlen(path), &target, &why), 0);
	pl_router_match(f->router, f->arena, method, &target, &f->match);
	return &f->match;
}

static void a_route_is_found_with_its_parameters(void **state)
{
	struct fixture *f = *state;
	const struct pl_route_match *m = find(f, "PUT", "/eu/properties/7");
	assert_int_equal(m->status, 200);
	assert_ptr_equal(m->route, &routes[3]);
	assert_string_equal(m->region_prefix, "eu");
	assert_string_equal(m->params->name, "region");
	assert_string_equal(m->params->next->name, "id");
	assert_string_equal(m->params->next->value, "7");
	assert_string_equal(m->path, "/:region/properties/:id");
}

static void the_most_specific_route_answers(void **state)
{
	struct fixture *f = *state;
	assert_ptr_equal(find(f, "GET", "/us/properties/cheapest")->route, &routes[4]);
	assert_ptr_equal(find(f, "GET", "/us/properties/dearest")->route, &routes[2]);
	assert_ptr_equal(find(f, "PUT", "/us/properties/cheapest")->route, &routes[3]);
	assert_int_equal(find(f, "GET", "/health")->builtin, PL_BUILTIN_HEALTH);
	assert_ptr_equal(find(f, "GET", "/us")->route, &routes[5]);
}

static void head_is_get(void **state)
{
	struct fixture *f = *state;
	assert_ptr_equal(find(f, "HEAD", "/us/properties/7")->route, &routes[2]);
	assert_int_equal(find(f, "HEAD", "/health")->builtin, PL_BUILTIN_HEALTH);
}

static void the_daemons_own_routes_are_found(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(find(f, "GET", "/us/health")->builtin, PL_BUILTIN_HEALTH);
	assert_int_equal(find(f, "GET", "/ready")->builtin, PL_BUILTIN_READY);
	assert_int_equal(find(f, "GET", "/eu/replication-lag")->builtin, PL_BUILTIN_LAG);
}

static void operators_have_paths_that_clients_do_not_have(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(find(f, "GET", "/metrics")->status, 404);
	pl_router_free(&f->router);
	f->router = pl_router_new(&config, PL_AUDIENCE_OPERATORS);
	assert_int_equal(find(f, "GET", "/metrics")->builtin, PL_BUILTIN_METRICS);
	assert_int_equal(find(f, "GET", "/ready")->builtin, PL_BUILTIN_REASONS);
	assert_int_equal(find(f, "GET", "/health")->builtin, PL_BUILTIN_HEALTH);
	assert_int_equal(find(f, "GET", "/us/replication-lag")->builtin, PL_BUILTIN_LAG);
	assert_int_equal(find(f, "GET", "/us/properties/7")->status, 404);
	assert_int_equal(find(f, "PUT", "/us/properties/7")->status, 404);
	assert_int_equal(find(f, "GET", "/us/health")->status, 404);
}

static void an_unknown_region_is_404_whichever_route_matches(void **state)
{
	struct fixture *f = *state;
	static const char *const paths[] = { "/asia/properties/1", "/asia/health", "/asia",
		                             "/US/properties/1" };
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		const struct pl_route_match *m = find(f, "GET", paths[i]);
		assert_int_equal(m->status, 404);
		assert_string_equal(m->title, "Region not found");
		assert_null(m->route);
		assert_int_equal(m->builtin, PL_BUILTIN_NONE);
	}
	assert_int_equal(find(f, "DELETE", "/asia/properties/1")->status, 404);
	assert_int_equal(find(f, "OPTIONS", "/asia/properties/1")->status, 404);
}

static void an_unknown_path_is_404(void **state)
{
	struct fixture *f = *state;
	static const char *const paths[] = {
		"/",      "/us/houses/1", "/us/properties/1/2", "/us/properties/", "//properties/1",
		"/us//1", "/health/"
	};
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		assert_int_equal(find(f, "GET", paths[i])->status, 404);
		assert_string_equal(f->match.path, "other");
	}
}

static void another_method_is_405_with_all_that_are_allowed(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(find(f, "DELETE", "/us/properties/7")->status, 405);
	assert_string_equal(f->match.allow, "GET, HEAD, PUT, OPTIONS");
	assert_int_equal(find(f, "PATCH", "/us/properties")->status, 405);
	assert_string_equal(f->match.allow, "GET, HEAD, POST, OPTIONS");
	assert_int_equal(find(f, "POST", "/us/properties/cheapest")->status, 405);
	assert_string_equal(f->match.allow, "GET, HEAD, PUT, OPTIONS");
	assert_int_equal(find(f, "TRACE", "/health")->status, 405);
}

static void options_says_what_is_allowed(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(find(f, "OPTIONS", "/us/properties")->status, 204);
	assert_string_equal(f->match.allow, "GET, HEAD, POST, OPTIONS");
	assert_int_equal(find(f, "OPTIONS", "*")->status, 204);
	assert_int_equal(find(f, "GET", "*")->status, 405);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_route_is_found_with_its_parameters, setup, teardown),
		cmocka_unit_test_setup_teardown(the_most_specific_route_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(head_is_get, setup, teardown),
		cmocka_unit_test_setup_teardown(the_daemons_own_routes_are_found, setup, teardown),
		cmocka_unit_test_setup_teardown(operators_have_paths_that_clients_do_not_have, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(an_unknown_region_is_404_whichever_route_matches, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(an_unknown_path_is_404, setup, teardown),
		cmocka_unit_test_setup_teardown(another_method_is_405_with_all_that_are_allowed, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(options_says_what_is_allowed, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
