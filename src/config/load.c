// From the text of the YAML file to a checked pl_config.
//
// The steps: read the file; config/yaml (a tree); config/load_walk (each value by its row
// in the table); here (values derived from others); config/load_sources (Lua files);
// config/load_check and config/load_check_routes (conflicts and references). All problems
// are collected in one run, unless the tree cannot be read.
// Threads: any; reads the environment.
#include "config/load_private.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/sha256.h"
#include "config/config_private.h"

#define ID_ROOM_MAX INT64_C(1000000000000) // size of the range of ids of a region

// ---- what one value derives from another

static const char *default_upstream(struct pl_load *load, const char *listen)
{
	if (strncmp(listen, "0.0.0.0:", 8) == 0)
		return pl_arena_printf(load->arena, "127.0.0.1:%s", listen + 8);
	if (strncmp(listen, "[::]:", 5) == 0)
		return pl_arena_printf(load->arena, "[::1]:%s", listen + 5);
	return listen;
}

#define ADMIN_PORT_ABOVE 1000

static const char *default_admin_listen(struct pl_load *load, const char *listen)
{
	const char *colon = strrchr(listen, ':');
	int port = colon != NULL ? atoi(colon + 1) : 0;

	port += port + ADMIN_PORT_ABOVE <= 65535 ? ADMIN_PORT_ABOVE : -ADMIN_PORT_ABOVE;
	return pl_arena_printf(load->arena, "127.0.0.1:%d", port);
}

static void make_absolute(struct pl_load *load, const char **path)
{
	if (*path != NULL)
		*path = pl_load_path(load, *path);
}

static void derive_tls(struct pl_load *load)
{
	struct pl_config *config = load->config;
	struct pl_upstream_tls *upstream = &config->nginx.upstream_tls;
	const char **paths[] = {
		&config->nginx.tls.certificate, &config->nginx.tls.key, &config->nginx.tls.client_ca,
		&upstream->certificate,         &upstream->key,         &upstream->ca
	};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		make_absolute(load, paths[i]);
	for (int i = 0; i < config->nregions; i++) {
		make_absolute(load, &config->regions[i].tls.certificate);
		make_absolute(load, &config->regions[i].tls.key);
		make_absolute(load, &config->regions[i].tls.client_ca);
		make_absolute(load, &config->regions[i].tls.direct_ca);
	}
}

static void derive_region(struct pl_load *load, struct pl_region *region, int i)
{
	const struct pl_yaml_node *node = pl_load_named(load, "regions", region->name);

	region->index = i;
	if (region->nupstream == 0 && region->listen != NULL) {
		region->upstream = pl_arena_alloc(load->arena, sizeof(char *));
		region->upstream[0] = default_upstream(load, region->listen);
		region->nupstream = 1;
	}
	region->admin_listen_given = region->admin_listen != NULL;
	if (region->admin_listen == NULL)
		region->admin_listen = load->config->admin.listen;
	if (region->admin_listen == NULL && region->listen != NULL)
		region->admin_listen = default_admin_listen(load, region->listen);
	region->id_base_given = pl_yaml_member(node, "id_base") != NULL;
	if (!region->id_base_given)
		region->id_base = (int64_t)(i + 1) * ID_ROOM_MAX;
	region->control_socket = region->control_socket == NULL
	                                 ? pl_arena_printf(load->arena, "/run/plist/%s.sock", region->name)
	                                 : pl_load_path(load, region->control_socket);
	if (region->unix_socket != NULL)
		region->unix_socket = pl_load_path(load, region->unix_socket);
}

