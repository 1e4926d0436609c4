// Policies: asking a Lua file which of several concurrent writes is shown.
//
// Stands between replicate/decide and a policy's `resolve`. What makes regions agree is that a policy is a function of its
// rows, so nothing else may reach it. Each call begins with a world that did not exist before: a new environment, in which
// the compiled main function of the file runs again, and those of the modules that it requires. Whatever a policy keeps, in a
// global, an upvalue, a metatable, a closure made while loading, or in a library's table, it keeps in that world, which ends
// with the call. The price is a few microseconds (see tests/unit/script/test_policy.c, which measures it), against a
// transaction for every conflict.
//
// What remains shared between calls cannot be changed or seen by scripts: C functions without state, the compiled code,
// texts, the metatable of texts, of decimals and of frozen tables. `pairs` and `next` go in an order of their own, sort is
// stable, and no function shows an address, the time or chance.
//
// A verdict is believed only after it has been held against the resource: an index that exists; or fields that are fields, of
// their types, within their bounds, none missing.
// Threads: a VM's.
#include "script/policy.h"

#include <lauxlib.h>
#include <string.h>

#include "base/utf8.h"
#include "script/bind.h"
#include "script/sandbox.h"
#include "script/value.h"

struct pl_policy {
	struct pl_vm *vm;
	struct pl_script *script;
	int64_t instructions; // of the last call
};

struct pl_policy *pl_policy_new(struct pl_vm *vm, struct pl_script *script)
{
	struct pl_policy *policy = pl_arena_alloc(vm->arena, sizeof *policy);

	policy->vm = vm;
	policy->script = script;
	return policy;
}

struct pl_policy *pl_policy_find(struct pl_vm *vm, const char *path)
{
	struct pl_script *script = vm->world == PL_WORLD_POLICY && path ? pl_vm_find(vm, path) : NULL;

	return script ? script->policy : NULL;
}

struct pl_policy *pl_policy_load(struct pl_vm *vm, const struct pl_script_source *source, struct pl_problems *problems)
{
	struct pl_script *script = pl_vm_load(vm, source, problems);

	return script ? script->policy : NULL;
}

const char *pl_policy_name(const struct pl_policy *policy)
{
	return policy->script->name;
}

const char *pl_policy_doc(const struct pl_policy *policy)
{
	return policy->script->doc;
}

int64_t pl_policy_instructions(const struct pl_policy *policy)
{
	return policy->instructions;
}

const char *pl_policy_sha256(const struct pl_policy *policy)
{
	return policy->script->sha256;
}

// A call.
struct call {
	struct pl_policy *policy;
	const struct pl_resource *resource;
	int64_t id;
	const struct pl_sibling *rows;
	int n;
	struct pl_arena *arena;
	struct pl_verdict *verdict;
	int times;            // how often it is asked in this world; the last answer counts
	const char *nonsense; // why the verdict cannot be taken
};

// Pushes when and where each field was last changed; nil where that is not tracked.
static void push_field_times(lua_State *L, const struct pl_sibling *row)
{
	if (!row->field_times) {
		lua_pushnil(L);
		return;
	}
	pl_value_push_json_text(L, row->field_times, strlen(row->field_times));
	pl_policy_freeze_deep(L);
}

static void push_row(lua_State *L, const struct call *call, const struct pl_sibling *row)
{
	lua_createtable(L, 0, 7);
	lua_createtable(L, 0, call->resource->nfields);
	for (int i = 0; i < call->resource->nfields; i++) {
		pl_value_push_field(L, &call->resource->fields[i], row->values[i]);
		lua_setfield(L, -2, call->resource->fields[i].name);
	}
	pl_policy_freeze(L);
	lua_setfield(L, -2, "fields");
	lua_pushinteger(L, pl_vector_sum(&row->vector));
	lua_setfield(L, -2, "version");
	lua_pushinteger(L, row->updated_at_us);
	lua_setfield(L, -2, "updated_at");
	lua_pushstring(L, row->dot.region);
	lua_setfield(L, -2, "origin");
	lua_pushboolean(L, row->deleted);
	lua_setfield(L, -2, "deleted");
	lua_pushstring(L, row->request_id); // nil for NULL
	lua_setfield(L, -2, "request_id");
	push_field_times(L, row);
	lua_setfield(L, -2, "fields_updated");
	pl_policy_freeze(L);
}

