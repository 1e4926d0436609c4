// A configuration as the other rooms see it: counting, looking things up, and the list of problems.
//
// Made by config/load.c. Invariant: nothing changes after loading, only the count.
// Threads: any; the count is atomic. A list of problems belongs to its caller.
#include "config/config.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "config/derive.h"
#include "config/holder.h"

struct pl_config *pl_config_new(void)
{
	struct pl_arena *arena = pl_arena_new(16384);
	struct pl_config_holder *holder = pl_arena_alloc(arena, sizeof(*holder));

	atomic_init(&holder->refs, 1);
	holder->config.arena = arena;
	return &holder->config;
}

static struct pl_config_holder *holder_of(const struct pl_config *config)
{
	return (struct pl_config_holder *)(uintptr_t)config; // the configuration is its first member
}

struct pl_config *pl_config_ref(const struct pl_config *config)
{
	struct pl_config_holder *holder = holder_of(config);

	atomic_fetch_add_explicit(&holder->refs, 1, memory_order_relaxed);
	return &holder->config;
}

void pl_config_unref(struct pl_config **config_r)
{
	struct pl_config *config = *config_r;

	*config_r = NULL;
	while (config != NULL) { // and then the one that it was derived from
		struct pl_config_holder *holder = holder_of(config);
		struct pl_arena *arena = holder->config.arena; // holds the holder, too

		config = NULL;
		if (atomic_fetch_sub_explicit(&holder->refs, 1, memory_order_acq_rel) == 1) {
			config = holder->parent;
			pl_arena_free(&arena);
		}
	}
}

const struct pl_config *pl_config_as_loaded(const struct pl_config *config)
{
	while (holder_of(config)->parent != NULL)
		config = holder_of(config)->parent;
	return config;
}

const struct pl_region *pl_config_region(const struct pl_config *config, const char *name, size_t len)
{
	for (int i = 0; i < config->nregions; i++)
		if (strlen(config->regions[i].name) == len && memcmp(config->regions[i].name, name, len) == 0)
			return &config->regions[i];
	return NULL;
}

const struct pl_resource *pl_config_resource(const struct pl_config *config, const char *name)
{
	for (int i = 0; i < config->nresources; i++)
		if (strcmp(config->resources[i].name, name) == 0)
			return &config->resources[i];
	return NULL;
}

const struct pl_resource *pl_config_resource_of_topic(const struct pl_config *config, const char *topic)
{
	for (int i = 0; i < config->nresources; i++)
		if (strcmp(config->resources[i].topic, topic) == 0)
			return &config->resources[i];
	return NULL;
}

bool pl_source_is_handlers(const char *path)
{
	return strncmp(path, "handlers/", strlen("handlers/")) == 0;
}

const struct pl_script_source *pl_config_source(const struct pl_config *config, const char *path)
{
	int low = 0, high = config->nsources; // they are sorted by path

	while (low < high) {
		int middle = low + (high - low) / 2;
		int sign = strcmp(path, config->sources[middle].path);
		if (sign == 0)
			return &config->sources[middle];
		if (sign < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

int pl_resource_field(const struct pl_resource *resource, const char *name, size_t len)
{
	for (int i = 0; i < resource->nfields; i++)
		if (strlen(resource->fields[i].name) == len && memcmp(resource->fields[i].name, name, len) == 0)
			return i;
	return -1;
}

void pl_problems_vadd(struct pl_problems *problems, bool warning, const char *file, int line, int column, const char *fmt, va_list ap)
{
	struct pl_buf text = { 0 };

	if (problems->arena == NULL)
		problems->arena = pl_arena_new(0);
	pl_buf_adds(&text, file);
	if (line > 0)
		pl_buf_printf(&text, ":%d", line);
	if (line > 0 && column > 0) // Lua knows lines only
		pl_buf_printf(&text, ":%d", column);
	pl_buf_printf(&text, ": %s", warning ? "warning: " : "");
	pl_buf_vprintf(&text, fmt, ap);
	problems->lines = pl_realloc(problems->lines, sizeof(*problems->lines) * (size_t)(problems->n + 1));
	problems->lines[problems->n++] = (struct pl_problem_line){
		.text = pl_arena_strdup(problems->arena, text.data),
		.warning = warning,
		.file = pl_arena_strdup(problems->arena, file),
		.line = line,
		.column = column,
	};
	problems->warnings += warning;
	pl_buf_fini(&text);
}

void pl_problems_add(struct pl_problems *problems, bool warning, const char *file, int line, int column, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	pl_problems_vadd(problems, warning, file, line, column, fmt, ap);
	va_end(ap);
}

// Whether `a` belongs before `b`: problems of `file` first, those of other files after it, each by line and column.
static bool is_before(const struct pl_problem_line *a, const struct pl_problem_line *b, const char *file)
{
	bool a_other = strcmp(a->file, file) != 0, b_other = strcmp(b->file, file) != 0;

	if (a_other || b_other)
		return !a_other && b_other;
	return a->line != b->line ? a->line < b->line : a->column < b->column;
}

void pl_problems_sort(struct pl_problems *problems, int from, const char *file)
{
	for (int i = from + 1; i < problems->n; i++) { // by insertion: they are few, and equals keep their order
		struct pl_problem_line line = problems->lines[i];
		int j = i;
		for (; j > from && is_before(&line, &problems->lines[j - 1], file); j--)
			problems->lines[j] = problems->lines[j - 1];
		problems->lines[j] = line;
	}
}

void pl_problems_fini(struct pl_problems *problems)
{
	free(problems->lines);
	if (problems->arena != NULL)
		pl_arena_free(&problems->arena);
	memset(problems, 0, sizeof(*problems));
}
