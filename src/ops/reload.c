// Reloading: all of a new configuration, or nothing of it.
//
// ops/loaded loads and checks the file in the calling thread. Only if nothing is wrong is
// the result published: first to the workers, which have it when this returns, then to
// the relay, the applier and the other threads. Requests that have arrived completely
// finish under the old configuration.
// Invariant: between two reloads all threads run the same configuration. Threads: any;
// one reload at a time.
#include "ops/reload.h"

#include <stdio.h>
#include <string.h>

#include "apply/apply.h"
#include "audit/audit.h"
#include "auth/key_fetcher.h"
#include "base/clock.h"
#include "base/log.h"
#include "config/derive.h"
#include "heal/heal.h"
#include "integrity/integrity.h"
#include "ops/admin_listener.h"
#include "ops/certificates.h"
#include "ops/housekeep.h"
#include "ops/members.h"
#include "ops/operators.h"
#include "ops/ops_private.h"
#include "ops/worker.h"
#include "relay/relay.h"

// ---- publishing

// A reload ends the activation of policies.
static void log_deactivated(struct pl_daemon *daemon, const struct pl_config *to)
{
	struct pl_config *config = pl_daemon_config(daemon);
	const struct pl_config *as_loaded = pl_config_as_loaded(config);
	for (int i = 0; i < config->nresources && config != as_loaded; i++) {
		const struct pl_script_source *was = pl_config_source(config, config->resources[i].policy);
		const struct pl_resource *resource = pl_config_resource(to, config->resources[i].name);
		const struct pl_script_source *is = resource ? pl_config_source(to, resource->policy) : NULL;
		if (was && is && strcmp(was->sha256, is->sha256) != 0)
			pl_notice("reload: resource %s uses the policy %s of the configuration again; the "
			          "activated policy %s is no longer in force",
			          resource->name, is->path, was->path);
	}
	pl_config_unref(&config);
}

// What a reload has read: the configuration, and the files of TLS that it names.
struct fresh {
	struct pl_loaded *loaded;
	struct pl_certificates *certificates;
	struct pl_tls_server *tls;
};

static void drop(struct fresh *fresh)
{
	pl_certificates_free(&fresh->certificates);
	pl_tls_server_unref(&fresh->tls);
	pl_loaded_free(&fresh->loaded);
}

// Returns how many workers keep the former configuration.
static int publish(struct pl_daemon *daemon, const struct fresh *fresh)
{
	struct pl_loaded *loaded = fresh->loaded;
	log_deactivated(daemon, loaded->config);
	const struct pl_config *config = loaded->config;
	const struct pl_region *region = pl_config_region(config, daemon->region, strlen(daemon->region));
	pl_log_init(config->log.level, config->log.format);
	pl_credentials_continue(loaded->credentials, daemon->loaded->credentials);
	struct pl_error err;
	if (pl_key_fetcher_use(daemon->keys, pl_credentials_key_source(loaded->credentials), &err) != 0)
		pl_err("%s", err.text);
	int failed = pl_workers_reload(daemon->workers, daemon->nworkers, loaded, fresh->tls);
	pl_certificates_replace(daemon, fresh->certificates, fresh->tls);
	pl_admin_listener_reconfigure(daemon->admin_listener, config);
	pl_relay_reconfigure(daemon->relay, config, region);
	pl_apply_reconfigure(daemon->apply, config, region);
	pl_housekeep_reconfigure(daemon->housekeep, config, region);
	pl_heal_reconfigure(daemon->heal, config, region);
	pl_integrity_reconfigure(daemon->integrity, config, region);
	pl_audit_reconfigure(daemon->audit, config, region);
	pthread_mutex_lock(&daemon->lock);
	struct pl_loaded *old = daemon->loaded;
	daemon->loaded = loaded;
	daemon->reloads++;
	daemon->last_reload_ok = failed == 0;
	daemon->loaded_us = pl_now_us();
	daemon->reload_error[0] = '\0';
	pthread_mutex_unlock(&daemon->lock);
	pl_loaded_free(&old);
	return failed;
}

// A file has changed since it was checked, or memory is short: another reload may
// succeed.
static int incomplete(struct pl_daemon *daemon, int failed, struct pl_error *err)
{
	pl_error_set(err, PL_EUNAVAIL,
	             "%d of %d workers keep the former configuration (the log says why); "
	             "reload again",
	             failed, daemon->nworkers);
	pl_err("reload: %s", err->text);
	pthread_mutex_lock(&daemon->lock);
	snprintf(daemon->reload_error, sizeof(daemon->reload_error), "%s", err->text);
	pthread_mutex_unlock(&daemon->lock);
	return err->code;
}

