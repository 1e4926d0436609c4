// One request while it is handled, from its request line to the last byte of its answer.
// Private to http/.
#pragma once

#include <microhttpd.h>

#include "http/drain.h"
#include "http/listener.h"
#include "http/peer.h"
#include "http/raw.h"
#include "script/lane.h"

enum pl_request_stage {
	PL_REQUEST_STAGE_RECEIVING, // head and body
	PL_REQUEST_STAGE_RUNNING,   // a handler has it; the connection is suspended, or gone
	PL_REQUEST_STAGE_ANSWERED,  // the answer is there, to be sent when libmicrohttpd asks
	PL_REQUEST_STAGE_REPLIED,   // handed to libmicrohttpd
};

struct pl_http_request {
	struct pl_listener *listener;
	struct MHD_Connection *connection; // NULL when it is gone
	struct pl_peer *peer;
	struct pl_generation *generation; // in force when the whole of it had arrived
	struct pl_arena *arena;           // the request itself is in it
	enum pl_request_stage stage;
	bool head_seen, suspended;
	bool close;         // the connection is not to be used again
	bool in_start;      // pl_run_start has not returned yet
	struct pl_run *run; // once begun; freed with the request
	bool run_done;      // its answer is there
	struct pl_raw raw;
	struct pl_target target;
	int64_t checked_us; // pl_mono_us: when the client was checked
	struct pl_route_match match;
	struct pl_request request;
	struct pl_buf body;
	const struct pl_problem *refusal; // found on the way; sent when the body has come
	struct pl_answer answer;          // of the handler
	struct pl_answer instead;         // of the listener, if the handler did not finish in time
	bool overdue;
	const char *echo_id;
	int64_t began_us;
	size_t held;                         // bytes, as of http/held
	struct pl_http_request *prev, *next; // all of the listener's
};

struct pl_listener {
	struct pl_listener_options options;
	struct pl_generation *generation;
	struct pl_tls_server *tls;       // of new connections
	struct pl_tls_server *first_tls; // whose texts libmicrohttpd refers to
	struct MHD_Daemon *daemon;
	int fd;
	struct pl_watch *watch;  // of libmicrohttpd's epoll
	struct pl_watch *shared; // of shared_fd; NULL: there is none, or the door is closed
	int shared_taken;        // connections, since it began to watch
	struct pl_timer *sweep;
	struct pl_drain *drain;
	struct pl_lane *lane; // of slow handlers
	struct pl_peers peers;
	struct pl_http_request *http_requests;
	struct pl_http_request *finished; // to be freed at the end of the turn
	int running;
	bool ready;   // libmicrohttpd has something to do
	int waiting;  // connections that wait for their answer and are not suspended
	int runs;     // runs of libmicrohttpd still needed to continue its work
	bool resumed; // an answer has arrived since libmicrohttpd last ran
	bool draining;
	int64_t drain_began_us;
	int64_t due_us; // when libmicrohttpd wants to run by itself; INT64_MAX = never
	struct pl_listener_stats stats;
};

struct pl_http_request *pl_http_request_new(struct pl_listener *listener, struct MHD_Connection *connection,
                                            struct pl_peer *peer, const char *target);
// The connection is gone, or free for the next request. Frees the request, or, if its run
// is not done, lets it continue without a connection.
void pl_http_request_leave(struct pl_http_request *http_request);
void pl_http_request_free(struct pl_http_request *http_request);

// libmicrohttpd has found an error. If it is in the head of this request, which the
// library has read to the end without calling us, answers it and closes the connection.
// The library itself would corrupt its answer: it writes one head when it finds the
// error, and another when it starts to answer.
bool pl_http_request_head_failed(struct pl_http_request *http_request);
enum MHD_Result pl_http_request_head(struct pl_http_request *http_request, const char *method,
                                     const char *version);
enum MHD_Result pl_http_request_body(struct pl_http_request *http_request, const char *data, size_t len);
enum MHD_Result
pl_http_request_whole(struct pl_http_request *http_request); // and again when it has been resumed

// Answers instead of the handler, whose own answer is then discarded. `problem` is in the
// arena of the request.
void pl_http_request_instead(struct pl_http_request *http_request, const struct pl_problem *problem);
// Writes a problem directly to the socket, because libmicrohttpd cannot answer in the
// middle of a request.
void pl_http_request_raw(struct pl_http_request *http_request, int status, const char *title,
                         const char *detail);
