// http/held: whose connections are closed when the workers hold too much memory for slow
// clients.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include <cmocka.h>

#include "http/held.h"
#include "http/http_private.h"

#define KIB 1024
#define MIB (1024 * KIB)

// In place of libmicrohttpd's: there are no connections.
enum MHD_Result MHD_set_connection_option(struct MHD_Connection *connection,
                                          enum MHD_CONNECTION_OPTION option, ...)
{
	return MHD_YES;
}

#define WORKERS 2
#define CLIENTS 64

static struct pl_config config = { .http = { .max_response = 8 * MIB } }; // so the limit is 16 MiB
static struct pl_generation generation = { .config = &config };
static struct pl_listener workers[WORKERS];
static struct pl_http_request *all[CLIENTS];
static int n;

// A client of a worker whose answer, of so many bytes, has waited for it for so long.
static struct pl_http_request *client(int worker, size_t bytes, int64_t waits_us)
{
	struct pl_listener *listener = &workers[worker];
	struct pl_http_request *h = calloc(1, sizeof(*h));
	struct pl_peer *peer = pl_peer_new(&listener->peers, NULL, -1, 0);

	pl_peer_enter(&listener->peers, peer, PL_PEER_SENDING, 0);
	peer->since_us -= waits_us;
	h->listener = listener;
	h->peer = peer;
	h->arena = pl_arena_new(0);
	DL_APPEND(listener->http_requests, h);
	h->answer.body.cap = bytes;
	all[n++] = h;
	pl_held_update(h);
	return h;
}

// Whether a body of so many bytes would be refused.
static bool refuses(int worker, size_t bytes)
{
	struct pl_http_request h = { .listener = &workers[worker], .body.len = bytes };

	return pl_held_refuses(&h);
}

static bool is_closed(const struct pl_http_request *h)
{
	return h->peer->state == PL_PEER_CLOSING;
}

static int setup(void **state)
{
	(void)state;
	n = 0;
	for (int i = 0; i < WORKERS; i++) {
		workers[i] = (struct pl_listener){ .generation = &generation };
		workers[i].peers.now_us = 1000000000;
		pl_held_begin();
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < n; i++) {
		pl_held_forget(all[i]);
		pl_peer_free(&all[i]->listener->peers, all[i]->peer);
		pl_arena_free(&all[i]->arena);
		free(all[i]);
	}
	for (int i = 0; i < WORKERS; i++)
		pl_held_end();
	return 0;
}

static void what_has_been_held_most_for_longest_is_closed_until_it_fits(void **state)
{
	struct pl_http_request *slow, *slower, *quick;

	(void)state;
	slow = client(0, 6 * MIB, 1000000);
	slower = client(0, 6 * MIB, 2000000);
	quick = client(0, 1 * MIB, 0);
	assert_false(is_closed(slow) || is_closed(slower) || is_closed(quick));
	assert_false(refuses(0, 60 * KIB));
	client(0, 5 * MIB, 10000);
	assert_true(is_closed(slower));
	assert_false(is_closed(slow) || is_closed(quick));
	assert_int_equal(workers[0].stats.reclaimed, 1);
}

static void where_larger_bodies_are_allowed_there_is_room_for_one(void **state)
{
	struct pl_http_request *slow, *slower;

	(void)state;
	config.http.max_body = 16 * MIB;
	slow = client(0, 11 * MIB, 1000000);
	slower = client(0, 11 * MIB, 2000000);
	assert_false(is_closed(slow) || is_closed(slower));
	client(0, 3 * MIB, 0);
	assert_true(is_closed(slower));
	assert_false(is_closed(slow));
	config.http.max_body = 64 * KIB;
}

// The memory is the other worker's: closing its own would change nothing.
static void a_worker_that_holds_little_closes_nobody_and_refuses_nothing(void **state)
{
	struct pl_http_request *slow[4], *good[8];

	(void)state;
	for (int i = 0; i < 4; i++)
		slow[i] = client(0, 3900 * KIB, 1000000 + i);
	for (int i = 0; i < 8; i++)
		good[i] = client(1, 100 * KIB, 10000);
	for (int i = 0; i < 8; i++)
		assert_false(is_closed(good[i]));
	assert_int_equal(workers[1].stats.reclaimed, 0);
	assert_false(refuses(1, 60 * KIB));
	pl_held_reclaim(&workers[0]);
	assert_int_equal(workers[0].stats.reclaimed, 1);
	assert_true(is_closed(slow[3]));
	assert_false(refuses(0, 60 * KIB));
}

static void when_handlers_hold_too_much_large_bodies_are_refused_and_no_connection_is_closed(void **state)
{
	struct pl_http_request *good;

	(void)state;
	good = client(0, 5 * KIB, 0);
	for (int i = 0; i < 3; i++) {
		struct pl_http_request *working = client(0, 1, 0);

		pl_peer_enter(&workers[0].peers, working->peer, PL_PEER_WORKING, 0);
		working->body.cap = 6 * MIB;
		pl_held_update(working);
	}
	assert_false(is_closed(good));
	assert_true(refuses(0, 60 * KIB));
	assert_false(refuses(0, 200)); // an ordinary write
	assert_false(refuses(1, 60 * KIB));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_has_been_held_most_for_longest_is_closed_until_it_fits),
		TEST(where_larger_bodies_are_allowed_there_is_room_for_one),
		TEST(a_worker_that_holds_little_closes_nobody_and_refuses_nothing),
		TEST(when_handlers_hold_too_much_large_bodies_are_refused_and_no_connection_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
