// The listener of a worker: libmicrohttpd in the worker's loop, its connections, and each request from its first line to its last byte.
//
// Threads: belongs to its worker's thread.
#pragma once

#include <stdint.h>

#include "base/loop.h"
#include "http/program.h"
#include "http/router.h"
#include "record/store.h"

struct pl_listener;

// One answered request, for the metrics. The texts are those of the configuration or constants.
struct pl_served {
	const char *method, *path; // of the route: "PUT", "/:region/properties/:id"; "other" when no route was found
	int status;
	int64_t took_us;           // from its request line to its answer being ready
};

struct pl_listener_options {
	struct pl_loop *loop;
	int fd;                    // listens, not blocking; the listener closes it
	int shared_fd;             // another one that listens, for several listeners, who do not close it; -1: there is none
	const char *region;        // the name of ours, for X-Plist-Region
	struct pl_program *program; // what requests begin in; the listener takes a reference
	struct pl_store *store;    // where their handlers' calls go
	int max_connections;
	// Answers one of the built-in routes, at once.
	void (*builtin)(enum pl_builtin which, const struct pl_request *request, struct pl_answer *answer, void *arg);
	void (*served)(const struct pl_served *served, void *arg);
	void *arg;
};

struct pl_listener *pl_listener_new(const struct pl_listener_options *options, struct pl_error *err);
// Answers whatever is still waiting with 503 and closes every connection. Runs that are not done must have been ended (pl_store_free) before.
void pl_listener_free(struct pl_listener **listener);

// Requests that begin from now on run in `program`.
void pl_listener_set_program(struct pl_listener *listener, struct pl_program *program);

// To be called once a loop turn: reads, begins requests, sends what has been answered. Returns the longest wait in ms, -1 for any.
int pl_listener_turn(struct pl_listener *listener);
// Whether something has been answered since: then the turn is not over.
bool pl_listener_pending(const struct pl_listener *listener);

// Turns new connections away, and a moment later accepts no more; requests that are in flight go on, and their connections end with the answer. What idles is closed a moment later.
void pl_listener_quiesce(struct pl_listener *listener);
// Whether that is over: nobody is connected any more.
bool pl_listener_drained(const struct pl_listener *listener);

struct pl_listener_stats {
	uint64_t accepted;     // connections
	uint64_t evicted;      // closed to make room
	uint64_t timed_out;    // closed because a request did not come whole in time, or an answer was not taken
	uint64_t unparsed;     // begun and never understood: refused by libmicrohttpd, or hung up
	uint64_t refused;      // refused by our checks of the head
	uint64_t overloaded;   // 503 because too many were waiting
	uint64_t overdue;      // answered by the listener because the handler was not done in time
	int connections, in_flight;
};
void pl_listener_stats(const struct pl_listener *listener, struct pl_listener_stats *stats_r);
