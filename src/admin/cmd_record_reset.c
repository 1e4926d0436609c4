// plist-admin record reset: repairs a record that can no longer be written, by a write
// that all regions apply.
//
// Such a record (record/edge.h) has a vector, version or time that leaves no room for
// another write, or a number that no event can carry. The reset writes it again
// unchanged, with the current time and a vector that has room, in one region; the event
// lists the counters that it lowers, so that regions with the same fault follow
// (decide/decide, put_aside).
#include "admin/cmd_record_reset.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/cell.h"
#include "admin/commands.h"
#include "admin/messages.h"
#include "admin/parse.h"
#include "admin/region_sessions.h"
#include "base/clock.h"
#include "base/sha256.h"
#include "config/principals.h"
#include "record/edge.h"
#include "record/unknown.h"
#include "store/edge_sql.h"
#include "store/quote.h"
#include "store/statement.h"

// A region's row.
struct region_row {
	struct pl_region_session *region_session;
	struct pl_record *record; // NULL: there is none. Its vector may name regions that do not exist
	const char *vector_text, *field_times;
	const char *key; // of the region's writes
	bool writable;
};

struct reset {
	struct pl_invocation *invocation;
	const struct pl_resource *resource;
	int64_t id;
	int n;
	struct region_row *rows;
	struct region_row *from; // the row that will be written
	struct pl_vector before, after;
	bool lowers;
	const char *request_id;
	bool silent; // says nothing about the rows
};

// ---- reading the rows

static const char *select_row(struct reset *r, const char *key)
{
	struct pl_buf sql = { 0 };
	pl_buf_adds(&sql, "SELECT p.region_origin, p.version, p.vector::text, p.deleted_at IS NOT NULL, "
	                  "p.field_times::text, p.updated_at::text, ");
	pl_edge_sql(&sql, r->invocation->config, r->resource, key);
	for (int i = 0; i < r->resource->nfields; i++) {
		pl_buf_adds(&sql, ", (");
		pl_statement_field_value(&sql, &r->resource->fields[i]);
		pl_buf_adds(&sql, ")::text");
	}
	pl_buf_adds(&sql, ", (");
	pl_statement_unknown(&sql, r->resource);
	pl_buf_adds(&sql, ")::text");
	pl_buf_adds(&sql, " FROM ");
	pl_statement_table(&sql, r->resource);
	pl_buf_adds(&sql, " AS p, (SELECT 0::bigint AS flags) AS x WHERE p.id = $1");
	const char *text = pl_arena_strndup(r->invocation->arena, sql.data, sql.len);
	pl_buf_fini(&sql);
	return text;
}

static void take_row(struct reset *r, struct region_row *row, const PGresult *result)
{
	struct pl_arena *arena = r->invocation->arena;
	struct pl_record *record = row->record = pl_record_new(arena, r->resource);
	const char *times = pl_cell(result, 0, 4);
	record->id = r->id;
	snprintf(record->region_origin, sizeof(record->region_origin), "%s", pl_cell(result, 0, 0));
	record->version = (int32_t)pl_cell_int(result, 0, 1, 0);
	row->vector_text = pl_arena_strdup(arena, pl_cell(result, 0, 2));
	pl_record_take_vector(record, row->vector_text, strlen(row->vector_text));
	record->deleted = pl_cell(result, 0, 3)[0] == 't';
	row->field_times = times ? pl_arena_strdup(arena, times) : NULL;
	row->writable = pl_cell(result, 0, 6) && pl_cell(result, 0, 6)[0] == 't';
	for (int i = 0; i < r->resource->nfields; i++) {
		const char *value = pl_cell(result, 0, 7 + i);
		bool finite =
			value && !(r->resource->fields[i].type == PL_FIELD_DECIMAL && strpbrk(value, "NI"));
		const char *kept = !finite ? NULL
		                   : r->resource->fields[i].type == PL_FIELD_BOOLEAN
		                           ? (value[0] == 't' ? "t" : "f")
		                           : value;
		record->values[i] = kept ? pl_arena_strdup(arena, kept) : NULL;
	}
	const char *unknown = pl_cell(result, 0, 7 + r->resource->nfields);
	record->unknown = unknown ? pl_arena_strdup(arena, unknown) : NULL;
	if (r->silent)
		return;
	pl_say("%s: version %d, vector %s, updated_at %s%s: %s", row->region_session->region->name,
	       record->version, row->vector_text, pl_cell(result, 0, 5), record->deleted ? ", deleted" : "",
	       row->writable ? "can be written" : "cannot be written");
}

