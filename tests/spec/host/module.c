// `plist.host`: VMs of src/script for busted specs.
//
//   host.vm { world = "policy" | "handler", files = { path = text } or root = directory,
//             policy = path, instructions =, time_ms =, memory = }
//     a vm, or nil and a list of problems when files do not load
//     vm:run(text)           runs a chunk in the sandbox (as a coroutine in a VM of
//                            handlers): how it ended ("done", "raised", "instructions",
//                            "time", "memory"), and its first result or its error as text
//     vm:resolve(path, rows) calls a policy: { take = i } or { merge = { field = text }};
//                            or nil, the name of the error code and a sentence
//     vm:policy(path)        name, doc, sha256
//     vm:request(path, { method =, target =, id =, body =, if_match =, request_id = })
//                            calls a handler, with a store in memory: { status =,
//                            body =, headers =, title =, detail =, error =, faults = }
//     vm:put(id, price, bedrooms, version)   puts a record into that store
//     vm:sql()               the last query that the store received
//     vm:memory()            bytes, after collecting garbage
//
// Threads: one.
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../unit/script/fake_store.h"
#include "../../unit/script/world.h"
#include "host.h"
#include "script/load.h"
#include "script/policy.h"
#include "script/run.h"
#include "script/sandbox.h"
#include "script/text.h"

#define META      "plist.host.vm"
#define FILES_MAX 32

struct host {
	struct pl_config *config;
	struct pl_vm *vm;
	struct pl_store *store;
};

static struct host *check_host(lua_State *L)
{
	struct host *host = luaL_checkudata(L, 1, META);

	luaL_argcheck(L, host->vm, 1, "closed");
	return host;
}

static int host_close(lua_State *L)
{
	struct host *host = luaL_checkudata(L, 1, META);

	if (host->store)
		pl_store_free(&host->store);
	pl_vm_free(&host->vm);
	pl_config_unref(&host->config);
	return 0;
}

// A chunk in the sandbox.
struct chunk {
	const char *text;
	size_t len;
	struct pl_buf result; // the first
	lua_State *co;
	int nresults;
};

// Body: compiles the text and leaves the function, in a new environment, on top of the
// stack.
static void compile(lua_State *L, const struct chunk *chunk)
{
	if (luaL_loadbufferx(L, chunk->text, chunk->len, "=spec", "t") != LUA_OK)
		lua_error(L);
	pl_sandbox_set_env(L, -1);
}

static void take_result(lua_State *L, struct chunk *chunk)
{
	const char *text = pl_text_push(L, -1, NULL);

	pl_buf_reset(&chunk->result);
	pl_buf_adds(&chunk->result, text);
}

static int run_plain(lua_State *L)
{
	struct chunk *chunk = lua_touserdata(L, 1);

	compile(L, chunk);
	lua_call(L, 0, 1);
	take_result(L, chunk);
	return 0;
}

static int make_coroutine(lua_State *L)
{
	struct chunk *chunk = lua_touserdata(L, 1);

	chunk->co = lua_newthread(L);
	lua_setfield(L, LUA_REGISTRYINDEX, "spec.coroutine");
	compile(L, chunk);
	lua_xmove(L, chunk->co, 1);
	return 0;
}

static int coroutine_result(lua_State *L)
{
	struct chunk *chunk = lua_touserdata(L, 1);

	lua_pushvalue(chunk->co, -chunk->nresults);
	lua_xmove(chunk->co, L, 1);
	take_result(L, chunk);
	return 0;
}

static enum pl_call_end run_chunk(struct pl_vm *vm, struct chunk *chunk, struct pl_error *err)
{
	struct pl_budget budget = pl_call_budget(&vm->limits);
	enum pl_call_end end;

	if (vm->context == PL_CONTEXT_POLICY)
		return pl_call(vm, run_plain, chunk, &budget, err);
	end = pl_call(vm, make_coroutine, chunk, NULL, err);
	if (end == PL_CALL_DONE)
		end = pl_call_resume(vm, chunk->co, 0, &chunk->nresults, &budget, err);
	if (end == PL_CALL_DONE && chunk->nresults > 0)
		end = pl_call(vm, coroutine_result, chunk, NULL, err);
	return end;
}

