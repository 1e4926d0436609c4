// Policies: calling a Lua file to choose among concurrent writes.
//
// Regions agree because a policy is a function of its rows alone, so it must see nothing
// else. Each call has a new environment, in which the compiled main function of the file
// runs again, and so do those of the modules that it requires. State that a policy keeps,
// in a global, an upvalue, a metatable, a closure made while loading or the table of a
// library, is in that environment and ends with the call. This costs a few microseconds
// (tests/unit/script/test_policy.c measures it), little compared with a transaction for
// every conflict.
//
// Scripts can neither change nor tell apart what calls share: C functions without state,
// the compiled code, texts, and the metatables of texts, decimals and frozen tables.
// `pairs` and `next` have a fixed order, sort is stable, and no function shows an
// address, the time or a random number.
//
// A verdict is checked against the resource before it is used: the index exists, or the
// fields are the resource's, complete, of their types and within their bounds.
// Threads: a VM's.
#include "script/policy.h"

#include <lauxlib.h>
#include <string.h>

#include "base/utf8.h"
#include "script/bind/bind.h"
#include "script/frozen.h"
#include "script/load.h"
#include "script/order.h"
#include "script/text.h"
#include "script/value.h"

struct pl_policy {
	struct pl_vm *vm;
	struct pl_script *script;
	int64_t instructions; // of the last call
};

static struct pl_policy *policy_of(struct pl_vm *vm, struct pl_script *script)
{
	if (!script)
		return NULL;
	if (!script->policy) {
		script->policy = pl_arena_alloc(vm->arena, sizeof(*script->policy));
		script->policy->vm = vm;
		script->policy->script = script;
	}
	return script->policy;
}

struct pl_policy *pl_policy_find(struct pl_vm *vm, const char *path)
{
	struct pl_script *script = vm->context == PL_CONTEXT_POLICY && path ? pl_load_find(vm, path) : NULL;

	return policy_of(vm, script);
}

struct pl_policy *pl_policy_load(struct pl_vm *vm, const struct pl_script_source *source,
                                 struct pl_diagnostics *diagnostics)
{
	struct pl_script *script = pl_load_script(vm, source, diagnostics);

	return policy_of(vm, script);
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
	const struct pl_policy_question *question;
	struct pl_arena *arena;
	struct pl_verdict *verdict;
	int times;            // calls in the same environment; the last answer counts
	const char *nonsense; // why the verdict is invalid
};

// Pushes when and where each field was last changed; nil if that is not tracked.
static void push_field_times(lua_State *L, const struct pl_sibling *row)
{
	if (!row->field_times) {
		lua_pushnil(L);
		return;
	}
	pl_value_push_json_text(L, row->field_times, strlen(row->field_times));
	pl_frozen_freeze_deep(L);
}

static void push_row(lua_State *L, const struct call *call, const struct pl_sibling *row)
{
	pl_value_push_state(L, call->question->resource, (const char *const *)row->values, &row->vector,
	                    row->updated_at_us, row->dot.region);
	lua_pushboolean(L, row->deleted);
	lua_setfield(L, -2, "deleted");
	lua_pushstring(L, row->request_id); // nil for NULL
	lua_setfield(L, -2, "request_id");
	push_field_times(L, row);
	lua_setfield(L, -2, "fields_updated");
	pl_frozen_freeze(L);
}

static void push_rows(lua_State *L, const struct call *call)
{
	lua_createtable(L, call->question->n, 0);
	for (int i = 0; i < call->question->n; i++) {
		push_row(L, call, &call->question->rows[i]);
		lua_rawseti(L, -2, i + 1);
	}
	pl_frozen_freeze(L);
}

static void push_context(lua_State *L, const struct call *call)
{
	lua_createtable(L, 0, 3);
	lua_pushstring(L, call->question->resource->name);
	lua_setfield(L, -2, "resource");
	lua_pushinteger(L, call->question->id);
	lua_setfield(L, -2, "key");
	pl_value_push_regions(L, call->policy->vm->config);
	lua_setfield(L, -2, "regions");
	pl_frozen_freeze(L);
}

// Converts the value on top of the stack to JSON, in *item, for the check of fields.
// Returns NULL, or what the value is if no field can hold it.
static const char *as_json(lua_State *L, struct pl_vm *vm, cJSON *item)
{
	size_t len;

	*item = (cJSON){ 0 };
	switch (lua_type(L, -1)) {
	case LUA_TNIL:
	case LUA_TLIGHTUSERDATA: item->type = cJSON_NULL; return NULL; // policy.null
	case LUA_TBOOLEAN: item->type = lua_toboolean(L, -1) ? cJSON_True : cJSON_False; return NULL;
	case LUA_TSTRING:
		item->type = cJSON_String;
		item->valuestring = (char *)(uintptr_t)lua_tolstring(L, -1, &len);
		if (strlen(item->valuestring) != len || !pl_utf8_valid(item->valuestring, len))
			return "a text that is not UTF-8";
		return NULL;
	default:
		pl_buf_reset(&vm->text);
		if (!pl_value_print_number(L, -1, &vm->text))
			return lua_type(L, -1) == LUA_TNUMBER
			               ? "a number that is not finite"
			               : lua_pushfstring(L, "a %s", pl_text_kind(L, -1));
		item->type = cJSON_Raw;
		item->valuestring = vm->text.data;
		return NULL;
	}
}

