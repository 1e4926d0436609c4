// An applier's tools, made from a configuration: the policies in a Lua state, the
// statements, a database session. Also what it does when the database is lost or found
// again.
//
// Threads: the applier's.
#include "apply/applier_private.h"

#include "record/edge.h"

// Rows that another session holds for longer are not waited for.
#define LOCK_US (SECOND / 4)

void pl_applier_free_tools(struct pl_applier *applier)
{
	pl_session_free(&applier->tools.session);
	pl_apply_rows_free(&applier->tools.sql);
	free(applier->tools.policies);
	free(applier->tools.shadows);
	pl_vm_free(&applier->vm);
	memset(&applier->tools, 0, sizeof(applier->tools));
}

static struct pl_vm *load_policies(const struct pl_config *config)
{
	struct pl_diagnostics diagnostics = { 0 };
	struct pl_vm *vm = pl_vm_new(config, PL_CONTEXT_POLICY, &diagnostics);

	for (int i = 0; i < diagnostics.n; i++)
		pl_err("%s", diagnostics.lines[i].text);
	pl_diagnostics_fini(&diagnostics);
	return vm;
}

static struct pl_policy *policy_at(struct pl_applier *applier, const char *path)
{
	return applier->vm && path ? pl_policy_find(applier->vm, path) : NULL;
}

// Without a VM, all policies are missing, and the last writer wins until the files are
// corrected.
void pl_applier_make_tools(struct pl_applier *applier)
{
	const struct pl_config *config = applier->config;
	char name[PL_REGION_MAX + 32];

	pl_edge_keep_names(config);
	applier->vm = load_policies(config);
	NOTE(applier, policies_missing, applier->vm == NULL);
	applier->tools.config = config;
	applier->tools.region = applier->region;
	applier->tools.sequences = &applier->sequences;
	applier->tools.sql = pl_apply_rows_new(config);
	applier->tools.policies =
		pl_calloc((size_t)config->nresources + 1, sizeof(applier->tools.policies[0]));
	applier->tools.shadows = pl_calloc((size_t)config->nresources + 1, sizeof(applier->tools.shadows[0]));
	for (int i = 0; i < config->nresources; i++) {
		applier->tools.policies[i] = policy_at(applier, config->resources[i].policy);
		applier->tools.shadows[i] = policy_at(applier, config->resources[i].shadow_policy);
	}
	snprintf(name, sizeof(name), "plistd %s apply-%d", applier->region->name, applier->index + 1);
	applier->tools.session = pl_session_new(&(struct pl_session_options){
		.dsn = applier->region->database,
		.dsn_file = applier->region->database_file,
		.application_name = name,
		.connect_timeout_us = config->database.connect_timeout_us,
		.statement_timeout_us = config->database.statement_timeout_us,
		.lock_timeout_us = config->database.lock_timeout_us < LOCK_US
	                                   ? config->database.lock_timeout_us
	                                   : LOCK_US,
		.stop_fd = pl_wake_fd(applier->halt),
		.setup = pl_apply_rows_setup(applier->tools.sql),
	});
}

// ---- losing and finding the database

void pl_applier_database_failed(struct pl_applier *applier, const struct pl_error *err)
{
	if (err->code == PL_ESTOPPED)
		return;
	if (pl_log_limit_ok(&applier->database_limit, 10 * SECOND))
		pl_warning("%s; keeping %d messages until the database works", err->text,
		           applier->buffer.now.n);
	if (!pl_session_connected(applier->tools.session))
		NOTE(applier, database_up, false);
	pl_applier_note_failure(applier, err->text);
	if (applier->consumer)
		pl_consumer_hold(applier->consumer, true);
	applier->try_at_us = pl_mono_us() + pl_backoff_next(&applier->backoff);
}

void pl_applier_database_works(struct pl_applier *applier)
{
	pl_backoff_reset(&applier->backoff);
	if (!applier->consumer || !pl_consumer_refusal(applier->consumer))
		NOTE(applier, failing_since_us, 0);
	applier->try_at_us = 0;
	if (applier->consumer)
		pl_consumer_hold(applier->consumer, false);
}

static bool have_database(struct pl_applier *applier)
{
	struct pl_error err = { 0 };

	if (pl_session_connected(applier->tools.session))
		return true;
	if (pl_mono_us() < applier->try_at_us)
		return false;
	if (pl_session_connect(applier->tools.session, &err) < 0) {
		pl_applier_database_failed(applier, &err);
		return false;
	}
	pl_info("connected to the database");
	NOTE(applier, database_up, true);
	applier->unchecked = true; // it may be a different database
	applier->accepted = false;
	pl_positions_unsettle(&applier->buffer);
	pl_claims_session(applier->claims, applier->index, pl_session_process(applier->tools.session));
	return true;
}

bool pl_applier_may_write(struct pl_applier *applier)
{
	struct pl_error err = { 0 };

	if (!have_database(applier))
		return false;
	if (applier->accepted)
		return true;
	if (pl_owner_judge(applier->tools.session, applier->region->name, &applier->accepted, &err) < 0)
		pl_applier_database_failed(applier, &err);
	else if (!applier->accepted)
		applier->try_at_us = pl_mono_us() + SECOND / 20;
	return applier->accepted;
}
