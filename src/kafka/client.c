// The common ground of producers and consumers: configuration, logs, topics.
//
// Stands beneath replicate/producer and replicate/consumer. librdkafka has threads of its own; they come here only to log.
// Threads: any.
#include "replicate/kafka.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "replicate/tsan.h"

// librdkafka reports each failed connection attempt, several a second while a broker is away. The relay and the applier say once
// that it is away and once that it is back, so these lines are for those who debug.
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	if (level <= 2)
		pl_warning("kafka: %s: %s", facility, text);
	else
		pl_debug("kafka: %s: %s", facility, text);
}

static int set(rd_kafka_conf_t *conf, const char *name, const char *value, const char *where, struct pl_error *err)
{
	char why[256];

	if (rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
		return 0;
	return pl_error_set(err, PL_EINVAL, "%s%s: %s", where, name, why);
}

static int set_all(rd_kafka_conf_t *conf, const char *const *pairs, struct pl_error *err)
{
	for (; pairs && pairs[0]; pairs += 2)
		if (set(conf, pairs[0], pairs[1], "", err) < 0)
			return PL_EINVAL;
	return 0;
}

rd_kafka_conf_t *pl_kafka_conf(const struct pl_config *config, const struct pl_region *region, const char *const *defaults,
                               const char *const *fixed, struct pl_error *err)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char client[PL_REGION_MAX + 8] = "plist-";
	const char *const own[] = {
		"bootstrap.servers", config->kafka.brokers, "client.id", strncat(client, region->name, PL_REGION_MAX),
		"socket.nagle.disable", "true", "socket.keepalive.enable", "true",
		"reconnect.backoff.ms", "50", "reconnect.backoff.max.ms", "1000", // the default's ten seconds outlast most restarts
		"socket.connection.setup.timeout.ms", "5000", "broker.address.ttl", "5000",
		"topic.metadata.refresh.interval.ms", "30000", "log.connection.close", "false", NULL,
	};
	int code;

	pl_tsan_sees_threads();
	rd_kafka_conf_set_log_cb(conf, on_log);
	code = set_all(conf, own, err);
	if (code == 0)
		code = set_all(conf, defaults, err);
	for (int i = 0; i < config->kafka.npairs && code == 0; i++)
		code = set(conf, config->kafka.pairs[i].key, config->kafka.pairs[i].value, "kafka.properties.", err);
	if (code == 0)
		code = set_all(conf, fixed, err);
	if (code == 0)
		return conf;
	rd_kafka_conf_destroy(conf);
	return NULL;
}

bool pl_kafka_stopping(int stop_fd)
{
	struct pollfd p = { .fd = stop_fd, .events = POLLIN };

	return stop_fd >= 0 && poll(&p, 1, 0) > 0;
}

// --- topics

static bool is_there(const struct rd_kafka_metadata *metadata, const char *name)
{
	for (int i = 0; i < metadata->topic_cnt; i++)
		if (strcmp(metadata->topics[i].topic, name) == 0)
			return metadata->topics[i].err == RD_KAFKA_RESP_ERR_NO_ERROR;
	return false;
}

// The topics that are missing, into `topics`: their number.
static int missing_topics(const struct pl_config *config, const struct rd_kafka_metadata *metadata, rd_kafka_NewTopic_t **topics)
{
	char why[256];
	int n = 0;

	for (int i = 0; i <= config->nresources; i++) {
		bool heartbeats = i == config->nresources;
		const char *name = heartbeats ? config->kafka.heartbeat_topic : config->resources[i].topic;
		rd_kafka_NewTopic_t *topic;

		if (is_there(metadata, name))
			continue;
		topic = rd_kafka_NewTopic_new(name, heartbeats ? 1 : config->kafka.partitions, config->kafka.replication_factor, why, sizeof why);
		if (!topic) { // a name that Kafka does not know as one; it will be said again by whoever uses it
			pl_warning("kafka: topic %s: %s", name, why);
			continue;
		}
		if (heartbeats) // they are worth nothing tomorrow
			rd_kafka_NewTopic_set_config(topic, "retention.ms", "3600000");
		topics[n++] = topic;
	}
	return n;
}

