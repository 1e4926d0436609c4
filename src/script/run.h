// The inside of a run, for the bindings that wait: bind_records.c, bind_db.c, bind_http.c. See run.c.
#pragma once

#include <lua.h>

#include "script/state.h"

// What a run asks of the store. Lives in the run's arena.
enum pl_op_kind { PL_OP_READ, PL_OP_WRITE, PL_OP_QUERY, PL_OP_LOOKUP, PL_OP_STORE };

struct pl_op {
	enum pl_op_kind kind;
	struct pl_run *run;       // NULL: the run was abandoned, the answer goes unheard
	struct pl_arena *arena;   // of an abandoned run: freed when the answer has come
	struct pl_config *config; // the same
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

	uint64_t number;          // of the VM's runs
	const struct pl_script *script;
	lua_State *co;
	int ref_co;               // registry
	struct pl_run **box;      // inside the script's `req`; holds NULL when the run is over
	struct pl_budget budget;
	struct pl_arena *arena;   // of the ops and what they bring; outlives the request when an op is still under way

	struct pl_op *op;         // what the coroutine waits for: prepared, under way, or answered
	struct pl_op *in_flight;  // what the store has: `op`, or one that the script knows nothing of
	bool looked_up;           // the request id is known to be new, as far as a look can tell
	struct pl_op *written;    // the one write, once it is done
	bool wrote;               // it has been asked for

	bool returned;            // the coroutine has come to its end
	bool over;                // answered
	bool busy;                // inside one of run.c's functions or in `done`: freeing waits
	bool freed;
};

// The run of the calling script. Raises outside of one, and where the script cannot wait: `what` is the function's name.
struct pl_run *pl_run_current(lua_State *L, const char *what);
// The same for what does not wait.
struct pl_run *pl_run_asking(lua_State *L, const char *what);

// Prepares what is to be asked. The binding fills it in and ends in lua_yieldk; the store gets it when the coroutine has yielded.
struct pl_read *pl_run_prepare_read(struct pl_run *run, const struct pl_resource *resource, int64_t id);
struct pl_query *pl_run_prepare_query(struct pl_run *run);
struct pl_write *pl_run_prepare_write(struct pl_run *run, const struct pl_resource *resource, enum pl_write_op op, int64_t id);

const char *pl_run_place(const struct pl_vm *vm); // "handlers/property_put.lua", for log lines

// answer.c. What a handler returned, made into the answer. Body of a pl_call.
struct pl_answering {
	struct pl_run *run;
	lua_State *co;
	int nresults;
};
int pl_answer_take(lua_State *L);
void pl_answer_reset(struct pl_answer *answer);
void pl_answer_header(struct pl_run *run, const char *name, const char *value); // copies both
const char *pl_answer_find(const struct pl_answer *answer, const char *name);   // a header's value, or NULL
// The answer that a request was given the first time.
void pl_answer_replay(struct pl_run *run, const struct pl_remembered *remembered);
void pl_answer_problem(struct pl_run *run, const struct pl_problem *problem); // copied into the request's arena

// bind_http.c. The table that scripts know a problem by: pushed.
void pl_http_push_problem(lua_State *L, const struct pl_problem *problem);
bool pl_http_is_answer(lua_State *L, int index); // what http.ok and the like have made
int pl_http_problem_text(lua_State *L); // __tostring of that table: "404 Property not found". Runs no code of scripts
void pl_http_setup(lua_State *L);
