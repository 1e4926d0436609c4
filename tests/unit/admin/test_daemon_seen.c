// admin/daemon_seen: each fault in a daemon's metrics is a sentence, and there is none
// without a fault. Every metric that is looked at is in the manual, and so in the daemon.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "admin/daemon_seen.h"
#include "base/file.h"

// The good value of each metric, and the other one.
static const struct {
	const char *metric, *good, *bad, *says;
} each[] = {
	{ "plist_config_last_reload_successful", "1", "0", "has refused the last reload" },
	{ "plist_config_restart_keys", "0", "2", "has to be restarted" },
	{ "plist_certificate_expiry_timestamp_seconds", "1790000000", "0",
	  "could not read the certificate of x when" },
	{ "plist_log_incomplete", "0", "1", "has lost lines of its log" },
	{ "plist_control_socket_up", "1", "0", "has no control socket" },
	{ "plist_database_alternates", "0", "1", "now one database server, now another" },
	{ "plist_store_query_connections_down", "0", "1", "cannot execute db.query" },
	{ "plist_apply_policies_missing", "0", "1", "could not load its conflict policies" },
	{ "plist_apply_reresolve_left", "0", "3", "could not resolve records with siblings again" },
	{ "plist_apply_leaderless_partitions", "0", "3", "that no broker leads" },
	{ "plist_apply_commits_refused", "0", "1", "cannot commit offsets" },
	{ "plist_outbox_region_disbelieved", "0", "1", "does not believe how far region x says" },
};
#define N (sizeof(each) / sizeof(each[0]))

static char said[8192];
static int sentences;

static void take(void *arg, const char *sentence)
{
	(void)arg;
	assert_true(strlen(said) + strlen(sentence) + 2 < sizeof(said));
	strcat(strcat(said, sentence), "\n");
	sentences++;
}

// All metrics are good but the one at `bad`.
static void look(size_t bad)
{
	const struct pl_region us = { .name = "us" };
	struct pl_buf text = { 0 };

	said[0] = '\0';
	sentences = 0;
	for (size_t i = 0; i < N; i++)
		pl_buf_printf(&text, "# TYPE %s gauge\n%s{use=\"x\",region=\"x\"} %s\n", each[i].metric,
		              each[i].metric, i == bad ? each[i].bad : each[i].good);
	pl_daemon_seen(&us, "127.0.0.1:8001", text.data, take, NULL);
	pl_buf_fini(&text);
}

static void each_fault_is_one_sentence(void **state)
{
	look(N);
	assert_string_equal(said, "");
	for (size_t i = 0; i < N; i++) {
		look(i);
		if (sentences != 1 || !strstr(said, each[i].says) ||
		    strncmp(said, "us: the daemon at 127.0.0.1:8001 ", 33) != 0)
			fail_msg("%s: %d sentences: %s", each[i].metric, sentences, said);
	}
	(void)state;
}

static void a_daemon_without_these_metrics_has_no_fault(void **state)
{
	const struct pl_region us = { .name = "us" };

	said[0] = '\0';
	pl_daemon_seen(&us, "127.0.0.1:8001", "plist_build_info{version=\"0\"} 1\n", take, NULL);
	pl_daemon_seen(&us, "127.0.0.1:8001", "", take, NULL);
	assert_string_equal(said, "");
	(void)state;
}

static void every_metric_is_in_the_manual(void **state)
{
	const char *top = getenv("PL_TOP_SRCDIR");
	struct pl_buf manual = { 0 };
	struct pl_error err;
	char path[4096];

	snprintf(path, sizeof(path), "%s/man/plistd.8", top ? top : ".");
	assert_int_equal(pl_file_read(path, 1 << 20, &manual, &err), 0);
	pl_buf_addc(&manual, '\0');
	for (size_t i = 0; i < N; i++)
		if (!strstr(manual.data, each[i].metric))
			fail_msg("%s", each[i].metric);
	pl_buf_fini(&manual);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_fault_is_one_sentence),
		cmocka_unit_test(a_daemon_without_these_metrics_has_no_fault),
		cmocka_unit_test(every_metric_is_in_the_manual),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
