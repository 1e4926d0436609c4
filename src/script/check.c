// The load check: does every handler and every policy that a configuration names load,
// and return what it must?
//
// `config check` and a reload run it. It loads the files into VMs and frees those.
// Threads: any.
#include "script/check.h"

#include "script/vm.h"

int pl_script_check(const struct pl_config *config, struct pl_diagnostics *diagnostics)
{
	int before = diagnostics->n - diagnostics->warnings;
	struct pl_vm *vm;

	vm = pl_vm_new(config, PL_CONTEXT_HANDLER, diagnostics);
	pl_vm_free(&vm);
	vm = pl_vm_new(config, PL_CONTEXT_POLICY, diagnostics);
	pl_vm_free(&vm);
	return diagnostics->n - diagnostics->warnings - before;
}
