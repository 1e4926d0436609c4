// plist-admin status: every region at a look: its daemons, its database, what it runs, and where regions do not agree.
#include "admin/commands.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/daemon.h"
#include "admin/lag_facts.h"
#include "admin/metrics_text.h"
#include "admin/policies_seen.h"
#include "admin/table.h"
#include "admin/talk.h"
#include "base/json.h"
#include "db/migrate.h"

#define BEHIND_SECONDS 10.0
#define SHORT_HASH 12 // characters of a hash that people compare; JSON has them all

enum { R_REGION, R_DAEMONS, R_DATABASE, R_MIGRATIONS, R_OUTBOX, R_SECONDS, R_LAG, R_OPEN, R_LETTERS };

static const struct pl_column region_columns[] = {
	[R_REGION] = { "region", PL_CELL_TEXT },
	[R_DAEMONS] = { "daemons", PL_CELL_TEXT },
	[R_DATABASE] = { "database", PL_CELL_TEXT },
	[R_MIGRATIONS] = { "migrations", PL_CELL_TEXT },
	[R_OUTBOX] = { "outbox", PL_CELL_NUMBER },
	[R_SECONDS] = { "lag_seconds", PL_CELL_NUMBER },
	[R_LAG] = { "lag", PL_CELL_TEXT },
	[R_OPEN] = { "open_conflicts", PL_CELL_NUMBER },
	[R_LETTERS] = { "dead_letters", PL_CELL_NUMBER },
	{ NULL },
};

enum { D_REGION, D_ADDRESS, D_STATE, D_VERSION, D_CONFIG, D_CONFIG_WHOLE, D_REASONS };

