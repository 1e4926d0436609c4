// Holds back keys that require a restart: after a reload, a daemon keeps the old values
// of all of them until it is restarted.
//
// Called by ops/loaded after a file is loaded and before its Lua files are checked. Walks
// the table as diff.c does and restores exactly the keys that diff.c lists, so a key with
// the restart flag cannot take effect early anywhere in the program.
//
// Held values are copied, because the running configuration is freed after its last
// request. All values of a field of a resource belong together: if one is held, all are.
// A route of a resource that is not in force yet is held back with it.
// Threads: changes a configuration that is not shared yet.
#include "config/schema.h"

#include <string.h>

#include "config/config.h"

static void *member_at(const struct pl_key *key, void *base)
{
	return (char *)base + key->offset;
}

static const void *member_of(const struct pl_key *key, const void *base)
{
	return (const char *)base + key->offset;
}

static const char *name_of(const void *element)
{
	return *(const char *const *)element; // its first member
}

static void set_count(const struct pl_key *key, void *base, int n)
{
	*(int *)(void *)((char *)base + key->count_offset) = n;
}

// ---- copying

static const char *copy_text(struct pl_arena *arena, const char *text)
{
	return text != NULL ? pl_arena_strdup(arena, text) : NULL;
}

static bool is_text(const struct pl_key *key)
{
	return key->type == PL_KEY_STRING || key->type == PL_KEY_NUMBER ||
	       (key->type == PL_KEY_CHOICE && key->size == sizeof(char *));
}

static void copy_texts(struct pl_arena *arena, const struct pl_key *key, void *to, const void *from)
{
	int n = pl_schema_count(key, from);
	const char *const *texts = *(const char *const *const *)member_of(key, from);
	// a list that is not set is not an empty one
	const char **copy =
		texts != NULL ? pl_arena_alloc(arena, sizeof(*copy) * (size_t)(n > 0 ? n : 1)) : NULL;

	for (int i = 0; i < n; i++)
		copy[i] = copy_text(arena, texts[i]);
	*(const char ***)member_at(key, to) = copy;
	set_count(key, to, n);
}

static void copy_pairs(struct pl_arena *arena, const struct pl_key *key, void *to, const void *from)
{
	int n = pl_schema_count(key, from);
	const struct pl_pair *pairs = *(struct pl_pair *const *)member_of(key, from);
	struct pl_pair *copy = pl_arena_alloc(arena, sizeof(*copy) * (size_t)(n > 0 ? n : 1));

	for (int i = 0; i < n; i++)
		copy[i] =
			(struct pl_pair){ copy_text(arena, pairs[i].key), copy_text(arena, pairs[i].value) };
	*(struct pl_pair **)member_at(key, to) = copy;
	set_count(key, to, n);
}

static void copy_leaf(struct pl_arena *arena, const struct pl_key *key, void *to, const void *from)
{
	if (key->type == PL_KEY_PAIRS)
		copy_pairs(arena, key, to, from);
	else if (key->type == PL_KEY_STRINGS || key->type == PL_KEY_LISTS)
		copy_texts(arena, key, to, from);
	else if (is_text(key))
		*(const char **)member_at(key, to) =
			copy_text(arena, *(const char *const *)member_of(key, from));
	else
		memcpy(member_at(key, to), member_of(key, from), key->size);
	if (key->file_offset != 0)
		*(const char **)(void *)((char *)to + key->file_offset) = copy_text(
			arena, *(const char *const *)(const void *)((const char *)from + key->file_offset));
	if (key->given_offset != 0)
		memcpy((char *)to + key->given_offset, (const char *)from + key->given_offset, sizeof(bool));
}

// Copies an element of a NAMED row with everything below it; `to` has the same size.
static void copy_element(struct pl_arena *arena, const struct pl_key *key, void *to, const void *from)
{
	memcpy(to, from, key->size);
	*(const char **)to = copy_text(arena, name_of(from));
	for (const struct pl_key *member = NULL; (member = pl_schema_next(key, member)) != NULL;) {
		if (pl_schema_is_leaf(member))
			copy_leaf(arena, member, to, from);
		else if (member->type == PL_KEY_NAMED)
			for (int i = 0; i < pl_schema_count(member, from); i++)
				copy_element(arena, member, pl_schema_element(member, to, i),
				             pl_schema_element(member, from, i));
	}
}

// ---- holding

static void hold(struct pl_arena *arena, const struct pl_key *parent, void *to, const void *from);

