// See daemon_seen.h.
#include "admin/daemon_seen.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/metrics_text.h"

// A gauge that is 0 if `good_at_zero`, and something else otherwise, unless there is a
// fault. The sentence has the value of the label between its two parts.
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
	{ "plist_log_incomplete", true, NULL,
	  "has lost lines of its log in the last ten minutes: what reads its standard error stands still or "
	  "is gone, or a disk is full (plist_log_lines_dropped_total counts them)",
	  "" },
	{ "plist_control_socket_up", false, NULL,
	  "has no control socket, so plist-admin cannot send it commands; its log says why", "" },
	{ "plist_database_alternates", true, NULL,
	  "has reached now one database server, now another, in the last ten minutes; check where the name "
	  "in the connection string leads",
	  "" },
	{ "plist_store_query_connections_down", true, NULL,
	  "cannot execute db.query, because the role for it cannot log in; its log says why", "" },
	{ "plist_apply_policies_missing", true, NULL,
	  "could not load its conflict policies, so the last writer wins until it is reloaded; its log says "
	  "why",
	  "" },
	{ "plist_apply_reresolve_left", true, NULL,
	  "could not resolve records with siblings again, after a start or a change of policy: another "
	  "session has locked them, or the database refuses their rows; its log says why",
	  "" },
	{ "plist_apply_leaderless_partitions", true, NULL,
	  "does not read partitions that no broker leads; its log names them", "" },
	{ "plist_apply_commits_refused", true, NULL,
	  "cannot commit offsets, because the consumer group has members; stop the older plistd, or the "
	  "other program, that is in it",
	  "" },
	{ "plist_outbox_region_disbelieved", true, "region", "does not believe how far region ",
	  " says that it has received events; check which other programs may write to the topics" },
};

static bool is_zero(const char *line)
{
	size_t len = strcspn(line, "\n");

	return len > 2 && memcmp(line + len - 2, " 0", 2) == 0;
}

void pl_daemon_seen(const struct pl_region *region, const char *address, const char *text,
                    void (*warn)(void *arg, const char *sentence), void *arg)
{
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		const struct fault *fault = &faults[i];
		const char *next = text, *line;

		while ((line = pl_metrics_text_find(next, fault->metric, &next))) {
			char label[256] = "", sentence[1024];

			if (is_zero(line) == fault->good_at_zero ||
			    (fault->label &&
			     !pl_metrics_text_label(line, fault->label, label, sizeof(label))))
				continue;
			snprintf(sentence, sizeof(sentence), "%s: the daemon at %s %s%s%s", region->name,
			         address, fault->before, label, fault->after);
			warn(arg, sentence);
		}
	}
}
