// The numbers and texts in a policy's file, for the inputs of a verification.
//
// Used by verify/cases.c. A rule that treats one value differently usually names it: `if
// price > decimal "750000"`. Inputs made without that value would never reach the branch.
// So the file is scanned for constants, and the random sets use them as values, each
// number with its two neighbours. The scanner reads tokens, not their meaning: a
// superfluous value is harmless.
// Threads: the source's.
#include "verify/verify.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct token_reader {
	const char *p, *end;
};

static bool begins(const struct token_reader *r, const char *what)
{
	size_t len = strlen(what);

	return (size_t)(r->end - r->p) >= len && memcmp(r->p, what, len) == 0;
}

static void add(struct pl_arena *arena, struct pl_verify_constants *into, bool number, const char *text,
                size_t len)
{
	const char **list = number ? into->numbers : into->texts;
	int *n = number ? &into->nnumbers : &into->ntexts;

	if (len == 0 || len > PL_VERIFY_CONSTANT_MAX || memchr(text, 0, len))
		return;
	for (int i = 0; i < *n; i++)
		if (strlen(list[i]) == len && memcmp(list[i], text, len) == 0)
			return;
	if (*n < PL_VERIFY_CONSTANTS)
		list[(*n)++] = pl_arena_strndup(arena, text, len);
}

// A quoted string is a text and, if it looks like one, a number: decimal "750000".
static void add_text(struct pl_arena *arena, struct pl_verify_constants *into, const char *text, size_t len)
{
	add(arena, into, false, text, len);
	if (len <= PL_VERIFY_CONSTANT_MAX && pl_decimal_valid(text, len))
		add(arena, into, true, text, len);
}

// The number of equals signs in "[[", "[=[", …; -1 if it is not a long bracket.
static int long_bracket(const struct token_reader *r)
{
	const char *p = r->p + 1;

	while (p < r->end && *p == '=')
		p++;
	return r->p < r->end && *r->p == '[' && p < r->end && *p == '[' ? (int)(p - r->p - 1) : -1;
}

// Skips a long string or comment, at whose opening bracket r is. Its content is
// [*text_r, *text_r + *len_r).
static void skip_long(struct token_reader *r, int level, const char **text_r, size_t *len_r)
{
	const char *p = r->p + level + 2;

	*text_r = p;
	for (; p < r->end; p++) {
		int equals = 0;

		if (*p != ']')
			continue;
		while (p + 1 + equals < r->end && p[1 + equals] == '=')
			equals++;
		if (equals == level && p + 1 + equals < r->end && p[1 + equals] == ']')
			break;
	}
	*len_r = (size_t)(p - *text_r);
	r->p = p < r->end ? p + level + 2 : r->end;
}

static void skip_comment(struct token_reader *r)
{
	const char *text;
	size_t len;
	int level;

	r->p += 2;
	level = long_bracket(r);
	if (level >= 0) {
		skip_long(r, level, &text, &len);
		return;
	}
	while (r->p < r->end && *r->p != '\n')
		r->p++;
}

// A string with escapes is left out, since its value is not its text.
static void read_quoted(struct token_reader *r, struct pl_arena *arena, struct pl_verify_constants *into)
{
	const char quote = *r->p++, *from = r->p;
	bool plain = true;

	while (r->p < r->end && *r->p != quote && *r->p != '\n') {
		if (*r->p == '\\') {
			plain = false;
			r->p++;
		}
		if (r->p < r->end)
			r->p++;
	}
	if (plain)
		add_text(arena, into, from, (size_t)(r->p - from));
	if (r->p < r->end)
		r->p++;
}

static void read_number(struct token_reader *r, struct pl_arena *arena, struct pl_verify_constants *into)
{
	const char *from = r->p;
	char text[32];

	for (; r->p < r->end; r->p++) {
		bool sign = (*r->p == '-' || *r->p == '+') && tolower((unsigned char)r->p[-1]) == 'e';

		if (!isalnum((unsigned char)*r->p) && *r->p != '.' && !sign)
			break;
	}
	if (r->p - from > 2 && from[0] == '0' && tolower((unsigned char)from[1]) == 'x') {
		snprintf(text, sizeof(text), "%lld", (long long)strtoull(from, NULL, 16));
		add(arena, into, true, text, strlen(text));
	} else if (pl_decimal_valid(from, (size_t)(r->p - from))) {
		add(arena, into, true, from, (size_t)(r->p - from));
	}
}

void pl_verify_constants_read(struct pl_arena *arena, const char *text, size_t len,
                              struct pl_verify_constants *into)
{
	struct token_reader r = { text, text + len };
	int level;

	while (r.p < r.end) {
		if (begins(&r, "--")) {
			skip_comment(&r);
		} else if ((level = long_bracket(&r)) >= 0) {
			const char *inside;
			size_t inside_len;

			skip_long(&r, level, &inside, &inside_len);
			add_text(arena, into, inside, inside_len);
		} else if (*r.p == '"' || *r.p == '\'') {
			read_quoted(&r, arena, into);
		} else if (isdigit((unsigned char)*r.p)) {
			read_number(&r, arena, into);
		} else if (isalpha((unsigned char)*r.p) || *r.p == '_') {
			while (r.p < r.end && (isalnum((unsigned char)*r.p) || *r.p == '_'))
				r.p++;
		} else {
			r.p++;
		}
	}
}

// `text`, and the numbers one unit below and above it at this scale.
void pl_verify_neighbours(struct pl_arena *arena, const char *text, int scale, const char *around[3])
{
	struct pl_decimal value, unit, sum;
	struct pl_buf buf = { 0 };

	pl_decimal_init(&value);
	pl_decimal_init(&unit);
	pl_decimal_init(&sum);
	mpz_set_si(unit.unscaled, -1);
	unit.scale = scale;
	around[0] = text;
	around[1] = around[2] = NULL;
	for (int i = 1; i <= 2 && pl_decimal_parse(&value, text, strlen(text)) == 0; i++) {
		if (pl_decimal_add(&sum, &value, &unit) == 0) {
			pl_buf_reset(&buf);
			pl_decimal_print(&buf, &sum);
			around[i] = pl_arena_strndup(arena, buf.data, buf.len);
		}
		mpz_neg(unit.unscaled, unit.unscaled);
	}
	pl_buf_fini(&buf);
	pl_decimal_fini(&value);
	pl_decimal_fini(&unit);
	pl_decimal_fini(&sum);
}
