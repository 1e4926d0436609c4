// Do regions end up equal? Thousands of random histories run through the code that
// decides: three or more regions, causal overwriting, deletes, duplicates, twins,
// reused ids, any order, redelivery. And does the test notice a broken rule?
//
// PL_SIMULATION_SEED and PL_SIMULATION_HISTORIES choose the first seed and how many.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim_policies.h"

static uint64_t first_seed = 1;
static int histories = 2500;

struct tally {
	int failed, concurrent, twins, risen;
};

// Runs all of them; the first unexpected failure is shrunk and printed.
static struct tally run_all(const struct pl_sim_rules *rules, const char *name, bool expect_failure)
{
	struct tally tally = { 0 };

	for (int i = 0; i < histories; i++) {
		struct pl_sim_history history;
		struct pl_sim_outcome out;
		struct pl_buf text = { 0 };

		pl_simulate_make_history(&history, first_seed + (uint64_t)i);
		pl_simulate_run(&history, rules, &out);
		tally.concurrent += out.concurrent;
		tally.twins += out.twins;
		tally.risen += out.risen;
		if (!out.failed || tally.failed++ || expect_failure)
			continue;
		pl_simulate_shrink(&history, rules);
		pl_simulate_run(&history, rules, &out);
		printf("# %s fails; the shortest failing history:\n", name);
		pl_simulate_print(&text, &history, rules);
		printf("# seed %llu, %d regions:\n%s", (unsigned long long)history.seed, history.regions,
		       text.data);
		pl_buf_fini(&text);
		printf("# %s\n", out.why);
	}
	return tally;
}

static void regions_end_equal_under_every_policy(void **state)
{
	for (int p = 0; p < sim_npolicies; p++) {
		struct pl_sim_rules rules = { .resource = &sim_resource,
			                      .value = sim_value,
			                      .take = pl_simulate_take,
			                      .ask = sim_policies[p].ask };
		struct tally tally = run_all(&rules, sim_policies[p].name, false);

		printf("# %s: %d histories from seed %llu, %d concurrent arrivals, %d rows shown without a "
		       "twin, %d failed\n",
		       sim_policies[p].name, histories, (unsigned long long)first_seed, tally.concurrent,
		       tally.twins, tally.failed);
		assert_int_equal(tally.failed, 0);
		assert_true(tally.concurrent > histories); // otherwise nothing was tested
		assert_true(tally.twins > histories / 50);
	}
}

static void a_late_twin_does_not_replace_the_write_that_overwrote_it(void **state)
{
	struct pl_sim_rules rules = { .resource = &sim_resource,
		                      .value = sim_value,
		                      .take = pl_simulate_take,
		                      .ask = sim_policies[0].ask },
			    naive = rules;
	struct tally with, without;

	naive.forget_twins = true;
	with = run_all(&rules, "twins", false);
	without = run_all(&naive, "naive", true);
	printf("# overwritten writes shown again: %d, and %d if twins are unknown\n", with.risen,
	       without.risen);
	assert_true(without.risen > 20);
	assert_true(with.risen * 20 <
	            // cycles of three requests remain, each overwritten by the next one
	            without.risen);
}

// ---- broken rules: each of these must be detected

// Pairwise merging, as in other replication products: the result is stored, and meets
// the next arrival.
static enum pl_decision take_pairwise(struct pl_arena *arena, struct pl_state *state,
                                      const struct pl_event *event, const struct pl_sim_rules *rules)
{
	enum pl_decision decision = pl_decide_take(arena, state, event);
	struct pl_shown shown;

	if (decision != PL_DECIDED_CONCURRENT)
		return decision;
	pl_decide_show(arena, &(struct pl_known_record){ &sim_resource, 1, state, NULL, 0 }, rules->ask,
	               rules->ask_arg, &shown);
	state->n = 1;
	state->writes[0] = shown.row;
	return decision;
}

static enum pl_decision take_arrival(struct pl_arena *arena, struct pl_state *state,
                                     const struct pl_event *event, const struct pl_sim_rules *rules)
{
	enum pl_decision decision = pl_decide_take(arena, state, event);

	if (decision == PL_DECIDED_CONCURRENT) {
		state->n = 1;
		state->writes[0] = event->write;
	}
	return decision;
}

