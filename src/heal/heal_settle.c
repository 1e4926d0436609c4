// Settling: under which key this region may count its writes, and whether its database
// is whole.
//
// A region counts its writes to each record, and a write's dot is that count. A
// database that was restored from a backup continues counting from there, and would
// give new writes the dots of lost ones: regions that know the lost writes would take
// the new ones for them, and drop them. So the key of the count changes whenever
// something may have been lost.
//
// Three things tell whether something may have been lost; plist_settle checks them
// (sql/027_copies.sql):
//
//   the place    of the database changes when it is restored, copied or created again:
//                the server's identifier, the database's number and that of a table.
//   the run      of the server: as long as it lasts, nothing that was committed is
//                lost. In the next one something may be, for example if the file
//                system was put back to an older state.
//   the others   may know more. Each event says which row of the outbox it was. Each
//                region keeps the largest that it has received, and reports it in its
//                heartbeats. A region that hears of a row that its outbox never had has
//                lost it.
//
// A key that was announced but lost before anybody heard of it would be used twice. So
// the first write under a new key waits until the others report that they know the key
// (plist_rebuilt). If nobody can be heard, the key's number is taken from the clock.
//
// What the others know is asked: their heartbeats count once they quote the question,
// since older ones do not say what happened meanwhile. The question also finds another
// database that serves the region. A database that may be a copy of it listens until the
// other one would have answered, and is refused then; a key that it took would win.
//
// A copy and a legitimate successor cannot be told apart while the right database is
// silent: it may be gone, or only restarting. What is known is which database served the
// region last, and when; the others keep that and say it (plist_served). So a database
// is compared with that predecessor:
//
//   the same place     it is the predecessor itself, restarted, or a standby of it that
//                      was promoted: it goes on under its key. A daemon that served the
//                      region until now goes on at once. One that was just started
//                      listens first, in case that this is a base backup and the right
//                      server lives.
//   the same address   two servers cannot be at one address, so the predecessor is not
//                      there any more: it was replaced, and a new key begins.
//   another address    a restored or moved database, or a copy. It waits until nobody
//                      has heard the predecessor for database.replace_after, or until
//                      the operator says that it is gone (plist-admin region accept, or
//                      draining it before).
//
// The wait costs little: other regions answer the requests meanwhile, and a database is
// rarely restored within minutes of its loss. A copy that is taken too soon costs much:
// the right database is refused from then on, with all that it has not published yet. A
// minute is longer than a daemon or PostgreSQL takes to start; where a machine that is
// started anew takes longer, the key should be, too.
// What remains is a base backup that is started while its server is silent for as long
// as it listens. It has all that a restarted server has, and waiting there would delay
// each failover. Once both live, they find each other by their runs, and one is refused:
// the one on the older timeline, or the one that was started later.
// Threads: the healing thread.
#include "heal/heal_private.h"

#include <stdarg.h>
#include <stdio.h>

#include "db/owner.h"
#include "store/statement.h"

// A database that may be a copy listens for as many heartbeats of the right one. Each of
// them answers what was asked before it.
#define LISTEN_BEATS 2
// A database counts as gone after as many heartbeats without one.
#define SILENT_BEATS 5

void pl_heal_set_gate(struct pl_heal *heal, enum pl_heal_gate gate, const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&heal->lock);
	va_start(ap, fmt);
	vsnprintf(heal->reason, sizeof(heal->reason), fmt, ap);
	va_end(ap);
	atomic_store_explicit(&heal->gate, gate, memory_order_relaxed);
	pthread_mutex_unlock(&heal->lock);
}

const char *pl_heal_others(const struct pl_heal *heal, struct pl_buf *list)
{
	const char *between = "";

	pl_buf_addc(list, '{');
	for (int i = 0; i < heal->config->nregions; i++) {
		if (strcmp(heal->config->regions[i].name, heal->region->name) == 0)
			continue;
		pl_buf_printf(list, "%s%s", between, heal->config->regions[i].name);
		between = ",";
	}
	pl_buf_addc(list, '}');
	return list->data;
}

static const char settle_sql[] =
	"SELECT state, detail FROM plist.plist_settle($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) WHERE state "
	"IS NOT NULL";

// The life: when this part of the identity changes, what sessions have read before is no
// longer true.
static const char identity_sql[] =
	"SELECT plist.plist_key(region, generation), drained, plist.plist_outbox_high(), concat_ws(' ', "
	"incarnation, generation, place), incarnation, (SELECT count(*) FROM plist.plist_beside($1)) FROM "
	"plist.identity";
enum { I_KEY, I_DRAINED, I_HIGH, I_LIFE, I_INCARNATION, I_OTHERS };

static const char end_sql[] = "SELECT count(pg_terminate_backend(pid, 5000)) FROM " PL_HEAL_SESSIONS;

