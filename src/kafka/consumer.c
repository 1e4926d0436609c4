// The consumer under the applier: librdkafka's, a member of the group "<group>-<region>".
//
// Stands between Kafka and replicate/apply_lane. Offsets are committed in the background, but only those that were stored, and they are
// stored after the database has committed. The heartbeats' partitions are assigned beside the group's and have no offsets in it.
// Threads: belongs to its lane's; librdkafka's own only log.
#include "replicate/consumer.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/wake.h"

#define DESTROY_MS 5000 // for the library to end a consumer
#define HEARTBEATS_BACK 16 // of each partition: enough to hear of every region at once

struct pl_consumer {
	struct pl_consumer_options options;
	rd_kafka_t *rk;
	char *heartbeat_topic;
	int heartbeat_partitions;                   // 0: not yet known
	rd_kafka_topic_partition_list_t *assigned;  // by the group; NULL: nothing
	rd_kafka_topic_partition_list_t *paused;    // while held: all that was assigned at any time of it; librdkafka keeps a pause beyond that
	bool held, up;
	int64_t contact_us, received;               // bytes, as the statistics had it last
	struct pl_log_limit log_limit;
};

static const char *const defaults[] = {
	// Small answers at once, large ones in bulk; and no more of a backlog in memory than keeps the database busy.
	"fetch.wait.max.ms", "100", "fetch.min.bytes", "1", "fetch.error.backoff.ms", "5",
	"queued.min.messages", "100000", "queued.max.messages.kbytes", "16384",
	"session.timeout.ms", "10000", "heartbeat.interval.ms", "2000", "max.poll.interval.ms", "600000",
	"auto.commit.interval.ms", "500", "statistics.interval.ms", "1000", "check.crcs", "true",
	// Something that a living broker answers also while it makes us wait for the group: up to session.timeout.ms, after a member was killed.
	"topic.metadata.refresh.interval.ms", "1500", NULL,
};

static const char *const fixed[] = {
	"enable.auto.offset.store", "false", "enable.auto.commit", "true", "auto.offset.reset", "earliest",
	"partition.assignment.strategy", "range", "enable.partition.eof", "false", "allow.auto.create.topics", "true", NULL,
};

static void heard(struct pl_consumer *consumer)
{
	consumer->up = true;
	consumer->contact_us = pl_now_us();
}

// --- callbacks, all from within poll or free

static void pause_all(struct pl_consumer *consumer, const rd_kafka_topic_partition_list_t *partitions)
{
	rd_kafka_topic_partition_list_t *copy = rd_kafka_topic_partition_list_copy(partitions);

	rd_kafka_pause_partitions(consumer->rk, copy);
	rd_kafka_topic_partition_list_destroy(copy);
	if (!consumer->paused)
		consumer->paused = rd_kafka_topic_partition_list_new(partitions->cnt);
	for (int i = 0; i < partitions->cnt; i++)
		if (!rd_kafka_topic_partition_list_find(consumer->paused, partitions->elems[i].topic, partitions->elems[i].partition))
			rd_kafka_topic_partition_list_add(consumer->paused, partitions->elems[i].topic, partitions->elems[i].partition);
}

static void resume_all(struct pl_consumer *consumer)
{
	if (!consumer->paused)
		return;
	rd_kafka_resume_partitions(consumer->rk, consumer->paused);
	rd_kafka_topic_partition_list_destroy(consumer->paused);
	consumer->paused = NULL;
}

// The group's partitions and, beside them, the heartbeats'.
static rd_kafka_resp_err_t assign(struct pl_consumer *consumer, const rd_kafka_topic_partition_list_t *partitions)
{
	rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_copy(partitions);
	rd_kafka_resp_err_t code;

	for (int i = 0; i < consumer->heartbeat_partitions; i++)
		rd_kafka_topic_partition_list_add(all, consumer->heartbeat_topic, i)->offset = RD_KAFKA_OFFSET_TAIL(HEARTBEATS_BACK);
	code = rd_kafka_assign(consumer->rk, all);
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR && consumer->held)
		pause_all(consumer, all);
	rd_kafka_topic_partition_list_destroy(all);
	return code;
}

static void forget_assignment(struct pl_consumer *consumer)
{
	if (consumer->assigned)
		rd_kafka_topic_partition_list_destroy(consumer->assigned);
	consumer->assigned = NULL;
}

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t what, rd_kafka_topic_partition_list_t *partitions, void *opaque)
{
	struct pl_consumer *consumer = opaque;

	forget_assignment(consumer);
	if (what == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
		consumer->assigned = rd_kafka_topic_partition_list_copy(partitions);
		assign(consumer, partitions);
		heard(consumer);
		consumer->options.assigned(consumer->options.arg, partitions);
		return;
	}
	consumer->options.revoked(consumer->options.arg);
	rd_kafka_assign(rk, NULL);
}

