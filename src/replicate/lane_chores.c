// A lane's chores: where to read on after an assignment, heartbeats, and what is done once in a while beside applying.
//
// Beside replicate/lane, which says when. Threads: the lane's.
#include "replicate/lane_in.h"

// --- where to read on

static int64_t position_in(const struct pl_position *positions, int n, const struct pl_hand_partition *p)
{
	for (int i = 0; i < n; i++)
		if (positions[i].partition == p->partition && strcmp(positions[i].topic, p->topic) == 0)
			return positions[i].next_offset;
	return -1;
}

static rd_kafka_topic_partition_list_t *partition_list(const struct pl_hand *hand)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(hand->npartitions);

	for (int i = 0; i < hand->npartitions; i++)
		rd_kafka_topic_partition_list_add(list, hand->partitions[i].topic, hand->partitions[i].partition);
	return list;
}

static int learn_committed(struct pl_lane *lane, struct pl_error *err)
{
	rd_kafka_topic_partition_list_t *list = partition_list(&lane->hand);
	int code = pl_consumer_committed(lane->consumer, list, 3000, err);

	for (int i = 0; i < list->cnt && code == 0; i++)
		if (lane->hand.partitions[i].next < 0 && list->elems[i].offset >= 0)
			lane->hand.partitions[i].next = list->elems[i].offset;
	rd_kafka_topic_partition_list_destroy(list);
	return code;
}

// From where the topic can be read, and up to where it may know more of our own writes than our database does.
static int learn_ranges(struct pl_lane *lane, struct pl_error *err)
{
	for (int i = 0; i < lane->hand.npartitions; i++) {
		struct pl_hand_partition *p = &lane->hand.partitions[i];
		int code = pl_consumer_ask_range(lane->consumer, p->topic, p->partition, 3000, &p->first, &p->unsure_until, err);

		if (code < 0)
			return code;
	}
	pl_lane_read_again(lane); // our own events were passed over in it
	return 0;
}

// Where messages begin that are newer than all that were read of a partition, which its offset in the group has no right to be behind: after a
// broker has lost its disk, librdkafka may commit what it had stored of the old topic into the group of the new one.
static int learn_newer(struct pl_lane *lane, struct pl_error *err)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(lane->hand.npartitions);
	int code = 0;

	for (int i = 0; i < lane->hand.npartitions; i++) {
		struct pl_hand_partition *p = &lane->hand.partitions[i];

		p->newer = -1;
		if (p->latest_ms > 0 && p->next > p->first)
			rd_kafka_topic_partition_list_add(list, p->topic, p->partition)->offset = p->latest_ms + 1;
	}
	if (list->cnt > 0)
		code = pl_consumer_since(lane->consumer, list, 3000, err);
	for (int i = 0; i < list->cnt && code == 0; i++)
		pl_hand_find(&lane->hand, list->elems[i].topic, list->elems[i].partition)->newer = list->elems[i].offset;
	rd_kafka_topic_partition_list_destroy(list);
	return code;
}

// A position behind the end of the topic is one of another topic of this name, which the broker has lost: it says nothing of this one.
static bool is_foreign(const struct pl_hand_partition *p, int64_t written)
{
	return written > p->unsure_until;
}

static bool has_unread(const struct pl_hand_partition *p)
{
	return p->newer >= 0 && p->newer < p->next;
}

static int64_t from_where(const struct pl_hand_partition *p, int64_t written)
{
	int64_t from = is_foreign(p, written) ? p->first : written < p->next ? written : p->next;

	if (has_unread(p) && p->newer < from)
		from = p->newer;
	return from < p->first ? p->first : from;
}

static bool is_behind(const struct pl_hand_partition *p, int64_t written)
{
	return from_where(p, written) < p->next;
}

static void tell_why_back(const struct pl_hand_partition *p, int64_t written)
{
	if (written >= p->next && !is_foreign(p, written))
		pl_notice("%s %d: the group has events up to %lld, but what stands there from %lld on is newer than all that was read; "
		          "reading from there", p->topic, p->partition, (long long)p->next, (long long)from_where(p, written));
	else
		pl_notice("%s %d: the database has events up to %lld%s, the group up to %lld: reading from %lld again", p->topic, p->partition,
		          (long long)(written < 0 ? 0 : written), is_foreign(p, written) ? " of a topic that is gone" : "", (long long)p->next,
		          (long long)from_where(p, written));
}

