// Regions on a temporary PostgreSQL server, one database each, and the configuration
// that they share.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <libpq-fe.h>

#include "apply/batch.h"
#include "db/session.h"
#include "event/event.h"

#define LAB_REGIONS_MAX 3

struct lab {
	char dir[64];
	struct pl_config *config;
	struct pl_arena *arena;
	int nregions;
	PGconn *sql[LAB_REGIONS_MAX]; // for the test itself
	char dsn[LAB_REGIONS_MAX][512];
};

struct lab_options {
	int regions;        // us, eu, ap; 0 = 2
	const char *policy; // "last_writer_wins"
	bool track_fields;
	const char *brokers;  // NULL: none needed
	const char *resource; // additional lines of the resource, "    unique: [[price]]\n"
	const char *fields;   // additional fields of the resource, "      note: { type: string }\n"
	const char *more;     // additional lines under kafka:, "  partitions: 3\n"
	bool cabins;          // a second resource like the first, whose table has partitions
};

void lab_start(struct lab *lab, const struct lab_options *options);
void lab_stop(struct lab *lab);
// Changes the policy or the brokers of the configuration; the previous one stays valid
// until lab_stop.
struct pl_config *lab_config(struct lab *lab, const struct lab_options *options);
const struct pl_region *lab_region(const struct lab *lab, int region);
const struct pl_resource *lab_properties(const struct lab *lab);
void lab_empty(struct lab *lab); // empties all tables of all regions

// Returns the first value of the result, or "" if it is null or missing; valid for the
// next seven calls.
const char *lab_ask(struct lab *lab, int region, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void lab_is(struct lab *lab, const char *expected, int region, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
// Polls until the value is as expected; fails after 20 seconds.
void lab_until(struct lab *lab, const char *expected, int region, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
PGconn *lab_connect(struct lab *lab, int region);
// A connected session to a region's database. Where, and how long to wait for it, are the
// lab's; the other options are those given.
struct pl_session *lab_session(struct lab *lab, int region, struct pl_session_options options);
void lab_server(const char *verb); // start, stop, kill, restart
void lab_reconnect(struct lab *lab);
// Fails unless all regions have the same rows, correct versions, the same siblings, and
// an empty outbox.
void lab_regions_are_equal(struct lab *lab);

// A client's write in a region, in SQL, like store/statement. request NULL: a new one.
// Returns false if the request is remembered there. price NULL deletes.
bool lab_write(struct lab *lab, PGconn *sql, const char *region, int64_t id, const char *price,
               const char *request);

// A write as the broker delivers it; members that are 0 are given suitable values.
struct lab_write {
	const char *origin, *vector, *price, *request, *at; // at: "10:00:01"
	int64_t id;
	int bedrooms;
	bool deleted, create;
	const char *fingerprint; // 64 digits
	const char *field_times;
	const char *republished; // "us", "us; request"
	const char *expires;     // when the request is forgotten, as PostgreSQL prints it
	const char *answer;      // JSON, as event/event_answer.h describes it
	bool cabin;              // of the second resource
};
struct pl_message lab_message(struct lab *lab, const struct lab_write *write);
// Returns "127.0.0.1:PORT" with a port that is free at the moment; valid until the next
// call.
const char *lab_free_address(void);
