// Lazy tables: a record as it is answered, a body as the client sent it.
//
// Most handlers pass on what they are given: records.update(…, req.body),
// http.ok(record). Then its members need not become Lua values and text again. Measured
// in turns, with a handler over a store in memory: 2.5 instead of 3.7 µs for a GET, 4.8
// instead of 7.6 for a PUT.
//
// Lua code that looks into such a table, or changes it, runs a metamethod that reads it
// first, so it sees no difference. Functions that bypass metamethods (`next`, `rawget`,
// and ours in C) call pl_value_read. A userdata would not spare them that: each would
// still have to turn it into a table, and scripts could tell the two apart by rawget.
//
// The table holds one thing, under a key that no script can have: a userdata with the
// text. A record's text is its answer, byte for byte. A body has a tree, too, the
// request's, as long as that request runs; if a script keeps the body longer, the text is
// parsed again.
//
// Invariant: a table is lazy as long as it has that key. If reading it raises, it stays
// lazy.
// Threads: a VM's.
#include <lauxlib.h>
#include <string.h>

#include "script/script_private.h"
#include "script/value_private.h"

static const char text_key; // its address is the key in a lazy table
static const char meta_key; // and in the registry, of the metatable

struct lazy_text {
	const struct pl_resource *resource; // of a record; NULL: a body
	uint64_t run;                       // a body's: the number of its run
	size_t len;
	char *etag; // a record's; after the JSON
	char json[];
};

// The text of the lazy table at `index`, which keeps it alive; NULL for any other value.
static const struct lazy_text *text_at(lua_State *L, int index)
{
	const struct lazy_text *text;

	if (lua_type(L, index) != LUA_TTABLE)
		return NULL;
	lua_rawgetp(L, index, &text_key);
	text = lua_touserdata(L, -1);
	lua_pop(L, 1);
	return text;
}

// The tree of a body whose request is running; NULL.
static const cJSON *tree_of(lua_State *L, const struct lazy_text *text)
{
	const struct pl_vm *vm = pl_vm_of(L);

	return !text->resource && vm->request && vm->run_number == text->run ? vm->request->body : NULL;
}

static void push(lua_State *L, const struct lazy_text *of, const char *json, const char *etag, int members)
{
	size_t etag_size = etag ? strlen(etag) + 1 : 0;
	struct lazy_text *text;

	luaL_checkstack(L, 3, NULL);
	pl_call_charge(L, (int64_t)of->len / 8);
	lua_createtable(L, 0, members);
	text = lua_newuserdatauv(L, sizeof(*text) + of->len + 1 + etag_size, 0);
	*text = *of;
	memcpy(text->json, json, of->len);
	text->json[of->len] = '\0';
	text->etag = etag ? memcpy(text->json + of->len + 1, etag, etag_size) : NULL;
	lua_rawsetp(L, -2, &text_key);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &meta_key);
	lua_setmetatable(L, -2);
}

void pl_value_push_record(lua_State *L, const struct pl_record *record)
{
	struct pl_buf *json = &pl_vm_of(L)->text;
	char etag[PL_ETAG_MAX];

	pl_buf_reset(json);
	pl_record_print(json, record);
	push(L, &(struct lazy_text){ .resource = record->resource, .len = json->len }, json->data,
	     pl_vector_etag(&record->vector, etag),
	     record->resource->nfields + 6); // with the key
}

void pl_value_push_body(lua_State *L, const struct pl_request *request)
{
	push(L, &(struct lazy_text){ .run = pl_vm_of(L)->run_number, .len = request->body_len },
	     request->body_text, NULL, 1);
}

// Reading. The table is on top.

static void read_record(lua_State *L, const struct lazy_text *text)
{
	struct pl_arena *scratch = pl_vm_of(L)->scratch;
	struct pl_record *record;
	struct pl_error err;

	pl_arena_reset(scratch);
	if (pl_record_scan(scratch, text->resource, text->json, NULL, &record, &err) < 0)
		luaL_error(L, "%s", err.text); // cannot be: we printed it
	pl_value_fill_record(L, record, text->etag);
}

static void read_body(lua_State *L, const struct lazy_text *text)
{
	const cJSON *tree = tree_of(L, text);

	if (tree)
		pl_value_fill_object(L, tree);
	else
		pl_value_fill_object_text(L, text->json, text->len);
	lua_pushnil(L);
	lua_setmetatable(L, -2);
}

void pl_value_read(lua_State *L, int index)
{
	const struct lazy_text *text = text_at(L, index);

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

// Without reading.

const struct pl_resource *pl_value_lazy_resource(lua_State *L, int index)
{
	const struct lazy_text *text = text_at(L, index);

	return text ? text->resource : NULL;
}

bool pl_value_lazy_print(lua_State *L, int index, struct pl_buf *buf)
{
	const struct lazy_text *text = text_at(L, index);

	if (!text || !text->resource)
		return false;
	pl_call_charge(L, (int64_t)text->len / 8);
	pl_buf_add(buf, text->json, text->len);
	return true;
}

size_t pl_value_lazy_length(lua_State *L, int index)
{
	const struct lazy_text *text = text_at(L, index);

	return text ? text->len : 0;
}

const char *pl_value_lazy_etag(lua_State *L, int index)
{
	const struct lazy_text *text = text_at(L, index);

	return text ? text->etag : NULL;
}

const cJSON *pl_value_body_at(lua_State *L, int index)
{
	const struct lazy_text *text = text_at(L, index);

	return text ? tree_of(L, text) : NULL;
}

// Metamethods.

//   1  the table   2  the key
static int on_index(lua_State *L)
{
	pl_value_read(L, 1);
	lua_settop(L, 2);
	lua_rawget(L, 1);
	return 1;
}

//   1  the table   2  the key   3  the value
static int on_newindex(lua_State *L)
{
	pl_value_read(L, 1);
	lua_settop(L, 3);
	lua_rawset(L, 1);
	return 0;
}

static int on_len(lua_State *L)
{
	pl_value_read(L, 1);
	lua_pushinteger(L, (lua_Integer)lua_rawlen(L, 1));
	return 1;
}

static int next(lua_State *L)
{
	lua_settop(L, 2);
	if (lua_next(L, 1))
		return 2;
	lua_pushnil(L);
	return 1;
}

static int on_pairs(lua_State *L)
{
	pl_value_read(L, 1);
	lua_pushcfunction(L, next);
	lua_pushvalue(L, 1);
	lua_pushnil(L);
	return 3;
}

int pl_value_call_read(lua_State *L)
{
	pl_value_read(L, 1);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
	return lua_gettop(L);
}

void pl_value_lazy_setup(lua_State *L)
{
	static const luaL_Reg metamethods[] = {
		{ "__index", on_index }, { "__len", on_len }, { "__newindex", on_newindex },
		{ "__pairs", on_pairs }, { NULL, NULL },
	};

	luaL_newlib(L, metamethods);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_rawsetp(L, LUA_REGISTRYINDEX, &meta_key);
}
