// Version vectors, sorted by region name, so that two are compared in one pass.
//
// Used by everything that decides about a record: the store, the events, the applier.
// Invariants: names are strictly ascending and well formed, counters are positive; so
// equal vectors have equal bytes.
// Threads: any; the table of names is shared, and only grows.
#include "record/vector.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static bool is_name_start(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_name_char(char c)
{
	return is_name_start(c) || (c >= '0' && c <= '9') || c == '-';
}

// Up to the dot: the region that a key belongs to.
size_t pl_vector_region_len(const char *key, size_t len)
{
	const char *dot = len > 0 ? memchr(key, '.', len) : NULL;

	return dot ? (size_t)(dot - key) : len;
}

static bool is_generation(const char *digits, size_t len)
{
	if (len == 0 || len > 10 || digits[0] == '0' || (len == 1 && digits[0] == '1'))
		return false;
	for (size_t i = 0; i < len; i++)
		if (digits[i] < '0' || digits[i] > '9')
			return false;
	return true;
}

bool pl_vector_region_name_ok(const char *name, size_t len)
{
	size_t region = pl_vector_region_len(name, len);

	if (region == 0 || len > PL_REGION_MAX || !is_name_start(name[0]))
		return false;
	for (size_t i = 1; i < region; i++)
		if (!is_name_char(name[i]))
			return false;
	return region == len || is_generation(name + region + 1, len - region - 1);
}

bool pl_vector_same_region(const char *key, const char *other)
{
	size_t len = pl_vector_region_len(key, strlen(key));

	return len == pl_vector_region_len(other, strlen(other)) && memcmp(key, other, len) == 0;
}

void pl_vector_region_of(const char *key, char region_r[PL_REGION_MAX + 1])
{
	size_t len = pl_vector_region_len(key, strnlen(key, PL_REGION_MAX));

	memmove(region_r, key, len);
	region_r[len] = '\0';
}

// ---- names
//
// A slot of the hash table holds a number, 0 for none; the name of number n is
// names[n]. A slot is published after its name was written, and nothing is ever
// removed, so a look-up needs no lock.

#define NAMES_MAX     4096
#define NAMES_OF_DATA 3072  // from here on, only configurations add names
#define SLOTS         16384 // a power of two

static char names[NAMES_MAX][PL_REGION_MAX + 1];
static _Atomic uint16_t slots[SLOTS];
static int nnames = 1;
static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;

static unsigned hash_of(const char *name, size_t len)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)name[i]) * 16777619u;
	return (hash ^ hash >> 15) & (SLOTS - 1);
}

// The number of the name, or 0; *slot_r is its slot, or the one where it would be.
static uint16_t find_name(const char *name, size_t len, unsigned *slot_r)
{
	unsigned slot = hash_of(name, len);
	uint16_t number;

	while ((number = atomic_load_explicit(&slots[slot], memory_order_acquire)) != 0) {
		if (strncmp(names[number], name, len) == 0 && names[number][len] == '\0')
			break;
		slot = (slot + 1) & (SLOTS - 1);
	}
	*slot_r = slot;
	return number;
}

static uint16_t add_name(const char *name, size_t len, int limit)
{
	unsigned slot;
	uint16_t number;

	pthread_mutex_lock(&names_lock);
	number = find_name(name, len, &slot);
	if (number == 0 && nnames < limit) {
		number = (uint16_t)nnames++;
		memcpy(names[number], name, len);
		atomic_store_explicit(&slots[slot], number, memory_order_release);
	}
	pthread_mutex_unlock(&names_lock);
	return number;
}

// The number of a well-formed name; 0: the table is full.
static uint16_t number_of(const char *name, size_t len)
{
	unsigned slot;
	uint16_t number = find_name(name, len, &slot);

	return number ? number : add_name(name, len, NAMES_OF_DATA);
}

void pl_vector_region_name_keep(const char *name)
{
	size_t len = strlen(name);

	if (pl_vector_region_name_ok(name, len))
		add_name(name, len, NAMES_MAX);
}

// ---- vectors

