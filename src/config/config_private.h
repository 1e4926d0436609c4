// A configuration with its reference count, and what load.c needs of config.c. Private to
// config/.
#pragma once

#include <stdarg.h>
#include <stdatomic.h>

#include "config/config.h"

struct pl_config_holder {
	struct pl_config config; // first
	atomic_int refs;
	struct pl_config *parent; // shares its memory and holds a reference; NULL: loaded from a file
};

struct pl_config *pl_config_new(void); // with one reference, empty, with its arena

// Reads a whole file into the arena, with a NUL at its end. Returns NULL with *err.
char *pl_load_read(struct pl_arena *arena, const char *file, size_t max, size_t *len_r, struct pl_error *err);
// The same for a secret: see pl_file_read_private.
char *pl_load_read_private(struct pl_arena *arena, const char *file, size_t max, size_t *len_r,
                           struct pl_error *err);
