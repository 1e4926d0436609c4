// See principals.h.
// Threads: any; no state.
#include "config/principals.h"

#include <string.h>
#include <strings.h>

#define PREFIX "plist:"

bool pl_principals_has(const char *name)
{
	return strcasecmp(name, PL_PRINCIPAL_OF_TOOL) == 0 ||
	       strncasecmp(name, PREFIX, sizeof(PREFIX) - 1) == 0;
}
