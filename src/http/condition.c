// Lists of entity tags: `*`, or `"a", W/"b"`.
//
// Used by http/request (If-Match, the lock of a write) and http/response (If-None-Match,
// 304).
// Invariant: a list that cannot be parsed never lets a write through. Threads: any.
#include "http/condition.h"

#include <string.h>

struct tag {
	const char *text; // with its quotes
	size_t len;
	bool weak;
};

static const char *skip(const char *s)
{
	return s + strspn(s, " \t,");
}

// Parses the tag at *at and moves *at to the next one. Returns -1 if there is no tag.
static int next_tag(const char **at, struct tag *tag)
{
	const char *s = *at;
	tag->weak = strncmp(s, "W/", 2) == 0;
	if (tag->weak)
		s += 2;
	if (*s != '"')
		return -1;
	const char *end = s + 1;
	while (*end && *end != '"' && (unsigned char)*end > 0x20 && *end != 0x7f)
		end++;
	if (*end != '"')
		return -1;
	tag->text = s;
	tag->len = (size_t)(end + 1 - s);
	const char *after = end + 1 + strspn(end + 1, " \t");
	if (*after && *after != ',')
		return -1;
	*at = skip(after);
	return 0;
}

static bool is_named(const struct pl_if_match *if_match, const struct pl_vector *vector)
{
	if (if_match->never)
		return false;
	if (pl_vector_equal(vector, &if_match->vector))
		return true;
	for (const struct pl_tag *tag = if_match->others; tag; tag = tag->next)
		if (pl_vector_equal(vector, &tag->vector))
			return true;
	return false;
}

// Adds a version. Returns false if there are too many.
static bool add_vector(struct pl_arena *arena, struct pl_if_match *if_match, const struct pl_vector *vector)
{
	int n = 1;
	struct pl_tag **end = &if_match->others;
	if (is_named(if_match, vector))
		return true;
	if (if_match->never) {
		if_match->vector = *vector;
		if_match->never = false;
		return true;
	}
	for (; *end; end = &(*end)->next)
		n++;
	if (n == PL_IF_MATCH_MAX)
		return false;
	*end = pl_arena_alloc(arena, sizeof(**end));
	(*end)->vector = *vector;
	return true;
}

int pl_condition_if_match(struct pl_arena *arena, const char *value, struct pl_if_match *if_match_r,
                          const char **why_r)
{
	*if_match_r = (struct pl_if_match){ .given = true, .never = true };
	const char *at = skip(value);
	if (strcmp(at, "*") == 0) {
		if_match_r->any = true;
		if_match_r->never = false;
		return 0;
	}
	if (!*at)
		return *why_r = "If-Match is empty", -1;
	while (*at) {
		struct tag tag;
		struct pl_vector vector;
		if (next_tag(&at, &tag) != 0)
			return *why_r = "If-Match is not a list of entity tags", -1;
		if (tag.weak || pl_vector_parse_etag(&vector, tag.text, tag.len) != 0)
			continue;
		if (!add_vector(arena, if_match_r, &vector))
			return *why_r = "If-Match names too many versions of a record", -1;
	}
	return 0;
}

bool pl_condition_if_none_match(const char *value, const char *etag)
{
	if (!value || !etag)
		return false;
	const char *at = skip(value);
	if (strcmp(at, "*") == 0)
		return true;
	for (struct tag tag; *at && next_tag(&at, &tag) == 0;)
		if (tag.len == strlen(etag) && memcmp(tag.text, etag, tag.len) == 0)
			return true;
	return false;
}
