// The inputs of a verification: sets of concurrent writes made from a resource's
// fields, and shrinking a failing set.
//
// Used by verify/verify.c. Every case is one that replication could produce: at most one
// write of each region, in canonical order, with values that the resource's fields allow.
// Threads: the source's.
#include "verify/verify.h"

#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"
#include "base/utf8.h"
#include "decide/decide.h"
#include "record/record.h"

// States of one live row in the exhaustive pairs: 2 × 49² × 4 calls cover every pair of
// values.
#define STATES_MAX 48
#define TIME_BASE  INT64_C(1772000000000000)

static uint32_t below(struct pl_verify_source *s, uint32_t n)
{
	uint64_t z = (s->rng += UINT64_C(0x9e3779b97f4a7c15)); // splitmix64

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)(((z ^ (z >> 31)) >> 32) % n);
}

// ---- the values of a field

static bool within(const struct pl_field *field, const char *text)
{
	int sign;

	return !(field->min && pl_decimal_cmp_text(text, field->min, &sign) == 0 && sign < 0) &&
	       !(field->max && pl_decimal_cmp_text(text, field->max, &sign) == 0 && sign > 0);
}

static void add(struct pl_verify_pool *pool, const char *text)
{
	for (int i = 0; i < pool->n; i++)
		if (text && pool->values[i] ? strcmp(text, pool->values[i]) == 0 : text == pool->values[i])
			return;
	if (pool->n < (int)(sizeof(pool->values) / sizeof(pool->values[0])))
		pool->values[pool->n++] = text;
}

// `text` as PostgreSQL prints it in this field; nothing if the field does not allow it.
static void add_number(struct pl_arena *arena, struct pl_verify_pool *pool, const struct pl_field *field,
                       const char *text)
{
	struct pl_decimal value, rounded;
	struct pl_buf buf = { 0 };
	int scale = field->type == PL_FIELD_DECIMAL ? field->scale : 0;

	if (!text)
		return;
	pl_decimal_init(&value);
	pl_decimal_init(&rounded);
	if (pl_decimal_parse(&value, text, strlen(text)) == 0 &&
	    pl_decimal_round(&rounded, &value, scale) == 0) {
		pl_decimal_print(&buf, &rounded);
		if (within(field, buf.data))
			add(pool, pl_arena_strndup(arena, buf.data, buf.len));
	}
	pl_buf_fini(&buf);
	pl_decimal_fini(&value);
	pl_decimal_fini(&rounded);
}

