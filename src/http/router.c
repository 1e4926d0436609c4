// The router: if several routes match a path, the one with the most literal segments
// wins.
//
// Between http/request and the handlers. Built once per configuration; a few dozen
// routes, sorted so that the first match is the most specific. The check of the
// configuration refuses pairs of which neither is.
// Invariant: a path whose `:region` is not a configured region is answered 404. Threads:
// a router belongs to one.
#include "http/router.h"

#include <stdlib.h>
#include <string.h>

struct entry {
	const char *method, *path;
	const struct pl_route *route;
	enum pl_builtin builtin;
	int nsegments, nliterals;
	const char *segments[PL_SEGMENTS_MAX];
};

struct pl_router {
	const struct pl_config *config;
	enum pl_audience audience;
	struct pl_arena *arena;
	int n;
	struct entry *entries; // most specific first
};

static const struct {
	const char *path;
	enum pl_builtin builtin;
	enum pl_audience audience;
} built_in[] = {
	{ "/health", PL_BUILTIN_HEALTH, PL_AUDIENCE_CLIENTS },
	{ "/:region/health", PL_BUILTIN_HEALTH, PL_AUDIENCE_CLIENTS },
	{ "/ready", PL_BUILTIN_READY, PL_AUDIENCE_CLIENTS },
	{ "/:region/replication-lag", PL_BUILTIN_LAG, PL_AUDIENCE_CLIENTS },
	{ "/health", PL_BUILTIN_HEALTH, PL_AUDIENCE_OPERATORS },
	{ "/ready", PL_BUILTIN_REASONS, PL_AUDIENCE_OPERATORS },
	{ "/metrics", PL_BUILTIN_METRICS, PL_AUDIENCE_OPERATORS },
	{ "/:region/replication-lag", PL_BUILTIN_LAG, PL_AUDIENCE_OPERATORS },
};
#define NBUILT_IN ((int)(sizeof(built_in) / sizeof(built_in[0])))

static void split(struct pl_arena *arena, struct entry *entry)
{
	char *save = NULL, *copy = pl_arena_strdup(arena, entry->path);
	for (char *s = strtok_r(copy, "/", &save); s && entry->nsegments < PL_SEGMENTS_MAX;
	     s = strtok_r(NULL, "/", &save)) {
		entry->segments[entry->nsegments++] = s;
		entry->nliterals += s[0] != ':';
	}
	if (entry->nsegments == 0)
		entry->segments[entry->nsegments++] = "";
}

static int by_width(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	return y->nliterals - x->nliterals;
}

struct pl_router *pl_router_new(const struct pl_config *config, enum pl_audience audience)
{
	int nroutes = audience == PL_AUDIENCE_CLIENTS ? config->nroutes : 0;
	struct pl_router *router = pl_calloc(1, sizeof(*router));
	router->config = config;
	router->audience = audience;
	router->arena = pl_arena_new(0);
	router->entries = pl_calloc((size_t)(NBUILT_IN + nroutes), sizeof(router->entries[0]));
	for (int i = 0; i < NBUILT_IN; i++)
		if (built_in[i].audience == audience)
			router->entries[router->n++] = (struct entry){ .method = "GET",
				                                       .path = built_in[i].path,
				                                       .builtin = built_in[i].builtin };
	for (int i = 0; i < nroutes; i++) {
		const struct pl_route *route = &config->routes[i];
		router->entries[router->n++] =
			(struct entry){ .method = route->method, .path = route->path, .route = route };
	}
	for (int i = 0; i < router->n; i++)
		split(router->arena, &router->entries[i]);
	qsort(router->entries, (size_t)router->n, sizeof(router->entries[0]), by_width);
	return router;
}

void pl_router_free(struct pl_router **router_p)
{
	struct pl_router *router = *router_p;
	if (!router)
		return;
	pl_arena_free(&router->arena);
	free(router->entries);
	free(router);
	*router_p = NULL;
}

static bool matches(const struct entry *entry, const struct pl_target *target)
{
	if (entry->nsegments != target->nsegments)
		return false;
	for (int i = 0; i < entry->nsegments; i++) {
		bool literal = entry->segments[i][0] != ':';
		// A parameter is never empty: "/us/properties/" is not a record with an
		// empty id.
		if (literal ? strcmp(entry->segments[i], target->segments[i]) != 0 : !*target->segments[i])
			return false;
	}
	return true;
}

