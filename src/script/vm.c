// A virtual machine: one lua_State with one configuration's scripts in it.
//
// Here its parts are put together: the sandbox, the values that C hands to scripts, the
// modules in C; then every file that the configuration names is loaded.
// Threads: a VM belongs to one thread.
#include "script/vm.h"

#include <locale.h>
#include <string.h>

#include "script/answer.h"
#include "script/frozen.h"
#include "script/load.h"
#include "script/modules.h"
#include "script/request.h"
#include "script/sandbox.h"
#include "script/state.h"
#include "script/value.h"

static void load_path(struct pl_vm *vm, const char *path, struct pl_diagnostics *diagnostics)
{
	const struct pl_script_source *source;

	if (!path)
		return;
	source = pl_config_source(vm->config, path);
	if (source)
		pl_load_script(vm, source, diagnostics);
	else
		pl_diagnostics_add(diagnostics, false, vm->config->file, 0, 0,
		                   "%s: there is no such file under %s", path, vm->config->lua_root);
}

static void load_all(struct pl_vm *vm, struct pl_diagnostics *diagnostics)
{
	const struct pl_config *config = vm->config;

	for (int i = 0; vm->context == PL_CONTEXT_HANDLER && i < config->nroutes; i++) {
		bool seen = false;

		for (int j = 0; j < i && !seen; j++) // report a faulty file once
			seen = strcmp(config->routes[j].handler, config->routes[i].handler) == 0;
		if (!seen)
			load_path(vm, config->routes[i].handler, diagnostics);
	}
	for (int i = 0; vm->context == PL_CONTEXT_POLICY && i < config->nresources; i++) {
		load_path(vm, config->resources[i].policy, diagnostics);
		load_path(vm, config->resources[i].shadow_policy, diagnostics);
		load_path(vm, config->resources[i].violations, diagnostics);
	}
}

// Body.
static int open_state(lua_State *L)
{
	pl_call_setup(L);
	pl_sandbox_open(L);
	pl_value_setup(L);
	pl_frozen_setup(L);
	pl_request_setup(L);
	pl_answer_setup(L);
	pl_load_setup(L);
	pl_modules_setup(L);
	return 0;
}

static bool locale_ok(void)
{
	const char *name = setlocale(LC_COLLATE, NULL);

	return !name || strcmp(name, "C") == 0 || strcmp(name, "POSIX") == 0 || strncmp(name, "C.", 2) == 0;
}

struct pl_vm *pl_vm_new(const struct pl_config *config, enum pl_context context,
                        struct pl_diagnostics *diagnostics)
{
	struct pl_vm *vm = pl_state_new(config, context);
	struct pl_error err;
	int before = diagnostics->n - diagnostics->warnings;

	if (!locale_ok()) // Lua compares texts by the rules of the locale
		pl_die("script: LC_COLLATE has to be \"C\", because Lua compares texts by its rules");
	if (pl_call(vm, open_state, NULL, NULL, &err) != PL_CALL_DONE)
		pl_die("script: a new Lua state: %s", err.text);
	pl_state_settle(vm);
	load_all(vm, diagnostics);
	if (diagnostics->n - diagnostics->warnings > before)
		pl_vm_free(&vm);
	return vm;
}

void pl_vm_free(struct pl_vm **vm_p)
{
	if (*vm_p)
		pl_state_release(*vm_p);
	*vm_p = NULL;
}

void pl_vm_set_lane(struct pl_vm *vm, struct pl_lane *lane, const struct pl_vm *before)
{
	if (!vm) // of the operators' listener, which runs no handlers
		return;
	vm->lane = lane;
	for (int i = 0; before && i < before->nscripts; i++) {
		const struct pl_script *known = before->scripts[i];
		struct pl_script *script = pl_load_find(vm, known->source->path);

		if (script) {
			script->proven = known->proven;
			script->slow_until_us = known->slow_until_us;
		}
	}
}

lua_State *pl_vm_lua(struct pl_vm *vm)
{
	return vm->L;
}

size_t pl_vm_memory(const struct pl_vm *vm)
{
	return vm->used;
}
