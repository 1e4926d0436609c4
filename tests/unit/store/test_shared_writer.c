// store/shared_writer: workers of one daemon that write through one shared writer.
//
// As in the daemon, a worker is a thread with a loop and a store, and sleeps until it
// is woken.
#include "faults.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "store/shared_writer.h"

enum { WORKERS = 2, ENOUGH_US = 6000000 };

struct worker {
	struct fixture *f;
	struct pl_shared_writer *writes;
	pthread_t thread;
	struct pl_loop *loop;
	struct pl_store *store;
	atomic_int ready, answered, committed, strangers;
};

struct both {
	struct fixture *f;
	struct pl_shared_writer *writes;
	struct worker worker[WORKERS];
};

static int turn(void *arg)
{
	struct worker *w = arg;
	struct pl_error why;

	pl_store_turn(w->store);
	if (!atomic_load(&w->ready) && pl_store_ready(w->store, &why) &&
	    pl_shared_writer_ready(w->writes, &why))
		atomic_store(&w->ready, 1);
	return atomic_load(&w->ready) ? -1 : 5;
}

static void on_committed(int n, void *arg)
{
	struct worker *w = arg;

	atomic_fetch_add(&w->committed, n);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct pl_error err;

	w->store = pl_store_new(&(struct pl_store_options){ .loop = w->loop,
	                                                    .config = w->f->config,
	                                                    .region = &w->f->config->regions[0],
	                                                    .writer = w->writes,
	                                                    .committed = on_committed,
	                                                    .arg = w },
	                        &err);
	pl_loop_run(w->loop, turn, w);
	pl_store_free(&w->store);
	return NULL;
}

static void await_at_least(atomic_int *counter, int n)
{
	int64_t until_us = pl_mono_us() + ENOUGH_US;

	while (atomic_load(counter) < n) {
		if (pl_mono_us() > until_us)
			fail_msg("waited %d s for %d, but there are %d", ENOUGH_US / 1000000, n,
			         atomic_load(counter));
		usleep(500);
	}
}

static void start(struct both *b, struct worker *w)
{
	*w = (struct worker){ .f = b->f, .writes = b->writes, .loop = pl_loop_new() };
	assert_int_equal(pthread_create(&w->thread, NULL, work, w), 0);
	await_at_least(&w->ready, 1);
}

static void end(struct worker *w)
{
	if (!w->loop)
		return;
	pl_loop_stop(w->loop);
	pthread_join(w->thread, NULL);
	pl_loop_free(&w->loop);
}

static int setup_both(void **state)
{
	struct both *b = calloc(1, sizeof(*b));
	struct pl_error err;

	fixture_setup((void **)&b->f);
	b->f->config->database.statement_timeout_us = b->f->config->database.lock_timeout_us =
		60000000; // no timer of the connection may help
	b->writes = pl_shared_writer_new(b->f->config, &b->f->config->regions[0], &err);
	assert_non_null(b->writes);
	for (int i = 0; i < WORKERS; i++)
		start(b, &b->worker[i]);
	*state = b;
	return 0;
}

static int teardown_both(void **state)
{
	struct both *b = *state;

	for (int i = 0; i < WORKERS; i++)
		end(&b->worker[i]);
	pl_shared_writer_free(&b->writes);
	fixture_teardown((void **)&b->f);
	free(b);
	return 0;
}

// ---- sending

struct sent {
	struct worker *worker;
	struct pl_write *write;
	int answers;
};

static void done(struct pl_write *write, void *arg)
{
	struct sent *sent = arg;

	(void)write;
	sent->answers++;
	if (!pthread_equal(pthread_self(), sent->worker->thread))
		atomic_fetch_add(&sent->worker->strangers, 1);
	atomic_fetch_add(&sent->worker->answered, 1);
}

static void send_it(void *arg)
{
	struct sent *sent = arg;

	pl_store_write(sent->worker->store, sent->write);
}

// An update in its own arena, as a request has one; sent in the worker's thread.
static struct sent *send_update(struct both *b, int worker, int64_t id, const char *price)
{
	struct sent *sent = pl_arena_alloc(b->f->arena, sizeof(*sent));

