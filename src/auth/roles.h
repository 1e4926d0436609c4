// Roles: words that say what a client may do. Routes name the roles that they allow.
#pragma once

#include <stdbool.h>

#include "base/mem.h"
#include "config/principals.h"

#define PL_ROLES_MAX 32 // of one client

struct pl_roles {
	int n;
	const char **names;
};

// Who sent a request. The strings belong to the object that the identity was read from.
struct pl_identity {
	const char *principal; // "": nobody in particular
	struct pl_roles roles;
};

// Whether the text can be the name of a role: a lower-case letter, then letters, digits,
// '_' and '-', 32 in all.
bool pl_roles_valid(const char *name);
// Whether the text can be a client's principal: 1 to 64 visible ASCII characters, but
// not one of plist's own (config/principals).
bool pl_roles_valid_principal(const char *principal);
// Reads "editor,admin", or "-" for no role, into `arena`. 0, or -1 if a role is not
// valid or there are too many.
int pl_roles_parse(struct pl_arena *arena, const char *list, struct pl_roles *roles_r);
// Whether one of the roles is in the list.
bool pl_roles_meet(const struct pl_roles *roles, int n, const char *const *list);
