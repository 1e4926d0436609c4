// Tools for testing faults below the store: a database with a trigger, and sessions
// that interfere.
//
// The database is given a trigger through which a test makes a write slow or makes it
// fail, by its price:
//
//	111   waits until the advisory lock 1 is free, once the row is in hand
//	222   raises a serialization failure while the sequence `failures` is low enough
//	333   sleeps for ten seconds
#pragma once

#include "writes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char trigger[] = "CREATE SEQUENCE failures; CREATE TABLE failures_limit (n int); INSERT INTO "
			      "failures_limit VALUES (0);"
			      "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
			      " IF NEW.price = 111 THEN PERFORM pg_advisory_lock_shared(1); PERFORM "
			      "pg_advisory_unlock_shared(1); END IF;"
			      " IF NEW.price = 222 AND nextval('failures') <= (SELECT n FROM failures_limit) "
			      "THEN RAISE serialization_failure; END IF;"
			      " IF NEW.price = 333 THEN PERFORM pg_sleep(10); END IF;"
			      " RETURN NEW; END $$;"
			      "CREATE TRIGGER slow BEFORE UPDATE ON properties FOR EACH ROW EXECUTE FUNCTION "
			      "slow();"
			      "INSERT INTO properties (id, price, region_origin, version) SELECT i, i, 'us', "
			      "1 FROM generate_series(1, 20) i";

static inline void restart(struct fixture *f, int64_t statement_timeout_us, int64_t lock_timeout_us);

// With limits that are not reached even on a busy machine; tests of limits set their
// own.
static inline int setup(void **state)
{
	fixture_setup(state);
	ask(*state, "%s", trigger);
	restart(*state, 9000000, 8000000);
	return 0;
}

static inline void outcome_of(const struct pl_write *write, enum pl_outcome expected)
{
	if (write->outcome != expected)
		fail_msg("%s instead of %s: %s", outcome_name(write->outcome), outcome_name(expected),
		         write->err.text);
}

static inline void failed_with(const struct pl_write *write, int code)
{
	outcome_of(write, PL_OUTCOME_FAILED);
	if (write->err.code != code)
		fail_msg("%s instead of %s: %s", pl_error_code_name(write->err.code),
		         pl_error_code_name(code), write->err.text);
}

static inline void await_one(struct fixture *f, struct pl_write *write)
{
	writes_await(f, &write, 1);
}

// Blocks writes of price 111 until `let_go`.
static inline PGconn *stand_in_the_way(void)
{
	PGconn *pg = another_session();

	PQclear(PQexec(pg, "SELECT pg_advisory_lock(1)"));
	return pg;
}

static inline void execute(PGconn *pg, const char *sql)
{
	PGresult *result = PQexec(pg, sql);

	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(pg));
	PQclear(result);
}

struct count {
	struct fixture *f;
	const char *sql;
};

static inline bool counted(void *arg)
{
	struct count *count = arg;

	return atoi(ask(count->f, "SELECT count(*) FROM %s", count->sql)) > 0;
}

static inline void await_rows(struct fixture *f, const char *sql)
{
	struct count count = { f, sql };

	assert_true(turn_until(f, counted, &count));
}

static inline void await_waiting(struct fixture *f)
{
	await_rows(f, "pg_stat_activity WHERE application_name LIKE 'plist us %' AND wait_event_type = "
	              "'Lock'");
}

// Restarts the store with different limits.
static inline void restart(struct fixture *f, int64_t statement_timeout_us, int64_t lock_timeout_us)
{
	pl_store_free(&f->store);
	f->config->database.statement_timeout_us = statement_timeout_us;
	f->config->database.lock_timeout_us = lock_timeout_us;
	fixture_start(f);
}
