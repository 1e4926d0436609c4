// The simulated cluster: see simulate.h.
//
// Drives decide/decide. Threads: any.
#include "simulate.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"

#define REQUESTS_MAX PL_SIM_OPS_MAX
#define EVENTS_MAX   PL_SIM_OPS_MAX

static const char *name_of(const struct pl_sim_rules *rules, int region)
{
	static const char *const names[PL_SIM_REGIONS_MAX] = { "us", "eu", "ap", "sa", "me" };

	return rules->regions ? rules->regions[region] : names[region];
}

// one for each request of a client; two of them may have the same id, by mistake
struct request {
	char id[16];
	uint8_t fingerprint[PL_SHA256_SIZE];
	enum pl_sim_kind kind;
	uint32_t even, odd, touches;
};

struct learned {
	int request;
	struct pl_dot dot;
};

struct region {
	struct pl_state state;
	bool shown;
	struct pl_sibling visible;
	int nlearned;
	struct learned learned[2 * EVENTS_MAX];
	int64_t clock;
};

struct context {
	struct pl_arena *arena;
	const struct pl_sim_rules *rules;
	struct pl_sim_outcome *out;
	int nregions;
	struct region regions[PL_SIM_REGIONS_MAX];
	int nrequests;
	struct request requests[REQUESTS_MAX];
	int nevents;
	const struct pl_event *events[EVENTS_MAX];
	int event_request[EVENTS_MAX];
	// [a][b]: b was written in knowledge of a
	bool overwrote[REQUESTS_MAX][REQUESTS_MAX];
	uint64_t rng;
};

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static uint32_t below(uint64_t *state, uint32_t n)
{
	return (uint32_t)((next_random(state) >> 11) % n);
}

void pl_simulate_make_history(struct pl_sim_history *h, uint64_t seed)
{
	uint64_t rng = seed;

	memset(h, 0, sizeof(*h));
	h->seed = seed;
	h->regions = 3 + (below(&rng, 4) == 0 ? (int)below(&rng, PL_SIM_REGIONS_MAX - 2) : 0);
	h->nops = 3 + (int)below(&rng, below(&rng, 5) == 0 ? PL_SIM_OPS_MAX - 3 : 10);
	for (int i = 0; i < h->nops; i++) {
		uint32_t dice = below(&rng, 100);

		h->ops[i] = (struct pl_sim_op){
			.kind = dice < 35   ? PL_SIM_WRITE
			        : dice < 43 ? PL_SIM_DELETE
			        : dice < 57 ? PL_SIM_RETRY
			        : dice < 60 ? PL_SIM_REUSE
			                    : PL_SIM_DELIVER,
			.region = (int)below(&rng, (uint32_t)h->regions),
			.pick = below(&rng, 1000),
			.even = below(&rng, 4),
			.odd = below(&rng, 3),
			.ticks = below(&rng, 3),
		};
	}
}

__attribute__((format(printf, 2, 3))) static void fail(struct context *w, const char *fmt, ...)
{
	va_list ap;

	if (w->out->failed)
		return;
	w->out->failed = true;
	va_start(ap, fmt);
	vsnprintf(w->out->why, sizeof(w->out->why), fmt, ap);
	va_end(ap);
}

enum pl_decision pl_simulate_take(struct pl_arena *arena, struct pl_state *state,
                                  const struct pl_event *event, const struct pl_sim_rules *rules)
{
	return pl_decide_take(arena, state, event);
}

// ---- a region

static void add_twins(struct context *w, const struct region *g, const char *id, const uint8_t *fingerprint,
                      struct pl_twins *twins, int *n)
{
	struct pl_dot *dots = pl_arena_alloc(w->arena, sizeof(*dots) * (size_t)g->nlearned + 1);
	int ndots = 0;

