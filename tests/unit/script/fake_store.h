// A store without a database, for tests of script/: linked in place of record/store.
//
// Records live in memory. Every call waits in a queue until the test answers it, in any order that the test likes.
#pragma once

#include "record/store.h"

struct pl_store *fake_store_new(const struct pl_config *config);
int fake_store_waiting(const struct pl_store *store);
void fake_store_answer(struct pl_store *store, int which); // the which-th call that waits, from 0
void fake_store_run(struct pl_store *store);               // answers all, and what they lead to

void fake_store_put(struct pl_store *store, int64_t id, const char *price, const char *bedrooms, int32_t version);
// The next write or read is answered so, whatever is stored.
void fake_store_force_outcome(struct pl_store *store, enum pl_outcome outcome, int code);
void fake_store_force_code(struct pl_store *store, int code);

// What was asked, for tests to look at.
const char *fake_store_last_sql(const struct pl_store *store);
// Texts are copies; NULL: nothing was stored.
const struct pl_remember_answer *fake_store_last_stored(const struct pl_store *store);
int fake_store_lookups(const struct pl_store *store);
int fake_store_writes(const struct pl_store *store);
