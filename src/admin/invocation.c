// Reading a command line: options before or after the words, their values checked by kind, misspellings answered with a suggestion.
//
// Stands between pl_admin_main and a command's function, which finds every value already checked. getopt_long does the scanning, over
// a table made from the rows that the command declares. Threads: the tool has one.
#include "admin/command.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/talk.h"
#include "admin/parse.h"

#define OPTIONS_MAX 24
#define LONG_BASE 1000 // getopt's value of the option with index 0

#define DEFAULT_TIMEOUT_US 5000000

const struct pl_option pl_common_options[] = {
	{ "config", 'c', PL_OPTION_FILE, "FILE", "the configuration (default: $PLIST_CONFIG, then " PL_SYSCONFDIR "/plist/plist.yaml)" },
	{ "region", 'r', PL_OPTION_REGION, "NAME", "only this region; may be given several times (default: all)", .many = true },
	{ "timeout", 0, PL_OPTION_DURATION, "TIME", "wait this long for a region or the broker to answer (default: 5s)" },
	{ "output", 'o', PL_OPTION_CHOICE, "FORMAT", "print data as table or as json (default: table)", .choices = "table|json" },
	{ "help", 'h', PL_OPTION_SWITCH, NULL, "print this help" },
	{ NULL },
};

bool pl_command_has_common(const struct pl_command *command, const struct pl_option *option)
{
	switch (option->kind) {
	case PL_OPTION_FILE: return !command->no_config;
	case PL_OPTION_REGION: return command->regions;
	case PL_OPTION_DURATION: return command->waits;
	case PL_OPTION_CHOICE: return command->prints_data;
	default: return true;
	}
}

// ---- the options that may stand at a place

struct scan {
	const struct pl_option *options[OPTIONS_MAX];
	int n;
	struct option longs[OPTIONS_MAX + 1];
	char shorts[2 + 2 * OPTIONS_MAX + 1];
};

static void scan_add(struct scan *scan, const struct pl_option *option)
{
	if (scan->n == OPTIONS_MAX)
		abort(); // a command has declared more than the scanner takes: its author sees this at the first run
	int has_value = option->kind == PL_OPTION_SWITCH ? no_argument : required_argument;
	scan->longs[scan->n] = (struct option){ option->name, has_value, NULL, LONG_BASE + scan->n };
	if (option->letter) {
		size_t len = strlen(scan->shorts);
		scan->shorts[len] = option->letter;
		scan->shorts[len + 1] = has_value == required_argument ? ':' : '\0';
	}
	scan->options[scan->n++] = option;
}

// The common options, and those of `command` if there is one already.
static void scan_init(struct scan *scan, const struct pl_command *command, bool stop_at_word)
{
	memset(scan, 0, sizeof *scan);
	strcpy(scan->shorts, stop_at_word ? "+:" : ":"); // ':': a missing value is told from an unknown option
	for (const struct pl_option *o = pl_common_options; o->name; o++)
		if (!command || pl_command_has_common(command, o))
			scan_add(scan, o);
	for (const struct pl_option *o = command ? command->options : NULL; o && o->name; o++)
		scan_add(scan, o);
}

static const struct pl_option *scan_find(const struct scan *scan, int value)
{
	if (value >= LONG_BASE && value < LONG_BASE + scan->n)
		return scan->options[value - LONG_BASE];
	for (int i = 0; i < scan->n; i++)
		if (scan->options[i]->letter == value)
			return scan->options[i];
	return NULL;
}

