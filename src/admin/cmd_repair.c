// plist-admin repair: makes regions equal again.
//
// What one region lacks, another one has. So most differences are repaired by
// republishing, from each region, what others have not seen. The exception is copies
// with equal vectors and different contents: no event can distinguish them. An operator
// says which copy is right, and it is written once more as an ordinary write, which all
// regions accept.
#include "admin/commands.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/cmd_record_reset.h"
#include "admin/compare_report.h"
#include "admin/format.h"
#include "admin/messages.h"
#include "admin/republishing.h"
#include "admin/row_writer.h"
#include "auth/roles.h"
#include "base/sha256.h"
#include "record/fields.h"
#include "store/statement.h"

#define WAIT_US   INT64_C(60000000)
#define SHOWN_MAX 100000 // differences that the result lists
#define DAY_US    INT64_C(86400000000)

struct repair {
	struct pl_invocation *invocation;
	struct pl_region_sessions *sessions;
	struct pl_comparison *comparisons;
	int n;
	int take; // the region whose copies win; -1: none was chosen
	struct pl_comparison_options options;
	struct pl_row_writer *writers[PL_REGIONS_MAX];
	struct pl_arena *arena; // of one record that is written
	int64_t written, left;
};

// Whether republishing cannot repair it.
static bool needs_choice(const struct pl_found *found)
{
	return found->is.difference == PL_DIFFERENCE_CONTENT ||
	       found->is.difference == PL_DIFFERENCE_SIBLINGS;
}

// ---- strays: siblings of a record that no row claims
//
// A row that somebody deleted or changed by hand leaves them behind. Nothing reads them,
// and no write replaces them.

static bool has_strays(const struct pl_found *found)
{
	return needs_choice(found) && found->strays != 0;
}

// Whether the regions are equal once strays are removed.
static bool has_only_strays(const struct repair *r, const struct pl_found *found)
{
	bool only = found->is.difference == PL_DIFFERENCE_SIBLINGS && has_strays(found) && !found->claims;
	for (int i = 0; only && i < r->sessions->n; i++)
		only = found->is.state[i] == found->is.state[0];
	return only;
}

// ---- the plan

enum { P_RESOURCE, P_ACTION, P_REGION, P_RECORDS, P_WHY };

// clang-format off
static const struct pl_table_column plan_columns[] = {
	[P_RESOURCE] = { "resource", PL_CELL_TEXT },
	[P_ACTION] = { "action", PL_CELL_TEXT },
	[P_REGION] = { "region", PL_CELL_TEXT },
	[P_RECORDS] = { "records", PL_CELL_NUMBER },
	[P_WHY] = { "why", PL_CELL_TEXT },
	{ NULL },
};
// clang-format on

static int64_t count_published(const struct pl_comparison *c, int region)
{
	int64_t n = 0;
	for (int i = 0; i < c->nfound; i++)
		n += !needs_choice(&c->found[i]) && c->found[i].is.publish[region];
	return n;
}

static void add_step(struct pl_table *table, const struct pl_comparison *c, const char *action,
                     const char *region, int64_t records, const char *why)
{
	if (records == 0)
		return;
	pl_table_row(table);
	pl_table_text(table, P_RESOURCE, c->resource->name);
	pl_table_text(table, P_ACTION, action);
	pl_table_text(table, P_REGION, region);
	pl_table_number(table, P_RECORDS, records);
	pl_table_text(table, P_WHY, why);
}

static int64_t count_choices(const struct repair *r, const struct pl_comparison *c, bool strays)
{
	int64_t n = 0;
	for (int i = 0; i < c->nfound; i++)
		n += needs_choice(&c->found[i]) &&
		     (strays ? has_strays(&c->found[i]) : !has_only_strays(r, &c->found[i]));
	return n;
}

static void show_plan(const struct repair *r)
{
	struct pl_table *table = pl_table_new("plan", plan_columns);
	const char *take = r->take < 0 ? NULL : r->sessions->each[r->take].region->name;
	for (int i = 0; i < r->n; i++) {
		const struct pl_comparison *c = &r->comparisons[i];
		for (int region = 0; region < c->scan.n; region++)
			add_step(table, c, "republish", r->sessions->each[region].region->name,
			         count_published(c, region), "others lack writes that it has");
		add_step(table, c, "remove siblings", NULL, count_choices(r, c, true),
		         take ? "no row says that it has them"
		              : "no row says that it has them: needs --take and --reason");
		add_step(table, c, take ? "write" : "choose", take, count_choices(r, c, false),
		         take ? "its copy wins"
		              : "equal vectors, different contents: needs --take and --reason");
	}
	pl_table_print(r->invocation, table, "there is nothing to repair");
	pl_table_free(&table);
}

