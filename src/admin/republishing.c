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

int pl_republishing_run(struct pl_invocation *invocation, struct pl_region_session *from,
                        const struct pl_resource *resource, const struct pl_republish_selection *selection,
                        int64_t rate)
{
	struct pl_republish r = { .resource = resource,
		                  .region = from->region,
		                  .session = from->session,
		                  .selection = *selection };
	struct pl_progress progress;
	struct pl_error err = { 0 };
	char count[PL_COUNT_MAX];
	bool done = false;
	int64_t began_us = pl_mono_us(), began_records;
	(void)invocation;
	if (pl_republish_begin(&r, &err) < 0)
		return failed(&r, &err);
	began_records = r.records;
	if (r.resumed)
		pl_say("%s: continuing after %s records that an interrupted run has republished",
		       r.region->name, pl_format_count(r.records, count));
	pl_progress_begin(&progress, r.region->name, r.total, r.records);
	while (!done) {
		if (pl_republish_step(&r, &done, &err) < 0)
			return failed(&r, &err);
		pl_progress_set(&progress, r.records);
		keep_rate(&r, rate, began_us, began_records);
	}
	if (pl_messages_terminal())
		pl_progress_end(&progress);
	say_end(&r);
	return 0;
}
