// Deciding what a record becomes when an event arrives: the heart of the replication, and the only place where it beats.
//
// Stands between replicate/apply, which brings the row under its lock and the event, and script/policy, which is asked where
// concurrent writes meet. Pure: no database, no clock, no memory of its own; the simulation in tests/unit/replicate drives this very code.
// Threads: any; nothing is shared.
//
// Dots and vectors
//
// Every write has a *dot*: the region that executed it and that region's count of writes to this record so far. No two writes have the
// same one. Every write also has a *vector*, what its region knew of the record when it wrote, itself included: for each region, how many
// of its writes. Counts suffice because a region's writes to a record are a chain: who has seen the fifth has seen the four before. A
// write a *covers* a write b when a's vector holds b's dot: a was made in knowledge of b and replaces it. When neither covers the other
// they are concurrent: nobody decided between them.
//
// A region keeps, per record, v: the join (element-wise maximum) of the vectors of all writes it knows; and M: those writes that no
// other known write covers. All that follows is a function of what is *known*, never of the order in which it came:
//
//   - v and M are defined by the set of known writes alone. take() computes them one write at a time, and arrives at the same v and M by
//     every way, with any number of repetitions. An arriving write that v covers already is known, or is covered by something known; it
//     changes neither. Otherwise it joins M, those that it covers leave M, and its vector joins v.
//   - v is also the join of the vectors of M, since whatever is not in M is covered by something that is. So when M is one write, v is that
//     write's vector: the row's own columns say it all, and an ordinary row pays nothing.
//   - M has at most one write of each region, since each covers its region's earlier ones. So it stays small.
//   - The row's version is v's sum. A join never makes an element smaller, so the version never goes back; and an arrival that changes M
//     makes an element larger, so a lock held on the old version is lost, as it must be.
//
// Why any pure rule converges
//
// When M is several writes, the *siblings*, the row shows what the policy answers to all of M at once, put in one canonical order. Two
// regions that know the same writes have the same M, hence ask the same question; a pure function gives the same answer. That is the
// whole proof. It asks nothing of the policy: not that it be associative, commutative or idempotent, since its answer is never merged
// again. The answer is shown and never published: only what clients wrote travels. This is where merging pairwise fails: a row that is
// itself a merge meets the next arrival, and the result depends on who was merged first ("highest price", "mean" and "region order" all
// diverge that way; tests/unit/replicate/test_simulation.c breaks the rule on purpose and watches them).
//
// The next write in any region has seen all of M and covers it: the siblings are gone everywhere. A delete is a write like any other.
//
// Twins
//
// A client that got no answer sends its request again, and perhaps to another region; when both regions execute it before they hear of
// each other, one decision of one person has two dots. Two kinds of harm must not come of it: the two must not be logged as a conflict,
// and the late one must not rise over what somebody wrote upon the early one (a: set 5; b, upon a: set 6; a's twin arrives: concurrent
// with b, and later). So a sibling is left out of what is shown when another execution of its request has been overwritten, or stands
// among the siblings with a smaller dot; unless nothing would be left, as when two requests have overwritten each other's twins.
//
// This happens when the row is shown, not when it is stored: M holds twins like any siblings. Storing less would make M depend on when a
// request id was learned. "Overwritten" needs no store of its own: a dot that v covers and that is not in M was covered by a write that
// is known. (v has it because some known write's vector does; if that write is not the dot itself, it covers the dot; if it is, and it is
// not in M, another covers it.) Which dots belong to a request, the callers know from processed_requests, joined like a vector, and from
// the events at hand; an event teaches its dot even when it is stale, and a record with siblings is then shown anew. That memory also says
// which request wrote a row that stood alone until now: the row itself does not (pl_decide_identify). A dot that the sibling's own vector
// covers is no twin of it: the region knew the first execution and had forgotten it, its time to live being over, so it was meant anew.
//
// Foreign events
//
// Another producer may write the same values to the topic without our headers. Such a write has no dot; it is taken when its
// (version, updated_at, region_origin) is greater than the row's, and then replaces all that stands, like a write that had seen it. The
// vector is raised, in the region that it names, so that its sum becomes the event's version; it stays an honest lock. While siblings
// stand, the last of them in canonical order counts as the row, whatever the policy shows. A producer that writes the same version
// twice can leave regions with different rows: it has no notion of concurrency, so nothing can be told about it.
#include "replicate/decide.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/sha256.h"