//   1  vm   2  text
static int host_run(lua_State *L)
{
	struct host *host = check_host(L);
	struct chunk chunk = { 0 };
	struct pl_error err = { 0 };
	enum pl_call_end end;

	chunk.text = luaL_checklstring(L, 2, &chunk.len);
	end = run_chunk(host->vm, &chunk, &err);
	pl_load_recover(host->vm);
	lua_pushnil(host->vm->L); // releases the coroutine; the key exists, so nothing is allocated
	lua_setfield(host->vm->L, LUA_REGISTRYINDEX, "spec.coroutine");
	lua_pushstring(L, pl_call_end_name(end));
	lua_pushstring(L, end != PL_CALL_DONE ? err.text : chunk.result.data ? chunk.result.data : "");
	pl_buf_fini(&chunk.result);
	return 2;
}

// Policies.

static const char *text_member(lua_State *L, int table, const char *name, struct pl_arena *arena)
{
	const char *text = NULL;

	if (lua_getfield(L, table, name) == LUA_TBOOLEAN)
		text = lua_toboolean(L, -1) ? "t" : "f";
	else if (!lua_isnil(L, -1))
		text = pl_arena_strdup(arena, luaL_checkstring(L, -1));
	lua_pop(L, 1);
	return text;
}

// Row i of the list at 3.
static void read_row(lua_State *L, struct pl_arena *arena, const struct pl_resource *resource, int i,
                     struct pl_sibling *row)
{
	int table;
	const char *origin;

	lua_rawgeti(L, 3, i + 1);
	luaL_checktype(L, -1, LUA_TTABLE);
	table = lua_gettop(L);
	origin = text_member(L, table, "origin", arena);
	luaL_argcheck(L, origin && strlen(origin) <= PL_REGION_MAX, 3, "every row has an origin");
	strcpy(row->dot.region, origin);
	lua_getfield(L, table, "at");
	row->updated_at_us = luaL_optinteger(L, -1, (i + 1) * 1000000);
	lua_getfield(L, table, "counter");
	row->dot.counter = (int32_t)luaL_optinteger(L, -1, i + 1);
	lua_getfield(L, table, "deleted");
	row->deleted = lua_toboolean(L, -1);
	pl_vector_set(&row->vector, origin, row->dot.counter);
	row->values = pl_arena_array(arena, (size_t)resource->nfields, sizeof(row->values[0]));
	for (int f = 0; f < resource->nfields; f++)
		row->values[f] = text_member(L, table, resource->fields[f].name, arena);
	row->request_id = text_member(L, table, "request_id", arena);
	row->field_times = text_member(L, table, "field_times", arena);
	row->principal = "";
	lua_settop(L, table - 1);
}

static void push_verdict(lua_State *L, const struct pl_resource *resource, const struct pl_verdict *verdict)
{
	lua_newtable(L);
	if (verdict->take >= 0) {
		lua_pushinteger(L, verdict->take + 1);
		lua_setfield(L, -2, "take");
		return;
	}
	lua_newtable(L);
	for (int f = 0; f < resource->nfields; f++) {
		lua_pushstring(L, verdict->merged[f]);
		lua_setfield(L, -2, resource->fields[f].name);
	}
	lua_setfield(L, -2, "merge");
}

//   1  vm   2  path   3  rows
static int host_resolve(lua_State *L)
{
	struct host *host = check_host(L);
	struct pl_policy *policy = pl_policy_find(host->vm, luaL_checkstring(L, 2));
	const struct pl_resource *resource = &host->config->resources[0];
	int n = (int)luaL_len(L, 3), code;
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_sibling *rows = pl_arena_array(arena, (size_t)n + 1, sizeof(rows[0]));
	struct pl_verdict verdict;
	struct pl_error err = { 0 };

	luaL_argcheck(L, policy, 2, "no such policy is loaded");
	for (int i = 0; i < n; i++)
		read_row(L, arena, resource, i, &rows[i]);
	code = pl_policy_resolve(policy, &(struct pl_policy_question){ resource, 7, rows, n }, 1, arena,
	                         &verdict, &err);
	if (code == 0) {
		push_verdict(L, resource, &verdict);
	} else {
		lua_pushnil(L);
		lua_pushstring(L, pl_error_code_name(code));
		lua_pushstring(L, err.text);
	}
	pl_arena_free(&arena);
	return code == 0 ? 1 : 3;
}

