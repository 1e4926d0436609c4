// An applier of eu in the lab: batches on its database, without a broker.
//
// One lab and one applier per test program; each test begins with empty tables and a
// new applier.
#pragma once

#include "lab.h"

struct lab_applier {
	struct pl_apply_tools tools;
	struct pl_vm *vm;
	struct pl_policy *policies[2], *shadows[2];
	struct pl_apply_batch *batch;
	struct pl_apply_counts counts;
};

extern struct lab lab;
extern struct lab_applier eu; // in all tests, eu applies what us (and ap) wrote

void lab_applier_open(struct lab_applier *a, int region);
void lab_applier_close(struct lab_applier *a);

// For cmocka: of the group, and of each test.
int lab_applier_start(void **state);
int lab_applier_stop(void **state);
int lab_applier_setup(void **state);
int lab_applier_teardown(void **state);

void lab_apply_messages(const struct pl_message *messages, int n); // as one batch
void lab_apply(const struct lab_write *writes, int n);             // the same, for writes

#define APPLY(...)                                     \
	lab_apply((struct lab_write[]){ __VA_ARGS__ }, \
	          (int)(sizeof(struct lab_write[]){ __VA_ARGS__ } / sizeof(struct lab_write)))

// The visible row of record 7.
#define ROW                                                                                \
	"SELECT format('%%s %%s %%s %%s %%s %%s', price, region_origin, version, vector, " \
	"deleted_at IS NOT NULL, has_siblings) FROM properties WHERE id = 7"

#define PARKED "SELECT count(*) FROM parked_events"

// Retries parked events as often as the applier would in a day; fails unless so many were
// due.
void lab_retry(int expected);
// A create by us.
struct pl_message lab_one(int64_t id, const char *price);
