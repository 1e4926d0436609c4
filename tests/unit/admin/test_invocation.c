// Command lines: what is accepted, the messages for what is refused, and the values
// that a command gets. Covers every row of the table.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/command.h"

// Parses a command line; its messages are collected in `said`.
static char said[4096];

static int parse(struct pl_invocation *invocation, const char *line)
{
	static char text[512];
	char *argv[32] = { NULL };
	int argc = 0;
	snprintf(text, sizeof(text), "plist-admin %s", line);
	for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	FILE *catcher = tmpfile();
	int real = dup(STDERR_FILENO);
	fflush(stderr);
	dup2(fileno(catcher), STDERR_FILENO);
	int rc = pl_invocation_parse(invocation, argc, argv);
	fflush(stderr);
	dup2(real, STDERR_FILENO);
	close(real);
	rewind(catcher);
	size_t n = fread(said, 1, sizeof(said) - 1, catcher);
	said[n] = '\0';
	fclose(catcher);
	return rc;
}

static void assert_refused(const char *line, const char *words)
{
	struct pl_invocation invocation;
	assert_int_equal(parse(&invocation, line), PL_EXIT_USAGE);
	if (!strstr(said, words))
		fail_msg("'%s' says: %s", line, said);
	pl_invocation_fini(&invocation);
}

static void noun_and_verb_find_the_command(void **state)
{
	struct pl_invocation invocation;
	assert_int_equal(parse(&invocation, "dead-letters show 12"), 0);
	assert_string_equal(invocation.command->noun, "dead-letters");
	assert_string_equal(invocation.command->verb, "show");
	assert_int_equal(invocation.nargs, 1);
	assert_string_equal(invocation.args[0], "12");
	pl_invocation_fini(&invocation);
}

static void options_may_be_anywhere(void **state)
{
	static const char *const lines[] = {
		"--region us -o json dead-letters list --limit 7",
		"dead-letters --region us list --limit 7 -o json",
		"dead-letters list -n 7 -ojson -r us",
		"dead-letters list --limit=7 --region=us --output=json",
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		struct pl_invocation invocation;
		assert_int_equal(parse(&invocation, lines[i]), 0);
		assert_true(invocation.json);
		assert_string_equal(pl_invocation_nth(&invocation, "region", 0), "us");
		assert_null(pl_invocation_nth(&invocation, "region", 1));
		assert_int_equal(pl_invocation_number(&invocation, "limit", 50), 7);
		pl_invocation_fini(&invocation);
	}
}

static void arguments_and_options_may_be_mixed(void **state)
{
	struct pl_invocation invocation;
	assert_int_equal(parse(&invocation, "seed a.sql --file b.sql c.sql --resource properties -f d.sql"),
	                 0);
	assert_int_equal(invocation.nargs, 2);
	assert_string_equal(invocation.args[0], "a.sql");
	assert_string_equal(invocation.args[1], "c.sql");
	assert_string_equal(pl_invocation_nth(&invocation, "file", 0), "b.sql");
	assert_string_equal(pl_invocation_nth(&invocation, "file", 1), "d.sql");
	assert_string_equal(pl_invocation_text(&invocation, "resource", ""), "properties");
	pl_invocation_fini(&invocation);
}

static void words_after_two_dashes_are_not_options(void **state)
{
	struct pl_invocation invocation;
	assert_int_equal(parse(&invocation, "seed -- --rows"), 0);
	assert_int_equal(invocation.nargs, 1);
	assert_string_equal(invocation.args[0], "--rows");
	assert_false(pl_invocation_has(&invocation, "rows"));
	pl_invocation_fini(&invocation);
}

static void values_that_are_not_given_have_their_defaults(void **state)
{
	struct pl_invocation invocation;
	assert_int_equal(parse(&invocation, "dead-letters list"), 0);
	assert_int_equal(pl_invocation_number(&invocation, "limit", 50), 50);
	assert_true(pl_invocation_timeout_us(&invocation) == 5000000);
	assert_false(invocation.json);
	pl_invocation_fini(&invocation);
	assert_int_equal(parse(&invocation, "dead-letters list --timeout 250ms"), 0);
	assert_true(pl_invocation_timeout_us(&invocation) == 250000);
	pl_invocation_fini(&invocation);
}

