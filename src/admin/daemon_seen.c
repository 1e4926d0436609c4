// See daemon_seen.h.
#include "admin/daemon_seen.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/metrics_text.h"
#include "base/clock.h"

#define SOON_US (14 * INT64_C(86400000000))

// A gauge that shows a fault when it is not 0 or, without `good_at_zero`, when it is 0.
// The sentence has the value of the label between its two parts.
static const struct fault {
	const char *metric;
	bool good_at_zero;
	const char *label; // or NULL
	const char *before, *after;
} faults[] = {
	{ "plist_config_last_reload_successful", false, NULL,
	  "has refused the last reload, or one of its workers has, and runs what it had loaded before; its "
	  "log says why",
	  "" },
	{ "plist_config_restart_keys", true, NULL,
	  "has to be restarted: it has read new values of keys that take effect only then; its log names "
	  "them",
	  "" },
	{ "plist_certificate_expiry_timestamp_seconds", false, "use", "could not read the certificate of ",
	  " when it was loaded; its log says why" },
	{ "plist_certificate_misnamed", true, NULL,
	  "has a certificate that NGINX refuses, since it lacks the name nginx.upstream_tls.name; make one "
	  "that has it, and reload",
	  "" },
	{ "plist_log_incomplete", true, NULL,
	  "has lost lines of its log in the last ten minutes: whatever reads its standard error hangs or "
	  "is gone, or a disk is full (plist_log_lines_dropped_total counts them)",
	  "" },
	{ "plist_control_socket_up", false, NULL,
	  "has no control socket, so plist-admin cannot send it commands; its log says why", "" },
	{ "plist_database_alternates", true, NULL,
	  "has reached now one database server, now another, in the last ten minutes; check which servers "
	  "the name in the connection string stands for",
	  "" },
	{ "plist_store_query_connections_down", true, NULL,
	  "cannot execute db.query, because the role for it cannot log in; its log says why", "" },
	{ "plist_background_failing_seconds", true, "thread", "cannot do the work of its thread ",
	  " in the database; its log says why" },
	{ "plist_housekeeping_fields_left", true, NULL,
	  "cannot move values from unknown_fields to the columns of their fields: the database refuses the "
	  "change, a row is locked, or a value does not fit the type; its log names a record",
	  "" },
	{ "plist_apply_policies_missing", true, NULL,
	  "could not load its conflict policies, so the last writer wins until it is reloaded; its log says "
	  "why",
	  "" },
	{ "plist_apply_reresolve_left", true, NULL,
	  "could not resolve records with siblings again, after a start or a change of policy: another "
	  "session has locked them, or the database refuses their rows; its log says why",
	  "" },
	{ "plist_violations_rules_missing", true, NULL,
	  "could not load its rules for violations, so none is applied until it is reloaded; its log says "
	  "why",
	  "" },
	{ "plist_apply_leaderless_partitions", true, NULL,
	  "does not read partitions that no broker leads; its log names them", "" },
	{ "plist_apply_unwatched_seconds", true, NULL,
	  "cannot ask Kafka what there is to read, so messages that do not arrive go unnoticed; its log says "
	  "why",
	  "" },
	{ "plist_apply_commits_refused", true, NULL,
	  "cannot commit offsets, so what it has read will be read again after a restart; its log says why "
	  "(an older plistd, or another program, in the consumer group must be stopped)",
	  "" },
	{ "plist_outbox_region_disbelieved", true, "region", "does not believe how far region ",
	  " says that it has received events; check which other programs may write to the topics" },
	{ "plist_clock_skew_excessive", true, "origin", "has a clock that differs from that of region ",
	  ", by more than max_clock_skew, and last_writer_wins compares such times; check how the clocks of "
	  "both are set (plist_clock_skew_seconds)" },
	{ "plist_jwks_overdue", true, NULL,
	  "has not been able to fetch the keys that verify tokens for three times auth.jwt.refresh, so new "
	  "keys are unknown to it and withdrawn ones count; its log says why",
	  "" },
};

// What has been lost, by the label of plist_loss_recent. Continues "has in the last ten
// minutes".
static const struct loss {
	const char *kind, *says;
} losses[] = {
	{ "response_header",
	  "left out a header of a response, since it is not a valid one; its log names it" },
	{ "handler_answer",
	  "sent the default response to a write whose handler failed after it was committed; "
	  "its log names the handler" },
	{ "stored_answer",
	  "failed to store the response to a write, so a retry gets the default one; its log says why" },
	{ "policy", "decided conflicts by last_writer_wins, because their policy failed; 'plist-admin "
	            "conflicts show' shows the error; correct the policy and activate it" },
	{ "heartbeat", "ignored heartbeats that no region can have sent, or that its database refuses; its "
	               "log says why" },
	{ "audit_message",
	  "ignored messages of audits that no region can have sent; check which other programs "
	  "may write to the topic of the heartbeats" },
	{ "dead_letter_copy", "failed to copy dead letters to kafka.dead_letter_topic; its log says why" },
	{ "consumer", "left a Kafka consumer behind that does not end, and keeps its memory and threads "
	              "until the daemon is restarted" },
	{ "service_message",
	  "failed to reach the service manager, which may think that it hangs, and end it; its "
	  "log says why" },
};

