// What a handler returned, made into the answer; and the answers that are given without one.
//
// Stands between run.c and http/response. What is made here lives in the request's arena (and the body in the answer's
// buffer), so that it can be sent after the run is gone. Runs no code of scripts.
// Threads: a VM's.
#include <ctype.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "script/request.h"
#include "script/sandbox.h"
#include "script/unread.h"
#include "script/value.h"

#define HEADER_VALUE_MAX 4096

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
	struct pl_header *header = pl_arena_alloc(arena, sizeof *header), **end = &run->answer->headers;

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
	struct pl_fault *first = NULL, **end = &first;

	for (; from; from = from->next) {
		*end = pl_arena_alloc(arena, sizeof **end);
		(*end)->pointer = copy_text(arena, from->pointer);
		(*end)->detail = copy_text(arena, from->detail);
		end = &(*end)->next;
	}
	return first;
}

// A tree of cJSON in an arena, to be read and printed, never deleted.
static cJSON *copy_tree(struct pl_arena *arena, const cJSON *from)
{
	cJSON *tree = pl_arena_alloc(arena, sizeof *tree), *last = NULL;

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
		tree->child->prev = last; // as cJSON has it
	return tree;
}

void pl_answer_problem(struct pl_run *run, const struct pl_problem *from)
{
	struct pl_arena *arena = run->request->arena;
	struct pl_problem *problem = pl_problem_new(arena, from->status, copy_text(arena, from->title));

	problem->detail = copy_text(arena, from->detail);
	problem->error = copy_text(arena, from->error);
	problem->current = copy_record(arena, from->current);
	problem->retryable = from->retryable;
	problem->retry_after_s = from->retry_after_s;
	problem->faults = copy_faults(arena, from->faults);
	problem->extra = from->extra ? copy_tree(arena, from->extra) : NULL;
	pl_answer_reset(run->answer);
	run->answer->status = problem->status;
	run->answer->problem = problem;
}

void pl_answer_replay(struct pl_run *run, const struct pl_remembered *remembered)
{
	char etag[PL_ETAG_MAX];

	pl_answer_reset(run->answer);
	run->answer->status = remembered->status;
	if (remembered->body)
		pl_buf_adds(&run->answer->body, remembered->body);
	if (remembered->location)
		pl_answer_header(run, "Location", remembered->location);
	if (!remembered->deleted)
		pl_answer_header(run, "ETag", pl_vector_etag(&remembered->vector, etag));
	pl_answer_header(run, "Idempotent-Replayed", "true");
}

// From Lua. In what follows, `answer` is the stack index of what the handler returned.

static const char *text_member(lua_State *L, int table, const char *name, struct pl_arena *arena)
{
	const char *text = NULL;

	lua_pushstring(L, name);
	if (lua_rawget(L, table) == LUA_TSTRING)
		text = pl_arena_strdup(arena, lua_tostring(L, -1));
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
	const char *resource_name = run->request->route->resource, *etag = text_member(L, table, "current_etag", arena);
	const struct pl_resource *resource = resource_name ? pl_config_resource(run->vm->config, resource_name) : NULL;
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
	struct pl_fault *first = NULL, **end = &first;

	lua_pushliteral(L, "errors");
	if (lua_rawget(L, table) == LUA_TTABLE) {
		int list = lua_gettop(L);
		lua_Integer n = (lua_Integer)lua_rawlen(L, list);

		for (lua_Integer i = 1; i <= n; i++) {
			if (lua_rawgeti(L, list, i) == LUA_TTABLE) {
				pl_unread_read(L, list + 1);
				*end = pl_arena_alloc(arena, sizeof **end);
				(*end)->pointer = text_member(L, list + 1, "pointer", arena);
				(*end)->detail = text_member(L, list + 1, "detail", arena);
				if (!(*end)->pointer)
					(*end)->pointer = "";
				if (!(*end)->detail)
					(*end)->detail = "";
				end = &(*end)->next;
			}
			lua_settop(L, list);
		}
	}
	lua_pop(L, 1);
	problem->faults = first;
}

// Further members that a handler gives a problem.
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

