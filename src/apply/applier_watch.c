// What an applier monitors apart from applying: the broker, its topics, its share of
// their partitions, and whether their messages arrive; also the memory that it keeps.
//
// Called by apply/applier a few times a second. librdkafka handles most failures of a
// consumer. What it does not recover from, or not in every version, is detected here
// and handled in one way: the consumer is replaced. Nothing is lost, since everything
// that was not applied is read again. The causes:
//
//   a fatal error          librdkafka says that this instance will never work again.
//   another topic          the number of a topic's partitions has changed since it was
//                          first looked at: it was extended, or deleted and created
//                          again.
//   no offsets             the broker answers, but does not tell the group's offsets.
//   silence                a partition of ours has messages, and none of them arrives.
//   other certificates     a reload has found others in the files that librdkafka has
//                          read when the consumer was made.
//
// If the broker does not answer what has to be asked for that, that is logged, counted
// and shown, since the causes above would go unnoticed.
//
// Threads: the applier's.
#include "apply/applier_private.h"

#define SETTLE_US   (6 * SECOND)
#define BLIND_LOOKS 4 // of which none was complete

// ---- replacing the consumer

static void replace_consumer(struct pl_applier *applier, const char *why)
{
	pl_warning("%s; replacing the consumer", why);
	pl_applier_note_trouble(applier, why);
	pl_applier_give_up_partitions(applier);
	pl_consumer_free(&applier->consumer, SECOND);
	applier->prepared = false;
	applier->prepare_at_us = pl_mono_us() + pl_backoff_next(&applier->replace_backoff);
	pl_silence_restart(&applier->silence);
	applier->unsettled = false;
	applier->unsettled_for_us = 0;
	applier->settle_at_us = pl_mono_us();
	atomic_fetch_add_explicit(&applier->stats.consumers_replaced, 1, memory_order_relaxed);
}

void pl_applier_renew_consumer(struct pl_applier *applier)
{
	uint8_t files[PL_SHA256_SIZE];

	pl_kafka_client_files(applier->config, files);
	if (applier->consumer && memcmp(files, applier->consumer_files, sizeof(files)) != 0)
		replace_consumer(applier, "kafka: certificates or keys have changed");
}

static void watch_broker(struct pl_applier *applier)
{
	bool up;
	int64_t contact_us = pl_consumer_contact(applier->consumer, &up);

	pl_lag_tracker_contact(applier->tracker, up, up ? contact_us : 0);
	NOTE(applier, broker_up, up);
	if (!up) { // which says more
		applier->blind_looks = 0;
		NOTE(applier, blind_since_us, 0);
	}
	NOTE(applier, commits_refused, pl_consumer_commits_refused(applier->consumer));
	NOTE(applier, hears, applier->prepared);
	pl_claims_hears(applier->claims, applier->index, up);
	if (up != applier->was_up) {
		if (up)
			pl_notice("connected to Kafka at %s", applier->config->kafka.brokers);
		else
			pl_warning("no broker answers at %s", applier->config->kafka.brokers);
	}
	applier->was_up = up;
}

// ---- what the broker does not say

// A question about a topic or the ends of its partitions was not answered.
static void note_unanswered(struct pl_applier *applier, const struct pl_error *err)
{
	applier->blind = true;
	if (applier->blind_looks + 1 >= BLIND_LOOKS && pl_log_limit_ok(&applier->blind_limit, 60 * SECOND))
		pl_warning("%s; until this can be asked, messages that do not arrive go unnoticed",
		           err->text);
	else
		pl_debug("%s", err->text);
}

// A look that fails now and then is repeated, and only several in a row are a fault:
// topics that change and messages that do not arrive would not be noticed.
static void note_look(struct pl_applier *applier, bool complete)
{
	if (applier->blind && applier->blind_looks++ == 0)
		applier->blind_from_us = pl_mono_us();
	else if (!applier->blind && complete)
		applier->blind_looks = 0;
	NOTE(applier, blind_since_us, applier->blind_looks >= BLIND_LOOKS ? applier->blind_from_us : 0);
}

// ---- the topics

// The topics that the applier reads: the resources', then the heartbeats'.
static int ntopics(const struct pl_applier *applier)
{
	return applier->config->nresources + (applier->index == 0);
}

static const char *topic_at(const struct pl_applier *applier, int i)
{
	return i < applier->config->nresources ? applier->config->resources[i].topic
	                                       : applier->config->kafka.heartbeat_topic;
}

void pl_applier_forget_topics(struct pl_applier *applier)
{
	free(applier->partition_counts);
	applier->partition_counts =
		pl_calloc((size_t)applier->config->nresources + 1, sizeof(applier->partition_counts[0]));
}

static void tell_claims(struct pl_applier *applier, int topic)
{
	if (topic < applier->config->nresources && applier->partition_counts[topic] > 0)
		pl_claims_topic(applier->claims, topic_at(applier, topic), applier->partition_counts[topic]);
}

