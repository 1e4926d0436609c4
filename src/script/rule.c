// Rules for violations: see rule.h.
//
// A rule gets the records and a description of the violation, and returns a list of
// changes:
//
//	{ { id = 12, fields = { day = 8 } }, { id = 13, delete = true } }
//
// The environment, the order of tables and the budget are those of policies
// (script/policy.c), for the same reason: every region that asks gets the same answer.
// Threads: a VM's.
#include "script/rule.h"

#include <lauxlib.h>
#include <string.h>

#include "base/utf8.h"
#include "script/frozen.h"
#include "script/load.h"
#include "script/text.h"
#include "script/value.h"

struct pl_rule {
	struct pl_vm *vm;
	struct pl_script *script;
};

struct rule_call {
	struct pl_rule *rule;
	const struct pl_violation *violation;
	struct pl_arena *arena;
	int times;
	const cJSON *answer;
	const char *nonsense; // why the answer is invalid
};

struct pl_rule *pl_rule_find(struct pl_vm *vm, struct pl_arena *arena, const char *path)
{
	struct pl_script *script = vm->context == PL_CONTEXT_POLICY && path ? pl_load_find(vm, path) : NULL;
	struct pl_rule *rule;

	if (!script)
		return NULL;
	rule = pl_arena_alloc(arena, sizeof(*rule));
	rule->vm = vm;
	rule->script = script;
	return rule;
}

const char *pl_rule_name(const struct pl_rule *rule)
{
	return rule->script->name;
}

const char *pl_rule_sha256(const struct pl_rule *rule)
{
	return rule->script->sha256;
}

const char *pl_rule_doc(const struct pl_rule *rule)
{
	return rule->script->doc;
}

// ---- the question

static void push_record(lua_State *L, const struct pl_resource *resource,
                        const struct pl_violation_record *record)
{
	pl_value_push_state(L, resource, record->values, &record->vector, record->updated_at_us,
	                    record->origin);
	lua_pushinteger(L, record->id);
	lua_setfield(L, -2, "id");
	pl_frozen_freeze(L);
}

static void push_records(lua_State *L, const struct rule_call *call)
{
	lua_createtable(L, call->violation->n, 0);
	for (int i = 0; i < call->violation->n; i++) {
		push_record(L, call->violation->resource, &call->violation->records[i]);
		lua_rawseti(L, -2, i + 1);
	}
	pl_frozen_freeze(L);
}

static void push_names(lua_State *L, const char *fields)
{
	int n = 0;

	lua_newtable(L);
	for (const char *name = fields; *name; name += *name == ',') {
		size_t len = strcspn(name, ",");

		lua_pushlstring(L, name, len);
		lua_rawseti(L, -2, ++n);
		name += len;
	}
	pl_frozen_freeze(L);
}

static void push_context(lua_State *L, const struct rule_call *call)
{
	lua_createtable(L, 0, 4);
	lua_pushstring(L, call->violation->resource->name);
	lua_setfield(L, -2, "resource");
	lua_pushstring(L, call->violation->type);
	lua_setfield(L, -2, "type");
	push_names(L, call->violation->fields);
	lua_setfield(L, -2, "fields");
	pl_value_push_regions(L, call->rule->vm->config);
	lua_setfield(L, -2, "regions");
	pl_frozen_freeze(L);
}

// Body.
//   1  light userdata: struct rule_call
static int resolve(lua_State *L)
{
	struct rule_call *call = lua_touserdata(L, 1);

	luaL_checkstack(L, 20, NULL);
	pl_load_forget_modules(L);
	pl_load_run_main(L, call->rule->script);
	if (lua_type(L, -1) != LUA_TTABLE ||
	    (lua_pushliteral(L, "resolve"), lua_rawget(L, -2)) != LUA_TFUNCTION)
		return luaL_error(L, "the file returned no function 'resolve' in this call");
	for (int i = 1; i <= call->times; i++) {
		lua_pushvalue(L, -1);
		push_records(L, call);
		push_context(L, call);
		lua_call(L, 2, 1);
		if (i < call->times)
			lua_pop(L, 1);
	}
	if (lua_type(L, -1) != LUA_TTABLE)
		call->nonsense = pl_arena_printf(call->arena, "returns %s instead of a list of changes",
		                                 lua_isnil(L, -1) ? "nothing" : pl_text_kind(L, -1));
	else
		call->answer = pl_value_tree(L, -1, call->arena, &call->nonsense);
	return 0;
}