// What may be intended: nothing is wrong yet.
static const struct risk {
	const char *kind, *says;
} risks[] = {
	{ "superuser", "uses a superuser of its database; give it an ordinary role, see plist-security(7)" },
	{ "core_dumps", "may leave core dumps, which have passwords and records in them; see plistd(8)" },
	{ "descriptors", "may need more file descriptors than it can open; raise the limit or lower "
	                 "http.max_connections, its log has the numbers" },
};

#define N(table) (sizeof(table) / sizeof((table)[0]))

static double value_of(const char *line)
{
	size_t len = strcspn(line, "\n"), at = len;

	while (at > 0 && line[at - 1] != ' ')
		at--;
	return strtod(line + at, NULL);
}

struct daemon_look {
	const struct pl_region *region;
	const char *address;
	const struct pl_daemon_seen_to *to;
};

static void say(const struct daemon_look *look, void (*how)(void *arg, const char *sentence),
                const char *before, const char *label, const char *after)
{
	char sentence[1024];

	snprintf(sentence, sizeof(sentence), "%s: the daemon at %s %s%s%s", look->region->name, look->address,
	         before, label, after);
	how(look->to->arg, sentence);
}

static void look_for_fault(const struct daemon_look *look, const struct fault *fault, const char *text)
{
	const char *next = text, *line;

	while ((line = pl_metrics_text_find(next, fault->metric, &next))) {
		char label[256] = "";

		if ((value_of(line) == 0) != fault->good_at_zero &&
		    (!fault->label || pl_metrics_text_label(line, fault->label, label, sizeof(label))))
			say(look, look->to->warn, fault->before, label, fault->after);
	}
}

// From another version of the daemon, which has a kind that we do not know.
static void say_loss(const struct daemon_look *look, const char *kind)
{
	for (size_t i = 0; i < N(losses); i++)
		if (strcmp(losses[i].kind, kind) == 0) {
			say(look, look->to->warn, "has in the last ten minutes ", losses[i].says, "");
			return;
		}
	say(look, look->to->warn, "has in the last ten minutes lost something (", kind,
	    "); its log says what");
}

static void look_for_losses(const struct daemon_look *look, const char *text)
{
	const char *next = text, *line;
	char kind[64];

	while ((line = pl_metrics_text_find(next, "plist_loss_recent", &next)))
		if (value_of(line) != 0 && pl_metrics_text_label(line, "kind", kind, sizeof(kind)))
			say_loss(look, kind);
}

static void look_for_risks(const struct daemon_look *look, const char *text)
{
	const char *next = text, *line;
	char kind[64];

	while ((line = pl_metrics_text_find(next, "plist_risk", &next)))
		for (size_t i = 0; i < N(risks); i++)
			if (value_of(line) != 0 && pl_metrics_text_label(line, "kind", kind, sizeof(kind)) &&
			    strcmp(risks[i].kind, kind) == 0)
				say(look, look->to->note, risks[i].says, "", "");
}

// The one that it has loaded: the file may have a newer one that was not reloaded.
static void look_at_expiry(const struct daemon_look *look, const char *text)
{
	const char *next = text, *line;
	char use[256 + 32 + PL_TIME_TEXT_MAX], time[PL_TIME_TEXT_MAX];

	while ((line = pl_metrics_text_find(next, "plist_certificate_expiry_timestamp_seconds", &next))) {
		int64_t expires_us = (int64_t)value_of(line) * 1000000;

		if (expires_us == 0 || expires_us > pl_now_us() + SOON_US ||
		    !pl_metrics_text_label(line, "use", use, 256))
			continue;
		pl_clock_format_time(expires_us, time);
		strcat(use, expires_us < pl_now_us() ? " that expired at " : " that expires at ");
		say(look, look->to->warn, "uses a certificate of ", strcat(use, time),
		    "; replace it and reload");
	}
}

void pl_daemon_seen(const struct pl_region *region, const char *address, const char *text,
                    const struct pl_daemon_seen_to *to)
{
	const struct daemon_look look = { region, address, to };

	for (size_t i = 0; i < N(faults); i++)
		look_for_fault(&look, &faults[i], text);
	look_at_expiry(&look, text);
	look_for_losses(&look, text);
	look_for_risks(&look, text);
}