static void tell(struct pl_heal *heal, const char *state, const char *detail)
{
	if (!detail || strcmp(detail, heal->last_detail) == 0)
		return;
	snprintf(heal->last_detail, sizeof(heal->last_detail), "%s", detail);
	if (strcmp(state, "refused") == 0)
		pl_err("heal: %s", detail);
	else if (strcmp(state, "waiting") == 0)
		pl_notice("heal: %s", detail);
	else
		pl_warning("heal: %s%s", detail,
		           strcmp(state, "rebuilding") == 0
		                   ? "; its records are fetched from the other regions"
		                   : "");
}

static void judge(struct pl_heal *heal, const char *state, const char *detail, bool drained)
{
	const char *why = detail ? detail : "";
	bool settled = strcmp(state, "settled") == 0, rebuilding = strcmp(state, "rebuilding") == 0;
	bool was_rebuilding = heal->stats.rebuilding;

	pthread_mutex_lock(&heal->lock);
	heal->stats.settled = settled;
	heal->stats.rebuilding = rebuilding;
	heal->stats.drained = drained;
	pthread_mutex_unlock(&heal->lock);
	heal->was_settled = settled;
	tell(heal, state, detail);
	if (drained)
		pl_heal_set_gate(heal, PL_HEAL_CLOSED, "the region is drained; plist-admin region resume %s",
		                 heal->region->name);
	else if (settled)
		pl_heal_set_gate(heal, PL_HEAL_OPEN, "%s", "");
	else if (rebuilding && !was_rebuilding)
		pl_heal_set_gate(heal, PL_HEAL_CLOSED, "the region is being rebuilt");
	else if (!rebuilding)
		pl_heal_set_gate(heal,
		                 strcmp(state, "waiting") == 0 && strncmp(why, "the database server", 19) == 0
		                         ? PL_HEAL_NO_WRITES
		                         : PL_HEAL_CLOSED,
		                 "%s", why);
}

static void print_seconds(char *text_r, size_t size, int64_t us)
{
	snprintf(text_r, size, "%.3f", (double)us / 1e6);
}

// Notes when the database has begun another life.
static int read_identity(struct pl_heal *heal, PGresult **identity_r, struct pl_error *err)
{
	const char *life;

	*identity_r = pl_session_exec(heal->session, identity_sql, 1,
	                              (const char *const[]){ heal->region->name }, err);
	if (!*identity_r)
		return err->code;
	life = PQntuples(*identity_r) == 1 ? PQgetvalue(*identity_r, 0, I_LIFE) : "";
	if (heal->life[0] && strcmp(heal->life, life) != 0)
		heal->end_sessions = true;
	snprintf(heal->life, sizeof(heal->life), "%s", life);
	return 0;
}

// Tried again until it is done: what the region's sessions have read of the identity, of
// the outbox and of the positions belongs to a former life. They connect again.
static int end_sessions(struct pl_heal *heal, struct pl_error *err)
{
	PGresult *result;

	if (!heal->end_sessions)
		return 0;
	result = pl_session_exec(heal->session, end_sql, 1, (const char *const[]){ heal->region->name }, err);
	PQclear(result);
	if (!result)
		return err->code;
	heal->end_sessions = false;
	return 0;
}

// A refusal names this database, too: the operator has to find the wrong one of two.
static const char *detail_of(const struct pl_heal *heal, const PGresult *result, const PGresult *identity,
                             char detail_r[PL_ERROR_TEXT_MAX])
{
	const PGconn *pg = pl_session_pg(heal->session);

	if (PQgetisnull(result, 0, 1))
		return NULL;
	if (strcmp(PQgetvalue(result, 0, 0), "refused") != 0)
		return PQgetvalue(result, 0, 1);
	snprintf(detail_r, PL_ERROR_TEXT_MAX,
	         "%s; this one is database %s at %s, port %s (incarnation %s): nothing of it is published, "
	         "and nothing is applied or written to it",
	         PQgetvalue(result, 0, 1), PQdb(pg), PQhost(pg), PQport(pg),
	         PQgetvalue(identity, 0, I_INCARNATION));
	return detail_r;
}

static void note_others(struct pl_heal *heal, int64_t n)
{
	if (n > 0 && heal->stats.other_databases == 0)
		pl_warning("heal: another database speaks for region %s, too; find the daemon whose "
		           "regions.%s.database names it: a copy, or one that was left behind",
		           heal->region->name, heal->region->name);
	pthread_mutex_lock(&heal->lock);
	heal->stats.other_databases = n;
	pthread_mutex_unlock(&heal->lock);
}

