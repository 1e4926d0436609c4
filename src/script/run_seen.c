// Read your writes, in the steps of a run: see seen/seen.c for what a token promises.
//
// Before an op of the handler is sent, the region must have what the client has seen, as
// far as the op can show or change it:
//
//   a read of a record that the token names     its row covers the named vector. The read
//                                               itself shows that, so it costs nothing
//   a write of one                              the same, by a read before the write
//   any other read or write, and every query    the positions have been reached
//   the creation of a record without an id      nothing: it depends on no other write
//
// If the region has reached the positions, it has the named records, too; a tombstone
// that was removed meanwhile is not waited for.
//
// While something is missing, the run waits, without blocking the worker: the store
// answers the next question a little later. At most PL_SEEN_WAITS_MAX runs of the process
// wait. After http.session_wait the op fails like one whose database is unavailable, so
// the answer is a 503 that says that nothing was executed, and NGINX takes the request to
// the next region, and in the end to the one that made what is missing.
//
// When the handler has answered, the token is completed. If something was read that it
// does not cover, the positions are asked for once more.
// Threads: a VM's.
#include <string.h>

#include "base/clock.h"
#include "script/answer.h"
#include "script/run_state.h"
#include "seen/positions.h"
#include "seen/waits.h"

#define LOOK_FIRST_US 5000
#define LOOK_LAST_US  100000

void pl_run_seen_begin(struct pl_run *run)
{
	const struct pl_request *request = run->request;

	if (!request->seen)
		return;
	run->seen.seen = pl_arena_alloc(request->arena, sizeof(*run->seen.seen));
	*run->seen.seen = *request->seen;
	run->seen.given = true;
	run->seen.reached = request->seen->npositions == 0;
}

// ---- waiting

static const struct pl_seen_record *named(const struct pl_run *run, const struct pl_resource *resource,
                                          int64_t id)
{
	return id == 0 ? NULL : pl_seen_find(run->seen.seen, resource->name, id);
}

static struct pl_op *ask_record(struct pl_run *run, const struct pl_write *write)
{
	struct pl_op *op = pl_run_op_new(run, PL_OP_CHECK_RECORD);

	op->read = (struct pl_read){ .arena = run->arena,
		                     .resource = write->resource,
		                     .id = write->id,
		                     .deadline_us = run->request->deadline_us };
	return op;
}

static struct pl_op *ask_positions(struct pl_run *run, enum pl_op_kind kind)
{
	struct pl_op *op = pl_run_op_new(run, kind);

	op->query = (struct pl_query){ .arena = run->arena, .deadline_us = run->request->deadline_us };
	pl_seen_positions_ask(&op->query, run->request->region);
	return op;
}

static bool is_new(const struct pl_op *op)
{
	return op->kind == PL_OP_WRITE && op->write.op == PL_WRITE_CREATE && op->write.id == 0;
}

struct pl_op *pl_run_seen_check(struct pl_run *run, struct pl_op *op)
{
	bool is_handlers = op->kind == PL_OP_READ || op->kind == PL_OP_WRITE || op->kind == PL_OP_QUERY;

	if (!is_handlers || !run->seen.given || run->seen.reached || is_new(op))
		return NULL;
	if (op->kind == PL_OP_READ && named(run, op->read.resource, op->read.id))
		return NULL;
	if (op->kind == PL_OP_WRITE && named(run, op->write.resource, op->write.id))
		return ask_record(run, &op->write);
	return ask_positions(run, PL_OP_CHECK);
}

static void stop_waiting(struct pl_run *run, bool in_vain)
{
	if (run->seen.since_us > 0)
		pl_seen_waits_leave(pl_mono_us() - run->seen.since_us, in_vain);
	run->seen.since_us = 0;
	run->seen.looks = 0;
}

void pl_run_seen_abandon(struct pl_run *run)
{
	stop_waiting(run, true);
}

static struct pl_op *fail(struct pl_run *run, const struct pl_error *err)
{
	struct pl_op *op = run->op;