static const char *nines(struct pl_arena *arena, const struct pl_field *field)
{
	struct pl_buf buf = { 0 };

	for (int i = 0; i < field->precision - field->scale; i++)
		pl_buf_addc(&buf, '9');
	if (buf.len == 0)
		pl_buf_addc(&buf, '0');
	if (field->scale > 0)
		pl_buf_addc(&buf, '.');
	for (int i = 0; i < field->scale; i++)
		pl_buf_addc(&buf, '9');
	char *text = pl_arena_strndup(arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return text;
}

static void numbers(struct pl_arena *arena, const struct pl_field *field, struct pl_verify_pool *small,
                    struct pl_verify_pool *large)
{
	bool decimal = field->type == PL_FIELD_DECIMAL;
	const char *greatest = field->max ? field->max : decimal ? nines(arena, field) : "2147483647";
	const char *least = field->min ? field->min
	                    : decimal  ? pl_arena_printf(arena, "-%s", nines(arena, field))
	                               : "-2147483648";

	add_number(arena, small, field, decimal ? "100" : "2");
	add_number(arena, small, field, decimal ? "200" : "3");
	for (int i = 0; small->n < 2 && i < 2; i++) // neither is within the bounds
		add_number(arena, small, field, i == 0 ? least : greatest);
	for (int i = 0; i < small->n; i++)
		add(large, small->values[i]);
	add_number(arena, large, field, "0");
	add_number(arena, large, field, decimal ? "100.01" : "10");
	add_number(arena, large, field, "-1");
	add_number(arena, large, field, least);
	add_number(arena, large, field, greatest);
}

static void texts(struct pl_arena *arena, const struct pl_field *field, struct pl_verify_pool *small,
                  struct pl_verify_pool *large)
{
	char *longest = pl_arena_alloc(arena, (size_t)field->max_length + 1);

	memset(longest, 'z', (size_t)field->max_length);
	add(small, "a");
	add(small, "b");
	add(large, "a");
	add(large, "b");
	add(large, "");
	add(large, "A \"quoted\" \xc3\xa4");
	add(large, "10");
	add(large, longest);
}

static void pools(struct pl_arena *arena, const struct pl_field *field, struct pl_verify_pool *small,
                  struct pl_verify_pool *large)
{
	switch (field->type) {
	case PL_FIELD_DECIMAL:
	case PL_FIELD_INTEGER: numbers(arena, field, small, large); break;
	case PL_FIELD_STRING: texts(arena, field, small, large); break;
	case PL_FIELD_BOOLEAN:
		add(small, "t");
		add(small, "f");
		*large = *small;
		break;
	}
	if (!field->required) {
		add(small, NULL);
		large->n -= large->n == (int)(sizeof(large->values) / sizeof(large->values[0]));
		add(large, NULL);
	}
}

// ---- constants of the policy's file

static bool begins(const char *path, const char *folder)
{
	return strncmp(path, folder, strlen(folder)) == 0;
}

// The constants of the policy's file and of the files that it may require.
static void read_constants(struct pl_arena *arena, const struct pl_config *config,
                           const struct pl_resource *resource, struct pl_verify_constants *constants)
{
	const struct pl_script_source *own = pl_config_source(config, resource->policy);

	if (own)
		pl_verify_constants_read(arena, own->text, own->len, constants);
	for (int i = 0; i < config->nsources; i++) {
		const struct pl_script_source *other = &config->sources[i];

		if (other != own && !pl_config_source_is_handler(other->path) &&
		    !begins(other->path, "policies/") && !begins(other->path, "plist/"))
			pl_verify_constants_read(arena, other->text, other->len, constants);
	}
}

static void add_named(struct pl_arena *arena, const struct pl_field *field,
                      const struct pl_verify_constants *constants, struct pl_verify_pool *pool)
{
	const char *around[3];

	pool->usual = pool->n;
	for (int i = 0;
	     i < constants->nnumbers && (field->type == PL_FIELD_DECIMAL || field->type == PL_FIELD_INTEGER);
	     i++) {
		pl_verify_neighbours(arena, constants->numbers[i],
		                     field->type == PL_FIELD_DECIMAL ? field->scale : 0, around);
		for (int k = 0; k < 3; k++)
			add_number(arena, pool, field, around[k]);
	}
	for (int i = 0; i < constants->ntexts && field->type == PL_FIELD_STRING; i++)
		if (strlen(constants->texts[i]) <= (size_t)field->max_length &&
		    pl_utf8_valid(constants->texts[i], strlen(constants->texts[i])))
			add(pool, constants->texts[i]);
}

static void add_id(struct pl_verify_source *source, const char *text)
{
	char *end;
	long long id = text ? strtoll(text, &end, 10) : 0;

	if (id < 1 || id > PL_ID_MAX || *end ||
	    source->nids == (int)(sizeof(source->ids) / sizeof(source->ids[0])))
		return;
	for (int i = 0; i < source->nids; i++)
		if (source->ids[i] == id)
			return;
	source->ids[source->nids++] = id;
}

static void ids(struct pl_verify_source *source, const struct pl_verify_constants *constants)
{
	static const char *const usual[] = { "1", "2",  "3",  "4",    "5",          "6",
		                             "7", "10", "60", "1001", "2147483648", "9007199254740991" };
	const char *around[3];

	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
		add_id(source, usual[i]);
	for (int i = 0; i < constants->nnumbers; i++) {
		pl_verify_neighbours(source->arena, constants->numbers[i], 0, around);
		for (int k = 0; k < 3; k++)
			add_id(source, around[k]);
	}
}

void pl_verify_source_init(struct pl_verify_source *source, struct pl_arena *arena,
                           const struct pl_config *config, const struct pl_resource *resource, uint64_t seed)
{
	struct pl_verify_constants constants = { 0 };

	memset(source, 0, sizeof(*source));
	source->arena = arena;
	source->resource = resource;
	source->rng = seed;
	const struct pl_script_source *file = pl_config_source(config, resource->policy);
	source->text = file ? file->text : NULL;
	for (int i = 0; i < config->nregions && source->nregions < PL_VERIFY_ROWS_MAX; i++)
		source->regions[source->nregions++] = config->regions[i].name;
	for (int i = 1; source->nregions < PL_VERIFY_ROWS_MAX; i++)
		source->regions[source->nregions++] = pl_arena_printf(arena, "former-%d", i);
	read_constants(arena, config, resource, &constants);
	ids(source, &constants);
	source->states = 1;
	for (int f = 0; f < resource->nfields; f++) {
		pools(arena, &resource->fields[f], &source->small[f], &source->large[f]);
		add_named(arena, &resource->fields[f], &constants, &source->large[f]);
		if (source->states * source->small[f].n <= STATES_MAX) {
			source->states *= source->small[f].n;
			source->varied++;
		}
	}
}

// ---- rows and cases

void pl_verify_row(struct pl_verify_source *s, struct pl_sibling *row, int region, int64_t at)
{
	memset(row, 0, sizeof(*row));
	for (int i = 0; i < s->nregions; i++)
		pl_vector_set(&row->vector, s->regions[i], i == region ? 2 : 1);
	memcpy(row->dot.region, s->regions[region], strlen(s->regions[region]) + 1);
	row->dot.counter = 2;
	row->updated_at_us = TIME_BASE + at;
	row->values = pl_arena_alloc(s->arena, sizeof(row->values[0]) * (size_t)s->resource->nfields);
	for (int f = 0; f < s->resource->nfields; f++)
		row->values[f] = s->small[f].values[0];
	row->request_id = pl_arena_printf(s->arena, "request-of-%s", s->regions[region]);
	row->principal = "";
}

// Each field was last written by this write, or, if its bit in `old` is set, before it.
static void set_field_times(struct pl_verify_source *s, struct pl_sibling *row, uint32_t old)
{
	struct pl_buf buf = { 0 };

	if (!s->resource->track_fields)
		return;
	for (int f = 0; f < s->resource->nfields; f++) {
		bool before = f < 32 && old & (1u << f);

		pl_buf_adds(&buf, f ? "," : "{");
		pl_buf_add_json(&buf, s->resource->fields[f].name, strlen(s->resource->fields[f].name));
		pl_buf_printf(&buf, ":{\"at\":%lld,\"origin\":\"%s\"}",
		              (long long)(before ? TIME_BASE - 1000 : row->updated_at_us),
		              before ? s->regions[0] : row->dot.region);
	}
	pl_buf_addc(&buf, '}');
	row->field_times = pl_arena_strndup(s->arena, buf.data, buf.len);
	pl_buf_fini(&buf);
}

static int compare_rows(const void *a, const void *b)
{
	return pl_decide_order(a, b);
}

void pl_verify_sort(struct pl_verify_case *c)
{
	qsort(c->rows, (size_t)c->n, sizeof(c->rows[0]), compare_rows);
}

// State number `state` of a row: 0 to states - 1 are its values in mixed radix,
// `states` is a deleted row.
static void set_state(struct pl_verify_source *s, struct pl_sibling *row, int state)
{
	row->deleted = state == s->states;
	if (row->deleted)
		return;
	for (int f = 0, radix = 1; f < s->resource->nfields; f++) {
		if (radix * s->small[f].n > STATES_MAX)
			continue;
		radix *= s->small[f].n;
		row->values[f] = s->small[f].values[state % s->small[f].n];
		state /= s->small[f].n;
	}
}

// Two writes: every pair of states, at the same time and one after the other, by either
// region.
static bool pair_case(struct pl_verify_source *s, int i, struct pl_verify_case *c)
{
	int states = s->states + 1, first = i & 1, later = i >> 1 & 1;

	i >>= 2;
	if (i >= states * states)
		return false;
	c->n = 2;
	pl_verify_row(s, &c->rows[0], first, 0);
	pl_verify_row(s, &c->rows[1], !first, later);
	set_state(s, &c->rows[0], i % states);
	set_state(s, &c->rows[1], i / states);
	return true;
}

// Three writes: each the lowest, the highest or a delete; every order of times and of
// regions.
static bool triple_case(struct pl_verify_source *s, int i, struct pl_verify_case *c)
{
	static const int8_t times[4][3] = { { 0, 0, 0 }, { 0, 0, 1 }, { 0, 1, 1 }, { 0, 1, 2 } };
	static const int8_t orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
		                             { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
	const int states[3] = { 0, s->states - 1, s->states };

	if (i >= 27 * 24)
		return false;
	c->n = 3;
	for (int r = 0, kinds = i / 24; r < 3; r++, kinds /= 3) {
		pl_verify_row(s, &c->rows[r], orders[i % 6][r], times[i / 6 % 4][r]);
		set_state(s, &c->rows[r], states[kinds % 3]);
	}
	return true;
}

bool pl_verify_exhaustive(struct pl_verify_source *s, int i, struct pl_verify_case *c)
{
	int pairs = 4 * (s->states + 1) * (s->states + 1);

	if (!(i < pairs ? pair_case(s, i, c) : triple_case(s, i - pairs, c)))
		return false;
	c->id = s->ids[0];
	for (int r = 0; r < c->n; r++)
		set_field_times(s, &c->rows[r], 0);
	pl_verify_sort(c);
	return true;
}

// A usual value or one that the file names, with equal probability.
static const char *random_value(struct pl_verify_source *s, const struct pl_verify_pool *pool)
{
	int named = pool->n - pool->usual;

	if (named > 0 && below(s, 2) == 0)
		return pool->values[pool->usual + (int)below(s, (uint32_t)named)];
	return pool->values[below(s, (uint32_t)pool->usual)];
}

static void random_row(struct pl_verify_source *s, struct pl_sibling *row, int region,
                       const struct pl_sibling *other)
{
	static const int64_t gaps[] = { 0, 0, 1, 2, 1000, 3600000000 };

	pl_verify_row(s, row, region, gaps[below(s, 6)]);
	row->deleted = below(s, 6) == 0;
	for (int f = 0; f < s->resource->nfields; f++) {
		row->values[f] = random_value(s, &s->large[f]);
		if (other && below(s, 3) == 0)
			// regions often agree on most fields
			row->values[f] = other->values[f];
	}
	for (int i = 0; i < s->nregions; i++)
		pl_vector_set(&row->vector, s->regions[i], (int32_t)below(s, 4) + (i == region));
	if (below(s, 20) == 0)
		row->request_id = NULL; // of another producer
	row->dot.counter = pl_vector_get(&row->vector, row->dot.region);
	set_field_times(s, row, below(s, 256));
}

void pl_verify_random(struct pl_verify_source *s, struct pl_verify_case *c)
{
	int regions[PL_VERIFY_ROWS_MAX];

	for (int i = 0; i < s->nregions; i++)
		regions[i] = i;
	for (int i = s->nregions - 1; i > 0; i--) {
		int j = (int)below(s, (uint32_t)i + 1), held = regions[i];

		regions[i] = regions[j];
		regions[j] = held;
	}
	c->id = s->ids[below(s, (uint32_t)s->nids)];
	c->n = 2 + (int)below(s, PL_VERIFY_ROWS_MAX - 1);
	for (int r = 0; r < c->n; r++)
		random_row(s, &c->rows[r], regions[r], r > 0 ? &c->rows[below(s, (uint32_t)r)] : NULL);
	pl_verify_sort(c);
}

// ---- shrinking

struct shrinking {
	struct pl_verify_source *source;
	struct pl_verify_case *best;
	bool (*fails)(void *arg, const struct pl_verify_case *c);
	void *arg;
};

static bool keep_if_failing(struct shrinking *s, struct pl_verify_case *candidate)
{
	pl_verify_sort(candidate);
	if (!s->fails(s->arg, candidate))
		return false;
	*s->best = *candidate;
	return true;
}

static bool without_row(struct shrinking *s, int row)
{
	struct pl_verify_case c = *s->best;

	if (c.n <= 2)
		return false;
	memmove(&c.rows[row], &c.rows[row + 1], sizeof(c.rows[0]) * (size_t)(c.n - row - 1));
	c.n--;
	return keep_if_failing(s, &c);
}

static bool simpler_time(struct shrinking *s, int row)
{
	struct pl_verify_case c = *s->best;
	int64_t floor_us = row > 0 ? c.rows[row - 1].updated_at_us : TIME_BASE;

	for (int64_t at = floor_us; at < c.rows[row].updated_at_us && at <= floor_us + 1; at++) {
		struct pl_verify_case candidate = c;

		candidate.rows[row].updated_at_us = at;
		if (candidate.rows[row].field_times)
			set_field_times(s->source, &candidate.rows[row], 0);
		if (keep_if_failing(s, &candidate))
			return true;
	}
	return false;
}

static bool simpler_value(struct shrinking *s, int row, int field)
{
	const struct pl_verify_pool *pool = &s->source->large[field];
	const char *now = s->best->rows[row].values[field];

	for (int i = 0; i < pool->n; i++) {
		struct pl_verify_case c = *s->best;
		const char **values;

		if (pool->values[i] == now || (now && pool->values[i] && strcmp(now, pool->values[i]) == 0))
			return false; // the following ones are not simpler
		values = pl_arena_alloc(s->source->arena,
		                        sizeof(values[0]) * (size_t)s->source->resource->nfields);
		memcpy(values, c.rows[row].values, sizeof(values[0]) * (size_t)s->source->resource->nfields);
		values[field] = pool->values[i];
		c.rows[row].values = values;
		if (keep_if_failing(s, &c))
			return true;
	}
	return false;
}

// Prefers a region that comes early in the configuration to one that is no longer in it.
static bool simpler_region(struct shrinking *s, int row)
{
	for (int region = 0; region < s->source->nregions; region++) {
		struct pl_verify_case c = *s->best;
		struct pl_sibling *now = &c.rows[row], other;
		bool taken = false;

		if (strcmp(now->dot.region, s->source->regions[region]) == 0)
			return false;
		for (int r = 0; r < c.n; r++)
			taken |= strcmp(c.rows[r].dot.region, s->source->regions[region]) == 0;
		if (taken)
			continue;
		pl_verify_row(s->source, &other, region, now->updated_at_us - TIME_BASE);
		other.values = now->values;
		other.deleted = now->deleted;
		set_field_times(s->source, &other, 0);
		*now = other;
		if (keep_if_failing(s, &c))
			return true;
	}
	return false;
}

static bool simpler_row(struct shrinking *s, int row)
{
	struct pl_verify_case c = *s->best;

	if (c.rows[row].deleted) {
		c.rows[row].deleted = false;
		if (keep_if_failing(s, &c))
			return true;
	}
	for (int f = 0; f < s->source->resource->nfields; f++)
		if (simpler_value(s, row, f))
			return true;
	return simpler_time(s, row) || simpler_region(s, row);
}

static bool simpler_id(struct shrinking *s)
{
	for (int i = 0; s->source->ids[i] != s->best->id; i++) {
		struct pl_verify_case c = *s->best;

		c.id = s->source->ids[i];
		if (keep_if_failing(s, &c))
			return true;
	}
	return false;
}

void pl_verify_shrink(struct pl_verify_source *source, struct pl_verify_case *c,
                      bool (*fails)(void *arg, const struct pl_verify_case *c), void *arg)
{
	struct shrinking s = { source, c, fails, arg };
	bool better = true;

	for (int turn = 0; better && turn < 200; turn++) {
		better = simpler_id(&s);
		for (int r = 0; r < c->n && !better; r++)
			better = without_row(&s, r);
		for (int r = 0; r < c->n && !better; r++)
			better = simpler_row(&s, r);
	}
}
