// The steps of loading, and what they share. At the bottom is load_place.c, which all of
// them report through; at the top is load.c, which calls them in turn.
#pragma once

#include "config/config.h"
#include "config/schema.h"
#include "config/yaml.h"

struct pl_load {
	const char *file;      // its name in messages
	const char *directory; // of the file; relative paths are relative to it
	const char *region;    // whose environment variables apply, or NULL
	struct pl_config *config;
	struct pl_arena *arena; // the configuration's
	struct pl_diagnostics *diagnostics;
	struct pl_yaml_node *root;
};

// Reports a problem at the value of a key, or at `above` if the key is missing. `key`
// NULL: at `above` itself.
void pl_load_fault(struct pl_load *load, const struct pl_yaml_node *above, const char *key, const char *fmt,
                   ...) __attribute__((format(printf, 4, 5)));
void pl_load_warn(struct pl_load *load, const struct pl_yaml_node *above, const char *key, const char *fmt,
                  ...) __attribute__((format(printf, 4, 5)));

// The nodes of a region or resource (by name) and of a route (by index); NULL if the YAML
// has none.
const struct pl_yaml_node *pl_load_named(const struct pl_load *load, const char *section, const char *name);
const struct pl_yaml_node *pl_load_route(const struct pl_load *load, int i);

// Makes a path of the YAML absolute.
const char *pl_load_path(struct pl_load *load, const char *path);

// Stores the values of load->root in load->config.
void pl_load_walk(struct pl_load *load);

// Reads every Lua file under config->lua_root into config->sources, sorted by path.
void pl_load_sources(struct pl_load *load);

// Checks references, conflicts and combinations, which no single value shows.
void pl_load_check(struct pl_load *load);
void pl_load_check_routes(struct pl_load *load);
void pl_load_check_security(struct pl_load *load); // who can reach what, and can be let in
void pl_load_check_secrets(struct pl_load *load);  // in a file that others can read
void pl_load_check_tls(struct pl_load *load);
void pl_load_check_client_certs(struct pl_load *load);
void pl_load_check_integrity(struct pl_load *load); // unique fields and references
// Checks names that conflict with those of plist, PostgreSQL, Kafka or HTTP, or with each
// other.
void pl_load_check_names(struct pl_load *load);
// Checks that a Lua file exists. `label` is the path of the map that names it, without
// the key.
void pl_load_check_script(struct pl_load *load, const struct pl_yaml_node *node, const char *key,
                          const char *label, const char *path);