	for (int i = 0; i < g->nlearned; i++) {
		const struct request *request = &w->requests[g->learned[i].request];

		if (strcmp(request->id, id) == 0 &&
		    memcmp(request->fingerprint, fingerprint, PL_SHA256_SIZE) == 0)
			dots[ndots++] = g->learned[i].dot;
	}
	twins[(*n)++] = (struct pl_twins){ id, "", fingerprint, ndots, dots };
}

// What processed_requests would return for the requests of the current writes and of
// the arriving event (NULL: a local write). (A broken rule may leave any number of
// them, or a merged row that no request made.)
static int known_twins(struct context *w, const struct region *g, const struct pl_event *event,
                       struct pl_twins **twins_r)
{
	struct pl_twins *twins = pl_arena_alloc(w->arena, sizeof(*twins) * (size_t)(g->state.n + 1));
	int n = 0;

	*twins_r = twins;
	if (w->rules->forget_twins)
		return 0;
	for (int i = 0; i < g->state.n; i++)
		if (g->state.writes[i].fingerprint)
			add_twins(w, g, g->state.writes[i].request_id, g->state.writes[i].fingerprint, twins,
			          &n);
	if (event)
		add_twins(w, g, event->write.request_id, event->write.fingerprint, twins, &n);
	return n;
}

static void show(struct context *w, struct region *g, const struct pl_event *event)
{
	struct pl_twins *twins;
	struct pl_shown shown;
	int n = known_twins(w, g, event, &twins);

	pl_decide_identify(&g->state, twins, n);
	pl_decide_show(w->arena, &(struct pl_known_record){ w->rules->resource, 1, &g->state, twins, n },
	               w->rules->ask, w->rules->ask_arg, &shown);
	g->visible = shown.row;
	g->shown = true;
	if (g->state.n > 1 && shown.nrows < g->state.n)
		w->out->twins++;
	// it is a row of the table now, which stores only the id of its request
	if (g->state.n == 1)
		g->state.writes[0].fingerprint = NULL;
}

static bool knows_id(const struct context *w, const struct region *g, const char *id)
{
	for (int i = 0; i < g->nlearned; i++)
		if (strcmp(w->requests[g->learned[i].request].id, id) == 0)
			return true;
	return false;
}

static void learn(struct region *g, int request, const struct pl_dot *dot)
{
	for (int i = 0; i < g->nlearned; i++)
		if (g->learned[i].request == request && pl_vector_dot_cmp(&g->learned[i].dot, dot) == 0)
			return;
	g->learned[g->nlearned++] = (struct learned){ request, *dot };
}

static const char *field_times(struct context *w, const struct region *g, const char *region, int64_t at,
                               uint32_t touches)
{
	struct pl_buf buf = { 0 };

	if (!w->rules->resource->track_fields)
		return NULL;
	cJSON *before = g->shown && g->visible.field_times
	                        ? pl_json_parse(g->visible.field_times, strlen(g->visible.field_times),
	                                        &pl_json_default_limits, NULL)
	                        : NULL;
	const char *text;

	for (int f = 0; f < w->rules->resource->nfields; f++) {
		const cJSON *old = pl_json_get(before, w->rules->resource->fields[f].name);

		pl_buf_printf(&buf, "%s\"%s\":", f ? "," : "{", w->rules->resource->fields[f].name);
		if (old && !(touches & (1u << f % 3)))
			pl_json_print(&buf, old);
		else
			pl_buf_printf(&buf, "{\"at\":%lld,\"origin\":\"%s\"}", (long long)at, region);
	}
	pl_buf_addc(&buf, '}');
	text = pl_arena_strndup(w->arena, buf.data, buf.len);
	cJSON_Delete(before);
	pl_buf_fini(&buf);
	return text;
}

static bool wrote(const struct region *g, int request, const struct pl_dot *dot)
{
	for (int i = 0; i < g->nlearned; i++)
		if (g->learned[i].request == request && pl_vector_dot_cmp(&g->learned[i].dot, dot) == 0)
			return true;
	return false;
}

