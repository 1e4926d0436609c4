// Records that a batch remembers for a while: those that other sessions held locked
// (batch_refused), and those whose events took too long (batch_slow).
// Threads: the batch's.
#include "apply/batch_private.h"

static bool same(struct pl_touched_row_key a, struct pl_touched_row_key b)
{
	return a.resource == b.resource && a.id == b.id;
}

bool pl_apply_batch_marks_add(struct marks *marks, struct pl_touched_row_key key, int64_t for_us)
{
	int i = 0;

	while (i < marks->n && !same(marks->each[i].key, key))
		i++;
	if (i == MARKS_MAX)
		return false;
	marks->n += i == marks->n;
	marks->each[i] = (struct mark){ .key = key, .until_us = pl_mono_us() + for_us };
	return true;
}

void pl_apply_batch_marks_drop(struct marks *marks, int i)
{
	marks->each[i] = marks->each[--marks->n];
}

void pl_apply_batch_marks_expire(struct marks *marks)
{
	int64_t now_us = marks->n > 0 ? pl_mono_us() : 0;

	for (int i = marks->n - 1; i >= 0; i--)
		if (marks->each[i].until_us < now_us)
			pl_apply_batch_marks_drop(marks, i);
}

bool pl_apply_batch_mark_is(const struct mark *mark, const struct item *item)
{
	return item->event &&
	       same(mark->key, (struct pl_touched_row_key){ item->event->resource->index, item->event->id });
}
