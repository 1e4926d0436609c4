// Comparing one resource: see comparison.h. Threads: the tool has one.
#include "admin/comparison.h"

#include <stdlib.h>
#include <string.h>

#include "admin/messages.h"
#include "admin/progress.h"
#include "admin/settle.h"
#include "base/clock.h"

// A record that differed in the first pass.
struct candidate {
	int64_t id;
	const char *vectors[PL_REGIONS_MAX]; // NULL: no record
};

struct run {
	struct pl_invocation *invocation;
	struct pl_comparison *c;
	const struct pl_comparison_options *options;
	struct pl_arena *first; // the candidates' texts
	struct candidate *candidates;
	int ncandidates, at;
	bool settled;
	struct pl_progress progress;
	bool progressing;
};

static int failed(const struct pl_comparison *c, const struct pl_error *err)
{
	struct pl_region_session *session = &c->sessions->each[c->scan.failed];
	if (strcmp(err->sqlstate, "42P01") == 0 || strcmp(err->sqlstate, "42703") == 0 ||
	    strcmp(err->sqlstate, "42883") == 0)
		pl_fail("%s: its tables do not match the configuration: %s", session->region->name,
		        err->text);
	else
		pl_fail("%s: %s", session->region->name, err->text);
	return PL_EXIT_UNREACHABLE;
}

// ---- the first pass

static void show_progress(void *arg, int64_t done, int64_t total)
{
	struct run *r = arg;
	if (!pl_messages_terminal() || total == 0)
		return;
	if (!r->progressing)
		pl_progress_begin(&r->progress, r->c->resource->name, total, 0);
	r->progressing = true;
	r->progress.total = total;
	pl_progress_set(&r->progress, done);
}

static void classify(const struct pl_comparison *c, const struct pl_scan_copy *copies,
                     struct pl_classified *is_r)
{
	struct pl_copy plain[PL_REGIONS_MAX] = { { .exists = false } };
	for (int i = 0; i < c->scan.n; i++)
		plain[i] = copies[i].copy;
	pl_classify(plain, c->scan.n, is_r);
}

static void note_candidate(void *arg, int64_t id, const struct pl_scan_copy *copies)
{
	struct run *r = arg;
	struct pl_classified is;
	struct candidate *candidate = &r->candidates[r->ncandidates];
	classify(r->c, copies, &is);
	if (is.difference == PL_DIFFERENCE_NONE)
		return;
	candidate->id = id;
	for (int i = 0; i < r->c->scan.n; i++) {
		struct pl_buf vector = { 0 };
		candidate->vectors[i] = NULL;
		if (!copies[i].copy.exists)
			continue;
		pl_vector_print(&vector, &copies[i].copy.vector);
		candidate->vectors[i] = pl_arena_strndup(r->first, vector.data, vector.len);
		pl_buf_fini(&vector);
	}
	r->ncandidates++;
}

static int look_first(struct run *r)
{
	struct pl_scan *scan = &r->c->scan;
	const struct pl_id_range *range = r->options->range;
	struct pl_error err = { 0 };
	if (range->ids) {
		scan->nids = range->nids;
		scan->ids = pl_malloc(sizeof(scan->ids[0]) * (size_t)(range->nids + 1));
		memcpy(scan->ids, range->ids, sizeof(scan->ids[0]) * (size_t)range->nids);
	} else if (pl_scan_run(scan, &err) < 0) {
		return failed(r->c, &err);
	}
	if (r->progressing)
		pl_progress_end(&r->progress);
	r->candidates = pl_malloc(sizeof(r->candidates[0]) * (size_t)(scan->nids + 1));
	return pl_scan_look(scan, scan->ids, scan->nids, note_candidate, r, &err) < 0 ? failed(r->c, &err)
	                                                                              : 0;
}

// ---- the second pass

static const char *keep(struct pl_arena *arena, const char *text)
{
	return text ? pl_arena_strdup(arena, text) : NULL;
}

static void begin_found(struct pl_found *found, int64_t id, const struct pl_scan_copy *copies, int n,
                        const struct pl_classified *is)
{
	*found = (struct pl_found){ .id = id, .is = *is };
	for (int i = 0; i < n; i++) {
		found->strays |= (uint32_t)(copies[i].siblings && !copies[i].has_siblings) << i;
		found->claims |= (uint32_t)copies[i].has_siblings << i;
	}
}

