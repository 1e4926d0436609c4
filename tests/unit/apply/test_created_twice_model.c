// One request, three regions, any history: some of them execute it, clients retry it and
// write or delete what it has created, and events arrive in any order between records, in
// batches of any size, some of them twice. Often one region is cut off, executes the
// request, and is heard of when the others are done with it. What must hold when
// everything has arrived:
//
//   - the regions are equal, and remember the record of the region that comes first by
//     name among those that executed it;
//   - a record that nobody has written is gone unless it is that one;
//   - if several are left, since somebody has written to them, every region says so, and
//     no region does if one is left, or none;
//   - no region has deleted its record twice.
//
// CREATED_TWICE_ROUNDS and CREATED_TWICE_SEED change how many histories, and which.
#include "lab_applier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apply/created_twice.h"
#include "relay/outbox.h"

enum { US, EU, AP, N };

static const char *const names[N] = { "us", "eu", "ap" };
static const int ids[N] = { 300, 200, 100 }; // what each makes of the request

static struct region {
	struct lab_applier applier;
	struct pl_created_twice settling;
	struct pl_session *outbox;
	int64_t read[N][N]; // of each other region and each record, up to this row of its outbox
	bool executed;
} regions[N];
static char history[4096]; // of the round
static bool touched;       // a client has written or deleted something
static int apart;          // this region is cut off; -1: none is

static int any(int n)
{
	return rand() % n;
}

__attribute__((format(printf, 1, 2))) static void note(const char *fmt, ...)
{
	size_t len = strlen(history);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(history + len, sizeof(history) - len, fmt, ap);
	va_end(ap);
}

static void check(bool holds, int region, const char *what)
{
	if (!holds)
		fail_msg("%s: %s, after:%s", names[region], what, history);
}

static bool is(int region, const char *expected, const char *query)
{
	return strcmp(lab_ask(&lab, region, "%s", query), expected) == 0;
}

// ---- what clients do

// Executes the request unless the region knows it.
static void post(int region)
{
	if (!lab_write(&lab, lab.sql[region], names[region], ids[region], "5.00", "one"))
		return;
	lab_ask(&lab, region,
	        "UPDATE processed_requests SET status = 201, location = '/%s/properties/%d' WHERE request_id "
	        "= 'one'; UPDATE outbox SET status = 201 WHERE request_id = 'one'",
	        names[region], ids[region]);
	regions[region].executed = true;
	note(" %s creates %d;", names[region], ids[region]);
}

// Of the records of the request, one that the region has.
static int a_record(int region)
{
	int id = ids[any(N)];

	return strcmp(lab_ask(&lab, region, "SELECT 1 FROM properties WHERE id = %d AND deleted_at IS NULL",
	                      id),
	              "1") == 0
	               ? id
	               : 0;
}

static void change(int region, int id, bool delete)
{
	if (id == 0 || !lab_write(&lab, lab.sql[region], names[region], id, delete ? NULL : "6.00", NULL))
		return;
	touched = true;
	note(" %s %s %d;", names[region], delete ? "deletes" : "writes", id);
}

// ---- what the regions do

static void settle(int region)
{
	regions[region].settling.next_us = 0;
	lab_ask(&lab, region, "UPDATE created_twice SET retry_at = now()");
	if (pl_created_twice_run(&regions[region].settling, &regions[region].applier.tools) > 0)
		note(" %s deletes its own;", names[region]);
}

static void apply(int region, const struct pl_message *messages, int n)
{
	struct lab_applier *a = &regions[region].applier;
	struct pl_error err = { 0 };

	pl_apply_batch_forget(a->batch);
	pl_apply_batch_read(a->batch, &a->tools, messages, n);
	if (pl_apply_batch_write(a->batch, &a->tools, &a->counts, &err) < 0)
		fail_msg("%s: %s", names[region], err.text);
}

static int index_of(const char *record)
{
	int i = 0;

	while (atoi(record) != ids[i])
		i++;
	return i;
}

static struct pl_message message_of(const struct pl_outbox_row *row, int from)
{
	struct pl_outgoing_message *message = pl_arena_alloc(lab.arena, sizeof(*message));
	struct pl_error err = { 0 };

	if (pl_event_encode(lab.arena, row, "last_writer_wins sha256:00", message, &err) < 0)
		fail_msg("%s", err.text);
	return (struct pl_message){ .topic = "property-updates",
		                    .partition = from,
		                    .offset = row->id,
		                    .broker_time_us = row->created_at_us,
		                    .key = message->key,
		                    .key_len = message->key_len,
		                    .value = message->value,
		                    .value_len = message->value_len,
		                    .nheaders = message->nheaders,
		                    .headers = message->headers };
}

// Delivers up to `most` events of one region to another: those of a record in their
// order, others in any. Returns their number. Now and then they stay undelivered, too,
// and come again.
static int deliver(int from, int to, int most, int record)
{
	struct pl_message messages[64];
	struct pl_outbox_cursor cursor;
	struct pl_outbox_batch batch;
	struct pl_error err = { 0 };
	bool again = any(5) == 0;
	int n = 0;

	if (from == apart || to == apart)
		return 0;
	pl_outbox_begin(&cursor, 0);
	if (pl_outbox_read(regions[from].outbox, &cursor, INT64_MAX, 1000, &batch, &err) < 0)
		fail_msg("%s", err.text);
	for (int i = 0; i < batch.n && n < most && n < 64; i++) {
		int about = index_of(batch.rows[i].record_id);

		if ((record >= 0 && about != record) || batch.rows[i].id <= regions[to].read[from][about])
			continue;
		messages[n++] = message_of(&batch.rows[i], from);
		if (!again)
			regions[to].read[from][about] = batch.rows[i].id;
	}
	if (n > 0) {
		note(" %s gets %d of %s%s;", names[to], n, names[from], again ? ", to come again" : "");
		apply(to, messages, n);
	}
	pl_outbox_batch_fini(&batch);
	pl_outbox_cursor_fini(&cursor);
	return n;
}

