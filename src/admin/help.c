// Help texts, generated from the table of commands. Threads: any; no state.
#include "admin/command.h"

#include <string.h>

#define WIDTH 96

static void add_name(struct pl_buf *out, const struct pl_command *command)
{
	pl_buf_printf(out, "%s%s%s", command->noun, command->verb ? " " : "",
	              command->verb ? command->verb : "");
}

// Wraps `text` into lines indented by `indent`; the first one already has `column`
// columns. A newline in `text` ends a line.
static void add_wrapped(struct pl_buf *out, const char *text, int indent, int column)
{
	while (*text) {
		int len = (int)strcspn(text, " \n");
		if (column > indent && column + 1 + len > WIDTH) {
			pl_buf_addc(out, '\n');
			column = 0;
		}
		if (column == 0)
			for (; column < indent; column++)
				pl_buf_addc(out, ' ');
		else if (column > indent) {
			pl_buf_addc(out, ' ');
			column++;
		}
		pl_buf_add(out, text, (size_t)len);
		column += len;
		text += len;
		if (*text == '\n') {
			pl_buf_addc(out, '\n');
			column = 0;
			text++;
		}
		text += strspn(text, " ");
	}
	if (column)
		pl_buf_addc(out, '\n');
}

static int width_of(const char *text)
{
	int width = 0;
	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80; // UTF-8: counts the first byte of a character
	return width;
}

static void add_row(struct pl_buf *out, const char *left, int width, const char *right)
{
	int column = 2 + width_of(left);
	pl_buf_printf(out, "  %s", left);
	if (column > width) {
		pl_buf_addc(out, '\n');
		column = 0;
	}
	for (; column && column < width; column++)
		pl_buf_addc(out, ' ');
	add_wrapped(out, right, width, column);
}

static void add_option(struct pl_buf *out, const struct pl_option *option)
{
	struct pl_buf left = { 0 };
	if (option->letter)
		pl_buf_printf(&left, "-%c, ", option->letter);
	pl_buf_printf(&left, "%s--%s%s%s", option->letter ? "" : "    ", option->name,
	              option->value ? " " : "", option->value ? option->value : "");
	add_row(out, left.data, 28, option->help);
	pl_buf_fini(&left);
}

void pl_help_command(struct pl_buf *out, const struct pl_command *command)
{
	pl_buf_adds(out, "usage: plist-admin ");
	add_name(out, command);
	pl_buf_adds(out, " [OPTION …]");
	if (command->arguments)
		pl_buf_printf(out, " %s", command->arguments);
	pl_buf_adds(out, "\n\n");
	add_wrapped(out, command->help, 0, 0);
	pl_buf_adds(out, "\nOptions:\n");
	for (const struct pl_option *o = command->options; o && o->name; o++)
		if (!o->hidden)
			add_option(out, o);
	for (const struct pl_option *o = pl_common_options; o->name; o++)
		if (pl_command_has_common(command, o))
			add_option(out, o);
}

static void add_commands(struct pl_buf *out, const char *noun)
{
	for (const struct pl_command *const *c = pl_commands; *c; c++) {
		if ((*c)->hidden || (noun && strcmp((*c)->noun, noun) != 0))
			continue;
		struct pl_buf left = { 0 };
		add_name(&left, *c);
		if ((*c)->arguments)
			pl_buf_printf(&left, " %s", (*c)->arguments);
		add_row(out, left.data, 28, (*c)->summary);
		pl_buf_fini(&left);
	}
}

void pl_help_noun(struct pl_buf *out, const char *noun)
{
	pl_buf_printf(out, "usage: plist-admin %s COMMAND [OPTION …]\n\nCommands:\n", noun);
	add_commands(out, noun);
	pl_buf_printf(out, "\nSee 'plist-admin help %s COMMAND' for one command.\n", noun);
}

void pl_help_general(struct pl_buf *out)
{
	pl_buf_adds(out,
	            "usage: plist-admin COMMAND [OPTION …]\n\nAdministers plist: active-active records in "
	            "several regions.\n\nCommands:\n");
	add_commands(out, NULL);
	add_row(out, "help [COMMAND]", 28, "print this list, or the help of a command");
	pl_buf_adds(out, "\nOptions of all commands, where they apply:\n");
	for (const struct pl_option *o = pl_common_options; o->name; o++)
		add_option(out, o);
	pl_buf_adds(
		out,
		"\nData goes to standard output, everything else to standard error. NO_COLOR is "
		"respected.\nExit status: 0 success, 1 negative result, 2 wrong usage or configuration, 3 "
		"nothing could be\nreached, 4 only some regions could be reached. See plist-admin(8) and "
		"plist-workflows(7).\n");
}
