// What producers and consumers share: configuration, logging, topics.
//
// Used by kafka/producer and kafka/consumer. librdkafka's threads enter here only to log.
// Threads: any.
#include "kafka/client.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "kafka/tsan_threads.h"

#define FILE_MAX ((size_t)1 << 20)

// librdkafka reports each failed connection attempt, several a second while a broker is
// unavailable. The relay and the applier log once that the broker is lost and once that
// it is back, so these lines are logged at debug level.
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	if (level <= 2)
		pl_warning("kafka: %s: %s", facility, text);
	else
		pl_debug("kafka: %s: %s", facility, text);
}

static int set(rd_kafka_conf_t *conf, const char *name, const char *value, const char *where,
               struct pl_error *err)
{
	char why[256];

	if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) == RD_KAFKA_CONF_OK)
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

rd_kafka_conf_t *pl_kafka_client_conf(const struct pl_config *config, const struct pl_region *region,
                                      const char *const *defaults, const char *const *fixed,
                                      struct pl_error *err)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char client[PL_REGION_MAX + 8] = "plist-";
	const char *const own[] = {
		"bootstrap.servers",
		config->kafka.brokers,
		"client.id",
		strncat(client, region->name, PL_REGION_MAX),
		"socket.nagle.disable",
		"true",
		"socket.keepalive.enable",
		"true",
		"reconnect.backoff.ms",
		"50",
		"reconnect.backoff.max.ms",
		"1000", // the default of 10 s is longer than most restarts take
		"socket.connection.setup.timeout.ms",
		"5000",
		"broker.address.ttl",
		"5000",
		"topic.metadata.refresh.interval.ms",
		"30000",
		"log.connection.close",
		"false",
		NULL,
	};
	int code;

	pl_tsan_threads_link();
	rd_kafka_conf_set_log_cb(conf, on_log);
	code = set_all(conf, own, err);
	if (code == 0)
		code = set_all(conf, defaults, err);
	for (int i = 0; i < config->kafka.npairs && code == 0; i++)
		code = set(conf, config->kafka.pairs[i].key, config->kafka.pairs[i].value,
		           "kafka.properties.", err);
	if (code == 0)
		code = set_all(conf, fixed, err);
	if (code == 0)
		return conf;
	rd_kafka_conf_destroy(conf);
	return NULL;
}

int pl_kafka_client_try(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct pl_error *err)
{
	char why[256];
	rd_kafka_t *rk;

	if (!conf)
		return PL_EINVAL;
	// without brokers nothing is connected to
	if (rd_kafka_conf_set(conf, "bootstrap.servers", "", why, sizeof(why)) != RD_KAFKA_CONF_OK ||
	    !(rk = rd_kafka_new(type, conf, why, sizeof(why)))) {
		rd_kafka_conf_destroy(conf);
		return pl_error_set(err, PL_EINVAL, "kafka.properties: %s", why);
	}
	rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	return 0;
}

int pl_kafka_client_keys(const struct pl_config *config, struct pl_error *err)
{
	static const char *const names[] = { "ssl.key.location", "ssl.keystore.location",
		                             "sasl.kerberos.keytab" };
	struct pl_error own;

	for (int i = 0; i < config->kafka.npairs; i++) {
		const struct pl_pair *pair = &config->kafka.pairs[i];
		struct pl_buf text = { 0 };
		int rc = 0;
		for (size_t j = 0; j < sizeof(names) / sizeof(names[0]); j++)
			if (strcmp(pair->key, names[j]) == 0)
				rc = pl_file_read_private(pair->value, FILE_MAX, &text, &own);
		if (text.data)
			explicit_bzero(text.data, text.len);
		pl_buf_fini(&text);
		if (rc == PL_EINVAL) // of others, librdkafka says what is wrong
			return pl_error_set(err, PL_EINVAL, "kafka.properties.%s: %s: %s", pair->key,
			                    pair->value, own.text);
	}
	return 0;
}

// A file that cannot be read, or a directory, always counts as the same.
static void add_file(struct pl_buf *digests, const char *file)
{
	struct pl_buf text = { 0 };
	struct pl_error err;
	uint8_t sha256[PL_SHA256_SIZE] = { 0 };

	if (pl_file_read(file, FILE_MAX, &text, &err) == 0)
		pl_sha256(text.data, text.len, sha256);
	if (text.data) // it may be a private key
		explicit_bzero(text.data, text.len);
	pl_buf_fini(&text);
	pl_buf_add(digests, sha256, sizeof(sha256));
}

void pl_kafka_client_files(const struct pl_config *config, uint8_t sha256_r[PL_SHA256_SIZE])
{
	static const char suffix[] = ".location";
	struct pl_buf digests = { 0 };

	for (int i = 0; i < config->kafka.npairs; i++) {
		const char *key = config->kafka.pairs[i].key;
		size_t len = strlen(key);
		if (strncmp(key, "ssl.", 4) == 0 && len > sizeof(suffix) &&
		    strcmp(key + len - (sizeof(suffix) - 1), suffix) == 0)
			add_file(&digests, config->kafka.pairs[i].value);
	}
	pl_sha256(digests.data ? digests.data : "", digests.len, sha256_r);
	pl_buf_fini(&digests);
}

bool pl_kafka_client_stopping(int stop_fd)
{
	struct pollfd p = { .fd = stop_fd, .events = POLLIN };

	return stop_fd >= 0 && poll(&p, 1, 0) > 0;
}

// ---- topics

