// Inside of loading: what load.c, check.c and sources.c pass to each other. Nobody else includes this.
#pragma once

#include "config/config.h"
#include "config/schema.h"
#include "config/yaml.h"

struct pl_load {
	const char *file;       // as it is named in problems
	const char *directory;  // of the file; relative paths are relative to it
	const char *region;     // whose environment variables apply, or NULL
	struct pl_config *config;
	struct pl_arena *arena; // the configuration's
	struct pl_problems *problems;
	struct pl_node *root;
};

// A problem at a key's value, or at `above` when the key is not there. `key` NULL: at `above` itself.
void pl_load_fault(struct pl_load *load, const struct pl_node *above, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void pl_load_warn(struct pl_load *load, const struct pl_node *above, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

// The nodes of a region, resource (by name) and route (by place); NULL if the YAML has none.
const struct pl_node *pl_load_named(const struct pl_load *load, const char *section, const char *name);
const struct pl_node *pl_load_route(const struct pl_load *load, int i);

// A path of the YAML made absolute.
const char *pl_load_path(struct pl_load *load, const char *path);

// All of a file, in the arena, NUL-ended; NULL with err.
char *pl_load_read(struct pl_arena *arena, const char *file, size_t max, size_t *len_r, struct pl_error *err);

// Puts the values of load->root into load->config.
void pl_load_walk(struct pl_load *load);

// Reads every Lua file under config->lua_root into config->sources, sorted by path.
void pl_load_sources(struct pl_load *load);

// What no single value can be wrong in: references, clashes, combinations.
void pl_load_check(struct pl_load *load);
void pl_load_check_routes(struct pl_load *load);
// That a Lua file is there. `label` is the path of what names it, without the key.
void pl_load_check_script(struct pl_load *load, const struct pl_node *node, const char *key, const char *label, const char *path);
