// Connections, and how long each may stay as it is. Private to http/.
#pragma once

#include <microhttpd.h>
#include <stdint.h>

enum pl_peer_state {
	PL_PEER_IDLE,      // between requests
	PL_PEER_RECEIVING, // new, or a request is coming
	PL_PEER_WORKING,   // a request is being handled: its own deadline counts
	PL_PEER_SENDING,   // an answer is being taken
	PL_PEER_CLOSING,   // shut by us; libmicrohttpd will notice
	PL_PEER_STATES,
};

struct pl_handling;

struct pl_peer {
	int fd;
	enum pl_peer_state state;
	int64_t deadline_us;          // pl_mono_us
	struct pl_handling *handling; // of the request that is on it, or NULL
	struct pl_peer *prev, *next;  // of its state, the oldest first
};

struct pl_peers {
	int n;                                   // those that are not closing
	int64_t now_us;                          // as of the listener's turn; each request changes its peer's state four times
	struct pl_peer *lists[PL_PEER_STATES];
};

struct pl_peer *pl_peer_new(struct pl_peers *peers, int fd, int64_t receive_us);
void pl_peer_free(struct pl_peers *peers, struct pl_peer *peer);
// Into a state that may last `for_us`.
void pl_peer_enter(struct pl_peers *peers, struct pl_peer *peer, enum pl_peer_state state, int64_t for_us);
// Ends the connection: nothing more is read or written.
void pl_peer_shut(struct pl_peers *peers, struct pl_peer *peer);
// The one that a new connection may take the place of: idle for longest, else receiving for longest; NULL if all are being served.
struct pl_peer *pl_peer_weakest(const struct pl_peers *peers);
// One whose time is over, NULL if there is none.
struct pl_peer *pl_peer_late(const struct pl_peers *peers, int64_t now_us);
