// Version vectors: kept sorted by region name, so that comparing two is one walk along both.
//
// Stands beneath everything that decides about a record: the store, the events, the applier.
// Invariants: names are strictly ascending and well formed, counters are positive; so equal vectors have equal bytes.
// Threads: any; nothing is shared.
#include "record/vector.h"

#include <string.h>

static bool is_name_start(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_name_char(char c)
{
	return is_name_start(c) || (c >= '0' && c <= '9') || c == '-';
}

bool pl_region_name_ok(const char *name, size_t len)
{
	if (len == 0 || len > PL_REGION_MAX || !is_name_start(name[0]))
		return false;
	for (size_t i = 1; i < len; i++)
		if (!is_name_char(name[i]))
			return false;
	return true;
}

// The place of `region` in v, or where it would be inserted; *found_r says which.
static int place(const struct pl_vector *v, const char *region, bool *found_r)
{
	for (int i = 0; i < v->n; i++) {
		int order = strcmp(v->dots[i].region, region);

		if (order >= 0) {
			*found_r = order == 0;
			return i;
		}
	}
	*found_r = false;
	return v->n;
}

int32_t pl_vector_get(const struct pl_vector *v, const char *region)
{
	bool found;
	int i = place(v, region, &found);

	return found ? v->dots[i].counter : 0;
}

int pl_vector_set(struct pl_vector *v, const char *region, int32_t counter)
{
	bool found;
	int i = place(v, region, &found);

	if (counter < 0 || (!found && !pl_region_name_ok(region, strlen(region))))
		return -1;
	if (counter == 0) { // absent counts 0, so 0 is absent
		if (found) {
			memmove(&v->dots[i], &v->dots[i + 1], (size_t)(v->n - i - 1) * sizeof v->dots[0]);
			v->n--;
		}
		return 0;
	}
	if (!found) {
		if (v->n == PL_REGIONS_MAX)
			return -1;
		memmove(&v->dots[i + 1], &v->dots[i], (size_t)(v->n - i) * sizeof v->dots[0]);
		memset(&v->dots[i], 0, sizeof v->dots[i]);
		strcpy(v->dots[i].region, region);
		v->n++;
	}
	v->dots[i].counter = counter;
	return 0;
}

int64_t pl_vector_sum(const struct pl_vector *v)
{
	int64_t sum = 0;

	for (int i = 0; i < v->n; i++)
		sum += v->dots[i].counter;
	return sum;
}

bool pl_vector_covers(const struct pl_vector *v, const struct pl_dot *dot)
{
	return pl_vector_get(v, dot->region) >= dot->counter;
}

bool pl_vector_le(const struct pl_vector *a, const struct pl_vector *b)
{
	int j = 0;

	for (int i = 0; i < a->n; i++) {
		while (j < b->n && strcmp(b->dots[j].region, a->dots[i].region) < 0)
			j++;
		if (j == b->n || strcmp(b->dots[j].region, a->dots[i].region) != 0 || b->dots[j].counter < a->dots[i].counter)
			return false;
		j++;
	}
	return true;
}

bool pl_vector_equal(const struct pl_vector *a, const struct pl_vector *b)
{
	if (a->n != b->n)
		return false;
	for (int i = 0; i < a->n; i++)
		if (pl_dot_cmp(&a->dots[i], &b->dots[i]) != 0)
			return false;
	return true;
}

int pl_vector_join(struct pl_vector *into, const struct pl_vector *other)
{
	struct pl_vector joined = { 0 };
	int i = 0, j = 0;

	while (i < into->n || j < other->n) {
		int order = i == into->n ? 1 : j == other->n ? -1 : strcmp(into->dots[i].region, other->dots[j].region);
		const struct pl_dot *dot = order <= 0 ? &into->dots[i] : &other->dots[j];

		if (joined.n == PL_REGIONS_MAX)
			return -1;
		if (order == 0 && other->dots[j].counter > dot->counter)
			dot = &other->dots[j];
		joined.dots[joined.n++] = *dot;
		i += order <= 0;
		j += order >= 0;
	}
	*into = joined;
	return 0;
}

int pl_dot_cmp(const struct pl_dot *a, const struct pl_dot *b)
{
	int order = strcmp(a->region, b->region);

	return order != 0 ? order : (a->counter > b->counter) - (a->counter < b->counter);
}

void pl_vector_print(struct pl_buf *buf, const struct pl_vector *v)
{
	pl_buf_addc(buf, '{');
	for (int i = 0; i < v->n; i++) {
		pl_buf_adds(buf, i ? ",\"" : "\"");
		pl_buf_adds(buf, v->dots[i].region); // a name needs no escapes
		pl_buf_adds(buf, "\":");
		pl_buf_add_i64(buf, v->dots[i].counter);
	}
	pl_buf_addc(buf, '}');
}

struct cursor { const char *at, *end; };

static bool take(struct cursor *c, char what)
{
	if (c->at == c->end || *c->at != what)
		return false;
	c->at++;
	return true;
}

static void skip_space(struct cursor *c)
{
	while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r'))
		c->at++;
}

// A name of a region, not quoted.
static bool take_name(struct cursor *c, char name[PL_REGION_MAX + 1])
{
	const char *start = c->at;

	while (c->at < c->end && is_name_char(*c->at))
		c->at++;
	size_t len = (size_t)(c->at - start);
	if (!pl_region_name_ok(start, len))
		return false;
	memcpy(name, start, len);
	name[len] = '\0';
	return true;
}

// A count as JSON and we print it: no sign, no leading zero, within int32.
static bool take_count(struct cursor *c, int32_t *count_r)
{
	const char *start = c->at;
	int64_t n = 0;

	while (c->at < c->end && *c->at >= '0' && *c->at <= '9') {
		n = n * 10 + (*c->at++ - '0');
		if (n > INT32_MAX)
			return false;
	}
	if (c->at == start || (*start == '0' && c->at - start > 1))
		return false;
	*count_r = (int32_t)n;
	return true;
}

int pl_vector_parse(struct pl_vector *v, const char *text, size_t len)
{
	struct cursor c = { text, text + len };

	memset(v, 0, sizeof *v);
	skip_space(&c);
	if (!take(&c, '{'))
		return -1;
	skip_space(&c);
	if (!take(&c, '}')) {
		do {
			char name[PL_REGION_MAX + 1];
			int32_t count;

			skip_space(&c);
			if (!take(&c, '"') || !take_name(&c, name) || !take(&c, '"'))
				return -1;
			skip_space(&c);
			if (!take(&c, ':'))
				return -1;
			skip_space(&c);
			if (!take_count(&c, &count) || pl_vector_get(v, name) != 0 || pl_vector_set(v, name, count) < 0)
				return -1;
			skip_space(&c);
		} while (take(&c, ','));
		if (!take(&c, '}'))
			return -1;
	}
	skip_space(&c);
	return c.at == c.end ? 0 : -1;
}

char *pl_vector_etag(const struct pl_vector *v, char text[PL_ETAG_MAX])
{
	char *at = text;

	*at++ = '"';
	for (int i = 0; i < v->n; i++) {
		char digits[12];
		int n = 0;

		if (i)
			*at++ = '+';
		at = stpcpy(at, v->dots[i].region);
		*at++ = ':';
		for (uint32_t rest = (uint32_t)v->dots[i].counter; rest > 0; rest /= 10)
			digits[n++] = (char)('0' + rest % 10);
		while (n > 0)
			*at++ = digits[--n];
	}
	*at++ = '"';
	*at = '\0';
	return text;
}

int pl_vector_parse_etag(struct pl_vector *v, const char *text, size_t len)
{
	struct cursor c = { text, text + len };

	memset(v, 0, sizeof *v);
	if (!take(&c, '"'))
		return -1;
	do {
		struct pl_dot *dot = &v->dots[v->n];

		// Entity tags are compared as octets: one that we would have spelled differently is not ours.
		if (v->n == PL_REGIONS_MAX || !take_name(&c, dot->region) || !take(&c, ':') || !take_count(&c, &dot->counter) ||
		    dot->counter == 0 || (v->n > 0 && strcmp(v->dots[v->n - 1].region, dot->region) >= 0))
			return -1;
		v->n++;
	} while (take(&c, '+'));
	return take(&c, '"') && c.at == c.end ? 0 : -1;
}
