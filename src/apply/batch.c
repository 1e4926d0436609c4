// A batch: from messages to one transaction.
//
// Between apply/applier, which holds the messages, and PostgreSQL. event/event reads each
// message, apply/rows locks and reads the records, apply/decision decides event by event
// in memory and asks the policies, and apply/rows writes every record once.
// Threads: an object belongs to one.
//
// Concurrency with local writes
//
// The database runs in READ COMMITTED, and a client may write a row at the same moment as
// this batch. What holds:
//
//   - The transaction's first statement locks the rows of all records concerned, in the
//     order of their ids (SELECT … FOR NO KEY UPDATE). Where a client's transaction holds
//     a row, the statement waits, and then returns the row as that transaction left it,
//     not as our snapshot saw it. The row cannot change until we end, and
//     everything is decided on what the statement returned.
//   - Siblings and remembered requests are read by later statements, each with a snapshot
//     taken after the lock was acquired. Every writer of a record's siblings or requests
//     holds that record's lock, so both belong to the row as it was locked.
//   - A record that does not exist yet cannot be locked. Its row is inserted with ON
//     CONFLICT DO NOTHING. If a client has created it meanwhile, fewer rows are written
//     than expected, the transaction is rolled back and repeated, and now finds the row.
//   - PostgreSQL evaluates a client's write that waited for our lock again when we
//     commit. Its WHERE compares version or vector, and ours have changed, so it writes
//     nothing and is answered 409 or 412.
//   - Deadlocks are possible where request ids meet: a client's transaction has inserted
//     an id that we are about to insert, and waits for a row that we hold. PostgreSQL
//     aborts one of the two; ours is repeated from the start.
//
// Repeating gives the same result: an event that was applied is covered by the vector, so
// it is stale. That is also why a commit with unknown outcome needs no query.
//
// Overlapping work
//
// A batch keeps two processors busy, the database's and ours, and most of the work is the
// requests to remember. They do not depend on the rows, so they are sent by COPY once
// everything is decided. While the database reads them, the policies are asked, the rows
// are encoded, and `meanwhile` of the tools is called, in which the applier reads the
// next batch. Nothing of that batch is decided yet: its rows are not locked.
//
//   database  locks, rows read │       │ requests │ COPY of the requests ………………… │
//                                     rows, siblings, conflicts, COMMIT
//   here      collect requests │decide │          │ encode COPY, policies, rows,
//                                              next batch │
//
// Memory
//
// Small events may concern large records: many rows of a megabyte, or many conflicts that
// each keep all siblings of one. So the rows that a transaction reads are bounded in
// bytes, and so are the conflicts; if a batch has more, it is written in parts.
//
// Partial failure
//
// When the database rejects a value (a constraint, a trigger) or another session holds a
// row, the events that it does not accept are sorted out and parked, and the others are
// applied: see apply/batch_refused. An error that does not depend on an event (a missing
// table, a full disk) stops the batch as a whole; it is retried until the cause is gone.
#include "apply/batch.h"

#include "apply/batch_private.h"
#include "apply/trust.h"
#include "kafka/message_headers.h"

// statement_timeout does not hold for the triggers that COMMIT itself executes.
#define COMMIT_IN_TIME "SET CONSTRAINTS ALL IMMEDIATE; COMMIT"

struct pl_apply_batch *pl_apply_batch_new(void)
{
	struct pl_apply_batch *batch = pl_calloc(1, sizeof(*batch));

	batch->now.arena = pl_arena_new(256 * 1024);
	batch->ahead.arena = pl_arena_new(256 * 1024);
	batch->parked_again.arena = pl_arena_new(0);
	batch->arena = pl_arena_new(256 * 1024);
	batch->together = 1;
	return batch;
}

void pl_apply_batch_forget_attempt(struct pl_apply_batch *b)
{
	pl_decision_forget(&b->decision);
	pl_arena_reset(b->arena);
	b->ndead = b->nparked = b->npositions = b->nnumbers = 0;
	memset(&b->counts, 0, sizeof(b->counts));
}

