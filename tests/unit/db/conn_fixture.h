// For the tests of db/conn: a connection on a loop, and answers that record what their
// callback was passed.
#pragma once

#include "await.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "db/conn.h"

struct fixture {
	struct pl_loop *loop;
	struct pl_conn *conn;
	int ups, downs;
};

struct answer {
	int calls, code;
	bool lost;
	char sqlstate[6], value[64];
	struct pl_conn **free_it, **drop_it; // in the callback
	struct answer *then;                 // sent again in the callback
	struct fixture *fixture;
};

static inline void changed(struct pl_conn *conn, bool up, void *arg)
{
	struct fixture *f = arg;

	(void)conn;
	f->ups += up;
	f->downs += !up;
}

static inline void answered(void *arg, PGresult *result, const struct pl_error *err)
{
	struct answer *answer = arg;

	answer->calls++;
	answer->code = err->code;
	answer->lost = !result;
	strcpy(answer->sqlstate, err->sqlstate);
	if (result && PQntuples(result) > 0)
		snprintf(answer->value, sizeof(answer->value), "%s", PQgetvalue(result, 0, 0));
	if (answer->free_it)
		pl_conn_free(answer->free_it);
	if (answer->drop_it)
		pl_conn_drop(*answer->drop_it, "on purpose");
	if (answer->then)
		answer->then->code = pl_conn_send_sql(answer->fixture->conn, "SELECT 5", NULL, answered,
		                                      answer->then, NULL);
}

static inline bool is_answered(void *arg)
{
	return ((struct answer *)arg)->calls > 0;
}

static inline bool is_up(void *arg)
{
	return pl_conn_up(((struct fixture *)arg)->conn);
}

static inline bool is_down(void *arg)
{
	return !is_up(arg);
}

static inline struct pl_conn *conn_new(struct fixture *f, const char *const *setup,
                                       int64_t statement_timeout_us)
{
	return pl_conn_new(&(struct pl_conn_options){ .loop = f->loop,
	                                              .dsn = getenv("DATABASE_URL"),
	                                              .application_name = "test conn",
	                                              .connect_timeout_us = 3000000,
	                                              .statement_timeout_us = statement_timeout_us,
	                                              .lock_timeout_us = 1000000,
	                                              .setup = setup,
	                                              .changed = changed,
	                                              .arg = f });
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->loop = pl_loop_new();
	f->conn = conn_new(f, NULL, 5000000);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	pl_conn_free(&f->conn);
	pl_loop_free(&f->loop);
	free(f);
	return 0;
}

static inline void send_sql(struct fixture *f, const char *sql, struct answer *answer)
{
	struct pl_error err;

	assert_int_equal(pl_conn_send_sql(f->conn, sql, NULL, answered, answer, &err), 0);
}

// Executes a statement on a separate connection, and waits for its result.
static inline void other_session(const char *sql)
{
	PGconn *pg = PQconnectdb(getenv("DATABASE_URL"));
	PGresult *result = PQexec(pg, sql);

	assert_true(PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_TUPLES_OK);
	PQclear(result);
	PQfinish(pg);
}
