// Connections, and the deadline of each state. Private to http/.
#pragma once

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#include "auth/known.h"
#include "base/network.h"
#include "tls/server.h"

enum pl_peer_state {
	PL_PEER_IDLE,      // between requests
	PL_PEER_RECEIVING, // new, or a request is coming
	PL_PEER_WORKING,   // a request is being handled: its own deadline counts
	PL_PEER_SENDING,   // an answer is being taken
	PL_PEER_CLOSING,   // shut by us; libmicrohttpd will notice
	PL_PEER_STATES,
};

struct pl_http_request;

struct pl_peer {
	struct MHD_Connection *connection;
	int fd;
	bool has_address; // false: over a UNIX socket
	struct pl_address address;
	enum pl_peer_state state;
	int64_t since_us;    // pl_mono_us: when it entered its state
	int64_t deadline_us; // pl_mono_us
	uint64_t since_run;  // the run of libmicrohttpd in which it entered its state
	uint32_t served;     // how often it became idle: requests that were answered
	bool reported;       // reported as stuck
	bool drain;          // answered before the whole request had arrived; the client may still be sending
	struct pl_tls_peer tls;               // no server: without TLS
	struct pl_known known;                // what its last token proved
	struct pl_http_request *http_request; // of the request that is on it, or NULL
	struct pl_peer *prev, *next;          // of its state, the oldest first
};

struct pl_peers {
	int n; // those that are not closing
	int of_state[PL_PEER_STATES];
	uint64_t run;   // of libmicrohttpd; counted by the listener
	int64_t now_us; // as of the listener's turn; each request changes its peer's state four times
	struct pl_peer *lists[PL_PEER_STATES];
};

struct pl_peer *pl_peer_new(struct pl_peers *peers, struct MHD_Connection *connection, int fd,
                            int64_t receive_us);
void pl_peer_free(struct pl_peers *peers, struct pl_peer *peer);
// Enters a state that may last `for_us`.
void pl_peer_enter(struct pl_peers *peers, struct pl_peer *peer, enum pl_peer_state state, int64_t for_us);
// Shuts the connection down: nothing more is read or written, and libmicrohttpd closes it
// within two seconds.
void pl_peer_shut(struct pl_peers *peers, struct pl_peer *peer);
// The connection to close to make room for a new one: the one that has been slow longest,
// or else, of some that have been idle longest, the one with the fewest requests so far.
// NULL if all are being served.
struct pl_peer *pl_peer_weakest(const struct pl_peers *peers, int max);
// A connection whose deadline has passed, or NULL.
struct pl_peer *pl_peer_late(const struct pl_peers *peers, int64_t now_us);
// Whether it was shut down at least a second ago, is still open, and has not been
// reported.
bool pl_peer_is_stuck(const struct pl_peer *peer, int64_t now_us);
