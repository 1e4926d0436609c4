// A probe's inputs and answers in words, and the situations of the decision table.
//
// Beside replicate/probe.c. Written for someone who runs the regions and has never heard of vectors: regions, fields, earlier and later.
// Threads: any.
#include "replicate/probe.h"

#include <string.h>

#include "base/buf.h"

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

// Whether a field tells the writes apart; of deletes the values do not count.
static bool differs(const struct pl_probe_case *c, int field)
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

// The values by which this write differs from the others; all of them when there are no others to differ from.
static void add_values(struct pl_buf *buf, const struct pl_resource *resource, const struct pl_probe_case *c, const char *const *values)
{
	int live = 0, told = 0, different = 0;

	for (int r = 0; r < c->n; r++)
		live += !c->rows[r].deleted;
	for (int f = 0; f < resource->nfields; f++)
		different += differs(c, f);
	for (int f = 0; f < resource->nfields; f++) {
		if (live > 1 && different > 0 && !differs(c, f))
			continue;
		if (live > 1 && different == 0 && f > 0)
			break;
		pl_buf_adds(buf, told++ ? ", " : "");
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

const char *pl_probe_writes(struct pl_arena *arena, const struct pl_resource *resource, const struct pl_probe_case *c)
{
	struct pl_buf buf = {0};
	char *text;

	if (c->id > 1) // what fails for any record is shown of record 1, which goes without saying
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

// Whose a merged value is: the regions that wrote it.
static void add_whose(struct pl_buf *buf, const struct pl_probe_case *c, int field, const char *value)
{
	int found = 0;

	pl_buf_adds(buf, " (");
	for (int r = 0; r < c->n; r++)
		if (!c->rows[r].deleted && same_text(c->rows[r].values[field], value))
			pl_buf_printf(buf, "%s%s's", found++ ? ", " : "", c->rows[r].dot.region);
	pl_buf_adds(buf, found ? ")" : "nobody's)");
}

static void add_merge(struct pl_buf *buf, const struct pl_resource *resource, const struct pl_probe_case *c, const char *const *merged)
{
	int told = 0;

	pl_buf_adds(buf, "merges: ");
	for (int f = 0; f < resource->nfields; f++) {
		bool changed = true; // against all: the policy made it up

		for (int r = 0; r < c->n; r++)
			if (!c->rows[r].deleted && same_text(c->rows[r].values[f], merged[f]))
				changed = false;
		if (!differs(c, f) && !changed)
			continue;
		pl_buf_adds(buf, told++ ? ", " : "");
		add_value(buf, &resource->fields[f], merged[f]);
		add_whose(buf, c, f, merged[f]);
	}
	if (told == 0)
		pl_buf_adds(buf, "the values that all agree on");
}

const char *pl_probe_answer(struct pl_arena *arena, const struct pl_resource *resource, const struct pl_probe_case *c, const struct pl_verdict *verdict)
{
	struct pl_buf buf = {0};
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

// --- the decision table

struct table { struct pl_probe_source *source; const char **titles; struct pl_probe_case *cases; int n, max; };

// A new line with `nrows` writes, each by its own region, `gap` µs apart; NULL when the table is full.
static struct pl_probe_case *situation(struct table *t, const char *title, int nrows, int64_t gap)
{
	struct pl_probe_case *c;

	if (t->n == t->max)
		return NULL;
	c = &t->cases[t->n];
	t->titles[t->n++] = title;
	memset(c, 0, sizeof *c);
	c->id = t->source->ids[0];
	c->n = nrows;
	for (int r = 0; r < nrows; r++)
		pl_probe_row(t->source, &c->rows[r], r, gap * r);
	return c;
}

// The field that situations are told with: the first number, else the first field of which there are two values.
static int telling_field(const struct pl_probe_source *s)
{
	for (int f = 0; f < s->resource->nfields; f++)
		if ((s->resource->fields[f].type == PL_FIELD_DECIMAL || s->resource->fields[f].type == PL_FIELD_INTEGER) && s->small[f].n > 1)
			return f;
	for (int f = 0; f < s->resource->nfields; f++)
		if (s->small[f].n > 1)
			return f;
	return -1;
}

static const char *title_of(struct table *t, int order, const char *field)
{
	return order == 0 ? pl_arena_printf(t->source->arena, "two values of %s at the same time", field)
	     : order == 1 ? pl_arena_printf(t->source->arena, "%s: the lower first, the higher later", field)
	                  : pl_arena_printf(t->source->arena, "%s: the higher first, the lower later", field);
}

static void two_values(struct table *t, int field)
{
	const struct pl_probe_pool *pool = &t->source->small[field];
	const char *name = t->source->resource->fields[field].name;

	for (int i = 0; i < 3; i++) {
		struct pl_probe_case *c = situation(t, title_of(t, i, name), 2, i > 0);

		if (!c)
			return;
		c->rows[0].values[field] = pool->values[i == 2];
		c->rows[1].values[field] = pool->values[i != 2];
	}
}

static void deletes(struct table *t)
{
	struct pl_probe_case *c;

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
	const struct pl_probe_pool *pool = &t->source->large[field];
	struct pl_probe_case *c = situation(t, "three regions, one after the other", 3, 1);

	for (int r = 0; c && r < 3; r++)
		c->rows[r].values[field] = pool->values[(r + 1) % 3 < pool->n ? (r + 1) % 3 : 0];
	c = situation(t, "three regions, one of them deletes", 3, 1);
	for (int r = 0; c && r < 3; r++)
		c->rows[r].values[field] = pool->values[r % pool->n];
	if (c)
		c->rows[1].deleted = true;
}

// When each of two regions changed another field: times say which is new, as track_fields keeps them.
static void one_field_each(struct table *t)
{
	const struct pl_resource *resource = t->source->resource;
	struct pl_probe_case *c;
	int first = -1, second = -1;

	for (int f = 0; f < resource->nfields; f++)
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
		struct pl_buf buf = {0};

		for (int f = 0; f < resource->nfields; f++)
			pl_buf_printf(&buf, "%s\"%s\":{\"at\":%lld,\"origin\":\"%s\"}", f ? "," : "{", resource->fields[f].name,
			              (long long)(f == (r ? second : first) ? c->rows[r].updated_at_us : c->rows[0].updated_at_us - 1000), c->rows[r].dot.region);
		pl_buf_addc(&buf, '}');
		c->rows[r].field_times = pl_arena_strndup(t->source->arena, buf.data, buf.len);
		pl_buf_fini(&buf);
	}
}

static void a_null(struct table *t)
{
	const struct pl_resource *resource = t->source->resource;

	for (int f = 0; f < resource->nfields; f++) {
		struct pl_probe_case *c;

		if (resource->fields[f].required)
			continue;
		if ((c = situation(t, pl_arena_printf(t->source->arena, "%s emptied (null) against a value", resource->fields[f].name), 2, 1)))
			c->rows[1].values[f] = NULL;
		return;
	}
}

int pl_probe_situations(struct pl_probe_source *source, const char **titles, struct pl_probe_case *cases, int max)
{
	struct table t = {source, titles, cases, 0, max};
	int field = telling_field(source);

	if (field >= 0)
		two_values(&t, field);
	situation(&t, "both wrote the same values", 2, 1);
	deletes(&t);
	if (field >= 0)
		three_regions(&t, field);
	one_field_each(&t);
	a_null(&t);
	for (int i = 0; i < t.n; i++)
		pl_probe_sort(&cases[i]);
	return t.n;
}
