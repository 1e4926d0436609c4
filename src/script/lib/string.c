// The string library of scripts: Lua's, at a price.
//
// Functions that search use pattern.c, functions that copy are charged for the bytes they
// copy, and string.format shows no addresses. Left out are dump (bytecode), pack and
// unpack (machine words).
// Threads: a VM's.
#define _GNU_SOURCE // memmem
#include <lauxlib.h>
#include <string.h>

#include "script/call.h"
#include "script/lib/lib.h"
#include "script/lib/pattern.h"
#include "script/text.h"

#define CONVERSION_COST 60    // of a number into text, the slowest of them
#define QUOTED_MAX      65536 // bytes of a text for %q, which makes a call per control character
#define COPY_UNITS      16    // bytes copied for the price of an instruction

// Where a search begins: Lua's rule for a start that may be negative. False: after the
// end of the text.
static bool start_of(lua_State *L, int index, size_t len, size_t *start_r)
{
	lua_Integer init = luaL_optinteger(L, index, 1);

	if (init > 0)
		*start_r = (lua_Unsigned)init - 1 > len ? len + 1 : (size_t)init - 1;
	else if (init == 0 || init < -(lua_Integer)len)
		*start_r = 0;
	else
		*start_r = len - (size_t)-init;
	return *start_r <= len;
}

static int find_plain(lua_State *L, const char *text, size_t len, const char *what, size_t what_len,
                      size_t start)
{
	const char *found = NULL;

	// glibc's memmem is linear in both lengths
	pl_call_charge(L, (int64_t)((len - start) / 8 + what_len));
	found = memmem(text + start, len - start, what, what_len);
	if (!found) {
		lua_pushnil(L);
		return 1;
	}
	lua_pushinteger(L, found - text + 1);
	lua_pushinteger(L, found - text + (lua_Integer)what_len);
	return 2;
}

static bool is_plain(const char *pattern, size_t len)
{
	return !strpbrk(pattern, "^$*+?.([%-") && strlen(pattern) == len;
}

static int search(lua_State *L, bool find)
{
	size_t len, pattern_len, start;
	const char *text = luaL_checklstring(L, 1, &len), *pattern = luaL_checklstring(L, 2, &pattern_len);
	struct pl_pattern_match m;

	if (!start_of(L, 3, len, &start)) {
		lua_pushnil(L);
		return 1;
	}
	if (find && (lua_toboolean(L, 4) || is_plain(pattern, pattern_len)))
		return find_plain(L, text, len, pattern, pattern_len, start);
	pl_pattern_match_init(&m, L, text, len, pattern, pattern_len);
	for (const char *at = text + start; at <= m.text_end; at++) {
		const char *end = pl_pattern_match_at(&m, at);

		if (end && find) {
			lua_pushinteger(L, at - text + 1);
			lua_pushinteger(L, end - text);
			return pl_pattern_match_push_all(&m, NULL, NULL) + 2;
		}
		if (end)
			return pl_pattern_match_push_all(&m, at, end);
		if (m.anchored)
			break;
	}
	lua_pushnil(L);
	return 1;
}

static int str_find(lua_State *L)
{
	return search(L, true);
}

static int str_match(lua_State *L)
{
	return search(L, false);
}

// Iterator of gmatch. Upvalues: text, pattern, offset to begin at, offset at which the
// last match ended (-1: none).
static int gmatch_step(lua_State *L)
{
	size_t len, pattern_len;
	const char *text = lua_tolstring(L, lua_upvalueindex(1), &len);
	const char *pattern = lua_tolstring(L, lua_upvalueindex(2), &pattern_len);
	lua_Integer last = lua_tointeger(L, lua_upvalueindex(4));
	struct pl_pattern_match m;

	pl_pattern_match_init(&m, L, text, len, pattern, pattern_len);
	if (m.anchored) { // in gmatch, ^ is an ordinary character
		m.anchored = false;
		m.pattern--;
	}
	for (const char *at = text + lua_tointeger(L, lua_upvalueindex(3)); at <= m.text_end; at++) {
		const char *end = pl_pattern_match_at(&m, at);

		if (end && end - text != last) {
			lua_pushinteger(L, end - text);
			lua_copy(L, -1, lua_upvalueindex(3));
			lua_replace(L, lua_upvalueindex(4));
			return pl_pattern_match_push_all(&m, at, end);
		}
	}
	return 0;
}

static int str_gmatch(lua_State *L)
{
	size_t len, start;

	luaL_checklstring(L, 1, &len);
	luaL_checkstring(L, 2);
	if (!start_of(L, 3, len, &start))
		start = len + 1;
	lua_settop(L, 2);
	lua_pushinteger(L, (lua_Integer)start);
	lua_pushinteger(L, -1);
	lua_pushcclosure(L, gmatch_step, 4);
	return 1;
}

// gsub with a text for replacement: %0 to %9 are captures, %% is a percent sign.
static void add_text(struct pl_pattern_match *m, luaL_Buffer *b, const char *start, const char *end)
{
	size_t len;
	const char *with = lua_tolstring(m->L, 3, &len);

	for (size_t i = 0; i < len; i++) {
		if (with[i] != '%') {
			luaL_addchar(b, with[i]);
			continue;
		}
		i++;
		if (i < len && with[i] == '%') {
			luaL_addchar(b, '%');
		} else if (i < len && with[i] == '0') {
			luaL_addlstring(b, start, (size_t)(end - start));
		} else if (i < len && with[i] >= '1' && with[i] <= '9') {
			pl_pattern_match_push(m, with[i] - '1', start, end);
			luaL_tolstring(m->L, -1, NULL); // a position is a number
			lua_remove(m->L, -2);
			luaL_addvalue(b);
		} else {
			luaL_error(m->L, "invalid use of '%%' in replacement string");
		}
	}
	pl_call_charge(m->L, (int64_t)len / COPY_UNITS + 1);
}

