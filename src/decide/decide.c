// Deciding what a record becomes when an event arrives: the core of the replication.
//
// Between apply/decision, which brings the event and the row under its lock, and
// script/policy, which is asked where concurrent writes meet. Pure: no database, no
// clock, no memory. The simulation in tests/unit/decide runs this code.
// Threads: any; nothing is shared.
//
// Dots and vectors
//
// Every write has a *dot*: the region that executed it and that region's count of
// writes to this record so far. No two writes have the same dot. Every write also has a
// *vector*, which says what its region knew of the record when it wrote, including this
// write: for each region, the number of its writes. Counts suffice because a region's
// writes to a record form a chain: if you have seen the fifth, you have seen the four
// before it. A write a *covers* a write b if a's vector includes b's dot: a was made in
// knowledge of b and replaces it. If neither covers the other, they are concurrent:
// nobody has chosen between them.
//
// For each record a region keeps v, the join (element-wise maximum) of the vectors of all
// writes that it knows, and M, the writes that no other known write covers. Everything
// below is a function of the set of known writes, never of the order in which they came:
//
//   - v and M are defined by that set alone. pl_decide_take computes them one write at a
//     time, and reaches the same v and M in every order and with any repetitions. If v
//     covers an arriving write, the write or one that covers it is known already, and
//     nothing changes. Else the write joins M, those that it covers leave M, and its
//     vector is joined to v.
//   - v is also the join of the vectors in M, since a write in M covers every write that
//     is not. So if M is a single write, v is that write's vector: the row's own columns
//     hold everything, and an ordinary row costs nothing extra.
//   - M holds at most one write of each region, since a region's write covers its earlier
//     ones. So M stays small.
//   - The row's version is the sum of v. A join never decreases an element, so the
//     version never decreases. An arrival that changes M increases an element, so a
//     client's lock on the old version fails, as it must.
//
// Why any pure rule converges
//
// If M has several writes, the *siblings*, the visible row is the policy's answer to
// all of M at once, in a canonical order. Two regions that know the same writes have
// the same M and so ask the same question, to which a pure function gives the same
// answer. That is the whole proof. The policy need not be associative, commutative or
// idempotent, since its answer is never an input again. It is shown and never
// published: only clients' writes travel. This is where pairwise merging fails: a row
// that is itself a merge meets the next arrival, and the result depends on which writes
// were merged first ("highest price", "mean" and "region order" all diverge that way;
// tests/unit/decide/test_simulate.c breaks the rule on purpose and watches them diverge).
//
// The next write in any region has seen all of M and covers it, which removes the
// siblings everywhere. A delete is a write like any other.
//
// Twins
//
// A client that got no answer sends its request again, perhaps to another region. If both
// regions execute it before they hear of each other, one request has two dots: twins.
// They must not be recorded as a conflict. Nor may the later one hide a write that
// somebody made in knowledge of the earlier one (a: set 5; b, knowing a: set 6; then
// a's twin arrives: it is concurrent with b, and later). So a sibling is left out of
// what is shown if another execution of its request has been overwritten, or is among
// the siblings with a smaller dot; unless that would leave nothing, as when two
// requests have overwritten each other's twins.
//
// This happens when the row is resolved, not when it is stored: M holds twins like any
// siblings. Storing less would make M depend on when a request id was learned.
// "Overwritten" needs no storage: a dot that v covers and that is not in M was covered
// by a known write. (v covers it because a known write's vector does. If that write
// does not have the dot itself, it covers the dot; if it does and is not in M, another
// write covers it.) The callers know which dots belong to a request from
// processed_requests, where they are joined like a vector, and from the current events.
// Even a stale event adds its dot, and then a record with siblings is resolved again.
// The same memory also says which request wrote a row that was the only write until now;
// the row itself does not say so (pl_decide_identify). A dot that the sibling's own
// vector covers is not its twin: the region knew the first execution and had forgotten it
// after its time to live, so the request was a new one.
//
// Foreign events
//
// Another producer may write values to the topic without our headers. Such a write has no
// dot. It is applied if its (version, updated_at, region_origin) is greater than the
// row's, and then replaces all writes, like one that had seen them. The vector's entry
// of the region that it names is raised so that the sum becomes the event's version,
// which remains a correct lock. While there are siblings, the last in canonical order
// counts as the row, whatever the policy shows. A producer that writes the same version
// twice can leave regions with different rows: its events do not say which writes are
// concurrent, so this cannot be detected.
#include "decide/decide.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/sha256.h"
#include "record/edge.h"
#include "record/unknown.h"

