// The SQL about other records: whether a write would make two of them share unique
// values, refer to a record that does not exist, or delete one that is referred to.
//
// Each condition concerns a write x, and the row p that it changes. A write that leaves
// the values as they are is never refused, even if another region's event has made them a
// violation: otherwise that record could no longer be written at all. The conditions see
// every committed row, because the locks of store/guard.c are taken by an earlier
// statement of the same transaction.
// Threads: any; nothing is shared.
#include <string.h>

#include "store/quote.h"
#include "store/statement_private.h"
#include "store/store.h"

struct guard {
	struct pl_buf *buf;
	const struct pl_config *config;
	const struct pl_resource *resource;
	bool row; // there is a row p
	// Called for each condition: whether it is violated, as SQL.
	void (*visit)(struct guard *guard, enum pl_outcome outcome, const char *names, const char *violated);
	const char *where; // for visit
};

static void written_value(struct pl_buf *sql, const struct pl_resource *resource, int i)
{
	pl_buf_printf(sql, resource->fields[i].type == PL_FIELD_DECIMAL ? "x.f%d::numeric" : "x.f%d", i);
}

// The field's value after the write.
static void new_value(struct pl_buf *sql, const struct guard *guard, int i)
{
	if (!guard->row) {
		written_value(sql, guard->resource, i);
		return;
	}
	pl_buf_printf(sql, "CASE WHEN x.flags & %lld <> 0 THEN ", (long long)PL_FLAG_FIELD(i));
	written_value(sql, guard->resource, i);
	pl_buf_adds(sql, " ELSE ");
	pl_statement_field_value(sql, &guard->resource->fields[i]);
	pl_buf_adds(sql, " END");
}

// The write sets one of the fields to a value other than that of the row.
static void changes(struct pl_buf *sql, const struct guard *guard, const int *fields, int n)
{
	int64_t mask = 0;

	for (int i = 0; i < n; i++)
		mask |= PL_FLAG_FIELD(fields[i]);
	pl_buf_printf(sql, "(x.flags & %lld <> 0", (long long)mask);
	if (guard->row)
		pl_buf_adds(sql, " AND NOT (p.deleted_at IS NULL");
	for (int i = 0; guard->row && i < n; i++) {
		pl_buf_adds(sql, " AND ");
		new_value(sql, guard, fields[i]);
		pl_buf_adds(sql, " IS NOT DISTINCT FROM ");
		pl_statement_field_value(sql, &guard->resource->fields[fields[i]]);
	}
	pl_buf_adds(sql, guard->row ? "))" : ")");
}

static void unique(struct guard *guard, int i)
{
	const struct pl_unique *set = &guard->resource->uniques[i];
	struct pl_buf sql = { 0 };

	changes(&sql, guard, set->fields, set->n);
	pl_buf_adds(&sql, " AND (SELECT true FROM ");
	pl_statement_table(&sql, guard->resource);
	pl_buf_adds(&sql, " AS q WHERE ");
	for (int k = 0; k < set->n; k++) {
		pl_buf_adds(&sql, "q.");
		pl_quote_name(&sql, guard->resource->fields[set->fields[k]].name);
		pl_buf_adds(&sql, " = ");
		new_value(&sql, guard, set->fields[k]);
		pl_buf_adds(&sql, " AND ");
	}
	pl_buf_printf(&sql, "q.deleted_at IS NULL%s LIMIT 1) IS NOT NULL",
	              guard->row ? " AND q.id IS DISTINCT FROM p.id" : "");
	guard->visit(guard, PL_OUTCOME_TAKEN, guard->resource->unique[i], sql.data);
	pl_buf_fini(&sql);
}

static void reference(struct guard *guard, int i)
{
	const struct pl_field *field = &guard->resource->fields[i];
	const struct pl_resource *to = pl_config_resource(guard->config, field->references);
	struct pl_buf sql = { 0 };

	if (!to)
		return;
	changes(&sql, guard, &i, 1);
	pl_buf_adds(&sql, " AND (");
	new_value(&sql, guard, i);
	pl_buf_adds(&sql, ") IS NOT NULL AND (SELECT true FROM ");
	pl_statement_table(&sql, to);
	pl_buf_adds(&sql, " AS q WHERE q.id = CASE WHEN (");
	new_value(&sql, guard, i);
	pl_buf_printf(&sql, ") BETWEEN 1 AND %lld THEN (", (long long)PL_ID_MAX);
	new_value(&sql, guard, i);
	pl_buf_adds(&sql, ")::bigint END AND q.deleted_at IS NULL) IS NULL");
	guard->visit(guard, PL_OUTCOME_DANGLING, field->name, sql.data);
	pl_buf_fini(&sql);
}

