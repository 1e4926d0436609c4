// Are bad violation rules refused, each for its own reason, and good ones accepted?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/derive.h"
#include "verify/admission.h"
#include "verify/verify.h"

#define RULE(body)       "return { name = 'rule', resolve = function(records, ctx) " body " end }\n"
#define CHANGES(i, what) "{ { id = records[" i "].id, " what " } }"
// Changes all but the record that `first` picks.
#define KEEP(first)                                                                                    \
	RULE("local keep, changes = 1, {} for i = 2, #records do if " first " then keep = i end end "  \
	     "for i = 1, #records do if i ~= keep then changes[#changes + 1] = { id = records[i].id, " \
	     "delete = true } end end return changes")

static struct pl_config *config;

static int load(void **state)
{
	struct pl_diagnostics diagnostics = { 0 };
	const char *top = getenv("PL_TOP_SRCDIR");
	struct pl_resource *resource;
	char file[1000];

	setenv("US_DATABASE_URL", "postgresql://nobody@localhost/us", 1);
	setenv("EU_DATABASE_URL", "postgresql://nobody@localhost/eu", 1);
	snprintf(file, sizeof(file), "%s/conf/plist.yaml", top ? top : ".");
	config = pl_config_load(file, NULL, &diagnostics);
	pl_diagnostics_fini(&diagnostics);
	assert_non_null(config);
	resource = &config->resources[0];
	resource->unique = pl_arena_alloc(config->arena, sizeof(resource->unique[0]));
	resource->unique[0] = "price,bedrooms";
	resource->nunique = 1;
	resource->fields[2].references = "properties";
	pl_config_sort_fields(config);
	return 0;
}

static int unload(void **state)
{
	pl_config_unref(&config);
	return 0;
}

static void verify(const char *text, struct pl_arena *arena, struct pl_verify_report *report)
{
	char path[] = "/tmp/plist-rule.XXXXXX.lua";
	int fd = mkstemps(path, 4);
	struct pl_error err = { 0 };
	struct pl_config *derived;

	assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
	derived = pl_config_derive_with_policy(config, &config->resources[0], path, &err);
	unlink(path);
	assert_non_null(derived);
	derived->resources[0].violations = derived->resources[0].policy;
	pl_verify_run_rule(arena,
	                   &(struct pl_verify_options){
				   .config = derived, .resource = &derived->resources[0], .seed = 1 },
	                   report);
	pl_config_unref(&derived);
}

static void is(const char *text, enum pl_verify_fault fault, const char *part)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_verify_report report;

	verify(text, arena, &report);
	if (report.fault != fault ||
	    (part && !strstr(report.sentence, part) && (!report.detail || !strstr(report.detail, part))))
		fail_msg("%s: %s, %s (%s), %s and %s", text, pl_verify_fault_name(report.fault),
		         report.sentence ? report.sentence : "", report.detail ? report.detail : "",
		         report.first ? report.first : "", report.second ? report.second : "");
	pl_arena_free(&arena);
}

static void good_rules_are_accepted(void **state)
{
	is(KEEP("false"), PL_VERIFY_ACCEPTED, NULL); // keeps the smallest id
	is(KEEP("true"), PL_VERIFY_ACCEPTED, NULL);  // keeps the largest
	is(KEEP("records[i].updated_at < records[keep].updated_at"), PL_VERIFY_ACCEPTED, NULL);
	is(RULE("return {}"), PL_VERIFY_ACCEPTED, NULL); // leaves everything to operators
	is(RULE("if ctx.type == 'reference_missing' then return " CHANGES(
		   "1", "fields = { bathrooms = require('plist.policy').null }") " end return {}"),
	   PL_VERIFY_ACCEPTED, NULL);
}

static void rules_that_fail_are_refused(void **state)
{
	is("return {}\n", PL_VERIFY_NOT_LOADABLE, "no function 'resolve'");
	is(RULE("return " CHANGES("2", "delete = true")), PL_VERIFY_NOT_VALID, NULL);
	is(RULE("return #records == 1 and " CHANGES("2", "delete = true") " or {}"), PL_VERIFY_NOT_TOTAL,
	   NULL); // a violated reference has one record
	is(RULE("return 1"), PL_VERIFY_NOT_VALID, "instead of a list of changes");
	is(RULE("return " CHANGES("1", "fields = { prise = 1 }")), PL_VERIFY_NOT_VALID, "/prise");
	is(RULE("return " CHANGES("1", "fields = { price = -1 }")), PL_VERIFY_NOT_VALID, "/price");
	is(RULE("return " CHANGES("1", "")), PL_VERIFY_NOT_VALID, "must have fields, or delete");
	is(RULE("while true do end"), PL_VERIFY_OVER_BUDGET, NULL);
	is("local n = 0\nreturn { resolve = function(records) n = n + 1 return n % 2 == 0 and " CHANGES(
		   "1", "delete = true") " or {} end }",
	   PL_VERIFY_NOT_DETERMINISTIC, NULL);
}

static void rules_that_do_not_end_are_refused(void **state)
{
	is(RULE("return " CHANGES("1", "fields = { bathrooms = 1 }")), PL_VERIFY_NOT_VALID,
	   "still have the same values");
	is(RULE("return #records > 1 and " CHANGES("2", "delete = true") " or {}"), PL_VERIFY_NOT_VALID,
	   "still have the same values"); // with three records
	// keeps the middle one
	is(RULE("local keep, changes = (#records + 1) // 2, {} for i = 1, #records do if i ~= keep then "
	        "changes[#changes + 1] = { id = records[i].id, delete = true } end end return changes"),
	   PL_VERIFY_NOT_VALID, "if it sees two of them");
}

static void a_refused_rule_does_not_go_live(void **state)
{
	struct pl_diagnostics diagnostics = { 0 };

	assert_int_equal(pl_verify_admission_check_all(config, &diagnostics), 0);
	config->resources[0].violations = "policies/last_writer_wins.lua"; // no rule
	assert_int_equal(pl_verify_admission_check_all(config, &diagnostics), 1);
	assert_non_null(strstr(diagnostics.lines[0].text, "the rule for violations "));
	config->resources[0].violations = NULL;
	pl_diagnostics_fini(&diagnostics);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_rules_are_accepted),
		cmocka_unit_test(rules_that_fail_are_refused),
		cmocka_unit_test(rules_that_do_not_end_are_refused),
		cmocka_unit_test(a_refused_rule_does_not_go_live),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("verify/rules", tests, load, unload);
}
