// Names and texts as PostgreSQL quotes them: see quote.h.
#include "store/quote.h"

#include <string.h>

static void add(struct pl_buf *buf, const char *s, size_t len, char quote)
{
	pl_buf_addc(buf, quote);
	for (size_t i = 0; i < len; i++) {
		if (s[i] == quote)
			pl_buf_addc(buf, quote);
		pl_buf_addc(buf, s[i]);
	}
	pl_buf_addc(buf, quote);
}

void pl_quote_name(struct pl_buf *buf, const char *identifier)
{
	add(buf, identifier, strlen(identifier), '"');
}

void pl_quote_name_n(struct pl_buf *buf, const char *identifier, size_t len)
{
	add(buf, identifier, len, '"');
}

void pl_quote_literal(struct pl_buf *buf, const char *text)
{
	add(buf, text, strlen(text), '\'');
}
