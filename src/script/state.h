// The life of a VM: made, shared by its owner and its runs, freed. For the files of
// script/ only.
#pragma once

#include "script/script_private.h"

// An empty Lua state with its VM. Nothing is open in it yet.
struct pl_vm *pl_state_new(const struct pl_config *config, enum pl_context context);
void pl_state_hold(struct pl_vm *vm);
// Whether it uses more than a quarter of the memory that its runs may use.
bool pl_state_holds_much(const struct pl_vm *vm); // one more reference
void pl_state_release(struct pl_vm *vm);          // one less; the last one frees the VM

// To be called when scripts have been loaded: the memory limit of calls counts from what
// is in use now.
void pl_state_settle(struct pl_vm *vm);