static const void *element_named(const struct pl_key *key, const void *base, const char *name)
{
	for (int i = 0; i < pl_schema_count(key, base); i++)
		if (strcmp(name_of(pl_schema_element(key, base, i)), name) == 0)
			return pl_schema_element(key, base, i);
	return NULL;
}

static bool same_names(const struct pl_key *key, const void *a, const void *b)
{
	int n = pl_schema_count(key, a);

	if (n != pl_schema_count(key, b))
		return false;
	for (int i = 0; i < n; i++)
		if (element_named(key, b, name_of(pl_schema_element(key, a, i))) == NULL)
			return false;
	return true;
}

static bool any_held(const struct pl_key *parent, const void *to, const void *from)
{
	for (const struct pl_key *key = NULL; (key = pl_schema_next(parent, key)) != NULL;)
		if (pl_schema_is_leaf(key) && (key->flags & PL_KEY_RESTART) &&
		    !pl_diff_same_value(key, from, to))
			return true;
	return false;
}

static void hold_element(struct pl_arena *arena, const struct pl_key *key, void *to, const void *from)
{
	if ((key->flags & PL_KEY_INLINE) && any_held(key, to, from))
		copy_element(arena, key, to, from);
	else
		hold(arena, key, to, from);
}

// Exactly the old elements in their order; each as in the new file if that still has it.
static void restore_elements(struct pl_arena *arena, const struct pl_key *key, void *to, const void *from)
{
	int n = pl_schema_count(key, from);
	char *elements = pl_arena_alloc(arena, key->size * (size_t)(n > 0 ? n : 1));

	for (int i = 0; i < n; i++) {
		const void *before = pl_schema_element(key, from, i),
			   *now = element_named(key, to, name_of(before));

		if (now != NULL)
			memcpy(elements + key->size * (size_t)i, now, key->size);
		else
			copy_element(arena, key, elements + key->size * (size_t)i, before);
	}
	if (key->flags & PL_KEY_INLINE)
		memcpy(member_at(key, to), elements, key->size * (size_t)n);
	else
		*(void **)member_at(key, to) = elements;
	set_count(key, to, n);
}

static void hold_named(struct pl_arena *arena, const struct pl_key *key, void *to, const void *from)
{
	if ((key->flags & PL_KEY_RESTART) && !same_names(key, to, from))
		restore_elements(arena, key, to, from);
	for (int i = 0; i < pl_schema_count(key, to); i++) {
		void *element = pl_schema_element(key, to, i);
		const void *before = element_named(key, from, name_of(element));

		if (before != NULL)
			hold_element(arena, key, element, before);
	}
}

static void hold(struct pl_arena *arena, const struct pl_key *parent, void *to, const void *from)
{
	for (const struct pl_key *key = NULL; (key = pl_schema_next(parent, key)) != NULL;) {
		if (key->type == PL_KEY_MAP)
			hold(arena, key, to, from);
		else if (key->type == PL_KEY_NAMED)
			hold_named(arena, key, to, from);
		else if (pl_schema_is_leaf(key) && (key->flags & PL_KEY_RESTART) &&
		         !pl_diff_same_value(key, from, to))
			copy_leaf(arena, key, to, from);
	}
}

// Routes of resources that wait for a restart wait as well, and are listed.
static int hold_routes(struct pl_config *config, const char **names, int n, int max)
{
	int kept = 0;

	for (int i = 0; i < config->nroutes; i++) {
		struct pl_route *route = &config->routes[i];

		if (route->resource == NULL || pl_config_resource(config, route->resource) != NULL) {
			config->routes[kept++] = *route;
			continue;
		}
		if (n < max)
			names[n++] = pl_arena_printf(config->arena, "routes[%d] (%s %s)", i, route->method,
			                             route->path);
	}
	config->nroutes = kept;
	for (int i = 0; i < kept; i++)
		config->routes[i].index = i;
	return n;
}

int pl_config_hold(const struct pl_config *running, struct pl_config *fresh, const char **names, int max)
{
	int n = pl_config_needs_restart(running, fresh, names, max);

	hold(fresh->arena, NULL, fresh, running);
	for (int i = 0; i < fresh->nresources; i++)
		fresh->resources[i].index = i;
	pl_config_sort_fields(fresh);
	for (int i = 0; i < fresh->nregions; i++) { // it follows from id_base
		const struct pl_region *before =
			pl_config_region(running, fresh->regions[i].name, strlen(fresh->regions[i].name));

		if (before != NULL)
			fresh->regions[i].id_room = before->id_room;
	}
	return hold_routes(fresh, names, n, max);
}
