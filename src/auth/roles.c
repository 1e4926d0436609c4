// See roles.h.
// Threads: any; no state.
#include "auth/roles.h"

#include <string.h>

#define ROLE_MAX 32

bool pl_roles_valid(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
	size_t len = strlen(name);

	return len >= 1 && len <= ROLE_MAX && name[0] >= 'a' && name[0] <= 'z' &&
	       strspn(name, allowed) == len;
}

bool pl_roles_valid_principal(const char *principal)
{
	size_t len = strlen(principal);

	if (len < 1 || len > PL_PRINCIPAL_MAX || pl_principals_has(principal))
		return false;
	for (size_t i = 0; i < len; i++)
		if (principal[i] <= 0x20 || principal[i] >= 0x7f)
			return false;
	return true;
}

int pl_roles_parse(struct pl_arena *arena, const char *list, struct pl_roles *roles_r)
{
	char *copy = pl_arena_strdup(arena, list), *save = NULL;

	*roles_r = (struct pl_roles){ .names = pl_arena_array(arena, PL_ROLES_MAX, sizeof(char *)) };
	if (strcmp(list, "-") == 0)
		return 0;
	for (char *name = strtok_r(copy, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		if (!pl_roles_valid(name) || roles_r->n == PL_ROLES_MAX)
			return -1;
		roles_r->names[roles_r->n++] = name;
	}
	return roles_r->n > 0 ? 0 : -1;
}

bool pl_roles_meet(const struct pl_roles *roles, int n, const char *const *list)
{
	for (int i = 0; i < roles->n; i++)
		for (int j = 0; j < n; j++)
			if (strcmp(roles->names[i], list[j]) == 0)
				return true;
	return false;
}