static const struct pl_column daemon_columns[] = {
	[D_REGION] = { "region", PL_CELL_TEXT },
	[D_ADDRESS] = { "address", PL_CELL_TEXT },
	[D_STATE] = { "state", PL_CELL_TEXT },
	[D_VERSION] = { "version", PL_CELL_TEXT },
	[D_CONFIG] = { "config", PL_CELL_TEXT, PL_COLUMN_PEOPLE },
	[D_CONFIG_WHOLE] = { "config_sha256", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[D_REASONS] = { "reason", PL_CELL_TEXT, PL_COLUMN_CUT },
	{ NULL },
};

static const struct pl_column warning_columns[] = { { "warning", PL_CELL_TEXT }, { NULL } };

struct status {
	struct pl_call *call;
	struct pl_reaches reaches;
	struct pl_lag_facts lag;
	struct pl_table *regions, *daemons, *warnings;
	int daemons_up;
	struct pl_policies_seen seen;
	bool wrong; // something is reached and not as it should be
};

// The sentence goes to people at once and into the document.
static void warning(struct status *status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void warning(struct status *status, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	pl_warn("%s", text);
	pl_table_row(status->warnings);
	pl_table_text(status->warnings, 0, text);
	status->wrong = true;
}

// ---- daemons

static void take_metrics(struct status *status, const struct pl_region *region, const char *address, const char *text)
{
	char value[256], hash[80];
	const char *next = text, *line = pl_metrics_find(text, "plist_build_info", &next);
	if (line && pl_metrics_label(line, "version", value, sizeof value))
		pl_table_text(status->daemons, D_VERSION, value);
	line = pl_metrics_find(text, "plist_config_info", &next);
	if (line && pl_metrics_label(line, "sha256", hash, sizeof hash)) {
		pl_table_printf(status->daemons, D_CONFIG, "%.*s", SHORT_HASH, hash);
		pl_table_text(status->daemons, D_CONFIG_WHOLE, hash);
		if (strcmp(hash, status->call->config->sha256) != 0) {
			pl_table_tone(status->daemons, D_CONFIG, PL_TONE_DOUBT);
			warning(status, "%s: the daemon at %s runs the configuration %.*s, and %s is %.*s; reload it, or look which is meant",
			        region->name, address, SHORT_HASH, hash, status->call->config->file, SHORT_HASH, status->call->config->sha256);
		}
	}
	pl_policies_from_metrics(&status->seen, region, text);
}

// "a; b" of the reasons that a daemon gives for not being ready.
static void take_reasons(struct status *status, const struct pl_region *region, const char *address, const struct pl_buf *body)
{
	struct pl_error err;
	struct pl_buf text = { 0 };
	cJSON *json = pl_json_parse(body->data ? body->data : "", body->len, &pl_json_default_limits, &err);
	const cJSON *reasons = json ? pl_json_get(json, "reasons") : NULL, *reason;
	cJSON_ArrayForEach(reason, reasons)
		if (cJSON_IsString(reason))
			pl_buf_printf(&text, "%s%s", text.len ? "; " : "", reason->valuestring);
	pl_table_text(status->daemons, D_REASONS, text.data ? text.data : "no reason given");
	warning(status, "%s: the daemon at %s is not ready: %s", region->name, address, text.data ? text.data : "no reason given");
	pl_buf_fini(&text);
	cJSON_Delete(json);
}

// One address of a region; returns whether a daemon answers there, with *ready_r.
static bool look_at_daemon(struct status *status, const struct pl_region *region, const char *address, bool *ready_r)
{
	struct pl_buf body = { 0 };
	struct pl_error err;
	int64_t timeout_us = pl_call_timeout_us(status->call);
	int code = pl_daemon_ask(address, "/ready", timeout_us, &body, &err);
	bool up = code == 200 || code == 503;
	*ready_r = code == 200;
	pl_table_row(status->daemons);
	pl_table_text(status->daemons, D_REGION, region->name);
	pl_table_text(status->daemons, D_ADDRESS, address);
	pl_table_text(status->daemons, D_STATE, *ready_r ? "ready" : up ? "not ready" : "away");
	pl_table_tone(status->daemons, D_STATE, *ready_r ? PL_TONE_GOOD : PL_TONE_BAD);
	if (!up) {
		if (code > 0)
			pl_error_set(&err, PL_EUNAVAIL, "GET /ready answers %d", code);
		pl_table_text(status->daemons, D_REASONS, err.text);
		warning(status, "%s: no daemon at %s: %s", region->name, address, err.text);
	} else if (!*ready_r) {
		take_reasons(status, region, address, &body);
	}
	pl_buf_reset(&body);
	if (up && pl_daemon_ask(address, "/metrics", timeout_us, &body, &err) == 200)
		take_metrics(status, region, address, body.data);
	pl_buf_fini(&body);
	return up;
}

static void look_at_daemons(struct status *status, const struct pl_region *region)
{
	int ready = 0;
	for (int i = 0; i < region->nupstream; i++) {
		bool is_ready;
		status->daemons_up += look_at_daemon(status, region, region->upstream[i], &is_ready);
		ready += is_ready;
	}
	pl_table_printf(status->regions, R_DAEMONS, "%d of %d ready", ready, region->nupstream);
	pl_table_tone(status->regions, R_DAEMONS, ready == region->nupstream ? PL_TONE_GOOD : PL_TONE_BAD);
}

// ---- databases

static int64_t ask_number(struct pl_reach *reach, const char *sql)
{
	PGresult *result = pl_reach_query(reach, sql, 0, NULL);
	int64_t number = result ? pl_cell_int(result, 0, 0, 0) : -1;
	PQclear(result);
	return number;
}

static void look_at_migrations(struct status *status, struct pl_reach *reach)
{
	struct pl_call *call = status->call;
	struct pl_migration *list;
	struct pl_error err;
	int n, applied = 0;
	if (pl_migrate_list(reach->session, pl_call_migrations(call), call->arena, &list, &n, &err)) {
		pl_table_text(status->regions, R_MIGRATIONS, "?");
		warning(status, "%s: migrations: %s", reach->region->name, err.text);
		return;
	}
	for (int i = 0; i < n; i++)
		applied += list[i].state == PL_MIGRATION_APPLIED;
	pl_table_printf(status->regions, R_MIGRATIONS, "%d of %d", applied, n);
	pl_table_tone(status->regions, R_MIGRATIONS, applied == n ? PL_TONE_GOOD : PL_TONE_BAD);
	if (applied < n)
		warning(status, "%s: %d of %d migrations are not in force as they are here; 'plist-admin migrate --status' lists them",
		        reach->region->name, n - applied, n);
}

static void look_at_region(struct status *status, struct pl_lag_of_region *lag)
{
	struct pl_reach *reach = lag->reach;
	pl_table_row(status->regions);
	pl_table_text(status->regions, R_REGION, reach->region->name);
	look_at_daemons(status, reach->region);
	pl_table_text(status->regions, R_DATABASE, reach->up ? "up" : reach->err.sqlstate[0] ? "not usable" : "away");
	pl_table_tone(status->regions, R_DATABASE, reach->up ? PL_TONE_GOOD : PL_TONE_BAD);
	if (lag->outbox_events >= 0)
		pl_table_number(status->regions, R_OUTBOX, lag->outbox_events);
	if (lag->seconds >= 0)
		pl_table_seconds(status->regions, R_SECONDS, lag->seconds);
	pl_table_text(status->regions, R_LAG, pl_lag_word(lag->verdict));
	pl_table_tone(status->regions, R_LAG, lag->verdict == PL_LAG_OK ? PL_TONE_GOOD : lag->verdict == PL_LAG_CATCHING_UP ? PL_TONE_DOUBT : PL_TONE_BAD);
	status->wrong |= lag->verdict > PL_LAG_CATCHING_UP;
	if (!reach->up)
		return;
	look_at_migrations(status, reach);
	int64_t open = ask_number(reach, "SELECT count(*) FROM conflicts WHERE closed_at IS NULL");
	int64_t letters = ask_number(reach, "SELECT count(*) FROM dead_letters");
	if (reach->up) {
		pl_table_number(status->regions, R_OPEN, open);
		pl_table_number(status->regions, R_LETTERS, letters);
		pl_table_tone(status->regions, R_LETTERS, letters ? PL_TONE_DOUBT : PL_TONE_PLAIN);
	}
}

static void warn_of_policies(void *arg, const char *sentence)
{
	warning(arg, "%s", sentence);
}

// ---- the command

// Reached is a region of which a daemon and the database answer; the broker counts as one more thing to reach.
static int exit_of(const struct status *status)
{
	int parts = 1, reached = status->lag.broker;
	for (int i = 0; i < status->reaches.n; i++) {
		const struct pl_reach *reach = &status->reaches.each[i];
		parts += 1 + reach->region->nupstream;
		reached += reach->up || reach->err.sqlstate[0];
	}
	reached += status->daemons_up;
	if (reached < parts)
		return reached ? PL_EXIT_PARTIAL : PL_EXIT_UNREACHABLE;
	return status->wrong ? PL_EXIT_NO : PL_EXIT_YES;
}

static int status_of_all(struct pl_call *call)
{
	int rc = pl_call_regions(call);
	if (rc)
		return rc;
	struct status status = {
		.call = call, .regions = pl_table_new("regions", region_columns), .daemons = pl_table_new("daemons", daemon_columns),
		.seen = { .arena = call->arena }, .warnings = pl_table_new("warnings", warning_columns),
	};
	struct pl_offsets *offsets = pl_offsets_new(call->config, pl_call_timeout_us(call));
	pl_reaches_open(call, &status.reaches, pl_call_timeout_us(call));
	pl_lag_look(call, &status.reaches, offsets, BEHIND_SECONDS, &status.lag);
	if (!status.lag.broker)
		warning(&status, "kafka: %s", status.lag.broker_err.text);
	for (int i = 0; i < status.lag.n; i++)
		look_at_region(&status, &status.lag.each[i]);
	for (int i = 0; i < status.reaches.n; i++) // after all daemons have had their own word
		pl_policies_from_heartbeats(&status.seen, &status.reaches.each[i]);
	pl_policies_compare(&status.seen, warn_of_policies, &status);
	struct pl_table *tables[] = { status.regions, status.daemons, pl_policies_table(&status.seen), status.warnings };
	pl_tables_print(call, call->json ? 4 : 3, tables, NULL); // people have read the warnings
	rc = exit_of(&status);
	for (int i = 0; i < 4; i++)
		pl_table_free(&tables[i]);
	pl_policies_seen_fini(&status.seen);
	pl_lag_facts_fini(&status.lag);
	pl_offsets_free(&offsets);
	pl_reaches_close(&status.reaches);
	return rc;
}

const struct pl_command pl_cmd_status = {
	.noun = "status",
	.summary = "every region at a look",
	.help = "Shows for every region which daemons are ready, whether the database answers and has its migrations, what waits in the outbox, the lag, "
	        "open conflicts and dead letters; for every daemon its version and the configuration that it runs; and the policy that each region "
	        "decides by. Warns where a daemon runs another configuration than the file, and where regions decide by different policies.\n\n"
	        "Exit status 0: all is well; 1: all was reached, and something is not well; 3, 4: nothing, or not all, could be reached.",
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = status_of_all,
};
