// The limits of what a record may hold, so that it can be written again. In C;
// store/edge_sql has the same in SQL, from the same constants.
//
// The decoder of events accepts a write, and the statements write a row, only if the
// result is within the limits; so what one region accepts, every region can read, list,
// write again and send on. A row beyond the limits, which only SQL by hand can make, is
// still shown; `plist-admin record reset` repairs it.
// Threads: any; nothing is shared.
#pragma once

#include "record/record.h"

#define PL_COUNTER_MAX      (1 << 30)               // writes of one region to one record
#define PL_VERSION_MAX      (INT32_MAX - (1 << 20)) // their sum; above it is room for resets
// how many writes of one region, beyond those that are known, one event may claim
#define PL_JUMP_MAX         1000000
#define PL_AHEAD_US         (INT64_C(86400) * 1000000) // how far a time may be ahead of the clock
// what a receiver allows in addition, because its clock differs
#define PL_CLOCKS_DIFFER_US (INT64_C(60) * 1000000)
#define PL_RESET_FROM       (1 << 28)                   // a reset lowers counts above this one
#define PL_TIME_MIN_US      INT64_C(-62135596800000000) // 0001-01-01T00:00:00Z
#define PL_TIME_MAX_US      INT64_C(253402300799999999) // 9999-12-31T23:59:59.999999Z

// Enters the names of the configured and retired regions into the table of names.
void pl_edge_keep_names(const struct pl_config *config);

// Why `region` cannot write this record at `now_us`: a clause for a sentence, in
// `arena`; NULL if it can.
const char *pl_edge_fault(struct pl_arena *arena, const struct pl_config *config,
                          const struct pl_record *record, const char *region, int64_t now_us);
// How long it cannot be written: "until …", the rest of that sentence, in `arena`. A time
// that is ahead comes nearer by itself.
const char *pl_edge_until(struct pl_arena *arena, const struct pl_resource *resource,
                          const struct pl_record *record, int64_t now_us);
// The same for an event's vector, whichever region wrote it. `config` NULL: any names.
const char *pl_edge_vector_fault(struct pl_arena *arena, const struct pl_config *config,
                                 const struct pl_vector *vector);

// Whether the name is that of a configured or a retired region.
bool pl_edge_name_known(const struct pl_config *config, const char *name);
