// Tables that another session has locked, for example while an operator alters them.
//
// Each event for such a table would wait for lock_timeout in vain, and a batch of them
// would keep the applier, which also reads the heartbeats, for minutes. So when one event
// has waited in vain, its table is asked for without waiting. If it is locked, the other
// events of the batch that need it get the same refusal untried: they are parked if
// events of other tables could be written, and else the batch is retried.
//
// The tables in which plist keeps requests, siblings and conflicts count, too. Threads:
// the batch's.
#include "apply/batch_private.h"
#include "store/statement.h"

// The transaction stands at its savepoint before and afterwards.
static bool is_locked(const struct pl_apply_tools *tools, const struct pl_resource *resource)
{
	struct pl_error err = { 0 };
	struct pl_buf sql = { 0 };
	int code;

	pl_buf_adds(&sql, "LOCK TABLE ");
	pl_statement_table(&sql, resource);
	pl_buf_adds(&sql,
	            ", plist.processed_requests, plist.record_siblings, plist.conflicts IN ROW EXCLUSIVE "
	            "MODE NOWAIT");
	code = pl_session_do(tools->session, sql.data, &err);
	pl_buf_fini(&sql);
	if (pl_session_connected(tools->session))
		pl_session_do(tools->session, "ROLLBACK TO event", NULL);
	return code < 0 && strcmp(err.sqlstate, "55P03") == 0;
}

static const struct refusal *locked_for(const struct pl_apply_batch *b, const struct pl_resource *resource)
{
	for (int i = 0; i < b->nlocked; i++)
		if (b->locked[i].resource == resource)
			return b->locked[i].refusal;
	return NULL;
}

bool pl_apply_batch_note_locked(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                                const struct item *item)
{
	const struct pl_resource *resource = item->event ? item->event->resource : NULL;

	// A message without an event still moves positions, and may become a dead letter.
	if (!resource || !item->refusal->lock || b->nlocked == LOCKED_MAX || locked_for(b, resource) ||
	    !is_locked(tools, resource))
		return false;
	b->locked[b->nlocked++] = (struct locked_table){ resource, item->refusal };
	return true;
}

void pl_apply_batch_spare_locked(const struct pl_apply_batch *b, struct item *items, int n)
{
	for (int i = 0; i < n && b->nlocked > 0; i++)
		if (items[i].event && !items[i].refusal)
			items[i].refusal = locked_for(b, items[i].event->resource);
}
