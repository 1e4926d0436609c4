// The life of a VM.
//
// A VM outlives its owner as long as a run waits for the store: the run's coroutine is
// in it. So the owner and each run hold a reference.
// Threads: a VM's.
#include "script/state.h"

#include <stdlib.h>

static int panic(lua_State *L)
{
	pl_die("script: an error outside of any call: %s",
	       lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?");
}

struct pl_vm *pl_state_new(const struct pl_config *config, enum pl_context context)
{
	struct pl_vm *vm = pl_calloc(1, sizeof(*vm));

	vm->context = context;
	vm->config = pl_config_ref(config);
	vm->limits = context == PL_CONTEXT_HANDLER ? config->handler_limits : config->policy_limits;
	vm->arena = pl_arena_new(0);
	vm->scratch = pl_arena_new(0);
	vm->refs = 1;
	vm->step = PL_CALL_STEP;
	pl_decimal_init(&vm->result);
	pl_decimal_init(&vm->operand[0]);
	pl_decimal_init(&vm->operand[1]);
	vm->L = lua_newstate(pl_call_allocate, vm);
	if (!vm->L)
		pl_die("script: no memory for a Lua state");
	*(struct pl_vm **)lua_getextraspace(vm->L) = vm;
	lua_atpanic(vm->L, panic);
	pl_watch_add(vm);
	return vm;
}

void pl_state_hold(struct pl_vm *vm)
{
	vm->refs++;
}

bool pl_state_holds_much(const struct pl_vm *vm)
{
	return vm->used + vm->limits.memory * 3 / 4 >= vm->cap;
}

void pl_state_release(struct pl_vm *vm)
{
	if (--vm->refs > 0)
		return;
	pl_watch_remove(vm);
	lua_close(vm->L);
	pl_decimal_fini(&vm->result);
	pl_decimal_fini(&vm->operand[0]);
	pl_decimal_fini(&vm->operand[1]);
	pl_buf_fini(&vm->text);
	pl_buf_fini(&vm->message);
	pl_buf_fini(&vm->trace);
	free(vm->scripts);
	free(vm->large);
	pl_arena_free(&vm->scratch);
	pl_arena_free(&vm->arena);
	pl_config_unref(&vm->config);
	free(vm);
}

void pl_state_settle(struct pl_vm *vm)
{
	vm->cap = 0;
	lua_gc(vm->L, LUA_GCCOLLECT);
	vm->cap = vm->used + vm->limits.memory;
}
