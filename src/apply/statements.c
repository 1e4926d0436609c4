// The texts of the applier's statements.
//
// apply/rows fills in the parameters. Each statement takes arrays, one for each column,
// and unnests them, so a batch of any size is one statement. The statement that writes
// rows also moves the position and remembers the requests, unless these are many and
// sent by COPY.
// Threads: any; nothing is shared.
#include "apply/statements.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "store/params.h"
#include "store/quote.h"
#include "store/statement.h"

static const char *array_type(const struct pl_field *field)
{
	switch (pl_params_field_type(field)) {
	case PL_WIRE_INT4: return "integer[]";
	case PL_WIRE_BOOL: return "boolean[]";
	default: return "text[]";
	}
}

// The field's value in the unnested rows, which may have an alias.
static void add_value(struct pl_buf *sql, const struct pl_resource *resource, int i, const char *alias)
{
	pl_buf_printf(sql, "%sf%d%s", alias, i,
	              resource->fields[i].type == PL_FIELD_DECIMAL ? "::numeric" : "");
}

// The fields' names, each followed by a comma.
static void add_fields(struct pl_buf *sql, const struct pl_resource *resource)
{
	for (int i = 0; i < resource->nfields; i++) {
		pl_quote_name(sql, resource->fields[i].name);
		pl_buf_adds(sql, ", ");
	}
}

static void add_params(struct pl_buf *sql, int from, int n)
{
	for (int i = 0; i < n; i++)
		pl_buf_printf(sql, "%s$%d", i ? ", " : "", from + i);
}

// The bytes of a row's texts and of its siblings.
static void add_size(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_buf_printf(sql,
	              "CASE WHEN has_siblings THEN (SELECT coalesce(sum(octet_length(s.fields::text)), 0) "
	              "FROM plist.record_siblings AS s WHERE s.resource = '%s' AND s.record_id = p.id) ELSE "
	              "0 END",
	              resource->name);
	pl_statement_plus_texts(sql, resource);
}

// Rows of more than $2 bytes come without their texts, which PostgreSQL then does not
// fetch from the TOAST table. OFFSET: the size is computed once.
static void lock_text(struct pl_buf *sql, const struct pl_resource *resource, bool skip_locked)
{
	pl_buf_printf(sql, "PREPARE apply_lock%s_%d (bigint[], integer[]) AS SELECT id, ",
	              skip_locked ? "_free" : "", resource->index);
	for (int i = 0; i < resource->nfields; i++) {
		bool text = resource->fields[i].type == PL_FIELD_STRING;

		pl_buf_adds(sql, text ? "CASE WHEN plist_size <= ($2)[1] THEN " : "");
		pl_quote_name(sql, resource->fields[i].name);
		pl_buf_adds(sql, text ? " END, " : ", ");
	}
	pl_buf_adds(sql,
	            "region_origin, version, updated_at, vector, plist_deleted, has_siblings, field_times, "
	            "request_id, CASE WHEN plist_size <= ($2)[1] THEN plist_unknown END, plist_size FROM "
	            "(SELECT *, plist_texts + coalesce(octet_length(plist_unknown::text), 0) AS "
	            "plist_size FROM (SELECT id, ");
	add_fields(sql, resource);
	pl_buf_adds(sql,
	            "region_origin, version, updated_at, vector, deleted_at IS NOT NULL AS plist_deleted, "
	            "has_siblings, field_times, request_id, ");
	pl_statement_stored_unknown(sql, resource);
	pl_buf_adds(sql, " AS plist_unknown, ");
	add_size(sql, resource);
	pl_buf_adds(sql, " AS plist_texts FROM ");
	pl_statement_table(sql, resource);
	pl_buf_printf(sql, " AS p WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE%s) AS p OFFSET 0) AS p",
	              skip_locked ? " SKIP LOCKED" : "");
}

