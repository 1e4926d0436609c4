// The development broker.
//
// The mock cluster chooses its own port, and librdkafka offers no way to set it. But
// clients are configured with an address before the broker starts, and tests restart it
// at the same one. So a proxy listens there: a client's first connection goes through it,
// and the metadata then names the mock's own port.
// Threads: librdkafka's and the proxy's; these functions belong to one.
#include "kafka/dev_broker.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kafka/tcp_proxy.h"
#include "kafka/tsan_threads.h"

struct pl_dev_broker {
	rd_kafka_t *rk;
	rd_kafka_mock_cluster_t *cluster;
	struct pl_tcp_proxy *proxy;
	char *address;
};

static void no_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	(void)rk; // the handle under the cluster has no broker and would log that
	(void)level;
	(void)facility;
	(void)text;
}

struct pl_dev_broker *pl_dev_broker_start(const struct pl_dev_broker_options *options, struct pl_error *err)
{
	struct pl_dev_broker *broker = pl_calloc(1, sizeof(*broker));
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[256];

	pl_tsan_threads_link();
	rd_kafka_conf_set_log_cb(conf, no_log);
	broker->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	if (!broker->rk) {
		rd_kafka_conf_destroy(conf);
		pl_error_set(err, PL_EINTERNAL, "%s", why);
		pl_dev_broker_stop(&broker);
		return NULL;
	}
	broker->cluster = rd_kafka_mock_cluster_new(broker->rk, 1);
	if (!broker->cluster) {
		pl_error_set(err, PL_EINTERNAL, "librdkafka cannot create a mock cluster");
		pl_dev_broker_stop(&broker);
		return NULL;
	}
	for (int i = 0; options->topics && options->topics[i]; i++)
		rd_kafka_mock_topic_create(broker->cluster, options->topics[i],
		                           options->partitions > 0 ? options->partitions : 4, 1);
	broker->address = pl_strdup(options->listen ? options->listen
	                                            : rd_kafka_mock_cluster_bootstraps(broker->cluster));
	if (options->listen)
		broker->proxy = pl_tcp_proxy_start(options->listen,
		                                   rd_kafka_mock_cluster_bootstraps(broker->cluster), err);
	if (options->listen && !broker->proxy)
		pl_dev_broker_stop(&broker);
	return broker;
}

void pl_dev_broker_stop(struct pl_dev_broker **broker_p)
{
	struct pl_dev_broker *broker = *broker_p;

	if (!broker)
		return;
	pl_tcp_proxy_stop(&broker->proxy);
	if (broker->cluster)
		rd_kafka_mock_cluster_destroy(broker->cluster);
	if (broker->rk)
		rd_kafka_destroy(broker->rk);
	free(broker->address);
	free(broker);
	*broker_p = NULL;
}

const char *pl_dev_broker_address(const struct pl_dev_broker *broker)
{
	return broker->address;
}

rd_kafka_mock_cluster_t *pl_dev_broker_cluster(struct pl_dev_broker *broker)
{
	return broker->cluster;
}

int pl_dev_broker_run(const struct pl_dev_broker_options *options, int stop_fd, struct pl_error *err)
{
	struct pl_dev_broker *broker = pl_dev_broker_start(options, err);
	struct pollfd p = { .fd = stop_fd, .events = POLLIN };

	if (!broker)
		return err ? err->code : PL_EINTERNAL;
	if (options->ready)
		options->ready(options->arg, broker->address);
	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	pl_dev_broker_stop(&broker);
	return 0;
}
