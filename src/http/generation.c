// Generations: created by a reload, kept while requests run in them.
//
// ops/worker and ops/admin_listener create them; http/listener starts each request in the
// newest.
// Threads: a generation belongs to its worker.
#include "http/generation.h"

#include <stdlib.h>

static struct pl_generation *make(const struct pl_config *config, struct pl_credentials *credentials,
                                  struct pl_vm *vm, enum pl_audience audience)
{
	struct pl_generation *generation = pl_calloc(1, sizeof(*generation));
	generation->config = pl_config_ref(config);
	generation->credentials = pl_credentials_ref(credentials);
	generation->vm = vm;
	generation->router = pl_router_new(config, audience);
	generation->refs = 1;
	return generation;
}

struct pl_generation *pl_generation_new(const struct pl_config *config, struct pl_credentials *credentials,
                                        struct pl_diagnostics *diagnostics)
{
	struct pl_vm *vm = pl_vm_new(config, PL_CONTEXT_HANDLER, diagnostics);
	if (!vm)
		return NULL;
	return make(config, credentials, vm, PL_AUDIENCE_CLIENTS);
}

struct pl_generation *pl_generation_new_operators(const struct pl_config *config)
{
	return make(config, NULL, NULL, PL_AUDIENCE_OPERATORS);
}

struct pl_generation *pl_generation_ref(struct pl_generation *generation)
{
	generation->refs++;
	return generation;
}

void pl_generation_unref(struct pl_generation **program_p)
{
	struct pl_generation *generation = *program_p;
	*program_p = NULL;
	if (!generation || --generation->refs > 0)
		return;
	pl_router_free(&generation->router);
	pl_vm_free(&generation->vm);
	pl_credentials_unref(&generation->credentials);
	pl_config_unref(&generation->config);
	free(generation);
}
