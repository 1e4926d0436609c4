// The topics' settings, which the relay asks for in the background, and plist-admin.
//
// kafka/client creates missing topics. Topics that were created otherwise, or changed
// later, may be unfit to carry writes. Each finding is a sentence that names the topic,
// the consequence, and the command to run.
// Threads: any; nothing is shared.
#include "kafka/topics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "kafka/client.h"

// an event's headers and a message's framing, in addition to the record
#define EVENT_OVERHEAD INT64_C(8192)

void pl_topics_findings_fini(struct pl_topic_findings *findings)
{
	free(findings->each);
	free(findings->limits);
	free(findings->partitions);
	memset(findings, 0, sizeof(*findings));
}

// ---- judging

static void add(struct pl_topic_findings *findings, enum pl_topic_severity severity, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void add(struct pl_topic_findings *findings, enum pl_topic_severity severity, const char *fmt, ...)
{
	struct pl_topic_finding *finding;
	va_list ap;

	if (findings->n == findings->cap) {
		findings->cap = findings->cap ? 2 * findings->cap : 8;
		findings->each =
			pl_realloc(findings->each, sizeof(findings->each[0]) * (size_t)findings->cap);
	}
	finding = &findings->each[findings->n++];
	finding->severity = severity;
	va_start(ap, fmt);
	vsnprintf(finding->text, sizeof(finding->text), fmt, ap);
	va_end(ap);
	findings->warnings += severity == PL_TOPIC_WARNING;
	findings->refused += severity == PL_TOPIC_REFUSED;
}

// "run: kafka-configs.sh …": the command that changes one setting.
static const char *run(const struct pl_topic_facts *facts, const struct pl_config *config,
                       const char *setting, int64_t value, char text[512])
{
	char number[24];

	snprintf(number, sizeof(number), "%" PRId64, value);
	snprintf(text, 512,
	         "run: kafka-configs.sh --bootstrap-server %.60s --alter --entity-type topics --entity-name "
	         "%s --add-config %s%s",
	         config->kafka.brokers, facts->name, setting, value >= 0 ? number : "");
	return text;
}

static void judge_retention(const struct pl_topic_facts *facts, const struct pl_config *config,
                            struct pl_topic_findings *findings)
{
	int64_t least_ms = config->kafka.min_retention_us / 1000;
	char command[512];

	if (strstr(facts->cleanup_policy, "compact"))
		add(findings, PL_TOPIC_REFUSED,
		    "topic %s is compacted (cleanup.policy=%s): if two regions write one record, "
		    "compaction keeps only one of the writes, and a region that is behind never "
		    "gets the other; %s",
		    facts->name, facts->cleanup_policy,
		    run(facts, config, "cleanup.policy=delete", -1, command));
	if (facts->retention_ms >= 0 && facts->retention_ms < least_ms)
		add(findings, PL_TOPIC_WARNING,
		    "topic %s keeps messages for %" PRId64
		    " s (retention.ms), less than kafka.min_retention (%" PRId64 " s): what a "
		    "region that is unavailable for longer misses has to be published again; %s",
		    facts->name, facts->retention_ms / 1000, least_ms / 1000,
		    run(facts, config, "retention.ms=",
		        least_ms > INT64_C(604800000) ? least_ms : INT64_C(604800000), command));
	if (facts->retention_bytes >= 0)
		add(findings, PL_TOPIC_WARNING,
		    "topic %s keeps at most %" PRId64
		    " bytes of a partition (retention.bytes), however recent its messages are: what a "
		    "region that is behind misses has to be published again; %s",
		    facts->name, facts->retention_bytes,
		    run(facts, config, "retention.bytes=-1", -1, command));
}

static void judge_replicas(const struct pl_topic_facts *facts, const struct pl_config *config,
                           struct pl_topic_findings *findings)
{
	char command[512];
	int64_t least = facts->min_insync_replicas;

	if (least < 0 || facts->replicas == 0)
		return;
	if (least > facts->replicas)
		add(findings, PL_TOPIC_WARNING,
		    "topic %s has %d replicas and wants %" PRId64
		    " in sync (min.insync.replicas): Kafka acknowledges no writes; %s",
		    facts->name, facts->replicas, least,
		    run(facts, config, "min.insync.replicas=", facts->replicas > 1 ? facts->replicas - 1 : 1,
		        command));
	else if (least < 2 && facts->replicas > 2)
		add(findings, PL_TOPIC_WARNING,
		    "topic %s has %d replicas, but Kafka acknowledges a write as soon as one of "
		    "them has it (min.insync.replicas=%" PRId64 "): losing "
		    "one broker's disk may lose it, and its region has to publish it again; %s",
		    facts->name, facts->replicas, least,
		    run(facts, config, "min.insync.replicas=", 2, command));
	else if (facts->replicas < config->kafka.replication_factor)
		add(findings, PL_TOPIC_WARNING,
		    "topic %s has %d replicas, and kafka.replication_factor is %d; reassign its partitions "
		    "(kafka-reassign-partitions.sh)",
		    facts->name, facts->replicas, config->kafka.replication_factor);
}

void pl_topics_judge(const struct pl_topic_facts *facts, const struct pl_config *config,
                     struct pl_topic_findings *findings)
{
	int64_t largest = (int64_t)config->http.max_body + EVENT_OVERHEAD;
	char command[512];

	judge_retention(facts, config, findings);
	judge_replicas(facts, config, findings);
	if (facts->max_message_bytes >= 0 && facts->max_message_bytes < largest)
		add(findings, PL_TOPIC_WARNING,
		    "topic %s accepts messages of up to %" PRId64
		    " bytes (max.message.bytes), but a request's body may have %zu (http.max_body): "
		    "larger events cannot be published; %s",
		    facts->name, facts->max_message_bytes, config->http.max_body,
		    run(facts, config, "max.message.bytes=", largest, command));
	if (facts->partitions > 0 && facts->partitions != config->kafka.partitions)
		add(findings, PL_TOPIC_NOTICE,
		    "topic %s has %d partitions, but kafka.partitions, used if it is created again, is %d",
		    facts->name, facts->partitions, config->kafka.partitions);
	if (facts->partitions > 0 && facts->partitions < config->kafka.apply_connections)
		add(findings, PL_TOPIC_NOTICE,
		    "topic %s has %d partitions, fewer than kafka.apply_connections (%d); some connections "
		    "stay idle",
		    facts->name, facts->partitions, config->kafka.apply_connections);
}

// ---- asking

struct pl_topics_question {
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;
};

struct pl_topics_question *pl_topics_ask(rd_kafka_t *rk, const struct pl_config *config)
{
	struct pl_topics_question *question = pl_calloc(1, sizeof(*question));
	rd_kafka_ConfigResource_t **topics = pl_calloc((size_t)config->nresources + 1, sizeof(topics[0]));
	rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
	char why[256];

	question->rk = rk;
	question->queue = rd_kafka_queue_new(rk);
	rd_kafka_AdminOptions_set_request_timeout(options, 5000, why, sizeof(why));
	for (int i = 0; i < config->nresources; i++)
		topics[i] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, config->resources[i].topic);
	rd_kafka_DescribeConfigs(rk, topics, (size_t)config->nresources, options, question->queue);
	rd_kafka_ConfigResource_destroy_array(topics, (size_t)config->nresources);
	rd_kafka_AdminOptions_destroy(options);
	free(topics);
	return question;
}

