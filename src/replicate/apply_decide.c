// Deciding a batch: each event taken in memory, twins looked up, and what is then shown.
//
// Beside replicate/apply_batch, which brings the locked rows and writes what comes out; replicate/decide is asked event by event. Threads: the batch's.
#include "replicate/apply_batch_in.h"

// --- deciding

static const char *two_words(struct pl_arena *arena, const char *a, const char *b)
{
	size_t first = strlen(a), second = strlen(b);
	char *text = pl_arena_alloc(arena, first + second + 2);

	memcpy(text, a, first);
	text[first] = ' '; // a request id has none, so this is where it ends
	memcpy(text + first + 1, b, second);
	return text;
}

// Another execution; of each region the last.
static void add_dot(struct pl_apply_batch *b, struct pl_heard *heard, const struct pl_dot *dot)
{
	struct pl_dot *dots = pl_arena_alloc(b->arena, sizeof dots[0] * (size_t)(heard->ndots + 1));

	memcpy(dots, heard->dots, sizeof dots[0] * (size_t)heard->ndots);
	heard->dots = dots;
	for (int i = 0; i < heard->ndots; i++)
		if (strcmp(dots[i].region, dot->region) == 0) {
			if (dots[i].counter < dot->counter)
				dots[i] = *dot;
			return;
		}
	dots[heard->ndots++] = *dot;
}

// The dots of all executions that this batch tells of, by request.
static void hear(struct pl_apply_batch *b, const struct item *item, int64_t now_us)
{
	struct pl_event *event = item->event;
	const struct pl_sibling *write = &event->write;
	struct heard_key *known, *entry;
	struct pl_heard *heard;
	const char *key;

	if (!write->request_id || !write->fingerprint)
		return;
	if (event->expires_at_us == 0)
		event->expires_at_us = now_us + EXPIRY_UNKNOWN_US;
	if (event->expires_at_us <= now_us) // forgotten everywhere by now, so that every region knows the same
		return;
	key = two_words(b->arena, write->request_id, write->principal);
	HASH_FIND_STR(b->heard_by_key, key, known);
	if (known) {
		const struct pl_heard *first = &b->heard[known->index];

		if (first->target == item->target && memcmp(first->event->write.fingerprint, write->fingerprint, PL_SHA256_SIZE) == 0) {
			add_dot(b, &b->heard[known->index], &write->dot);
			return;
		}
	}
	heard = &b->heard[b->nheard];
	heard->event = event;
	heard->target = item->target;
	heard->later = known != NULL;
	heard->dots = &write->dot;
	heard->ndots = 1;
	if (!known) {
		entry = pl_arena_alloc(b->arena, sizeof *entry);
		entry->key = key;
		entry->index = b->nheard;
		HASH_ADD_KEYPTR(hh, b->heard_by_key, entry->key, strlen(entry->key), entry);
	}
	b->nheard++;
}

static void replaced(struct pl_apply_batch *b, struct pl_target *target)
{
	target->changed = true;
	target->ask = false;
	for (int i = 0; i < b->ndetections && target->detected; i++)
		if (b->detections[i]->target == target)
			b->detections[i]->closed = true;
}

static void detected(struct pl_apply_batch *b, struct pl_target *target, const struct pl_event *event)
{
	struct pl_detection *detection = pl_arena_alloc(b->arena, sizeof *detection);

	detection->target = target;
	detection->event = event;
	detection->state = target->state;
	target->detected = detection;
	b->detections[b->ndetections++] = detection;
}

void pl_apply_batch_hear_all(struct pl_apply_batch *b, const struct item *items, int n)
{
	int64_t now_us = pl_now_us();

	for (int i = 0; i < n; i++)
		if (items[i].event)
			hear(b, &items[i], now_us);
}

static void decide_event(struct pl_apply_batch *b, const struct item *item)
{
	struct pl_event *event = item->event;
	struct pl_target *target = item->target;

	b->counts.foreign += event->foreign;
	switch (pl_decide_take(b->arena, &target->state, event)) {
	case PL_DECIDED_STALE:
		b->counts.stale++;
		target->ask |= target->state.n > 1; // what it tells of its request may change what is shown
		return;
	case PL_DECIDED_REPLACED:
		replaced(b, target);
		break;
	case PL_DECIDED_CONCURRENT:
		target->changed = target->ask = true;
		detected(b, target, event);
		break;
	case PL_DECIDED_REFUSED:
		pl_apply_batch_add_dead_letter(b, item->message, "its vector and this region's have no join that a row could hold");
		return;
	}
	b->counts.applied++;
}