// gsub's replacement of one match, by a text, a table or a function.
static void add_replacement(struct pl_pattern_match *m, luaL_Buffer *b, const char *start, const char *end)
{
	lua_State *L = m->L;

	switch (lua_type(L, 3)) {
	case LUA_TFUNCTION:
		lua_pushvalue(L, 3);
		lua_call(L, pl_pattern_match_push_all(m, start, end), 1);
		break;
	case LUA_TTABLE:
		pl_pattern_match_push(m, 0, start, end);
		lua_gettable(L, 3);
		break;
	default: add_text(m, b, start, end); return;
	}
	if (!lua_toboolean(L, -1)) {
		lua_pop(L, 1);
		luaL_addlstring(b, start, (size_t)(end - start));
	} else if (!lua_isstring(L, -1)) {
		luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
	} else {
		luaL_addvalue(b);
	}
}

static int str_gsub(lua_State *L)
{
	size_t len, pattern_len;
	const char *text = luaL_checklstring(L, 1, &len), *pattern = luaL_checklstring(L, 2, &pattern_len);
	const char *at = text, *last = NULL;
	lua_Integer max = luaL_optinteger(L, 4, (lua_Integer)len + 1), n = 0;
	int with = lua_type(L, 3);
	struct pl_pattern_match m;
	luaL_Buffer b;

	luaL_argexpected(
		L, with == LUA_TNUMBER || with == LUA_TSTRING || with == LUA_TFUNCTION || with == LUA_TTABLE,
		3, "string/function/table");
	if (with == LUA_TNUMBER)
		lua_tostring(L, 3); // in place
	pl_pattern_match_init(&m, L, text, len, pattern, pattern_len);
	luaL_buffinit(L, &b);
	while (n < max) {
		const char *end = pl_pattern_match_at(&m, at);

		if (end && end != last) {
			n++;
			add_replacement(&m, &b, at, end);
			at = last = end;
		} else if (at < m.text_end) {
			luaL_addchar(&b, *at++);
		} else {
			break;
		}
		if (m.anchored)
			break;
	}
	luaL_addlstring(&b, at, (size_t)(m.text_end - at));
	luaL_pushresult(&b);
	lua_pushinteger(L, n);
	return 2;
}

static int str_rep(lua_State *L)
{
	size_t len, separator_len;
	lua_Integer n;
	const char *text = luaL_checklstring(L, 1, &len), *separator;
	luaL_Buffer b;
	size_t size;
	char *to;

	n = luaL_checkinteger(L, 2);
	separator = luaL_optlstring(L, 3, "", &separator_len);
	if (n <= 0 || len + separator_len == 0) {
		lua_pushliteral(L, "");
		return 1;
	}
	if ((lua_Unsigned)n > (size_t)1 << 40 || (size_t)n > ((size_t)1 << 40) / (len + separator_len))
		return luaL_error(L, "resulting string too large");
	pl_call_charge(L, n + n * (lua_Integer)(len + separator_len) / COPY_UNITS);
	size = (size_t)n * (len + separator_len) - separator_len;
	to = luaL_buffinitsize(L, &b, size > 0 ? size : 1);
	memcpy(to, text, len);
	if (n > 1 && separator_len > 0)
		memcpy(to + len, separator, separator_len);
	// Double what is there until the text is complete. The last separator falls off
	// the end.
	for (size_t done = n > 1 ? len + separator_len : len; done < size; done *= 2)
		memcpy(to + done, to, done < size - done ? done : size - done);
	luaL_pushresultsize(&b, size);
	return 1;
}

// Lua's string.format, but %s shows a value as our tostring does, and %p is refused: no
// address becomes visible.
static int str_format(lua_State *L)
{
	size_t len, text_len;
	const char *format = luaL_checklstring(L, 1, &len), *end = format + len;
	int top = lua_gettop(L), arg = 1;

	for (const char *p = format; p < end; p++) {
		if (*p != '%')
			continue;
		// flags, width, precision; stops at the NUL at the end of the format, too
		p += 1 + strspn(p + 1, "-+ #0123456789.");
		if (p >= end || *p == '%')
			continue;
		arg++;
		pl_call_charge(L, CONVERSION_COST);
		if (*p == 'p')
			return luaL_error(L, "%%p shows an address; scripts cannot see any");
		if (*p == 'q' && arg <= top && lua_type(L, arg) == LUA_TSTRING &&
		    lua_rawlen(L, arg) > QUOTED_MAX)
			return luaL_error(L, "%%q: the text has more than %d bytes", QUOTED_MAX);
		if (*p == 's' && arg <= top) {
			pl_text_push(L, arg, &text_len);
			lua_replace(L, arg);
			pl_call_charge(L, (int64_t)text_len / COPY_UNITS);
		}
	}
	pl_call_charge(L, (int64_t)len / 4 + 10);
	pl_lib_push_original(L, "string.format");
	lua_insert(L, 1);
	lua_call(L, top, 1);
	// %099.99f of a large number is long, and each digit takes time
	pl_call_charge(L, (int64_t)lua_rawlen(L, -1));
	return 1;
}

const luaL_Reg pl_lib_string[] = {
	{ "find", str_find },   { "format", str_format }, { "gmatch", str_gmatch }, { "gsub", str_gsub },
	{ "match", str_match }, { "rep", str_rep },       { NULL, NULL },
};
