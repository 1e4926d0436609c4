// The answer of a run: made from the value that the handler returned, or a problem.
//
// http/ sends it, perhaps after the run has been freed. So it is in the request's arena,
// and the body in the answer's buffer. Runs no code of scripts.
// Threads: a VM's.
#include "script/answer.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "config/reserved.h"
#include "script/value.h"

#define META              "plist.answer"
#define HEADER_VALUE_MAX  4096
#define HEADERS_MAX_BYTES 8192 // in all, as sent; http/listener reserves room for them
#define WHAT_BODY         "the answer's body (http.max_response)"

void pl_answer_setup(lua_State *L)
{
	luaL_newmetatable(L, META);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
}

void pl_answer_mark(lua_State *L)
{
	luaL_setmetatable(L, META);
}

static bool is_answer(lua_State *L, int index)
{
	bool is;

	if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index))
		return false;
	luaL_getmetatable(L, META);
	is = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return is;
}

void pl_answer_reset(struct pl_answer *answer)
{
	pl_buf_reset(&answer->body);
	answer->status = 0;
	answer->content_type = NULL;
	answer->headers = NULL;
	answer->problem = NULL;
}

const char *pl_answer_find(const struct pl_answer *answer, const char *name)
{
	for (const struct pl_header *h = answer->headers; h; h = h->next) {
		if (strcasecmp(h->name, name) == 0)
			return h->value;
	}
	return NULL;
}

void pl_answer_header(struct pl_run *run, const char *name, const char *value)
{
	struct pl_arena *arena = run->request->arena;
	struct pl_header *header = pl_arena_alloc(arena, sizeof(*header)), **end = &run->answer->headers;

	while (*end)
		end = &(*end)->next;
	header->name = pl_arena_strdup(arena, name);
	header->value = pl_arena_strdup(arena, value);
	*end = header;
}

static const char *copy_text(struct pl_arena *arena, const char *text)
{
	return text ? pl_arena_strdup(arena, text) : NULL;
}

static const struct pl_record *copy_record(struct pl_arena *arena, const struct pl_record *from)
{
	struct pl_record *record;

	if (!from)
		return NULL;
	record = pl_record_new(arena, from->resource);
	const char **values = record->values;

	*record = *from;
	record->values = values;
	for (int i = 0; i < from->resource->nfields; i++)
		values[i] = copy_text(arena, from->values[i]);
	return record;
}

static const struct pl_fault *copy_faults(struct pl_arena *arena, const struct pl_fault *from)
{
	struct pl_fault *first = NULL, **last = &first;

	for (; from; from = from->next)
		last = pl_fault_add(arena, last, copy_text(arena, from->pointer),
		                    copy_text(arena, from->detail));
	return first;
}

// Copies a tree into an arena: to be read and printed, never deleted.
static cJSON *copy_tree(struct pl_arena *arena, const cJSON *from)
{
	cJSON *tree = pl_arena_alloc(arena, sizeof(*tree)), *last = NULL;

	*tree = *from;
	tree->next = tree->prev = tree->child = NULL;
	tree->valuestring = (char *)(uintptr_t)copy_text(arena, from->valuestring);
	tree->string = (char *)(uintptr_t)copy_text(arena, from->string);
	for (const cJSON *item = from->child; item; item = item->next) {
		cJSON *child = copy_tree(arena, item);

		if (last)
			last->next = child;
		else
			tree->child = child;
		child->prev = last;
		last = child;
	}
	if (tree->child)
		tree->child->prev = last; // cJSON's convention
	return tree;
}

void pl_answer_problem(struct pl_run *run, const struct pl_problem *from)
{
	struct pl_arena *arena = run->request->arena;
	struct pl_problem *problem =
		pl_exchange_problem_new(arena, from->status, copy_text(arena, from->title));

	problem->detail = copy_text(arena, from->detail);
	problem->error = copy_text(arena, from->error);
	problem->current = copy_record(arena, from->current);
	problem->retryable = from->retryable;
	problem->retry_after_s = from->retry_after_s;
	problem->not_executed = from->not_executed && !run->maybe_executed;
	problem->faults = copy_faults(arena, from->faults);
	problem->extra = from->extra ? copy_tree(arena, from->extra) : NULL;
	pl_answer_reset(run->answer);
	run->answer->status = problem->status;
	run->answer->problem = problem;
}

// From Lua. `answer` is the stack index of the value that the handler returned.

static const char *text_member(lua_State *L, int table, const char *name, struct pl_arena *arena)
{
	const char *text = NULL;

	lua_pushstring(L, name);
	if (lua_rawget(L, table) == LUA_TSTRING) {
		pl_call_charge_memory(L, lua_rawlen(L, -1));
		text = pl_arena_strdup(arena, lua_tostring(L, -1));
	}
	lua_pop(L, 1);
	return text;
}