	sent->worker = &b->worker[worker];
	sent->write = update(b->f, id, price);
	sent->write->arena = pl_arena_new(0);
	sent->write->done = done;
	sent->write->arg = sent;
	pl_loop_post(sent->worker->loop, send_it, sent);
	return sent;
}

static void forget(struct sent *sent)
{
	struct pl_arena *arena = sent->write->arena;

	pl_arena_free(&arena);
}

static void all_done_once(struct both *b, struct sent **all, int n)
{
	for (int i = 0; i < n; i++) {
		assert_int_equal(all[i]->answers, 1);
		if (all[i]->write->outcome != PL_OUTCOME_DONE)
			fail_msg("write %d: %s: %s", i, outcome_name(all[i]->write->outcome),
			         all[i]->write->err.text);
		forget(all[i]);
	}
	for (int i = 0; i < WORKERS; i++)
		assert_int_equal(atomic_load(&b->worker[i].strangers), 0);
}

// ---- the tests

static void each_write_comes_back_to_the_worker_that_handed_it_in(void **state)
{
	enum { RECORDS = 40, EACH = 300 };
	struct both *b = *state;
	struct sent *all[WORKERS * EACH];
	struct pl_store_stats stats;
	int n = 0;

	ask(b->f,
	    "INSERT INTO properties (id, price, region_origin, version, updated_at, vector) "
	    "SELECT i, 1, 'us', 1, now(), '{\"us\": 1}' FROM generate_series(1, %d) i",
	    RECORDS);
	for (int i = 0; i < EACH; i++)
		for (int w = 0; w < WORKERS; w++)
			all[n++] = send_update(b, w, 1 + (i + w) % RECORDS, "2.00");
	for (int w = 0; w < WORKERS; w++)
		await_at_least(&b->worker[w].answered, EACH);
	all_done_once(b, all, n);
	ask_is(b->f, "640", "SELECT sum(version) FROM properties");
	ask_is(b->f, "600", "SELECT count(*) FROM outbox");
	ask_is(b->f, "600", "SELECT count(*) FROM processed_requests");
	assert_int_equal(atomic_load(&b->worker[0].committed) + atomic_load(&b->worker[1].committed), n);
	pl_shared_writer_stats(b->writes, &stats);
	assert_int_equal(stats.writes, n);
	assert_true(stats.batches < (uint64_t)n / 2);
	assert_int_equal(stats.in_flight + stats.write_queue, 0);
}

// If the writes blocked each other, the store would ask about each of them and execute
// it alone on the serial connection.
static void writes_of_one_record_do_not_block_each_other_in_the_database(void **state)
{
	enum { EACH = 50 };
	struct both *b = *state;
	struct sent *all[WORKERS * EACH];
	struct pl_store_stats stats;
	int n = 0;

	outcome_is(b->f, create(b->f, 7, "1.00"), PL_OUTCOME_DONE);
	for (int i = 0; i < EACH; i++)
		for (int w = 0; w < WORKERS; w++)
			all[n++] = send_update(b, w, 7, "2.00");
	for (int w = 0; w < WORKERS; w++)
		await_at_least(&b->worker[w].answered, EACH);
	all_done_once(b, all, n);
	ask_is(b->f, "101", "SELECT version FROM properties WHERE id = 7");
	pl_shared_writer_stats(b->writes, &stats);
	assert_int_equal(stats.batches,
	                 n); // each write was executed by the first statement that contained it
	assert_int_equal(stats.retried, 0);
}

// A worker's write of record 7 stays at the database until the returned session ends.
static PGconn *hold_up(struct both *b, int worker, struct sent **held_r)
{
	PGconn *way = stand_in_the_way();

	ask(b->f, "%s", trigger);
	*held_r = send_update(b, worker, 7, "111.00");
	await_rows(b->f, "pg_locks WHERE locktype = 'advisory' AND NOT granted");
	return way;
}

