// The decision on a batch: see decision.h.
//
// An event is taken into the state of its record in memory, by decide/decide. Then the
// requests behind siblings are looked up, since two siblings may be executions of one
// request (twins). Finally each record with siblings is resolved: its policy is asked
// which row is visible.
#include "apply/decision.h"

#include <stdlib.h>
#include <string.h>

#include "apply/conflict.h"
#include "base/clock.h"
#include "base/faults.h"
#include "decide/ask_policy.h"

// How long a request is remembered if its event names no expiry.
#define EXPIRY_UNKNOWN_US (INT64_C(86400) * 1000000)
#define LONG_EXPIRED_US   (7 * EXPIRY_UNKNOWN_US)

struct pl_known_key {
	const char *key;
	int index;
	UT_hash_handle hh;
};

void pl_decision_begin(struct pl_apply_decision *d, struct pl_arena *arena, struct pl_apply_counts *counts,
                       int n)
{
	*d = (struct pl_apply_decision){ .arena = arena, .counts = counts };
	d->events = pl_arena_alloc(arena, sizeof(d->events[0]) * (size_t)n + 1);
	d->touched_rows = pl_arena_alloc(arena, sizeof(d->touched_rows[0]) * (size_t)n + 1);
	d->known_requests = pl_arena_alloc(arena, sizeof(d->known_requests[0]) * (size_t)n + 1);
	d->conflicts_seen = pl_arena_alloc(arena, sizeof(d->conflicts_seen[0]) * (size_t)n + 1);
}

void pl_decision_forget(struct pl_apply_decision *d)
{
	HASH_CLEAR(hh, d->by_key);
	HASH_CLEAR(hh, d->known_by_key);
	*d = (struct pl_apply_decision){ 0 };
}

// ---- the records

static int compare_rows(const void *a, const void *b)
{
	const struct pl_touched_row_key *x = &(*(struct pl_touched_row *const *)a)->key,
					*y = &(*(struct pl_touched_row *const *)b)->key;

	return x->resource != y->resource ? (x->resource < y->resource ? -1 : 1)
	                                  : (x->id > y->id) - (x->id < y->id);
}

struct pl_touched_row *pl_decision_touch(struct pl_apply_decision *d, const struct pl_resource *resource,
                                         int64_t id)
{
	struct pl_touched_row_key key;
	struct pl_touched_row *touched;

	memset(&key, 0, sizeof(key)); // the hash covers the padding, too
	key.resource = resource->index;
	key.id = id;
	HASH_FIND(hh, d->by_key, &key, sizeof(key), touched);
	if (touched)
		return touched;
	touched = pl_arena_alloc(d->arena, sizeof(*touched));
	touched->key = key;
	touched->resource = resource;
	HASH_ADD(hh, d->by_key, key, sizeof(touched->key), touched);
	d->touched_rows[d->ntouched++] = touched;
	return touched;
}

struct pl_touched_row *pl_decision_add(struct pl_apply_decision *d, struct pl_event *event)
{
	struct pl_touched_row *touched = pl_decision_touch(d, event->resource, event->id);

	d->events[d->nevents++] = (struct pl_decision_event){ event, touched };
	return touched;
}

void pl_decision_sort(struct pl_apply_decision *d)
{
	qsort(d->touched_rows, (size_t)d->ntouched, sizeof(d->touched_rows[0]), compare_rows);
}

// ---- the requests that the events carry

static const char *request_key(struct pl_arena *arena, const char *request_id, const char *principal)
{
	size_t first = strlen(request_id), second = strlen(principal);
	char *text = pl_arena_alloc(arena, first + second + 2);

	memcpy(text, request_id, first);
	text[first] = ' '; // a request id has no spaces, so this marks its end
	memcpy(text + first + 1, principal, second);
	return text;
}

