// Events that the database does not accept: sorted out of a batch, and parked.
//
// apply/batch comes here when a transaction failed for a reason that single events may
// have caused. Threads: the batch's.
//
// Sorting out
//
// A failed batch is tried again in chunks, and a failed chunk event by event in one
// transaction, each behind a savepoint. So one refused event among thousands costs a few
// small transactions, and thousands of them cost a few round trips each and a commit for
// each chunk; except those that lack a value which the database has just said it needs,
// or whose table is locked: see apply/batch_foresee and apply/batch_locked. Rows that
// another session holds are not waited for here (SKIP LOCKED): their events are parked at
// once.
//
// Some errors may concern one event or all of them: a lock timeout, a deadlock, a missing
// function. They are attributed to the event if another event of the same pass was
// written, if a trigger raised the error, or if the event waited for another session that
// has not locked its table. An event that is alone in its batch needs this: nothing is
// fetched until a failed batch is written, so no other event would come to its help. In
// all other cases the batch is retried as for any failure of the database; for a table
// that stays locked or may not be used, see apply/batch_locked.
//
// After an event has waited for a lock in vain, the others of its pass wait only briefly.
// They are parked sooner, and tried again soon. The same holds for what takes too long:
// see apply/batch_slow.
//
// Parked events
//
// A parked event does not block others: its position has been passed, and other events of
// its record are decided as they come, since the order in which writes become known does
// not matter (decide/decide). apply/batch_retry tries it again.
#include "apply/batch_private.h"
#include "apply/trust.h"
#include "kafka/message_headers.h"

#define TRIES_ALONE   3
#define STUCK_US      (60 * INT64_C(1000000)) // how long a record counts as locked

#define AFTER_SUCCESS "RELEASE event; " PL_SAVEPOINT_PASS

static struct pl_log_burst parked_lines, foreign_lines;

// ---- parking

static void say(const struct item *item, const struct refusal *r)
{
	const struct pl_message *m = item->message;
	const char *named = r->constraint ? r->constraint : r->column;

	pl_log_limited(&parked_lines, PL_LOG_WARNING, "parked event %s (%s %d at %lld): %s%s%s%s",
	               item->event
	                       ? item->event->event_id ? item->event->event_id : item->event->resource->name
	                       : "of another configuration",
	               m->topic, m->partition, (long long)m->offset, r->reason, named ? " (" : "",
	               named ? named : "", named ? ")" : "");
}

void pl_apply_batch_add_parked(struct pl_apply_batch *b, const struct item *item,
                               const struct refusal *refusal)
{
	const struct pl_message *m = item->message;

	if (!b->parked)
		b->parked = pl_arena_alloc(b->arena, sizeof(b->parked[0]) * (size_t)b->parked_cap + 1);
	b->parked[b->nparked++] = (struct pl_parked){
		.event = item->event,
		.broker_time_us = m->broker_time_us,
		.sqlstate = refusal->sqlstate,
		.constraint = refusal->constraint,
		.column = refusal->column,
		.lock = refusal->lock,
		.message = { .topic = m->topic,
		             .partition = m->partition,
		             .offset = m->offset,
		             .key = m->key,
		             .key_len = m->key_len,
		             .value = m->value,
		             .value_len = m->value_len,
		             .headers = pl_message_headers_print(b->arena, m),
		             .error = refusal->reason },
	};
	if (b->retrying || b->silent)
		return;
	b->counts.parked++;
	say(item, refusal);
	if (item->too_slow && item->event)
		pl_apply_batch_note_slow(b, item);
	// If there are too many, a transaction locks many: any record may be one of them.
	if (refusal->lock && item->touched &&
	    !pl_apply_batch_marks_add(&b->stuck, item->touched->key, STUCK_US))
		b->crowded_until_us = pl_mono_us() + STUCK_US;
	b->any_parked = true;
}

// ---- locked rows

bool pl_apply_batch_has_stuck(struct pl_apply_batch *b)
{
	bool found = b->crowded_until_us > 0 && b->crowded_until_us > pl_mono_us();

	pl_apply_batch_marks_expire(&b->stuck);
	for (int i = 0; i < b->stuck.n; i++)
		for (int j = 0; j < b->now.nitems && !found; j++)
			found = pl_apply_batch_mark_is(&b->stuck.each[i], &b->now.items[j]);
	return found;
}

// ---- sorting out

