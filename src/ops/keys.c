// See keys.h.
#include "ops/keys.h"

#include <inttypes.h>
#include <stdio.h>

#include "auth/credentials.h"
#include "ops/loaded.h"
#include "ops/members.h"
#include "ops/ops_private.h"

// False: the configuration has no URL of keys.
static bool facts_of(struct pl_daemon *daemon, struct pl_key_source_facts *facts_r)
{
	pthread_mutex_lock(&daemon->lock);
	struct pl_key_source *source =
		pl_key_source_ref(pl_credentials_key_source(daemon->loaded->credentials));
	pthread_mutex_unlock(&daemon->lock);
	if (!source)
		return false;
	pl_key_source_facts(source, facts_r);
	pl_key_source_unref(&source);
	return true;
}

bool pl_keys_ready(struct pl_daemon *daemon, char why[PL_ERROR_TEXT_MAX])
{
	struct pl_key_source_facts facts;
	struct pl_error err;

	if (!facts_of(daemon, &facts) || facts.fetched_us != 0)
		return true;
	pl_error_set(&err, PL_EUNAVAIL,
	             "the keys that verify tokens have not been fetched from %.200s yet%s%s", facts.url,
	             facts.why[0] ? ": " : "", facts.why);
	snprintf(why, PL_ERROR_TEXT_MAX, "%s", err.text);
	return false;
}

static void print_family(struct pl_buf *buf, const char *name, const char *type, const char *help,
                         double value)
{
	pl_buf_printf(buf, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", name, help, name, type, name, value);
}

void pl_keys_print_metrics(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_key_source_facts facts;

	if (!facts_of(daemon, &facts))
		return;
	print_family(buf, "plist_jwks_keys", "gauge",
	             "Keys that verify tokens, fetched from auth.jwt.jwks_url.", facts.keys);
	print_family(buf, "plist_jwks_last_success_timestamp_seconds", "gauge",
	             "When they were last fetched; 0: not yet.", (double)(facts.fetched_us / 1000000));
	print_family(buf, "plist_jwks_overdue", "gauge",
	             "Whether fetching them has failed for three times auth.jwt.refresh.", facts.overdue);
	print_family(buf, "plist_jwks_fetches_total", "counter", "Attempts to fetch them.",
	             (double)facts.fetches);
	print_family(buf, "plist_jwks_fetch_failures_total", "counter", "Attempts that failed.",
	             (double)facts.failures);
}

void pl_keys_print_status(struct pl_buf *members, struct pl_daemon *daemon)
{
	struct pl_key_source_facts facts;

	if (!facts_of(daemon, &facts))
		return;
	pl_buf_printf(members, ",\"jwks\":{\"keys\":%d,\"fetches\":%" PRIu64 ",\"failures\":%" PRIu64,
	              facts.keys, facts.fetches, facts.failures);
	pl_members_add_text(members, "url", facts.url);
	pl_members_add_time(members, "fetched_at", facts.fetched_us);
	if (facts.why[0])
		pl_members_add_text(members, "why", facts.why);
	pl_buf_addc(members, '}');
}
