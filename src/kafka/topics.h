// The topics' settings at the broker, compared with what plist needs.
//
// Threads: any; nothing is shared.
#pragma once

#include <librdkafka/rdkafka.h>

#include "base/error.h"
#include "config/config.h"

#define PL_TOPIC_UNKNOWN INT64_C(-2) // the broker did not say; -1 is Kafka's "no limit"

// A topic as described by the broker.
struct pl_topic_facts {
	char name[256];
	int partitions, replicas; // replicas: the fewest of any partition; 0: not known
	char cleanup_policy[64];  // "": not known
	// or PL_TOPIC_UNKNOWN
	int64_t retention_ms, retention_bytes, min_insync_replicas, max_message_bytes;
};

enum pl_topic_severity {
	PL_TOPIC_NOTICE,  // for information
	PL_TOPIC_WARNING, // writes may be lost or delayed
	// nothing is published to it, since writes would be lost silently
	PL_TOPIC_REFUSED,
};

struct pl_topic_finding {
	enum pl_topic_severity severity;
	char text[640];
};

struct pl_topic_findings {
	int n, cap, warnings, refused; // `warnings` and `refused` of the n
	struct pl_topic_finding *each;
	bool once; // the broker was asked once: a topic that does not exist is a finding
	int ntopics;
	// max.message.bytes of the resources' topics, and how many partitions they have,
	// by the resource's index
	int64_t *limits;
	int *partitions; // 0: not known
};

void pl_topics_findings_fini(struct pl_topic_findings *findings);

// Appends a finding for everything that is wrong with a resource's topic.
void pl_topics_judge(const struct pl_topic_facts *facts, const struct pl_config *config,
                     struct pl_topic_findings *findings);

// Appends a finding for a topic whose settings the broker has not reported, and why.
void pl_topics_judge_undescribed(const char *topic, rd_kafka_resp_err_t code,
                                 struct pl_topic_findings *findings);

// Notes how many partitions the resources' topics have, including those whose settings
// this client may not ask for, and appends a finding for those that no broker leads.
void pl_topics_judge_partitions(const struct rd_kafka_metadata *metadata, const struct pl_config *config,
                                struct pl_topic_findings *findings);

// Asks the broker without waiting. Pass the question to pl_topics_forget, before `rk` is
// destroyed.
struct pl_topics_question;
struct pl_topics_question *pl_topics_ask(rd_kafka_t *rk, const struct pl_config *config);
// Whether the answer has arrived; then `findings_r` is filled in. A broker that does not
// answer or does not describe topics (the development broker) causes no findings. Waits
// `wait_ms`, and at most a second longer for the topics' partitions.
bool pl_topics_answered(struct pl_topics_question *question, const struct pl_config *config, int wait_ms,
                        struct pl_topic_findings *findings_r);
void pl_topics_forget(struct pl_topics_question **question);

// All of this at once with its own client, for tools. PL_EUNAVAIL: the broker does not
// answer in time.
int pl_topics_check(const struct pl_config *config, const struct pl_region *region, int64_t timeout_us,
                    struct pl_topic_findings *findings_r, struct pl_error *err);