static void free_reading(struct reading *r)
{
	pl_arena_free(&r->arena);
	free(r->items);
}

void pl_apply_batch_free(struct pl_apply_batch **batch_p)
{
	struct pl_apply_batch *batch = *batch_p;

	if (!batch)
		return;
	pl_apply_batch_forget_attempt(batch);
	free_reading(&batch->now);
	free_reading(&batch->ahead);
	free_reading(&batch->parked_again);
	pl_arena_free(&batch->arena);
	pl_apply_batch_forget_tables(batch);
	free(batch);
	*batch_p = NULL;
}

// ---- reading messages: see also batch_read.c

int pl_apply_batch_size(const struct pl_apply_batch *batch)
{
	return batch->now.nitems;
}

static void forget(struct reading *r)
{
	pl_arena_reset(r->arena);
	r->nitems = r->nevents = r->nerrors = r->nown = 0;
}

void pl_apply_batch_forget_ahead(struct pl_apply_batch *batch)
{
	forget(&batch->ahead);
}

void pl_apply_batch_forget(struct pl_apply_batch *batch)
{
	pl_apply_batch_forget_attempt(batch); // it points into the reading
	forget(&batch->now);
	forget(&batch->ahead);
	pl_apply_batch_forget_tables(batch); // the configuration may be another one
}

void pl_apply_batch_give_back(struct pl_apply_batch *batch)
{
	pl_arena_give_back(batch->now.arena);
	pl_arena_give_back(batch->ahead.arena);
	pl_arena_give_back(batch->arena);
}

void pl_apply_batch_advance(struct pl_apply_batch *batch)
{
	struct reading done = batch->now;

	pl_apply_batch_forget_attempt(batch);
	batch->now = batch->ahead;
	batch->ahead = done;
	forget(&batch->ahead);
}

bool pl_apply_batch_matters(const struct pl_apply_batch *batch)
{
	return batch->now.nevents + batch->now.nerrors > 0;
}

void pl_apply_batch_expect_parked(struct pl_apply_batch *batch, bool any)
{
	batch->any_parked = any;
}

void pl_apply_batch_each(const struct pl_apply_batch *batch,
                         void (*each)(void *arg, const struct pl_event *event), void *arg)
{
	for (int i = 0; i < batch->now.nitems; i++)
		if (batch->now.items[i].event)
			each(arg, batch->now.items[i].event);
}

// ---- an attempt: what it is about

static void add_position(struct pl_apply_batch *b, const struct pl_message *message)
{
	struct pl_position *position = b->positions;

	while (position < b->positions + b->npositions &&
	       (position->partition != message->partition || strcmp(position->topic, message->topic) != 0))
		position++;
	if (position == b->positions + b->npositions)
		b->npositions++;
	*position = (struct pl_position){ message->topic, message->partition, message->offset + 1,
		                          message->broker_time_us };
}

void pl_apply_batch_note_positions(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                                   const struct item *items, int n)
{
	b->npositions = b->nnumbers = 0;
	b->positions = pl_arena_alloc(b->arena, sizeof(b->positions[0]) * (size_t)n + 1);
	b->numbers = pl_arena_alloc(b->arena, sizeof(b->numbers[0]) * (size_t)n + 1);
	for (int i = 0; i < n; i++) {
		add_position(b, items[i].message);
		if (items[i].numbers.origin && tools->sequences)
			pl_sequences_take(tools->sequences, items[i].message, &items[i].numbers, b->numbers,
			                  &b->nnumbers);
	}
}

void pl_apply_batch_positions_written(struct pl_apply_batch *b)
{
	pl_sequences_written(b->numbers, b->nnumbers);
	b->nnumbers = 0;
}