int pl_decide_order(const struct pl_sibling *a, const struct pl_sibling *b)
{
	if (a->updated_at_us != b->updated_at_us)
		return a->updated_at_us < b->updated_at_us ? -1 : 1;
	return pl_vector_dot_cmp(&a->dot, &b->dot);
}

// ---- taking an event into what is known

static void stand_alone(struct pl_arena *arena, struct pl_state *state, const struct pl_sibling *write)
{
	state->writes = pl_arena_alloc(arena, sizeof(state->writes[0]));
	state->writes[0] = *write;
	state->n = 1;
}

static bool set_vector(struct pl_state *state, const struct pl_vector *vector)
{
	int64_t sum = pl_vector_sum(vector);

	if (sum > PL_VERSION_MAX)
		return false;
	state->vector = *vector;
	state->version = (int32_t)sum;
	state->known = true;
	return true;
}

static bool foreign_is_greater(const struct pl_state *state, const struct pl_event *event)
{
	const struct pl_sibling *row = &state->writes[0];

	for (int i = 1; i < state->n; i++)
		if (pl_decide_order(&state->writes[i], row) > 0)
			row = &state->writes[i];
	if (event->version != state->version)
		return event->version > state->version;
	if (event->write.updated_at_us != row->updated_at_us)
		return event->write.updated_at_us > row->updated_at_us;
	return strcmp(event->write.dot.region, row->dot.region) > 0;
}

static enum pl_decision take_foreign(struct pl_arena *arena, struct pl_state *state,
                                     const struct pl_event *event)
{
	struct pl_sibling write = event->write;
	struct pl_vector vector = state->vector;
	const char *origin = write.dot.region;
	int64_t counter = (int64_t)pl_vector_get(&vector, origin) + event->version - state->version;

	if (state->known && !foreign_is_greater(state, event))
		return PL_DECIDED_STALE;
	if (counter < 1 || counter > PL_COUNTER_MAX || pl_vector_set(&vector, origin, (int32_t)counter) < 0 ||
	    !set_vector(state, &vector))
		return PL_DECIDED_REFUSED;
	write.dot.counter = (int32_t)counter;
	write.vector = vector;
	stand_alone(arena, state, &write);
	return PL_DECIDED_REPLACED;
}

// A reset lowers counts that leave no room for another write, and removes names that no
// region has from the history; the event says what it replaced. Such a count or name is
// lowered here to what the reset says, less the reset's own write, so that this is new.
// Counts below PL_RESET_FROM stay, so a redelivered reset finds nothing to lower after
// the record was written again.
static void put_aside(struct pl_vector *vector, const struct pl_event *event)
{
	const struct pl_vector *after = &event->write.vector;

	for (int i = 0; i < event->reset->n; i++) {
		const char *region;
		int32_t before = pl_vector_at(event->reset, i, &region), here = pl_vector_get(vector, region),
			to = pl_vector_get(after, region);

		if (strcmp(region, event->write.dot.region) == 0)
			to--;
		if (here > 0 && here <= before && here > to &&
		    (here > PL_RESET_FROM || pl_vector_get(after, region) == 0))
			pl_vector_set(vector, region, to);
	}
}

// Whether the event's write was made in knowledge of this write.
static bool replaces(const struct pl_event *event, const struct pl_dot *dot)
{
	return pl_vector_covers(&event->write.vector, dot) ||
	       (event->reset && pl_vector_covers(event->reset, dot));
}

enum pl_decision pl_decide_take(struct pl_arena *arena, struct pl_state *state, const struct pl_event *event)
{
	const struct pl_sibling *write = &event->write, *before = state->writes;
	struct pl_vector joined = state->vector;
	int nbefore = state->n;

	if (event->foreign)
		return take_foreign(arena, state, event);
	if (event->reset)
		put_aside(&joined, event);
	if (state->known && pl_vector_covers(&joined, &write->dot))
		return PL_DECIDED_STALE;
	if (pl_vector_join(&joined, &write->vector) < 0 || !set_vector(state, &joined))
		return PL_DECIDED_REFUSED;

	state->writes = pl_arena_alloc(arena, sizeof(before[0]) * (size_t)(nbefore + 1));
	state->n = 0;
	for (int i = 0; i < nbefore; i++)
		if (!replaces(event, &before[i].dot))
			state->writes[state->n++] = before[i];
	state->writes[state->n++] = *write;
	return state->n == 1 ? PL_DECIDED_REPLACED : PL_DECIDED_CONCURRENT;
}

