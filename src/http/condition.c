// Lists of entity tags: `*`, or `"a", W/"b"`.
//
// Stands in http/request (If-Match, the lock of a write) and http/response (If-None-Match, 304).
// Invariant: a list that cannot be read never lets a write through. Threads: any.
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

// The tag at *at, which is moved behind it and what separates it from the next; -1 if there is none.
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

int pl_if_match_parse(const char *value, struct pl_if_match *if_match_r, const char **why_r)
{
	*if_match_r = (struct pl_if_match){.given = true, .never = true};
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
			return *why_r = "If-Match is no list of entity tags", -1;
		if (tag.weak || pl_vector_parse_etag(&vector, tag.text, tag.len) != 0)
			continue;
		if (!if_match_r->never && !pl_vector_equal(&vector, &if_match_r->vector))
			return *why_r = "If-Match may name one version of a record", -1;
		if_match_r->vector = vector;
		if_match_r->never = false;
	}
	return 0;
}

bool pl_if_none_match_has(const char *value, const char *etag)
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
