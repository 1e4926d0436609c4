// Ordinary writes made by the tool, through a separate store, as a daemon of the region
// would make them.
//
// Threads: the tool has one.
#pragma once

#include "admin/region_sessions.h"
#include "store/store.h"

struct pl_row_writer;

// NULL after a message.
struct pl_row_writer *pl_row_writer_new(struct pl_invocation *invocation, struct pl_region_session *region);
void pl_row_writer_free(struct pl_row_writer **writer_p);
// Sends the write and waits for its outcome; sets done, arg and the deadline. Returns 0
// if it was done, now or earlier under the same request id; else a pl_exit after a
// message (PL_EXIT_NO: the record was written in the meantime, or the database refused
// it).
int pl_row_writer_write(struct pl_row_writer *writer, struct pl_write *write);
// Says why the region did not execute a write: another record is in its way, or what the
// database said.
void pl_row_writer_say_refused(const char *region, const struct pl_write *write);
