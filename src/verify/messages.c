// Describes inputs and answers of a verification in words, and defines the situations
// of the decision table.
//
// Used by verify/verify.c. Written for operators who do not know about vectors: it
// mentions regions, fields, earlier and later.
// Threads: any.
#include "verify/verify.h"

#include <ctype.h>
#include <string.h>

#include "base/buf.h"

#define TELLING_MAX 5

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

// Whether a field differs between the writes; the values of deletes are ignored.
static bool differs(const struct pl_verify_case *c, int field)
{
	const struct pl_sibling *first = NULL;

	for (int r = 0; r < c->n; r++) {
		if (c->rows[r].deleted)
			continue;
		if (first && !same_text(first->values[field], c->rows[r].values[field]))
			return true;
		first = first ? first : &c->rows[r];
	}
	return false;
}

static void add_value(struct pl_buf *buf, const struct pl_field *field, const char *text)
{
	pl_buf_printf(buf, "%s ", field->name);
	if (text && field->type == PL_FIELD_STRING)
		pl_buf_add_json(buf, text, strlen(text) > 40 ? 40 : strlen(text));
	else if (text && field->type == PL_FIELD_BOOLEAN)
		pl_buf_adds(buf, text[0] == 't' ? "true" : "false");
	else
		pl_buf_adds(buf, text ? text : "null");
}

// The values that differ between the writes; for a single write, all values.
static void add_values(struct pl_buf *buf, const struct pl_resource *resource, const struct pl_verify_case *c,
                       const char *const *values)
{
	int live = 0, listed = 0, different = 0;

	for (int r = 0; r < c->n; r++)
		live += !c->rows[r].deleted;
	for (int f = 0; f < resource->nfields; f++)
		different += differs(c, f);
	for (int f = 0; f < resource->nfields; f++) {
		if (live > 1 && different > 0 && !differs(c, f))
			continue;
		if (live > 1 && different == 0 && f > 0)
			break;
		pl_buf_adds(buf, listed++ ? ", " : "");
		add_value(buf, &resource->fields[f], values[f]);
	}
}

static void add_gap(struct pl_buf *buf, int64_t gap)
{
	if (gap == 0)
		pl_buf_adds(buf, "at the same time ");
	else if (gap < 1000000)
		pl_buf_printf(buf, "%lld \xc2\xb5s later ", (long long)gap);
	else
		pl_buf_printf(buf, "%lld s later ", (long long)gap / 1000000);
}