static void look(struct reset *r, struct pl_region_sessions *sessions)
{
	const char *params[] = { pl_arena_printf(r->invocation->arena, "%" PRId64, r->id) };
	r->n = sessions->n;
	r->rows = pl_arena_alloc(r->invocation->arena, (size_t)sessions->n * sizeof(*r->rows));
	for (int i = 0; i < sessions->n; i++) {
		r->rows[i].region_session = &sessions->each[i];
		r->rows[i].key = pl_region_sessions_key(r->invocation, &sessions->each[i]);
		PGresult *result = pl_region_sessions_query(&sessions->each[i], select_row(r, r->rows[i].key),
		                                            1, params);
		if (result && PQntuples(result) > 0)
			take_row(r, &r->rows[i], result);
		PQclear(result);
	}
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

// What all regions have in common once they have exchanged all events.
static bool same_row(const struct reset *r, const struct pl_record *a, const struct pl_record *b)
{
	if (!a || !b)
		return a == b;
	if (!pl_vector_equal(&a->vector, &b->vector) || a->version != b->version ||
	    a->deleted != b->deleted || !same_text(a->unknown, b->unknown))
		return false;
	for (int i = 0; i < r->resource->nfields; i++)
		if (!same_text(a->values[i], b->values[i]))
			return false;
	return true;
}

// Operators run this because something is wrong with a record; if it can be written, it
// may be what another command repairs.
static void point_to_repair(const struct reset *r)
{
	const struct region_row *first = NULL;

	for (int i = 0; i < r->n; i++) {
		const struct region_row *row = &r->rows[i];
		if (!row->region_session->up)
			continue;
		if (first && !same_row(r, first->record, row->record)) {
			pl_warn("%s and %s have different copies of it; if that lasts, plist-admin repair %s "
			        "--ids %" PRId64 " shows how they become equal",
			        first->region_session->region->name, row->region_session->region->name,
			        r->resource->name, r->id);
			return;
		}
		first = first ? first : row;
	}
}

// The first region whose row can no longer be written.
static int choose(struct reset *r)
{
	const char *region = pl_invocation_text(r->invocation, "in", NULL);
	bool any = false;
	for (int i = 0; i < r->n; i++) {
		struct region_row *row = &r->rows[i];
		any |= row->record != NULL;
		if (row->record &&
		    (region ? strcmp(region, row->region_session->region->name) == 0 : !row->writable) &&
		    !r->from)
			r->from = row;
	}
	if (r->from)
		return 0;
	if (!any)
		pl_fail("none of the reachable regions has %s %" PRId64, r->resource->title, r->id);
	else if (region)
		pl_fail("%s has no %s %" PRId64, region, r->resource->title, r->id);
	else {
		pl_say("it can be written in all reachable regions; nothing was changed");
		point_to_repair(r);
	}
	return any && !region ? PL_EXIT_YES : PL_EXIT_NO;
}

// ---- computing the new vector

// The highest counter of a region among the rows that need no reset; if all need one,
// among all rows.
static int32_t honest_count(const struct reset *r, const char *name)
{
	int32_t most = 0;
	for (int i = 0; i < r->n; i++) {
		int32_t count = r->rows[i].record ? pl_vector_get(&r->rows[i].record->vector, name) : 0;
		if (count <= PL_RESET_FROM && count > most)
			most = count;
	}
	return most;
}

static bool has_room(const struct reset *r)
{
	const char *own = r->from->key;
	return !pl_edge_vector_fault(r->invocation->arena, r->invocation->config, &r->after) &&
	       pl_vector_get(&r->after, own) < PL_COUNTER_MAX && pl_vector_sum(&r->after) < PL_VERSION_MAX;
}

// Everything that any region has seen, without names of regions that do not exist.
static void join_all(struct reset *r)
{
	for (int i = 0; i < r->n; i++)
		for (int j = 0; r->rows[i].record && j < r->rows[i].record->vector.n; j++) {
			const char *name;
			int32_t count = pl_vector_at(&r->rows[i].record->vector, j, &name);
			if (count > pl_vector_get(&r->before, name))
				pl_vector_set(&r->before, name, count);
			if (pl_edge_name_known(r->invocation->config, name) &&
			    count > pl_vector_get(&r->after, name))
				pl_vector_set(&r->after, name, count);
		}
	r->lowers = !pl_vector_equal(&r->before, &r->after);
}

// Counters that leave no room are lowered to the highest one of a healthy row, or to a
// value that every region accepts.
static void lower(struct reset *r)
{
	for (int i = 0; i < r->before.n; i++) {
		const char *name;
		int32_t count = pl_vector_at(&r->before, i, &name), honest;
		if (count <= PL_RESET_FROM || !pl_edge_name_known(r->invocation->config, name))
			continue;
		honest = honest_count(r, name);
		pl_vector_set(&r->after, name, honest ? honest : PL_JUMP_MAX - 1);
		r->lowers = true;
	}
}

// Adds this region's write. The version does not decrease as long as other regions
// would follow, so that a lock on an old version still fails.
static void count_write(struct reset *r)
{
	const char *own = r->from->key;
	int64_t behind = r->from->record->version - pl_vector_sum(&r->after);
	int32_t more = 1 + (behind > 0 && behind < PL_JUMP_MAX / 2 ? (int32_t)behind : 0);
	pl_vector_set(&r->after, own, pl_vector_get(&r->after, own) + more);
}

static int plan(struct reset *r)
{
	join_all(r);
	if (!has_room(r))
		lower(r);
	if (!has_room(r)) {
		pl_fail("the vector of the record has no room for another write, and none of its counters "
		        "can be lowered");
		return PL_EXIT_NO;
	}
	count_write(r);
	for (int i = 0; i < r->resource->nfields; i++)
		if (r->resource->fields[i].required && !r->from->record->values[i]) {
			pl_fail("an event cannot carry the value of %s; set another value with an ordinary "
			        "request that names the field, or in SQL",
			        r->resource->fields[i].name);
			return PL_EXIT_NO;
		}
	return 0;
}

// ---- writing it

static const char *vector_text(struct reset *r, const struct pl_vector *vector)
{
	struct pl_buf buf = { 0 };
	pl_vector_print(&buf, vector);
	const char *text = pl_arena_strndup(r->invocation->arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return text;
}

// Succeeds only if the row is as it was read.
static const char *update_text(struct reset *r)
{
	struct pl_buf sql = { 0 };
	pl_buf_adds(&sql, "UPDATE ");
	pl_statement_table(&sql, r->resource);
	pl_buf_adds(&sql, " AS p SET ");
	for (int i = 0; i < r->resource->nfields; i++) {
		if (r->resource->fields[i].type != PL_FIELD_DECIMAL)
			continue;
		struct pl_buf name = { 0 };
		pl_quote_name(&name, r->resource->fields[i].name);
		pl_buf_printf(
			&sql,
			"%s = CASE WHEN p.%s < 'Infinity'::numeric AND p.%s > '-Infinity'::numeric THEN p.%s "
			"END, ",
			name.data, name.data, name.data, name.data);
		pl_buf_fini(&name);
	}
	pl_buf_adds(
		&sql,
		"vector = $2::jsonb, version = $3::integer, updated_at = now(), region_origin = $4, "
		"request_id = $5, has_siblings = false, "
		"deleted_at = CASE WHEN p.deleted_at IS NOT NULL THEN now() END WHERE p.id = $1::bigint AND "
		"p.vector::text = $6 "
		"RETURNING " PL_EPOCH("updated_at"));
	const char *text = pl_arena_strndup(r->invocation->arena, sql.data, sql.len);
	pl_buf_fini(&sql);
	return text;
}

static int run(struct reset *r, const char *sql, int n, const char *const *params)
{
	PGresult *result = pl_region_sessions_query(r->from->region_session, sql, n, params);
	PQclear(result);
	return result ? 0 : PL_EXIT_NO;
}

// Writes the row and reads when it was written.
static int update_row(struct reset *r, const char *id, const char *vector, const char *own)
{
	const char *version = pl_arena_printf(r->invocation->arena, "%" PRId64, pl_vector_sum(&r->after));
	const char *update[] = { id, vector, version, own, r->request_id, r->from->vector_text };
	PGresult *result = pl_region_sessions_query(r->from->region_session, update_text(r), 6, update);
	if (!result)
		return PL_EXIT_NO;
	bool written = PQntuples(result) == 1;
	struct pl_record *record = r->from->record;
	record->updated_at_us = written ? pl_cell_time(result, 0, 0) : 0;
	PQclear(result);
	if (!written) {
		pl_fail("the record was written in the meantime; check it, and repeat the command if it "
		        "still cannot be written");
		return PL_EXIT_NO;
	}
	record->version = (int32_t)pl_vector_sum(&r->after);
	snprintf(record->region_origin, sizeof(record->region_origin), "%s", own);
	return 0;
}

// The record as JSON: as clients see it, or as events carry it.
static const char *printed(struct reset *r, bool with_unknown)
{
	struct pl_buf json = { 0 };
	pl_record_print(&json, r->from->record);
	if (with_unknown) {
		json.len--; // the closing brace
		pl_unknown_print_members(&json, r->from->record->unknown);
		pl_buf_addc(&json, '}');
	}
	const char *text = pl_arena_strndup(r->invocation->arena, json.data, json.len);
	pl_buf_fini(&json);
	return text;
}

// The row, its siblings, the event and the request: what a batch of the store writes.
static int write_all(struct reset *r, const char *digest)
{
	struct pl_arena *arena = r->invocation->arena;
	struct pl_record *record = r->from->record;
	const char *id = pl_arena_printf(arena, "%" PRId64, r->id), *own = r->from->key,
		   *vector = vector_text(r, &r->after);
	const char *status = record->deleted ? "204" : "200";
	int rc = update_row(r, id, vector, own);
	if (rc)
		return rc;
	const char *answered = printed(r, false), *value = printed(r, true);
	const char *gone[] = { r->resource->name, id };
	const char *event[] = { r->resource->name,
		                id,
		                own,
		                value,
		                record->deleted ? "t" : "f",
		                vector,
		                r->resource->track_fields ? r->from->field_times : NULL,
		                r->request_id,
		                digest,
		                status,
		                r->lowers ? vector_text(r, &r->before) : NULL };
	const char *answer[] = { r->request_id,
		                 digest,
		                 r->resource->name,
		                 id,
		                 status,
		                 record->deleted ? NULL : answered,
		                 vector,
		                 pl_arena_printf(arena, "{\"%s\":%d}", own, pl_vector_get(&r->after, own)) };
	rc = run(r, "SELECT plist.plist_replace_siblings($1, $2::bigint)", 2, gone);
	if (!rc)
		rc = run(r,
		         "INSERT INTO plist.outbox (resource, record_id, origin, value, deleted, vector, "
		         "field_times, request_id, principal, fingerprint, status, "
		         "expires_at, reset) VALUES ($1, $2::bigint, $3, $4, $5::boolean, $6::jsonb, "
		         "$7::jsonb, $8, '" PL_PRINCIPAL_OF_TOOL "', decode($9, 'hex'), "
		         "$10::smallint, now() + interval '1 day', $11::jsonb)",
		         11, event);
	if (!rc)
		rc = run(
			r,
			"INSERT INTO plist.processed_requests (request_id, principal, fingerprint, resource, "
			"record_id, status, response_body, vector, dots, expires_at) "
			"VALUES ($1, '" PL_PRINCIPAL_OF_TOOL
			"', decode($2, 'hex'), $3, $4::bigint, $5::smallint, "
			"$6::jsonb, $7::jsonb, $8::jsonb, now() + interval '1 day')",
			8, answer);
	return rc;
}

static int execute(struct reset *r)
{
	uint8_t digest[PL_SHA256_SIZE];
	char hex[PL_SHA256_HEX];
	struct pl_error err = { 0 };
	const char *what =
		pl_arena_printf(r->invocation->arena, "reset %s %" PRId64 " %s %s", r->resource->name, r->id,
	                        r->from->vector_text, vector_text(r, &r->after));
	pl_sha256(what, strlen(what), digest);
	pl_sha256_hex(digest, hex);
	r->request_id = pl_arena_printf(r->invocation->arena, "reset-%s-%" PRId64 "-%.12s",
	                                r->from->region_session->region->name, r->id, hex);
	int rc = run(r, "BEGIN", 0, NULL);
	if (!rc)
		rc = write_all(r, hex);
	if (!rc)
		return run(r, "COMMIT", 0, NULL);
	if (pl_session_connected(r->from->region_session->session))
		pl_session_do(r->from->region_session->session, "ROLLBACK", &err);
	return rc;
}

int pl_cmd_record_reset_row(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                            const struct pl_row_to_reset *row, const char **request_id_r)
{
	struct reset r = {
		.invocation = invocation, .resource = row->resource, .id = row->id, .silent = true
	};
	look(&r, sessions);
	r.from = &r.rows[row->where];
	if (!r.from->record) {
		pl_fail("%s/%" PRId64 " is no longer in %s", row->resource->name, row->id,
		        r.from->region_session->region->name);
		return PL_EXIT_NO;
	}
	int rc = plan(&r);
	if (!rc)
		rc = execute(&r);
	*request_id_r = r.request_id;
	return rc;
}

static int reset_in(struct reset *r, struct pl_region_sessions *sessions)
{
	look(r, sessions);
	int rc = choose(r);
	if (!r->from)
		return rc;
	if ((rc = plan(r)))
		return rc;
	pl_say("%s %" PRId64 " will be written in %s as it is there, as version %" PRId64
	       " with the vector %s; the event takes it to the other regions",
	       r->resource->title, r->id, r->from->region_session->region->name, pl_vector_sum(&r->after),
	       vector_text(r, &r->after));
	if (!pl_invocation_has(r->invocation, "yes") && !pl_confirm("Write it?"))
		return PL_EXIT_NO;
	if ((rc = execute(r)))
		return rc;
	pl_say("written, request id %s", r->request_id);
	return PL_EXIT_YES;
}

// "properties/7", the only argument. 0, or PL_EXIT_USAGE after saying why.
static int parse_record(struct pl_invocation *invocation, const struct pl_resource **resource_r,
                        int64_t *id_r)
{
	const char *text = invocation->args[0], *slash = strrchr(text, '/');
	if (!slash || slash == text || pl_parse_count(slash + 1, id_r) || *id_r == 0) {
		pl_fail("'%s' is not a resource and an id, such as %s/7", text,
		        invocation->config->resources[0].name);
		return PL_EXIT_USAGE;
	}
	const char *name = pl_arena_strndup(invocation->arena, text, (size_t)(slash - text));
	*resource_r = pl_config_resource(invocation->config, name);
	return *resource_r ? 0 : pl_invocation_unknown_resource(invocation, name);
}

static int reset(struct pl_invocation *invocation)
{
	struct reset r = { .invocation = invocation };
	struct pl_region_sessions sessions;
	int rc = pl_invocation_regions(invocation);
	if (rc)
		return rc;
	rc = parse_record(invocation, &r.resource, &r.id);
	if (rc)
		return rc;
	pl_region_sessions_open(invocation, &sessions, pl_invocation_timeout_us(invocation));
	rc = reset_in(&r, &sessions);
	for (int i = 0; i < sessions.n && rc == PL_EXIT_YES && r.from; i++)
		if (!sessions.each[i].up)
			pl_warn("%s was not reached; if its vector has higher counters than the event, run "
			        "the command there again",
			        sessions.each[i].region->name);
	rc = r.from ? rc : pl_region_sessions_exit(&sessions, rc);
	pl_region_sessions_close(&sessions);
	return rc;
}

static const struct pl_option record_reset_options[] = {
	{ "in", 0, PL_OPTION_REGION, "REGION",
	  "use the row of this region and write it there, even if it can be written" },
	{ "yes", 'y', PL_OPTION_SWITCH, NULL, "do not ask for confirmation" },
	{ NULL },
};

const struct pl_command pl_cmd_record_reset = {
	.noun = "record",
	.verb = "reset",
	.arguments = "RESOURCE/ID",
	.min_args = 1,
	.max_args = 1,
	.summary = "make a record writable again",
	.help = "Repairs a record that can be read but no longer written (409, \"cannot be written\"): its "
		"vector or version is at the end of the range, its version is not the sum of its vector, its "
		"time is "
		"more than a day in the future, or one of its numbers is NaN. Such values come from SQL, "
		"restored "
		"tables or forged events. The record is written with its current values, the current time "
		"and a "
		"vector that has room, in the first region where it cannot be written; an ordinary event "
		"carries it "
		"to the other regions. A number that is NaN or infinite becomes null. A record that can be "
		"written "
		"is not changed; if the regions have different copies of it, the command says so, and "
		"'plist-admin repair' makes them equal.",
	.options = record_reset_options,
	.regions = true,
	.waits = true,
	.run = reset,
};