static int refuse(struct pl_daemon *daemon, const struct pl_diagnostics *diagnostics, struct pl_error *err)
{
	int n = diagnostics->n - diagnostics->warnings;
	const char *first = diagnostics->n > 0 ? diagnostics->lines[0].text : daemon->file;
	for (int i = 0; i < diagnostics->n; i++)
		if (!diagnostics->lines[i].warning) {
			first = diagnostics->lines[i].text;
			break;
		}
	for (int i = 0; i < diagnostics->n; i++)
		pl_log(diagnostics->lines[i].warning ? PL_LOG_WARNING : PL_LOG_ERROR, "%s",
		       diagnostics->lines[i].text);
	pl_error_set(err, PL_EINVAL, "the configuration has %d problem%s; the old one stays in force", n,
	             n == 1 ? "" : "s");
	pl_err("reload: %s", err->text);
	pthread_mutex_lock(&daemon->lock);
	daemon->reload_failures++;
	daemon->last_reload_ok = false;
	snprintf(daemon->reload_error, sizeof(daemon->reload_error), "%s", first);
	pthread_mutex_unlock(&daemon->lock);
	return PL_EINVAL;
}

static void warn_of_restart(const struct pl_loaded *loaded, struct pl_buf *members)
{
	for (int i = 0; i < loaded->nheld; i++)
		pl_warning("reload: a new value of %s takes effect only after a restart", loaded->held[i]);
	pl_members_add_list(members, "restart_keys", loaded->held, loaded->nheld);
}

// A file that no longer has the region of this daemon is refused.
static bool load_again(struct pl_daemon *daemon, struct pl_diagnostics *diagnostics, struct fresh *fresh_r)
{
	struct pl_error err;
	struct pl_config *running = pl_daemon_config(daemon);
	struct pl_loaded *loaded = pl_loaded_new(daemon->file, daemon->region, running, diagnostics);
	pl_config_unref(&running);
	if (loaded && !pl_config_region(loaded->config, daemon->region, strlen(daemon->region))) {
		pl_diagnostics_add(diagnostics, false, daemon->file, 0, 0,
		                   "regions.%s: is missing, but this daemon serves that region",
		                   daemon->region);
		pl_loaded_free(&loaded);
	}
	*fresh_r = (struct fresh){ .loaded = loaded };
	if (!loaded)
		return false;
	fresh_r->certificates = pl_certificates_load(loaded->config, daemon->region, &fresh_r->tls, &err);
	const struct pl_region *region =
		pl_config_region(loaded->config, daemon->region, strlen(daemon->region));
	if (fresh_r->certificates && pl_relay_check_files(daemon->relay, loaded->config, region, &err) == 0)
		return true;
	pl_diagnostics_add(diagnostics, false, daemon->file, 0, 0, "%s", err.text);
	drop(fresh_r);
	return false;
}

int pl_reload_file(struct pl_daemon *daemon, struct pl_buf *members, struct pl_error *err)
{
	struct pl_diagnostics diagnostics = { 0 };
	int code = 0;
	pthread_mutex_lock(&daemon->reloading);
	if (atomic_load(&daemon->draining)) {
		pthread_mutex_unlock(&daemon->reloading);
		return pl_error_set(err, PL_ESTOPPED, "the daemon is stopping");
	}
	struct fresh fresh;
	if (load_again(daemon, &diagnostics, &fresh)) {
		char sha256[65];
		snprintf(sha256, sizeof(sha256), "%s", fresh.loaded->config->sha256);
		for (int i = 0; i < diagnostics.n; i++)
			pl_warning("%s", diagnostics.lines[i].text);
		warn_of_restart(fresh.loaded, members);
		int failed = publish(daemon, &fresh);
		if (failed > 0)
			code = incomplete(daemon, failed, err);
		else
			pl_notice("reload: %s is in force, sha256 %.12s", daemon->file, sha256);
		if (members)
			pl_buf_printf(members, ",\"sha256\":\"%s\"", sha256);
	} else
		code = refuse(daemon, &diagnostics, err);
	if (members) {
		pl_members_add_diagnostics(members, "warnings", &diagnostics, true);
		if (code != 0)
			pl_members_add_diagnostics(members, "problems", &diagnostics, false);
	}
	pl_diagnostics_fini(&diagnostics);
	pthread_mutex_unlock(&daemon->reloading);
	return code;
}