static void there_text(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_buf_printf(sql, "PREPARE apply_there_%d (bigint[]) AS SELECT id FROM ", resource->index);
	pl_statement_table(sql, resource);
	pl_buf_adds(sql, " WHERE id = ANY($1)");
}

// Returns the indexes of events in our own name that no row accounts for. A vector
// entry that is not a number counts as 0.
static void own_text(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_buf_printf(sql,
	              "PREPARE apply_own_%d (bigint[], integer[], text[]) AS SELECT o.n FROM "
	              "unnest($1, $2, "
	              "$3) WITH ORDINALITY AS o(id, counter, key, n) LEFT JOIN LATERAL (SELECT p.vector -> "
	              "o.key AS counter FROM ",
	              resource->index);
	pl_statement_table(sql, resource);
	pl_buf_adds(
		sql,
		" AS p WHERE p.id = o.id OFFSET 0) AS p ON true WHERE CASE WHEN jsonb_typeof(p.counter) = "
		"'number' THEN p.counter::numeric < o.counter ELSE true END");
}

// clang-format off
#define REQUEST_TYPES \
	"text[], text[], bytea[], text[], bigint[], smallint[], jsonb[], jsonb[], text[], " \
	"jsonb[], timestamptz[]"
#define POSITION_TYPES "text[], integer[], bigint[], timestamptz[]"
#define NUMBERS_TYPES \
	"text[], text[], integer[], bigint[], bigint[], bigint[], boolean[], " \
	"bigint[], bigint[], bigint[]"
// Of several executions of a request, the answer of the region that comes first by name
// is remembered; of the same execution, a handler's own answer. All regions decide like
// this, so they give the same answer to a retry. See answers_before in decision.c.
#define ANSWERS_BEFORE \
	"p.fingerprint = excluded.fingerprint AND (plist.plist_answer_owner(excluded.dots) < " \
	"plist.plist_answer_owner(p.dots) COLLATE \"C\" OR (excluded.response_body ? 'plist:answer' AND " \
	"NOT coalesce(p.response_body ? 'plist:answer', false) AND " \
	"plist.plist_answer_owner(excluded.dots) = plist.plist_answer_owner(p.dots)))"
#define IF_REPLACED(column) \
	#column " = CASE WHEN p.expires_at < now() OR " ANSWERS_BEFORE " THEN excluded." #column \
	" ELSE p." #column " END, "

// The element-wise maximum of two maps. For a different request with the same id, adds
// entries that name its fingerprint: {"eu 9f…": 3}. So its executions are also known in
// regions where its event arrived second (see pl_apply_rows_remembered).
#define JOINED_DOTS \
	"CASE WHEN p.expires_at < now() OR (p.resource, p.record_id) <> (excluded.resource, " \
	"excluded.record_id) THEN excluded.dots " \
	"WHEN p.fingerprint = excluded.fingerprint THEN (SELECT jsonb_object_agg(k, n) FROM " \
	"(SELECT k, max(v::integer) AS n FROM (SELECT * FROM jsonb_each_text(p.dots) UNION ALL " \
	"SELECT * FROM jsonb_each_text(excluded.dots)) AS d(k, v) GROUP BY k) AS m) " \
	"ELSE p.dots || (SELECT jsonb_object_agg(k || ' ' || encode(excluded.fingerprint, 'hex'), " \
	"v::integer) FROM jsonb_each_text(excluded.dots) AS d(k, v)) END"

#define ON_KNOWN_REQUEST \
	") ON CONFLICT (request_id, principal) DO UPDATE SET " \
	IF_REPLACED(fingerprint) IF_REPLACED(resource) IF_REPLACED(record_id) IF_REPLACED(status) \
	IF_REPLACED(response_body) IF_REPLACED(vector) IF_REPLACED(location) IF_REPLACED(created_at) \
	IF_REPLACED(expires_at) "dots = " JOINED_DOTS " " \
	"WHERE p.expires_at < now() OR (p.resource = excluded.resource AND " \
	"p.record_id = excluded.record_id AND NOT p.dots @> excluded.dots) OR (" ANSWERS_BEFORE ")"