// Another execution of the request; of each region only the last one is kept.
static void add_dot(struct pl_apply_decision *d, struct pl_known_request *request, const struct pl_dot *dot)
{
	struct pl_dot *dots = pl_arena_alloc(d->arena, sizeof(dots[0]) * (size_t)(request->ndots + 1));

	memcpy(dots, request->dots, sizeof(dots[0]) * (size_t)request->ndots);
	request->dots = dots;
	for (int i = 0; i < request->ndots; i++)
		if (strcmp(dots[i].region, dot->region) == 0) {
			if (dot->counter > dots[i].counter)
				dots[i] = *dot;
			return;
		}
	dots[request->ndots++] = *dot;
}

// Whether this execution's answer is remembered rather than that one's: the region that
// comes first by name; of the same execution, a handler's own answer. As in
// ON_KNOWN_REQUEST.
static bool answers_before(const struct pl_event *event, const struct pl_event *other)
{
	int order = strcmp(event->write.dot.region, other->write.dot.region);

	return order < 0 || (order == 0 && event->answer.own && !other->answer.own);
}

static void add_request(struct pl_apply_decision *d, const struct pl_decision_event *e, const char *key,
                        bool id_is_taken)
{
	struct pl_known_key *entry;

	d->known_requests[d->nknown] = (struct pl_known_request){
		.event = e->event,
		.touched = e->touched,
		.later = id_is_taken,
		.dots = &e->event->write.dot,
		.ndots = 1,
	};
	if (!id_is_taken) {
		entry = pl_arena_alloc(d->arena, sizeof(*entry));
		entry->key = key;
		entry->index = d->nknown;
		HASH_ADD_KEYPTR(hh, d->known_by_key, entry->key, strlen(entry->key), entry);
	}
	d->nknown++;
}

static void collect(struct pl_apply_decision *d, const struct pl_decision_event *e, int64_t now_us)
{
	struct pl_event *event = e->event;
	const struct pl_sibling *write = &event->write;
	struct pl_known_key *known;
	const char *key;

	if (!write->request_id || !write->fingerprint)
		return;
	if (event->expires_at_us == 0)
		event->expires_at_us = now_us + EXPIRY_UNKNOWN_US;
	// Every region has forgotten such a request, so it is not remembered again here.
	// One that has expired by this clock may not have by the others', and
	// housekeeping, which compares them, deletes it in time.
	if (event->expires_at_us <= now_us - LONG_EXPIRED_US)
		return;
	key = request_key(d->arena, write->request_id, write->principal);
	HASH_FIND_STR(d->known_by_key, key, known);
	if (known) {
		struct pl_known_request *first = &d->known_requests[known->index];

		if (first->touched == e->touched &&
		    memcmp(first->event->write.fingerprint, write->fingerprint, PL_SHA256_SIZE) == 0) {
			add_dot(d, first, &write->dot);
			if (answers_before(event, first->event))
				first->event = event;
			return;
		}
	}
	add_request(d, e, key, known != NULL);
}

void pl_decision_collect(struct pl_apply_decision *d)
{
	int64_t now_us = pl_now_us();

	for (int i = 0; i < d->nevents; i++)
		if (!d->events[i].touched->locked)
			collect(d, &d->events[i], now_us);
}

// ---- taking events

static void note_replaced(struct pl_apply_decision *d, struct pl_touched_row *touched)
{
	touched->changed = true;
	touched->ask = false;
	for (int i = 0; i < d->nconflicts_seen && touched->detected; i++)
		if (d->conflicts_seen[i]->touched == touched)
			d->conflicts_seen[i]->closed = true;
}

static int64_t bytes_of(const struct pl_state *state, const struct pl_resource *resource)
{
	int64_t bytes = 0;

	for (int i = 0; i < state->n; i++) {
		const struct pl_sibling *write = &state->writes[i];

		for (int f = 0; f < resource->nfields; f++)
			bytes += write->values[f] ? (int64_t)strlen(write->values[f]) : 0;
		bytes += write->unknown ? (int64_t)strlen(write->unknown) : 0;
	}
	return bytes;
}