// ---- republishing

static int republish_from(struct repair *r, const struct pl_comparison *c, int region)
{
	int64_t *ids = pl_malloc(sizeof(ids[0]) * (size_t)(c->nfound + 1));
	int n = 0, rc = 0;
	for (int i = 0; i < c->nfound; i++)
		if (!needs_choice(&c->found[i]) && c->found[i].is.publish[region])
			ids[n++] = c->found[i].id;
	const struct pl_republish_selection selection = {
		.ids = ids, .nids = n, .name = pl_republishing_name_ids(r->invocation, ids, n)
	};
	if (n > 0)
		rc = pl_republishing_run(r->invocation, &r->sessions->each[region], c->resource, &selection,
		                         pl_invocation_number(r->invocation, "rate", 0));
	free(ids);
	return rc;
}

// ---- writing the chosen copy

// The region whose row the write changes: the chosen one, or, if the chosen copy is a
// tombstone, a region that still has the record. -1: it is deleted everywhere.
static int write_where(const struct repair *r, const struct pl_found *found)
{
	if (!found->copies[r->take].deleted)
		return r->take;
	for (int i = 0; i < r->sessions->n; i++)
		if (found->is.state[i] == PL_COPY_NEWEST && !found->copies[i].deleted)
			return i;
	return -1;
}

static void fill_write(struct repair *r, const struct pl_comparison *c, const struct pl_found *found,
                       int where, struct pl_write *write_r)
{
	struct pl_arena *arena = r->arena;
	const struct pl_scan_copy *copy = &found->copies[r->take];
	char hex[PL_SHA256_HEX];
	const char *what =
		pl_arena_printf(arena, "repair %s %" PRId64 " %s %s %s", c->resource->name, found->id,
	                        r->sessions->each[r->take].region->name, copy->vector, copy->fields);
	*write_r = (struct pl_write){
		.arena = arena,
		.resource = c->resource,
		.id = found->id,
		.principal = PL_PRINCIPAL_OF_TOOL,
		.region_prefix = r->sessions->each[where].region->name,
		.ttl_us = DAY_US,
		.op = copy->deleted ? PL_WRITE_DELETE : PL_WRITE_UPDATE,
		.has_etag = true,
		.etag = found->copies[where].copy.vector,
		.lock = PL_LOCK_REQUIRED,
	};
	pl_sha256(what, strlen(what), write_r->fingerprint);
	write_r->request_id =
		pl_arena_printf(arena, "repair-%s-%" PRId64 "-%.12s", r->sessions->each[where].region->name,
	                        found->id, pl_sha256_hex(write_r->fingerprint, hex));
	write_r->changes.values = pl_fields_parse(arena, c->resource, copy->fields, NULL);
	write_r->changes.set =
		pl_arena_array(arena, (size_t)c->resource->nfields, sizeof(write_r->changes.set[0]));
	for (int f = 0; f < c->resource->nfields; f++)
		write_r->changes.set[f] = !copy->deleted;
}

static const char *who(void)
{
	struct passwd *account = getpwuid(getuid());
	const char *sudo = getenv("SUDO_USER");
	return sudo ? sudo : account ? account->pw_name : "unknown";
}

#define NOTE_COLUMNS "(resource, record_id, taken_from, copies, request_id, repaired_by, reason) "
#define NOTE_VALUES  "$1, $2::bigint, $3, $4::jsonb, $5, $6, $7"
#define NOTE_PARAMS  7

// Without a request id, as for a removal.
static void fill_note(struct repair *r, const struct pl_comparison *c, const struct pl_found *found,
                      struct pl_buf *copies, const char *params_r[NOTE_PARAMS])
{
	pl_compare_report_copies(copies, c, found);
	params_r[0] = c->resource->name;
	params_r[1] = pl_arena_printf(r->arena, "%" PRId64, found->id);
	params_r[2] = r->sessions->each[r->take].region->name;
	params_r[3] = copies->data;
	params_r[4] = "";
	params_r[5] = who();
	params_r[6] = pl_invocation_text(r->invocation, "reason", "");
}

