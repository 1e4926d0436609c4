// From the YAML's text to a checked pl_config.
//
// The way: read, config/yaml (a tree), config/walk (each value by its row in the table), here (what one value derives from another),
// config/sources (Lua files), config/check and config/check_routes (clashes and references). All problems are collected in one run; only
// when the tree cannot be read is that all.
// Threads: any; reads the environment.
#include "config/load.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/sha256.h"
#include "config/holder.h"

static void add_at(struct pl_load *load, bool warning, const struct pl_node *above, const char *key, const char *fmt, va_list ap)
	__attribute__((format(printf, 5, 0)));

static void add_at(struct pl_load *load, bool warning, const struct pl_node *above, const char *key, const char *fmt, va_list ap)
{
	const struct pl_node *node = key != NULL ? pl_node_member(above, key) : NULL;
	int line = 1, column = 1;

	if (node != NULL) {
		line = node->line;
		column = node->column;
	} else if (above != NULL) {
		line = above->key != NULL ? above->key_line : above->line;
		column = above->key != NULL ? above->key_column : above->column;
	}
	pl_problems_vadd(load->problems, warning, load->file, line, column, fmt, ap);
}

void pl_load_fault(struct pl_load *load, const struct pl_node *above, const char *key, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_at(load, false, above, key, fmt, ap);
	va_end(ap);
}

void pl_load_warn(struct pl_load *load, const struct pl_node *above, const char *key, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_at(load, true, above, key, fmt, ap);
	va_end(ap);
}

const struct pl_node *pl_load_named(const struct pl_load *load, const char *section, const char *name)
{
	return pl_node_member(pl_node_member(load->root, section), name);
}

