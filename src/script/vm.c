// A virtual machine: one lua_State with one configuration's scripts in it.
//
// Stands between the configuration, which has read every file, and those who call scripts: run.c for handlers, policy.c for
// policies. Loading a file compiles it and runs its main function once, in the sandbox and on a budget, so that what is wrong
// with a file is known before anyone asks for it.
//
// Modules in Lua (require "lib.money" → lib/money.lua) live in the same sandbox, each with an environment of its own. They
// are loaded while the file that requires them is; a require that comes later finds what is there and reads nothing new. So a
// policy's hash can cover all of its code.
//
// Invariants: scripts->chunk is a compiled main function that never changes; a VM lives as long as its owner or any of its
// runs needs it.
// Threads: a VM belongs to one thread.
#include "script/vm.h"

#include <lauxlib.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"
#include "base/utf8.h"
#include "script/bind.h"
#include "script/check.h"
#include "script/globals.h"
#include "script/request.h"
#include "script/sandbox.h"
#include "script/unread.h"
#include "script/value.h"

#define NAME_MAX_LEN 64 // bytes of the name that a file gives itself

// Scripts.

static struct pl_script *find(const struct pl_vm *vm, const struct pl_script_source *source)
{
	for (int i = 0; i < vm->nscripts; i++) {
		if (vm->scripts[i]->source == source)
			return vm->scripts[i];
	}
	return NULL;
}

struct pl_script *pl_vm_find(const struct pl_vm *vm, const char *path)
{
	for (int i = 0; i < vm->nscripts; i++) {
		if (vm->scripts[i]->named && strcmp(vm->scripts[i]->source->path, path) == 0)
			return vm->scripts[i];
	}
	return NULL;
}

// The globals of a file, looked at before it runs: a name that no environment has is a fault, wherever it stands.
struct names {
	lua_State *L;
	const struct pl_script_source *source;
	int assigned;          // stack index of a set of names that the file assigns
	bool reading;          // the second time through: those it reads
};

static void look_at_global(void *arg, const char *name, int line, bool assigned)
{
	struct names *names = arg;
	lua_State *L = names->L;

	if (assigned && !names->reading) {
		lua_pushboolean(L, 1);
		lua_setfield(L, names->assigned, name);
	}
	if (assigned || !names->reading)
		return;
	lua_getfield(L, names->assigned, name);
	if (lua_isnil(L, -1) && !pl_sandbox_has(L, name))
		luaL_error(L, "%s:%d: %s", names->source->path, line, pl_sandbox_push_missing(L, name));
	lua_pop(L, 1);
}

// The chunk is on top.
static void check_globals(lua_State *L, const struct pl_script_source *source)
{
	struct names names = {.L = L, .source = source};
	struct pl_buf *scratch = &pl_vm_of(L)->text;

	lua_newtable(L);
	names.assigned = lua_gettop(L);
	lua_pushvalue(L, -2);
	for (int i = 0; i < 2; i++) {
		names.reading = i == 1;
		pl_globals_visit(L, scratch, look_at_global, &names);
	}
	lua_pop(L, 2);
}

static struct pl_script *compile(lua_State *L, const struct pl_script_source *source)
{
	struct pl_vm *vm = pl_vm_of(L);
	struct pl_script *script;

	if (source->len > 0 && source->text[0] == LUA_SIGNATURE[0])
		luaL_error(L, "%s:1: this is compiled Lua; plist takes text only", source->path);
	if (luaL_loadbufferx(L, source->text, source->len, lua_pushfstring(L, "@%s", source->path), "t") != LUA_OK)
		lua_error(L);
	check_globals(L, source);
	script = pl_arena_alloc(vm->arena, sizeof *script);
	script->source = source;
	script->function = LUA_NOREF;
	script->chunk = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_pop(L, 1);
	if (vm->nscripts == vm->scripts_room) {
		vm->scripts_room = vm->scripts_room ? 2 * vm->scripts_room : 16;
		vm->scripts = pl_realloc(vm->scripts, sizeof vm->scripts[0] * (size_t)vm->scripts_room);
	}
	vm->scripts[vm->nscripts++] = script;
	return script;
}

void pl_vm_run_main(lua_State *L, struct pl_script *script)
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

void pl_vm_require(lua_State *L, const struct pl_script_source *source)
{
	struct pl_vm *vm = pl_vm_of(L);
	struct pl_script *script = find(vm, source);

	if (!script && !vm->loading)
		luaL_error(L, "%s has not been read: require it at the top of the file, where it is read with it", source->path);
	if (!script)
		script = compile(L, source);
	if (vm->loading && vm->current)
		note_require(L, vm->current, script);
	lua_rawgeti(L, LUA_REGISTRYINDEX, vm->ref_modules);
	if (lua_getfield(L, -1, source->path) == LUA_TNIL) {
		lua_pop(L, 1);
		pl_vm_run_main(L, script);
		if (lua_isnil(L, -1)) {
			lua_pushboolean(L, 1); // as Lua's own require
			lua_replace(L, -2);
		}
		lua_pushvalue(L, -1);
		lua_setfield(L, -3, source->path);
	}
	lua_remove(L, -2);
}