// The value as text for a message; a long one is cut.
static const char *value_text(struct pl_arena *arena, const cJSON *item)
{
	struct pl_buf buf = { 0 };
	const char *text;

	if (cJSON_IsString(item))
		pl_buf_add_json(&buf, item->valuestring,
		                strnlen(item->valuestring,
		                        40)); // may cut within a character: pl_utf8_clean mends the message
	else
		pl_buf_adds(&buf,
		            cJSON_IsBool(item) ? (cJSON_IsTrue(item) ? "true" : "false") : item->valuestring);
	text = pl_arena_strndup(arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return text;
}

// Takes field i of the merge from the table at `fields`.
static void take_field(lua_State *L, struct call *call, int fields, int i)
{
	const struct pl_field *field = &call->question->resource->fields[i];
	const char *fault;
	cJSON item;

	lua_pushstring(L, field->name);
	lua_rawget(L, fields);
	fault = as_json(L, call->policy->vm, &item);
	if (fault)
		call->nonsense = pl_arena_printf(call->arena, "merges %s into %s, which cannot hold it",
		                                 fault, field->name);
	else if (cJSON_IsNull(&item) && field->required)
		call->nonsense = pl_arena_printf(call->arena, "merges no %s, which every record must have",
		                                 field->name);
	else if ((fault = pl_changes_check_field(call->arena, field, &item, &call->verdict->merged[i])))
		call->nonsense = pl_arena_printf(call->arena, "merges %s %s, which %s", field->name,
		                                 value_text(call->arena, &item), fault);
	lua_settop(L, fields);
}

// Refuses members of the merge, on top of the stack, that are not fields.
static void refuse_others(lua_State *L, struct call *call)
{
	int fields = lua_gettop(L);
	lua_Integer n = pl_order_keys(L, fields);

	for (lua_Integer i = 1; i <= n && !call->nonsense; i++) {
		size_t len;
		const char *name;

		lua_rawgeti(L, -1, i);
		name = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
		if (!name || pl_config_field(call->question->resource, name, len) < 0)
			call->nonsense = pl_arena_printf(
				call->arena, "merges %s%s%s, which is not a field of %s",
				name ? "'" : "a member whose name is a ", name ? name : pl_text_kind(L, -1),
				name ? "'" : "", call->question->resource->name);
		lua_pop(L, 1);
	}
	lua_settop(L, fields);
}

static void take_merge(lua_State *L, struct call *call)
{
	int fields = lua_gettop(L);

	call->verdict->take = -1;
	call->verdict->merged = pl_arena_array(call->arena, (size_t)call->question->resource->nfields,
	                                       sizeof(call->verdict->merged[0]));
	refuse_others(L, call);
	for (int i = 0; i < call->question->resource->nfields && !call->nonsense; i++)
		take_field(L, call, fields, i);
}

static void take_verdict(lua_State *L, struct call *call)
{
	lua_Integer take = 0;

	switch (pl_bind_policy_verdict_at(L, -1, &take)) {
	case 'm': take_merge(L, call); return;
	case 't':
		if (take >= 1 && take <= call->question->n)
			call->verdict->take = (int)take - 1;
		else
			call->nonsense = pl_arena_printf(call->arena, "takes row %lld of %d", (long long)take,
			                                 call->question->n);
		return;
	default:
		call->nonsense = pl_arena_printf(
			call->arena, "returns %s%s instead of policy.take(i) or policy.merge{…}",
			lua_isnil(L, -1) ? "" : "a ", lua_isnil(L, -1) ? "nothing" : pl_text_kind(L, -1));
	}
}

// Body.
//   1  light userdata: struct call
static int resolve(lua_State *L)
{
	struct call *call = lua_touserdata(L, 1);

	luaL_checkstack(L, 20, NULL);
	pl_load_forget_modules(L);
	pl_load_run_main(L, call->policy->script);
	if (lua_type(L, -1) != LUA_TTABLE ||
	    (lua_pushliteral(L, "resolve"), lua_rawget(L, -2)) != LUA_TFUNCTION)
		return luaL_error(L, "the file returned no function 'resolve' in this call");
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

int pl_policy_resolve(struct pl_policy *policy, const struct pl_policy_question *question, int times,
                      struct pl_arena *arena, struct pl_verdict *verdict_r, struct pl_error *err)
{
	struct pl_vm *vm = policy->vm;
	struct call call = {
		.policy = policy,
		.question = question,
		.times = times,
		.arena = arena,
		.verdict = verdict_r,
	};
	struct pl_budget budget = pl_call_budget(&vm->limits);
	enum pl_call_end end;

	budget.instructions *= times;
	policy->instructions = budget.instructions;
	*verdict_r = (struct pl_verdict){ .take = 0 };
	vm->place = policy->script->source->path;
	end = pl_call(vm, resolve, &call, &budget, err);
	vm->place = NULL;
	policy->instructions -= budget.instructions;
	if (end == PL_CALL_DONE && !call.nonsense)
		return 0;
	if (end != PL_CALL_DONE) {
		pl_load_recover(vm);
		pl_error_prefix(err, "%s", policy->script->name);
		err->retryable = end == PL_CALL_TIME; // the only limit that differs between runs
	} else {
		pl_error_set(err, PL_EINVAL, "%s: %s", policy->script->name, call.nonsense);
	}
	pl_utf8_clean(
		// a script's own bytes may be in it, and the conflict's row must not fail
		// because of them
		err->text);
	return err->code;
}
