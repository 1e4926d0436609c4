// Regions on a throw-away PostgreSQL: a database each, the configuration that they share, and what a test asks and says there.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <libpq-fe.h>

#include "replicate/apply_batch.h"
#include "replicate/event.h"

#define LAB_REGIONS_MAX 3

struct lab {
	char dir[64];
	struct pl_config *config;
	struct pl_arena *arena;
	int nregions;
	PGconn *sql[LAB_REGIONS_MAX]; // beside the programs under test
	char dsn[LAB_REGIONS_MAX][512];
};

struct lab_options {
	int regions;            // us, eu, ap; 0 = 2
	const char *policy;     // "last_writer_wins"
	bool track_fields;
	const char *brokers;    // NULL: none needed
	const char *more;       // lines under kafka:, "  partitions: 3\n"
};

void lab_start(struct lab *lab, const struct lab_options *options);
void lab_stop(struct lab *lab);
// The configuration with another policy, or brokers; the one before stays valid until lab_stop.
struct pl_config *lab_config(struct lab *lab, const struct lab_options *options);
const struct pl_region *lab_region(const struct lab *lab, int region);
const struct pl_resource *lab_properties(const struct lab *lab);
void lab_empty(struct lab *lab); // all tables of all regions

// The first value of the answer, or "" for none or null; valid for the next seven calls.
const char *lab_ask(struct lab *lab, int region, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void lab_is(struct lab *lab, const char *expected, int region, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
// Polls until the value is as expected; fails after 20 seconds.
void lab_until(struct lab *lab, const char *expected, int region, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
PGconn *lab_connect(struct lab *lab, int region);
void lab_server(const char *verb); // start, stop, kill, restart
void lab_reconnect(struct lab *lab);
// Do all regions hold the same rows, honest versions, the same siblings, and an empty outbox? Fails with the difference.
void lab_regions_are_equal(struct lab *lab);

// A client's write in a region, in SQL, as record/statement does it. request NULL: a fresh one. Returns false when the request is
// remembered there. price NULL deletes.
bool lab_write(struct lab *lab, PGconn *sql, const char *region, int64_t id, const char *price, const char *request);

// A write as the broker would bring it; members that are 0 have a value that fits.
struct lab_write {
	const char *origin, *vector, *price, *request, *at; // at: "10:00:01"
	int64_t id;
	int bedrooms;
	bool deleted, create;
	const char *fingerprint; // 64 digits
	const char *field_times;
};
struct pl_message lab_message(struct lab *lab, const struct lab_write *write);
