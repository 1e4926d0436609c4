// Do violations end, with equal regions, and each change written once? Thousands of
// random histories of three regions that book two rooms: partitions, any order of
// arrival, redelivery, clients that write meanwhile, daemons that end between a write
// and the note that it was made. The code that decides which region writes what is that
// of production (integrity/resolution.c). And does the test notice a planted bug?
//
// Each region has a copy of every record; an event carries a record's last write. No
// record is written concurrently: tests/unit/decide covers that. PL_SIMULATION_SEED and
// PL_SIMULATION_HISTORIES choose the first seed and how many.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "integrity/resolution.h"

enum { REGIONS = 3, RECORDS = 12, STEPS = 60, ROOMS = 2, ROUNDS = 60, REQUESTS = 400 };

static const char *const names[REGIONS] = { "us", "eu", "ap" };
static uint64_t first_seed = 1;
static int histories = 4000;

static const struct pl_resource bookings = {
	.name = "bookings",
	.nfields = 1,
	.fields = { { .name = "room", .type = PL_FIELD_INTEGER } },
};

// A record as a region has it. `room` 0: it is deleted.
struct copy {
	int64_t id;
	int room, origin, version;
	int counters[REGIONS];
};

struct event {
	int record;
	struct copy copy;
};

// A request id that was executed, in whichever region.
struct request {
	char id[PL_RESOLUTION_ID_SIZE];
	int region;
};

enum bug {
	NO_BUG,
	EVERYBODY_WRITES, // every region writes, not only the one of the last write
	NEW_ID_EACH_TIME, // the request id is not derived from the violation
	FIRST_COME,       // the rule keeps the record that the region itself created
	FORGETS_A_NOTE,   // an event is applied, but its record is not looked at
	TAKES_TOMBSTONES, // deleted records count
};

struct world {
	enum bug bug;
	uint64_t rng;
	bool cut[REGIONS]; // cannot be reached
	struct copy copies[REGIONS][RECORDS];
	bool known[REGIONS][RECORDS], noted[REGIONS][RECORDS];
	struct event log[REGIONS][STEPS * 4 + RECORDS * ROUNDS]; // events of each region, in order
	int nlog[REGIONS], applied[REGIONS][REGIONS], nrecords, resolved, violations;
	struct request requests[REQUESTS];
	int nrequests;
	char why[200];
	struct pl_arena *arena;
};

static uint32_t below(struct world *w, uint32_t n)
{
	w->rng = w->rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(w->rng >> 33) % n;
}

// ---- writes and events

static void note(struct world *w, int region, int record)
{
	if (w->bug != FORGETS_A_NOTE || below(w, 4) > 0)
		w->noted[region][record] = true;
}

static void write(struct world *w, int region, int record, int room)
{
	struct copy *copy = &w->copies[region][record];

	copy->room = room;
	copy->origin = region;
	copy->version++;
	copy->counters[region]++;
	w->known[region][record] = true;
	w->log[region][w->nlog[region]++] = (struct event){ record, *copy };
}

// Clients cannot take a room that their region knows to be taken.
static bool is_taken(const struct world *w, int region, int room, int but)
{
	for (int i = 0; i < w->nrecords; i++)
		if (i != but && w->known[region][i] && w->copies[region][i].room == room)
			return true;
	return false;
}

static void client_writes(struct world *w, int region)
{
	int record = (int)below(w, RECORDS), room = 1 + (int)below(w, ROOMS);

	if (record >= w->nrecords) { // a new one
		if (w->nrecords == RECORDS || is_taken(w, region, room, -1))
			return;
		w->copies[region][w->nrecords].id = 100 * (region + 1) + w->nrecords;
		write(w, region, w->nrecords++, room);
		return;
	}
	// clients write a record only where its last write was made: see above
	if (!w->known[region][record] || w->copies[region][record].origin != region)
		return;
	if (below(w, 3) == 0)
		write(w, region, record, 0);
	else if (w->copies[region][record].room != 0 && !is_taken(w, region, room, record))
		write(w, region, record, room);
}

static void apply(struct world *w, int region, const struct event *event)
{
	struct copy *copy = &w->copies[region][event->record];

	if (w->known[region][event->record] && copy->version >= event->copy.version)
		return; // delivered again, or overtaken
	*copy = event->copy;
	w->known[region][event->record] = true;
	note(w, region, event->record);
}

// The next event of `from`, or one that was delivered before.
static void deliver(struct world *w, int from, int to)
{
	int n = w->applied[to][from];

	if (from == to || w->cut[from] || w->cut[to])
		return;
	if (n > 0 && below(w, 4) == 0)
		apply(w, to, &w->log[from][below(w, (uint32_t)n)]);
	else if (n < w->nlog[from])
		apply(w, to, &w->log[from][w->applied[to][from]++]);
}

// ---- resolving

struct view {
	struct pl_violation violation;
	struct pl_violation_record records[RECORDS];
	int at[RECORDS];
};

