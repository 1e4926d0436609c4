// `plist.host`: VMs of src/script for busted specs.
#pragma once

#include <lauxlib.h>

int host_open(lua_State *L);