// A delete, while a record of another resource refers to the row.
static void referenced(struct guard *guard, const struct pl_resource *from, int i)
{
	const struct pl_field *field = &from->fields[i];
	struct pl_buf sql = { 0 }, names = { 0 };

	pl_buf_adds(&sql, "x.flags & 3 = 2 AND (SELECT true FROM ");
	pl_statement_table(&sql, from);
	pl_buf_adds(&sql, " AS q WHERE q.");
	pl_quote_name(&sql, field->name);
	pl_buf_printf(&sql, " = p.id%s AND q.deleted_at IS NULL%s LIMIT 1) IS NOT NULL",
	              field->type == PL_FIELD_DECIMAL ? "::numeric" : "",
	              from == guard->resource ? " AND q.id <> p.id" : "");
	pl_buf_printf(&names, "%s.%s", from->name, field->name);
	guard->visit(guard, PL_OUTCOME_REFERENCED, names.data, sql.data);
	pl_buf_fini(&sql);
	pl_buf_fini(&names);
}

static void visit_all(struct guard *guard)
{
	const struct pl_config *config = guard->config;

	for (int i = 0; i < guard->resource->nunique; i++)
		unique(guard, i);
	for (int i = 0; i < guard->resource->nfields; i++)
		if (guard->resource->fields[i].references)
			reference(guard, i);
	for (int i = 0; guard->row && i < config->nresources; i++)
		for (int k = 0; k < config->resources[i].nfields; k++) {
			const char *to = config->resources[i].fields[k].references;

			if (to && strcmp(to, guard->resource->name) == 0)
				referenced(guard, &config->resources[i], k);
		}
}

static void add_condition(struct guard *guard, enum pl_outcome outcome, const char *names,
                          const char *violated)
{
	pl_buf_printf(guard->buf, "\n  AND NOT (%s)", violated);
}

void pl_statement_guard(struct pl_buf *buf, const struct pl_config *config,
                        const struct pl_resource *resource, bool row)
{
	visit_all(&(struct guard){ buf, config, resource, row, add_condition, NULL });
}

static void add_reason(struct guard *guard, enum pl_outcome outcome, const char *names, const char *violated)
{
	pl_buf_printf(guard->buf, "\n WHEN %s%s THEN %d", guard->where, violated, (int)outcome);
}

void pl_statement_guard_reasons(struct pl_buf *buf, const struct pl_config *config,
                                const struct pl_resource *resource, bool create)
{
	visit_all(&(struct guard){ buf, config, resource, true, add_reason,
	                           create ? "x.flags & 3 = 0 AND " : "" });
}

static void add_names(struct guard *guard, enum pl_outcome outcome, const char *names, const char *violated)
{
	pl_buf_printf(guard->buf, " WHEN %s THEN ", violated);
	pl_quote_literal(guard->buf, names);
}

void pl_statement_guard_names(struct pl_buf *buf, const struct pl_config *config,
                              const struct pl_resource *resource)
{
	if (!pl_config_is_guarded(resource)) {
		pl_buf_adds(buf, "NULL");
		return;
	}
	pl_buf_adds(buf, "CASE WHEN false THEN NULL");
	visit_all(&(struct guard){ buf, config, resource, true, add_names, NULL });
	pl_buf_adds(buf, " END");
}

const char pl_statement_guard_locks[] =
	"SELECT count(CASE WHEN k.shared THEN pg_advisory_xact_lock_shared(k.key) ELSE "
	"pg_advisory_xact_lock(k.key) END) FROM (SELECT key, shared FROM (SELECT unnest($1::bigint[]) AS "
	"key, false AS shared UNION ALL SELECT unnest($2::bigint[]), true) AS u ORDER BY key OFFSET 0) AS k";