	stop_waiting(run, true);
	switch (op->kind) {
	case PL_OP_READ:
		op->read.code = err->code;
		op->read.record = NULL;
		op->read.err = *err;
		break;
	case PL_OP_QUERY:
		op->query.code = err->code;
		op->query.err = *err;
		break;
	default: op->write.outcome = PL_OUTCOME_FAILED; op->write.err = *err;
	}
	return NULL;
}

static struct pl_op *fail_behind(struct pl_run *run, int code)
{
	struct pl_error err = { 0 };

	if (code == PL_EBUSY)
		pl_error_set(&err, code, "too many requests wait for what their clients have seen");
	else if (run->seen.missing)
		pl_error_set(
			&err, PL_EBEHIND,
			"region %s has not yet applied all writes of region %s that this client has seen "
			"(Plist-Session)",
			run->request->region, run->seen.missing);
	else
		pl_error_set(&err, PL_EBEHIND,
		             "region %s has not yet applied what this client has seen (Plist-Session)",
		             run->request->region);
	return fail(run, &err);
}

// Whether the run may go on waiting; otherwise its op has failed.
static bool may_wait(struct pl_run *run)
{
	int64_t now_us = pl_mono_us(), most_us = run->vm->config->http.session_wait_us;

	if (run->seen.since_us == 0 && most_us > 0) {
		if (!pl_seen_waits_enter()) {
			fail_behind(run, PL_EBUSY);
			return false;
		}
		run->seen.since_us = now_us;
	}
	if (most_us > 0 && now_us - run->seen.since_us < most_us && now_us < run->request->deadline_us)
		return true;
	fail_behind(run, PL_EBEHIND);
	return false;
}

static int64_t later_us(struct pl_run *run)
{
	int64_t us = LOOK_FIRST_US << (run->seen.looks < 5 ? run->seen.looks : 5);
	int64_t left_us = run->seen.since_us + run->vm->config->http.session_wait_us - pl_mono_us();

	run->seen.looks++;
	us = us > LOOK_LAST_US ? LOOK_LAST_US : us;
	return pl_mono_us() + (us > left_us ? left_us : us);
}

static bool covers(const struct pl_run *run, const struct pl_read *read)
{
	const struct pl_seen_record *record = named(run, read->resource, read->id);

	return !record || pl_seen_covered(record, read->code == 0 ? &read->record->vector : NULL);
}

// The positions say whether waiting for the record may end. Asked at once the first time.
static struct pl_op *ask_for_record(struct pl_run *run)
{
	struct pl_op *op;

	op = ask_positions(run, PL_OP_CHECK);
	if (run->seen.since_us > 0)
		op->query.not_before_us = later_us(run);
	return op;
}

static struct pl_op *positions_checked(struct pl_run *run, struct pl_op *check)
{
	struct pl_op *op = run->op, *again;

	run->seen.reached =
		pl_seen_positions_reached(&check->query, run->seen.seen, run->vm->config, &run->seen.missing);
	if (run->seen.reached) {
		stop_waiting(run, false);
		return op;
	}
	if (!may_wait(run))
		return NULL;
	if (op->kind == PL_OP_READ && named(run, op->read.resource, op->read.id))
		return op;
	if (op->kind == PL_OP_WRITE && named(run, op->write.resource, op->write.id))
		return ask_record(run, &op->write);
	again = ask_positions(run, PL_OP_CHECK);
	again->query.not_before_us = later_us(run);
	return again;
}

struct pl_op *pl_run_seen_checked(struct pl_run *run, struct pl_op *check)
{
	if (check->kind == PL_OP_CHECK)
		return check->query.code == 0 ? positions_checked(run, check) : fail(run, &check->query.err);
	if (check->read.code != 0 && check->read.code != PL_ENOTFOUND)
		return fail(run, &check->read.err);
	if (!covers(run, &check->read))
		return ask_for_record(run);
	stop_waiting(run, false);
	return run->op;
}

struct pl_op *pl_run_seen_check_read(struct pl_run *run, const struct pl_op *op)
{
	if (!run->seen.given || run->seen.reached || (op->read.code != 0 && op->read.code != PL_ENOTFOUND))
		return NULL;
	if (!covers(run, &op->read))
		return ask_for_record(run);
	stop_waiting(run, false);
	return NULL;
}

