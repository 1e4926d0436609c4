// Re-resolving: see reresolve.h.
#include "apply/reresolve.h"

#include <stdio.h>

#include "base/log.h"

#define STEP 200

void pl_reresolve_begin(struct pl_reresolve *r, bool pending)
{
	*r = (struct pl_reresolve){ .pending = pending };
}

static int count(struct pl_reresolve *r, int n, const struct pl_apply_tools *tools, struct pl_error *err)
{
	int64_t total = 0;
	int code = n > 0 ? pl_apply_rows_count_flagged(tools->session, &total, err) : 0;

	if (code == 0)
		r->total = (uint64_t)total;
	return code;
}

static void log_progress(const struct pl_reresolve *r, int n)
{
	uint64_t every = 50 * STEP, before = r->seen - (uint64_t)n;

	if (r->seen > 0 && (!r->pending || r->seen / every > before / every))
		pl_notice("re-resolved %llu records with concurrent writes; %llu of them changed%s",
		          (unsigned long long)r->seen, (unsigned long long)r->changed,
		          r->pending ? "; there are more" : "");
}

int pl_reresolve_step(struct pl_reresolve *r, struct pl_apply_batch *batch,
                      const struct pl_apply_tools *tools, struct pl_arena *arena, struct pl_error *err)
{
	struct pl_flagged *found;
	int n, changed = 0, code;

	pl_arena_reset(arena);
	n = pl_apply_rows_flagged(tools->session, arena, &(struct pl_flagged){ r->resource, r->id }, STEP,
	                          &found, err);
	if ((code = n) < 0 || (r->seen == 0 && (code = count(r, n, tools, err)) < 0) ||
	    (n > 0 && (code = pl_apply_batch_reresolve(batch, tools, found, n, &changed, err)) < 0))
		return code;
	r->seen += (uint64_t)n;
	r->changed += (uint64_t)changed;
	if (n > 0) {
		snprintf(r->resource, sizeof(r->resource), "%s", found[n - 1].resource);
		r->id = found[n - 1].id;
	}
	if (n == 0) { // a step takes fewer records if they are large
		r->pending = false;
		r->total = r->seen; // siblings were added and removed meanwhile
	}
	log_progress(r, n);
	return 0;
}
