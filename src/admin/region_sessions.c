// Sessions with the regions' databases. Threads: the tool has one.
#include "admin/region_sessions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/messages.h"
#include "admin/parse.h"

static void open_one(struct pl_invocation *invocation, struct pl_region_session *region_session,
                     int64_t statement_us)
{
	// Plain text for times, numbers and bytes, whatever the settings of the server
	// or role.
	static const char *const setup[] = { "SET datestyle = ISO", "SET timezone = UTC",
		                             "SET client_min_messages = warning", NULL };
	if (!region_session->region->database) {
		pl_error_set(&region_session->err, PL_EUNAVAIL, "the configuration has no database for it");
		pl_fail("%s: %s", region_session->region->name, region_session->err.text);
		return;
	}
	struct pl_session_options options = {
		.dsn = region_session->region->database,
		.dsn_file = region_session->region->database_file,
		.application_name =
			pl_arena_printf(invocation->arena, "plist-admin %s", invocation->command->noun),
		.connect_timeout_us = pl_invocation_timeout_us(invocation),
		.statement_timeout_us = statement_us,
		.lock_timeout_us = invocation->config->database.lock_timeout_us,
		.stop_fd = -1,
		.setup = setup,
	};
	region_session->session = pl_session_new(&options);
	region_session->up = pl_session_connect(region_session->session, &region_session->err) == 0;
	if (!region_session->up)
		pl_fail("%s: the database is unavailable: %s", region_session->region->name,
		        region_session->err.text);
}

void pl_region_sessions_open(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                             int64_t statement_us)
{
	sessions->n = invocation->nregions;
	sessions->each =
		pl_arena_alloc(invocation->arena, (size_t)invocation->nregions * sizeof(*sessions->each));
	for (int i = 0; i < sessions->n; i++) {
		sessions->each[i].region = invocation->regions[i];
		open_one(invocation, &sessions->each[i], statement_us);
	}
}

void pl_region_sessions_retry(struct pl_region_sessions *sessions)
{
	for (int i = 0; i < sessions->n; i++) {
		struct pl_region_session *region_session = &sessions->each[i];
		if (!region_session->up && region_session->session)
			region_session->up =
				pl_session_connect(region_session->session, &region_session->err) == 0;
	}
}

void pl_region_sessions_close(struct pl_region_sessions *sessions)
{
	for (int i = 0; i < sessions->n; i++)
		pl_session_free(&sessions->each[i].session);
}

void pl_region_sessions_lost(struct pl_region_session *region_session, const struct pl_error *err)
{
	region_session->up = false;
	region_session->err = *err;
	pl_fail("%s: %s", region_session->region->name, err->text);
}

PGresult *pl_region_sessions_query(struct pl_region_session *region_session, const char *sql, int nparams,
                                   const char *const *params)
{
	struct pl_error err = { 0 };
	if (!region_session->up)
		return NULL;
	PGresult *result = pl_session_exec(region_session->session, sql, nparams, params, &err);
	if (result)
		return result;
	if (strcmp(err.sqlstate, "42P01") == 0 || strcmp(err.sqlstate, "42703") == 0)
		snprintf(
			err.text, sizeof(err.text),
			"the database lacks tables or columns of this version; run 'plist-admin migrate'; if "
			"nothing is pending, restore them from a backup: 'plist-admin status' names them");
	pl_region_sessions_lost(region_session, &err);
	return NULL;
}

const char *pl_region_sessions_key(struct pl_invocation *invocation, struct pl_region_session *region_session)
{
	const char *params[] = { region_session->region->name }, *key = region_session->region->name;
	struct pl_error err = { 0 };
	PGresult *result =
		!region_session->up
			? NULL
			: pl_session_exec(region_session->session,
	                                  "SELECT plist.plist_key(region, generation) FROM plist.identity "
	                                  "WHERE generation > 0 AND region = $1",
	                                  1, params, &err);
	if (result && PQntuples(result) == 1)
		key = pl_arena_strdup(invocation->arena, PQgetvalue(result, 0, 0));
	PQclear(result);
	return key;
}

int pl_region_sessions_exit(const struct pl_region_sessions *sessions, int answer)
{
	int up = 0, refused = 0;
	for (int i = 0; i < sessions->n; i++) {
		up += sessions->each[i].up;
		refused += !sessions->each[i].up && sessions->each[i].err.sqlstate[0];
	}
	if (up + refused < sessions->n)
		return up + refused ? PL_EXIT_PARTIAL : PL_EXIT_UNREACHABLE;
	return refused ? PL_EXIT_NO : answer;
}

int pl_region_sessions_parse_id(struct pl_invocation *invocation, const char *text,
                                const struct pl_region **region_r, int64_t *id_r)
{
	const char *slash = strchr(text, '/');
	*region_r = NULL;
	if (slash) {
		*region_r = pl_config_region(invocation->config, text, (size_t)(slash - text));
		if (!*region_r) {
			pl_fail("'%s': there is no such region", text);
			return PL_EXIT_USAGE;
		}
	}
	if (pl_parse_count(slash ? slash + 1 : text, id_r) || *id_r == 0) {
		pl_fail("'%s' is neither a number nor a region and number such as %s/12", text,
		        invocation->config->regions[0].name);
		return PL_EXIT_USAGE;
	}
	return 0;
}
