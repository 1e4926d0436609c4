// Tables that another session has locked, for example while an operator alters them.
//
// Each event for such a table would wait for lock_timeout in vain, and a batch of them
// would keep the applier, which also reads the heartbeats, for minutes. So when one event
// has waited in vain, the database is asked whether its table is locked, and then the
// other events of the batch that need it are refused untried.
//
//   what is locked            the batch's events that need it
//   the resource's table      are parked if events of other tables could be written. Else
//                             the batch is retried: most locks end within a moment, and
//                             Kafka keeps the events in order. But nothing is fetched
//                             meanwhile, so if there are other resources, they are parked
//                             after PATIENCE_US. From then on, events for the table are
//                             parked untried until it is free (one question for a batch),
//                             and parked ones are not retried, so that neither holds up
//                             the other resources.
//   a table that a foreign    are parked. Not all of them may need it, which the retry
//   key links with it         finds out.
//   a table of plist's        are parked if others could be written; else the batch is
//                             retried, since no event of any resource can be written.
//
// A table that plist's role may not use is like the first case: if there are other
// resources, its events are parked after PATIENCE_US, and at once for DENIED_US more.
//
// Threads: the batch's.
#include "apply/batch_private.h"

#define PATIENCE_US INT64_C(1000000)
#define DENIED_US   INT64_C(60000000)

static const struct refusal table_locked = { .reason = "another session has locked the table",
	                                     .sqlstate = "55P03",
	                                     .lock = true };
static const struct refusal linked_locked = {
	.reason = "another session has locked a table that a foreign key links with this one",
	.sqlstate = "55P03",
	.lock = true
};
static const struct refusal plist_locked = { .reason = "another session has locked a table of plist's",
	                                     .sqlstate = "55P03",
	                                     .lock = true };

static const struct refusal *const refusals[] = {
	[PL_TABLE_LINKED] = &linked_locked,
	[PL_TABLE_LOCKED] = &table_locked,
	[PL_TABLE_OF_PLIST] = &plist_locked,
};

void pl_apply_batch_forget_tables(struct pl_apply_batch *b)
{
	free(b->tables);
	b->tables = NULL;
	b->ntables = 0;
	b->barred_since_us = 0;
}

static struct table_state *table_of(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                                    const struct pl_resource *resource)
{
	if (b->ntables != tools->config->nresources) {
		pl_apply_batch_forget_tables(b);
		b->ntables = tools->config->nresources;
		b->tables = pl_calloc((size_t)b->ntables, sizeof(b->tables[0]));
	}
	return &b->tables[resource->index];
}

// ---- a batch that is being sorted out

// Forgets only which tables the last batch found locked.
static void begin_tables(struct pl_apply_batch *b)
{
	for (int i = 0; i < b->ntables; i++)
		b->tables[i].lock = PL_TABLE_FREE;
}

void pl_apply_batch_spare_locked(const struct pl_apply_batch *b, struct item *items, int n)
{
	for (int i = 0; i < n && b->ntables > 0; i++)
		if (items[i].event && !items[i].refusal)
			items[i].refusal = refusals[b->tables[items[i].event->resource->index].lock];
}

int pl_apply_batch_ask_locked(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                              const struct item *item, struct pass *pass, struct pl_error *err)
{
	enum pl_table_lock lock;
	int code;

	if (!item->event) { // a message without one needs tables of plist's only
		pass->barred_all = true;
		return 0;
	}
	code = pl_apply_rows_table_lock(tools->session, item->event->resource, &lock, err);
	if (code < 0 || lock == PL_TABLE_FREE)
		return code;
	pass->barred += lock == PL_TABLE_LOCKED;
	pass->barred_all |= lock == PL_TABLE_OF_PLIST;
	table_of(b, tools, item->event->resource)->lock = lock;
	return 0;
}

bool pl_apply_batch_parks_locked(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                                 const struct pass *pass)
{
	int64_t now_us = pl_mono_us();

	if (pass->barred_all || tools->config->nresources == 1)
		return false;
	if (b->barred_since_us == 0)
		b->barred_since_us = now_us;
	if (now_us - b->barred_since_us < PATIENCE_US && (pass->denied == 0 || now_us >= b->denied_until_us))
		return false;
	if (pass->denied > 0)
		b->denied_until_us = now_us + DENIED_US;
	return true;
}

void pl_apply_batch_shun_locked(struct pl_apply_batch *b, const struct pl_apply_tools *tools)
{
	for (int i = 0; i < b->ntables && tools->config->nresources > 1; i++) {
		if (b->tables[i].lock != PL_TABLE_LOCKED || b->tables[i].shunned)
			continue;
		b->tables[i].shunned = true;
		pl_warning("another session has locked the table of %s: its events are parked until it is "
		           "free",
		           tools->config->resources[i].name);
	}
}

// ---- from one batch to the next

static bool needs(const struct item *items, int n, int resource)
{
	int i = 0;

	while (i < n && !(items[i].event && items[i].event->resource->index == resource))
		i++;
	return i < n;
}

static int is_free(const struct pl_apply_tools *tools, int resource, struct pl_error *err)
{
	enum pl_table_lock lock;
	int code = pl_apply_rows_table_lock(tools->session, &tools->config->resources[resource], &lock, err);

	return code < 0 ? code : lock < PL_TABLE_LOCKED;
}

int pl_apply_batch_look_shunned(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                                struct item *items, int n, struct pl_error *err)
{
	begin_tables(b);
	for (int i = 0; i < n; i++) // of an attempt that failed
		if (items[i].refusal == &table_locked)
			items[i].refusal = NULL;
	for (int i = 0; i < b->ntables; i++) {
		int code = b->tables[i].shunned && needs(items, n, i) ? is_free(tools, i, err) : 0;

		if (code < 0)
			return code;
		if (code > 0)
			pl_notice("the table of %s is no longer locked", tools->config->resources[i].name);
		b->tables[i].shunned &= code == 0;
		b->tables[i].lock = b->tables[i].shunned ? PL_TABLE_LOCKED : PL_TABLE_FREE;
	}
	pl_apply_batch_spare_locked(b, items, n);
	return 0;
}

// ---- parked events

int pl_apply_batch_ask_unretried(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                                 const struct item *item, struct pass *pass, struct pl_error *err)
{
	int code = item->event ? is_free(tools, item->event->resource->index, err) : 1;

	if (code != 0)
		return code < 0 ? code : 0;
	table_of(b, tools, item->event->resource)->unretried = true;
	pass->barred++;
	return 0;
}

int pl_apply_batch_look_unretried(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                                  struct pl_buf *except, struct pl_error *err)
{
	int n = 0;

	pl_buf_addc(except, '{');
	for (int i = 0; i < b->ntables; i++) {
		int code = b->tables[i].unretried ? is_free(tools, i, err) : 1;

		if (code < 0)
			return code;
		b->tables[i].unretried = code == 0;
		if (code == 0)
			pl_buf_printf(except, "%s\"%s\"", n++ ? "," : "", tools->config->resources[i].name);
	}
	pl_buf_addc(except, '}');
	return n;
}
