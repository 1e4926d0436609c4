// plist-admin audit: what the daemons' comparisons with other regions have found, and
// asking for one now.
#include "admin/commands.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "admin/cell.h"
#include "admin/messages.h"
#include "admin/region_sessions.h"
#include "admin/table.h"
#include "base/clock.h"

#define WAIT_US INT64_C(600000000)
#define LOOK_MS 200
#define LIMIT   1000

enum { REGION, WITH, STATE, DIFFERING, RECORDS, SUCCESS, ENDED, REASON };
enum { D_REGION, D_WITH, D_RESOURCE, D_RECORD, D_DIFFERENCE, D_FOUND, D_SEEN };

// clang-format off
static const struct pl_table_column audit_columns[] = {
	[REGION] = { "region", PL_CELL_TEXT },
	[WITH] = { "with", PL_CELL_TEXT },
	[STATE] = { "state", PL_CELL_TEXT },
	[DIFFERING] = { "differing", PL_CELL_NUMBER },
	[RECORDS] = { "records", PL_CELL_NUMBER },
	[SUCCESS] = { "last_success_at", PL_CELL_TEXT },
	[ENDED] = { "last_round_at", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[REASON] = { "reason", PL_CELL_TEXT, PL_COLUMN_CUT },
	{ NULL },
};
static const struct pl_table_column difference_columns[] = {
	[D_REGION] = { "region", PL_CELL_TEXT },
	[D_WITH] = { "with", PL_CELL_TEXT },
	[D_RESOURCE] = { "resource", PL_CELL_TEXT },
	[D_RECORD] = { "record", PL_CELL_NUMBER },
	[D_DIFFERENCE] = { "difference", PL_CELL_TEXT },
	[D_FOUND] = { "found_at", PL_CELL_TEXT },
	[D_SEEN] = { "seen_at", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	{ NULL },
};
// clang-format on

struct audits {
	struct pl_invocation *invocation;
	struct pl_region_sessions sessions;
	struct pl_table *audits, *differences;
	const char *others[PL_REGIONS_MAX]; // for each session, the regions that it is compared with
	const char *since[PL_REGIONS_MAX];  // when a round was requested
	int64_t differing;
	bool unknown; // not all records of a region have been compared
};

// ---- a round now

static bool wish(struct audits *a, int i)
{
	struct pl_region_session *session = &a->sessions.each[i];
	const char *params[] = { a->others[i] };
	PGresult *result = pl_region_sessions_query(session, "SELECT plist.plist_want_audit($1)", 1, params);

	if (!result)
		return false;
	a->since[i] = pl_arena_strdup(a->invocation->arena, pl_cell(result, 0, 0));
	PQclear(result);
	return true;
}

// How many rounds are not over; -1: the database failed.
static int64_t rounds_left(struct audits *a, int i)
{
	const char *params[] = { a->others[i], a->since[i] };
	PGresult *result = pl_region_sessions_query(
		&a->sessions.each[i],
		"SELECT count(*) FROM plist.audits WHERE region = ANY ($1::text[]) AND "
		"(wished_at IS NOT NULL "
		"OR finished_at < $2::timestamptz OR finished_at IS NULL OR finished_at < begun_at)",
		2, params);
	int64_t n = result ? pl_cell_int(result, 0, 0, 0) : -1;

	PQclear(result);
	return n;
}

static void run_rounds(struct audits *a)
{
	int64_t until_us = pl_mono_us() + pl_invocation_us(a->invocation, "wait", WAIT_US);

	for (int i = 0; i < a->sessions.n; i++)
		wish(a, i);
	for (int i = 0; i < a->sessions.n; i++) {
		int64_t left = 1;

		while (a->since[i] && (left = rounds_left(a, i)) > 0 && pl_mono_us() < until_us)
			poll(NULL, 0, LOOK_MS);
		if (a->since[i] && left > 0) {
			pl_fail("%s: %" PRId64 " round%s not over; a daemon of the region has to run, and "
			        "--wait says how long to wait",
			        a->sessions.each[i].region->name, left, left == 1 ? " is" : "s are");
			a->unknown = true;
		}
	}
}

// ---- what was found

static void add_audit(struct audits *a, const struct pl_region_session *session, const PGresult *result,
                      int row)
{
	int64_t differing = pl_cell_int(result, row, 1, 0), success_us = pl_cell_time(result, row, 3);
	const char *why = pl_cell(result, row, 5);
	const char *state = differing     ? "differs"
	                    : !success_us ? "not compared"
	                    : why         ? "incomplete"
	                                  : "equal";

	pl_table_row(a->audits);
	pl_table_text(a->audits, REGION, session->region->name);
	pl_table_text(a->audits, WITH, pl_cell(result, row, 0));
	pl_table_text(a->audits, STATE, state);
	pl_table_tone(a->audits, STATE,
	              differing            ? PL_TONE_BAD
	              : success_us && !why ? PL_TONE_GOOD
	                                   : PL_TONE_DOUBT);
	pl_table_number(a->audits, DIFFERING, differing);
	pl_table_number(a->audits, RECORDS, pl_cell_int(result, row, 2, 0));
	pl_table_time(a->audits, SUCCESS, success_us);
	pl_table_time(a->audits, ENDED, pl_cell_time(result, row, 4));
	pl_table_text(a->audits, REASON, why);
	a->differing += differing;
	a->unknown |= !success_us || why;
}

static void look_at_audits(struct audits *a, int i)
{
	const char *params[] = { a->others[i] };
	PGresult *result = pl_region_sessions_query(
		&a->sessions.each[i],
		"SELECT r, d.records, a.records, " PL_EPOCH("a.compared_at") ", " PL_EPOCH(
			"a.finished_at") ", a.why FROM unnest($1::text[]) AS r LEFT JOIN "
					 "plist.audits AS a ON "
					 "a.region = r LEFT JOIN plist.plist_audit_differing() AS d ON "
					 "d.region = r ORDER BY r",
		1, params);

	for (int row = 0; result && row < PQntuples(result); row++)
		add_audit(a, &a->sessions.each[i], result, row);
	PQclear(result);
}

static void look_at_differences(struct audits *a, int i)
{
	const char *params[] = { a->others[i],
		                 pl_arena_printf(a->invocation->arena, "%" PRId64,
		                                 pl_invocation_number(a->invocation, "limit", LIMIT)) };
	PGresult *result = pl_region_sessions_query(
		&a->sessions.each[i],
		"SELECT region, resource, record_id, difference, " PL_EPOCH("found_at") ", " PL_EPOCH(
			"seen_at") " FROM plist.audit_differences WHERE region = ANY ($1::text[]) ORDER BY "
				   "region, resource, record_id LIMIT $2::bigint",
		2, params);

	for (int row = 0; result && row < PQntuples(result); row++) {
		pl_table_row(a->differences);
		pl_table_text(a->differences, D_REGION, a->sessions.each[i].region->name);
		pl_table_text(a->differences, D_WITH, pl_cell(result, row, 0));
		pl_table_text(a->differences, D_RESOURCE, pl_cell(result, row, 1));
		pl_table_number(a->differences, D_RECORD, pl_cell_int(result, row, 2, 0));
		pl_table_text(a->differences, D_DIFFERENCE, pl_cell(result, row, 3));
		pl_table_time(a->differences, D_FOUND, pl_cell_time(result, row, 4));
		pl_table_time(a->differences, D_SEEN, pl_cell_time(result, row, 5));
	}
	PQclear(result);
}

// ---- the command

// "{us,ap}"
static const char *others_of(struct pl_invocation *invocation, const struct pl_region *own)
{
	const struct pl_config *config = invocation->config;
	struct pl_buf list = { 0 };
	const char *text;

	pl_buf_addc(&list, '{');
	for (int i = 0; i < config->nregions; i++)
		if (strcmp(config->regions[i].name, own->name) != 0)
			pl_buf_printf(&list, "%s%s", list.len > 1 ? "," : "", config->regions[i].name);
	pl_buf_addc(&list, '}');
	text = pl_arena_strndup(invocation->arena, list.data, list.len);
	pl_buf_fini(&list);
	return text;
}

static int exit_of(const struct audits *a)
{
	if (a->differing > 0)
		pl_say("%" PRId64 " record%s; 'plist-admin compare' shows the copies side by side, and "
		       "'plist-admin repair' makes the regions equal",
		       a->differing, a->differing == 1 ? " differs" : "s differ");
	return pl_region_sessions_exit(&a->sessions, a->differing ? PL_EXIT_NO
	                                             : a->unknown ? PL_EXIT_UNREACHABLE
	                                                          : PL_EXIT_YES);
}

static int audit(struct pl_invocation *invocation)
{
	struct audits a = { .invocation = invocation };
	int rc = pl_invocation_regions(invocation);

	if (rc)
		return rc;
	a.audits = pl_table_new("audits", audit_columns);
	a.differences = pl_table_new("differences", difference_columns);
	pl_region_sessions_open(invocation, &a.sessions, pl_invocation_timeout_us(invocation));
	for (int i = 0; i < a.sessions.n; i++)
		a.others[i] = others_of(invocation, a.sessions.each[i].region);
	if (pl_invocation_has(invocation, "now"))
		run_rounds(&a);
	for (int i = 0; i < a.sessions.n; i++) {
		look_at_audits(&a, i);
		look_at_differences(&a, i);
	}
	pl_tables_print(invocation, invocation->json || pl_table_rows(a.differences) > 0 ? 2 : 1,
	                (struct pl_table *const[]){ a.audits, a.differences },
	                "there is only one region, and nothing to compare");
	rc = exit_of(&a);
	pl_table_free(&a.audits);
	pl_table_free(&a.differences);
	pl_region_sessions_close(&a.sessions);
	return rc;
}

static const struct pl_option audit_options[] = {
	{ "now", 0, PL_OPTION_SWITCH, NULL, "have the daemons compare all records now, and wait for that" },
	{ "wait", 0, PL_OPTION_DURATION, "DURATION", "how long to wait for it (default: 10m)" },
	{ "limit", 'n', PL_OPTION_COUNT, "N",
	  "show at most this many differences of a region (default: 1000)", .min = 1, .max = 1000000 },
	{ NULL },
};

const struct pl_command pl_cmd_audit = {
	.noun = "audit",
	.summary = "show what the daemons' own comparisons of the regions have found",
	.help = "Every audit.every, each region compares its records with those of every other region, "
		"through Kafka. Shows when all records were last compared, and those in which a region "
		"lacks something that another one has, or differs from it: see 'plist-admin help compare' "
		"for the kinds of differences. With --now, the daemons compare at once, which takes as "
		"long as audit.rows_per_second says. 'plist-admin compare' reads the databases of all "
		"regions itself, is faster, and shows the copies side by side; audit --region needs only "
		"the database of that region.\n\nExit status 0: all regions are equal; 1: records differ; "
		"3: nothing could be reached, or not all records have been compared; 4: some regions could "
		"not be reached.",
	.options = audit_options,
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = audit,
};
