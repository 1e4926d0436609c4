// Connections, in a list for each state, the oldest first: so the next one whose time is over is at the head of a list.
//
// Stands beside http/listener. libmicrohttpd's own timeout counts idleness, so a client that sends a byte now and then would stay for
// ever; here each state has an end. What is new counts as receiving from the moment it is accepted. Between requests a connection may idle, and the
// first byte of the next request is not seen by us: it has the idle time to send its request line, and from then on the receive time.
// Invariant: a peer is in the list of its state; deadlines in one list rise, but for a reload that has changed a timeout.
// Threads: the worker's.
#include "http/peer.h"

#include <sys/socket.h>
#include <utlist.h>

#include "base/mem.h"

#include <stdlib.h>

struct pl_peer *pl_peer_new(struct pl_peers *peers, int fd, int64_t receive_us)
{
	struct pl_peer *peer = pl_calloc(1, sizeof(*peer));
	peer->fd = fd;
	peer->state = PL_PEER_RECEIVING;
	peer->deadline_us = peers->now_us + receive_us;
	DL_APPEND(peers->lists[PL_PEER_RECEIVING], peer);
	peers->n++;
	return peer;
}

void pl_peer_free(struct pl_peers *peers, struct pl_peer *peer)
{
	DL_DELETE(peers->lists[peer->state], peer);
	if (peer->state != PL_PEER_CLOSING)
		peers->n--;
	free(peer);
}

void pl_peer_enter(struct pl_peers *peers, struct pl_peer *peer, enum pl_peer_state state, int64_t for_us)
{
	if (peer->state == PL_PEER_CLOSING)
		return;
	DL_DELETE(peers->lists[peer->state], peer);
	peer->state = state;
	peer->deadline_us = peers->now_us + for_us;
	DL_APPEND(peers->lists[state], peer);
	if (state == PL_PEER_CLOSING)
		peers->n--;
}

void pl_peer_shut(struct pl_peers *peers, struct pl_peer *peer)
{
	shutdown(peer->fd, SHUT_RDWR);
	pl_peer_enter(peers, peer, PL_PEER_CLOSING, 0);
}

struct pl_peer *pl_peer_weakest(const struct pl_peers *peers)
{
	return peers->lists[PL_PEER_IDLE] ? peers->lists[PL_PEER_IDLE] : peers->lists[PL_PEER_RECEIVING];
}

struct pl_peer *pl_peer_late(const struct pl_peers *peers, int64_t now_us)
{
	static const enum pl_peer_state ends[] = {PL_PEER_IDLE, PL_PEER_RECEIVING, PL_PEER_SENDING};
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		struct pl_peer *peer = peers->lists[ends[i]];
		if (peer && peer->deadline_us <= now_us)
			return peer;
	}
	return NULL;
}