void pl_topics_forget(struct pl_topics_question **question)
{
	if (!*question)
		return;
	rd_kafka_queue_destroy((*question)->queue);
	free(*question);
	*question = NULL;
}

static void take_setting(struct pl_topic_facts *facts, const char *name, const char *value)
{
	const struct {
		const char *name;
		int64_t *to;
	} numbers[] = {
		{ "retention.ms", &facts->retention_ms },
		{ "retention.bytes", &facts->retention_bytes },
		{ "min.insync.replicas", &facts->min_insync_replicas },
		{ "max.message.bytes", &facts->max_message_bytes },
	};

	if (strcmp(name, "cleanup.policy") == 0)
		snprintf(facts->cleanup_policy, sizeof(facts->cleanup_policy), "%s", value);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (strcmp(name, numbers[i].name) == 0)
			*numbers[i].to = strtoll(value, NULL, 10);
}

void pl_topics_judge_undescribed(const char *topic, rd_kafka_resp_err_t code,
                                 struct pl_topic_findings *findings)
{
	if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
		add(findings, PL_TOPIC_WARNING,
		    "topic %s does not exist, so nothing is published to it or read from it; a daemon "
		    "creates it if it may, and its log says if not",
		    topic);
	else
		add(findings, PL_TOPIC_WARNING,
		    "topic %s: its settings are not known, so nobody would notice that it is compacted or "
		    "does not keep messages for long enough: %s; plist-admin kafka acls prints the right to "
		    "describe them",
		    topic, rd_kafka_err2str(code));
}

