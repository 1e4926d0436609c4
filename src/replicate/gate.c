// The gate: see gate.h.
//
// Stands between reading a configuration and putting it in force. A directory of verdicts that cannot be read or written is no error: then the
// policies are checked again.
// Threads: any; two programs may use one directory, since a verdict is written beside and renamed.
#include "replicate/gate.h"

#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sha256.h"
#include "config/derive.h"
#include "replicate/probe.h"

#define PROBE 2 // what the probe looks for: one more when it looks for more, so that verdicts of before do not count
#define SEED 1 // the same inputs in every region, so that all regions refuse the same
#define VERDICT_MAX 4096

// All that a verdict depends on, as one hash. Names are hashed with their NUL so that none runs into the next.
static void key_of(const struct pl_config *config, const struct pl_resource *resource, const char *policy, char hex[PL_SHA256_HEX])
{
	struct pl_buf buf = {0};
	uint8_t digest[PL_SHA256_SIZE];

	pl_buf_printf(&buf, "%s %d\n%s\n%s %d\n", PACKAGE_VERSION, PROBE, policy, resource->name, resource->track_fields);
	for (int f = 0; f < resource->nfields; f++) {
		const struct pl_field *field = &resource->fields[f];

		pl_buf_printf(&buf, "%s %d %d %s %s %d %d %d\n", field->name, field->type, field->required, field->min ? field->min : "-",
		              field->max ? field->max : "-", field->precision, field->scale, field->max_length);
	}
	for (int i = 0; i < config->nregions; i++)
		pl_buf_printf(&buf, "%s\n", config->regions[i].name);
	pl_buf_printf(&buf, "%lld %lld %zu\n", (long long)config->policy_limits.instructions, (long long)config->policy_limits.wall_us,
	              config->policy_limits.memory);
	for (int i = 0; i < config->nsources; i++) // any of them may be required, but those of handlers
		if (!pl_source_is_handlers(config->sources[i].path))
			pl_buf_printf(&buf, "%s %s\n", config->sources[i].path, config->sources[i].sha256);
	pl_sha256(buf.data, buf.len, digest);
	pl_sha256_hex(digest, hex);
	pl_buf_fini(&buf);
}

// The files' form: "accepted KEY\n", or "refused KEY: the reason\n". The key tells one that was copied from another, and the end of the line one
// that was cut short; either is no verdict, and the policy is checked again.

// What was remembered: "" for accepted, the reason for refused. False when there is nothing.
static bool recall(const struct pl_config *config, const char *key, char verdict[VERDICT_MAX])
{
	char path[1200], accepted[PL_SHA256_HEX + 16], refused[PL_SHA256_HEX + 16];
	size_t len, begin;
	FILE *file;

	if (!config->lua_checked)
		return false;
	snprintf(path, sizeof path, "%s/%s", config->lua_checked, key);
	file = fopen(path, "re");
	if (!file)
		return false;
	len = fread(verdict, 1, VERDICT_MAX - 1, file);
	fclose(file);
	verdict[len] = 0;
	snprintf(accepted, sizeof accepted, "accepted %s\n", key);
	begin = (size_t)snprintf(refused, sizeof refused, "refused %s: ", key);
	if (strcmp(verdict, accepted) == 0) {
		verdict[0] = 0;
		return true;
	}
	if (strlen(verdict) != len || len < begin + 2 || memcmp(verdict, refused, begin) != 0 || verdict[len - 1] != '\n')
		return false;
	memmove(verdict, verdict + begin, len - begin - 1);
	verdict[len - begin - 1] = 0;
	return true;
}

static void remember(const struct pl_config *config, const char *key, const char *verdict)
{
	char path[1200], beside[1300];
	bool written;
	FILE *file;

	if (!config->lua_checked)
		return;
	if (mkdir(config->lua_checked, 0755) < 0 && errno != EEXIST)
		return;
	snprintf(path, sizeof path, "%s/%s", config->lua_checked, key);
	snprintf(beside, sizeof beside, "%s.%ld", path, (long)getpid());
	file = fopen(beside, "we");
	if (!file)
		return;
	written = fprintf(file, "%s %s%s%s\n", verdict[0] ? "refused" : "accepted", key, verdict[0] ? ": " : "", verdict) > 0;
	if (fclose(file) != 0 || !written || rename(beside, path) < 0)
		unlink(beside);
}

// The probe's verdict as a sentence; "" when accepted. Returns whether it would be the same tomorrow: one that the clock has given is not remembered.
static bool probe(const struct pl_config *config, const struct pl_resource *resource, const char *policy, char verdict[VERDICT_MAX])
{
	struct pl_config *alone = pl_config_with_source(config, resource, policy);
	struct pl_probe_options options = {.config = alone, .resource = &alone->resources[0], .seed = SEED};
	struct pl_arena *arena = pl_arena_new(1 << 16);
	struct pl_probe_report report;
	struct pl_buf buf = {0};

	pl_probe_run(arena, &options, &report);
	if (report.fault != PL_PROBE_ACCEPTED)
		pl_buf_adds(&buf, report.sentence);
	if (report.fault != PL_PROBE_ACCEPTED && report.detail)
		pl_buf_printf(&buf, " (%s)", report.detail);
	if (report.smallest)
		pl_buf_printf(&buf, " For example: %s.", pl_probe_writes(arena, &alone->resources[0], report.smallest));
	snprintf(verdict, VERDICT_MAX - 100 /* the key */, "%s", buf.data ? buf.data : "");
	pl_buf_fini(&buf);
	pl_config_unref(&alone);
	pl_arena_free(&arena);
	return !report.by_the_clock;
}

static int check(const struct pl_config *config, const struct pl_resource *resource, const char *policy, bool shadow, struct pl_problems *problems)
{
	const struct pl_script_source *source = pl_config_source(config, policy);
	char key[PL_SHA256_HEX], verdict[VERDICT_MAX];

	if (!source)
		return 0; // config/check has said that it is not there
	key_of(config, resource, policy, key);
	if (!recall(config, key, verdict)) {
		if (probe(config, resource, policy, verdict))
			remember(config, key, verdict);
	}
	if (!verdict[0])
		return 0;
	pl_problems_add(problems, shadow, source->file, 1, 1, "%s %s is refused for %s: %s `plist-admin policy check` tells more.",
	                shadow ? "the shadow policy" : "the policy", policy, resource->name, verdict);
	return !shadow;
}

int pl_gate_policies(const struct pl_config *config, struct pl_problems *problems)
{
	int refused = 0;

	for (int i = 0; i < config->nresources; i++) {
		refused += check(config, &config->resources[i], config->resources[i].policy, false, problems);
		if (config->resources[i].shadow)
			check(config, &config->resources[i], config->resources[i].shadow, true, problems);
	}
	return refused;
}

int pl_gate_policy(const struct pl_config *config, const struct pl_resource *resource, struct pl_problems *problems)
{
	return check(config, resource, resource->policy, false, problems);
}