static lua_Integer integer_member(lua_State *L, int table, const char *name, lua_Integer otherwise)
{
	lua_Integer value = otherwise;

	lua_pushstring(L, name);
	lua_rawget(L, table);
	if (lua_isinteger(L, -1))
		value = lua_tointeger(L, -1);
	lua_pop(L, 1);
	return value;
}

static void set_current(lua_State *L, int table, struct pl_run *run, struct pl_problem *problem)
{
	struct pl_arena *arena = run->request->arena;
	const char *resource_name = run->request->route->resource,
		   *etag = text_member(L, table, "current_etag", arena);
	const struct pl_resource *resource =
		resource_name ? pl_config_resource(run->vm->config, resource_name) : NULL;
	lua_Integer version = integer_member(L, table, "current_version", 0);
	struct pl_record *record;

	if (!etag || version < 1 || version > INT32_MAX)
		return;
	record = pl_record_new(arena, resource ? resource : &run->vm->config->resources[0]);
	record->version = (int32_t)version;
	if (pl_vector_parse_etag(&record->vector, etag, strlen(etag)) == 0)
		problem->current = record;
}

static void set_faults(lua_State *L, int table, struct pl_run *run, struct pl_problem *problem)
{
	struct pl_arena *arena = run->request->arena;
	struct pl_fault *first = NULL, **last = &first;
	const char *pointer, *detail;

	lua_pushliteral(L, "errors");
	if (lua_rawget(L, table) == LUA_TTABLE) {
		int list = lua_gettop(L);
		lua_Integer n = (lua_Integer)lua_rawlen(L, list);

		for (lua_Integer i = 1; i <= n; i++) {
			if (lua_rawgeti(L, list, i) == LUA_TTABLE) {
				pl_value_read(L, list + 1);
				pl_call_charge_memory(L, sizeof(**last));
				pointer = text_member(L, list + 1, "pointer", arena);
				detail = text_member(L, list + 1, "detail", arena);
				last = pl_fault_add(arena, last, pointer ? pointer : "",
				                    detail ? detail : "");
			}
			lua_settop(L, list);
		}
	}
	lua_pop(L, 1);
	problem->faults = first;
}

// Further members of a problem.
static void set_extra(lua_State *L, int table, struct pl_run *run, struct pl_problem *problem)
{
	const char *fault;

	lua_pushliteral(L, "extra");
	if (lua_rawget(L, table) == LUA_TTABLE) {
		problem->extra = pl_value_tree(L, -1, run->request->arena, &fault);
		if (!problem->extra)
			luaL_error(L, "a problem's further members: %s", fault);
	}
	lua_pop(L, 1);
}

// A control character is escaped with six bytes. So only large problems need to be
// printed to know their length.
static void check_problem(lua_State *L, struct pl_run *run, const struct pl_problem *problem, size_t taken)
{
	size_t most = run->vm->config->http.max_response, title = strlen(problem->title);
	size_t printed = taken + title * (1 + !problem->detail + !problem->error); // in `type`, too
	struct pl_buf *text = &run->vm->text;

	if (printed <= most && printed > most / 8 && run->request->print_problem) {
		pl_buf_reset(text);
		run->request->print_problem(text, problem, run->request->echo_id);
		printed = text->len;
		pl_buf_fini(text);
	}
	if (printed > most)
		luaL_error(L, "%s has more than %I bytes", WHAT_BODY, (LUAI_UACINT)most);
}

static void take_problem(lua_State *L, int table, struct pl_run *run)
{
	struct pl_arena *arena = run->request->arena;
	size_t before = run->budget.outside;
	lua_Integer status = integer_member(L, table, "status", 0);
	struct pl_problem *problem;

	if (status < 400 || status > 599)
		luaL_error(L, "a problem's status must be from 400 to 599");
	problem = pl_exchange_problem_new(arena, (int)status, text_member(L, table, "title", arena));
	if (!problem->title)
		luaL_error(L, "a problem needs a title");
	problem->detail = text_member(L, table, "detail", arena);
	problem->error = text_member(L, table, "error", arena);
	problem->retry_after_s = (int)integer_member(L, table, "retry_after", 0);
	problem->not_executed = status == 503 && run->refused &&
	                        !run->maybe_executed; // the store decides this, not the script
	lua_pushliteral(L, "retryable");
	if (lua_rawget(L, table) == LUA_TBOOLEAN)
		problem->retryable = lua_toboolean(L, -1);
	lua_pop(L, 1);
	set_current(L, table, run, problem);
	set_faults(L, table, run, problem);
	set_extra(L, table, run, problem);
	check_problem(L, run, problem, run->budget.outside - before);
	run->answer->status = problem->status;
	run->answer->problem = problem;
}

static bool is_token(const char *name)
{
	if (!*name)
		return false;
	for (; *name; name++) {
		if (!isalnum((unsigned char)*name) && !strchr("!#$%&'*+-.^_`|~", *name))
			return false;
	}
	return true;
}

