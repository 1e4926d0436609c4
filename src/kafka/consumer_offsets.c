// A consumer's offsets and positions: storing, asking for and moving them, for
// apply/applier and apply/positions.
//
// Threads: the consumer's.
#include "kafka/consumer_private.h"

#include <string.h>

#include "base/clock.h"

void pl_consumer_store(struct pl_consumer *consumer, const char *topic, int32_t partition,
                       int64_t next_offset)
{
	rd_kafka_topic_partition_list_t *one = rd_kafka_topic_partition_list_new(1);

	rd_kafka_topic_partition_list_add(one, topic, partition)->offset = next_offset;
	// Fails if the partition was just given up; then its new owner reads from before.
	rd_kafka_offsets_store(consumer->rk, one);
	rd_kafka_topic_partition_list_destroy(one);
}

int pl_consumer_committed(struct pl_consumer *consumer, rd_kafka_topic_partition_list_t *partitions,
                          int timeout_ms, struct pl_error *err)
{
	rd_kafka_resp_err_t code = rd_kafka_committed(consumer->rk, partitions, timeout_ms);

	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		return 0;
	return pl_error_set(err, PL_EUNAVAIL,
	                    "kafka: cannot read the committed offsets: "
	                    "%s",
	                    rd_kafka_err2str(code));
}

// -1 and -2 stand for a partition's end and beginning, in the protocol as in
// librdkafka. Its call for both (rd_kafka_query_watermark_offsets) does not keep to its
// timeout: it waits as long as a request is retried, and forever when the broker goes in
// the middle; this one does.
static rd_kafka_resp_err_t ask_offset(struct pl_consumer *consumer, const char *topic, int32_t partition,
                                      int64_t which, int64_t until_us, int64_t *offset_r)
{
	rd_kafka_topic_partition_list_t *one = rd_kafka_topic_partition_list_new(1);
	int64_t left_ms = (until_us - pl_mono_us()) / 1000;
	rd_kafka_resp_err_t code;

	rd_kafka_topic_partition_list_add(one, topic, partition)->offset = which;
	code = rd_kafka_offsets_for_times(consumer->rk, one, left_ms > 1 ? (int)left_ms : 1);
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		code = one->elems[0].err;
	*offset_r = one->elems[0].offset;
	rd_kafka_topic_partition_list_destroy(one);
	return code;
}

int pl_consumer_ask_range(struct pl_consumer *consumer, const char *topic, int32_t partition, int timeout_ms,
                          struct pl_offset_range *range_r, struct pl_error *err)
{
	int64_t until_us = pl_mono_us() + (int64_t)timeout_ms * 1000;
	rd_kafka_resp_err_t code =
		ask_offset(consumer, topic, partition, RD_KAFKA_OFFSET_BEGINNING, until_us, &range_r->first);

	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		code = ask_offset(consumer, topic, partition, RD_KAFKA_OFFSET_END, until_us, &range_r->end);
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		return 0;
	return pl_error_set(err, PL_EUNAVAIL, "kafka: cannot read the offsets of %s %d: %s", topic, partition,
	                    rd_kafka_err2str(code));
}

// Each request may wait behind a fetch that waits for messages (fetch.wait.max.ms), so
// one for each partition would take a second or two.
int pl_consumer_ask_ends(struct pl_consumer *consumer, rd_kafka_topic_partition_list_t *partitions,
                         bool first, int timeout_ms, struct pl_error *err)
{
	rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;

	for (int i = 0; i < partitions->cnt; i++)
		partitions->elems[i].offset = first ? RD_KAFKA_OFFSET_BEGINNING : RD_KAFKA_OFFSET_END;
	if (partitions->cnt > 0)
		code = rd_kafka_offsets_for_times(consumer->rk, partitions, timeout_ms);
	for (int i = 0; i < partitions->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
		code = partitions->elems[i].err;
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		return 0;
	return pl_error_set(err, PL_EUNAVAIL, "kafka: cannot read the offsets of %d partitions: %s",
	                    partitions->cnt, rd_kafka_err2str(code));
}

int pl_consumer_since(struct pl_consumer *consumer, rd_kafka_topic_partition_list_t *partitions,
                      int timeout_ms, struct pl_error *err)
{
	rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(consumer->rk, partitions, timeout_ms);

	for (int i = 0; i < partitions->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
		code = partitions->elems[i].err;
	return code == RD_KAFKA_RESP_ERR_NO_ERROR ? 0
	                                          : pl_error_set(err, PL_EUNAVAIL,
	                                                         "kafka: cannot look up offsets by time: "
	                                                         "%s",
	                                                         rd_kafka_err2str(code));
}

int pl_consumer_place(struct pl_consumer *consumer, rd_kafka_topic_partition_list_t *partitions,
                      int timeout_ms, struct pl_error *err)
{
	rd_kafka_error_t *error = rd_kafka_seek_partitions(consumer->rk, partitions, timeout_ms);
	rd_kafka_resp_err_t code = error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;

	if (error)
		rd_kafka_error_destroy(error);
	for (int i = 0; i < partitions->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
		code = partitions->elems[i].err;
	return code == RD_KAFKA_RESP_ERR_NO_ERROR
	               ? 0
	               : pl_error_set(err, PL_EUNAVAIL, "kafka: cannot seek: %s", rd_kafka_err2str(code));
}

int64_t pl_consumer_end(struct pl_consumer *consumer, const char *topic, int32_t partition)
{
	int64_t low, high;

	if (rd_kafka_get_watermark_offsets(consumer->rk, topic, partition, &low, &high) !=
	            RD_KAFKA_RESP_ERR_NO_ERROR ||
	    high < 0)
		return -1;
	return high;
}

int64_t pl_consumer_position(struct pl_consumer *consumer, const char *topic, int32_t partition)
{
	rd_kafka_topic_partition_list_t *one = rd_kafka_topic_partition_list_new(1);
	int64_t position = -1;

	rd_kafka_topic_partition_list_add(one, topic, partition);
	if (rd_kafka_position(consumer->rk, one) == RD_KAFKA_RESP_ERR_NO_ERROR && one->elems[0].offset >= 0)
		position = one->elems[0].offset;
	rd_kafka_topic_partition_list_destroy(one);
	return position;
}
