// Resolving records with siblings again, with the policies as they are now.
//
// apply/reresolve says which, and when. Rows that another session holds are skipped. If
// the database refuses a row, because of a constraint or a trigger, the records are
// halved until it is alone, so the others are written; likewise if they are too large to
// be read at once. Records of a locked table are skipped together. Threads: the batch's.
#include "apply/batch_private.h"

static struct pl_log_burst refused_lines;

static int attempt(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct pl_error *err)
{
	struct pl_apply_decision *d = &b->decision;
	struct pl_rows_to_lock wanted = { d->touched_rows, d->ntouched, true };
	struct pl_apply_outcome outcome;
	int code;

	if ((code = pl_apply_rows_lock(tools->sql, tools->session, &wanted, err)) < 0 ||
	    (code = pl_apply_rows_load(tools->sql, tools->session, b->arena, &wanted, err)) < 0 ||
	    (code = pl_decision_reresolve(d, tools, err)) < 0)
		return code;
	outcome = pl_apply_batch_outcome(b);
	pl_apply_rows_ready(tools->sql, &outcome);
	return pl_apply_rows_write(tools->sql, tools->session, true, err);
}

static void note_results(const struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                         struct pl_flagged *records, int n, int *changed)
{
	const struct pl_apply_decision *d = &b->decision;

	for (int i = 0; i < d->ntouched; i++)
		*changed += d->touched_rows[i]->changed;
	for (int i = 0; i < n; i++)
		for (int j = 0; j < d->ntouched; j++)
			if (d->touched_rows[j]->locked && d->touched_rows[j]->key.id == records[i].id &&
			    d->touched_rows[j]->resource ==
			            pl_config_resource(tools->config, records[i].resource))
				records[i].state = PL_FLAGGED_LOCKED;
}

// In one transaction.
static int together(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct pl_flagged *records,
                    int n, int *changed, struct pl_error *err)
{
	const char *begin;
	int code;

	pl_apply_batch_forget_attempt(b);
	pl_decision_begin(&b->decision, b->arena, &b->counts, n);
	for (int i = 0; i < n; i++) {
		const struct pl_resource *resource = pl_config_resource(tools->config, records[i].resource);

		records[i].state = PL_FLAGGED_DONE;
		// else it is no longer configured, and its siblings stay as they are
		if (resource)
			pl_decision_touch(&b->decision, resource, records[i].id);
	}
	pl_decision_sort(&b->decision);
	if (b->decision.ntouched == 0)
		return 0;
	begin = n > 1 ? PL_BEGIN_PASS "; " PL_SHORT_WAIT "; SET LOCAL statement_timeout = 1000"
	              : PL_BEGIN_PASS "; " PL_SHORT_WAIT;
	if ((code = pl_session_do(tools->session, begin, err)) < 0)
		return code;
	code = attempt(b, tools, err);
	if (code == 0)
		code = pl_session_do(tools->session, "COMMIT", err);
	if (code < 0)
		pl_apply_batch_roll_back(tools);
	else
		note_results(b, tools, records, n, changed);
	return code;
}

// All of these wait for a lock of their table, or of one of plist's.
static int is_locked(const struct pl_apply_tools *tools, const struct pl_flagged *record,
                     struct pl_error *err)
{
	const struct pl_resource *resource = pl_config_resource(tools->config, record->resource);
	enum pl_table_lock lock;
	int code = pl_apply_rows_table_lock(tools->session, resource, &lock, err);

	return code < 0 ? code : lock >= PL_TABLE_LOCKED;
}

// All of them meet the same lock, or there is only one.
static void skip(struct pl_flagged *records, int n, const struct pl_error *err)
{
	bool locked = pl_apply_batch_is_contention(err);

	for (int i = 0; i < n; i++)
		records[i].state = locked ? PL_FLAGGED_LOCKED : PL_FLAGGED_REFUSED;
	if (!locked)
		pl_log_limited(&refused_lines, PL_LOG_WARNING,
		               "%s %lld cannot be resolved again, since the database refuses the row: %s",
		               records[0].resource, (long long)records[0].id, err->text);
}

// Records of one resource.
static int by_halves(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct pl_flagged *records,
                     int n, int *changed, struct pl_error *err)
{
	int code = together(b, tools, records, n, changed, err), locked = 0;
	struct pl_error refusal = *err;

	if (code == 0 ||
	    (!pl_apply_batch_is_refusal(tools, code, err) && !pl_apply_batch_is_too_large(tools, code, err)))
		return code;
	if (n > 1 && pl_apply_batch_is_contention(err) && (locked = is_locked(tools, records, err)) < 0)
		return locked;
	if (n == 1 || locked > 0) {
		skip(records, n, &refusal);
		return 0;
	}
	code = by_halves(b, tools, records, n / 2, changed, err);
	return code < 0 ? code : by_halves(b, tools, records + n / 2, n - n / 2, changed, err);
}

int pl_apply_batch_reresolve(struct pl_apply_batch *batch, const struct pl_apply_tools *tools,
                             struct pl_flagged *records, int n, int *changed_r, struct pl_error *err)
{
	int code = 0;

	*changed_r = 0;
	for (int from = 0, same; from < n && code == 0; from += same) {
		same = 1;
		while (from + same < n && strcmp(records[from + same].resource, records[from].resource) == 0)
			same++;
		code = by_halves(batch, tools, records + from, same, changed_r, err);
	}
	pl_apply_batch_forget_attempt(batch); // it points into the records
	return code;
}