// clang-format on

static void add_requests(struct pl_buf *sql, int from, bool upsert)
{
	pl_buf_adds(sql, "INSERT INTO plist.processed_requests AS p (request_id, principal, fingerprint, "
	                 "resource, record_id, status, response_body, vector, location, dots, expires_at) "
	                 "SELECT * FROM unnest(");
	add_params(sql, from, PL_REQUEST_COLUMNS);
	pl_buf_adds(sql, upsert ? ON_KNOWN_REQUEST : ")");
}

static void add_positions(struct pl_buf *sql, int from)
{
	pl_buf_adds(sql, "INSERT INTO plist.applied_positions (topic, partition, next_offset, "
	                 "event_at) SELECT * "
	                 "FROM unnest(");
	add_params(sql, from, PL_POSITION_COLUMNS);
	pl_buf_adds(sql, ") ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset, "
	                 "event_at = coalesce(excluded.event_at, applied_positions.event_at), "
	                 "applied_at = now()");
}

// Another applier of this region may have written a higher number meanwhile.
static void add_numbers(struct pl_buf *sql, int from)
{
	pl_buf_adds(sql,
	            "INSERT INTO plist.applied_sequences AS s (origin, topic, partition, seq, chain_from, "
	            "chain_to, level, generation, outbox_id, run) SELECT * FROM unnest(");
	add_params(sql, from, PL_NUMBERS_COLUMNS);
	pl_buf_adds(sql, ") ON CONFLICT (origin, topic, partition) DO UPDATE SET "
	                 "seq = greatest(s.seq, excluded.seq), chain_from = CASE WHEN "
	                 "excluded.chain_to > s.seq THEN excluded.chain_from ELSE 0 END, "
	                 "chain_to = CASE WHEN excluded.chain_to > s.seq THEN excluded.chain_to "
	                 "ELSE 0 END, level = excluded.level, applied_at = CASE WHEN excluded.seq > s.seq "
	                 "THEN now() ELSE s.applied_at END, "
	                 "outbox_id = CASE WHEN (excluded.generation, excluded.outbox_id) > (s.generation, "
	                 "s.outbox_id) THEN excluded.outbox_id ELSE s.outbox_id END, "
	                 "generation = greatest(s.generation, excluded.generation), "
	                 "run = greatest(s.run, excluded.run)");
}

// "<table> AS p SET …", from the rows i.
static void add_update(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_statement_table(sql, resource);
	pl_buf_adds(sql, " AS p SET ");
	for (int i = 0; i < resource->nfields; i++) {
		pl_quote_name(sql, resource->fields[i].name);
		pl_buf_adds(sql, " = ");
		add_value(sql, resource, i, "i.");
		pl_buf_adds(sql, ", ");
	}
	pl_buf_adds(sql, "region_origin = i.origin, version = i.version, updated_at = "
	                 "i.updated_at, vector = "
	                 "i.vector, deleted_at = CASE WHEN i.deleted THEN i.updated_at END, has_siblings = "
	                 "i.has_siblings, field_times = i.field_times, "
	                 "request_id = i.request_id, unknown_fields = ");
	pl_statement_written_unknown(sql, resource, "i.unknown");
}

