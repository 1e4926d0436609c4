// Policies called from C: verdicts, budgets, hashes, memory; and the cost of a new
// environment for each call.
#define _GNU_SOURCE // asprintf
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "script/check.h"
#include "script/policy.h"
#include "world.h"

struct bench {
	struct pl_config *config;
	struct pl_vm *vm;
	struct pl_arena *arena;
	struct pl_policy *policy;
	struct pl_sibling rows[3];
};

static void bench_fill(struct bench *b)
{
	b->vm = world_vm(b->config, PL_CONTEXT_POLICY);
	b->arena = pl_arena_new(0);
	b->policy = pl_policy_find(b->vm, b->config->resources[0].policy);
	assert_non_null(b->policy);
	b->rows[0] = *world_sibling(b->arena, "us", 2, 1000, false, "600000.00", "3");
	b->rows[1] = *world_sibling(b->arena, "eu", 1, 2000, false, "500000.00", NULL);
	b->rows[2] = *world_sibling(b->arena, "ap", 1, 3000, true, "700000.00", "5");
}

static void bench_open(struct bench *b, const char *text)
{
	struct world_file file = { "policies/p.lua", text };

	b->config = world_config(&file, 1);
	bench_fill(b);
}

static void bench_close(struct bench *b)
{
	pl_arena_free(&b->arena);
	pl_vm_free(&b->vm);
	pl_config_unref(&b->config);
}

static int ask(struct bench *b, int n, struct pl_verdict *verdict, struct pl_error *err)
{
	return pl_policy_resolve(b->policy,
	                         &(struct pl_policy_question){ &b->config->resources[0], 7, b->rows, n }, 1,
	                         b->arena, verdict, err);
}

static void stop_oneself(int signal_number)
{
	raise(SIGSTOP);
}

static void verdict_is_an_index_into_the_rows(void **state)
{
	struct bench b;
	struct pl_verdict verdict;
	struct pl_error err;

	bench_open(&b, "local policy = require 'plist.policy' return { name = 'p', doc = 'd', "
	               "resolve = function(rows) return policy.take(#rows) end }");
	assert_int_equal(ask(&b, 2, &verdict, &err), 0);
	assert_int_equal(verdict.take, 1);
	assert_int_equal(ask(&b, 3, &verdict, &err), 0);
	assert_int_equal(verdict.take, 2);
	assert_string_equal(pl_policy_name(b.policy), "p");
	assert_string_equal(pl_policy_doc(b.policy), "d");
	assert_string_equal(pl_policy_sha256(b.policy),
	                    b.config->sources[0].sha256); // equal to the output of sha256sum
	assert_null(pl_policy_find(b.vm, "policies/other.lua"));
	bench_close(&b);
}

static void merge_is_texts_in_the_order_of_fields(void **state)
{
	struct bench b;
	struct pl_verdict verdict;
	struct pl_error err;

	bench_open(&b, "local policy = require 'plist.policy' return { resolve = function(rows) "
	               "return policy.merge { "
	               "price = rows[1].fields.price:div(3, 2), bedrooms = rows[1].fields.bedrooms, "
	               "sold = true } end }");
	assert_int_equal(ask(&b, 2, &verdict, &err), 0);
	assert_int_equal(verdict.take, -1);
	assert_string_equal(verdict.merged[0], "200000.00");
	assert_string_equal(verdict.merged[1], "3");
	assert_null(verdict.merged[2]);
	assert_string_equal(verdict.merged[4], "t");
	bench_close(&b);
}

static void error_and_overrun_have_their_codes_and_the_next_call_works(void **state)
{
	struct bench b;
	struct pl_verdict verdict;
	struct pl_error err;

	bench_open(&b, "local policy = require 'plist.policy' return { name = 'p', resolve = function(rows) "
	               "if rows[1].updated_at == 1 then error('no') end if rows[1].updated_at == 2 "
	               "then while true do end end "
	               "if rows[1].updated_at == 3 then return 5 end return policy.take(1) end }");
	for (int round = 0; round < 100; round++) {
		b.rows[0].updated_at_us = 1;
		assert_int_equal(ask(&b, 2, &verdict, &err), PL_ESCRIPT);
		assert_string_equal(err.text, "p: policies/p.lua:1: no");
		b.rows[0].updated_at_us = 3;
		assert_int_equal(ask(&b, 2, &verdict, &err), PL_EINVAL);
		b.rows[0].updated_at_us = 4;
		assert_int_equal(ask(&b, 2, &verdict, &err), 0);
	}
	b.rows[0].updated_at_us = 2;
	assert_int_equal(ask(&b, 2, &verdict, &err), PL_EBUDGET);
	assert_non_null(strstr(err.text, "used up its instructions"));
	bench_close(&b);
}