static void misspellings_are_answered_with_a_suggestion(void **state)
{
	assert_refused("sed", "did you mean 'seed'?");
	assert_refused("dead-leters list", "did you mean 'dead-letters'?");
	assert_refused("dead-letters lst", "did you mean 'dead-letters list'?");
	assert_refused("dead-letters list --limt 3", "did you mean --limit?");
	assert_refused("seed --rwos=3", "did you mean --rows?");
	assert_refused("frobnicate", "see 'plist-admin help'");
	assert_refused("dead-letters frobnicate", "it has: list, show, retry, drop");
	assert_refused("dead-letters", "dead-letters needs a command; it has: ");
	assert_refused("seed --frobnicate", "seed has no option --frobnicate");
	assert_refused("seed -z", "seed has no option -z");
	assert_refused("", "no command given");
}

static void values_are_checked_before_the_command_runs(void **state)
{
	assert_refused("seed --rows many", "--rows: 'many' is not a whole number");
	assert_refused("seed --rows", "--rows requires a value: N");
	assert_refused("seed --rows 1 --rows 2", "--rows is given twice");
	assert_refused("dead-letters list --timeout soon", "--timeout: 'soon' is not a time");
	assert_refused("dead-letters list --timeout 0s", "--timeout: '0s' is not a time");
	assert_refused("dead-letters list --limit 0", "--limit: '0' is less than 1");
	assert_refused("conflicts list --key 0", "--key: '0' is less than 1");
	assert_refused("dead-letters list -o xml", "--output: 'xml' is not one of table, json");
	assert_refused("dead-letters list -o tab", "--output: 'tab' is not one of table, json");
	assert_refused("dead-letters drop 1 --yes=no", "--yes takes no value");
	assert_refused("seed --file=", "--file: '' is not a name");
}

static void an_option_that_the_command_does_not_have_is_refused(void **state)
{
	assert_refused("--output json dead-letters drop 1", "dead-letters drop has no option --output");
	assert_refused("version --region us", "version has no option --region");
	assert_refused("--config x version", "version has no option --config");
}

static void too_few_or_too_many_arguments_are_refused(void **state)
{
	assert_refused("dead-letters show", "dead-letters show needs ID");
	assert_refused("dead-letters show 1 2", "unexpected argument '2'");
	assert_refused("version now", "unexpected argument 'now'");
}

static void help_is_found_at_every_level(void **state)
{
	struct pl_invocation invocation;
	assert_int_equal(parse(&invocation, "--help"), 0);
	assert_true(invocation.wants_help && !invocation.command && !invocation.noun);
	pl_invocation_fini(&invocation);
	assert_int_equal(parse(&invocation, "dead-letters --help"), 0);
	assert_true(invocation.wants_help && !invocation.command);
	assert_string_equal(invocation.noun, "dead-letters");
	pl_invocation_fini(&invocation);
	assert_int_equal(parse(&invocation, "dead-letters show --help"), 0); // its ID may be missing
	assert_true(invocation.wants_help);
	assert_string_equal(invocation.command->verb, "show");
	pl_invocation_fini(&invocation);
}

