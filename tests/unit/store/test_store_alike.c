// store/store: batched writes have the same outcomes, and leave the same rows, as the
// same writes made one by one.
//
// A history is generated from a seed: rounds of up to 64 creates, updates and deletes
// of a few records, with locks of every kind, both correct and wrong, with values that
// the database refuses, and with repeated requests. It is run twice on empty tables:
// once with each round queued as a whole, and once with each write alone. PL_ALIKE_SEED
// and PL_ALIKE_HISTORIES choose the first seed and the number of histories.
#include "writes.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 6, PER_ROUND = 64, WRITES = ROUNDS * PER_ROUND };

struct plan {
	enum pl_write_op op;
	int64_t id;
	const char *price;
	bool bedrooms;
	enum { NO_LOCK, BY_VERSION, BY_ETAG, BY_ANY, BY_NEVER, LOCK_MISSING } lock;
	int version;     // of the lock
	int request;     // number of the request: its own, or one of an earlier round
	bool other_body; // the same request id with a different body
	bool principal;
};

struct history {
	uint32_t dice;
	uint32_t records; // number of records; with few of them, writes are stacked
	struct plan plans[WRITES];
	int sizes[ROUNDS];
};

static uint32_t roll(struct history *history, uint32_t n)
{
	history->dice = history->dice * 1664525u + 1013904223u;
	return (history->dice >> 8) % n;
}

static struct plan draw(struct history *history, int number, int round_begin)
{
	static const char *const prices[] = { "1.00", "2.50", "666.00", "9999999999.99", "0.00" };
	struct plan plan = { .op = (enum pl_write_op)roll(history, 3),
		             .id = 1 + roll(history, history->records),
		             .request = number };

	plan.price = prices[roll(history, 5)];
	if (plan.op == PL_WRITE_DELETE && roll(history, 2))
		plan.op = PL_WRITE_UPDATE;
	plan.bedrooms = roll(history, 2);
	plan.lock = roll(history, 3) ? NO_LOCK : roll(history, LOCK_MISSING + 1);
	plan.version = 1 + (int)roll(history, 6);
	plan.principal = roll(history, 8) == 0;
	if (round_begin > 0 && roll(history, 6) == 0) {
		int earlier = (int)roll(history, (uint32_t)round_begin);
		bool taken = false;

		for (int i = round_begin; i < number;
		     i++) // sent together with the first, it would be RUNNING in only one of the runs
			taken = taken || history->plans[i].request == history->plans[earlier].request;
		if (!taken) {
			plan = history->plans[earlier];
			plan.other_body = roll(history, 4) == 0;
		}
	}
	return plan;
}

static void draw_history(struct history *history, uint32_t seed)
{
	int n = 0;

	history->dice = seed * 2654435761u + 1;
	history->records = (const uint32_t[]){ 30, 4, 1 }[seed % 3];
	for (int round = 0; round < ROUNDS; round++) {
		int begin = n;

		history->sizes[round] = 1 + (int)roll(history, PER_ROUND);
		for (int i = 0; i < history->sizes[round]; i++, n++)
			history->plans[n] = draw(history, n, begin);
	}
}

static struct pl_write *write_of(struct fixture *f, const struct plan *plan)
{
	struct pl_write *write = write_new(f, plan->op, plan->id);

	if (plan->op != PL_WRITE_DELETE) {
		write_set(write, "price", plan->price);
		if (plan->bedrooms)
			write_set(write, "bedrooms", "3");
	}
	write->request_id = pl_arena_printf(f->arena, "r-%d", plan->request);
	write->principal = plan->principal ? "anna" : "";
	memset(write->fingerprint, plan->request & 0xff, sizeof(write->fingerprint));
	write->fingerprint[0] ^= plan->other_body;
	write->has_version = plan->lock == BY_VERSION;
	write->version = plan->version;
	write->has_etag = plan->lock == BY_ETAG || plan->lock == BY_ANY;
	write->etag_any = plan->lock == BY_ANY;
	write->etag_never = plan->lock == BY_NEVER;
	if (plan->lock == BY_ETAG)
		pl_vector_set(&write->etag, "us", plan->version);
	write->lock = plan->lock == LOCK_MISSING ? PL_LOCK_REQUIRED : PL_LOCK_OPTIONAL;
	return write;
}

// Prints what the client sees, except times. If an earlier write of its round overtook
// a write's lock, prints only that the write was refused: the response shows the record
// as it was when the store asked for it, and a later write may have changed or deleted
// it by then.
static const char *told(struct fixture *f, const struct pl_write *write, bool behind)
{
	struct pl_buf buf = { 0 };
	const char *text;

	if (behind && (write->has_version || write->has_etag) &&
	    (write->outcome == PL_OUTCOME_VERSION || write->outcome == PL_OUTCOME_ETAG ||
	     write->outcome == PL_OUTCOME_NOT_FOUND))
		return "version, or another refusal";
	pl_buf_printf(&buf, "%s", outcome_name(write->outcome));
	if (write->outcome == PL_OUTCOME_FAILED || write->outcome == PL_OUTCOME_REFUSED)
		pl_buf_printf(&buf, " %d %s", write->err.code, write->err.sqlstate);
	if (write->outcome == PL_OUTCOME_REMEMBERED)
		pl_vector_print((pl_buf_printf(&buf, " %d %s ", write->remembered.status,
		                               write->remembered.location ? write->remembered.location : "-"),
		                 &buf),
		                &write->remembered.vector);
	if (write->record) {
		pl_buf_printf(&buf, " %lld version %d", (long long)write->record->id, write->record->version);
		for (int i = 0; i < write->resource->nfields; i++)
			pl_buf_printf(&buf, " %s",
			              write->record->values[i] ? write->record->values[i] : "null");
		pl_vector_print(&buf, &write->record->vector);
	}
	text = pl_arena_strdup(f->arena, buf.data);
	pl_buf_fini(&buf);
	return text;
}

