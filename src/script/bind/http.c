// plist.http: the answers that a handler can return.
//
// Each function makes a table { status, body, headers } or { problem }. When the handler
// has returned it, answer.c reads it. Nothing is sent from here.
// Threads: a VM's.
#include "script/bind/http.h"

#include <ctype.h>
#include <lauxlib.h>
#include <string.h>

#include "script/answer.h"
#include "script/bind/bind.h"
#include "script/run_state.h"
#include "script/text.h"
#include "script/value.h"

#define META "plist.problem"

static void set_text(lua_State *L, const char *name, const char *text)
{
	if (!text)
		return;
	lua_pushstring(L, text);
	lua_setfield(L, -2, name);
}

static void push_faults(lua_State *L, const struct pl_fault *fault)
{
	lua_newtable(L);
	for (lua_Integer i = 1; fault; fault = fault->next, i++) {
		lua_createtable(L, 0, 2);
		set_text(L, "pointer", fault->pointer);
		set_text(L, "detail", fault->detail);
		lua_rawseti(L, -2, i);
	}
}

void pl_bind_http_push_problem(lua_State *L, const struct pl_problem *problem)
{
	char etag[PL_ETAG_MAX];

	lua_createtable(L, 0, 6);
	lua_pushinteger(L, problem->status);
	lua_setfield(L, -2, "status");
	set_text(L, "title", problem->title);
	set_text(L, "detail", problem->detail);
	set_text(L, "error", problem->error);
	if (problem->retryable >= 0) {
		lua_pushboolean(L, problem->retryable);
		lua_setfield(L, -2, "retryable");
	}
	if (problem->retry_after_s > 0) {
		lua_pushinteger(L, problem->retry_after_s);
		lua_setfield(L, -2, "retry_after");
	}
	if (problem->current) {
		lua_pushinteger(L, problem->current->version);
		lua_setfield(L, -2, "current_version");
		set_text(L, "current_etag", pl_vector_etag(&problem->current->vector, etag));
	}
	if (problem->faults) {
		push_faults(L, problem->faults);
		lua_setfield(L, -2, "errors");
	}
	luaL_setmetatable(L, META);
}

static const char *raw_text(lua_State *L, const char *name)
{
	lua_pushstring(L, name);
	lua_rawget(L, 1);
	return lua_type(L, -1) == LUA_TSTRING || lua_type(L, -1) == LUA_TNUMBER ? lua_tostring(L, -1) : NULL;
}

// "404 Property not found". Runs no code of scripts.
static int problem_text(lua_State *L)
{
	const char *status, *title, *detail;

	luaL_checktype(L, 1, LUA_TTABLE);
	status = raw_text(L, "status");
	title = raw_text(L, "title");
	detail = raw_text(L, "detail");
	lua_pushfstring(L, "%s %s%s%s", status ? status : "?", title ? title : "", detail ? ": " : "",
	                detail ? detail : "");
	return 1;
}

// Makes an answer. `body` and `headers` are stack indexes of a value or nil; 0: none.
static int give(lua_State *L, lua_Integer status, int body, int headers)
{
	luaL_argcheck(L, lua_isnoneornil(L, headers) || lua_istable(L, headers), headers,
	              "headers must be a table");
	lua_createtable(L, 0, 3);
	lua_pushinteger(L, status);
	lua_setfield(L, -2, "status");
	if (body && !lua_isnoneornil(L, body)) {
		lua_pushvalue(L, body);
		lua_setfield(L, -2, "body");
	}
	if (headers && !lua_isnoneornil(L, headers)) {
		lua_pushvalue(L, headers);
		lua_setfield(L, -2, "headers");
	}
	pl_answer_mark(L);
	return 1;
}

//   1  value   2  headers
static int http_ok(lua_State *L)
{
	lua_settop(L, 2);
	return give(L, 200, 1, 2);
}

//   1  status   2  value   3  headers
static int http_status(lua_State *L)
{
	lua_Integer status = luaL_checkinteger(L, 1);

	luaL_argcheck(L, status >= 200 && status <= 599, 1, "a status must be from 200 to 599");
	lua_settop(L, 3);
	return give(L, status, 2, 3);
}

static int http_no_content(lua_State *L)
{
	lua_settop(L, 1);
	return give(L, 204, 0, 1);
}

