// plist-admin completion: prints the completion for bash, made from the table of commands.
//
// Hidden: it is for the build. conf/completion/plist-admin.bash is its output, and a test compares them.
#include "admin/commands.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"

static bool noun_done(const struct pl_command *const *at)
{
	for (const struct pl_command *const *c = pl_commands; c < at; c++)
		if (strcmp((*c)->noun, (*at)->noun) == 0)
			return true;
	return false;
}

static void add_nouns(struct pl_buf *out)
{
	for (const struct pl_command *const *c = pl_commands; *c; c++)
		if (!(*c)->hidden && !noun_done(c))
			pl_buf_printf(out, "%s ", (*c)->noun);
	pl_buf_adds(out, "help");
}

static void add_verbs(struct pl_buf *out, const char *noun)
{
	const char *space = "";
	for (const struct pl_command *const *c = pl_commands; *c; c++)
		if (!(*c)->hidden && (*c)->verb && strcmp((*c)->noun, noun) == 0) {
			pl_buf_printf(out, "%s%s", space, (*c)->verb);
			space = " ";
		}
}

static void add_option_names(struct pl_buf *out, const struct pl_command *command)
{
	const char *space = "";
	for (const struct pl_option *o = command->options; o && o->name; o++)
		if (!o->hidden) {
			pl_buf_printf(out, "%s--%s", space, o->name);
			space = " ";
		}
	for (const struct pl_option *o = pl_common_options; o->name; o++)
		if (pl_command_has_common(command, o)) {
			pl_buf_printf(out, "%s--%s", space, o->name);
			space = " ";
		}
}

// One `case` pattern per option that takes a value of a known kind.
static void add_value(struct pl_buf *out, const struct pl_option *option)
{
	const char *with = option->kind == PL_OPTION_FILE ? "compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\"))"
	                 : option->kind == PL_OPTION_CHOICE ? "COMPREPLY=($(compgen -W '%s' -- \"$cur\"))"
	                 : NULL;
	if (!with)
		return;
	pl_buf_adds(out, "    ");
	if (option->letter)
		pl_buf_printf(out, "-%c|", option->letter);
	pl_buf_printf(out, "--%s) ", option->name);
	if (option->kind == PL_OPTION_CHOICE) {
		pl_buf_adds(out, "COMPREPLY=($(compgen -W '");
		for (const char *c = option->choices; *c; c++)
			pl_buf_addc(out, *c == '|' ? ' ' : *c);
		pl_buf_adds(out, "' -- \"$cur\"))");
	} else {
		pl_buf_adds(out, with);
	}
	pl_buf_adds(out, "; return ;;\n");
}

static bool value_done(const struct pl_option *option, const struct pl_command *const *upto)
{
	for (const struct pl_option *o = pl_common_options; o->name; o++)
		if (o != option && strcmp(o->name, option->name) == 0)
			return true;
	for (const struct pl_command *const *c = pl_commands; c < upto; c++)
		for (const struct pl_option *o = (*c)->options; o && o->name; o++)
			if (strcmp(o->name, option->name) == 0)
				return true;
	return false;
}

static void add_values(struct pl_buf *out)
{
	for (const struct pl_option *o = pl_common_options; o->name; o++)
		add_value(out, o);
	for (const struct pl_command *const *c = pl_commands; *c; c++)
		for (const struct pl_option *o = (*c)->options; o && o->name; o++)
			if (!value_done(o, c))
				add_value(out, o);
}

static void add_commands(struct pl_buf *out)
{
	for (const struct pl_command *const *c = pl_commands; *c; c++) {
		if ((*c)->hidden)
			continue;
		pl_buf_printf(out, "    '%s%s%s') words='", (*c)->noun, (*c)->verb ? " " : "", (*c)->verb ? (*c)->verb : "");
		add_option_names(out, *c);
		pl_buf_adds(out, "' ;;\n");
	}
	for (const struct pl_command *const *c = pl_commands; *c; c++) {
		if ((*c)->hidden || !(*c)->verb || noun_done(c))
			continue;
		pl_buf_printf(out, "    '%s') words='", (*c)->noun);
		add_verbs(out, (*c)->noun);
		pl_buf_adds(out, "' ;;\n");
	}
}

static int completion(struct pl_call *call)
{
	struct pl_buf out = { 0 };
	pl_buf_adds(&out, "# bash completion for plist-admin. Made by 'plist-admin completion' from the table of commands; do not edit.\n"
	                  "_plist_admin() {\n"
	                  "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} noun='' verb='' word words='' i\n"
	                  "  COMPREPLY=()\n"
	                  "  case $prev in\n");
	add_values(&out);
	pl_buf_adds(&out, "  esac\n"
	                  "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
	                  "    word=${COMP_WORDS[i]}\n"
	                  "    case $word in\n"
	                  "    -*) continue ;;\n"
	                  "    esac\n"
	                  "    if [[ -z $noun ]]; then noun=$word\n"
	                  "    elif [[ -z $verb ]]; then verb=$word\n"
	                  "    fi\n"
	                  "  done\n"
	                  "  case \"$noun${verb:+ $verb}\" in\n"
	                  "    '') words='");
	add_nouns(&out);
	pl_buf_adds(&out, "' ;;\n");
	add_commands(&out);
	pl_buf_adds(&out, "    'help') words='");
	add_nouns(&out);
	pl_buf_adds(&out, "' ;;\n"
	                  "    *) compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
	                  "  esac\n"
	                  "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	                  "}\n"
	                  "complete -F _plist_admin plist-admin\n");
	fwrite(out.data, 1, out.len, stdout);
	pl_buf_fini(&out);
	return PL_EXIT_YES;
}

const struct pl_command pl_cmd_completion = {
	.noun = "completion",
	.summary = "print the completion for bash",
	.help = "Prints the completion for bash. It is made from the table of commands, so it knows every command and option.",
	.no_config = true,
	.hidden = true,
	.run = completion,
};
