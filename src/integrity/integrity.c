// The thread that finds and resolves violations: see integrity.h.
//
// In each region, only the daemon whose session holds an advisory lock does this.
#include "integrity/integrity.h"

#include <stdlib.h>
#include <string.h>

#include "integrity/integrity_private.h"

#define TURN_US    (SECOND / 2)
#define IDLE_US    SECOND // between two tries to get the lock
#define MISSING_US (30 * SECOND)

static bool unique_at(const struct pl_resource *resource, int i, struct pl_integrity_check *check_r)
{
	*check_r = (struct pl_integrity_check){ .resource = resource,
		                                .type = "multiple_unique_conflicts",
		                                .fields = resource->unique[i],
		                                .unique = &resource->uniques[i] };
	return true;
}

bool pl_integrity_check_at(const struct pl_config *config, int i, struct pl_integrity_check *check_r)
{
	for (int r = 0; r < config->nresources; r++) {
		const struct pl_resource *resource = &config->resources[r];

		if (i < resource->nunique)
			return unique_at(resource, i, check_r);
		i -= resource->nunique;
		for (int f = 0; f < resource->nfields; f++) {
			const char *to = resource->fields[f].references;

			if (!to || i-- > 0)
				continue;
			*check_r = (struct pl_integrity_check){ .resource = resource,
				                                .type = "reference_missing",
				                                .fields = resource->fields[f].name,
				                                .field = f,
				                                .to = pl_config_resource(config, to) };
			return true;
		}
	}
	return false;
}

int pl_integrity_do(struct pl_integrity *integrity, const char *sql, int n, const char *const *params,
                    struct pl_error *err)
{
	PGresult *result = pl_session_exec(integrity->session, sql, n, params, err);

	PQclear(result);
	return result ? 0 : err->code;
}

// ---- the configuration

static bool has_rules(const struct pl_config *config)
{
	for (int i = 0; i < config->nresources; i++)
		if (config->resources[i].violations)
			return true;
	return false;
}

// The files were checked when the configuration was loaded.
static void load_rules(struct pl_integrity *integrity)
{
	struct pl_diagnostics diagnostics = { 0 };

	pl_vm_free(&integrity->vm);
	if (has_rules(integrity->config))
		integrity->vm = pl_vm_new(integrity->config, PL_CONTEXT_POLICY, &diagnostics);
	if (diagnostics.n > 0)
		pl_warning("integrity: %s", diagnostics.lines[0].text);
	pl_diagnostics_fini(&diagnostics);
	pthread_mutex_lock(&integrity->lock);
	integrity->stats.rules_missing = has_rules(integrity->config) && !integrity->vm;
	pthread_mutex_unlock(&integrity->lock);
}

static void configure(void *arg, struct pl_session *session, const struct pl_config *config,
                      const struct pl_region *region)
{
	struct pl_integrity *integrity = arg;
	struct pl_integrity_check check;

	integrity->session = session;
	integrity->config = config;
	integrity->region = region;
	integrity->looked = false;
	integrity->guarded = pl_integrity_check_at(config, 0, &check);
	load_rules(integrity);
}

// ---- the thread

static int become_checker(struct pl_integrity *integrity, struct pl_error *err)
{
	PGresult *result;

	if (integrity->is_checker)
		return 0;
	result = pl_session_exec(integrity->session,
	                         "SELECT pg_try_advisory_lock(hashtext('plist-integrity'))", 0, NULL, err);
	if (!result)
		return err->code;
	integrity->is_checker = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return 0;
}

static int count_open(struct pl_integrity *integrity, struct pl_error *err)
{
	PGresult *result =
		pl_session_exec(integrity->session,
	                        "SELECT count(*) FROM plist.violations WHERE gone_at IS NULL", 0, NULL, err);

	if (!result)
		return err->code;
	pthread_mutex_lock(&integrity->lock);
	integrity->stats.open = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	pthread_mutex_unlock(&integrity->lock);
	PQclear(result);
	return 0;
}

static int check(struct pl_integrity *integrity, struct pl_error *err)
{
	bool fresh;
	int code;

	if ((code = pl_background_connect(integrity->background, &fresh, err)) < 0)
		return code;
	if (fresh)
		integrity->is_checker = integrity->looked = false;
	if ((code = become_checker(integrity, err)) < 0)
		return code;
	if (integrity->is_checker && ((code = pl_integrity_look(integrity, err)) < 0 ||
	                              (code = pl_integrity_resolve(integrity, err)) < 0))
		return code;
	return count_open(integrity, err);
}

static int turn(void *arg, int64_t *wait_us_r, struct pl_error *err)
{
	struct pl_integrity *integrity = arg;
	int code = check(integrity, err);

	if (code < 0 && pl_session_connected(integrity->session))
		pl_session_do(integrity->session, "ROLLBACK", NULL);
	*wait_us_r = integrity->is_checker ? TURN_US : IDLE_US;
	// Nothing is configured and no violation is left: sleep until a reload.
	if (code == 0 && !integrity->guarded && integrity->looked && integrity->stats.open == 0) {
		pl_session_drop(integrity->session);
		*wait_us_r = -1;
	}
	return code;
}

static void ended(void *arg)
{
	struct pl_integrity *integrity = arg;

	pl_vm_free(&integrity->vm);
}

// ---- for the daemon

struct pl_integrity *pl_integrity_start(const struct pl_integrity_options *options, struct pl_error *err)
{
	struct pl_integrity *integrity = pl_calloc(1, sizeof(*integrity));

	integrity->missing_us = options->missing_us > 0 ? options->missing_us : MISSING_US;
	pthread_mutex_init(&integrity->lock, NULL);
	integrity->background = pl_background_new(&(struct pl_background_options){
		.name = "integrity",
		.config = options->config,
		.region = options->region,
		.least_us = SECOND / 4,
		.most_us = 5 * SECOND,
		.configure = configure,
		.turn = turn,
		.ended = ended,
		.arg = integrity,
	});
	if (pl_background_start(integrity->background, err) < 0)
		pl_integrity_stop(&integrity);
	return integrity;
}

void pl_integrity_reconfigure(struct pl_integrity *integrity, const struct pl_config *config,
                              const struct pl_region *region)
{
	pl_background_reconfigure(integrity->background, config, region);
}

void pl_integrity_stop(struct pl_integrity **integrity_p)
{
	struct pl_integrity *integrity = *integrity_p;

	if (!integrity)
		return;
	*integrity_p = NULL;
	pl_background_free(&integrity->background);
	pthread_mutex_destroy(&integrity->lock);
	free(integrity);
}

void pl_integrity_stats(struct pl_integrity *integrity, struct pl_integrity_stats *stats_r)
{
	pthread_mutex_lock(&integrity->lock);
	*stats_r = integrity->stats;
	pthread_mutex_unlock(&integrity->lock);
	stats_r->failures = pl_background_failures(integrity->background);
	stats_r->failing_us = pl_background_failing_us(integrity->background);
}
