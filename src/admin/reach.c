// Reaching the regions' databases. Threads: the tool has one.
#include "admin/reach.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/parse.h"
#include "admin/talk.h"

static void open_one(struct pl_call *call, struct pl_reach *reach, int64_t statement_us)
{
	// Plain text of times, numbers and bytes, whatever the server's or the role's settings are.
	static const char *const setup[] = { "SET datestyle = ISO", "SET timezone = UTC", "SET client_min_messages = warning", NULL };
	if (!reach->region->database) {
		pl_error_set(&reach->err, PL_EUNAVAIL, "the configuration names no database for it");
		pl_fail("%s: %s", reach->region->name, reach->err.text);
		return;
	}
	struct pl_session_options options = {
		.dsn = reach->region->database,
		.application_name = pl_arena_printf(call->arena, "plist-admin %s", call->command->noun),
		.connect_timeout_us = pl_call_timeout_us(call),
		.statement_timeout_us = statement_us,
		.lock_timeout_us = call->config->database.lock_timeout_us,
		.stop_fd = -1,
		.setup = setup,
	};
	reach->session = pl_session_new(&options);
	reach->up = pl_session_connect(reach->session, &reach->err) == 0;
	if (!reach->up)
		pl_fail("%s: the database cannot be reached: %s", reach->region->name, reach->err.text);
}

void pl_reaches_open(struct pl_call *call, struct pl_reaches *reaches, int64_t statement_us)
{
	reaches->n = call->nregions;
	reaches->each = pl_arena_alloc(call->arena, (size_t)call->nregions * sizeof *reaches->each);
	for (int i = 0; i < reaches->n; i++) {
		reaches->each[i].region = call->regions[i];
		open_one(call, &reaches->each[i], statement_us);
	}
}

void pl_reaches_again(struct pl_reaches *reaches)
{
	for (int i = 0; i < reaches->n; i++) {
		struct pl_reach *reach = &reaches->each[i];
		if (!reach->up && reach->session)
			reach->up = pl_session_connect(reach->session, &reach->err) == 0;
	}
}

void pl_reaches_close(struct pl_reaches *reaches)
{
	for (int i = 0; i < reaches->n; i++)
		pl_session_free(&reaches->each[i].session);
}

void pl_reach_lost(struct pl_reach *reach, const struct pl_error *err)
{
	reach->up = false;
	reach->err = *err;
	pl_fail("%s: %s", reach->region->name, err->text);
}

PGresult *pl_reach_query(struct pl_reach *reach, const char *sql, int nparams, const char *const *params)
{
	struct pl_error err = { 0 };
	if (!reach->up)
		return NULL;
	PGresult *result = pl_session_exec(reach->session, sql, nparams, params, &err);
	if (result)
		return result;
	if (strcmp(err.sqlstate, "42P01") == 0 || strcmp(err.sqlstate, "42703") == 0)
		snprintf(err.text, sizeof err.text, "the database has not the tables that this version knows; run 'plist-admin migrate'");
	pl_reach_lost(reach, &err);
	return NULL;
}

int pl_reaches_exit(const struct pl_reaches *reaches, int answer)
{
	int up = 0, refused = 0;
	for (int i = 0; i < reaches->n; i++) {
		up += reaches->each[i].up;
		refused += !reaches->each[i].up && reaches->each[i].err.sqlstate[0];
	}
	if (up + refused < reaches->n)
		return up + refused ? PL_EXIT_PARTIAL : PL_EXIT_UNREACHABLE;
	return refused ? PL_EXIT_NO : answer;
}

int pl_reach_id(struct pl_call *call, const char *text, const struct pl_region **region_r, int64_t *id_r)
{
	const char *slash = strchr(text, '/');
	*region_r = NULL;
	if (slash) {
		*region_r = pl_config_region(call->config, text, (size_t)(slash - text));
		if (!*region_r) {
			pl_fail("'%s': there is no region of that name", text);
			return PL_EXIT_USAGE;
		}
	}
	if (pl_parse_count(slash ? slash + 1 : text, id_r)) {
		pl_fail("'%s' is no number, and no region and number such as %s/12", text, call->config->regions[0].name);
		return PL_EXIT_USAGE;
	}
	return 0;
}

const char *pl_cell(const PGresult *result, int row, int column)
{
	return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

int64_t pl_cell_int(const PGresult *result, int row, int column, int64_t otherwise)
{
	const char *text = pl_cell(result, row, column);
	return text ? strtoll(text, NULL, 10) : otherwise;
}

int64_t pl_cell_time(const PGresult *result, int row, int column)
{
	return pl_cell_int(result, row, column, 0);
}