const struct pl_node *pl_load_route(const struct pl_load *load, int i)
{
	const struct pl_node *list = pl_node_member(load->root, "routes");
	const struct pl_node *node = list != NULL ? list->first : NULL;

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

char *pl_load_read(struct pl_arena *arena, const char *file, size_t max, size_t *len_r, struct pl_error *err)
{
	FILE *f = fopen(file, "re");
	char *text = NULL;
	struct stat st;

	if (f == NULL) {
		pl_error_set(err, PL_ENOTFOUND, "%s", strerror(errno));
		return NULL;
	}
	if (fstat(fileno(f), &st) < 0 || S_ISDIR(st.st_mode)) {
		pl_error_set(err, PL_EINVAL, "is a directory");
		fclose(f);
		return NULL;
	}
	struct pl_buf buf = { 0 };
	char piece[16384];
	size_t n;
	while (buf.len <= max && (n = fread(piece, 1, sizeof(piece), f)) > 0)
		pl_buf_add(&buf, piece, n);
	if (ferror(f)) {
		pl_error_set(err, PL_EUNAVAIL, "%s", strerror(errno));
	} else if (buf.len > max) {
		pl_error_set(err, PL_EINVAL, "larger than %zu bytes", max);
	} else {
		text = pl_arena_alloc(arena, buf.len + 1);
		if (buf.len > 0)
			memcpy(text, buf.data, buf.len);
		*len_r = buf.len;
	}
	pl_buf_fini(&buf);
	fclose(f);
	return text;
}

// ---- what one value derives from another

static const char *default_upstream(struct pl_load *load, const char *listen)
{
	if (strncmp(listen, "0.0.0.0:", 8) == 0)
		return pl_arena_printf(load->arena, "127.0.0.1:%s", listen + 8);
	if (strncmp(listen, "[::]:", 5) == 0)
		return pl_arena_printf(load->arena, "[::1]:%s", listen + 5);
	return listen;
}

static void derive_region(struct pl_load *load, struct pl_region *region, int i)
{
	const struct pl_node *node = pl_load_named(load, "regions", region->name);

	region->index = i;
	if (region->nupstream == 0 && region->listen != NULL) {
		region->upstream = pl_arena_alloc(load->arena, sizeof(char *));
		region->upstream[0] = default_upstream(load, region->listen);
		region->nupstream = 1;
	}
	if (pl_node_member(node, "id_base") == NULL)
		region->id_base = (int64_t)(i + 1) * INT64_C(1000000000000);
	region->control = region->control == NULL ? pl_arena_printf(load->arena, "/run/plist/%s.sock", region->name)
	                                          : pl_load_path(load, region->control);
	if (region->socket != NULL)
		region->socket = pl_load_path(load, region->socket);
}

// "properties" -> "Property", "listings" -> "Listing".
static const char *singular_title(struct pl_load *load, const char *name)
{
	char *title = pl_arena_strdup(load->arena, name);
	size_t len = strlen(title);

	if (len > 3 && strcmp(title + len - 3, "ies") == 0)
		memcpy(title + len - 3, "y", 2);
	else if (len > 1 && title[len - 1] == 's' && title[len - 2] != 's')
		title[len - 1] = '\0';
	if (title[0] >= 'a' && title[0] <= 'z')
		title[0] = (char)(title[0] - 'a' + 'A');
	for (char *p = title; *p != '\0'; p++)
		if (*p == '_' || *p == '-')
			*p = ' ';
	return title;
}

static void derive_route(struct pl_load *load, struct pl_route *route, int i)
{
	route->index = i;
	if (route->timeout_us == 0)
		route->timeout_us = load->config->http.request_timeout_us;
	if (route->resource != NULL || route->path == NULL || strncmp(route->path, "/:region/", 9) != 0)
		return;
	const char *segment = route->path + 9;
	const char *name = pl_arena_strndup(load->arena, segment, strcspn(segment, "/"));
	if (pl_config_resource(load->config, name) != NULL)
		route->resource = name;
}

static bool is_directory(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void derive(struct pl_load *load)
{
	struct pl_config *config = load->config;

	for (int i = 0; i < config->nregions; i++)
		derive_region(load, &config->regions[i], i);
	for (int i = 0; i < config->nresources; i++) {
		struct pl_resource *resource = &config->resources[i];
		resource->index = i;
		if (resource->table == NULL)
			resource->table = resource->name;
		if (resource->title == NULL)
			resource->title = singular_title(load, resource->name);
	}
	for (int i = 0; i < config->nroutes; i++)
		derive_route(load, &config->routes[i], i);
	const char *cache = getenv("CACHE_DIRECTORY");
	if (config->lua_checked == NULL && cache != NULL && *cache != '\0')
		config->lua_checked = pl_arena_strdup(load->arena, cache);
	if (config->lua_checked != NULL)
		config->lua_checked = pl_load_path(load, config->lua_checked);
	if (config->lua_root != NULL) {
		config->lua_root = pl_load_path(load, config->lua_root);
	} else {
		config->lua_root = pl_load_path(load, "../lua");
		if (!is_directory(config->lua_root))
			config->lua_root = PL_LUADIR;
	}
	char real[PATH_MAX];
	if (realpath(config->lua_root, real) != NULL)
		config->lua_root = pl_arena_strdup(load->arena, real);
}

// ---- the whole

static const char *directory_of(struct pl_arena *arena, const char *file)
{
	const char *slash = strrchr(file, '/');
	const char *directory = slash == NULL ? "." : slash == file ? "/" : pl_arena_strndup(arena, file, (size_t)(slash - file));
	char real[PATH_MAX];

	return realpath(directory, real) != NULL ? pl_arena_strdup(arena, real) : directory;
}

static void load_all(struct pl_load *load)
{
	struct pl_config *config = load->config;
	uint8_t digest[PL_SHA256_SIZE];
	struct pl_error err;
	size_t len;

	char *text = pl_load_read(load->arena, load->file, PL_YAML_BYTES_MAX, &len, &err);
	if (text == NULL) {
		pl_load_fault(load, NULL, NULL, "%s", err.text);
		return;
	}
	pl_sha256(text, len, digest);
	config->sha256 = pl_sha256_hex(digest, pl_arena_alloc(load->arena, PL_SHA256_HEX));
	load->root = pl_yaml_parse(load->arena, load->file, text, len, load->problems);
	if (load->root == NULL)
		return;
	if (load->root->kind != PL_NODE_MAP) {
		pl_load_fault(load, load->root, NULL, "a configuration must be a map, not %s", pl_node_kind_name(load->root));
		return;
	}
	pl_load_walk(load);
	derive(load);
	pl_load_sources(load);
	pl_load_check(load);
	pl_load_check_routes(load);
}

struct pl_config *pl_config_load(const char *file, const char *region, struct pl_problems *problems)
{
	struct pl_config *config = pl_config_new();
	int faults = problems->n - problems->warnings, first = problems->n;

	config->file = pl_arena_strdup(config->arena, file);
	struct pl_load load = {
		.file = config->file, .directory = directory_of(config->arena, file), .region = region,
		.config = config, .arena = config->arena, .problems = problems,
	};
	load_all(&load);
	pl_problems_sort(problems, first, file);
	if (problems->n - problems->warnings > faults)
		pl_config_unref(&config);
	return config;
}