bool pl_apply_batch_is_refusal(const struct pl_apply_tools *tools, int code, const struct pl_error *err)
{
	if (!pl_session_connected(tools->session))
		return false;
	switch (code) {
	case PL_EINVAL:
	case PL_ECONFLICT: // fewer rows were written than expected; deadlocks
		return true;
	case PL_ETIMEOUT:
	case PL_EINTERNAL: // raised by a statement within a trigger
		return err->sqlstate[0] != '\0';
	case PL_EUNAVAIL: // a trigger may raise any SQLSTATE
		return err->nested;
	default: return false;
	}
}

// Whether the error certainly concerns this event.
static bool is_of_event(int code, const struct pl_error *err)
{
	return code == PL_EINVAL || (code == PL_ECONFLICT && err->sqlstate[0] == '\0');
}

bool pl_apply_batch_is_contention(const struct pl_error *err)
{
	return strcmp(err->sqlstate, "55P03") == 0 || strcmp(err->sqlstate, "40P01") == 0;
}

static void note_unclear(struct pass *pass, const struct pl_error *err)
{
	if (pass->unclear++ == 0)
		pass->first = *err;
	if (pl_apply_batch_is_contention(err) || pl_apply_batch_is_slow(err))
		pass->contended++;
	else if (err->nested) // by a trigger
		pass->raised++;
	else if (strcmp(err->sqlstate, "42501") == 0)
		pass->denied++;
}

static const char *kept(struct pl_arena *arena, const char *text)
{
	return text[0] ? pl_arena_strdup(arena, text) : NULL;
}

const struct refusal *pl_apply_batch_refusal(struct pl_arena *arena, int code, const struct pl_error *err)
{
	struct refusal *r = pl_arena_alloc(arena, sizeof(*r));

	r->reason = code == PL_ECONFLICT && err->sqlstate[0] == '\0'
	                    ? "the row was not written; a trigger of the table may have suppressed it"
	                    : pl_arena_strdup(arena, err->text);
	r->sqlstate = kept(arena, err->sqlstate);
	r->constraint = kept(arena, err->constraint);
	r->column = kept(arena, err->columns);
	r->lock = strcmp(err->sqlstate, "55P03") == 0;
	return r;
}

// The setting must be outside the savepoint: going back to it would undo the setting.
static const char *after_failure(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                                 const struct pl_error *err)
{
	if (strcmp(err->sqlstate, "55P03") == 0)
		return "ROLLBACK TO event; RELEASE event; " PL_SHORT_WAIT "; " PL_SAVEPOINT_PASS;
	if (!pl_apply_batch_is_slow(err) || b->retrying)
		return "ROLLBACK TO event";
	pl_apply_batch_be_wary(b);
	return pl_arena_printf(b->arena, "ROLLBACK TO event; RELEASE event; %s; " PL_SAVEPOINT_PASS,
	                       pl_apply_batch_limit(b, tools, 1));
}

int pl_apply_batch_try(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct item *items,
                       int n, struct pl_error *err)
{
	int code = PL_ECONFLICT;

	for (int i = 0; i < (b->retrying ? 1 : TRIES_ALONE) && code == PL_ECONFLICT; i++) {
		pl_apply_batch_begin_attempt(b, tools, items, n);
		code = pl_apply_batch_attempt(b, tools, items, n, err);
		if (!pl_session_connected(tools->session))
			return code;
		if (pl_session_do(tools->session, code == 0 ? AFTER_SUCCESS : after_failure(b, tools, err),
		                  code < 0 ? NULL : err) < 0)
			return code < 0 ? code : err->code;
	}
	return code;
}

// An event was refused; others may be for the same reason. Those are not tried.
static int spare_others(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct item *items,
                        int n, struct pass *pass, struct pl_error *err)
{
	int code = 0;

	if (pl_apply_batch_is_contention(err)) {
		struct pl_error asking = { 0 };

		if ((code = pl_apply_batch_ask_locked(b, tools, items, pass, &asking)) < 0)
			*err = asking;
		pl_apply_batch_spare_locked(b, items + 1, n - 1);
	} else if (items->too_slow) {
		pl_apply_batch_spare_run(pass, items, n);
	} else if (pl_apply_batch_note_null(b, items, err)) {
		code = pl_apply_batch_foresee(b, tools, items + 1, n - 1, err);
	}
	return code;
}