static void add_dead_letter(struct pl_apply_batch *b, const struct pl_message *m, const char *error)
{
	b->dead[b->ndead++] = (struct pl_dead_letter){
		.topic = m->topic,
		.partition = m->partition,
		.offset = m->offset,
		.key = m->key,
		.key_len = m->key_len,
		.value = m->value,
		.value_len = m->value_len,
		.headers = pl_message_headers_print(b->arena, m),
		.error = pl_arena_strdup(b->arena, error),
		.broker_time_us = m->broker_time_us,
	};
	if (!b->retrying)
		b->counts.dead_letters++;
}

void pl_apply_batch_begin_attempt(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                                  struct item *items, int n)
{
	pl_apply_batch_forget_attempt(b);
	pl_decision_begin(&b->decision, b->arena, &b->counts, n);
	b->dead = pl_arena_alloc(b->arena, sizeof(b->dead[0]) * (size_t)n + 1);
	if (!b->no_positions)
		pl_apply_batch_note_positions(b, tools, items, n);
	b->parked = NULL; // usually there are none
	b->parked_cap = n;
	for (int i = 0; i < n; i++) {
		items[i].touched = NULL;
		if (items[i].error)
			add_dead_letter(b, items[i].message, items[i].error);
		else if (items[i].refusal)
			pl_apply_batch_add_parked(b, &items[i], items[i].refusal);
		else if (items[i].event)
			items[i].touched = pl_decision_add(&b->decision, items[i].event);
	}
	pl_decision_sort(&b->decision);
}

static const struct refusal held_elsewhere = { .reason = "another session has locked the record's row",
	                                       .sqlstate = "55P03",
	                                       .lock = true };
static const struct refusal no_join = {
	.reason = "no row can hold the join of its vector and this region's; 'plist-admin record "
		  "reset' makes room"
};

static void decide_item(struct pl_apply_batch *b, const struct item *item)
{
	const char *jump = pl_trust_jump(b->arena, &item->touched->state, item->event);

	if (jump)
		add_dead_letter(b, item->message, jump);
	else if (!pl_decision_take(&b->decision, item->event, item->touched))
		pl_apply_batch_add_parked(b, item, &no_join);
}

static void decide_items(struct pl_apply_batch *b, const struct item *items, int n)
{
	for (int i = 0; i < n; i++) {
		if (!items[i].touched)
			continue;
		if (items[i].touched->locked)
			pl_apply_batch_add_parked(b, &items[i], &held_elsewhere);
		else
			decide_item(b, &items[i]);
	}
}

// ---- the transaction

struct pl_apply_outcome pl_apply_batch_outcome(const struct pl_apply_batch *b)
{
	const struct pl_apply_decision *d = &b->decision;

	return (struct pl_apply_outcome){
		.touched_rows = d->touched_rows,
		.ntouched = d->ntouched,
		.known_requests = d->known_requests,
		.nknown = d->nknown,
		.positions = b->positions,
		.npositions = b->npositions,
		.numbers = b->numbers,
		.nnumbers = b->nnumbers,
		.conflicts = d->conflicts,
		.nconflicts = d->nconflicts,
		.dead = b->dead,
		.ndead = b->ndead,
		.parked = b->parked,
		.nparked = b->nparked,
		.clear_parked = b->any_parked,
	};
}

// Sends the requests by COPY where these are many and new; the database is busy with them
// while we resolve, and read the next batch.
static int write_outcome(struct pl_apply_batch *b, const struct pl_apply_tools *tools, bool copied,
                         struct pl_error *err)
{
	struct pl_apply_rows *sql = tools->sql;
	struct pl_session *session = tools->session;
	const struct pl_apply_decision *d = &b->decision;
	struct pl_apply_outcome outcome;
	int code;

	if (copied && (code = pl_apply_rows_copy_send(sql, session, d->known_requests, d->nknown, err)) < 0)
		return code;
	pl_decision_resolve_all(&b->decision, tools);
	outcome = pl_apply_batch_outcome(b);
	if (copied)
		outcome.nknown = 0;
	pl_apply_rows_ready(sql, &outcome);
	if (copied && tools->meanwhile)
		tools->meanwhile(tools->arg);
	if ((copied && (code = pl_apply_rows_copy_receive(session, err)) < 0) ||
	    (code = pl_apply_rows_write(sql, session, b->upsert > 0, err)) < 0)
		return code;
	return pl_apply_rows_later(sql, session, d->known_requests, d->nknown, err);
}