const char *pl_verify_writes(struct pl_arena *arena, const struct pl_resource *resource,
                             const struct pl_verify_case *c)
{
	struct pl_buf buf = { 0 };
	char *text;

	// Inputs that fail for any record are shrunk to record 1, which is not worth
	// mentioning.
	if (c->id > 1)
		pl_buf_printf(&buf, "of record %lld, ", (long long)c->id);
	for (int r = 0; r < c->n; r++) {
		const struct pl_sibling *row = &c->rows[r];

		pl_buf_adds(&buf, r ? "; " : "");
		if (r > 0)
			add_gap(&buf, row->updated_at_us - c->rows[r - 1].updated_at_us);
		pl_buf_printf(&buf, "%s ", row->dot.region);
		if (row->deleted) {
			pl_buf_adds(&buf, "deleted it");
		} else {
			pl_buf_adds(&buf, "wrote ");
			add_values(&buf, resource, c, row->values);
		}
	}
	text = pl_arena_strndup(arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return text;
}

// The regions whose write contains a merged value.
static void add_whose(struct pl_buf *buf, const struct pl_verify_case *c, int field, const char *value)
{
	int found = 0;

	pl_buf_adds(buf, " (");
	for (int r = 0; r < c->n; r++)
		if (!c->rows[r].deleted && same_text(c->rows[r].values[field], value))
			pl_buf_printf(buf, "%s%s's", found++ ? ", " : "", c->rows[r].dot.region);
	pl_buf_adds(buf, found ? ")" : "nobody's)");
}

static void add_merge(struct pl_buf *buf, const struct pl_resource *resource, const struct pl_verify_case *c,
                      const char *const *merged)
{
	int listed = 0;

	pl_buf_adds(buf, "merges: ");
	for (int f = 0; f < resource->nfields; f++) {
		bool changed = true; // it differs from all: the policy computed it

		for (int r = 0; r < c->n; r++)
			if (!c->rows[r].deleted && same_text(c->rows[r].values[f], merged[f]))
				changed = false;
		if (!differs(c, f) && !changed)
			continue;
		pl_buf_adds(buf, listed++ ? ", " : "");
		add_value(buf, &resource->fields[f], merged[f]);
		add_whose(buf, c, f, merged[f]);
	}
	if (listed == 0)
		pl_buf_adds(buf, "the values that all agree on");
}

const char *pl_verify_answer(struct pl_arena *arena, const struct pl_resource *resource,
                             const struct pl_verify_case *c, const struct pl_verdict *verdict)
{
	struct pl_buf buf = { 0 };
	char *text;

	if (verdict->take < 0) {
		add_merge(&buf, resource, c, verdict->merged);
	} else if (c->rows[verdict->take].deleted) {
		pl_buf_printf(&buf, "it is deleted, as %s wanted", c->rows[verdict->take].dot.region);
	} else {
		pl_buf_printf(&buf, "keeps what %s wrote: ", c->rows[verdict->take].dot.region);
		add_values(&buf, resource, c, c->rows[verdict->take].values);
	}
	text = pl_arena_strndup(arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return text;
}

// ---- the decision table

struct table {
	struct pl_verify_source *source;
	const char **titles;
	struct pl_verify_case *cases;
	int n, max;
};

// Adds a line with `nrows` writes of different regions, `gap` µs apart. NULL: the table
// is full.
static struct pl_verify_case *situation(struct table *t, const char *title, int nrows, int64_t gap)
{
	struct pl_verify_case *c;

	if (t->n == t->max)
		return NULL;
	c = &t->cases[t->n];
	t->titles[t->n++] = title;
	memset(c, 0, sizeof(*c));
	c->id = t->source->ids[0];
	c->n = nrows;
	for (int r = 0; r < nrows; r++)
		pl_verify_row(t->source, &c->rows[r], r, gap * r);
	return c;
}

// The first number, or the first field with at least two values.
static int telling_field(const struct pl_verify_source *s)
{
	for (int f = 0; f < s->resource->nfields; f++)
		if ((s->resource->fields[f].type == PL_FIELD_DECIMAL ||
		     s->resource->fields[f].type == PL_FIELD_INTEGER) &&
		    s->small[f].n > 1)
			return f;
	for (int f = 0; f < s->resource->nfields; f++)
		if (s->small[f].n > 1)
			return f;
	return -1;
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

// Whether the policy's file contains the field's name as a word.
static bool is_named(const struct pl_verify_source *s, int field)
{
	const char *name = s->resource->fields[field].name, *at = s->text;
	size_t len = strlen(name);

	for (; at && (at = strstr(at, name)); at += len)
		if ((at == s->text || !is_word(at[-1])) && !is_word(at[len]))
			return true;
	return false;
}

// The fields that situations vary: those that the file names; else the first number; else
// the first field with at least two values.
static int telling_fields(const struct pl_verify_source *s, int fields[TELLING_MAX])
{
	int n = 0;

	for (int f = 0; f < s->resource->nfields && n < TELLING_MAX; f++)
		if (s->small[f].n > 1 && is_named(s, f))
			fields[n++] = f;
	if (n == 0 && (fields[0] = telling_field(s)) >= 0)
		n = 1;
	return n;
}

static const char *title_of(struct table *t, int order, const char *field)
{
	return order == 0 ? pl_arena_printf(t->source->arena, "two values of %s at the same time", field)
	       : order == 1
	               ? pl_arena_printf(t->source->arena, "%s: the lower first, the higher later", field)
	               : pl_arena_printf(t->source->arena, "%s: the higher first, the lower later", field);
}

static void two_values(struct table *t, int field)
{
	const struct pl_verify_pool *pool = &t->source->small[field];
	const char *name = t->source->resource->fields[field].name;

	for (int i = 0; i < 3; i++) {
		struct pl_verify_case *c = situation(t, title_of(t, i, name), 2, i > 0);

		if (!c)
			return;
		c->rows[0].values[field] = pool->values[i == 2];
		c->rows[1].values[field] = pool->values[i != 2];
	}
}

static void deletes(struct table *t)
{
	struct pl_verify_case *c;

	if ((c = situation(t, "a change, then a delete", 2, 1)))
		c->rows[1].deleted = true;
	if ((c = situation(t, "a delete, then a change", 2, 1)))
		c->rows[0].deleted = true;
	if ((c = situation(t, "a delete and a change at the same time", 2, 0)))
		c->rows[0].deleted = true;
	if ((c = situation(t, "two deletes", 2, 1)))
		c->rows[0].deleted = c->rows[1].deleted = true;
}

static void three_regions(struct table *t, int field)
{
	const struct pl_verify_pool *pool = &t->source->large[field];
	struct pl_verify_case *c = situation(t, "three regions, one after the other", 3, 1);

	for (int r = 0; c && r < 3; r++)
		c->rows[r].values[field] = pool->values[(r + 1) % 3 < pool->n ? (r + 1) % 3 : 0];
	c = situation(t, "three regions, one of them deletes", 3, 1);
	for (int r = 0; c && r < 3; r++)
		c->rows[r].values[field] = pool->values[r % pool->n];
	if (c)
		c->rows[1].deleted = true;
}

// Two regions that changed different fields; field_times say which is new, as with
// track_fields.
static void one_field_each(struct table *t, int first, int second)
{
	const struct pl_resource *resource = t->source->resource;
	struct pl_verify_case *c;

	for (int f = 0; f < resource->nfields && second < 0; f++)
		if (t->source->small[f].n > 1) {
			if (first < 0)
				first = f;
			else if (second < 0)
				second = f;
		}
	if (second < 0 || !(c = situation(t, "one field each", 2, 1)))
		return;
	c->rows[0].values[first] = t->source->small[first].values[1];
	c->rows[1].values[second] = t->source->small[second].values[1];
	for (int r = 0; resource->track_fields && r < 2; r++) {
		struct pl_buf buf = { 0 };

		for (int f = 0; f < resource->nfields; f++)
			pl_buf_printf(&buf, "%s\"%s\":{\"at\":%lld,\"origin\":\"%s\"}", f ? "," : "{",
			              resource->fields[f].name,
			              (long long)(f == (r ? second : first)
			                                  ? c->rows[r].updated_at_us
			                                  : c->rows[0].updated_at_us - 1000),
			              c->rows[r].dot.region);
		pl_buf_addc(&buf, '}');
		c->rows[r].field_times = pl_arena_strndup(t->source->arena, buf.data, buf.len);
		pl_buf_fini(&buf);
	}
}

static void a_null(struct table *t)
{
	const struct pl_resource *resource = t->source->resource;

	bool named = false;

	for (int f = 0; f < resource->nfields; f++)
		named |= !resource->fields[f].required && is_named(t->source, f);
	for (int f = 0; f < resource->nfields; f++) {
		struct pl_verify_case *c;

		if (resource->fields[f].required || (named && !is_named(t->source, f)))
			continue;
		if ((c = situation(t,
		                   pl_arena_printf(t->source->arena, "%s emptied (null) against a value",
		                                   resource->fields[f].name),
		                   2, 1)))
			c->rows[1].values[f] = NULL;
		return;
	}
}

int pl_verify_situations(struct pl_verify_source *source, const char **titles, struct pl_verify_case *cases,
                         int max)
{
	struct table t = { source, titles, cases, 0, max };
	int fields[TELLING_MAX], n = telling_fields(source, fields);

	for (int i = 0; i < n; i++)
		two_values(&t, fields[i]);
	situation(&t, "both wrote the same values", 2, 1);
	deletes(&t);
	if (n > 0)
		three_regions(&t, fields[0]);
	one_field_each(&t, n > 1 ? fields[0] : -1, n > 1 ? fields[1] : -1);
	a_null(&t);
	for (int i = 0; i < t.n; i++)
		pl_verify_sort(&cases[i]);
	return t.n;
}
