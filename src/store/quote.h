// Names and texts as PostgreSQL quotes them.
//
// Used by all code that builds SQL. Threads: any; nothing is shared.
#pragma once

#include "base/buf.h"

void pl_quote_name(struct pl_buf *buf, const char *identifier); // "name"
void pl_quote_name_n(struct pl_buf *buf, const char *identifier, size_t len);
void pl_quote_literal(struct pl_buf *buf, const char *text); // 'text'
