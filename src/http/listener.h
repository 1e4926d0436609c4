// The listener of a worker: libmicrohttpd in the event loop of the worker, its
// connections, and each request from its first to its last byte.
//
// Threads: belongs to its worker's thread.
#pragma once

#include <stdint.h>

#include "auth/limits.h"
#include "base/loop.h"
#include "http/generation.h"
#include "http/router.h"
#include "script/lane.h"
#include "store/store.h"
#include "tls/server.h"

struct pl_listener;

// One answered request, for the metrics. The strings are constants or belong to the
// configuration.
struct pl_served {
	const char *method,
		*path; // of the route: "PUT", "/:region/properties/:id"; "other" when no route was found
	int status;
	int64_t took_us; // from its request line to its answer being ready
};

struct pl_listener_options {
	struct pl_loop *loop;
	int fd; // listens, not blocking; the listener closes it
	// a second listening socket, shared by several listeners, which do not close
	// it; -1: none
	int shared_fd;
	const char *region;               // the name of ours, for X-Plist-Region
	struct pl_generation *generation; // what requests begin in; the listener takes a reference
	struct pl_tls_server *tls;        // NULL: HTTP without TLS; the listener takes a reference
	struct pl_store *store;           // where their handlers' calls go
	struct pl_limits *limits;         // of all workers; outlives the listener
	int max_connections;
	// Programs of this machine must name it by its address, its host name or
	// "localhost". For a listener without credentials: a web page whose host name
	// resolves to this machine is then not answered in the browser that has loaded
	// it.
	bool own_names;
	// Answers one of the built-in routes immediately.
	void (*builtin)(enum pl_builtin which, const struct pl_request *request, struct pl_answer *answer,
	                void *arg);
	void (*served)(const struct pl_served *served, void *arg);
	// Whether requests of routes, or only those that write, are turned away: true,
	// with the reason. Nothing of them is executed, so another region may be asked.
	// May be NULL.
	bool (*closed)(bool writes, char reason_r[PL_ERROR_TEXT_MAX], void *arg);
	void *arg;
};

struct pl_listener *pl_listener_new(const struct pl_listener_options *options, struct pl_error *err);
// Answers all waiting requests with 503 and closes all connections. All runs must have
// been ended (pl_store_free) before.
void pl_listener_free(struct pl_listener **listener_p);

// Requests that start from now on run in `generation`.
void pl_listener_set_generation(struct pl_listener *listener, struct pl_generation *generation);

// Connections that are accepted from now on use these certificates. Only for a listener
// that had some from the start.
void pl_listener_set_tls(struct pl_listener *listener, struct pl_tls_server *tls);

// Call this once per turn of the loop: reads, starts requests and sends answers. Returns
// the longest wait in ms, or -1 for any.
int pl_listener_turn(struct pl_listener *listener);
// Whether a request was answered in the meantime: then the turn is not over.
bool pl_listener_pending(const struct pl_listener *listener);

// Call this once per turn of the loop, after that: gives slow handlers their turn.
// Returns the longest wait in ms, or -1 for any.
int pl_listener_turn_lane(struct pl_listener *listener);

// Turns new connections away, and shortly afterwards stops accepting. Requests in flight
// finish, and their connections close with the answer. Idle connections are closed
// shortly afterwards.
void pl_listener_quiesce(struct pl_listener *listener);
// Whether draining is complete: no connection is open.
bool pl_listener_drained(const struct pl_listener *listener);

struct pl_listener_stats {
	uint64_t accepted;   // connections
	uint64_t evicted;    // closed to make room
	uint64_t timed_out;  // closed because a request took too long to arrive, or its answer to be read
	uint64_t reclaimed;  // closed because slow bodies and answers took too much memory
	uint64_t stuck;      // still open one second after shutdown; closed by force
	uint64_t unparsed;   // never parsed: refused by libmicrohttpd, or the client hung up
	uint64_t refused;    // refused by our checks of the head
	uint64_t overloaded; // 503 because too many were waiting
	uint64_t unauthenticated; // 401: no valid credentials
	uint64_t forbidden;       // 403: the client lacks the role
	uint64_t limited;         // 429: the client has sent too many
	uint64_t not_executed;    // answered "X-Plist-Executed: no"
	uint64_t overdue;         // answered by the listener because the handler did not finish in time
	int connections, in_flight;
	struct pl_lane_stats lane;
};
void pl_listener_stats(const struct pl_listener *listener, struct pl_listener_stats *stats_r);
