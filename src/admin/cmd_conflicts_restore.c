// plist-admin conflicts restore: undoing a decision, by an ordinary write.
//
// The chosen write goes through record/store like any client's: locked by the row's vector, with a request id, an outbox row and an event. It has
// seen all that stands and replaces it, in every region. Who did it and why is kept in the table restorations.
#include "admin/commands.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/reach.h"
#include "admin/talk.h"
#include "base/clock.h"
#include "base/json.h"
#include "record/store.h"
#include "replicate/recorded.h"

#define DAY_US INT64_C(86400000000)

struct restore {
	struct pl_call *call;
	struct pl_reach *reach;
	int64_t conflict;
	const struct pl_resource *resource;
	int64_t record;
	int take;                    // from 1
	const char *siblings;        // the conflict's, as recorded
	struct pl_recorded recorded;
	struct pl_vector vector;     // of the row as it is now
	bool exists, deleted;
	const char *request_id;
	struct pl_write write;
	bool answered;
};

static const char *text_of_values(struct restore *r, const char *const *values, bool deleted)
{
	struct pl_buf buf = { 0 };
	for (int f = 0; f < r->resource->nfields && !deleted; f++)
		pl_buf_printf(&buf, "%s%s %s", f ? ", " : "", r->resource->fields[f].name, values[f] ? values[f] : "null");
	const char *text = deleted ? "deleted" : pl_arena_strndup(r->call->arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return text;
}

static int read_conflict(struct restore *r)
{
	struct pl_error err = { 0 };
	const char *params[] = { pl_arena_printf(r->call->arena, "%" PRId64, r->conflict) };
	PGresult *result = pl_reach_query(r->reach, "SELECT resource, record_id, siblings, visible FROM conflicts WHERE id = $1", 1, params);
	int rc = PL_EXIT_UNREACHABLE;
	if (result && PQntuples(result) == 0) {
		pl_fail("%s has no conflict %" PRId64, r->reach->region->name, r->conflict);
		rc = PL_EXIT_NO;
	} else if (result) {
		r->resource = pl_config_resource(r->call->config, pl_cell(result, 0, 0));
		r->record = pl_cell_int(result, 0, 1, 0);
		r->siblings = pl_arena_strdup(r->call->arena, pl_cell(result, 0, 2));
		rc = PL_EXIT_NO;
		if (!r->resource)
			pl_fail("the configuration has no resource '%s' any more", pl_cell(result, 0, 0));
		else if (pl_recorded_read(r->call->arena, r->resource, r->siblings, pl_cell(result, 0, 3), &r->recorded, &err) < 0)
			pl_fail("%s", err.text);
		else
			rc = 0;
	}
	PQclear(result);
	return rc;
}

// The row as it is now: what the write is locked by.
static int read_row(struct restore *r)
{
	const char *params[] = { pl_arena_printf(r->call->arena, "%" PRId64, r->record) };
	PGresult *result = pl_reach_query(r->reach, pl_arena_printf(r->call->arena, "SELECT vector::text, deleted_at IS NOT NULL FROM \"%s\" WHERE id = $1",
	                                                            r->resource->table), 1, params);
	if (!result)
		return PL_EXIT_UNREACHABLE;
	r->exists = PQntuples(result) > 0;
	if (r->exists) {
		const char *vector = pl_cell(result, 0, 0);
		pl_vector_parse(&r->vector, vector, strlen(vector));
		r->deleted = pl_cell(result, 0, 1)[0] == 't';
	}
	PQclear(result);
	return 0;
}

static void done(struct pl_write *write, void *arg)
{
	struct restore *r = arg;
	r->answered = true;
	(void)write;
}

struct waiting { struct pl_loop *loop; struct pl_store *store; struct restore *restore; bool sent; };

static int turn(void *arg)
{
	struct waiting *w = arg;
	struct pl_error why;
	if (!w->sent && (pl_store_ready(w->store, &why) || pl_mono_us() > w->restore->write.deadline_us - 1000000)) {
		w->sent = true;
		pl_store_write(w->store, &w->restore->write);
	}
	pl_store_turn(w->store);
	if (w->restore->answered)
		pl_loop_stop(w->loop);
	return 20;
}

// The same decision upon the same row is the same request: its id.
static const char *id_upon(const struct restore *r, const struct pl_vector *vector, uint8_t digest[PL_SHA256_SIZE])
{
	struct pl_buf buf = { 0 };
	char hex[PL_SHA256_HEX];
	pl_buf_printf(&buf, "restore %s %" PRId64 " %d ", r->reach->region->name, r->conflict, r->take);
	pl_vector_print(&buf, vector);
	pl_sha256(buf.data, buf.len, digest);
	pl_buf_fini(&buf);
	return pl_arena_printf(r->call->arena, "restore-%s-%" PRId64 "-%.12s", r->reach->region->name, r->conflict, pl_sha256_hex(digest, hex));
}

// Whether the row stands as this very restore wrote it: then its request is remembered, upon the row as it was one write of this region ago. Once the
// record was written again, the same restore is a new decision.
static bool is_written(struct restore *r)
{
	struct pl_vector before = r->vector;
	uint8_t digest[PL_SHA256_SIZE];
	struct pl_buf now = { 0 };
	int32_t own = pl_vector_get(&before, r->reach->region->name);
	if (!r->exists || own < 1)
		return false;
	pl_vector_set(&before, r->reach->region->name, own - 1);
	pl_vector_print(&now, &r->vector);
	const char *id = id_upon(r, &before, digest), *params[] = { id, now.data };
	PGresult *result = pl_reach_query(r->reach, "SELECT 1 FROM processed_requests WHERE request_id = $1 AND principal = 'plist-admin' AND vector = $2::jsonb",
	                                  2, params);
	bool found = result && PQntuples(result) > 0;
	PQclear(result);
	pl_buf_fini(&now);
	r->request_id = found ? id : NULL;
	return found;
}

static void fill_write(struct restore *r, const struct pl_sibling *chosen)
{
	struct pl_arena *arena = r->call->arena;
	struct pl_write *w = &r->write;
	uint8_t digest[PL_SHA256_SIZE];
	r->request_id = id_upon(r, &r->vector, digest);
	*w = (struct pl_write){
		.arena = arena, .resource = r->resource, .id = r->record, .request_id = r->request_id, .principal = "plist-admin",
		.region_prefix = r->reach->region->name, .ttl_us = DAY_US, .deadline_us = pl_mono_us() + pl_call_timeout_us(r->call),
		.op = chosen->deleted ? PL_WRITE_DELETE : !r->exists || r->deleted ? PL_WRITE_CREATE : PL_WRITE_UPDATE, .done = done, .arg = r,
	};
	memcpy(w->fingerprint, digest, sizeof digest);
	if (w->op != PL_WRITE_CREATE) {
		w->has_etag = true;
		w->etag = r->vector;
		w->lock = PL_LOCK_REQUIRED;
	}
	w->changes.values = chosen->values;
	w->changes.set = pl_arena_alloc(arena, sizeof w->changes.set[0] * (size_t)r->resource->nfields);
	for (int f = 0; f < r->resource->nfields; f++)
		w->changes.set[f] = !chosen->deleted;
}

// Sends the write through a store of its own and waits for its outcome.
static int execute(struct restore *r)
{
	struct pl_error err = { 0 };
	struct pl_loop *loop = pl_loop_new();
	struct pl_store_options options = { .loop = loop, .config = r->call->config, .region = r->reach->region };
	struct pl_store *store = pl_store_new(&options, &err);
	struct waiting waiting = { loop, store, r, false };
	if (!store) {
		pl_fail("%s", err.text);
		pl_loop_free(&loop);
		return PL_EXIT_UNREACHABLE;
	}
	pl_loop_run(loop, turn, &waiting);
	pl_store_free(&store);
	pl_loop_free(&loop);
	switch (r->write.outcome) {
	case PL_OUTCOME_DONE:
	case PL_OUTCOME_REMEMBERED:
		return 0;
	case PL_OUTCOME_ETAG:
	case PL_OUTCOME_EXISTS:
	case PL_OUTCOME_NOT_FOUND:
		pl_fail("the record was written meanwhile; look at it again and repeat the command if it still should be so");
		return PL_EXIT_NO;
	case PL_OUTCOME_FAILED:
		pl_fail("%s", r->write.err.text);
		return PL_EXIT_UNREACHABLE;
	default:
		pl_fail("the database refused the write: %s", r->write.err.text);
		return PL_EXIT_NO;
	}
}

static const char *who(struct pl_call *call)
{
	const char *by = pl_call_text(call, "by", NULL);
	struct passwd *account = getpwuid(getuid());
	if (!by)
		by = getenv("SUDO_USER");
	return by ? by : account ? account->pw_name : "unknown";
}

static const char *chosen_json(struct restore *r)
{
	static const struct pl_json_limits limits = { 16 << 20, 16, 1000000 };
	cJSON *all = pl_json_parse(r->siblings, strlen(r->siblings), &limits, NULL);
	struct pl_buf buf = { 0 };
	pl_json_print(&buf, cJSON_GetArrayItem(all, r->take - 1));
	const char *text = pl_arena_strndup(r->call->arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	cJSON_Delete(all);
	return text;
}

static int note(struct restore *r)
{
	struct pl_arena *arena = r->call->arena;
	const char *params[] = { pl_arena_printf(arena, "%" PRId64, r->conflict), r->resource->name, pl_arena_printf(arena, "%" PRId64, r->record),
	                         chosen_json(r), r->request_id, who(r->call), pl_call_text(r->call, "reason", "") };
	PGresult *result = pl_reach_query(r->reach, "INSERT INTO restorations (conflict_id, resource, record_id, taken, request_id, restored_by, reason) "
	                                            "SELECT $1::bigint, $2, $3::bigint, $4::jsonb, $5::text, $6, $7 "
	                                            "WHERE NOT EXISTS (SELECT FROM restorations WHERE request_id = $5::text)",
	                                  7, params);
	PQclear(result);
	if (result)
		return PL_EXIT_YES;
	pl_warn("the write was made (request id %s), but the note of who and why could not be kept", r->request_id);
	return PL_EXIT_PARTIAL;
}

static int restore_one(struct restore *r)
{
	int rc = read_conflict(r);
	if (!rc)
		rc = read_row(r);
	if (rc)
		return rc;
	if (r->take < 1 || r->take > r->recorded.n) {
		pl_fail("--take %d: the conflict has writes 1 to %d", r->take, r->recorded.n);
		return PL_EXIT_USAGE;
	}
	const struct pl_sibling *chosen = &r->recorded.rows[r->take - 1];
	if (is_written(r)) {
		pl_say("the record stands as this restore wrote it; nothing was written again");
		return note(r); // which an interrupted run may have left out
	}
	if (chosen->deleted && (!r->exists || r->deleted)) {
		pl_say("the record is deleted already; nothing was written");
		return PL_EXIT_YES;
	}
	pl_say("%s %" PRId64 ": will be: %s (what %s wrote), in all regions", r->resource->title, r->record,
	       text_of_values(r, chosen->values, chosen->deleted), chosen->dot.region);
	pl_say("  the conflict had shown: %s", text_of_values(r, r->recorded.visible, r->recorded.visible_deleted));
	if (!pl_call_has(r->call, "yes") && !pl_confirm("Write it?"))
		return PL_EXIT_NO;
	fill_write(r, chosen);
	rc = execute(r);
	if (rc)
		return rc;
	pl_say("written as version %d, request id %s", r->write.record ? r->write.record->version : 0, r->request_id);
	return note(r);
}

static int conflicts_restore(struct pl_call *call)
{
	const struct pl_region *region;
	struct pl_reaches reaches;
	struct restore r = { .call = call, .take = (int)pl_call_number(call, "take", 0) };
	int rc = pl_call_regions(call);
	if (!rc)
		rc = pl_reach_id(call, call->args[0], &region, &r.conflict);
	if (rc)
		return rc;
	pl_call_only(call, region);
	if (call->nregions != 1) {
		pl_fail("each region numbers its own conflicts: name it as REGION/%" PRId64, r.conflict);
		return PL_EXIT_USAGE;
	}
	if (!pl_call_has(call, "take") || !pl_call_has(call, "reason")) {
		pl_fail("--take and --reason are needed: which of the writes, and why");
		return PL_EXIT_USAGE;
	}
	pl_reaches_open(call, &reaches, pl_call_timeout_us(call));
	r.reach = &reaches.each[0];
	rc = r.reach->up ? restore_one(&r) : PL_EXIT_UNREACHABLE;
	pl_reaches_close(&reaches);
	return rc;
}

const struct pl_command pl_cmd_conflicts_restore = {
	.noun = "conflicts", .verb = "restore", .arguments = "ID", .min_args = 1, .max_args = 1,
	.summary = "put another of the concurrent writes in force",
	.help = "Writes the chosen one of a conflict's writes as an ordinary new write, locked by the record as it stands: it has an event like any other and "
	        "replaces what is shown in every region. ID is REGION/NUMBER, or the number with --region; N is the place of the write in `conflicts show`, "
	        "from 1. Who did it and why is kept in the table restorations. Run again it writes nothing, as long as nobody else has written the record.",
	.options = (const struct pl_option[]){
		{ "take", 0, PL_OPTION_COUNT, "N", "which of the writes, from 1 (needed)" },
		{ "reason", 0, PL_OPTION_TEXT, "TEXT", "why (needed)" },
		{ "by", 0, PL_OPTION_TEXT, "NAME", "who (the user of this machine)" },
		{ "yes", 'y', PL_OPTION_SWITCH, NULL, "do not ask" },
		{ 0 },
	},
	.regions = true, .waits = true,
	.run = conflicts_restore,
};
