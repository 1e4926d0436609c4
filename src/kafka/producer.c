// The relay's producer: a librdkafka producer that keeps order and never gives up.
//
// Between relay/relay and Kafka. Messages never time out here: while the broker is
// unavailable they wait in the queue, bounded by the relay's window, and are sent in
// order when it is back.
//
// The producer is not idempotent. An idempotent producer gets an id from the broker and
// numbers its batches, so that the broker can recognize duplicates. But a broker that has
// lost its disk assigns the same ids again, while older producers keep theirs. When two
// such producers send to one partition, the broker acknowledges as a duplicate what it
// never had: an event is lost, and nobody notices. Duplicates, on the other hand, are
// harmless to us. Nor does librdkafka retry by itself, since a request that it has built
// meanwhile would overtake: a failed delivery is reported, and the relay sends again from
// there.
// Threads: belongs to the relay's; librdkafka's own threads only ring the wake-up.
#include "kafka/producer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "kafka/client.h"

#define PARTITIONS_MS 3000

struct pl_producer {
	struct pl_producer_options options;
	rd_kafka_t *rk;
	bool up;
};

static const char *const defaults[] = {
	"linger.ms",
	"0", // the relay passes whole batches, so waiting for more only costs time
	"message.max.bytes",
	"33554432", // the topic's limit decides; batches are bounded by batch.size
	"batch.num.messages",
	"10000",
	"queue.buffering.max.kbytes",
	"1048576",
	"max.in.flight.requests.per.connection",
	"5",
	NULL,
};

static const char *const fixed[] = {
	"enable.idempotence",
	"false",
	"acks",
	"all",
	"message.send.max.retries",
	"0",
	"message.timeout.ms",
	"0", // the outbox keeps every event, so none may time out here
	"partitioner",
	// as Java clients do, so a key has one partition and its order holds
	"murmur2_random",
	"queue.buffering.max.messages",
	"1000000",
	NULL,
};

// Why it was not delivered; a right that is missing is named with its topic.
static const char *reason_of(const rd_kafka_message_t *message, char text[512])
{
	if (!message->err)
		return NULL;
	if (message->err != RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
		return rd_kafka_err2str(message->err);
	snprintf(text, 512,
	         "%s: the principal of this daemon needs the right Write on topic %s; plist-admin kafka acls "
	         "prints what it needs",
	         rd_kafka_err2str(message->err), rd_kafka_topic_name(message->rkt));
	return text;
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	struct pl_producer *producer = opaque;
	int64_t tag = (int64_t)(intptr_t)message->_private;
	enum pl_delivery what = PL_UNDELIVERED;
	char text[512];

	switch (message->err) {
	case RD_KAFKA_RESP_ERR_NO_ERROR:
		producer->up = true;
		what = PL_DELIVERED;
		break;
	case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE: what = PL_TOO_LARGE; break;
	case RD_KAFKA_RESP_ERR_INVALID_MSG:
	case RD_KAFKA_RESP_ERR_INVALID_RECORD:
	case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
	case RD_KAFKA_RESP_ERR_POLICY_VIOLATION: what = PL_REFUSED; break;
	default: break;
	}
	producer->options.delivered(producer->options.arg, tag, what, reason_of(message, text));
}

static void on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
	struct pl_producer *producer = opaque;

	if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
		producer->up = false;
	else
		pl_debug("kafka: producer: %s: %s", rd_kafka_err2name(code), reason);
}

struct pl_producer *pl_producer_new(const struct pl_producer_options *options, struct pl_error *err)
{
	struct pl_producer *producer = pl_calloc(1, sizeof(*producer));
	rd_kafka_conf_t *conf = pl_kafka_client_conf(options->config, options->region, defaults, fixed, err);
	rd_kafka_queue_t *queue;
	char why[256];
	uint64_t one = 1;

	producer->options = *options;
	if (conf) {
		rd_kafka_conf_set_opaque(conf, producer);
		rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
		rd_kafka_conf_set_error_cb(conf, on_error);
		producer->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
		if (!producer->rk) {
			rd_kafka_conf_destroy(conf);
			pl_error_set(err, PL_EINVAL, "kafka: %s", why);
		}
	}
	if (!producer->rk) {
		free(producer);
		return NULL;
	}
	queue = rd_kafka_queue_get_main(producer->rk);
	rd_kafka_queue_io_event_enable(queue, pl_wake_fd(options->wake), &one, sizeof(one));
	rd_kafka_queue_destroy(queue);
	return producer;
}

