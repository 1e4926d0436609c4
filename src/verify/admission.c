// Admission of policies: see admission.h.
//
// Called between reading a configuration and putting it in force. The outcome is not
// stored: verifying a shipped policy takes a tenth of a second or two of processor time
// (tests/unit/verify/test_verify.c prints how long), which a start can afford, and a
// policy that uses its whole budget is tried on fewer inputs.
// Threads: any.
#include "verify/admission.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "config/derive.h"
#include "verify/verify.h"

#define REPORT_EVERY_US 1000000
// the same inputs in every region, so that all regions refuse the same policies
#define SEED            1

// Reports on a verification that takes long: the daemon does not serve until it is done.
struct watch {
	const struct pl_resource *resource;
	const char *policy;
	int64_t began_us;
	struct pl_log_limit limit;
	bool reported;
};

static void report_progress(void *arg, int steps)
{
	struct watch *watch = arg;
	int64_t now_us = pl_mono_us();

	if (now_us - watch->began_us < REPORT_EVERY_US || !pl_log_limit_ok(&watch->limit, REPORT_EVERY_US))
		return;
	watch->reported = true;
	pl_notice("policies: still checking %s for %s: %d inputs in %lld s", watch->policy,
	          watch->resource->name, steps, (long long)(now_us - watch->began_us) / 1000000);
}

// What a file is for.
enum use { POLICY, SHADOW, RULE };

static void verify(const struct pl_config *alone, const struct pl_resource *resource, const char *policy,
                   struct pl_arena *arena, struct pl_verify_report *report_r)
{
	struct watch watch = { .resource = resource, .policy = policy, .began_us = pl_mono_us() };
	struct pl_verify_options options = { .config = alone,
		                             .resource = &alone->resources[0],
		                             .seed = SEED,
		                             .progress = report_progress,
		                             .arg = &watch };

	pl_info("policies: checking %s for %s", policy, resource->name);
	if (alone->resources[0].violations)
		pl_verify_run_rule(arena, &options, report_r);
	else
		pl_verify_run(arena, &options, report_r);
	if (watch.reported)
		pl_notice("policies: checked %s for %s in %lld ms", policy, resource->name,
		          (long long)(pl_mono_us() - watch.began_us) / 1000);
}

static void add_reason(struct pl_buf *buf, const struct pl_resource *resource,
                       const struct pl_verify_report *report, struct pl_arena *arena)
{
	pl_buf_adds(buf, report->sentence);
	if (report->detail)
		pl_buf_printf(buf, " (%s)", report->detail);
	if (report->smallest)
		pl_buf_printf(buf, " For example: %s.", pl_verify_writes(arena, resource, report->smallest));
}

static int check(const struct pl_config *config, const struct pl_resource *resource, const char *policy,
                 enum use use, struct pl_diagnostics *diagnostics)
{
	static const char *const names[] = { "the policy", "the shadow policy", "the rule for violations" };
	const struct pl_script_source *source = pl_config_source(config, policy);
	struct pl_config *alone;
	struct pl_arena *arena;
	struct pl_verify_report report;
	struct pl_buf reason = { 0 };
	bool refused;

	if (!source)
		return 0; // config/load_check has reported the missing file
	alone = pl_config_derive_with_source(config, resource, policy);
	if (use == RULE) // in the policy's place
		alone->resources[0].violations = alone->resources[0].policy;
	arena = pl_arena_new(1 << 16);
	verify(alone, resource, policy, arena, &report);
	refused = report.fault != PL_VERIFY_ACCEPTED;
	if (refused) {
		add_reason(&reason, &alone->resources[0], &report, arena);
		pl_diagnostics_add(diagnostics, use == SHADOW, source->file, 1, 1,
		                   "%s %s is refused for %s: %s See 'plist-admin policy check' for details.",
		                   names[use], policy, resource->name, reason.data);
	}
	pl_buf_fini(&reason);
	pl_arena_free(&arena);
	pl_config_unref(&alone);
	return refused && use != SHADOW;
}

int pl_verify_admission_check_all(const struct pl_config *config, struct pl_diagnostics *diagnostics)
{
	int refused = 0;

	for (int i = 0; i < config->nresources; i++) {
		const struct pl_resource *resource = &config->resources[i];

		refused += check(config, resource, resource->policy, POLICY, diagnostics);
		if (resource->shadow_policy)
			check(config, resource, resource->shadow_policy, SHADOW, diagnostics);
		if (resource->violations)
			refused += check(config, resource, resource->violations, RULE, diagnostics);
	}
	return refused;
}

int pl_verify_admission_check(const struct pl_config *config, const struct pl_resource *resource,
                              struct pl_diagnostics *diagnostics)
{
	return check(config, resource, resource->policy, POLICY, diagnostics);
}
