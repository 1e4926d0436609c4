// The keys of a new configuration that a running daemon cannot take over by a reload.
//
// Called after a reload was loaded and checked. Walks the table and lists every row with
// the restart flag whose value differs.
// Threads: the names are allocated in the arena of the new configuration, so call this
// before sharing it.
#include "config/schema.h"

#include <string.h>

#include "base/buf.h"
#include "config/config.h"
#include "config/dsn.h"

struct diff {
	struct pl_arena *arena;
	const char **names;
	int max, n;
};

static void differ(struct diff *diff, const char *prefix, const char *leaf)
{
	if (diff->n < diff->max)
		diff->names[diff->n] = pl_arena_printf(diff->arena, "%s%s", prefix, leaf);
	if (diff->n < diff->max)
		diff->n++;
}

static bool same_pairs(const struct pl_key *key, const void *from, const void *to)
{
	int n = pl_schema_count(key, from);
	const struct pl_pair *a = *(struct pl_pair *const *)(const void *)((const char *)from + key->offset);
	const struct pl_pair *b = *(struct pl_pair *const *)(const void *)((const char *)to + key->offset);

	if (n != pl_schema_count(key, to))
		return false;
	for (int i = 0; i < n; i++)
		if (strcmp(a[i].key, b[i].key) != 0 || strcmp(a[i].value, b[i].value) != 0)
			return false;
	return true;
}

static bool same_texts(const struct pl_key *key, const void *from, const void *to)
{
	int n = pl_schema_count(key, from);
	const char *const *a = *(const char *const *const *)(const void *)((const char *)from + key->offset);
	const char *const *b = *(const char *const *const *)(const void *)((const char *)to + key->offset);

	if (n != pl_schema_count(key, to))
		return false;
	for (int i = 0; i < n; i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return true;
}

bool pl_diff_same_value(const struct pl_key *key, const void *from, const void *to)
{
	struct pl_buf a = { 0 }, b = { 0 };

	if (!pl_schema_is_given(key, from) && !pl_schema_is_given(key, to))
		return true;
	if (key->type == PL_KEY_STRINGS || key->type == PL_KEY_LISTS)
		return same_texts(key, from, to);

	if (key->type == PL_KEY_PAIRS)
		return same_pairs(key, from, to);
	if (key->file_offset != 0) { // a connection string
		const char *x = *(const char *const *)(const void *)((const char *)from + key->offset);
		const char *y = *(const char *const *)(const void *)((const char *)to + key->offset);
		if (x != NULL && y != NULL)
			return pl_dsn_same_place(x, y);
	}
	bool a_set = pl_config_value_print(key, from, &a), b_set = pl_config_value_print(key, to, &b);
	bool same = a_set == b_set && a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
	pl_buf_fini(&a);
	pl_buf_fini(&b);
	return same;
}

static void compare(struct diff *diff, const struct pl_key *parent, const char *prefix, const void *from,
                    const void *to);

static const void *element_named(const struct pl_key *key, const void *base, const char *name)
{
	for (int i = 0; i < pl_schema_count(key, base); i++) {
		const void *element = pl_schema_element(key, base, i);
		if (strcmp(*(const char *const *)element, name) == 0)
			return element;
	}
	return NULL;
}

static void compare_named(struct diff *diff, const struct pl_key *key, const char *prefix, const void *from,
                          const void *to)
{
	bool counts = (key->flags & PL_KEY_RESTART) != 0;

	prefix = pl_arena_printf(diff->arena, "%s%s.", prefix, pl_schema_leaf(key));
	for (int i = 0; i < pl_schema_count(key, to); i++) {
		const void *element = pl_schema_element(key, to, i);
		const char *name = *(const char *const *)element;
		const void *before = element_named(key, from, name);
		if (before != NULL)
			compare(diff, key, pl_arena_printf(diff->arena, "%s%s.", prefix, name), before,
			        element);
		else if (counts)
			differ(diff, prefix, name);
	}
	for (int i = 0; counts && i < pl_schema_count(key, from); i++) {
		const char *name = *(const char *const *)pl_schema_element(key, from, i);
		if (element_named(key, to, name) == NULL)
			differ(diff, prefix, name);
	}
}

static void compare(struct diff *diff, const struct pl_key *parent, const char *prefix, const void *from,
                    const void *to)
{
	for (const struct pl_key *key = NULL; (key = pl_schema_next(parent, key)) != NULL;) {
		const char *leaf = pl_schema_leaf(key);
		if (key->type == PL_KEY_MAP)
			compare(diff, key, pl_arena_printf(diff->arena, "%s%s.", prefix, leaf), from, to);
		else if (key->type == PL_KEY_NAMED)
			compare_named(diff, key, prefix, from, to);
		else if (pl_schema_is_leaf(key) && (key->flags & PL_KEY_RESTART) &&
		         !pl_diff_same_value(key, from, to))
			differ(diff, prefix, leaf);
	}
}

int pl_config_needs_restart(const struct pl_config *from, const struct pl_config *to, const char **names,
                            int max)
{
	struct diff diff = { .arena = to->arena, .names = names, .max = max };

	compare(&diff, NULL, "", from, to);
	return diff.n;
}
