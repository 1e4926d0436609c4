// Routes: that each can be served, and that no request can mean two of them.
//
// The last step of loading. The router's rule, which this makes unambiguous: of the
// routes whose path matches, the one with the most literal segments answers. Two routes
// that match a common path and of which neither is the narrower one are refused.
// Threads: any.
#include "config/load_private.h"

#include <string.h>

#define SEGMENTS_MAX   16
#define PATH_MAX_BYTES 256

struct path {
	char text[PATH_MAX_BYTES];
	char *segments[SEGMENTS_MAX];
	int n;
};

// Answered by the daemon itself.
static const char *const built_in[] = { "/:region/health", "/:region/replication-lag", NULL };

// -1: more segments than there may be.
static int split(const char *text, struct path *path)
{
	char *save = NULL;
	size_t len = strlen(text);

	path->n = 0;
	if (len >= sizeof(path->text))
		return -1;
	memcpy(path->text, text, len + 1);
	for (char *p = strtok_r(path->text, "/", &save); p != NULL; p = strtok_r(NULL, "/", &save)) {
		if (path->n == SEGMENTS_MAX)
			return -1;
		path->segments[path->n++] = p;
	}
	return 0;
}

enum relation { DISJOINT, SAME, NARROWER, CROSSING }; // NARROWER: one of them, no matter which

static enum relation compare(const struct path *a, const struct path *b)
{
	bool a_narrower = false, b_narrower = false;

	if (a->n != b->n)
		return DISJOINT;
	for (int i = 0; i < a->n; i++) {
		bool a_literal = a->segments[i][0] != ':', b_literal = b->segments[i][0] != ':';
		if (a_literal && b_literal && strcmp(a->segments[i], b->segments[i]) != 0)
			return DISJOINT;
		a_narrower |= a_literal && !b_literal;
		b_narrower |= b_literal && !a_literal;
	}
	if (a_narrower && b_narrower)
		return CROSSING;
	return a_narrower || b_narrower ? NARROWER : SAME;
}

static void check_pair(struct pl_load *load, int i, int j)
{
	const struct pl_route *a = &load->config->routes[j], *b = &load->config->routes[i];
	const struct pl_yaml_node *node = pl_load_route(load, i), *first = pl_load_route(load, j);
	struct path pa, pb;

	if (a->method == NULL || b->method == NULL || a->path == NULL || b->path == NULL ||
	    strcmp(a->method, b->method) != 0)
		return;
	if (split(a->path, &pa) < 0 || split(b->path, &pb) < 0)
		return;
	enum relation relation = compare(&pa, &pb);
	if (relation == SAME)
		pl_load_fault(load, node, "path", "routes[%d].path: %s %s is already the route of line %d", i,
		              b->method, b->path, first->line);
	else if (relation == CROSSING)
		pl_load_fault(
			load, node, "path",
			"routes[%d].path: some requests match both %s and %s of line %d, and neither is more "
			"specific",
			i, b->path, a->path, first->line);
}

static void check_path(struct pl_load *load, const struct pl_route *route, const struct pl_yaml_node *node)
{
	struct path path, other;

	if (split(route->path, &path) < 0) {
		pl_load_fault(load, node, "path", "routes[%d].path: has more than %d segments", route->index,
		              SEGMENTS_MAX);
		return;
	}
	for (int i = 0; i < path.n; i++)
		for (int j = 0; j < i; j++)
			if (path.segments[i][0] == ':' && strcmp(path.segments[i], path.segments[j]) == 0)
				pl_load_fault(load, node, "path", "routes[%d].path: %s occurs twice",
				              route->index, path.segments[i]);
	for (int i = 0; built_in[i] != NULL; i++)
		if (route->method != NULL && strcmp(route->method, "GET") == 0 &&
		    split(built_in[i], &other) == 0 && compare(&path, &other) == SAME)
			pl_load_fault(load, node, "path", "routes[%d].path: the daemon itself answers %s",
			              route->index, built_in[i]);
}

static void check_write_rules(struct pl_load *load, const struct pl_route *route,
                              const struct pl_yaml_node *node)
{
	bool get = strcmp(route->method, "GET") == 0;

	if (route->lock != PL_LOCK_NONE && (get || strcmp(route->method, "POST") == 0))
		pl_load_fault(load, node, "lock",
		              "routes[%d].lock: only PUT, PATCH and DELETE replace a version; %s does not",
		              route->index, route->method);
	else if (route->lock != PL_LOCK_NONE && route->resource == NULL)
		pl_load_fault(load, node, "lock",
		              "routes[%d].lock: requires a resource, and %s does not "
		              "name one",
		              route->index, route->path != NULL ? route->path : "the path");
	if (get && route->idempotent)
		pl_load_fault(load, node, "idempotency", "routes[%d].idempotency: does not apply to GET",
		              route->index);
	else if (!get && !route->idempotent && pl_yaml_member(node, "idempotency") == NULL)
		pl_load_warn(load, node, NULL,
		             "routes[%d]: %s %s has no idempotency, so a retry is executed again",
		             route->index, route->method, route->path != NULL ? route->path : "");
}

static void check_route(struct pl_load *load, const struct pl_route *route)
{
	const struct pl_yaml_node *node = pl_load_route(load, route->index);
	const char *label = pl_arena_printf(load->arena, "routes[%d]", route->index);

	if (route->path != NULL)
		check_path(load, route, node);
	if (route->method != NULL)
		check_write_rules(load, route, node);
	if (route->resource != NULL && pl_config_resource(load->config, route->resource) == NULL)
		pl_load_fault(load, node, "resource", "%s.resource: there is no resource \"%.64s\"", label,
		              route->resource);
	pl_load_check_script(load, node, "handler", label, route->handler);
}

void pl_load_check_routes(struct pl_load *load)
{
	for (int i = 0; i < load->config->nroutes; i++) {
		check_route(load, &load->config->routes[i]);
		for (int j = 0; j < i; j++)
			check_pair(load, i, j);
	}
}
