// Connections, in one list per state, oldest first, so the next deadline is always at the
// head of a list.
//
// The timeout of libmicrohttpd measures idle time only, so a client that sends a byte now
// and then could stay indefinitely. Here each state has a deadline. Shutting down has
// one, too: the library then applies its own timeout to the connection, which also works
// if its buffer is full, so that it does not read and cannot notice the shutdown. A new
// connection counts as receiving from the moment it is accepted. Between requests it is
// idle; since we do not see the first byte of the next request, its request line must
// arrive within the idle timeout, and the rest within the receive timeout.
// Invariant: a peer is in the list of its state; deadlines in a list increase, unless a
// reload has changed a timeout.
// Threads: the worker's.
#include "http/peer.h"

#include <sys/socket.h>
#include <utlist.h>

#include "base/mem.h"

#include <stdlib.h>

#define STUCK_US          1000000 // from shutdown to being reported
#define LIBRARY_TIMEOUT_S 1u      // the shortest that libmicrohttpd supports
#define TAKING_US         1000000 // after this time, the reader of an answer counts as slow
#define SETTLE_US         20000   // after this time, the sender of a head counts as slow,
// or, if one in FLOOD connections has not sent a whole head, after so many runs of
// libmicrohttpd
#define SETTLE_RUNS       2
#define FLOOD             8
#define IDLE_LOOKS        32 // idle connections that are compared when one has to go

static void append(struct pl_peers *peers, struct pl_peer *peer, enum pl_peer_state state, int64_t for_us)
{
	peer->state = state;
	peer->since_us = peers->now_us;
	peer->since_run = peers->run;
	peer->deadline_us = peers->now_us + for_us;
	DL_APPEND(peers->lists[state], peer);
	peers->of_state[state]++;
}

static void delete (struct pl_peers *peers, struct pl_peer *peer)
{
	DL_DELETE(peers->lists[peer->state], peer);
	peers->of_state[peer->state]--;
}

struct pl_peer *pl_peer_new(struct pl_peers *peers, struct MHD_Connection *connection, int fd,
                            int64_t receive_us)
{
	struct pl_peer *peer = pl_calloc(1, sizeof(*peer));
	peer->connection = connection;
	peer->fd = fd;
	append(peers, peer, PL_PEER_RECEIVING, receive_us);
	peers->n++;
	return peer;
}

void pl_peer_free(struct pl_peers *peers, struct pl_peer *peer)
{
	delete (peers, peer);
	if (peer->state != PL_PEER_CLOSING)
		peers->n--;
	pl_tls_server_unref(&peer->tls.server);
	pl_known_forget(&peer->known);
	free(peer);
}

void pl_peer_enter(struct pl_peers *peers, struct pl_peer *peer, enum pl_peer_state state, int64_t for_us)
{
	if (peer->state == PL_PEER_CLOSING)
		return;
	delete (peers, peer);
	append(peers, peer, state, for_us);
	peer->served += state == PL_PEER_IDLE;
	if (state == PL_PEER_CLOSING)
		peers->n--;
}

void pl_peer_shut(struct pl_peers *peers, struct pl_peer *peer)
{
	shutdown(peer->fd, SHUT_RDWR);
	MHD_set_connection_option(peer->connection, MHD_CONNECTION_OPTION_TIMEOUT, LIBRARY_TIMEOUT_S);
	pl_peer_enter(peers, peer, PL_PEER_CLOSING, 0);
}

// A head that is incomplete although its sender has had time: a few milliseconds, so that
// a connection that was just accepted is not closed before idle ones; or, if many
// connections are like that, one look at what it has sent.
static bool sends_slowly(const struct pl_peers *peers, const struct pl_peer *peer, int max)
{
	if (peers->now_us - peer->since_us >= SETTLE_US)
		return true;
	return peers->of_state[PL_PEER_RECEIVING] > max / FLOOD &&
	       peers->run >= peer->since_run + SETTLE_RUNS;
}

// An attacker whose idle connections are closed opens new ones at once, so that those of
// honest clients become the oldest. But they have served more requests. Of equals, the
// oldest goes.
static struct pl_peer *least_used_idle(const struct pl_peers *peers)
{
	struct pl_peer *found = peers->lists[PL_PEER_IDLE], *peer = found;
	for (int i = 0; peer && i < IDLE_LOOKS; i++, peer = peer->next)
		if (peer->served < found->served)
			found = peer;
	return found;
}

struct pl_peer *pl_peer_weakest(const struct pl_peers *peers, int max)
{
	struct pl_peer *receiving = peers->lists[PL_PEER_RECEIVING], *sending = peers->lists[PL_PEER_SENDING];
	if (receiving && sends_slowly(peers, receiving, max))
		return receiving;
	if (sending && peers->now_us - sending->since_us >= TAKING_US)
		return sending;
	return peers->lists[PL_PEER_IDLE] ? least_used_idle(peers) : receiving;
}

struct pl_peer *pl_peer_late(const struct pl_peers *peers, int64_t now_us)
{
	static const enum pl_peer_state ends[] = { PL_PEER_IDLE, PL_PEER_RECEIVING, PL_PEER_SENDING };
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		struct pl_peer *peer = peers->lists[ends[i]];
		if (peer && peer->deadline_us <= now_us)
			return peer;
	}
	return NULL;
}

bool pl_peer_is_stuck(const struct pl_peer *peer, int64_t now_us)
{
	return peer->state == PL_PEER_CLOSING && !peer->reported && now_us - peer->since_us >= STUCK_US;
}
