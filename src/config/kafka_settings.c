// What plist does with each setting of librdkafka.
//
// config/load_check asks. A test compares the table with librdkafka's own list, so a
// setting that a newer librdkafka brings is decided on when it comes. Bounds keep each
// value usable on its own; what does not fit together is found when the daemon makes its
// clients (kafka/client).
// Threads: any.
#include "config/kafka_settings.h"

#include <stddef.h>
#include <string.h>

#define ALLOW(name)                                      \
	{                                                \
		name, PL_KAFKA_ALLOWED, NULL, 0, 0, NULL \
	}
#define REFUSE(name, why)                               \
	{                                               \
		name, PL_KAFKA_REFUSED, why, 0, 0, NULL \
	}
#define NAME(name, unsafe, why)                         \
	{                                               \
		name, PL_KAFKA_NAMED, why, 0, 0, unsafe \
	}
#define BOUND(name, min, max, why)                          \
	{                                                   \
		name, PL_KAFKA_BOUNDED, why, min, max, NULL \
	}
#define BY_PLIST(name)     REFUSE(name, "is set by plist itself")
#define OF_A_PROGRAM(name) REFUSE(name, "is for programs, not for configurations")

// Reasons for bounds.
static const char unused[] = "it has no effect, since the daemons of a region share the partitions through "
			     "their database; remove it";
static const char too_rare[] = "otherwise a changed topic or broker is noticed too late";
static const char too_slow[] = "otherwise each event waits for others";
static const char gives_up[] = "otherwise a connection is given up before a broker can answer, or long after";
static const char too_small[] = "otherwise events that a topic allows do not fit";