// Each conflict keeps all of the record's writes, so together they may be much larger
// than the events.
static void note_conflict(struct pl_apply_decision *d, struct pl_touched_row *touched,
                          const struct pl_event *event)
{
	struct pl_conflict_seen *seen = pl_arena_alloc(d->arena, sizeof(*seen));

	seen->touched = touched;
	seen->event = event;
	seen->state = touched->state;
	touched->changed = touched->ask = true;
	touched->detected = seen;
	d->conflicts_seen[d->nconflicts_seen++] = seen;
	d->conflict_bytes += bytes_of(&seen->state, touched->resource);
}

bool pl_decision_take(struct pl_apply_decision *d, struct pl_event *event, struct pl_touched_row *touched)
{
	d->counts->foreign += event->foreign;
	if (event->republished.request_only) { // its row came before it, or will come
		d->counts->stale++;
		touched->ask |= touched->state.n > 1;
		return true;
	}
	switch (pl_decide_take(d->arena, &touched->state, event)) {
	case PL_DECIDED_STALE:
		d->counts->stale++;
		// It may still reveal a twin, which changes what is visible.
		touched->ask |= touched->state.n > 1;
		return true;
	case PL_DECIDED_REFUSED: return false;
	case PL_DECIDED_REPLACED: note_replaced(d, touched); break;
	case PL_DECIDED_CONCURRENT: note_conflict(d, touched, event); break;
	}
	d->counts->applied++;
	d->counts->returned += event->returned;
	return true;
}

// ---- twins: what the database and this batch know about the requests

static void add_question(struct pl_questions *questions, const struct pl_sibling *write,
                         struct pl_touched_row *touched)
{
	if (write->request_id && write->fingerprint)
		questions->items[questions->n++] =
			(struct pl_question){ write->request_id, write->principal, touched };
}

static void add_questions_of(struct pl_questions *questions, const struct pl_state *state,
                             struct pl_touched_row *touched)
{
	for (int i = 0; i < state->n; i++)
		add_question(questions, &state->writes[i], touched);
}

// Links the requests to their records, in their order.
static void link_requests(struct pl_apply_decision *d)
{
	for (int i = d->stored.n - 1; i >= 0; i--) {
		struct pl_touched_row *touched = d->stored.items[i].touched;

		d->stored.items[i].next = touched->stored_requests;
		touched->stored_requests = &d->stored.items[i];
	}
	for (int i = d->nknown - 1; i >= 0; i--) {
		struct pl_touched_row *touched = d->known_requests[i].touched;

		d->known_requests[i].next = touched->known_requests;
		touched->known_requests = &d->known_requests[i];
	}
}

// The maximum number of questions; 0: there is nothing to resolve.
static int count_questions(const struct pl_apply_decision *d)
{
	bool any = d->nconflicts_seen > 0;
	int room = d->nevents;

	for (int i = 0; i < d->ntouched; i++) {
		room += d->touched_rows[i]->state.n;
		any |= d->touched_rows[i]->ask;
	}
	for (int i = 0; i < d->nconflicts_seen; i++)
		room += d->conflicts_seen[i]->state.n;
	return any ? room : 0;
}

int pl_decision_read_requests(struct pl_apply_decision *d, const struct pl_apply_tools *tools,
                              struct pl_error *err)
{
	int room = count_questions(d), code;
	struct pl_questions questions = { 0 };