// The budget of a call is exactly the same, to the last instruction, in a new VM and in
// a used one.
static void budget_ends_at_the_same_instruction_in_every_vm(void **state)
{
	static const char text[] =
		"local policy = require 'plist.policy' return { resolve = function(rows) "
		"local t = {} for i = 1, 1000 do t['k' .. i % 50] = i % 7 end for _ in pairs(t) do end "
		"local s = ('x'):rep(40) for i = 1, 100 do s:find('x*y') end return policy.take(1) end }";
	struct bench b;
	struct pl_verdict verdict;
	struct pl_error err;
	int64_t low = 0, high = 1000000; // too few; enough

	while (low + 1 < high) { // in a new VM for each attempt
		int64_t middle = (low + high) / 2;

		b.config = world_config(&(struct world_file){ "policies/p.lua", text }, 1);
		b.config->policy_limits.instructions = middle;
		bench_fill(&b);
		*(ask(&b, 2, &verdict, &err) == 0 ? &high : &low) = middle;
		bench_close(&b);
	}
	assert_in_range(high, 10000, 999999);
	for (int i = 0; i < 2; i++) { // in used VMs
		b.config = world_config(&(struct world_file){ "policies/p.lua", text }, 1);
		b.config->policy_limits.instructions = i ? high : low;
		bench_fill(&b);
		for (int k = 0; k < 200; k++)
			assert_int_equal(ask(&b, 2, &verdict, &err) == 0, i);
		bench_close(&b);
	}
}

static void problems_of_policies_are_all_reported_with_their_lines(void **state)
{
	static const struct world_file files[] = {
		{ "policies/a.lua", "return {\n  resolve = function() end\n" },
		{ "policies/b.lua", "return { resolve = 1 }" },
		{ "handlers/c.lua", "local x\nx()" },
	};
	struct pl_config *config = world_config(files, 3);
	struct pl_diagnostics diagnostics = { 0 };

	assert_int_equal(pl_script_check(config, &diagnostics), 3);
	assert_string_equal(diagnostics.lines[0].text,
	                    "lua/handlers/c.lua:2: attempt to call a nil value (local 'x')");
	assert_string_equal(diagnostics.lines[1].text,
	                    "lua/policies/a.lua:3: '}' expected (to close '{' at line 1) near <eof>");
	assert_string_equal(diagnostics.lines[2].text,
	                    "lua/policies/b.lua: the table that it returns has no function 'resolve'");
	pl_diagnostics_fini(&diagnostics);
	pl_config_unref(&config);
}

static void missing_file_is_a_problem(void **state)
{
	struct pl_config *config = world_config(NULL, 0);
	struct pl_diagnostics diagnostics = { 0 };

	config->resources[0].policy = "policies/none.lua";
	assert_null(pl_vm_new(config, PL_CONTEXT_POLICY, &diagnostics));
	assert_int_equal(diagnostics.n, 1);
	pl_diagnostics_fini(&diagnostics);
	pl_config_unref(&config);
}

static void further_policy_can_be_loaded_and_a_bad_one_changes_nothing(void **state)
{
	struct bench b;
	struct pl_diagnostics diagnostics = { 0 };
	struct pl_verdict verdict;
	struct pl_error err;
	struct pl_script_source more = { .path = "other/q.lua", .file = "q.lua", .sha256 = "00" };

	bench_open(&b, "local policy = require 'plist.policy' return { resolve = function(rows) "
	               "return policy.take(1) end }");
	more.text = "return { name = 'q' }";
	more.len = strlen(more.text);
	for (int i = 0; i < 100; i++)
		assert_null(pl_policy_load(b.vm, &more, &diagnostics));
	assert_int_equal(diagnostics.n, 100);
	more.text = "return { name = 'q', resolve = function() return require('plist.policy').take(2) end }";
	more.len = strlen(more.text);
	struct pl_policy *q = pl_policy_load(b.vm, &more, &diagnostics);
	assert_non_null(q);
	assert_ptr_equal(q, pl_policy_find(b.vm, "other/q.lua"));
	assert_int_equal(
		pl_policy_resolve(q, &(struct pl_policy_question){ &b.config->resources[0], 7, b.rows, 2 }, 1,
	                          b.arena, &verdict, &err),
		0);
	assert_int_equal(verdict.take, 1);
	assert_int_equal(ask(&b, 2, &verdict, &err), 0);
	assert_int_equal(verdict.take, 0);
	pl_diagnostics_fini(&diagnostics);
	bench_close(&b);
}

