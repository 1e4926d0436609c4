// Decimals: calculates with "A B" and checks that the results are consistent.
//
// Threads: one.
#include "fuzz.h"

#include <string.h>

#include "base/decimal.h"
#include "base/json.h"

static void check_text(const struct pl_decimal *d)
{
	struct pl_buf text = { 0 }, canonical = { 0 };
	struct pl_decimal back;
	pl_decimal_init(&back);
	pl_decimal_print(&text, d);
	PROMISE(pl_decimal_parse(&back, text.data, text.len) == 0);
	PROMISE(back.scale == d->scale && pl_decimal_cmp(&back, d) == 0);
	pl_json_canonical_number(&canonical, text.data);
	PROMISE(pl_decimal_parse(&back, canonical.data, canonical.len) == 0);
	PROMISE(pl_decimal_cmp(&back, d) == 0);
	pl_decimal_fini(&back);
	pl_buf_fini(&text);
	pl_buf_fini(&canonical);
}

static void reckon(const struct pl_decimal *a, const struct pl_decimal *b)
{
	struct pl_decimal r, s;
	pl_decimal_init(&r);
	pl_decimal_init(&s);
	if (pl_decimal_add(&r, a, b) == 0) {
		check_text(&r);
		if (pl_decimal_sub(&s, &r, b) == 0)
			PROMISE(pl_decimal_cmp(&s, a) == 0);
	}
	if (pl_decimal_mul(&r, a, b) == 0) {
		check_text(&r);
		// The quotient of an exact product is exact.
		if (pl_decimal_div(&s, &r, b, a->scale) == 0)
			PROMISE(pl_decimal_cmp(&s, a) == 0);
	}
	if (pl_decimal_round(&r, a, b->scale) == 0) {
		PROMISE(r.scale == b->scale);
		check_text(&r);
	}
	PROMISE(pl_decimal_cmp(a, b) == -pl_decimal_cmp(b, a));
	pl_decimal_fini(&r);
	pl_decimal_fini(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data, *blank = size ? memchr(text, ' ', size) : NULL;
	struct pl_decimal a, b;
	pl_decimal_init(&a);
	pl_decimal_init(&b);
	size_t first = blank ? (size_t)(blank - text) : size;
	int code = pl_decimal_parse(&a, text, first);
	if (code == 0)
		check_text(&a);
	if (code == 0 && blank != NULL && pl_decimal_parse(&b, blank + 1, size - first - 1) == 0)
		reckon(&a, &b);
	pl_decimal_fini(&a);
	pl_decimal_fini(&b);
	return 0;
}