// ---- which writes are shown

static bool same_request(const struct pl_twins *twins, const struct pl_sibling *write)
{
	return write->request_id && write->fingerprint && strcmp(twins->request_id, write->request_id) == 0 &&
	       strcmp(twins->principal, write->principal) == 0 &&
	       memcmp(twins->fingerprint, write->fingerprint, PL_SHA256_SIZE) == 0;
}

int pl_decide_identify(struct pl_state *state, const struct pl_twins *twins, int ntwins)
{
	int found = 0;

	for (int i = 0; i < state->n; i++) {
		struct pl_sibling *write = &state->writes[i];

		for (int j = 0; j < ntwins && !write->fingerprint; j++)
			for (int k = 0; k < twins[j].n; k++)
				if (pl_vector_dot_cmp(&twins[j].dots[k], &write->dot) == 0) {
					write->request_id = twins[j].request_id;
					write->principal = twins[j].principal;
					write->fingerprint = twins[j].fingerprint;
					found++;
					break;
				}
	}
	return found;
}

static bool is_sibling(const struct pl_state *state, const struct pl_dot *dot)
{
	for (int i = 0; i < state->n; i++)
		if (pl_vector_dot_cmp(&state->writes[i].dot, dot) == 0)
			return true;
	return false;
}

// Whether another execution of this write's request was overwritten, or is a sibling
// with a smaller dot.
static bool is_late_twin(const struct pl_state *state, const struct pl_sibling *write,
                         const struct pl_twins *twins, int ntwins)
{
	for (int i = 0; i < ntwins; i++) {
		if (!same_request(&twins[i], write))
			continue;
		for (int j = 0; j < twins[i].n; j++) {
			const struct pl_dot *dot = &twins[i].dots[j];

			if (pl_vector_covers(&write->vector, dot) || !pl_vector_covers(&state->vector, dot))
				continue; // itself, known to it, or not known here
			if (!is_sibling(state, dot) || pl_vector_dot_cmp(dot, &write->dot) < 0)
				return true;
		}
	}
	return false;
}

static int compare_rows(const void *a, const void *b)
{
	return pl_decide_order(a, b);
}

int pl_decide_shown(const struct pl_state *state, const struct pl_twins *twins, int ntwins,
                    struct pl_sibling *rows_r)
{
	int n = 0;

	for (int i = 0; i < state->n; i++)
		if (state->n == 1 || !is_late_twin(state, &state->writes[i], twins, ntwins))
			rows_r[n++] = state->writes[i];
	if (n == 0) {
		n = state->n;
		memcpy(rows_r, state->writes, sizeof(rows_r[0]) * (size_t)n);
	}
	qsort(rows_r, (size_t)n, sizeof(rows_r[0]), compare_rows);
	return n;
}

// ---- from the answer to a row

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

// When and where field `f` of a merged row was last written: by the latest row that has
// the merged value. A value that no row has was computed from all, and gets the time of
// the latest. `times[i]` is the parsed field_times of rows[i], or NULL.
static const cJSON *merged_field_time(const struct pl_field *field, const char *merged,
                                      const struct pl_sibling *rows, int n, cJSON *const *times, int f)
{
	const cJSON *with_value = NULL, *any = NULL;
	int64_t with_value_at = 0, any_at = 0;

	for (int i = 0; i < n; i++) {
		const cJSON *entry = pl_json_get(times[i], field->name);
		int64_t at;

		if (!entry || pl_json_int64(pl_json_get(entry, "at"), &at) < 0)
			continue;
		if (!any || at >= any_at) { // on a tie, the later row
			any = entry;
			any_at = at;
		}
		if (same_text(rows[i].values[f], merged) && (!with_value || at >= with_value_at)) {
			with_value = entry;
			with_value_at = at;
		}
	}
	return with_value ? with_value : any;
}

// The fields that this daemon does not know are not part of a policy's answer. Each is
// that of the latest row that has it, with the time when it was written.
static const char *merge_unknown(struct pl_arena *arena, const struct pl_sibling *rows, int n)
{
	const char **all = pl_arena_alloc(arena, sizeof(all[0]) * (size_t)n);
	bool any = false;

	for (int i = 0; i < n; i++) {
		all[i] = rows[i].unknown;
		any |= all[i] != NULL;
	}
	return any ? pl_unknown_merge(arena, all, n) : NULL;
}

