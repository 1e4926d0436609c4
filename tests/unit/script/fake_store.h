// A store without a database, for tests of script/: linked in place of store/store.
//
// Records are in memory. Every call waits in a queue until the test answers it, in an
// order that the test chooses.
#pragma once

#include "store/store.h"

struct pl_store *fake_store_new(const struct pl_config *config);
int fake_store_waiting(const struct pl_store *store);
void fake_store_answer(struct pl_store *store, int which); // index of the call among those that wait, from 0
void fake_store_run(struct pl_store *store);               // answers all calls, and those that they lead to

void fake_store_put(struct pl_store *store, int64_t id, const char *price, const char *bedrooms,
                    int32_t version);
// Forces the outcome of the next write or read, regardless of what is stored.
void fake_store_force_outcome(struct pl_store *store, enum pl_outcome outcome, int code);
void fake_store_force_code(struct pl_store *store, int code);

// The requests that the store has received, for tests.
const char *fake_store_last_sql(const struct pl_store *store);
// Texts are copies; NULL: nothing was stored.
const struct pl_remember_answer *fake_store_last_stored(const struct pl_store *store);
int fake_store_lookups(const struct pl_store *store);
int fake_store_writes(const struct pl_store *store);
