// plist-admin region add|rebuild: a region that lacks everything, or much.
//
// A daemon whose database is new fetches by itself what the other regions hold, through
// Kafka (heal/). This is for operators who can reach both databases and do not want to
// wait: the rows that the region lacks are copied directly. What is written in the
// meantime, and what the region holds in an older state, comes through Kafka as always.
//
// The order makes that safe. First the region stops answering (its state is
// rebuilding), and asks the others for what was written since an hour before the
// copying began. Then rows are copied from one snapshot of the other database. A row
// that is there already is not touched, for its vector may know more. Its daemon ends
// the rebuilding when it has received what it asked for.
#include "admin/cmd_region.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "admin/cell.h"
#include "admin/commands.h"
#include "admin/format.h"
#include "admin/messages.h"
#include "admin/progress.h"
#include "base/clock.h"
#include "store/quote.h"
#include "store/statement.h"

#define LOOK_US    300000
#define COPY_BYTES (64 * 1024)

struct copying {
	struct pl_invocation *invocation;
	struct pl_session *from, *to;
	const char *from_name, *to_name;
	struct pl_error err;
	struct pl_progress progress;
	int64_t rows;
};

static bool run(struct pl_session *session, const char *sql, struct pl_error *err)
{
	PGresult *result = pl_session_exec(session, sql, 0, NULL, err);
	PQclear(result);
	return result != NULL;
}

// ---- copying a table

// The columns that both databases have, quoted.
static bool list_columns(struct copying *c, const char *table, struct pl_buf *list)
{
	static const char sql[] =
		"SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > "
		"0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum";
	PGresult *here = pl_session_exec(c->to, sql, 1, &table, &c->err), *there = NULL;
	if (here)
		there = pl_session_exec(c->from, sql, 1, &table, &c->err);
	for (int i = 0; there && i < PQntuples(there); i++)
		for (int j = 0; j < PQntuples(here); j++)
			if (strcmp(PQgetvalue(there, i, 0), PQgetvalue(here, j, 0)) == 0) {
				pl_buf_adds(list, list->len ? ", " : "");
				pl_quote_name(list, PQgetvalue(here, j, 0));
			}
	PQclear(here);
	PQclear(there);
	return there != NULL;
}

// From one session's COPY … TO STDOUT into the other's COPY … FROM STDIN.
static bool pump(struct copying *c)
{
	struct pl_buf rows = { 0 };
	char *data;
	int len, code = 0;
	while (code == 0 && (len = pl_session_copy_get(c->from, &data, &c->err)) > 0) {
		pl_buf_add(&rows, data, (size_t)len);
		PQfreemem(data);
		pl_progress_set(&c->progress, ++c->rows);
		if (rows.len < COPY_BYTES)
			continue;
		code = pl_session_copy_put(c->to, rows.data, rows.len, &c->err);
		pl_buf_reset(&rows);
	}
	if (code == 0 && len == 0 && rows.len > 0)
		code = pl_session_copy_put(c->to, rows.data, rows.len, &c->err);
	pl_buf_fini(&rows);
	return code == 0 && len == 0 && pl_session_copy_end(c->to, NULL, &c->err) == 0;
}

// Rows that the region lacks: of those that the other one has, `where`, the ones that may
// come here, `only`; both may be "".
static bool copy_table(struct copying *c, const char *table, const char *where, const char *only)
{
	struct pl_buf columns = { 0 }, sql = { 0 };
	PGresult *result = NULL;
	bool ok = list_columns(c, table, &columns);
	pl_buf_printf(&sql, "CREATE TEMP TABLE plist_copy ON COMMIT DROP AS SELECT %s FROM %s WITH NO DATA",
	              columns.data, table);
	ok = ok && run(c->to, sql.data, &c->err);
	pl_buf_reset(&sql);
	pl_buf_printf(&sql, "COPY (SELECT %s FROM %s%s) TO STDOUT", columns.data, table, where);
	if (ok)
		result = pl_session_exec(c->from, sql.data, 0, NULL, &c->err);
	ok = ok && result;
	PQclear(result);
	result = NULL;
	pl_buf_reset(&sql);
	pl_buf_printf(&sql, "COPY plist_copy (%s) FROM STDIN", columns.data);
	if (ok)
		result = pl_session_exec(c->to, sql.data, 0, NULL, &c->err);
	ok = ok && result && pump(c);
	PQclear(result);
	pl_buf_reset(&sql);
	pl_buf_printf(&sql, "INSERT INTO %s (%s) SELECT %s FROM plist_copy AS c%s ON CONFLICT DO NOTHING",
	              table, columns.data, columns.data, only);
	ok = ok && run(c->to, sql.data, &c->err) && run(c->to, "DROP TABLE plist_copy", &c->err);
	pl_buf_fini(&columns);
	pl_buf_fini(&sql);
	return ok;
}