// Goes back in those partitions in which the database is behind. The messages at hand are of all partitions and are dropped, so each is placed. By
// seeking: to assign the partitions again, soon after the group did, can leave librdkafka 2.0 with an assignment that it never begins to fetch.
static int go_back(struct pl_lane *lane, const struct pl_position *positions, int npositions, struct pl_error *err)
{
	rd_kafka_topic_partition_list_t *list = partition_list(&lane->hand);
	bool back = false;
	int code = 0;

	for (int i = 0; i < list->cnt; i++) {
		const struct pl_hand_partition *p = &lane->hand.partitions[i];
		int64_t written = position_in(positions, npositions, p);

		list->elems[i].offset = from_where(p, written);
		back |= is_behind(p, written);
	}
	if (back)
		code = pl_consumer_place(lane->consumer, list, 3000, err);
	for (int i = 0; i < list->cnt && back && code == 0; i++) {
		struct pl_hand_partition *p = &lane->hand.partitions[i];
		int64_t written = position_in(positions, npositions, p);

		if (!is_behind(p, written))
			continue;
		tell_why_back(p, written);
		p->next = from_where(p, written);
	}
	if (back && code == 0) {
		pl_hand_drop(&lane->hand);
		pl_lane_read_again(lane);
	}
	rd_kafka_topic_partition_list_destroy(list);
	return code;
}

bool pl_lane_check_positions(struct pl_lane *lane)
{
	struct pl_position *positions;
	struct pl_error err = { 0 };
	int n;

	if (!lane->unchecked || lane->hand.npartitions == 0)
		return true;
	pl_arena_reset(lane->arena);
	if (pl_apply_sql_where(lane->tools.sql, lane->tools.session, lane->arena, &positions, &n, &err) < 0) {
		pl_lane_database_failed(lane, &err);
		return false;
	}
	if (learn_committed(lane, &err) < 0 || learn_ranges(lane, &err) < 0 || learn_newer(lane, &err) < 0 ||
	    go_back(lane, positions, n, &err) < 0) {
		if (pl_log_limit_ok(&lane->kafka_limit, 10 * SECOND))
			pl_warning("%s; trying again", err.text);
		lane->try_at_us = pl_mono_us() + pl_backoff_next(&lane->backoff);
		return false;
	}
	lane->unchecked = false;
	return true;
}

// --- heartbeats

static int beat_of(struct pl_lane *lane, const char *region)
{
	for (int i = 0; i < PL_REGIONS_MAX; i++)
		if (lane->beats[i].region[0] == '\0' || strcmp(lane->beats[i].region, region) == 0)
			return i;
	return -1;
}

void pl_lane_take_heartbeat(struct pl_lane *lane, const rd_kafka_message_t *message)
{
	struct pl_heartbeat heartbeat;
	struct pl_error err = { 0 };
	int i;

	pl_arena_reset(lane->arena);
	if (!message->payload || pl_heartbeat_parse(lane->arena, message->payload, message->len, &heartbeat, &err) < 0) {
		pl_debug("a heartbeat that is none: %s", err.text);
		return;
	}
	i = beat_of(lane, heartbeat.region);
	if (i < 0 || heartbeat.sent_at_us <= lane->beats[i].sent_at_us)
		return;
	strcpy(lane->beats[i].region, heartbeat.region);
	lane->beats[i].sent_at_us = heartbeat.sent_at_us;
	if (!lane->beat_arenas[i])
		lane->beat_arenas[i] = pl_arena_new(0);
	pl_arena_reset(lane->beat_arenas[i]);
	heartbeat.policies = pl_arena_strdup(lane->beat_arenas[i], heartbeat.policies);
	lane->beats[i].heartbeat = heartbeat;
	lane->beats[i].dirty = true;
	pl_board_heartbeat(lane->board, &heartbeat, pl_now_us());
}

// --- once in a while

bool pl_lane_flush_positions(struct pl_lane *lane, struct pl_error *err)
{
	struct pl_position *positions = pl_arena_alloc(lane->arena, sizeof positions[0] * (size_t)lane->hand.npartitions + 1);
	int n = 0;

	for (int i = 0; i < lane->hand.npartitions; i++)
		if (lane->hand.partitions[i].dirty)
			positions[n++] = (struct pl_position){ lane->hand.partitions[i].topic, lane->hand.partitions[i].partition,
				lane->hand.partitions[i].next, 0 };
	if (pl_apply_sql_positions(lane->tools.sql, lane->tools.session, positions, n, err) < 0)
		return false;
	for (int i = 0; i < lane->hand.npartitions; i++)
		lane->hand.partitions[i].dirty = false;
	return true;
}

bool pl_lane_flush_heartbeats(struct pl_lane *lane, struct pl_error *err)
{
	for (int i = 0; i < PL_REGIONS_MAX; i++) {
		if (!lane->beats[i].dirty)
			continue;
		if (pl_apply_sql_heartbeat(lane->tools.sql, lane->tools.session, &lane->beats[i].heartbeat, err) < 0)
			return false;
		lane->beats[i].dirty = false;
	}
	return true;
}

// What is only for people to see waits for this.
void pl_lane_flush(struct pl_lane *lane)
{
	struct pl_error err = { 0 };

	lane->flush_at_us = pl_mono_us() + FLUSH_US;
	pl_session_stands(lane->tools.session); // where nothing is to be written, nobody else would notice that it is another database now
	if (!pl_lane_have_database(lane) || !pl_lane_check_positions(lane))
		return;
	pl_arena_reset(lane->arena);
	if (!pl_lane_flush_positions(lane, &err) || !pl_lane_flush_heartbeats(lane, &err))
		pl_lane_database_failed(lane, &err);
	else if (lane->hand.now.n == 0)
		pl_lane_database_works(lane);
}