static bool is_header_value(const char *value, size_t len)
{
	if (len > HEADER_VALUE_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (((unsigned char)value[i] < 0x20 && value[i] != '\t') || value[i] == 0x7f)
			return false;
	}
	return true;
}

// Takes one header; its name is at -2, its value at -1.
static void take_header(lua_State *L, struct pl_run *run)
{
	const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
	const char *value;
	size_t len;

	if (!is_token(name))
		luaL_error(L, "'%s' is not a valid header name", name);
	if (pl_reserved_has(name, PL_RESERVED_ANSWER))
		luaL_error(L, "the header %s is set by plist", name);
	if (!lua_isstring(L, -1))
		luaL_error(L, "the header %s: its value is a %s, not a string", name, luaL_typename(L, -1));
	lua_pushvalue(L, -1);
	value = lua_tolstring(L, -1, &len);
	if (!is_header_value(value, len))
		luaL_error(L, "the header %s: its value is too long or has control characters", name);
	pl_call_charge_memory(L, strlen(name) + len + sizeof(struct pl_header));
	if (strcasecmp(name, "Content-Type") == 0)
		run->answer->content_type = pl_arena_strdup(run->request->arena, value);
	else
		pl_answer_header(run, name, value);
	lua_pop(L, 1);
}

static void take_headers(lua_State *L, int answer, struct pl_run *run)
{
	int headers, keys;
	lua_Integer n;

	lua_pushliteral(L, "headers");
	if (lua_rawget(L, answer) == LUA_TTABLE) {
		headers = lua_gettop(L);
		n = pl_value_keys(L, headers);
		keys = lua_gettop(L);
		for (lua_Integer i = 1; i <= n; i++) {
			lua_rawgeti(L, keys, i);
			lua_pushvalue(L, -1);
			lua_rawget(L, headers);
			take_header(L, run);
			lua_pop(L, 2);
		}
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

// Adds a record's entity tag, unless the handler has set one.
static void take_etag(lua_State *L, int body, struct pl_run *run)
{
	const char *etag = pl_value_record_etag(L, body);

	if (etag && is_header_value(etag, strlen(etag)) && !pl_answer_find(run->answer, "ETag"))
		pl_answer_header(run, "ETag", etag);
}

static void take_body(lua_State *L, int answer, struct pl_run *run)
{
	size_t len, most = run->vm->config->http.max_response;
	const char *text;

	if (run->answer->status == 204 || run->answer->status == 205 || run->answer->status == 304)
		return;
	lua_pushliteral(L, "body");
	if (lua_rawget(L, answer) == LUA_TSTRING && run->answer->content_type) {
		text = lua_tolstring(L, -1, &len);
		if (len > most)
			luaL_error(L, "%s has more than %I bytes", WHAT_BODY, (LUAI_UACINT)most);
		pl_call_charge_memory(L, len);
		pl_buf_add(&run->answer->body, text, len);
	} else if (!lua_isnil(L, -1)) {
		take_etag(L, lua_gettop(L), run);
		pl_value_print(L, -1, &run->answer->body, most, WHAT_BODY);
	}
	lua_pop(L, 1);
}

// If the headers do not fit the buffer of the connection, nothing can be sent, and the
// client would see its connection end without an answer.
static void check_headers(lua_State *L, const struct pl_answer *answer)
{
	size_t bytes = answer->content_type ? strlen(answer->content_type) : 0;

	for (const struct pl_header *header = answer->headers; header; header = header->next)
		bytes += strlen(header->name) + strlen(header->value) + sizeof(": \r\n") - 1;
	if (bytes > HEADERS_MAX_BYTES)
		luaL_error(L, "the headers of the answer have %I bytes in all; at most %d can be sent",
		           (LUAI_UACINT)bytes, HEADERS_MAX_BYTES);
}

//   1  light userdata: struct pl_answering
int pl_answer_take(lua_State *L)
{
	struct pl_answering *answering = lua_touserdata(L, 1);
	struct pl_run *run = answering->run;
	lua_Integer status;

	pl_answer_reset(run->answer);
	if (answering->nresults > 0) {
		lua_pushvalue(answering->co, -answering->nresults);
		lua_xmove(answering->co, L, 1);
	}
	if (!is_answer(L, 2))
		return luaL_error(
			L, "the handler returned %s instead of an answer: http.ok(…), http.problem(…), …",
			answering->nresults > 0 ? luaL_typename(L, 2) : "nothing");
	lua_pushliteral(L, "problem");
	if (lua_rawget(L, 2) == LUA_TTABLE) {
		take_problem(L, 3, run);
		return 0;
	}
	lua_settop(L, 2);
	status = integer_member(L, 2, "status", 0);
	if (status < 200 || status > 599)
		return luaL_error(L, "an answer's status must be from 200 to 599");
	run->answer->status = (int)status;
	take_headers(L, 2, run);
	take_body(L, 2, run);
	check_headers(L, run->answer);
	return 0;
}
