// Places: where in the YAML a problem is, and what a relative path is relative to.
//
// At the bottom of loading: everything else of it reports through these functions.
// Threads: any; a pl_load belongs to one load.
#include "config/load_private.h"

#include <string.h>

#include "base/file.h"
#include "config/config_private.h"

static void add_at(struct pl_load *load, bool warning, const struct pl_yaml_node *above, const char *key,
                   const char *fmt, va_list ap) __attribute__((format(printf, 5, 0)));

static void add_at(struct pl_load *load, bool warning, const struct pl_yaml_node *above, const char *key,
                   const char *fmt, va_list ap)
{
	const struct pl_yaml_node *node = key != NULL ? pl_yaml_member(above, key) : NULL;
	int line = 1, column = 1;

	if (node != NULL) {
		line = node->line;
		column = node->column;
	} else if (above != NULL) {
		line = above->key != NULL ? above->key_line : above->line;
		column = above->key != NULL ? above->key_column : above->column;
	}
	pl_diagnostics_vadd(load->diagnostics,
	                    &(struct pl_diagnostic){ NULL, warning, load->file, line, column }, fmt, ap);
}

void pl_load_fault(struct pl_load *load, const struct pl_yaml_node *above, const char *key, const char *fmt,
                   ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_at(load, false, above, key, fmt, ap);
	va_end(ap);
}

void pl_load_warn(struct pl_load *load, const struct pl_yaml_node *above, const char *key, const char *fmt,
                  ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_at(load, true, above, key, fmt, ap);
	va_end(ap);
}

const struct pl_yaml_node *pl_load_named(const struct pl_load *load, const char *section, const char *name)
{
	return pl_yaml_member(pl_yaml_member(load->root, section), name);
}

const struct pl_yaml_node *pl_load_route(const struct pl_load *load, int i)
{
	const struct pl_yaml_node *list = pl_yaml_member(load->root, "routes");
	const struct pl_yaml_node *node = list != NULL ? list->first : NULL;

	while (node != NULL && i-- > 0)
		node = node->next;
	return node;
}

const char *pl_load_path(struct pl_load *load, const char *path)
{
	if (path[0] == '/')
		return path;
	return pl_arena_printf(load->arena, "%s/%s", load->directory, path);
}

static char *keep(struct pl_arena *arena, struct pl_buf *buf, size_t *len_r)
{
	char *text = pl_arena_alloc(arena, buf->len + 1);

	memcpy(text, buf->data, buf->len + 1);
	*len_r = buf->len;
	return text;
}

char *pl_load_read(struct pl_arena *arena, const char *file, size_t max, size_t *len_r, struct pl_error *err)
{
	struct pl_buf buf = { 0 };
	char *text = pl_file_read(file, max, &buf, err) == 0 ? keep(arena, &buf, len_r) : NULL;

	pl_buf_fini(&buf);
	return text;
}

char *pl_load_read_private(struct pl_arena *arena, const char *file, size_t max, size_t *len_r,
                           struct pl_error *err)
{
	struct pl_buf buf = { 0 };
	char *text = pl_file_read_private(file, max, &buf, err) == 0 ? keep(arena, &buf, len_r) : NULL;

	if (buf.data != NULL)
		explicit_bzero(buf.data, buf.len);
	pl_buf_fini(&buf);
	return text;
}
