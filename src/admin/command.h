// A command of plist-admin: its name, arguments, help and function, in one place.
//
// Help, completion and the test of the manual all read these rows, so a command cannot do
// anything that its help does not mention.
// Threads: the tool has one.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"
#include "config/config.h"

// The exit status of a command, for scripts.
enum pl_exit {
	PL_EXIT_YES = 0,         // success, or a positive result
	PL_EXIT_NO = 1,          // a negative result
	PL_EXIT_USAGE = 2,       // wrong usage, or an invalid configuration
	PL_EXIT_UNREACHABLE = 3, // nothing could be reached
	PL_EXIT_PARTIAL = 4,     // some regions could be reached, some not
};

enum pl_option_kind {
	PL_OPTION_SWITCH, // takes no value
	PL_OPTION_TEXT,
	PL_OPTION_FILE,
	PL_OPTION_COUNT,    // a whole number, 0 or more
	PL_OPTION_DURATION, // 500ms, 10s, 5m, 24h, 90d; a number alone is seconds
	PL_OPTION_TIME,     // an RFC 3339 time, or a duration: that long ago
	PL_OPTION_CHOICE,   // one of `choices`
	PL_OPTION_REGION,
	PL_OPTION_RESOURCE,
};

struct pl_option {
	const char *name; // "max-seconds"; NULL ends a list
	char letter;      // 'f', or 0
	enum pl_option_kind kind;
	const char *value;   // the placeholder of its value in help: "N"; NULL for a switch
	const char *help;    // one line: a sentence without its full stop
	const char *choices; // "table|json"
	int64_t min;         // of a COUNT or, in microseconds, of a DURATION
	int64_t max;         // of a COUNT; 0: any
	bool past;           // of a RESOURCE: also one that the configuration no longer has
	bool many;           // may be given several times
	bool hidden;
};

struct pl_invocation;

struct pl_command {
	const char *noun, *verb;         // verb NULL: the noun alone is the command
	const char *arguments;           // "ID", "[FILE …]"; NULL: it takes none
	int min_args, max_args;          // max_args -1: any number
	const char *summary;             // its line in lists of commands
	const char *help;                // its description, in paragraphs
	const struct pl_option *options; // its own options, ended by a row without a name; NULL: none
	bool prints_data;                // has --output
	bool no_config;                  // needs no configuration, so it has no --config
	bool regions;                    // has --region
	bool waits;                      // has --timeout
	bool hidden;
	int (*run)(struct pl_invocation *invocation);
};

// All commands, ended by NULL (commands.c).
extern const struct pl_command *const pl_commands[];
// The options that every command has (--help, --output if it prints data; the others if
// it needs a configuration).
extern const struct pl_option pl_common_options[];
extern const struct pl_option pl_command_version_option; // accepted in place of a command
// Whether `command` has this one of the common options.
bool pl_command_has_common(const struct pl_command *command, const struct pl_option *option);

struct pl_setting {
	const struct pl_option *option;
	const char *text;
	int64_t number;
};

// One run of a command.
struct pl_invocation {
	const struct pl_command *command; // NULL: help was asked for, of `noun` or of everything
	const char *noun;
	int nsettings;
	struct pl_setting *settings; // in the order given, values checked
	int nargs;
	char **args;
	bool json; // --output json
	bool wants_help;
	struct pl_arena *arena;           // what lives as long as the run
	struct pl_config *config;         // after pl_invocation_config
	const struct pl_region **regions; // after pl_invocation_regions
	int nregions;
};

// Reads a command line (argv[0] is the program). Returns 0, or a pl_exit after printing
// what is wrong. Without a command, wants_help is set: the general help was asked for.
int pl_invocation_parse(struct pl_invocation *invocation, int argc, char **argv);
void pl_invocation_fini(struct pl_invocation *invocation);

bool pl_invocation_has(const struct pl_invocation *invocation, const char *option);
const char *pl_invocation_text(const struct pl_invocation *invocation, const char *option,
                               const char *otherwise); // of the last occurrence
int64_t pl_invocation_number(const struct pl_invocation *invocation, const char *option,
                             int64_t otherwise); // COUNT
int64_t pl_invocation_us(const struct pl_invocation *invocation, const char *option,
                         int64_t otherwise); // DURATION, and TIME since 1970
// The i-th value of an option that may be given several times; NULL after the last.
const char *pl_invocation_nth(const struct pl_invocation *invocation, const char *option, int i);
int64_t pl_invocation_timeout_us(const struct pl_invocation *invocation); // --timeout

// The region whose variables DATABASE_URL and PORT apply: the only one given by
// --region, else $REGION, as for its daemon; or NULL.
const char *pl_invocation_own_region(const struct pl_invocation *invocation);
// Loads the configuration named by --config or PLIST_CONFIG, or the installed one.
// Returns 0, or PL_EXIT_USAGE after printing the problems.
int pl_invocation_unknown_resource(const struct pl_invocation *invocation,
                                   const char *name); // prints the valid names; PL_EXIT_USAGE
int pl_invocation_config(struct pl_invocation *invocation);
// Loads the configuration, then selects the regions given by --region, or all of them.
int pl_invocation_regions(struct pl_invocation *invocation);
// Narrows the selected regions to this one; NULL leaves them.
void pl_invocation_only(struct pl_invocation *invocation, const struct pl_region *region);
const char *pl_invocation_config_file(const struct pl_invocation *invocation);

// The directories of the migrations and of the seeds: beside the Lua directory, in the
// source tree and where it is installed; otherwise the installed ones. To be called
// after pl_invocation_config.
const char *pl_invocation_migrations(struct pl_invocation *invocation);
const char *pl_invocation_seeds(struct pl_invocation *invocation);

// Help texts.
void pl_help_general(struct pl_buf *out);
void pl_help_noun(struct pl_buf *out, const char *noun);
void pl_help_command(struct pl_buf *out, const struct pl_command *command);
const struct pl_command *pl_command_find(const char *noun,
                                         const char *verb); // verb NULL: a command without a verb
bool pl_command_is_noun(const char *word);

// Appends the completion for bash.
void pl_cmd_completion_print(struct pl_buf *out);

// The word of `words` (ended by NULL) that `word` was probably meant to be; NULL if
// none is similar.
const char *pl_nearest(const char *word, const char *const *words);

// main() of plist-admin.
int pl_admin_main(int argc, char **argv);
