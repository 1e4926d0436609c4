// Decimals in Lua: JSON's fractions and numeric columns.
//
// A value is a userdata that holds its digits itself. So it needs no finalizer, and its
// memory counts like all other memory of the script. Values never change. Their
// metatable, with the arithmetic, is bind/decimal.c's.
// Threads: a VM's.
#include <lauxlib.h>
#include <string.h>

#include "script/script_private.h"
#include "script/value_private.h"

#define NEW_COST 20 // instructions that take as long as making one

struct box {
	int scale;
	int size; // limbs, negative for a negative number, as GMP has it
	mp_limb_t limbs[];
};

void pl_value_push_decimal(lua_State *L, const struct pl_decimal *d)
{
	size_t n = mpz_size(d->unscaled);
	struct box *box = lua_newuserdatauv(L, sizeof(*box) + n * sizeof(box->limbs[0]), 0);

	box->scale = d->scale;
	box->size = mpz_sgn(d->unscaled) < 0 ? -(int)n : (int)n;
	if (n > 0)
		memcpy(box->limbs, mpz_limbs_read(d->unscaled), n * sizeof(box->limbs[0]));
	luaL_setmetatable(L, PL_VALUE_DECIMAL);
	pl_call_charge(L, NEW_COST + (int64_t)n / 4);
}

bool pl_value_decimal_at(lua_State *L, int index, struct pl_decimal *view_r)
{
	struct box *box = luaL_testudata(L, index, PL_VALUE_DECIMAL);

	if (!box)
		return false;
	mpz_roinit_n(view_r->unscaled, box->limbs, box->size);
	view_r->scale = box->scale;
	return true;
}

bool pl_value_push_decimal_text(lua_State *L, const char *text, size_t len)
{
	struct pl_vm *vm = pl_vm_of(L);

	pl_call_charge(L, (int64_t)len / 8);
	if (pl_decimal_parse(&vm->result, text, len) != 0)
		return false;
	pl_value_push_decimal(L, &vm->result);
	return true;
}
