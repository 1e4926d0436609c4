// A record as pl_record_print prints it, read without a JSON parser.
//
// Nearly every event carries such a text, and the parser takes most of the time in which
// an event is decoded. Anything else is left to the parser: another order of members, a
// member more or less, blanks, escapes, characters beyond ASCII, a number in another
// spelling. So what is taken here is what the parser would have taken; a test compares
// the two on generated texts.
// Invariant: never reads past the text.
// Threads: any; nothing is shared.
#include "record/record.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define TEXT_MAX (1024 * 1024)

struct printed {
	struct pl_arena *arena;
	const char *at, *end;
};

static bool take(struct printed *p, const char *text, size_t len)
{
	if ((size_t)(p->end - p->at) < len || memcmp(p->at, text, len) != 0)
		return false;
	p->at += len;
	return true;
}

#define TAKE(p, literal) take(p, literal, sizeof(literal) - 1)

// A member's name, up to its value.
static bool take_name(struct printed *p, const char *name)
{
	return TAKE(p, ",\"") && take(p, name, strlen(name)) && TAKE(p, "\":");
}

// "0", or digits that begin with another one. Returns how many; 0: it is no such number.
static size_t take_digits(struct printed *p)
{
	const char *from = p->at;

	while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
		p->at++;
	return *from == '0' && p->at - from > 1 ? 0 : (size_t)(p->at - from);
}

// A whole number from `min` to `max`.
static bool take_whole(struct printed *p, int64_t min, int64_t max, int64_t *number_r)
{
	bool negative = TAKE(p, "-");
	const char *from = p->at;
	size_t n = take_digits(p);
	int64_t number = 0;

	if (n == 0 || n > 18 || (negative && *from == '0'))
		return false;
	for (; from < p->at; from++)
		number = 10 * number + (*from - '0');
	*number_r = negative ? -number : number;
	return *number_r >= min && *number_r <= max;
}

static bool is_zero(const char *from, const char *end)
{
	while (from < end && (*from == '0' || *from == '.'))
		from++;
	return from == end;
}

// With all digits of the field's scale, and no more in front than its column keeps.
static bool take_decimal(struct printed *p, const struct pl_field *field)
{
	bool negative = TAKE(p, "-");
	const char *from = p->at;
	size_t whole = take_digits(p);

	if (whole == 0 || (*from != '0' && whole > (size_t)(field->precision - field->scale)))
		return false;
	if (field->scale > 0) {
		const char *fraction = p->at + 1;

		if (!TAKE(p, "."))
			return false;
		while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
			p->at++;
		if (p->at - fraction != field->scale)
			return false;
	}
	return !negative || !is_zero(from, p->at);
}

// Between quotes, printable ASCII without escapes.
static bool take_string(struct printed *p, const char **text_r, size_t *len_r)
{
	const char *from = p->at + 1;

	if (!TAKE(p, "\""))
		return false;
	while (p->at < p->end && *p->at >= ' ' && *p->at < 0x7f && *p->at != '"' && *p->at != '\\')
		p->at++;
	*text_r = from;
	*len_r = (size_t)(p->at - from);
	return TAKE(p, "\"");
}

static bool take_value(struct printed *p, const struct pl_field *field, const char **value_r)
{
	const char *from = p->at;
	size_t len;
	int64_t number;

	*value_r = NULL;
	if (TAKE(p, "null"))
		return true;
	switch (field->type) {
	case PL_FIELD_BOOLEAN:
		*value_r = TAKE(p, "true") ? "t" : "f";
		return **value_r == 't' || TAKE(p, "false");
	case PL_FIELD_STRING:
		if (!take_string(p, &from, &len))
			return false;
		*value_r = pl_arena_strndup(p->arena, from, len);
		return true;
	case PL_FIELD_INTEGER:
		if (!take_whole(p, INT32_MIN, INT32_MAX, &number))
			return false;
		break;
	case PL_FIELD_DECIMAL:
		if (!take_decimal(p, field))
			return false;
		break;
	}
	*value_r = pl_arena_strndup(p->arena, from, (size_t)(p->at - from));
	return true;
}

static bool take_managed(struct printed *p, struct pl_record *record)
{
	const char *origin, *at;
	size_t origin_len, at_len;
	int64_t version;

	if (!take_name(p, "region_origin") || !take_string(p, &origin, &origin_len) ||
	    origin_len > PL_REGION_MAX || !take_name(p, "version") ||
	    !take_whole(p, 1, INT32_MAX, &version) || !take_name(p, "updated_at") ||
	    !take_string(p, &at, &at_len) || pl_clock_parse_time(at, at_len, &record->updated_at_us) < 0)
		return false;
	memcpy(record->region_origin, origin, origin_len);
	record->region_origin[origin_len] = '\0';
	record->version = (int32_t)version;
	return TAKE(p, "}") && p->at == p->end;
}

struct pl_record *pl_record_read_printed(struct pl_arena *arena, const struct pl_resource *resource,
                                         const char *text, size_t len)
{
	struct printed p = { arena, text, text + len };
	struct pl_record *record;
	int64_t id;

	if (len > TEXT_MAX || !TAKE(&p, "{\"id\":") || !take_whole(&p, 1, PL_ID_MAX, &id))
		return NULL;
	record = pl_record_new(arena, resource);
	record->id = id;
	for (int i = 0; i < resource->nfields; i++)
		if (!take_name(&p, resource->fields[i].name) ||
		    !take_value(&p, &resource->fields[i], &record->values[i]))
			return NULL;
	return take_managed(&p, record) ? record : NULL;
}
