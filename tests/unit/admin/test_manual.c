// Compares the manual and the completion with the table of commands: what is missing
// from either side is a failure.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/command.h"
#include "base/file.h"

static struct pl_buf manual;

static void read_source(const char *name, struct pl_buf *text)
{
	char path[4096];
	struct pl_error err;
	const char *top = getenv("PL_TOP_SRCDIR");
	snprintf(path, sizeof(path), "%s/%s", top ? top : ".", name);
	if (pl_file_read(path, 1u << 20, text, &err))
		fail_msg("%s", err.text);
}

static int read_manual(void **state)
{
	read_source("man/plist-admin.8", &manual);
	return 0;
}

static int free_manual(void **state)
{
	pl_buf_fini(&manual);
	return 0;
}

// Copies the section that begins with a line ".Ss TITLE" to `text`; false if there is
// none. Arguments may follow the title.
static bool section(const char *title, char *text, size_t size)
{
	char line[128];
	snprintf(line, sizeof(line), "\n.Ss %s", title);
	const char *at = strstr(manual.data, line);
	while (at && at[strlen(line)] != '\n' && strncmp(at + strlen(line), " Op ", 4) != 0 &&
	       strncmp(at + strlen(line), " Ar ", 4) != 0)
		at = strstr(at + 1, line);
	if (!at)
		return false;
	const char *end = strstr(at + 1, "\n.S");
	snprintf(text, size, "%.*s", (int)(end ? end - at : (long)strlen(at)), at);
	return true;
}

static void title_of(const struct pl_command *command, char *text, size_t size)
{
	snprintf(text, size, "%s%s%s", command->noun, command->verb ? " " : "",
	         command->verb ? command->verb : "");
}

// Finds "Fl -rows", but not in "Fl -rows-more".
static bool names_option(const char *text, const char *option)
{
	char flag[64];
	int len = snprintf(flag, sizeof(flag), "Fl -%s", option);
	for (const char *at = text; (at = strstr(at, flag)); at++)
		if (!strchr("abcdefghijklmnopqrstuvwxyz-", at[len]) || !at[len])
			return true;
	return false;
}

static void the_manual_has_every_command_and_every_option(void **state)
{
	static char text[32768], title[64];
	for (const struct pl_command *const *c = pl_commands; *c; c++) {
		if ((*c)->hidden)
			continue;
		title_of(*c, title, sizeof(title));
		if (!section(title, text, sizeof(text)))
			fail_msg("plist-admin(8) has no '.Ss %s'", title);
		for (const struct pl_option *o = (*c)->options; o && o->name; o++) {
			if (o->hidden)
				continue;
			if (!names_option(text, o->name))
				fail_msg("plist-admin(8): '%s' does not document --%s", title, o->name);
			char letter[8] = { 'F', 'l', ' ', o->letter, '\0' };
			if (o->letter && !strstr(text, letter))
				fail_msg("plist-admin(8): '%s' does not document -%c", title, o->letter);
		}
	}
	assert_true(section("Common options", text, sizeof(text)));
	for (const struct pl_option *o = pl_common_options; o->name; o++)
		if (!names_option(text, o->name))
			fail_msg("plist-admin(8) does not document --%s", o->name);
}

static bool has_option(const struct pl_command *command, const char *name, size_t len)
{
	for (const struct pl_option *o = command->options; o && o->name; o++)
		if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
			return true;
	for (const struct pl_option *o = pl_common_options; o->name; o++)
		if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
			return true;
	return false;
}

static void the_manual_documents_no_option_that_does_not_exist(void **state)
{
	static char text[32768], title[64];
	for (const struct pl_command *const *c = pl_commands; *c; c++) {
		title_of(*c, title, sizeof(title));
		if ((*c)->hidden || !section(title, text, sizeof(text)))
			continue;
		for (const char *at = text; (at = strstr(at, "Fl -")); at++) {
			size_t len = strspn(at + 4, "abcdefghijklmnopqrstuvwxyz-");
			if (!has_option(*c, at + 4, len))
				fail_msg("plist-admin(8): '%s' has no --%.*s", title, (int)len, at + 4);
		}
	}
}

static void the_manual_documents_no_command_that_does_not_exist(void **state)
{
	const char *commands = strstr(manual.data, ".Sh COMMANDS"), *end = strstr(manual.data, ".Sh "
	                                                                                       "ENVIRONMENT");
	assert_true(commands && end);
	for (const char *at = commands; (at = strstr(at, "\n.Ss ")) && at < end; at++) {
		char title[64], *words[3] = { NULL };
		int n = 0;
		snprintf(title, sizeof(title), "%.*s", (int)strcspn(at + 5, "\n"), at + 5);
		for (char *word = strtok(title, " ");
		     word && n < 2 && strcmp(word, "Op") != 0 && strcmp(word, "Ar") != 0;
		     word = strtok(NULL, " "))
			words[n++] = word;
		if (!pl_command_find(words[0], words[1]))
			fail_msg("plist-admin(8): there is no command '%s%s%s'", words[0], n > 1 ? " " : "",
			         n > 1 ? words[1] : "");
	}
}

static void the_committed_completion_matches_the_table(void **state)
{
	struct pl_buf committed = { 0 }, made = { 0 };
	read_source("conf/completion/plist-admin.bash", &committed);
	pl_cmd_completion_print(&made);
	if (strcmp(committed.data, made.data) != 0)
		fail_msg("conf/completion/plist-admin.bash is outdated; generate it again: plist-admin "
		         "completion > conf/completion/plist-admin.bash");
	pl_buf_fini(&committed);
	pl_buf_fini(&made);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_manual_has_every_command_and_every_option),
		cmocka_unit_test(the_manual_documents_no_option_that_does_not_exist),
		cmocka_unit_test(the_manual_documents_no_command_that_does_not_exist),
		cmocka_unit_test(the_committed_completion_matches_the_table),
	};
	return cmocka_run_group_tests(tests, read_manual, free_manual);
}
