// The memory that requests hold outside of Lua.
//
// Each answer and each body is limited, but a thousand clients that take large answers
// slowly, or send large bodies slowly, would hold a thousand of them. So the sum over all
// workers is limited, too: to one answer or body of the largest size and HELD_BASE.
// Beyond it, a worker closes the connection of its own that has held most for longest,
// and the next, but only as long as its slow clients hold more than its share of the
// limit. Otherwise the memory is another worker's, and this one would close all of its
// connections in vain, even those of honest clients that are being answered. The other
// one looks at its next request, or at its next sweep; until then there may be twice the
// limit.
//
// Invariant: all_held is the sum of `held` over all requests that are not being closed.
// Threads: the worker's; only the sum and the number of workers are shared.
#include "http/held.h"

#include <stdatomic.h>
#include <utlist.h>

#include "base/log.h"
#include "http/http_private.h"

#define HELD_BASE  ((size_t)8 << 20)
#define SMALL      4096 // bytes of a request that are not worth counting
#define NODE_BYTES (sizeof(cJSON) + 32)

static _Atomic size_t all_held;
static _Atomic int workers;

static size_t tree_bytes(const cJSON *tree)
{
	size_t bytes = tree ? NODE_BYTES : 0;
	const cJSON *item;

	cJSON_ArrayForEach (item, tree)
		bytes += tree_bytes(item);
	return bytes;
}

static size_t bytes_of(const struct pl_http_request *h)
{
	return h->body.cap + tree_bytes(h->request.body) + h->answer.body.cap + h->instead.body.cap +
	       pl_arena_size(h->arena);
}

static size_t most(const struct pl_listener *listener)
{
	size_t response = listener->generation->config->http.max_response;
	size_t body = listener->generation->config->http.max_body;

	return (response > body ? response : body) + HELD_BASE;
}

static size_t share(const struct pl_listener *listener)
{
	return most(listener) / (size_t)atomic_load_explicit(&workers, memory_order_relaxed);
}

// The request whose connection has held most memory for longest, of those that wait for
// their client; and how much these hold together. NULL: none.
static struct pl_http_request *worst(const struct pl_listener *listener, size_t *all_r)
{
	struct pl_http_request *h, *found = NULL;
	double most_held = 0;

	*all_r = 0;
	DL_FOREACH (listener->http_requests, h) {
		if (!h->peer || h->held <= SMALL ||
		    (h->peer->state != PL_PEER_SENDING && h->peer->state != PL_PEER_RECEIVING))
			continue;
		*all_r += h->held;
		double held = (double)h->held * (double)(listener->peers.now_us - h->peer->since_us + 1);
		if (held > most_held) {
			most_held = held;
			found = h;
		}
	}
	return found;
}

static void close_worst(struct pl_listener *listener, struct pl_http_request *h)
{
	static struct pl_log_limit limit;

	listener->stats.reclaimed++;
	if (pl_log_limit_ok(&limit, 10000000))
		pl_warning("http: the bodies and answers of slow clients take more than %zu KiB of memory; "
		           "closed a connection that held %zu KiB of it for %lld ms (%llu so far)",
		           most(listener) >> 10, h->held >> 10,
		           (long long)((listener->peers.now_us - h->peer->since_us) / 1000),
		           (unsigned long long)listener->stats.reclaimed);
	pl_held_forget(h);
	pl_peer_shut(&listener->peers, h->peer);
}

static bool is_full(const struct pl_listener *listener)
{
	return atomic_load_explicit(&all_held, memory_order_relaxed) > most(listener);
}

void pl_held_reclaim(struct pl_listener *listener)
{
	struct pl_http_request *slow;
	size_t all;

	while (is_full(listener) && (slow = worst(listener, &all)) != NULL && all > share(listener))
		close_worst(listener, slow);
}

void pl_held_update(struct pl_http_request *h)
{
	struct pl_listener *listener = h->listener;
	size_t bytes = bytes_of(h);

	if (!h->peer || h->peer->state == PL_PEER_CLOSING)
		return;
	atomic_fetch_add_explicit(&all_held, bytes - h->held, memory_order_relaxed);
	h->held = bytes;
	pl_held_reclaim(listener);
}

void pl_held_forget(struct pl_http_request *h)
{
	atomic_fetch_sub_explicit(&all_held, h->held, memory_order_relaxed);
	h->held = 0;
}

bool pl_held_refuses(const struct pl_http_request *refused)
{
	const struct pl_listener *listener = refused->listener;
	const struct pl_http_request *h;
	size_t own = 0;

	if (refused->body.len <= SMALL || !is_full(listener))
		return false;
	DL_FOREACH (listener->http_requests, h)
		own += h->held;
	return own > share(listener);
}

void pl_held_begin(void)
{
	atomic_fetch_add(&workers, 1);
}

void pl_held_end(void)
{
	atomic_fetch_sub(&workers, 1);
}
