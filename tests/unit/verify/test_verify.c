// Are bad policies refused, each for its own reason, and good ones accepted, whatever
// their algebra? The policies are in tests/policies; the first line of each states the
// expected result. The rules in the gallery diverge if rows are merged pairwise; the
// test shows this for each of them, and that they converge with siblings.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <dirent.h>
#include <cmocka.h>

#include "../decide/simulate.h"
#include "config/derive.h"
#include "decide/ask_policy.h"
#include "verify/admission.h"
#include "verify/verify.h"

static struct pl_config *config;
static const char *top;

static int load(void **state)
{
	struct pl_diagnostics diagnostics = { 0 };
	char file[1000];

	top = getenv("PL_TOP_SRCDIR");
	top = top ? top : ".";
	setenv("US_DATABASE_URL", "postgresql://nobody@localhost/us", 1);
	setenv("EU_DATABASE_URL", "postgresql://nobody@localhost/eu", 1);
	snprintf(file, sizeof(file), "%s/conf/plist.yaml", top);
	config = pl_config_load(file, NULL, &diagnostics);
	for (int i = 0; i < diagnostics.n; i++)
		printf("# %s\n", diagnostics.lines[i].text);
	pl_diagnostics_fini(&diagnostics);
	return config ? 0 : -1;
}

static int unload(void **state)
{
	pl_config_unref(&config);
	return 0;
}

static struct pl_config *with(const char *file)
{
	struct pl_error err = { 0 };
	struct pl_config *derived =
		pl_config_derive_with_policy(config, pl_config_resource(config, "properties"), file, &err);

	if (!derived)
		printf("# %s: %s\n", file, err.text);
	assert_non_null(derived);
	return derived;
}

static void expectation(const char *file, char expected[64])
{
	FILE *stream = fopen(file, "r");

	assert_non_null(stream);
	assert_int_equal(fscanf(stream, "-- expect: %63s", expected), 1);
	fclose(stream);
}

static void probe_file(const char *file, struct pl_arena *arena, struct pl_verify_report *report)
{
	struct pl_config *derived = with(file);
	struct pl_verify_options options = { .config = derived,
		                             .resource = &derived->resources[0],
		                             .seed = 1 };

	pl_verify_run(arena, &options, report);
	pl_config_unref(&derived);
}

// Calls fn for every policy in a directory of tests/policies; returns how many there
// were.
static int each(const char *folder, void (*fn)(const char *file))
{
	char path[1200], file[1500];
	struct dirent *entry;
	int n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/tests/policies/%s", top, folder);
	dir = opendir(path);
	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		if (!strstr(entry->d_name, ".lua"))
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		fn(file);
		n++;
	}
	closedir(dir);
	return n;
}

static void expect_verdict(const char *file)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_verify_report report;
	char expected[64];

	expectation(file, expected);
	probe_file(file, arena, &report);
	if (strcmp(pl_verify_fault_name(report.fault), expected) != 0)
		printf("# %s: %s\n", file, report.detail ? report.detail : "");
	assert_string_equal(pl_verify_fault_name(report.fault), expected);
	if (report.fault == PL_VERIFY_ACCEPTED) {
		assert_true(report.ndecisions >= 8);
		assert_null(report.sentence);
	} else {
		assert_non_null(report.sentence);
		assert_int_equal(report.ndecisions, 0);
	}
	pl_arena_free(&arena);
}

static void each_bad_policy_is_refused_for_its_own_reason(void **state)
{
	assert_true(each("bad", expect_verdict) >= 20);
}

static void pure_rules_are_accepted_whatever_their_algebra(void **state)
{
	assert_true(each("good", expect_verdict) >= 5);
	assert_true(each("gallery", expect_verdict) >= 6);
}

static void the_shipped_policies_are_accepted(void **state)
{
	static const char *const names[] = { "last_writer_wins", "region_order", "field_merge",
		                             "highest_price", "delete_wins" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct pl_arena *arena = pl_arena_new(0);
		struct pl_verify_report report;
		char file[1200];
		clock_t began;

		snprintf(file, sizeof(file), "%s/lua/policies/%s.lua", top, names[i]);
		began = clock();
		probe_file(file, arena, &report);
		printf("# %s: verified in %ld ms of processor time\n", names[i],
		       (long)((clock() - began) * 1000 / CLOCKS_PER_SEC));
		assert_string_equal(pl_verify_fault_name(report.fault), "accepted");
		assert_string_equal(report.name, names[i]);
		pl_arena_free(&arena);
	}
}

