// A worker's access to the shared writer: the lock, and the wake-ups between workers.
//
// The writer has a loop of its own, whose descriptor is watched in the loop of one
// worker, the host: the one that sent the last batch. A result from the database wakes
// only the host; it takes the result, sends the next batch, and wakes the workers whose
// writes were in it. Another worker becomes the host when it enters, finds the
// connection idle and sends. The watch is edge-triggered: a worker turns the writer's
// loop until nothing is ready, so that no event is lost. The loop's timers are copied
// into the loop of each worker that leaves.
//
// The worker that holds the lock does work for the others: it reads their rows into
// their arenas, and puts finished writes into their `back`. A write's arena belongs to
// its worker until the write is handed in and again after it has been taken home; in
// between, to the holder of the lock.
//
// Invariants: a write is in its client's `going`, in the writer, in its client's
// `back`, or in its client's `home`. `done` is called without the lock.
// Threads: `back` and `rung` of a client are protected by the lock; the rest of it
// belongs to its worker.
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "store/store_private.h"

// ---- posts

static void post_clear(struct pl_post *post)
{
	post->writes = NULL;
	post->writes_end = &post->writes;
	post->answers = NULL;
}

static struct pl_write *post_take(struct pl_post *post)
{
	struct pl_write *write = post->writes;

	post->writes = write->next;
	if (!post->writes)
		post->writes_end = &post->writes;
	return write;
}

static void post_all(struct pl_post *to, struct pl_post *from)
{
	if (from->writes) {
		*to->writes_end = from->writes;
		to->writes_end = from->writes_end;
	}
	DL_CONCAT(to->answers, from->answers);
	post_clear(from);
}

static bool post_empty(const struct pl_post *post)
{
	return !post->writes && !post->answers;
}

// ---- under the lock

static void hand_in(struct pl_writer_client *client)
{
	struct pl_remember_answer *answer;

	while (client->going.writes)
		pl_write_task_begin(client->writer, post_take(&client->going));
	while ((answer = client->going.answers)) {
		DL_DELETE(client->going.answers, answer);
		pl_write_answer_send(client->writer, answer);
	}
	client->ngoing = 0;
}

// A watch belongs to its worker's thread, so a worker that is no longer the host finds
// out when it next enters, at the latest after one needless wake-up.
static void settle_host(struct pl_writer_client *client, bool sent)
{
	struct pl_shared_writer *writer = client->writer;

	if (!writer->host || sent)
		writer->host = client;
	if (client->hosting == (writer->host == client))
		return;
	client->hosting = !client->hosting;
	pl_loop_watch_set(client->watch, client->hosting ? EPOLLIN | EPOLLET : 0);
}

static void ring(struct pl_writer_client *client)
{
	if (client->rung)
		return;
	client->rung = true;
	pl_wake_ring(client->wake);
}

static void set_timer(struct pl_writer_client *client)
{
	int64_t due_us = pl_loop_due_us(client->writer->db.loop);

	if (due_us >= client->timer_us)
		return;
	client->timer_us = due_us;
	pl_loop_timer_set(client->timer, due_us - pl_mono_us());
}

static void enter(struct pl_writer_client *client)
{
	pthread_mutex_lock(&client->writer->lock);
	client->writer->inside = client;
}

static void leave(struct pl_writer_client *client)
{
	struct pl_shared_writer *writer = client->writer;
	struct pl_writer_client *other;

	post_all(&client->home, &client->back);
	client->rung = false;
	DL_FOREACH (writer->clients, other)
		if (other != client && !post_empty(&other->back))
			ring(other);
	set_timer(client);
	writer->inside = NULL;
	pthread_mutex_unlock(&writer->lock);
}

// ---- the worker's side

void pl_writer_client_turn(struct pl_writer_client *client)
{
	uint64_t sent;

	if (post_empty(&client->going) && !client->called)
		return;
	// Take the lock even if another worker holds it: it may have polled before the
	// reply arrived that woke us.
	enter(client);
	sent = client->writer->sent;
	hand_in(client);
	client->called = false;
	if (pl_shared_writer_turn(client->writer))
		pl_wake_ring(client->wake); // continue after a turn of this worker's own loop
	settle_host(client, client->writer->sent != sent);
	leave(client);
}

// Answered without entering the writer.
static void refuse(struct pl_writer_client *client, struct pl_write *write, enum pl_outcome outcome)
{
	write->outcome = outcome;
	if (outcome == PL_OUTCOME_FAILED) {
		pl_error_set(&write->err, PL_ESTOPPED, "the server is stopping; nothing was written");
		write->err.retryable = true;
	}
	pl_post_write(&client->home, write);
}

