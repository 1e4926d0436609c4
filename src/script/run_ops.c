// Ops: what a run asks the store for (bindings fill them in, run.c sends them), and how
// they are handed in. In the run's arena.
//
// Threads: a run belongs to its VM's thread.
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "script/run_state.h"

// Allocates only what the kind needs, because all of it is zeroed: a read is a quarter of
// a write, and every request has an op.
struct pl_op *pl_run_op_new(struct pl_run *run, enum pl_op_kind kind)
{
	static const size_t sizes[] = {
		[PL_OP_READ] = sizeof(struct pl_read),
		[PL_OP_WRITE] = sizeof(struct pl_write),
		[PL_OP_QUERY] = sizeof(struct pl_query),
		[PL_OP_LOOKUP] = sizeof(struct pl_remember_lookup),
		[PL_OP_STORE] = sizeof(struct pl_remember_answer),
		[PL_OP_CHECK] = sizeof(struct pl_query),
		[PL_OP_CHECK_RECORD] = sizeof(struct pl_read),
		[PL_OP_COVER] = sizeof(struct pl_query),
	};
	struct pl_op *op = pl_arena_alloc(run->arena, offsetof(struct pl_op, read) + sizes[kind]);

	op->kind = kind;
	op->run = run;
	return op;
}

struct pl_read *pl_run_prepare_read(struct pl_run *run, const struct pl_resource *resource, int64_t id)
{
	struct pl_read *read;

	run->op = pl_run_op_new(run, PL_OP_READ);
	read = &run->op->read;
	read->arena = run->arena;
	read->resource = resource;
	read->id = id;
	read->deadline_us = run->request->deadline_us;
	return read;
}

struct pl_query *pl_run_prepare_query(struct pl_run *run)
{
	run->op = pl_run_op_new(run, PL_OP_QUERY);
	run->op->query = (struct pl_query){ .arena = run->arena, .deadline_us = run->request->deadline_us };
	return &run->op->query;
}

struct pl_write *pl_run_prepare_write(struct pl_run *run, const struct pl_resource *resource,
                                      enum pl_write_op op, int64_t id)
{
	const struct pl_request *request = run->request;
	const struct pl_route *route = request->route;
	struct pl_write *write;

	run->op = pl_run_op_new(run, PL_OP_WRITE);
	write = &run->op->write;
	write->arena = run->arena;
	write->resource = resource;
	write->op = op;
	write->id = id;
	write->lock = route->lock;
	write->request_id = pl_arena_strdup(run->arena, request->request_id);
	write->principal = pl_arena_strdup(run->arena, request->principal);
	write->traceparent = request->traceparent ? pl_arena_strdup(run->arena, request->traceparent) : NULL;
	write->region_prefix =
		request->region_prefix ? pl_arena_strdup(run->arena, request->region_prefix) : NULL;
	write->ttl_us = route->ttl_us;
	write->deadline_us = request->deadline_us;
	memcpy(write->fingerprint, request->fingerprint, sizeof(write->fingerprint));
	return write;
}

struct pl_op *pl_run_op_lookup(struct pl_run *run)
{
	struct pl_op *op = pl_run_op_new(run, PL_OP_LOOKUP);

	op->lookup = (struct pl_remember_lookup){
		.arena = run->arena,
		.request_id = pl_arena_strdup(run->arena, run->request->request_id),
		.principal = pl_arena_strdup(run->arena, run->request->principal),
		.deadline_us = run->request->deadline_us,
	};
	memcpy(op->lookup.fingerprint, run->request->fingerprint, sizeof(op->lookup.fingerprint));
	return op;
}

// ---- handing in

static void read_done(struct pl_read *read, void *arg)
{
	pl_run_op_done(arg);
}

static void write_done(struct pl_write *write, void *arg)
{
	pl_run_op_done(arg);
}

static void query_done(struct pl_query *query, void *arg)
{
	pl_run_op_done(arg);
}

static void lookup_done(struct pl_remember_lookup *lookup, void *arg)
{
	pl_run_op_done(arg);
}

static void store_done(struct pl_remember_answer *store, void *arg)
{
	pl_run_op_done(arg);
}

void pl_run_hand_in(struct pl_run *run, struct pl_op *op)
{
	const struct pl_log_request *before =
		pl_log_set_request(NULL); // the store's log lines are about a batch

	assert(!run->in_flight);
	run->in_flight = op;
	switch (op->kind) {
	case PL_OP_READ:
	case PL_OP_CHECK_RECORD:
		op->read.done = read_done;
		op->read.arg = op;
		pl_store_read(run->store, &op->read);
		break;
	case PL_OP_WRITE:
		run->looked_up = true; // a write looks up the id by itself
		op->write.done = write_done;
		op->write.arg = op;
		pl_store_write(run->store, &op->write);
		break;
	case PL_OP_QUERY:
	case PL_OP_CHECK:
	case PL_OP_COVER:
		op->query.done = query_done;
		op->query.arg = op;
		pl_store_query(run->store, &op->query);
		break;
	case PL_OP_LOOKUP:
		op->lookup.done = lookup_done;
		op->lookup.arg = op;
		pl_store_remembered(run->store, &op->lookup);
		break;
	case PL_OP_STORE:
		op->store.done = store_done;
		op->store.arg = op;
		pl_store_remember_answer(run->store, &op->store);
		break;
	}
	pl_log_set_request(before);
}
