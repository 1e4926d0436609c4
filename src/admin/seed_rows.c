// Generated rows of a resource, each computed from its id alone.
//
// Threads: one at a time.
#include "admin/seed_rows.h"

#include <gmp.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/decimal.h"

#define NULL_ONE_IN  16      // of the nullable fields
#define DECIMAL_SPAN 1000000 // of a decimal without bounds: readable values
#define INTEGER_SPAN 1000
// 2026-01-01T00:00:00Z: the time of the first row; each following row is a millisecond
// later
#define BEGAN_US     INT64_C(1767225600000000)
#define SPREAD_MS    INT64_C(86400000)

// A number's range in units of its last digit: low + 0 … span - 1.
struct range {
	mpz_t low;
	uint64_t span;
};

struct pl_seed_rows {
	const struct pl_config *config;
	const struct pl_resource *resource;
	struct range ranges[PL_FIELDS_MAX];
	uint64_t salts[PL_FIELDS_MAX];
	struct pl_decimal value;
	struct pl_buf columns;
};

// splitmix64: every bit of the result depends on every bit of x.
static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

// FNV-1a: fields with different names get different values.
static uint64_t hash_name(const char *name)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
	return h;
}

// `text` in units of 10^-scale, rounded towards the inside of the range. -1: not a
// number.
static int bound(mpz_t unit, const char *text, int scale, bool up)
{
	struct pl_decimal d;
	mpz_t factor;
	pl_decimal_init(&d);
	mpz_init(factor);
	int rc = pl_decimal_parse(&d, text, strlen(text));
	if (rc == 0 && d.scale <= scale) {
		mpz_ui_pow_ui(factor, 10, (unsigned long)(scale - d.scale));
		mpz_mul(unit, d.unscaled, factor);
	} else if (rc == 0) {
		mpz_ui_pow_ui(factor, 10, (unsigned long)(d.scale - scale));
		(up ? mpz_cdiv_q : mpz_fdiv_q)(unit, d.unscaled, factor);
	}
	mpz_clear(factor);
	pl_decimal_fini(&d);
	return rc;
}

// Without a bound, the type sets the limit and `span` a range near the other bound (or
// near 0).
static int range_init(struct range *range, const struct pl_field *field)
{
	bool decimal = field->type == PL_FIELD_DECIMAL;
	int scale = decimal ? field->scale : 0;
	mpz_t high, outer, span;
	mpz_inits(high, outer, span, NULL);
	mpz_ui_pow_ui(span, 10, (unsigned long)scale);
	mpz_mul_ui(span, span, decimal ? DECIMAL_SPAN : INTEGER_SPAN);
	if (decimal)
		mpz_ui_pow_ui(outer, 10, (unsigned long)field->precision);
	else
		mpz_set_ui(outer, UINT32_C(1) << 31);
	mpz_sub_ui(outer, outer, 1);
	int rc = 0;
	if (field->min)
		rc |= bound(range->low, field->min, scale, true);
	if (field->max)
		rc |= bound(high, field->max, scale, false);
	if (!field->min && field->max && mpz_sgn(high) < 0)
		mpz_sub(range->low, high, span);
	if (!field->max)
		mpz_add(high, range->low, span);
	if (mpz_cmp(high, outer) > 0)
		mpz_set(high, outer);
	mpz_neg(outer, outer);
	if (mpz_cmp(range->low, outer) < 0)
		mpz_set(range->low, outer);
	if (mpz_cmp(range->low, high) > 0)
		rc = -1;
	mpz_sub(span, high, range->low);
	mpz_add_ui(span, span, 1);
	range->span = mpz_fits_ulong_p(span) ? mpz_get_ui(span) : UINT64_MAX;
	mpz_clears(high, outer, span, NULL);
	return rc;
}

void pl_seed_rows_add_identifier(struct pl_buf *buf, const char *name)
{
	pl_buf_addc(buf, '"');
	for (; *name; name++) {
		if (*name == '"')
			pl_buf_addc(buf, '"');
		pl_buf_addc(buf, *name);
	}
	pl_buf_addc(buf, '"');
}

static void list_columns(struct pl_seed_rows *rows)
{
	pl_buf_adds(&rows->columns, "id");
	for (int i = 0; i < rows->resource->nfields; i++) {
		pl_buf_adds(&rows->columns, ", ");
		pl_seed_rows_add_identifier(&rows->columns, rows->resource->fields[i].name);
	}
	pl_buf_adds(&rows->columns, ", region_origin, version, updated_at, vector");
	if (rows->resource->track_fields)
		pl_buf_adds(&rows->columns, ", field_times");
}

