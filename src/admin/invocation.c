// Reads a command line: options before or after the words, values checked by kind,
// suggestions for misspelt names.
//
// Runs between pl_admin_main and a command's function, which gets only checked values.
// getopt_long does the scanning, with a table made from the command's rows.
// Threads: the tool has one.
#include "admin/command.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/messages.h"
#include "admin/parse.h"

#define OPTIONS_MAX        24
#define LONG_BASE          1000 // getopt's value for the option with index 0

#define DEFAULT_TIMEOUT_US 5000000

// ---- the options that are allowed at a position

struct option_scan {
	const struct pl_option *options[OPTIONS_MAX];
	int n;
	struct option longs[OPTIONS_MAX + 1];
	char shorts[2 + 2 * OPTIONS_MAX + 1];
};

static void scan_add(struct option_scan *scan, const struct pl_option *option)
{
	if (scan->n == OPTIONS_MAX)
		// a command declares too many options: its author finds out at the
		// first run
		abort();
	int has_value = option->kind == PL_OPTION_SWITCH ? no_argument : required_argument;
	scan->longs[scan->n] = (struct option){ option->name, has_value, NULL, LONG_BASE + scan->n };
	if (option->letter) {
		size_t len = strlen(scan->shorts);
		scan->shorts[len] = option->letter;
		scan->shorts[len + 1] = has_value == required_argument ? ':' : '\0';
	}
	scan->options[scan->n++] = option;
}

// The common options, and those of `command` if it is known already.
static void scan_init(struct option_scan *scan, const struct pl_command *command, bool stop_at_word)
{
	memset(scan, 0, sizeof(*scan));
	strcpy(scan->shorts,
	       stop_at_word ? "+:" : ":"); // ':' distinguishes a missing value from an unknown option
	for (const struct pl_option *o = pl_common_options; o->name; o++)
		if (!command || pl_command_has_common(command, o))
			scan_add(scan, o);
	if (!command)
		scan_add(scan, &pl_command_version_option);
	for (const struct pl_option *o = command ? command->options : NULL; o && o->name; o++)
		scan_add(scan, o);
}

static const struct pl_option *scan_find(const struct option_scan *scan, int value)
{
	if (value >= LONG_BASE && value < LONG_BASE + scan->n)
		return scan->options[value - LONG_BASE];
	for (int i = 0; i < scan->n; i++)
		if (scan->options[i]->letter == value)
			return scan->options[i];
	return NULL;
}

// The first command that has an option of this name.
static const struct pl_command *owner_of(const char *name)
{
	for (const struct pl_command *const *c = pl_commands; *c; c++)
		for (const struct pl_option *o = (*c)->options; o && o->name; o++)
			if (!o->hidden && !(*c)->hidden && strcmp(o->name, name) == 0)
				return *c;
	return NULL;
}

