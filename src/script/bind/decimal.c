// plist.decimal: calculating with exact numbers.
//
// The value is in value_decimal.c. Calculations use the scratch numbers of the VM, so an
// error in the middle of one loses nothing.
// Threads: a VM's.
#include <lauxlib.h>
#include <string.h>

#include "base/buf.h"
#include "script/bind/bind.h"
#include "script/script_private.h"
#include "script/value.h"

#define META PL_VALUE_DECIMAL

// The argument as a number: a decimal, or an integer, which is converted in scratch
// number `slot`. Raises for any other value.
static void operand(lua_State *L, int index, int slot, struct pl_decimal *view_r)
{
	struct pl_decimal *scratch = &pl_vm_of(L)->operand[slot];

	if (pl_value_decimal_at(L, index, view_r))
		return;
	if (lua_isinteger(L, index)) {
		mpz_set_si(scratch->unscaled, (long)lua_tointeger(L, index));
		scratch->scale = 0;
		mpz_roinit_n(view_r->unscaled, mpz_limbs_read(scratch->unscaled),
		             (mp_size_t)mpz_size(scratch->unscaled) * mpz_sgn(scratch->unscaled));
		view_r->scale = 0;
		return;
	}
	if (lua_type(L, index) == LUA_TNUMBER)
		luaL_error(L, "a decimal and a float: a float is not exact; write decimal(\"1.5\")");
	luaL_error(L, "a %s is not an exact number", luaL_typename(L, index));
}

static int give(lua_State *L, int status)
{
	if (status != 0)
		return luaL_error(L, "the result has more than %d digits", PL_DECIMAL_DIGITS_MAX);
	pl_value_push_decimal(L, &pl_vm_of(L)->result);
	return 1;
}

static void operands(lua_State *L, struct pl_decimal *a, struct pl_decimal *b)
{
	operand(L, 1, 0, a);
	operand(L, 2, 1, b);
	pl_call_charge(L,
	               5 + (int64_t)(mpz_size(a->unscaled) + 1) * (int64_t)(mpz_size(b->unscaled) + 1) / 8);
}

static int dec_add(lua_State *L)
{
	struct pl_decimal a, b;

	operands(L, &a, &b);
	return give(L, pl_decimal_add(&pl_vm_of(L)->result, &a, &b));
}

static int dec_sub(lua_State *L)
{
	struct pl_decimal a, b;

	operands(L, &a, &b);
	return give(L, pl_decimal_sub(&pl_vm_of(L)->result, &a, &b));
}

static int dec_mul(lua_State *L)
{
	struct pl_decimal a, b;

	operands(L, &a, &b);
	return give(L, pl_decimal_mul(&pl_vm_of(L)->result, &a, &b));
}

static int dec_no_div(lua_State *L)
{
	return luaL_error(L,
	                  "divide decimals by a:div(b, scale), where scale is the number of digits to keep");
}

static int dec_unm(lua_State *L)
{
	struct pl_decimal a, zero;

	lua_settop(L, 1);
	lua_pushinteger(L, 0);
	operand(L, 1, 0, &a);
	operand(L, 2, 1, &zero);
	return give(L, pl_decimal_sub(&pl_vm_of(L)->result, &zero, &a));
}

static int compare(lua_State *L)
{
	struct pl_decimal a, b;

	operands(L, &a, &b);
	return pl_decimal_cmp(&a, &b);
}

static int dec_lt(lua_State *L)
{
	lua_pushboolean(L, compare(L) < 0);
	return 1;
}

static int dec_le(lua_State *L)
{
	lua_pushboolean(L, compare(L) <= 0);
	return 1;
}

// Lua calls it for other userdata, too, which is never equal.
static int dec_eq(lua_State *L)
{
	struct pl_decimal a, b;

	lua_pushboolean(L, pl_value_decimal_at(L, 1, &a) && pl_value_decimal_at(L, 2, &b) &&
	                           pl_decimal_cmp(&a, &b) == 0);
	return 1;
}

static int scale_at(lua_State *L, int index)
{
	lua_Integer scale = luaL_checkinteger(L, index);

	luaL_argcheck(L, scale >= 0 && scale <= PL_DECIMAL_DIGITS_MAX, index,
	              "a scale must be from 0 to 1000");
	return (int)scale;
}

static int dec_div(lua_State *L)
{
	struct pl_decimal a, b;
	int scale = scale_at(L, 3);

	operands(L, &a, &b);
	if (mpz_sgn(b.unscaled) == 0)
		return luaL_error(L, "division by zero");
	pl_call_charge(L, scale / 8);
	return give(L, pl_decimal_div(&pl_vm_of(L)->result, &a, &b, scale));
}

static int dec_round(lua_State *L)
{
	struct pl_decimal a;
	int scale = scale_at(L, 2);

	operand(L, 1, 0, &a);
	pl_call_charge(L, scale / 8);
	return give(L, pl_decimal_round(&pl_vm_of(L)->result, &a, scale));
}

