// plist-admin status: shows all regions at a glance: daemons, databases, versions, and
// disagreements between regions.
#include "admin/commands.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/audits_seen.h"
#include "admin/cell.h"
#include "admin/certificates_seen.h"
#include "admin/daemon.h"
#include "admin/daemon_seen.h"
#include "admin/lag_facts.h"
#include "admin/messages.h"
#include "admin/metrics_text.h"
#include "admin/policies_seen.h"
#include "admin/schema_findings.h"
#include "admin/table.h"
#include "apply/trust.h"
#include "base/json.h"
#include "db/inventory.h"
#include "db/migrate.h"
#include "db/owner.h"
#include "kafka/topics.h"

#define BEHIND_SECONDS 10.0
#define SHORT_HASH     12 // digits of a hash shown to people; JSON has all of them

enum {
	R_REGION,
	R_DAEMONS,
	R_DATABASE,
	R_MIGRATIONS,
	R_OUTBOX,
	R_SECONDS,
	R_LAG,
	R_OPEN,
	R_VIOLATIONS,
	R_DIFFERING,
	R_PARKED,
	R_LETTERS
};

// clang-format off
static const struct pl_table_column region_columns[] = {
	[R_REGION] = { "region", PL_CELL_TEXT },
	[R_DAEMONS] = { "daemons", PL_CELL_TEXT },
	[R_DATABASE] = { "database", PL_CELL_TEXT },
	[R_MIGRATIONS] = { "migrations", PL_CELL_TEXT },
	[R_OUTBOX] = { "outbox", PL_CELL_NUMBER },
	[R_SECONDS] = { "lag_seconds", PL_CELL_NUMBER },
	[R_LAG] = { "lag", PL_CELL_TEXT },
	[R_OPEN] = { "open_conflicts", PL_CELL_NUMBER },
	[R_VIOLATIONS] = { "violations", PL_CELL_NUMBER },
	[R_DIFFERING] = { "differing", PL_CELL_NUMBER },
	[R_PARKED] = { "parked", PL_CELL_NUMBER },
	[R_LETTERS] = { "dead_letters", PL_CELL_NUMBER },
	{ NULL },
};
// clang-format on

enum { D_REGION, D_ADDRESS, D_STATE, D_VERSION, D_CONFIG, D_CONFIG_WHOLE, D_REASONS };