static void a_step(bool clients)
{
	int region = any(N);

	switch (any(11)) {
	case 0:
	case 1: post(region); return;
	case 2:
	case 3: settle(region); return;
	case 4:
	case 5:
		if (clients)
			change(region, a_record(region), any(3) == 0);
		return;
	default: deliver((region + 1 + any(N - 1)) % N, region, 1 + any(3), any(2) ? -1 : any(N));
	}
}

static void until_nothing_happens(void)
{
	for (int quiet = 0; quiet < 3; quiet++)
		for (int to = 0; to < N; to++) {
			for (int from = 0; from < N; from++)
				if (from != to && deliver(from, to, 64, -1) > 0)
					quiet = 0;
			settle(to);
		}
}

// ---- what must hold

static void check_memory(int region)
{
	int first = AP;

	while (first >= US && !regions[first].executed)
		first--;
	check(first < US ||
	              is(region, "t",
	                 pl_arena_printf(lab.arena,
	                                 "SELECT record_id = %d AND location = '/%s/properties/%d' FROM "
	                                 "processed_requests WHERE request_id = 'one'",
	                                 ids[first], names[first], ids[first])),
	      region, "another answer is remembered");
	check(is(region, "0",
	         pl_arena_printf(lab.arena,
	                         "SELECT count(*) FROM properties WHERE id <> %d AND deleted_at IS NULL AND "
	                         "version = 1",
	                         first < US ? 0 : ids[first])),
	      region, "a record that nobody has written is left");
	check(touched || first < US ||
	              is(region, "1", "SELECT count(*) FROM properties WHERE deleted_at IS NULL"),
	      region, "not one record is left");
}

#define OPEN "SELECT count(*) FROM conflicts WHERE type = 'created_twice' AND closed_at IS NULL"
#define LEFT "SELECT count(*) FROM properties WHERE deleted_at IS NULL"

static void check_round(void)
{
	for (int i = 0; i < N; i++) {
		bool several = atoi(lab_ask(&lab, i, LEFT)) > 1;

		check_memory(i);
		check(is(i, several ? "t" : "f", "SELECT EXISTS (SELECT FROM created_twice)"), i,
		      several ? "it does not know that several are left" : "it thinks that several are left");
		check(is(i, several ? "t" : "f", "SELECT (" OPEN ") > 0"), i,
		      several ? "no conflict says that several are left" : "a conflict is open");
		check(is(i, "0", OPEN " AND policy_error IS NULL"), i, "a conflict does not say what to do");
		check(is(i, "t", "SELECT count(*) <= 1 FROM outbox WHERE request_id LIKE 'created-twice-%'"),
		      i, "it has deleted its record twice");
		check(is(i, "0", PARKED), i, "an event is parked");
	}
	for (int i = 0; i < N; i++)
		lab_ask(&lab, i, "TRUNCATE outbox");
	lab_regions_are_equal(&lab);
}

static void begin_round(void)
{
	lab_empty(&lab);
	for (int i = 0; i < N; i++) {
		memset(regions[i].read, 0, sizeof(regions[i].read));
		regions[i].executed = false;
	}
	history[0] = '\0';
	touched = false;
}

static int number_from(const char *variable, int otherwise)
{
	return getenv(variable) ? atoi(getenv(variable)) : otherwise;
}

// One region is cut off while the others execute the request and are done with it.
static void without(int region, bool clients)
{
	int others[] = { (region + 1) % N, (region + 2) % N };

	for (int i = 0; i < N - 1; i++) {
		post(others[i]);
		if (clients && any(2))
			change(others[i], ids[others[i]], false);
	}
	until_nothing_happens();
	if (clients && any(2))
		change(others[0], a_record(others[0]), true);
	until_nothing_happens();
	note(" %s is there;", names[region]);
	apart = -1;
	post(region);
}

static void play(bool clients)
{
	int rounds = number_from("CREATED_TWICE_ROUNDS", 25);

	srand((unsigned)number_from("CREATED_TWICE_SEED", 16));
	for (int round = 0; round < rounds; round++) {
		int steps = 8 + any(20);

		begin_round();
		note(" round %d:", round);
		apart = any(4) ? any(N) : -1;
		if (apart >= 0)
			without(apart, clients);
		for (int i = 0; i < steps; i++)
			a_step(clients);
		until_nothing_happens();
		check_round();
	}
}

static void one_record_is_left_of_a_request_that_regions_executed(void **state)
{
	play(false);
}

static void what_clients_have_written_is_kept_and_reported(void **state)
{
	play(true);
}

static int start(void **state)
{
	lab_start(&lab, &(struct lab_options){ .regions = N });
	for (int i = 0; i < N; i++) {
		lab_applier_open(&regions[i].applier, i);
		regions[i].outbox = lab_session(&lab, i,
		                                (struct pl_session_options){ .application_name = "test relay",
		                                                             .setup = pl_outbox_setup });
	}
	return 0;
}

static int stop(void **state)
{
	for (int i = 0; i < N; i++) {
		lab_applier_close(&regions[i].applier);
		pl_session_free(&regions[i].outbox);
	}
	lab_stop(&lab);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_record_is_left_of_a_request_that_regions_executed),
		cmocka_unit_test(what_clients_have_written_is_kept_and_reported),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
