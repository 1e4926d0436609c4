// plist-admin dead-letters list|show|retry|drop: messages that could not be read as
// events, stored unchanged.
#include "admin/commands.h"

#include <inttypes.h>
#include <stdlib.h>

#include "admin/cell.h"
#include "admin/messages.h"
#include "admin/numbered.h"
#include "admin/pages.h"
#include "base/buf.h"
#include "base/hex.h"

enum { REGION, ID, RECEIVED, TOPIC, PARTITION, OFFSET, KEY, ERROR, VALUE, HEADERS, KEY64, VALUE64 };

// clang-format off
static const struct pl_table_column columns[] = {
	[REGION] = { "region", PL_CELL_TEXT },
	[ID] = { "id", PL_CELL_NUMBER },
	[RECEIVED] = { "received_at", PL_CELL_TEXT },
	[TOPIC] = { "topic", PL_CELL_TEXT },
	[PARTITION] = { "partition", PL_CELL_NUMBER },
	[OFFSET] = { "offset", PL_CELL_NUMBER },
	[KEY] = { "key", PL_CELL_TEXT, PL_COLUMN_CUT },
	[ERROR] = { "error", PL_CELL_TEXT, PL_COLUMN_CUT },
	[VALUE] = { "value", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[HEADERS] = { "headers", PL_CELL_JSON, PL_COLUMN_DETAIL },
	[KEY64] = { "key_base64", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[VALUE64] = { "value_base64", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	{ NULL },
};
// clang-format on

#define SELECT                                                                          \
	"SELECT id, " PL_EPOCH(                                                         \
		"received_at") ", topic, partition, kafka_offset, encode(key, 'hex'), " \
			       "error, encode(value, 'hex'), headers,"                  \
			       " translate(encode(key, 'base64'), E'\\n', ''),"         \
			       " translate(encode(value, 'base64'), E'\\n', '') FROM plist.dead_letters"

// A message's bytes as text for people. Invalid UTF-8 becomes U+FFFD; NULL stays NULL.
static void set_bytes(struct pl_table *table, int column, const char *hex)
{
	struct pl_buf bytes = { 0 };
	pl_buf_adds(&bytes, "");
	for (; hex && hex[0] && hex[1]; hex += 2) {
		char c = (char)pl_hex_byte(hex);
		pl_buf_addc(&bytes, c ? c : '\xff');
	}
	pl_table_text(table, column, hex ? bytes.data : NULL);
	pl_buf_fini(&bytes);
}

static void add_rows(struct pl_table *table, const struct pl_region_session *region_session,
                     const PGresult *result)
{
	for (int i = 0; result && i < PQntuples(result); i++) {
		pl_table_row(table);
		pl_table_text(table, REGION, region_session->region->name);
		pl_table_number(table, ID, pl_cell_int(result, i, 0, 0));
		pl_table_time(table, RECEIVED, pl_cell_time(result, i, 1));
		pl_table_text(table, TOPIC, pl_cell(result, i, 2));
		pl_table_number(table, PARTITION, pl_cell_int(result, i, 3, 0));
		pl_table_number(table, OFFSET, pl_cell_int(result, i, 4, 0));
		set_bytes(table, KEY, pl_cell(result, i, 5));
		pl_table_text(table, ERROR, pl_cell(result, i, 6));
		set_bytes(table, VALUE, pl_cell(result, i, 7));
		pl_table_json(table, HEADERS, pl_cell(result, i, 8));
		pl_table_text(table, KEY64, pl_cell(result, i, 9));
		pl_table_text(table, VALUE64, pl_cell(result, i, 10));
	}
}

static const struct pl_numbered dead_letters = {
	.table = "dead_letters",
	.columns = columns,
	.add_rows = add_rows,
	.none = "no dead letters",
	.missing = "there is no such dead letter",
	.show = "dead-letters show",
};

static int list(struct pl_invocation *invocation)
{
	return pl_numbered_list(
		invocation, &dead_letters,
		"SELECT id, coalesce(octet_length(key), 0) + coalesce(octet_length(value), 0) + "
		"coalesce(octet_length(headers::text), 0) FROM plist.dead_letters ORDER BY id "
		"DESC LIMIT $1",
		SELECT PL_PAGES_IN_ORDER);
}

static int show(struct pl_invocation *invocation)
{
	return pl_numbered_show(invocation, &dead_letters, SELECT " WHERE id = $1");
}

// A retry of one that still cannot be read clears retry_at. Those that came back this
// often are left out of --all.
#define TRIES_MAX "10"

static int retry(struct pl_invocation *invocation)
{
	static const struct pl_numbered_retry letters_retry = {
		.one = "dead letter",
		.many = "dead letters",
		.make_due = "UPDATE plist.dead_letters SET retry_at = now() WHERE id = $1::bigint OR "
			    "($1::bigint = 0 AND tries < " TRIES_MAX ")",
		.look = "SELECT count(*) FILTER (WHERE retry_at <= $2::timestamptz), count(*) FROM "
			"plist.dead_letters WHERE (id = $1::bigint OR ($1::bigint = 0 AND tries <= " TRIES_MAX
			")) AND received_at <= $2::timestamptz",
		.again = "still not applicable",
		.list = "dead-letters list",
	};

	return pl_numbered_retry(invocation, &letters_retry);
}

static int drop_one(struct pl_invocation *invocation, struct pl_region_session *region_session, int64_t id,
                    const void *arg)
{
	char text[24];
	const char *params[] = { pl_numbered_text(text, id) };
	PGresult *result = pl_region_sessions_query(
		region_session, "DELETE FROM plist.dead_letters WHERE id = $1", 1, params);
	if (!result)
		return PL_EXIT_NO;
	int dropped = atoi(PQcmdTuples(result));
	PQclear(result);
	if (dropped)
		pl_say("%s/%" PRId64 " is dropped", region_session->region->name, id);
	else
		pl_fail("%s has no dead letter %" PRId64, region_session->region->name, id);
	return dropped ? PL_EXIT_YES : PL_EXIT_NO;
}

static int drop(struct pl_invocation *invocation)
{
	struct pl_numbered_names names;
	int rc = pl_numbered_names(invocation, &names);

	if (rc)
		return rc;
	if (!pl_invocation_has(invocation, "yes") &&
	    !pl_confirm(names.n == 1 ? "Delete this dead letter permanently?"
	                             : "Delete these dead letters permanently?"))
		return PL_EXIT_NO;
	return pl_numbered_each(invocation, &names, drop_one, NULL);
}

static const struct pl_option dead_letters_list_options[] = {
	{ "limit", 'n', PL_OPTION_COUNT, "N", "maximum number per region (default: 50)", .max = 1000000,
	  .min = 1 },
	{ NULL },
};

const struct pl_command pl_cmd_dead_letters_list = {
	.noun = "dead-letters",
	.verb = "list",
	.summary = "list messages that could not be read as events",
	.help = "Lists the messages that could not be read as events, newest first. The applier skipped "
		"them; they are kept unchanged, with the reason.",
	.options = dead_letters_list_options,
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = list,
};

const struct pl_command pl_cmd_dead_letters_show = {
	.noun = "dead-letters",
	.verb = "show",
	.arguments = "ID",
	.min_args = 1,
	.max_args = 1,
	.summary = "show all details of one",
	.help = "Shows one dead letter in full: key, value, headers and the reason. ID is the number from "
		"the list, or REGION/NUMBER.",
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = show,
};

static const struct pl_option dead_letters_drop_options[] = {
	{ "yes", 'y', PL_OPTION_SWITCH, NULL, "do not ask for confirmation" },
	{ NULL },
};

static const struct pl_option dead_letters_retry_options[] = {
	{ "all", 'a', PL_OPTION_SWITCH, NULL, "retry all dead letters" },
	{ NULL },
};

const struct pl_command pl_cmd_dead_letters_retry = {
	.noun = "dead-letters",
	.verb = "retry",
	.arguments = "[ID …]",
	.max_args = -1,
	.summary = "read dead letters again",
	.help = "Makes the daemon of the region read dead letters again, for example after an upgrade or a "
		"change of the configuration, and reports the outcome. One that can be read is applied, or "
		"parked if the database refuses it. One that still cannot be read stays, with the new "
		"reason; after 10 retries --all leaves it out. ID is REGION/NUMBER, or a number "
		"with --region.\n\nExit status 0: all could be read; 1: some could not, or "
		"no daemon retried them within --timeout.",
	.options = dead_letters_retry_options,
	.regions = true,
	.waits = true,
	.run = retry,
};

const struct pl_command pl_cmd_dead_letters_drop = {
	.noun = "dead-letters",
	.verb = "drop",
	.arguments = "ID …",
	.min_args = 1,
	.max_args = -1,
	.summary = "delete dead letters",
	.help = "Deletes dead letters. Each region numbers its own, so ID is REGION/NUMBER, or a number with "
		"--region. Asks for confirmation unless --yes is given; without a terminal, --yes is "
		"required.",
	.options = dead_letters_drop_options,
	.regions = true,
	.waits = true,
	.run = drop,
};
