// Vectors: their JSON, their entity tags, and conditions that name them. "A\nB" stands
// for two texts, which are joined and compared.
//
// Threads: one.
#include "fuzz.h"

#include <string.h>

#include "base/mem.h"
#include "http/condition.h"
#include "record/vector.h"

static void check_spellings(const struct pl_vector *v)
{
	struct pl_buf text = { 0 };
	struct pl_vector back = { 0 };
	char etag[PL_ETAG_MAX];
	pl_vector_print(&text, v);
	PROMISE(pl_vector_parse(&back, text.data, text.len) == 0);
	PROMISE(pl_vector_equal(&back, v));
	pl_vector_etag(v, etag);
	if (v->n > 0) { // plist never writes an empty vector
		PROMISE(pl_vector_parse_etag(&back, etag, strlen(etag)) == 0);
		PROMISE(pl_vector_equal(&back, v));
		PROMISE(pl_condition_if_none_match(etag, etag));
	}
	pl_buf_fini(&text);
}

static void check_join(const struct pl_vector *a, const struct pl_vector *b)
{
	struct pl_vector ab = *a, ba = *b;
	int code = pl_vector_join(&ab, b);
	PROMISE(code == pl_vector_join(&ba, a));
	PROMISE((pl_vector_le(a, b) && pl_vector_le(b, a)) == pl_vector_equal(a, b));
	if (code != 0)
		return;
	PROMISE(pl_vector_equal(&ab, &ba));
	PROMISE(pl_vector_le(a, &ab) && pl_vector_le(b, &ab));
	PROMISE(pl_vector_sum(&ab) >= pl_vector_sum(a));
	check_spellings(&ab);
}

static int either(struct pl_vector *v, const char *text, size_t len)
{
	return pl_vector_parse(v, text, len) == 0 || pl_vector_parse_etag(v, text, len) == 0 ? 0 : -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = size ? (const char *)data : "", *line = memchr(text, '\n', size), *why = NULL;
	size_t first = line ? (size_t)(line - text) : size;
	struct pl_vector a = { 0 }, b = { 0 };
	if (either(&a, text, first) == 0) {
		check_spellings(&a);
		if (line != NULL && either(&b, line + 1, size - first - 1) == 0)
			check_join(&a, &b);
	}
	char *value = pl_strndup(text, size);
	struct pl_if_match match = { 0 };
	struct pl_arena *arena = pl_arena_new(0);
	if (pl_condition_if_match(arena, value, &match, &why) != 0)
		PROMISE(why != NULL);
	pl_arena_free(&arena);
	pl_condition_if_none_match(value, "\"eu:1+us:2\"");
	free(value);
	return 0;
}
