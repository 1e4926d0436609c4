// The applier's consumer: a librdkafka consumer with the offsets of the group
// "<group>-<region>".
//
// Between Kafka and apply/applier. Partitions are assigned by hand. Offsets are committed
// in the background, but only stored ones, and an offset is stored after the database has
// committed. A broker accepts them from a consumer that is not a member as long as the
// group has no members; daemons before version 0.2 are members. Until they have stopped,
// their own commits count, and what they have not committed would be read a second time.
// The heartbeats' partitions have no offsets in the group.
// Threads: belongs to its applier's; librdkafka's own threads only log.
#include "kafka/consumer.h"

#include "kafka/consumer_private.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/faults.h"
#include "base/json.h"
#include "base/log.h"
#include "base/wake.h"
#include "config/kafka_settings.h"

// how long librdkafka may take to destroy a consumer
#define DESTROY_MS         5000
// longer than librdkafka's interval between attempts
#define REFUSAL_US         (10 * INT64_C(1000000))
// of each partition; enough for one of every region
#define HEARTBEATS_BACK    16
// a broker that has said nothing for this long is not connected
#define CONTACT_US         (5 * INT64_C(1000000))
// commits that fail for longer do not just wait for a coordinator that moves
#define COMMIT_PATIENCE_US (30 * INT64_C(1000000))

static const char *const defaults[] = {
	// Small answers at once, large ones in bulk, and no larger backlog in memory than
	// keeps the database busy. librdkafka counts the bytes of messages; what it keeps
	// of each besides them is more than a small one has. fetch.max.bytes follows from
	// the queue and message.max.bytes.
	"fetch.wait.max.ms",
	"100",
	"fetch.min.bytes",
	"1",
	"fetch.error.backoff.ms",
	"5",
	"max.partition.fetch.bytes",
	"524288",
	"queued.min.messages",
	"10000",
	"queued.max.messages.kbytes",
	"8192",
	"session.timeout.ms",
	PL_KAFKA_SESSION_TIMEOUT_MS,
	"heartbeat.interval.ms",
	PL_KAFKA_HEARTBEAT_INTERVAL_MS,
	"max.poll.interval.ms",
	"600000",
	"auto.commit.interval.ms",
	"500",
	// A request that a live broker answers even while there is nothing to fetch.
	"topic.metadata.refresh.interval.ms",
	"1500",
	// A member's heartbeats would notice that the group's coordinator has moved.
	"coordinator.query.interval.ms",
	"1000",
	NULL,
};

static const char *const fixed[] = {
	"statistics.interval.ms",
	"1000",
	"check.crcs",
	"true",
	"enable.auto.offset.store",
	"false",
	"enable.auto.commit",
	"true",
	"auto.offset.reset",
	"earliest",
	"enable.partition.eof",
	"false",
	"allow.auto.create.topics",
	"true",
	NULL,
};

static void note_contact(struct pl_consumer *consumer)
{
	consumer->up = true;
	consumer->contact_us = pl_now_us();
	consumer->silent_from_us = pl_mono_us() + CONTACT_US;
}

// ---- callbacks, all called within poll or free

// The broker is up but refuses this daemon: an operator has to change an account, an ACL
// or a certificate.
static bool is_refused_access(rd_kafka_resp_err_t code)
{
	switch (code) {
	case RD_KAFKA_RESP_ERR__AUTHENTICATION:
	case RD_KAFKA_RESP_ERR__SSL:
	case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
	case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED: return true;
	default: return false;
	}
}

static void note_refusal(struct pl_consumer *consumer, const char *reason)
{
	snprintf(consumer->refusal, sizeof(consumer->refusal), "%s", reason);
	consumer->refused_us = pl_mono_us();
	if (pl_log_limit_ok(&consumer->refusal_limit, 10 * 1000000))
		pl_err("kafka: the broker refuses access: %s", reason);
}

static void on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
	struct pl_consumer *consumer = opaque;

	if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
		consumer->up = false;
		consumer->losses++;
	} else if (is_refused_access((rd_kafka_resp_err_t)code)) {
		note_refusal(consumer, reason);
	} else {
		pl_debug("kafka: consumer: %s: %s", rd_kafka_err2name(code), reason);
	}
}