// A policy is not charged for the time in which its process was stopped. The child stops
// itself, and this process resumes it.
static void stopped_process_is_not_an_overrun(void **state)
{
	static const char text[] = "local policy = require 'plist.policy' return { resolve = function() "
				   "for i = 1, 200000 do end return policy.take(1) end }";
	struct bench b;
	struct pl_verdict verdict;
	struct pl_error err;
	int status;
	pid_t child;

	b.config = world_config(&(struct world_file){ "policies/p.lua", text }, 1);
	b.config->policy_limits.wall_us = 200000;
	bench_fill(&b);
	child = fork();
	if (child == 0) {
		struct itimerval soon = { .it_value = { .tv_usec = 200 } };
		int code = 0;

		signal(SIGALRM, stop_oneself);
		for (int i = 0; i < 5 && code == 0; i++) {
			setitimer(ITIMER_REAL, &soon, NULL);
			code = ask(&b, 2, &verdict, &err);
		}
		_exit(code == 0 ? 0 : 1);
	}
	for (;;) {
		assert_int_equal(waitpid(child, &status, WUNTRACED), child);
		if (!WIFSTOPPED(status))
			break;
		struct timespec pause = { .tv_nsec = 300000000 }; // longer than the time limit of the call

		nanosleep(&pause, NULL);
		kill(child, SIGCONT);
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	bench_close(&b);
}

// Prints the time of a call. Fails only if it is far more than a few microseconds.
static void call_in_its_own_environment_costs_little(void **state)
{
	enum { CALLS = 20000 };
	static const char *const names[] = { "last_writer_wins", "highest_price", "field_merge" };
	const char *root = getenv("PL_TOP_SRCDIR");

	for (size_t i = 0; root && i < sizeof(names) / sizeof(names[0]); i++) {
		struct bench b;
		struct pl_verdict verdict;
		struct pl_error err;
		char *lua = NULL, *path = NULL;
		clock_t began;
		size_t memory = 0;

		assert_true(asprintf(&lua, "%s/lua", root) > 0 &&
		            asprintf(&path, "policies/%s.lua", names[i]) > 0);
		b.config = world_config_of(lua);
		b.config->resources[0].policy = path;
		bench_fill(&b);
		began = clock(); // processor time
		for (int k = 0; k < CALLS; k++) {
			if (k == CALLS / 2)
				memory = pl_vm_memory(b.vm);
			assert_int_equal(ask(&b, 2, &verdict, &err), 0);
		}
		began = clock() - began;
		print_message("# %s: %.2f µs a call\n", names[i],
		              (double)began * 1e6 / CLOCKS_PER_SEC / CALLS);
		assert_true((double)began / CLOCKS_PER_SEC < CALLS * 500e-6);
		assert_in_range(pl_vm_memory(b.vm), 0, 2 * memory);
		bench_close(&b);
		free(lua);
		free(path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verdict_is_an_index_into_the_rows),
		cmocka_unit_test(merge_is_texts_in_the_order_of_fields),
		cmocka_unit_test(error_and_overrun_have_their_codes_and_the_next_call_works),
		cmocka_unit_test(budget_ends_at_the_same_instruction_in_every_vm),
		cmocka_unit_test(problems_of_policies_are_all_reported_with_their_lines),
		cmocka_unit_test(missing_file_is_a_problem),
		cmocka_unit_test(further_policy_can_be_loaded_and_a_bad_one_changes_nothing),
		cmocka_unit_test(stopped_process_is_not_an_overrun),
		cmocka_unit_test(call_in_its_own_environment_costs_little),
	};

	pl_log_init(PL_LOG_ERROR, PL_LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