int pl_decide_order(const struct pl_sibling *a, const struct pl_sibling *b)
{
	if (a->updated_at_us != b->updated_at_us)
		return a->updated_at_us < b->updated_at_us ? -1 : 1;
	return pl_dot_cmp(&a->dot, &b->dot);
}

// --- taking an event into what is known

static void stand_alone(struct pl_arena *arena, struct pl_state *state, const struct pl_sibling *write)
{
	state->writes = pl_arena_alloc(arena, sizeof state->writes[0]);
	state->writes[0] = *write;
	state->n = 1;
}

static bool set_vector(struct pl_state *state, const struct pl_vector *vector)
{
	int64_t sum = pl_vector_sum(vector);

	if (sum > INT32_MAX)
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

static enum pl_decision take_foreign(struct pl_arena *arena, struct pl_state *state, const struct pl_event *event)
{
	struct pl_sibling write = event->write;
	struct pl_vector vector = state->vector;
	const char *origin = write.dot.region;
	int64_t counter = (int64_t)pl_vector_get(&vector, origin) + event->version - state->version;

	if (state->known && !foreign_is_greater(state, event))
		return PL_DECIDED_STALE;
	if (counter > INT32_MAX || pl_vector_set(&vector, origin, (int32_t)counter) < 0 || !set_vector(state, &vector))
		return PL_DECIDED_REFUSED;
	write.dot.counter = (int32_t)counter;
	write.vector = vector;
	stand_alone(arena, state, &write);
	return PL_DECIDED_REPLACED;
}

enum pl_decision pl_decide_take(struct pl_arena *arena, struct pl_state *state, const struct pl_event *event)
{
	const struct pl_sibling *write = &event->write, *before = state->writes;
	struct pl_vector joined = state->vector;
	int nbefore = state->n;

	if (event->foreign)
		return take_foreign(arena, state, event);
	if (state->known && pl_vector_covers(&state->vector, &write->dot))
		return PL_DECIDED_STALE;
	if (pl_vector_join(&joined, &write->vector) < 0 || !set_vector(state, &joined))
		return PL_DECIDED_REFUSED;

	state->writes = pl_arena_alloc(arena, sizeof before[0] * (size_t)(nbefore + 1));
	state->n = 0;
	for (int i = 0; i < nbefore; i++)
		if (!pl_vector_covers(&write->vector, &before[i].dot))
			state->writes[state->n++] = before[i];
	state->writes[state->n++] = *write;
	return state->n == 1 ? PL_DECIDED_REPLACED : PL_DECIDED_CONCURRENT;
}

// --- what is shown of it

static bool same_request(const struct pl_twins *twins, const struct pl_sibling *write)
{
	return write->request_id && write->fingerprint && strcmp(twins->request_id, write->request_id) == 0 &&
	       strcmp(twins->principal, write->principal) == 0 && memcmp(twins->fingerprint, write->fingerprint, PL_SHA256_SIZE) == 0;
}

int pl_decide_identify(struct pl_state *state, const struct pl_twins *twins, int ntwins)
{
	int found = 0;

	for (int i = 0; i < state->n; i++) {
		struct pl_sibling *write = &state->writes[i];

		for (int j = 0; j < ntwins && !write->fingerprint; j++)
			for (int k = 0; k < twins[j].n; k++)
				if (pl_dot_cmp(&twins[j].dots[k], &write->dot) == 0) {
					write->request_id = twins[j].request_id;
					write->principal = twins[j].principal;
					write->fingerprint = twins[j].fingerprint;
					found++;
					break;
				}
	}
	return found;
}

static bool stands(const struct pl_state *state, const struct pl_dot *dot)
{
	for (int i = 0; i < state->n; i++)
		if (pl_dot_cmp(&state->writes[i].dot, dot) == 0)
			return true;
	return false;
}

// Is another execution of this write's request overwritten, or standing with a smaller dot?
static bool is_late_twin(const struct pl_state *state, const struct pl_sibling *write, const struct pl_twins *twins, int ntwins)
{
	for (int i = 0; i < ntwins; i++) {
		if (!same_request(&twins[i], write))
			continue;
		for (int j = 0; j < twins[i].n; j++) {
			const struct pl_dot *dot = &twins[i].dots[j];

			if (pl_vector_covers(&write->vector, dot) || !pl_vector_covers(&state->vector, dot))
				continue; // itself, or known to it; or not known here
			if (!stands(state, dot) || pl_dot_cmp(dot, &write->dot) < 0)
				return true;
		}
	}
	return false;
}

static int compare_rows(const void *a, const void *b)
{
	return pl_decide_order(a, b);
}

int pl_decide_shown(const struct pl_state *state, const struct pl_twins *twins, int ntwins, struct pl_sibling *rows_r)
{
	int n = 0;

	for (int i = 0; i < state->n; i++)
		if (state->n == 1 || !is_late_twin(state, &state->writes[i], twins, ntwins))
			rows_r[n++] = state->writes[i];
	if (n == 0) {
		n = state->n;
		memcpy(rows_r, state->writes, sizeof rows_r[0] * (size_t)n);
	}
	qsort(rows_r, (size_t)n, sizeof rows_r[0], compare_rows);
	return n;
}

// --- the answer made a row

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

// When and where field `f` of a merged row was last written: by the latest of the rows that have the merged value; a value that none
// of them has came from all, and counts as old as the latest of them. `times[i]` is the parsed field_times of rows[i], or NULL.
static const cJSON *merged_field_time(const struct pl_field *field, const char *merged, const struct pl_sibling *rows, int n,
                                      cJSON *const *times, int f)
{
	const cJSON *with_value = NULL, *any = NULL;
	int64_t with_value_at = 0, any_at = 0;

	for (int i = 0; i < n; i++) {
		const cJSON *entry = pl_json_get(times[i], field->name);
		int64_t at;

		if (!entry || pl_json_int64(pl_json_get(entry, "at"), &at) < 0)
			continue;
		if (!any || at >= any_at) { // on a tie the later row, as everywhere
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

static const char *merge_field_times(struct pl_arena *arena, const struct pl_resource *resource, const char *const *merged,
                                     const struct pl_sibling *rows, int n)
{
	cJSON **times = pl_arena_alloc(arena, sizeof times[0] * (size_t)n);
	struct pl_buf buf = { 0 };
	const char *text;

	for (int i = 0; i < n; i++)
		times[i] = rows[i].field_times ? pl_json_parse(rows[i].field_times, strlen(rows[i].field_times), &pl_json_default_limits, NULL) : NULL;
	for (int f = 0; f < resource->nfields; f++) {
		const cJSON *entry = merged_field_time(&resource->fields[f], merged[f], rows, n, times, f);

		if (!entry)
			continue;
		pl_buf_addc(&buf, buf.len == 0 ? '{' : ',');
		pl_buf_add_json(&buf, resource->fields[f].name, strlen(resource->fields[f].name));
		pl_buf_addc(&buf, ':');
		pl_json_print(&buf, entry);
	}
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
	shown->row.request_id = NULL; // nobody asked for this row
	shown->row.principal = "";
	shown->row.fingerprint = NULL;
	shown->row.field_times = resource->track_fields
		? merge_field_times(arena, resource, shown->verdict.merged, shown->rows, shown->nrows) : NULL;
}

int pl_decide_show_by(struct pl_arena *arena, const struct pl_resource *resource, int64_t id, const struct pl_state *state,
                      const struct pl_twins *twins, int ntwins, pl_decide_ask_fn *ask, void *arg, struct pl_shown *shown_r)
{
	struct pl_sibling *rows = pl_arena_alloc(arena, sizeof rows[0] * (size_t)state->n);

	memset(shown_r, 0, sizeof *shown_r);
	shown_r->nrows = pl_decide_shown(state, twins, ntwins, rows);
	shown_r->rows = rows;
	if (shown_r->nrows > 1 &&
	    ask(arg, resource, id, rows, shown_r->nrows, arena, &shown_r->verdict, &shown_r->policy_error) < 0) {
		shown_r->policy_failed = true; // last writer wins: of the same rows, so this too is the same everywhere
		shown_r->verdict.take = shown_r->nrows - 1;
		shown_r->verdict.merged = NULL;
	}
	apply_verdict(arena, resource, shown_r);
	return 0;
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
	if (deleted > 0) // named after the later of the two sides, as every region sees it
		return rows[n - 1].deleted ? "delete_origin_differs" : "update_deleted";
	return created == n ? "insert_exists" : "update_origin_differs";
}