static void await_queued(struct both *b)
{
	struct pl_store_stats stats = { 0 };

	for (int i = 0; stats.write_queue == 0; i++) {
		assert_true(i < ENOUGH_US / 500);
		usleep(500);
		pl_shared_writer_stats(b->writes, &stats);
	}
}

// The database's answer wakes the worker that sent the batch. When that worker ends,
// another one must take over.
static void a_worker_that_ends_leaves_the_connection_to_the_others(void **state)
{
	struct both *b = *state;
	struct sent *slow, *waiting;
	PGconn *way = hold_up(b, 0, &slow);

	waiting = send_update(b, 1, 8, "2.00"); // queued after it
	await_queued(b);
	end(&b->worker[0]);
	assert_int_equal(slow->answers, 1);
	assert_int_equal(slow->write->outcome, PL_OUTCOME_FAILED);
	assert_int_equal(slow->write->err.code, PL_EUNKNOWN);
	PQfinish(way);
	await_at_least(&b->worker[1].answered, 1);
	all_done_once(b, &waiting, 1);
	forget(slow);
	ask_is(b->f, "2",
	       // the write was executed after all, which "unknown" allows
	       "SELECT version FROM properties WHERE id = 7");
}

static void writes_that_were_not_sent_when_their_worker_ends_are_not_executed(void **state)
{
	struct both *b = *state;
	struct sent *slow, *waiting;
	PGconn *way = hold_up(b, 1, &slow);

	waiting = send_update(b, 0, 8, "2.00");
	await_queued(b);
	end(&b->worker[0]);
	assert_int_equal(waiting->answers, 1);
	assert_int_equal(waiting->write->outcome, PL_OUTCOME_FAILED);
	assert_int_equal(waiting->write->err.code, PL_ESTOPPED);
	forget(waiting);
	PQfinish(way);
	await_at_least(&b->worker[1].answered, 1);
	all_done_once(b, &slow, 1);
	ask_is(b->f, "1", "SELECT version FROM properties WHERE id = 8");
}

// The connection comes back even if nobody has anything to write.
static void await_ready(struct both *b)
{
	struct pl_error why;

	for (int i = 0; !pl_shared_writer_ready(b->writes, &why); i++) {
		if (i == ENOUGH_US / 500)
			fail_msg("not ready: %s", why.text);
		usleep(500);
	}
}

// Other workers than the host notice by the timer of the deadline, which every worker
// that has entered the writer keeps.
static void a_deadline_is_kept_while_the_database_does_not_answer(void **state)
{
	struct both *b = *state;
	struct sent *first, *second;

	outcome_is(b->f, create(b->f, 7, "1.00"), PL_OUTCOME_DONE);
	outcome_is(b->f, create(b->f, 8, "1.00"), PL_OUTCOME_DONE);
	control_server("stop");
	first = send_update(b, 0, 7, "2.00");
	second = send_update(b, 1, 8, "2.00");
	for (int w = 0; w < WORKERS; w++)
		await_at_least(&b->worker[w].answered, 1);
	assert_int_equal(first->write->outcome, PL_OUTCOME_FAILED);
	assert_int_equal(second->write->outcome, PL_OUTCOME_FAILED);
	forget(first);
	forget(second);
	control_server("start");
	PQreset(b->f->sql);
	await_ready(b);
	first = send_update(b, 0, 7, "3.00");
	await_at_least(&b->worker[0].answered, 2);
	second = send_update(b, 1, 8, "3.00");
	await_at_least(&b->worker[1].answered, 2);
	all_done_once(b, (struct sent *[]){ first, second }, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define t(name) cmocka_unit_test_setup_teardown(name, setup_both, teardown_both)
		t(each_write_comes_back_to_the_worker_that_handed_it_in),
		t(writes_of_one_record_do_not_block_each_other_in_the_database),
		t(a_worker_that_ends_leaves_the_connection_to_the_others),
		t(writes_that_were_not_sent_when_their_worker_ends_are_not_executed),
		t(a_deadline_is_kept_while_the_database_does_not_answer),
	};

	return cmocka_run_group_tests_name("store/shared_writer", tests, NULL, NULL);
}
