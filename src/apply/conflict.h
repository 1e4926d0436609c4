// A conflict as a row of the table conflicts, which operators read and which `conflicts
// show` and `policy replay` use.
//
//   siblings   the writes as the policy was asked, in canonical order:
//              [{"origin":"eu","counter":3,"vector":{…},"updated_at":"…","deleted":false,
//              "fields":{…},"field_times":null,"request_id":"…","principal":""},…]
//   verdict    {"take":2}, counted from 1 as policies do, or {"merge":{fields}}; also
//   what
//              was shown because the policy had failed
//   visible    {"fields":{…},"origin":"us","version":7,"updated_at":"…","deleted":false}
#pragma once

#include "apply/rows.h"

struct pl_conflict_policy {
	const char *name, *sha256;
};

// All texts in `arena`. `event` NULL: re-resolved.
struct pl_conflict_row pl_conflict_make(struct pl_arena *arena, const struct pl_touched_row *touched,
                                        const struct pl_state *state, const struct pl_shown *shown,
                                        const struct pl_conflict_policy *policy,
                                        const struct pl_event *event);