static void keep_copies(struct pl_comparison *c, struct pl_found *found, const struct pl_scan_copy *copies)
{
	found->copies = pl_arena_array(c->arena, (size_t)c->scan.n, sizeof(copies[0]));
	for (int i = 0; i < c->scan.n; i++) {
		struct pl_scan_copy *copy = &found->copies[i];
		*copy = copies[i];
		copy->vector = keep(c->arena, copies[i].vector);
		copy->origin = keep(c->arena, copies[i].origin);
		copy->version = keep(c->arena, copies[i].version);
		copy->updated_at = keep(c->arena, copies[i].updated_at);
		copy->fields = keep(c->arena, copies[i].fields);
		copy->siblings = keep(c->arena, copies[i].siblings);
	}
}

static void add_found(struct pl_comparison *c, int64_t id, const struct pl_scan_copy *copies,
                      const struct pl_classified *is)
{
	struct pl_found *found = &c->found[c->nfound++];
	begin_found(found, id, copies, c->scan.n, is);
	c->counts[is->difference]++;
	if (c->nfound > c->limit)
		return;
	if (c->without_copies == 0 && pl_arena_size(c->arena) < PL_COMPARISON_COPIES)
		keep_copies(c, found, copies);
	else
		c->without_copies++;
}

// Everything that any copy had seen in the first pass.
static void join_of(const struct candidate *candidate, int n, struct pl_vector *join_r)
{
	struct pl_vector vector;
	memset(join_r, 0, sizeof(*join_r));
	for (int i = 0; i < n; i++)
		if (candidate->vectors[i] &&
		    pl_vector_parse(&vector, candidate->vectors[i], strlen(candidate->vectors[i])) == 0)
			pl_vector_join(join_r, &vector);
}

// Whether a copy still lacks what another one had. *unchanged_r: no copy has changed
// since.
static bool lacks(const struct pl_scan_copy *copies, int n, const struct pl_vector *join, bool *unchanged_r)
{
	bool lacking = false;
	*unchanged_r = true;
	for (int i = 0; i < n; i++) {
		lacking |= !copies[i].copy.exists || !pl_vector_le(join, &copies[i].copy.vector);
		*unchanged_r &= copies[i].copy.exists && pl_vector_equal(join, &copies[i].copy.vector);
	}
	return lacking;
}

static void judge(void *arg, int64_t id, const struct pl_scan_copy *copies)
{
	struct run *r = arg;
	const struct candidate *candidate = &r->candidates[r->at++];
	struct pl_classified is;
	struct pl_vector join;
	bool unchanged, lacking, by_hand;
	int n = r->c->scan.n;
	classify(r->c, copies, &is);
	join_of(candidate, n, &join);
	lacking = lacks(copies, n, &join, &unchanged);
	by_hand = unchanged || join.n == 0; // without a vector: siblings without a record
	if (is.difference == PL_DIFFERENCE_NONE || (!lacking && !by_hand && !r->options->at_once))
		r->c->passed++;
	else if (r->settled)
		add_found(r->c, id, copies, &is);
	else
		r->c->unsettled++;
}

static int look_again(struct run *r)
{
	struct pl_error err = { 0 };
	int64_t *ids = pl_malloc(sizeof(ids[0]) * (size_t)(r->ncandidates + 1));
	int code;
	r->c->found = pl_malloc(sizeof(r->c->found[0]) * (size_t)(r->ncandidates + 1));
	for (int i = 0; i < r->ncandidates; i++)
		ids[i] = r->candidates[i].id;
	code = pl_scan_look(&r->c->scan, ids, r->ncandidates, judge, r, &err);
	free(ids);
	return code < 0 ? failed(r->c, &err) : 0;
}

static int settle(struct run *r)
{
	r->settled = r->options->at_once;
	if (r->ncandidates == 0 || r->options->at_once)
		return 0;
	if (pl_messages_terminal())
		pl_say("%s: %d records differ; waiting for events in transit", r->c->resource->name,
		       r->ncandidates);
	r->settled = pl_settle(r->invocation, r->c->sessions, r->options->wait_us, &r->c->why) == 0;
	return 0;
}

