// Activating: one policy put in force in a running daemon, and nothing else changed.
//
// Stands beside ops/reload. The configuration in force is derived anew with that one policy, and published to the two threads that know of policies: the
// relay, which tells every region what decides here, and the applier, which then shows open siblings anew. Whoever asks, the gate is asked here again.
// Invariant: what is in force afterwards differs from what was in force before in one policy. Threads: any; one at a time, as with reloads.
#include "ops/daemon.h"

#include <string.h>

#include "base/log.h"
#include "config/derive.h"
#include "replicate/gate.h"

#define TEXT_MAX ((size_t)256 * 1024) // as a file's
#define PATH_LENGTH_MAX 1024

// What a request asks for.
struct wish { const char *resource, *path, *text; };

// Whether the path may be a policy's: not that of a handler or a module that other scripts use.
static bool path_ok(const struct pl_config *config, const char *path)
{
	size_t len = strlen(path);
	for (const char *c = path; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return false;
	if (len < 5 || len > PATH_LENGTH_MAX || strcmp(path + len - 4, ".lua") != 0)
		return false;
	return strncmp(path, "policies/", 9) == 0 || !pl_config_source(config, path);
}

static int read_wish(const cJSON *request, const struct pl_config *config, struct wish *wish_r, struct pl_error *err)
{
	wish_r->resource = pl_json_string(request, "resource");
	wish_r->path = pl_json_string(request, "path");
	wish_r->text = pl_json_string(request, "text");
	if (!wish_r->resource || !wish_r->path || !wish_r->text)
		return pl_error_set(err, PL_EINVAL, "resource, path and text are needed");
	if (!pl_config_resource(config, wish_r->resource))
		return pl_error_set(err, PL_ENOTFOUND, "this daemon has no resource \"%s\"", wish_r->resource);
	if (!path_ok(config, wish_r->path))
		return pl_error_set(err, PL_EINVAL, "\"%s\" is no name of a policy: it ends in .lua, and no handler or module has it", wish_r->path);
	if (strlen(wish_r->text) > TEXT_MAX)
		return pl_error_set(err, PL_EINVAL, "the policy is longer than %zu bytes", TEXT_MAX);
	return 0;
}

static const struct pl_policy_facts *facts_of(const struct pl_loaded *loaded, const char *resource)
{
	for (int i = 0; i < loaded->npolicies; i++)
		if (!loaded->policies[i].shadow && strcmp(loaded->policies[i].resource, resource) == 0)
			return &loaded->policies[i];
	return NULL;
}

static void text(struct pl_buf *buf, const char *name, const char *value)
{
	pl_buf_printf(buf, ",\"%s\":", name);
	pl_buf_add_json(buf, value, strlen(value));
}

static void tell(struct pl_buf *members, const struct pl_loaded *old, const struct pl_loaded *loaded, const char *name)
{
	const struct pl_config *as_loaded = pl_config_as_loaded(loaded->config);
	const struct pl_resource *resource = pl_config_resource(loaded->config, name);
	const struct pl_policy_facts *was = facts_of(old, name), *is = facts_of(loaded, name);
	text(members, "name", is->name);
	text(members, "sha256", is->sha256);
	pl_buf_printf(members, ",\"was\":{\"sha256\":\"%s\"", was->sha256);
	text(members, "name", was->name);
	text(members, "path", was->path);
	pl_buf_addc(members, '}');
	text(members, "yaml", as_loaded->file);
	text(members, "yaml_policy", as_loaded->resources[resource->index].policy);
	text(members, "lua", as_loaded->lua_root);
	pl_buf_printf(members, ",\"lasts\":%s", pl_config_policy_lasts(loaded->config, resource) ? "true" : "false");
	pl_notice("activate: %s is decided by %s, sha256 %.12s, from now on; it was %s, sha256 %.12s", name, is->path, is->sha256, was->path, was->sha256);
}

// The old one is given back: what is told of it comes from it.
static struct pl_loaded *publish(struct pl_daemon *daemon, struct pl_loaded *loaded)
{
	const struct pl_config *config = loaded->config;
	const struct pl_region *region = pl_config_region(config, daemon->region, strlen(daemon->region));
	pl_relay_reconfigure(daemon->relay, config, region);
	pl_apply_reconfigure(daemon->apply, config, region);
	pthread_mutex_lock(&daemon->lock);
	struct pl_loaded *old = daemon->loaded;
	daemon->loaded = loaded;
	pthread_mutex_unlock(&daemon->lock);
	return old;
}

static int refuse(const struct wish *wish, const struct pl_problems *problems, struct pl_buf *members, struct pl_error *err)
{
	const char *first = "it cannot be loaded";
	for (int i = problems->n - 1; i >= 0; i--)
		if (!problems->lines[i].warning)
			first = problems->lines[i].text;
	pl_daemon_list_problems(members, "problems", problems, false);
	pl_warning("activate: %s was refused, and nothing was changed: %s", wish->path, first);
	return pl_error_set(err, PL_EINVAL, "%s", first);
}

static int activate(struct pl_daemon *daemon, const struct pl_config *base, const struct wish *wish, struct pl_buf *members, struct pl_error *err)
{
	struct pl_problems problems = {0};
	const struct pl_resource *resource = pl_config_resource(base, wish->resource);
	struct pl_config *config = pl_config_replace_policy(base, resource, wish->path, wish->text, strlen(wish->text));
	struct pl_loaded *loaded = pl_loaded_derived(config, &problems);
	int code = 0;
	if (loaded && pl_gate_policy(loaded->config, &loaded->config->resources[resource->index], &problems) > 0)
		pl_loaded_free(&loaded);
	if (loaded) {
		struct pl_loaded *old = publish(daemon, loaded);
		tell(members, old, loaded, wish->resource);
		pl_loaded_free(&old);
	} else
		code = refuse(wish, &problems, members, err);
	pl_problems_fini(&problems);
	return code;
}

int pl_daemon_activate(struct pl_daemon *daemon, const cJSON *request, struct pl_buf *members, struct pl_error *err)
{
	struct wish wish = {0};
	pthread_mutex_lock(&daemon->reloading);
	struct pl_config *base = pl_daemon_config(daemon);
	int code = atomic_load(&daemon->draining) ? pl_error_set(err, PL_ESTOPPED, "the daemon is stopping") : read_wish(request, base, &wish, err);
	if (code == 0)
		code = activate(daemon, base, &wish, members, err);
	pl_config_unref(&base);
	pthread_mutex_unlock(&daemon->reloading);
	return code;
}
