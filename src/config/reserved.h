// Reserved headers, whose meaning HTTP or plist defines: one list for answers of
// handlers, for the configuration and for http/response.
#pragma once

#include <stdbool.h>

enum pl_reserved_use {
	PL_RESERVED_ANSWER = 1,    // plist or the HTTP library sets it in answers; a handler may not
	PL_RESERVED_ID = 2,        // it cannot carry a request id (routes[].idempotency.header)
	PL_RESERVED_PRINCIPAL = 4, // it cannot carry a principal (http.principal_header)
	PL_RESERVED_REQUEST = PL_RESERVED_ID | PL_RESERVED_PRINCIPAL,
};

// Whether the header, regardless of case, is reserved for one of these uses.
bool pl_reserved_has(const char *name, enum pl_reserved_use use);
