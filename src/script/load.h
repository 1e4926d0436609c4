// Loading: a file is compiled and run once, in the sandbox and on a budget. For the files
// of script/ only.
#pragma once

#include "script/script_private.h"

// The script of a handler or a policy, loaded if it was not. Its main function has run
// once. NULL: *diagnostics has the reason, with file and line.
struct pl_script *pl_load_script(struct pl_vm *vm, const struct pl_script_source *source,
                                 struct pl_diagnostics *diagnostics);
// The one that a route or a resource names; NULL.
struct pl_script *pl_load_find(const struct pl_vm *vm, const char *path);

// Inside a pl_call.

// Runs a script's main function in a new environment and pushes what it returned.
void pl_load_run_main(lua_State *L, struct pl_script *script);
// Pushes the value of a module in Lua.
void pl_load_require(lua_State *L, const struct pl_script_source *source);
// Forgets the values of modules: the next script to require one runs it again.
void pl_load_forget_modules(lua_State *L);
void pl_load_setup(lua_State *L); // once for a state

// After a call that did not return: no main function is running.
void pl_load_recover(struct pl_vm *vm);

// load_report.c. Adds an error of loading `source`, with the file and line that it names.
void pl_load_report(const struct pl_config *config, const struct pl_script_source *source,
                    const struct pl_error *err, struct pl_diagnostics *diagnostics);