static void add_to_view(struct world *w, int region, struct view *view, int record)
{
	const struct copy *copy = &w->copies[region][record];
	struct pl_violation_record *r = &view->records[view->violation.n];
	const char **values = pl_arena_alloc(w->arena, sizeof(*values));

	values[0] = pl_arena_printf(w->arena, "%d", copy->room);
	*r = (struct pl_violation_record){ .id = copy->id, .values = values, .origin = names[copy->origin] };
	for (int i = 0; i < REGIONS; i++)
		if (copy->counters[i] > 0)
			pl_vector_set(&r->vector, names[i], copy->counters[i]);
	view->at[view->violation.n++] = record;
}

static int compare_ids(const struct world *w, int region, int a, int b)
{
	return w->copies[region][a].id < w->copies[region][b].id ? -1 : 1;
}

// The records with the room of `record`, ascending by id.
static void look(struct world *w, int region, int record, struct view *view)
{
	int room = w->copies[region][record].room, order[RECORDS], n = 0;

	memset(view, 0, sizeof(*view));
	view->violation =
		(struct pl_violation){ &bookings, "multiple_unique_conflicts", "room", 0, view->records };
	if (room == 0 && w->bug != TAKES_TOMBSTONES)
		return;
	for (int i = 0; i < w->nrecords; i++) {
		int at = n;

		if (!w->known[region][i] || w->copies[region][i].room != room)
			continue;
		while (at > 0 && compare_ids(w, region, i, order[at - 1]) < 0) {
			order[at] = order[at - 1];
			at--;
		}
		order[at] = i;
		n++;
	}
	for (int i = 0; i < n; i++)
		add_to_view(w, region, view, order[i]);
}

// The rule: the first by id keeps the room, the others lose it.
static void rule(struct world *w, int region, const struct view *view, struct pl_rule_answer *answer_r)
{
	int keep = 0;

	for (int i = 0; w->bug == FIRST_COME && i < view->violation.n; i++)
		if (strcmp(view->records[i].origin, names[region]) == 0)
			keep = i;
	answer_r->n = 0;
	answer_r->changes = pl_arena_alloc(w->arena, sizeof(answer_r->changes[0]) * RECORDS);
	for (int i = 0; i < view->violation.n; i++)
		if (i != keep)
			answer_r->changes[answer_r->n++] = (struct pl_rule_change){ i, true, { 0 } };
}

static bool is_remembered(struct world *w, const char *id, int region)
{
	for (int i = 0; i < w->nrequests; i++)
		if (strcmp(w->requests[i].id, id) == 0) {
			if (w->requests[i].region != region)
				snprintf(w->why, sizeof(w->why), "regions %s and %s both executed %s",
				         names[region], names[w->requests[i].region], id);
			return true;
		}
	if (w->nrequests < REQUESTS) {
		strcpy(w->requests[w->nrequests].id, id);
		w->requests[w->nrequests++].region = region;
	}
	return false;
}

static void execute(struct world *w, int region, const struct view *view,
                    const struct pl_resolution_write *write_of)
{
	int record = view->at[write_of->change->record];
	const struct copy *copy = &w->copies[region][record];
	char id[PL_RESOLUTION_ID_SIZE];

	strcpy(id, write_of->request_id);
	if (w->bug == NEW_ID_EACH_TIME)
		snprintf(id, sizeof(id), "%u", below(w, 1u << 30));
	if (is_remembered(w, id, region))
		return;
	if (copy->room == 0)
		snprintf(w->why, sizeof(w->why), "%s gave up record %lld again", names[region],
		         (long long)copy->id);
	write(w, region, record, 0);
	w->resolved++;
}

// `again`: the daemon ended between its write and the note that it had tried.
static void resolve(struct world *w, int region, int record, bool again)
{
	struct pl_resolution_write writes[RECORDS];
	struct pl_rule_answer answer;
	struct view view;
	int n = 0;

	look(w, region, record, &view);
	if (view.violation.n < 2)
		return;
	w->violations++;
	rule(w, region, &view, &answer);
	for (int i = 0; i < (w->bug == EVERYBODY_WRITES ? REGIONS : 1); i++)
		n += pl_resolution_writes(&view.violation, &answer,
		                          w->bug == EVERYBODY_WRITES ? names[i] : names[region], &writes[n]);
	for (int k = 0; k <= again; k++)
		for (int i = 0; i < n; i++)
			execute(w, region, &view, &writes[i]);
}

static void take_notes(struct world *w, int region)
{
	for (int i = 0; i < w->nrecords; i++)
		if (w->noted[region][i]) {
			w->noted[region][i] = false;
			resolve(w, region, i, below(w, 5) == 0);
		}
}

// ---- a history

static void step(struct world *w)
{
	int region = (int)below(w, REGIONS);

	switch (below(w, 8)) {
	case 0:
	case 1:
	case 2: client_writes(w, region); break;
	case 3: w->cut[region] = !w->cut[region]; break;
	case 4: take_notes(w, region); break;
	default: deliver(w, (int)below(w, REGIONS), region); break;
	}
}