static void take(struct pl_heal *heal, const PGresult *result, const PGresult *identity, int64_t sent)
{
	const char *key = PQgetvalue(identity, 0, I_KEY), *state = PQgetvalue(result, 0, 0);
	int64_t high = strtoll(PQgetvalue(identity, 0, I_HIGH), NULL, 10);
	char detail[PL_ERROR_TEXT_MAX];

	if (strcmp(state, "settled") == 0 || strcmp(state, "rebuilding") == 0) {
		if (strcmp(key, heal->stats.key) != 0) {
			heal->sure_id = 0; // an id of the former database
			heal->forget_sent = sent;
			pthread_mutex_lock(&heal->lock);
			snprintf(heal->stats.key, sizeof(heal->stats.key), "%s", key);
			pthread_mutex_unlock(&heal->lock);
		}
		if (high > heal->sure_id)
			heal->sure_id = high;
		heal->options.key(heal->options.arg, key);
	}
	note_others(heal, strtoll(PQgetvalue(identity, 0, I_OTHERS), NULL, 10));
	judge(heal, state, detail_of(heal, result, identity, detail),
	      PQgetvalue(identity, 0, I_DRAINED)[0] == 't');
}

int pl_heal_settle(struct pl_heal *heal, struct pl_error *err)
{
	struct pl_buf list = { 0 };
	char waited[32], listen[32], silence[32], sure[24], here[PL_OWNER_ADDRESS_MAX + 1], replaced[32];
	int64_t sent = heal->options.sent(heal->options.arg);
	int64_t beat_us =
		heal->config->kafka.heartbeat_us > SECOND ? heal->config->kafka.heartbeat_us : SECOND;
	const char *alone = heal->options.alone ? "t" : "f", *again = heal->asked ? "t" : "f";
	const char *params[10] = {
		heal->region->name, NULL, waited, listen, silence, NULL, alone, again, here, replaced
	};
	PGresult *result, *identity = NULL;
	int code = 0;

	if (!heal->life[0] && (code = read_identity(heal, &identity, err)) < 0)
		return code;
	PQclear(identity);
	identity = NULL;
	if (sent > heal->sure_id && sent != heal->forget_sent)
		heal->sure_id = sent;
	if (heal->was_settled || heal->sure_id > 0) {
		snprintf(sure, sizeof(sure), "%lld", (long long)heal->sure_id);
		params[5] = sure;
	}
	params[1] = pl_heal_others(heal, &list);
	print_seconds(waited, sizeof(waited), heal->waited_us);
	print_seconds(listen, sizeof(listen), LISTEN_BEATS * beat_us);
	print_seconds(silence, sizeof(silence), SILENT_BEATS * beat_us);
	print_seconds(replaced, sizeof(replaced), heal->config->database.replace_after_us);
	pl_owner_address(heal->session, here);
	result = pl_session_exec(heal->session, settle_sql, 10, params, err);
	pl_buf_fini(&list);
	if (!result)
		return err->code;
	heal->asked = true;
	if (PQntuples(result) == 1 && (code = read_identity(heal, &identity, err)) == 0)
		take(heal, result, identity, sent);
	PQclear(result);
	PQclear(identity);
	return code < 0 ? code : end_sessions(heal, err);
}

// ---- rebuilding

static void note_progress(struct pl_heal *heal, struct pl_error *err)
{
	PGresult *result = pl_session_exec(
		heal->session,
		"SELECT coalesce(sum(records), 0), coalesce(sum(total), 0) FROM plist.asks WHERE purpose = "
		"'rebuild'",
		0, NULL, err);

	if (!result)
		return;
	pthread_mutex_lock(&heal->lock);
	heal->stats.records = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	heal->stats.total = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
	pthread_mutex_unlock(&heal->lock);
	PQclear(result);
}

static void add_sequences(const struct pl_config *config, struct pl_buf *list)
{
	struct pl_buf name = { 0 };

	pl_buf_addc(list, '{');
	for (int i = 0; i < config->nresources; i++) {
		pl_buf_reset(&name);
		pl_statement_table_named(&name, &config->resources[i], "_ids");
		pl_buf_adds(list, i ? "," : "");
		pl_buf_add_json(list, name.data, name.len); // quoted as an array's element is
	}
	pl_buf_addc(list, '}');
	pl_buf_fini(&name);
}

int pl_heal_rebuild(struct pl_heal *heal, struct pl_error *err)
{
	struct pl_buf list = { 0 };
	const char *params[2] = { heal->region->name, NULL };
	PGresult *result;

	if (pl_mono_us() < heal->rebuilt_at_us)
		return 0;
	heal->rebuilt_at_us = pl_mono_us() + 3 * SECOND / 10;
	add_sequences(heal->config, &list);
	params[1] = list.data;
	result = pl_session_exec(heal->session, "SELECT plist.plist_rebuilt($1, VARIADIC $2::text[])", 2,
	                         params, err);
	pl_buf_fini(&list);
	if (!result)
		return err->code;
	note_progress(heal, err);
	if (PQgetisnull(result, 0, 0)) {
		pl_notice("heal: the region is whole again");
		heal->settle_at_us = 0;
	} else if (!heal->stats.drained) {
		pl_heal_set_gate(heal, PL_HEAL_CLOSED, "the region is being rebuilt: %s",
		                 PQgetvalue(result, 0, 0));
	}
	PQclear(result);
	return 0;
}