static void push_rows(lua_State *L, const struct call *call)
{
	lua_createtable(L, call->n, 0);
	for (int i = 0; i < call->n; i++) {
		push_row(L, call, &call->rows[i]);
		lua_rawseti(L, -2, i + 1);
	}
	pl_policy_freeze(L);
}

static void push_context(lua_State *L, const struct call *call)
{
	const struct pl_config *config = call->policy->vm->config;

	lua_createtable(L, 0, 3);
	lua_pushstring(L, call->resource->name);
	lua_setfield(L, -2, "resource");
	lua_pushinteger(L, call->id);
	lua_setfield(L, -2, "key");
	lua_createtable(L, config->nregions, 0);
	for (int i = 0; i < config->nregions; i++) {
		lua_pushstring(L, config->regions[i].name);
		lua_rawseti(L, -2, i + 1);
	}
	pl_policy_freeze(L);
	lua_setfield(L, -2, "regions");
	pl_policy_freeze(L);
}

// The value on top of the stack as JSON knows it, in *item, for the check of fields. NULL, or what it is that no field can be.
static const char *as_json(lua_State *L, struct pl_vm *vm, cJSON *item)
{
	size_t len;

	*item = (cJSON){0};
	switch (lua_type(L, -1)) {
	case LUA_TNIL:
		item->type = cJSON_NULL;
		return NULL;
	case LUA_TBOOLEAN:
		item->type = lua_toboolean(L, -1) ? cJSON_True : cJSON_False;
		return NULL;
	case LUA_TSTRING:
		item->type = cJSON_String;
		item->valuestring = (char *)(uintptr_t)lua_tolstring(L, -1, &len);
		if (strlen(item->valuestring) != len || !pl_utf8_valid(item->valuestring, len))
			return "a text that is not UTF-8";
		return NULL;
	default:
		pl_buf_reset(&vm->text);
		if (!pl_value_print_number(L, -1, &vm->text))
			return lua_type(L, -1) == LUA_TNUMBER ? "a number that is not finite" : lua_pushfstring(L, "a %s", pl_sandbox_kind(L, -1));
		item->type = cJSON_Raw;
		item->valuestring = vm->text.data;
		return NULL;
	}
}

