// What an applier reports to the lag tracker: how far it is in each partition, which
// events it holds and has applied, and when the other regions were last heard from.
//
// Threads: the applier's.
#include "apply/applier_private.h"

#include "event/audit_mail.h"
#include "event/audit_message.h"

struct holding {
	int n;
	struct pl_lag_tracker_held of[PL_REGIONS_MAX];
};

static void count_held(void *arg, const struct pl_event *event)
{
	struct holding *holding = arg;
	int64_t at_us = event->broker_time_us ? event->broker_time_us : event->write.updated_at_us;
	int i = 0;

	while (i < holding->n && !pl_vector_same_region(holding->of[i].region, event->write.dot.region))
		i++;
	if (i == PL_REGIONS_MAX)
		return;
	if (i == holding->n) {
		pl_vector_region_of(event->write.dot.region, holding->of[i].region);
		holding->of[i].oldest_us = at_us;
		holding->n++;
	}
	holding->of[i].events++;
	if (at_us < holding->of[i].oldest_us)
		holding->of[i].oldest_us = at_us;
}

void pl_applier_report_progress(struct pl_applier *applier)
{
	struct pl_lag_tracker_partition *partitions =
		pl_calloc((size_t)applier->buffer.npartitions + 1, sizeof(partitions[0]));

	for (int i = 0; i < applier->buffer.npartitions; i++) {
		const struct pl_fetch_partition *p = &applier->buffer.partitions[i];

		partitions[i] = (struct pl_lag_tracker_partition){
			p->topic, p->partition, p->next,
			pl_consumer_end(applier->consumer, p->topic, p->partition), 0
		};
		for (int j = 0; j < applier->buffer.now.n; j++)
			partitions[i].buffer += applier->buffer.now.messages[j].partition == p->partition &&
			                        strcmp(applier->buffer.now.messages[j].topic, p->topic) == 0;
		if (partitions[i].next < 0 &&
		    // an empty partition from which nothing was ever committed
		    partitions[i].end == 0)
			partitions[i].next = 0;
	}
	pl_lag_tracker_progress(applier->tracker, applier->index, partitions, applier->buffer.npartitions,
	                        pl_now_us());
	free(partitions);
}

static void note_applied(void *arg, const struct pl_event *event)
{
	struct pl_applier *applier = arg;
	char region[PL_REGION_MAX + 1];

	pl_vector_region_of(event->write.dot.region, region);
	pl_lag_tracker_applied(applier->tracker, region,
	                       event->broker_time_us ? event->broker_time_us : event->write.updated_at_us);
}

void pl_applier_report_applied(struct pl_applier *applier)
{
	pl_apply_batch_each(applier->batch, note_applied, applier);
}

void pl_applier_report_held(struct pl_applier *applier)
{
	struct holding holding = { 0 };

	pl_apply_batch_each(applier->batch, count_held, &holding);
	pl_lag_tracker_holds(applier->tracker, applier->index, holding.of, holding.n);
}

int pl_applier_learn_heard(struct pl_applier *applier, struct pl_error *err)
{
	PGresult *result = pl_session_exec(
		applier->tools.session,
		"SELECT region, (extract(epoch FROM clock_timestamp() - heard_at) * 1000000)::bigint FROM "
		"plist.region_heartbeats",
		0, NULL, err);

	if (!result)
		return err->code;
	for (int i = 0; i < PQntuples(result); i++)
		pl_lag_tracker_heard_before(applier->tracker, PQgetvalue(result, i, 0),
		                            pl_now_us() - strtoll(PQgetvalue(result, i, 1), NULL, 10));
	PQclear(result);
	return 0;
}

void pl_applier_set_beat_soon(struct pl_applier *applier, atomic_bool *beat_soon)
{
	atomic_store(&applier->beat_soon, beat_soon);
}

void pl_applier_set_mail(struct pl_applier *applier, struct pl_audit_mail *mail)
{
	atomic_store(&applier->mail, mail);
}

// Whether it is a message of another region's audit. One for this region is kept.
static bool takes_mail(struct pl_applier *applier, const rd_kafka_message_t *message)
{
	struct pl_audit_mail *mail = atomic_load(&applier->mail);
	rd_kafka_headers_t *headers;
	const void *to;
	size_t len;

	if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
	    rd_kafka_header_get_last(headers, PL_AUDIT_HEADER, &to, &len) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return false;
	if (mail && message->payload && to && len == strlen(applier->region->name) &&
	    memcmp(to, applier->region->name, len) == 0)
		pl_audit_mail_arrive(mail, message->payload, message->len);
	return true;
}

void pl_applier_answer(struct pl_applier *applier)
{
	atomic_bool *soon = atomic_load(&applier->beat_soon);

	if (applier->heartbeats.stored && soon)
		atomic_store(soon, true);
	applier->heartbeats.stored = false;
}

void pl_applier_take_heartbeat(struct pl_applier *applier, const rd_kafka_message_t *message)
{
	const struct pl_heartbeat *heartbeat;

	if (takes_mail(applier, message))
		return;
	heartbeat = pl_heartbeats_take(&applier->heartbeats, applier->arena, applier->config, message);
	if (applier->heartbeats.hurry && applier->flush_at_us > applier->flushed_at_us + FLUSH_US / 10)
		applier->flush_at_us = applier->flushed_at_us + FLUSH_US / 10;
	if (heartbeat)
		pl_lag_tracker_heartbeat(applier->tracker, heartbeat, pl_now_us());
	pl_reached_take(&applier->reached, applier->config, applier->region->name, message);
}