// Called once a second. While a broker answers, the number of received bytes grows, even
// with empty fetches.
static int on_statistics(rd_kafka_t *rk, char *text, size_t len, void *opaque)
{
	static const struct pl_json_limits limits = { .bytes = 16 * 1024 * 1024,
		                                      .depth = 16,
		                                      .nodes = 1000000 };
	struct pl_consumer *consumer = opaque;
	cJSON *json = pl_json_parse(text, len, &limits, NULL);
	int64_t received = 0;

	if (json && pl_json_int64(pl_json_get(json, "rx_bytes"), &received) == 0 &&
	    received > consumer->received) {
		consumer->received = received;
		note_contact(consumer);
	}
	cJSON_Delete(json);
	return 0;
}

// A coordinator that moves, or a broker that goes: such commits fail for a while only.
static void note_failed_commit(struct pl_consumer *consumer, rd_kafka_resp_err_t code)
{
	int64_t now_us = pl_mono_us();

	if (consumer->uncommitted_us == 0)
		consumer->uncommitted_us = now_us;
	if (!is_refused_access(code) && now_us - consumer->uncommitted_us < COMMIT_PATIENCE_US) {
		pl_debug("kafka: committing offsets: %s", rd_kafka_err2str(code));
		return;
	}
	consumer->commits_refused = true;
	if (pl_log_limit_ok(&consumer->commit_limit, 60 * 1000000))
		pl_warning("kafka: offsets are not committed (%s); what they stand for is read again after a "
		           "restart",
		           rd_kafka_err2str(code));
}

// With the result of each commit.
static void on_commit(rd_kafka_t *rk, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *offsets,
                      void *opaque)
{
	struct pl_consumer *consumer = opaque;

	if (code == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID || code == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION ||
	    code == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS) {
		consumer->commits_refused = true;
		if (pl_log_limit_ok(&consumer->commit_limit, 60 * 1000000))
			pl_warning("kafka: offsets are not committed while the consumer group has members "
			           "(%s): an older plistd of this region, or another program; what they do "
			           "not commit is read again after a restart",
			           rd_kafka_err2name(code));
	} else if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
		consumer->commits_refused = false;
		consumer->uncommitted_us = 0;
	} else if (code == RD_KAFKA_RESP_ERR__NO_OFFSET) {
		consumer->uncommitted_us = 0;
	} else {
		note_failed_commit(consumer, code);
	}
}

// ---- life

static rd_kafka_conf_t *configuration(const struct pl_config *config, const struct pl_region *region,
                                      struct pl_error *err)
{
	rd_kafka_conf_t *conf = pl_kafka_client_conf(config, region, defaults, fixed, err);
	char group[512], why[256];

	snprintf(group, sizeof(group), "%s-%s", config->kafka.group, region->name);
	if (!conf || rd_kafka_conf_set(conf, "group.id", group, why, sizeof(why)) == RD_KAFKA_CONF_OK)
		return conf;
	pl_error_set(err, PL_EINVAL, "kafka.group: %s", why);
	rd_kafka_conf_destroy(conf);
	return NULL;
}

int pl_consumer_check(const struct pl_config *config, const struct pl_region *region, struct pl_error *err)
{
	return pl_kafka_client_try(RD_KAFKA_CONSUMER, configuration(config, region, err), err);
}

// A setting, which the operator may have changed.
static int64_t number_of(const rd_kafka_conf_t *conf, const char *name)
{
	char text[32] = "";
	size_t size = sizeof(text);

	rd_kafka_conf_get(conf, name, text, &size);
	return strtoll(text, NULL, 10);
}

struct pl_consumer *pl_consumer_new(const struct pl_consumer_options *options, struct pl_error *err)
{
	struct pl_consumer *consumer = pl_calloc(1, sizeof(*consumer));
	rd_kafka_conf_t *conf = configuration(options->config, options->region, err);
	char why[256];

	consumer->options = *options;
	consumer->heartbeat_topic = pl_strdup(options->config->kafka.heartbeat_topic);
	if (conf) {
		rd_kafka_conf_set_opaque(conf, consumer);
		rd_kafka_conf_set_offset_commit_cb(conf, on_commit);
		rd_kafka_conf_set_error_cb(conf, on_error);
		rd_kafka_conf_set_stats_cb(conf, on_statistics);
		consumer->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
		if (!consumer->rk) {
			rd_kafka_conf_destroy(conf);
			pl_error_set(err, PL_EINVAL, "kafka: %s", why);
		}
	}
	if (!consumer->rk) {
		free(consumer->heartbeat_topic);
		free(consumer);
		return NULL;
	}
	consumer->queue_messages = number_of(rd_kafka_conf(consumer->rk), "queued.min.messages");
	consumer->queue_bytes = 1024 * number_of(rd_kafka_conf(consumer->rk), "queued.max.messages.kbytes");
	rd_kafka_poll_set_consumer(consumer->rk);
	return consumer;
}