static void add_field_time(struct pl_buf *buf, const char *name, const cJSON *entry)
{
	if (!entry)
		return;
	pl_buf_addc(buf, buf->len == 0 ? '{' : ',');
	pl_buf_add_json(buf, name, strlen(name));
	pl_buf_addc(buf, ':');
	pl_json_print(buf, entry);
}

static void add_unknown_times(struct pl_buf *buf, const struct pl_sibling *rows, int n, cJSON *const *times)
{
	for (int i = n - 1; i >= 0; i--) {
		cJSON *json = rows[i].unknown ? pl_json_parse(rows[i].unknown, strlen(rows[i].unknown),
		                                              &pl_json_default_limits, NULL)
		                              : NULL;

		for (const cJSON *item = json ? json->child : NULL; item; item = item->next) {
			bool later_has_it = false;

			for (int j = i + 1; j < n && !later_has_it; j++)
				later_has_it =
					rows[j].unknown && pl_unknown_has(rows[j].unknown, item->string);
			if (!later_has_it)
				add_field_time(buf, item->string, pl_json_get(times[i], item->string));
		}
		cJSON_Delete(json);
	}
}

static const char *merge_field_times(struct pl_arena *arena, const struct pl_resource *resource,
                                     const char *const *merged, const struct pl_sibling *rows, int n)
{
	cJSON **times = pl_arena_alloc(arena, sizeof(times[0]) * (size_t)n);
	struct pl_buf buf = { 0 };
	const char *text;

	for (int i = 0; i < n; i++)
		times[i] = rows[i].field_times
		                   ? pl_json_parse(rows[i].field_times, strlen(rows[i].field_times),
		                                   &pl_json_default_limits, NULL)
		                   : NULL;
	for (int f = 0; f < resource->nfields; f++)
		add_field_time(&buf, resource->fields[f].name,
		               merged_field_time(&resource->fields[f], merged[f], rows, n, times, f));
	add_unknown_times(&buf, rows, n, times);
	if (buf.len > 0)
		pl_buf_addc(&buf, '}');
	text = buf.len > 0 ? pl_arena_strndup(arena, buf.data, buf.len) : NULL;
	for (int i = 0; i < n; i++)
		cJSON_Delete(times[i]);
	pl_buf_fini(&buf);
	return text;
}

static void apply_verdict(struct pl_arena *arena, const struct pl_resource *resource, struct pl_shown *shown)
{
	const struct pl_sibling *last = &shown->rows[shown->nrows - 1];

	if (shown->verdict.take >= 0) {
		shown->row = shown->rows[shown->verdict.take];
		return;
	}
	shown->row = *last;
	shown->row.deleted = false;
	shown->row.values = shown->verdict.merged;
	shown->row.unknown = merge_unknown(arena, shown->rows, shown->nrows);
	shown->row.request_id = NULL; // no request wrote this row
	shown->row.principal = "";
	shown->row.fingerprint = NULL;
	shown->row.field_times =
		resource->track_fields
			? merge_field_times(arena, resource, shown->verdict.merged, shown->rows, shown->nrows)
			: NULL;
}

void pl_decide_show(struct pl_arena *arena, const struct pl_known_record *known, pl_decide_ask_fn *ask,
                    void *arg, struct pl_shown *shown_r)
{
	struct pl_sibling *rows = pl_arena_alloc(arena, sizeof(rows[0]) * (size_t)known->state->n);
	struct pl_policy_question question = { known->resource, known->id, rows, 0 };

	memset(shown_r, 0, sizeof(*shown_r));
	question.n = shown_r->nrows = pl_decide_shown(known->state, known->twins, known->ntwins, rows);
	shown_r->rows = rows;
	if (question.n > 1 && ask(arg, &question, arena, &shown_r->verdict, &shown_r->policy_error) < 0) {
		// The last writer wins, which is also the same in every region.
		shown_r->policy_failed = true;
		shown_r->verdict.take = shown_r->nrows - 1;
		shown_r->verdict.merged = NULL;
	}
	apply_verdict(arena, known->resource, shown_r);
}

const char *pl_decide_conflict_type(const struct pl_sibling *rows, int n)
{
	int deleted = 0, created = 0;

	for (int i = 0; i < n; i++) {
		deleted += rows[i].deleted;
		created += pl_vector_sum(&rows[i].vector) == 1;
	}
	if (deleted == n)
		return "delete_missing";
	if (deleted > 0) // by the latest write, which is the same in every region
		return rows[n - 1].deleted ? "delete_origin_differs" : "update_deleted";
	return created == n ? "insert_exists" : "update_origin_differs";
}