static void on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
	struct pl_consumer *consumer = opaque;

	if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
		consumer->up = false;
	else
		pl_debug("kafka: consumer: %s: %s", rd_kafka_err2name(code), reason);
}

// Once a second. A broker that answers makes the number of received bytes grow, with fetches that brought nothing, too.
static int on_statistics(rd_kafka_t *rk, char *text, size_t len, void *opaque)
{
	static const struct pl_json_limits limits = { .bytes = 16 * 1024 * 1024, .depth = 16, .nodes = 1000000 };
	struct pl_consumer *consumer = opaque;
	cJSON *json = pl_json_parse(text, len, &limits, NULL);
	int64_t received = 0;

	if (json && pl_json_int64(pl_json_get(json, "rx_bytes"), &received) == 0 && received > consumer->received) {
		consumer->received = received;
		heard(consumer);
	}
	cJSON_Delete(json);
	return 0;
}

// --- life

static rd_kafka_conf_t *configuration(const struct pl_config *config, const struct pl_region *region, struct pl_error *err)
{
	rd_kafka_conf_t *conf = pl_kafka_conf(config, region, defaults, fixed, err);
	char group[512], why[256];

	snprintf(group, sizeof group, "%s-%s", config->kafka.group, region->name);
	if (!conf || rd_kafka_conf_set(conf, "group.id", group, why, sizeof why) == RD_KAFKA_CONF_OK)
		return conf;
	pl_error_set(err, PL_EINVAL, "kafka.group: %s", why);
	rd_kafka_conf_destroy(conf);
	return NULL;
}

int pl_consumer_check(const struct pl_config *config, const struct pl_region *region, struct pl_error *err)
{
	rd_kafka_conf_t *conf = configuration(config, region, err);

	if (!conf)
		return PL_EINVAL;
	rd_kafka_conf_destroy(conf);
	return 0;
}

struct pl_consumer *pl_consumer_new(const struct pl_consumer_options *options, struct pl_error *err)
{
	struct pl_consumer *consumer = pl_calloc(1, sizeof *consumer);
	rd_kafka_conf_t *conf = configuration(options->config, options->region, err);
	char why[256];

	consumer->options = *options;
	consumer->heartbeat_topic = pl_strdup(options->config->kafka.heartbeat_topic);
	if (conf) {
		rd_kafka_conf_set_opaque(conf, consumer);
		rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
		rd_kafka_conf_set_error_cb(conf, on_error);
		rd_kafka_conf_set_stats_cb(conf, on_statistics);
		consumer->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
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
	rd_kafka_poll_set_consumer(consumer->rk);
	return consumer;
}

// Leaves the group; what is polled meanwhile is not stored, so it comes again.
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

			if (!event)
				continue;
			if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE) {
				consumer->options.revoked(consumer->options.arg);
				rd_kafka_assign(consumer->rk, NULL);
			}
			rd_kafka_event_destroy(event);
		}
	rd_kafka_queue_destroy(queue);
}

// librdkafka 2.0.2 may wait for ever for a partition of its own that was placed anew just before. It has nothing of ours by then: what was applied is
// stored and the group is left. So its end has a thread, for which we wait a while; a late one keeps the consumer that its callbacks know.
struct ending {
	atomic_int refs; // ours and the thread's
	rd_kafka_t *rk;
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