// Pushes the path of the record at 1: "/us/items/7".
static void push_location(lua_State *L)
{
	const char *prefix = pl_run_asking(L, "http.created")->request->region_prefix;
	const struct pl_resource *resource = pl_value_record_resource(L, 1);

	if (!resource)
		luaL_error(L,
		           "http.created: the value is not a record; give its path as the second argument");
	lua_getfield(L, 1, "id");
	lua_pushfstring(L, "%s%s/%s/%s", prefix ? "/" : "", prefix ? prefix : "", resource->name,
	                lua_tostring(L, -1));
	lua_remove(L, -2);
}

//   1  value   2  location   3  headers
static int http_created(lua_State *L)
{
	luaL_checkany(L, 1);
	lua_settop(L, 3);
	if (lua_isnil(L, 2)) {
		push_location(L);
		lua_replace(L, 2);
	}
	luaL_checkstring(L, 2);
	if (lua_isnil(L, 3)) {
		lua_createtable(L, 0, 1);
		lua_replace(L, 3);
	}
	luaL_checktype(L, 3, LUA_TTABLE);
	pl_value_read(L, 3);
	lua_pushliteral(L, "Location");
	lua_pushvalue(L, 2);
	lua_rawset(L, 3);
	return give(L, 201, 1, 3);
}

static void add_query(struct pl_buf *buf, const char *text)
{
	for (; *text; text++) {
		if (isalnum((unsigned char)*text) || strchr("-._~", *text))
			pl_buf_addc(buf, *text);
		else
			pl_buf_printf(buf, "%%%02X", (unsigned char)*text);
	}
}

// Pushes the Link of the next page: this request's target with another `after`.
static void push_next_link(lua_State *L, int next)
{
	const struct pl_request *request = pl_run_asking(L, "http.list")->request;
	struct pl_buf *buf = &pl_vm_of(L)->text;
	size_t len;
	const char *id = pl_text_push(L, next, &len);

	pl_buf_reset(buf);
	pl_buf_addc(buf, '<');
	pl_buf_add(buf, request->target, strcspn(request->target, "?"));
	pl_buf_addc(buf, '?');
	for (const struct pl_param *p = request->query; p; p = p->next) {
		if (strcmp(p->name, "after") == 0)
			continue;
		add_query(buf, p->name);
		pl_buf_addc(buf, '=');
		add_query(buf, p->value);
		pl_buf_addc(buf, '&');
	}
	pl_buf_adds(buf, "after=");
	add_query(buf, id);
	pl_buf_adds(buf, ">; rel=\"next\"");
	lua_pop(L, 1);
	lua_pushlstring(L, buf->data, buf->len);
}

//   1  records   2  the id that the next page begins after, or nil   3  headers
static int http_list(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 3);
	pl_value_read(L, 1);
	if (lua_rawlen(L, 1) == 0 && !lua_getmetatable(L, 1)) {
		lua_pushvalue(L, 1);
		pl_value_mark_array(L); // so that an empty list is [], not {}
	}
	lua_settop(L, 3);
	if (!lua_isnil(L, 2)) {
		if (lua_isnil(L, 3)) {
			lua_createtable(L, 0, 1);
			lua_replace(L, 3);
		}
		luaL_checktype(L, 3, LUA_TTABLE);
		pl_value_read(L, 3);
		lua_pushliteral(L, "Link");
		push_next_link(L, 2);
		lua_rawset(L, 3);
	}
	return give(L, 200, 1, 3);
}

// Copies a known member from the further members at 4 into the problem, which is on top.
// Raises when it has another type.
static void take_known(lua_State *L, const char *name, int type)
{
	lua_pushstring(L, name);
	if (lua_rawget(L, 4) == LUA_TNIL) {
		lua_pop(L, 1);
		return;
	}
	if (lua_type(L, -1) != type || (type == LUA_TNUMBER && !lua_isinteger(L, -1)))
		luaL_error(L, "http.problem: %s has to be %s, not a %s", name,
		           type == LUA_TBOOLEAN  ? "a boolean"
		           : type == LUA_TNUMBER ? "an integer"
		           : type == LUA_TSTRING ? "a string"
		                                 : "a list",
		           pl_text_kind(L, -1));
	lua_setfield(L, -2, name);
}

