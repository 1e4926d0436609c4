// Parked events that are due, and dead letters that an operator wants to be read again,
// are tried again.
//
// apply/parked_retry says when. Threads: the batch's.
//
// What refused one of them often refused all, and is either gone for all or for none. So
// as many are tried together as have just succeeded: after a success twice as many, up to
// PL_RETRY_MAX; after a refusal a quarter, down to one, which is then put off. Thousands
// whose cause is gone take a few transactions, and thousands that are still refused a few
// statements each, without many tries in vain first. Only so many are tried as the
// caller has time for; the others stay due.
//
// An event is put off for 1 s, then 2, 4, … up to 5 minutes, less up to 30 %, so that
// those that were refused together are not all due together; one that met another
// session (a lock, a deadlock) for at most 4 s, since that ends without notice. Locks
// are hardly waited for, so trying is cheap. What takes long gets its time little by
// little: see apply/batch_slow. Events whose table is locked are left out
// until it is free, so that thousands of them are not in the way of others.
#include "apply/batch_private.h"

static void read_again(struct pl_apply_batch *b, const struct pl_apply_tools *tools, enum pl_kept kept,
                       const struct pl_messages *messages)
{
	struct reading *r = &b->parked_again;
	int n = messages->n;

	r->items = pl_realloc(r->items, sizeof(r->items[0]) * (size_t)(n + 1));
	r->nitems = n;
	for (int i = 0; i < n; i++) {
		r->items[i] = (struct item){ .message = &messages->items[i], .slow = messages->slow[i] };
		pl_apply_batch_read_one(r, tools, &r->items[i]);
		// unreadable under this configuration; another may read it
		if (r->items[i].error && kept == PL_KEPT_PARKED) {
			struct refusal *refusal = pl_arena_alloc(r->arena, sizeof(*refusal));

			refusal->reason = r->items[i].error;
			r->items[i].error = NULL;
			r->items[i].refusal = refusal;
		}
	}
}

// How many of these are tried together; 0: the first is refused already.
static int group_of(const struct pl_apply_batch *b, const struct item *items, int n)
{
	int m = 0;

	while (m < n && m < b->together && !items[m].refusal)
		m++;
	return m;
}

// The attempt has parked some of these again, in their order: their rows are locked.
static void note_put_off(const struct pl_apply_batch *b, struct item *items, int n)
{
	int parked = 0;

	for (int i = 0; i < n && parked < b->nparked; i++) {
		const struct pl_message *m = items[i].message;
		const struct pl_dead_letter *at = &b->parked[parked].message;

		items[i].put_off = at->offset == m->offset && at->partition == m->partition &&
		                   strcmp(at->topic, m->topic) == 0;
		parked += items[i].put_off;
	}
}

// Tries a group. The number of events that are decided, or the session's code.
static int try_group(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct item *items, int n,
                     struct pass *pass, struct pl_error *err)
{
	int code = pl_apply_batch_limit_retry(b, tools, items, n, err);

	if (code < 0)
		return code;
	code = pl_apply_batch_try(b, tools, items, n, err);
	if (code == 0) {
		pl_apply_batch_add_counts(&pass->counts, &b->counts);
		pl_apply_batch_log_dead_letters(b);
		note_put_off(b, items, n);
		pl_apply_batch_forget_slow(b, items, n);
		if (n == b->together) // and not just what was left
			b->together = n < PL_RETRY_MAX / 2 ? 2 * n : PL_RETRY_MAX;
		return n;
	}
	if (!pl_apply_batch_is_refusal(tools, code, err) &&
	    !(n > 1 && pl_apply_batch_is_too_large(tools, code, err)))
		return code;
	b->together = n > 4 ? n / 4 : 1;
	if (n > 1)
		return 0;
	items[0].refusal = pl_apply_batch_refusal(pass->arena, code, err);
	pass->refused++;
	if (pl_apply_batch_is_contention(err) &&
	    (code = pl_apply_batch_ask_unretried(b, tools, items, pass, err)) < 0)
		return code;
	return 1;
}

