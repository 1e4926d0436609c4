// A batch: from messages to one transaction.
//
// Stands between replicate/apply_lane, which holds the messages, and PostgreSQL. On its way: replicate/event reads each message,
// replicate/apply_sql locks and reads the records, replicate/decide decides event by event in memory, script/policy is asked where siblings
// stand at the end, and replicate/apply_sql writes every record once.
// Threads: an object belongs to one.
//
// Racing with local writes
//
// The database runs in READ COMMITTED, and a row that is being written here may at the same moment be written by a client. What holds:
//
//   - The transaction's first statement locks the rows of all records concerned, in the order of their ids (SELECT … FOR NO KEY UPDATE).
//     Where a client's transaction holds the row, it waits, and then returns the row as that transaction left it, not as our snapshot saw
//     it. From then on the row cannot change until we end. Everything is decided after this point, from what it returned.
//   - Siblings and remembered requests are read by later statements. Each has a snapshot of its own, taken after the lock was had; and
//     whoever changes a record's siblings, or executes a request on it, holds that record's lock. So both belong to the row as locked.
//   - A record that is not there yet cannot be locked. Its row is inserted with ON CONFLICT DO NOTHING; when a client has created it in
//     the meantime, fewer rows are written than were meant, the transaction is rolled back and done again, and now finds the row.
//   - A client's write that waited for our lock is looked at again by PostgreSQL when we commit: its WHERE compares version or vector,
//     ours have changed, so it writes nothing and is answered 409 or 412.
//   - Deadlocks can arise where ids of requests meet (a client's transaction has inserted one that we are about to insert, and waits for a row
//     that we hold). PostgreSQL ends one of the two; ours is done again from the start.
//
// Whatever is done again gives the same result: an event that was taken is covered by the vector, so it is stale. That is also why a
// commit whose outcome is unknown needs no asking.
//
// What goes on meanwhile
//
// Two processors have to do with a batch, the database's and ours, and the requests to remember are the larger part of it. They are known without any
// row: so they go by COPY when all is decided, and while the database is at them it is asked the policies, the rows are put into form,
// and `meanwhile` of the tools is called: whoever takes the messages reads the next batch. Nothing of that one is decided: its rows are not locked.
//
//	database  locks, rows read │       │ memory │ COPY of the requests ………………………………………… │ rows, siblings, conflicts, COMMIT
//	here      what was heard   │decided│        │ pieces for COPY, policies, rows' form, next batch │
//
// What fails alone
//
// When the database refuses a value (a constraint, a trigger), the batch is halved until the event that it refuses is alone; that one becomes a dead
// letter, and the others go through. Errors that say nothing about a value (a table that is missing, a disk that is full) stop the
// batch as a whole; it is tried again until somebody has mended it.
#include "replicate/apply_batch.h"

#include "replicate/apply_batch_in.h"

struct pl_apply_batch *pl_apply_batch_new(void)
{
	struct pl_apply_batch *batch = pl_calloc(1, sizeof *batch);

	batch->now.arena = pl_arena_new(256 * 1024);
	batch->ahead.arena = pl_arena_new(256 * 1024);
	batch->arena = pl_arena_new(256 * 1024);
	return batch;
}

static void forget_attempt(struct pl_apply_batch *b)
{
	HASH_CLEAR(hh, b->by_key);
	HASH_CLEAR(hh, b->heard_by_key);
	pl_arena_reset(b->arena);
	b->ntargets = b->nheard = b->ndetections = b->ndead = b->npositions = b->nremembered = b->nconflicts = 0;
	memset(&b->counts, 0, sizeof b->counts);
}

static void free_reading(struct reading *r)
{
	pl_arena_free(&r->arena);
	free(r->items);
}

void pl_apply_batch_free(struct pl_apply_batch **at)
{
	struct pl_apply_batch *batch = *at;

	if (!batch)
		return;
	forget_attempt(batch);
	free_reading(&batch->now);
	free_reading(&batch->ahead);
	pl_arena_free(&batch->arena);
	free(batch);
	*at = NULL;
}

// --- reading messages

static bool is_own(const struct pl_message *message, const char *region)
{
	size_t len = strlen(region);

	for (int i = 0; i < message->nheaders; i++)
		if (strcmp(message->headers[i].name, "plist-origin") == 0)
			return message->headers[i].len == len && memcmp(message->headers[i].value, region, len) == 0;
	return false;
}