static const struct pl_kafka_setting settings[] = {
	// Where, and as whom.
	REFUSE("bootstrap.servers", "is set by plist itself, from kafka.brokers"),
	REFUSE("metadata.broker.list", "is set by plist itself, from kafka.brokers"),
	ALLOW("client.id"),
	ALLOW("client.rack"),
	ALLOW("broker.address.family"),
	ALLOW("broker.address.ttl"),
	REFUSE("group.id", "is set by plist itself, from kafka.group and the region"),
	REFUSE("group.instance.id",
	       "is not supported: a second member with the same id, from another daemon or another applier "
	       "of this one, would fence the first off for good; remove it"),
	BY_PLIST("group.protocol.type"),
	BY_PLIST("partition.assignment.strategy"),
	REFUSE("topic.blacklist", "would hide topics that plist reads or writes; remove it"),

	// What is delivered, and in which order.
	BY_PLIST("acks"),
	BY_PLIST("request.required.acks"),
	BY_PLIST("retries"),
	BY_PLIST("message.send.max.retries"),
	BY_PLIST("message.timeout.ms"),
	BY_PLIST("delivery.timeout.ms"),
	BY_PLIST("enable.idempotence"),
	BY_PLIST("enable.gapless.guarantee"),
	REFUSE("transactional.id", "is not supported: the outbox replaces transactions; remove it"),
	BY_PLIST("transaction.timeout.ms"),
	BY_PLIST("partitioner"),
	BY_PLIST("queuing.strategy"),
	BY_PLIST("delivery.report.only.error"),
	BY_PLIST("produce.offset.report"),
	BY_PLIST("queue.buffering.max.messages"),
	BY_PLIST("allow.auto.create.topics"),
	BOUND("max.in.flight.requests.per.connection", 1, 100, "more are of no use"),
	BOUND("max.in.flight", 1, 100, "more are of no use"),

	// What is read, and where reading goes on.
	BY_PLIST("enable.auto.commit"),
	BY_PLIST("auto.commit.enable"),
	BOUND("auto.commit.interval.ms", 10, 60000,
	      "0 would commit nothing, and with a long one, much is read again after a crash"),
	BY_PLIST("enable.auto.offset.store"),
	BY_PLIST("auto.offset.reset"),
	BY_PLIST("offset.store.method"),
	BY_PLIST("offset.store.path"),
	BY_PLIST("offset.store.sync.interval.ms"),
	BY_PLIST("enable.partition.eof"),
	BY_PLIST("isolation.level"),
	BY_PLIST("check.crcs"),
	BY_PLIST("consume.callback.max.messages"),

	// The group.
	BOUND("session.timeout.ms", 6000, 300000, unused),
	BOUND("heartbeat.interval.ms", 100, 60000, unused),
	BOUND("max.poll.interval.ms", 300000, 86400000, unused),
	BOUND("coordinator.query.interval.ms", 1000, 3600000, too_rare),

	// Connections.
	BOUND("socket.timeout.ms", 1000, 300000, gives_up),
	BOUND("request.timeout.ms", 1000, 300000, gives_up),
	BOUND("socket.connection.setup.timeout.ms", 1000, 120000, gives_up),
	ALLOW("socket.send.buffer.bytes"),
	ALLOW("socket.receive.buffer.bytes"),
	ALLOW("socket.keepalive.enable"),
	ALLOW("socket.nagle.disable"),
	ALLOW("socket.max.fails"),
	ALLOW("socket.blocking.max.ms"),
	BOUND("connections.max.idle.ms", 0, 86400000, gives_up),
	BOUND("reconnect.backoff.ms", 0, 10000, too_rare),
	BOUND("reconnect.backoff.max.ms", 0, 60000, too_rare),
	BOUND("reconnect.backoff.jitter.ms", 0, 60000, too_rare),
	BOUND("retry.backoff.ms", 1, 10000, too_rare),
	BOUND("topic.metadata.refresh.interval.ms", 100, 300000, too_rare),
	BOUND("topic.metadata.refresh.fast.interval.ms", 10, 10000, too_rare),
	ALLOW("topic.metadata.refresh.fast.cnt"),
	ALLOW("topic.metadata.refresh.sparse"),
	BOUND("topic.metadata.propagation.max.ms", 0, 300000, too_rare),
	BOUND("metadata.max.age.ms", 1000, 3600000, too_rare),
	// Without it, librdkafka assumes an old broker, whose messages have no headers.
	BY_PLIST("api.version.request"),
	BOUND("api.version.request.timeout.ms", 1000, 300000, gives_up),
	BY_PLIST("api.version.fallback.ms"),
	BY_PLIST("broker.version.fallback"),

	// Sizes and waiting.
	BOUND("message.max.bytes", 1000000, 1000000000, too_small),
	BOUND("receive.message.max.bytes", 53000000, 2147483647, too_small),
	BOUND("fetch.max.bytes", 1000000, 2147483135, too_small),
	BOUND("fetch.message.max.bytes", 1000000, 1000000000, too_small),
	BOUND("max.partition.fetch.bytes", 1000000, 1000000000, too_small),
	ALLOW("message.copy.max.bytes"),
	BOUND("fetch.min.bytes", 1, 1000000, too_slow),
	BOUND("fetch.wait.max.ms", 0, 5000, too_slow),
	BOUND("fetch.error.backoff.ms", 0, 5000, too_slow),
	BOUND("queued.min.messages", 1, 10000000, too_slow),
	BOUND("queued.max.messages.kbytes", 1024, 2097151, too_slow),
	BOUND("queue.buffering.max.kbytes", 32768, 2147483647, too_small),
	BOUND("queue.buffering.max.ms", 0, 5000, too_slow),
	BOUND("linger.ms", 0, 5000, too_slow),
	ALLOW("queue.buffering.backpressure.threshold"),
	BOUND("sticky.partitioning.linger.ms", 0, 5000, too_slow),
	ALLOW("batch.num.messages"),
	BOUND("batch.size", 1000, 2147483647, too_slow),
	ALLOW("compression.codec"),
	ALLOW("compression.type"),
	ALLOW("compression.level"),

	// Security.
	ALLOW("security.protocol"),
	ALLOW("ssl.cipher.suites"),
	ALLOW("ssl.curves.list"),
	ALLOW("ssl.sigalgs.list"),
	ALLOW("ssl.key.location"),
	ALLOW("ssl.key.password"),
	ALLOW("ssl.key.pem"),
	ALLOW("ssl.certificate.location"),
	ALLOW("ssl.certificate.pem"),
	ALLOW("ssl.ca.location"),
	ALLOW("ssl.ca.pem"),
	ALLOW("ssl.ca.certificate.stores"),
	ALLOW("ssl.crl.location"),
	ALLOW("ssl.keystore.location"),
	ALLOW("ssl.keystore.password"),
	ALLOW("ssl.providers"),
	ALLOW("ssl.engine.location"),
	ALLOW("ssl.engine.id"),
	NAME("enable.ssl.certificate.verification", "false", "any broker's certificate is accepted"),
	NAME("ssl.endpoint.identification.algorithm", "none",
	     "a certificate that was issued to another host is accepted"),
	ALLOW("sasl.mechanisms"),
	ALLOW("sasl.mechanism"),
	ALLOW("sasl.kerberos.service.name"),
	ALLOW("sasl.kerberos.principal"),
	ALLOW("sasl.kerberos.kinit.cmd"),
	ALLOW("sasl.kerberos.keytab"),
	ALLOW("sasl.kerberos.min.time.before.relogin"),
	ALLOW("sasl.username"),
	ALLOW("sasl.password"),
	ALLOW("sasl.oauthbearer.config"),
	NAME("enable.sasl.oauthbearer.unsecure.jwt", "true", "tokens are sent that nobody has signed"),
	ALLOW("sasl.oauthbearer.method"),
	ALLOW("sasl.oauthbearer.client.id"),
	ALLOW("sasl.oauthbearer.client.secret"),
	ALLOW("sasl.oauthbearer.scope"),
	ALLOW("sasl.oauthbearer.extensions"),
	ALLOW("sasl.oauthbearer.token.endpoint.url"),

	// The library itself.
	ALLOW("debug"),
	ALLOW("log_level"),
	ALLOW("log.thread.name"),
	ALLOW("log.connection.close"),
	BY_PLIST("log.queue"),
	BY_PLIST("statistics.interval.ms"),
	BY_PLIST("enabled_events"),
	BY_PLIST("enable.random.seed"),
	BY_PLIST("internal.termination.signal"),
	BY_PLIST("client.software.name"),
	BY_PLIST("client.software.version"),
	BY_PLIST("enable.sparse.connections"),
	BY_PLIST("enable_sasl_queue"),
	BY_PLIST("metadata.request.timeout.ms"),
	REFUSE("test.mock.num.brokers", "would replace the brokers by simulated ones; remove it"),
	REFUSE("test.mock.broker.rtt", "concerns simulated brokers; remove it"),
	REFUSE("builtin.features", "is what librdkafka was built with"),
	REFUSE("plugin.library.paths", "would run other code within plistd; remove it"),
	OF_A_PROGRAM("error_cb"),
	OF_A_PROGRAM("throttle_cb"),
	OF_A_PROGRAM("stats_cb"),
	OF_A_PROGRAM("log_cb"),
	OF_A_PROGRAM("background_event_cb"),
	OF_A_PROGRAM("socket_cb"),
	OF_A_PROGRAM("connect_cb"),
	OF_A_PROGRAM("closesocket_cb"),
	OF_A_PROGRAM("open_cb"),
	OF_A_PROGRAM("resolve_cb"),
	OF_A_PROGRAM("opaque"),
	OF_A_PROGRAM("default_topic_conf"),
	OF_A_PROGRAM("ssl_key"),
	OF_A_PROGRAM("ssl_certificate"),
	OF_A_PROGRAM("ssl_ca"),
	OF_A_PROGRAM("ssl_engine_callback_data"),
	OF_A_PROGRAM("ssl.certificate.verify_cb"),
	OF_A_PROGRAM("oauthbearer_token_refresh_cb"),
	OF_A_PROGRAM("interceptors"),
	OF_A_PROGRAM("consume_cb"),
	OF_A_PROGRAM("rebalance_cb"),
	OF_A_PROGRAM("offset_commit_cb"),
	OF_A_PROGRAM("dr_cb"),
	OF_A_PROGRAM("dr_msg_cb"),
	OF_A_PROGRAM("partitioner_cb"),
	OF_A_PROGRAM("msg_order_cmp"),
};

const struct pl_kafka_setting *pl_kafka_settings_find(const char *name)
{
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		if (strcmp(settings[i].name, name) == 0)
			return &settings[i];
	return NULL;
}
