// Programs: made at a reload, kept while a request runs in them.
//
// Stands between ops/worker, which makes them, and http/listener, which begins each request in the newest.
// Threads: a program belongs to its worker.
#include "http/program.h"

#include <stdlib.h>

struct pl_program *pl_program_new(const struct pl_config *config, struct pl_problems *problems)
{
	struct pl_vm *vm = pl_vm_new(config, PL_WORLD_HANDLER, problems);
	if (!vm)
		return NULL;
	struct pl_program *program = pl_calloc(1, sizeof(*program));
	program->config = pl_config_ref(config);
	program->vm = vm;
	program->router = pl_router_new(config);
	program->refs = 1;
	return program;
}

struct pl_program *pl_program_ref(struct pl_program *program)
{
	program->refs++;
	return program;
}

void pl_program_unref(struct pl_program **program_r)
{
	struct pl_program *program = *program_r;
	*program_r = NULL;
	if (!program || --program->refs > 0)
		return;
	pl_router_free(&program->router);
	pl_vm_free(&program->vm);
	pl_config_unref(&program->config);
	free(program);
}
