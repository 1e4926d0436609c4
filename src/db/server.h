// Which server the sessions of a daemon are on.
//
// A connection string may lead to a different server although nothing in plist's
// configuration has changed: an operator edits the service file, the hosts file or DNS,
// or a virtual address moves. Then new sessions are on the new server, and those that are
// open stay on the former one as long as it lives: the daemon would read from one
// database and write to another. So every new session says here where it is, and a
// session that is not where the newest one is gets replaced, between two statements, at
// the next of the looks that it takes once a second (db/conn_renew.c, pl_session_look).
//
// After each reload the appliers begin new sessions, so an operator who has edited such a
// file can make all of them follow at once.
//
// A server is told apart by when it was started, and a database by its number in it.
// Both cost nothing: they come with the answer to what every new session asks anyway.
//
// A name that leads to one server now and to another then would make all sessions follow
// each other endlessly. So each return to a server that was just left doubles the time
// that a session is left alone after it has begun.
// Threads: any; one lock inside.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// SQL: an expression for what tells the server and the database apart.
#define PL_SERVER_SQL                                                     \
	"concat_ws(' ', extract(epoch FROM pg_postmaster_start_time()), " \
	"(SELECT oid FROM pg_database WHERE datname = current_database()))"
#define PL_SERVER_MOVED "connections reach another server or database now"

struct pl_server {
	uint64_t source; // what led there; sessions of other regions' databases do not count
	char name[64];   // "": not known
};

// The source is the file of the connection string or, if that is NULL, the string; its
// password does not count.
void pl_server_init(struct pl_server *server, const char *dsn, const char *dsn_file);
// A session was begun there, and is the newest of its source.
void pl_server_note(const struct pl_server *server);
// Whether a session that is there, since `since_us` (pl_mono_us), must be replaced.
bool pl_server_is_former(const struct pl_server *server, int64_t since_us);
// Whether connections of any source have reached now one server, now another, in the last
// ten minutes.
bool pl_server_alternates(void);
