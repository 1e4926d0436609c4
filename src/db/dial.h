// Dialling: making a database connection without blocking the calling thread.
//
// Servers are tried one after the other, each with its share of the time limit: see
// hosts.h. A pooler that shares sessions among its clients is refused. libpq resolves
// host names with getaddrinfo, which may block for as long as the resolver takes, and
// PQconnectPoll has no deadline. So each attempt runs in a short-lived thread, which
// signals an eventfd when it is done. Used by db/conn and db/session.
// Threads: a dial belongs to the thread that started it; the thread of the attempt
// shares only its outcome.
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "db/server.h"

struct pl_dial;

struct pl_dial_options {
	const char *dsn;
	const char *
		// read again for each attempt, so that a changed password is used
		// immediately; NULL: none
		dsn_file;
	const char *application_name;
	const char *user; // a role that replaces the one of the string; NULL: none
	int64_t connect_timeout_us, statement_timeout_us, lock_timeout_us; // 0 = none
	bool read_only;
	const char *const *setup; // NULL-ended: SQL without parameters; NULL for none
};

// Copies everything in `options`.
struct pl_dial *pl_dial_start(const struct pl_dial_options *options);
// Readable once the attempt has ended.
int pl_dial_fd(const struct pl_dial *dial);
// Ends the dial after its descriptor became readable. Returns the connection, set up, and
// which server it is to, or NULL with err (PL_EUNAVAIL, or PL_EINVAL for a connection
// string or setup statement that cannot work).
PGconn *pl_dial_finish(struct pl_dial **dial_p, struct pl_server *server_r, struct pl_error *err);
// A statement that gives a session the settings of `options` again after DISCARD ALL.
// Allocated with malloc.
char *pl_dial_settings(const struct pl_dial_options *options);
// Abandons an attempt; its thread cleans up.
void pl_dial_cancel(struct pl_dial **dial_p);

// The longest time after which a statement's connection is dropped: the server's own
// limit plus a margin. 0: no limit.
int64_t pl_dial_patience_us(int64_t statement_timeout_us);
// libpq's message on one line, as part of a sentence.
void pl_dial_message(const char *message, char *text, int size);

// Copies a NULL-ended list of texts, such as `setup`. NULL is an empty list.
char **pl_dial_texts_copy(const char *const *texts);
void pl_dial_texts_free(char **texts);
