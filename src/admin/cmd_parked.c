// plist-admin parked list|show|retry|drop: valid events that a region's database
// refuses.
#include "admin/commands.h"

#include <inttypes.h>

#include "admin/cell.h"
#include "admin/messages.h"
#include "admin/numbered.h"
#include "admin/pages.h"

enum {
	REGION,
	ID,
	RESOURCE,
	RECORD,
	ORIGIN,
	COUNTER,
	TRIES,
	RETRY,
	REASON,
	PARKED,
	TRIED,
	CONSTRAINT,
	COLUMN,
	SQLSTATE,
	TOPIC,
	PARTITION,
	OFFSET,
	KEY,
	VALUE,
	HEADERS
};

// clang-format off
static const struct pl_table_column columns[] = {
	[REGION] = { "region", PL_CELL_TEXT },
	[ID] = { "id", PL_CELL_NUMBER },
	[RESOURCE] = { "resource", PL_CELL_TEXT },
	[RECORD] = { "record", PL_CELL_NUMBER },
	[ORIGIN] = { "origin", PL_CELL_TEXT },
	[COUNTER] = { "counter", PL_CELL_NUMBER },
	[TRIES] = { "tries", PL_CELL_NUMBER },
	[RETRY] = { "retry_at", PL_CELL_TEXT },
	[REASON] = { "reason", PL_CELL_TEXT, PL_COLUMN_CUT },
	[PARKED] = { "parked_at", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[TRIED] = { "tried_at", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[CONSTRAINT] = { "constraint", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[COLUMN] = { "column", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[SQLSTATE] = { "sqlstate", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[TOPIC] = { "topic", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[PARTITION] = { "partition", PL_CELL_NUMBER, PL_COLUMN_DETAIL },
	[OFFSET] = { "offset", PL_CELL_NUMBER, PL_COLUMN_DETAIL },
	[KEY] = { "key", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[VALUE] = { "value", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[HEADERS] = { "headers", PL_CELL_JSON, PL_COLUMN_DETAIL },
	{ NULL },
};
// clang-format on

// A parked event was readable, so its key and value are UTF-8.
// clang-format off
#define SELECT \
	"SELECT id, resource, record_id, origin, counter, tries, " \
	PL_EPOCH("retry_at") ", reason, " PL_EPOCH("parked_at") ", " PL_EPOCH("tried_at") \
	", constraint_name, column_name, sqlstate, topic, partition, kafka_offset, " \
	"convert_from(key, 'UTF8'), convert_from(value, 'UTF8'), headers " \
	"FROM plist.parked_events"
// clang-format on

static void add_rows(struct pl_table *table, const struct pl_region_session *region_session,
                     const PGresult *result)
{
	for (int i = 0; result && i < PQntuples(result); i++) {
		pl_table_row(table);
		pl_table_text(table, REGION, region_session->region->name);
		pl_table_number(table, ID, pl_cell_int(result, i, 0, 0));
		pl_table_text(table, RESOURCE, pl_cell(result, i, 1));
		pl_table_number(table, RECORD, pl_cell_int(result, i, 2, 0));
		pl_table_text(table, ORIGIN, pl_cell(result, i, 3));
		pl_table_number(table, COUNTER, pl_cell_int(result, i, 4, 0));
		pl_table_number(table, TRIES, pl_cell_int(result, i, 5, 0));
		pl_table_time(table, RETRY, pl_cell_time(result, i, 6));
		pl_table_text(table, REASON, pl_cell(result, i, 7));
		pl_table_time(table, PARKED, pl_cell_time(result, i, 8));
		pl_table_time(table, TRIED, pl_cell_time(result, i, 9));
		pl_table_text(table, CONSTRAINT, pl_cell(result, i, 10));
		pl_table_text(table, COLUMN, pl_cell(result, i, 11));
		pl_table_text(table, SQLSTATE, pl_cell(result, i, 12));
		pl_table_text(table, TOPIC, pl_cell(result, i, 13));
		pl_table_number(table, PARTITION, pl_cell_int(result, i, 14, 0));
		pl_table_number(table, OFFSET, pl_cell_int(result, i, 15, 0));
		pl_table_text(table, KEY, pl_cell(result, i, 16));
		pl_table_text(table, VALUE, pl_cell(result, i, 17));
		pl_table_json(table, HEADERS, pl_cell(result, i, 18));
	}
}

static const struct pl_numbered parked = {
	.table = "parked",
	.columns = columns,
	.add_rows = add_rows,
	.none = "no parked events",
	.missing = "there is no such parked event",
	.show = "parked show",
};

static int list(struct pl_invocation *invocation)
{
	return pl_numbered_list(invocation, &parked,
	                        "SELECT id, coalesce(octet_length(value), 0) + coalesce(octet_length("
	                        "headers::text), 0) FROM plist.parked_events ORDER BY id LIMIT $1",
	                        SELECT PL_PAGES_IN_ORDER);
}

static int show(struct pl_invocation *invocation)
{
	return pl_numbered_show(invocation, &parked, SELECT " WHERE id = $1");
}

// ---- retry

// A retry gives an event that is refused again a later retry_at.
static int retry(struct pl_invocation *invocation)
{
	static const struct pl_numbered_retry parked_retry = {
		.one = "parked event",
		.many = "parked events",
		.make_due = "UPDATE plist.parked_events SET retry_at = now() WHERE $1::bigint IN (0, id)",
		.look = "SELECT count(*) FILTER (WHERE retry_at <= $2::timestamptz), count(*) FROM "
			"plist.parked_events WHERE $1::bigint IN (0, id) AND parked_at <= $2::timestamptz",
		.again = "still refused",
		.list = "parked list",
	};

	return pl_numbered_retry(invocation, &parked_retry);
}

// ---- drop

static int drop_one(struct pl_invocation *invocation, struct pl_region_session *region_session, int64_t id,
                    const void *arg)
{
	char text[24];
	const char *params[] = { pl_numbered_text(text, id) };
	PGresult *result = pl_region_sessions_query(
		region_session,
		"DELETE FROM plist.parked_events WHERE id = $1 RETURNING resource || '/' || record_id", 1,
		params);
	if (!result)
		return PL_EXIT_NO;
	bool dropped = PQntuples(result) > 0;
	if (dropped)
		pl_say("%s/%" PRId64 " is deleted; record %s of %s lacks this write until the record is "
		       "written again",
		       region_session->region->name, id, pl_cell(result, 0, 0), region_session->region->name);
	else
		pl_fail("%s has no parked event %" PRId64, region_session->region->name, id);
	PQclear(result);
	return dropped ? PL_EXIT_YES : PL_EXIT_NO;
}

static int drop(struct pl_invocation *invocation)
{
	struct pl_numbered_names names;
	int rc = pl_numbered_names(invocation, &names);

	if (rc)
		return rc;
	if (!pl_invocation_has(invocation, "yes") &&
	    !pl_confirm(names.n == 1 ? "Delete this event? Its region will then differ from the others."
	                             : "Delete these events? Their regions will then differ from the "
	                               "others."))
		return PL_EXIT_NO;
	return pl_numbered_each(invocation, &names, drop_one, NULL);
}

static const struct pl_option parked_list_options[] = {
	{ "limit", 'n', PL_OPTION_COUNT, "N", "maximum number per region (default: 50)", .min = 1 },
	{ NULL },
};

const struct pl_command pl_cmd_parked_list = {
	.noun = "parked",
	.verb = "list",
	.summary = "list events that the database of a region refused",
	.help = "Lists the events that the database of a region refused, or whose row is locked by another "
		"session, oldest first, with the reason. Each is retried automatically, and is removed when "
		"it has "
		"been applied or when a later write of its record includes it.",
	.options = parked_list_options,
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = list,
};

const struct pl_command pl_cmd_parked_show = {
	.noun = "parked",
	.verb = "show",
	.arguments = "ID",
	.min_args = 1,
	.max_args = 1,
	.summary = "show all details of one",
	.help = "Shows one parked event in full: where it came from, what refused it, and its key, value and "
		"headers. ID is the number from the list, or REGION/NUMBER.",
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = show,
};

static const struct pl_option parked_retry_options[] = {
	{ "all", 'a', PL_OPTION_SWITCH, NULL, "retry all parked events" },
	{ NULL },
};

const struct pl_command pl_cmd_parked_retry = {
	.noun = "parked",
	.verb = "retry",
	.arguments = "[ID …]",
	.max_args = -1,
	.summary = "retry parked events now",
	.help = "Makes the daemon of the region retry parked events now, and reports the outcome. Each "
		"region numbers its own, so ID is REGION/NUMBER, or a number with --region.\n\nExit status "
		"0: all "
		"were applied; 1: some are still refused, or no daemon retried any within --timeout.",
	.options = parked_retry_options,
	.regions = true,
	.waits = true,
	.run = retry,
};

static const struct pl_option parked_drop_options[] = {
	{ "yes", 'y', PL_OPTION_SWITCH, NULL, "do not ask for confirmation" },
	{ NULL },
};

const struct pl_command pl_cmd_parked_drop = {
	.noun = "parked",
	.verb = "drop",
	.arguments = "ID …",
	.min_args = 1,
	.max_args = -1,
	.summary = "delete parked events",
	.help = "Deletes parked events. They will never be applied in their region, which differs from the "
		"others until the record is written again. ID is REGION/NUMBER, or a number with --region. "
		"Asks for "
		"confirmation unless --yes is given; without a terminal, --yes is required.",
	.options = parked_drop_options,
	.regions = true,
	.waits = true,
	.run = drop,
};