	if (room == 0)
		return 0;
	questions.items = pl_arena_alloc(d->arena, sizeof(questions.items[0]) * (size_t)room + 1);
	for (int i = 0; i < d->ntouched; i++)
		if (d->touched_rows[i]->ask)
			add_questions_of(&questions, &d->touched_rows[i]->state, d->touched_rows[i]);
	for (int i = 0; i < d->nconflicts_seen; i++)
		add_questions_of(&questions, &d->conflicts_seen[i]->state, d->conflicts_seen[i]->touched);
	// stale events, too: they may reveal a twin
	for (int i = 0; i < d->nevents && questions.n > 0; i++)
		if (d->events[i].touched->ask)
			add_question(&questions, &d->events[i].event->write, d->events[i].touched);
	if ((code = pl_apply_rows_remembered(tools->sql, tools->session, d->arena, &questions, &d->stored,
	                                     err)) < 0)
		return code;
	link_requests(d);
	return 0;
}

static struct pl_known_record known_of(struct pl_apply_decision *d, const struct pl_touched_row *touched,
                                       const struct pl_state *state)
{
	struct pl_twins *twins;
	int n = 0;

	for (const struct pl_stored_request *r = touched->stored_requests; r; r = r->next)
		n++;
	for (const struct pl_known_request *r = touched->known_requests; r; r = r->next)
		n++;
	twins = pl_arena_alloc(d->arena, sizeof(twins[0]) * (size_t)n + 1);
	n = 0;
	for (const struct pl_stored_request *r = touched->stored_requests; r; r = r->next)
		twins[n++] = r->twins;
	for (const struct pl_known_request *r = touched->known_requests; r; r = r->next)
		twins[n++] = (struct pl_twins){ r->event->write.request_id, r->event->write.principal,
			                        r->event->write.fingerprint, r->ndots, r->dots };
	return (struct pl_known_record){ touched->resource, touched->key.id, state, twins, n };
}

// ---- resolving

static struct pl_conflict_policy policy_of(const struct pl_apply_tools *tools,
                                           const struct pl_resource *resource)
{
	const struct pl_policy *policy = tools->policies[resource->index];

	return policy ? (struct pl_conflict_policy){ pl_policy_name(policy), pl_policy_sha256(policy) }
	              : (struct pl_conflict_policy){ resource->policy, "" };
}

static bool same_values(const struct pl_resource *resource, const struct pl_sibling *a,
                        const struct pl_sibling *b)
{
	for (int f = 0; f < resource->nfields; f++) {
		const char *x = a->values[f], *y = b->values[f];

		if (!x != !y || (x && strcmp(x, y) != 0))
			return false;
	}
	return true;
}

static bool same_row(const struct pl_resource *resource, const struct pl_sibling *a,
                     const struct pl_sibling *b)
{
	return a->deleted == b->deleted && a->updated_at_us == b->updated_at_us &&
	       strcmp(a->dot.region, b->dot.region) == 0 && same_values(resource, a, b) &&
	       (a->unknown && b->unknown ? strcmp(a->unknown, b->unknown) == 0 : a->unknown == b->unknown);
}

// Asks the shadow policy the same question; its answer is only compared.
static void ask_shadow(struct pl_apply_decision *d, const struct pl_apply_tools *tools,
                       const struct pl_conflict_seen *seen, const struct pl_known_record *known)
{
	const struct pl_resource *resource = known->resource;
	struct pl_shown other;

	if (!resource->shadow_policy)
		return;
	pl_decide_show(d->arena, known, pl_ask_policy, tools->shadows[resource->index], &other);
	if (other.policy_failed)
		d->counts->shadow_failed++;
	else if (same_row(resource, &other.row, &seen->shown.row))
		d->counts->shadow_same++;
	else
		d->counts->shadow_different++;
}

static void resolve_conflict(struct pl_apply_decision *d, const struct pl_apply_tools *tools,
                             struct pl_conflict_seen *seen)
{
	struct pl_touched_row *touched = seen->touched;
	struct pl_conflict_policy policy = policy_of(tools, touched->resource);
	struct pl_known_record known = known_of(d, touched, &seen->state);