// False: not described, since it does not exist or this client may not ask.
static bool read_settings(const rd_kafka_ConfigResource_t *resource, struct pl_topic_facts *facts)
{
	const rd_kafka_ConfigEntry_t **entries;
	size_t n;

	*facts = (struct pl_topic_facts){
		.retention_ms = PL_TOPIC_UNKNOWN,
		.retention_bytes = PL_TOPIC_UNKNOWN,
		.min_insync_replicas = PL_TOPIC_UNKNOWN,
		.max_message_bytes = PL_TOPIC_UNKNOWN,
	};
	snprintf(facts->name, sizeof(facts->name), "%s", rd_kafka_ConfigResource_name(resource));
	if (rd_kafka_ConfigResource_error(resource) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return false;
	entries = rd_kafka_ConfigResource_configs(resource, &n);
	for (size_t i = 0; i < n; i++)
		if (rd_kafka_ConfigEntry_value(entries[i]))
			take_setting(facts, rd_kafka_ConfigEntry_name(entries[i]),
			             rd_kafka_ConfigEntry_value(entries[i]));
	return true;
}

static void read_partitions(const struct rd_kafka_metadata *metadata, struct pl_topic_facts *facts)
{
	for (int i = 0; metadata && i < metadata->topic_cnt; i++) {
		const struct rd_kafka_metadata_topic *topic = &metadata->topics[i];

		if (strcmp(topic->topic, facts->name) != 0 || topic->err != RD_KAFKA_RESP_ERR_NO_ERROR)
			continue;
		facts->partitions = topic->partition_cnt;
		for (int p = 0; p < topic->partition_cnt; p++)
			if (facts->replicas == 0 || topic->partitions[p].replica_cnt < facts->replicas)
				facts->replicas = topic->partitions[p].replica_cnt;
	}
}

static void judge_leaders(const struct rd_kafka_metadata_topic *topic, struct pl_topic_findings *findings)
{
	char list[128];
	int n = 0, len = 0;

	for (int p = 0; p < topic->partition_cnt; p++) {
		if (topic->partitions[p].leader >= 0)
			continue;
		if (len < (int)sizeof(list) - 24)
			len += snprintf(list + len, sizeof(list) - (size_t)len, "%s%d", n ? ", " : "",
			                (int)topic->partitions[p].id);
		else if (list[len - 1] != '.')
			len += snprintf(list + len, sizeof(list) - (size_t)len, ", ...");
		n++;
	}
	if (n > 0)
		add(findings, PL_TOPIC_WARNING,
		    "topic %s: no broker leads partition%s %s, so nothing is published to %s or read from "
		    "%s; start a broker that has a current copy (kafka-topics.sh --describe "
		    "--unavailable-partitions lists their replicas)",
		    topic->topic, n == 1 ? "" : "s", list, n == 1 ? "it" : "them", n == 1 ? "it" : "them");
}

void pl_topics_judge_partitions(const struct rd_kafka_metadata *metadata, const struct pl_config *config,
                                struct pl_topic_findings *findings)
{
	for (int i = 0; i < metadata->topic_cnt; i++) {
		const struct rd_kafka_metadata_topic *topic = &metadata->topics[i];
		const struct pl_resource *of = pl_config_resource_of_topic(config, topic->topic);

		if (topic->err != RD_KAFKA_RESP_ERR_NO_ERROR)
			continue;
		if (of)
			findings->partitions[of->index] = topic->partition_cnt;
		if (of || strcmp(topic->topic, config->kafka.heartbeat_topic) == 0)
			judge_leaders(topic, findings);
	}
}

// One that is being created is unknown for a moment, and a daemon looks again and again.
static bool is_new(const struct pl_topic_findings *findings, rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART && !findings->once;
}

static void judge_all(const rd_kafka_event_t *event, const struct rd_kafka_metadata *metadata,
                      const struct pl_config *config, struct pl_topic_findings *findings)
{
	const rd_kafka_ConfigResource_t **resources;
	size_t n;

	resources = rd_kafka_DescribeConfigs_result_resources(
		rd_kafka_event_DescribeConfigs_result((rd_kafka_event_t *)(uintptr_t)event), &n);
	for (size_t i = 0; i < n; i++) {
		struct pl_topic_facts facts;
		const struct pl_resource *of;

		bool described = read_settings(resources[i], &facts);
		of = pl_config_resource_of_topic(config, facts.name);
		if (!of) // of an older configuration
			continue;
		if (!described && !is_new(findings, rd_kafka_ConfigResource_error(resources[i])))
			pl_topics_judge_undescribed(facts.name, rd_kafka_ConfigResource_error(resources[i]),
			                            findings);
		if (!described)
			continue;
		read_partitions(metadata, &facts);
		findings->limits[of->index] = facts.max_message_bytes;
		pl_topics_judge(&facts, config, findings);
	}
}

static void findings_init(struct pl_topic_findings *findings, const struct pl_config *config, bool once)
{
	int n = config->nresources;

	*findings = (struct pl_topic_findings){
		.once = once,
		.ntopics = n,
		.limits = pl_calloc((size_t)n + 1, sizeof(findings->limits[0])),
		.partitions = pl_calloc((size_t)n + 1, sizeof(findings->partitions[0])),
	};
	for (int i = 0; i < n; i++)
		findings->limits[i] = PL_TOPIC_UNKNOWN;
}

// The development broker does not know the question; a broker that is down is everybody's
// trouble.
static void note_no_answer(rd_kafka_event_t *event, struct pl_topic_findings *findings)
{
	switch (rd_kafka_event_error(event)) {
	case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
	case RD_KAFKA_RESP_ERR__TIMED_OUT:
	case RD_KAFKA_RESP_ERR__TRANSPORT:
		pl_debug("kafka: the topics' settings: %s", rd_kafka_event_error_string(event));
		return;
	default:
		add(findings, PL_TOPIC_WARNING,
		    "the settings of the topics are not known, so nobody would notice unfit ones: %s",
		    rd_kafka_event_error_string(event));
	}
}

static bool take_answer(struct pl_topics_question *question, const struct pl_config *config, int wait_ms,
                        bool once, struct pl_topic_findings *findings_r)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(question->queue, wait_ms);
	const struct rd_kafka_metadata *metadata = NULL;

	if (!event)
		return false;
	findings_init(findings_r, config, once);
	if (rd_kafka_metadata(question->rk, 1, NULL, &metadata, 1000) != RD_KAFKA_RESP_ERR_NO_ERROR)
		metadata = NULL;
	if (metadata)
		pl_topics_judge_partitions(metadata, config, findings_r);
	if (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR)
		judge_all(event, metadata, config, findings_r);
	else
		note_no_answer(event, findings_r);
	if (metadata)
		rd_kafka_metadata_destroy(metadata);
	rd_kafka_event_destroy(event);
	return true;
}

bool pl_topics_answered(struct pl_topics_question *question, const struct pl_config *config, int wait_ms,
                        struct pl_topic_findings *findings_r)
{
	return take_answer(question, config, wait_ms, false, findings_r);
}

int pl_topics_check(const struct pl_config *config, const struct pl_region *region, int64_t timeout_us,
                    struct pl_topic_findings *findings_r, struct pl_error *err)
{
	rd_kafka_conf_t *conf = pl_kafka_client_conf(config, region, NULL, NULL, err);
	struct pl_topics_question *question;
	rd_kafka_t *rk;
	char why[256];
	bool answered;

	if (!conf)
		return PL_EINVAL;
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	if (!rk) {
		rd_kafka_conf_destroy(conf);
		return pl_error_set(err, PL_EINVAL, "kafka: %s", why);
	}
	question = pl_topics_ask(rk, config);
	answered = take_answer(question, config, (int)(timeout_us / 1000), true, findings_r);
	pl_topics_forget(&question);
	rd_kafka_destroy(rk);
	return answered ? 0
	                : pl_error_set(err, PL_EUNAVAIL, "kafka: no broker answers at %s",
	                               config->kafka.brokers);
}