static enum pl_decision take_without_join(struct pl_arena *arena, struct pl_state *state,
                                          const struct pl_event *event, const struct pl_sim_rules *rules)
{
	enum pl_decision decision = pl_decide_take(arena, state, event);

	if (decision == PL_DECIDED_CONCURRENT) {
		state->vector = event->write.vector;
		state->version = (int32_t)pl_vector_sum(&state->vector);
	}
	return decision;
}

static enum pl_decision take_all_covering(struct pl_arena *arena, struct pl_state *state,
                                          const struct pl_event *event, const struct pl_sim_rules *rules)
{
	int before = state->n;
	struct pl_sibling *writes = state->writes;
	enum pl_decision decision = pl_decide_take(arena, state, event);

	if (decision == PL_DECIDED_REPLACED && before == 1 &&
	    event->write.deleted) { // keeps what the delete had seen
		state->writes = pl_arena_alloc(arena, 2 * sizeof(writes[0]));
		state->writes[0] = writes[0];
		state->writes[1] = event->write;
		state->n = 2;
	}
	return decision;
}

static void assert_broken(const char *policy, struct pl_sim_rules rules, const char *what)
{
	struct tally tally;

	for (int p = 0; p < sim_npolicies; p++)
		if (strcmp(sim_policies[p].name, policy) == 0)
			rules.ask = sim_policies[p].ask;
	assert_non_null(rules.ask);
	tally = run_all(&rules, what, true);
	printf("# %s under %s: %d of %d histories fail\n", what, policy, tally.failed, histories);
	assert_true(tally.failed > 0);
}

static void pairwise_merging_is_found_to_diverge(void **state)
{
	static const char *const policies[] = { "first_of_all", "highest_price", "region_order", "mean_price",
		                                "fails_sometimes" };

	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
		assert_broken(policies[i],
		              (struct pl_sim_rules){
				      .resource = &sim_resource, .value = sim_value, .take = take_pairwise },
		              "pairwise merging");
}

static void every_other_broken_rule_is_detected(void **state)
{
	assert_broken(
		"last_writer_wins",
		(struct pl_sim_rules){ .resource = &sim_resource, .value = sim_value, .take = take_arrival },
		"the arrival wins");
	assert_broken("last_writer_wins",
	              (struct pl_sim_rules){
			      .resource = &sim_resource, .value = sim_value, .take = take_without_join },
	              "vectors not joined");
	assert_broken("first_of_all",
	              (struct pl_sim_rules){
			      .resource = &sim_resource, .value = sim_value, .take = take_all_covering },
	              "a delete covers nothing");
}

static void a_failing_history_shrinks_to_the_shortest(void **state)
{
	struct pl_sim_rules rules = { .resource = &sim_resource,
		                      .value = sim_value,
		                      .take = take_arrival,
		                      .ask = sim_policies[0].ask };
	struct pl_sim_history history;
	struct pl_sim_outcome out;

	for (uint64_t seed = first_seed;; seed++) {
		pl_simulate_make_history(&history, seed);
		pl_simulate_run(&history, &rules, &out);
		if (out.failed && history.nops > 8)
			break;
	}
	pl_simulate_shrink(&history, &rules);
	pl_simulate_run(&history, &rules, &out);
	assert_true(out.failed);
	// two regions that write are enough; their clocks may need a third
	assert_true(history.nops <= 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(regions_end_equal_under_every_policy),
		cmocka_unit_test(a_late_twin_does_not_replace_the_write_that_overwrote_it),
		cmocka_unit_test(pairwise_merging_is_found_to_diverge),
		cmocka_unit_test(every_other_broken_rule_is_detected),
		cmocka_unit_test(a_failing_history_shrinks_to_the_shortest),
	};
	const char *seed = getenv("PL_SIMULATION_SEED"), *n = getenv("PL_SIMULATION_HISTORIES");

	if (seed)
		first_seed = strtoull(seed, NULL, 10);
	if (n)
		histories = atoi(n);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
