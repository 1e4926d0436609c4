// Inside of config/: a configuration and its count, and what load.c needs of config.c. Nobody else includes this.
#pragma once

#include <stdarg.h>
#include <stdatomic.h>

#include "config/config.h"

struct pl_config_holder {
	struct pl_config config; // first
	atomic_int refs;
	struct pl_config *parent; // whose memory this one shares; counted. NULL: it was loaded
};

struct pl_config *pl_config_new(void); // counted once, empty, with its arena
void pl_problems_vadd(struct pl_problems *problems, bool warning, const char *file, int line, int column, const char *fmt, va_list ap)
	__attribute__((format(printf, 6, 0)));
// Puts the problems from index `from` on into the order of `file`.
void pl_problems_sort(struct pl_problems *problems, int from, const char *file);
