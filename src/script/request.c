// `req`: the request as a handler sees it.
//
// A userdata that points to the request as long as its run lasts. If a handler keeps it
// and uses it later, it raises. Members become Lua values when they are first used.
// Threads: a VM's.
#include "script/request.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "script/script_private.h"
#include "script/value.h"

#define META_REQUEST    "plist.request"
#define META_LOCK       "plist.lock"
#define HEADER_NAME_MAX 128

struct pl_request_box {
	const struct pl_request *request; // NULL: it has been answered
	struct pl_request_box **holder;   // the pointer to this that the run has
};

const struct pl_lock *pl_request_lock_at(lua_State *L, int index)
{
	return luaL_testudata(L, index, META_LOCK);
}

// The value of `name` in the query string, or NULL; the first of several.
static const char *query_value(const struct pl_request *request, const char *name)
{
	for (const struct pl_param *p = request->query; p; p = p->next) {
		if (strcmp(p->name, name) == 0)
			return p->value;
	}
	return NULL;
}

static void push_optional(lua_State *L, const char *text)
{
	if (text)
		lua_pushstring(L, text);
	else
		lua_pushnil(L);
}

// Whether an earlier parameter has the same name. The first of several counts.
static bool stands_before(const struct pl_param *first, const struct pl_param *param)
{
	for (; first != param; first = first->next)
		if (strcmp(first->name, param->name) == 0)
			return true;
	return false;
}

static void push_params(lua_State *L, const struct pl_param *params)
{
	int n = 0;

	for (const struct pl_param *p = params; p; p = p->next)
		n++;
	lua_createtable(L, 0, n);
	for (const struct pl_param *p = params; p; p = p->next) {
		if (stands_before(params, p))
			continue;
		lua_pushstring(L, p->name);
		lua_pushstring(L, p->value);
		lua_rawset(L, -3);
	}
}

// Sets a header by its name in lower case. The values of a header that came more than
// once are joined by ", ".
static void set_header(lua_State *L, const struct pl_header *header)
{
	char name[HEADER_NAME_MAX];
	size_t len = strlen(header->name);

	if (len >= sizeof(name))
		return;
	for (size_t i = 0; i <= len; i++)
		name[i] = (char)tolower((unsigned char)header->name[i]);
	if (lua_getfield(L, -1, name) == LUA_TNIL) {
		lua_pop(L, 1);
		lua_pushstring(L, header->value);
	} else {
		lua_pushfstring(L, "%s, %s", lua_tostring(L, -1), header->value);
		lua_remove(L, -2);
	}
	lua_setfield(L, -2, name);
}

static void push_headers(lua_State *L, const struct pl_header *headers)
{
	lua_newtable(L);
	for (; headers; headers = headers->next)
		set_header(L, headers);
}

static void set_version(struct pl_lock *lock, int64_t version, bool ok, const char *pointer)
{
	lock->has_version = true;
	if (ok && version >= 1 && version <= INT32_MAX) {
		lock->version = (int32_t)version;
	} else {
		lock->fault_pointer = pointer;
		lock->fault = "must be an integer from 1 to 2147483647";
	}
}

static void read_lock(struct pl_lock *lock, const struct pl_request *request)
{
	const cJSON *member = cJSON_IsObject(request->body) ? pl_json_get(request->body, "version") : NULL;
	const char *text = query_value(request, "version");
	int64_t version = 0;
	char *end;

	if (member) {
		bool ok = pl_json_is_number(member) && pl_json_int64(member, &version) == 0;

		set_version(lock, version, ok, "/version");
	} else if (text) {
		size_t digits = strspn(text, "0123456789");

		version = strtoll(text, &end, 10);
		set_version(lock, version, digits > 0 && digits <= 10 && text[digits] == '\0', "?version");
	}
	lock->has_etag = request->has_if_match;
	lock->etag_any = request->etag_any;
	lock->etag_never = request->etag_never;
	lock->etag = request->if_match;
}

// Pushes the lock; nil when the request expects no version.
static void push_lock(lua_State *L, const struct pl_request *request)
{
	struct pl_lock *lock = lua_newuserdatauv(L, sizeof(*lock), 0);

	memset(lock, 0, sizeof(*lock));
	luaL_setmetatable(L, META_LOCK);
	read_lock(lock, request);
	if (!lock->has_version && !lock->has_etag)
		lua_pushnil(L);
}

