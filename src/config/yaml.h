// YAML as plist accepts it: a tree of maps, lists and scalars, each with its line and
// column.
//
// A deliberately small part of the language: one document, no anchors, aliases or tags,
// no duplicate keys, with limits on bytes, depth and nodes.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"
#include "config/config.h"

#define PL_YAML_BYTES_MAX ((size_t)1 << 20)
#define PL_YAML_DEPTH_MAX 16
#define PL_YAML_NODES_MAX 10000

enum pl_yaml_kind { PL_YAML_SCALAR, PL_YAML_MAP, PL_YAML_LIST };

struct pl_yaml_node {
	enum pl_yaml_kind kind;
	int line, column; // of the value, from 1
	const char *text; // SCALAR
	bool null;        // a plain scalar that says nothing: empty, ~ or null
	const char *key;  // in a map
	int key_line, key_column;
	struct pl_yaml_node *first, *last, *next; // members or elements; the next beside this one
	int n;
};

// Returns NULL if it is not YAML or exceeds a limit; lesser problems are added to
// `problems`, and parsing continues. Everything is allocated in `arena`. An empty file is
// an empty map.
struct pl_yaml_node *pl_yaml_parse(struct pl_arena *arena, const char *file, const char *text, size_t len,
                                   struct pl_diagnostics *diagnostics);

struct pl_yaml_node *pl_yaml_member(const struct pl_yaml_node *map,
                                    const char *key);           // NULL: no such member, or no map
const char *pl_yaml_kind_name(const struct pl_yaml_node *node); // "a map", "a list", "a value", "nothing"