static int dec_scale(lua_State *L)
{
	struct pl_decimal a;

	operand(L, 1, 0, &a);
	lua_pushinteger(L, a.scale);
	return 1;
}

// Its value as an integer; nil when it has a fraction or is too large.
static int dec_tointeger(lua_State *L)
{
	struct pl_vm *vm = pl_vm_of(L);
	struct pl_decimal a;

	operand(L, 1, 0, &a);
	if (pl_decimal_round(&vm->result, &a, 0) == 0 && pl_decimal_cmp(&vm->result, &a) == 0 &&
	    mpz_fits_slong_p(vm->result.unscaled))
		lua_pushinteger(L, mpz_get_si(vm->result.unscaled));
	else
		lua_pushnil(L);
	return 1;
}

static const char *push_text(lua_State *L, const struct pl_decimal *d)
{
	struct pl_vm *vm = pl_vm_of(L);

	pl_buf_reset(&vm->text);
	pl_decimal_print(&vm->text, d);
	pl_call_charge(L, (int64_t)vm->text.len / 4);
	return lua_pushlstring(L, vm->text.data, vm->text.len);
}

static int dec_tostring(lua_State *L)
{
	struct pl_decimal a;

	operand(L, 1, 0, &a);
	push_text(L, &a);
	return 1;
}

static int dec_concat(lua_State *L)
{
	struct pl_decimal d;

	for (int i = 1; i <= 2; i++) {
		if (!pl_value_decimal_at(L, i, &d))
			continue;
		push_text(L, &d);
		lua_replace(L, i);
	}
	lua_settop(L, 2);
	lua_concat(L, 2);
	return 1;
}

// decimal(x): of a text, an integer or a decimal.
static int make(lua_State *L, int index)
{
	struct pl_decimal a;
	size_t len;
	const char *text;

	switch (lua_type(L, index)) {
	case LUA_TSTRING:
		text = lua_tolstring(L, index, &len);
		if (!pl_value_push_decimal_text(L, text, len))
			return luaL_error(L, "'%s' is not a number", text);
		return 1;
	case LUA_TNUMBER:
		if (!lua_isinteger(L, index))
			return luaL_error(L, "a float is not exact: write decimal(\"1.5\")");
		break;
	default: break;
	}
	operand(L, index, 0, &a);
	pl_value_push_decimal(L, &a);
	return 1;
}

static int dec_new(lua_State *L)
{
	luaL_checkany(L, 1);
	return make(L, 1);
}

static int dec_call(lua_State *L)
{
	luaL_checkany(L, 2);
	return make(L, 2);
}

static int dec_is(lua_State *L)
{
	struct pl_decimal a;

	luaL_checkany(L, 1);
	lua_pushboolean(L, pl_value_decimal_at(L, 1, &a));
	return 1;
}

static int dec_abs(lua_State *L)
{
	struct pl_decimal a;

	operand(L, 1, 0, &a);
	if (mpz_sgn(a.unscaled) < 0)
		return dec_unm(L);
	pl_value_push_decimal(L, &a);
	return 1;
}

static const luaL_Reg methods[] = {
	{ "abs", dec_abs },
	{ "div", dec_div },
	{ "round", dec_round },
	{ "scale", dec_scale },
	{ "tointeger", dec_tointeger },
	{ NULL, NULL },
};

static const luaL_Reg metamethods[] = {
	{ "__add", dec_add },     { "__concat", dec_concat },
	{ "__div", dec_no_div },  { "__eq", dec_eq },
	{ "__idiv", dec_no_div }, { "__le", dec_le },
	{ "__lt", dec_lt },       { "__mul", dec_mul },
	{ "__sub", dec_sub },     { "__tostring", dec_tostring },
	{ "__unm", dec_unm },     { NULL, NULL },
};

void pl_bind_decimal_setup(lua_State *L)
{
	luaL_newmetatable(L, META);
	luaL_setfuncs(L, metamethods, 0);
	lua_newtable(L);
	luaL_setfuncs(L, methods, 0);
	lua_setfield(L, -2, "__index");
	lua_pushliteral(L, "decimal");
	lua_setfield(L, -2, "__name");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_newtable(L); // the metatable of the module: makes decimal(x) work
	lua_pushcfunction(L, dec_call);
	lua_setfield(L, -2, "__call");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setfield(L, LUA_REGISTRYINDEX, META ".module");
	lua_pop(L, 1);
}

int pl_bind_decimal(lua_State *L)
{
	lua_createtable(L, 0, 2);
	lua_pushcfunction(L, dec_new);
	lua_setfield(L, -2, "new");
	lua_pushcfunction(L, dec_is);
	lua_setfield(L, -2, "is");
	lua_getfield(L, LUA_REGISTRYINDEX, META ".module");
	lua_setmetatable(L, -2);
	return 1;
}