static void keep_note(struct repair *r, const struct pl_comparison *c, const struct pl_found *found,
                      int where, const char *request_id)
{
	const char *params[NOTE_PARAMS];
	struct pl_buf copies = { 0 };
	fill_note(r, c, found, &copies, params);
	params[4] = request_id;
	PGresult *result = pl_region_sessions_query(
		&r->sessions->each[where],
		"INSERT INTO plist.repairs " NOTE_COLUMNS "VALUES (" NOTE_VALUES ")", NOTE_PARAMS, params);
	if (!result)
		pl_warn("%s/%" PRId64
		        " was written (request id %s), but who did it and why could not be recorded",
		        c->resource->name, found->id, request_id);
	PQclear(result);
	pl_buf_fini(&copies);
}

// An applier that gives the record its first siblings deletes the strays, so it either
// waits for this or has done so.
static int remove_strays_in(struct repair *r, const struct pl_comparison *c, const struct pl_found *found,
                            int where)
{
	const char *params[NOTE_PARAMS];
	struct pl_buf sql = { 0 }, copies = { 0 };
	fill_note(r, c, found, &copies, params);
	pl_buf_adds(&sql, "WITH stray AS MATERIALIZED (SELECT FROM plist.record_siblings AS s WHERE "
	                  "s.resource = $1 AND s.record_id = $2::bigint AND NOT EXISTS (SELECT FROM ");
	pl_statement_table(&sql, c->resource);
	pl_buf_adds(&sql,
	            " AS p WHERE p.id = s.record_id AND p.has_siblings) FOR UPDATE), gone AS MATERIALIZED "
	            "(SELECT plist.plist_replace_siblings($1, $2::bigint) WHERE EXISTS (SELECT FROM stray)) "
	            "INSERT INTO plist.repairs " NOTE_COLUMNS "SELECT " NOTE_VALUES " FROM gone");
	PGresult *result = pl_region_sessions_query(&r->sessions->each[where], sql.data, NOTE_PARAMS, params);
	pl_buf_fini(&sql);
	pl_buf_fini(&copies);
	PQclear(result);
	return result ? 0 : PL_EXIT_UNREACHABLE;
}

static int remove_strays(struct repair *r, const struct pl_comparison *c, const struct pl_found *found)
{
	int rc = 0;
	for (int i = 0; i < r->sessions->n && !rc; i++)
		if (has_strays(found) && found->strays >> i & 1)
			rc = remove_strays_in(r, c, found, i);
	return rc;
}

// An ordinary request cannot write a record that is deleted everywhere.
static int write_tombstone(struct repair *r, const struct pl_comparison *c, const struct pl_found *found)
{
	const struct pl_row_to_reset row = { c->resource, found->id, r->take };
	struct pl_invocation invocation = *r->invocation;
	const char *request_id;
	int rc;
	invocation.arena = r->arena;
	rc = pl_cmd_record_reset_row(&invocation, r->sessions, &row, &request_id);
	if (rc)
		return rc;
	r->written++;
	keep_note(r, c, found, r->take, request_id);
	return 0;
}

static int write_row(struct repair *r, const struct pl_comparison *c, const struct pl_found *found, int where)
{
	struct pl_write write;
	int rc;
	if (!r->writers[where])
		r->writers[where] = pl_row_writer_new(r->invocation, &r->sessions->each[where]);
	if (!r->writers[where])
		return PL_EXIT_UNREACHABLE;
	fill_write(r, c, found, where, &write);
	rc = pl_row_writer_write(r->writers[where], &write);
	if (rc)
		return rc;
	r->written++;
	keep_note(r, c, found, where, write.request_id);
	return 0;
}

static int write_one(struct repair *r, const struct pl_comparison *c, const struct pl_found *found)
{
	int where;
	if (found->is.state[r->take] != PL_COPY_NEWEST) {
		pl_fail("%s/%" PRId64
		        " was not repaired: the chosen region's copy is behind another one, or was "
		        "written in the meantime",
		        c->resource->name, found->id);
		return PL_EXIT_NO;
	}
	where = write_where(r, found);
	return where < 0 ? write_tombstone(r, c, found) : write_row(r, c, found, where);
}

struct choosing {
	struct repair *r;
	const struct pl_comparison *c;
	int rc;
};

