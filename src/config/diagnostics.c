// Diagnostics: the list of problems of a configuration.
//
// Filled while a file is loaded and checked, printed by plistd and plist-admin. Threads:
// a list belongs to its caller.
#include "config/diagnostics.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

void pl_diagnostics_vadd(struct pl_diagnostics *diagnostics, const struct pl_diagnostic *what,
                         const char *fmt, va_list ap)
{
	struct pl_buf text = { 0 };
	struct pl_diagnostic *line;

	if (diagnostics->arena == NULL)
		diagnostics->arena = pl_arena_new(0);
	pl_buf_adds(&text, what->file);
	if (what->line > 0)
		pl_buf_printf(&text, ":%d", what->line);
	if (what->line > 0 && what->column > 0) // Lua reports lines only
		pl_buf_printf(&text, ":%d", what->column);
	pl_buf_printf(&text, ": %s", what->warning ? "warning: " : "");
	pl_buf_vprintf(&text, fmt, ap);
	diagnostics->lines =
		pl_realloc(diagnostics->lines, sizeof(*diagnostics->lines) * (size_t)(diagnostics->n + 1));
	line = &diagnostics->lines[diagnostics->n++];
	*line = *what;
	line->text = pl_arena_strdup(diagnostics->arena, text.data);
	line->file = pl_arena_strdup(diagnostics->arena, what->file);
	diagnostics->warnings += what->warning;
	pl_buf_fini(&text);
}

void pl_diagnostics_add(struct pl_diagnostics *diagnostics, bool warning, const char *file, int line,
                        int column, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	pl_diagnostics_vadd(diagnostics, &(struct pl_diagnostic){ NULL, warning, file, line, column }, fmt,
	                    ap);
	va_end(ap);
}

// Whether `a` sorts before `b`: problems of `file` first, those of other files after
// them, each by line and column.
static bool is_before(const struct pl_diagnostic *a, const struct pl_diagnostic *b, const char *file)
{
	bool a_other = strcmp(a->file, file) != 0, b_other = strcmp(b->file, file) != 0;

	if (a_other || b_other)
		return !a_other && b_other;
	return a->line != b->line ? a->line < b->line : a->column < b->column;
}

void pl_diagnostics_sort(struct pl_diagnostics *diagnostics, int from, const char *file)
{
	for (int i = from + 1; i < diagnostics->n;
	     i++) { // insertion sort: the list is short, and equal places keep their order
		struct pl_diagnostic line = diagnostics->lines[i];
		int j = i;
		for (; j > from && is_before(&line, &diagnostics->lines[j - 1], file); j--)
			diagnostics->lines[j] = diagnostics->lines[j - 1];
		diagnostics->lines[j] = line;
	}
}

void pl_diagnostics_fini(struct pl_diagnostics *diagnostics)
{
	free(diagnostics->lines);
	if (diagnostics->arena != NULL)
		pl_arena_free(&diagnostics->arena);
	memset(diagnostics, 0, sizeof(*diagnostics));
}
