// Activating: one policy is put in force in a running daemon, and nothing else changes.
//
// Derives a configuration from the one in force, with that one policy replaced, and
// publishes it to the two threads that use policies: the relay, which tells every region
// which policies decide here, and the applier, which then re-resolves open siblings. The
// verifier runs here even if plist-admin has run it already.
// Invariant: the configurations in force before and after differ in one policy. Threads:
// any; one activation or reload at a time.
#include "ops/activate.h"

#include <string.h>

#include "apply/apply.h"
#include "base/log.h"
#include "config/derive.h"
#include "ops/members.h"
#include "ops/ops_private.h"
#include "relay/relay.h"
#include "verify/admission.h"

#define TEXT_MAX        ((size_t)256 * 1024) // the same as for files
#define PATH_LENGTH_MAX 1024

// What a request asks for.
struct wish {
	const char *resource, *path, *text;
};

// Whether a policy may have this path: not if it is that of a handler, or of a module
// that other scripts use.
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

static int read_wish(const cJSON *request, const struct pl_config *config, struct wish *wish_r,
                     struct pl_error *err)
{
	wish_r->resource = pl_json_string(request, "resource");
	wish_r->path = pl_json_string(request, "path");
	wish_r->text = pl_json_string(request, "text");
	if (!wish_r->resource || !wish_r->path || !wish_r->text)
		return pl_error_set(err, PL_EINVAL, "\"resource\", \"path\" and \"text\" are required");
	if (!pl_config_resource(config, wish_r->resource))
		return pl_error_set(err, PL_ENOTFOUND, "this daemon has no resource \"%s\"",
		                    wish_r->resource);
	if (!path_ok(config, wish_r->path))
		return pl_error_set(
			err, PL_EINVAL,
			"\"%s\" cannot be the path of a policy: it must end in .lua and must not be that of "
			"a handler or module",
			wish_r->path);
	if (strlen(wish_r->text) > TEXT_MAX)
		return pl_error_set(err, PL_EINVAL, "the policy is longer than %zu bytes", TEXT_MAX);
	return 0;
}

static void report(struct pl_buf *members, const struct pl_loaded *old, const struct pl_loaded *loaded,
                   const char *name)
{
	const struct pl_config *as_loaded = pl_config_as_loaded(loaded->config);
	const struct pl_resource *resource = pl_config_resource(loaded->config, name);
	const struct pl_policy_facts *was = pl_loaded_policy(old, name), *is = pl_loaded_policy(loaded, name);
	pl_members_add_text(members, "name", is->name);
	pl_members_add_text(members, "sha256", is->sha256);
	pl_buf_printf(members, ",\"was\":{\"sha256\":\"%s\"", was->sha256);
	pl_members_add_text(members, "name", was->name);
	pl_members_add_text(members, "path", was->path);
	pl_buf_addc(members, '}');
	pl_members_add_text(members, "yaml", as_loaded->file);
	pl_members_add_text(members, "yaml_policy", as_loaded->resources[resource->index].policy);
	pl_members_add_text(members, "lua", as_loaded->lua_root);
	pl_buf_printf(members, ",\"lasts\":%s",
	              pl_config_derive_policy_lasts(loaded->config, resource) ? "true" : "false");
	pl_notice("activate: policy %s, sha256 %.12s, is in force for resource %s; it replaces %s, sha256 "
	          "%.12s",
	          is->path, is->sha256, name, was->path, was->sha256);
}

// Returns the configuration that was in force, which the report still needs.
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

static int refuse(const struct wish *wish, const struct pl_diagnostics *diagnostics, struct pl_buf *members,
                  struct pl_error *err)
{
	const char *first = "the policy cannot be loaded";
	for (int i = diagnostics->n - 1; i >= 0; i--)
		if (!diagnostics->lines[i].warning)
			first = diagnostics->lines[i].text;
	pl_members_add_diagnostics(members, "problems", diagnostics, false);
	pl_warning("activate: policy %s was refused; nothing was changed: %s", wish->path, first);
	return pl_error_set(err, PL_EINVAL, "%s", first);
}

static int activate(struct pl_daemon *daemon, const struct pl_config *base, const struct wish *wish,
                    struct pl_buf *members, struct pl_error *err)
{
	struct pl_diagnostics diagnostics = { 0 };
	const struct pl_resource *resource = pl_config_resource(base, wish->resource);
	struct pl_config *config =
		pl_config_derive_replace_policy(base, resource, wish->path, wish->text, strlen(wish->text));
	struct pl_loaded *loaded = pl_loaded_derived(daemon->loaded, config, &diagnostics);
	int code = 0;
	if (loaded && pl_verify_admission_check(loaded->config, &loaded->config->resources[resource->index],
	                                        &diagnostics) > 0)
		pl_loaded_free(&loaded);
	if (loaded) {
		struct pl_loaded *old = publish(daemon, loaded);
		report(members, old, loaded, wish->resource);
		pl_loaded_free(&old);
	} else
		code = refuse(wish, &diagnostics, members, err);
	pl_diagnostics_fini(&diagnostics);
	return code;
}

int pl_activate_policy(struct pl_daemon *daemon, const cJSON *request, struct pl_buf *members,
                       struct pl_error *err)
{
	struct wish wish = { 0 };
	pthread_mutex_lock(&daemon->reloading);
	struct pl_config *base = pl_daemon_config(daemon);
	int code = atomic_load(&daemon->draining) ? pl_error_set(err, PL_ESTOPPED, "the daemon is stopping")
	                                          : read_wish(request, base, &wish, err);
	if (code == 0)
		code = activate(daemon, base, &wish, members, err);
	pl_config_unref(&base);
	pthread_mutex_unlock(&daemon->reloading);
	return code;
}