void pl_applier_note_topics(struct pl_applier *applier)
{
	struct pl_consumer_topic topic;
	struct pl_error err = { 0 };

	for (int i = 0; i < applier->config->nresources; i++) {
		if (pl_consumer_topic(applier->consumer, topic_at(applier, i), 1000, &topic, &err) < 0) {
			pl_debug("%s", err.text);
			break;
		}
		applier->partition_counts[i] = topic.partitions;
		pl_leaderless_note(&applier->leaderless, topic_at(applier, i), topic.leaderless,
		                   topic.nleaderless, pl_now_us());
	}
	for (int i = 0; i < applier->config->nresources; i++)
		tell_claims(applier, i);
	applier->partition_counts[applier->config->nresources] =
		pl_consumer_heartbeat_partitions(applier->consumer);
}

// False: the consumer was replaced, or the topics are to be subscribed to again.
static bool topic_is_the_same(struct pl_applier *applier, int i)
{
	int *known = &applier->partition_counts[i], now;
	const char *topic = topic_at(applier, i);
	struct pl_consumer_topic seen;
	struct pl_error err = { 0 };

	if (pl_consumer_topic(applier->consumer, topic, 1000, &seen, &err) < 0) {
		note_unanswered(applier, &err);
		return true;
	}
	now = seen.partitions;
	if (pl_leaderless_note(&applier->leaderless, topic, seen.leaderless, seen.nleaderless, pl_now_us()))
		applier->follows = false; // it reads others now
	// Deleted. It is created again with the configured settings, unless the broker
	// does so first.
	if (now == 0) {
		if (pl_log_limit_ok(&applier->topics_limit, 10 * SECOND))
			pl_warning("kafka: topic %s does not exist; it will be created", topic);
		applier->prepared = false;
		return false;
	}
	if (*known == 0) { // the broker did not answer when it was first looked at
		*known = now;
		tell_claims(applier, i);
	}
	if (*known == now)
		return true;
	pl_error_set(&err, PL_EUNAVAIL, "kafka: topic %s now has %d partitions instead of %d", topic, now,
	             *known);
	replace_consumer(applier, err.text);
	return false;
}

static bool topics_are_the_same(struct pl_applier *applier)
{
	for (int i = 0; i < ntopics(applier); i++)
		if (!topic_is_the_same(applier, i))
			return false;
	return true;
}

// The topics may be new ones now, which count from 0.
void pl_applier_doubt_topics(struct pl_applier *applier)
{
	applier->unchecked = true;
	pl_positions_unsettle(&applier->buffer);
}

void pl_applier_notice_losses(struct pl_applier *applier)
{
	uint64_t losses = pl_consumer_losses(applier->consumer);

	if (losses != applier->losses)
		pl_applier_doubt_topics(applier);
	applier->losses = losses;
}

// ---- silence

// The i-th partition that is read: the records', then the heartbeats'.
static const char *partition_at(const struct pl_applier *applier, int i, int32_t *partition_r)
{
	if (i < applier->buffer.npartitions) {
		*partition_r = applier->buffer.partitions[i].partition;
		return applier->buffer.partitions[i].topic;
	}
	*partition_r = i - applier->buffer.npartitions;
	return applier->config->kafka.heartbeat_topic;
}

static int nread(const struct pl_applier *applier)
{
	return applier->buffer.npartitions +
	       (applier->index == 0 ? pl_consumer_heartbeat_partitions(applier->consumer) : 0);
}

static int64_t position_at(const struct pl_applier *applier, int i, const struct pl_silence_look *look)
{
	int64_t position = pl_consumer_position(applier->consumer, look->topic, look->partition);

	return position < 0 && i < applier->buffer.npartitions ? applier->buffer.partitions[i].next
	                                                       : position;
}

// The partitions that are read and whose end somebody knows. Returns how many.
static int list_looks(const struct pl_applier *applier, struct pl_silence_look *looks)
{
	int all = nread(applier), n = 0;

	for (int i = 0; i < all; i++) {
		struct pl_silence_look *look = &looks[n];

		look->topic = partition_at(applier, i, &look->partition);
		look->position = position_at(applier, i, look);
		n += pl_leaderless_since(&applier->leaderless, look->topic, look->partition) == 0;
	}
	return n;
}

// Asks for the ends of all partitions in one request. 0 or a code.
static int look_at_all(struct pl_applier *applier, struct pl_silence_look *looks, int n, struct pl_error *err)
{
	rd_kafka_topic_partition_list_t *ends = rd_kafka_topic_partition_list_new(n), *firsts;
	bool unread = false;
	int code;

	for (int i = 0; i < n; i++) {
		unread |= looks[i].position < 0;
		rd_kafka_topic_partition_list_add(ends, looks[i].topic, looks[i].partition);
	}
	firsts = rd_kafka_topic_partition_list_copy(ends);
	code = pl_consumer_ask_ends(applier->consumer, ends, false, 1000, err);
	if (code == 0 && unread)
		code = pl_consumer_ask_ends(applier->consumer, firsts, true, 1000, err);
	for (int i = 0; i < n && code == 0; i++) {
		looks[i].end = ends->elems[i].offset;
		looks[i].first = unread ? firsts->elems[i].offset : 0;
	}
	rd_kafka_topic_partition_list_destroy(ends);
	rd_kafka_topic_partition_list_destroy(firsts);
	return code;
}

