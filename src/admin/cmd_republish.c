// plist-admin republish: puts a region's copies of some records into its outbox again.
#include "admin/commands.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "admin/differing.h"
#include "admin/format.h"
#include "admin/id_range.h"
#include "admin/messages.h"
#include "admin/progress.h"
#include "admin/republishing.h"
#include "base/clock.h"

static int count_ways(const struct pl_invocation *invocation)
{
	return pl_invocation_has(invocation, "ids") + pl_invocation_has(invocation, "range") +
	       pl_invocation_has(invocation, "since") + pl_invocation_has(invocation, "differing") +
	       pl_invocation_has(invocation, "all");
}

// What the options select, and the name under which an interrupted run is resumed.
static int select_records(struct pl_invocation *invocation, const struct pl_resource *resource,
                          struct pl_republish_selection *selection)
{
	struct pl_id_range range;
	char at[PL_TIME_TEXT_MAX];
	int rc = pl_id_range_take(invocation, &range);
	if (rc)
		return rc;
	if (count_ways(invocation) != 1) {
		pl_fail("say which records: --ids, --range, --since, --differing or --all");
		return PL_EXIT_USAGE;
	}
	*selection = (struct pl_republish_selection){
		.ids = range.ids, .nids = range.nids, .first = range.first, .last = range.last, .name = "all"
	};
	if (pl_invocation_has(invocation, "differing"))
		rc = pl_differing_read(invocation, pl_invocation_text(invocation, "differing", ""), resource,
		                       &selection->ids, &selection->nids);
	if (pl_invocation_has(invocation, "since")) {
		selection->since =
			pl_arena_strdup(invocation->arena,
		                        pl_clock_format_time(pl_invocation_us(invocation, "since", 0), at));
		selection->name = pl_arena_printf(invocation->arena, "since %s", selection->since);
	}
	if (pl_invocation_has(invocation, "range"))
		selection->name = pl_arena_printf(invocation->arena, "range %" PRId64 "..%" PRId64,
		                                  range.first, range.last);
	if (selection->ids)
		selection->name = pl_republishing_name_ids(invocation, selection->ids, selection->nids);
	return rc;
}

static int republish(struct pl_invocation *invocation)
{
	struct pl_region_sessions sessions = { 0 };
	struct pl_republish_selection selection;
	const char *from = pl_invocation_text(invocation, "from", NULL);
	int rc = pl_invocation_config(invocation);
	if (rc)
		return rc;
	const struct pl_resource *resource = pl_config_resource(invocation->config, invocation->args[0]);
	if (!resource)
		return pl_invocation_unknown_resource(invocation, invocation->args[0]);
	if (!from) {
		pl_fail("--from is required: the region whose records are republished");
		return PL_EXIT_USAGE;
	}
	const struct pl_region *region = pl_config_region(invocation->config, from, strlen(from));
	if (!region) {
		pl_fail("--from %s: there is no region of that name", from);
		return PL_EXIT_USAGE;
	}
	rc = select_records(invocation, resource, &selection);
	if (!rc)
		rc = pl_invocation_regions(invocation);
	if (rc)
		return rc;
	pl_invocation_only(invocation, region);
	pl_region_sessions_open(invocation, &sessions, 0);
	rc = sessions.each[0].up ? pl_republishing_run(invocation, &sessions.each[0], resource, &selection,
	                                               pl_invocation_number(invocation, "rate", 0))
	                         : PL_EXIT_UNREACHABLE;
	pl_region_sessions_close(&sessions);
	return rc;
}

static const struct pl_option republish_options[] = {
	{ "from", 0, PL_OPTION_REGION, "REGION", "the region whose records are republished (required)" },
	{ "ids", 0, PL_OPTION_TEXT, "ID,…", "these records" },
	{ "range", 0, PL_OPTION_TEXT, "A..B", "records with ids from A to B; either may be omitted" },
	{ "since", 0, PL_OPTION_TIME, "TIME", "records written since then" },
	{ "differing", 0, PL_OPTION_FILE, "FILE", "records that 'compare -o json' wrote to FILE" },
	{ "all", 'a', PL_OPTION_SWITCH, NULL, "all records" },
	{ "rate", 0, PL_OPTION_COUNT, "N", "at most N records a second (default: no limit)", .min = 1 },
	{ NULL },
};

const struct pl_command pl_cmd_republish = {
	.noun = "republish",
	.arguments = "RESOURCE",
	.min_args = 1,
	.max_args = 1,
	.summary = "republish a region's records, for regions that lack them",
	.help = "Puts records of a region into its outbox again: rows, tombstones, siblings, and the "
		"requests that are still remembered. This is harmless however often it is done, "
		"since a region ignores what it knows already. A region that has lost its "
		"own writes gets them back. To continue after an interruption, run "
		"the same command again.",
	.options = republish_options,
	.waits = true,
	.run = republish,
};
