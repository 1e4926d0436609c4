// Derives a configuration from another: see derive.h.
//
// Threads: any.
#include "config/derive.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sha256.h"
#include "config/config_private.h"

#define FILE_MAX ((size_t)256 * 1024) // as config/load_sources.c

// The path under the Lua root of a file that is there; otherwise the name as given.
static const char *path_of(struct pl_arena *arena, const struct pl_config *base, const char *file)
{
	char real[PATH_MAX], root[PATH_MAX];

	if (realpath(file, real) && base->lua_root && realpath(base->lua_root, root)) {
		size_t len = strlen(root);

		if (strncmp(real, root, len) == 0 && real[len] == '/')
			return pl_arena_strdup(arena, real + len + 1);
	}
	return pl_arena_strdup(arena, file); // messages use the name as it was given
}

// Finds a file by its name relative to the current directory, then below the Lua root
// ("policies/x.lua"), then next to it ("lua/policies/x.lua").
static const char *locate(struct pl_arena *arena, const struct pl_config *base, const char *file)
{
	const char *below;

	if (file[0] == '/' || access(file, F_OK) == 0)
		return file;
	below = pl_arena_printf(arena, "%s/%s", base->lua_root, file);
	if (access(below, F_OK) == 0)
		return below;
	below = pl_arena_printf(arena, "%s/../%s", base->lua_root, file);
	return access(below, F_OK) == 0 ? below : file;
}

static int compare_sources(const void *a, const void *b)
{
	return strcmp(((const struct pl_script_source *)a)->path, ((const struct pl_script_source *)b)->path);
}

// All sources of `base`, with `source` replacing the one of the same path or inserted in
// order.
static void put_source(struct pl_config *config, const struct pl_config *base,
                       const struct pl_script_source *source)
{
	config->sources =
		pl_arena_alloc(config->arena, sizeof(config->sources[0]) * (size_t)(base->nsources + 1));
	config->nsources = 0;
	for (int i = 0; i < base->nsources; i++)
		if (strcmp(base->sources[i].path, source->path) != 0)
			config->sources[config->nsources++] = base->sources[i];
	config->sources[config->nsources++] = *source;
	qsort(config->sources, (size_t)config->nsources, sizeof(config->sources[0]), compare_sources);
}

// The settings of `base`, one resource, no routes. Its sources are set by the caller.
static struct pl_config *alone(const struct pl_config *base, const struct pl_resource *resource,
                               const char *policy)
{
	struct pl_config *config = pl_config_new();
	struct pl_arena *arena = config->arena;
	struct pl_resource *only = pl_arena_alloc(arena, sizeof(*only));

	*only = *resource;
	only->policy = policy;
	only->shadow_policy = NULL;
	only->violations = NULL;
	only->index = 0;
	*config = *base;
	config->arena = arena;
	config->resources = only;
	config->nresources = 1;
	config->nroutes = 0;
	return config;
}

struct pl_config *pl_config_derive_with_source(const struct pl_config *base,
                                               const struct pl_resource *resource, const char *path)
{
	const struct pl_script_source *source = pl_config_source(base, path);

	return source ? alone(base, resource, source->path) : NULL;
}

struct pl_config *pl_config_derive_with_policy(const struct pl_config *base,
                                               const struct pl_resource *resource, const char *file,
                                               struct pl_error *err)
{
	struct pl_config *config = alone(base, resource, NULL);
	const char *place = locate(config->arena, base, file);
	struct pl_script_source source = { .path = path_of(config->arena, base, place),
		                           .file = pl_arena_strdup(config->arena, place) };
	const struct pl_script_source *shipped =
		access(place, F_OK) < 0 ? pl_config_source(base, file) : NULL;
	uint8_t digest[PL_SHA256_SIZE];

	if (shipped && shipped->shipped) {
		config->resources[0].policy = shipped->path;
		return config;
	}
	source.text = pl_load_read(config->arena, place, FILE_MAX, &source.len, err);
	if (!source.text && err && err->code == PL_ENOTFOUND && file[0] != '/')
		pl_error_set(err, PL_ENOTFOUND, "there is no such file, here or below %s", base->lua_root);
	if (!source.text) {
		pl_config_unref(&config);
		return NULL;
	}
	pl_sha256(source.text, source.len, digest);
	pl_sha256_hex(digest, source.sha256);
	put_source(config, base, &source);
	config->resources[0].policy = source.path;
	return config;
}

struct pl_config *pl_config_derive_replace_policy(const struct pl_config *base,
                                                  const struct pl_resource *resource, const char *path,
                                                  const char *text, size_t len)
{
	struct pl_config *config = pl_config_new();
	struct pl_arena *arena = config->arena;
	struct pl_script_source source = { .path = pl_arena_strdup(arena, path),
		                           .text = pl_arena_strndup(arena, text, len),
		                           .len = len };
	uint8_t digest[PL_SHA256_SIZE];

	((struct pl_config_holder *)config)->parent = pl_config_ref(base);
	*config = *base;
	config->arena = arena;
	config->resources = pl_arena_alloc(arena, sizeof(config->resources[0]) * (size_t)base->nresources);
	memcpy(config->resources, base->resources, sizeof(config->resources[0]) * (size_t)base->nresources);
	config->resources[resource->index].policy = source.path;
	source.file = path[0] == '/' ? source.path : pl_arena_printf(arena, "%s/%s", base->lua_root, path);
	pl_sha256(text, len, digest);
	pl_sha256_hex(digest, source.sha256);
	put_source(config, base, &source);
	return config;
}

bool pl_config_derive_policy_lasts(const struct pl_config *config, const struct pl_resource *resource)
{
	const struct pl_resource *named = pl_config_resource(pl_config_as_loaded(config), resource->name);
	const struct pl_script_source *source = pl_config_source(config, resource->policy);
	struct pl_arena *arena;
	size_t len;
	char *text;
	bool same;

	if (!source || strcmp(named->policy, resource->policy) != 0)
		return false;
	if (source->shipped)
		return true;
	arena = pl_arena_new(0);
	text = pl_load_read(arena, source->file, FILE_MAX, &len, NULL);
	same = text && len == source->len && memcmp(text, source->text, len) == 0;
	pl_arena_free(&arena);
	return same;
}