void pl_vm_new_world(lua_State *L)
{
	struct pl_vm *vm = pl_vm_of(L);

	lua_newtable(L);
	lua_rawseti(L, LUA_REGISTRYINDEX, vm->ref_modules);
	if (!vm->shadows_used)
		return;
	vm->shadows_used = false;
	lua_newtable(L);
	lua_rawgeti(L, LUA_REGISTRYINDEX, vm->ref_weak);
	lua_setmetatable(L, -2);
	lua_rawseti(L, LUA_REGISTRYINDEX, vm->ref_shadows);
}

// A file's hash; with modules, the hash of its own and theirs, in the order in which they are required.
static void hash(struct pl_script *script)
{
	struct pl_buf text = {0};
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

// A text member of the table on top; `otherwise` where there is none.
static const char *text_of(lua_State *L, struct pl_vm *vm, const char *path, const char *name, const char *otherwise)
{
	const char *text = otherwise;
	int type;

	lua_pushstring(L, name);
	type = lua_rawget(L, -2);
	if (type == LUA_TSTRING)
		text = lua_tostring(L, -1);
	else if (type != LUA_TNIL)
		luaL_error(L, "%s: %s is a %s, not a text", path, name, lua_typename(L, type));
	if (type == LUA_TSTRING && (strlen(text) != lua_rawlen(L, -1) || !pl_utf8_valid(text, strlen(text))))
		luaL_error(L, "%s: %s is no text in UTF-8", path, name);
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

// What a file of either world must return, on top.
static void check_table(lua_State *L, struct pl_vm *vm, struct pl_script *script)
{
	const char *path = script->source->path, *function = vm->world == PL_WORLD_HANDLER ? "handle" : "resolve";
	int type = lua_type(L, -1);

	if (type != LUA_TTABLE)
		luaL_error(L, "%s: returns %s instead of a table { name =, doc =, %s = function(…) … end }", path,
		           type == LUA_TNIL ? "nothing" : luaL_typename(L, -1), function);
	script->name = text_of(L, vm, path, "name", base_name(vm->arena, path));
	if (!is_name(script->name)) // it stands in headers, metrics and tables
		luaL_error(L, "%s: name has to be 1 to %d characters, none of them a blank at its ends or a control character", path, NAME_MAX_LEN);
	script->doc = text_of(L, vm, path, "doc", "");
	lua_pushstring(L, function);
	if (lua_rawget(L, -2) != LUA_TFUNCTION)
		luaL_error(L, "%s: the table that it returns has no function '%s'", path, function);
	if (vm->world == PL_WORLD_HANDLER)
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

	if (vm->world == PL_WORLD_POLICY)
		pl_vm_new_world(L);
	if (!script)
		script = compile(L, l->source);
	pl_vm_run_main(L, script);
	check_table(L, vm, script);
	l->script = script;
	return 0;
}

void pl_vm_recover(struct pl_vm *vm)
{
	for (int i = 0; i < vm->nscripts; i++)
		vm->scripts[i]->running = false;
	vm->current = NULL;
}

// After a load that failed: what it had brought is forgotten.
static void forget(struct pl_vm *vm, int nscripts)
{
	pl_vm_recover(vm);
	while (vm->nscripts > nscripts) {
		struct pl_script *script = vm->scripts[--vm->nscripts];

		luaL_unref(vm->L, LUA_REGISTRYINDEX, script->chunk);
	}
}

// What a call may have is over and above what is there when no call runs.
static void settle(struct pl_vm *vm)
{
	vm->cap = 0;
	lua_gc(vm->L, LUA_GCCOLLECT);
	vm->cap = vm->used + vm->limits.memory;
}

struct pl_script *pl_vm_load(struct pl_vm *vm, const struct pl_script_source *source, struct pl_problems *problems)
{
	struct pl_script *script = pl_vm_find(vm, source->path);
	struct load l = {.source = source};
	struct pl_budget budget = pl_budget_of(&vm->limits);
	struct pl_error err;
	int before = vm->nscripts;
	enum pl_call_end end;

	if (script && script->source == source)
		return script;
	vm->loading = true;
	end = pl_call(vm, load, &l, &budget, &err);
	vm->loading = false;
	if (end != PL_CALL_DONE) {
		forget(vm, before);
		pl_check_report(vm->config, source, &err, problems);
		return NULL;
	}
	if (script) // the same path, another text: from now on the new one is meant
		script->named = false;
	script = l.script;
	script->named = true;
	hash(script);
	if (vm->world == PL_WORLD_POLICY)
		script->policy = pl_policy_new(vm, script);
	settle(vm);
	return script;
}

static void load_path(struct pl_vm *vm, const char *path, struct pl_problems *problems)
{
	const struct pl_script_source *source;

	if (!path)
		return;
	source = pl_config_source(vm->config, path);
	if (source)
		pl_vm_load(vm, source, problems);
	else
		pl_problems_add(problems, false, vm->config->file, 0, 0, "%s: there is no such file under %s", path,
		                vm->config->lua_root);
}

static void load_all(struct pl_vm *vm, struct pl_problems *problems)
{
	const struct pl_config *config = vm->config;

	for (int i = 0; vm->world == PL_WORLD_HANDLER && i < config->nroutes; i++) {
		bool seen = false;

		for (int j = 0; j < i && !seen; j++) // a file that is wrong is wrong once
			seen = strcmp(config->routes[j].handler, config->routes[i].handler) == 0;
		if (!seen)
			load_path(vm, config->routes[i].handler, problems);
	}
	for (int i = 0; vm->world == PL_WORLD_POLICY && i < config->nresources; i++) {
		load_path(vm, config->resources[i].policy, problems);
		load_path(vm, config->resources[i].shadow, problems);
	}
}

// The state.

// Body.
static int open_state(lua_State *L)
{
	struct pl_vm *vm = pl_vm_of(L);

	pl_sandbox_open(L);
	pl_decimal_setup(L);
	pl_value_setup(L);
	pl_request_setup(L);
	pl_unread_setup(L);
	pl_http_setup(L);
	pl_policy_setup(L);
	lua_pushboolean(L, 0);
	vm->ref_modules = luaL_ref(L, LUA_REGISTRYINDEX);
	vm->shadows_used = true;
	pl_vm_new_world(L);
	return 0;
}

static int panic(lua_State *L)
{
	pl_die("script: an error where no call was running: %s", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?");
}

static bool locale_ok(void)
{
	const char *name = setlocale(LC_COLLATE, NULL);

	return !name || strcmp(name, "C") == 0 || strcmp(name, "POSIX") == 0 || strncmp(name, "C.", 2) == 0;
}

static struct pl_vm *vm_alloc(const struct pl_config *config, enum pl_world world)
{
	struct pl_vm *vm = pl_calloc(1, sizeof *vm);

	vm->world = world;
	vm->config = pl_config_ref(config);
	vm->limits = world == PL_WORLD_HANDLER ? config->handler_limits : config->policy_limits;
	vm->arena = pl_arena_new(0);
	vm->refs = 1;
	pl_decimal_init(&vm->result);
	pl_decimal_init(&vm->operand[0]);
	pl_decimal_init(&vm->operand[1]);
	vm->L = lua_newstate(pl_call_allocate, vm);
	if (!vm->L)
		pl_die("script: no memory for a Lua state");
	*(struct pl_vm **)lua_getextraspace(vm->L) = vm;
	lua_atpanic(vm->L, panic);
	return vm;
}

struct pl_vm *pl_vm_new(const struct pl_config *config, enum pl_world world, struct pl_problems *problems)
{
	struct pl_vm *vm = vm_alloc(config, world);
	struct pl_error err;
	int before = problems->n - problems->warnings;

	if (!locale_ok()) // Lua compares texts by the locale's order
		pl_die("script: the locale of the program orders texts its own way; scripts need \"C\"");
	if (pl_call(vm, open_state, NULL, NULL, &err) != PL_CALL_DONE)
		pl_die("script: a new Lua state: %s", err.text);
	settle(vm);
	load_all(vm, problems);
	if (problems->n - problems->warnings > before)
		pl_vm_free(&vm);
	return vm;
}

void pl_vm_release(struct pl_vm *vm)
{
	if (--vm->refs > 0)
		return;
	lua_close(vm->L);
	pl_pieces_fini(&vm->pieces);
	pl_decimal_fini(&vm->result);
	pl_decimal_fini(&vm->operand[0]);
	pl_decimal_fini(&vm->operand[1]);
	pl_buf_fini(&vm->text);
	pl_buf_fini(&vm->message);
	pl_buf_fini(&vm->trace);
	free(vm->scripts);
	pl_arena_free(&vm->arena);
	pl_config_unref(&vm->config);
	free(vm);
}

void pl_vm_free(struct pl_vm **vm)
{
	if (*vm)
		pl_vm_release(*vm);
	*vm = NULL;
}

lua_State *pl_vm_lua(struct pl_vm *vm)
{
	return vm->L;
}

size_t pl_vm_memory(const struct pl_vm *vm)
{
	return vm->used;
}

int pl_vm_handlers(const struct pl_vm *vm)
{
	int n = 0;

	for (int i = 0; i < vm->nscripts; i++)
		n += vm->world == PL_WORLD_HANDLER && vm->scripts[i]->named;
	return n;
}
