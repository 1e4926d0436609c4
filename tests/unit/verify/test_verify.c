// Are bad policies refused, each for its own reason, and good ones accepted, whatever their algebra? The policies stand in tests/policies: the first line
// of each says what is expected of it. Those of the gallery are rules that diverge where rows are merged two at a time; here that is shown of
// each, and that they converge with siblings.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <unistd.h>

#include "config/derive.h"
#include "replicate/gate.h"
#include "replicate/probe.h"
#include "replicate/simulate.h"

static struct pl_config *config;
static const char *top;

static int load(void **state)
{
	struct pl_problems problems = { 0 };
	char file[1000];

	top = getenv("PL_TOP_SRCDIR");
	top = top ? top : ".";
	setenv("US_DATABASE_URL", "postgresql://nobody@nowhere/us", 1);
	setenv("EU_DATABASE_URL", "postgresql://nobody@nowhere/eu", 1);
	snprintf(file, sizeof file, "%s/conf/plist.yaml", top);
	config = pl_config_load(file, NULL, &problems);
	for (int i = 0; i < problems.n; i++)
		printf("# %s\n", problems.lines[i].text);
	pl_problems_fini(&problems);
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
	struct pl_config *derived = pl_config_with_policy(config, pl_config_resource(config, "properties"), file, &err);

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

static void probe_file(const char *file, struct pl_arena *arena, struct pl_probe_report *report)
{
	struct pl_config *derived = with(file);
	struct pl_probe_options options = { .config = derived, .resource = &derived->resources[0], .seed = 1 };

	pl_probe_run(arena, &options, report);
	pl_config_unref(&derived);
}

// Calls fn for every policy of a folder of tests/policies; returns how many there were.
static int each(const char *folder, void (*fn)(const char *file))
{
	char path[1200], file[1500];
	struct dirent *entry;
	int n = 0;
	DIR *dir;

	snprintf(path, sizeof path, "%s/tests/policies/%s", top, folder);
	dir = opendir(path);
	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		if (!strstr(entry->d_name, ".lua"))
			continue;
		snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
		fn(file);
		n++;
	}
	closedir(dir);
	return n;
}

static void expect_verdict(const char *file)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_probe_report report;
	char expected[64];

	expectation(file, expected);
	probe_file(file, arena, &report);
	if (strcmp(pl_probe_fault_name(report.fault), expected) != 0)
		printf("# %s: %s\n", file, report.detail ? report.detail : "");
	assert_string_equal(pl_probe_fault_name(report.fault), expected);
	if (report.fault == PL_PROBE_ACCEPTED) {
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
	static const char *const names[] = { "last_writer_wins", "region_order", "field_merge", "highest_price", "delete_wins" };

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		struct pl_arena *arena = pl_arena_new(0);
		struct pl_probe_report report;
		char file[1200];

		snprintf(file, sizeof file, "%s/lua/policies/%s.lua", top, names[i]);
		probe_file(file, arena, &report);
		assert_string_equal(pl_probe_fault_name(report.fault), "accepted");
		assert_string_equal(report.name, names[i]);
		pl_arena_free(&arena);
	}
}

static void what_fails_is_shrunk_to_the_smallest(void **state)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_probe_report report;
	char file[1200];

	snprintf(file, sizeof file, "%s/tests/policies/bad/fails_with_three.lua", top);
	probe_file(file, arena, &report);
	assert_non_null(report.smallest);
	assert_int_equal(report.smallest->n, 3);
	for (int r = 0; r < 3; r++) { // nothing but their number matters
		assert_false(report.smallest->rows[r].deleted);
		assert_int_equal(report.smallest->rows[r].updated_at_us, report.smallest->rows[0].updated_at_us);
	}
	snprintf(file, sizeof file, "%s/tests/policies/bad/fails_on_null.lua", top);
	probe_file(file, arena, &report);
	assert_int_equal(report.smallest->n, 2);
	assert_int_equal(report.smallest->id, 1); // any record
	assert_true(!report.smallest->rows[0].values[1] || !report.smallest->rows[1].values[1]); // bedrooms
	assert_non_null(report.smallest->rows[0].values[2]);
	snprintf(file, sizeof file, "%s/tests/policies/bad/fails_for_one_record.lua", top);
	probe_file(file, arena, &report);
	assert_int_equal(report.smallest->id, 4711);
	assert_int_equal(report.smallest->n, 2);
	for (int r = 0; r < 2; r++) // by the regions that there are
		assert_null(strstr(report.smallest->rows[r].dot.region, "former"));
	pl_arena_free(&arena);
}