// Everything arrives, and open violations are looked at again.
static void settle(struct world *w)
{
	memset(w->cut, 0, sizeof(w->cut));
	for (int round = 0; round < ROUNDS && !w->why[0]; round++) {
		for (int to = 0; to < REGIONS; to++)
			for (int from = 0; from < REGIONS; from++)
				while (from != to && w->applied[to][from] < w->nlog[from])
					deliver(w, from, to);
		for (int r = 0; r < REGIONS; r++)
			take_notes(w, r);
	}
}

static void check(struct world *w)
{
	for (int r = 1; r < REGIONS && !w->why[0]; r++)
		for (int i = 0; i < w->nrecords; i++)
			if (memcmp(&w->copies[r][i], &w->copies[0][i], sizeof(w->copies[0][0])) != 0)
				snprintf(w->why, sizeof(w->why),
				         "in region %s, record %lld is not the same as in us", names[r],
				         (long long)w->copies[0][i].id);
	for (int i = 0; i < w->nrecords && !w->why[0]; i++)
		if (w->copies[0][i].room != 0 && is_taken(w, 0, w->copies[0][i].room, i))
			snprintf(w->why, sizeof(w->why), "room %d is booked twice", w->copies[0][i].room);
}

static void run(struct world *w, uint64_t seed, enum bug bug)
{
	memset(w, 0, sizeof(*w));
	w->bug = bug;
	w->rng = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	w->arena = pl_arena_new(0);
	for (int i = 0; i < STEPS && !w->why[0]; i++)
		step(w);
	settle(w);
	check(w);
	pl_arena_free(&w->arena);
}

static struct world world;

static int run_all(enum bug bug, int *violations_r, int *resolved_r)
{
	int failed = 0;

	*violations_r = *resolved_r = 0;
	for (int i = 0; i < histories; i++) {
		run(&world, first_seed + (uint64_t)i, bug);
		*violations_r += world.violations;
		*resolved_r += world.resolved;
		if (world.why[0] && failed++ == 0 && bug == NO_BUG)
			printf("# seed %llu: %s\n", (unsigned long long)first_seed + (unsigned long long)i,
			       world.why);
	}
	return failed;
}

static void violations_end_and_regions_are_equal(void **state)
{
	int violations, resolved, failed = run_all(NO_BUG, &violations, &resolved);

	printf("# %d histories from seed %llu: %d looks at violations, %d records changed, %d failed\n",
	       histories, (unsigned long long)first_seed, violations, resolved, failed);
	assert_int_equal(failed, 0);
	assert_true(violations > histories); // otherwise nothing was tested
	assert_true(resolved > histories / 2);
}

static void planted_bugs_are_found(void **state)
{
	static const char *const bugs[] = { "",           "everybody writes", "new id each time",
		                            "first come", "forgets a note",   "takes tombstones" };

	for (int bug = NO_BUG + 1; bug <= TAKES_TOMBSTONES; bug++) {
		int violations, resolved, failed = run_all((enum bug)bug, &violations, &resolved);

		printf("# %s: %d of %d histories fail\n", bugs[bug], failed, histories);
		assert_true(failed > 0);
	}
}

static void a_request_id_is_derived_from_the_violation(void **state)
{
	struct pl_violation_record records[2] = { { .id = 7, .origin = "us.2" },
		                                  { .id = 8, .origin = "eu" } };
	struct pl_violation violation = { &bookings, "multiple_unique_conflicts", "room", 2, records };
	struct pl_rule_change changes[2] = { { 0, true, { 0 } }, { 1, true, { 0 } } };
	struct pl_rule_answer answer = { changes, 2 };
	struct pl_resolution_write a[2], b[2];

	pl_vector_set(&records[0].vector, "us.2", 1);
	pl_vector_set(&records[1].vector, "eu", 3);
	assert_int_equal(pl_resolution_writes(&violation, &answer, "us", a), 1); // whatever its generation
	assert_int_equal(a[0].record->id, 7);
	assert_int_equal(pl_resolution_writes(&violation, &answer, "eu", b), 1);
	assert_int_equal(b[0].record->id, 8);
	assert_string_not_equal(a[0].request_id, b[0].request_id);
	assert_int_equal(pl_resolution_writes(&violation, &answer, "ap", b), 0);
	pl_resolution_writes(&violation, &answer, "us", b);
	assert_string_equal(a[0].request_id, b[0].request_id);
	pl_vector_set(&records[1].vector, "eu", 4); // another violation
	pl_resolution_writes(&violation, &answer, "us", b);
	assert_string_not_equal(a[0].request_id, b[0].request_id);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(violations_end_and_regions_are_equal),
		cmocka_unit_test(planted_bugs_are_found),
		cmocka_unit_test(a_request_id_is_derived_from_the_violation),
	};

	if (getenv("PL_SIMULATION_SEED"))
		first_seed = strtoull(getenv("PL_SIMULATION_SEED"), NULL, 10);
	if (getenv("PL_SIMULATION_HISTORIES"))
		histories = atoi(getenv("PL_SIMULATION_HISTORIES"));
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("integrity/resolution", tests, NULL, NULL);
}