// Up to the start of the range of the next region.
static void derive_id_room(struct pl_config *config, struct pl_region *region)
{
	region->id_room = ID_ROOM_MAX;
	for (int i = 0; i < config->nregions; i++) {
		int64_t distance = config->regions[i].id_base - region->id_base;

		if (distance > 0 && distance < region->id_room)
			region->id_room = distance;
	}
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

#define ANSWER_GRACE_US 3000000 // maximum delay of a timeout answer after the deadline of the route

// NGINX must receive the answer of a daemon that a request timed out: a timeout of NGINX
// counts as a failure of the daemon, and a client could provoke it.
static void derive_nginx(struct pl_config *config)
{
	int64_t longest_us = config->http.request_timeout_us;

	for (int i = 0; i < config->nroutes; i++)
		if (config->routes[i].timeout_us > longest_us)
			longest_us = config->routes[i].timeout_us;
	if (config->nginx.read_timeout_us == 0)
		config->nginx.read_timeout_us = longest_us + ANSWER_GRACE_US;
}

static void derive(struct pl_load *load)
{
	struct pl_config *config = load->config;

	for (int i = 0; i < config->nregions; i++)
		derive_region(load, &config->regions[i], i);
	for (int i = 0; i < config->nregions; i++)
		derive_id_room(config, &config->regions[i]);
	for (int i = 0; i < config->nresources; i++) {
		struct pl_resource *resource = &config->resources[i];
		resource->index = i;
		if (resource->table == NULL)
			resource->table = resource->name;
		if (resource->title == NULL)
			resource->title = singular_title(load, resource->name);
	}
	pl_config_sort_fields(config);
	for (int i = 0; i < config->nroutes; i++)
		derive_route(load, &config->routes[i], i);
	derive_nginx(config);
	if (config->auth.api_keys != NULL)
		config->auth.api_keys = pl_load_path(load, config->auth.api_keys);
	if (config->auth.jwt.keys != NULL)
		config->auth.jwt.keys = pl_load_path(load, config->auth.jwt.keys);
	make_absolute(load, &config->auth.jwt.jwks_ca);
	derive_tls(load);
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
	const char *directory = slash == NULL   ? "."
	                        : slash == file ? "/"
	                                        : pl_arena_strndup(arena, file, (size_t)(slash - file));
	char real[PATH_MAX];

	return realpath(directory, real) != NULL ? pl_arena_strdup(arena, real) : directory;
}

static bool is_used(const struct pl_config *config, const struct pl_script_source *source)
{
	for (int i = 0; i < config->nresources; i++)
		if (source == pl_config_source(config, config->resources[i].policy) ||
		    (config->resources[i].shadow_policy != NULL &&
		     source == pl_config_source(config, config->resources[i].shadow_policy)))
			return true;
	return !source->shipped;
}

// Daemons with the same hash run the same YAML and Lua. Built-in policies are included if
// they are used.
static void hash_all(struct pl_load *load, const char *text, size_t len)
{
	struct pl_config *config = load->config;
	struct pl_buf all = { 0 };
	uint8_t digest[PL_SHA256_SIZE];

	pl_buf_add(&all, text, len);
	for (int i = 0; i < config->nsources; i++)
		if (is_used(config, &config->sources[i]))
			pl_buf_printf(&all, "\n%s %s", config->sources[i].path, config->sources[i].sha256);
	pl_sha256(all.data, all.len, digest);
	config->sha256 = pl_sha256_hex(digest, pl_arena_alloc(load->arena, PL_SHA256_HEX));
	pl_buf_fini(&all);
}

static void load_all(struct pl_load *load)
{
	struct pl_error err;
	size_t len;

	char *text = pl_load_read(load->arena, load->file, PL_YAML_BYTES_MAX, &len, &err);
	if (text == NULL) {
		pl_load_fault(load, NULL, NULL, "%s", err.text);
		return;
	}
	load->root = pl_yaml_parse(load->arena, load->file, text, len, load->diagnostics);
	if (load->root == NULL)
		return;
	if (load->root->kind != PL_YAML_MAP) {
		pl_load_fault(load, load->root, NULL, "a configuration must be a map, not %s",
		              pl_yaml_kind_name(load->root));
		return;
	}
	pl_load_walk(load);
	derive(load);
	pl_load_sources(load);
	hash_all(load, text, len);
	pl_load_check(load);
	pl_load_check_routes(load);
	pl_load_check_security(load);
	pl_load_check_secrets(load);
	pl_load_check_tls(load);
	pl_load_check_client_certs(load);
}

struct pl_config *pl_config_load(const char *file, const char *region, struct pl_diagnostics *diagnostics)
{
	struct pl_config *config = pl_config_new();
	int faults = diagnostics->n - diagnostics->warnings, first = diagnostics->n;

	config->file = pl_arena_strdup(config->arena, file);
	struct pl_load load = {
		.file = config->file,
		.directory = directory_of(config->arena, file),
		.region = region,
		.config = config,
		.arena = config->arena,
		.diagnostics = diagnostics,
	};
	load_all(&load);
	pl_diagnostics_sort(diagnostics, first, file);
	if (diagnostics->n - diagnostics->warnings > faults)
		pl_config_unref(&config);
	return config;
}
