// Dialling: making a database connection without holding the thread that asked for it.
//
// libpq looks up host names with getaddrinfo, which blocks for as long as a broken resolver likes, and PQconnectPoll knows no
// deadline. So each attempt runs in a short-lived thread of its own, which rings an eventfd when it is done. Used by db/conn and db/session.
// Threads: a dial belongs to the thread that started it; the attempt's own thread shares only its outcome.
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct pl_dial;

struct pl_dial_options {
	const char *dsn;
	const char *application_name;
	int64_t connect_timeout_us, statement_timeout_us, lock_timeout_us; // 0 = none
	bool read_only;
	const char *const *setup; // NULL-ended: SQL without parameters; NULL for none
};

// Everything in `options` is copied.
struct pl_dial *pl_dial_start(const struct pl_dial_options *options);
// Readable once the attempt has ended.
int pl_dial_fd(const struct pl_dial *dial);
// Ends the dial after its descriptor became readable: the connection, set up, or NULL with err (PL_EUNAVAIL, or PL_EINVAL for a
// connection string or a setup statement that cannot work).
PGconn *pl_dial_finish(struct pl_dial **dial, struct pl_error *err);
// Gives an attempt up; its thread cleans up after itself.
void pl_dial_cancel(struct pl_dial **dial);

// The largest time that a statement can take before its connection is given up: the server's own limit and some grace. 0 = no limit.
int64_t pl_dial_patience_us(int64_t statement_timeout_us);
// libpq's message as part of a sentence: on one line.
void pl_dial_message(const char *message, char *text, int size);

// NULL-ended lists of texts, as `setup` is one. A list NULL is an empty one.
char **pl_texts_copy(const char *const *texts);
void pl_texts_free(char **texts);
