// Fixtures for tests of script/: a configuration in memory, and requests.
#define _GNU_SOURCE // asprintf
#include "world.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/sha256.h"
#include "config/config_private.h"

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct pl_script_source *)a)->path, ((const struct pl_script_source *)b)->path);
}

static void add_resource(struct pl_config *config)
{
	struct pl_resource *r = pl_arena_alloc(config->arena, sizeof(*r));

	r->name = r->table = "properties";
	r->title = "Property";
	r->topic = "property-updates";
	r->fields[0] = (struct pl_field){ .name = "price",
		                          .type = PL_FIELD_DECIMAL,
		                          .required = true,
		                          .min = "0",
		                          .precision = 12,
		                          .scale = 2 };
	r->fields[1] =
		(struct pl_field){ .name = "bedrooms", .type = PL_FIELD_INTEGER, .min = "0", .max = "100" };
	r->fields[2] =
		(struct pl_field){ .name = "bathrooms", .type = PL_FIELD_INTEGER, .min = "0", .max = "100" };
	r->fields[3] = (struct pl_field){ .name = "note", .type = PL_FIELD_STRING, .max_length = 20 };
	r->fields[4] = (struct pl_field){ .name = "sold", .type = PL_FIELD_BOOLEAN };
	r->nfields = r->nall = 5;
	config->resources = r;
	config->nresources = 1;
}

static void add_regions(struct pl_config *config)
{
	static const char *const names[] = { "us", "eu", "ap" };

	config->regions = pl_arena_array(config->arena, 3, sizeof(config->regions[0]));
	config->nregions = 3;
	for (int i = 0; i < 3; i++) {
		config->regions[i].name = names[i];
		config->regions[i].index = i;
	}
}

static void add_route(struct pl_config *config, const char *handler)
{
	bool writes = strstr(handler, "put") || strstr(handler, "create") || strstr(handler, "delete") ||
	              strstr(handler, "write");

	config->routes[config->nroutes] = (struct pl_route){
		.method = writes ? "PUT" : "GET",
		.path = "/:region/properties/:id",
		.handler = handler,
		.resource = "properties",
		.lock = strstr(handler, "put") || strstr(handler, "delete") ? PL_LOCK_REQUIRED : PL_LOCK_NONE,
		.idempotent = writes,
		.id_header = "X-Request-ID",
		.id_required = writes,
		.on_duplicate = PL_DUPLICATE_REJECT,
		.ttl_us = INT64_C(86400000000),
		.timeout_us = 10000000,
		.index = config->nroutes,
	};
	config->nroutes++;
}

static void name_sources(struct pl_config *config)
{
	config->routes =
		pl_arena_array(config->arena, (size_t)config->nsources + 1, sizeof(config->routes[0]));
	for (int i = 0; i < config->nsources; i++) {
		const char *path = config->sources[i].path;

		if (strncmp(path, "handlers/", 9) == 0)
			add_route(config, path);
		else if (strncmp(path, "policies/", 9) == 0 && !config->resources[0].policy)
			config->resources[0].policy = path;
		else if (strncmp(path, "policies/", 9) == 0 && !config->resources[0].shadow_policy)
			config->resources[0].shadow_policy = path;
	}
}

struct pl_config *world_config(const struct world_file *files, int nfiles)
{
	struct pl_config *config = pl_config_new();

	config->file = "test.yaml";
	config->lua_root = "lua";
	config->http.max_response = 8 << 20;
	config->handler_limits =
		(struct pl_script_limits){ .instructions = 10000000, .wall_us = 5000000, .memory = 32 << 20 };
	config->policy_limits =
		(struct pl_script_limits){ .instructions = 1000000, .wall_us = 5000000, .memory = 8 << 20 };
	add_resource(config);
	add_regions(config);
	config->sources = pl_arena_array(config->arena, (size_t)nfiles + 1, sizeof(config->sources[0]));
	config->nsources = nfiles;
	for (int i = 0; i < nfiles; i++) {
		struct pl_script_source *source = &config->sources[i];
		uint8_t digest[PL_SHA256_SIZE];

		source->path = pl_arena_strdup(config->arena, files[i].path);
		source->file = pl_arena_printf(config->arena, "lua/%s", files[i].path);
		source->len = strlen(files[i].text);
		source->text = pl_arena_strdup(config->arena, files[i].text);
		pl_sha256(source->text, source->len, digest);
		pl_sha256_hex(digest, source->sha256);
	}
	qsort(config->sources, (size_t)nfiles, sizeof(config->sources[0]), by_path);
	name_sources(config);
	return config;
}

static char *read_file(const char *path)
{
	struct pl_buf text = { 0 };
	char piece[4096];
	size_t n;
	FILE *f = fopen(path, "r");

	if (!f)
		pl_die("%s: cannot be read", path);
	pl_buf_reserve(&text, 1);
	while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
		pl_buf_add(&text, piece, n);
	fclose(f);
	return text.data;
}

