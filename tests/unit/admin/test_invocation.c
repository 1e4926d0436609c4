// Command lines: what is found, what is refused with which words, what a command is told of its options. Every row of the table.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/command.h"

// Reads a command line; what it says to people is caught in `said`.
static char said[4096];

static int parse(struct pl_call *call, const char *line)
{
	static char text[512];
	char *argv[32] = { NULL };
	int argc = 0;
	snprintf(text, sizeof text, "plist-admin %s", line);
	for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	FILE *catcher = tmpfile();
	int real = dup(STDERR_FILENO);
	fflush(stderr);
	dup2(fileno(catcher), STDERR_FILENO);
	int rc = pl_call_parse(call, argc, argv);
	fflush(stderr);
	dup2(real, STDERR_FILENO);
	close(real);
	rewind(catcher);
	size_t n = fread(said, 1, sizeof said - 1, catcher);
	said[n] = '\0';
	fclose(catcher);
	return rc;
}

static void assert_refused(const char *line, const char *words)
{
	struct pl_call call;
	assert_int_equal(parse(&call, line), PL_EXIT_USAGE);
	if (!strstr(said, words))
		fail_msg("'%s' says: %s", line, said);
	pl_call_fini(&call);
}

static void noun_and_verb_find_the_command(void **state)
{
	struct pl_call call;
	assert_int_equal(parse(&call, "dead-letters show 12"), 0);
	assert_string_equal(call.command->noun, "dead-letters");
	assert_string_equal(call.command->verb, "show");
	assert_int_equal(call.nargs, 1);
	assert_string_equal(call.args[0], "12");
	pl_call_fini(&call);
}

static void options_may_stand_anywhere(void **state)
{
	static const char *const lines[] = {
		"--region us -o json dead-letters list --limit 7", "dead-letters --region us list --limit 7 -o json",
		"dead-letters list -n 7 -ojson -r us", "dead-letters list --limit=7 --region=us --output=json",
	};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		struct pl_call call;
		assert_int_equal(parse(&call, lines[i]), 0);
		assert_true(call.json);
		assert_string_equal(pl_call_nth(&call, "region", 0), "us");
		assert_null(pl_call_nth(&call, "region", 1));
		assert_int_equal(pl_call_number(&call, "limit", 50), 7);
		pl_call_fini(&call);
	}
}

static void arguments_and_options_may_be_mixed(void **state)
{
	struct pl_call call;
	assert_int_equal(parse(&call, "seed a.sql --file b.sql c.sql --resource properties -f d.sql"), 0);
	assert_int_equal(call.nargs, 2);
	assert_string_equal(call.args[0], "a.sql");
	assert_string_equal(call.args[1], "c.sql");
	assert_string_equal(pl_call_nth(&call, "file", 0), "b.sql");
	assert_string_equal(pl_call_nth(&call, "file", 1), "d.sql");
	assert_string_equal(pl_call_text(&call, "resource", ""), "properties");
	pl_call_fini(&call);
}

static void what_follows_two_dashes_is_no_option(void **state)
{
	struct pl_call call;
	assert_int_equal(parse(&call, "seed -- --rows"), 0);
	assert_int_equal(call.nargs, 1);
	assert_string_equal(call.args[0], "--rows");
	assert_false(pl_call_has(&call, "rows"));
	pl_call_fini(&call);
}

static void what_is_not_given_has_its_default(void **state)
{
	struct pl_call call;
	assert_int_equal(parse(&call, "dead-letters list"), 0);
	assert_int_equal(pl_call_number(&call, "limit", 50), 50);
	assert_true(pl_call_timeout_us(&call) == 5000000);
	assert_false(call.json);
	pl_call_fini(&call);
	assert_int_equal(parse(&call, "dead-letters list --timeout 250ms"), 0);
	assert_true(pl_call_timeout_us(&call) == 250000);
	pl_call_fini(&call);
}

static void misspellings_are_answered_with_a_suggestion(void **state)
{
	assert_refused("sed", "did you mean 'seed'?");
	assert_refused("dead-leters list", "did you mean 'dead-letters'?");
	assert_refused("dead-letters lst", "did you mean 'dead-letters list'?");
	assert_refused("dead-letters list --limt 3", "did you mean --limit?");
	assert_refused("seed --rwos=3", "did you mean --rows?");
	assert_refused("frobnicate", "'plist-admin help' lists them");
	assert_refused("dead-letters frobnicate", "it has: list, show, drop");
	assert_refused("dead-letters", "dead-letters what?");
	assert_refused("seed --frobnicate", "seed has no option --frobnicate");
	assert_refused("seed -z", "seed has no option -z");
	assert_refused("", "no command given");
}