static void write_text(struct pl_buf *sql, const struct pl_resource *resource, bool upsert)
{
	int nrow = PL_ROW_FIELDS + resource->nfields + PL_ROW_TAIL;
	struct pl_buf unknown = { 0 };

	pl_statement_written_unknown(&unknown, resource, "i.unknown");
	pl_buf_printf(sql, "PREPARE apply_write%s_%d (bigint[], boolean[], ", upsert ? "" : "_new",
	              resource->index);
	for (int i = 0; i < resource->nfields; i++)
		pl_buf_printf(sql, "%s, ", array_type(&resource->fields[i]));
	pl_buf_adds(sql, "text[], integer[], timestamptz[], jsonb[], boolean[], boolean[], jsonb[], "
	                 "text[], jsonb[], " REQUEST_TYPES ", " POSITION_TYPES ", " NUMBERS_TYPES
	                 ") AS WITH i AS MATERIALIZED (SELECT * FROM unnest(");
	add_params(sql, 1, nrow);
	pl_buf_adds(sql, ") AS t(id, fresh, ");
	for (int i = 0; i < resource->nfields; i++)
		pl_buf_printf(sql, "f%d, ", i);
	pl_buf_adds(sql,
	            "origin, version, updated_at, vector, deleted, has_siblings, field_times, request_id, "
	            "unknown)), u "
	            "AS (UPDATE ");
	add_update(sql, resource);
	pl_buf_adds(sql, " FROM i WHERE p.id = i.id AND NOT i.fresh RETURNING 1), n "
	                 "AS (INSERT INTO ");
	pl_statement_table(sql, resource);
	pl_buf_adds(sql, " (id, ");
	add_fields(sql, resource);
	pl_buf_adds(sql, "region_origin, version, updated_at, vector, deleted_at, has_siblings, field_times, "
	                 "request_id, unknown_fields) SELECT id, ");
	for (int i = 0; i < resource->nfields; i++) {
		add_value(sql, resource, i, "");
		pl_buf_adds(sql, ", ");
	}
	pl_buf_printf(
		sql,
		"origin, version, updated_at, vector, CASE WHEN deleted THEN updated_at END, has_siblings, "
		"field_times, request_id, %s FROM i WHERE fresh ORDER BY id%s RETURNING 1), r AS (",
		unknown.data, upsert ? " ON CONFLICT (id) DO NOTHING" : "");
	pl_buf_fini(&unknown);
	add_requests(sql, 1 + nrow, upsert);
	pl_buf_adds(sql, "), a AS (");
	add_positions(sql, 1 + nrow + PL_REQUEST_COLUMNS);
	pl_buf_adds(sql, "), q AS (");
	add_numbers(sql, 1 + nrow + PL_REQUEST_COLUMNS + PL_POSITION_COLUMNS);
	pl_buf_adds(sql, ") SELECT (SELECT count(*) FROM u) + (SELECT count(*) FROM n)");
}

// Conflicts of these types concern more than one record, and end otherwise.
#define OF_SEVERAL_RECORDS "'created_twice', 'multiple_unique_conflicts', 'reference_missing'"