struct pl_seed_rows *pl_seed_rows_new(const struct pl_config *config, const struct pl_resource *resource,
                                      struct pl_error *err)
{
	struct pl_seed_rows *rows = pl_calloc(1, sizeof(*rows));
	rows->config = config;
	rows->resource = resource;
	pl_decimal_init(&rows->value);
	for (int i = 0; i < resource->nfields; i++)
		mpz_init(rows->ranges[i].low);
	list_columns(rows);
	for (int i = 0; i < resource->nfields; i++) {
		const struct pl_field *field = &resource->fields[i];
		rows->salts[i] = mix(hash_name(resource->name)) ^ hash_name(field->name);
		bool number = field->type == PL_FIELD_DECIMAL || field->type == PL_FIELD_INTEGER;
		if (number && range_init(&rows->ranges[i], field)) {
			pl_error_set(err, PL_EINVAL, "%s.%s: no value is within its bounds", resource->name,
			             field->name);
			pl_seed_rows_free(&rows);
			return NULL;
		}
	}
	return rows;
}

void pl_seed_rows_free(struct pl_seed_rows **rows_p)
{
	if (!*rows_p)
		return;
	for (int i = 0; i < (*rows_p)->resource->nfields; i++)
		mpz_clear((*rows_p)->ranges[i].low);
	pl_decimal_fini(&(*rows_p)->value);
	pl_buf_fini(&(*rows_p)->columns);
	free(*rows_p);
	*rows_p = NULL;
}

const char *pl_seed_rows_columns(const struct pl_seed_rows *rows)
{
	return rows->columns.data;
}

const struct pl_region *pl_seed_rows_region(const struct pl_config *config, int64_t id)
{
	return &config->regions[(id - 1) / PL_SEED_BLOCK % config->nregions];
}

static void add_string(struct pl_buf *out, uint64_t chance, int max_length)
{
	static const char *const words[] = { "amber", "birch", "cedar",   "dune",  "elm",    "fern",  "grove",
		                             "hazel", "iris",  "juniper", "kelp",  "linden", "maple", "north",
		                             "oak",   "pine",  "quartz",  "river", "stone",  "thyme" };
	size_t from = out->len, most = max_length > 0 ? (size_t)max_length : 1;
	for (int i = 0; i < 3; i++, chance /= 20)
		pl_buf_printf(out, "%s%s", i ? " " : "", words[chance % 20]);
	if (out->len - from > most)
		out->len = from + most;
	while (out->len > from && out->data[out->len - 1] == ' ') // end at a word boundary
		out->len--;
}

static void add_value(struct pl_seed_rows *rows, int i, int64_t id, struct pl_buf *out)
{
	const struct pl_field *field = &rows->resource->fields[i];
	uint64_t chance = mix((uint64_t)id ^ rows->salts[i]);
	if (!field->required && mix(chance) % NULL_ONE_IN == 0) {
		pl_buf_adds(out, "\\N");
		return;
	}
	switch (field->type) {
	case PL_FIELD_DECIMAL:
	case PL_FIELD_INTEGER:
		mpz_add_ui(rows->value.unscaled, rows->ranges[i].low, chance % rows->ranges[i].span);
		rows->value.scale = field->type == PL_FIELD_DECIMAL ? field->scale : 0;
		pl_decimal_print(out, &rows->value);
		break;
	case PL_FIELD_STRING: add_string(out, chance, field->max_length); break;
	case PL_FIELD_BOOLEAN: pl_buf_addc(out, chance & 1 ? 't' : 'f'); break;
	}
}

// Who wrote each field, and when: the row has only one write.
static void add_field_times(const struct pl_seed_rows *rows, int64_t at_us, const char *region,
                            struct pl_buf *out)
{
	for (int i = 0; i < rows->resource->nfields; i++)
		pl_buf_printf(out, "%c\"%s\": {\"at\": %" PRId64 ", \"origin\": \"%s\"}", i ? ',' : '{',
		              rows->resource->fields[i].name, at_us, region);
	pl_buf_adds(out, rows->resource->nfields ? "}" : "{}");
}

void pl_seed_rows_add(struct pl_seed_rows *rows, int64_t id, struct pl_buf *out)
{
	char time[PL_TIME_TEXT_MAX];
	const char *region = pl_seed_rows_region(rows->config, id)->name;
	int64_t at_us = BEGAN_US + (id - 1) % SPREAD_MS * 1000;
	pl_buf_add_i64(out, id);
	for (int i = 0; i < rows->resource->nfields; i++) {
		pl_buf_addc(out, '\t');
		add_value(rows, i, id, out);
	}
	pl_buf_printf(out, "\t%s\t1\t%s\t{\"%s\": 1}", region, pl_clock_format_time(at_us, time), region);
	if (rows->resource->track_fields) {
		pl_buf_addc(out, '\t');
		add_field_times(rows, at_us, region, out);
	}
	pl_buf_addc(out, '\n');
}
