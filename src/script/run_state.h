// The inside of a run. For run.c, for answer.c, which fills in its answer, and for the
// bindings that ask the store.
// Threads: a run belongs to its VM's thread.
#pragma once

#include <lua.h>

#include "base/log.h"
#include "script/run.h"
#include "script/script_private.h"

// An operation that a run sends to the store. In the run's arena.
enum pl_op_kind {
	PL_OP_READ,
	PL_OP_WRITE,
	PL_OP_QUERY,
	PL_OP_LOOKUP,
	PL_OP_STORE,
	// See run_seen.c: whether the region has what the client has seen, by
	// positions or by a record's vector; what covers all that was read.
	PL_OP_CHECK,
	PL_OP_CHECK_RECORD,
	PL_OP_COVER,
};

struct pl_op {
	enum pl_op_kind kind;
	struct pl_run *run;       // NULL: the run was abandoned, ignore the answer
	struct pl_arena *arena;   // of an abandoned run: freed when the answer arrives
	struct pl_config *config; // the same
	const struct pl_tag
		*others; // of a write locked by req.lock: the further versions that If-Match names
	int tries;       // versions tried after the first
	union {
		struct pl_read read;
		struct pl_write write;
		struct pl_query query;
		struct pl_remember_lookup lookup;
		struct pl_remember_answer store;
	};
};

struct pl_run {
	struct pl_vm *vm;
	struct pl_store *store;
	const struct pl_request *request;
	struct pl_answer *answer;
	void (*done)(struct pl_run *run, void *arg);
	void *arg;

	struct pl_run_turn {
		struct pl_lane *lane; // in which it waits; NULL: in none
		void (*take)(struct pl_run *run);
		bool begun, slow;
		struct pl_run *prev, *next;
	} turn; // lane.c

	uint64_t number;             // among the runs of its VM
	struct pl_log_request about; // for log lines
	struct pl_script *script;
	lua_State *co;
	int ref_co;                 // registry
	struct pl_request_box *box; // the script's `req`; NULL when the script has dropped it
	struct pl_budget budget;
	struct pl_arena
		*arena; // of the ops and their results; outlives the request if an op is still in flight

	struct pl_op *op;        // that the coroutine waits for: prepared, in flight, or answered
	struct pl_op *in_flight; // with the store: `op`, or one that is invisible to the script
	bool looked_up;          // the store did not know the request id
	struct pl_op *written;   // the one write, once it has been committed
	bool wrote;              // a write has been asked for
	bool maybe_executed;     // its outcome does not exclude that something was written
	bool refused; // the store has refused an op and executed nothing: see pl_exchange_executes_nothing

	// See run_seen.c.
	struct pl_run_seen {
		struct pl_seen *seen; // in the request's arena; NULL: nothing that a token names
		bool given;           // the request has brought a token
		bool reached;         // all that it covers is here
		bool uncovered;       // something was read that no position covers yet
		bool ended;           // the answer has its token
		int64_t since_us;     // it has been waiting since then; 0: it does not wait
		int looks;
		const char *missing; // a region whose writes are not here yet
	} seen;

	bool returned; // the coroutine has returned
	bool over;     // answered
	bool busy;     // inside one of run.c's functions or in `done`: freeing waits
	bool freed;
};

// The run of the calling script. Raises outside of a run, and where the script cannot
// wait. `what` is the name of the calling function.
struct pl_run *pl_run_current(lua_State *L, const char *what);
// The same for a function that does not wait.
struct pl_run *pl_run_asking(lua_State *L, const char *what);

struct pl_op *pl_run_op_new(struct pl_run *run, enum pl_op_kind kind);
struct pl_op *pl_run_op_lookup(struct pl_run *run); // of the request's id
// Prepares an op. The binding fills it in and ends in lua_yieldk. When the coroutine has
// yielded, run.c sends it to the store.
struct pl_read *pl_run_prepare_read(struct pl_run *run, const struct pl_resource *resource, int64_t id);
struct pl_query *pl_run_prepare_query(struct pl_run *run);
struct pl_write *pl_run_prepare_write(struct pl_run *run, const struct pl_resource *resource,
                                      enum pl_write_op op, int64_t id);

// The store gets the op; pl_run_op_done is called with its answer.
void pl_run_hand_in(struct pl_run *run, struct pl_op *op);
void pl_run_op_done(struct pl_op *op);

// What a run's client has seen: the region has to have it before the run goes on, and the
// answer tells what was seen in addition (run_seen.c). For run.c only.
// When the run begins.
void pl_run_seen_begin(struct pl_run *run);
// An op that the store has to answer before `op` may be sent. NULL: none.
struct pl_op *pl_run_seen_check(struct pl_run *run, struct pl_op *op);
// After the answer to a check: the op to be sent next, a check or the handler's. NULL:
// the handler's op has failed, and was filled in.
struct pl_op *pl_run_seen_checked(struct pl_run *run, struct pl_op *check);
// After the answer to a read of a record: a check, if it is older than what the client
// has seen.
struct pl_op *pl_run_seen_check_read(struct pl_run *run, const struct pl_op *op);
// Notes what the answer to an op has shown.
void pl_run_seen_note(struct pl_run *run, const struct pl_op *op);
// The request was executed before, and its answer is repeated.
void pl_run_seen_replay(struct pl_run *run);
// When the answer is complete: an op that has to be answered first. NULL: the answer has
// its token, if it needs one.
struct pl_op *pl_run_seen_end(struct pl_run *run);
// Takes the answer to that op. False: nothing covers what was read.
bool pl_run_seen_ended(struct pl_run *run, const struct pl_op *op);
// The run is given up.
void pl_run_seen_abandon(struct pl_run *run);
