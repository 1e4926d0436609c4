// Loading: a file is compiled and run once, in the sandbox and on a budget, so that a
// faulty file is reported before a request needs it.
//
// A global that no environment has is not looked for here. The environment raises when a
// script reads it (sandbox.c), and luacheck finds it in a branch that never ran; reading
// it out of Lua's bytecode took 290 lines that knew one version's opcodes.
//
// Modules in Lua (require "lib.money" → lib/money.lua) live in the same sandbox, each
// with an environment of its own. They are loaded together with the file that requires
// them. A later require finds only what has been loaded and reads nothing new, so the
// hash of a policy covers all of its code.
//
// Invariant: script->chunk is a compiled main function that never changes.
// Threads: a VM's.
#include "script/load.h"

#include <lauxlib.h>
#include <string.h>

#include "base/sha256.h"
#include "base/utf8.h"
#include "script/sandbox.h"
#include "script/state.h"

#define NAME_MAX_LEN 64 // bytes of the name that a file gives itself

static struct pl_script *find(const struct pl_vm *vm, const struct pl_script_source *source)
{
	for (int i = 0; i < vm->nscripts; i++) {
		if (vm->scripts[i]->source == source)
			return vm->scripts[i];
	}
	return NULL;
}

struct pl_script *pl_load_find(const struct pl_vm *vm, const char *path)
{
	for (int i = 0; i < vm->nscripts; i++) {
		if (vm->scripts[i]->named && strcmp(vm->scripts[i]->source->path, path) == 0)
			return vm->scripts[i];
	}
	return NULL;
}

static struct pl_script *compile(lua_State *L, const struct pl_script_source *source)
{
	struct pl_vm *vm = pl_vm_of(L);
	struct pl_script *script;

	if (source->len > 0 && source->text[0] == LUA_SIGNATURE[0])
		luaL_error(L, "%s:1: this is compiled Lua; plist loads text only", source->path);
	if (luaL_loadbufferx(L, source->text, source->len, lua_pushfstring(L, "@%s", source->path), "t") !=
	    LUA_OK)
		lua_error(L);
	script = pl_arena_alloc(vm->arena, sizeof(*script));
	script->source = source;
	script->function = LUA_NOREF;
	script->chunk = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_pop(L, 1);
	if (vm->nscripts == vm->scripts_room) {
		vm->scripts_room = vm->scripts_room ? 2 * vm->scripts_room : 16;
		vm->scripts = pl_realloc(vm->scripts, sizeof(vm->scripts[0]) * (size_t)vm->scripts_room);
	}
	vm->scripts[vm->nscripts++] = script;
	return script;
}

void pl_load_run_main(lua_State *L, struct pl_script *script)
{
	struct pl_vm *vm = pl_vm_of(L);
	struct pl_script *before = vm->current;

	if (script->running)
		luaL_error(L, "%s requires itself, directly or through others", script->source->path);
	luaL_checkstack(L, 8, NULL);
	script->running = true;
	vm->current = script;
	lua_rawgeti(L, LUA_REGISTRYINDEX, script->chunk);
	pl_sandbox_set_env(L, -1);
	lua_call(L, 0, 1);
	vm->current = before;
	script->running = false;
}

static void note_require(lua_State *L, struct pl_script *who, const struct pl_script *what)
{
	for (int i = 0; i < who->nrequires; i++) {
		if (who->requires[i] == what)
			return;
	}
	if (who->nrequires == PL_REQUIRES_MAX)
		luaL_error(L, "%s requires more than %d files", who->source->path, PL_REQUIRES_MAX);
	who->requires[who->nrequires++] = what;
}

void pl_load_require(lua_State *L, const struct pl_script_source *source)
{
	struct pl_vm *vm = pl_vm_of(L);
	struct pl_script *script = find(vm, source);

	if (!script && !vm->loading)
		luaL_error(
			L,
			"%s has not been read: require it at the top of the file, where it is read with it",
			source->path);
	if (!script)
		script = compile(L, source);
	if (vm->loading && vm->current)
		note_require(L, vm->current, script);
	lua_rawgeti(L, LUA_REGISTRYINDEX, vm->ref_modules);
	if (lua_getfield(L, -1, source->path) == LUA_TNIL) {
		lua_pop(L, 1);
		pl_load_run_main(L, script);
		if (lua_isnil(L, -1)) {
			lua_pushboolean(L, 1); // like Lua's own require
			lua_replace(L, -2);
		}
		lua_pushvalue(L, -1);
		lua_setfield(L, -3, source->path);
	}
	lua_remove(L, -2);
}

void pl_load_forget_modules(lua_State *L)
{
	struct pl_vm *vm = pl_vm_of(L);

	lua_newtable(L);
	lua_rawseti(L, LUA_REGISTRYINDEX, vm->ref_modules);
}

// A file's hash; with modules, the hash of its own and theirs, in the order in which they
// are required.
static void hash(struct pl_script *script)
{
	struct pl_buf text = { 0 };
	uint8_t digest[PL_SHA256_SIZE];

	if (script->sha256[0])
		return;
	strcpy(script->sha256, script->source->sha256);
	if (script->nrequires == 0)
		return;
	pl_buf_printf(&text, "%s\n", script->source->sha256);
	for (int i = 0; i < script->nrequires; i++) {
		struct pl_script *module = (struct pl_script *)(uintptr_t)script->requires[i];

		hash(module);
		pl_buf_printf(&text, "%s %s\n", module->source->path, module->sha256);
	}
	pl_sha256(text.data, text.len, digest);
	pl_sha256_hex(digest, script->sha256);
	pl_buf_fini(&text);
}

