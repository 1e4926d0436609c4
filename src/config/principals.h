// Principals: the names of clients, and those that only plist itself has.
//
// plist makes writes of its own. Their request ids can be computed, so a client that had
// one of their principals could use an id first, and the write would not be made.
#pragma once

#include <stdbool.h>

#define PL_PRINCIPAL_MAX              64 // bytes: the width of its column

#define PL_PRINCIPAL_OF_TOOL          "plist-admin"
#define PL_PRINCIPAL_OF_VIOLATION     "plist:violation"     // integrity/integrity_resolve
#define PL_PRINCIPAL_OF_CREATED_TWICE "plist:created-twice" // apply/created_twice

// Which names no client may have, in words.
#define PL_PRINCIPALS_OF_PLIST        "plist-admin or a name that begins with plist:"

// Whether a name is plist's own: PL_PRINCIPAL_OF_TOOL, or any that begins with "plist:".
// The case of letters does not matter, so that nobody takes one for the other.
bool pl_principals_has(const char *name);
