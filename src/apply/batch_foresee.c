// Refusals that are foreseen: once the database has refused one event because a column
// must not be NULL, the others of its batch with the same fault are parked untried.
//
// Otherwise, a good event among thousands of refused ones would wait for thousands of
// round trips. apply/batch_refused tries one event alone; if its row had NULL where the
// error says, the events that wait are decided in memory, and those whose rows would have
// NULL there get the same refusal. This is a guess, since a trigger may fill in a value
// for some rows, so it holds within one batch only: a retry tries every event. Threads:
// the batch's.
#include "apply/batch_private.h"

static int field_named(const struct pl_resource *resource, const char *column)
{
	for (int f = 0; f < resource->nfields; f++)
		if (strcmp(resource->fields[f].name, column) == 0)
			return f;
	return -1;
}

// Whether the row that would be written has NULL in that column. One that plist does not
// know is NULL in every new row.
static bool lacks(const struct pl_touched_row *touched, int field)
{
	return field < 0 ? !touched->exists : !touched->row.values[field];
}

bool pl_apply_batch_note_null(struct pl_apply_batch *b, const struct item *item, const struct pl_error *err)
{
	int field;

	// one raised within a trigger may be about another table's column
	if (strcmp(err->sqlstate, "23502") != 0 || err->nested || !err->columns[0] || !item->touched ||
	    b->nnulls == NULLS_MAX)
		return false;
	field = field_named(item->event->resource, err->columns);
	if (!lacks(item->touched, field))
		return false;
	for (int i = 0; i < b->nnulls; i++)
		if (b->nulls[i].resource == item->event->resource && b->nulls[i].field == field)
			return false;
	b->nulls[b->nnulls++] = (struct null_column){ item->event->resource, field, item->refusal };
	return true;
}

// The event's own write must lack the value, too: else the NULL is another event's.
static void foresee_one(const struct pl_apply_batch *b, struct item *item)
{
	for (int i = 0; i < b->nnulls && item->touched && item->touched->changed && !item->refusal; i++) {
		const struct null_column *null = &b->nulls[i];

		if (null->resource == item->event->resource && lacks(item->touched, null->field) &&
		    (null->field < 0 || !item->event->write.values[null->field]))
			item->refusal = null->refusal;
	}
}

int pl_apply_batch_foresee(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct item *items,
                           int n, struct pl_error *err)
{
	bool no_positions = b->no_positions;
	int code;

	if (n == 0)
		return 0;
	b->no_positions = b->silent = true;
	pl_apply_batch_begin_attempt(b, tools, items, n);
	if ((code = pl_apply_batch_decide(b, tools, items, n, err)) == 0) {
		pl_decision_resolve_all(&b->decision, tools);
		for (int i = 0; i < n; i++)
			foresee_one(b, &items[i]);
	}
	b->no_positions = no_positions;
	b->silent = false;
	return pl_apply_batch_is_too_large(tools, code, err) ? 0 : code; // then each is tried
}