static const char *const fixed[] = {
	"SET TIME ZONE 'UTC'",
	"SET datestyle = 'ISO'",
	"SET bytea_output = 'hex'",
	"SET client_encoding = 'UTF8'",
	"SET plan_cache_mode = force_generic_plan",
	"SET jit = off",

	"PREPARE apply_siblings_read (text[], bigint[]) AS SELECT resource, record_id, origin, counter, "
	"vector, updated_at, deleted, fields, field_times, request_id, principal, fingerprint FROM "
	"plist.record_siblings WHERE (resource, record_id) IN (SELECT * FROM unnest($1, $2)) ORDER BY "
	"resource, record_id, origin, counter",

	"PREPARE apply_remembered (text[], text[]) AS SELECT p.request_id, p.principal, p.fingerprint, "
	"p.resource, p.record_id, p.dots FROM (SELECT DISTINCT * FROM unnest($1, $2)) AS q(request_id, "
	"principal), LATERAL (SELECT * FROM plist.processed_requests AS p "
	"WHERE p.request_id = q.request_id AND p.principal = q.principal LIMIT 1) AS p",

	"PREPARE apply_siblings_delete (text[], bigint[]) AS DELETE FROM plist.record_siblings "
	"WHERE (resource, record_id) IN (SELECT * FROM unnest($1, $2))",

	// A record whose row somebody deleted by hand still has its siblings here.
	"PREPARE apply_siblings_insert (text[], bigint[], text[], integer[], jsonb[], timestamptz[], "
	"boolean[], jsonb[], jsonb[], text[], text[], bytea[]) AS INSERT INTO plist.record_siblings "
	"(resource, record_id, origin, counter, vector, updated_at, deleted, fields, "
	"field_times, request_id, principal, fingerprint) SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, "
	"$8, $9, $10, $11, $12) ON CONFLICT (resource, record_id, origin, counter) DO UPDATE SET vector = "
	"excluded.vector, updated_at = excluded.updated_at, deleted = excluded.deleted, fields = "
	"excluded.fields, field_times = excluded.field_times, request_id = excluded.request_id, principal = "
	"excluded.principal, fingerprint = excluded.fingerprint",

	"PREPARE apply_conflicts_close (text[], bigint[]) AS UPDATE plist.conflicts SET closed_at = now() "
	"WHERE closed_at IS NULL AND type NOT IN (" OF_SEVERAL_RECORDS ") AND (resource, record_id) IN "
	"(SELECT * FROM unnest($1, $2))",

	"PREPARE apply_conflicts_insert (text[], bigint[], text[], boolean[], text[], text[], text[], "
	"jsonb[], jsonb[], jsonb[], jsonb[], text[], integer[], bigint[]) AS INSERT INTO plist.conflicts "
	"(resource, record_id, type, closed_at, policy_name, policy_sha256, policy_error, "
	"siblings, verdict, visible, vector, topic, partition, kafka_offset) SELECT resource, record_id, "
	"type, CASE WHEN closed THEN now() END, policy_name, policy_sha256, policy_error, siblings, "
	"verdict, visible, vector, topic, partition, at FROM unnest($1, $2, $3, $4, $5, $6, "
	"$7, $8, $9, $10, $11, $12, $13, $14) AS t(resource, record_id, type, closed, policy_name, "
	"policy_sha256, policy_error, siblings, verdict, visible, vector, topic, partition, at)",

	// A changed policy resolves the siblings again; the record of the decision in
	// force is updated.
	"PREPARE apply_conflicts_reresolve (text[], bigint[], text[], text[], text[], jsonb[], jsonb[], "
	"jsonb[]) AS UPDATE plist.conflicts AS c SET policy_name = t.policy_name, policy_sha256 = "
	"t.policy_sha256, policy_error = t.policy_error, "
	"siblings = t.siblings, verdict = t.verdict, visible = t.visible FROM unnest($1, $2, $3, $4, $5, "
	"$6, $7, $8) AS t(resource, record_id, policy_name, policy_sha256, policy_error, siblings, "
	"verdict, visible) WHERE c.closed_at IS NULL AND c.resource = t.resource AND c.record_id = "
	"t.record_id AND (c.policy_sha256 <> t.policy_sha256 "
	"OR c.policy_error IS DISTINCT FROM t.policy_error OR c.verdict <> t.verdict) AND (c.detected_at, "
	"c.id) = (SELECT l.detected_at, l.id FROM plist.conflicts AS l WHERE l.closed_at IS NULL AND "
	"l.type NOT IN (" OF_SEVERAL_RECORDS ") AND l.resource = t.resource AND l.record_id = t.record_id "
	"ORDER BY l.detected_at DESC, l.id DESC LIMIT 1)",

	// See integrity/integrity.h.
	"PREPARE apply_integrity_notes (text[], bigint[]) AS INSERT INTO plist.integrity_checks (resource, "
	"record_id) SELECT * FROM unnest($1, $2)",

	// The request is remembered with another record, which another region created: of
	// the two, the record of the region that comes later by name goes. Both are the
	// first write of their record. If that record was the one to stay in an earlier
	// pair, the other one of this pair takes its place there.
	"PREPARE apply_created_twice (text[], text[], bytea[], text[], bigint[], text[]) AS WITH pair AS "
	"(SELECT t.resource, CASE WHEN l.goes THEN t.record_id ELSE p.record_id END AS record_id, CASE "
	"WHEN l.goes THEN t.origin ELSE o.owner END AS origin, CASE WHEN l.goes THEN p.record_id ELSE "
	"t.record_id END AS kept_id, CASE WHEN l.goes THEN o.owner ELSE t.origin END AS kept_origin, "
	"t.request_id, t.principal FROM unnest($1, $2, $3, $4, $5, $6) AS t(request_id, principal, "
	"fingerprint, resource, record_id, origin), LATERAL (SELECT * FROM plist.processed_requests AS p "
	"WHERE p.request_id = t.request_id AND p.principal = t.principal LIMIT 1) AS p, LATERAL (SELECT "
	"plist.plist_answer_owner(p.dots)) AS o(owner), LATERAL (SELECT t.origin > o.owner COLLATE \"C\") "
	"AS l(goes) WHERE p.fingerprint = t.fingerprint AND p.resource = t.resource AND p.record_id <> "
	"t.record_id AND o.owner <> t.origin AND p.expires_at > now() AND p.vector = "
	"jsonb_build_object(o.owner, 1)), others AS (UPDATE plist.created_twice AS c SET kept_id = "
	"pair.kept_id, kept_origin = pair.kept_origin FROM pair WHERE c.resource = pair.resource AND "
	"c.request_id = pair.request_id AND c.principal = pair.principal AND c.kept_id = pair.record_id) "
	"INSERT INTO plist.created_twice (resource, record_id, origin, kept_id, kept_origin, request_id, "
	"principal) SELECT * FROM pair ON CONFLICT (resource, record_id) DO NOTHING",

	// A deleted record is there again, since it was written meanwhile: the closed
	// pairs of its request are looked at again.
	"PREPARE apply_twice_again (text[], bigint[]) AS WITH again AS (DELETE FROM "
	"plist.created_twice_closed AS c USING plist.created_twice_closed AS o, unnest($1, $2) AS "
	"t(resource, record_id) WHERE o.resource = t.resource AND (o.record_id = t.record_id OR o.kept_id = "
	"t.record_id) AND c.resource = o.resource AND c.request_id = o.request_id AND c.principal = "
	"o.principal RETURNING c.*) INSERT INTO plist.created_twice (resource, record_id, origin, kept_id, "
	"kept_origin, request_id, principal) SELECT resource, record_id, origin, kept_id, kept_origin, "
	"request_id, principal FROM again ON CONFLICT (resource, record_id) DO NOTHING",

	// One that is retried and still not readable stays, with the new reason.
	"PREPARE apply_dead_letters (text[], integer[], bigint[], bytea[], bytea[], jsonb[], text[], "
	"timestamptz[]) AS INSERT INTO plist.dead_letters AS d (topic, partition, kafka_offset, key, value, "
	"headers, error, broker_time) SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT "
	"(topic, partition, kafka_offset) DO UPDATE SET error = excluded.error, tries = d.tries + 1, "
	"tried_at = clock_timestamp(), retry_at = NULL WHERE d.retry_at IS NOT NULL",

	"PREPARE apply_letters_due (integer) AS SELECT topic, partition, kafka_offset, broker_time, "
	"encode(key, 'hex'), encode(value, 'hex'), headers FROM plist.dead_letters WHERE retry_at <= "
	"statement_timestamp() AND id IN (SELECT id FROM (SELECT id, sum(size) OVER (ORDER BY id) - size AS "
	"before FROM (SELECT id, coalesce(octet_length(value), 0) + "
	"coalesce(octet_length(headers::text), 0) AS size FROM plist.dead_letters WHERE "
	"retry_at <= statement_timestamp() ORDER BY id LIMIT $1) AS e) AS d WHERE before < 8388608) "
	"ORDER BY id FOR UPDATE SKIP LOCKED",

	"PREPARE apply_letters_done (text[], integer[], bigint[]) AS DELETE FROM plist.dead_letters "
	"WHERE (topic, partition, kafka_offset) IN (SELECT * FROM unnest($1, $2, $3)) AND retry_at IS NOT "
	"NULL",

	// The interval doubles from 1 s to 5 min, less up to 30 % of it; after a lock or
	// a deadlock, to 4 s.
	"PREPARE apply_park (text[], bigint[], text[], integer[], text[], integer[], bigint[], "
	"timestamptz[], bytea[], bytea[], jsonb[], text[], text[], text[], text[], boolean[]) AS INSERT "
	"INTO plist.parked_events AS p (resource, record_id, origin, "
	"counter, topic, partition, kafka_offset, broker_time, key, value, headers, reason, sqlstate, "
	"constraint_name, column_name, retry_at) SELECT a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, "
	"clock_timestamp() + interval '1 second' FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, "
	"$12, $13, $14, $15) AS t(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o) "
	"ON CONFLICT (topic, partition, kafka_offset) DO UPDATE SET reason = excluded.reason, sqlstate = "
	"excluded.sqlstate, constraint_name = excluded.constraint_name, column_name = "
	"excluded.column_name, tries = p.tries + 1, tried_at = clock_timestamp(), "
	"retry_at = clock_timestamp() + least(interval '1 second' * 2 ^ least(p.tries, 10), "
	"CASE WHEN excluded.sqlstate IN ('55P03', '40P01') THEN interval '4 seconds' ELSE interval "
	"'5 minutes' END) "
	"* (1 - 0.03 * random() * least(p.tries, 10))",

	// Up to 8 MiB of them, but at least one; the headers of a delete hold the last
	// record. Not clock_timestamp(), since the index would not be used.
	"PREPARE apply_parked_due (integer, text[]) AS SELECT topic, partition, kafka_offset, broker_time, "
	"encode(key, 'hex'), encode(value, 'hex'), headers, CASE WHEN sqlstate = '57014' THEN tries ELSE 0 "
	"END FROM plist.parked_events WHERE retry_at <= "
	"statement_timestamp() AND id IN (SELECT id FROM (SELECT id, sum(size) OVER (ORDER BY retry_at, id) "
	"- size AS before FROM (SELECT id, retry_at, coalesce(octet_length(value), 0) + "
	"coalesce(octet_length(headers::text), 0) AS size FROM plist.parked_events WHERE retry_at <= "
	"statement_timestamp() AND resource <> ALL ($2) ORDER BY retry_at, id LIMIT $1) AS e) AS d WHERE "
	"before < 8388608) ORDER BY retry_at, id FOR UPDATE SKIP LOCKED",

	"PREPARE apply_parked_done (text[], integer[], bigint[]) AS DELETE FROM plist.parked_events "
	"WHERE (topic, partition, kafka_offset) IN (SELECT * FROM unnest($1, $2, $3))",

	// Those that are covered are due: each is found to be stale, and its request is
	// remembered, which a retry of the client needs.
	"PREPARE apply_parked_clear (text[], bigint[], jsonb[]) AS UPDATE plist.parked_events AS p SET "
	"retry_at = statement_timestamp() FROM "
	"unnest($1, $2, $3) AS t(resource, id, vector) WHERE p.resource = t.resource AND "
	"p.record_id = t.id AND p.counter > 0 AND p.counter <= (t.vector "
	"->> p.origin)::integer",

	"PREPARE apply_where AS SELECT topic, partition, next_offset FROM plist.applied_positions",

	"PREPARE apply_sequences_read AS SELECT origin, topic, partition, seq, chain_from, chain_to, "
	"level, generation, outbox_id, run FROM plist.applied_sequences",

	// Believed only up to what events and words have said of the region's outbox. The
	// region is told that in turn, so if it was forged too, the region counts its
	// writes under a new key from then on.
	"PREPARE apply_reach (text, bigint, bigint) AS SELECT CASE WHEN EXISTS (SELECT FROM (SELECT "
	"generation, outbox_id FROM plist.applied_sequences WHERE origin = $1 UNION ALL SELECT generation, "
	"outbox_id FROM plist.known_regions WHERE region = $1) AS k WHERE (k.generation, k.outbox_id) >= "
	"($2, $3)) THEN plist.plist_reach($1, $2, $3) ELSE false END",

	// Of large records fewer: about 8 MiB of siblings, but at least one record.
	"PREPARE apply_flagged (text, bigint, integer) AS SELECT resource, record_id FROM (SELECT resource, "
	"record_id, sum(size) OVER (ORDER BY resource, record_id) - size AS before FROM (SELECT resource, "
	"record_id, sum(octet_length(fields::text)) AS size FROM plist.record_siblings WHERE (resource, "
	"record_id) > ($1, $2) GROUP BY resource, record_id ORDER BY resource, record_id LIMIT $3) AS r) AS "
	"s WHERE before < 8388608 ORDER BY resource, record_id",

	"PREPARE apply_count_flagged AS SELECT count(*) FROM (SELECT DISTINCT resource, record_id FROM "
	"plist.record_siblings) AS records",

	"PREPARE apply_heartbeat (text, text, timestamptz, bigint, timestamptz, jsonb, jsonb, jsonb, jsonb, "
	"jsonb, double precision) AS SELECT plist.plist_hear($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
};