static void the_values_that_a_file_names_are_tried(void **state)
{
	static const char text[] = "-- 1 'no'\n--[==[ 2 ]] 3 ]==] local x4, y = 0x10, \"5.50\" --[[ 'no' ]]\nif z > 6e1 then return 'a\\n', 'yes', [[long]] end return 7..8";
	static const char *const numbers[] = { "16", "5.50", "6e1" }, *const texts[] = { "5.50", "yes", "long" };
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_probe_constants constants = { 0 };
	const char *around[3];

	pl_probe_constants_read(arena, text, strlen(text), &constants);
	assert_int_equal(constants.nnumbers, 3);
	assert_int_equal(constants.ntexts, 3);
	for (int i = 0; i < 3; i++) {
		assert_string_equal(constants.numbers[i], numbers[i]);
		assert_string_equal(constants.texts[i], texts[i]);
	}
	for (size_t len = 0; len < sizeof text; len++) { // cut anywhere, it is read to its end and no further
		char *cut = strndup(text, len);
		struct pl_probe_constants some = { 0 };

		pl_probe_constants_read(arena, cut, len, &some);
		assert_true(some.nnumbers <= 4);
		free(cut);
	}
	pl_probe_neighbours(arena, "5.50", 2, around);
	assert_string_equal(around[1], "5.49");
	assert_string_equal(around[2], "5.51");
	pl_arena_free(&arena);
}

static void the_same_seed_tries_the_same_inputs(void **state)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_probe_source a, b;
	struct pl_probe_case first, second;

	pl_probe_source_init(&a, arena, config, &config->resources[0], 77);
	pl_probe_source_init(&b, arena, config, &config->resources[0], 77);
	for (int i = 0; i < 500; i++) {
		pl_probe_random(&a, &first);
		pl_probe_random(&b, &second);
		assert_string_equal(pl_probe_writes(arena, &config->resources[0], &first), pl_probe_writes(arena, &config->resources[0], &second));
		for (int r = 1; r < first.n; r++) // canonical order, each region once
			for (int q = 0; q < r; q++) {
				assert_true(first.rows[q].updated_at_us <= first.rows[r].updated_at_us);
				assert_string_not_equal(first.rows[q].dot.region, first.rows[r].dot.region);
			}
	}
	pl_arena_free(&arena);
}

// --- the gallery under pairwise merging

static const char *value_of(const struct pl_sim_rules *rules, struct pl_arena *arena, int field, uint32_t n)
{
	const struct pl_probe_source *source = rules->value_arg;

	return source->large[field].values[n % (uint32_t)source->large[field].n];
}

static int ask(void *arg, const struct pl_resource *resource, int64_t id, const struct pl_sibling *rows, int n, struct pl_arena *arena,
               struct pl_verdict *verdict_r, struct pl_error *err)
{
	return pl_policy_resolve(arg, resource, id, rows, n, arena, verdict_r, err);
}

// One row is kept; the one that stands and the one that arrives are put to the rule in that order, as replication products do it.
static enum pl_decision take_pairwise(struct pl_arena *arena, struct pl_state *state, const struct pl_event *event,
                                      const struct pl_sim_rules *rules)
{
	struct pl_sibling rows[2] = { state->n ? state->writes[0] : event->write, event->write };
	enum pl_decision decision = pl_decide_take(arena, state, event);
	struct pl_verdict verdict;
	struct pl_error err;

	if (decision != PL_DECIDED_CONCURRENT)
		return decision;
	if (rules->ask(rules->ask_arg, rules->resource, 1, rows, 2, arena, &verdict, &err) < 0)
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

		pl_sim_history_make(&history, (uint64_t)i + 1);
		pl_sim_run(&history, rules, &outcome);
		failed += outcome.failed;
	}
	return failed;
}

static void expect_divergence_only_when_merged_pairwise(const char *file)
{
	struct pl_config *derived = with(file);
	struct pl_problems problems = { 0 };
	struct pl_vm *vm = pl_vm_new(derived, PL_WORLD_POLICY, &problems);
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_probe_source source;
	int pairwise, siblings;

	assert_non_null(vm);
	pl_probe_source_init(&source, arena, config, &derived->resources[0], 1);
	struct pl_sim_rules rules = { .resource = &derived->resources[0], .value = value_of, .value_arg = &source, .regions = source.regions,
	                              .take = take_pairwise, .ask = ask, .ask_arg = pl_policy_find(vm, derived->resources[0].policy) };
	pairwise = failures(&rules, 1500);
	rules.take = pl_sim_take;
	siblings = failures(&rules, 1500);
	printf("# %s: of 1500 histories %d diverge merged pairwise, %d with siblings\n", strrchr(file, '/') + 1, pairwise, siblings);
	assert_true(pairwise > 0);
	assert_int_equal(siblings, 0);
	pl_vm_free(&vm);
	pl_arena_free(&arena);
	pl_problems_fini(&problems);
	pl_config_unref(&derived);
}

static void rules_that_diverge_elsewhere_converge_here(void **state)
{
	assert_true(each("gallery", expect_divergence_only_when_merged_pairwise) >= 6);
}

// --- the gate