// A record that cannot be written does not prevent the repair of others.
static void choose_one(void *arg, const struct pl_found *found)
{
	struct choosing *choosing = arg;
	struct repair *r = choosing->r;
	int rc;
	if (choosing->rc == PL_EXIT_UNREACHABLE || !needs_choice(found))
		return;
	pl_arena_reset(r->arena);
	rc = remove_strays(r, choosing->c, found);
	if (!rc && !has_only_strays(r, found))
		rc = write_one(r, choosing->c, found);
	choosing->rc = rc;
}

// The copies are read again, a few records at a time: those of all records may need more
// memory than there is.
static int write_chosen(struct repair *r, struct pl_comparison *c)
{
	struct choosing choosing = { r, c, 0 };
	int64_t *ids = pl_malloc(sizeof(ids[0]) * (size_t)(c->nfound + 1));
	int n = 0, rc;
	for (int i = 0; i < c->nfound && r->take >= 0; i++)
		if (needs_choice(&c->found[i]))
			ids[n++] = c->found[i].id;
	rc = pl_comparison_look(c, ids, n, choose_one, &choosing);
	free(ids);
	return rc ? rc : choosing.rc == PL_EXIT_UNREACHABLE ? PL_EXIT_UNREACHABLE : 0;
}

// ---- the whole repair

// Records that are locked hold up no others: they still differ at the end.
static int execute_one(struct repair *r, struct pl_comparison *c)
{
	for (int region = 0; region < c->scan.n; region++) {
		int rc = republish_from(r, c, region);
		if (rc && rc != PL_EXIT_NO)
			return rc;
	}
	return write_chosen(r, c);
}

// Compares the repaired records again, after all events added to the outboxes have been
// applied.
static int compare_again(struct repair *r, const struct pl_comparison *before, struct pl_comparison *after_r)
{
	struct pl_id_range range = { .nids = before->nfound };
	struct pl_comparison_options options = r->options;
	range.ids = pl_arena_array(r->invocation->arena, (size_t)before->nfound + 1, sizeof(range.ids[0]));
	for (int i = 0; i < before->nfound; i++)
		range.ids[i] = before->found[i].id;
	options.range = &range;
	options.limit = SHOWN_MAX;
	return pl_comparison_run(r->invocation, r->sessions, before->resource, &options, after_r);
}

static int say_result(struct repair *r, const struct pl_comparison *after)
{
	char count[PL_COUNT_MAX];
	int64_t left = 0, unsettled = 0;
	for (int i = 0; i < r->n; i++) {
		left += after[i].nfound;
		unsettled += after[i].unsettled;
	}
	pl_compare_report_print(r->invocation, after, r->n);
	pl_compare_report_say_shown(after, r->n);
	pl_compare_report_say(after, r->n);
	if (!left && !unsettled)
		pl_say("all regions are equal again");
	else if (left)
		pl_fail("%s records still differ", pl_format_count(left, count));
	return left ? PL_EXIT_NO : unsettled ? PL_EXIT_UNREACHABLE : PL_EXIT_YES;
}

// Makes the comparison again in place of the previous one.
static int execute_and_compare(struct repair *r, struct pl_comparison *comparison)
{
	struct pl_comparison after;
	int rc = execute_one(r, comparison);
	if (!rc)
		rc = compare_again(r, comparison, &after);
	else
		return rc;
	pl_comparison_fini(comparison);
	*comparison = after;
	return rc;
}

static bool has_choices(const struct pl_comparison *c)
{
	return c->counts[PL_DIFFERENCE_CONTENT] + c->counts[PL_DIFFERENCE_SIBLINGS] > 0;
}

// What was republished may have made vectors equal and left different contents or
// siblings: then these need a choice as well.
static int execute(struct repair *r)
{
	int rc = 0;
	for (int i = 0; i < r->n && !rc; i++)
		rc = execute_and_compare(r, &r->comparisons[i]);
	for (int i = 0; i < r->n && !rc && r->take >= 0; i++)
		if (has_choices(&r->comparisons[i]))
			rc = execute_and_compare(r, &r->comparisons[i]);
	if (!rc)
		rc = say_result(r, r->comparisons);
	for (int i = 0; i < r->sessions->n; i++)
		pl_row_writer_free(&r->writers[i]);
	return rc;
}