// What came of each topic. PL_EUNAVAIL when one may be there on another try.
static int look_at_results(rd_kafka_event_t *event, struct pl_error *err)
{
	const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
	const rd_kafka_topic_result_t **topics;
	rd_kafka_resp_err_t code = rd_kafka_event_error(event);
	size_t n = 0;

	switch (code) {
	case RD_KAFKA_RESP_ERR_NO_ERROR:
		break;
	case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
	case RD_KAFKA_RESP_ERR__TIMED_OUT: // the broker answers, but there is no controller to ask: the embedded one
		pl_info("kafka: the broker creates no topics on request; it is expected to when they are first used");
		return 0;
	default:
		return pl_error_set(err, PL_EUNAVAIL, "kafka: %s", rd_kafka_event_error_string(event));
	}
	topics = rd_kafka_CreateTopics_result_topics(result, &n);
	for (size_t i = 0; i < n; i++) {
		const char *name = rd_kafka_topic_result_name(topics[i]), *text = rd_kafka_topic_result_error_string(topics[i]);

		switch (rd_kafka_topic_result_error(topics[i])) {
		case RD_KAFKA_RESP_ERR_NO_ERROR:
			pl_notice("kafka: created topic %s", name);
			break;
		case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS:
			break;
		case RD_KAFKA_RESP_ERR_NOT_CONTROLLER:
		case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
		case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
			return pl_error_set(err, PL_EUNAVAIL, "kafka: topic %s: %s", name, text ? text : "try again");
		default: // no right to create it, too few brokers for the replication factor, …: somebody else may have to
			pl_warning("kafka: topic %s was not created: %s", name, text ? text : "no reason given");
		}
	}
	return 0;
}

// What topics there are; in short waits, so that a stop is seen.
static const struct rd_kafka_metadata *ask_metadata(rd_kafka_t *rk, int64_t deadline_us, int stop_fd)
{
	const struct rd_kafka_metadata *metadata;

	do {
		if (rd_kafka_metadata(rk, 1, NULL, &metadata, 250) == RD_KAFKA_RESP_ERR_NO_ERROR)
			return metadata;
	} while (pl_mono_us() < deadline_us && !pl_kafka_stopping(stop_fd));
	return NULL;
}

static int create_topics(rd_kafka_t *rk, rd_kafka_NewTopic_t **topics, int n, int64_t timeout_us, int stop_fd, struct pl_error *err)
{
	rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_event_t *event = NULL;
	char why[256];
	int code;

	rd_kafka_AdminOptions_set_request_timeout(options, (int)(timeout_us / 1000), why, sizeof why);
	rd_kafka_CreateTopics(rk, topics, (size_t)n, options, queue);
	while (!event && !pl_kafka_stopping(stop_fd)) // it always answers, at the latest when its time is over
		event = rd_kafka_queue_poll(queue, 50);
	code = event ? look_at_results(event, err) : pl_error_set(err, PL_ESTOPPED, "stopped while creating topics");
	if (event)
		rd_kafka_event_destroy(event);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_queue_destroy(queue);
	return code;
}

int pl_kafka_topics(rd_kafka_t *rk, const struct pl_config *config, int64_t timeout_us, int stop_fd, struct pl_error *err)
{
	const struct rd_kafka_metadata *metadata = ask_metadata(rk, pl_mono_us() + timeout_us, stop_fd);
	rd_kafka_NewTopic_t **topics;
	int n, code = 0;

	if (!metadata)
		return pl_kafka_stopping(stop_fd) ? pl_error_set(err, PL_ESTOPPED, "stopped while looking for Kafka")
		                                  : pl_error_set(err, PL_EUNAVAIL, "kafka: no broker answers at %s", config->kafka.brokers);
	topics = pl_calloc((size_t)config->nresources + 1, sizeof topics[0]);
	n = missing_topics(config, metadata, topics);
	rd_kafka_metadata_destroy(metadata);
	if (n > 0)
		code = create_topics(rk, topics, n, timeout_us, stop_fd, err);
	rd_kafka_NewTopic_destroy_array(topics, (size_t)n);
	free(topics);
	return code;
}
