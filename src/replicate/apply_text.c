// The texts of the applier's statements: what one batch is to PostgreSQL.
//
// Beside replicate/apply_sql, which fills in the parameters. Each takes arrays, one per column, and unnests them, so a batch of any size is one
// statement. The statement that writes rows also remembers the requests, unless they are many and go by COPY, and moves the position.
// Threads: any; nothing is shared.
#include "replicate/apply_text.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "record/params.h"
#include "record/statement.h"

static const char *array_type(const struct pl_field *field)
{
	switch (pl_params_field_type(field)) {
	case PL_WIRE_INT4:
		return "integer[]";
	case PL_WIRE_BOOL:
		return "boolean[]";
	default:
		return "text[]";
	}
}

// The field's value in the unnested rows, which may have a name.
static void add_value(struct pl_buf *sql, const struct pl_resource *resource, int i, const char *alias)
{
	pl_buf_printf(sql, "%sf%d%s", alias, i, resource->fields[i].type == PL_FIELD_DECIMAL ? "::numeric" : "");
}

// The fields' own names, each followed by a comma.
static void add_fields(struct pl_buf *sql, const struct pl_resource *resource)
{
	for (int i = 0; i < resource->nfields; i++) {
		pl_statement_name(sql, resource->fields[i].name);
		pl_buf_adds(sql, ", ");
	}
}

static void add_params(struct pl_buf *sql, int from, int n)
{
	for (int i = 0; i < n; i++)
		pl_buf_printf(sql, "%s$%d", i ? ", " : "", from + i);
}

static void lock_text(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_buf_printf(sql, "PREPARE apply_lock_%d (bigint[]) AS SELECT id, ", resource->index);
	add_fields(sql, resource);
	pl_buf_adds(sql, "region_origin, version, updated_at, vector, deleted_at IS NOT NULL, siblings, field_times, request_id FROM ");
	pl_statement_table(sql, resource);
	pl_buf_adds(sql, " WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE");
}

#define REQUEST_TYPES "text[], text[], bytea[], text[], bigint[], smallint[], jsonb[], jsonb[], text[], jsonb[], timestamptz[]"
#define POSITION_TYPES "text[], integer[], bigint[], timestamptz[]"
#define IF_EXPIRED(column) #column " = CASE WHEN p.expires_at < now() THEN excluded." #column " ELSE p." #column " END, "

// The element-wise maximum of two maps; and, for a request of the same id that asked for something else, entries that name its fingerprint:
// {"eu 9f…": 3}. So its own executions are known wherever it was heard of second, too (see pl_apply_sql_remembered).
#define JOINED_DOTS "CASE WHEN p.expires_at < now() THEN excluded.dots WHEN p.fingerprint = excluded.fingerprint THEN " \
	"(SELECT jsonb_object_agg(k, n) FROM (SELECT k, max(v::integer) AS n FROM (SELECT * FROM jsonb_each_text(p.dots) UNION ALL " \
	"SELECT * FROM jsonb_each_text(excluded.dots)) AS d(k, v) GROUP BY k) AS m) ELSE p.dots || (SELECT jsonb_object_agg(" \
	"k || ' ' || encode(excluded.fingerprint, 'hex'), v::integer) FROM jsonb_each_text(excluded.dots) AS d(k, v)) END"

static void add_requests(struct pl_buf *sql, int from, bool careful)
{
	pl_buf_adds(sql, "INSERT INTO processed_requests AS p (request_id, principal, fingerprint, resource, record_id, status, "
	            "response_body, vector, location, dots, expires_at) SELECT * FROM unnest(");
	add_params(sql, from, PL_REQUEST_COLUMNS);
	if (!careful) {
		pl_buf_addc(sql, ')');
		return;
	}
	pl_buf_adds(sql, ") ON CONFLICT (request_id, principal) DO UPDATE SET " IF_EXPIRED(fingerprint) IF_EXPIRED(resource)
	            IF_EXPIRED(record_id) IF_EXPIRED(status) IF_EXPIRED(response_body) IF_EXPIRED(vector) IF_EXPIRED(location)
	            "dots = " JOINED_DOTS ", " IF_EXPIRED(created_at)
	            "expires_at = CASE WHEN p.expires_at < now() THEN excluded.expires_at ELSE p.expires_at END "
	            "WHERE p.expires_at < now() OR (p.resource = excluded.resource AND p.record_id = excluded.record_id "
	            "AND NOT p.dots @> excluded.dots)");
}

static void add_positions(struct pl_buf *sql, int from)
{
	pl_buf_adds(sql, "INSERT INTO applied_positions (topic, partition, next_offset, event_at) SELECT * FROM unnest(");
	add_params(sql, from, PL_POSITION_COLUMNS);
	pl_buf_adds(sql, ") ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset, "
	            "event_at = coalesce(excluded.event_at, applied_positions.event_at), applied_at = now()");
}

