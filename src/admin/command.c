// The options that every command has, and finding a command in the table of all commands
// (admin/commands.c).
// Threads: the tool has one.
#include "admin/command.h"

#include <string.h>

#include "admin/commands.h"

const struct pl_option pl_common_options[] = {
	{ "config", 'c', PL_OPTION_FILE, "FILE",
	  "the configuration (default: $PLIST_CONFIG, then " PL_SYSCONFDIR "/plist/plist.yaml)" },
	{ "region", 'r', PL_OPTION_REGION, "NAME", "only this region; may be repeated (default: all)",
	  .many = true },
	{ "timeout", 0, PL_OPTION_DURATION, "TIME",
	  "how long to wait for a region or the broker (default: 5s)", .min = 1 },
	{ "output", 'o', PL_OPTION_CHOICE, "FORMAT", "output format: table or json (default: table)",
	  .choices = "table|json" },
	{ "help", 'h', PL_OPTION_SWITCH, NULL, "print this help" },
	{ NULL },
};

// Accepted in place of a command.
const struct pl_option pl_command_version_option = { "version",           0,
	                                             PL_OPTION_SWITCH,    NULL,
	                                             "print the version", .hidden = true };

bool pl_command_has_common(const struct pl_command *command, const struct pl_option *option)
{
	if (option == &pl_command_version_option)
		return false;
	for (const struct pl_option *own = command->options; own && own->name; own++)
		if (own == option)
			return true;
	switch (option->kind) {
	case PL_OPTION_FILE: return !command->no_config;
	case PL_OPTION_REGION: return command->regions;
	case PL_OPTION_DURATION: return command->waits;
	case PL_OPTION_CHOICE: return command->prints_data;
	default: return true;
	}
}

const struct pl_command *pl_command_find(const char *noun, const char *verb)
{
	for (const struct pl_command *const *c = pl_commands; *c; c++) {
		if (strcmp((*c)->noun, noun) != 0)
			continue;
		if (verb ? (*c)->verb && strcmp((*c)->verb, verb) == 0 : !(*c)->verb)
			return *c;
	}
	return NULL;
}

bool pl_command_is_noun(const char *word)
{
	for (const struct pl_command *const *c = pl_commands; *c; c++)
		if (strcmp((*c)->noun, word) == 0)
			return true;
	return false;
}