static void read_message(struct reading *r, const struct pl_apply_tools *tools, struct item *item)
{
	const struct pl_message *m = item->message;
	const struct pl_resource *resource = pl_config_resource_of_topic(tools->config, m->topic);
	struct pl_event *event;
	struct pl_error err = { 0 };

	if (is_own(m, tools->region->name) && !m->unsure) {
		r->nown++;
		return;
	}
	if (!resource) {
		item->error = "no resource of the configuration has this topic";
	} else if (pl_event_decode(r->arena, resource, m->key, m->key_len, m->value, m->value_len, m->headers, m->nheaders, &event, &err) < 0) {
		item->error = pl_arena_strdup(r->arena, err.text);
	} else if (event->foreign && strcmp(event->write.dot.region, tools->region->name) == 0) {
		r->nown++; // somebody's echo of what we have
	} else {
		event->topic = m->topic;
		event->partition = m->partition;
		event->offset = m->offset;
		event->broker_time_us = m->broker_time_us;
		item->event = event;
		r->nevents++;
	}
	r->nerrors += item->error != NULL;
}

static void read_messages(struct reading *r, const struct pl_apply_tools *tools, const struct pl_message *messages, int n)
{
	if (n > r->items_cap) {
		r->items_cap = n > 2 * r->items_cap ? n : 2 * r->items_cap;
		r->items = pl_realloc(r->items, sizeof r->items[0] * (size_t)r->items_cap);
	}
	for (int i = 0; i < r->nitems; i++) // with those that were added they may stand elsewhere
		r->items[i].message = &messages[i];
	for (; r->nitems < n; r->nitems++) {
		r->items[r->nitems] = (struct item){ .message = &messages[r->nitems] };
		read_message(r, tools, &r->items[r->nitems]);
	}
}

void pl_apply_batch_read(struct pl_apply_batch *batch, const struct pl_apply_tools *tools, const struct pl_message *messages, int n)
{
	read_messages(&batch->now, tools, messages, n);
}

void pl_apply_batch_read_ahead(struct pl_apply_batch *batch, const struct pl_apply_tools *tools, const struct pl_message *messages, int n)
{
	read_messages(&batch->ahead, tools, messages, n);
}

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
	forget_attempt(batch); // it points to what was read
	forget(&batch->now);
	forget(&batch->ahead);
}

void pl_apply_batch_advance(struct pl_apply_batch *batch)
{
	struct reading done = batch->now;

	forget_attempt(batch);
	batch->now = batch->ahead;
	batch->ahead = done;
	forget(&batch->ahead);
}

bool pl_apply_batch_matters(const struct pl_apply_batch *batch)
{
	return batch->now.nevents + batch->now.nerrors > 0;
}

void pl_apply_batch_each(const struct pl_apply_batch *batch, void (*each)(void *arg, const struct pl_event *event), void *arg)
{
	for (int i = 0; i < batch->now.nitems; i++)
		if (batch->now.items[i].event)
			each(arg, batch->now.items[i].event);
}

// --- an attempt: what it is about

static int compare_targets(const void *a, const void *b)
{
	const struct pl_target_key *x = &(*(struct pl_target *const *)a)->key, *y = &(*(struct pl_target *const *)b)->key;

	return x->resource != y->resource ? (x->resource < y->resource ? -1 : 1) : (x->id > y->id) - (x->id < y->id);
}

static struct pl_target *target_of(struct pl_apply_batch *b, const struct pl_resource *resource, int64_t id)
{
	struct pl_target_key key;
	struct pl_target *target;

	memset(&key, 0, sizeof key); // padding is hashed, too
	key.resource = resource->index;
	key.id = id;
	HASH_FIND(hh, b->by_key, &key, sizeof key, target);
	if (target)
		return target;
	target = pl_arena_alloc(b->arena, sizeof *target);
	target->key = key;
	target->resource = resource;
	HASH_ADD(hh, b->by_key, key, sizeof target->key, target);
	b->targets[b->ntargets++] = target;
	return target;
}

static void add_position(struct pl_apply_batch *b, const struct pl_message *message)
{
	struct pl_position *position = b->positions;

	while (position < b->positions + b->npositions && (position->partition != message->partition || strcmp(position->topic, message->topic) != 0))
		position++;
	if (position == b->positions + b->npositions)
		b->npositions++;
	*position = (struct pl_position){ message->topic, message->partition, message->offset + 1, message->broker_time_us };
}

void pl_apply_batch_add_dead_letter(struct pl_apply_batch *b, const struct pl_message *m, const char *error)
{
	struct pl_buf headers = { 0 };

	for (int i = 0; i < m->nheaders; i++) {
		size_t len = m->headers[i].value ? strnlen(m->headers[i].value, m->headers[i].len) : 0; // jsonb takes no NUL

		pl_buf_addc(&headers, i ? ',' : '{');
		pl_buf_add_json(&headers, m->headers[i].name, strlen(m->headers[i].name));
		pl_buf_addc(&headers, ':');
		pl_buf_add_json(&headers, m->headers[i].value, len);
	}
	pl_buf_adds(&headers, m->nheaders ? "}" : "{}");
	b->dead[b->ndead++] = (struct pl_dead_letter){
		.topic = m->topic, .partition = m->partition, .offset = m->offset, .key = m->key, .key_len = m->key_len, .value = m->value,
		.value_len = m->value_len, .headers = pl_arena_strndup(b->arena, headers.data, headers.len), .error = pl_arena_strdup(b->arena, error),
	};
	b->counts.dead_letters++;
	pl_buf_fini(&headers);
}