static const char *keep(struct pl_arena *arena, struct pl_buf *sql)
{
	const char *text = pl_arena_strndup(arena, sql->data, sql->len);

	pl_buf_reset(sql);
	return text;
}

const char *const *pl_apply_statements(struct pl_arena *arena, const struct pl_config *config)
{
	size_t nfixed = sizeof(fixed) / sizeof(fixed[0]), n = 0;
	const char **texts =
		pl_arena_alloc(arena, sizeof(texts[0]) * (nfixed + 6 * (size_t)config->nresources + 5));
	struct pl_buf sql = { 0 };

	texts[n++] = pl_statement_pinned_plans[0]; // needed here, too
	pl_statement_claim_fields(&sql, config);
	texts[n++] = keep(arena, &sql);
	for (size_t i = 0; i < nfixed; i++)
		texts[n++] = fixed[i];
	for (int i = 0; i < config->nresources; i++) {
		pl_buf_reset(&sql);
		lock_text(&sql, &config->resources[i], false);
		texts[n++] = keep(arena, &sql);
		lock_text(&sql, &config->resources[i], true);
		texts[n++] = keep(arena, &sql);
		there_text(&sql, &config->resources[i]);
		texts[n++] = keep(arena, &sql);
		own_text(&sql, &config->resources[i]);
		texts[n++] = keep(arena, &sql);
		for (int upsert = 0; upsert < 2; upsert++) {
			pl_buf_reset(&sql);
			write_text(&sql, &config->resources[i], upsert);
			texts[n++] = pl_arena_strndup(arena, sql.data, sql.len);
		}
	}
	pl_buf_reset(&sql);
	pl_buf_adds(&sql, "PREPARE apply_remember (" REQUEST_TYPES ") AS ");
	add_requests(&sql, 1, true);
	texts[n++] = pl_arena_strndup(arena, sql.data, sql.len);
	pl_buf_reset(&sql);
	pl_buf_adds(&sql, "PREPARE apply_positions (" POSITION_TYPES ", " NUMBERS_TYPES ") AS WITH a AS (");
	add_positions(&sql, 1);
	pl_buf_adds(&sql, ") ");
	add_numbers(&sql, 1 + PL_POSITION_COLUMNS);
	texts[n++] = pl_arena_strndup(arena, sql.data, sql.len);
	pl_buf_fini(&sql);
	return texts;
}
