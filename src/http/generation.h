// A generation: one configuration as a worker runs it, with its Lua state and its router.
//
// A reload creates a new generation. A request keeps the one that it started in; the last
// request to finish frees it.
// Threads: belongs to its worker; the reference count is not atomic.
#pragma once

#include "auth/credentials.h"
#include "config/config.h"
#include "http/router.h"
#include "script/run.h"
#include "script/vm.h"

struct pl_generation {
	struct pl_config *config;
	struct pl_vm *vm; // NULL: of the operators
	struct pl_router *router;
	struct pl_credentials *credentials;
	int refs;
};

// Loads every handler in the calling thread, and takes references to the configuration
// and the credentials. Returns one reference, or NULL with the problems in `diagnostics`.
struct pl_generation *pl_generation_new(const struct pl_config *config, struct pl_credentials *credentials,
                                        struct pl_diagnostics *diagnostics);
// The same for the operators' listener, which runs no handlers: it has no Lua state and
// no credentials, and cannot fail.
struct pl_generation *pl_generation_new_operators(const struct pl_config *config);
struct pl_generation *pl_generation_ref(struct pl_generation *generation);
void pl_generation_unref(struct pl_generation **generation_p);