static int unknown_option(const struct option_scan *scan, const struct pl_command *command, const char *word)
{
	const char *names[OPTIONS_MAX + 1] = { NULL };
	char typed[64] = "";
	for (int i = 0, n = 0; i < scan->n; i++)
		if (!scan->options[i]->hidden)
			names[n++] = scan->options[i]->name;
	const char *near = NULL;
	if (strncmp(word, "--", 2) == 0) {
		strncat(typed, word + 2, sizeof(typed) - 1);
		typed[strcspn(typed, "=")] = '\0';
		near = pl_nearest(typed, names);
	}
	const char *verb = command && command->verb ? command->verb : "";
	const struct pl_command *owner = command ? NULL : owner_of(typed);
	if (owner) {
		pl_fail("%s is an option of %s%s%s: write it after the command", word, owner->noun,
		        owner->verb ? " " : "", owner->verb ? owner->verb : "");
		return PL_EXIT_USAGE;
	}
	pl_fail("%s%s%s%s has no option %s%s%s%s", command ? command->noun : "plist-admin", *verb ? " " : "",
	        verb, "", word, near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
	return PL_EXIT_USAGE;
}

// ---- values

static int bad_value(const struct pl_option *option, const char *text, const char *want)
{
	pl_fail("--%s: '%s' is not %s", option->name, text, want);
	return PL_EXIT_USAGE;
}

static int check_choice(const struct pl_option *option, const char *text)
{
	size_t len = strlen(text);
	for (const char *c = option->choices; c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL)
		if (strcspn(c, "|") == len && strncmp(c, text, len) == 0)
			return 0;
	struct pl_buf want = { 0 };
	pl_buf_adds(&want, "one of ");
	for (const char *c = option->choices; *c; c++)
		if (*c == '|')
			pl_buf_adds(&want, ", ");
		else
			pl_buf_addc(&want, *c);
	int rc = bad_value(option, text, want.data);
	pl_buf_fini(&want);
	return rc;
}

static int check_value(const struct pl_option *option, const char *text, int64_t *number_r)
{
	switch (option->kind) {
	case PL_OPTION_COUNT:
		if (pl_parse_count(text, number_r))
			return bad_value(option, text, "a whole number");
		if (*number_r < option->min) {
			pl_fail("--%s: '%s' is less than %" PRId64, option->name, text, option->min);
			return PL_EXIT_USAGE;
		}
		if (option->max > 0 && *number_r > option->max) {
			pl_fail("--%s: '%s' is more than %" PRId64, option->name, text, option->max);
			return PL_EXIT_USAGE;
		}
		return 0;
	case PL_OPTION_DURATION:
		return pl_parse_duration(text, number_r) || *number_r < option->min
		               ? bad_value(option, text, "a time such as 500ms, 10s or 5m")
		               : 0;
	case PL_OPTION_TIME:
		return pl_parse_time(text, number_r)
		               ? bad_value(option, text,
		                           "a time such as 2026-02-21T10:00:00Z, or 7d for seven days ago")
		               : 0;
	case PL_OPTION_CHOICE: return check_choice(option, text);
	case PL_OPTION_SWITCH: return 0;
	default: return *text ? 0 : bad_value(option, text, "a name");
	}
}

static int add_setting(struct pl_invocation *invocation, const struct pl_option *option, const char *text)
{
	int64_t number = 0;
	int rc = check_value(option, text, &number);
	if (rc)
		return rc;
	if (!option->many && option->kind != PL_OPTION_SWITCH &&
	    pl_invocation_has(invocation, option->name)) {
		pl_fail("--%s is given twice", option->name);
		return PL_EXIT_USAGE;
	}
	invocation->settings = pl_realloc(invocation->settings, (size_t)(invocation->nsettings + 1) *
	                                                                sizeof(*invocation->settings));
	invocation->settings[invocation->nsettings++] = (struct pl_setting){ option, text, number };
	if (option->letter == 'h')
		invocation->wants_help = true;
	if (option->letter == 'o')
		invocation->json = strcmp(text, "json") == 0;
	return 0;
}

// Takes options off argv (argv[0] is skipped) up to the first word, or, if `all`, from
// anywhere. *next_r is the first word.
static int take_options(struct pl_invocation *invocation, int argc, char **argv,
                        const struct pl_command *command, bool all, int *next_r)
{
	struct option_scan scan;
	scan_init(&scan, command, !all);
	opterr = 0;
	optind = 0; // glibc: start over
	for (;;) {
		int at = optind ? optind : 1;
		int value = getopt_long(argc, argv, scan.shorts, scan.longs, NULL);
		if (value == -1)
			break;
		const struct pl_option *option = scan_find(&scan, value == ':' ? optopt : value);
		if (value == ':' && option) {
			pl_fail("--%s requires a value: %s", option->name, option->value);
			return PL_EXIT_USAGE;
		}
		if (!option) {
			char letter[3] = { '-', (char)optopt, '\0' };
			bool is_letter = optopt > 0 && optopt < LONG_BASE;
			if (is_letter || optopt == 0)
				return unknown_option(&scan, command,
				                      is_letter ? letter
				                                : argv[optind > at ? optind - 1 : at]);
			pl_fail("--%s takes no value", scan_find(&scan, optopt)->name);
			return PL_EXIT_USAGE;
		}
		int rc = add_setting(invocation, option, optarg ? optarg : "");
		if (rc)
			return rc;
	}
	*next_r = optind;
	return 0;
}

// ---- finding the command

static int unknown_noun(const char *word)
{
	const char *nouns[64];
	int n = 0;
	for (const struct pl_command *const *c = pl_commands; *c && n < 62; c++)
		if (!(*c)->hidden)
			nouns[n++] = (*c)->noun;
	nouns[n++] = "help";
	nouns[n] = NULL;
	const char *near = pl_nearest(word, nouns);
	if (near)
		pl_fail("there is no command '%s'; did you mean '%s'?", word, near);
	else
		pl_fail("there is no command '%s'; see 'plist-admin help'", word);
	return PL_EXIT_USAGE;
}

static int unknown_verb(const char *noun, const char *word)
{
	const char *verbs[32];
	struct pl_buf list = { 0 };
	int n = 0;
	for (const struct pl_command *const *c = pl_commands; *c && n < 31; c++)
		if (strcmp((*c)->noun, noun) == 0 && (*c)->verb && !(*c)->hidden) {
			pl_buf_printf(&list, "%s%s", n ? ", " : "", (*c)->verb);
			verbs[n++] = (*c)->verb;
		}
	verbs[n] = NULL;
	const char *near = word ? pl_nearest(word, verbs) : NULL;
	if (near)
		pl_fail("%s has no command '%s'; did you mean '%s %s'?", noun, word, noun, near);
	else if (word)
		pl_fail("%s has no command '%s'; it has: %s", noun, word, list.data ? list.data : "");
	else
		pl_fail("%s needs a command; it has: %s", noun, list.data ? list.data : "");
	pl_buf_fini(&list);
	return PL_EXIT_USAGE;
}

// Common options may precede the command; one that the command does not have is refused
// here, once the command is known.
static int check_early_options(const struct pl_invocation *invocation)
{
	for (int i = 0; i < invocation->nsettings; i++)
		if (!pl_command_has_common(invocation->command, invocation->settings[i].option)) {
			const char *verb = invocation->command->verb;
			pl_fail("%s%s%s has no option --%s", invocation->command->noun, verb ? " " : "",
			        verb ? verb : "", invocation->settings[i].option->name);
			return PL_EXIT_USAGE;
		}
	return 0;
}

static int check_args(struct pl_invocation *invocation)
{
	const struct pl_command *command = invocation->command;
	const char *verb = command->verb;
	if (invocation->nargs < command->min_args) {
		pl_fail("%s%s%s needs %s", command->noun, verb ? " " : "", verb ? verb : "",
		        command->arguments);
		return PL_EXIT_USAGE;
	}
	if (command->max_args >= 0 && invocation->nargs > command->max_args &&
	    strcmp(invocation->args[command->max_args], "help") == 0) {
		invocation->wants_help = true;
		return 0;
	}
	if (command->max_args >= 0 && invocation->nargs > command->max_args) {
		pl_fail("%s%s%s: unexpected argument '%s'", command->noun, verb ? " " : "", verb ? verb : "",
		        invocation->args[command->max_args]);
		return PL_EXIT_USAGE;
	}
	return 0;
}

// Finds noun and verb, taking the common options before and between them. *words_r is
// how many elements of argv were used.
static int find_command(struct pl_invocation *invocation, int argc, char **argv, int *words_r)
{
	int next = 0, between = 0;
	int rc = take_options(invocation, argc, argv, NULL, false, &next);
	if (rc)
		return rc;
	if (next >= argc) {
		if (invocation->wants_help)
			return 0;
		if (pl_invocation_has(invocation, "version")) {
			invocation->nsettings = 0; // it needs no options
			invocation->command = pl_command_find("version", NULL);
			*words_r = argc - 1;
			return 0;
		}
		pl_fail("no command given; see 'plist-admin help'");
		return PL_EXIT_USAGE;
	}
	const char *noun = argv[next];
	*words_r = next;
	if (strcmp(noun, "help") == 0) { // like --help; the following words name a command
		invocation->wants_help = true;
		rc = find_command(invocation, argc - next, argv + next, words_r);
		*words_r += next;
		return rc;
	}
	if (!pl_command_is_noun(noun))
		return unknown_noun(noun);
	invocation->command = pl_command_find(noun, NULL);
	if (invocation->command)
		return 0;
	rc = take_options(invocation, argc - next, argv + next, NULL, false, &between);
	if (rc)
		return rc;
	const char *verb = next + between < argc ? argv[next + between] : NULL;
	if (verb && strcmp(verb, "help") == 0) { // the word after it, if any, is the verb
		int behind = 0;
		next += between;
		invocation->wants_help = true;
		rc = take_options(invocation, argc - next, argv + next, NULL, false, &behind);
		if (rc)
			return rc;
		between = behind;
		verb = next + between < argc ? argv[next + between] : NULL;
	}
	*words_r = next + between;
	if (!verb && invocation->wants_help) {
		invocation->noun = noun;
		return 0;
	}
	invocation->command = verb ? pl_command_find(noun, verb) : NULL;
	return invocation->command ? 0 : unknown_verb(noun, verb);
}

int pl_invocation_parse(struct pl_invocation *invocation, int argc, char **argv)
{
	int words = 0, next = 0;
	memset(invocation, 0, sizeof(*invocation));
	invocation->arena = pl_arena_new(0);
	int rc = find_command(invocation, argc, argv, &words);
	if (rc)
		return rc;
	if (!invocation->command) // --help without a command, or with a noun alone
		return 0;
	rc = take_options(invocation, argc - words, argv + words, invocation->command, true, &next);
	if (!rc && !invocation->wants_help)
		rc = check_early_options(invocation);
	invocation->nargs = argc - words - next;
	invocation->args = argv + words + next;
	return rc || invocation->wants_help ? rc : check_args(invocation);
}

void pl_invocation_fini(struct pl_invocation *invocation)
{
	pl_config_unref(&invocation->config);
	free(invocation->settings);
	invocation->settings = NULL;
	invocation->nsettings = 0;
	pl_arena_free(&invocation->arena);
}

// ---- access for commands

static const struct pl_setting *find(const struct pl_invocation *invocation, const char *option)
{
	for (int i = invocation->nsettings - 1; i >= 0; i--)
		if (strcmp(invocation->settings[i].option->name, option) == 0)
			return &invocation->settings[i];
	return NULL;
}

bool pl_invocation_has(const struct pl_invocation *invocation, const char *option)
{
	return find(invocation, option) != NULL;
}

const char *pl_invocation_text(const struct pl_invocation *invocation, const char *option,
                               const char *otherwise)
{
	const struct pl_setting *setting = find(invocation, option);
	return setting ? setting->text : otherwise;
}

int64_t pl_invocation_number(const struct pl_invocation *invocation, const char *option, int64_t otherwise)
{
	const struct pl_setting *setting = find(invocation, option);
	return setting ? setting->number : otherwise;
}

int64_t pl_invocation_us(const struct pl_invocation *invocation, const char *option, int64_t otherwise)
{
	return pl_invocation_number(invocation, option, otherwise);
}

const char *pl_invocation_nth(const struct pl_invocation *invocation, const char *option, int nth)
{
	for (int i = 0; i < invocation->nsettings; i++)
		if (strcmp(invocation->settings[i].option->name, option) == 0 && nth-- == 0)
			return invocation->settings[i].text;
	return NULL;
}

int64_t pl_invocation_timeout_us(const struct pl_invocation *invocation)
{
	return pl_invocation_us(invocation, "timeout", DEFAULT_TIMEOUT_US);
}

// ---- the configuration

const char *pl_invocation_config_file(const struct pl_invocation *invocation)
{
	const char *from_environment = getenv("PLIST_CONFIG");
	if (!from_environment || !*from_environment)
		from_environment = PL_SYSCONFDIR "/plist/plist.yaml";
	return pl_invocation_text(invocation, "config", from_environment);
}

const char *pl_invocation_own_region(const struct pl_invocation *invocation)
{
	const char *only = pl_invocation_nth(invocation, "region", 0);
	if (!only || pl_invocation_nth(invocation, "region", 1))
		only = getenv("REGION");
	return only && *only ? only : NULL;
}

static int unknown_region(const struct pl_config *config, const char *name)
{
	const char *names[PL_REGIONS_MAX + 1] = { NULL };
	struct pl_buf list = { 0 };
	for (int i = 0; i < config->nregions; i++) {
		names[i] = config->regions[i].name;
		pl_buf_printf(&list, "%s%s", i ? ", " : "", names[i]);
	}
	const char *near = pl_nearest(name, names);
	pl_fail("--region: there is no region '%s' in %s (%s)%s%s%s", name, config->file, list.data,
	        near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
	pl_buf_fini(&list);
	return PL_EXIT_USAGE;
}

// A region that is not in the file is a mistake in the command line, so it is reported
// as one, not as a problem of the file.
static bool region_is_unknown(const struct pl_invocation *invocation, const char *name)
{
	struct pl_diagnostics diagnostics = { 0 };
	struct pl_config *config =
		pl_invocation_has(invocation, "region")
			? pl_config_load(pl_invocation_config_file(invocation), NULL, &diagnostics)
			: NULL;
	bool unknown = config && !pl_config_region(config, name, strlen(name));
	if (unknown)
		unknown_region(config, name);
	pl_config_unref(&config);
	pl_diagnostics_fini(&diagnostics);
	return unknown;
}

int pl_invocation_unknown_resource(const struct pl_invocation *invocation, const char *name)
{
	const char *names[65] = { NULL };
	struct pl_buf list = { 0 };
	for (int i = 0; i < invocation->config->nresources && i < 64; i++) {
		names[i] = invocation->config->resources[i].name;
		pl_buf_printf(&list, "%s%s", i ? ", " : "", names[i]);
	}
	const char *near = pl_nearest(name, names);
	pl_fail("there is no resource '%s' in %s (%s)%s%s%s", name, invocation->config->file, list.data,
	        near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
	pl_buf_fini(&list);
	return PL_EXIT_USAGE;
}

// Checks every option that names a resource.
static int check_resources(const struct pl_invocation *invocation)
{
	for (int i = 0; i < invocation->nsettings; i++) {
		const struct pl_setting *setting = &invocation->settings[i];
		if (setting->option->kind == PL_OPTION_RESOURCE && !setting->option->past &&
		    !pl_config_resource(invocation->config, setting->text))
			return pl_invocation_unknown_resource(invocation, setting->text);
	}
	return 0;
}

int pl_invocation_config(struct pl_invocation *invocation)
{
	if (invocation->config)
		return 0;
	struct pl_diagnostics diagnostics = { 0 };
	const char *own = pl_invocation_own_region(invocation);
	invocation->config = pl_config_load(pl_invocation_config_file(invocation), own, &diagnostics);
	if (invocation->config || !own || !region_is_unknown(invocation, own))
		pl_say_diagnostics(&diagnostics, invocation->config == NULL);
	pl_diagnostics_fini(&diagnostics);
	return invocation->config ? check_resources(invocation) : PL_EXIT_USAGE;
}

int pl_invocation_regions(struct pl_invocation *invocation)
{
	int rc = pl_invocation_config(invocation);
	if (rc)
		return rc;
	bool wanted[PL_REGIONS_MAX] = { false };
	const char *name;
	for (int i = 0; (name = pl_invocation_nth(invocation, "region", i)); i++) {
		const struct pl_region *region = pl_config_region(invocation->config, name, strlen(name));
		if (!region)
			return unknown_region(invocation->config, name);
		wanted[region->index] = true;
	}
	bool all = !pl_invocation_has(invocation, "region");
	invocation->regions = pl_arena_alloc(invocation->arena, (size_t)invocation->config->nregions *
	                                                                sizeof(struct pl_region *));
	invocation->nregions = 0;
	for (int i = 0; i < invocation->config->nregions; i++)
		if (all || wanted[i])
			invocation->regions[invocation->nregions++] = &invocation->config->regions[i];
	return 0;
}

void pl_invocation_only(struct pl_invocation *invocation, const struct pl_region *region)
{
	if (region) {
		invocation->regions[0] = region;
		invocation->nregions = 1;
	}
}

static const char *folder(struct pl_invocation *invocation, const char *name, const char *installed)
{
	const char *beside =
		pl_arena_printf(invocation->arena, "%s/../%s", invocation->config->lua_root, name);
	return access(beside, R_OK | X_OK) == 0 ? beside : installed;
}

const char *pl_invocation_migrations(struct pl_invocation *invocation)
{
	return folder(invocation, "sql", PL_SQLDIR);
}

// The installed seeds belong to the shipped application, so they are not used with
// another Lua directory.
const char *pl_invocation_seeds(struct pl_invocation *invocation)
{
	return pl_arena_printf(invocation->arena, "%s/../seeds", invocation->config->lua_root);
}
