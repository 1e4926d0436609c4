// Kafka's offsets, read with one consumer handle per group that never joins it.
//
// A look begins with pl_offsets_ends, and the calls up to the next one share its time, so
// that a broker that answers slowly does not hold up a command for many timeouts. Where
// the partitions begin and end is asked for all of them at once. librdkafka has a call
// for that only from 2.3 on (rd_kafka_ListOffsets), so rd_kafka_offsets_for_times is
// given the two times that a broker understands as the beginning and the end.
// Threads: one at a time; librdkafka has its own.
#include "admin/offsets.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "kafka/client.h"

// Of the time that is left, for messages that may not arrive: other groups are asked
// after this one.
#define TIMES_PART 2

struct pl_offsets {
	struct pl_config *config;
	int64_t timeout_us, deadline_us;     // of a look
	rd_kafka_t *handles[PL_REGIONS_MAX]; // one per region's group, created on first use
};

struct pl_offsets *pl_offsets_new(const struct pl_config *config, int64_t timeout_us)
{
	struct pl_offsets *offsets = pl_calloc(1, sizeof(*offsets));
	offsets->config = pl_config_ref(config);
	offsets->timeout_us = timeout_us;
	return offsets;
}

void pl_offsets_free(struct pl_offsets **offsets_p)
{
	if (!*offsets_p)
		return;
	for (int i = 0; i < PL_REGIONS_MAX; i++)
		if ((*offsets_p)->handles[i])
			rd_kafka_destroy_flags((*offsets_p)->handles[i],
			                       RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	pl_config_unref(&(*offsets_p)->config);
	free(*offsets_p);
	*offsets_p = NULL;
}

static rd_kafka_t *handle_of(struct pl_offsets *offsets, const struct pl_region *region, struct pl_error *err)
{
	const struct pl_config *config = offsets->config;
	char group[256], why[256];
	if (offsets->handles[region->index])
		return offsets->handles[region->index];
	snprintf(group, sizeof(group), "%s-%s", config->kafka.group, region->name);
	const char *const fixed[] = { "group.id",
		                      group,
		                      "enable.auto.commit",
		                      "false",
		                      "enable.auto.offset.store",
		                      "false",
		                      "allow.auto.create.topics",
		                      "false",
		                      "fetch.wait.max.ms",
		                      "20",
		                      "queued.min.messages",
		                      "1",
		                      NULL };
	rd_kafka_conf_t *conf = pl_kafka_client_conf(config, region, NULL, fixed, err);
	if (!conf)
		return NULL;
	rd_kafka_t *handle = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
	if (!handle) {
		rd_kafka_conf_destroy(conf);
		pl_error_set(err, PL_EINVAL, "kafka: %s", why);
		return NULL;
	}
	return offsets->handles[region->index] = handle;
}

static int unavailable(const struct pl_offsets *offsets, rd_kafka_resp_err_t code, struct pl_error *err)
{
	return pl_error_set(err, PL_EUNAVAIL, "%s: %s", offsets->config->kafka.brokers,
	                    rd_kafka_err2str(code));
}

static int left_ms(const struct pl_offsets *offsets)
{
	int64_t left_us = offsets->deadline_us - pl_mono_us();
	return left_us < 1000 ? 1 : (int)(left_us / 1000);
}

// ---- ends

static int add_topic(struct pl_offsets *offsets, rd_kafka_t *handle, const char *topic,
                     struct pl_offset **list, int n, struct pl_error *err)
{
	const struct rd_kafka_metadata *metadata = NULL;
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(handle, topic, NULL);
	rd_kafka_resp_err_t code = rd_kafka_metadata(handle, 0, rkt, &metadata, left_ms(offsets));
	int partitions = 0, rc = 0;
	if (code)
		rc = unavailable(offsets, code, err);
	else if (metadata->topic_cnt == 1 && !metadata->topics[0].err)
		partitions = metadata->topics[0].partition_cnt;
	*list = pl_realloc(*list, (size_t)(n + partitions + 1) * sizeof(**list));
	for (int i = 0; i < partitions; i++)
		(*list)[n++] = (struct pl_offset){ .topic = topic,
			                           .partition = metadata->topics[0].partitions[i].id,
			                           .committed = -1 };
	if (metadata)
		rd_kafka_metadata_destroy(metadata);
	rd_kafka_topic_destroy(rkt);
	return rc ? rc : n;
}

// Where all partitions begin (RD_KAFKA_OFFSET_BEGINNING) or end (RD_KAFKA_OFFSET_END).
static rd_kafka_resp_err_t ask_all(struct pl_offsets *offsets, rd_kafka_t *handle, struct pl_offset *list,
                                   int n, int64_t where)
{
	rd_kafka_topic_partition_list_t *parts = rd_kafka_topic_partition_list_new(n + 1);
	for (int i = 0; i < n; i++)
		rd_kafka_topic_partition_list_add(parts, list[i].topic, list[i].partition)->offset = where;
	rd_kafka_resp_err_t code =
		n ? rd_kafka_offsets_for_times(handle, parts, left_ms(offsets)) : RD_KAFKA_RESP_ERR_NO_ERROR;
	for (int i = 0; i < n && !code; i++) {
		const rd_kafka_topic_partition_t *part =
			rd_kafka_topic_partition_list_find(parts, list[i].topic, list[i].partition);
		code = part->err;
		*(where == RD_KAFKA_OFFSET_END ? &list[i].end : &list[i].low) = part->offset;
	}
	rd_kafka_topic_partition_list_destroy(parts);
	return code;
}

int pl_offsets_ends(struct pl_offsets *offsets, struct pl_offset **list_r, struct pl_error *err)
{
	const struct pl_config *config = offsets->config;
	rd_kafka_t *handle = handle_of(offsets, &config->regions[0], err);
	int n = 0;
	*list_r = NULL;
	offsets->deadline_us = pl_mono_us() + offsets->timeout_us;
	if (!handle)
		return err->code;
	for (int i = 0; i < config->nresources && n >= 0; i++) {
		bool seen = false; // two resources may share a topic
		for (int j = 0; j < i; j++)
			seen |= strcmp(config->resources[j].topic, config->resources[i].topic) == 0;
		if (!seen)
			n = add_topic(offsets, handle, config->resources[i].topic, list_r, n, err);
	}
	// First where they begin: then none can begin after its end, whatever expires in
	// between.
	rd_kafka_resp_err_t code = n > 0 ? ask_all(offsets, handle, *list_r, n, RD_KAFKA_OFFSET_BEGINNING)
	                                 : RD_KAFKA_RESP_ERR_NO_ERROR;
	if (n > 0 && !code)
		code = ask_all(offsets, handle, *list_r, n, RD_KAFKA_OFFSET_END);
	if (code)
		n = unavailable(offsets, code, err);
	if (n < 0) {
		free(*list_r);
		*list_r = NULL;
	}
	return n;
}

// ---- committed

int pl_offsets_committed(struct pl_offsets *offsets, const struct pl_region *region, struct pl_offset *list,
                         int n, struct pl_error *err)
{
	rd_kafka_t *handle = handle_of(offsets, region, err);
	if (!handle)
		return err->code;
	rd_kafka_topic_partition_list_t *parts = rd_kafka_topic_partition_list_new(n);
	for (int i = 0; i < n; i++)
		rd_kafka_topic_partition_list_add(parts, list[i].topic, list[i].partition);
	rd_kafka_resp_err_t code = n ? rd_kafka_committed(handle, parts, left_ms(offsets)) : 0;
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
		if (list[i].partition == message->partition && strcmp(list[i].topic, topic) == 0 &&
		    list[i].event_at_us == 0 && list[i].from < list[i].end &&
		    message->offset >= list[i].from) {
			list[i].event_at_us = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? -1 : ms * 1000;
			(*missing)--;
		}
}

void pl_offsets_times(struct pl_offsets *offsets, struct pl_offset *list, int n)
{
	struct pl_error err;
	rd_kafka_t *handle = handle_of(offsets, &offsets->config->regions[0], &err);
	rd_kafka_topic_partition_list_t *parts = rd_kafka_topic_partition_list_new(n + 1);
	int64_t deadline_us = pl_mono_us() + (int64_t)left_ms(offsets) * 1000 / TIMES_PART;
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