// The place of `region` in v if *found_r, else where it would be inserted.
static int place(const struct pl_vector *v, const char *region, bool *found_r)
{
	for (int i = 0; i < v->n; i++) {
		int order = strcmp(names[v->names[i]], region);

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

	return found ? v->counters[i] : 0;
}

int32_t pl_vector_at(const struct pl_vector *v, int i, const char **region_r)
{
	*region_r = names[v->names[i]];
	return v->counters[i];
}

// Moves the entries at `from` and after it to `to`.
static void shift(struct pl_vector *v, int to, int from)
{
	size_t n = (size_t)(v->n - from);

	memmove(&v->names[to], &v->names[from], n * sizeof(v->names[0]));
	memmove(&v->counters[to], &v->counters[from], n * sizeof(v->counters[0]));
	v->n += to - from;
}

static int insert(struct pl_vector *v, int at, const char *region)
{
	size_t len = strlen(region);
	uint16_t number;

	if (v->n == PL_VECTOR_MAX || !pl_vector_region_name_ok(region, len) ||
	    !(number = number_of(region, len)))
		return -1;
	shift(v, at + 1, at);
	v->names[at] = number;
	return 0;
}

int pl_vector_set(struct pl_vector *v, const char *region, int32_t counter)
{
	bool found;
	int i = place(v, region, &found);

	if (counter < 0 || (!found && !pl_vector_region_name_ok(region, strlen(region))))
		return -1;
	if (counter == 0) { // an entry of 0 is an absent one
		if (found)
			shift(v, i, i + 1);
		return 0;
	}
	if (!found && insert(v, i, region) < 0)
		return -1;
	v->counters[i] = counter;
	return 0;
}

int64_t pl_vector_sum(const struct pl_vector *v)
{
	int64_t sum = 0;

	for (int i = 0; i < v->n; i++)
		sum += v->counters[i];
	return sum;
}

bool pl_vector_covers(const struct pl_vector *v, const struct pl_dot *dot)
{
	return pl_vector_get(v, dot->region) >= dot->counter;
}

// Compares the i-th name of a with the j-th of b.
static int compare_names(const struct pl_vector *a, int i, const struct pl_vector *b, int j)
{
	return a->names[i] == b->names[j] ? 0 : strcmp(names[a->names[i]], names[b->names[j]]);
}

bool pl_vector_le(const struct pl_vector *a, const struct pl_vector *b)
{
	int j = 0;

	for (int i = 0; i < a->n; i++) {
		while (j < b->n && compare_names(b, j, a, i) < 0)
			j++;
		if (j == b->n || b->names[j] != a->names[i] || b->counters[j] < a->counters[i])
			return false;
		j++;
	}
	return true;
}

bool pl_vector_equal(const struct pl_vector *a, const struct pl_vector *b)
{
	size_t n = (size_t)a->n;

	return a->n == b->n && memcmp(a->names, b->names, n * sizeof(a->names[0])) == 0 &&
	       memcmp(a->counters, b->counters, n * sizeof(a->counters[0])) == 0;
}

int pl_vector_join(struct pl_vector *into, const struct pl_vector *other)
{
	struct pl_vector joined;
	int i = 0, j = 0;

	for (joined.n = 0; i < into->n || j < other->n; joined.n++) {
		int order = i == into->n ? 1 : j == other->n ? -1 : compare_names(into, i, other, j);
		int32_t counter = order <= 0 ? into->counters[i] : other->counters[j];

		if (joined.n == PL_VECTOR_MAX)
			return -1;
		joined.names[joined.n] = order <= 0 ? into->names[i] : other->names[j];
		joined.counters[joined.n] =
			order == 0 && other->counters[j] > counter ? other->counters[j] : counter;
		i += order <= 0;
		j += order >= 0;
	}
	into->n = joined.n;
	memcpy(into->names, joined.names, (size_t)joined.n * sizeof(joined.names[0]));
	memcpy(into->counters, joined.counters, (size_t)joined.n * sizeof(joined.counters[0]));
	return 0;
}

int pl_vector_dot_cmp(const struct pl_dot *a, const struct pl_dot *b)
{
	int order = strcmp(a->region, b->region);

	return order != 0 ? order : (a->counter > b->counter) - (a->counter < b->counter);
}

void pl_vector_print(struct pl_buf *buf, const struct pl_vector *v)
{
	pl_buf_addc(buf, '{');
	for (int i = 0; i < v->n; i++) {
		pl_buf_adds(buf, i ? ",\"" : "\"");
		pl_buf_adds(buf, names[v->names[i]]); // a name needs no escapes
		pl_buf_adds(buf, "\":");
		pl_buf_add_i64(buf, v->counters[i]);
	}
	pl_buf_addc(buf, '}');
}

// ---- texts

struct cursor {
	const char *at, *end;
};

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

// A region's name without quotes.
static bool take_name(struct cursor *c, char name[PL_REGION_MAX + 1])
{
	const char *start = c->at;

	while (c->at < c->end && (is_name_char(*c->at) || *c->at == '.'))
		c->at++;
	size_t len = (size_t)(c->at - start);
	if (!pl_vector_region_name_ok(start, len))
		return false;
	memcpy(name, start, len);
	name[len] = '\0';
	return true;
}

// A count as JSON allows it and plist prints it: no sign, no leading zero, within
// int32.
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

	v->n = 0;
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
			if (!take_count(&c, &count) || pl_vector_get(v, name) != 0 ||
			    pl_vector_set(v, name, count) < 0)
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
		at = stpcpy(at, names[v->names[i]]);
		*at++ = ':';
		for (uint32_t rest = (uint32_t)v->counters[i]; rest > 0; rest /= 10)
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

	v->n = 0;
	if (!take(&c, '"'))
		return -1;
	do {
		char name[PL_REGION_MAX + 1];
		int32_t count;

		// Entity tags are compared as octets: a tag that plist would spell
		// differently is not plist's.
		if (v->n == PL_VECTOR_MAX || !take_name(&c, name) || !take(&c, ':') ||
		    !take_count(&c, &count) || count == 0 ||
		    (v->n > 0 && strcmp(names[v->names[v->n - 1]], name) >= 0) || insert(v, v->n, name) < 0)
			return -1;
		v->counters[v->n - 1] = count;
	} while (take(&c, '+'));
	return take(&c, '"') && c.at == c.end ? 0 : -1;
}
