// The tables of the resources: which constraints and triggers refuse or change rows,
// whether the configuration tolerates them, and what the tables lack.
//
// The thread looks at them before it settles, that is at the start and with each new
// session, and then once a second, since a constraint can be added while the daemon
// runs. A resource whose table has a constraint or trigger that is not tolerated takes
// no writes from clients here (store/table_gate.h): any such write could later make the
// table refuse one that another region has already acknowledged, such as a second
// record with a unique value. Meanwhile, other regions take the writes. Reads continue,
// and so do events: those that the table refuses are parked.
//
// Looking waits for no lock. Only a guard's definition, for the log, has to wait while
// its table is locked, and is left out then.
// Threads: the healing thread.
#include "heal/heal_private.h"

#include "store/statement.h"
#include "store/table_guards.h"
#include "store/table_lacks.h"

// The guards of one resource that are not tolerated, as rows of the result.
struct intolerable {
	int n, first;
};

// Appends the definition. The session is as it was before.
static void add_definition(struct pl_heal *heal, const struct pl_table_guard *guard, struct pl_buf *text)
{
	struct pl_error ignored = { 0 };
	PGresult *result;

	if (pl_session_do(heal->session, "BEGIN; SET LOCAL lock_timeout = 50", &ignored) < 0)
		return;
	result = pl_session_exec(heal->session, pl_table_guards_definition_sql, 2,
	                         (const char *const[]){ guard->kind, guard->oid }, &ignored);
	pl_buf_adds(text, !result ? "its definition could not be read: its table is locked"
	                  : PQgetisnull(result, 0, 0) ? "it is gone"
	                                              : PQgetvalue(result, 0, 0));
	PQclear(result);
	if (pl_session_connected(heal->session))
		pl_session_do(heal->session, "ROLLBACK", &ignored);
}

static void log_guard(struct pl_heal *heal, const struct pl_resource *resource,
                      const struct pl_table_guard *guard)
{
	struct pl_buf definition = { 0 };
	struct pl_buf table = { 0 }, undo = { 0 }, tolerate = { 0 };

	add_definition(heal, guard, &definition);
	pl_statement_table(&table, resource);
	pl_table_guards_undo(&undo, table.data, guard);
	if (pl_table_guards_can_be_tolerated(guard))
		pl_buf_printf(&tolerate, " or listed in resources.%s.tolerate", resource->name);
	else
		pl_buf_adds(&tolerate, "; it cannot be tolerated, since PostgreSQL executes none of plist's "
		                       "statements on a table with a rule for INSERT or UPDATE");
	pl_err("heal: table %s has the %s %s, which can %s rows of other regions (%s); writes to %s are "
	       "refused until it is gone (%s)%s",
	       resource->table, guard->kind, guard->name,
	       pl_table_guards_can_change(guard) ? "change or refuse" : "refuse", definition.data,
	       resource->name, undo.data, tolerate.data);
	pl_buf_fini(&table);
	pl_buf_fini(&undo);
	pl_buf_fini(&tolerate);
	pl_buf_fini(&definition);
}

static void close_gate(struct pl_heal *heal, const struct pl_resource *resource, const PGresult *result,
                       const struct intolerable *found)
{
	struct pl_table_guard guard = pl_table_guards_scan(result, found->first);
	struct pl_buf why = { 0 };
	bool changed;

	pl_buf_printf(&why, "its table has the %s %s", guard.kind, guard.name);
	if (found->n > 1)
		pl_buf_printf(&why, " and %d more", found->n - 1);
	pl_buf_printf(&why, ", which can %s rows of other regions",
	              pl_table_guards_can_change(&guard) ? "change or refuse" : "refuse");
	changed = pl_table_gate_set(heal->options.tables, resource->name, why.data);
	pl_buf_fini(&why);
	for (int i = found->first; changed && i < PQntuples(result); i++) {
		guard = pl_table_guards_scan(result, i);
		if (guard.resource == resource->index && !pl_table_guards_is_tolerated(resource, &guard))
			log_guard(heal, resource, &guard);
	}
}

// True: the table lacks something, so writes are refused.
static bool close_for_lack(struct pl_heal *heal, const struct pl_resource *resource, const PGresult *lacks)
{
	for (int i = 0; i < PQntuples(lacks); i++) {
		struct pl_table_lack lack = pl_table_lacks_scan(lacks, i);
		struct pl_buf why = { 0 };

		if (lack.resource != resource->index)
			continue;
		pl_buf_printf(&why, "its table %s", lack.what);
		if (pl_table_gate_set(heal->options.tables, resource->name, why.data))
			pl_err("heal: table %s %s; writes to %s are refused until this has been run: %s",
			       resource->table, lack.what, resource->name, lack.sql);
		pl_buf_fini(&why);
		return true;
	}
	return false;
}

static struct intolerable look(const struct pl_resource *resource, const PGresult *result)
{
	struct intolerable found = { 0 };

	for (int i = 0; i < PQntuples(result); i++) {
		struct pl_table_guard guard = pl_table_guards_scan(result, i);

		if (guard.resource != resource->index || pl_table_guards_is_tolerated(resource, &guard))
			continue;
		if (found.n++ == 0)
			found.first = i;
	}
	return found;
}

// What was there may have changed rows of other regions, without any trace: so the audit
// compares them now, not only in its next round.
static void want_audit(struct pl_heal *heal)
{
	struct pl_buf list = { 0 };
	struct pl_error err = { 0 };
	PGresult *result = pl_session_exec(heal->session, "SELECT plist.plist_want_audit($1)", 1,
	                                   (const char *const[]){ pl_heal_others(heal, &list) }, &err);

	if (!result)
		pl_warning("heal: asking for an audit, since tables had constraints or triggers: %s; run "
		           "plist-admin audit --now",
		           err.text);
	PQclear(result);
	pl_buf_fini(&list);
}

int pl_heal_look_at_tables(struct pl_heal *heal, struct pl_error *err)
{
	const struct pl_config *config = heal->config;
	struct pl_buf tables = { 0 }, columns = { 0 };
	PGresult *result, *lacks = NULL;
	bool opened = false;

	pl_table_guards_tables(&tables, config->resources, config->nresources);
	pl_table_lacks_columns(&columns, config->resources, config->nresources);
	result = pl_session_exec(heal->session, pl_table_guards_sql, 1, (const char *const[]){ tables.data },
	                         err);
	if (result)
		lacks = pl_session_exec(heal->session, pl_table_lacks_sql, 2,
		                        (const char *const[]){ tables.data, columns.data }, err);
	pl_buf_fini(&tables);
	pl_buf_fini(&columns);
	if (!lacks) {
		PQclear(result);
		return pl_error_prefix(err, "looking at the tables' constraints");
	}
	pl_table_gate_keep(heal->options.tables, config);
	for (int r = 0; r < config->nresources; r++) {
		const struct pl_resource *resource = &config->resources[r];
		struct intolerable found = look(resource, result);

		if (close_for_lack(heal, resource, lacks))
			continue;
		if (found.n > 0)
			close_gate(heal, resource, result, &found);
		else if (pl_table_gate_set(heal->options.tables, resource->name, NULL)) {
			pl_notice("heal: writes to %s are accepted again", resource->name);
			opened = true;
		}
	}
	PQclear(result);
	PQclear(lacks);
	if (opened)
		want_audit(heal);
	return 0;
}
