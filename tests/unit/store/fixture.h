// A store on a temporary PostgreSQL server, and a plain connection for checking its
// work and for interfering with it.
#pragma once

#include "../db/await.h"

#include <libpq-fe.h>

#include "config/config.h"
#include "store/store.h"

struct fixture {
	struct pl_loop *loop;
	struct pl_config *config;
	struct pl_store *store;
	struct pl_arena *arena;
	PGconn *sql;
	int committed;
};

int fixture_setup(void **state); // fresh tables, a store whose connections are up
int fixture_teardown(void **state);
void fixture_start(struct fixture *f); // creates another store, after pl_store_free
bool fixture_is_ready(void *f);
struct pl_config *fixture_config(int batch);

#define PROPERTIES 0 // price required, bedrooms, bathrooms
#define HOMES      1 // name (string), price, rooms, open (boolean); track_fields
const struct pl_resource *fixture_resource(const struct fixture *f, int index);

// A write with everything that a caller sets: a new request id, no lock, a deadline in
// ten seconds.
struct pl_write *write_new(struct fixture *f, enum pl_write_op op, int64_t id);
// Pairs of a field's name and its value as text ("price", "5.00"); NULL-ended. A NULL
// value is null.
void write_set(struct pl_write *write, const char *field, const char *text);
void write_send(struct fixture *f, struct pl_write *write);
bool write_answered(const struct pl_write *write);
// Runs the loop until all have been answered, each exactly once.
void writes_await(struct fixture *f, struct pl_write **writes, int n);
enum pl_outcome write_now(struct fixture *f, struct pl_write *write); // sends it and waits

struct pl_read *read_now(struct fixture *f, const struct pl_resource *resource, int64_t id);
struct pl_query *query_now(struct fixture *f, const char *sql, int max_rows);
struct pl_query *query_new(struct fixture *f);
void query_run(struct fixture *f, struct pl_query *query);
struct pl_remember_lookup *lookup_now(struct fixture *f, const char *request_id, const char *principal,
                                      const uint8_t *fingerprint);
struct pl_remember_answer *answer_now(struct fixture *f, const char *request_id, int status,
                                      const char *body);

void turn_for(struct fixture *f, int64_t us);
bool turn_until(struct fixture *f, bool (*condition)(void *arg), void *arg);

// Executes a statement on the plain connection. Returns the first value, or "" if there
// is none; valid until the next call.
const char *ask(struct fixture *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void ask_is(struct fixture *f, const char *expected, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
PGconn *another_session(void);
void control_server(const char *verb); // start, stop, kill, restart
const char *outcome_name(enum pl_outcome outcome);