static int64_t count(struct copying *c, const char *table)
{
	struct pl_error ignored;
	char sql[256];
	snprintf(sql, sizeof(sql),
	         "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = "
	         "to_regclass('%s')",
	         table);
	PGresult *result = pl_session_exec(c->from, sql, 0, NULL, &ignored);
	int64_t n = result && PQntuples(result) == 1 ? pl_cell_int(result, 0, 0, 0) : 0;
	PQclear(result);
	return n;
}

// Siblings belong to their row: only those of rows that this transaction has copied. A
// row that was here before may have replaced them, or have others.
static bool copy_siblings(struct copying *c)
{
	const struct pl_config *config = c->invocation->config;
	struct pl_buf only = { 0 };
	for (int i = 0; i < config->nresources; i++) {
		pl_buf_printf(&only, "%s EXISTS (SELECT FROM ", i ? " OR" : " WHERE");
		pl_statement_table(&only, &config->resources[i]);
		pl_buf_printf(&only,
		              " AS p WHERE c.resource = '%s' AND p.id = c.record_id AND p.xmin::text = "
		              "(txid_current() %% 4294967296)::text)",
		              config->resources[i].name);
	}
	bool ok = copy_table(c, "plist.record_siblings", "", only.data);
	pl_buf_fini(&only);
	return ok;
}

