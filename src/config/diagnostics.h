// Diagnostics: the problems of a configuration, collected so that all are reported at
// once. Threads: a list belongs to its caller.
#pragma once

#include <stdarg.h>
#include <stdbool.h>

#include "base/mem.h"

// All problems, in the order of the file. Lines read "file:line:column: message".
struct pl_diagnostics {
	int n, warnings;
	struct pl_diagnostic {
		const char *text;
		bool warning;
		const char *file;
		int line, column;
	} * lines; // text is the whole line
	struct pl_arena *arena;
};
void pl_diagnostics_fini(struct pl_diagnostics *diagnostics);
void pl_diagnostics_add(struct pl_diagnostics *diagnostics, bool warning, const char *file, int line,
                        int column, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
// `what`: all of it but the text.
void pl_diagnostics_vadd(struct pl_diagnostics *diagnostics, const struct pl_diagnostic *what,
                         const char *fmt, va_list ap) __attribute__((format(printf, 3, 0)));

// Sorts the problems from index `from` on into the order of `file`.
void pl_diagnostics_sort(struct pl_diagnostics *diagnostics, int from, const char *file);