	pl_decide_identify(&seen->state, known.twins, known.ntwins);
	pl_decide_show(d->arena, &known, pl_ask_policy, tools->policies[touched->resource->index],
	               &seen->shown);
	// a request that was executed twice is not a conflict
	if (seen->shown.nrows == 1) {
		d->counts->twins++;
		return;
	}
	d->counts->conflicts++;
	d->counts->policy_errors += seen->shown.policy_failed;
	if (seen->shown.policy_failed)
		pl_faults_lost(PL_LOSS_POLICY);
	ask_shadow(d, tools, seen, &known);
	if (!tools->config->conflicts.record)
		return;
	d->conflicts[d->nconflicts] =
		pl_conflict_make(d->arena, touched, &seen->state, &seen->shown, &policy, seen->event);
	d->conflicts[d->nconflicts++].closed = seen->closed;
}

// Whether the row's siblings are those of the last conflict that was detected. Then the
// policy need not be asked again, which matters for one that exhausts its budget.
static bool is_as_detected(const struct pl_touched_row *touched)
{
	const struct pl_state *now = &touched->state,
			      *then = touched->detected ? &touched->detected->state : NULL;

	if (!then || then->n != now->n || then->version != now->version)
		return false;
	for (int i = 0; i < now->n; i++)
		if (pl_vector_dot_cmp(&now->writes[i].dot, &then->writes[i].dot) != 0)
			return false;
	return true;
}

static void resolve_row(struct pl_apply_decision *d, const struct pl_apply_tools *tools,
                        struct pl_touched_row *touched)
{
	struct pl_known_record known;
	int identified;

	if (!touched->changed && !touched->ask)
		return;
	if (touched->state.n == 1) {
		touched->row = touched->state.writes[0];
		return;
	}
	known = known_of(d, touched, &touched->state);
	identified = pl_decide_identify(&touched->state, known.twins, known.ntwins);
	if (is_as_detected(touched)) {
		touched->shown = &touched->detected->shown;
	} else {
		touched->shown = pl_arena_alloc(d->arena, sizeof(*touched->shown));
		pl_decide_show(d->arena, &known, pl_ask_policy, tools->policies[touched->resource->index],
		               touched->shown);
	}
	touched->changed |=
		identified > 0 || !same_row(touched->resource, &touched->row, &touched->shown->row);
	touched->row = touched->shown->row;
}

void pl_decision_resolve_all(struct pl_apply_decision *d, const struct pl_apply_tools *tools)
{
	d->conflicts = pl_arena_alloc(d->arena, sizeof(d->conflicts[0]) * (size_t)d->nconflicts_seen + 1);
	for (int i = 0; i < d->nconflicts_seen; i++)
		resolve_conflict(d, tools, d->conflicts_seen[i]);
	for (int i = 0; i < d->ntouched; i++)
		resolve_row(d, tools, d->touched_rows[i]);
}

int pl_decision_reresolve(struct pl_apply_decision *d, const struct pl_apply_tools *tools,
                          struct pl_error *err)
{
	int code;

	// a client may have replaced the siblings meanwhile
	for (int i = 0; i < d->ntouched; i++)
		d->touched_rows[i]->ask = d->touched_rows[i]->state.n > 1;
	if ((code = pl_decision_read_requests(d, tools, err)) < 0)
		return code;
	d->conflicts = pl_arena_alloc(d->arena, sizeof(d->conflicts[0]) * (size_t)d->ntouched + 1);
	for (int i = 0; i < d->ntouched; i++) {
		struct pl_touched_row *touched = d->touched_rows[i];
		struct pl_conflict_policy policy = policy_of(tools, touched->resource);

		if (!touched->ask)
			continue;
		resolve_row(d, tools, touched);
		if (touched->shown->nrows > 1 && tools->config->conflicts.record)
			d->conflicts[d->nconflicts++] = pl_conflict_make(d->arena, touched, &touched->state,
			                                                 touched->shown, &policy, NULL);
	}
	return 0;
}