static void help_is_found_anywhere_on_the_line(void **state)
{
	static const struct {
		const char *line, *noun, *verb;
	} lines[] = {
		{ "help", NULL, NULL },
		{ "--config F help", NULL, NULL },
		{ "help --config F", NULL, NULL },
		{ "-o json help", NULL, NULL },
		{ "help dead-letters", "dead-letters", NULL },
		{ "dead-letters help", "dead-letters", NULL },
		{ "dead-letters help show", "dead-letters", "show" },
		{ "dead-letters -o json help --region us show", "dead-letters", "show" },
		{ "dead-letters list help", "dead-letters", "list" },
		{ "routes help", "routes", NULL },
		{ "--config F help -o json dead-letters", "dead-letters", NULL },
		{ "help dead-letters show", "dead-letters", "show" },
		{ "-c F help dead-letters --region us show", "dead-letters", "show" },
		{ "help lag --watch", "lag", NULL },
		{ "--timeout 1s help version", "version", NULL },
	};
	struct pl_invocation invocation;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		if (parse(&invocation, lines[i].line) != 0 || !invocation.wants_help)
			fail_msg("'%s' says: %s", lines[i].line, said);
		const char *noun = invocation.command ? invocation.command->noun : invocation.noun,
			   *verb = invocation.command ? invocation.command->verb : NULL;
		if ((noun && strcmp(noun, lines[i].noun ? lines[i].noun : "") != 0) ||
		    (!noun && lines[i].noun) || (verb && strcmp(verb, lines[i].verb) != 0))
			fail_msg("'%s' is about %s %s", lines[i].line, noun ? noun : "nothing",
			         verb ? verb : "");
		pl_invocation_fini(&invocation);
	}
	assert_refused("help frobnicate", "there is no command 'frobnicate'");
	assert_refused("--config F help policy chekc", "did you mean 'policy check'?");
}

static void the_version_is_printed_in_the_place_of_a_command(void **state)
{
	static const char *const lines[] = { "--version", "--config F --version", "version", "-c F version" };
	struct pl_invocation invocation;

	for (int i = 0; i < 3; i++) {
		if (parse(&invocation, lines[i]) != 0 || !invocation.command ||
		    strcmp(invocation.command->noun, "version") != 0)
			fail_msg("'%s' says: %s", lines[i], said);
		pl_invocation_fini(&invocation);
	}
	assert_refused("--version lag", "lag has no option --version");
}

static void a_value_from_a_list_is_checked_against_the_list(void **state)
{
	assert_refused("conflicts list --type foo", "'foo' is not one of insert_exists, "
	                                            "update_origin_differs, update_deleted, "
	                                            "delete_origin_differs, delete_missing");
	assert_refused("conflicts list --limit 99999999999", "--limit: '99999999999' is more than 1000000");
	assert_refused("--watch lag", "--watch is an option of lag: write it after the command");
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
		assert_ptr_equal(pl_command_find((*c)->noun, (*c)->verb),
		                 *c); // no other command has the same name
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

static void no_command_has_two_options_with_the_same_name_or_letter(void **state)
{
	for (const struct pl_command *const *c = pl_commands; *c; c++)
		for (const struct pl_option *o = (*c)->options; o && o->name; o++) {
			for (const struct pl_option *p = (*c)->options; p < o; p++)
				assert_true(strcmp(p->name, o->name) != 0 &&
				            (!p->letter || p->letter != o->letter));
			for (const struct pl_option *p = pl_common_options; p->name; p++)
				if (strcmp(p->name, o->name) == 0 || (p->letter && p->letter == o->letter))
					fail_msg("%s: --%s is a common option's name or letter", (*c)->noun,
					         o->name);
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
		cmocka_unit_test(options_may_be_anywhere),
		cmocka_unit_test(arguments_and_options_may_be_mixed),
		cmocka_unit_test(words_after_two_dashes_are_not_options),
		cmocka_unit_test(values_that_are_not_given_have_their_defaults),
		cmocka_unit_test(misspellings_are_answered_with_a_suggestion),
		cmocka_unit_test(values_are_checked_before_the_command_runs),
		cmocka_unit_test(an_option_that_the_command_does_not_have_is_refused),
		cmocka_unit_test(too_few_or_too_many_arguments_are_refused),
		cmocka_unit_test(help_is_found_at_every_level),
		cmocka_unit_test(help_is_found_anywhere_on_the_line),
		cmocka_unit_test(the_version_is_printed_in_the_place_of_a_command),
		cmocka_unit_test(a_value_from_a_list_is_checked_against_the_list),
		cmocka_unit_test(every_command_says_what_it_does),
		cmocka_unit_test(no_command_has_two_options_with_the_same_name_or_letter),
		cmocka_unit_test(the_general_help_lists_every_command_that_is_not_hidden),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
