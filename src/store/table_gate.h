// Which resources take no writes from clients, because their tables have guards that
// the configuration does not tolerate (store/table_guards.h).
//
// The thread of healing sets it; the shared writer asks it for each write, /ready and
// the metrics show it. Events are not concerned: what the table refuses of them is
// parked. Threads: any.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "config/config.h"

// The SQLSTATE of errors that pl_table_gate_error makes; PostgreSQL has no class PL.
#define PL_TABLE_GATE_STATE "PL001"

struct pl_table_gate;

struct pl_table_gate *pl_table_gate_new(void);
void pl_table_gate_free(struct pl_table_gate **gate_p);

// Closes it for a resource; `why` is a clause such as "its table has the constraint x".
// NULL opens it. Returns whether that is a change.
bool pl_table_gate_set(struct pl_table_gate *gate, const char *resource, const char *why);
// Opens it for resources that the configuration does not have.
void pl_table_gate_keep(struct pl_table_gate *gate, const struct pl_config *config);
// Whether it is closed. `gate` may be NULL: it is open. `err` (may be NULL) says why.
bool pl_table_gate_is_closed(struct pl_table_gate *gate, const char *resource, struct pl_error *err);