// clang-format off
static const struct pl_table_column daemon_columns[] = {
	[D_REGION] = { "region", PL_CELL_TEXT },
	[D_ADDRESS] = { "address", PL_CELL_TEXT },
	[D_STATE] = { "state", PL_CELL_TEXT },
	[D_VERSION] = { "version", PL_CELL_TEXT },
	[D_CONFIG] = { "config", PL_CELL_TEXT, PL_COLUMN_PEOPLE },
	[D_CONFIG_WHOLE] = { "config_sha256", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[D_REASONS] = { "reason", PL_CELL_TEXT, PL_COLUMN_CUT },
	{ NULL },
};
// clang-format on

static const struct pl_table_column warning_columns[] = { { "warning", PL_CELL_TEXT }, { NULL } };
static const struct pl_table_column note_columns[] = { { "note", PL_CELL_TEXT }, { NULL } };

struct status {
	struct pl_invocation *invocation;
	struct pl_region_sessions sessions;
	struct pl_lag_facts lag;
	struct pl_table *regions, *daemons, *warnings, *notes;
	int daemons_up;
	struct pl_policies_seen seen;
	bool wrong; // something was reached and is not as it should be
};

// Prints the sentence immediately and adds it to the document.
static void warning(struct status *status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void warning(struct status *status, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	pl_warn("%s", text);
	pl_table_row(status->warnings);
	pl_table_text(status->warnings, 0, text);
	status->wrong = true;
}

// ---- daemons

static void warn_in_words(void *arg, const char *sentence)
{
	warning(arg, "%s", sentence);
}

// Something that may be intended: it is printed, and does not affect the exit status.
static void note_in_words(void *arg, const char *sentence)
{
	struct status *status = arg;

	pl_messages_note("%s", sentence);
	pl_table_row(status->notes);
	pl_table_text(status->notes, 0, sentence);
}

static void take_metrics(struct status *status, const struct pl_region *region, const char *address,
                         const char *text)
{
	char value[256], hash[80];
	const char *next = text, *line = pl_metrics_text_find(text, "plist_build_info", &next);
	if (line && pl_metrics_text_label(line, "version", value, sizeof(value)))
		pl_table_text(status->daemons, D_VERSION, value);
	line = pl_metrics_text_find(text, "plist_config_info", &next);
	if (line && pl_metrics_text_label(line, "sha256", hash, sizeof(hash))) {
		pl_table_printf(status->daemons, D_CONFIG, "%.*s", SHORT_HASH, hash);
		pl_table_text(status->daemons, D_CONFIG_WHOLE, hash);
		if (strcmp(hash, status->invocation->config->sha256) != 0) {
			pl_table_tone(status->daemons, D_CONFIG, PL_TONE_DOUBT);
			warning(status,
			        "%s: the daemon at %s runs configuration %.*s, but %s is %.*s; reload it, or "
			        "check which one is intended",
			        region->name, address, SHORT_HASH, hash, status->invocation->config->file,
			        SHORT_HASH, status->invocation->config->sha256);
		}
	}
	pl_policies_seen_in_metrics(&status->seen, region, text);
	pl_daemon_seen(region, address, text,
	               &(struct pl_daemon_seen_to){ warn_in_words, note_in_words, status });
}

// The reasons for not being ready, joined as "a; b".
static void take_reasons(struct status *status, const struct pl_region *region, const char *address,
                         const struct pl_buf *body)
{
	struct pl_error err;
	struct pl_buf text = { 0 };
	cJSON *json = pl_json_parse(body->data ? body->data : "", body->len, &pl_json_default_limits, &err);
	const cJSON *reasons = json ? pl_json_get(json, "reasons") : NULL, *reason;
	cJSON_ArrayForEach (reason, reasons)
		if (cJSON_IsString(reason))
			pl_buf_printf(&text, "%s%s", text.len ? "; " : "", reason->valuestring);
	pl_table_text(status->daemons, D_REASONS, text.data ? text.data : "no reason given");
	warning(status, "%s: the daemon at %s is not ready: %s", region->name, address,
	        text.data ? text.data : "no reason given");
	pl_buf_fini(&text);
	cJSON_Delete(json);
}

// Asks a daemon's operators' listener for what its listener for clients does not say.
static void look_closer(struct status *status, const struct pl_region *region, int i, bool ready)
{
	const char *address = region->upstream[i];
	char operators[300];
	struct pl_buf body = { 0 };
	struct pl_error err;
	int64_t timeout_us = pl_invocation_timeout_us(status->invocation);
	bool reached = pl_daemon_operators_address(region, i, operators, sizeof(operators));
	struct pl_daemon_address plain = { operators, NULL };
	if (reached && pl_daemon_ask(&plain, "/metrics", timeout_us, &body, &err) == 200)
		take_metrics(status, region, address, body.data);
	pl_buf_reset(&body);
	if (ready)
		;
	else if (reached && pl_daemon_ask(&plain, "/ready", timeout_us, &body, &err) == 503)
		take_reasons(status, region, address, &body);
	else {
		pl_table_text(status->daemons, D_REASONS, "its operators' listener (admin.listen) knows why");
		warning(status, "%s: the daemon at %s is not ready; http://%s/ready on its machine says why",
		        region->name, address, region->admin_listen);
	}
	pl_buf_fini(&body);
}

// Asks a daemon of a region. Returns whether one answers there, and *ready_r.
static bool look_at_daemon(struct status *status, const struct pl_region *region, int i, bool *ready_r)
{
	const char *address = region->upstream[i];
	struct pl_buf body = { 0 };
	struct pl_error err;
	struct pl_daemon_address how = pl_daemon_address(status->invocation->config, region, i);
	int code = pl_daemon_ask(&how, "/ready", pl_invocation_timeout_us(status->invocation), &body, &err);
	bool up = code == 200 || code == 503;
	*ready_r = code == 200;
	pl_table_row(status->daemons);
	pl_table_text(status->daemons, D_REGION, region->name);
	pl_table_text(status->daemons, D_ADDRESS, address);
	pl_table_text(status->daemons, D_STATE, *ready_r ? "ready" : up ? "not ready" : "down");
	pl_table_tone(status->daemons, D_STATE, *ready_r ? PL_TONE_GOOD : PL_TONE_BAD);
	if (!up) {
		if (code > 0)
			pl_error_set(&err, PL_EUNAVAIL, "GET /ready answers %d", code);
		pl_table_text(status->daemons, D_REASONS, err.text);
		warning(status, "%s: no daemon at %s: %s", region->name, address, err.text);
	} else
		look_closer(status, region, i, *ready_r);
	pl_buf_fini(&body);
	return up;
}

static void look_at_daemons(struct status *status, const struct pl_region *region)
{
	int ready = 0;
	for (int i = 0; i < region->nupstream; i++) {
		bool is_ready;
		status->daemons_up += look_at_daemon(status, region, i, &is_ready);
		ready += is_ready;
	}
	pl_table_printf(status->regions, R_DAEMONS, "%d of %d ready", ready, region->nupstream);
	pl_table_tone(status->regions, R_DAEMONS, ready == region->nupstream ? PL_TONE_GOOD : PL_TONE_BAD);
}

// ---- databases

static int64_t ask_number(struct pl_region_session *region_session, const char *sql)
{
	PGresult *result = pl_region_sessions_query(region_session, sql, 0, NULL);
	int64_t number = result ? pl_cell_int(result, 0, 0, 0) : -1;
	PQclear(result);
	return number;
}

// Migrations that are applied may have lost what they made.
static void look_at_inventory(struct status *status, struct pl_region_session *region_session)
{
	struct pl_buf missing = { 0 };
	struct pl_error err;
	int n = 0;
	if (pl_inventory_check(region_session->session, &missing, &n, &err))
		pl_region_sessions_lost(region_session, &err);
	else if (n > 0)
		warning(status,
		        "%s: the database lacks what its migrations made: %.700s; restore it from a backup, "
		        "or set the types with ALTER TABLE",
		        region_session->region->name, missing.data);
	else if (pl_inventory_check_rows(region_session->session, &missing, &n, &err))
		pl_region_sessions_lost(region_session, &err);
	else if (n > 0)
		warning(status,
		        "%s: %.200s %s missing; a daemon of the region makes such rows again, within a few "
		        "seconds; if none is running, start one",
		        region_session->region->name, missing.data, n == 1 ? "is" : "are");
	pl_buf_fini(&missing);
}

static void look_at_migrations(struct status *status, struct pl_region_session *region_session)
{
	struct pl_invocation *invocation = status->invocation;
	struct pl_migration *list;
	struct pl_error err;
	int n, applied = 0;
	if (pl_migrate_list(region_session->session, pl_invocation_migrations(invocation), invocation->arena,
	                    &list, &n, &err)) {
		pl_table_text(status->regions, R_MIGRATIONS, "?");
		warning(status, "%s: migrations: %s", region_session->region->name, err.text);
		return;
	}
	for (int i = 0; i < n; i++)
		applied += list[i].state == PL_MIGRATION_APPLIED;
	pl_table_printf(status->regions, R_MIGRATIONS, "%d of %d", applied, n);
	pl_table_tone(status->regions, R_MIGRATIONS, applied == n ? PL_TONE_GOOD : PL_TONE_BAD);
	if (applied < n)
		warning(status,
		        "%s: %d of %d migrations are pending or differ; see 'plist-admin migrate --status'",
		        region_session->region->name, n - applied, n);
	else
		look_at_inventory(status, region_session);
}

// Columns 8 to 13 of the query below.
static void warn_of_place(struct status *status, const char *name, const PGresult *result)
{
	const char *refused = pl_cell(result, 0, 8), *elsewhere = pl_cell(result, 0, 9);

	if (refused && refused[0] == 't')
		warning(status,
		        "%s: this database is refused, because another one serves the region; correct "
		        "regions.%s.database, or stop the other one and give 'plist-admin region accept %s'",
		        name, name, name);
	else if (elsewhere && elsewhere[0] == 't' && pl_cell(result, 0, 11))
		warning(status,
		        "%s: another database (incarnation %s) at another address served the region, and %s "
		        "heard it %s s ago; this one waits until nobody has for database.replace_after; if "
		        "it is gone for good, 'plist-admin region accept %s' ends the wait",
		        name, pl_cell(result, 0, 11), pl_cell(result, 0, 12), pl_cell(result, 0, 13), name);
	else if (elsewhere && elsewhere[0] == 't')
		warning(status,
		        "%s: the database was restored or moved, or is a copy, and no daemon has accepted it "
		        "as the region's yet; nothing is published or applied",
		        name);
	if (pl_cell(result, 0, 10))
		warning(status,
		        "%s: another database (incarnation %s) speaks for the region, too; find the daemon "
		        "whose regions.%s.database names it: a copy, or one that was left behind",
		        name, pl_cell(result, 0, 10), name);
}

// What the region itself says of its database, and what it waits for.
static void look_at_identity(struct status *status, struct pl_region_session *region_session)
{
	const char *name = region_session->region->name;
	char here[PL_OWNER_ADDRESS_MAX + 1], replaced[32];
	const char *params[] = { name, here, replaced };

	if (!region_session->up)
		return;
	pl_owner_address(region_session->session, here);
	snprintf(replaced, sizeof(replaced), "%.3f",
	         (double)status->invocation->config->database.replace_after_us / 1e6);
	PGresult *result = pl_region_sessions_query(
		region_session,
		"SELECT i.state, i.drained, i.region, a.n, a.of, a.purpose, a.records, a.total, "
		"i.place = '" PL_OWNER_PLACE_REFUSED "', i.place <> plist.plist_place(), (SELECT "
		"string_agg(b::text, ', ') FROM plist.plist_beside(i.region) AS b), p.incarnation, "
		"p.heard_by, round(p.ago) FROM "
		"plist.identity AS i, LATERAL (SELECT count(*) AS n, string_agg(of_region, ', ') AS of, "
		"max(purpose) AS purpose, coalesce(sum(records), 0) AS records, coalesce(sum(total), 0) AS "
		"total FROM plist.asks WHERE done_at IS NULL OR purpose = 'rebuild' AND i.state = "
		"'rebuilding') AS a LEFT JOIN plist.plist_predecessor($1, $2) AS p ON p.ago < $3",
		3, params);
	if (!result || PQntuples(result) == 0) {
		PQclear(result);
		return;
	}
	bool rebuilding = strcmp(pl_cell(result, 0, 0), "rebuilding") == 0;
	if (strcmp(pl_cell(result, 0, 0), "new") == 0)
		warning(status, "%s: no daemon has claimed the database for the region yet", name);
	else
		warn_of_place(status, name, result);
	if (pl_cell(result, 0, 1)[0] == 't')
		warning(status, "%s: the region is drained; 'plist-admin region resume %s' lets requests in",
		        name, name);
	if (rebuilding || pl_cell_int(result, 0, 3, 0) > 0)
		warning(status, "%s: %s: %" PRId64 " of %" PRId64 " records have been published by %s", name,
		        rebuilding ? "the region is being rebuilt, and answers no requests"
		                   : "it lacks events, and has asked for them",
		        pl_cell_int(result, 0, 6, 0), pl_cell_int(result, 0, 7, 0),
		        pl_cell(result, 0, 4) ? pl_cell(result, 0, 4) : "the others");
	PQclear(result);
}

static void warn_of_letters(struct status *status, struct pl_region_session *region_session, int64_t letters)
{
	const char *name = region_session->region->name;
	int64_t forged = ask_number(region_session, "SELECT count(*) FROM plist.dead_letters WHERE "
	                                            "starts_with(error, $$" PL_NOT_OURS "$$)");

	warning(status,
	        "%s: %" PRId64
	        " dead letters: messages that were not applied; see 'plist-admin dead-letters list'",
	        name, letters);
	if (forged > 0)
		warning(status,
		        "%s: %" PRId64 " of them are writes in the name of %s that it never made, and other "
		        "regions may have applied them; each names the 'plist-admin record reset' that makes "
		        "the regions equal, after which 'plist-admin dead-letters drop' deletes it",
		        name, forged, name);
}

static void warn_of_violations(struct status *status, struct pl_region_session *region_session, int64_t n)
{
	int64_t unseen =
		ask_number(region_session, "SELECT count(*) FROM plist.integrity_checks WHERE due_at "
	                                   "< now() - interval '1 minute'");
	if (n > 0)
		warning(status,
		        "%s: %" PRId64
		        " violation%s of unique values or references; see 'plist-admin conflicts list --open "
		        "--type multiple_unique_conflicts', or reference_missing",
		        region_session->region->name, n, n == 1 ? "" : "s");
	if (unseen > 0)
		warning(status,
		        "%s: %" PRId64 " record%s that events have changed %s been waiting for more than a "
		        "minute to be checked for violations; the logs of the region's daemons say why",
		        region_session->region->name, unseen, unseen == 1 ? "" : "s",
		        unseen == 1 ? "has" : "have");
}

static void warn_of_twice(struct status *status, struct pl_region_session *region_session)
{
	int64_t n = ask_number(region_session, "SELECT count(*) FROM plist.created_twice WHERE found_at < "
	                                       "now() - interval '1 minute'");
	if (n > 0)
		warning(status,
		        "%s: %" PRId64 " request%s created two records each, and both are still there; see "
		        "'plist-admin conflicts list --open --type created_twice' and delete one of each two",
		        region_session->region->name, n, n == 1 ? "" : "s");
}

// What may wait for an operator: conflicts, and events not published or not applied.
static void look_at_kept(struct status *status, struct pl_region_session *region_session)
{
	int64_t open =
		ask_number(region_session, "SELECT count(*) FROM plist.conflicts WHERE closed_at IS NULL");
	int64_t violations =
		ask_number(region_session, "SELECT count(*) FROM plist.violations WHERE gone_at IS NULL");
	int64_t parked = ask_number(region_session, "SELECT count(*) FROM plist.parked_events");
	int64_t letters = ask_number(region_session, "SELECT count(*) FROM plist.dead_letters");
	int64_t refused =
		ask_number(region_session, "SELECT count(*) FROM plist.outbox WHERE refused_at IS NOT NULL");
	if (refused > 0)
		warning(status,
		        "%s: %" PRId64
		        " event%s cannot be published and wait%s in the outbox; see 'plist-admin outbox "
		        "list'",
		        region_session->region->name, refused, refused == 1 ? "" : "s",
		        refused == 1 ? "s" : "");
	if (region_session->up) {
		pl_table_number(status->regions, R_OPEN, open);
		pl_table_number(status->regions, R_VIOLATIONS, violations);
		pl_table_tone(status->regions, R_VIOLATIONS, violations ? PL_TONE_BAD : PL_TONE_PLAIN);
		pl_table_number(status->regions, R_LETTERS, letters);
		pl_table_tone(status->regions, R_LETTERS, letters ? PL_TONE_BAD : PL_TONE_PLAIN);
		pl_table_number(status->regions, R_PARKED, parked);
		pl_table_tone(status->regions, R_PARKED, parked ? PL_TONE_BAD : PL_TONE_PLAIN);
	}
	status->wrong |= !region_session->up; // a table that cannot be read may hide a problem
	warn_of_violations(status, region_session, violations);
	warn_of_twice(status, region_session);
	if (letters > 0)
		warn_of_letters(status, region_session, letters);
	if (parked > 0)
		warning(status,
		        "%s: %" PRId64
		        " parked events, which the database refused; see 'plist-admin parked list'",
		        region_session->region->name, parked);
}

// Records that differ between regions, as far as the daemons know.
static void look_at_audit(struct status *status, struct pl_region_session *region_session)
{
	int64_t n = pl_audits_seen(status->invocation, region_session, warn_in_words, status);

	if (n >= 0)
		pl_table_number(status->regions, R_DIFFERING, n);
	pl_table_tone(status->regions, R_DIFFERING, n > 0 ? PL_TONE_BAD : PL_TONE_PLAIN);
}

static void look_at_region(struct status *status, struct pl_lag_of_region *lag)
{
	struct pl_region_session *region_session = lag->region_session;
	pl_table_row(status->regions);
	pl_table_text(status->regions, R_REGION, region_session->region->name);
	look_at_daemons(status, region_session->region);
	pl_table_text(status->regions, R_DATABASE,
	              region_session->up                ? "up"
	              : region_session->err.sqlstate[0] ? "not usable"
	                                                : "down");
	pl_table_tone(status->regions, R_DATABASE, region_session->up ? PL_TONE_GOOD : PL_TONE_BAD);
	if (lag->outbox_events >= 0)
		pl_table_number(status->regions, R_OUTBOX, lag->outbox_events);
	if (lag->seconds >= 0)
		pl_table_seconds(status->regions, R_SECONDS, lag->seconds);
	pl_table_text(status->regions, R_LAG, pl_lag_facts_state_name(lag->state));
	pl_table_tone(status->regions, R_LAG,
	              lag->state == PL_LAG_OK            ? PL_TONE_GOOD
	              : lag->state == PL_LAG_CATCHING_UP ? PL_TONE_DOUBT
	                                                 : PL_TONE_BAD);
	status->wrong |= lag->state > PL_LAG_CATCHING_UP || !region_session->up;
	if (!region_session->up)
		return;
	look_at_migrations(status, region_session);
	look_at_identity(status, region_session);
	look_at_audit(status, region_session);
	look_at_kept(status, region_session);
}

static void look_at_topics(struct status *status)
{
	struct pl_topic_findings findings = { 0 };
	struct pl_error err;
	if (pl_topics_check(status->invocation->config, status->invocation->regions[0],
	                    pl_invocation_timeout_us(status->invocation), &findings, &err) == 0)
		for (int i = 0; i < findings.n; i++)
			if (findings.each[i].severity != PL_TOPIC_NOTICE)
				warning(status, "kafka: %s", findings.each[i].text);
	pl_topics_findings_fini(&findings);
}

// Daemons that do not know the fields of the file, or know others.
static void look_at_fields(struct status *status)
{
	struct pl_schema_findings findings = { .arena = status->invocation->arena,
		                               .config = status->invocation->config };
	for (int i = 0; i < status->sessions.n; i++)
		pl_schema_findings_daemons(&findings, &status->sessions.each[i]);
	for (int i = 0; i < findings.n; i++)
		warning(status, "%s: %s: %s %s; see 'plist-admin schema diff'", findings.each[i].region,
		        findings.each[i].resource, findings.each[i].object, findings.each[i].text);
	pl_schema_findings_fini(&findings);
}

// ---- the command

// A region is reached if a daemon and the database answer; the broker counts as one more.
static int exit_of(const struct status *status)
{
	int parts = 1, reached = status->lag.broker;
	for (int i = 0; i < status->sessions.n; i++) {
		const struct pl_region_session *region_session = &status->sessions.each[i];
		parts += 1 + region_session->region->nupstream;
		reached += region_session->up || region_session->err.sqlstate[0];
	}
	reached += status->daemons_up;
	if (reached < parts)
		return reached ? PL_EXIT_PARTIAL : PL_EXIT_UNREACHABLE;
	return status->wrong ? PL_EXIT_NO : PL_EXIT_YES;
}

static int status_of_all(struct pl_invocation *invocation)
{
	int rc = pl_invocation_regions(invocation);
	if (rc)
		return rc;
	struct status status = {
		.invocation = invocation,
		.regions = pl_table_new("regions", region_columns),
		.daemons = pl_table_new("daemons", daemon_columns),
		.seen = { .arena = invocation->arena },
		.warnings = pl_table_new("warnings", warning_columns),
		.notes = pl_table_new("notes", note_columns),
	};
	struct pl_offsets *offsets = pl_offsets_new(invocation->config, pl_invocation_timeout_us(invocation));
	pl_region_sessions_open(invocation, &status.sessions, pl_invocation_timeout_us(invocation));
	pl_lag_facts_look(invocation, &status.sessions, offsets, BEHIND_SECONDS, &status.lag);
	if (!status.lag.broker)
		warning(&status, "kafka: %s", status.lag.broker_err.text);
	else
		look_at_topics(&status);
	for (int i = 0; i < status.lag.n; i++)
		look_at_region(&status, &status.lag.each[i]);
	for (int i = 0; i < status.sessions.n; i++) // after all daemons were queried
		pl_policies_seen_in_heartbeats(&status.seen, &status.sessions.each[i]);
	pl_policies_seen_compare(&status.seen, warn_in_words, &status);
	look_at_fields(&status);
	struct pl_table *certificates =
		pl_certificates_seen(invocation->config, invocation->arena, warn_in_words, &status);
	// A deployment without TLS has none, and people have read the warnings.
	struct pl_table *tables[] = { status.regions, status.daemons,  pl_policies_seen_table(&status.seen),
		                      certificates,   status.warnings, status.notes };
	pl_tables_print(invocation,
	                invocation->json                  ? 6
	                : pl_table_rows(certificates) > 0 ? 4
	                                                  : 3,
	                tables, NULL);
	rc = exit_of(&status);
	for (int i = 0; i < 6; i++)
		pl_table_free(&tables[i]);
	pl_policies_seen_fini(&status.seen);
	pl_lag_facts_fini(&status.lag);
	pl_offsets_free(&offsets);
	pl_region_sessions_close(&status.sessions);
	return rc;
}

const struct pl_command pl_cmd_status = {
	.noun = "status",
	.summary = "show all regions at a glance",
	.help = "Shows, for each region, which daemons are ready, whether the database answers and is "
		"migrated, the outbox, the lag, open conflicts, violations, differing "
		"records, parked events and dead letters; "
		"for each daemon, its "
		"version and configuration; the policies that each region uses; and when the certificates on "
		"this machine expire. Warns if events were not applied, if records violate unique values or "
		"references, if one request created two records and both are still there, if records "
		"differ between regions, if a daemon runs a different "
		"configuration than the file or has refused a reload, if a daemon does not know a field of a "
		"resource or knows "
		"another one, if regions use different policies, if a partition has no leader, if a daemon "
		"has lost something in the last ten minutes that only its log tells of, or if a "
		"certificate cannot be used or expires within 14 days. A note, for example "
		"that a daemon's database role is a superuser, is not a "
		"problem.\n\nExit status 0: no problems; 1: everything was "
		"reached, and there are problems; 3: nothing could "
		"be reached; 4: some regions could not be "
		"reached.",
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = status_of_all,
};
