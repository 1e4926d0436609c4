// Expands ${VAR}, after parsing and in scalars only, so that the value of a variable
// cannot add keys to the file.
//
// Threads: reads the environment, which does not change after the start.
#include "config/expand.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define DEPTH_MAX 4 // nesting of defaults

// The closing brace of the form whose content begins at `p`; NULL if there is none before
// `end`.
static const char *closing(const char *p, const char *end)
{
	int open = 1;

	for (; p < end; p++) {
		if (p[0] == '$' && p + 1 < end && p[1] == '{')
			open++;
		else if (*p == '}' && --open == 0)
			return p;
	}
	return NULL;
}

static int expand(struct pl_buf *out, const char *p, const char *end, int depth, struct pl_error *err);

// Expands the form whose content is p..end.
static int form(struct pl_buf *out, const char *p, const char *end, int depth, struct pl_error *err)
{
	char name[128];
	size_t len = 0;

	while (p + len < end && (isalnum((unsigned char)p[len]) || p[len] == '_'))
		len++;
	if (len == 0 || len >= sizeof(name) || isdigit((unsigned char)p[0]))
		return pl_error_set(err, PL_EINVAL,
		                    "\"${%.*s}\" does not name a variable (write $$ for a dollar sign)",
		                    (int)(end - p > 40 ? 40 : end - p), p);
	memcpy(name, p, len);
	name[len] = '\0';
	p += len;

	const char *found = getenv(name);
	if (p == end) {
		if (found == NULL)
			return pl_error_set(
				err, PL_ENOTFOUND,
				"the environment variable %s is not set (${%s:-} if it may be empty)", name,
				name);
		pl_buf_adds(out, found);
		return 0;
	}
	if (end - p < 2 || p[0] != ':' || (p[1] != '-' && p[1] != '?'))
		return pl_error_set(err, PL_EINVAL, "${%s must be followed by }, :-default} or :?message}",
		                    name);
	if (found != NULL && *found != '\0') {
		pl_buf_adds(out, found);
		return 0;
	}
	if (p[1] == '?')
		return pl_error_set(err, PL_ENOTFOUND, "the environment variable %s is not set: %.*s", name,
		                    (int)(end - p - 2 > 200 ? 200 : end - p - 2), p + 2);
	return expand(out, p + 2, end, depth + 1, err);
}

static int expand(struct pl_buf *out, const char *p, const char *end, int depth, struct pl_error *err)
{
	if (depth > DEPTH_MAX)
		return pl_error_set(err, PL_EINVAL, "${…} nested too deeply");
	while (p < end) {
		if (p[0] != '$' || p + 1 == end) {
			pl_buf_addc(out, *p++);
		} else if (p[1] == '$') {
			pl_buf_addc(out, '$');
			p += 2;
		} else if (p[1] != '{') {
			pl_buf_addc(out, *p++);
		} else {
			const char *close = closing(p + 2, end);
			if (close == NULL)
				return pl_error_set(err, PL_EINVAL,
				                    "\"${\" without its \"}\" (write $$ for a dollar sign)");
			int rc = form(out, p + 2, close, depth, err);
			if (rc < 0)
				return rc;
			p = close + 1;
		}
	}
	return 0;
}

int pl_expand(struct pl_arena *arena, const char *text, const char **text_r, struct pl_error *err)
{
	struct pl_buf out = { 0 };

	if (strchr(text, '$') == NULL) {
		*text_r = text;
		return 0;
	}
	int rc = expand(&out, text, text + strlen(text), 0, err);
	if (rc == 0)
		*text_r = pl_arena_strdup(arena, out.data != NULL ? out.data : "");
	pl_buf_fini(&out);
	return rc;
}