static void note_overwritten(struct context *w, const struct region *g, int by)
{
	for (int i = 0; i < g->state.n; i++)
		for (int r = 0; r < w->nrequests; r++)
			if (wrote(g, r, &g->state.writes[i].dot))
				w->overwrote[r][by] = true;
}

// The current row, with the fields of the request changed. A new record has all
// required fields.
static const char **written_values(struct context *w, const struct region *g, const struct request *request,
                                   bool deleted)
{
	const struct pl_resource *resource = w->rules->resource;
	const char **values = pl_arena_alloc(w->arena, sizeof(values[0]) * (size_t)resource->nfields);

	for (int f = 0; f < resource->nfields; f++) {
		bool missing = !g->shown && resource->fields[f].required;

		values[f] = g->shown ? g->visible.values[f] : NULL;
		if (!deleted && (missing || request->touches & (1u << f % 3)))
			values[f] =
				w->rules->value(w->rules, w->arena, f, f % 2 ? request->odd : request->even);
	}
	return values;
}

// A client's write, executed here, which has seen everything that this region knows.
static void execute(struct context *w, int region, int request_index)
{
	struct region *g = &w->regions[region];
	const struct request *request = &w->requests[request_index];
	struct pl_event *event = pl_arena_alloc(w->arena, sizeof(*event));
	struct pl_sibling *write = &event->write;
	const char *name = name_of(w->rules, region);
	int64_t at =
		g->shown && g->visible.updated_at_us >= g->clock ? g->visible.updated_at_us + 1 : g->clock;

	event->resource = w->rules->resource;
	event->id = 1;
	write->vector = g->state.vector;
	pl_vector_set(&write->vector, name, pl_vector_get(&write->vector, name) + 1);
	snprintf(write->dot.region, sizeof(write->dot.region), "%s", name);
	write->dot.counter = pl_vector_get(&write->vector, name);
	write->updated_at_us = at;
	write->deleted = request->kind == PL_SIM_DELETE && g->shown;
	write->values = written_values(w, g, request, write->deleted);
	write->field_times = field_times(w, g, name, at, write->deleted ? 0 : request->touches);
	write->request_id = request->id;
	write->principal = "";
	write->fingerprint = request->fingerprint;
	event->version = (int32_t)pl_vector_sum(&write->vector);
	event->status = write->deleted ? 204 : 200;

	note_overwritten(w, g, request_index);
	int32_t version = g->state.version;
	g->state.vector =
		// like store/write_batch in SQL: the row is this write alone, and its
		// vector is incremented
		write->vector;
	g->state.version = event->version;
	g->state.known = true;
	g->state.writes = pl_arena_alloc(w->arena, sizeof(g->state.writes[0]));
	g->state.writes[0] = *write;
	g->state.n = 1;
	learn(g, request_index, &write->dot);
	show(w, g, NULL);
	if (g->state.version != version + 1)
		fail(w, "%s: a write took version %d to %d", name, version, g->state.version);
	w->event_request[w->nevents] = request_index;
	w->events[w->nevents++] = event;
	w->out->writes++;
}

// What apply/apply does for one event, without the database.
static void deliver(struct context *w, int region, int event_index)
{
	struct region *g = &w->regions[region];
	const struct pl_event *event = w->events[event_index];
	int32_t version = g->state.version;
	enum pl_decision decision;

	if (w->rules->travel)
		event = w->rules->travel(w->arena, event);
	if (strcmp(event->write.dot.region, name_of(w->rules, region)) == 0)
		return; // our own
	learn(g, w->event_request[event_index], &event->write.dot);
	decision = w->rules->take(w->arena, &g->state, event, w->rules);
	if (decision == PL_DECIDED_CONCURRENT)
		w->out->concurrent++;
	if (decision != PL_DECIDED_STALE || g->state.n > 1)
		show(w, g, event);
	if (g->state.version < version)
		fail(w, "%s: version went back from %d to %d", name_of(w->rules, region), version,
		     g->state.version);
	if (g->state.version != pl_vector_sum(&g->state.vector))
		fail(w, "%s: version %d is not the sum of its vector", name_of(w->rules, region),
		     g->state.version);
	if ((decision == PL_DECIDED_STALE) != (g->state.version == version))
		fail(w, "%s: a write was accepted and left the version at %d, or the other way round",
		     name_of(w->rules, region), version);
}