static void a_failing_case_is_shrunk_to_the_smallest(void **state)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_verify_report report;
	char file[1200];

	snprintf(file, sizeof(file), "%s/tests/policies/bad/fails_with_three.lua", top);
	probe_file(file, arena, &report);
	assert_non_null(report.smallest);
	assert_int_equal(report.smallest->n, 3);
	for (int r = 0; r < 3; r++) { // only their number matters
		assert_false(report.smallest->rows[r].deleted);
		assert_int_equal(report.smallest->rows[r].updated_at_us,
		                 report.smallest->rows[0].updated_at_us);
	}
	snprintf(file, sizeof(file), "%s/tests/policies/bad/fails_on_null.lua", top);
	probe_file(file, arena, &report);
	assert_int_equal(report.smallest->n, 2);
	// any record
	assert_int_equal(report.smallest->id, 1);
	// bedrooms
	assert_true(!report.smallest->rows[0].values[1] || !report.smallest->rows[1].values[1]);
	assert_non_null(report.smallest->rows[0].values[2]);
	snprintf(file, sizeof(file), "%s/tests/policies/bad/fails_for_one_record.lua", top);
	probe_file(file, arena, &report);
	assert_int_equal(report.smallest->id, 4711);
	assert_int_equal(report.smallest->n, 2);
	for (int r = 0; r < 2; r++) // by the configured regions
		assert_null(strstr(report.smallest->rows[r].dot.region, "former"));
	pl_arena_free(&arena);
}

static void the_values_that_a_file_names_are_tried(void **state)
{
	static const char text[] =
		"-- 1 'no'\n--[==[ 2 ]] 3 ]==] local x4, y = 0x10, \"5.50\" --[[ 'no' ]]\nif z > 6e1 then "
		"return 'a\\n', 'yes', [[long]] end return 7..8";
	static const char *const numbers[] = { "16", "5.50", "6e1" }, *const texts[] = { "5.50", "yes",
		                                                                         "long" };
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_verify_constants constants = { 0 };
	const char *around[3];

	pl_verify_constants_read(arena, text, strlen(text), &constants);
	assert_int_equal(constants.nnumbers, 3);
	assert_int_equal(constants.ntexts, 3);
	for (int i = 0; i < 3; i++) {
		assert_string_equal(constants.numbers[i], numbers[i]);
		assert_string_equal(constants.texts[i], texts[i]);
	}
	for (size_t len = 0; len < sizeof(text);
	     len++) { // truncated anywhere, the text is read to its end and not beyond
		char *cut = strndup(text, len);
		struct pl_verify_constants some = { 0 };

		pl_verify_constants_read(arena, cut, len, &some);
		assert_true(some.nnumbers <= 4);
		free(cut);
	}
	pl_verify_neighbours(arena, "5.50", 2, around);
	assert_string_equal(around[1], "5.49");
	assert_string_equal(around[2], "5.51");
	pl_arena_free(&arena);
}

static void the_same_seed_tries_the_same_inputs(void **state)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_verify_source a, b;
	struct pl_verify_case first, second;

	pl_verify_source_init(&a, arena, config, &config->resources[0], 77);
	pl_verify_source_init(&b, arena, config, &config->resources[0], 77);
	for (int i = 0; i < 500; i++) {
		pl_verify_random(&a, &first);
		pl_verify_random(&b, &second);
		assert_string_equal(pl_verify_writes(arena, &config->resources[0], &first),
		                    pl_verify_writes(arena, &config->resources[0], &second));
		for (int r = 1; r < first.n; r++) // in canonical order, each region once
			for (int q = 0; q < r; q++) {
				assert_true(first.rows[q].updated_at_us <= first.rows[r].updated_at_us);
				assert_string_not_equal(first.rows[q].dot.region, first.rows[r].dot.region);
			}
	}
	pl_arena_free(&arena);
}

// ---- the gallery under pairwise merging

static const char *value_of(const struct pl_sim_rules *rules, struct pl_arena *arena, int field, uint32_t n)
{
	const struct pl_verify_source *source = rules->value_arg;

	return source->large[field].values[n % (uint32_t)source->large[field].n];
}

// One row is kept; the current row and the arriving one are passed to the rule in this
// order, as in other replication products.
static enum pl_decision take_pairwise(struct pl_arena *arena, struct pl_state *state,
                                      const struct pl_event *event, const struct pl_sim_rules *rules)
{
	struct pl_sibling rows[2] = { state->n ? state->writes[0] : event->write, event->write };
	enum pl_decision decision = pl_decide_take(arena, state, event);
	struct pl_verdict verdict;
	struct pl_error err;

	if (decision != PL_DECIDED_CONCURRENT)
		return decision;
	if (rules->ask(rules->ask_arg, &(struct pl_policy_question){ rules->resource, 1, rows, 2 }, arena,
	               &verdict, &err) < 0)
		verdict = (struct pl_verdict){ .take = 1 };
	state->n = 1;
	state->writes[0] = rows[verdict.take >= 0 ? verdict.take : 1];
	if (verdict.take < 0) {
		state->writes[0].values = verdict.merged;
		state->writes[0].deleted = false;
	}
	return decision;
}

static int failures(struct pl_sim_rules *rules, int histories)
{
	int failed = 0;

	for (int i = 0; i < histories; i++) {
		struct pl_sim_history history;
		struct pl_sim_outcome outcome;

		pl_simulate_make_history(&history, (uint64_t)i + 1);
		pl_simulate_run(&history, rules, &outcome);
		failed += outcome.failed;
	}
	return failed;
}

