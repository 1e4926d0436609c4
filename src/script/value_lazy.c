// Tables that nobody has looked into yet: a record as it is answered, a body as the client sent it.
//
// Most handlers pass on what they are given: records.update(…, req.body), http.ok(record). Then its members need not become Lua's values and
// text again, which was a third of what a request costs the script's side. To scripts it is the table that it stands for: whoever looks into
// it, or changes it, has it read first. In Lua that is a metamethod's doing, so ordinary code sees no difference; what goes past metamethods
// (`next`, `rawget`, and C functions of ours) calls pl_unread_read.
//
// The table holds a userdata with the text under a key that no script can have, and nothing else. A record's text is its answer, byte for byte.
// A body's tree is the request's as long as that runs; a script that keeps the body longer, unread, has it parsed again.
//
// Invariant: a table is unread as long as it has that key; reading that raises on the way leaves it unread.
// Threads: a VM's.
#include "script/unread.h"

#include <lauxlib.h>
#include <string.h>

#include "script/sandbox.h"
#include "script/value.h"

static const char text_key;  // its address is the key in an unread table
static const char meta_key;  // and in the registry, of the metatable

struct text {
	const struct pl_resource *resource; // of a record; NULL: it is a body
	uint64_t run;                       // a body's: the number of its run
	size_t len;
	char *etag;                         // a record's; behind the JSON
	char json[];
};

// Of the table at `index`; NULL: it is read, or no table. The table keeps it alive.
static const struct text *text_at(lua_State *L, int index)
{
	const struct text *text;

	if (lua_type(L, index) != LUA_TTABLE)
		return NULL;
	lua_rawgetp(L, index, &text_key);
	text = lua_touserdata(L, -1);
	lua_pop(L, 1);
	return text;
}

// The tree of a body whose request runs; NULL.
static const cJSON *tree_of(lua_State *L, const struct text *text)
{
	const struct pl_run *run = pl_vm_of(L)->run;

	return !text->resource && run && run->number == text->run ? run->request->body : NULL;
}

static void push(lua_State *L, const struct text *of, const char *json, const char *etag, int members)
{
	size_t etag_size = etag ? strlen(etag) + 1 : 0;
	struct text *text;

	luaL_checkstack(L, 3, NULL);
	pl_charge(L, (int64_t)of->len / 8);
	lua_createtable(L, 0, members);
	text = lua_newuserdatauv(L, sizeof *text + of->len + 1 + etag_size, 0);
	*text = *of;
	memcpy(text->json, json, of->len);
	text->json[of->len] = '\0';
	text->etag = etag ? memcpy(text->json + of->len + 1, etag, etag_size) : NULL;
	lua_rawsetp(L, -2, &text_key);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &meta_key);
	lua_setmetatable(L, -2);
}

void pl_unread_push_record(lua_State *L, const struct pl_record *record)
{
	struct pl_buf *json = &pl_vm_of(L)->text;
	char etag[PL_ETAG_MAX];

	pl_buf_reset(json);
	pl_record_print(json, record);
	push(L, &(struct text){.resource = record->resource, .len = json->len}, json->data, pl_vector_etag(&record->vector, etag),
	     record->resource->nfields + 6); // with the key
}

void pl_unread_push_body(lua_State *L, const struct pl_run *run)
{
	push(L, &(struct text){.run = run->number, .len = run->request->body_len}, run->request->body_text, NULL, 1);
}

// ---- reading: the table is on top

static void read_record(lua_State *L, const struct text *text)
{
	struct pl_run *run = pl_run_asking(L, "a record");
	struct pl_record *record;
	struct pl_error err;

	if (pl_record_scan(run->arena, text->resource, text->json, NULL, &record, &err) < 0)
		luaL_error(L, "%s", err.text); // it was read once already
	pl_value_fill_record(L, record, text->etag);
}

static void read_body(lua_State *L, const struct text *text)
{
	const cJSON *tree = tree_of(L, text);

	if (tree)
		pl_value_fill_object(L, tree);
	else
		pl_value_fill_object_text(L, text->json, text->len);
	lua_pushnil(L);
	lua_setmetatable(L, -2);
}

void pl_unread_read(lua_State *L, int index)
{
	const struct text *text = text_at(L, index);

	if (!text)
		return;
	luaL_checkstack(L, 8, NULL);
	lua_pushvalue(L, index);
	lua_rawgetp(L, -1, &text_key); // stays, and so does the text
	lua_insert(L, -2);
	if (text->resource)
		read_record(L, text);
	else
		read_body(L, text);
	lua_pushnil(L);
	lua_rawsetp(L, -2, &text_key);
	lua_pop(L, 2);
}

// ---- without reading

const struct pl_resource *pl_unread_resource(lua_State *L, int index)
{
	const struct text *text = text_at(L, index);

	return text ? text->resource : NULL;
}

bool pl_unread_print(lua_State *L, int index, struct pl_buf *buf)
{
	const struct text *text = text_at(L, index);

	if (!text || !text->resource)
		return false;
	pl_charge(L, (int64_t)text->len / 8);
	pl_buf_add(buf, text->json, text->len);
	return true;
}

const char *pl_unread_etag(lua_State *L, int index)
{
	const struct text *text = text_at(L, index);

	return text ? text->etag : NULL;
}

const cJSON *pl_unread_body(lua_State *L, int index)
{
	const struct text *text = text_at(L, index);

	return text ? tree_of(L, text) : NULL;
}

// ---- what scripts do to it

//   1  the table   2  the key
static int on_index(lua_State *L)
{
	pl_unread_read(L, 1);
	lua_settop(L, 2);
	lua_rawget(L, 1);
	return 1;
}

//   1  the table   2  the key   3  the value
static int on_newindex(lua_State *L)
{
	pl_unread_read(L, 1);
	lua_settop(L, 3);
	lua_rawset(L, 1);
	return 0;
}

static int on_len(lua_State *L)
{
	pl_unread_read(L, 1);
	lua_pushinteger(L, (lua_Integer)lua_rawlen(L, 1));
	return 1;
}

static int on_pairs(lua_State *L)
{
	pl_unread_read(L, 1);
	lua_settop(L, 1);
	pl_sandbox_push_original(L, "next");
	lua_insert(L, 1);
	lua_pushnil(L);
	return 3;
}

int pl_unread_call_read(lua_State *L)
{
	pl_unread_read(L, 1);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
	return lua_gettop(L);
}

void pl_unread_setup(lua_State *L)
{
	static const luaL_Reg metamethods[] = {
		{"__index", on_index}, {"__len", on_len}, {"__newindex", on_newindex}, {"__pairs", on_pairs}, {NULL, NULL},
	};

	luaL_newlib(L, metamethods);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_rawsetp(L, LUA_REGISTRYINDEX, &meta_key);
}
