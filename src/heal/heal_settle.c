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
// (sql/014_identity.sql):
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
// Threads: the healing thread.
#include "heal/heal_private.h"

#include <stdarg.h>
#include <stdio.h>

#include "store/statement.h"

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

int pl_heal_ask_clock(struct pl_heal *heal, struct pl_error *err)
{
	PGresult *result;

	if (heal->started[0])
		return 0;
	result = pl_session_exec(heal->session, "SELECT clock_timestamp()", 0, NULL, err);
	if (!result)
		return err->code;
	snprintf(heal->started, sizeof(heal->started), "%s", PQgetvalue(result, 0, 0));
	PQclear(result);
	return 0;
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

// Looks at a settled region without a lock; only a step that may change something takes
// the lock.
static const char settle_sql[] =
	"SELECT s.state, s.detail, plist.plist_key(i.region, i.generation), i.drained, "
	"plist.plist_outbox_high() "
	"FROM plist.plist_settle($1, $2, $3, $4, $5, $6) AS s, LATERAL (SELECT * FROM plist.identity "
	"WHERE s.state IS NOT NULL) AS i";

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

int pl_heal_settle(struct pl_heal *heal, struct pl_error *err)
{
	struct pl_buf list = { 0 };
	char waited[32], sure[24];
	int64_t sent = heal->options.sent(heal->options.arg);
	const char *params[6] = {
		heal->region->name, NULL, heal->started, waited, NULL, heal->options.alone ? "t" : "f"
	};
	PGresult *result;
	int code = pl_heal_ask_clock(heal, err);

	if (code < 0)
		return code;
	if (sent > heal->sure_id && sent != heal->forget_sent)
		heal->sure_id = sent;
	if (heal->was_settled || heal->sure_id > 0) {
		snprintf(sure, sizeof(sure), "%lld", (long long)heal->sure_id);
		params[4] = sure;
	}
	params[1] = pl_heal_others(heal, &list);
	snprintf(waited, sizeof(waited), "%.3f", (double)heal->waited_us / 1e6);
	result = pl_session_exec(heal->session, settle_sql, 6, params, err);
	pl_buf_fini(&list);
	if (!result)
		return err->code;
	if (PQntuples(result) == 1) {
		const char *key = PQgetvalue(result, 0, 2), *state = PQgetvalue(result, 0, 0);

		if (strcmp(state, "settled") == 0 || strcmp(state, "rebuilding") == 0) {
			if (strcmp(key, heal->stats.key) != 0) {
				heal->sure_id = 0; // an id of the former database
				heal->forget_sent = sent;
				pthread_mutex_lock(&heal->lock);
				snprintf(heal->stats.key, sizeof(heal->stats.key), "%s", key);
				pthread_mutex_unlock(&heal->lock);
			}
			if (strtoll(PQgetvalue(result, 0, 4), NULL, 10) > heal->sure_id)
				heal->sure_id = strtoll(PQgetvalue(result, 0, 4), NULL, 10);
			heal->options.key(heal->options.arg, key);
		}
		judge(heal, state, PQgetisnull(result, 0, 1) ? NULL : PQgetvalue(result, 0, 1),
		      PQgetvalue(result, 0, 3)[0] == 't');
	}
	PQclear(result);
	return 0;
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