static void begin_attempt(struct pl_apply_batch *b, struct item *items, int n)
{
	forget_attempt(b);
	b->targets = pl_arena_alloc(b->arena, sizeof b->targets[0] * (size_t)n + 1);
	b->heard = pl_arena_alloc(b->arena, sizeof b->heard[0] * (size_t)n + 1);
	b->detections = pl_arena_alloc(b->arena, sizeof b->detections[0] * (size_t)n + 1);
	b->dead = pl_arena_alloc(b->arena, sizeof b->dead[0] * (size_t)n + 1);
	b->positions = pl_arena_alloc(b->arena, sizeof b->positions[0] * (size_t)n + 1);
	for (int i = 0; i < n; i++) {
		add_position(b, items[i].message);
		if (items[i].error)
			pl_apply_batch_add_dead_letter(b, items[i].message, items[i].error);
		else if (items[i].event)
			items[i].target = target_of(b, items[i].event->resource, items[i].event->id);
	}
	qsort(b->targets, (size_t)b->ntargets, sizeof b->targets[0], compare_targets);
}

// --- the transaction

static struct pl_apply_outcome outcome_of(const struct pl_apply_batch *b)
{
	return (struct pl_apply_outcome){
		.targets = b->targets, .ntargets = b->ntargets, .heard = b->heard, .nheard = b->nheard, .positions = b->positions,
		.npositions = b->npositions, .conflicts = b->conflicts, .nconflicts = b->nconflicts, .dead = b->dead, .ndead = b->ndead,
	};
}

static int decide_and_write(struct pl_apply_batch *b, const struct pl_apply_tools *tools, const struct item *items, int n, struct pl_error *err)
{
	struct pl_apply_sql *sql = tools->sql;
	struct pl_session *session = tools->session;
	struct pl_apply_outcome outcome;
	bool copied;
	int code;

	if ((code = pl_apply_sql_lock(sql, session, b->targets, b->ntargets, err)) < 0)
		return code;
	pl_apply_batch_hear_all(b, items, n);
	copied = b->careful == 0 && pl_apply_sql_copies(b->heard, b->nheard);
	if ((code = pl_apply_sql_load(sql, session, b->arena, b->targets, b->ntargets, err)) < 0)
		return code;
	pl_apply_batch_decide_all(b, items, n);
	if ((code = pl_apply_batch_ask_memory(b, tools, items, n, err)) < 0 ||
	    (copied && (code = pl_apply_sql_copy_send(sql, session, b->heard, b->nheard, err)) < 0))
		return code;
	pl_apply_batch_show_all(b, tools);
	outcome = outcome_of(b);
	if (copied)
		outcome.nheard = 0;
	pl_apply_sql_ready(sql, &outcome);
	if (copied && tools->meanwhile)
		tools->meanwhile(tools->arg);
	if ((copied && (code = pl_apply_sql_copy_receive(session, err)) < 0) ||
	    (code = pl_apply_sql_write(sql, session, b->careful > 0, err)) < 0)
		return code;
	return pl_apply_sql_later(sql, session, b->heard, b->nheard, err);
}

static void roll_back(const struct pl_apply_tools *tools)
{
	if (pl_session_connected(tools->session))
		pl_session_do(tools->session, "ROLLBACK", NULL);
}

static int transaction(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct item *items, int n, struct pl_error *err)
{
	int code;

	begin_attempt(b, items, n);
	if ((code = pl_session_do(tools->session, "BEGIN ISOLATION LEVEL READ COMMITTED", err)) < 0)
		return code;
	code = decide_and_write(b, tools, items, n, err);
	if (code == 0)
		code = pl_session_do(tools->session, "COMMIT", err);
	if (code < 0)
		roll_back(tools);
	return code;
}

static void add_counts(struct pl_apply_counts *to, const struct pl_apply_counts *from)
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
	to->batches++;
}

// Nearly always, what is heard of is new, and rows are there or not as they were read. Then plain inserts do, at two thirds of the
// cost. A unique violation says that it was otherwise (a redelivery, a twin, a client who was faster), and the careful statement takes over.
static bool again(struct pl_apply_batch *b, int code, const struct pl_error *err)
{
	if (code == PL_EINVAL && strcmp(err->sqlstate, "23505") == 0 && b->careful == 0) {
		b->careful = CAREFUL;
		return true;
	}
	return code == PL_ECONFLICT && err->retryable;
}