static int pass_of(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct item *items, int n,
                   struct pass *pass, struct pl_error *err)
{
	for (int i = 0; i < n; i++) {
		int64_t begun_us = pl_mono_us();
		int code = items[i].refusal ? 0 : pl_apply_batch_try(b, tools, &items[i], 1, err);

		if (code < 0 && !pl_apply_batch_is_refusal(tools, code, err))
			return code;
		if (code == 0 && !items[i].refusal) {
			pl_apply_batch_add_counts(&pass->counts, &b->counts);
			pl_apply_batch_log_dead_letters(b);
			pass->wrote |= b->counts.applied > 0;
			pass->slow_run = 0;
			continue;
		}
		pass->refused++;
		if (code == 0)
			continue;
		items[i].refusal = pl_apply_batch_refusal(pass->arena, code, err);
		items[i].too_slow = pl_apply_batch_took_long(begun_us, err);
		if (!is_of_event(code, err))
			note_unclear(pass, err);
		if ((code = spare_others(b, tools, items + i, n - i, pass, err)) < 0)
			return code;
	}
	return 0;
}

int pl_apply_batch_park(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                        const struct item *items, int n, struct pass *pass, struct pl_error *err)
{
	struct item *refused = pl_arena_alloc(pass->arena, sizeof(refused[0]) * (size_t)n + 1);
	int nrefused = 0, code;

	for (int i = 0; i < n; i++)
		if (items[i].refusal)
			refused[nrefused++] = items[i];
	if (nrefused == 0)
		return 0;
	pl_apply_batch_begin_attempt(b, tools, refused, nrefused);
	if ((code = pl_apply_batch_attempt(b, tools, refused, nrefused, err)) == 0)
		pl_apply_batch_add_counts(&pass->counts, &b->counts);
	return code;
}

// Once for all events, so that one that is parked after later ones does not move the
// position back.
static int write_positions(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                           const struct item *items, int n, struct pl_error *err)
{
	pl_apply_batch_note_positions(b, tools, items, n);
	return pl_apply_rows_positions(tools->sql, tools->session,
	                               &(struct pl_apply_outcome){ .positions = b->positions,
	                                                           .npositions = b->npositions,
	                                                           .numbers = b->numbers,
	                                                           .nnumbers = b->nnumbers },
	                               err);
}

// Whether the unclear failures are the events' own. Else they concern all events.
static bool are_of_events(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                          const struct pass *pass)
{
	if (pass->wrote || pass->unclear == 0)
		return true;
	if (pass->contended + pass->raised + pass->denied < pass->unclear)
		return false;
	return (pass->barred + pass->denied == 0 && !pass->barred_all) ||
	       pl_apply_batch_parks_locked(b, tools, pass);
}

static int alone_in_transaction(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                                struct item *items, int n, struct pass *pass, struct pl_error *err)
{
	const char *begin = pl_arena_printf(pass->arena, PL_BEGIN_PASS "; %s; " PL_SAVEPOINT_PASS,
	                                    pl_apply_batch_limit(b, tools, 1));
	int code;

	if ((code = pl_session_do(tools->session, begin, err)) < 0 ||
	    (code = pass_of(b, tools, items, n, pass, err)) < 0)
		return code;
	if (!are_of_events(b, tools, pass)) {
		*err = pass->first;
		return err->code;
	}
	if ((code = pl_apply_batch_lift_limit(b, tools, err)) < 0 ||
	    (pass->refused > 0 && (code = pl_apply_batch_park(b, tools, items, n, pass, err)) < 0))
		return code;
	return write_positions(b, tools, items, n, err);
}

static int one_by_one(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct item *items, int n,
                      struct pl_apply_counts *counts, struct pl_error *err)
{
	struct pass pass = { .arena = b->now.arena };
	int code;

	b->upsert = UPSERT_TRANSACTIONS;
	b->no_positions = true;
	code = alone_in_transaction(b, tools, items, n, &pass, err);
	b->no_positions = false;
	if (code == 0)
		code = pl_session_do(tools->session, "COMMIT", err);
	if (code == 0) {
		pl_apply_batch_positions_written(b);
		pl_apply_batch_add_counts(counts, &pass.counts);
		pl_apply_batch_log_returned(&pass.counts);
		pl_apply_batch_shun_locked(b, tools);
		return 0;
	}
	pl_apply_batch_roll_back(tools);
	return code;
}