static void the_gate_refuses_with_the_reason_and_remembers(void **state)
{
	char folder[] = "/tmp/plist-gate-XXXXXX", file[1200], command[100];
	struct pl_problems problems = { 0 }, again = { 0 }, fine = { 0 };
	struct pl_config *derived;

	assert_non_null(mkdtemp(folder));
	snprintf(file, sizeof file, "%s/tests/policies/bad/fails_with_three.lua", top);
	derived = with(file);
	derived->lua_checked = folder;
	assert_int_equal(pl_gate_policies(derived, &problems), 1);
	assert_int_equal(problems.n, 1);
	assert_non_null(strstr(problems.lines[0].text, "more than two regions"));
	assert_non_null(strstr(problems.lines[0].text, "For example"));
	assert_int_equal(pl_gate_policies(derived, &again), 1); // from what was remembered
	assert_string_equal(problems.lines[0].text, again.lines[0].text);
	assert_int_equal(pl_gate_policies(config, &fine), 0);
	assert_int_equal(fine.n, 0);
	snprintf(command, sizeof command, "rm -r %s", folder);
	assert_int_equal(system(command), 0);
	pl_problems_fini(&problems);
	pl_problems_fini(&again);
	pl_config_unref(&derived);
}

// The one file in a folder; what it holds.
static size_t only_file(const char *folder, char path[1200], char *text, size_t size)
{
	struct dirent *entry;
	DIR *dir = opendir(folder);
	size_t len = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		FILE *file;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, 1200, "%s/%s", folder, entry->d_name);
		file = fopen(path, "r");
		assert_non_null(file);
		len = fread(text, 1, size - 1, file);
		fclose(file);
		text[len] = 0;
	}
	closedir(dir);
	return len;
}

static void write_file(const char *path, const char *text, size_t len)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	fclose(file);
}

static void what_was_remembered_and_cut_short_is_no_verdict(void **state)
{
	char folder[] = "/tmp/plist-gate-XXXXXX", file[1200], path[1200], whole[5000], again[5000], command[100];
	static const char *const others[] = { "refused ", "accepted\n", "accepted 0000000000000000000000000000000000000000000000000000000000000000\n", "" };
	struct pl_config *derived;
	size_t len = 0;

	assert_non_null(mkdtemp(folder));
	snprintf(file, sizeof file, "%s/tests/policies/bad/fails_with_three.lua", top);
	derived = with(file);
	derived->lua_checked = folder;
	for (int i = -1; i < 4 + 4; i++) {
		struct pl_problems problems = { 0 };

		if (i >= 4) // the beginning of what it was
			write_file(path, whole, i == 4 ? 8 : i == 5 ? 73 : i == 6 ? len / 2 : len - 1);
		else if (i >= 0)
			write_file(path, others[i], strlen(others[i]));
		assert_int_equal(pl_gate_policies(derived, &problems), 1);
		pl_problems_fini(&problems);
		if (i == -1)
			len = only_file(folder, path, whole, sizeof whole);
		only_file(folder, path, again, sizeof again);
		assert_string_equal(again, whole); // it has been checked anew, and that is remembered
	}
	snprintf(command, sizeof command, "rm -r %s", folder);
	assert_int_equal(system(command), 0);
	pl_config_unref(&derived);
}

static void other_limits_are_another_verdict(void **state)
{
	char folder[] = "/tmp/plist-gate-XXXXXX", file[1200], command[100];
	struct pl_config *derived;

	assert_non_null(mkdtemp(folder));
	snprintf(file, sizeof file, "%s/lua/policies/highest_price.lua", top);
	derived = with(file);
	derived->lua_checked = folder;
	for (int i = 0; i < 2; i++) {
		struct pl_problems problems = { 0 };

		derived->policy_limits.instructions = i == 0 ? 1000000 : 50; // in 50 instructions nothing can be said
		assert_int_equal(pl_gate_policies(derived, &problems), i);
		pl_problems_fini(&problems);
	}
	snprintf(command, sizeof command, "rm -r %s", folder);
	assert_int_equal(system(command), 0);
	pl_config_unref(&derived);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_bad_policy_is_refused_for_its_own_reason),
		cmocka_unit_test(pure_rules_are_accepted_whatever_their_algebra),
		cmocka_unit_test(the_shipped_policies_are_accepted),
		cmocka_unit_test(what_fails_is_shrunk_to_the_smallest),
		cmocka_unit_test(the_same_seed_tries_the_same_inputs),
		cmocka_unit_test(rules_that_diverge_elsewhere_converge_here),
		cmocka_unit_test(the_values_that_a_file_names_are_tried),
		cmocka_unit_test(the_gate_refuses_with_the_reason_and_remembers),
		cmocka_unit_test(what_was_remembered_and_cut_short_is_no_verdict),
		cmocka_unit_test(other_limits_are_another_verdict),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
