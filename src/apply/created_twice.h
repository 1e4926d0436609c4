// Records that one request created in several regions. The record of the region that
// comes first by name stays; each other one is deleted by the region that made it, with
// an ordinary delete. The statement apply_created_twice finds them.
//
// Threads: an applier's; only the first applier does it.
#pragma once

#include "apply/batch.h"
#include "base/log.h"

struct pl_created_twice {
	int64_t next_us; // when to look again
	struct pl_log_limit limit;
};

// Now and then deletes what this region made, and closes the conflicts of what is
// deleted. Logs what fails; it is tried again. Returns how many records it deleted.
int pl_created_twice_run(struct pl_created_twice *c, const struct pl_apply_tools *tools);

// How many pairs are a minute old or older: somebody has written the second record, so
// people must decide, or the region that made it is down.
int pl_created_twice_count(const struct pl_apply_tools *tools, int64_t *n_r, struct pl_error *err);