void pl_writer_client_write(struct pl_writer_client *client, struct pl_write *write)
{
	write->client = client;
	write->record = NULL;
	write->written = false;
	memset(&write->err, 0, sizeof(write->err));
	if (client->left) {
		refuse(client, write, PL_OUTCOME_FAILED);
	} else if (!pl_write_task_new(client->writer, write)) {
		refuse(client, write, PL_OUTCOME_RUNNING);
	} else {
		pl_post_write(&client->going, write);
		if (++client->ngoing >= client->hand_in_at)
			pl_writer_client_turn(client);
	}
}

void pl_writer_client_answer(struct pl_writer_client *client, struct pl_remember_answer *answer)
{
	answer->client = client;
	client->answered++;
	memset(&answer->err, 0, sizeof(answer->err));
	if (!client->left) {
		pl_post_answer(&client->going, answer);
		return;
	}
	answer->code = pl_error_set(&answer->err, PL_ESTOPPED, "the server is stopping");
	answer->err.retryable = true;
	pl_post_answer(&client->home, answer);
}

// Returns whether something may have been committed.
static bool deliver_writes(struct pl_writer_client *client)
{
	bool any = false;

	while (client->home.writes) {
		struct pl_write *write = post_take(&client->home);

		any |= write->outcome == PL_OUTCOME_DONE || write->outcome == PL_OUTCOME_FAILED;
		write->done(write, write->arg); // frees the write with its arena
	}
	return any;
}

// Events are announced when the handlers have answered. A handler's own answer is stored
// next, and announced together with its write, so that the relay finds both.
bool pl_writer_client_deliver(struct pl_writer_client *client)
{
	bool any = !post_empty(&client->home), publish = client->home.answers;
	uint64_t answered = client->answered;
	struct pl_remember_answer *answer;

	if (deliver_writes(client) && client->answered == answered)
		publish = true;
	while ((answer = client->home.answers)) {
		DL_DELETE(client->home.answers, answer);
		answer->done(answer, answer->arg);
	}
	if (publish && client->committed)
		client->committed(0, client->arg);
	return any;
}

// ---- wake-ups

static void on_called(void *arg, uint32_t events)
{
	struct pl_writer_client *client = arg;

	(void)events;
	client->called = true;
}

static void on_bell(void *arg, uint32_t events)
{
	struct pl_writer_client *client = arg;

	pl_wake_drain(client->wake);
	on_called(arg, events);
}

static void on_timer(void *arg)
{
	struct pl_writer_client *client = arg;

	client->timer_us = INT64_MAX;
	client->called = true;
}

// ---- joining and leaving

struct pl_writer_client *pl_writer_client_new(struct pl_shared_writer *writer, struct pl_loop *loop,
                                              void (*committed)(int writes, void *arg), void *arg)
{
	struct pl_writer_client *client = pl_calloc(1, sizeof(*client));

	client->writer = writer;
	client->committed = committed;
	client->arg = arg;
	post_clear(&client->going);
	post_clear(&client->back);
	post_clear(&client->home);
	client->wake = pl_wake_new();
	client->bell = pl_loop_watch_new(loop, pl_wake_fd(client->wake), EPOLLIN, on_bell, client);
	client->watch = pl_loop_watch_new(loop, pl_loop_fd(writer->db.loop), 0, on_called, client);
	client->timer = pl_loop_timer_new(loop, on_timer, client);
	client->timer_us = INT64_MAX;
	client->hand_in_at = PL_HAND_IN_AT;
	pthread_mutex_lock(&writer->lock);
	DL_APPEND(writer->clients, client);
	writer->nclients++;
	pthread_mutex_unlock(&writer->lock);
	client->called = true; // its first visit
	return client;
}

void pl_writer_client_leave(struct pl_writer_client *client)
{
	struct pl_shared_writer *writer = client->writer;
	struct pl_writer_client *other;

	enter(client);
	client->left = true;
	hand_in(client);
	pl_write_task_leave(writer, client);
	pl_write_answer_leave(writer, client);
	pl_shared_writer_turn(writer); // the others' writes may have waited for its own
	DL_DELETE(writer->clients, client);
	writer->nclients--;
	if (writer->host == client)
		writer->host = NULL;
	DL_FOREACH (writer->clients, other)
		ring(other); // the first to enter is the next host
	leave(client);
}

void pl_writer_client_free(struct pl_writer_client **client_p)
{
	struct pl_writer_client *client = *client_p;

	if (!client)
		return;
	*client_p = NULL;
	pl_loop_watch_free(&client->watch);
	pl_loop_watch_free(&client->bell);
	pl_wake_free(&client->wake);
	pl_loop_timer_free(&client->timer);
	free(client);
}
