// The walk: the tree of the YAML and the table of keys side by side, each value put where its row says.
//
// Between config/yaml and the rest of loading. Defaults come first, then what the file says, then the environment's overrides.
// Invariants: every key of the file is either in the table or reported; a secret's value never gets into a problem's text.
// Threads: any; reads the environment.
#include "config/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/expand.h"
#include "config/holder.h"

#define SECRET_FILE_MAX ((size_t)65536)

// Where the walk is.
struct place {
	const struct pl_key *parent;   // its members are looked at; NULL: the top
	const struct pl_node *node;    // NULL: the YAML does not have it
	const struct pl_node *nearest; // the innermost that it has, to say where something is missing
	void *base;                    // the struct that takes the values
	const char *prefix;            // "regions.us."
	const char *name;              // of the outermost named element it is in ("us"), or NULL
};

// A leaf's value: what is needed to take it or to complain about it.
struct leaf {
	const struct pl_key *key;
	const char *label;             // "regions.us.database"
	bool foreign;                  // a secret of another region than ours: it need not be known here
};

static void fault(struct pl_load *load, const struct pl_node *at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

// A problem at a value.
static void fault(struct pl_load *load, const struct pl_node *at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	pl_problems_vadd(load->problems, false, load->file, at->line, at->column, fmt, ap);
	va_end(ap);
}

static const char *label(struct pl_load *load, const struct place *place, const char *member)
{
	return pl_arena_printf(load->arena, "%s%.64s", place->prefix, member);
}

static void *member_at(const struct pl_key *key, void *base)
{
	return (char *)base + key->offset;
}

static int *count_at(const struct pl_key *key, void *base)
{
	return (int *)(void *)((char *)base + key->count_offset);
}

// The environment's value for a key; of a region's keys only for the region that we are.
static const char *override(const struct pl_load *load, const struct pl_key *key, const struct place *place)
{
	if (key->env == NULL || (place->name != NULL && (load->region == NULL || strcmp(load->region, place->name) != 0)))
		return NULL;
	const char *text = getenv(key->env);
	return text != NULL && *text != '\0' ? text : NULL;
}

static struct leaf leaf_of(struct pl_load *load, const struct place *place, const struct pl_key *key, const char *member)
{
	return (struct leaf){
		.key = key,
		.label = label(load, place, member),
		.foreign = (key->flags & PL_KEY_SECRET) && place->name != NULL &&
		           (load->region == NULL || strcmp(load->region, place->name) != 0),
	};
}

// A secret of another region is not here: no matter to a daemon, worth a word to somebody who checks the file for all.
static void report_absence(struct pl_load *load, const struct leaf *leaf, const struct pl_node *at, const char *why)
{
	if (!leaf->foreign)
		fault(load, at, "%s: %s", leaf->label, why);
	else if (load->region == NULL)
		pl_problems_add(load->problems, true, load->file, at->line, at->column, "%s: %s", leaf->label, why);
}

// A scalar's text, expanded; NULL after reporting when it has none to give.
static const char *scalar_text(struct pl_load *load, const struct leaf *leaf, const struct pl_node *node)
{
	struct pl_error err;
	const char *text;

	if (node->kind != PL_NODE_SCALAR || node->null) {
		fault(load, node, "%s: must be a value, not %s", leaf->label, pl_node_kind_name(node));
		return NULL;
	}
	if (pl_expand(load->arena, node->text, &text, &err) == 0)
		return text;
	if (err.code == PL_ENOTFOUND)
		report_absence(load, leaf, node, err.text);
	else
		fault(load, node, "%s: %s", leaf->label, err.text);
	return NULL;
}

// A secret in a file of its own: all of it but the newline at its end. NULL after reporting.
static const char *secret_file(struct pl_load *load, const struct leaf *leaf, const struct pl_node *node)
{
	const char *name = scalar_text(load, leaf, node);
	struct pl_error err;
	size_t len;

	if (name == NULL)
		return NULL;
	char *text = pl_load_read(load->arena, pl_load_path(load, name), SECRET_FILE_MAX, &len, &err);
	if (text == NULL) {
		report_absence(load, leaf, node, pl_arena_printf(load->arena, "%s: %s", name, err.text));
		return NULL;
	}
	if (len > 0 && text[len - 1] == '\n')
		text[--len] = '\0';
	if (len > 0 && text[len - 1] == '\r')
		text[--len] = '\0';
	if (len == 0 || strlen(text) != len) {
		fault(load, node, "%s: %s: %s", leaf->label, name, len == 0 ? "is empty" : "contains a NUL");
		return NULL;
	}
	return text;
}

static void set(struct pl_load *load, const struct leaf *leaf, void *base, const struct pl_node *at, const char *text)
{
	struct pl_error err;

	if (pl_value_set(leaf->key, base, load->arena, text, &err) == 0)
		return;
	if (leaf->key->flags & PL_KEY_SECRET) // a form's sentence may quote the value
		fault(load, at, "%s: is too long or has control characters", leaf->label);
	else
		fault(load, at, "%s: %s", leaf->label, err.text);
}

static void take_list(struct pl_load *load, const struct leaf *leaf, void *base, const struct pl_node *node)
{
	const struct pl_node *item = node->kind == PL_NODE_LIST ? node->first : node;

	*count_at(leaf->key, base) = 0; // the default goes
	if (node->kind == PL_NODE_MAP || item == NULL) {
		fault(load, node, "%s: must be a list of one or more, not %s", leaf->label, item == NULL ? "an empty one" : "a map");
		return;
	}
	for (; item != NULL; item = node->kind == PL_NODE_LIST ? item->next : NULL) {
		const char *text = scalar_text(load, leaf, item);
		if (text != NULL)
			set(load, leaf, base, item, text);
	}
}

// A setting of Kafka whose name may end in _file when it holds a secret.
static bool take_pair(struct pl_load *load, const char *prefix, const struct pl_node *map, const struct pl_node *node, struct pl_pair *pair)
{
	struct pl_key key = { .path = "kafka.properties", .type = PL_KEY_STRING };
	struct leaf leaf = { .key = &key, .label = pl_arena_printf(load->arena, "%s.%.64s", prefix, node->key) };
	size_t len = strlen(node->key);
	bool file = len > 5 && strcmp(node->key + len - 5, "_file") == 0;
	const char *name = pl_arena_strndup(load->arena, node->key, file ? len - 5 : len);

	if (file && !pl_key_is_secret_setting(name)) {
		fault(load, node, "%s: only a setting that holds a secret may come from a file", leaf.label);
		return false;
	}
	if (file && pl_node_member(map, name) != NULL) {
		fault(load, node, "%s: given together with %s", leaf.label, name);
		return false;
	}
	pair->key = name;
	pair->value = file ? secret_file(load, &leaf, node) : scalar_text(load, &leaf, node);
	return pair->value != NULL;
}

static void take_pairs(struct pl_load *load, const struct leaf *leaf, void *base, const struct pl_node *node)
{
	int n = 0;

	if (node->kind != PL_NODE_MAP || node->n > leaf->key->max) {
		if (!node->null)
			fault(load, node, "%s: must be a map of at most %d members", leaf->label, (int)leaf->key->max);
		return;
	}
	struct pl_pair *pairs = pl_arena_alloc(load->arena, sizeof(*pairs) * (size_t)(node->n + 1));
	for (const struct pl_node *item = node->first; item != NULL; item = item->next)
		n += take_pair(load, leaf->label, node, item, &pairs[n]);
	*count_at(leaf->key, base) = n;
	*(struct pl_pair **)member_at(leaf->key, base) = pairs;
}

static void take_leaf(struct pl_load *load, const struct place *place, const struct pl_key *key, const struct pl_node *node)
{
	struct leaf leaf = leaf_of(load, place, key, pl_schema_leaf(key));

	if (key->type == PL_KEY_STRINGS) {
		take_list(load, &leaf, place->base, node);
	} else if (key->type == PL_KEY_PAIRS) {
		take_pairs(load, &leaf, place->base, node);
	} else if (override(load, key, place) == NULL || strcmp(key->env, "PORT") == 0) {
		// (Where the environment's value wins, the file's need not even be complete. PORT is only a part of one.)
		const char *text = scalar_text(load, &leaf, node);
		if (text != NULL && *text == '\0' && (key->flags & PL_KEY_SECRET))
			report_absence(load, &leaf, node, "is empty");
		else if (text != NULL)
			set(load, &leaf, place->base, node, text);
	}
}

static void walk(struct pl_load *load, const struct place *place);

static void set_default(struct pl_load *load, const struct pl_key *key, void *base, const char *text)
{
	struct pl_error err;

	if (pl_value_set(key, base, load->arena, text, &err) < 0)
		pl_load_fault(load, NULL, NULL, "%s: its default %s", key->path, err.text);
}

// Defaults of all leaves of the struct at `base`, maps inside it included.
static void set_defaults(struct pl_load *load, const struct pl_key *parent, void *base)
{
	for (const struct pl_key *key = NULL; (key = pl_schema_next(parent, key)) != NULL;) {
		if (key->type == PL_KEY_MAP)
			set_defaults(load, key, base);
		if (key->def == NULL)
			continue;
		if (key->type != PL_KEY_STRINGS) {
			set_default(load, key, base, key->def);
			continue;
		}
		char *list = pl_arena_strdup(load->arena, key->def), *save = NULL;
		for (char *item = strtok_r(list, ", ", &save); item != NULL; item = strtok_r(NULL, ", ", &save))
			set_default(load, key, base, item);
	}
}

// The operator's name for an element is its first member.
static void take_name(struct pl_load *load, const struct pl_key *key, void *element, const struct pl_node *node, const char *path)
{
	struct pl_key name = { .path = key->path, .type = PL_KEY_STRING, .pattern = key->pattern, .form = key->form, .size = sizeof(char *) };
	struct pl_error err;

	if (pl_value_set(&name, element, load->arena, node->key, &err) == 0)
		return;
	pl_problems_add(load->problems, false, load->file, node->key_line, node->key_column, "%s: the name %s", path, err.text);
	*(const char **)element = pl_arena_strdup(load->arena, node->key);
}

static void walk_element(struct pl_load *load, const struct place *place, const struct pl_key *key, const struct pl_node *node, int i)
{
	struct place inner = { .parent = key, .node = node, .nearest = node, .name = place->name };
	const char *leaf = pl_schema_leaf(key);
	const char *path = key->type == PL_KEY_NAMED ? pl_arena_printf(load->arena, "%s%s.%.64s", place->prefix, leaf, node->key)
	                                             : pl_arena_printf(load->arena, "%s%s[%d]", place->prefix, leaf, i);

	inner.base = pl_schema_element(key, place->base, i);
	inner.prefix = pl_arena_printf(load->arena, "%s.", path);
	if (key->type == PL_KEY_NAMED)
		take_name(load, key, inner.base, node, path);
	if (key->type == PL_KEY_NAMED && inner.name == NULL)
		inner.name = node->key;
	set_defaults(load, key, inner.base);
	if (node->kind == PL_NODE_MAP)
		walk(load, &inner);
	else
		fault(load, node, "%s: must be a map, not %s", path, pl_node_kind_name(node));
}

static void walk_elements(struct pl_load *load, const struct place *place, const struct pl_key *key, const struct pl_node *node)
{
	const char *path = label(load, place, pl_schema_leaf(key));
	int n = node->n, i = 0;

	if (node->kind != (key->type == PL_KEY_NAMED ? PL_NODE_MAP : PL_NODE_LIST)) {
		fault(load, node, "%s: must be %s, not %s", path, key->type == PL_KEY_NAMED ? "a map" : "a list", pl_node_kind_name(node));
		return;
	}
	if (n < key->min || n > key->max) {
		fault(load, node, "%s: must have from %d to %d members, not %d", path, (int)key->min, (int)key->max, n);
		n = n > key->max ? (int)key->max : n;
	}
	if (!(key->flags & PL_KEY_INLINE))
		*(void **)member_at(key, place->base) = pl_arena_alloc(load->arena, key->size * (size_t)(n > 0 ? n : 1));
	*count_at(key, place->base) = n;
	for (const struct pl_node *item = node->first; item != NULL && i < n; item = item->next)
		walk_element(load, place, key, item, i++);
}

static void walk_map(struct pl_load *load, const struct place *place, const struct pl_key *key, const struct pl_node *node)
{
	struct place inner = *place;

	if (node != NULL && node->kind != PL_NODE_MAP && !node->null) {
		fault(load, node, "%s: must be a map, not %s", label(load, place, pl_schema_leaf(key)), pl_node_kind_name(node));
		return;
	}
	if (key->size == sizeof(bool)) { // a member says whether the map is given at all
		*(bool *)member_at(key, place->base) = node != NULL;
		if (node == NULL)
			return;
	}
	inner.parent = key;
	inner.node = node;
	inner.nearest = node != NULL ? node : place->nearest;
	inner.prefix = pl_arena_printf(load->arena, "%s%s.", place->prefix, pl_schema_leaf(key));
	walk(load, &inner);
}

// "database_file" and its like: 1 when `node` is one.
static int take_secret_file(struct pl_load *load, const struct place *place, const struct pl_node *node)
{
	size_t len = strlen(node->key);

	if (len < 6 || len > 63 || strcmp(node->key + len - 5, "_file") != 0)
		return 0;
	const char *stem = pl_arena_strndup(load->arena, node->key, len - 5);
	const struct pl_key *key = pl_schema_member(place->parent, stem);
	if (key == NULL || !(key->flags & PL_KEY_SECRET))
		return 0;
	struct leaf leaf = leaf_of(load, place, key, node->key);
	if (pl_node_member(place->node, stem) != NULL) {
		pl_problems_add(load->problems, false, load->file, node->key_line, node->key_column, "%s: given together with %s", leaf.label, stem);
	} else if (override(load, key, place) == NULL) {
		const char *text = secret_file(load, &leaf, node);
		if (text != NULL)
			set(load, &leaf, place->base, node, text);
	}
	return 1;
}

static void report_unknown(struct pl_load *load, const struct place *place, const struct pl_node *node)
{
	const char *path = label(load, place, node->key);
	char near[128];

	if (pl_schema_suggest(place->parent, node->key, near, sizeof(near)) != NULL)
		pl_problems_add(load->problems, false, load->file, node->key_line, node->key_column, "%s: there is no such key; did you mean \"%s\"?",
		                path, near);
	else
		pl_problems_add(load->problems, false, load->file, node->key_line, node->key_column, "%s: there is no such key", path);
}

static void take_override(struct pl_load *load, const struct place *place, const struct pl_key *key)
{
	const char *text = override(load, key, place);
	struct leaf leaf = leaf_of(load, place, key, pl_schema_leaf(key));

	if (text == NULL)
		return;
	leaf.label = pl_arena_printf(load->arena, "%s, from the environment variable %s", leaf.label, key->env);
	if (strcmp(key->env, "PORT") == 0) {
		const char *listen = *(const char **)member_at(key, place->base);
		const char *colon = listen != NULL ? strrchr(listen, ':') : NULL;
		text = colon != NULL ? pl_arena_printf(load->arena, "%.*s:%s", (int)(colon - listen), listen, text)
		                     : pl_arena_printf(load->arena, "0.0.0.0:%s", text);
	}
	set(load, &leaf, place->base, place->nearest, text);
}

// All members of a map: those that are in the table, those that are not, and those that are missing.
static void walk(struct pl_load *load, const struct place *place)
{
	if (place->node != NULL && place->node->kind == PL_NODE_MAP)
		for (const struct pl_node *node = place->node->first; node != NULL; node = node->next)
			if (pl_schema_member(place->parent, node->key) == NULL && !take_secret_file(load, place, node))
				report_unknown(load, place, node);
	for (const struct pl_key *key = NULL; (key = pl_schema_next(place->parent, key)) != NULL;) {
		const struct pl_node *node = pl_node_member(place->node, pl_schema_leaf(key));
		if (key->type == PL_KEY_MAP) {
			walk_map(load, place, key, node);
			continue;
		}
		if (node != NULL && pl_schema_is_leaf(key))
			take_leaf(load, place, key, node);
		else if (node != NULL)
			walk_elements(load, place, key, node);
		else if ((key->flags & PL_KEY_REQUIRED) && override(load, key, place) == NULL)
			pl_load_fault(load, place->nearest, NULL, "%s: is missing", label(load, place, pl_schema_leaf(key)));
		take_override(load, place, key);
	}
}

void pl_load_walk(struct pl_load *load)
{
	struct place top = { .node = load->root, .nearest = load->root, .base = load->config, .prefix = "" };

	set_defaults(load, NULL, load->config);
	walk(load, &top);
}