static bool copy_all(struct copying *c)
{
	const struct pl_config *config = c->invocation->config;
	struct pl_buf table = { 0 };
	bool ok = run(c->from, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", &c->err) &&
	          run(c->to, "BEGIN", &c->err);
	for (int i = 0; i < config->nresources && ok; i++) {
		pl_buf_reset(&table);
		pl_statement_table(&table, &config->resources[i]);
		c->rows = 0;
		pl_progress_begin(&c->progress, config->resources[i].name, count(c, table.data), 0);
		ok = copy_table(c, table.data, "", "");
		if (pl_messages_terminal())
			pl_progress_end(&c->progress);
		if (ok) {
			char rows[PL_COUNT_MAX];
			pl_say("%s: %s records of %s were copied from %s", c->to_name,
			       pl_format_count(c->rows, rows), config->resources[i].name, c->from_name);
		}
	}
	pl_progress_begin(&c->progress, "requests", count(c, "plist.processed_requests"), 0);
	ok = ok && copy_siblings(c) &&
	     copy_table(c, "plist.processed_requests", " WHERE expires_at > now()", "") &&
	     run(c->to, "COMMIT", &c->err) && run(c->from, "COMMIT", &c->err);
	if (pl_messages_terminal())
		pl_progress_end(&c->progress);
	pl_buf_fini(&table);
	return ok;
}

// ---- the command

// The region answers no requests until it has received what is asked for here.
static const char begin_sql[] =
	"WITH i AS (UPDATE plist.identity SET state = 'rebuilding', since = now() WHERE region "
	"= $1 RETURNING 1), "
	"gone AS (DELETE FROM plist.asks RETURNING 1) INSERT INTO plist.asks (id, of_region, purpose, "
	"written_since) SELECT gen_random_uuid()::text, r, 'rebuild', now() - interval '1 hour' FROM "
	"unnest(string_to_array($2, ',')) AS r, i";

static int begin(struct pl_invocation *invocation, struct pl_region_session *session, const char *others)
{
	const char *params[] = { session->region->name, others };
	PGresult *result;
	if (pl_invocation_has(invocation, "dry-run"))
		return 0;
	result = pl_region_sessions_query(session, begin_sql, 2, params);
	bool begun = result && strcmp(PQcmdTuples(result), "0") != 0;
	PQclear(result);
	if (result && !begun)
		pl_fail("%s: no daemon has claimed the database yet: start the region's daemon, which "
		        "fetches by itself what the other regions hold, or, if you repeat this command, "
		        "lets it copy the rows",
		        session->region->name);
	return begun ? 0 : PL_EXIT_NO;
}

static int wait_until_whole(struct pl_invocation *invocation, struct pl_region_session *session)
{
	int64_t until_us = pl_mono_us() + pl_invocation_us(invocation, "wait", 600000000);
	while (session->up) {
		if (pl_cmd_region_number(session, "SELECT (state = 'settled')::int FROM plist.identity") ==
		    1) {
			pl_say("%s: is whole again", session->region->name);
			return PL_EXIT_YES;
		}
		if (pl_mono_us() > until_us) {
			pl_fail("%s: is not whole yet; is its daemon running, and are those of the other "
			        "regions? See 'plist-admin status'",
			        session->region->name);
			return PL_EXIT_NO;
		}
		pl_session_pause(session->session, LOOK_US);
	}
	return PL_EXIT_UNREACHABLE;
}

static struct pl_region_session *source_of(struct pl_invocation *invocation,
                                           struct pl_region_sessions *sessions,
                                           const struct pl_region_session *to)
{
	const char *from = pl_invocation_text(invocation, "from", NULL);
	for (int i = 0; i < sessions->n; i++)
		if (&sessions->each[i] != to && sessions->each[i].up &&
		    (!from || strcmp(sessions->each[i].region->name, from) == 0))
			return &sessions->each[i];
	pl_fail("%s", from ? "--from: there is no other region of that name that can be reached"
	                   : "no other region can be reached");
	return NULL;
}

static int rebuild_from(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                        struct pl_region_session *to)
{
	struct pl_region_session *from = source_of(invocation, sessions, to);
	struct pl_buf others = { 0 };
	if (!from)
		return PL_EXIT_USAGE;
	struct copying c = { .invocation = invocation,
		             .from = from->session,
		             .to = to->session,
		             .from_name = from->region->name,
		             .to_name = to->region->name };
	for (int i = 0; i < sessions->n; i++)
		if (&sessions->each[i] != to && sessions->each[i].up)
			pl_buf_printf(&others, "%s%s", others.len ? "," : "", sessions->each[i].region->name);
	int rc = begin(invocation, to, others.data);
	pl_buf_fini(&others);
	if (rc)
		return rc;
	if (pl_invocation_has(invocation, "dry-run")) {
		pl_say("%s: would answer no requests, copy the records that it lacks from %s, and receive "
		       "what was written since",
		       c.to_name, c.from_name);
		return PL_EXIT_YES;
	}
	if (!copy_all(&c)) {
		pl_fail("copying from %s to %s: %s; repeat the command", c.from_name, c.to_name, c.err.text);
		return PL_EXIT_UNREACHABLE;
	}
	return wait_until_whole(invocation, to);
}

static int rebuild(struct pl_invocation *invocation)
{
	struct pl_region_sessions sessions = { 0 };
	struct pl_region_session *session;
	int rc = pl_cmd_region_open(invocation, &sessions, &session);
	if (!rc)
		rc = rebuild_from(invocation, &sessions, session);
	pl_region_sessions_close(&sessions);
	return rc;
}

static const struct pl_option rebuild_options[] = {
	{ "from", 0, PL_OPTION_REGION, "REGION", "the region to copy from (default: the first other one)" },
	{ "dry-run", 0, PL_OPTION_SWITCH, NULL, "show what would be done, and do nothing" },
	{ "wait", 0, PL_OPTION_DURATION, "TIME",
	  "how long to wait until the region is whole (default: 10m)" },
	{ NULL },
};

const struct pl_command pl_cmd_region_rebuild = {
	.noun = "region",
	.verb = "rebuild",
	.arguments = "REGION",
	.min_args = 1,
	.max_args = 1,
	.summary = "copy what a region lacks from another one",
	.help = "A region whose database is new or was restored fetches what it lacks by itself, through "
		"Kafka. This command copies the rows directly from the other region's database, which is "
		"faster. Meanwhile the region answers no requests: /ready is 503, and NGINX asks the "
		"others. What was written while it copied comes through Kafka, so the daemons must be "
		"running. If it is interrupted, run it again.\n\nExit status 0: the region is whole; 1: "
		"something is left.",
	.options = rebuild_options,
	.waits = true,
	.run = rebuild,
};

// ---- add

static int add_region(struct pl_invocation *invocation)
{
	struct pl_region_sessions sessions = { 0 };
	struct pl_region_session *session;
	int rc = pl_cmd_region_open(invocation, &sessions, &session);
	const char *name = invocation->args[0];
	if (!rc &&
	    pl_cmd_region_number(session, "SELECT (to_regclass('plist.identity') IS NOT NULL)::int") != 1) {
		pl_fail("%s: the database lacks tables of this version: run 'plist-admin migrate --region "
		        "%s', and repeat this command",
		        name, name);
		rc = PL_EXIT_NO;
	}
	if (!rc && pl_cmd_region_number(session, "SELECT (state = 'new')::int FROM plist.identity") == 1) {
		pl_say("%s: the database is ready; now reload the daemons of the other regions, "
		       "so that they "
		       "keep events for %s, and start its daemon: it answers requests when it has fetched "
		       "everything",
		       name, name);
		if (pl_invocation_has(invocation, "dry-run")) {
			pl_region_sessions_close(&sessions);
			return PL_EXIT_YES;
		}
	}
	if (!rc)
		rc = wait_until_whole(invocation, session);
	if (!rc)
		pl_say("%s: now generate the NGINX configuration with 'plist-admin nginx', and "
		       "reload NGINX",
		       name);
	pl_region_sessions_close(&sessions);
	return rc;
}

static const struct pl_option add_options[] = {
	{ "dry-run", 0, PL_OPTION_SWITCH, NULL, "show what would be done, and do nothing" },
	{ "wait", 0, PL_OPTION_DURATION, "TIME",
	  "how long to wait until the region is whole (default: 10m)" },
	{ NULL },
};

const struct pl_command pl_cmd_region_add = {
	.noun = "region",
	.verb = "add",
	.arguments = "REGION",
	.min_args = 1,
	.max_args = 1,
	.summary = "guide a new region until it holds everything",
	.help = "For a region that has just been entered in the configuration: checks its database, says "
		"what to start and reload, and waits until the region has fetched from the "
		"others what they "
		"hold. It can be repeated at any time.\n\nExit status 0: the region is whole; 1: "
		"something is left to do.",
	.options = add_options,
	.waits = true,
	.run = add_region,
};
