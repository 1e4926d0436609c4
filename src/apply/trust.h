// Plausibility checks of events, beyond what decoding a message can verify.
//
// A topic without access control accepts messages from anyone. These checks bound the
// damage of a forged or broken one; plist.yaml(5) explains how the broker keeps them out.
// Threads: any; nothing is shared.
#pragma once

#include "decide/decide.h"

// How the error of a dead letter begins if the event has this region's own name and the
// region never wrote it.
#define PL_NOT_OURS "it has this region's own name"

// PL_EINVAL, with the reason for a dead letter: a region that is neither configured nor
// retired, or a time more than a day ahead of the broker's. broker_time_us 0: not known.
int pl_trust_event(struct pl_arena *arena, const struct pl_config *config, const struct pl_event *event,
                   int64_t broker_time_us, int64_t now_us, struct pl_error *err);
// If the event counts so many more writes than are known here that they cannot have been
// missed: the reason. Else NULL.
const char *pl_trust_jump(struct pl_arena *arena, const struct pl_state *state, const struct pl_event *event);