// Commits what is stored. Offsets of messages polled meanwhile are not stored, so they
// come again.
static void leave(struct pl_consumer *consumer, int64_t wait_us)
{
	int64_t until_us = pl_mono_us() + wait_us;
	rd_kafka_queue_t *queue = rd_kafka_queue_new(consumer->rk);
	rd_kafka_error_t *error = rd_kafka_consumer_close_queue(consumer->rk, queue);

	if (error)
		rd_kafka_error_destroy(error);
	else
		while (!rd_kafka_consumer_closed(consumer->rk) && pl_mono_us() < until_us) {
			rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 20);

			if (event && rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE)
				rd_kafka_assign(consumer->rk, NULL);
			if (event)
				rd_kafka_event_destroy(event);
		}
	rd_kafka_queue_destroy(queue);
}

// librdkafka 2.0.2 may wait forever for a partition that was repositioned just before. By
// then all offsets are stored, so nothing depends on it. A thread destroys the consumer,
// and we wait for it only for a while. The struct is the thread's from then on, because
// librdkafka's callbacks use it until the end.
struct ending {
	atomic_int refs; // ours and the thread's
	struct pl_consumer *consumer;
	struct pl_wake *rung; // when it is done
};

static void ending_unref(struct ending *ending)
{
	if (atomic_fetch_sub(&ending->refs, 1) > 1)
		return;
	pl_wake_free(&ending->rung);
	free(ending);
}

