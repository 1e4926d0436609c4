// The answer of a run: what the handler returned, or what the client is given without it.
// For the files of script/ only.
// Threads: a run's.
#pragma once

#include "script/run_state.h"

void pl_answer_setup(lua_State *L); // once for a state

// Gives the table on top the metatable of answers: what http.ok and the like return.
void pl_answer_mark(lua_State *L);

// Makes what a handler returned the run's answer. Body of a pl_call.
struct pl_answering {
	struct pl_run *run;
	lua_State *co;
	int nresults;
};
int pl_answer_take(lua_State *L);

void pl_answer_reset(struct pl_answer *answer);
void pl_answer_header(struct pl_run *run, const char *name, const char *value); // copies both
const char *pl_answer_find(const struct pl_answer *answer, const char *name);   // a header's value, or NULL
void pl_answer_problem(struct pl_run *run, const struct pl_problem *problem);   // copies it

// answer_stored.c. The answer that the store remembers for a write by itself; whether the
// run's answer is that one; the run's answer for the store, in the run's arena.
void pl_answer_default(struct pl_run *run);
bool pl_answer_is_default(struct pl_run *run);
void pl_answer_to_store(struct pl_run *run, struct pl_remember_answer *answer_r);
// The answer that the request was given the first time.
void pl_answer_replay(struct pl_run *run, const struct pl_remembered *remembered);
