// The embedded broker.
//
// Where Kafka cannot be had, and in tests. The mock cluster chooses its port itself; clients are told it when they first ask for
// metadata, so only that first connection goes through the forwarder that listens where they were told to look.
// Threads: librdkafka's and the forwarder's; these functions belong to one.
#include "replicate/embedded.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "replicate/forward.h"
#include "replicate/tsan.h"

struct pl_embedded {
	rd_kafka_t *rk;
	rd_kafka_mock_cluster_t *cluster;
	struct pl_forward *forward;
	char *address;
};

static void no_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	(void)rk; // the handle that the cluster hangs on has no broker of its own and says so
	(void)level;
	(void)facility;
	(void)text;
}

struct pl_embedded *pl_embedded_start(const struct pl_embedded_options *options, struct pl_error *err)
{
	struct pl_embedded *embedded = pl_calloc(1, sizeof *embedded);
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[256];

	pl_tsan_sees_threads();
	rd_kafka_conf_set_log_cb(conf, no_log);
	embedded->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
	if (!embedded->rk) {
		rd_kafka_conf_destroy(conf);
		pl_error_set(err, PL_EINTERNAL, "%s", why);
		pl_embedded_stop(&embedded);
		return NULL;
	}
	embedded->cluster = rd_kafka_mock_cluster_new(embedded->rk, 1);
	if (!embedded->cluster) {
		pl_error_set(err, PL_EINTERNAL, "librdkafka makes no mock cluster");
		pl_embedded_stop(&embedded);
		return NULL;
	}
	for (int i = 0; options->topics && options->topics[i]; i++)
		rd_kafka_mock_topic_create(embedded->cluster, options->topics[i], options->partitions > 0 ? options->partitions : 4, 1);
	embedded->address = pl_strdup(options->listen ? options->listen : rd_kafka_mock_cluster_bootstraps(embedded->cluster));
	if (options->listen)
		embedded->forward = pl_forward_start(options->listen, rd_kafka_mock_cluster_bootstraps(embedded->cluster), err);
	if (options->listen && !embedded->forward)
		pl_embedded_stop(&embedded);
	return embedded;
}

void pl_embedded_stop(struct pl_embedded **at)
{
	struct pl_embedded *embedded = *at;

	if (!embedded)
		return;
	pl_forward_stop(&embedded->forward);
	if (embedded->cluster)
		rd_kafka_mock_cluster_destroy(embedded->cluster);
	if (embedded->rk)
		rd_kafka_destroy(embedded->rk);
	free(embedded->address);
	free(embedded);
	*at = NULL;
}

const char *pl_embedded_address(const struct pl_embedded *embedded)
{
	return embedded->address;
}

rd_kafka_mock_cluster_t *pl_embedded_cluster(struct pl_embedded *embedded)
{
	return embedded->cluster;
}

int pl_embedded_broker_run(const struct pl_embedded_options *options, int stop_fd, struct pl_error *err)
{
	struct pl_embedded *embedded = pl_embedded_start(options, err);
	struct pollfd p = { .fd = stop_fd, .events = POLLIN };

	if (!embedded)
		return err ? err->code : PL_EINTERNAL;
	if (options->ready)
		options->ready(options->arg, embedded->address);
	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	pl_embedded_stop(&embedded);
	return 0;
}
