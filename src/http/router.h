// Which route answers: those of the configuration, and the few that the daemon answers itself.
#pragma once

#include "config/config.h"
#include "http/target.h"

enum pl_builtin { PL_BUILTIN_NONE, PL_BUILTIN_HEALTH, PL_BUILTIN_READY, PL_BUILTIN_METRICS, PL_BUILTIN_LAG };

struct pl_router;

struct pl_match {
	int status;                   // 200 found, 204 OPTIONS, 404, 405
	const char *title, *detail;   // of a 404 or 405
	const struct pl_route *route; // or NULL: then `builtin`
	enum pl_builtin builtin;
	const char *method, *path;    // for metrics: the route's own; "other" when there is none
	const char *region_prefix;    // "us" of /us/…, a name of the configuration; NULL on a path without one
	struct pl_param *params;      // with `region`
	const char *allow;            // the methods of this path, for 204 and 405
};

// Points into the configuration, which must stay.
struct pl_router *pl_router_new(const struct pl_config *config);
void pl_router_free(struct pl_router **router);
// A HEAD is a GET. What match_r points to lives in `arena` or in the configuration.
void pl_router_match(const struct pl_router *router, struct pl_arena *arena, const char *method, const struct pl_target *target,
                     struct pl_match *match_r);

int pl_router_routes(const struct pl_router *router);
void pl_router_route(const struct pl_router *router, int i, const char **method_r, const char **path_r);
