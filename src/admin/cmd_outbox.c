// plist-admin outbox list|retry: events that Kafka refused and that wait in the outbox.
#include "admin/commands.h"

#include <inttypes.h>
#include <stdlib.h>

#include "admin/cell.h"
#include "admin/messages.h"
#include "admin/numbered.h"
#include "admin/pages.h"

enum { REGION, ID, RESOURCE, RECORD, WRITTEN, REFUSALS, RETRY, REASON, REQUEST };

// clang-format off
static const struct pl_table_column columns[] = {
	[REGION] = { "region", PL_CELL_TEXT },
	[ID] = { "id", PL_CELL_NUMBER },
	[RESOURCE] = { "resource", PL_CELL_TEXT },
	[RECORD] = { "record_id", PL_CELL_NUMBER },
	[WRITTEN] = { "written_at", PL_CELL_TEXT },
	[REFUSALS] = { "refusals", PL_CELL_NUMBER },
	[RETRY] = { "retry_at", PL_CELL_TEXT },
	[REASON] = { "reason", PL_CELL_TEXT, PL_COLUMN_CUT },
	[REQUEST] = { "request_id", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	{ NULL },
};
// clang-format on

#define SELECT                                                                             \
	"SELECT id, resource, record_id, " PL_EPOCH("created_at") ", refusals, " PL_EPOCH( \
		"retry_at") ", refused_because, request_id"                                \
			    " FROM plist.outbox"

static void add_rows(struct pl_table *table, const struct pl_region_session *region_session,
                     const PGresult *result)
{
	for (int i = 0; result && i < PQntuples(result); i++) {
		pl_table_row(table);
		pl_table_text(table, REGION, region_session->region->name);
		pl_table_number(table, ID, pl_cell_int(result, i, 0, 0));
		pl_table_text(table, RESOURCE, pl_cell(result, i, 1));
		pl_table_number(table, RECORD, pl_cell_int(result, i, 2, 0));
		pl_table_time(table, WRITTEN, pl_cell_time(result, i, 3));
		pl_table_number(table, REFUSALS, pl_cell_int(result, i, 4, 0));
		pl_table_time(table, RETRY, pl_cell_time(result, i, 5));
		pl_table_text(table, REASON, pl_cell(result, i, 6));
		pl_table_text(table, REQUEST, pl_cell(result, i, 7));
	}
}

static const struct pl_numbered refused = {
	.table = "refused_events",
	.columns = columns,
	.add_rows = add_rows,
	.none = "all events can be published",
};

static int list(struct pl_invocation *invocation)
{
	return pl_numbered_list(
		invocation, &refused,
		"SELECT id, coalesce(octet_length(refused_because), 0) FROM plist.outbox WHERE "
		"refused_at IS NOT NULL ORDER BY id LIMIT $1",
		SELECT PL_PAGES_IN_ORDER);
}

// Retries the event with this number now, or all of the region (id 0).
static int retry_in(struct pl_invocation *invocation, struct pl_region_session *region_session, int64_t id,
                    const void *arg)
{
	char text[24];
	const char *params[] = { pl_numbered_text(text, id) }, *region = region_session->region->name;
	PGresult *result = pl_region_sessions_query(
		region_session,
		"UPDATE plist.outbox SET retry_at = now() WHERE refused_at IS NOT NULL AND $1::bigint IN "
		"(0, id)",
		1, params);
	int n = result ? atoi(PQcmdTuples(result)) : -1;
	PQclear(result);
	if (n > 0 && id)
		pl_say("%s/%" PRId64 " is being retried", region, id);
	else if (n == 0 && id)
		pl_fail("%s has no refused event %" PRId64, region, id);
	else if (n >= 0)
		pl_say("%s: %d refused events are being retried", region, n);
	return n < 0 || (n == 0 && id) ? PL_EXIT_NO : PL_EXIT_YES;
}

static int retry(struct pl_invocation *invocation)
{
	struct pl_numbered_names names;
	int rc = pl_numbered_names_or_all(invocation, "events", &names);

	return rc ? rc : pl_numbered_each(invocation, &names, retry_in, NULL);
}

static const struct pl_option outbox_list_options[] = {
	{ "limit", 'n', PL_OPTION_COUNT, "N", "maximum number per region (default: 50)", .min = 1 },
	{ NULL },
};

const struct pl_command pl_cmd_outbox_list = {
	.noun = "outbox",
	.verb = "list",
	.summary = "list events that cannot be published",
	.help = "Lists the events that Kafka refuses, or that cannot be encoded, with the reason. They stay "
		"in the outbox, and the events behind them are published. Each is retried automatically: "
		"first after "
		"a minute, then less and less often, down to once an hour; and immediately after a reload, "
		"or when "
		"max.message.bytes of its topic was raised.",
	.options = outbox_list_options,
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = list,
};

static const struct pl_option outbox_retry_options[] = {
	{ "all", 'a', PL_OPTION_SWITCH, NULL, "retry all refused events" },
	{ NULL },
};

const struct pl_command pl_cmd_outbox_retry = {
	.noun = "outbox",
	.verb = "retry",
	.arguments = "[ID …]",
	.min_args = 0,
	.max_args = -1,
	.summary = "retry refused events now",
	.help = "Makes the daemon of the region retry the named events, or all refused events, within a "
		"second or two. ID is REGION/NUMBER, or a number with --region.",
	.options = outbox_retry_options,
	.regions = true,
	.waits = true,
	.run = retry,
};