static void expect_divergence_only_when_merged_pairwise(const char *file)
{
	struct pl_config *derived = with(file);
	struct pl_diagnostics diagnostics = { 0 };
	struct pl_vm *vm = pl_vm_new(derived, PL_CONTEXT_POLICY, &diagnostics);
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_verify_source source;
	int pairwise, siblings;

	assert_non_null(vm);
	pl_verify_source_init(&source, arena, config, &derived->resources[0], 1);
	struct pl_sim_rules rules = { .resource = &derived->resources[0],
		                      .value = value_of,
		                      .value_arg = &source,
		                      .regions = source.regions,
		                      .take = take_pairwise,
		                      .ask = pl_ask_policy,
		                      .ask_arg = pl_policy_find(vm, derived->resources[0].policy) };
	pairwise = failures(&rules, 1500);
	rules.take = pl_simulate_take;
	siblings = failures(&rules, 1500);
	printf("# %s: of 1500 histories, %d diverge if merged pairwise, %d with siblings\n",
	       strrchr(file, '/') + 1, pairwise, siblings);
	assert_true(pairwise > 0);
	assert_int_equal(siblings, 0);
	pl_vm_free(&vm);
	pl_arena_free(&arena);
	pl_diagnostics_fini(&diagnostics);
	pl_config_unref(&derived);
}

static void rules_that_diverge_elsewhere_converge_here(void **state)
{
	assert_true(each("gallery", expect_divergence_only_when_merged_pairwise) >= 6);
}

// ---- admission

static void a_configuration_with_a_refused_policy_says_why(void **state)
{
	struct pl_diagnostics diagnostics = { 0 }, fine = { 0 };
	struct pl_config *derived;
	char file[1200];

	snprintf(file, sizeof(file), "%s/tests/policies/bad/fails_with_three.lua", top);
	derived = with(file);
	assert_int_equal(pl_verify_admission_check_all(derived, &diagnostics), 1);
	assert_int_equal(diagnostics.n, 1);
	assert_int_equal(diagnostics.warnings, 0);
	assert_non_null(strstr(diagnostics.lines[0].text, "fails_with_three.lua"));
	assert_non_null(strstr(diagnostics.lines[0].text, "is refused for properties"));
	assert_non_null(strstr(diagnostics.lines[0].text, "more than two regions"));
	assert_non_null(strstr(diagnostics.lines[0].text, "For example"));
	assert_int_equal(pl_verify_admission_check(derived, &derived->resources[0], &diagnostics), 1);
	assert_int_equal(pl_verify_admission_check_all(config, &fine), 0);
	assert_int_equal(fine.n, 0);
	pl_diagnostics_fini(&diagnostics);
	pl_diagnostics_fini(&fine);
	pl_config_unref(&derived);
}

static void a_refused_shadow_policy_is_a_warning(void **state)
{
	struct pl_diagnostics diagnostics = { 0 };
	struct pl_config *derived;
	char file[1200];

	snprintf(file, sizeof(file), "%s/tests/policies/bad/fails_with_three.lua", top);
	derived = with(file);
	derived->resources[0].shadow_policy = derived->resources[0].policy;
	// like the policy
	assert_int_equal(pl_verify_admission_check_all(derived, &diagnostics), 1);
	assert_int_equal(diagnostics.n, 2);
	assert_int_equal(diagnostics.warnings, 1);
	pl_diagnostics_fini(&diagnostics);
	pl_config_unref(&derived);
}

static void the_limits_of_the_configuration_apply(void **state)
{
	char file[1200];
	struct pl_config *derived;

	snprintf(file, sizeof(file), "%s/lua/policies/highest_price.lua", top);
	derived = with(file);
	for (int i = 0; i < 2; i++) {
		struct pl_diagnostics diagnostics = { 0 };

		derived->policy_limits.instructions =
			i == 0 ? 1000000 : 50; // 50 are not enough for any answer
		assert_int_equal(pl_verify_admission_check_all(derived, &diagnostics), i);
		pl_diagnostics_fini(&diagnostics);
	}
	pl_config_unref(&derived);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_bad_policy_is_refused_for_its_own_reason),
		cmocka_unit_test(pure_rules_are_accepted_whatever_their_algebra),
		cmocka_unit_test(the_shipped_policies_are_accepted),
		cmocka_unit_test(a_failing_case_is_shrunk_to_the_smallest),
		cmocka_unit_test(the_same_seed_tries_the_same_inputs),
		cmocka_unit_test(rules_that_diverge_elsewhere_converge_here),
		cmocka_unit_test(the_values_that_a_file_names_are_tried),
		cmocka_unit_test(a_configuration_with_a_refused_policy_says_why),
		cmocka_unit_test(a_refused_shadow_policy_is_a_warning),
		cmocka_unit_test(the_limits_of_the_configuration_apply),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
