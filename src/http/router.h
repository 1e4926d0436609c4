// Finds the route of a request: one of the configuration, or one that the daemon itself
// answers.
#pragma once

#include "config/config.h"
#include "http/target.h"

enum pl_builtin {
	PL_BUILTIN_NONE,
	PL_BUILTIN_HEALTH,
	PL_BUILTIN_READY,   // whether
	PL_BUILTIN_REASONS, // and why not, for operators
	PL_BUILTIN_METRICS,
	PL_BUILTIN_LAG
};

enum pl_audience { PL_AUDIENCE_CLIENTS, PL_AUDIENCE_OPERATORS };

struct pl_router;

struct pl_route_match {
	int status;                   // 200 found, 204 OPTIONS, 404, 405
	const char *title, *detail;   // of a 404 or 405
	const struct pl_route *route; // or NULL: then `builtin`
	enum pl_builtin builtin;
	const char *method, *path; // for metrics: those of the route; "other" if none matched
	const char *region_prefix; // "us" of /us/…, a name of the configuration; NULL on a path without one
	struct pl_param *params;   // with `region`
	const char *allow;         // the methods of this path, for 204 and 405
};

// Refers to the configuration, which must outlive it. Operators have no routes of the
// configuration.
struct pl_router *pl_router_new(const struct pl_config *config, enum pl_audience audience);
void pl_router_free(struct pl_router **router_p);
// HEAD matches as GET. Strings in match_r belong to `arena` or to the configuration.
void pl_router_match(const struct pl_router *router, struct pl_arena *arena, const char *method,
                     const struct pl_target *target, struct pl_route_match *match_r);