// ---- a whole history

static int new_request(struct context *w, const struct pl_sim_op *op, int same_id_as)
{
	struct request *request = &w->requests[w->nrequests];

	if (same_id_as >= 0)
		memcpy(request->id, w->requests[same_id_as].id, sizeof(request->id));
	else
		snprintf(request->id, sizeof(request->id), "req-%d", w->nrequests);
	memset(request->fingerprint, w->nrequests + 1, sizeof(request->fingerprint));
	request->kind = op->kind;
	request->even = op->even;
	request->odd = op->odd;
	request->touches = 1 + op->pick % 7;
	return w->nrequests++;
}

static void step(struct context *w, const struct pl_sim_op *op)
{
	struct region *g = &w->regions[op->region];
	int request;

	g->clock += op->ticks;
	switch (op->kind) {
	case PL_SIM_WRITE:
	case PL_SIM_DELETE: execute(w, op->region, new_request(w, op, -1)); break;
	// the same request, sent to another region or to the same one again
	case PL_SIM_RETRY:
	case PL_SIM_REUSE: // another request with an id that was used before
		if (w->nrequests == 0)
			break;
		request = (int)(op->pick % (uint32_t)w->nrequests);
		if (knows_id(w, g, w->requests[request].id))
			break; // answered from memory
		execute(w, op->region, op->kind == PL_SIM_REUSE ? new_request(w, op, request) : request);
		break;
	case PL_SIM_DELIVER:
		if (w->nevents > 0)
			deliver(w, op->region, (int)(op->pick % (uint32_t)w->nevents));
		break;
	}
}

static void deliver_everything(struct context *w, int region)
{
	int order[EVENTS_MAX];

	for (int i = 0; i < w->nevents; i++)
		order[i] = i;
	for (int i = w->nevents - 1; i > 0; i--) {
		int j = (int)below(&w->rng, (uint32_t)i + 1), held = order[i];

		order[i] = order[j];
		order[j] = held;
	}
	for (int i = 0; i < w->nevents; i++) {
		deliver(w, region, order[i]);
		if (below(&w->rng, 5) == 0)
			deliver(w, region, order[below(&w->rng, (uint32_t)i + 1)]);
	}
}

static int compare_dots(const void *a, const void *b)
{
	return pl_vector_dot_cmp(a, b);
}

static void describe(struct pl_buf *buf, struct context *w, const struct region *g)
{
	struct pl_dot *dots = pl_arena_alloc(w->arena, sizeof(*dots) * (size_t)g->state.n);
	int n = g->state.n;

	pl_vector_print(buf, &g->state.vector);
	for (int i = 0; i < n; i++)
		dots[i] = g->state.writes[i].dot;
	qsort(dots, (size_t)n, sizeof(*dots), compare_dots); // current writes are a set
	for (int i = 0; i < n; i++)
		pl_buf_printf(buf, " %s:%d", dots[i].region, dots[i].counter);
	pl_buf_printf(buf, " shows%s", g->visible.deleted ? " deleted" : "");
	for (int f = 0; f < w->rules->resource->nfields; f++)
		pl_buf_printf(buf, " %s", g->visible.values[f] ? g->visible.values[f] : "null");
	pl_buf_printf(buf, " of %s at %lld, fields %s", g->visible.dot.region,
	              (long long)g->visible.updated_at_us,
	              g->visible.field_times ? g->visible.field_times : "null");
}

