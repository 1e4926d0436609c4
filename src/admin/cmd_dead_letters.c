// plist-admin dead-letters list|show|drop: messages that could not be read as events, kept whole.
#include "admin/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/reach.h"
#include "admin/table.h"
#include "admin/talk.h"
#include "base/buf.h"

enum { REGION, ID, RECEIVED, TOPIC, PARTITION, OFFSET, KEY, ERROR, VALUE, HEADERS, KEY64, VALUE64 };

static const struct pl_column columns[] = {
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

#define SELECT                                                                                                          \
	"SELECT id, " PL_EPOCH("received_at") ", topic, partition, \"offset\", encode(key, 'hex'), error, encode(value, 'hex'), headers," \
	" translate(encode(key, 'base64'), E'\\n', ''), translate(encode(value, 'base64'), E'\\n', '') FROM dead_letters"

static int hex_digit(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

// Bytes of a message as text for people; what is no UTF-8 shows as U+FFFD. NULL stays NULL.
static void set_bytes(struct pl_table *table, int column, const char *hex)
{
	struct pl_buf bytes = { 0 };
	pl_buf_adds(&bytes, "");
	for (; hex && hex[0] && hex[1]; hex += 2) {
		char c = (char)(hex_digit(hex[0]) << 4 | hex_digit(hex[1]));
		pl_buf_addc(&bytes, c ? c : '\xff');
	}
	pl_table_text(table, column, hex ? bytes.data : NULL);
	pl_buf_fini(&bytes);
}

static void add_rows(struct pl_table *table, const struct pl_reach *reach, const PGresult *result)
{
	for (int i = 0; result && i < PQntuples(result); i++) {
		pl_table_row(table);
		pl_table_text(table, REGION, reach->region->name);
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

static int list(struct pl_call *call)
{
	struct pl_reaches reaches;
	char limit[24];
	const char *params[] = { limit };
	int rc = pl_call_regions(call);
	if (rc)
		return rc;
	snprintf(limit, sizeof limit, "%" PRId64, pl_call_number(call, "limit", 50));
	struct pl_table *table = pl_table_new("dead_letters", columns);
	pl_reaches_open(call, &reaches, pl_call_timeout_us(call));
	for (int i = 0; i < reaches.n; i++) {
		PGresult *result = pl_reach_query(&reaches.each[i], SELECT " ORDER BY id DESC LIMIT $1", 1, params);
		add_rows(table, &reaches.each[i], result);
		PQclear(result);
	}
	rc = pl_reaches_exit(&reaches, PL_EXIT_YES);
	pl_table_print(call, table, rc == PL_EXIT_YES ? "no dead letters" : NULL);
	pl_table_free(&table);
	pl_reaches_close(&reaches);
	return rc;
}

// The letters of one number in the regions of the call.
static struct pl_table *find(struct pl_call *call, struct pl_reaches *reaches, int64_t id)
{
	char text[24];
	const char *params[] = { text };
	snprintf(text, sizeof text, "%" PRId64, id);
	struct pl_table *table = pl_table_new("dead_letters", columns);
	pl_reaches_open(call, reaches, pl_call_timeout_us(call));
	for (int i = 0; i < reaches->n; i++) {
		PGresult *result = pl_reach_query(&reaches->each[i], SELECT " WHERE id = $1", 1, params);
		add_rows(table, &reaches->each[i], result);
		PQclear(result);
	}
	return table;
}

static int show(struct pl_call *call)
{
	const struct pl_region *region;
	struct pl_reaches reaches;
	int64_t id;
	int rc = pl_call_regions(call);
	if (!rc)
		rc = pl_reach_id(call, call->args[0], &region, &id);
	if (rc)
		return rc;
	pl_call_only(call, region);
	struct pl_table *table = find(call, &reaches, id);
	rc = pl_reaches_exit(&reaches, pl_table_rows(table) ? PL_EXIT_YES : PL_EXIT_NO);
	pl_table_print_cards(call, table, rc == PL_EXIT_NO ? "there is no such dead letter" : NULL);
	pl_table_free(&table);
	pl_reaches_close(&reaches);
	return rc;
}

static int drop_one(struct pl_reach *reach, int64_t id)
{
	char text[24];
	const char *params[] = { text };
	snprintf(text, sizeof text, "%" PRId64, id);
	PGresult *result = pl_reach_query(reach, "DELETE FROM dead_letters WHERE id = $1", 1, params);
	if (!result)
		return PL_EXIT_NO;
	int dropped = atoi(PQcmdTuples(result));
	PQclear(result);
	if (dropped)
		pl_say("%s/%" PRId64 " is dropped", reach->region->name, id);
	else
		pl_fail("%s has no dead letter %" PRId64, reach->region->name, id);
	return dropped ? PL_EXIT_YES : PL_EXIT_NO;
}

static int drop(struct pl_call *call)
{
	int rc = pl_call_regions(call), answer = PL_EXIT_YES;
	const struct pl_region **regions = pl_arena_alloc(call->arena, (size_t)call->nargs * sizeof *regions);
	int64_t *ids = pl_arena_alloc(call->arena, (size_t)call->nargs * sizeof *ids);
	for (int i = 0; rc == 0 && i < call->nargs; i++) {
		rc = pl_reach_id(call, call->args[i], &regions[i], &ids[i]);
		if (rc == 0 && !regions[i] && call->nregions == 1)
			regions[i] = call->regions[0];
		if (rc == 0 && !regions[i]) {
			pl_fail("%s of which region? Say %s/%s, or use --region", call->args[i], call->regions[0]->name, call->args[i]);
			rc = PL_EXIT_USAGE;
		}
	}
	if (rc)
		return rc;
	if (!pl_call_has(call, "yes") && !pl_confirm(call->nargs == 1 ? "Drop this dead letter for good?" : "Drop these dead letters for good?"))
		return PL_EXIT_NO;
	struct pl_reaches reaches;
	pl_reaches_open(call, &reaches, pl_call_timeout_us(call));
	for (int i = 0; i < call->nargs; i++)
		for (int r = 0; r < reaches.n; r++)
			if (reaches.each[r].region == regions[i] && drop_one(&reaches.each[r], ids[i]) != PL_EXIT_YES)
				answer = PL_EXIT_NO;
	rc = pl_reaches_exit(&reaches, answer);
	pl_reaches_close(&reaches);
	return rc;
}

const struct pl_command pl_cmd_dead_letters_list = {
	.noun = "dead-letters",
	.verb = "list",
	.summary = "messages that could not be read as events",
	.help = "Lists the messages that could not be read as events, the newest first. The consumer went on without them; they are kept whole, "
	        "with the sentence that says why.",
	.options = (const struct pl_option[]){
		{ "limit", 'n', PL_OPTION_COUNT, "N", "at most this many per region (default: 50)" },
		{ NULL },
	},
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
	.summary = "one of them, whole",
	.help = "Shows one dead letter whole: key, value, headers and what was wrong with it. ID is the number from the list, or REGION/NUMBER.",
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = show,
};

const struct pl_command pl_cmd_dead_letters_drop = {
	.noun = "dead-letters",
	.verb = "drop",
	.arguments = "ID …",
	.min_args = 1,
	.max_args = -1,
	.summary = "forget some of them",
	.help = "Deletes dead letters. Numbers count within a region, so ID is REGION/NUMBER, or a number when --region names one. Asks first, "
	        "unless --yes is given; where nobody can be asked, --yes is needed.",
	.options = (const struct pl_option[]){
		{ "yes", 'y', PL_OPTION_SWITCH, NULL, "do not ask" },
		{ NULL },
	},
	.regions = true,
	.waits = true,
	.run = drop,
};