// Loading.

struct load {
	const struct pl_script_source *source;
	struct pl_script *script;
};

// A text member of the table on top, or `otherwise`.
static const char *text_of(lua_State *L, struct pl_vm *vm, const char *path, const char *name,
                           const char *otherwise)
{
	const char *text = otherwise;
	int type;

	lua_pushstring(L, name);
	type = lua_rawget(L, -2);
	if (type == LUA_TSTRING)
		text = lua_tostring(L, -1);
	else if (type != LUA_TNIL)
		luaL_error(L, "%s: %s is a %s, not a string", path, name, lua_typename(L, type));
	if (type == LUA_TSTRING && (strlen(text) != lua_rawlen(L, -1) || !pl_utf8_valid(text, strlen(text))))
		luaL_error(L, "%s: %s is not UTF-8", path, name);
	text = pl_arena_strdup(vm->arena, text);
	lua_pop(L, 1);
	return text;
}

// "handlers/property_get.lua" → "property_get"
static const char *base_name(struct pl_arena *arena, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t len = strlen(name);

	return pl_arena_strndup(arena, name, len > 4 && strcmp(name + len - 4, ".lua") == 0 ? len - 4 : len);
}

static bool is_name(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > NAME_MAX_LEN || name[0] == ' ' || name[len - 1] == ' ')
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
			return false;
	return true;
}

// Checks the value that a file returned, on top, and takes its name and doc.
static void check_table(lua_State *L, struct pl_vm *vm, struct pl_script *script)
{
	const char *path = script->source->path,
		   *function = vm->context == PL_CONTEXT_HANDLER ? "handle" : "resolve";
	int type = lua_type(L, -1);

	if (type != LUA_TTABLE)
		luaL_error(L, "%s: returns %s instead of a table { name =, doc =, %s = function(…) … end }",
		           path, type == LUA_TNIL ? "nothing" : luaL_typename(L, -1), function);
	script->name = text_of(L, vm, path, "name", base_name(vm->arena, path));
	if (!is_name(script->name)) // it is sent in headers and stored in tables
		luaL_error(L,
		           "%s: name must be 1 to %d characters long, without control characters and "
		           "without a space at either end",
		           path, NAME_MAX_LEN);
	script->doc = text_of(L, vm, path, "doc", "");
	lua_pushstring(L, function);
	if (lua_rawget(L, -2) != LUA_TFUNCTION)
		luaL_error(L, "%s: the table that it returns has no function '%s'", path, function);
	if (vm->context == PL_CONTEXT_HANDLER)
		script->function = luaL_ref(L, LUA_REGISTRYINDEX);
	else
		lua_pop(L, 1);
}

// Body.
//   1  light userdata: struct load
static int load(lua_State *L)
{
	struct load *l = lua_touserdata(L, 1);
	struct pl_vm *vm = pl_vm_of(L);
	struct pl_script *script = find(vm, l->source);

	if (vm->context == PL_CONTEXT_POLICY)
		pl_load_forget_modules(L);
	if (!script)
		script = compile(L, l->source);
	pl_load_run_main(L, script);
	check_table(L, vm, script);
	l->script = script;
	return 0;
}

void pl_load_recover(struct pl_vm *vm)
{
	for (int i = 0; i < vm->nscripts; i++)
		vm->scripts[i]->running = false;
	vm->current = NULL;
}

// After a failed load: forgets the scripts that it had added.
static void forget(struct pl_vm *vm, int nscripts)
{
	pl_load_recover(vm);
	while (vm->nscripts > nscripts) {
		struct pl_script *script = vm->scripts[--vm->nscripts];

		luaL_unref(vm->L, LUA_REGISTRYINDEX, script->chunk);
	}
}

struct pl_script *pl_load_script(struct pl_vm *vm, const struct pl_script_source *source,
                                 struct pl_diagnostics *diagnostics)
{
	struct pl_script *script = pl_load_find(vm, source->path);
	struct load l = { .source = source };
	struct pl_budget budget = pl_call_budget(&vm->limits);
	struct pl_error err;
	int before = vm->nscripts;
	enum pl_call_end end;

	if (script && script->source == source)
		return script;
	vm->loading = true;
	vm->place = source->path;
	end = pl_call(vm, load, &l, &budget, &err);
	vm->place = NULL;
	vm->loading = false;
	if (end != PL_CALL_DONE) {
		forget(vm, before);
		pl_load_report(vm->config, source, &err, diagnostics);
		return NULL;
	}
	if (script) // the same path with another text: the new one replaces it
		script->named = false;
	script = l.script;
	script->named = true;
	hash(script);
	pl_state_settle(vm);
	return script;
}

void pl_load_setup(lua_State *L)
{
	lua_pushboolean(L, 0);
	pl_vm_of(L)->ref_modules = luaL_ref(L, LUA_REGISTRYINDEX);
	pl_load_forget_modules(L);
}