static int write_items(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct item *items, int n, struct pl_apply_counts *counts,
                       struct pl_error *err)
{
	int code, tries = 0;

	while ((code = transaction(b, tools, items, n, err)) < 0 && again(b, code, err) && ++tries < TRIES)
		counts->retries++;
	if (code == 0) {
		add_counts(counts, &b->counts);
		if (b->counts.stale + b->counts.twins > 0)
			b->careful = CAREFUL;
		else
			b->careful -= b->careful > 0;
		return 0;
	}
	if (code == PL_EINVAL && n == 1 && items[0].event) { // the database will not have this value
		pl_warning("%s %d at %lld: %s; kept as a dead letter", items[0].message->topic, items[0].message->partition,
		           (long long)items[0].message->offset, err->text);
		items[0].error = pl_arena_strdup(b->now.arena, err->text);
		items[0].event = NULL;
		return write_items(b, tools, items, 1, counts, err);
	}
	// One of them is refused; or together they take longer than a statement may.
	if ((code == PL_EINVAL || (code == PL_ETIMEOUT && strcmp(err->sqlstate, "57014") == 0)) && n > 1) {
		counts->retries++;
		code = write_items(b, tools, items, n / 2, counts, err);
		return code < 0 ? code : write_items(b, tools, items + n / 2, n - n / 2, counts, err);
	}
	return code;
}

int pl_apply_batch_write(struct pl_apply_batch *batch, const struct pl_apply_tools *tools, struct pl_apply_counts *counts, struct pl_error *err)
{
	int code = batch->now.nitems > 0 ? write_items(batch, tools, batch->now.items, batch->now.nitems, counts, err) : 0;

	if (code == 0)
		counts->own += (uint64_t)batch->now.nown;
	return code;
}

// --- showing anew

static int show_anew(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct pl_error *err)
{
	struct pl_apply_outcome outcome;
	int code;

	if ((code = pl_apply_sql_lock(tools->sql, tools->session, b->targets, b->ntargets, err)) < 0 ||
	    (code = pl_apply_sql_load(tools->sql, tools->session, b->arena, b->targets, b->ntargets, err)) < 0)
		return code;
	for (int i = 0; i < b->ntargets; i++)
		b->targets[i]->ask = b->targets[i]->state.n > 1; // a client may have replaced them since
	if ((code = pl_apply_batch_ask_memory(b, tools, NULL, 0, err)) < 0)
		return code;
	b->conflicts = pl_arena_alloc(b->arena, sizeof b->conflicts[0] * (size_t)b->ntargets + 1);
	for (int i = 0; i < b->ntargets; i++) {
		struct pl_target *target = b->targets[i];
		struct pl_conflict_policy policy = pl_apply_batch_policy_named(tools, target->resource);

		if (!target->ask)
			continue;
		pl_apply_batch_show_target(b, tools, target);
		if (target->shown->nrows > 1 && tools->config->conflicts.record)
			b->conflicts[b->nconflicts++] = pl_conflict_make(b->arena, target, &target->state, target->shown, &policy, NULL);
	}
	outcome = outcome_of(b);
	pl_apply_sql_ready(tools->sql, &outcome);
	return pl_apply_sql_write(tools->sql, tools->session, true, err);
}

int pl_apply_batch_show_anew(struct pl_apply_batch *batch, const struct pl_apply_tools *tools, const struct pl_flagged *records, int n,
                             int *changed_r, struct pl_error *err)
{
	int code;

	forget_attempt(batch);
	*changed_r = 0;
	batch->targets = pl_arena_alloc(batch->arena, sizeof batch->targets[0] * (size_t)n + 1);
	for (int i = 0; i < n; i++) {
		const struct pl_resource *resource = pl_config_resource(tools->config, records[i].resource);

		if (resource) // else it was taken out of the configuration, and its siblings rest
			target_of(batch, resource, records[i].id);
	}
	qsort(batch->targets, (size_t)batch->ntargets, sizeof batch->targets[0], compare_targets);
	if (batch->ntargets == 0)
		return 0;
	if ((code = pl_session_do(tools->session, "BEGIN ISOLATION LEVEL READ COMMITTED", err)) < 0)
		return code;
	code = show_anew(batch, tools, err);
	if (code == 0)
		code = pl_session_do(tools->session, "COMMIT", err);
	if (code < 0)
		roll_back(tools);
	for (int i = 0; i < batch->ntargets && code == 0; i++)
		*changed_r += batch->targets[i]->changed;
	return code;
}
