// YAML as plist takes it: a tree of maps, lists and scalars, each knowing its line and column.
//
// A small part of the language on purpose: one document, no anchors, aliases or tags, no key twice; bytes, depth and nodes are capped.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"
#include "config/config.h"

#define PL_YAML_BYTES_MAX ((size_t)1 << 20)
#define PL_YAML_DEPTH_MAX 16
#define PL_YAML_NODES_MAX 10000

enum pl_node_kind { PL_NODE_SCALAR, PL_NODE_MAP, PL_NODE_LIST };

struct pl_node {
	enum pl_node_kind kind;
	int line, column;           // of the value, from 1
	const char *text;           // SCALAR
	bool null;                  // a plain scalar that says nothing: empty, ~ or null
	const char *key;            // in a map
	int key_line, key_column;
	struct pl_node *first, *last, *next; // members or elements; the next beside this one
	int n;
};

// NULL when it is no YAML or passes a cap; lesser faults are added to `problems` and the rest is read on. All lives in `arena`.
// An empty file is an empty map.
struct pl_node *pl_yaml_parse(struct pl_arena *arena, const char *file, const char *text, size_t len, struct pl_problems *problems);

struct pl_node *pl_node_member(const struct pl_node *map, const char *key); // NULL: no such member, or no map
const char *pl_node_kind_name(const struct pl_node *node);                  // "a map", "a list", "a value", "nothing"
