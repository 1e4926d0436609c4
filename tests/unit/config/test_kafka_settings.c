// plist has a rule for every setting of librdkafka: it is allowed, bounded, warned
// about, or refused.
#include "config/kafka_settings.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

static void with_each_setting(void (*act)(const char *name))
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_topic_conf_t *topic_conf = rd_kafka_topic_conf_new();
	size_t n;
	const char **names = rd_kafka_conf_dump(conf, &n);

	assert_true(n > 100);
	for (size_t i = 0; i < n; i += 2)
		act(names[i]);
	rd_kafka_conf_dump_free(names, n);
	names = rd_kafka_topic_conf_dump(topic_conf, &n);
	assert_true(n > 10);
	for (size_t i = 0; i < n; i += 2)
		act(names[i]);
	rd_kafka_conf_dump_free(names, n);
	rd_kafka_topic_conf_destroy(topic_conf);
	rd_kafka_conf_destroy(conf);
}

static void is_decided(const char *name)
{
	const struct pl_kafka_setting *setting = pl_kafka_settings_find(name);

	if (!setting)
		fail_msg("src/config/kafka_settings.c has no rule for %s", name);
	assert_true(setting->rule == PL_KAFKA_ALLOWED || setting->why);
	assert_true((setting->rule == PL_KAFKA_NAMED) == (setting->unsafe != NULL));
	assert_true(setting->rule != PL_KAFKA_BOUNDED || setting->min < setting->max);
}

static void every_setting_of_librdkafka_has_a_rule(void **state)
{
	with_each_setting(is_decided);
}

static char *yaml_of(const char *name, const char *value)
{
	char line[512];

	// the longest session, so that each heartbeat fits it
	snprintf(line, sizeof(line), "kafka: { brokers: \"h:1\", properties: { %s%s: \"%s\" } }",
	         strcmp(name, "session.timeout.ms") == 0 ? "" : "session.timeout.ms: 300000, ", name, value);
	return fixture_with("kafka:", line);
}

// The number of warnings; -1 if it is refused.
static int outcome(const char *name, const char *value)
{
	char *text = yaml_of(name, value);
	struct pl_config *config = fixture_load(text, NULL);
	int warnings = config ? fixture_problems.warnings : -1;

	pl_config_unref(&config);
	free(text);
	return warnings;
}

static void outcome_is(int expected, const char *name, long long value)
{
	char text[24];
	int found;

	snprintf(text, sizeof(text), "%lld", value);
	found = outcome(name, text);
	if (found != expected)
		fail_msg("%s: %s: %s", name, text,
		         found < 0 ? "is refused" : "is accepted, though it is out of bounds");
}

static void keeps_its_bounds(const char *name)
{
	const struct pl_kafka_setting *setting = pl_kafka_settings_find(name);

	if (!setting || setting->rule != PL_KAFKA_BOUNDED)
		return;
	outcome_is(0, name, setting->min);
	outcome_is(0, name, setting->max);
	outcome_is(-1, name, setting->max + 1);
	outcome_is(-1, name, setting->min - 1);
}

static void a_number_outside_its_bounds_is_refused(void **state)
{
	with_each_setting(keeps_its_bounds);
}

static void settings_that_would_break_plist_are_refused(void **state)
{
	static const char *const pairs[][2] = {
		{ "enable.auto.commit", "true" },
		{ "auto.commit.enable", "false" },
		{ "enable.auto.offset.store", "true" },
		{ "auto.offset.reset", "latest" },
		{ "offset.store.method", "none" },
		{ "enable.idempotence", "true" },
		{ "acks", "0" },
		{ "request.required.acks", "1" },
		{ "isolation.level", "read_committed" },
		{ "partition.assignment.strategy", "cooperative-sticky" },
		{ "partitioner", "random" },
		{ "queuing.strategy", "lifo" },
		{ "delivery.report.only.error", "true" },
		{ "statistics.interval.ms", "0" },
		{ "group.id", "other" },
		{ "plugin.library.paths", "x" },
		{ "api.version.request", "false" },
		{ "session.timeout.ms", "1" },
		{ "auto.commit.interval.ms", "0" },
		{ "max.poll.interval.ms", "1000" },
		{ "message.max.bytes", "1000" },
		{ "enabled_events", "1" },
		{ "builtin.features", "ssl" },
		{ "test.mock.num.brokers", "3" },
	};
	char *text;

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		if (outcome(pairs[i][0], pairs[i][1]) >= 0)
			fail_msg("%s: %s is accepted", pairs[i][0], pairs[i][1]);
	text = fixture_with("kafka:",
	                    "kafka: { brokers: \"h:1\", properties: { heartbeat.interval.ms: 4000 } }");
	fixture_refused(text,
	                "kafka.properties: heartbeat.interval.ms must be at most a third of "
	                "session.timeout.ms",
	                0);
	free(text);
}

static void settings_that_are_the_operators_choice_are_accepted(void **state)
{
	static const char *const pairs[][2] = {
		{ "client.id", "a" },
		{ "client.rack", "r1" },
		{ "security.protocol", "sasl_ssl" },
		{ "sasl.mechanism", "SCRAM-SHA-512" },
		{ "ssl.endpoint.identification.algorithm", "https" },
		{ "compression.codec", "zstd" },
		{ "linger.ms", "5" },
		{ "debug", "broker" },
		{ "session.timeout.ms", "45000" },
		{ "socket.keepalive.enable", "false" },
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		if (outcome(pairs[i][0], pairs[i][1]) != 0)
			fail_msg("%s: %s is not accepted", pairs[i][0], pairs[i][1]);
}

static void settings_that_lower_security_are_warned_about(void **state)
{
	assert_int_equal(outcome("enable.ssl.certificate.verification", "false"), 1);
	assert_non_null(strstr(fixture_problems.lines[0].text, "any broker's certificate is accepted"));
	assert_int_equal(outcome("enable.ssl.certificate.verification", "true"), 0);
	assert_int_equal(outcome("ssl.endpoint.identification.algorithm", "none"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_setting_of_librdkafka_has_a_rule),
		cmocka_unit_test(a_number_outside_its_bounds_is_refused),
		cmocka_unit_test(settings_that_would_break_plist_are_refused),
		cmocka_unit_test(settings_that_are_the_operators_choice_are_accepted),
		cmocka_unit_test(settings_that_lower_security_are_warned_about),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
