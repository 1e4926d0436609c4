// The board: where the applier notes how far it is, and from which lag is read at any time by anybody.
//
// Threads: any; one short lock inside.
#pragma once

#include "replicate/heartbeat.h"
#include "replicate/lag.h"

#define PL_LANES_MAX 64

struct pl_board;

struct pl_board *pl_board_new(const struct pl_config *config, const struct pl_region *region);
void pl_board_free(struct pl_board **board);
// After a reload: what a region that is no longer named said last of its outbox is not waited for any more.
void pl_board_regions(struct pl_board *board, const struct pl_config *config);

// All times are pl_now_us.

// A lane (one consumer) has these partitions from now on, and no others. `next` < 0: not yet known.
struct pl_board_partition { const char *topic; int32_t partition; int64_t next, end; int hand; };
void pl_board_assign(struct pl_board *board, int lane, const struct pl_board_partition *partitions, int n);
// What the lane knows of its partitions now: position, end, and how many messages it holds that are not applied. Same order as assigned.
void pl_board_progress(struct pl_board *board, int lane, const struct pl_board_partition *partitions, int n, int64_t now_us);
// The events that the lane holds and has not applied: of each origin how many, and the time of the oldest. n = 0: none.
struct pl_board_hand { char region[PL_REGION_MAX + 1]; int64_t events, oldest_us; };
void pl_board_holds(struct pl_board *board, int lane, const struct pl_board_hand *hand, int n);
void pl_board_applied(struct pl_board *board, const char *origin, int64_t event_us);
void pl_board_heartbeat(struct pl_board *board, const struct pl_heartbeat *heartbeat, int64_t now_us);
// What the regions said of their policies in their last heartbeats: JSON objects, copied into `arena`. Regions never heard of are left out.
struct pl_board_policies { const char *region, *policies; };
int pl_board_policies(struct pl_board *board, struct pl_arena *arena, struct pl_board_policies policies_r[PL_REGIONS_MAX]);
// The broker was heard of; or it is known to be away.
void pl_board_contact(struct pl_board *board, bool up, int64_t now_us);

void pl_board_read(struct pl_board *board, struct pl_lag *lag_r, int64_t now_us);