static void compare(struct context *w)
{
	struct pl_buf first = { 0 }, other = { 0 };

	if (w->nevents == 0)
		return;
	describe(&first, w, &w->regions[0]);
	for (int r = 1; r < w->nregions; r++) {
		pl_buf_reset(&other);
		describe(&other, w, &w->regions[r]);
		if (strcmp(first.data, other.data) != 0)
			fail(w, "diverged:\n#   %s %s\n#   %s %s", name_of(w->rules, 0), first.data,
			     name_of(w->rules, r), other.data);
	}
	pl_buf_fini(&first);
	pl_buf_fini(&other);
}

// Counts the requests that are shown although another execution of the same request was
// overwritten, unless the reverse is true as well.
static void count_risen(struct context *w)
{
	struct region *g = &w->regions[0];
	struct pl_twins *twins;
	struct pl_sibling *rows = pl_arena_alloc(w->arena, sizeof(*rows) * (size_t)g->state.n + 1);
	bool here[REQUESTS_MAX] = { false };
	int n = known_twins(w, g, NULL, &twins);

	if (w->nevents > 0)
		n = pl_decide_shown(&g->state, twins, n, rows);
	for (int i = 0; i < n; i++)
		for (int r = 0; r < w->nrequests; r++)
			if (wrote(g, r, &rows[i].dot))
				here[r] = true;
	for (int a = 0; a < w->nrequests; a++)
		for (int b = 0; b < w->nrequests; b++)
			if (a != b && here[a] && here[b] && w->overwrote[a][b] && !w->overwrote[b][a])
				w->out->risen++;
}

void pl_simulate_run(const struct pl_sim_history *history, const struct pl_sim_rules *rules,
                     struct pl_sim_outcome *outcome_r)
{
	struct context *w = pl_calloc(1, sizeof(*w));

	memset(outcome_r, 0, sizeof(*outcome_r));
	w->arena = pl_arena_new(64 * 1024);
	w->rules = rules;
	w->out = outcome_r;
	w->nregions = history->regions;
	w->rng = history->seed ^ UINT64_C(0x5555555555555555);
	for (int r = 0; r < w->nregions; r++)
		// clocks never agree
		w->regions[r].clock = 1000 + (int64_t)below(&w->rng, 4);
	for (int i = 0; i < history->nops; i++)
		step(w, &history->ops[i]);
	for (int r = 0; r < w->nregions; r++)
		deliver_everything(w, r);
	compare(w);
	count_risen(w);
	pl_arena_free(&w->arena);
	free(w);
}

void pl_simulate_shrink(struct pl_sim_history *history, const struct pl_sim_rules *rules)
{
	struct pl_sim_outcome out;

	for (bool smaller = true; smaller;) {
		smaller = false;
		for (int i = 0; i < history->nops; i++) {
			struct pl_sim_history less = *history;

			less.nops--;
			memmove(&less.ops[i], &less.ops[i + 1],
			        sizeof(less.ops[0]) * (size_t)(less.nops - i));
			pl_simulate_run(&less, rules, &out);
			if (out.failed) {
				*history = less;
				smaller = true;
				i--;
			}
		}
	}
}

void pl_simulate_print(struct pl_buf *buf, const struct pl_sim_history *history,
                       const struct pl_sim_rules *rules)
{
	static const char *const words[] = { "writes", "deletes", "executes an earlier request",
		                             "executes another request under a used id", "hears of" };

	for (int i = 0; i < history->nops; i++) {
		const struct pl_sim_op *op = &history->ops[i];

		pl_buf_printf(buf, "%s %s", name_of(rules, op->region), words[op->kind]);
		if (op->kind == PL_SIM_DELIVER || op->kind == PL_SIM_RETRY)
			pl_buf_printf(buf, " (number %u, modulo how many there are)", op->pick + 1);
		else
			pl_buf_printf(buf, " values %u and %u, fields %u", op->even, op->odd,
			              1 + op->pick % 7);
		pl_buf_printf(buf, ", %u later\n", op->ticks);
	}
}