static void values_are_checked_before_the_command_runs(void **state)
{
	assert_refused("seed --rows many", "--rows: 'many' is not a whole number");
	assert_refused("seed --rows", "--rows needs a value: N");
	assert_refused("seed --rows 1 --rows 2", "--rows is given twice");
	assert_refused("dead-letters list --timeout soon", "--timeout: 'soon' is not a time");
	assert_refused("dead-letters list -o xml", "--output: 'xml' is not table|json");
	assert_refused("dead-letters list -o tab", "--output: 'tab' is not table|json");
	assert_refused("dead-letters drop 1 --yes=no", "--yes takes no value");
	assert_refused("seed --file=", "--file: '' is not a name");
}

static void an_option_that_means_nothing_there_is_refused(void **state)
{
	assert_refused("--output json dead-letters drop 1", "dead-letters drop has no option --output");
	assert_refused("version --region us", "version has no option --region");
	assert_refused("--config x version", "version has no option --config");
}

static void words_too_few_or_too_many_are_refused(void **state)
{
	assert_refused("dead-letters show", "dead-letters show needs ID");
	assert_refused("dead-letters show 1 2", "'2' is one word too many");
	assert_refused("version now", "'now' is one word too many");
}

static void help_is_found_at_every_level(void **state)
{
	struct pl_call call;
	assert_int_equal(parse(&call, "--help"), 0);
	assert_true(call.wants_help && !call.command && !call.noun);
	pl_call_fini(&call);
	assert_int_equal(parse(&call, "dead-letters --help"), 0);
	assert_true(call.wants_help && !call.command);
	assert_string_equal(call.noun, "dead-letters");
	pl_call_fini(&call);
	assert_int_equal(parse(&call, "dead-letters show --help"), 0); // its ID need not be there
	assert_true(call.wants_help);
	assert_string_equal(call.command->verb, "show");
	pl_call_fini(&call);
}

// ---- the table itself

static void every_command_says_what_it_does(void **state)
{
	for (const struct pl_command *const *c = pl_commands; *c; c++) {
		struct pl_buf text = { 0 };
		assert_non_null((*c)->noun);
		assert_non_null((*c)->run);
		assert_true((*c)->summary && strlen((*c)->summary) > 10);
		assert_true((*c)->help && strlen((*c)->help) > 20);
		assert_true((*c)->max_args == 0 ? !(*c)->arguments : (*c)->arguments != NULL);
		assert_ptr_equal(pl_command_find((*c)->noun, (*c)->verb), *c); // no second one of that name
		pl_help_command(&text, *c);
		for (const struct pl_option *o = (*c)->options; o && o->name; o++) {
			assert_true(o->help && *o->help);
			assert_true((o->kind == PL_OPTION_SWITCH) == (o->value == NULL));
			assert_true((o->kind == PL_OPTION_CHOICE) == (o->choices != NULL));
			if (!o->hidden && !strstr(text.data, o->name))
				fail_msg("the help of %s does not name --%s", (*c)->noun, o->name);
		}
		pl_buf_fini(&text);
	}
}

static void no_command_has_two_options_of_one_name_or_letter(void **state)
{
	for (const struct pl_command *const *c = pl_commands; *c; c++)
		for (const struct pl_option *o = (*c)->options; o && o->name; o++) {
			for (const struct pl_option *p = (*c)->options; p < o; p++)
				assert_true(strcmp(p->name, o->name) != 0 && (!p->letter || p->letter != o->letter));
			for (const struct pl_option *p = pl_common_options; p->name; p++)
				if (strcmp(p->name, o->name) == 0 || (p->letter && p->letter == o->letter))
					fail_msg("%s: --%s is a common option's name or letter", (*c)->noun, o->name);
		}
}

static void the_general_help_lists_every_command_that_is_not_hidden(void **state)
{
	struct pl_buf text = { 0 };
	pl_help_general(&text);
	for (const struct pl_command *const *c = pl_commands; *c; c++)
		if (!(*c)->hidden)
			assert_non_null(strstr(text.data, (*c)->summary));
	for (const char *line = text.data; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (strcspn(line, "\n") > 110)
			fail_msg("too wide: %.*s", (int)strcspn(line, "\n"), line);
	pl_buf_fini(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(noun_and_verb_find_the_command),
		cmocka_unit_test(options_may_stand_anywhere),
		cmocka_unit_test(arguments_and_options_may_be_mixed),
		cmocka_unit_test(what_follows_two_dashes_is_no_option),
		cmocka_unit_test(what_is_not_given_has_its_default),
		cmocka_unit_test(misspellings_are_answered_with_a_suggestion),
		cmocka_unit_test(values_are_checked_before_the_command_runs),
		cmocka_unit_test(an_option_that_means_nothing_there_is_refused),
		cmocka_unit_test(words_too_few_or_too_many_are_refused),
		cmocka_unit_test(help_is_found_at_every_level),
		cmocka_unit_test(every_command_says_what_it_does),
		cmocka_unit_test(no_command_has_two_options_of_one_name_or_letter),
		cmocka_unit_test(the_general_help_lists_every_command_that_is_not_hidden),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