void pl_producer_free(struct pl_producer **producer_p)
{
	struct pl_producer *producer = *producer_p;

	if (!producer)
		return;
	// Unacknowledged events are still in the outbox. Their results are no longer
	// reported.
	rd_kafka_purge(producer->rk,
	               RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
	rd_kafka_destroy_flags(producer->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	free(producer);
	*producer_p = NULL;
}

int pl_producer_check(const struct pl_config *config, const struct pl_region *region, struct pl_error *err)
{
	if (pl_kafka_client_keys(config, err) < 0)
		return err->code;
	return pl_kafka_client_try(RD_KAFKA_PRODUCER,
	                           pl_kafka_client_conf(config, region, defaults, fixed, err), err);
}

int pl_producer_topics(struct pl_producer *producer, const struct pl_config *config, int64_t timeout_us,
                       int stop_fd, struct pl_error *err)
{
	int code = pl_kafka_client_topics(producer->rk, config, timeout_us, stop_fd, err);

	if (code == 0)
		producer->up = true;
	return code;
}

int pl_producer_partitions(struct pl_producer *producer, const char *topic, struct pl_error *err)
{
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(producer->rk, topic, NULL);
	const struct rd_kafka_metadata *metadata = NULL;
	rd_kafka_resp_err_t code = rkt ? rd_kafka_metadata(producer->rk, 0, rkt, &metadata, PARTITIONS_MS)
	                               : rd_kafka_last_error();
	int n = 0;

	if (metadata) {
		n = metadata->topic_cnt == 1 ? metadata->topics[0].partition_cnt : 0;
		if (metadata->topic_cnt == 1 && code == RD_KAFKA_RESP_ERR_NO_ERROR)
			code = metadata->topics[0].err;
		rd_kafka_metadata_destroy(metadata);
	}
	if (rkt)
		rd_kafka_topic_destroy(rkt);
	if (n > 0)
		return n;
	return pl_error_set(err, PL_EUNAVAIL, "kafka: the partitions of topic %s are not known: %s", topic,
	                    rd_kafka_err2str(code));
}

int32_t pl_producer_partition(const struct pl_outgoing_message *message, int partitions)
{
	return rd_kafka_msg_partitioner_murmur2(NULL, message->key, message->key_len, partitions, NULL, NULL);
}

static rd_kafka_headers_t *make_headers(const struct pl_outgoing_message *message)
{
	int n = message->nheaders + message->nmore;
	rd_kafka_headers_t *headers = n > 0 ? rd_kafka_headers_new((size_t)n) : NULL;

	for (int i = 0; i < n; i++) {
		const struct pl_message_header *h =
			i < message->nheaders ? &message->headers[i] : &message->more[i - message->nheaders];

		rd_kafka_header_add(headers, h->name, -1, h->value, (ssize_t)h->len);
	}
	return headers;
}

int pl_producer_send(struct pl_producer *producer, const char *topic,
                     const struct pl_outgoing_message *message, int64_t tag, struct pl_error *err)
{
	rd_kafka_headers_t *headers = make_headers(message);
	rd_kafka_vu_t vus[7] = {
		{ .vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic },
		{ .vtype = RD_KAFKA_VTYPE_KEY,
		  .u.mem = { (void *)(uintptr_t)message->key, message->key_len } },
		{ .vtype = RD_KAFKA_VTYPE_VALUE,
		  .u.mem = { (void *)(uintptr_t)message->value, message->value_len } },
		{ .vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY },
		{ .vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = (void *)(intptr_t)tag },
		{ .vtype = RD_KAFKA_VTYPE_PARTITION,
		  .u.i32 = message->partition < 0 ? RD_KAFKA_PARTITION_UA : message->partition },
		{ .vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers },
	};
	rd_kafka_error_t *error = rd_kafka_produceva(producer->rk, vus, headers ? 7 : 6);
	rd_kafka_resp_err_t code;

	if (!error)
		return 0;
	if (headers)
		rd_kafka_headers_destroy(headers);
	code = rd_kafka_error_code(error);
	pl_error_set(err,
	             code == RD_KAFKA_RESP_ERR__QUEUE_FULL          ? PL_EBUSY
	             : code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ? PL_EINVAL
	                                                            : PL_EUNAVAIL,
	             "kafka: %s", rd_kafka_error_string(error));
	rd_kafka_error_destroy(error);
	return code == RD_KAFKA_RESP_ERR__QUEUE_FULL          ? PL_EBUSY
	       : code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ? PL_EINVAL
	                                                      : PL_EUNAVAIL;
}

void pl_producer_serve(struct pl_producer *producer)
{
	while (rd_kafka_poll(producer->rk, 0) > 0)
		;
}

bool pl_producer_up(const struct pl_producer *producer)
{
	return producer->up;
}

rd_kafka_t *pl_producer_kafka(struct pl_producer *producer)
{
	return producer->rk;
}
