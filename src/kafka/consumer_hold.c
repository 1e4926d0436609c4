// Holding a consumer: no more events are taken from it, but it keeps its partitions.
//
// Threads: the consumer's.
#include "kafka/consumer_private.h"

#include <string.h>

static rd_kafka_topic_partition_list_t *of_records(const struct pl_consumer *consumer,
                                                   const rd_kafka_topic_partition_list_t *partitions)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions->cnt);

	for (int i = 0; i < partitions->cnt; i++)
		if (strcmp(partitions->elems[i].topic, consumer->heartbeat_topic) != 0)
			rd_kafka_topic_partition_list_add(list, partitions->elems[i].topic,
			                                  partitions->elems[i].partition);
	return list;
}

// Heartbeats go on: whether another region is alive does not depend on this region's
// database.
void pl_consumer_pause(struct pl_consumer *consumer, const rd_kafka_topic_partition_list_t *partitions)
{
	rd_kafka_topic_partition_list_t *records = of_records(consumer, partitions);

	if (records->cnt > 0)
		rd_kafka_pause_partitions(consumer->rk, records);
	if (!consumer->paused)
		consumer->paused = rd_kafka_topic_partition_list_new(records->cnt);
	for (int i = 0; i < records->cnt; i++)
		if (!rd_kafka_topic_partition_list_find(consumer->paused, records->elems[i].topic,
		                                        records->elems[i].partition))
			rd_kafka_topic_partition_list_add(consumer->paused, records->elems[i].topic,
			                                  records->elems[i].partition);
	rd_kafka_topic_partition_list_destroy(records);
}

static void resume_all(struct pl_consumer *consumer)
{
	if (!consumer->paused)
		return;
	rd_kafka_resume_partitions(consumer->rk, consumer->paused);
	rd_kafka_topic_partition_list_destroy(consumer->paused);
	consumer->paused = NULL;
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
	pl_consumer_pause(consumer, all);
	rd_kafka_topic_partition_list_destroy(all);
}

bool pl_consumer_held(const struct pl_consumer *consumer)
{
	return consumer->held;
}