int pl_comparison_run(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                      const struct pl_resource *resource, const struct pl_comparison_options *options,
                      struct pl_comparison *comparison_r)
{
	struct pl_comparison *c = comparison_r;
	struct run r = { .invocation = invocation, .c = c, .options = options };
	struct pl_error err = { 0 };
	int64_t began_us = pl_mono_us();
	int rc = 0;
	*c = (struct pl_comparison){ .resource = resource, .sessions = sessions, .limit = options->limit };
	c->arena = pl_arena_new(64 * 1024);
	c->scan = (struct pl_scan){ .resource = resource,
		                    .n = sessions->n,
		                    .first = options->range->first,
		                    .last = options->range->last,
		                    .progress = show_progress,
		                    .arg = &r };
	for (int i = 0; i < sessions->n; i++)
		c->scan.sessions[i] = sessions->each[i].session;
	r.first = pl_arena_new(64 * 1024);
	if (pl_scan_begin(&c->scan, &err) < 0)
		rc = failed(c, &err);
	if (!rc)
		rc = look_first(&r);
	if (!rc)
		rc = settle(&r);
	if (!rc)
		rc = look_again(&r);
	free(r.candidates);
	pl_arena_free(&r.first);
	c->seconds = (double)(pl_mono_us() - began_us) / 1e6;
	return rc;
}

void pl_comparison_fini(struct pl_comparison *comparison)
{
	pl_scan_fini(&comparison->scan);
	free(comparison->found);
	pl_arena_free(&comparison->arena);
}

// ---- single records

struct looking {
	struct pl_comparison *c;
	void (*each)(void *arg, const struct pl_found *found);
	void *arg;
};

static void look_at_one(void *arg, int64_t id, const struct pl_scan_copy *copies)
{
	const struct looking *looking = arg;
	struct pl_scan_copy own[PL_REGIONS_MAX];
	struct pl_classified is;
	struct pl_found found;
	int n = looking->c->scan.n;
	classify(looking->c, copies, &is);
	if (is.difference == PL_DIFFERENCE_NONE)
		return;
	begin_found(&found, id, copies, n, &is);
	memcpy(own, copies, sizeof(own[0]) * (size_t)n);
	found.copies = own;
	looking->each(looking->arg, &found);
}

int pl_comparison_look(struct pl_comparison *comparison, const int64_t *ids, int n,
                       void (*each)(void *arg, const struct pl_found *found), void *arg)
{
	struct looking looking = { comparison, each, arg };
	struct pl_error err = { 0 };
	return pl_scan_look(&comparison->scan, ids, n, look_at_one, &looking, &err) < 0
	               ? failed(comparison, &err)
	               : 0;
}

// ---- what is compared

int pl_comparison_open(struct pl_invocation *invocation, struct pl_region_sessions *sessions)
{
	bool up = true;
	sessions->n = 0;
	if (invocation->nregions < 2) {
		pl_fail("there is nothing to compare with: name at least two regions");
		return PL_EXIT_USAGE;
	}
	for (int i = 0; i < invocation->nregions; i++)
		if (!invocation->regions[i]->database) {
			pl_fail("%s: the configuration has no database for it: set "
			        "regions.%s.database, or name the "
			        "other regions with --region",
			        invocation->regions[i]->name, invocation->regions[i]->name);
			up = false;
		}
	if (!up)
		return PL_EXIT_UNREACHABLE;
	pl_region_sessions_open(invocation, sessions, 0);
	for (int i = 0; i < sessions->n; i++)
		up &= sessions->each[i].up;
	return up ? 0 : PL_EXIT_UNREACHABLE;
}

int pl_comparison_resources(struct pl_invocation *invocation, const struct pl_resource ***resources_r,
                            int *n_r)
{
	const struct pl_config *config = invocation->config;
	int n = invocation->nargs ? invocation->nargs : config->nresources;
	*resources_r = pl_arena_array(invocation->arena, (size_t)n, sizeof(**resources_r));
	*n_r = n;
	for (int i = 0; i < n; i++) {
		(*resources_r)[i] = invocation->nargs ? pl_config_resource(config, invocation->args[i])
		                                      : &config->resources[i];
		if (!(*resources_r)[i])
			return pl_invocation_unknown_resource(invocation, invocation->args[i]);
	}
	return 0;
}