static bool is_there(const struct rd_kafka_metadata *metadata, const char *name)
{
	for (int i = 0; i < metadata->topic_cnt; i++)
		if (strcmp(metadata->topics[i].topic, name) == 0)
			return metadata->topics[i].err == RD_KAFKA_RESP_ERR_NO_ERROR;
	return false;
}

// Fills `topics` with the missing ones. Returns their number.
static int missing_topics(const struct pl_config *config, const struct rd_kafka_metadata *metadata,
                          rd_kafka_NewTopic_t **topics)
{
	char why[256];
	int n = 0;

	for (int i = 0; i < config->nresources + 2; i++) {
		bool heartbeats = i == config->nresources;
		const char *name = heartbeats               ? config->kafka.heartbeat_topic
		                   : i < config->nresources ? config->resources[i].topic
		                                            : config->kafka.dead_letter_topic;
		rd_kafka_NewTopic_t *topic;

		if (!name || is_there(metadata, name))
			continue;
		topic = rd_kafka_NewTopic_new(name, heartbeats ? 1 : config->kafka.partitions,
		                              config->kafka.replication_factor, why, sizeof(why));
		if (!topic) { // the name is not valid; using the topic fails as well
			pl_warning("kafka: topic %s: %s", name, why);
			continue;
		}
		if (heartbeats) // old ones are useless
			rd_kafka_NewTopic_set_config(topic, "retention.ms", "3600000");
		topics[n++] = topic;
	}
	return n;
}

// The result for each topic. PL_EUNAVAIL: trying again may create one.
static int look_at_results(rd_kafka_event_t *event, struct pl_error *err)
{
	const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
	const rd_kafka_topic_result_t **topics;
	rd_kafka_resp_err_t code = rd_kafka_event_error(event);
	size_t n = 0;

	switch (code) {
	case RD_KAFKA_RESP_ERR_NO_ERROR: break;
	case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
	// The broker answers but has no controller: the embedded one.
	case RD_KAFKA_RESP_ERR__TIMED_OUT:
		pl_info("kafka: the broker cannot create topics on request; expecting it to create them at "
		        "first use");
		return 0;
	default: return pl_error_set(err, PL_EUNAVAIL, "kafka: %s", rd_kafka_event_error_string(event));
	}
	topics = rd_kafka_CreateTopics_result_topics(result, &n);
	for (size_t i = 0; i < n; i++) {
		const char *name = rd_kafka_topic_result_name(topics[i]),
			   *text = rd_kafka_topic_result_error_string(topics[i]);

		switch (rd_kafka_topic_result_error(topics[i])) {
		case RD_KAFKA_RESP_ERR_NO_ERROR: pl_notice("kafka: created topic %s", name); break;
		case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS: break;
		case RD_KAFKA_RESP_ERR_NOT_CONTROLLER:
		case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
		case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
			return pl_error_set(err, PL_EUNAVAIL, "kafka: topic %s: %s", name,
			                    text ? text : "try again");
		// not permitted, too few brokers for the replication factor, …: an
		// operator may create it
		default:
			pl_warning("kafka: topic %s was not created: %s", name,
			           text ? text : "no reason given");
		}
	}
	return 0;
}

// The existing topics. Waits in short steps, so that a stop is noticed.
static const struct rd_kafka_metadata *ask_metadata(rd_kafka_t *rk, int64_t deadline_us, int stop_fd)
{
	const struct rd_kafka_metadata *metadata;

	do {
		if (rd_kafka_metadata(rk, 1, NULL, &metadata, 250) == RD_KAFKA_RESP_ERR_NO_ERROR)
			return metadata;
	} while (pl_mono_us() < deadline_us && !pl_kafka_client_stopping(stop_fd));
	return NULL;
}

static int create_topics(rd_kafka_t *rk, rd_kafka_NewTopic_t **topics, int n, int64_t timeout_us, int stop_fd,
                         struct pl_error *err)
{
	rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_event_t *event = NULL;
	char why[256];
	int code;

	rd_kafka_AdminOptions_set_request_timeout(options, (int)(timeout_us / 1000), why, sizeof(why));
	rd_kafka_CreateTopics(rk, topics, (size_t)n, options, queue);
	// An answer always comes, at the latest after the request's timeout.
	while (!event && !pl_kafka_client_stopping(stop_fd))
		event = rd_kafka_queue_poll(queue, 50);
	code = event ? look_at_results(event, err)
	             : pl_error_set(err, PL_ESTOPPED, "stopped while creating topics");
	if (event)
		rd_kafka_event_destroy(event);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_queue_destroy(queue);
	return code;
}

int pl_kafka_client_topics(rd_kafka_t *rk, const struct pl_config *config, int64_t timeout_us, int stop_fd,
                           struct pl_error *err)
{
	const struct rd_kafka_metadata *metadata = ask_metadata(rk, pl_mono_us() + timeout_us, stop_fd);
	rd_kafka_NewTopic_t **topics;
	int n, code = 0;

	if (!metadata)
		return pl_kafka_client_stopping(stop_fd)
		               ? pl_error_set(err, PL_ESTOPPED, "stopped while connecting to Kafka")
		               : pl_error_set(err, PL_EUNAVAIL, "kafka: no broker answers at %s",
		                              config->kafka.brokers);
	topics = pl_calloc((size_t)config->nresources + 2, sizeof(topics[0]));
	n = missing_topics(config, metadata, topics);
	rd_kafka_metadata_destroy(metadata);
	if (n > 0)
		code = create_topics(rk, topics, n, timeout_us, stop_fd, err);
	rd_kafka_NewTopic_destroy_array(topics, (size_t)n);
	free(topics);
	return code;
}