static void write_text(struct pl_buf *sql, const struct pl_resource *resource, bool careful)
{
	int nrow = PL_ROW_FIELDS + resource->nfields + PL_ROW_TAIL;

	pl_buf_printf(sql, "PREPARE apply_write%s_%d (bigint[], boolean[], ", careful ? "" : "_new", resource->index);
	for (int i = 0; i < resource->nfields; i++)
		pl_buf_printf(sql, "%s, ", array_type(&resource->fields[i]));
	pl_buf_adds(sql, "text[], integer[], timestamptz[], jsonb[], boolean[], boolean[], jsonb[], text[], " REQUEST_TYPES ", " POSITION_TYPES
	            ") AS WITH i AS MATERIALIZED (SELECT * FROM unnest(");
	add_params(sql, 1, nrow);
	pl_buf_adds(sql, ") AS t(id, fresh, ");
	for (int i = 0; i < resource->nfields; i++)
		pl_buf_printf(sql, "f%d, ", i);
	pl_buf_adds(sql, "origin, version, updated_at, vector, deleted, siblings, field_times, request_id)), u AS (UPDATE ");
	pl_statement_table(sql, resource);
	pl_buf_adds(sql, " AS p SET ");
	for (int i = 0; i < resource->nfields; i++) {
		pl_statement_name(sql, resource->fields[i].name);
		pl_buf_adds(sql, " = ");
		add_value(sql, resource, i, "i.");
		pl_buf_adds(sql, ", ");
	}
	pl_buf_adds(sql, "region_origin = i.origin, version = i.version, updated_at = i.updated_at, vector = i.vector, "
	            "deleted_at = CASE WHEN i.deleted THEN i.updated_at END, siblings = i.siblings, field_times = i.field_times, "
	            "request_id = i.request_id "
	            "FROM i WHERE p.id = i.id AND NOT i.fresh RETURNING 1), n AS (INSERT INTO ");
	pl_statement_table(sql, resource);
	pl_buf_adds(sql, " (id, ");
	add_fields(sql, resource);
	pl_buf_adds(sql, "region_origin, version, updated_at, vector, deleted_at, siblings, field_times, request_id) SELECT id, ");
	for (int i = 0; i < resource->nfields; i++) {
		add_value(sql, resource, i, "");
		pl_buf_adds(sql, ", ");
	}
	pl_buf_printf(sql, "origin, version, updated_at, vector, CASE WHEN deleted THEN updated_at END, siblings, field_times, request_id FROM i "
	              "WHERE fresh ORDER BY id%s RETURNING 1), r AS (", careful ? " ON CONFLICT (id) DO NOTHING" : "");
	add_requests(sql, 1 + nrow, careful);
	pl_buf_adds(sql, "), a AS (");
	add_positions(sql, 1 + nrow + PL_REQUEST_COLUMNS);
	pl_buf_adds(sql, ") SELECT (SELECT count(*) FROM u) + (SELECT count(*) FROM n)");
}

