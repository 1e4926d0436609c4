// A program: one configuration as a worker runs it, with its Lua state and its router.
//
// A reload makes another; a request keeps the one that it began with, and the last one to leave frees it.
// Threads: belongs to its worker; the count is not atomic.
#pragma once

#include "config/config.h"
#include "http/router.h"
#include "script/vm.h"

struct pl_program {
	struct pl_config *config;
	struct pl_vm *vm;
	struct pl_router *router;
	int refs;
};

// Loads every handler in this thread. NULL with the problems; with one reference otherwise.
struct pl_program *pl_program_new(const struct pl_config *config, struct pl_problems *problems);
struct pl_program *pl_program_ref(struct pl_program *program);
void pl_program_unref(struct pl_program **program);
