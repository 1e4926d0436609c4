// The inside of the claims, for claims*.c only.
#pragma once

#include "apply/claims.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "apply/shares.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/wake.h"
#include "db/session.h"
#include "lag/tracker.h"

#define SECOND      INT64_C(1000000)
// A daemon that is silent for this long is no longer a member: PostgreSQL ends its
// session, and it stops writing.
#define LEASE_US    (2 * SECOND)
#define LOOK_US     (SECOND / 4)
#define MEMBER_SIZE 33

// A topic, as reported by the appliers.
struct claims_topic {
	char *name;
	int partitions;
};

struct claims_lane {
	rd_kafka_topic_partition_list_t *wanted, *has;
	unsigned changes; // of `wanted`
	bool settled, hears;
	int pid;
};

// What the database says, with what this daemon knows of the topics.
struct claims_member {
	char *name, *topics;
	int lanes, first; // the number of its first lane, among all
	bool lives, hears, ours;
};

struct claims_partition {
	char *topic;
	int32_t number;
	bool exists;          // this daemon knows it
	int member, lane, to; // who has it and who should; < 0: nobody. Lanes among all
};

struct claims_view {
	int nmembers, npartitions, cap;
	struct claims_member *members;
	struct claims_partition *partitions;
	int ours; // the number of this daemon's member; < 0: it is not registered
};

struct pl_claims {
	pthread_t thread;
	bool running;
	struct pl_wake *wake, *halt;
	pthread_mutex_t mutex; // guards what follows, up to `hold_until_us`
	struct pl_config *next_config;
	const struct pl_region *next_region;
	int ntopics;
	struct claims_topic *topics;
	int nlanes;
	struct claims_lane lanes[PL_APPLIERS_MAX];
	const _Atomic int *relay; // the process of its session; NULL: no relay is known
	char trouble[PL_ERROR_TEXT_MAX];
	_Atomic int64_t hold_until_us;

	// The rest belongs to the thread.
	struct pl_config *config;
	const struct pl_region *region;
	struct pl_session *session;
	char member[MEMBER_SIZE]; // a random name for the life of this process
	char *registered;         // what the member's row says
	bool alone;               // the database cannot be written: others are not known
	int64_t unsettled_us;     // since when a lane waits for others; 0: none does
	struct pl_log_limit limit;
};

// claims_table.c: the rows. Each returns 0 or a code.
// Also when it has changed. PL_EBUSY: the database has not been accepted as the region's.
int pl_claims_register(struct pl_claims *claims, struct pl_error *err);
int pl_claims_read(struct pl_claims *claims, struct claims_view *view, struct pl_error *err);
// Removes members whose session has ended, with their claims, and ends the sessions of
// their appliers, which may still be in the middle of a transaction, and of their relay.
int pl_claims_bury(struct pl_claims *claims, const struct claims_view *view, struct pl_error *err);
// Takes what is free and should be ours; in the view, it is ours then.
int pl_claims_take(struct pl_claims *claims, struct claims_view *view, struct pl_error *err);
int pl_claims_release(struct pl_claims *claims, const struct claims_partition *p, struct pl_error *err);
// claims_view.c
void pl_claims_view_fini(struct claims_view *view);
struct claims_partition *pl_claims_view_partition(struct claims_view *view, const char *topic,
                                                  int32_t number);
void pl_claims_view_member(struct claims_view *view, const struct claims_member *member);
// Adds the partitions that the appliers know, and fills in `to`.
void pl_claims_view_plan(struct pl_claims *claims, struct claims_view *view);
bool pl_claims_view_is_ours(const struct claims_view *view, int lane);
