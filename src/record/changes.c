// What a client sends for a record, checked field by field and turned into the texts that
// PostgreSQL would print.
//
// A value that passes here is one that the column accepts and returns in the same
// spelling. So a number with more digits than the column keeps is a fault; it is not
// rounded silently.
// Threads: any; nothing is shared.
#include "record/record.h"

#include <limits.h>
#include <string.h>

#include "base/decimal.h"

#define EXPONENT_MAX 100000 // far beyond any column; keeps the sums below from overflowing

// A JSON number taken apart: 0.d1d2d3… * 10^point, without leading and trailing zeros.
struct number {
	bool negative;
	char *digits;
	int n, point;
};

static void number_split(struct pl_arena *arena, const char *text, struct number *r)
{
	const char *at = text;
	bool fraction = false;
	int exponent = 0, sign = 1;

	r->negative = *at == '-';
	r->digits = pl_arena_alloc(arena, strlen(text) + 1);
	r->n = r->point = 0;
	for (at += r->negative; *at && *at != 'e' && *at != 'E'; at++) {
		if (*at == '.') {
			fraction = true;
		} else if (r->n == 0 && *at == '0') { // a leading zero only moves the point
			r->point -= fraction;
		} else {
			r->digits[r->n++] = *at;
			r->point += !fraction;
		}
	}
	if (*at) {
		at++;
		if (*at == '+' || *at == '-')
			sign = *at++ == '-' ? -1 : 1;
		for (; *at && exponent < EXPONENT_MAX; at++)
			exponent = exponent * 10 + (*at - '0');
		r->point += sign * exponent;
	}
	while (r->n > 0 && r->digits[r->n - 1] == '0')
		r->n--;
	if (r->n == 0) // zero has neither sign nor size
		*r = (struct number){ .digits = r->digits };
}

// In PostgreSQL's spelling of a NUMERIC(precision, scale): with all digits of the
// scale.
static const char *number_join(struct pl_arena *arena, const struct number *d, int scale)
{
	size_t whole = d->point > 0 ? (size_t)d->point : 1;
	char *text = pl_arena_alloc(arena, 1 + whole + 1 + (size_t)scale + 1), *at = text;

	if (d->negative)
		*at++ = '-';
	if (d->point <= 0)
		*at++ = '0';
	for (int i = 0; i < d->point; i++)
		*at++ = i < d->n ? d->digits[i] : '0';
	if (scale > 0)
		*at++ = '.';
	for (int i = 0; i < scale; i++) {
		int digit = d->point + i;

		*at++ = digit >= 0 && digit < d->n ? d->digits[digit] : '0';
	}
	*at = '\0';
	return text;
}

// min and max, on a text that is a number.
static const char *bounds_fault(struct pl_arena *arena, const struct pl_field *field, const char *text)
{
	int sign;

	if (field->min && (pl_decimal_cmp_text(text, field->min, &sign) < 0 || sign < 0))
		return pl_arena_printf(arena, "must be at least %s", field->min);
	if (field->max && (pl_decimal_cmp_text(text, field->max, &sign) < 0 || sign > 0))
		return pl_arena_printf(arena, "must be at most %s", field->max);
	return NULL;
}

static const char *decimal_fault(struct pl_arena *arena, const struct pl_field *field, const cJSON *value,
                                 const char **text_r)
{
	int whole = field->precision - field->scale;
	struct number d;

	if (!pl_json_is_number(value))
		return "must be a number";
	number_split(arena, pl_json_number_text(value), &d);
	if (d.point > whole)
		return pl_arena_printf(arena, "must have at most %d digits before the point", whole);
	if (d.n - d.point > field->scale)
		return pl_arena_printf(arena, "must have at most %d digits after the point", field->scale);
	*text_r = number_join(arena, &d, field->scale);
	return bounds_fault(arena, field, *text_r);
}

