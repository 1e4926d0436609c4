// See republishing.h. Threads: the tool has one.
#include "admin/republishing.h"

#include <string.h>

#include "admin/format.h"
#include "admin/messages.h"
#include "admin/progress.h"
#include "base/clock.h"
#include "base/sha256.h"

const char *pl_republishing_name_ids(struct pl_invocation *invocation, const int64_t *ids, int n)
{
	uint8_t digest[PL_SHA256_SIZE];
	char hex[PL_SHA256_HEX];
	pl_sha256(ids, (size_t)n * sizeof(ids[0]), digest);
	return pl_arena_printf(invocation->arena, "ids %d %.16s", n, pl_sha256_hex(digest, hex));
}

#define LOCKED_US 100000 // between two looks at rows that other sessions have locked

static int failed(const struct pl_republish *r, const struct pl_error *err)
{
	pl_fail("%s: %s", r->region->name,
	        strcmp(err->sqlstate, "42P01") == 0 || strcmp(err->sqlstate, "42703") == 0
	                ? "the database lacks tables of this version; run 'plist-admin migrate'"
	                : err->text);
	return PL_EXIT_UNREACHABLE;
}

// Waits until the rate allows the next record.
static void keep_rate(const struct pl_republish *r, int64_t rate, int64_t began_us, int64_t began_records)
{
	int64_t due_us = rate ? (r->records - began_records) * 1000000 / rate : 0;
	int64_t ahead_us = began_us + due_us - pl_mono_us();
	if (ahead_us > 0)
		pl_session_pause(r->session, ahead_us);
}

static void say_end(const struct pl_republish *r)
{
	char records[PL_COUNT_MAX], requests[PL_COUNT_MAX], events[PL_COUNT_MAX];
	pl_say("%s: %s records of %s and %s requests are in the outbox again (%s events)", r->region->name,
	       pl_format_count(r->records, records), r->resource->name,
	       pl_format_count(r->requests, requests), pl_format_count(r->events, events));
}

// What other sessions hold is waited for as long as a write would wait for it. Returns
// whether to go on.
static bool wait_for_locked(const struct pl_invocation *invocation, const struct pl_republish *r,
                            int64_t *since_us)
{
	int64_t now_us = pl_mono_us(), patience_us = invocation->config->database.lock_timeout_us;
	char count[PL_COUNT_MAX];
	if (!r->waiting) {
		*since_us = 0;
		return true;
	}
	if (*since_us == 0)
		*since_us = now_us;
	if (now_us - *since_us < patience_us) {
		pl_session_pause(r->session, LOCKED_US);
		return true;
	}
	pl_fail("%s: other sessions have locked %s records of %s, %lld among them; these are missing in the "
	        "outbox, the others are there; run the command again to continue",
	        r->region->name, pl_format_count(r->nleft, count), r->resource->name, (long long)r->left[0]);
	return false;
}

// All steps, from the first one to the end.
static int run_steps(const struct pl_invocation *invocation, struct pl_republish *r, int64_t rate)
{
	struct pl_progress progress;
	struct pl_error err = { 0 };
	int64_t began_us = pl_mono_us(), began_records = r->records, locked_us = 0;
	bool done = false;
	pl_progress_begin(&progress, r->region->name, r->total, r->records);
	while (!done) {
		if (pl_republish_step(r, &done, &err) < 0)
			return failed(r, &err);
		if (!wait_for_locked(invocation, r, &locked_us))
			return PL_EXIT_NO;
		pl_progress_set(&progress, r->records);
		keep_rate(r, rate, began_us, began_records);
	}
	if (pl_messages_terminal())
		pl_progress_end(&progress);
	return 0;
}

int pl_republishing_run(struct pl_invocation *invocation, struct pl_region_session *from,
                        const struct pl_resource *resource, const struct pl_republish_selection *selection,
                        int64_t rate)
{
	struct pl_republish r = { .resource = resource,
		                  .region = from->region,
		                  .session = from->session,
		                  .selection = *selection };
	struct pl_error err = { 0 };
	char count[PL_COUNT_MAX];
	int rc;
	if (pl_republish_begin(&r, &err) < 0)
		return failed(&r, &err);
	if (r.resumed)
		pl_say("%s: continuing after %s records that an interrupted run has republished",
		       r.region->name, pl_format_count(r.records, count));
	rc = run_steps(invocation, &r, rate);
	pl_republish_fini(&r);
	if (rc == 0)
		say_end(&r);
	return rc;
}
