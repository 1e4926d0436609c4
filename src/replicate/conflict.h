// A detection of concurrent writes, as the conflicts table keeps it for people, for `conflicts show` and for `policy replay`.
//
//   siblings   [{"origin":"eu","counter":3,"vector":{…},"updated_at":"…","deleted":false,"fields":{…},"field_times":null,
//               "request_id":"…","principal":""},…]   as the policy was asked, in canonical order
//   verdict    {"take":2}, counted from 1 as policies do, or {"merge":{fields}}; what was shown, also where the policy had failed
//   visible    {"fields":{…},"origin":"us","version":7,"updated_at":"…","deleted":false}
#pragma once

#include "replicate/apply_sql.h"

struct pl_conflict_policy { const char *name, *sha256; };

// All texts in `arena`. `event` NULL: shown anew.
struct pl_conflict_row pl_conflict_make(struct pl_arena *arena, const struct pl_target *target, const struct pl_state *state,
                                        const struct pl_shown *shown, const struct pl_conflict_policy *policy, const struct pl_event *event);
