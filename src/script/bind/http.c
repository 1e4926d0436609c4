// plist.http: the answers that a handler can give.
//
// Each function makes a table that answer.c reads when the handler has returned it: { status, body, headers } or { problem }.
// Nothing is sent from here.
// Threads: a VM's.
#include <ctype.h>
#include <lauxlib.h>
#include <string.h>

#include "script/bind.h"
#include "script/request.h"
#include "script/sandbox.h"
#include "script/unread.h"
#include "script/value.h"

#define META_ANSWER "plist.answer"
#define META_PROBLEM "plist.problem"

bool pl_http_is_answer(lua_State *L, int index)
{
	bool is;

	if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index))
		return false;
	luaL_getmetatable(L, META_ANSWER);
	is = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return is;
}

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

void pl_http_push_problem(lua_State *L, const struct pl_problem *problem)
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
	luaL_setmetatable(L, META_PROBLEM);
}

static const char *raw_text(lua_State *L, const char *name)
{
	lua_pushstring(L, name);
	lua_rawget(L, 1);
	return lua_type(L, -1) == LUA_TSTRING || lua_type(L, -1) == LUA_TNUMBER ? lua_tostring(L, -1) : NULL;
}

int pl_http_problem_text(lua_State *L)
{
	const char *status, *title, *detail;

	luaL_checktype(L, -1, LUA_TTABLE);
	lua_pushvalue(L, -1);
	lua_replace(L, 1);
	status = raw_text(L, "status");
	title = raw_text(L, "title");
	detail = raw_text(L, "detail");
	lua_pushfstring(L, "%s %s%s%s", status ? status : "?", title ? title : "", detail ? ": " : "", detail ? detail : "");
	return 1;
}

// Makes an answer of what is on top: the body (or nil), then the headers (or nil).
static int give(lua_State *L, lua_Integer status, int body, int headers)
{
	luaL_argcheck(L, lua_isnoneornil(L, headers) || lua_istable(L, headers), headers, "headers are a table");
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
	luaL_setmetatable(L, META_ANSWER);
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

	luaL_argcheck(L, status >= 200 && status <= 599, 1, "a status is 200 to 599");
	lua_settop(L, 3);
	return give(L, status, 2, 3);
}

static int http_no_content(lua_State *L)
{
	lua_settop(L, 1);
	return give(L, 204, 0, 1);
}

// Pushes where the record at 1 can be found: "/us/properties/7".
static void push_location(lua_State *L)
{
	const char *prefix = pl_run_asking(L, "http.created")->request->region_prefix;
	const struct pl_resource *resource = pl_value_record_resource(L, 1);

	if (!resource)
		luaL_error(L, "http.created: say where it is, as the second argument");
	lua_getfield(L, 1, "id");
	lua_pushfstring(L, "%s%s/%s/%s", prefix ? "/" : "", prefix ? prefix : "", resource->name, lua_tostring(L, -1));
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
	pl_unread_read(L, 3);
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

// The Link of the next page: this request's own target, with another `after`.
static void push_next_link(lua_State *L, int next)
{
	const struct pl_request *request = pl_run_asking(L, "http.list")->request;
	struct pl_buf *buf = &pl_vm_of(L)->text;
	size_t len;
	const char *id = pl_sandbox_text(L, next, &len);

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

//   1  records   2  where the next page begins after, or nil   3  headers
static int http_list(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 3);
	pl_unread_read(L, 1);
	if (lua_rawlen(L, 1) == 0 && !lua_getmetatable(L, 1)) {
		lua_pushvalue(L, 1);
		pl_value_mark_array(L); // [] even when there are none
	}
	lua_settop(L, 3);
	if (!lua_isnil(L, 2)) {
		if (lua_isnil(L, 3)) {
			lua_createtable(L, 0, 1);
			lua_replace(L, 3);
		}
		luaL_checktype(L, 3, LUA_TTABLE);
		pl_unread_read(L, 3);
		lua_pushliteral(L, "Link");
		push_next_link(L, 2);
		lua_rawset(L, 3);
	}
	return give(L, 200, 1, 3);
}

// A new table of what a problem says: of the arguments status, title, detail, extra.
static void make_problem(lua_State *L)
{
	lua_Integer status = luaL_checkinteger(L, 1);

	luaL_argcheck(L, status >= 400 && status <= 599, 1, "a problem's status is 400 to 599");
	luaL_checkstring(L, 2);
	luaL_optstring(L, 3, NULL);
	luaL_argcheck(L, lua_isnoneornil(L, 4) || lua_istable(L, 4), 4, "further members are a table");
	lua_settop(L, 4);
	lua_createtable(L, 0, 4);
	for (int i = 1; i <= 4; i++) {
		static const char *const names[] = {"status", "title", "detail", "extra"};

		lua_pushvalue(L, i);
		lua_setfield(L, -2, names[i - 1]);
	}
}

//   1  an error of records or db   or   1  status   2  title   3  detail   4  further members
static int http_problem(lua_State *L)
{
	if (lua_type(L, 1) != LUA_TTABLE)
		make_problem(L);
	else
		lua_settop(L, 1);
	pl_unread_read(L, -1);
	lua_createtable(L, 0, 1);
	lua_insert(L, -2);
	lua_setfield(L, -2, "problem");
	luaL_setmetatable(L, META_ANSWER);
	return 1;
}

void pl_http_setup(lua_State *L)
{
	luaL_newmetatable(L, META_ANSWER);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	luaL_newmetatable(L, META_PROBLEM);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pushcfunction(L, pl_http_problem_text);
	lua_setfield(L, -2, "__tostring");
	lua_pop(L, 2);
}

int pl_bind_http(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{"created", http_created}, {"list", http_list}, {"no_content", http_no_content}, {"ok", http_ok},
		{"problem", http_problem}, {"status", http_status}, {NULL, NULL},
	};

	luaL_newlib(L, functions);
	return 1;
}
