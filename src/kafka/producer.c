// The producer under the relay: librdkafka's, made orderly and quick.
//
// Stands between replicate/relay and Kafka. Messages never time out here: while the broker is away they wait in the queue, bounded by
// the relay's window, and go out in order when it is back.
//
// It is not an idempotent one. That kind has a number of the broker's and counts its batches, so that the broker can tell a repetition; but a broker
// that has lost its disk gives the same numbers away again, a producer of the time before keeps its own, and when both send to one partition, the broker
// acknowledges as a repetition what it never had. That is an event lost for good, and nobody sees it. Sent twice, on the other hand, an event does no
// harm. Nor does librdkafka try again by itself, since a request that it has made meanwhile would overtake: what is not delivered is told, and the relay
// begins anew there.
// Threads: belongs to the relay's; librdkafka's own threads only ring the wake-up.
#include "replicate/producer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "replicate/kafka.h"

struct pl_producer {
	struct pl_producer_options options;
	rd_kafka_t *rk;
	bool up;
};

static const char *const defaults[] = {
	"linger.ms", "0", // the relay hands over whole batches; waiting for more would only cost time
	"batch.num.messages", "10000", "queue.buffering.max.kbytes", "1048576",
	"max.in.flight.requests.per.connection", "5", NULL,
};

static const char *const fixed[] = {
	"enable.idempotence", "false", "acks", "all", "message.send.max.retries", "0",
	"message.timeout.ms", "0",        // the outbox does not forget, so neither do we
	"partitioner", "murmur2_random",  // a key's partition is that of every other client's, so orders of one key hold
	"queue.buffering.max.messages", "1000000", NULL,
};

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	struct pl_producer *producer = opaque;
	int64_t tag = (int64_t)(intptr_t)message->_private;
	enum pl_delivery what = PL_UNDELIVERED;

	switch (message->err) {
	case RD_KAFKA_RESP_ERR_NO_ERROR:
		producer->up = true;
		what = PL_DELIVERED;
		break;
	case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
	case RD_KAFKA_RESP_ERR_INVALID_MSG:
	case RD_KAFKA_RESP_ERR_INVALID_RECORD:
	case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
	case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
		what = PL_REFUSED;
		break;
	default:
		break;
	}
	producer->options.delivered(producer->options.arg, tag, what, message->err ? rd_kafka_err2str(message->err) : NULL);
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
	struct pl_producer *producer = pl_calloc(1, sizeof *producer);
	rd_kafka_conf_t *conf = pl_kafka_conf(options->config, options->region, defaults, fixed, err);
	rd_kafka_queue_t *queue;
	char why[256];
	uint64_t one = 1;

	producer->options = *options;
	if (conf) {
		rd_kafka_conf_set_opaque(conf, producer);
		rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
		rd_kafka_conf_set_error_cb(conf, on_error);
		producer->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
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
	rd_kafka_queue_io_event_enable(queue, pl_wake_fd(options->wake), &one, sizeof one);
	rd_kafka_queue_destroy(queue);
	return producer;
}

void pl_producer_free(struct pl_producer **at)
{
	struct pl_producer *producer = *at;

	if (!producer)
		return;
	// What is not acknowledged stands in the outbox. Nobody is told about these any more.
	rd_kafka_purge(producer->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
	rd_kafka_destroy_flags(producer->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	free(producer);
	*at = NULL;
}

int pl_producer_check(const struct pl_config *config, const struct pl_region *region, struct pl_error *err)
{
	rd_kafka_conf_t *conf = pl_kafka_conf(config, region, defaults, fixed, err);

	if (!conf)
		return PL_EINVAL;
	rd_kafka_conf_destroy(conf);
	return 0;
}

int pl_producer_topics(struct pl_producer *producer, const struct pl_config *config, int64_t timeout_us, int stop_fd, struct pl_error *err)
{
	int code = pl_kafka_topics(producer->rk, config, timeout_us, stop_fd, err);

	if (code == 0)
		producer->up = true;
	return code;
}

static rd_kafka_headers_t *make_headers(const struct pl_event_message *message)
{
	rd_kafka_headers_t *headers = message->nheaders ? rd_kafka_headers_new((size_t)message->nheaders) : NULL;

	for (int i = 0; i < message->nheaders; i++)
		rd_kafka_header_add(headers, message->headers[i].name, -1, message->headers[i].value, (ssize_t)message->headers[i].len);
	return headers;
}

int pl_producer_send(struct pl_producer *producer, const char *topic, const struct pl_event_message *message, int64_t tag, struct pl_error *err)
{
	rd_kafka_headers_t *headers = make_headers(message);
	rd_kafka_vu_t vus[6] = {
		{ .vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic },
		{ .vtype = RD_KAFKA_VTYPE_KEY, .u.mem = { (void *)(uintptr_t)message->key, message->key_len } },
		{ .vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = { (void *)(uintptr_t)message->value, message->value_len } },
		{ .vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY },
		{ .vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = (void *)(intptr_t)tag },
		{ .vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers },
	};
	rd_kafka_error_t *error = rd_kafka_produceva(producer->rk, vus, headers ? 6 : 5);
	rd_kafka_resp_err_t code;

	if (!error)
		return 0;
	if (headers)
		rd_kafka_headers_destroy(headers);
	code = rd_kafka_error_code(error);
	pl_error_set(err, code == RD_KAFKA_RESP_ERR__QUEUE_FULL ? PL_EBUSY
	                : code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ? PL_EINVAL : PL_EUNAVAIL, "kafka: %s", rd_kafka_error_string(error));
	rd_kafka_error_destroy(error);
	return code == RD_KAFKA_RESP_ERR__QUEUE_FULL ? PL_EBUSY : code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ? PL_EINVAL : PL_EUNAVAIL;
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