static bool is_behind(const struct plan *plans, int i)
{
	for (int j = 0; j < i; j++)
		if (plans[j].id == plans[i].id)
			return true;
	return false;
}

static const char *left_behind(struct fixture *f)
{
	return pl_arena_printf(f->arena, "%s\n%s\n%s",
	                       pl_arena_strdup(f->arena, ask(f, "SELECT string_agg(format('%%s %%s %%s %%s "
	                                                        "%%s %%s %%s', id, price, bedrooms, version, "
	                                                        "vector, deleted_at IS NOT NULL, "
	                                                        "request_id), E'\\n' ORDER BY id) FROM "
	                                                        "properties")),
	                       pl_arena_strdup(f->arena, ask(f, "SELECT md5(string_agg(format('%%s %%s %%s "
	                                                        "%%s %%s %%s', request_id, principal, "
	                                                        "record_id, status, vector, dots), ' ' "
	                                                        "ORDER BY request_id, principal)) FROM "
	                                                        "processed_requests")),
	                       // For each record in the order of its versions.
	                       pl_arena_strdup(f->arena, ask(f, "SELECT md5(string_agg(format('%%s %%s %%s "
	                                                        "%%s', record_id, request_id, status, "
	                                                        "vector), ' ' ORDER BY record_id, id)) "
	                                                        "FROM outbox")));
}

static void run(struct fixture *f, const struct history *history, bool batched, const char **told_r,
                const char **left_r)
{
	struct pl_write *writes[PER_ROUND];
	int n = 0;

	ask(f, "TRUNCATE properties, outbox, processed_requests, record_siblings");
	for (int round = 0; round < ROUNDS; round++) {
		int size = history->sizes[round];

		for (int i = 0; i < size; i++) {
			writes[i] = write_of(f, &history->plans[n + i]);
			write_send(f, writes[i]);
			if (!batched)
				writes_await(f, &writes[i], 1);
		}
		writes_await(f, writes, size);
		for (int i = 0; i < size; i++)
			told_r[n + i] = told(f, writes[i], is_behind(&history->plans[n], i));
		n += size;
	}
	*left_r = left_behind(f);
}

static int number_from(const char *name, int otherwise)
{
	return getenv(name) ? atoi(getenv(name)) : otherwise;
}

static void batches_do_what_the_same_writes_do_one_by_one(void **state)
{
	static struct history history;
	static const char *batched[WRITES], *alone[WRITES];
	struct fixture *f = *state;
	int first = number_from("PL_ALIKE_SEED", 1), histories = number_from("PL_ALIKE_HISTORIES", 9),
	    outcomes[PL_OUTCOME_FAILED + 1] = { 0 };
	uint64_t sent = 0, statements = 0, stacked = 0;
	const char *left_batched, *left_alone;

	for (int seed = first; seed < first + histories; seed++) {
		struct pl_store_stats before, after;
		int n = 0;

		draw_history(&history, (uint32_t)seed);
		pl_store_stats(f->store, &before);
		run(f, &history, true, batched, &left_batched);
		pl_store_stats(f->store, &after);
		statements += after.batches - before.batches;
		stacked += after.stacked - before.stacked;
		run(f, &history, false, alone, &left_alone);
		for (int round = 0; round < ROUNDS; round++)
			for (int i = 0; i < history.sizes[round]; i++, n++) {
				if (strcmp(batched[n], alone[n]) != 0)
					fail_msg("seed %d, round %d, write %d: in a batch \"%s\", alone "
					         "\"%s\"",
					         seed, round, i, batched[n], alone[n]);
				for (int o = 0; o <= PL_OUTCOME_FAILED; o++)
					outcomes[o] += strncmp(batched[n], outcome_name((enum pl_outcome)o),
					                       strlen(outcome_name((enum pl_outcome)o))) == 0;
			}
		if (strcmp(left_batched, left_alone) != 0)
			fail_msg("seed %d: batches left\n%s\nbut writes one by one left\n%s", seed,
			         left_batched, left_alone);
		sent += (uint64_t)n;
		pl_arena_reset(f->arena);
	}
	for (int o = 0; o < PL_OUTCOME_FAILED; o++)
		if (o != PL_OUTCOME_RUNNING && o != PL_OUTCOME_EDGE && o != PL_OUTCOME_TAKEN &&
		    o != PL_OUTCOME_DANGLING && o != PL_OUTCOME_REFERENCED && outcomes[o] == 0)
			fail_msg("the histories never came to \"%s\"", outcome_name((enum pl_outcome)o));
	assert_true(4 * statements < 3 * sent); // otherwise both runs would have done the same
	assert_true(stacked > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(batches_do_what_the_same_writes_do_one_by_one, fixture_setup,
		                                fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