// "GET, HEAD, PUT, OPTIONS": of every route that matches the path, each method once.
static const char *allowed(const struct pl_router *router, struct pl_arena *arena,
                           const struct pl_target *target)
{
	char *list = pl_arena_strdup(arena, "OPTIONS");
	for (int i = router->n - 1; i >= 0; i--) {
		const struct entry *entry = &router->entries[i];
		if (!matches(entry, target))
			continue;
		bool known = false;
		for (int j = i + 1; j < router->n && !known; j++)
			known = matches(&router->entries[j], target) &&
			        strcmp(router->entries[j].method, entry->method) == 0;
		if (!known)
			list = pl_arena_printf(arena, "%s%s, %s", entry->method,
			                       strcmp(entry->method, "GET") == 0 ? ", HEAD" : "", list);
	}
	return list;
}

static void take_params(const struct pl_router *router, struct pl_arena *arena, const struct entry *entry,
                        const struct pl_target *target, struct pl_route_match *match)
{
	struct pl_param **tail = &match->params;
	for (int i = 0; i < entry->nsegments; i++) {
		if (entry->segments[i][0] != ':')
			continue;
		struct pl_param *param = pl_arena_alloc(arena, sizeof(*param));
		param->name = entry->segments[i] + 1;
		param->value = target->segments[i];
		*tail = param;
		tail = &param->next;
		if (strcmp(param->name, "region") == 0) {
			const struct pl_region *region =
				pl_config_region(router->config, param->value, strlen(param->value));
			match->region_prefix = region ? region->name : NULL;
			if (!region) {
				match->status = 404;
				match->title = "Region not found";
				match->detail =
					pl_arena_printf(arena, "there is no region \"%s\"", param->value);
			}
		}
	}
}

static void found(const struct pl_router *router, struct pl_arena *arena, const struct entry *entry,
                  const struct pl_target *target, struct pl_route_match *match)
{
	match->status = 200;
	take_params(router, arena, entry, target, match);
	if (match->status != 200)
		return;
	match->route = entry->route;
	match->builtin = entry->builtin;
	match->method = entry->method;
	match->path = entry->path;
}

// The path matches, but not the method: returns the allowed methods. The region is
// checked here as well.
static void wrong_method(const struct pl_router *router, struct pl_arena *arena, const struct entry *entry,
                         const char *method, const struct pl_target *target, struct pl_route_match *match)
{
	bool options = strcmp(method, "OPTIONS") == 0;
	match->status = options ? 204 : 405;
	match->title = options ? NULL : "Method not allowed";
	take_params(router, arena, entry, target, match);
	if (match->status == 404)
		return;
	match->allow = allowed(router, arena, target);
	if (!options)
		match->detail = pl_arena_printf(arena, "this path accepts %s", match->allow);
}

// Clients that ask the wrong listener are directed to the right one.
static const char *no_route(const struct pl_router *router, const struct pl_target *target)
{
	if (router->audience == PL_AUDIENCE_OPERATORS)
		return "this address is for operators: /metrics, /ready, /health; clients use "
		       "regions.<name>.listen";
	if (target->nsegments == 1 && strcmp(target->segments[0], "metrics") == 0)
		return "/metrics is served at the address admin.listen of the configuration";
	return "no route matches this path";
}

void pl_router_match(const struct pl_router *router, struct pl_arena *arena, const char *method,
                     const struct pl_target *target, struct pl_route_match *match_r)
{
	const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
	const struct entry *any = NULL;
	*match_r = (struct pl_route_match){
		.status = 404, .title = "Not found", .method = "other", .path = "other"
	};
	if (target->asterisk) {
		match_r->status = strcmp(method, "OPTIONS") == 0 ? 204 : 405;
		match_r->title = "Method not allowed";
		match_r->allow = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
		return;
	}
	for (int i = 0; i < router->n; i++) {
		const struct entry *entry = &router->entries[i];
		if (!matches(entry, target))
			continue;
		if (strcmp(entry->method, wanted) == 0) {
			found(router, arena, entry, target, match_r);
			return;
		}
		any = any ? any : entry;
	}
	if (any)
		wrong_method(router, arena, any, method, target, match_r);
	else
		match_r->detail = no_route(router, target);
}