static int plan_and_execute(struct repair *r)
{
	int64_t found = 0, unsettled = 0;
	bool wanted = pl_invocation_has(r->invocation, "execute");
	for (int i = 0; i < r->n; i++) {
		found += r->comparisons[i].nfound;
		unsettled += r->comparisons[i].unsettled;
	}
	pl_compare_report_say(r->comparisons, r->n);
	if (!wanted || found == 0 || !r->invocation->json)
		show_plan(r);
	if (found == 0)
		return unsettled ? PL_EXIT_UNREACHABLE : PL_EXIT_YES;
	if (wanted)
		return execute(r);
	pl_say("nothing was changed; use --execute to repair");
	return PL_EXIT_NO;
}

static int compare_all(struct repair *r, const struct pl_resource **resources)
{
	int done = 0, rc = 0;
	r->comparisons = pl_arena_array(r->invocation->arena, (size_t)r->n, sizeof(r->comparisons[0]));
	r->arena = pl_arena_new(0);
	for (; done < r->n && !rc; done++)
		rc = pl_comparison_run(r->invocation, r->sessions, resources[done], &r->options,
		                       &r->comparisons[done]);
	if (!rc)
		rc = plan_and_execute(r);
	for (int i = 0; i < done; i++)
		pl_comparison_fini(&r->comparisons[i]);
	pl_arena_free(&r->arena);
	return rc;
}

static int choose_region(struct repair *r)
{
	const char *take = pl_invocation_text(r->invocation, "take", NULL);
	r->take = -1;
	if (!take != !pl_invocation_has(r->invocation, "reason")) {
		pl_fail("--take and --reason belong together: whose copies, and why");
		return PL_EXIT_USAGE;
	}
	for (int i = 0; take && i < r->invocation->nregions; i++)
		if (strcmp(r->invocation->regions[i]->name, take) == 0)
			r->take = i;
	if (!take || r->take >= 0)
		return 0;
	pl_fail("--take %s: this region is not being compared", take);
	return PL_EXIT_USAGE;
}

static int repair(struct pl_invocation *invocation)
{
	struct pl_region_sessions sessions = { 0 };
	struct pl_id_range range;
	struct repair r = { .invocation = invocation, .sessions = &sessions };
	const struct pl_resource **resources;
	int rc = pl_invocation_regions(invocation);
	if (!rc)
		rc = pl_comparison_resources(invocation, &resources, &r.n);
	if (!rc)
		rc = choose_region(&r);
	if (!rc)
		rc = pl_id_range_take(invocation, &range);
	if (!rc)
		rc = pl_comparison_open(invocation, &sessions);
	r.options =
		(struct pl_comparison_options){ .range = &range,
		                                .wait_us = pl_invocation_us(invocation, "wait", WAIT_US) };
	if (!rc)
		rc = compare_all(&r, resources);
	pl_region_sessions_close(&sessions);
	return rc;
}

static const struct pl_option repair_options[] = {
	{ "execute", 0, PL_OPTION_SWITCH, NULL, "do it, instead of showing what would be done" },
	{ "take", 0, PL_OPTION_REGION, "REGION",
	  "where vectors are equal and contents differ, use this region's copy" },
	{ "reason", 0, PL_OPTION_TEXT, "TEXT",
	  "the reason, recorded in the table repairs (required with --take)" },
	{ "range", 0, PL_OPTION_TEXT, "A..B", "only ids from A to B; either may be omitted" },
	{ "ids", 0, PL_OPTION_TEXT, "ID,…", "only these ids" },
	{ "rate", 0, PL_OPTION_COUNT, "N", "republish at most N records a second (default: no limit)",
	  .min = 1 },
	{ "wait", 0, PL_OPTION_DURATION, "DURATION",
	  "how long to wait for events in transit (default: 60s)" },
	{ NULL },
};

const struct pl_command pl_cmd_repair = {
	.noun = "repair",
	.arguments = "[RESOURCE …]",
	.min_args = 0,
	.max_args = -1,
	.summary = "make regions equal again",
	.help = "Compares the regions and shows what would make them equal; with --execute it does "
		"that, waits until the events have been applied everywhere, and compares again. "
		"Records that are missing, behind or concurrent are republished by the regions "
		"that have what others lack. Copies with equal vectors and different contents or "
		"siblings need a choice: --take names the region whose copies are written "
		"again, each as an ordinary write. The table repairs records "
		"--reason and the previous copies. The exit status is "
		"0 if all regions are equal, 1 if records still differ, and 3 if a region or Kafka "
		"could not be reached.",
	.options = repair_options,
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = repair,
};
