// plist-admin compare: which records differ between regions, and how.
#include "admin/commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "admin/compare_html.h"
#include "admin/compare_report.h"
#include "admin/messages.h"

#define WAIT_US INT64_C(30000000)
#define LIMIT   1000

static int write_page(struct pl_invocation *invocation, const struct pl_comparison *comparisons, int n)
{
	const char *name = pl_invocation_text(invocation, "html", NULL);
	struct pl_buf page = { 0 };
	if (!name)
		return 0;
	pl_compare_html_page(&page, invocation, comparisons, n);
	FILE *file = fopen(name, "w");
	bool written = file && fwrite(page.data, 1, page.len, file) == page.len;
	if (file && fclose(file) != 0)
		written = false;
	pl_buf_fini(&page);
	if (written)
		return 0;
	pl_fail("%s cannot be written: %s", name, strerror(errno));
	return PL_EXIT_USAGE;
}

static int exit_of(const struct pl_comparison *comparisons, int n)
{
	int64_t found = 0, unsettled = 0;
	for (int i = 0; i < n; i++) {
		found += comparisons[i].nfound;
		unsettled += comparisons[i].unsettled;
	}
	return found ? PL_EXIT_NO : unsettled ? PL_EXIT_UNREACHABLE : PL_EXIT_YES;
}

static int compare_all(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                       const struct pl_resource **resources, int n)
{
	struct pl_id_range range;
	struct pl_comparison *comparisons =
		pl_arena_array(invocation->arena, (size_t)n, sizeof(comparisons[0]));
	int done = 0, rc = pl_id_range_take(invocation, &range);
	const struct pl_comparison_options options = {
		.range = &range,
		.wait_us = pl_invocation_us(invocation, "wait", WAIT_US),
		.at_once = pl_invocation_has(invocation, "at-once"),
		.limit = (int)pl_invocation_number(invocation, "limit", LIMIT),
	};
	while (!rc && done < n) {
		rc = pl_comparison_run(invocation, sessions, resources[done], &options, &comparisons[done]);
		done++;
	}
	if (!rc) {
		pl_compare_report_print(invocation, comparisons, n);
		pl_compare_report_say_shown(comparisons, n);
		pl_compare_report_say(comparisons, n);
		rc = write_page(invocation, comparisons, n);
	}
	if (!rc)
		rc = exit_of(comparisons, n);
	for (int i = 0; i < done; i++)
		pl_comparison_fini(&comparisons[i]);
	return rc;
}

static int compare(struct pl_invocation *invocation)
{
	struct pl_region_sessions sessions = { 0 };
	const struct pl_resource **resources;
	int n, rc = pl_invocation_regions(invocation);
	if (!rc)
		rc = pl_comparison_resources(invocation, &resources, &n);
	if (!rc)
		rc = pl_comparison_open(invocation, &sessions);
	if (!rc)
		rc = compare_all(invocation, &sessions, resources, n);
	pl_region_sessions_close(&sessions);
	return rc;
}

static const struct pl_option compare_options[] = {
	{ "range", 0, PL_OPTION_TEXT, "A..B", "only ids from A to B; either may be omitted" },
	{ "ids", 0, PL_OPTION_TEXT, "ID,…", "only these ids" },
	{ "limit", 'n', PL_OPTION_COUNT, "N",
	  "show at most this many differences of a resource (default: 1000)", .min = 1, .max = 1000000 },
	{ "wait", 0, PL_OPTION_DURATION, "DURATION",
	  "how long to wait for events in transit (default: 30s)" },
	{ "at-once", 0, PL_OPTION_SWITCH, NULL,
	  "do not wait: also report differences that events in transit will remove" },
	{ "html", 0, PL_OPTION_FILE, "FILE", "write an HTML report to FILE" },
	{ NULL },
};

const struct pl_command pl_cmd_compare = {
	.noun = "compare",
	.arguments = "[RESOURCE …]",
	.min_args = 0,
	.max_args = -1,
	.summary = "find records that differ between regions",
	.help = "Compares the records of each resource in all regions, tombstones and siblings "
		"included, and shows those that differ side by side: missing "
		"(a region has no such record), behind (another copy has seen all its writes and more), "
		"concurrent (no copy has seen all writes), "
		"siblings-differ, and content-differs (equal vectors, unequal rows: something other "
		"than plist changed one). A difference is reported only if it is still there after "
		"every region has applied the events that had been committed when it was "
		"first seen. The exit status is 0 if all regions are equal, 1 if "
		"records differ, and 3 "
		"if a region or Kafka could not be reached.",
	.options = compare_options,
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = compare,
};
