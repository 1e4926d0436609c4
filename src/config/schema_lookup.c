// Questions about the table of configuration keys: finding a row, walking the members of
// a row, suggesting a name for a misspelt one, and reading what a row describes in a
// struct.
//
// Threads: any; nothing is shared.
#include "config/schema.h"

#include <stdio.h>
#include <string.h>

const struct pl_key *pl_schema_find(const char *path)
{
	int n;
	const struct pl_key *key = pl_schema_rows(&n);

	for (int i = 0; i < n; i++)
		if (strcmp(key[i].path, path) == 0)
			return &key[i];
	return NULL;
}

const char *pl_schema_leaf(const struct pl_key *key)
{
	const char *dot = strrchr(key->path, '.');

	return dot != NULL ? dot + 1 : key->path;
}

bool pl_schema_is_leaf(const struct pl_key *key)
{
	return key->type != PL_KEY_MAP && key->type != PL_KEY_NAMED && key->type != PL_KEY_SEQUENCE;
}

static bool is_member(const struct pl_key *parent, const struct pl_key *key)
{
	const char *rest = key->path;

	if (parent != NULL) {
		const char *joint = parent->type == PL_KEY_NAMED      ? ".<name>."
		                    : parent->type == PL_KEY_SEQUENCE ? "[]."
		                                                      : ".";
		size_t len = strlen(parent->path);
		if (strncmp(rest, parent->path, len) != 0 || strncmp(rest + len, joint, strlen(joint)) != 0)
			return false;
		rest += len + strlen(joint);
	}
	return strchr(rest, '.') == NULL;
}

const struct pl_key *pl_schema_next(const struct pl_key *parent, const struct pl_key *previous)
{
	int n;
	const struct pl_key *rows = pl_schema_rows(&n);
	const struct pl_key *key = previous != NULL ? previous + 1 : parent != NULL ? parent + 1 : rows;

	for (; key < rows + n; key++)
		if (is_member(parent, key))
			return key;
	return NULL;
}

const struct pl_key *pl_schema_member(const struct pl_key *parent, const char *name)
{
	const struct pl_key *key = NULL;

	while ((key = pl_schema_next(parent, key)) != NULL)
		if (strcmp(pl_schema_leaf(key), name) == 0)
			return key;
	return NULL;
}

// The edit distance between two words: insert, delete, replace, swap two neighbours.
// Returns -1 if they are too far apart, or longer than 63 bytes.
int pl_schema_distance(const char *name, const char *candidate)
{
	enum { MAX = 64 };
	size_t n = strlen(name), m = strlen(candidate);
	int before[MAX], last[MAX], row[MAX];

	if (n >= MAX || m >= MAX)
		return -1;
	memset(before, 0, sizeof(before));
	for (size_t j = 0; j <= m; j++)
		last[j] = (int)j;
	for (size_t i = 1; i <= n; i++) {
		row[0] = (int)i;
		for (size_t j = 1; j <= m; j++) {
			int best = last[j - 1] + (name[i - 1] != candidate[j - 1]);
			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && name[i - 1] == candidate[j - 2] &&
			    name[i - 2] == candidate[j - 1] && before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			row[j] = best;
		}
		memcpy(before, last, sizeof(before));
		memcpy(last, row, sizeof(last));
	}
	return last[m] <= 1 + (int)(m / 4) ? last[m] : -1;
}

static void offer(const char *name, const char *candidate, int *nearest, char *text, size_t size)
{
	int distance = pl_schema_distance(name, candidate);

	if (distance >= 0 && (*nearest < 0 || distance < *nearest)) {
		*nearest = distance;
		snprintf(text, size, "%s", candidate);
	}
}

const char *pl_schema_suggest(const struct pl_key *parent, const char *name, char *text, size_t size)
{
	int nearest = -1;

	for (const struct pl_key *key = NULL; (key = pl_schema_next(parent, key)) != NULL;) {
		offer(name, pl_schema_leaf(key), &nearest, text, size);
		if (key->flags & PL_KEY_SECRET) {
			char twin[64];
			snprintf(twin, sizeof(twin), "%s_file", pl_schema_leaf(key));
			offer(name, twin, &nearest, text, size);
		}
	}
	return nearest < 0 ? NULL : text;
}

bool pl_schema_is_given(const struct pl_key *key, const void *base)
{
	return key->given_offset == 0 || *(const bool *)((const char *)base + key->given_offset);
}

int pl_schema_count(const struct pl_key *key, const void *base)
{
	return *(const int *)((const char *)base + key->count_offset);
}

void *pl_schema_element(const struct pl_key *key, const void *base, int i)
{
	char *at = (char *)(uintptr_t)base + key->offset;

	if (!(key->flags & PL_KEY_INLINE))
		at = *(char **)(void *)at;
	return at + key->size * (size_t)i;
}

bool pl_schema_is_secret_setting(const char *name)
{
	static const char *const words[] = { "password", "secret", ".pem", "oauthbearer.config" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strstr(name, words[i]) != NULL)
			return true;
	return false;
}