// Where the next chunk ends. Events that are refused already cost nothing more.
static int chunk_of(const struct item *items, int n)
{
	int m = 0;

	for (int untried = 0; m < n && untried < PL_CHUNK; m++)
		untried += !items[m].refusal;
	return m;
}

static int sort_out_chunk(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct item *items,
                          int n, struct pl_apply_counts *counts, struct pl_error *err)
{
	int code;

	b->upsert = UPSERT_TRANSACTIONS;
	code = pl_apply_batch_transaction(b, tools, items, n, err);
	if (code == 0) {
		pl_apply_batch_positions_written(b);
		pl_apply_batch_add_counts(counts, &b->counts);
		pl_apply_batch_log_dead_letters(b);
		pl_apply_batch_log_returned(&b->counts);
	} else if (pl_apply_batch_is_refusal(tools, code, err)) {
		code = one_by_one(b, tools, items, n, counts, err);
	}
	return code;
}

int pl_apply_batch_sort_out(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct item *items,
                            int n, struct pl_apply_counts *counts, struct pl_error *err)
{
	int code = 0, known = 0, from = 0;

	counts->retries++;
	b->skip_locked = true;
	b->nnulls = 0;
	for (int m; from < n && code == 0; from += code == 0 ? m : 0) {
		pl_apply_batch_spare_locked(b, items + from, n - from);
		m = chunk_of(items + from, n - from);
		code = sort_out_chunk(b, tools, items + from, m, counts, err);
		if (code == 0 && b->nnulls > known)
			code = pl_apply_batch_foresee(b, tools, items + from + m, n - from - m, err);
		known = b->nnulls;
	}
	b->skip_locked = false;
	for (int i = from; i < n; i++) // retried from the start
		if (items[i].refusal && !(items[i].event && items[i].event->unfit))
			items[i].refusal = NULL;
	return code;
}

// ---- events in our own name

bool pl_apply_batch_has_own(const struct pl_apply_batch *b)
{
	for (int i = 0; i < b->now.nitems; i++)
		if (b->now.items[i].own.counter > 0)
			return true;
	return false;
}

static void not_ours(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct item *item,
                     struct pl_apply_counts *counts)
{
	const struct pl_message *m = item->message;

	item->error = pl_arena_printf(
		b->now.arena,
		PL_NOT_OURS
		", %s, and write %d of record %lld, which this region never "
		"made: another producer writes to the topic; 'plist-admin record reset %s/%lld --in %.*s' "
		"takes this region's copy to the regions that have applied it",
		item->own.region, item->own.counter, (long long)item->id, item->resource->name,
		(long long)item->id, (int)pl_vector_region_len(item->own.region, strlen(item->own.region)),
		item->own.region);
	b->now.nown--;
	b->now.nerrors++;
	counts->not_ours++;
	pl_log_limited(&foreign_lines, PL_LOG_ERROR,
	               "an event in this region's own name was not written here: %s %d at %lld, record "
	               "%lld, write %d; it is kept as a dead letter, and other regions may have applied it",
	               m->topic, m->partition, (long long)m->offset, (long long)item->id, item->own.counter);
}

// All items of this resource.
static int check_own_of(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                        const struct pl_resource *resource, struct pl_apply_counts *counts,
                        struct pl_error *err)
{
	struct reading *r = &b->now;
	struct pl_own_event *events = pl_arena_alloc(b->arena, sizeof(events[0]) * (size_t)r->nitems);
	struct item **items = pl_arena_alloc(b->arena, sizeof(items[0]) * (size_t)r->nitems);
	int n = 0, code;

	for (int i = 0; i < r->nitems; i++)
		if (r->items[i].own.counter > 0 && r->items[i].resource == resource) {
			items[n] = &r->items[i];
			events[n++] = (struct pl_own_event){ r->items[i].id, r->items[i].own, false };
		}
	if ((code = pl_apply_rows_check_own(tools->sql, tools->session, resource, events, n, err)) < 0)
		return code;
	for (int i = 0; i < n; i++) {
		if (events[i].lost)
			not_ours(b, tools, items[i], counts);
		items[i]->own.counter = 0;
	}
	return 0;
}

int pl_apply_batch_check_own(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                             struct pl_apply_counts *counts, struct pl_error *err)
{
	for (int i = 0; i < b->now.nitems; i++) {
		int code = b->now.items[i].own.counter > 0
		                   ? check_own_of(b, tools, b->now.items[i].resource, counts, err)
		                   : 0;

		if (code < 0)
			return code;
	}
	return 0;
}
