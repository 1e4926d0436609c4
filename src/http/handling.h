// One request while it is handled, from its request line to the last byte of its answer. Private to http/.
#pragma once

#include <microhttpd.h>

#include "http/listener.h"
#include "http/peer.h"
#include "http/raw.h"

enum pl_stage {
	PL_STAGE_RECEIVING, // head and body
	PL_STAGE_RUNNING,   // a handler has it; the connection is suspended, or gone
	PL_STAGE_ANSWERED,  // the answer is there, to be sent when libmicrohttpd asks
	PL_STAGE_REPLIED,   // handed to libmicrohttpd
};

struct pl_handling {
	struct pl_listener *listener;
	struct MHD_Connection *connection; // NULL when it is gone
	struct pl_peer *peer;
	struct pl_program *program;        // the one it began in
	struct pl_arena *arena;            // the handling itself is in it
	enum pl_stage stage;
	bool head_seen, suspended;
	bool close;                        // the connection is not to be used again
	bool in_start;                     // pl_run_start has not returned yet
	struct pl_run *run;                // once begun; freed with the handling
	bool run_done;                     // its answer is there
	struct pl_raw raw;
	struct pl_match match;
	struct pl_request request;
	struct pl_buf body;
	uint64_t received;                 // bytes of the body, kept or not
	const struct pl_problem *refusal;  // found on the way; sent when the body has come
	struct pl_answer answer;           // of the handler
	struct pl_answer instead;          // of the listener, when the handler was not done in time
	bool overdue;
	const char *echo_id;
	int64_t began_us;
	struct pl_handling *prev, *next;   // all of the listener's
};

struct pl_listener {
	struct pl_listener_options options;
	struct pl_program *program;
	struct MHD_Daemon *daemon;
	int fd;
	struct pl_watch *watch;            // of libmicrohttpd's epoll
	struct pl_watch *shared;           // of shared_fd; NULL: there is none, or the door is closed
	int shared_taken;                  // connections, since it began to watch
	struct pl_timer *sweep;
	struct pl_peers peers;
	struct pl_handling *handlings;
	struct pl_handling *finished;      // to be freed when nobody stands in them
	int running;
	bool ready;                        // libmicrohttpd has something to do
	int waiting;                       // connections that wait for their answer and are not suspended
	int runs;                          // of libmicrohttpd, after this one, to go on with what it has done
	bool resumed;                      // an answer has come since libmicrohttpd ran
	bool draining;
	int64_t drain_began_us;
	int64_t due_us;                    // when libmicrohttpd wants to run by itself; INT64_MAX = never
	struct pl_listener_stats stats;
};

struct pl_handling *pl_handling_new(struct pl_listener *listener, struct MHD_Connection *connection, struct pl_peer *peer, const char *target);
// The connection is gone or free for the next request. Frees the handling, or lets it go on without one until its run is done.
void pl_handling_leave(struct pl_handling *handling);
void pl_handling_free(struct pl_handling *handling);

enum MHD_Result pl_handling_head(struct pl_handling *handling, const char *method, const char *version);
enum MHD_Result pl_handling_body(struct pl_handling *handling, const char *data, size_t len);
enum MHD_Result pl_handling_whole(struct pl_handling *handling); // and again when it has been resumed

// Answers in the handler's place; it goes on unheard. `problem` lives in the handling's arena.
void pl_handling_instead(struct pl_handling *handling, const struct pl_problem *problem);
// Writes a problem to the socket past libmicrohttpd, which cannot answer in the middle of a request.
void pl_handling_raw(struct pl_handling *handling, int status, const char *title, const char *detail);