	rd_kafka_destroy_flags(ending->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	pl_wake_ring(ending->rung);
	ending_unref(ending);
	return NULL;
}

// False: it goes on without us.
static bool destroy_within(rd_kafka_t *rk, int timeout_ms)
{
	struct ending *ending = pl_calloc(1, sizeof *ending);
	struct pollfd p = { .events = POLLIN };
	pthread_t thread;
	bool ended;

	ending->refs = 2;
	ending->rk = rk;
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

void pl_consumer_free(struct pl_consumer **at, int64_t wait_us)
{
	struct pl_consumer *consumer = *at;

	if (!consumer)
		return;
	leave(consumer, wait_us);
	forget_assignment(consumer);
	if (consumer->paused)
		rd_kafka_topic_partition_list_destroy(consumer->paused);
	*at = NULL;
	if (!destroy_within(consumer->rk, DESTROY_MS)) {
		pl_warning("kafka: the library does not end a consumer that has left its group; it is left to itself");
		return;
	}
	free(consumer->heartbeat_topic);
	free(consumer);
}

// 0 partitions: there is no such topic.
static int count_partitions(struct pl_consumer *consumer, const char *name, int timeout_ms, int *n_r, struct pl_error *err)
{
	rd_kafka_topic_t *topic = rd_kafka_topic_new(consumer->rk, name, NULL);
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t code = rd_kafka_metadata(consumer->rk, 0, topic, &metadata, timeout_ms);

	rd_kafka_topic_destroy(topic);
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		return pl_error_set(err, PL_EUNAVAIL, "kafka: %s", rd_kafka_err2str(code));
	*n_r = metadata->topic_cnt == 1 && metadata->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR ? metadata->topics[0].partition_cnt : 0;
	rd_kafka_metadata_destroy(metadata);
	return 0;
}

// One where plist made the topic, any number where the broker did.
static int look_at_heartbeats(struct pl_consumer *consumer, int64_t timeout_us, struct pl_error *err)
{
	int n, code = count_partitions(consumer, consumer->heartbeat_topic, (int)(timeout_us / 1000), &n, err);

	if (code < 0)
		return code;
	if (n > 0)
		consumer->heartbeat_partitions = n;
	if (consumer->heartbeat_partitions == 0)
		return pl_error_set(err, PL_EUNAVAIL, "kafka: topic %s is not there yet", consumer->heartbeat_topic);
	return 0;
}

int pl_consumer_subscribe(struct pl_consumer *consumer, const struct pl_config *config, int64_t timeout_us, int stop_fd, struct pl_error *err)
{
	rd_kafka_topic_partition_list_t *topics;
	rd_kafka_resp_err_t code;
	int failed = pl_kafka_topics(consumer->rk, config, timeout_us, stop_fd, err);

	if (failed < 0 || (consumer->options.heartbeats && (failed = look_at_heartbeats(consumer, timeout_us, err)) < 0))
		return failed;
	heard(consumer);
	topics = rd_kafka_topic_partition_list_new(config->nresources);
	for (int i = 0; i < config->nresources; i++)
		rd_kafka_topic_partition_list_add(topics, config->resources[i].topic, RD_KAFKA_PARTITION_UA);
	code = rd_kafka_subscribe(consumer->rk, topics);
	rd_kafka_topic_partition_list_destroy(topics);
	return code == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : pl_error_set(err, PL_EUNAVAIL, "kafka: %s", rd_kafka_err2str(code));
}

// --- messages

static void talk_about(struct pl_consumer *consumer, const rd_kafka_message_t *message)
{
	if (message->err == RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED || message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
		return;
	if (pl_log_limit_ok(&consumer->log_limit, 10 * 1000000))
		pl_warning("kafka: %s", rd_kafka_message_errstr(message));
}

rd_kafka_message_t *pl_consumer_poll(struct pl_consumer *consumer, int timeout_ms)
{
	rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer->rk, timeout_ms);

	if (!message)
		return NULL;
	if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
		heard(consumer);
		return message;
	}
	talk_about(consumer, message); // librdkafka goes on by itself
	rd_kafka_message_destroy(message);
	return NULL;
}

bool pl_consumer_is_heartbeat(const struct pl_consumer *consumer, const rd_kafka_message_t *message)
{
	return strcmp(rd_kafka_topic_name(message->rkt), consumer->heartbeat_topic) == 0;
}

void pl_consumer_message(struct pl_arena *arena, const rd_kafka_message_t *message, struct pl_message *message_r)
{
	rd_kafka_timestamp_type_t type;
	int64_t at_ms = rd_kafka_message_timestamp(message, &type);
	struct pl_event_header *headers = NULL;
	rd_kafka_headers_t *from;
	size_t n = 0;

	if (rd_kafka_message_headers(message, &from) == RD_KAFKA_RESP_ERR_NO_ERROR && (n = rd_kafka_header_cnt(from)) > 0) {
		headers = pl_arena_alloc(arena, sizeof headers[0] * n);
		for (size_t i = 0; i < n; i++)
			rd_kafka_header_get_all(from, i, &headers[i].name, &headers[i].value, &headers[i].len);
	}
	*message_r = (struct pl_message){
		.topic = rd_kafka_topic_name(message->rkt), .partition = message->partition, .offset = message->offset,
		.broker_time_us = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || at_ms < 0 ? 0 : at_ms * 1000,
		.key = message->key, .key_len = message->key_len, .value = message->payload, .value_len = message->len,
		.nheaders = (int)n, .headers = headers,
	};
}

// --- offsets

void pl_consumer_store(struct pl_consumer *consumer, const char *topic, int32_t partition, int64_t next_offset)
{
	rd_kafka_topic_partition_list_t *one = rd_kafka_topic_partition_list_new(1);

	rd_kafka_topic_partition_list_add(one, topic, partition)->offset = next_offset;
	rd_kafka_offsets_store(consumer->rk, one); // fails for a partition that was just taken away: its new owner reads it again
	rd_kafka_topic_partition_list_destroy(one);
}

int pl_consumer_committed(struct pl_consumer *consumer, rd_kafka_topic_partition_list_t *partitions, int timeout_ms, struct pl_error *err)
{
	rd_kafka_resp_err_t code = rd_kafka_committed(consumer->rk, partitions, timeout_ms);

	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		return 0;
	return pl_error_set(err, PL_EUNAVAIL, "kafka: committed offsets: %s", rd_kafka_err2str(code));
}

int pl_consumer_ask_range(struct pl_consumer *consumer, const char *topic, int32_t partition, int timeout_ms, int64_t *first_r, int64_t *end_r,
                          struct pl_error *err)
{
	rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(consumer->rk, topic, partition, first_r, end_r, timeout_ms);

	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		return 0;
	return pl_error_set(err, PL_EUNAVAIL, "kafka: what %s %d has: %s", topic, partition, rd_kafka_err2str(code));
}

int pl_consumer_since(struct pl_consumer *consumer, rd_kafka_topic_partition_list_t *partitions, int timeout_ms, struct pl_error *err)
{
	rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(consumer->rk, partitions, timeout_ms);

	for (int i = 0; i < partitions->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
		code = partitions->elems[i].err;
	return code == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : pl_error_set(err, PL_EUNAVAIL, "kafka: offsets by time: %s", rd_kafka_err2str(code));
}

static void group_of(const struct pl_consumer *consumer, char *name_r, size_t size)
{
	rd_kafka_conf_get(rd_kafka_conf(consumer->rk), "group.id", name_r, &size);
}

int pl_consumer_shares(struct pl_consumer *consumer, const char *topic, int timeout_ms, int *partitions_r, int *members_r, struct pl_error *err)
{
	const struct rd_kafka_group_list *list;
	rd_kafka_resp_err_t code;
	char group[512];
	int failed = count_partitions(consumer, topic, timeout_ms, partitions_r, err);

	*members_r = 0;
	if (failed < 0)
		return failed;
	group_of(consumer, group, sizeof group);
	code = rd_kafka_list_groups(consumer->rk, group, &list, timeout_ms);
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR && code != RD_KAFKA_RESP_ERR__PARTIAL) // without a broker that does not answer
		return pl_error_set(err, PL_EUNAVAIL, "kafka: the members of %s: %s", group, rd_kafka_err2str(code));
	for (int i = 0; i < list->group_cnt; i++)
		if (list->groups[i].err == RD_KAFKA_RESP_ERR_NO_ERROR && strcmp(list->groups[i].state, "Stable") == 0)
			*members_r = list->groups[i].member_cnt;
	rd_kafka_group_list_destroy(list);
	return 0;
}

int pl_consumer_place(struct pl_consumer *consumer, rd_kafka_topic_partition_list_t *partitions, int timeout_ms, struct pl_error *err)
{
	rd_kafka_error_t *error = rd_kafka_seek_partitions(consumer->rk, partitions, timeout_ms);
	rd_kafka_resp_err_t code = error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;

	if (error)
		rd_kafka_error_destroy(error);
	for (int i = 0; i < partitions->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
		code = partitions->elems[i].err;
	return code == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : pl_error_set(err, PL_EUNAVAIL, "kafka: going back: %s", rd_kafka_err2str(code));
}

void pl_consumer_hold(struct pl_consumer *consumer, bool hold)
{
	rd_kafka_topic_partition_list_t *all;

	if (consumer->held == hold)
		return;
	consumer->held = hold;
	if (!hold) {
		resume_all(consumer);
		return;
	}
	if (rd_kafka_assignment(consumer->rk, &all) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	pause_all(consumer, all);
	rd_kafka_topic_partition_list_destroy(all);
}

int64_t pl_consumer_end(struct pl_consumer *consumer, const char *topic, int32_t partition)
{
	int64_t low, high;

	if (rd_kafka_get_watermark_offsets(consumer->rk, topic, partition, &low, &high) != RD_KAFKA_RESP_ERR_NO_ERROR || high < 0)
		return -1;
	return high;
}

int64_t pl_consumer_contact(const struct pl_consumer *consumer, bool *up_r)
{
	*up_r = consumer->up;
	return consumer->contact_us;
}