// How many there are to go through, for who watches. They are counted only when there are many.
static int count_anew(struct pl_lane *lane, int n, struct pl_error *err)
{
	int64_t total = n;

	if (n == ANEW_BATCH && pl_apply_sql_count_flagged(lane->tools.session, &total, err) < 0)
		return err->code;
	NOTE(lane, anew_total, (uint64_t)total);
	return 0;
}

static void end_anew(struct pl_lane *lane)
{
	lane->anew = false;
	NOTE(lane, anew_total, lane->anew_seen); // some came and went meanwhile
	atomic_store(&lane->stats.shown, lane->taken);
}

// The next few records with siblings, shown with the policies as they are now.
void pl_lane_show_anew(struct pl_lane *lane)
{
	struct pl_flagged *found;
	struct pl_error err = { 0 };
	int n = 0, changed = 0;

	if (!pl_lane_have_database(lane))
		return;
	pl_arena_reset(lane->arena);
	if (pl_apply_sql_flagged(lane->tools.sql, lane->tools.session, lane->arena, &(struct pl_flagged){ lane->anew_resource, lane->anew_id },
	                         ANEW_BATCH, &found, &n, &err) < 0 ||
	    (lane->anew_seen == 0 && count_anew(lane, n, &err) < 0) ||
	    (n > 0 && pl_apply_batch_show_anew(lane->batch, &lane->tools, found, n, &changed, &err) < 0)) {
		if (!err.retryable || !pl_session_connected(lane->tools.session))
			pl_lane_database_failed(lane, &err);
		return;
	}
	lane->anew_seen += (uint64_t)n;
	lane->anew_changed += (uint64_t)changed;
	NOTE(lane, anew_seen, lane->anew_seen);
	NOTE(lane, anew_changed, lane->anew_changed);
	if (n > 0) {
		snprintf(lane->anew_resource, sizeof lane->anew_resource, "%s", found[n - 1].resource);
		lane->anew_id = found[n - 1].id;
	}
	if (n < ANEW_BATCH)
		end_anew(lane);
	if (lane->anew_seen > 0 && (!lane->anew || lane->anew_seen % (50 * ANEW_BATCH) == 0))
		pl_notice("%llu records with concurrent writes were shown anew, %llu of them changed%s", (unsigned long long)lane->anew_seen,
		          (unsigned long long)lane->anew_changed, lane->anew ? "; there are more" : "");
}

static void watch_broker(struct pl_lane *lane)
{
	bool up;
	int64_t contact_us = pl_consumer_contact(lane->consumer, &up);

	up = up && pl_now_us() - contact_us < 5 * SECOND;
	pl_board_contact(lane->board, up, up ? contact_us : 0);
	NOTE(lane, broker_up, up);
	if (up != lane->was_up) {
		if (up)
			pl_notice("connected to Kafka at %s", lane->config->kafka.brokers);
		else
			pl_warning("no broker answers at %s", lane->config->kafka.brokers);
	}
	lane->was_up = up;
}

static bool has_share(const struct pl_lane *lane, const char *topic)
{
	for (int i = 0; i < lane->hand.npartitions; i++)
		if (strcmp(lane->hand.partitions[i].topic, topic) == 0)
			return true;
	return false;
}

// Has no partition of a topic of which each member of the group gets one. That a topic was not there for a moment when the shares were made is
// something that librdkafka 2.0 may not notice: it compares what there is now with what it knew before, and nobody reads the topic any more.
static bool was_passed_over(struct pl_lane *lane, const char *topic)
{
	struct pl_error err = { 0 };
	int partitions, members;

	if (has_share(lane, topic))
		return false;
	if (pl_consumer_shares(lane->consumer, topic, 1000, &partitions, &members, &err) < 0) {
		pl_debug("%s", err.text);
		return false;
	}
	if (members == 0 || partitions < members)
		return false;
	pl_notice("kafka: the group gave this daemon nothing of %s, which has %d partitions for %d members; joining it again", topic, partitions, members);
	return true;
}

static void watch_shares(struct pl_lane *lane)
{
	if (!lane->was_up || !atomic_load(&lane->stats.assigned) || pl_mono_us() < lane->shares_at_us)
		return;
	lane->shares_at_us = pl_mono_us() + SHARES_US;
	for (int i = 0; i < lane->config->nresources; i++)
		if (was_passed_over(lane, lane->config->resources[i].topic)) {
			lane->subscribed = false;
			return;
		}
}

void pl_lane_tick(struct pl_lane *lane)
{
	lane->tick_at_us = pl_mono_us() + TICK_US;
	pl_lane_report_progress(lane);
	watch_broker(lane);
	watch_shares(lane);
}