static const char *const fixed[] = {
	"SET TIME ZONE 'UTC'", "SET datestyle = 'ISO'", "SET bytea_output = 'hex'", "SET client_encoding = 'UTF8'",
	"SET plan_cache_mode = force_generic_plan", "SET jit = off",

	"PREPARE apply_siblings_read (text[], bigint[]) AS SELECT resource, record_id, origin, counter, vector, updated_at, deleted, fields, "
	"field_times, request_id, principal, fingerprint FROM record_siblings "
	"WHERE (resource, record_id) IN (SELECT * FROM unnest($1, $2)) ORDER BY resource, record_id, origin, counter",

	"PREPARE apply_remembered (text[], text[]) AS SELECT p.request_id, p.principal, p.fingerprint, p.resource, p.record_id, p.dots "
	"FROM (SELECT DISTINCT * FROM unnest($1, $2)) AS q(request_id, principal), LATERAL (SELECT * FROM processed_requests AS p "
	"WHERE p.request_id = q.request_id AND p.principal = q.principal LIMIT 1) AS p",

	"PREPARE apply_siblings_delete (text[], bigint[]) AS DELETE FROM record_siblings "
	"WHERE (resource, record_id) IN (SELECT * FROM unnest($1, $2))",

	"PREPARE apply_siblings_insert (text[], bigint[], text[], integer[], jsonb[], timestamptz[], boolean[], jsonb[], jsonb[], text[], "
	"text[], bytea[]) AS INSERT INTO record_siblings (resource, record_id, origin, counter, vector, updated_at, deleted, fields, "
	"field_times, request_id, principal, fingerprint) SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",

	"PREPARE apply_conflicts_close (text[], bigint[]) AS UPDATE conflicts SET closed_at = now() "
	"WHERE closed_at IS NULL AND (resource, record_id) IN (SELECT * FROM unnest($1, $2))",

	"PREPARE apply_conflicts_insert (text[], bigint[], text[], boolean[], text[], text[], text[], jsonb[], jsonb[], jsonb[], jsonb[], text[], "
	"integer[], bigint[]) AS INSERT INTO conflicts (resource, record_id, type, closed_at, policy_name, policy_sha256, policy_error, "
	"siblings, verdict, visible, vector, topic, partition, \"offset\") SELECT resource, record_id, type, CASE WHEN closed THEN now() END, "
	"policy_name, policy_sha256, policy_error, siblings, verdict, visible, vector, topic, partition, at FROM unnest($1, $2, $3, $4, $5, $6, "
	"$7, $8, $9, $10, $11, $12, $13, $14) AS t(resource, record_id, type, closed, policy_name, policy_sha256, policy_error, siblings, "
	"verdict, visible, vector, topic, partition, at)",

	// A policy that was changed decides anew what stands; the record of the decision in force follows it.
	"PREPARE apply_conflicts_anew (text[], bigint[], text[], text[], text[], jsonb[], jsonb[], jsonb[]) AS "
	"UPDATE conflicts AS c SET policy_name = t.policy_name, policy_sha256 = t.policy_sha256, policy_error = t.policy_error, "
	"siblings = t.siblings, verdict = t.verdict, visible = t.visible FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) AS "
	"t(resource, record_id, policy_name, policy_sha256, policy_error, siblings, verdict, visible) "
	"WHERE c.closed_at IS NULL AND c.resource = t.resource AND c.record_id = t.record_id AND (c.policy_sha256 <> t.policy_sha256 "
	"OR c.policy_error IS DISTINCT FROM t.policy_error OR c.verdict <> t.verdict) AND (c.detected_at, c.id) = "
	"(SELECT l.detected_at, l.id FROM conflicts AS l WHERE l.closed_at IS NULL AND l.resource = t.resource AND l.record_id = t.record_id "
	"ORDER BY l.detected_at DESC, l.id DESC LIMIT 1)",

	"PREPARE apply_dead_letters (text[], integer[], bigint[], bytea[], bytea[], jsonb[], text[]) AS INSERT INTO dead_letters (topic, partition, "
	"\"offset\", key, value, headers, error) SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",

	"PREPARE apply_where AS SELECT topic, partition, next_offset FROM applied_positions",

	"PREPARE apply_flagged (text, bigint, integer) AS SELECT DISTINCT resource, record_id FROM record_siblings "
	"WHERE (resource, record_id) > ($1, $2) ORDER BY resource, record_id LIMIT $3",

	"PREPARE apply_count_flagged AS SELECT count(*) FROM (SELECT DISTINCT resource, record_id FROM record_siblings) AS records",

	"PREPARE apply_heartbeat (text, timestamptz, bigint, timestamptz, jsonb) AS INSERT INTO region_heartbeats (region, sent_at, heard_at, "
	"outbox_events, outbox_oldest_at, policies) VALUES ($1, $2, now(), $3, $4, $5) ON CONFLICT (region) DO UPDATE SET sent_at = excluded.sent_at, "
	"heard_at = excluded.heard_at, outbox_events = excluded.outbox_events, outbox_oldest_at = excluded.outbox_oldest_at, "
	"policies = excluded.policies",
};

const char *const *pl_apply_texts(struct pl_arena *arena, const struct pl_config *config)
{
	size_t nfixed = sizeof fixed / sizeof fixed[0], n = 0;
	const char **texts = pl_arena_alloc(arena, sizeof texts[0] * (nfixed + 3 * (size_t)config->nresources + 4));
	struct pl_buf sql = { 0 };

	texts[n++] = pl_statement_pinned_plans[0]; // the same holds for ours
	for (size_t i = 0; i < nfixed; i++)
		texts[n++] = fixed[i];
	for (int i = 0; i < config->nresources; i++) {
		pl_buf_reset(&sql);
		lock_text(&sql, &config->resources[i]);
		texts[n++] = pl_arena_strndup(arena, sql.data, sql.len);
		for (int careful = 0; careful < 2; careful++) {
			pl_buf_reset(&sql);
			write_text(&sql, &config->resources[i], careful);
			texts[n++] = pl_arena_strndup(arena, sql.data, sql.len);
		}
	}
	pl_buf_reset(&sql);
	pl_buf_adds(&sql, "PREPARE apply_remember (" REQUEST_TYPES ") AS ");
	add_requests(&sql, 1, true);
	texts[n++] = pl_arena_strndup(arena, sql.data, sql.len);
	pl_buf_reset(&sql);
	pl_buf_adds(&sql, "PREPARE apply_positions (" POSITION_TYPES ") AS ");
	add_positions(&sql, 1);
	texts[n++] = pl_arena_strndup(arena, sql.data, sql.len);
	pl_buf_fini(&sql);
	return texts;
}