void pl_apply_batch_decide_all(struct pl_apply_batch *b, const struct item *items, int n)
{
	for (int i = 0; i < n; i++)
		if (items[i].event)
			decide_event(b, &items[i]);
}

// --- twins: what is remembered, from the database and from this batch

static void add_question(struct pl_question *questions, int *n, const struct pl_sibling *write, struct pl_target *target)
{
	if (write->request_id && write->fingerprint)
		questions[(*n)++] = (struct pl_question){ write->request_id, write->principal, target };
}

// In the order in which they stand.
static void give_to_targets(struct pl_apply_batch *b)
{
	for (int i = b->nremembered - 1; i >= 0; i--) {
		struct pl_target *target = b->remembered[i].target;

		b->remembered[i].next = target->remembered;
		target->remembered = &b->remembered[i];
	}
	for (int i = b->nheard - 1; i >= 0; i--) {
		struct pl_target *target = b->heard[i].target;

		b->heard[i].next = target->heard;
		target->heard = &b->heard[i];
	}
}

// Of every write that stands or stood in this batch. Asked only for records of which siblings are to be shown.
int pl_apply_batch_ask_memory(struct pl_apply_batch *b, const struct pl_apply_tools *tools, const struct item *items, int n, struct pl_error *err)
{
	int nquestions = 0, room = n, code;
	bool any = b->ndetections > 0;
	struct pl_question *questions;

	for (int i = 0; i < b->ntargets; i++) {
		room += b->targets[i]->state.n;
		any |= b->targets[i]->ask;
	}
	if (!any)
		return 0;
	for (int i = 0; i < b->ndetections; i++)
		room += b->detections[i]->state.n;
	questions = pl_arena_alloc(b->arena, sizeof questions[0] * (size_t)room + 1);
	for (int i = 0; i < b->ntargets; i++)
		for (int j = 0; b->targets[i]->ask && j < b->targets[i]->state.n; j++)
			add_question(questions, &nquestions, &b->targets[i]->state.writes[j], b->targets[i]);
	for (int i = 0; i < b->ndetections; i++)
		for (int j = 0; j < b->detections[i]->state.n; j++)
			add_question(questions, &nquestions, &b->detections[i]->state.writes[j], b->detections[i]->target);
	if (nquestions > 0) // stale events have something to tell, too
		for (int i = 0; i < n; i++)
			if (items[i].event && items[i].target->ask)
				add_question(questions, &nquestions, &items[i].event->write, items[i].target);
	if ((code = pl_apply_sql_remembered(tools->sql, tools->session, b->arena, questions, nquestions, &b->remembered, &b->nremembered, err)) < 0)
		return code;
	give_to_targets(b);
	return 0;
}

static int twins_of(struct pl_apply_batch *b, const struct pl_target *target, struct pl_twins **twins_r)
{
	struct pl_twins *twins;
	int n = 0;

	for (const struct pl_remembrance *r = target->remembered; r; r = r->next)
		n++;
	for (const struct pl_heard *h = target->heard; h; h = h->next)
		n++;
	*twins_r = twins = pl_arena_alloc(b->arena, sizeof twins[0] * (size_t)n + 1);
	n = 0;
	for (const struct pl_remembrance *r = target->remembered; r; r = r->next)
		twins[n++] = r->twins;
	for (const struct pl_heard *h = target->heard; h; h = h->next)
		twins[n++] = (struct pl_twins){ h->event->write.request_id, h->event->write.principal, h->event->write.fingerprint, h->ndots, h->dots };
	return n;
}

// --- showing

struct pl_conflict_policy pl_apply_batch_policy_named(const struct pl_apply_tools *tools, const struct pl_resource *resource)
{
	const struct pl_policy *policy = tools->policies[resource->index];

	return policy ? (struct pl_conflict_policy){ pl_policy_name(policy), pl_policy_sha256(policy) }
	              : (struct pl_conflict_policy){ resource->policy, "" };
}

