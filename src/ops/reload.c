// Reloading: all of a new configuration, or nothing of it.
//
// Stands between the YAML and the threads. First everything that can be wrong is tried out here, in the thread that asks: the file is read and
// checked, every handler and policy is loaded, and no policy passes that the gate refuses. Only then is it published, to the workers first, which
// have it when this returns, then to relay, applier and housekeeping. Requests that run keep the configuration that they began with.
// Invariant: between two reloads all threads run one configuration. Threads: any; one reload at a time.
#include "ops/daemon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "config/derive.h"
#include "replicate/gate.h"
#include "script/policy.h"
#include "script/vm.h"

#define RESTART_KEYS_MAX 32

// ---- loading and checking

static void take_facts(struct pl_loaded *loaded, struct pl_vm *vm, const struct pl_resource *resource, const char *path, bool shadow)
{
	struct pl_policy *policy = path ? pl_policy_find(vm, path) : NULL;
	if (!policy)
		return;
	loaded->policies[loaded->npolicies++] = (struct pl_policy_facts){
		.resource = resource->name,
		.path = path,
		.name = pl_arena_strdup(loaded->arena, pl_policy_name(policy)),
		.doc = pl_arena_strdup(loaded->arena, pl_policy_doc(policy)),
		.sha256 = pl_arena_strdup(loaded->arena, pl_policy_sha256(policy)),
		.shadow = shadow,
	};
}

// Loads the policies as the applier will, to learn what they call themselves, too.
static bool load_policies(struct pl_loaded *loaded, struct pl_problems *problems)
{
	const struct pl_config *config = loaded->config;
	struct pl_vm *vm = pl_vm_new(config, PL_WORLD_POLICY, problems);
	loaded->policies = pl_arena_alloc(loaded->arena, (size_t)(2 * config->nresources + 1) * sizeof(loaded->policies[0]));
	for (int i = 0; vm && i < config->nresources; i++) {
		take_facts(loaded, vm, &config->resources[i], config->resources[i].policy, false);
		take_facts(loaded, vm, &config->resources[i], config->resources[i].shadow, true);
	}
	bool good = vm != NULL;
	pl_vm_free(&vm);
	return good;
}

static bool load_handlers(const struct pl_config *config, struct pl_problems *problems)
{
	struct pl_vm *vm = pl_vm_new(config, PL_WORLD_HANDLER, problems);
	bool good = vm != NULL;
	pl_vm_free(&vm);
	return good;
}

static struct pl_loaded *loaded_of(struct pl_config *config)
{
	struct pl_loaded *loaded = pl_calloc(1, sizeof(*loaded));
	loaded->config = config;
	loaded->arena = pl_arena_new(0);
	return loaded;
}

struct pl_loaded *pl_loaded_derived(struct pl_config *config, struct pl_problems *problems)
{
	struct pl_loaded *loaded = loaded_of(config);
	if (!load_policies(loaded, problems))
		pl_loaded_free(&loaded);
	return loaded;
}

struct pl_loaded *pl_loaded_new(const char *file, const char *region, struct pl_problems *problems)
{
	struct pl_config *config = pl_config_load(file, region, problems);
	if (!config)
		return NULL;
	struct pl_loaded *loaded = loaded_of(config);
	bool handlers = load_handlers(config, problems), policies = load_policies(loaded, problems);
	// A policy is probed only when everything can be loaded: what the loading says comes first.
	if (!handlers || !policies || pl_gate_policies(config, problems) > 0)
		pl_loaded_free(&loaded);
	return loaded;
}

void pl_loaded_free(struct pl_loaded **loaded_r)
{
	struct pl_loaded *loaded = *loaded_r;
	if (!loaded)
		return;
	pl_config_unref(&loaded->config);
	pl_arena_free(&loaded->arena);
	free(loaded);
	*loaded_r = NULL;
}

// ---- publishing

// A policy that was activated by hand lasts until now.
static void tell_deactivated(struct pl_daemon *daemon, const struct pl_config *to)
{
	struct pl_config *config = pl_daemon_config(daemon);
	const struct pl_config *as_loaded = pl_config_as_loaded(config);
	for (int i = 0; i < config->nresources && config != as_loaded; i++) {
		const struct pl_script_source *was = pl_config_source(config, config->resources[i].policy);
		const struct pl_resource *resource = pl_config_resource(to, config->resources[i].name);
		const struct pl_script_source *is = resource ? pl_config_source(to, resource->policy) : NULL;
		if (was && is && strcmp(was->sha256, is->sha256) != 0)
			pl_notice("reload: %s is decided by %s again; the activated %s is out of force", resource->name, is->path, was->path);
	}
	pl_config_unref(&config);
}

