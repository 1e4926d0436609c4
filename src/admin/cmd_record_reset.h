// Writing a row again as it is, for another command: repair.
//
// Threads: the tool has one.
#pragma once

#include "admin/region_sessions.h"

struct pl_row_to_reset {
	const struct pl_resource *resource;
	int64_t id;
	int where; // the index of the region whose row it is
};

// As `record reset --in` does, without a question. Returns 0 with the request's id, or a
// pl_exit after a message.
int pl_cmd_record_reset_row(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                            const struct pl_row_to_reset *row, const char **request_id_r);