// Checks an entry of `errors`, on top: { pointer =, detail = } and nothing else.
static void check_fault(lua_State *L, lua_Integer i)
{
	int members = 0;

	if (!lua_istable(L, -1))
		luaL_error(L,
		           "http.problem: errors[%I] has to be a table { pointer = …, detail = … }, not a %s",
		           (LUAI_UACINT)i, pl_text_kind(L, -1));
	pl_value_read(L, -1);
	for (int n = 0; n < 2; n++) {
		static const char *const names[] = { "pointer", "detail" };

		lua_pushstring(L, names[n]);
		if (lua_rawget(L, -2) != LUA_TSTRING)
			luaL_error(L, "http.problem: errors[%I].%s has to be a string, not a %s",
			           (LUAI_UACINT)i, names[n], pl_text_kind(L, -1));
		lua_pop(L, 1);
	}
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
		members++;
	if (members != 2)
		luaL_error(L, "http.problem: errors[%I] has members other than pointer and detail",
		           (LUAI_UACINT)i);
}

// The list `errors` among the further members: { { pointer = "/price", detail = "must be
// a number" }, … }
static void check_faults(lua_State *L)
{
	lua_Integer n, keys = 0;

	lua_pushliteral(L, "errors");
	if (lua_rawget(L, 4) == LUA_TTABLE) {
		pl_value_read(L, -1);
		n = (lua_Integer)lua_rawlen(L, -1);
		for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
			keys++;
		if (n == 0 || keys != n)
			luaL_error(L, "http.problem: errors has to be a list with at least one entry");
		for (lua_Integer i = 1; i <= n; i++) {
			lua_rawgeti(L, -1, i);
			pl_call_charge(L, 5);
			check_fault(L, i);
			lua_pop(L, 1);
		}
	}
	lua_pop(L, 1);
}

// Further members, at 4. Known ones are checked and taken; those that only plist may set
// raise.
static void take_further(lua_State *L)
{
	static const char *const refused[] = { "type",     "title",           "status",      "detail",
		                               "instance", "current_version", "current_etag" };

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		lua_pushstring(L, refused[i]);
		if (lua_rawget(L, 4) != LUA_TNIL)
			luaL_error(L, "http.problem: the member %s is %s", refused[i],
			           i >= 1 && i <= 3 ? "a separate argument, not a further member"
			                            : "set by plist");
		lua_pop(L, 1);
	}
	check_faults(L);
	take_known(L, "errors", LUA_TTABLE);
	take_known(L, "error", LUA_TSTRING);
	take_known(L, "retryable", LUA_TBOOLEAN);
	take_known(L, "retry_after", LUA_TNUMBER);
}

// Pushes the table of a problem from the arguments status, title, detail, extra.
static void make_problem(lua_State *L)
{
	lua_Integer status = luaL_checkinteger(L, 1);

	luaL_argcheck(L, status >= 400 && status <= 599, 1, "a problem's status must be from 400 to 599");
	luaL_checkstring(L, 2);
	luaL_optstring(L, 3, NULL);
	luaL_argcheck(L, lua_isnoneornil(L, 4) || lua_istable(L, 4), 4, "further members must be a table");
	lua_settop(L, 4);
	lua_createtable(L, 0, 4);
	for (int i = 1; i <= 4; i++) {
		static const char *const names[] = { "status", "title", "detail", "extra" };

		lua_pushvalue(L, i);
		lua_setfield(L, -2, names[i - 1]);
	}
	if (lua_istable(L, 4)) {
		pl_value_read(L, 4);
		take_further(L);
	}
}

//   1  an error of records or db
// or
//   1  status   2  title   3  detail   4  further members
static int http_problem(lua_State *L)
{
	if (lua_type(L, 1) != LUA_TTABLE)
		make_problem(L);
	else if (lua_gettop(L) > 1 && !lua_isnil(L, 2))
		return luaL_error(L, "http.problem: an error of records or db takes no further arguments; "
		                     "change its members instead");
	else
		lua_settop(L, 1);
	pl_value_read(L, -1);
	lua_createtable(L, 0, 1);
	lua_insert(L, -2);
	lua_setfield(L, -2, "problem");
	pl_answer_mark(L);
	return 1;
}

void pl_bind_http_setup(lua_State *L)
{
	luaL_newmetatable(L, META);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pushcfunction(L, problem_text);
	lua_pushvalue(L, -1);
	lua_setfield(L, -3, "__tostring");
	lua_setfield(L, -2, PL_CALL_MESSAGE);
	lua_pop(L, 1);
}

int pl_bind_http(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "created", http_created },
		{ "list", http_list },
		{ "no_content", http_no_content },
		{ "ok", http_ok },
		{ "problem", http_problem },
		{ "status", http_status },
		{ NULL, NULL },
	};

	luaL_newlib(L, functions);
	return 1;
}