// ---- the answer

static int index_of(const struct pl_violation *violation, const cJSON *item)
{
	const cJSON *member = cJSON_IsObject(item) ? pl_json_get(item, "id") : NULL;
	int64_t id;

	if (!member || !pl_json_is_number(member) || pl_json_int64(member, &id) < 0)
		return -1;
	for (int i = 0; i < violation->n; i++)
		if (violation->records[i].id == id)
			return i;
	return -1;
}

static const char *members_fault(const cJSON *item)
{
	const cJSON *member;

	cJSON_ArrayForEach (member, item)
		if (strcmp(member->string, "id") != 0 && strcmp(member->string, "fields") != 0 &&
		    strcmp(member->string, "delete") != 0)
			return member->string;
	return NULL;
}

// One change. Returns a sentence if it is not a valid one.
static const char *take_change(struct rule_call *call, const cJSON *item, struct pl_rule_change *change)
{
	const struct pl_violation *violation = call->violation;
	const cJSON *fields = cJSON_IsObject(item) ? pl_json_get(item, "fields") : NULL;
	const cJSON *gone = cJSON_IsObject(item) ? pl_json_get(item, "delete") : NULL;
	const struct pl_fault *fault;

	change->record = index_of(violation, item);
	if (change->record < 0)
		return "names no id of one of the records";
	if (members_fault(item))
		return pl_arena_printf(call->arena,
		                       "has a member '%s'; a change has id, and fields or delete",
		                       members_fault(item));
	change->deleted = cJSON_IsTrue(gone);
	if (change->deleted == (fields != NULL) || (gone && !cJSON_IsBool(gone)))
		return "must have fields, or delete = true";
	if (change->deleted)
		return NULL;
	fault = pl_changes_parse(call->arena, violation->resource, PL_BODY_UPDATE, fields, NULL,
	                         &change->changes);
	return fault ? pl_arena_printf(call->arena, "%s %s", fault->pointer[0] ? fault->pointer : "fields",
	                               fault->detail)
	             : NULL;
}

static void take_changes(struct rule_call *call, struct pl_rule_answer *answer_r)
{
	const cJSON *item;
	int n = cJSON_GetArraySize(call->answer), i = 0;

	if (!cJSON_IsArray(call->answer) && call->answer->child) {
		call->nonsense = "returns a table with names instead of a list of changes";
		return;
	}
	answer_r->changes =
		pl_arena_alloc(call->arena, sizeof(answer_r->changes[0]) * (size_t)(n > 0 ? n : 1));
	cJSON_ArrayForEach (item, call->answer) {
		const char *fault = take_change(call, item, &answer_r->changes[i]);

		for (int k = 0; k < i && !fault; k++)
			if (answer_r->changes[k].record == answer_r->changes[i].record)
				fault = "names a record for the second time";
		if (fault) {
			call->nonsense = pl_arena_printf(call->arena, "change %d %s", i + 1, fault);
			return;
		}
		i++;
	}
	answer_r->n = i;
}

int pl_rule_resolve(struct pl_rule *rule, const struct pl_violation *violation, int times,
                    struct pl_arena *arena, struct pl_rule_answer *answer_r, struct pl_error *err)
{
	struct pl_vm *vm = rule->vm;
	struct rule_call call = { .rule = rule, .violation = violation, .arena = arena, .times = times };
	struct pl_budget budget = pl_call_budget(&vm->limits);
	enum pl_call_end end;

	budget.instructions *= times;
	memset(answer_r, 0, sizeof(*answer_r));
	vm->place = rule->script->source->path;
	end = pl_call(vm, resolve, &call, &budget, err);
	vm->place = NULL;
	if (end == PL_CALL_DONE && !call.nonsense)
		take_changes(&call, answer_r);
	if (end == PL_CALL_DONE && !call.nonsense)
		return 0;
	if (end != PL_CALL_DONE) {
		pl_load_recover(vm);
		pl_error_prefix(err, "%s", rule->script->name);
		err->retryable = end == PL_CALL_TIME;
	} else {
		pl_error_set(err, PL_EINVAL, "%s: %s", rule->script->name, call.nonsense);
	}
	pl_utf8_clean(err->text);
	return err->code;
}
