// plist-admin conflicts restore: undoes a decision by an ordinary write.
//
// The chosen write goes through store/store like a client's write: it locks the row's
// vector and has a request id, an outbox row and an event. It has seen all current
// writes of the record, so it replaces them in every region. Like a client's, it is
// refused if it would violate a unique value or a reference. The table restorations
// records who did it and why.
#include "admin/commands.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/cell.h"
#include "admin/messages.h"
#include "admin/region_sessions.h"
#include "admin/row_writer.h"
#include "apply/conflict_read.h"
#include "auth/roles.h"
#include "base/clock.h"
#include "base/json.h"
#include "store/store.h"

#define DAY_US INT64_C(86400000000)

struct restore {
	struct pl_invocation *invocation;
	struct pl_region_session *region_session;
	int64_t conflict;
	const struct pl_resource *resource;
	int64_t record;
	int take;             // from 1
	const char *siblings; // the siblings of the conflict, as recorded
	struct pl_recorded_conflict recorded;
	struct pl_vector vector; // of the row at present
	bool exists, deleted;
	const char *request_id;
	struct pl_write write;
	bool answered;
};

static const char *text_of_values(struct restore *r, const char *const *values, bool deleted)
{
	struct pl_buf buf = { 0 };
	for (int f = 0; f < r->resource->nfields && !deleted; f++)
		pl_buf_printf(&buf, "%s%s %s", f ? ", " : "", r->resource->fields[f].name,
		              values[f] ? values[f] : "null");
	const char *text = deleted ? "deleted" : pl_arena_strndup(r->invocation->arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return text;
}

static int read_conflict(struct restore *r)
{
	struct pl_error err = { 0 };
	const char *params[] = { pl_arena_printf(r->invocation->arena, "%" PRId64, r->conflict) };
	PGresult *result = pl_region_sessions_query(
		r->region_session,
		"SELECT resource, record_id, siblings, visible, type FROM plist.conflicts WHERE id = $1", 1,
		params);
	int rc = PL_EXIT_UNREACHABLE;
	if (result && PQntuples(result) == 0) {
		pl_fail("%s has no conflict %" PRId64, r->region_session->region->name, r->conflict);
		rc = PL_EXIT_NO;
	} else if (result) {
		r->resource = pl_config_resource(r->invocation->config, pl_cell(result, 0, 0));
		r->record = pl_cell_int(result, 0, 1, 0);
		r->siblings = pl_arena_strdup(r->invocation->arena, pl_cell(result, 0, 2));
		rc = PL_EXIT_NO;
		if (!r->resource)
			pl_fail("the configuration no longer has a resource '%s'", pl_cell(result, 0, 0));
		else if (strcmp(pl_cell(result, 0, 4), "created_twice") == 0)
			pl_fail("this conflict is about two records that one request created: delete the one "
			        "that should go; see plist-admin conflicts show");
		else if (strcmp(pl_cell(result, 0, 4), "multiple_unique_conflicts") == 0 ||
		         strcmp(pl_cell(result, 0, 4), "reference_missing") == 0)
			pl_fail("this conflict is about several records that violate something: change one "
			        "of them; see plist-admin conflicts show");
		else if (pl_conflict_read(r->invocation->arena, r->resource, r->siblings,
		                          pl_cell(result, 0, 3), &r->recorded, &err) < 0)
			pl_fail("%s", err.text);
		else
			rc = 0;
	}
	PQclear(result);
	return rc;
}

// The current row. The write locks its vector.
static int read_row(struct restore *r)
{
	const char *params[] = { pl_arena_printf(r->invocation->arena, "%" PRId64, r->record) };
	PGresult *result = pl_region_sessions_query(
		r->region_session,
		pl_arena_printf(r->invocation->arena,
	                        "SELECT vector::text, deleted_at IS NOT NULL FROM \"%s\" WHERE id = $1",
	                        r->resource->table),
		1, params);
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

struct waiting {
	struct pl_loop *loop;
	struct pl_store *store;
	struct restore *restore;
	bool sent;
};

static int turn(void *arg)
{
	struct waiting *w = arg;
	struct pl_error why;
	if (!w->sent &&
	    (pl_store_ready(w->store, &why) || pl_mono_us() > w->restore->write.deadline_us - 1000000)) {
		w->sent = true;
		pl_store_write(w->store, &w->restore->write);
	}
	pl_store_turn(w->store);
	if (w->restore->answered)
		pl_loop_stop(w->loop);
	return 20;
}

// The request id. Restoring the same decision over the same row is the same request.
static const char *id_upon(const struct restore *r, const struct pl_vector *vector,
                           uint8_t digest[PL_SHA256_SIZE])
{
	struct pl_buf buf = { 0 };
	char hex[PL_SHA256_HEX];
	pl_buf_printf(&buf, "restore %s %" PRId64 " %d ", r->region_session->region->name, r->conflict,
	              r->take);
	pl_vector_print(&buf, vector);
	pl_sha256(buf.data, buf.len, digest);
	pl_buf_fini(&buf);
	return pl_arena_printf(r->invocation->arena, "restore-%s-%" PRId64 "-%.12s",
	                       r->region_session->region->name, r->conflict, pl_sha256_hex(digest, hex));
}

// Whether the current row was written by this same restore. If so, its request is
// remembered, made against the row as it was one local write earlier. Once somebody has
// written the record again, the same restore is a new request.
static bool is_written(struct restore *r)
{
	struct pl_vector before = r->vector;
	uint8_t digest[PL_SHA256_SIZE];
	struct pl_buf now = { 0 };
	const char *key = pl_region_sessions_key(r->invocation, r->region_session);
	int32_t own = pl_vector_get(&before, key);
	if (!r->exists || own < 1)
		return false;
	pl_vector_set(&before, key, own - 1);
	pl_vector_print(&now, &r->vector);
	const char *id = id_upon(r, &before, digest), *params[] = { id, now.data };
	PGresult *result = pl_region_sessions_query(
		r->region_session,
		"SELECT 1 FROM plist.processed_requests WHERE request_id = $1 AND principal = "
		"'" PL_PRINCIPAL_OF_TOOL "' AND vector = $2::jsonb",
		2, params);
	bool found = result && PQntuples(result) > 0;
	PQclear(result);
	pl_buf_fini(&now);
	r->request_id = found ? id : NULL;
	return found;
}

static void fill_write(struct restore *r, const struct pl_sibling *chosen)
{
	struct pl_arena *arena = r->invocation->arena;
	struct pl_write *w = &r->write;
	uint8_t digest[PL_SHA256_SIZE];
	r->request_id = id_upon(r, &r->vector, digest);
	*w = (struct pl_write){
		.arena = arena,
		.resource = r->resource,
		.id = r->record,
		.request_id = r->request_id,
		.principal = PL_PRINCIPAL_OF_TOOL,
		.region_prefix = r->region_session->region->name,
		.ttl_us = DAY_US,
		.deadline_us = pl_mono_us() + pl_invocation_timeout_us(r->invocation),
		.op = chosen->deleted            ? PL_WRITE_DELETE
		      : !r->exists || r->deleted ? PL_WRITE_CREATE
		                                 : PL_WRITE_UPDATE,
		.done = done,
		.arg = r,
	};
	memcpy(w->fingerprint, digest, sizeof(digest));
	if (w->op != PL_WRITE_CREATE) {
		w->has_etag = true;
		w->etag = r->vector;
		w->lock = PL_LOCK_REQUIRED;
	}
	w->changes.values = chosen->values;
	w->changes.set = pl_arena_alloc(arena, sizeof(w->changes.set[0]) * (size_t)r->resource->nfields);
	for (int f = 0; f < r->resource->nfields; f++)
		w->changes.set[f] = !chosen->deleted;
}

// Sends the write through a separate store and waits for its outcome.
static int execute(struct restore *r)
{
	struct pl_error err = { 0 };
	struct pl_loop *loop = pl_loop_new();
	struct pl_region region = *r->region_session->region;
	struct pl_store_options options = { .loop = loop,
		                            .config = r->invocation->config,
		                            .region = &region,
		                            .key = pl_region_sessions_key(r->invocation, r->region_session) };
	region.id_base_given = false; // only a daemon that starts may move the range of ids
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
	case PL_OUTCOME_REMEMBERED: return 0;
	case PL_OUTCOME_ETAG:
	case PL_OUTCOME_EXISTS:
	case PL_OUTCOME_NOT_FOUND:
		pl_fail("the record was written in the meantime; check it and repeat the command if it is "
		        "still needed");
		return PL_EXIT_NO;
	case PL_OUTCOME_FAILED: pl_fail("%s", r->write.err.text); return PL_EXIT_UNREACHABLE;
	default: pl_row_writer_say_refused(region.name, &r->write); return PL_EXIT_NO;
	}
}

static const char *who(struct pl_invocation *invocation)
{
	const char *by = pl_invocation_text(invocation, "by", NULL);
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
	const char *text = pl_arena_strndup(r->invocation->arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	cJSON_Delete(all);
	return text;
}

static int note(struct restore *r)
{
	struct pl_arena *arena = r->invocation->arena;
	const char *params[] = { pl_arena_printf(arena, "%" PRId64, r->conflict),
		                 r->resource->name,
		                 pl_arena_printf(arena, "%" PRId64, r->record),
		                 chosen_json(r),
		                 r->request_id,
		                 who(r->invocation),
		                 pl_invocation_text(r->invocation, "reason", "") };
	PGresult *result = pl_region_sessions_query(
		r->region_session,
		"INSERT INTO plist.restorations (conflict_id, resource, record_id, taken, request_id, "
		"restored_by, reason) "
		"SELECT $1::bigint, $2, $3::bigint, $4::jsonb, $5::text, $6, $7 "
		"WHERE NOT EXISTS (SELECT FROM plist.restorations WHERE request_id = $5::text)",
		7, params);
	PQclear(result);
	if (result)
		return PL_EXIT_YES;
	pl_warn("the record was written (request id %s), but the entry in the table restorations could not "
	        "be",
	        r->request_id);
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
		pl_say("the record is already as this restore left it; nothing was written");
		return note(r); // an interrupted run may not have recorded it
	}
	if (chosen->deleted && (!r->exists || r->deleted)) {
		pl_say("the record is already deleted; nothing was written");
		return PL_EXIT_YES;
	}
	pl_say("%s %" PRId64 ": will be: %s (what %s wrote), in all regions", r->resource->title, r->record,
	       text_of_values(r, chosen->values, chosen->deleted), chosen->dot.region);
	pl_say("  the conflict showed: %s",
	       text_of_values(r, r->recorded.visible, r->recorded.visible_deleted));
	if (!pl_invocation_has(r->invocation, "yes") && !pl_confirm("Write it?"))
		return PL_EXIT_NO;
	fill_write(r, chosen);
	rc = execute(r);
	if (rc)
		return rc;
	pl_say("written as version %d, request id %s", r->write.record ? r->write.record->version : 0,
	       r->request_id);
	return note(r);
}

static int conflicts_restore(struct pl_invocation *invocation)
{
	const struct pl_region *region;
	struct pl_region_sessions sessions;
	struct restore r = { .invocation = invocation,
		             .take = (int)pl_invocation_number(invocation, "take", 0) };
	int rc = pl_invocation_regions(invocation);
	if (!rc)
		rc = pl_region_sessions_parse_id(invocation, invocation->args[0], &region, &r.conflict);
	if (rc)
		return rc;
	pl_invocation_only(invocation, region);
	if (invocation->nregions != 1) {
		pl_fail("each region numbers its own conflicts: write REGION/%" PRId64, r.conflict);
		return PL_EXIT_USAGE;
	}
	if (!pl_invocation_has(invocation, "take") || !pl_invocation_has(invocation, "reason")) {
		pl_fail("--take and --reason are required: which write to restore, and why");
		return PL_EXIT_USAGE;
	}
	pl_region_sessions_open(invocation, &sessions, pl_invocation_timeout_us(invocation));
	r.region_session = &sessions.each[0];
	rc = r.region_session->up ? restore_one(&r) : PL_EXIT_UNREACHABLE;
	pl_region_sessions_close(&sessions);
	return rc;
}

static const struct pl_option conflicts_restore_options[] = {
	{ "take", 0, PL_OPTION_COUNT, "N", "number of the write to restore, from 1 (required)", .min = 1 },
	{ "reason", 0, PL_OPTION_TEXT, "TEXT", "why (needed)" },
	{ "by", 0, PL_OPTION_TEXT, "NAME", "who restores it (default: the current user)" },
	{ "yes", 'y', PL_OPTION_SWITCH, NULL, "do not ask for confirmation" },
	{ 0 },
};

const struct pl_command pl_cmd_conflicts_restore = {
	.noun = "conflicts",
	.verb = "restore",
	.arguments = "ID",
	.min_args = 1,
	.max_args = 1,
	.summary = "restore another of the concurrent writes",
	.help = "Writes the chosen write of a conflict again, as an ordinary new write conditional on the "
		"current version of the record. Its event replaces the visible row in every region. ID is "
		"REGION/NUMBER, or the number with --region; N is the position of the write in `conflicts "
		"show`, "
		"from 1. The table restorations records who did it and why. Running the command again writes "
		"nothing "
		"unless the record was written in the meantime.",
	.options = conflicts_restore_options,
	.regions = true,
	.waits = true,
	.run = conflicts_restore,
};