// A group has taken this long; n of it: those that were not refused, though the rows of
// some may still be locked.
static void note_time(struct pl_retry *retry, const struct item *items, int n, int64_t us)
{
	int put_off = 0;

	for (int i = 0; i < n; i++)
		put_off += items[i].put_off;
	retry->done += n - put_off;
	retry->wasted_us += n > 0 ? us * put_off / n : us;
}

// Tries what is due, in groups, for as long as there is time, but at least one; and not
// after a locked table was found, which the next retry leaves out.
static int try_groups(struct pl_apply_batch *b, const struct pl_apply_tools *tools, int n, struct pass *pass,
                      struct pl_retry *retry, struct pl_error *err)
{
	int64_t begun_us = pl_mono_us(), now_us = begun_us;

	while (retry->tried < n && pass->barred == 0 &&
	       (retry->tried == 0 || retry->budget_us == 0 || now_us - begun_us < retry->budget_us)) {
		struct item *items = b->parked_again.items + retry->tried;
		int64_t from_us = now_us;
		int refused = pass->refused, m = group_of(b, items, n - retry->tried);
		int done = m > 0 ? try_group(b, tools, items, m, pass, err) : 1;

		if (done < 0)
			return done;
		retry->tried += done;
		retry->groups += m > 0;
		now_us = pl_mono_us();
		note_time(retry, items, done == 0 || pass->refused > refused ? 0 : m, now_us - from_us);
	}
	return 0;
}

// Within the caller's transaction: tries the events that are due, removes those that are
// done, and puts the others off. A dead letter is done when it could be read: if the
// database refuses its event, that is parked.
static int retry_due(struct pl_apply_batch *b, const struct pl_apply_tools *tools, enum pl_kept kept,
                     struct pass *pass, struct pl_retry *retry, struct pl_error *err)
{
	struct reading *r = &b->parked_again;
	struct pl_buf except = { 0 };
	struct pl_messages due;
	int code, ndone = 0;

	if ((code = pl_apply_batch_look_unretried(b, tools, &except, err)) >= 0) {
		retry->left_out = code > 0;
		code = pl_apply_rows_due(kept, tools->session, r->arena, except.data, &due, err);
	}
	pl_buf_fini(&except);
	if (code < 0 || due.n == 0)
		return code;
	read_again(b, tools, kept, &due);
	// not before: going back to it would release the locks of what is due
	if ((code = pl_session_do(tools->session, PL_SAVEPOINT_PASS, err)) < 0 ||
	    (code = try_groups(b, tools, due.n, pass, retry, err)) < 0 ||
	    (code = pl_apply_batch_lift_limit(b, tools, err)) < 0 ||
	    (code = pl_apply_batch_park(b, tools, r->items, retry->tried, pass, err)) < 0)
		return code;
	retry->more = retry->tried < due.n || due.n == PL_RETRY_MAX;
	for (int i = 0; i < retry->tried; i++)
		if (kept == PL_KEPT_LETTERS || (!r->items[i].refusal && !r->items[i].put_off))
			due.items[ndone++] = due.items[i];
	return pl_apply_rows_done(kept, tools->session, due.items, ndone, err);
}

int pl_apply_batch_retry(struct pl_apply_batch *b, const struct pl_apply_tools *tools, enum pl_kept kept,
                         struct pl_apply_counts *counts, struct pl_retry *retry, struct pl_error *err)
{
	struct pass pass = { .arena = b->parked_again.arena };
	int code, upsert = b->upsert; // says nothing about the events that arrive

	retry->tried = retry->done = retry->groups = 0;
	retry->wasted_us = 0;
	retry->more = retry->left_out = b->limited = false;
	b->retrying = b->skip_locked = b->no_positions = true;
	b->upsert = UPSERT_TRANSACTIONS;
	if ((code = pl_session_do(tools->session, PL_BEGIN_PASS "; " PL_SHORT_WAIT, err)) == 0 &&
	    (code = retry_due(b, tools, kept, &pass, retry, err)) == 0)
		code = pl_session_do(tools->session, "COMMIT", err);
	if (code < 0)
		pl_apply_batch_roll_back(tools);
	else
		pl_apply_batch_add_counts(counts, &pass.counts);
	b->retrying = b->skip_locked = b->no_positions = false;
	b->upsert = upsert;
	pl_arena_reset(b->parked_again.arena);
	b->parked_again.nitems = 0;
	return code;
}