static void *run_ending(void *arg)
{
	struct ending *ending = arg;

	rd_kafka_destroy_flags(ending->consumer->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	free(ending->consumer->heartbeat_topic);
	free(ending->consumer);
	pl_wake_ring(ending->rung);
	ending_unref(ending);
	return NULL;
}

// False: not done yet; the thread continues on its own.
static bool destroy_within(struct pl_consumer *consumer, int timeout_ms)
{
	struct ending *ending = pl_calloc(1, sizeof(*ending));
	struct pollfd p = { .events = POLLIN };
	pthread_t thread;
	bool ended;

	ending->refs = 2;
	ending->consumer = consumer;
	ending->rung = pl_wake_new();
	p.fd = pl_wake_fd(ending->rung);
	if (pthread_create(&thread, NULL, run_ending, ending) == 0)
		pthread_detach(thread);
	else
		run_ending(ending);
	ended = poll(&p, 1, timeout_ms) > 0;
	ending_unref(ending);
	return ended;
}

void pl_consumer_free(struct pl_consumer **consumer_p, int64_t wait_us)
{
	struct pl_consumer *consumer = *consumer_p;

	if (!consumer)
		return;
	leave(consumer, wait_us);
	if (consumer->paused)
		rd_kafka_topic_partition_list_destroy(consumer->paused);
	*consumer_p = NULL;
	if (!destroy_within(consumer, DESTROY_MS)) {
		pl_faults_lost(PL_LOSS_CONSUMER);
		pl_warning(
			"kafka: librdkafka has not destroyed the consumer within 5 s; going on without it");
	}
}

static void take_topic(const struct rd_kafka_metadata_topic *from, struct pl_consumer_topic *topic_r)
{
	const int room = sizeof(topic_r->leaderless) / sizeof(topic_r->leaderless[0]);

	topic_r->partitions = from->partition_cnt;
	for (int i = 0; i < from->partition_cnt && topic_r->nleaderless < room; i++)
		if (from->partitions[i].leader < 0)
			topic_r->leaderless[topic_r->nleaderless++] = from->partitions[i].id;
}

int pl_consumer_topic(struct pl_consumer *consumer, const char *name, int timeout_ms,
                      struct pl_consumer_topic *topic_r, struct pl_error *err)
{
	rd_kafka_topic_t *topic = rd_kafka_topic_new(consumer->rk, name, NULL);
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t code = rd_kafka_metadata(consumer->rk, 0, topic, &metadata, timeout_ms);

	rd_kafka_topic_destroy(topic);
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		return pl_error_set(err, PL_EUNAVAIL, "kafka: %s", rd_kafka_err2str(code));
	*topic_r = (struct pl_consumer_topic){ 0 };
	if (metadata->topic_cnt == 1 && metadata->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR)
		take_topic(&metadata->topics[0], topic_r);
	rd_kafka_metadata_destroy(metadata);
	return 0;
}

// One partition if plist created the topic; any number if the broker did.
static int look_at_heartbeats(struct pl_consumer *consumer, int64_t timeout_us, struct pl_error *err)
{
	struct pl_consumer_topic topic;
	int code =
		pl_consumer_topic(consumer, consumer->heartbeat_topic, (int)(timeout_us / 1000), &topic, err);

	if (code < 0)
		return code;
	if (topic.partitions > 0)
		consumer->heartbeat_partitions = topic.partitions;
	if (consumer->heartbeat_partitions == 0)
		return pl_error_set(err, PL_EUNAVAIL, "kafka: topic %s does not exist yet",
		                    consumer->heartbeat_topic);
	return 0;
}

// While held, new partitions of records wait, too.
static int assign(struct pl_consumer *consumer, const rd_kafka_topic_partition_list_t *partitions,
                  struct pl_error *err)
{
	rd_kafka_error_t *error = rd_kafka_incremental_assign(consumer->rk, partitions);

	if (error) {
		pl_error_set(err, PL_EUNAVAIL, "kafka: cannot assign partitions: %s",
		             rd_kafka_error_string(error));
		rd_kafka_error_destroy(error);
		return err->code;
	}
	if (consumer->held)
		pl_consumer_pause(consumer, partitions);
	return 0;
}

int pl_consumer_add(struct pl_consumer *consumer, const rd_kafka_topic_partition_list_t *partitions,
                    struct pl_error *err)
{
	return assign(consumer, partitions, err);
}

int pl_consumer_remove(struct pl_consumer *consumer, const rd_kafka_topic_partition_list_t *partitions,
                       struct pl_error *err)
{
	rd_kafka_error_t *error = rd_kafka_incremental_unassign(consumer->rk, partitions);

	if (!error)
		return 0;
	pl_error_set(err, PL_EUNAVAIL, "kafka: cannot give up partitions: %s", rd_kafka_error_string(error));
	rd_kafka_error_destroy(error);
	return err->code;
}

static int read_heartbeats(struct pl_consumer *consumer, int64_t timeout_us, struct pl_error *err)
{
	rd_kafka_topic_partition_list_t *added;
	int code = look_at_heartbeats(consumer, timeout_us, err);

	if (code < 0)
		return code;
	added = rd_kafka_topic_partition_list_new(consumer->heartbeat_partitions);
	for (int i = consumer->heartbeats_read; i < consumer->heartbeat_partitions; i++)
		rd_kafka_topic_partition_list_add(added, consumer->heartbeat_topic, i)->offset =
			RD_KAFKA_OFFSET_TAIL(HEARTBEATS_BACK);
	if (added->cnt > 0 && (code = assign(consumer, added, err)) == 0)
		consumer->heartbeats_read = consumer->heartbeat_partitions;
	rd_kafka_topic_partition_list_destroy(added);
	return code;
}

int pl_consumer_prepare(struct pl_consumer *consumer, const struct pl_config *config, int64_t timeout_us,
                        int stop_fd, struct pl_error *err)
{
	int failed = pl_kafka_client_topics(consumer->rk, config, timeout_us, stop_fd, err);

	if (failed < 0 ||
	    (consumer->options.heartbeats && (failed = read_heartbeats(consumer, timeout_us, err)) < 0))
		return failed;
	note_contact(consumer);
	return 0;
}

// ---- messages

// librdkafka does not say which topic could not be fetched from.
static void log_error(struct pl_consumer *consumer, const rd_kafka_message_t *message)
{
	char reason[512];

	snprintf(reason, sizeof(reason), "%s%s%s", message->rkt ? rd_kafka_topic_name(message->rkt) : "",
	         message->rkt ? ": " : "", rd_kafka_message_errstr(message));
	if (message->err == RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED ||
	    message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
		return;
	if (is_refused_access(message->err))
		note_refusal(consumer, reason);
	else if (pl_log_limit_ok(&consumer->log_limit, 10 * 1000000))
		pl_warning("kafka: %s", reason);
}

// librdkafka 2.0 stops fetching when its queue is full, and looks only once a second
// whether there is room again, unless something wakes the broker's thread. A question
// does, whose answer nobody waits for. So it is asked for each half queue that was taken.
static void keep_fetching(struct pl_consumer *consumer, const rd_kafka_message_t *message)
{
	rd_kafka_topic_partition_list_t *partitions;

	consumer->taken++;
	consumer->taken_bytes += (int64_t)(message->len + message->key_len);
	if (consumer->taken < consumer->queue_messages / 2 &&
	    consumer->taken_bytes < consumer->queue_bytes / 2)
		return;
	consumer->taken = consumer->taken_bytes = 0;
	if (rd_kafka_assignment(consumer->rk, &partitions) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	for (int i = 0; i < partitions->cnt; i++)
		partitions->elems[i].offset = RD_KAFKA_OFFSET_END;
	if (partitions->cnt > 0)
		rd_kafka_offsets_for_times(consumer->rk, partitions, 0);
	rd_kafka_topic_partition_list_destroy(partitions);
}

rd_kafka_message_t *pl_consumer_poll(struct pl_consumer *consumer, int timeout_ms)
{
	rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer->rk, timeout_ms);

	if (!message)
		return NULL;
	if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
		note_contact(consumer);
		keep_fetching(consumer, message);
		return message;
	}
	// librdkafka recovers by itself, unless the error is fatal: see
	// pl_consumer_failed.
	log_error(consumer, message);
	rd_kafka_message_destroy(message);
	return NULL;
}

bool pl_consumer_is_heartbeat(const struct pl_consumer *consumer, const rd_kafka_message_t *message)
{
	return strcmp(rd_kafka_topic_name(message->rkt), consumer->heartbeat_topic) == 0;
}

void pl_consumer_message(struct pl_arena *arena, const rd_kafka_message_t *message,
                         struct pl_message *message_r)
{
	rd_kafka_timestamp_type_t type;
	int64_t at_ms = rd_kafka_message_timestamp(message, &type);
	struct pl_message_header *headers = NULL;
	rd_kafka_headers_t *from;
	size_t n = 0;

	if (rd_kafka_message_headers(message, &from) == RD_KAFKA_RESP_ERR_NO_ERROR &&
	    (n = rd_kafka_header_cnt(from)) > 0) {
		headers = pl_arena_alloc(arena, sizeof(headers[0]) * n);
		for (size_t i = 0; i < n; i++)
			rd_kafka_header_get_all(from, i, &headers[i].name, &headers[i].value,
			                        &headers[i].len);
	}
	*message_r = (struct pl_message){
		.topic = rd_kafka_topic_name(message->rkt),
		.partition = message->partition,
		.offset = message->offset,
		.broker_time_us = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || at_ms < 0 ? 0 : at_ms * 1000,
		.key = message->key,
		.key_len = message->key_len,
		.value = message->payload,
		.value_len = message->len,
		.nheaders = (int)n,
		.headers = headers,
	};
}

// ---- state

int64_t pl_consumer_contact(const struct pl_consumer *consumer, bool *up_r)
{
	*up_r = consumer->up && pl_mono_us() < consumer->silent_from_us; // whatever the clock does
	return consumer->contact_us;
}

uint64_t pl_consumer_losses(const struct pl_consumer *consumer)
{
	return consumer->losses;
}

bool pl_consumer_failed(const struct pl_consumer *consumer, struct pl_error *err)
{
	char why[256];

	if (rd_kafka_fatal_error(consumer->rk, why, sizeof(why)) == RD_KAFKA_RESP_ERR_NO_ERROR)
		return false;
	pl_error_set(err, PL_EUNAVAIL, "kafka: the consumer failed permanently: %s", why);
	return true;
}

const char *pl_consumer_refusal(const struct pl_consumer *consumer)
{
	return consumer->refused_us && pl_mono_us() - consumer->refused_us < REFUSAL_US ? consumer->refusal
	                                                                                : NULL;
}

bool pl_consumer_commits_refused(const struct pl_consumer *consumer)
{
	return consumer->commits_refused;
}

int pl_consumer_heartbeat_partitions(const struct pl_consumer *consumer)
{
	return consumer->heartbeat_partitions;
}