static void publish(struct pl_daemon *daemon, struct pl_loaded *loaded)
{
	tell_deactivated(daemon, loaded->config);
	const struct pl_config *config = loaded->config;
	const struct pl_region *region = pl_config_region(config, daemon->region, strlen(daemon->region));
	pl_log_init(config->log.level, config->log.format);
	pl_workers_reload(daemon->workers, daemon->nworkers, config);
	pl_relay_reconfigure(daemon->relay, config, region);
	pl_apply_reconfigure(daemon->apply, config, region);
	pl_housekeep_reconfigure(daemon->housekeep, config);
	pthread_mutex_lock(&daemon->lock);
	struct pl_loaded *old = daemon->loaded;
	daemon->loaded = loaded;
	daemon->reloads++;
	daemon->last_reload_ok = true;
	daemon->loaded_us = pl_now_us();
	daemon->reload_error[0] = '\0';
	pthread_mutex_unlock(&daemon->lock);
	pl_loaded_free(&old);
}

static int refuse(struct pl_daemon *daemon, const struct pl_problems *problems, struct pl_error *err)
{
	int n = problems->n - problems->warnings;
	const char *first = problems->n > 0 ? problems->lines[0].text : daemon->file;
	for (int i = 0; i < problems->n; i++)
		if (!problems->lines[i].warning) {
			first = problems->lines[i].text;
			break;
		}
	for (int i = 0; i < problems->n; i++)
		pl_log(problems->lines[i].warning ? PL_LOG_WARNING : PL_LOG_ERROR, "%s", problems->lines[i].text);
	pl_error_set(err, PL_EINVAL, "the configuration has %d problem%s; nothing was changed", n, n == 1 ? "" : "s");
	pl_err("reload: %s", err->text);
	pthread_mutex_lock(&daemon->lock);
	daemon->reload_failures++;
	daemon->last_reload_ok = false;
	snprintf(daemon->reload_error, sizeof(daemon->reload_error), "%s", first);
	pthread_mutex_unlock(&daemon->lock);
	return PL_EINVAL;
}

// ,"name":["a","b"]
static void list(struct pl_buf *members, const char *name, const char *const *texts, int n)
{
	if (!members)
		return;
	pl_buf_printf(members, ",\"%s\":[", name);
	for (int i = 0; i < n; i++) {
		pl_buf_adds(members, i ? "," : "");
		pl_buf_add_json(members, texts[i], strlen(texts[i]));
	}
	pl_buf_addc(members, ']');
}

void pl_daemon_list_problems(struct pl_buf *members, const char *name, const struct pl_problems *problems, bool warnings)
{
	const char **texts = pl_calloc((size_t)problems->n + 1, sizeof(texts[0]));
	int n = 0;
	for (int i = 0; i < problems->n; i++)
		if (problems->lines[i].warning == warnings)
			texts[n++] = problems->lines[i].text;
	list(members, name, texts, n);
	free(texts);
}

static void warn_of_restart(struct pl_daemon *daemon, const struct pl_loaded *loaded, struct pl_buf *members)
{
	const char *names[RESTART_KEYS_MAX];
	struct pl_config *old = pl_daemon_config(daemon);
	int n = pl_config_needs_restart(old, loaded->config, names, RESTART_KEYS_MAX);
	for (int i = 0; i < n; i++)
		pl_warning("reload: %s is different now, and only a restart takes that over", names[i]);
	list(members, "restart_keys", names, n);
	pl_config_unref(&old);
}

int pl_daemon_reload(struct pl_daemon *daemon, struct pl_buf *members, struct pl_error *err)
{
	struct pl_problems problems = {0};
	int code = 0;
	pthread_mutex_lock(&daemon->reloading);
	if (atomic_load(&daemon->draining)) {
		pthread_mutex_unlock(&daemon->reloading);
		return pl_error_set(err, PL_ESTOPPED, "the daemon is stopping");
	}
	struct pl_loaded *loaded = pl_loaded_new(daemon->file, daemon->region, &problems);
	if (loaded && !pl_config_region(loaded->config, daemon->region, strlen(daemon->region))) {
		pl_problems_add(&problems, false, daemon->file, 0, 0, "regions.%s: is gone, and this daemon serves it", daemon->region);
		pl_loaded_free(&loaded);
	}
	if (loaded) {
		char sha256[65];
		snprintf(sha256, sizeof(sha256), "%s", loaded->config->sha256);
		for (int i = 0; i < problems.n; i++)
			pl_warning("%s", problems.lines[i].text);
		warn_of_restart(daemon, loaded, members);
		publish(daemon, loaded);
		pl_notice("reload: took %s, sha256 %.12s", daemon->file, sha256);
		if (members)
			pl_buf_printf(members, ",\"sha256\":\"%s\"", sha256);
	} else
		code = refuse(daemon, &problems, err);
	if (members) {
		pl_daemon_list_problems(members, "warnings", &problems, true);
		if (code != 0)
			pl_daemon_list_problems(members, "problems", &problems, false);
	}
	pl_problems_fini(&problems);
	pthread_mutex_unlock(&daemon->reloading);
	return code;
}
