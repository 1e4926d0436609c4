// A command of plist-admin: what it is called, what it takes, what it says about itself and what it does, in one place.
//
// Stands between the program's main and the cmd_*.c files. Help, completion and the manual's test all read the same rows, so a
// command cannot do something that its help does not know of.
// Threads: the tool has one.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"
#include "config/config.h"

// What a script can tell from a command's end.
enum pl_exit {
	PL_EXIT_YES = 0,         // done, or the answer is yes
	PL_EXIT_NO = 1,          // the answer is no
	PL_EXIT_USAGE = 2,       // asked wrongly, or the configuration cannot be used
	PL_EXIT_UNREACHABLE = 3, // nothing could be reached
	PL_EXIT_PARTIAL = 4,     // some regions could be reached, some not
};

enum pl_option_kind {
	PL_OPTION_SWITCH,        // takes no value
	PL_OPTION_TEXT,
	PL_OPTION_FILE,
	PL_OPTION_COUNT,         // a whole number, 0 or more
	PL_OPTION_DURATION,      // 500ms, 10s, 5m, 24h, 90d; a number alone is seconds
	PL_OPTION_TIME,          // an RFC 3339 time, or a duration: so long ago
	PL_OPTION_CHOICE,        // one of `choices`
	PL_OPTION_REGION,
	PL_OPTION_RESOURCE,
};

struct pl_option {
	const char *name;        // "max-seconds"; NULL ends a list
	char letter;             // 'f', or 0
	enum pl_option_kind kind;
	const char *value;       // what its value is called in help: "N"; NULL for a switch
	const char *help;        // one line, as a sentence without its full stop
	const char *choices;     // "table|json"
	bool many;               // may be given several times
	bool hidden;
};

struct pl_call;

struct pl_command {
	const char *noun, *verb; // verb NULL: the noun alone is the command
	const char *arguments;   // "ID", "[FILE …]"; NULL: takes none
	int min_args, max_args;  // max_args -1: any number
	const char *summary;     // a line for lists of commands
	const char *help;        // what it does, in paragraphs
	const struct pl_option *options; // its own, ended by a row without a name; NULL: none
	bool prints_data;        // has --output
	bool no_config;          // needs no configuration: has no --config
	bool regions;            // has --region
	bool waits;              // has --timeout
	bool hidden;
	int (*run)(struct pl_call *call);
};

// All commands, ended by NULL (commands.c).
extern const struct pl_command *const pl_commands[];
// The options that every command has (--help, --output where it prints data; the others where it needs a configuration).
extern const struct pl_option pl_common_options[];
// Whether `command` has this one of the common options.
bool pl_command_has_common(const struct pl_command *command, const struct pl_option *option);

struct pl_setting { const struct pl_option *option; const char *text; int64_t number; };

// One running of a command.
struct pl_call {
	const struct pl_command *command;// NULL: help was asked for, of `noun` or of everything
	const char *noun;
	int nsettings;
	struct pl_setting *settings;     // in the order given, values checked
	int nargs;
	char **args;
	bool json;                       // --output json
	bool wants_help;
	struct pl_arena *arena;          // whatever lives as long as the call
	struct pl_config *config;        // after pl_call_config
	const struct pl_region **regions;// after pl_call_regions
	int nregions;
};

// Reads a command line (argv[0] is the program). 0, or a pl_exit after saying what is wrong. `call` then knows its command, or has
// none and wants_help: the general help was asked for.
int pl_call_parse(struct pl_call *call, int argc, char **argv);
void pl_call_fini(struct pl_call *call);

bool pl_call_has(const struct pl_call *call, const char *option);
const char *pl_call_text(const struct pl_call *call, const char *option, const char *otherwise);    // the last one given
int64_t pl_call_number(const struct pl_call *call, const char *option, int64_t otherwise);         // COUNT
int64_t pl_call_us(const struct pl_call *call, const char *option, int64_t otherwise);             // DURATION, and TIME since 1970
// The i-th value of an option that may be given several times; NULL after the last.
const char *pl_call_nth(const struct pl_call *call, const char *option, int i);
int64_t pl_call_timeout_us(const struct pl_call *call); // --timeout

// Whose the variables DATABASE_URL and PORT are: the one region that --region names, else REGION's, as for its daemon; or NULL.
const char *pl_call_own_region(const struct pl_call *call);
// Loads the configuration that --config, PLIST_CONFIG or the installed default names. 0, or PL_EXIT_USAGE after listing the problems.
int pl_call_config(struct pl_call *call);
// As pl_call_config, then the regions that --region names; all of them when it is not given.
int pl_call_regions(struct pl_call *call);
// Narrows the regions of the call to this one; NULL leaves them.
void pl_call_only(struct pl_call *call, const struct pl_region *region);
const char *pl_call_config_file(const struct pl_call *call);

// The folder of the migrations, and that of the seeds: beside the folder of Lua, in the source as where it is installed; else where they
// are installed. After pl_call_config.
const char *pl_call_migrations(struct pl_call *call);
const char *pl_call_seeds(struct pl_call *call);

// Text of help.
void pl_help_general(struct pl_buf *out);
void pl_help_noun(struct pl_buf *out, const char *noun);
void pl_help_command(struct pl_buf *out, const struct pl_command *command);
const struct pl_command *pl_command_find(const char *noun, const char *verb); // verb NULL: a command without a verb
bool pl_command_is_noun(const char *word);

// The completion for bash, appended.
void pl_completion(struct pl_buf *out);

// The word of `words` (ended by NULL) that `word` was probably meant to be; NULL if none is near.
const char *pl_nearest(const char *word, const char *const *words);

// main() of plist-admin.
int pl_admin_main(int argc, char **argv);