static void push_path(lua_State *L, const struct pl_request *request)
{
	lua_pushlstring(L, request->target, strcspn(request->target, "?"));
}

static void push_body(lua_State *L, const struct pl_request *request)
{
	if (cJSON_IsObject(request->body))
		pl_value_push_body(L, request);
	else if (request->body)
		pl_value_push_json(L, request->body);
	else
		lua_pushnil(L);
}

static void push_roles(lua_State *L, const struct pl_request *request)
{
	lua_createtable(L, request->nroles, 0);
	pl_value_mark_array(L);
	for (int i = 0; i < request->nroles; i++) {
		lua_pushstring(L, request->roles[i]);
		lua_rawseti(L, -2, i + 1);
	}
}

// Pushes a member. Raises for an unknown name.
static void push_member(lua_State *L, const struct pl_request *request, const char *name)
{
	if (strcmp(name, "params") == 0)
		push_params(L, request->params);
	else if (strcmp(name, "body") == 0)
		push_body(L, request);
	else if (strcmp(name, "lock") == 0)
		push_lock(L, request);
	else if (strcmp(name, "query") == 0)
		push_params(L, request->query);
	else if (strcmp(name, "headers") == 0)
		push_headers(L, request->headers);
	else if (strcmp(name, "method") == 0)
		lua_pushstring(L, request->method);
	else if (strcmp(name, "path") == 0)
		push_path(L, request);
	else if (strcmp(name, "region") == 0)
		push_optional(L, request->region_prefix);
	else if (strcmp(name, "request_id") == 0)
		push_optional(L, request->request_id[0] ? request->request_id : NULL);
	else if (strcmp(name, "principal") == 0)
		push_optional(L, request->principal[0] ? request->principal : NULL);
	else if (strcmp(name, "roles") == 0)
		push_roles(L, request);
	else
		luaL_error(L, "a request has no '%s'", name);
}

//   1  the box   2  the name
static int request_index(lua_State *L)
{
	const struct pl_request_box *box = luaL_checkudata(L, 1, META_REQUEST);
	const char *name = luaL_checkstring(L, 2);

	if (!box->request)
		return luaL_error(L, "this request has been answered; its '%s' is no longer available", name);
	lua_settop(L, 2);
	lua_getiuservalue(L, 1, 1);
	lua_pushvalue(L, 2);
	if (lua_rawget(L, 3) != LUA_TNIL)
		return 1;
	push_member(L, box->request, name);
	lua_pushvalue(L, 2);
	lua_pushvalue(L, -2);
	lua_rawset(L, 3);
	return 1;
}

static int request_newindex(lua_State *L)
{
	return luaL_error(L, "a request cannot be changed");
}

// Collected, perhaps before its run is over.
static int request_gc(lua_State *L)
{
	struct pl_request_box *box = lua_touserdata(L, 1);

	if (box->holder)
		*box->holder = NULL;
	box->holder = NULL;
	box->request = NULL;
	return 0;
}

void pl_request_push(lua_State *L, const struct pl_request *request, struct pl_request_box **box_r)
{
	struct pl_request_box *box = lua_newuserdatauv(L, sizeof(*box), 1);

	*box = (struct pl_request_box){ 0 };
	lua_newtable(L);
	lua_setiuservalue(L, -2, 1);
	luaL_setmetatable(L, META_REQUEST);
	box->request = request;
	box->holder = box_r;
	*box_r = box;
}

void pl_request_close(struct pl_request_box **box_p)
{
	struct pl_request_box *box = *box_p;

	*box_p = NULL;
	if (!box)
		return;
	box->request = NULL;
	box->holder = NULL;
}

static void set_opaque(lua_State *L, const char *type)
{
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pushstring(L, type);
	lua_setfield(L, -2, "__type");
}

void pl_request_setup(lua_State *L)
{
	static const luaL_Reg metamethods[] = {
		{ "__gc", request_gc },
		{ "__index", request_index },
		{ "__newindex", request_newindex },
		{ NULL, NULL },
	};

	luaL_newmetatable(L, META_REQUEST);
	luaL_setfuncs(L, metamethods, 0);
	set_opaque(L, "table");
	luaL_newmetatable(L, META_LOCK);
	set_opaque(L, "lock");
	lua_pop(L, 2);
}