bool pl_apply_batch_is_too_large(const struct pl_apply_tools *tools, int code, const struct pl_error *err)
{
	return code == PL_EBUSY && err->sqlstate[0] == '\0' && pl_session_connected(tools->session);
}

int pl_apply_batch_decide(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                          const struct item *items, int n, struct pl_error *err)
{
	struct pl_apply_decision *d = &b->decision;
	struct pl_rows_to_lock wanted = { d->touched_rows, d->ntouched, b->skip_locked };
	int code;

	if ((code = pl_apply_rows_lock(tools->sql, tools->session, &wanted, err)) < 0)
		return code;
	pl_decision_collect(d);
	if ((code = pl_apply_rows_load(tools->sql, tools->session, b->arena, &wanted, err)) < 0)
		return code;
	decide_items(b, items, n);
	if (d->conflict_bytes > PL_APPLY_ROWS_BYTES && n > 1)
		return pl_error_set(err, PL_EBUSY, "the conflicts of %d events have more than %d bytes", n,
		                    PL_APPLY_ROWS_BYTES);
	return pl_decision_read_requests(d, tools, err);
}

int pl_apply_batch_attempt(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                           const struct item *items, int n, struct pl_error *err)
{
	const struct pl_apply_decision *d = &b->decision;
	int code = pl_apply_batch_decide(b, tools, items, n, err);

	if (code < 0)
		return code;
	return write_outcome(b, tools, b->upsert == 0 && pl_apply_rows_copies(d->known_requests, d->nknown),
	                     err);
}

void pl_apply_batch_roll_back(const struct pl_apply_tools *tools)
{
	if (pl_session_connected(tools->session))
		pl_session_do(tools->session, "ROLLBACK", NULL);
}

int pl_apply_batch_transaction(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                               struct item *items, int n, struct pl_error *err)
{
	const char *begin;
	int code;

	pl_apply_batch_begin_attempt(b, tools, items, n);
	begin = pl_arena_printf(b->arena, "BEGIN ISOLATION LEVEL READ COMMITTED; %s",
	                        pl_apply_batch_limit(b, tools, n));
	if ((code = pl_session_do(tools->session, begin, err)) < 0)
		return code;
	code = pl_apply_batch_attempt(b, tools, items, n, err);
	if (code == 0)
		code = pl_session_do(tools->session, COMMIT_IN_TIME, err);
	if (code < 0)
		pl_apply_batch_roll_back(tools);
	if (code < 0 && pl_apply_batch_is_slow(err))
		pl_apply_batch_be_wary(b);
	return code;
}

void pl_apply_batch_add_counts(struct pl_apply_counts *to, const struct pl_apply_counts *from)
{
	to->applied += from->applied;
	to->stale += from->stale;
	to->conflicts += from->conflicts;
	to->twins += from->twins;
	to->policy_errors += from->policy_errors;
	to->foreign += from->foreign;
	to->dead_letters += from->dead_letters;
	to->shadow_same += from->shadow_same;
	to->shadow_different += from->shadow_different;
	to->shadow_failed += from->shadow_failed;
	to->parked += from->parked;
	to->not_ours += from->not_ours;
	to->returned += from->returned;
	to->batches++;
}

// Logs dead letters once they are stored. Anyone who can write to the topic can cause
// them, so the lines are limited.
void pl_apply_batch_log_dead_letters(const struct pl_apply_batch *b)
{
	static struct pl_log_burst burst;

	for (int i = 0; i < b->ndead && !b->retrying; i++) {
		const struct pl_dead_letter *letter = &b->dead[i];
		struct pl_buf key = { 0 };

		pl_buf_add_json(&key, letter->key ? letter->key : "",
		                letter->key ? letter->key_len < 60 ? letter->key_len : 60 : 0);
		pl_log_limited(&burst, PL_LOG_WARNING,
		               "a message cannot be applied and is kept as a dead letter: %s %d at %lld, "
		               "key %s: %s",
		               letter->topic, letter->partition, (long long)letter->offset, key.data,
		               letter->error);
		pl_buf_fini(&key);
	}
}