static bool same_values(const struct pl_resource *resource, const struct pl_sibling *a, const struct pl_sibling *b)
{
	for (int f = 0; f < resource->nfields; f++) {
		const char *x = a->values[f], *y = b->values[f];

		if (!x != !y || (x && strcmp(x, y) != 0))
			return false;
	}
	return true;
}

static bool same_row(const struct pl_resource *resource, const struct pl_sibling *a, const struct pl_sibling *b)
{
	return a->deleted == b->deleted && a->updated_at_us == b->updated_at_us && strcmp(a->dot.region, b->dot.region) == 0 &&
	       same_values(resource, a, b);
}

// The shadow policy answers the same question; its answer is compared and forgotten.
static void ask_shadow(struct pl_apply_batch *b, const struct pl_apply_tools *tools, const struct pl_target *target, const struct pl_state *state,
                       const struct pl_twins *twins, int ntwins, const struct pl_shown *shown)
{
	struct pl_policy *shadow = tools->shadows[target->resource->index];
	struct pl_shown other;

	if (!target->resource->shadow)
		return;
	pl_decide_show(b->arena, target->resource, target->key.id, state, twins, ntwins, shadow, &other);
	if (other.policy_failed)
		b->counts.shadow_failed++;
	else if (same_row(target->resource, &other.row, &shown->row))
		b->counts.shadow_same++;
	else
		b->counts.shadow_different++;
}

static void show_detection(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct pl_detection *detection)
{
	struct pl_target *target = detection->target;
	struct pl_conflict_policy policy = pl_apply_batch_policy_named(tools, target->resource);
	struct pl_twins *twins;
	int ntwins = twins_of(b, target, &twins);

	pl_decide_identify(&detection->state, twins, ntwins);
	pl_decide_show(b->arena, target->resource, target->key.id, &detection->state, twins, ntwins, tools->policies[target->resource->index],
	               &detection->shown);
	if (detection->shown.nrows == 1) { // one request, executed twice: no conflict
		b->counts.twins++;
		return;
	}
	b->counts.conflicts++;
	b->counts.policy_errors += detection->shown.policy_failed;
	ask_shadow(b, tools, target, &detection->state, twins, ntwins, &detection->shown);
	if (!tools->config->conflicts.record)
		return;
	b->conflicts[b->nconflicts] = pl_conflict_make(b->arena, target, &detection->state, &detection->shown, &policy, detection->event);
	b->conflicts[b->nconflicts++].closed = detection->closed;
}

// Whether what was shown when the writes met is what will stand. A policy is asked once then: one that runs into its budget costs that once.
static bool is_as_detected(const struct pl_target *target)
{
	const struct pl_state *now = &target->state, *then = target->detected ? &target->detected->state : NULL;

	if (!then || then->n != now->n || then->version != now->version)
		return false;
	for (int i = 0; i < now->n; i++)
		if (pl_dot_cmp(&now->writes[i].dot, &then->writes[i].dot) != 0)
			return false;
	return true;
}

// The row as it will stand.
void pl_apply_batch_show_target(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct pl_target *target)
{
	struct pl_twins *twins;
	int ntwins, identified;

	if (!target->changed && !target->ask)
		return;
	if (target->state.n == 1) {
		target->row = target->state.writes[0];
		return;
	}
	ntwins = twins_of(b, target, &twins);
	identified = pl_decide_identify(&target->state, twins, ntwins);
	if (is_as_detected(target)) {
		target->shown = &target->detected->shown;
	} else {
		target->shown = pl_arena_alloc(b->arena, sizeof *target->shown);
		pl_decide_show(b->arena, target->resource, target->key.id, &target->state, twins, ntwins, tools->policies[target->resource->index],
		               target->shown);
	}
	target->changed |= identified > 0 || !same_row(target->resource, &target->row, &target->shown->row);
	target->row = target->shown->row;
}

void pl_apply_batch_show_all(struct pl_apply_batch *b, const struct pl_apply_tools *tools)
{
	b->conflicts = pl_arena_alloc(b->arena, sizeof b->conflicts[0] * (size_t)b->ndetections + 1);
	for (int i = 0; i < b->ndetections; i++)
		show_detection(b, tools, b->detections[i]);
	for (int i = 0; i < b->ntargets; i++)
		pl_apply_batch_show_target(b, tools, b->targets[i]);
}
