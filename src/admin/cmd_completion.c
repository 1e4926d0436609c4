// plist-admin completion: prints the completion for bash, generated from the table of
// commands.
//
// Hidden: used only by the build. conf/completion/plist-admin.bash is its output, and a
// unit test compares them.
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

static bool is_common(const struct pl_option *option)
{
	for (const struct pl_option *o = pl_common_options; o->name; o++)
		if (o == option)
			return true;
	return false;
}

// "-c|--config". A command's own short options are left out: the same letter means
// different things in different commands.
static void add_pattern(struct pl_buf *out, const struct pl_option *option)
{
	if (option->letter && is_common(option))
		pl_buf_printf(out, "-%c|", option->letter);
	pl_buf_printf(out, "--%s", option->name);
}

// What may follow an option. Values that cannot be enumerated get no completion.
static void add_value(struct pl_buf *out, const struct pl_option *option)
{
	if (option->kind != PL_OPTION_FILE && option->kind != PL_OPTION_CHOICE)
		return;
	pl_buf_adds(out, "    ");
	add_pattern(out, option);
	if (option->kind == PL_OPTION_FILE) {
		pl_buf_adds(out,
		            ") compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n");
		return;
	}
	pl_buf_adds(out, ") COMPREPLY=($(compgen -W '");
	for (const char *c = option->choices; *c; c++)
		pl_buf_addc(out, *c == '|' ? ' ' : *c);
	pl_buf_adds(out, "' -- \"$cur\")); return ;;\n");
}

static void add_value_pattern(struct pl_buf *out, const struct pl_option *option)
{
	if (option->kind == PL_OPTION_SWITCH || option->hidden)
		return;
	if (out->data[out->len - 1] != ' ')
		pl_buf_addc(out, '|');
	add_pattern(out, option);
}

// Whether an option of that name was already handled.
static bool option_done(const struct pl_option *option, const struct pl_command *const *upto)
{
	for (const struct pl_command *const *c = pl_commands; c < upto; c++)
		for (const struct pl_option *o = (*c)->options; o && o->name; o++)
			if (strcmp(o->name, option->name) == 0)
				return true;
	return false;
}

static void each_option(struct pl_buf *out, void (*add)(struct pl_buf *out, const struct pl_option *option))
{
	for (const struct pl_option *o = pl_common_options; o->name; o++)
		add(out, o);
	for (const struct pl_command *const *c = pl_commands; *c; c++)
		for (const struct pl_option *o = (*c)->options; o && o->name; o++)
			if (!option_done(o, c))
				add(out, o);
}

static void add_commands(struct pl_buf *out)
{
	for (const struct pl_command *const *c = pl_commands; *c; c++) {
		if ((*c)->hidden)
			continue;
		pl_buf_printf(out, "    '%s%s%s') words='", (*c)->noun, (*c)->verb ? " " : "",
		              (*c)->verb ? (*c)->verb : "");
		add_option_names(out, *c);
		pl_buf_printf(out, "'%s ;;\n",
		              (*c)->arguments && strstr((*c)->arguments, "FILE") ? " files=1" : "");
	}
	for (const struct pl_command *const *c = pl_commands; *c; c++) {
		if ((*c)->hidden || !(*c)->verb || noun_done(c))
			continue;
		pl_buf_printf(out, "    '%s'|'help %s') words='", (*c)->noun, (*c)->noun);
		add_verbs(out, (*c)->noun);
		pl_buf_adds(out, "' ;;\n");
	}
}

void pl_cmd_completion_print(struct pl_buf *out)
{
	pl_buf_adds(out,
	            "# bash completion for plist-admin. Made by 'plist-admin completion' from the table of "
	            "commands; do not edit.\n"
	            "_plist_admin() {\n"
	            "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} noun='' verb='' "
	            "words='' files='' i\n"
	            "  COMPREPLY=()\n"
	            "  case $prev in\n");
	each_option(out, add_value);
	pl_buf_adds(out, "    ");
	each_option(out, add_value_pattern);
	pl_buf_adds(out, ") return ;;\n"
	                 "  esac\n"
	                 "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
	                 "    case ${COMP_WORDS[i]} in\n"
	                 "    ");
	each_option(out, add_value_pattern);
	pl_buf_adds(out, ") ((i++)) ;;\n"
	                 "    -*) ;;\n"
	                 "    *)\n"
	                 "      if [[ -z $noun ]]; then noun=${COMP_WORDS[i]}\n"
	                 "      elif [[ -z $verb ]]; then verb=${COMP_WORDS[i]}\n"
	                 "      fi ;;\n"
	                 "    esac\n"
	                 "  done\n"
	                 "  case $noun in\n"
	                 "    ");
	for (const struct pl_command *const *c = pl_commands, *const *first = NULL; *c; c++)
		if (!(*c)->verb) {
			pl_buf_printf(out, "%s%s", first ? "|" : "", (*c)->noun);
			first = c;
		}
	pl_buf_adds(out, ") verb='' ;; # the words after these are not commands\n"
	                 "  esac\n"
	                 "  case \"$noun${verb:+ $verb}\" in\n"
	                 "    '') words='");
	add_nouns(out);
	pl_buf_adds(out, " --help --version' ;;\n");
	add_commands(out);
	pl_buf_adds(out, "    'help') words='");
	add_nouns(out);
	pl_buf_adds(out, "' ;;\n"
	                 "  esac\n"
	                 "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	                 "  if [[ -n $files && $cur != -* ]]; then\n"
	                 "    compopt -o filenames\n"
	                 "    COMPREPLY+=($(compgen -f -- \"$cur\"))\n"
	                 "  fi\n"
	                 "}\n"
	                 "complete -F _plist_admin plist-admin\n");
}

static int completion(struct pl_invocation *invocation)
{
	struct pl_buf out = { 0 };
	pl_cmd_completion_print(&out);
	fwrite(out.data, 1, out.len, stdout);
	pl_buf_fini(&out);
	return PL_EXIT_YES;
}

const struct pl_command pl_cmd_completion = {
	.noun = "completion",
	.summary = "print the bash completion",
	.help = "Prints the bash completion, which is generated from the table of commands and knows every "
		"command and option.",
	.no_config = true,
	.hidden = true,
	.run = completion,
};