static int host_policy(lua_State *L)
{
	struct host *host = check_host(L);
	struct pl_policy *policy = pl_policy_find(host->vm, luaL_checkstring(L, 2));

	luaL_argcheck(L, policy, 2, "no such policy is loaded");
	lua_pushstring(L, pl_policy_name(policy));
	lua_pushstring(L, pl_policy_doc(policy));
	lua_pushstring(L, pl_policy_sha256(policy));
	return 3;
}

// Handlers.

static void answered(struct pl_run *run, void *arg)
{
	++*(int *)arg;
}

static void set_string(lua_State *L, const char *name, const char *text)
{
	lua_pushstring(L, text);
	lua_setfield(L, -2, name);
}

static void push_faults(lua_State *L, const struct pl_fault *fault)
{
	lua_newtable(L);
	for (; fault; fault = fault->next) {
		lua_pushstring(L, fault->detail);
		lua_setfield(L, -2, fault->pointer);
	}
	lua_setfield(L, -2, "faults");
}

static void push_problem(lua_State *L, const struct pl_problem *problem)
{
	if (!problem)
		return;
	set_string(L, "title", problem->title);
	set_string(L, "detail", problem->detail);
	set_string(L, "error", problem->error);
	if (problem->current) {
		lua_pushinteger(L, problem->current->version);
		lua_setfield(L, -2, "current_version");
	}
	push_faults(L, problem->faults);
}

static void push_answer(lua_State *L, const struct pl_answer *answer)
{
	lua_newtable(L);
	lua_pushinteger(L, answer->status);
	lua_setfield(L, -2, "status");
	lua_pushlstring(L, answer->body.data ? answer->body.data : "", answer->body.len);
	lua_setfield(L, -2, "body");
	set_string(L, "content_type", answer->content_type);
	lua_newtable(L);
	for (const struct pl_header *h = answer->headers; h; h = h->next)
		set_string(L, h->name, h->value);
	lua_setfield(L, -2, "headers");
	push_problem(L, answer->problem);
}

// principal = "anna", roles = { "editor" }
static void read_client(lua_State *L, struct pl_request *request)
{
	const char *principal = text_member(L, 3, "principal", request->arena);

	request->principal = principal ? principal : "";
	lua_getfield(L, 3, "roles");
	if (lua_istable(L, -1)) {
		request->nroles = (int)lua_rawlen(L, -1);
		const char **roles =
			pl_arena_array(request->arena, (size_t)request->nroles + 1, sizeof(roles[0]));
		for (int i = 0; i < request->nroles; i++) {
			lua_rawgeti(L, -1, i + 1);
			roles[i] = pl_arena_strdup(request->arena, luaL_checkstring(L, -1));
			lua_pop(L, 1);
		}
		request->roles = roles;
	}
	lua_pop(L, 1);
}

static struct pl_request *make_request(lua_State *L, struct host *host, struct pl_arena *arena)
{
	const char *method = text_member(L, 3, "method", arena), *target = text_member(L, 3, "target", arena);
	const char *id = text_member(L, 3, "id", arena), *body = text_member(L, 3, "body", arena);
	const char *request_id = text_member(L, 3, "request_id", arena),
		   *if_match = text_member(L, 3, "if_match", arena);
	struct pl_request *request =
		world_request(host->config, luaL_checkstring(L, 2), method ? method : "GET",
	                      target ? target : "/us/properties", id, body);

	if (request_id)
		request->request_id = pl_arena_strdup(request->arena, request_id);
	read_client(L, request);
	request->has_if_match = if_match != NULL;
	if (if_match)
		request->etag_never =
			pl_vector_parse_etag(&request->if_match, if_match, strlen(if_match)) != 0;
	return request;
}

//   1  vm   2  path   3  request
static int host_request(lua_State *L)
{
	struct host *host = check_host(L);
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_answer answer = { 0 };
	struct pl_request *request;
	struct pl_run *run;
	int done = 0;

	luaL_checktype(L, 3, LUA_TTABLE);
	request = make_request(L, host, arena);
	run = pl_run_start(host->vm, host->store, request, &answer, answered, &done);
	fake_store_run(host->store);
	if (done != 1)
		return luaL_error(L, "the handler was answered %d times", done);
	push_answer(L, &answer);
	pl_run_free(&run);
	pl_buf_fini(&answer.body);
	world_request_free(&request);
	pl_arena_free(&arena);
	return 1;
}