void pl_apply_batch_log_returned(const struct pl_apply_counts *counts)
{
	static struct pl_log_burst burst;

	if (counts->returned > 0)
		pl_log_limited(&burst, PL_LOG_WARNING,
		               "took back %llu writes that this region had made and its database had lost; "
		               "another region has republished them",
		               (unsigned long long)counts->returned);
}

// Nearly always requests are new and rows exist or not as they were read. Then plain
// inserts suffice, at two thirds of the cost of upserts. A unique violation means that
// this time it is different (a redelivery, a twin, a faster client), and the upserting
// statements take over.
static bool again(struct pl_apply_batch *b, int code, const struct pl_error *err)
{
	if (code == PL_EINVAL && strcmp(err->sqlstate, "23505") == 0 && b->upsert == 0) {
		b->upsert = UPSERT_TRANSACTIONS;
		return true;
	}
	return code == PL_ECONFLICT && err->retryable;
}

static int write_part(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct item *items, int n,
                      struct pl_apply_counts *counts, struct pl_error *err)
{
	int code, tries = 0;

	pl_apply_batch_spare_slow(b, items, n);
	do {
		b->skip_locked = pl_apply_batch_has_stuck(b);
		code = pl_apply_batch_transaction(b, tools, items, n, err);
	} while (code < 0 && again(b, code, err) && ++tries < TRIES && ++counts->retries);
	b->skip_locked = false;
	if (code < 0)
		return pl_apply_batch_is_refusal(tools, code, err)
		               ? pl_apply_batch_sort_out(b, tools, items, n, counts, err)
		               : code;
	pl_apply_batch_positions_written(b);
	pl_apply_batch_add_counts(counts, &b->counts);
	pl_apply_batch_log_dead_letters(b);
	pl_apply_batch_log_returned(&b->counts);
	if (b->counts.stale + b->counts.twins > 0)
		b->upsert = UPSERT_TRANSACTIONS;
	else
		b->upsert -= b->upsert > 0;
	return 0;
}

// How many of `n` events may be tried after that many were too large.
static int fewer(const struct pl_apply_batch *b, const struct pl_apply_tools *tools, int n)
{
	int64_t rows = pl_apply_rows_loaded(tools->sql), conflicts = b->decision.conflict_bytes;
	int64_t fit = n * (int64_t)PL_APPLY_ROWS_BYTES / (1 + (rows > conflicts ? rows : conflicts));

	return fit < 1 ? 1 : fit < n / 2 ? (int)fit : n / 2;
}

// In one transaction, or in several one after the other.
static int write_items(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct item *items,
                       int n, struct pl_apply_counts *counts, struct pl_error *err)
{
	int code = pl_apply_batch_look_shunned(b, tools, items, n, err), part = n;

	if (code < 0)
		return code;
	for (int from = 0; from < n; from += part) {
		part = part < n - from ? part : n - from;
		while ((code = write_part(b, tools, items + from, part, counts, err)) < 0) {
			if (part == 1 || !pl_apply_batch_is_too_large(tools, code, err))
				return code;
			part = fewer(b, tools, part);
		}
	}
	return 0;
}

int pl_apply_batch_write(struct pl_apply_batch *batch, const struct pl_apply_tools *tools,
                         struct pl_apply_counts *counts, struct pl_error *err)
{
	int code = batch->now.nitems > 0
	                   ? write_items(batch, tools, batch->now.items, batch->now.nitems, counts, err)
	                   : 0;

	if (code == 0) {
		counts->own += (uint64_t)batch->now.nown;
		batch->barred_since_us = 0;
	}
	return code;
}
