// The applier's SQL: what is remembered of requests, for apply/decision.
//
// Threads: an object belongs to one.
#include "apply/rows_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/sha256.h"

static const uint8_t *fingerprint_of(struct pl_arena *arena, const char *digits)
{
	uint8_t *bytes;

	if (!digits || strlen(digits) != 2 * PL_SHA256_SIZE)
		return NULL;
	bytes = pl_arena_alloc(arena, PL_SHA256_SIZE);
	return pl_hex_decode(digits, PL_SHA256_SIZE, bytes) ? bytes : NULL;
}

// bytea as text, "\x…"
const uint8_t *pl_apply_rows_fingerprint(struct pl_arena *arena, const PGresult *result, int row, int column)
{
	const char *text = pl_apply_rows_cell(result, row, column);

	return text && strncmp(text, "\\x", 2) == 0 ? fingerprint_of(arena, text + 2) : NULL;
}

struct found {
	int n, cap;
	struct pl_stored_request *items;
};

static struct pl_stored_request *add_found(struct found *found, const struct pl_question *question,
                                           const uint8_t *fingerprint, const struct pl_dot *dots, int n)
{
	if (found->n == found->cap) {
		found->cap = found->cap ? 2 * found->cap : 64;
		found->items = pl_realloc(found->items, sizeof(found->items[0]) * (size_t)found->cap);
	}
	found->items[found->n] =
		(struct pl_stored_request){ .touched = question->touched,
		                            .twins = { question->request_id, question->principal, fingerprint,
		                                       n, dots } };
	return &found->items[found->n++];
}

static bool read_dot(const cJSON *item, size_t len, struct pl_dot *dot)
{
	int64_t counter;

	if (!pl_vector_region_name_ok(item->string, len) || pl_json_int64(item, &counter) < 0 ||
	    counter < 1 || counter > INT32_MAX)
		return false;
	memcpy(dot->region, item->string, len);
	dot->counter = (int32_t)counter;
	return true;
}

// {"us": 5, "eu": 3, "ap 9f…": 2}: those without a fingerprint are the row's own, the
// others another request's under the same id.
static void read_dots(struct pl_arena *arena, const char *text, const uint8_t *fingerprint,
                      const struct pl_question *question, struct found *found)
{
	cJSON *map = pl_json_parse(text, strlen(text), &pl_json_default_limits, NULL);
	struct pl_dot *dots = pl_arena_alloc(arena, sizeof(dots[0]) * (size_t)(cJSON_GetArraySize(map) + 1));
	int n = 0;

	for (const cJSON *item = map ? map->child : NULL; item; item = item->next) {
		const char *space = strchr(item->string, ' ');
		struct pl_dot *other;

		if (!space) {
			n += read_dot(item, strlen(item->string), &dots[n]);
			continue;
		}
		other = pl_arena_alloc(arena, sizeof(*other));
		if (read_dot(item, (size_t)(space - item->string), other) && fingerprint_of(arena, space + 1))
			add_found(found, question, fingerprint_of(arena, space + 1), other, 1);
	}
	if (n > 0 && fingerprint)
		add_found(found, question, fingerprint, dots, n);
	cJSON_Delete(map);
}

static int compare_questions(const void *a, const void *b)
{
	const struct pl_question *x = a, *y = b;
	int order = strcmp(x->request_id, y->request_id);

	return order != 0 ? order : strcmp(x->principal, y->principal);
}

static const struct pl_question *first_question(const struct pl_question *sorted, int n,
                                                const struct pl_question *wanted)
{
	int low = 0, high = n;

	while (low < high) {
		int middle = low + (high - low) / 2;

		if (compare_questions(&sorted[middle], wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return sorted + low;
}

static void read_remembered(struct pl_apply_rows *sql, const PGresult *result, int i, struct pl_arena *arena,
                            const struct pl_questions *sorted, struct found *found)
{
	const struct pl_question wanted = { pl_apply_rows_cell(result, i, 0),
		                            pl_apply_rows_cell(result, i, 1), NULL };
	const struct pl_resource *resource =
		pl_config_resource(sql->config, pl_apply_rows_cell(result, i, 3));
	int64_t id = strtoll(pl_apply_rows_cell(result, i, 4), NULL, 10);

	for (const struct pl_question *q = first_question(sorted->items, sorted->n, &wanted);
	     q < sorted->items + sorted->n && compare_questions(q, &wanted) == 0; q++)
		if (q->touched->resource == resource && q->touched->key.id == id) {
			read_dots(arena, pl_apply_rows_cell(result, i, 5),
			          pl_apply_rows_fingerprint(arena, result, i, 2), q, found);
			return;
		}
}

int pl_apply_rows_remembered(struct pl_apply_rows *sql, struct pl_session *session, struct pl_arena *arena,
                             struct pl_questions *questions, struct pl_stored_requests *found_r,
                             struct pl_error *err)
{
	struct pl_question *items = questions->items;
	struct found found = { 0 };
	PGresult *result;

	found_r->n = 0;
	if (questions->n == 0)
		return 0;
	qsort(items, (size_t)questions->n, sizeof(items[0]), compare_questions);
	pl_columns_reset(sql->questions);
	for (int i = 0; i < questions->n; i++) {
		pl_columns_text(sql->questions, 0, items[i].request_id);
		pl_columns_text(sql->questions, 1, items[i].principal);
	}
	result = pl_apply_rows_query(session, "apply_remembered", sql->questions, err);
	if (!result)
		return err->code;
	for (int i = 0; i < PQntuples(result); i++)
		read_remembered(sql, result, i, arena, questions, &found);
	PQclear(result);
	found_r->items = pl_arena_alloc(arena, sizeof(found.items[0]) * (size_t)found.n + 1);
	if (found.n > 0)
		memcpy(found_r->items, found.items, sizeof(found.items[0]) * (size_t)found.n);
	found_r->n = found.n;
	free(found.items);
	return 0;
}