static int unknown_option(const struct scan *scan, const struct pl_command *command, const char *word)
{
	const char *names[OPTIONS_MAX + 1] = { NULL };
	char typed[64] = "";
	for (int i = 0, n = 0; i < scan->n; i++)
		if (!scan->options[i]->hidden)
			names[n++] = scan->options[i]->name;
	const char *near = NULL;
	if (strncmp(word, "--", 2) == 0) {
		strncat(typed, word + 2, sizeof typed - 1);
		typed[strcspn(typed, "=")] = '\0';
		near = pl_nearest(typed, names);
	}
	const char *verb = command && command->verb ? command->verb : "";
	pl_fail("%s%s%s%s has no option %s%s%s%s", command ? command->noun : "plist-admin", *verb ? " " : "", verb, "", word,
	        near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
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
	return bad_value(option, text, option->choices);
}

static int check_value(const struct pl_option *option, const char *text, int64_t *number_r)
{
	switch (option->kind) {
	case PL_OPTION_COUNT:
		return pl_parse_count(text, number_r) ? bad_value(option, text, "a whole number") : 0;
	case PL_OPTION_DURATION:
		return pl_parse_duration(text, number_r) ? bad_value(option, text, "a time such as 500ms, 10s or 5m") : 0;
	case PL_OPTION_TIME:
		return pl_parse_time(text, number_r) ? bad_value(option, text, "a time such as 2026-02-21T10:00:00Z, or 7d for seven days ago") : 0;
	case PL_OPTION_CHOICE:
		return check_choice(option, text);
	case PL_OPTION_SWITCH:
		return 0;
	default:
		return *text ? 0 : bad_value(option, text, "a name");
	}
}

static int add_setting(struct pl_call *call, const struct pl_option *option, const char *text)
{
	int64_t number = 0;
	int rc = check_value(option, text, &number);
	if (rc)
		return rc;
	if (!option->many && option->kind != PL_OPTION_SWITCH && pl_call_has(call, option->name)) {
		pl_fail("--%s is given twice", option->name);
		return PL_EXIT_USAGE;
	}
	call->settings = pl_realloc(call->settings, (size_t)(call->nsettings + 1) * sizeof *call->settings);
	call->settings[call->nsettings++] = (struct pl_setting){ option, text, number };
	if (option->letter == 'h')
		call->wants_help = true;
	if (option->letter == 'o')
		call->json = strcmp(text, "json") == 0;
	return 0;
}

// Takes options off argv (argv[0] is not looked at) until a word, or, if `all`, from anywhere; *next_r is the first of the words.
static int take_options(struct pl_call *call, int argc, char **argv, const struct pl_command *command, bool all, int *next_r)
{
	struct scan scan;
	scan_init(&scan, command, !all);
	opterr = 0;
	optind = 0; // glibc: begin anew
	for (;;) {
		int at = optind ? optind : 1;
		int value = getopt_long(argc, argv, scan.shorts, scan.longs, NULL);
		if (value == -1)
			break;
		const struct pl_option *option = scan_find(&scan, value == ':' ? optopt : value);
		if (value == ':' && option) {
			pl_fail("--%s needs a value: %s", option->name, option->value);
			return PL_EXIT_USAGE;
		}
		if (!option) {
			char letter[3] = { '-', (char)optopt, '\0' };
			bool is_letter = optopt > 0 && optopt < LONG_BASE;
			if (is_letter || optopt == 0)
				return unknown_option(&scan, command, is_letter ? letter : argv[optind > at ? optind - 1 : at]);
			pl_fail("--%s takes no value", scan_find(&scan, optopt)->name);
			return PL_EXIT_USAGE;
		}
		int rc = add_setting(call, option, optarg ? optarg : "");
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
		pl_fail("there is no command '%s'; 'plist-admin help' lists them", word);
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
		pl_fail("%s what? It has: %s", noun, list.data ? list.data : "");
	pl_buf_fini(&list);
	return PL_EXIT_USAGE;
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

// Common options may stand before the command; one that it does not have is refused only here, when it is known.
static int check_early_options(const struct pl_call *call)
{
	for (int i = 0; i < call->nsettings; i++)
		if (!pl_command_has_common(call->command, call->settings[i].option)) {
			const char *verb = call->command->verb;
			pl_fail("%s%s%s has no option --%s", call->command->noun, verb ? " " : "", verb ? verb : "",
			        call->settings[i].option->name);
			return PL_EXIT_USAGE;
		}
	return 0;
}

static int check_args(const struct pl_call *call)
{
	const struct pl_command *command = call->command;
	const char *verb = command->verb;
	if (call->nargs < command->min_args) {
		pl_fail("%s%s%s needs %s", command->noun, verb ? " " : "", verb ? verb : "", command->arguments);
		return PL_EXIT_USAGE;
	}
	if (command->max_args >= 0 && call->nargs > command->max_args) {
		pl_fail("%s%s%s: '%s' is one word too many", command->noun, verb ? " " : "", verb ? verb : "", call->args[command->max_args]);
		return PL_EXIT_USAGE;
	}
	return 0;
}

// Finds noun and verb, taking the common options that stand before and between; *words_r words of argv are used up.
static int find_command(struct pl_call *call, int argc, char **argv, int *words_r)
{
	int next = 0, between = 0;
	int rc = take_options(call, argc, argv, NULL, false, &next);
	if (rc)
		return rc;
	if (next >= argc) {
		if (call->wants_help)
			return 0;
		pl_fail("no command given; 'plist-admin help' lists them");
		return PL_EXIT_USAGE;
	}
	const char *noun = argv[next];
	*words_r = next;
	if (!pl_command_is_noun(noun))
		return unknown_noun(noun);
	call->command = pl_command_find(noun, NULL);
	if (call->command)
		return 0;
	rc = take_options(call, argc - next, argv + next, NULL, false, &between);
	if (rc)
		return rc;
	const char *verb = next + between < argc ? argv[next + between] : NULL;
	*words_r = next + between;
	if (!verb && call->wants_help) {
		call->noun = noun;
		return 0;
	}
	call->command = verb ? pl_command_find(noun, verb) : NULL;
	return call->command ? 0 : unknown_verb(noun, verb);
}

int pl_call_parse(struct pl_call *call, int argc, char **argv)
{
	int words = 0, next = 0;
	memset(call, 0, sizeof *call);
	call->arena = pl_arena_new(0);
	int rc = find_command(call, argc, argv, &words);
	if (rc)
		return rc;
	if (!call->command) // --help without a command, or with a noun alone
		return 0;
	rc = take_options(call, argc - words, argv + words, call->command, true, &next);
	if (!rc)
		rc = check_early_options(call);
	call->nargs = argc - words - next;
	call->args = argv + words + next;
	return rc || call->wants_help ? rc : check_args(call);
}

void pl_call_fini(struct pl_call *call)
{
	pl_config_unref(&call->config);
	free(call->settings);
	call->settings = NULL;
	call->nsettings = 0;
	pl_arena_free(&call->arena);
}

// ---- what commands ask

static const struct pl_setting *find(const struct pl_call *call, const char *option)
{
	for (int i = call->nsettings - 1; i >= 0; i--)
		if (strcmp(call->settings[i].option->name, option) == 0)
			return &call->settings[i];
	return NULL;
}

bool pl_call_has(const struct pl_call *call, const char *option)
{
	return find(call, option) != NULL;
}

const char *pl_call_text(const struct pl_call *call, const char *option, const char *otherwise)
{
	const struct pl_setting *setting = find(call, option);
	return setting ? setting->text : otherwise;
}

int64_t pl_call_number(const struct pl_call *call, const char *option, int64_t otherwise)
{
	const struct pl_setting *setting = find(call, option);
	return setting ? setting->number : otherwise;
}

int64_t pl_call_us(const struct pl_call *call, const char *option, int64_t otherwise)
{
	return pl_call_number(call, option, otherwise);
}

const char *pl_call_nth(const struct pl_call *call, const char *option, int nth)
{
	for (int i = 0; i < call->nsettings; i++)
		if (strcmp(call->settings[i].option->name, option) == 0 && nth-- == 0)
			return call->settings[i].text;
	return NULL;
}

int64_t pl_call_timeout_us(const struct pl_call *call)
{
	return pl_call_us(call, "timeout", DEFAULT_TIMEOUT_US);
}

// ---- the configuration

const char *pl_call_config_file(const struct pl_call *call)
{
	const char *from_environment = getenv("PLIST_CONFIG");
	if (!from_environment || !*from_environment)
		from_environment = PL_SYSCONFDIR "/plist/plist.yaml";
	return pl_call_text(call, "config", from_environment);
}

const char *pl_call_own_region(const struct pl_call *call)
{
	const char *only = pl_call_nth(call, "region", 0);
	if (!only || pl_call_nth(call, "region", 1))
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
	pl_fail("--region: there is no region '%s' in %s (%s)%s%s%s", name, config->file, list.data, near ? "; did you mean " : "",
	        near ? near : "", near ? "?" : "");
	pl_buf_fini(&list);
	return PL_EXIT_USAGE;
}

// A name that is not in the file is a mistake of the command line, so it is answered as one and not as a problem of the file.
static bool region_is_unknown(const struct pl_call *call, const char *name)
{
	struct pl_problems problems = { 0 };
	struct pl_config *config = pl_call_has(call, "region") ? pl_config_load(pl_call_config_file(call), NULL, &problems) : NULL;
	bool unknown = config && !pl_config_region(config, name, strlen(name));
	if (unknown)
		unknown_region(config, name);
	pl_config_unref(&config);
	pl_problems_fini(&problems);
	return unknown;
}

int pl_call_config(struct pl_call *call)
{
	if (call->config)
		return 0;
	struct pl_problems problems = { 0 };
	const char *own = pl_call_own_region(call);
	call->config = pl_config_load(pl_call_config_file(call), own, &problems);
	if (call->config || !own || !region_is_unknown(call, own))
		pl_say_problems(&problems, call->config == NULL);
	pl_problems_fini(&problems);
	return call->config ? 0 : PL_EXIT_USAGE;
}

int pl_call_regions(struct pl_call *call)
{
	int rc = pl_call_config(call);
	if (rc)
		return rc;
	bool wanted[PL_REGIONS_MAX] = { false };
	const char *name;
	for (int i = 0; (name = pl_call_nth(call, "region", i)); i++) {
		const struct pl_region *region = pl_config_region(call->config, name, strlen(name));
		if (!region)
			return unknown_region(call->config, name);
		wanted[region->index] = true;
	}
	bool all = !pl_call_has(call, "region");
	call->regions = pl_arena_alloc(call->arena, (size_t)call->config->nregions * sizeof(struct pl_region *));
	call->nregions = 0;
	for (int i = 0; i < call->config->nregions; i++)
		if (all || wanted[i])
			call->regions[call->nregions++] = &call->config->regions[i];
	return 0;
}

void pl_call_only(struct pl_call *call, const struct pl_region *region)
{
	if (region) {
		call->regions[0] = region;
		call->nregions = 1;
	}
}

static const char *folder(struct pl_call *call, const char *name, const char *installed)
{
	const char *beside = pl_arena_printf(call->arena, "%s/../%s", call->config->lua_root, name);
	return access(beside, R_OK | X_OK) == 0 ? beside : installed;
}

const char *pl_call_migrations(struct pl_call *call)
{
	return folder(call, "sql", PL_SQLDIR);
}

const char *pl_call_seeds(struct pl_call *call)
{
	return folder(call, "seeds", PL_SQLDIR "/../seeds");
}
