// The positions of a region's database, compared with a token: see seen.c.
//
// Threads: any; nothing is shared.
#pragma once

#include "seen/seen.h"
#include "store/store.h"

// Makes `query` ask for them; its arena and deadline are set. `own` is this region.
void pl_seen_positions_ask(struct pl_query *query, const char *own);
// Whether everything that the token covers is here, according to the answer. If not,
// *missing_r is the name of a region whose writes are missing; it belongs to the
// configuration.
bool pl_seen_positions_reached(const struct pl_query *answer, const struct pl_seen *seen,
                               const struct pl_config *config, const char **missing_r);
// Adds the positions that cover everything that the database shows.
void pl_seen_positions_add(const struct pl_query *answer, struct pl_seen *seen);