struct pl_config *world_config_of(const char *lua_root)
{
	static const char *const folders[] = { "handlers", "policies", "plist", "lib" };
	struct world_file files[64];
	struct pl_config *config;
	int n = 0;

	for (int i = 0; i < 4; i++) {
		char *folder = NULL;
		DIR *dir;

		if (asprintf(&folder, "%s/%s", lua_root, folders[i]) < 0)
			abort();
		dir = opendir(folder);
		for (struct dirent *e; dir && n < 64 && (e = readdir(dir));) {
			char *path = NULL, *file = NULL;
			size_t len = strlen(e->d_name);

			if (len < 5 || strcmp(e->d_name + len - 4, ".lua") != 0)
				continue;
			if (asprintf(&path, "%s/%s", folders[i], e->d_name) < 0 ||
			    asprintf(&file, "%s/%s", lua_root, path) < 0)
				abort();
			files[n++] = (struct world_file){ .path = path, .text = read_file(file) };
			free(file);
		}
		if (dir)
			closedir(dir);
		free(folder);
	}
	config = world_config(files, n);
	while (n-- > 0) {
		free((char *)(uintptr_t)files[n].path);
		free((char *)(uintptr_t)files[n].text);
	}
	return config;
}

struct pl_vm *world_vm(const struct pl_config *config, enum pl_context context)
{
	struct pl_diagnostics diagnostics = { 0 };
	struct pl_vm *vm = pl_vm_new(config, context, &diagnostics);

	for (int i = 0; i < diagnostics.n; i++)
		fprintf(stderr, "# %s\n", diagnostics.lines[i].text);
	pl_diagnostics_fini(&diagnostics);
	if (!vm)
		pl_die("the scripts of this test do not load");
	return vm;
}

static struct pl_param *param(struct pl_arena *arena, const char *name, const char *value)
{
	struct pl_param *p = pl_arena_alloc(arena, sizeof(*p));

	p->name = name;
	p->value = value;
	return p;
}

// Parses "a=1&b=2", without escapes.
static struct pl_param *query_of(struct pl_arena *arena, const char *target)
{
	struct pl_param *first = NULL, **end = &first;
	const char *mark = strchr(target, '?');
	char *text = pl_arena_strdup(arena, mark ? mark + 1 : ""), *save = NULL;

	for (char *part = strtok_r(text, "&", &save); part; part = strtok_r(NULL, "&", &save)) {
		char *equals = strchr(part, '=');

		if (equals)
			*equals++ = '\0';
		*end = param(arena, part, equals ? equals : "");
		end = &(*end)->next;
	}
	return first;
}

static const struct pl_route *route_of(const struct pl_config *config, const char *handler)
{
	for (int i = 0; i < config->nroutes; i++) {
		if (strcmp(config->routes[i].handler, handler) == 0)
			return &config->routes[i];
	}
	pl_die("%s: no route", handler);
}

struct pl_request *world_request(const struct pl_config *config, const char *handler, const char *method,
                                 const char *target, const char *id, const char *body)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_request *request = pl_arena_alloc(arena, sizeof(*request));
	struct pl_error err;
	static int serial;

	*request = (struct pl_request){
		.arena = arena,
		.config = config,
		.route = route_of(config, handler),
		.method = method,
		.target = pl_arena_strdup(arena, target),
		.region_prefix = "us",
		.params = id ? param(arena, "id", pl_arena_strdup(arena, id)) : NULL,
		.query = query_of(arena, target),
		.request_id = pl_arena_printf(arena, "request-%d", ++serial),
		.principal = "",
		.deadline_us = pl_mono_us() + 10000000,
	};
	request->echo_id = request->request_id;
	if (body) {
		request->body = pl_json_parse(body, strlen(body), &pl_json_default_limits, &err);
		request->body_text = pl_arena_strdup(arena, body);
		request->body_len = strlen(body);
		if (!request->body)
			pl_die("the body of a test: %s", err.text);
		pl_sha256(body, strlen(body), request->fingerprint);
	}
	return request;
}

void world_request_free(struct pl_request **request_p)
{
	struct pl_arena *arena = (*request_p)->arena;

	cJSON_Delete((*request_p)->body);
	pl_arena_free(&arena);
	*request_p = NULL;
}

struct pl_sibling *world_sibling(struct pl_arena *arena, const char *region, int counter, int64_t at,
                                 bool deleted, const char *price, const char *bedrooms)
{
	struct pl_sibling *s = pl_arena_alloc(arena, sizeof(*s));

	strcpy(s->dot.region, region);
	s->dot.counter = counter;
	pl_vector_set(&s->vector, region, counter);
	s->updated_at_us = at;
	s->deleted = deleted;
	s->values = pl_arena_array(arena, 5, sizeof(s->values[0]));
	s->values[0] = price;
	s->values[1] = bedrooms;
	s->request_id = pl_arena_printf(arena, "%s-%d", region, counter);
	s->principal = "";
	return s;
}