// The value as people write it, the beginning of a long one.
static const char *value_text(struct pl_arena *arena, const cJSON *item)
{
	struct pl_buf buf = {0};
	const char *text;

	if (cJSON_IsString(item))
		pl_buf_add_json(&buf, item->valuestring, strnlen(item->valuestring, 40)); // cut within a character: cleaned with the sentence
	else
		pl_buf_adds(&buf, cJSON_IsBool(item) ? (cJSON_IsTrue(item) ? "true" : "false") : item->valuestring);
	text = pl_arena_strndup(arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return text;
}

// A field of the merge, whose table is at `fields`.
static void take_field(lua_State *L, struct call *call, int fields, int i)
{
	const struct pl_field *field = &call->resource->fields[i];
	const char *fault;
	cJSON item;

	lua_pushstring(L, field->name);
	lua_rawget(L, fields);
	fault = as_json(L, call->policy->vm, &item);
	if (fault)
		call->nonsense = pl_arena_printf(call->arena, "merges %s into %s, which it cannot be", fault, field->name);
	else if (cJSON_IsNull(&item) && field->required)
		call->nonsense = pl_arena_printf(call->arena, "merges no %s, which every record has to have", field->name);
	else if ((fault = pl_field_fault(call->arena, field, &item, &call->verdict->merged[i])))
		call->nonsense = pl_arena_printf(call->arena, "merges %s %s, which %s", field->name, value_text(call->arena, &item), fault);
	lua_settop(L, fields);
}

// Members of the merge, on top of the stack, that are no fields.
static void refuse_others(lua_State *L, struct call *call)
{
	int fields = lua_gettop(L);
	lua_Integer n = pl_order_keys(L, fields);

	for (lua_Integer i = 1; i <= n && !call->nonsense; i++) {
		size_t len;
		const char *name;

		lua_rawgeti(L, -1, i);
		name = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
		if (!name || pl_resource_field(call->resource, name, len) < 0)
			call->nonsense = pl_arena_printf(call->arena, "merges %s%s%s, which is no field of %s", name ? "'" : "a member whose name is a ",
			                                 name ? name : pl_sandbox_kind(L, -1), name ? "'" : "", call->resource->name);
		lua_pop(L, 1);
	}
	lua_settop(L, fields);
}

static void take_merge(lua_State *L, struct call *call)
{
	int fields = lua_gettop(L);

	call->verdict->take = -1;
	call->verdict->merged = pl_arena_array(call->arena, (size_t)call->resource->nfields, sizeof call->verdict->merged[0]);
	refuse_others(L, call);
	for (int i = 0; i < call->resource->nfields && !call->nonsense; i++)
		take_field(L, call, fields, i);
}

static void take_verdict(lua_State *L, struct call *call)
{
	lua_Integer take = 0;

	switch (pl_policy_verdict_at(L, -1, &take)) {
	case 'm':
		take_merge(L, call);
		return;
	case 't':
		if (take >= 1 && take <= call->n)
			call->verdict->take = (int)take - 1;
		else
			call->nonsense = pl_arena_printf(call->arena, "takes row %lld of %d", (long long)take, call->n);
		return;
	default:
		call->nonsense = pl_arena_printf(call->arena, "returns %s%s instead of policy.take(i) or policy.merge{…}", lua_isnil(L, -1) ? "" : "a ",
		                                 lua_isnil(L, -1) ? "nothing" : pl_sandbox_kind(L, -1));
	}
}

// Body.
//   1  light userdata: struct call
static int resolve(lua_State *L)
{
	struct call *call = lua_touserdata(L, 1);

	luaL_checkstack(L, 20, NULL);
	pl_vm_new_world(L);
	pl_vm_run_main(L, call->policy->script);
	if (lua_type(L, -1) != LUA_TTABLE || (lua_pushliteral(L, "resolve"), lua_rawget(L, -2)) != LUA_TFUNCTION)
		return luaL_error(L, "the file returned no function 'resolve' this time");
	for (int i = 1; i < call->times; i++) {
		lua_pushvalue(L, -1);
		push_rows(L, call);
		push_context(L, call);
		lua_call(L, 2, 0);
	}
	push_rows(L, call);
	push_context(L, call);
	lua_call(L, 2, 1);
	take_verdict(L, call);
	return 0;
}

int pl_policy_resolve(struct pl_policy *policy, const struct pl_resource *resource, int64_t id, const struct pl_sibling *rows,
                      int n, struct pl_arena *arena, struct pl_verdict *verdict_r, struct pl_error *err)
{
	return pl_policy_resolve_again(policy, resource, id, rows, n, 1, arena, verdict_r, err);
}

int pl_policy_resolve_again(struct pl_policy *policy, const struct pl_resource *resource, int64_t id,
                            const struct pl_sibling *rows, int n, int times, struct pl_arena *arena,
                            struct pl_verdict *verdict_r, struct pl_error *err)
{
	struct pl_vm *vm = policy->vm;
	struct call call = {
		.policy = policy, .resource = resource, .id = id, .rows = rows, .n = n, .times = times, .arena = arena,
		.verdict = verdict_r,
	};
	struct pl_budget budget = pl_budget_of(&vm->limits);
	enum pl_call_end end;

	budget.instructions *= times;
	policy->instructions = budget.instructions;
	*verdict_r = (struct pl_verdict){.take = 0};
	end = pl_call(vm, resolve, &call, &budget, err);
	policy->instructions -= budget.instructions;
	if (end == PL_CALL_DONE && !call.nonsense)
		return 0;
	if (end != PL_CALL_DONE) {
		pl_vm_recover(vm);
		pl_error_prefix(err, "%s", policy->script->name);
		err->retryable = end == PL_CALL_TIME; // the only limit that is not the same every time
	} else {
		pl_error_set(err, PL_EINVAL, "%s: %s", policy->script->name, call.nonsense);
	}
	pl_utf8_clean(err->text); // a script's own bytes may be in it, and the conflict's row must not fail because of them
	return err->code;
}
