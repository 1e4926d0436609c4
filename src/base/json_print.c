// JSON output: compact text, and canonical text for fingerprints.
//
// Canonical text is the same for JSON texts with the same meaning: sorted keys, one
// spelling per number, one escape per character, no whitespace.
// Threads: any; nothing is kept.
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

// Numbers longer than this are written with an exponent, so that 1e999999999 does not
// become a gigabyte.
#define PLAIN_DIGITS_MAX 1000

// ---- numbers

// The parts of a number: value = ±digits * 10^exponent, digits without leading and
// trailing zeros.
struct number_parts {
	bool negative;
	struct pl_buf digits;
	int64_t exponent;
};

static void take_apart(struct number_parts *parts, const char *text)
{
	const char *p = text;
	int64_t fraction = 0, exponent = 0;
	bool point = false;
	parts->negative = *p == '-';
	for (p += parts->negative; (*p >= '0' && *p <= '9') || *p == '.'; p++) {
		if (*p == '.') {
			point = true;
			continue;
		}
		fraction += point;
		if (parts->digits.len > 0 || *p != '0')
			pl_buf_addc(&parts->digits, *p);
	}
	if (*p == 'e' || *p == 'E') {
		bool negative = *++p == '-';
		for (p += *p == '-' || *p == '+'; *p >= '0' && *p <= '9'; p++)
			if (exponent < INT64_MAX / 100)
				exponent = exponent * 10 + (*p - '0');
		if (negative)
			exponent = -exponent;
	}
	parts->exponent = exponent - fraction;
	while (parts->digits.len > 0 && parts->digits.data[parts->digits.len - 1] == '0') {
		parts->digits.data[--parts->digits.len] = '\0';
		parts->exponent++;
	}
}

static void add_zeros(struct pl_buf *buf, int64_t n)
{
	for (; n > 0; n--)
		pl_buf_addc(buf, '0');
}

// digits * 10^exponent without an exponent.
static void add_plain(struct pl_buf *buf, const struct pl_buf *digits, int64_t exponent)
{
	int64_t n = (int64_t)digits->len, whole = n + exponent; // digits before the point
	if (exponent >= 0) {
		pl_buf_add(buf, digits->data, digits->len);
		add_zeros(buf, exponent);
	} else if (whole > 0) {
		pl_buf_add(buf, digits->data, (size_t)whole);
		pl_buf_addc(buf, '.');
		pl_buf_add(buf, digits->data + whole, (size_t)(n - whole));
	} else {
		pl_buf_adds(buf, "0.");
		add_zeros(buf, -whole);
		pl_buf_add(buf, digits->data, digits->len);
	}
}

void pl_json_canonical_number(struct pl_buf *buf, const char *text)
{
	struct number_parts parts = { 0 };
	take_apart(&parts, text);
	if (parts.digits.len == 0) {
		pl_buf_addc(buf, '0');
	} else {
		if (parts.negative)
			pl_buf_addc(buf, '-');
		if (parts.exponent > PLAIN_DIGITS_MAX ||
		    parts.exponent < -(int64_t)parts.digits.len - PLAIN_DIGITS_MAX) {
			pl_buf_add(buf, parts.digits.data, parts.digits.len);
			pl_buf_printf(buf, "e%lld", (long long)parts.exponent);
		} else {
			add_plain(buf, &parts.digits, parts.exponent);
		}
	}
	pl_buf_fini(&parts.digits);
}

// A cJSON_Number: pl_json_parse never returns one, but a tree built by other code may
// contain it.
static void add_double(struct pl_buf *buf, double value)
{
	if (!isfinite(value))
		pl_buf_adds(buf, "null");
	else
		pl_buf_printf(buf, "%.17g", value);
}

// ---- trees

typedef void members_fn(struct pl_buf *buf, const cJSON *object);

static void add_members(struct pl_buf *buf, const cJSON *object);
static void add_members_sorted(struct pl_buf *buf, const cJSON *object);

static void add_number(struct pl_buf *buf, const cJSON *item, bool canonical)
{
	if (cJSON_IsNumber(item))
		add_double(buf, item->valuedouble);
	else if (canonical && pl_json_is_number(item))
		pl_json_canonical_number(buf, item->valuestring);
	else
		pl_buf_adds(buf, item->valuestring ? item->valuestring : "null");
}

// A non-NULL `members` also means that the text must be canonical.
static void add_value(struct pl_buf *buf, const cJSON *item, members_fn *members)
{
	const cJSON *child;
	if (cJSON_IsObject(item)) {
		pl_buf_addc(buf, '{');
		members(buf, item);
		pl_buf_addc(buf, '}');
	} else if (cJSON_IsArray(item)) {
		pl_buf_addc(buf, '[');
		cJSON_ArrayForEach (child, item) {
			if (child != item->child)
				pl_buf_addc(buf, ',');
			add_value(buf, child, members);
		}
		pl_buf_addc(buf, ']');
	} else if (cJSON_IsString(item)) {
		pl_buf_add_json(buf, item->valuestring, strlen(item->valuestring));
	} else if (cJSON_IsRaw(item) || cJSON_IsNumber(item)) {
		add_number(buf, item, members == add_members_sorted);
	} else {
		pl_buf_adds(buf, cJSON_IsTrue(item) ? "true" : cJSON_IsFalse(item) ? "false" : "null");
	}
}

static void add_member(struct pl_buf *buf, const cJSON *member, bool first, members_fn *members)
{
	if (!first)
		pl_buf_addc(buf, ',');
	pl_buf_add_json(buf, member->string, strlen(member->string));
	pl_buf_addc(buf, ':');
	add_value(buf, member, members);
}

static void add_members(struct pl_buf *buf, const cJSON *object)
{
	const cJSON *member;
	cJSON_ArrayForEach (member, object)
		add_member(buf, member, member == object->child, add_members);
}

static int compare_members(const void *a, const void *b)
{
	const cJSON *const *x = a, *const *y = b;
	return strcmp((*x)->string, (*y)->string);
}

static void add_members_sorted(struct pl_buf *buf, const cJSON *object)
{
	size_t n = (size_t)cJSON_GetArraySize(object), i = 0;
	const cJSON **sorted = pl_calloc(n, sizeof(*sorted)), *member;
	cJSON_ArrayForEach (member, object)
		sorted[i++] = member;
	qsort(sorted, n, sizeof(*sorted), compare_members);
	for (i = 0; i < n; i++)
		add_member(buf, sorted[i], i == 0, add_members_sorted);
	free(sorted);
}

void pl_json_print(struct pl_buf *buf, const cJSON *item)
{
	add_value(buf, item, add_members);
}

void pl_json_canonical(struct pl_buf *buf, const cJSON *item)
{
	add_value(buf, item, add_members_sorted);
}