static void take_problem(lua_State *L, int table, struct pl_run *run)
{
	struct pl_arena *arena = run->request->arena;
	lua_Integer status = integer_member(L, table, "status", 0);
	struct pl_problem *problem;

	if (status < 400 || status > 599)
		luaL_error(L, "a problem's status is 400 to 599");
	problem = pl_problem_new(arena, (int)status, text_member(L, table, "title", arena));
	if (!problem->title)
		luaL_error(L, "a problem has a title");
	problem->detail = text_member(L, table, "detail", arena);
	problem->error = text_member(L, table, "error", arena);
	problem->retry_after_s = (int)integer_member(L, table, "retry_after", 0);
	lua_pushliteral(L, "retryable");
	if (lua_rawget(L, table) == LUA_TBOOLEAN)
		problem->retryable = lua_toboolean(L, -1);
	lua_pop(L, 1);
	set_current(L, table, run, problem);
	set_faults(L, table, run, problem);
	set_extra(L, table, run, problem);
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

static bool is_reserved(const char *name)
{
	static const char *const names[] = {
		"Connection", "Content-Length", "Date", "Idempotent-Replayed", "Keep-Alive", "Trailer", "Transfer-Encoding",
		"Upgrade",
		"X-Plist-Region", "X-Request-ID",
	};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (strcasecmp(names[i], name) == 0)
			return true;
	}
	return false;
}

// One header; its name at -2, its value at -1.
static void take_header(lua_State *L, struct pl_run *run)
{
	const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
	const char *value;
	size_t len;

	if (!is_token(name))
		luaL_error(L, "'%s' is no name of a header", name);
	if (is_reserved(name))
		luaL_error(L, "the header %s is set by plist itself", name);
	if (!lua_isstring(L, -1))
		luaL_error(L, "the header %s: its value is a %s, not a text", name, luaL_typename(L, -1));
	lua_pushvalue(L, -1);
	value = lua_tolstring(L, -1, &len);
	if (!is_header_value(value, len))
		luaL_error(L, "the header %s: its value cannot be sent", name);
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
		n = pl_order_keys(L, headers);
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

// A record's entity tag, unless the handler gave one.
static void take_etag(lua_State *L, int body, struct pl_run *run)
{
	size_t len;
	const char *etag = pl_unread_etag(L, body);

	if (!pl_value_record_resource(L, body) || pl_answer_find(run->answer, "ETag"))
		return;
	if (etag) {
		pl_answer_header(run, "ETag", etag);
		return;
	}
	lua_pushliteral(L, "etag");
	if (lua_rawget(L, body) == LUA_TSTRING) {
		etag = lua_tolstring(L, -1, &len);
		if (is_header_value(etag, len))
			pl_answer_header(run, "ETag", etag);
	}
	lua_pop(L, 1);
}

static void take_body(lua_State *L, int answer, struct pl_run *run)
{
	const char *text;
	size_t len;

	if (run->answer->status == 204 || run->answer->status == 304)
		return;
	lua_pushliteral(L, "body");
	if (lua_rawget(L, answer) == LUA_TSTRING && run->answer->content_type) {
		text = lua_tolstring(L, -1, &len);
		pl_buf_add(&run->answer->body, text, len);
	} else if (!lua_isnil(L, -1)) {
		take_etag(L, lua_gettop(L), run);
		pl_value_print(L, -1, &run->answer->body);
	}
	lua_pop(L, 1);
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
	if (!pl_http_is_answer(L, 2))
		return luaL_error(L, "the handler returned %s instead of an answer: http.ok(…), http.problem(…), …",
		                  answering->nresults > 0 ? luaL_typename(L, 2) : "nothing");
	lua_pushliteral(L, "problem");
	if (lua_rawget(L, 2) == LUA_TTABLE) {
		take_problem(L, 3, run);
		return 0;
	}
	lua_settop(L, 2);
	status = integer_member(L, 2, "status", 0);
	if (status < 200 || status > 599)
		return luaL_error(L, "an answer's status is 200 to 599");
	run->answer->status = (int)status;
	take_headers(L, 2, run);
	take_body(L, 2, run);
	return 0;
}
