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
#include "base/clock.h"
#include "base/faults.h"
#include "base/file.h"

// The good value of each metric, and the other one.
static const struct {
	const char *metric, *good, *bad, *says;
} each[] = {
	{ "plist_config_last_reload_successful", "1", "0", "has refused the last reload" },
	{ "plist_config_restart_keys", "0", "2", "has to be restarted" },
	{ "plist_certificate_expiry_timestamp_seconds", "4102444800", "0",
	  "could not read the certificate of x when" },
	{ "plist_log_incomplete", "0", "1", "has lost lines of its log" },
	{ "plist_control_socket_up", "1", "0", "has no control socket" },
	{ "plist_database_alternates", "0", "1", "now one database server, now another" },
	{ "plist_store_query_connections_down", "0", "1", "cannot execute db.query" },
	{ "plist_apply_policies_missing", "0", "1", "could not load its conflict policies" },
	{ "plist_apply_reresolve_left", "0", "3", "could not resolve records with siblings again" },
	{ "plist_housekeeping_fields_left", "0", "2", "cannot move values from unknown_fields" },
	{ "plist_apply_leaderless_partitions", "0", "3", "that no broker leads" },
	{ "plist_apply_commits_refused", "0", "1", "cannot commit offsets" },
	{ "plist_outbox_region_disbelieved", "0", "1", "does not believe how far region x says" },
	{ "plist_certificate_misnamed", "0", "1", "a certificate that NGINX refuses" },
	{ "plist_background_failing_seconds", "0", "61.5", "do the work of its thread x" },
	{ "plist_violations_rules_missing", "0", "1", "could not load its rules for violations" },
	{ "plist_apply_unwatched_seconds", "0", "12.25", "cannot ask Kafka what there is to read" },
	{ "plist_clock_skew_excessive", "0", "1",
	  "has a clock that differs from that of region x, by more than" },
	{ "plist_jwks_overdue", "0", "1", "has not been able to fetch the keys" },
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

static char noted[2048];

static void take_note(void *arg, const char *sentence)
{
	(void)arg;
	assert_true(strlen(noted) + strlen(sentence) + 2 < sizeof(noted));
	strcat(strcat(noted, sentence), "\n");
}

static const struct pl_daemon_seen_to to = { take, take_note, NULL };

static void look_at(const char *text)
{
	const struct pl_region us = { .name = "us" };

	said[0] = noted[0] = '\0';
	sentences = 0;
	pl_daemon_seen(&us, "127.0.0.1:8001", text, &to);
}

// All metrics are good but the one at `bad`.
static void look(size_t bad)
{
	struct pl_buf text = { 0 };

	for (size_t i = 0; i < N; i++)
		pl_buf_printf(&text,
		              "# TYPE %s gauge\n%s{use=\"x\",region=\"x\",thread=\"x\",origin=\"x\"} %s\n",
		              each[i].metric, each[i].metric, i == bad ? each[i].bad : each[i].good);
	look_at(text.data);
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
	look_at("plist_build_info{version=\"0\"} 1\n");
	assert_string_equal(said, "");
	look_at("");
	assert_string_equal(said, "");
	(void)state;
}

// As the daemon prints them: those of faults.h, by their names there.
static void print_kinds(struct pl_buf *text, int lost, int risked)
{
	for (int i = 0; i < PL_LOSSES; i++)
		pl_buf_printf(text, "plist_losses_total{kind=\"%s\"} 7\nplist_loss_recent{kind=\"%s\"} %d\n",
		              pl_faults_loss_name((enum pl_fault_loss)i),
		              pl_faults_loss_name((enum pl_fault_loss)i), i == lost);
	for (int i = 0; i < PL_RISKS; i++)
		pl_buf_printf(text, "plist_risk{kind=\"%s\"} %d\n",
		              pl_faults_risk_name((enum pl_fault_risk)i), i == risked);
}

static void each_kind_of_loss_has_a_sentence_of_its_own_while_it_is_recent(void **state)
{
	char before[1024] = "";

	for (int i = 0; i <= PL_LOSSES; i++) {
		struct pl_buf text = { 0 };

		print_kinds(&text, i, -1);
		look_at(text.data);
		pl_buf_fini(&text);
		assert_int_equal(sentences, i < PL_LOSSES);
		assert_string_equal(noted, "");
		assert_null(strstr(said, "lost something"));
		assert_true(i == PL_LOSSES || strcmp(said, before) != 0);
		snprintf(before, sizeof(before), "%s", said);
	}
	look_at("plist_loss_recent{kind=\"of_a_later_version\"} 1\n");
	assert_string_equal(said,
	                    "us: the daemon at 127.0.0.1:8001 has in the last ten minutes lost something "
	                    "(of_a_later_version); its log says what\n");
	(void)state;
}

static void a_risk_is_a_note_and_not_a_warning(void **state)
{
	for (int i = 0; i <= PL_RISKS; i++) {
		struct pl_buf text = { 0 };

		print_kinds(&text, -1, i);
		look_at(text.data);
		pl_buf_fini(&text);
		assert_string_equal(said, "");
		assert_int_equal(strncmp(noted, "us: the daemon at 127.0.0.1:8001 ", 33) == 0, i < PL_RISKS);
	}
	(void)state;
}

static void look_at_certificate(int64_t expires_us)
{
	struct pl_buf text = { 0 };

	pl_buf_printf(&text, "plist_certificate_expiry_timestamp_seconds{use=\"regions.us.tls\"} %lld\n",
	              (long long)(expires_us / 1000000));
	look_at(text.data);
	pl_buf_fini(&text);
}

static void a_loaded_certificate_is_warned_of_two_weeks_before_it_expires(void **state)
{
	const int64_t day_us = INT64_C(86400000000);

	look_at_certificate(pl_now_us() + 15 * day_us);
	assert_string_equal(said, "");
	look_at_certificate(pl_now_us() + 13 * day_us);
	assert_non_null(strstr(said, " uses a certificate of regions.us.tls that expires at 2"));
	look_at_certificate(pl_now_us() - day_us);
	assert_non_null(strstr(said, " uses a certificate of regions.us.tls that expired at 2"));
	(void)state;
}

static void every_metric_and_kind_is_in_the_manual(void **state)
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
	for (int i = 0; i < PL_LOSSES + PL_RISKS; i++) {
		char item[64];

		snprintf(item, sizeof(item), "\n.It %s\n",
		         i < PL_LOSSES ? pl_faults_loss_name((enum pl_fault_loss)i)
		                       : pl_faults_risk_name((enum pl_fault_risk)(i - PL_LOSSES)));
		if (!strstr(manual.data, item))
			fail_msg("%s", item);
	}
	pl_buf_fini(&manual);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_fault_is_one_sentence),
		cmocka_unit_test(a_daemon_without_these_metrics_has_no_fault),
		cmocka_unit_test(each_kind_of_loss_has_a_sentence_of_its_own_while_it_is_recent),
		cmocka_unit_test(a_risk_is_a_note_and_not_a_warning),
		cmocka_unit_test(a_loaded_certificate_is_warned_of_two_weeks_before_it_expires),
		cmocka_unit_test(every_metric_and_kind_is_in_the_manual),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