// Whether it has looked.
static bool watch_silence(struct pl_applier *applier)
{
	int n = nread(applier), silent;
	struct pl_silence_look *looks;
	struct pl_error err = { 0 };

	if (pl_consumer_held(applier->consumer)) // until the database works
		pl_silence_restart(&applier->silence);
	if (n == 0 || applier->buffer.now.n > 0 || pl_consumer_held(applier->consumer) ||
	    applier->try_at_us > pl_mono_us())
		return false; // the consumer is waiting for what is buffered
	looks = pl_calloc((size_t)n, sizeof(*looks));
	n = list_looks(applier, looks);
	if (look_at_all(applier, looks, n, &err) < 0) {
		note_unanswered(applier, &err);
	} else if ((silent = pl_silence_note(&applier->silence, looks, n)) >= 0) {
		pl_error_set(&err, PL_EUNAVAIL,
		             "kafka: no messages arrive from %s %d, which has messages up to %lld and was "
		             "read up to %lld",
		             looks[silent].topic, looks[silent].partition, (long long)looks[silent].end,
		             (long long)looks[silent].position);
		replace_consumer(applier, err.text);
	}
	free(looks);
	return true;
}

// ---- the tick

// Whether the broker says within a while where reading continues. librdkafka may keep
// looking for the group's coordinator where it was before it moved. Meanwhile it may
// report that all brokers are down whenever it fails there, so only the time counts for
// which a broker answers, and it is not counted from the beginning after each such
// report.
static bool has_settled_in_time(struct pl_applier *applier, int64_t now_us)
{
	int64_t patience_us = SETTLE_US
	                      << (applier->replace_backoff.tries < 4 ? applier->replace_backoff.tries : 4);

	if (!applier->unsettled)
		applier->unsettled_for_us = 0;
	else if (applier->was_up && applier->settle_at_us)
		applier->unsettled_for_us += now_us - applier->settle_at_us;
	applier->settle_at_us = now_us;
	return applier->unsettled_for_us < patience_us;
}

static void look(struct pl_applier *applier)
{
	bool complete;

	applier->blind = false;
	complete = topics_are_the_same(applier) && watch_silence(applier);
	note_look(applier, complete);
}

static void watch_consumer(struct pl_applier *applier)
{
	int64_t now_us = pl_mono_us();
	const char *refusal = pl_consumer_refusal(applier->consumer);
	struct pl_error err = { 0 };

	if (refusal)
		pl_applier_note_failure(applier, refusal);
	if (pl_consumer_failed(applier->consumer, &err)) {
		replace_consumer(applier, err.text);
	} else if (!has_settled_in_time(applier, now_us)) {
		replace_consumer(applier, "kafka: the broker answers, but does not tell the group's offsets");
	} else if (applier->was_up && applier->prepared && now_us >= applier->look_at_us) {
		applier->look_at_us = now_us + LOOK_US;
		look(applier);
	}
}

void pl_applier_tick(struct pl_applier *applier)
{
	applier->tick_at_us = pl_mono_us() + TICK_US;
	pl_applier_report_progress(applier);
	watch_broker(applier);
	watch_consumer(applier);
}

// After a backlog, the memory that it took.
void pl_applier_give_memory_back(struct pl_applier *applier)
{
	if (!applier->had_backlog || applier->buffer.now.n > 0 || applier->buffer.ahead.n > 0)
		return;
	applier->had_backlog = false;
	pl_apply_batch_give_back(applier->batch);
	pl_fetch_buffer_give_back(&applier->buffer);
	pl_mem_give_back();
}

// ---- reporting trouble

void pl_applier_note_trouble(struct pl_applier *applier, const char *why)
{
	pthread_mutex_lock(&applier->mutex);
	snprintf(applier->trouble, sizeof(applier->trouble), "%s", why);
	pthread_mutex_unlock(&applier->mutex);
}

// Applying fails at present.
void pl_applier_note_failure(struct pl_applier *applier, const char *why)
{
	pl_applier_note_trouble(applier, why);
	if (atomic_load(&applier->stats.failing_since_us) == 0)
		NOTE(applier, failing_since_us, pl_mono_us());
}

void pl_applier_trouble(struct pl_applier *applier, char text_r[PL_ERROR_TEXT_MAX])
{
	pthread_mutex_lock(&applier->mutex);
	memcpy(text_r, applier->trouble, sizeof(applier->trouble));
	pthread_mutex_unlock(&applier->mutex);
}
