// Offsets, asked of Kafka: a consumer handle per group that never joins it.
//
// Threads: one at a time; librdkafka has its own.
#include "admin/offsets.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "replicate/kafka.h"

struct pl_offsets {
	struct pl_config *config;
	int timeout_ms;
	rd_kafka_t *handles[PL_REGIONS_MAX]; // of the regions' groups, made when first needed
};

struct pl_offsets *pl_offsets_new(const struct pl_config *config, int64_t timeout_us)
{
	struct pl_offsets *offsets = pl_calloc(1, sizeof *offsets);
	offsets->config = pl_config_ref(config);
	offsets->timeout_ms = timeout_us < 1000 ? 1 : (int)(timeout_us / 1000);
	return offsets;
}

void pl_offsets_free(struct pl_offsets **offsets)
{
	if (!*offsets)
		return;
	for (int i = 0; i < PL_REGIONS_MAX; i++)
		if ((*offsets)->handles[i])
			rd_kafka_destroy_flags((*offsets)->handles[i], RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	pl_config_unref(&(*offsets)->config);
	free(*offsets);
	*offsets = NULL;
}

static rd_kafka_t *handle_of(struct pl_offsets *offsets, const struct pl_region *region, struct pl_error *err)
{
	const struct pl_config *config = offsets->config;
	char group[256], why[256];
	if (offsets->handles[region->index])
		return offsets->handles[region->index];
	snprintf(group, sizeof group, "%s-%s", config->kafka.group, region->name);
	const char *const fixed[] = { "group.id", group, "enable.auto.commit", "false", "enable.auto.offset.store", "false",
	                              "allow.auto.create.topics", "false", "fetch.wait.max.ms", "20", "queued.min.messages", "1", NULL };
	rd_kafka_conf_t *conf = pl_kafka_conf(config, region, NULL, fixed, err);
	if (!conf)
		return NULL;
	rd_kafka_t *handle = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
	if (!handle) {
		rd_kafka_conf_destroy(conf);
		pl_error_set(err, PL_EINVAL, "kafka: %s", why);
		return NULL;
	}
	return offsets->handles[region->index] = handle;
}

static int unavailable(const struct pl_offsets *offsets, rd_kafka_resp_err_t code, struct pl_error *err)
{
	return pl_error_set(err, PL_EUNAVAIL, "%s: %s", offsets->config->kafka.brokers, rd_kafka_err2str(code));
}

// ---- ends

static int add_topic(struct pl_offsets *offsets, rd_kafka_t *handle, const char *topic, struct pl_offset **list, int n, struct pl_error *err)
{
	const struct rd_kafka_metadata *metadata = NULL;
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(handle, topic, NULL);
	rd_kafka_resp_err_t code = rd_kafka_metadata(handle, 0, rkt, &metadata, offsets->timeout_ms);
	int partitions = 0, rc = 0;
	if (code)
		rc = unavailable(offsets, code, err);
	else if (metadata->topic_cnt == 1 && !metadata->topics[0].err)
		partitions = metadata->topics[0].partition_cnt;
	*list = pl_realloc(*list, (size_t)(n + partitions + 1) * sizeof **list);
	for (int i = 0; i < partitions; i++)
		(*list)[n++] = (struct pl_offset){ .topic = topic, .partition = metadata->topics[0].partitions[i].id, .committed = -1 };
	if (metadata)
		rd_kafka_metadata_destroy(metadata);
	rd_kafka_topic_destroy(rkt);
	return rc ? rc : n;
}

int pl_offsets_ends(struct pl_offsets *offsets, struct pl_offset **list_r, struct pl_error *err)
{
	const struct pl_config *config = offsets->config;
	rd_kafka_t *handle = handle_of(offsets, &config->regions[0], err);
	int n = 0;
	*list_r = NULL;
	if (!handle)
		return err->code;
	for (int i = 0; i < config->nresources && n >= 0; i++) {
		bool seen = false; // two resources may share a topic
		for (int j = 0; j < i; j++)
			seen |= strcmp(config->resources[j].topic, config->resources[i].topic) == 0;
		if (!seen)
			n = add_topic(offsets, handle, config->resources[i].topic, list_r, n, err);
	}
	for (int i = 0; i < n; i++) {
		struct pl_offset *o = &(*list_r)[i];
		rd_kafka_resp_err_t code =
			rd_kafka_query_watermark_offsets(handle, o->topic, o->partition, &o->low, &o->end, offsets->timeout_ms);
		if (code)
			n = unavailable(offsets, code, err);
	}
	if (n < 0) {
		free(*list_r);
		*list_r = NULL;
	}
	return n;
}

// ---- committed

int pl_offsets_committed(struct pl_offsets *offsets, const struct pl_region *region, struct pl_offset *list, int n, struct pl_error *err)
{
	rd_kafka_t *handle = handle_of(offsets, region, err);
	if (!handle)
		return err->code;
	rd_kafka_topic_partition_list_t *parts = rd_kafka_topic_partition_list_new(n);
	for (int i = 0; i < n; i++)
		rd_kafka_topic_partition_list_add(parts, list[i].topic, list[i].partition);
	rd_kafka_resp_err_t code = n ? rd_kafka_committed(handle, parts, offsets->timeout_ms) : 0;
	for (int i = 0; i < n && !code; i++)
		list[i].committed = parts->elems[i].offset >= 0 ? parts->elems[i].offset : -1;
	rd_kafka_topic_partition_list_destroy(parts);
	return code ? unavailable(offsets, code, err) : 0;
}

// ---- times

static void note_time(struct pl_offset *list, int n, const rd_kafka_message_t *message, int *missing)
{
	rd_kafka_timestamp_type_t type;
	int64_t ms = rd_kafka_message_timestamp(message, &type);
	const char *topic = rd_kafka_topic_name(message->rkt);
	for (int i = 0; i < n; i++)
		if (list[i].partition == message->partition && strcmp(list[i].topic, topic) == 0 && list[i].event_at_us == 0 &&
		    list[i].from < list[i].end && message->offset >= list[i].from) {
			list[i].event_at_us = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? -1 : ms * 1000;
			(*missing)--;
		}
}

void pl_offsets_times(struct pl_offsets *offsets, struct pl_offset *list, int n)
{
	struct pl_error err;
	rd_kafka_t *handle = handle_of(offsets, &offsets->config->regions[0], &err);
	rd_kafka_topic_partition_list_t *parts = rd_kafka_topic_partition_list_new(n + 1);
	int64_t deadline_us = pl_mono_us() + (int64_t)offsets->timeout_ms * 1000;
	int missing = 0;
	for (int i = 0; i < n; i++)
		if (list[i].from < list[i].end && !list[i].event_at_us) {
			rd_kafka_topic_partition_list_add(parts, list[i].topic, list[i].partition)->offset =
				list[i].from > list[i].low ? list[i].from : list[i].low;
			missing++;
		}
	if (handle && missing > 0 && rd_kafka_assign(handle, parts) == 0) {
		while (missing > 0 && pl_mono_us() < deadline_us) {
			rd_kafka_message_t *message = rd_kafka_consumer_poll(handle, 50);
			if (message && !message->err)
				note_time(list, n, message, &missing);
			if (message)
				rd_kafka_message_destroy(message);
		}
		rd_kafka_assign(handle, NULL);
	}
	for (int i = 0; i < n; i++)
		if (list[i].event_at_us < 0)
			list[i].event_at_us = 0;
	rd_kafka_topic_partition_list_destroy(parts);
}
