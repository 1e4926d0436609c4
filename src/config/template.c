// Fills in a template. See template.h for its language.
//
// The text is read line by line; a block is rendered by reading its lines again for each
// object.
// Threads: any.
#include "config/template.h"

#include <stdbool.h>
#include <string.h>

#define MARK      "#@"
#define DEPTH_MAX 8

struct scope {
	const cJSON *object;
	const struct scope *outer;
	int depth;
};

static const cJSON *look_up(const struct scope *scope, const char *name, size_t len)
{
	for (; scope != NULL; scope = scope->outer)
		for (const cJSON *item = scope->object->child; item != NULL; item = item->next)
			if (strlen(item->string) == len && memcmp(item->string, name, len) == 0)
				return item;
	return NULL;
}

static const char *line_end(const char *p)
{
	const char *end = strchr(p, '\n');

	return end != NULL ? end + 1 : p + strlen(p);
}

static bool is_mark(const char *line, const char *word)
{
	size_t len = strlen(word);

	return strncmp(line, MARK, 2) == 0 && strncmp(line + 2, word, len) == 0 &&
	       strchr(" \n", line[2 + len]) != NULL;
}

// The "#@end" line of the block whose first line inside is `p`; NULL if there is none
// before `end`.
static const char *block_end(const char *p, const char *end)
{
	int open = 1;

	for (; p < end; p = line_end(p)) {
		if (is_mark(p, "for") || is_mark(p, "if"))
			open++;
		else if (is_mark(p, "end") && --open == 0)
			return p;
	}
	return NULL;
}

// The "#@else" line of a block, or its end.
static const char *block_else(const char *p, const char *stop)
{
	int open = 0;

	for (; p < stop; p = line_end(p)) {
		if (is_mark(p, "for") || is_mark(p, "if"))
			open++;
		else if (is_mark(p, "end"))
			open--;
		else if (is_mark(p, "else") && open == 0)
			return p;
	}
	return stop;
}

static int fill_line(struct pl_buf *buf, const char *p, const char *end, const struct scope *scope,
                     struct pl_error *err)
{
	while (p < end) {
		const char *open = strstr(p, "{{");
		if (open == NULL || open >= end)
			break;
		const char *close = strstr(open, "}}");
		if (close == NULL || close >= end)
			return pl_error_set(err, PL_EINVAL, "template: \"{{\" without \"}}\"");
		const cJSON *item = look_up(scope, open + 2, (size_t)(close - open - 2));
		if (!cJSON_IsString(item))
			return pl_error_set(err, PL_EINVAL, "template: there is no value \"%.*s\"",
			                    (int)(close - open - 2), open + 2);
		pl_buf_add(buf, p, (size_t)(open - p));
		pl_buf_adds(buf, item->valuestring);
		p = close + 2;
	}
	pl_buf_add(buf, p, (size_t)(end - p));
	return 0;
}

static int render(struct pl_buf *buf, const char *p, const char *end, const struct scope *scope,
                  struct pl_error *err);

// A block from its first line `p` ("#@for …", "#@if …") to its last line, `stop`.
static int render_block(struct pl_buf *buf, const char *p, const char *stop, const struct scope *scope,
                        struct pl_error *err)
{
	bool loop = is_mark(p, "for");
	const char *name = p + (loop ? 6 : 5), *inside = line_end(p);
	const cJSON *item = look_up(scope, name, strcspn(name, "\n"));
	int rc = 0;

	if (item == NULL && loop)
		return pl_error_set(err, PL_EINVAL, "template: there is no list \"%.*s\"",
		                    (int)strcspn(name, "\n"), name);
	if (scope->depth == DEPTH_MAX)
		return pl_error_set(err, PL_EINVAL, "template: blocks nested too deeply");
	if (!loop) {
		const char *otherwise = block_else(inside, stop);
		if (item != NULL && !cJSON_IsFalse(item))
			return render(buf, inside, otherwise, scope, err);
		return otherwise < stop ? render(buf, line_end(otherwise), stop, scope, err) : 0;
	}
	const cJSON *object;
	cJSON_ArrayForEach (object, item) {
		struct scope inner = { .object = object, .outer = scope, .depth = scope->depth + 1 };
		rc = render(buf, inside, stop, &inner, err);
		if (rc < 0)
			break;
	}
	return rc;
}

static int render(struct pl_buf *buf, const char *p, const char *end, const struct scope *scope,
                  struct pl_error *err)
{
	while (p < end) {
		const char *after = line_end(p);
		int rc;
		if (is_mark(p, "for") || is_mark(p, "if")) {
			const char *stop = block_end(after, end);
			if (stop == NULL)
				return pl_error_set(err, PL_EINVAL, "template: a block without its end: %.*s",
				                    (int)(after - p - 1), p);
			rc = render_block(buf, p, stop, scope, err);
			after = line_end(stop);
		} else if (strncmp(p, MARK, 2) == 0) {
			rc = pl_error_set(err, PL_EINVAL, "template: out of place: %.*s",
			                  (int)(after - p - 1), p);
		} else {
			rc = fill_line(buf, p, after, scope, err);
		}
		if (rc < 0)
			return rc;
		p = after;
	}
	return 0;
}

int pl_template_render(struct pl_buf *buf, const char *text, const cJSON *context, struct pl_error *err)
{
	struct scope scope = { .object = context };

	return render(buf, text, text + strlen(text), &scope, err);
}