//   1  vm   2  id   3  price   4  bedrooms   5  version
static int host_put(lua_State *L)
{
	struct host *host = check_host(L);

	fake_store_put(host->store, luaL_checkinteger(L, 2), luaL_checkstring(L, 3),
	               luaL_optstring(L, 4, NULL), (int32_t)luaL_optinteger(L, 5, 1));
	return 0;
}

static int host_sql(lua_State *L)
{
	lua_pushstring(L, fake_store_last_sql(check_host(L)->store));
	return 1;
}

static int host_memory(lua_State *L)
{
	struct host *host = check_host(L);

	lua_gc(host->vm->L, LUA_GCCOLLECT);
	lua_pushinteger(L, (lua_Integer)pl_vm_memory(host->vm));
	return 1;
}

// Creating a VM.

static int read_files(lua_State *L, struct world_file files[FILES_MAX])
{
	int n = 0;

	if (lua_getfield(L, 1, "files") != LUA_TTABLE)
		return 0;
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		luaL_argcheck(L, n < FILES_MAX, 1, "too many files");
		files[n++] = (struct world_file){ .path = luaL_checkstring(L, -2),
			                          .text = luaL_checkstring(L, -1) };
	}
	return n; // the texts are referenced by the table that stays on the stack
}

static int64_t limit(lua_State *L, const char *name, int64_t otherwise)
{
	int64_t value;

	lua_getfield(L, 1, name);
	value = luaL_optinteger(L, -1, otherwise);
	lua_pop(L, 1);
	return value;
}

static struct pl_config *make_config(lua_State *L, enum pl_context context)
{
	struct world_file files[FILES_MAX];
	const char *root;
	struct pl_config *config;
	struct pl_script_limits *limits;

	lua_getfield(L, 1, "root");
	root = luaL_optstring(L, -1, NULL);
	config = root ? world_config_of(root) : world_config(files, read_files(L, files));
	lua_getfield(L, 1, "policy");
	if (lua_isstring(L, -1)) {
		config->resources[0].policy = pl_arena_strdup(config->arena, lua_tostring(L, -1));
		config->resources[0].shadow_policy = NULL;
	}
	limits = context == PL_CONTEXT_POLICY ? &config->policy_limits : &config->handler_limits;
	limits->instructions = limit(L, "instructions", limits->instructions);
	limits->wall_us = limit(L, "time_ms", limits->wall_us / 1000) * 1000;
	limits->memory = (size_t)limit(L, "memory", (int64_t)limits->memory);
	lua_settop(L, 2);
	return config;
}

static int give_problems(lua_State *L, struct pl_diagnostics *diagnostics)
{
	lua_pushnil(L);
	lua_newtable(L);
	for (int i = 0; i < diagnostics->n; i++) {
		lua_pushstring(L, diagnostics->lines[i].text);
		lua_rawseti(L, -2, i + 1);
	}
	pl_diagnostics_fini(diagnostics);
	return 2;
}

static int host_vm(lua_State *L)
{
	enum pl_context context;
	struct pl_diagnostics diagnostics = { 0 };
	struct host *host;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_getfield(L, 1, "world");
	context = strcmp(luaL_checkstring(L, -1), "policy") == 0 ? PL_CONTEXT_POLICY : PL_CONTEXT_HANDLER;
	lua_settop(L, 1);
	host = lua_newuserdatauv(L, sizeof(*host), 0);
	memset(host, 0, sizeof(*host));
	luaL_setmetatable(L, META);
	host->config = make_config(L, context);
	host->vm = pl_vm_new(host->config, context, &diagnostics);
	if (!host->vm) {
		pl_config_unref(&host->config);
		return give_problems(L, &diagnostics);
	}
	pl_diagnostics_fini(&diagnostics);
	host->store = fake_store_new(host->config);
	return 1;
}

int host_open(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "memory", host_memory },   { "policy", host_policy },   { "put", host_put },
		{ "request", host_request }, { "resolve", host_resolve }, { "run", host_run },
		{ "sql", host_sql },         { "close", host_close },     { NULL, NULL },
	};

	luaL_newmetatable(L, META);
	lua_pushcfunction(L, host_close);
	lua_setfield(L, -2, "__gc");
	lua_newtable(L);
	luaL_setfuncs(L, methods, 0);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
	lua_newtable(L);
	lua_pushcfunction(L, host_vm);
	lua_setfield(L, -2, "vm");
	return 1;
}