static const char *integer_fault(struct pl_arena *arena, const struct pl_field *field, const cJSON *value,
                                 const char **text_r)
{
	char digits[PL_BUF_DIGITS_SIZE];
	int64_t number;

	if (!pl_json_is_number(value) || pl_json_int64(value, &number) < 0)
		return "must be an integer";
	if (number < INT_MIN || number > INT_MAX)
		return "must be an integer of 32 bits";
	*text_r = pl_arena_strdup(arena, pl_buf_digits_i64(digits, number));
	return bounds_fault(arena, field, *text_r);
}

static const char *string_fault(struct pl_arena *arena, const struct pl_field *field, const cJSON *value,
                                const char **text_r)
{
	int characters = 0;

	if (!cJSON_IsString(value))
		return "must be a string";
	for (const char *at = value->valuestring; *at; at++)
		characters += ((unsigned char)*at & 0xC0) != 0x80; // all but UTF-8's continuation bytes
	if (characters > field->max_length)
		return pl_arena_printf(arena, "must be at most %d characters long", field->max_length);
	*text_r = pl_arena_strdup(arena, value->valuestring);
	return NULL;
}

const char *pl_changes_check_field(struct pl_arena *arena, const struct pl_field *field, const cJSON *value,
                                   const char **text_r)
{
	*text_r = NULL;
	if (cJSON_IsNull(value))
		return field->required ? "must not be null" : NULL;
	switch (field->type) {
	case PL_FIELD_DECIMAL: return decimal_fault(arena, field, value, text_r);
	case PL_FIELD_INTEGER: return integer_fault(arena, field, value, text_r);
	case PL_FIELD_STRING: return string_fault(arena, field, value, text_r);
	case PL_FIELD_BOOLEAN:
		if (!cJSON_IsBool(value))
			return "must be true or false";
		*text_r = cJSON_IsTrue(value) ? "t" : "f";
		return NULL;
	}
	return "has no known type";
}

const char *pl_changes_check_field_type(struct pl_arena *arena, const struct pl_field *field,
                                        const cJSON *value, const char **text_r, const char **unfit_r)
{
	struct pl_field open = *field;
	const char *fault;

	open.required = false;
	open.min = open.max = NULL;
	open.max_length = INT_MAX;
	fault = pl_changes_check_field(arena, &open, value, text_r);
	if (!fault || field->type != PL_FIELD_DECIMAL || !pl_json_is_number(value))
		return fault;
	*unfit_r = fault;
	return NULL;
}

static bool listed(const char *const *names, const char *name)
{
	for (; names && *names; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

struct pl_fault *pl_changes_parse(struct pl_arena *arena, const struct pl_resource *resource,
                                  enum pl_body_kind kind, const cJSON *body, const char *const *also,
                                  struct pl_changes *changes_r)
{
	struct pl_fault *faults = NULL, **last = &faults;
	const cJSON *member;
	bool any = false;

	changes_r->values = pl_arena_alloc(arena, sizeof(changes_r->values[0]) * (size_t)resource->nfields);
	changes_r->set = pl_arena_alloc(arena, sizeof(changes_r->set[0]) * (size_t)resource->nfields);
	if (!cJSON_IsObject(body))
		last = pl_fault_add(arena, last, "", "must be a JSON object");
	for (member = cJSON_IsObject(body) ? body->child : NULL; member; member = member->next) {
		int i = pl_config_field(resource, member->string, strlen(member->string));
		const char *fault;

		if (i < 0) {
			if (!listed(also, member->string))
				last = pl_fault_add(arena, last, pl_fault_pointer(arena, member->string),
				                    "is not a field of this resource");
			continue;
		}
		any = changes_r->set[i] = true;
		fault = pl_changes_check_field(arena, &resource->fields[i], member, &changes_r->values[i]);
		if (fault)
			last = pl_fault_add(arena, last, pl_fault_pointer(arena, member->string), fault);
	}
	for (int i = 0; kind == PL_BODY_CREATE && cJSON_IsObject(body) && i < resource->nfields; i++)
		if (resource->fields[i].required && !changes_r->set[i])
			last = pl_fault_add(arena, last, pl_fault_pointer(arena, resource->fields[i].name),
			                    "is required");
	if (kind == PL_BODY_UPDATE && cJSON_IsObject(body) && !any && !faults)
		pl_fault_add(arena, last, "", "names no field to change");
	return faults;
}