// ---- what was seen

static void note_read(struct pl_run *run, const struct pl_read *read)
{
	const struct pl_seen_record *record = named(run, read->resource, read->id);

	if (read->code == PL_ENOTFOUND) {
		pl_seen_forget(run->seen.seen, read->resource->name, read->id);
		run->seen.uncovered = true;
	} else if (read->code == 0 && (!record || !pl_seen_equal(record, &read->record->vector))) {
		pl_seen_add_record(run->seen.seen, read->resource->name, read->record->id,
		                   &read->record->vector, false);
		run->seen.uncovered = true;
	}
}

// What the answer to a write that was not done says of records.
static void note_refusal(struct pl_run *run, const struct pl_write *write)
{
	struct pl_seen *seen = run->seen.seen;

	if (!run->seen.given || write->outcome == PL_OUTCOME_FAILED)
		return;
	run->seen.uncovered = true;
	switch (write->outcome) {
	case PL_OUTCOME_NOT_FOUND: pl_seen_forget(seen, write->resource->name, write->id); break;
	case PL_OUTCOME_TAKEN: // by another record
	case PL_OUTCOME_DANGLING:
	case PL_OUTCOME_REFERENCED: pl_seen_forget_all(seen); break;
	default:
		if (write->record)
			pl_seen_add_record(seen, write->resource->name, write->record->id,
			                   &write->record->vector, write->record->deleted);
	}
}

static void note_write(struct pl_run *run, const struct pl_write *write)
{
	if (write->outcome != PL_OUTCOME_DONE) {
		note_refusal(run, write);
		return;
	}
	if (!run->seen.seen)
		run->seen.seen = pl_arena_alloc(run->request->arena, sizeof(*run->seen.seen));
	pl_seen_add_record(run->seen.seen, write->resource->name, write->record->id, &write->record->vector,
	                   write->record->deleted);
	pl_seen_add_position(run->seen.seen, run->request->region, write->generation, write->outbox_id);
	run->seen.uncovered |= write->outbox_id == 0;
}

static void note_query(struct pl_run *run, const struct pl_query *query)
{
	if (query->code != 0)
		return;
	pl_seen_forget_all(run->seen.seen);
	run->seen.uncovered = true;
}

void pl_run_seen_note(struct pl_run *run, const struct pl_op *op)
{
	if (!run->request->region)
		return;
	if (op->kind == PL_OP_WRITE)
		note_write(run, &op->write);
	else if (op->kind == PL_OP_READ && run->seen.given)
		note_read(run, &op->read);
	else if (op->kind == PL_OP_QUERY && run->seen.given)
		note_query(run, &op->query);
}

void pl_run_seen_replay(struct pl_run *run)
{
	if (!run->request->region)
		return;
	if (!run->seen.seen)
		run->seen.seen = pl_arena_alloc(run->request->arena, sizeof(*run->seen.seen));
	pl_seen_forget_all(run->seen.seen);
	run->seen.uncovered = true;
	run->maybe_executed = true; // before, not now: no other region may be asked
}

// ---- the end

// Requests that brought no token get one only with what they wrote.
static bool needs_token(const struct pl_run *run)
{
	int status = run->answer->status;

	return run->seen.seen && !run->seen.ended && status < (run->seen.given ? 500 : 300);
}

struct pl_op *pl_run_seen_end(struct pl_run *run)
{
	char text[PL_SEEN_TEXT_MAX + 1];

	if (!needs_token(run))
		return NULL;
	if (run->seen.uncovered)
		return ask_positions(run, PL_OP_COVER);
	pl_seen_print(text, run->seen.seen);
	pl_answer_header(run, PL_SEEN_HEADER, text);
	run->seen.ended = true;
	return NULL;
}

// A write was committed whether or not a position covers it; then the token names its
// record at least.
bool pl_run_seen_ended(struct pl_run *run, const struct pl_op *op)
{
	run->seen.uncovered = false;
	if (op->query.code == 0)
		pl_seen_positions_add(&op->query, run->seen.seen);
	else if (!run->maybe_executed)
		return false;
	return true;
}
