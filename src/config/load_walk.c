// The walk: goes through the YAML tree and the table of keys side by side, and stores
// each value as its row says.
//
// Defaults come first, then the file, then the environment.
// Invariants: every key of the file is either in the table or reported; the value of a
// secret never appears in a problem.
// Threads: any; reads the environment.
#include "config/load_private.h"
#include "config/renamed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "config/config_private.h"
#include "config/expand.h"

#define SECRET_FILE_MAX ((size_t)65536)

// The position of the walk.
struct walk_place {
	const struct pl_key *parent;        // its members are looked at; NULL: the top
	const struct pl_yaml_node *node;    // NULL: the YAML does not have it
	const struct pl_yaml_node *nearest; // the innermost that it has, to say where something is missing
	void *base;                         // the struct that takes the values
	const char *prefix;                 // "regions.us."
	const char *name;                   // of the outermost named element it is in ("us"), or NULL
};

// A leaf: what is needed to store its value or to report it.
struct leaf {
	const struct pl_key *key;
	const char *label; // "regions.us.database"
	bool foreign;      // a secret of a region other than ours: it need not be known here
};

static void fault(struct pl_load *load, const struct pl_yaml_node *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

// Reports a problem at a value.
static void fault(struct pl_load *load, const struct pl_yaml_node *at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	pl_diagnostics_vadd(load->diagnostics,
	                    &(struct pl_diagnostic){ NULL, false, load->file, at->line, at->column }, fmt,
	                    ap);
	va_end(ap);
}

static const char *label(struct pl_load *load, const struct walk_place *place, const char *member)
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

// The value of a key in the environment; for keys of regions, only if it is our region.
static const char * override(const struct pl_load *load, const struct pl_key *key,
                             const struct walk_place *place)
{
	if (key->env == NULL ||
	    (place->name != NULL && (load->region == NULL || strcmp(load->region, place->name) != 0)))
		return NULL;
	const char *text = getenv(key->env);
	return text != NULL && *text != '\0' ? text : NULL;
}

static struct leaf leaf_of(struct pl_load *load, const struct walk_place *place, const struct pl_key *key,
                           const char *member)
{
	return (struct leaf){
		.key = key,
		.label = label(load, place, member),
		.foreign = (key->flags & PL_KEY_SECRET) && place->name != NULL &&
		           (load->region == NULL || strcmp(load->region, place->name) != 0),
	};
}

// The secret of another region is missing: irrelevant to a daemon, but worth a warning
// for a check of the whole file.
static void report_absence(struct pl_load *load, const struct leaf *leaf, const struct pl_yaml_node *at,
                           const char *why)
{
	if (!leaf->foreign)
		fault(load, at, "%s: %s", leaf->label, why);
	else if (load->region == NULL)
		pl_diagnostics_add(load->diagnostics, true, load->file, at->line, at->column, "%s: %s",
		                   leaf->label, why);
}

// The expanded text of a scalar; NULL after reporting why there is none.
static const char *scalar_text(struct pl_load *load, const struct leaf *leaf, const struct pl_yaml_node *node)
{
	struct pl_error err;
	const char *text;

	if (node->kind != PL_YAML_SCALAR || node->null) {
		fault(load, node, "%s: must be a value, not %s", leaf->label, pl_yaml_kind_name(node));
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

// Reads a secret from a file that no other user can read, without the newline at its end.
// Returns NULL after reporting.
static const char *secret_file(struct pl_load *load, const struct leaf *leaf, const struct pl_yaml_node *node)
{
	const char *name = scalar_text(load, leaf, node);
	struct pl_error err;
	size_t len;

	if (name == NULL)
		return NULL;
	char *text = pl_load_read_private(load->arena, pl_load_path(load, name), SECRET_FILE_MAX, &len, &err);
	if (text == NULL) {
		if (err.code == PL_ENOTFOUND)
			report_absence(load, leaf, node,
			               pl_arena_printf(load->arena, "%s: %s", name, err.text));
		else
			fault(load, node, "%s: %s %s", leaf->label, name, err.text);
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

static void set(struct pl_load *load, const struct leaf *leaf, void *base, const struct pl_yaml_node *at,
                const char *text)
{
	struct pl_error err;

	if (pl_config_value_set(leaf->key, base, load->arena, text, &err) == 0)
		return;
	if (leaf->key->flags & PL_KEY_SECRET) // a form's sentence may quote the value
		fault(load, at, "%s: is too long or contains control characters", leaf->label);
	else
		fault(load, at, "%s: %s", leaf->label, err.text);
}

static void take_list(struct pl_load *load, const struct leaf *leaf, void *base,
                      const struct pl_yaml_node *node)
{
	const struct pl_yaml_node *item = node->kind == PL_YAML_LIST ? node->first : node;

	*count_at(leaf->key, base) = 0; // the default goes
	if (node->kind == PL_YAML_MAP || item == NULL) {
		fault(load, node, "%s: must be a list with at least one value, not %s", leaf->label,
		      item == NULL ? "an empty list" : "a map");
		return;
	}
	for (; item != NULL; item = node->kind == PL_YAML_LIST ? item->next : NULL) {
		const char *text = scalar_text(load, leaf, item);
		if (text != NULL)
			set(load, leaf, base, item, text);
	}
}

// [[a], [b, c]]: each inner list is stored as one text.
static void take_lists(struct pl_load *load, const struct leaf *leaf, void *base,
                       const struct pl_yaml_node *node)
{
	if (node->kind != PL_YAML_LIST || node->first == NULL) {
		fault(load, node, "%s: must be a list of lists, such as [[%s]]", leaf->label,
		      leaf->key->word);
		return;
	}
	for (const struct pl_yaml_node *inner = node->first; inner != NULL; inner = inner->next) {
		const char *text = "";

		if (inner->kind != PL_YAML_LIST || inner->first == NULL) {
			fault(load, inner,
			      "%s: each element must be a list with at least one value, such as [[%s]]",
			      leaf->label, leaf->key->word);
			continue;
		}
		for (const struct pl_yaml_node *item = inner->first; item != NULL && text;
		     item = item->next) {
			const char *value = scalar_text(load, leaf, item);

			text = value ? pl_arena_printf(load->arena, "%s%s%s", text, *text ? "," : "", value)
			             : NULL;
		}
		if (text != NULL)
			set(load, leaf, base, inner, text);
	}
}

// Stores a setting of Kafka, whose name may end in _file if it is secret.
static bool take_pair(struct pl_load *load, const char *prefix, const struct pl_yaml_node *map,
                      const struct pl_yaml_node *node, struct pl_pair *pair)
{
	struct pl_key key = { .path = "kafka.properties", .type = PL_KEY_STRING };
	struct leaf leaf = { .key = &key,
		             .label = pl_arena_printf(load->arena, "%s.%.64s", prefix, node->key) };
	size_t len = strlen(node->key);
	bool file = len > 5 && strcmp(node->key + len - 5, "_file") == 0;
	const char *name = pl_arena_strndup(load->arena, node->key, file ? len - 5 : len);

	if (file && !pl_schema_is_secret_setting(name)) {
		fault(load, node, "%s: only the value of a secret setting may come from a file", leaf.label);
		return false;
	}
	if (file && pl_yaml_member(map, name) != NULL) {
		fault(load, node, "%s: given together with %s", leaf.label, name);
		return false;
	}
	pair->key = name;
	pair->value = file ? secret_file(load, &leaf, node) : scalar_text(load, &leaf, node);
	return pair->value != NULL;
}

static void take_pairs(struct pl_load *load, const struct leaf *leaf, void *base,
                       const struct pl_yaml_node *node)
{
	int n = 0;

	if (node->kind != PL_YAML_MAP || node->n > leaf->key->max) {
		if (!node->null)
			fault(load, node, "%s: must be a map with at most %d members", leaf->label,
			      (int)leaf->key->max);
		return;
	}
	struct pl_pair *pairs = pl_arena_alloc(load->arena, sizeof(*pairs) * (size_t)(node->n + 1));
	for (const struct pl_yaml_node *item = node->first; item != NULL; item = item->next)
		n += take_pair(load, leaf->label, node, item, &pairs[n]);
	*count_at(leaf->key, base) = n;
	*(struct pl_pair **)member_at(leaf->key, base) = pairs;
}

static void take_leaf(struct pl_load *load, const struct walk_place *place, const struct pl_key *key,
                      const struct pl_yaml_node *node)
{
	struct leaf leaf = leaf_of(load, place, key, pl_schema_leaf(key));

	if (key->type == PL_KEY_STRINGS) {
		take_list(load, &leaf, place->base, node);
	} else if (key->type == PL_KEY_LISTS) {
		take_lists(load, &leaf, place->base, node);
	} else if (key->type == PL_KEY_PAIRS) {
		take_pairs(load, &leaf, place->base, node);
	} else if (override(load, key, place) == NULL || strcmp(key->env, "PORT") == 0) {
		// If the environment overrides a value, the value in the file need not be
		// complete. PORT overrides only a part.
		const char *text = scalar_text(load, &leaf, node);
		if (text != NULL && *text == '\0' && (key->flags & PL_KEY_SECRET))
			report_absence(load, &leaf, node, "is empty");
		else if (text != NULL)
			set(load, &leaf, place->base, node, text);
	}
}

static void walk(struct pl_load *load, const struct walk_place *place);

static void set_default(struct pl_load *load, const struct pl_key *key, void *base, const char *text)
{
	struct pl_error err;

	if (pl_config_value_set(key, base, load->arena, text, &err) < 0)
		pl_load_fault(load, NULL, NULL, "%s: its default %s", key->path, err.text);
}

// Stores the defaults of all leaves of the struct at `base`, including nested maps.
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
		for (char *item = strtok_r(list, ", ", &save); item != NULL;
		     item = strtok_r(NULL, ", ", &save))
			set_default(load, key, base, item);
	}
}

// Stores the name of a named element, which is its first member.
static void take_name(struct pl_load *load, const struct pl_key *key, void *element,
                      const struct pl_yaml_node *node, const char *path)
{
	struct pl_key name = { .path = key->path,
		               .type = PL_KEY_STRING,
		               .pattern = key->pattern,
		               .form = key->form,
		               .size = sizeof(char *) };
	struct pl_error err;

	if (pl_config_value_set(&name, element, load->arena, node->key, &err) == 0)
		return;
	pl_diagnostics_add(load->diagnostics, false, load->file, node->key_line, node->key_column,
	                   "%s: the name %s", path, err.text);
	*(const char **)element = pl_arena_strdup(load->arena, node->key);
}

static void walk_element(struct pl_load *load, const struct walk_place *place, const struct pl_key *key,
                         const struct pl_yaml_node *node, int i)
{
	struct walk_place inner = { .parent = key, .node = node, .nearest = node, .name = place->name };
	const char *leaf = pl_schema_leaf(key);
	const char *path =
		key->type == PL_KEY_NAMED
			? pl_arena_printf(load->arena, "%s%s.%.64s", place->prefix, leaf, node->key)
			: pl_arena_printf(load->arena, "%s%s[%d]", place->prefix, leaf, i);

	inner.base = pl_schema_element(key, place->base, i);
	inner.prefix = pl_arena_printf(load->arena, "%s.", path);
	if (key->type == PL_KEY_NAMED)
		take_name(load, key, inner.base, node, path);
	if (key->type == PL_KEY_NAMED && inner.name == NULL)
		inner.name = node->key;
	set_defaults(load, key, inner.base);
	if (node->kind == PL_YAML_MAP)
		walk(load, &inner);
	else
		fault(load, node, "%s: must be a map, not %s", path, pl_yaml_kind_name(node));
}

static void walk_elements(struct pl_load *load, const struct walk_place *place, const struct pl_key *key,
                          const struct pl_yaml_node *node)
{
	const char *path = label(load, place, pl_schema_leaf(key));
	int n = node->n, i = 0;

	if (node->kind != (key->type == PL_KEY_NAMED ? PL_YAML_MAP : PL_YAML_LIST)) {
		fault(load, node, "%s: must be %s, not %s", path,
		      key->type == PL_KEY_NAMED ? "a map" : "a list", pl_yaml_kind_name(node));
		return;
	}
	if (n < key->min || n > key->max) {
		fault(load, node, "%s: must have %d to %d members, not %d", path, (int)key->min,
		      (int)key->max, n);
		n = n > key->max ? (int)key->max : n;
	}
	if (!(key->flags & PL_KEY_INLINE))
		*(void **)member_at(key, place->base) =
			pl_arena_alloc(load->arena, key->size * (size_t)(n > 0 ? n : 1));
	*count_at(key, place->base) = n;
	for (const struct pl_yaml_node *item = node->first; item != NULL && i < n; item = item->next)
		walk_element(load, place, key, item, i++);
}

static void walk_map(struct pl_load *load, const struct walk_place *place, const struct pl_key *key,
                     const struct pl_yaml_node *node)
{
	struct walk_place inner = *place;

	if (node != NULL && node->kind != PL_YAML_MAP && !node->null) {
		fault(load, node, "%s: must be a map, not %s", label(load, place, pl_schema_leaf(key)),
		      pl_yaml_kind_name(node));
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

// Handles keys such as "database_file". Returns 1 if `node` is one.
static int take_secret_file(struct pl_load *load, const struct walk_place *place,
                            const struct pl_yaml_node *node)
{
	size_t len = strlen(node->key);

	if (len < 6 || len > 63 || strcmp(node->key + len - 5, "_file") != 0)
		return 0;
	const char *stem = pl_arena_strndup(load->arena, node->key, len - 5);
	const struct pl_key *key = pl_schema_member(place->parent, stem);
	if (key == NULL || !(key->flags & PL_KEY_SECRET))
		return 0;
	struct leaf leaf = leaf_of(load, place, key, node->key);
	if (pl_yaml_member(place->node, stem) != NULL) {
		pl_diagnostics_add(load->diagnostics, false, load->file, node->key_line, node->key_column,
		                   "%s: given together with %s", leaf.label, stem);
	} else if (override(load, key, place) == NULL) {
		const char *text = secret_file(load, &leaf, node);
		if (text != NULL)
			set(load, &leaf, place->base, node, text);
		if (text != NULL && key->file_offset != 0)
			*(const char **)(void *)((char *)place->base + key->file_offset) =
				pl_load_path(load, scalar_text(load, &leaf, node));
	}
	return 1;
}

static void report_unknown(struct pl_load *load, const struct walk_place *place,
                           const struct pl_yaml_node *node)
{
	const char *path = label(load, place, node->key);
	char near[128];

	if (pl_renamed_key(path) != NULL)
		pl_diagnostics_add(load->diagnostics, false, load->file, node->key_line, node->key_column,
		                   "%s: this key was renamed to \"%s\"", path, pl_renamed_key(path));
	else if (pl_schema_suggest(place->parent, node->key, near, sizeof(near)) != NULL)
		pl_diagnostics_add(load->diagnostics, false, load->file, node->key_line, node->key_column,
		                   "%s: there is no such key; did you mean \"%s\"?", path, near);
	else
		pl_diagnostics_add(load->diagnostics, false, load->file, node->key_line, node->key_column,
		                   "%s: there is no such key", path);
}

static void take_override(struct pl_load *load, const struct walk_place *place, const struct pl_key *key)
{
	const char *text = override(load, key, place);
	struct leaf leaf = leaf_of(load, place, key, pl_schema_leaf(key));

	if (text == NULL)
		return;
	leaf.label =
		pl_arena_printf(load->arena, "%s, from the environment variable %s", leaf.label, key->env);
	if (strcmp(key->env, "PORT") == 0) {
		const char *listen = *(const char **)member_at(key, place->base);
		struct pl_address_parts parts;
		if (listen == NULL)
			listen = "0.0.0.0:";
		if (pl_address_split(listen, &parts) < 0)
			parts.port = listen + strlen(listen);
		text = pl_arena_printf(load->arena, "%.*s%s", (int)(parts.port - listen), listen, text);
	}
	set(load, &leaf, place->base, place->nearest, text);
}

// Handles all members of a map: those in the table, unknown ones and missing ones.
static void walk(struct pl_load *load, const struct walk_place *place)
{
	if (place->node != NULL && place->node->kind == PL_YAML_MAP)
		for (const struct pl_yaml_node *node = place->node->first; node != NULL; node = node->next)
			if (pl_schema_member(place->parent, node->key) == NULL &&
			    !take_secret_file(load, place, node))
				report_unknown(load, place, node);
	for (const struct pl_key *key = NULL; (key = pl_schema_next(place->parent, key)) != NULL;) {
		const struct pl_yaml_node *node = pl_yaml_member(place->node, pl_schema_leaf(key));
		if (key->type == PL_KEY_MAP) {
			walk_map(load, place, key, node);
			continue;
		}
		if (node != NULL && pl_schema_is_leaf(key))
			take_leaf(load, place, key, node);
		else if (node != NULL)
			walk_elements(load, place, key, node);
		else if ((key->flags & PL_KEY_REQUIRED) && override(load, key, place) == NULL)
			pl_load_fault(load, place->nearest, NULL, "%s: is missing",
			              label(load, place, pl_schema_leaf(key)));
		take_override(load, place, key);
	}
}

void pl_load_walk(struct pl_load *load)
{
	struct walk_place top = {
		.node = load->root, .nearest = load->root, .base = load->config, .prefix = ""
	};

	set_defaults(load, NULL, load->config);
	walk(load, &top);
}
