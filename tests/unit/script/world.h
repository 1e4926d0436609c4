// Fixtures for tests of script/: a configuration in memory, and requests.
//
// Shared by the unit tests and by the host of the busted specs.
#pragma once

#include "config/config.h"
#include "script/exchange.h"
#include "script/policy.h"
#include "script/run.h"
#include "script/vm.h"

struct world_file {
	const char *path, *text;
};

// A configuration with the resource "properties" (price decimal, bedrooms and bathrooms
// integers, note string, sold boolean, only price required), the regions us, eu, ap, and
// a source for each file. Each handler has a route. The first policy is the resource's,
// the second its shadow policy.
struct pl_config *world_config(const struct world_file *files, int nfiles);
// The same, with the files under a directory (handlers/, policies/, plist/, lib/).
struct pl_config *world_config_of(const char *lua_root);

// Fails the test when there are problems, and prints them.
struct pl_vm *world_vm(const struct pl_config *config, enum pl_context context);

// A request for the route of `handler`, in its own arena. `body` is JSON or NULL.
struct pl_request *world_request(const struct pl_config *config, const char *handler, const char *method,
                                 const char *target, const char *id, const char *body);
void world_request_free(struct pl_request **request_p);

struct pl_sibling *world_sibling(struct pl_arena *arena, const char *region, int counter, int64_t at,
                                 bool deleted, const char *price, const char *bedrooms);
