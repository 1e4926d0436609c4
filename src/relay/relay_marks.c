// The relay's marks: which rows can be deleted because the other regions have applied
// them, and which were lost in Kafka and have to be published again.
//
// Beside relay/relay. A broker's acknowledgement is no guarantee: the broker may lose
// its disk, and its topics may be deleted, truncated, or exceed their retention. So a
// row is kept until every other configured region has applied its event, or has been
// silent for outbox.retention. Kafka's offsets cannot tell what was applied, since they
// start again in a new topic. So the relay numbers its messages (relay/streams,
// event/sequence). Each region records how far it has received the numbers without a
// gap, in the transaction that applies them (apply/sequences), and reports this in its
// heartbeats.
//
// Publishing does not modify rows. Instead, a mark says that every row up to its id was
// acknowledged, with which sequence numbers. There are at most a thousand marks,
// however many rows are kept. When all regions have received a mark's numbers, the rows
// up to it are deleted as a range, a few at a time. A relay that starts begins after
// its newest mark: rows before it are not sent again, rows after it are.
//
// A region lacks a mark if it has received less and reports that no more will come: it
// is at the end of a partition, or messages after a gap have arrived. If this is still
// so a few heartbeats after the broker's acknowledgement, the relay goes back to the
// newest mark that the region has received, and reads and sends from there, with new
// numbers. Repetitions are harmless. The first repetition comes after a second at the
// earliest, the next after twice as long, up to a minute, so that a region with a wrong
// report costs little.
//
// Deleted rows cannot be sent again. A region that lacks them (because it was silent
// for longer than outbox.retention, or has an older database) is reported and has to be
// repaired.
//
// Numbers are reserved in advance in the database and start at the clock's
// microseconds, so that they are above those of a database that was restored from a
// backup. Threads: the relay's; pl_relay_regions may be called from any.
#include "relay/relay_private.h"

#define RESERVE       INT64_C(1000000)
#define MARK_US       (SECOND / 5) // between two marks of a relay that has caught up
#define MARK_BUSY_US  SECOND       // of a relay that has not
#define SETTLE_US     (SECOND / 50)
#define LOOK_US       SECOND
#define DELETE_ROWS   2000
#define DELETE_GAP_US (SECOND / 50)
#define WELL_AFTER    3 // heartbeats

// ---- numbers

// A read-only database cannot store a reservation; then only the clock is used.
static int reserve(struct pl_relay *relay, struct pl_error *err)
{
	int64_t least = pl_now_us(), first = least;
	int code;

	if (least < relay->streams.next)
		least = first = relay->streams.next;
	code = pl_outbox_marks_reserve(relay->session, least, RESERVE, &first, err);
	if (code < 0 && !(pl_db_error_read_only(err) && pl_session_connected(relay->session)))
		return code;
	relay->streams.next = first;
	relay->streams.end = first + RESERVE;
	return 0;
}

static void resize(struct pl_relay *relay, int topic, int partitions)
{
	if (!pl_streams_resize(&relay->streams, topic, partitions))
		return;
	pl_notice("relay: topic %s has fewer partitions than before", relay->streams.topics[topic].name);
	relay->rewind = true;
}

// More partitions are used from the next producer on, which knows them.
void pl_relay_has_partitions(struct pl_relay *relay, const char *topic, int partitions)
{
	int at = pl_streams_topic(&relay->streams, topic);

	if (partitions < relay->streams.topics[at].n)
		resize(relay, at, partitions);
}

static int number_row(struct pl_relay *relay, int topic, struct pl_outgoing_message *message,
                      struct pl_in_flight_row *row, struct pl_error *err)
{
	struct pl_stream_topic *to = &relay->streams.topics[topic];
	int partitions = to->partitions;
	struct pl_stream *stream;

	if (partitions == 0) {
		partitions = pl_producer_partitions(relay->producer, to->name, err);
		if (partitions < 0)
			return partitions;
		resize(relay, topic, partitions);
	}
	if (relay->streams.next >= relay->streams.end && reserve(relay, err) < 0)
		return err->code;
	message->partition = pl_producer_partition(message, partitions);
	if (message->partition >= PL_SEQUENCE_PARTITIONS_MAX)
		return 0; // sent without a number rather than waiting for one
	row->slot = pl_streams_slot(topic, message->partition);
	stream = pl_streams_at(&relay->streams, row->slot);
	row->prev = pl_streams_previous(stream);
	row->seq = pl_streams_take(&relay->streams, stream);
	return 0;
}

int pl_relay_number(struct pl_relay *relay, const struct pl_resource *resource,
                    struct pl_outgoing_message *message, struct pl_in_flight_row *row,
                    struct pl_sequence_text *text, struct pl_error *err)
{
	int code = number_row(relay, pl_streams_topic(&relay->streams, resource->topic), message, row, err);

	if (code < 0 || row->seq == 0)
		return code;
	snprintf(text->numbers, sizeof(text->numbers), "%lld/%lld/%lld/%lld", (long long)row->seq,
	         (long long)row->prev, (long long)relay->generation, (long long)row->id);
	if (row->id > atomic_load_explicit(&relay->stats.sent_id, memory_order_relaxed))
		NOTE(relay, sent_id, row->id);
	message->headers[message->nheaders++] =
		(struct pl_message_header){ PL_SEQUENCE_HEADER, text->numbers, strlen(text->numbers) };
	if (row->prev < relay->marks.restarted_seq) {
		snprintf(text->run, sizeof(text->run), "%lld", (long long)relay->marks.restarted_seq);
		message->headers[message->nheaders++] =
			(struct pl_message_header){ PL_SEQUENCE_RUN_HEADER, text->run, strlen(text->run) };
	}
	return 0;
}

// Called when what is in flight may not arrive.
void pl_relay_break(struct pl_relay *relay, enum pl_in_flight_state state, bool all)
{
	for (int i = 0; i < relay->in_flight.n; i++) {
		const struct pl_in_flight_row *row = &relay->in_flight.rows[i];

		if (!all && row->state != state)
			continue;
		pl_id_ranges_remove(&relay->cursor.read, row->id);
		if (row->seq > 0)
			pl_streams_break(pl_streams_at(&relay->streams, row->slot), row->prev);
	}
}

// ---- acknowledged rows

static bool has_others(const struct pl_relay *relay)
{
	return relay->config->nregions > 1;
}

static bool renumber(struct pl_relay *relay, int64_t id, struct pl_error *err)
{
	int64_t new_id;

	if (pl_outbox_renumber(relay->session, id, &new_id, err) < 0)
		return false;
	if (new_id > 0) {
		pl_id_ranges_add(&relay->cursor.read, new_id);
		if (new_id > relay->cursor.high)
			relay->cursor.high = new_id;
	}
	relay->renumber_id = 0;
	return true;
}

static bool take_settled(struct pl_relay *relay, struct pl_error *err)
{
	int n = pl_in_flight_settled(&relay->in_flight);

	if (n == 0)
		return true;
	for (int i = 0; i < n; i++) {
		const struct pl_in_flight_row *row = &relay->in_flight.rows[i];
		struct pl_stream *stream = row->seq > 0 ? pl_streams_at(&relay->streams, row->slot) : NULL;

		if (stream && row->seq > stream->settled)
			stream->settled = row->seq;
		if (row->id == relay->renumber_id && !renumber(relay, row->id, err))
			return false;
	}
	relay->rows_total += n;
	relay->kept += n;
	pl_in_flight_drop(&relay->in_flight, PL_IN_FLIGHT_DONE, relay->in_flight.rows[n - 1].id);
	return true;
}

static bool due_to_settle(const struct pl_relay *relay, int64_t now_us)
{
	if (relay->in_flight.done > 0 &&
	    (relay->in_flight.sent == 0 || relay->in_flight.done >= relay->config->kafka.relay_batch))
		return true;
	return (relay->in_flight.done > 0 || pl_outbox_has_gap(&relay->cursor)) &&
	       now_us >= relay->settle_at_us;
}

// Removes acknowledged rows from those in flight, and advances the floor if possible.
bool pl_relay_settle(struct pl_relay *relay)
{
	struct pl_error err = { 0 };
	int64_t now_us = pl_mono_us();
	bool ok;

	if (!due_to_settle(relay, now_us))
		return true;
	ok = take_settled(relay, &err);
	pl_outbox_advance(&relay->cursor, pl_in_flight_first(&relay->in_flight));
	if (ok && pl_outbox_has_gap(&relay->cursor) && now_us >= relay->settle_at_us) {
		ok = pl_outbox_settle(relay->session, &relay->cursor, &err) == 0;
		relay->wanted |= relay->cursor.next_floor > relay->cursor.floor;
	}
	relay->settle_at_us = now_us + SETTLE_US;
	if (!ok) {
		pl_relay_database_failed(relay, &err);
		return false;
	}
	if (relay->level)
		NOTE(relay, outbox_events, relay->in_flight.n);
	if (relay->level && relay->in_flight.n == 0)
		NOTE(relay, outbox_oldest_us, 0);
	return true;
}

// ---- marks

static const struct pl_mark *newest(const struct pl_relay *relay)
{
	return &relay->marks.marks[relay->marks.n - 1];
}

static int make_mark(struct pl_relay *relay, struct pl_error *err)
{
	struct pl_mark mark = { .floor = relay->cursor.floor,
		                .rows_total = relay->rows_total,
		                .made_us = pl_mono_us() };
	int64_t ids[PL_MARKS_MAX];
	int n;

	pl_streams_settled(&relay->streams, &mark.published);
	if (pl_outbox_marks_add(relay->session, &mark, err) < 0) {
		pl_sequence_fini(&mark.published);
		return err->code;
	}
	pl_marks_add(&relay->marks, &mark);
	n = pl_marks_thin(&relay->marks, ids);
	return n > 0 ? pl_outbox_marks_drop(relay->session, ids, n, err) : 0;
}

// When the next mark is due; INT64_MAX: there is nothing to mark.
static int64_t mark_due_us(const struct pl_relay *relay)
{
	bool quiet = relay->in_flight.n == 0 && relay->cursor.floor == relay->cursor.high;

	if (relay->cursor.floor <= newest(relay)->floor)
		return INT64_MAX;
	if (!has_others(relay) || !relay->marked_us)
		return 0;
	return relay->marked_us + (quiet ? MARK_US : MARK_BUSY_US);
}

static int mark_if_due(struct pl_relay *relay, int64_t now_us, struct pl_error *err)
{
	if (now_us < mark_due_us(relay))
		return 0;
	relay->marked_us = now_us;
	return make_mark(relay, err);
}

int pl_relay_begin(struct pl_relay *relay, struct pl_error *err)
{
	int code = pl_outbox_marks_load(relay->session, &relay->marks, err);

	if (code < 0 ||
	    (code = pl_outbox_count(relay->session, newest(relay)->floor, &relay->kept, err)) < 0 ||
	    (code = pl_outbox_marks_generation(relay->session, &relay->generation, err)) < 0 ||
	    (code = reserve(relay, err)) < 0)
		return code;
	relay->rows_total = newest(relay)->rows_total;
	relay->deleted_to = 0;
	relay->delete_to = relay->marks.marks[0].floor;
	relay->marks.restarted_seq = relay->streams.next;
	relay->rewind = false;
	pl_outbox_begin(&relay->cursor, newest(relay)->floor);
	pl_streams_restart(&relay->streams, &newest(relay)->published);
	if (relay->kept > 0)
		pl_info("relay: %lld published events are kept until every region has applied them",
		        (long long)relay->kept);
	return 0;
}

// ---- reports of the regions

static void list_regions(struct pl_relay *relay)
{
	const struct pl_config *config = relay->config;
	int n = 0;

	for (int i = 0; i < config->nregions; i++)
		if (strcmp(config->regions[i].name, relay->region->name) != 0) {
			struct pl_mark_region *region = &relay->regions[n++];

			if (strcmp(region->name, config->regions[i].name) == 0)
				continue;
			pl_sequence_fini(&region->received);
			memset(region, 0, sizeof(*region));
			snprintf(region->name, sizeof(region->name), "%s", config->regions[i].name);
			region->counts = true;
		}
	for (int i = n; i < relay->nregions; i++)
		pl_sequence_fini(&relay->regions[i].received);
	memset(&relay->regions[n], 0, sizeof(relay->regions[0]) * (size_t)(PL_REGIONS_MAX - n));
	relay->nregions = n;
}

// Rows are kept for a region as long as it sends heartbeats; for one that never sent
// any, from the first mark on.
static void judge(struct pl_relay *relay, struct pl_mark_region *region)
{
	int64_t silent_us =
		region->silent_us >= 0 ? region->silent_us : pl_mono_us() - relay->marks.marks[0].made_us;
	bool counted = region->counts, was_lost = region->lost;
	int received = pl_marks_received(&relay->marks, region);

	region->counts = silent_us < relay->config->outbox.retention_us;
	region->unapplied = relay->rows_total - relay->marks.marks[received].rows_total + relay->in_flight.n;
	if (received == relay->marks.n - 1 && relay->cursor.floor == newest(relay)->floor)
		region->unapplied = relay->in_flight.n;
	if (counted && !region->counts)
		pl_err("relay: region %s has been silent for outbox.retention; events are no longer "
		       "kept for it; when it is back it asks for what it lacks (repair: automatic), or "
		       "plist-admin repair has to be run",
		       region->name);
	if (!was_lost && region->lost)
		pl_err("relay: region %s lacks events that are no longer kept; until it has asked for them "
		       "and received them (repair: automatic), or plist-admin repair has been run, "
		       "it is not equal",
		       region->name);
}

// The index of the newest mark that all regions that count have received.
static int received_by_all(struct pl_relay *relay)
{
	int least = relay->marks.n - 1;

	for (int i = 0; i < relay->nregions; i++) {
		int received = relay->regions[i].counts ? pl_marks_received(&relay->marks, &relay->regions[i])
		                                        : least;

		least = received < least ? received : least;
	}
	return least;
}

// The index of the mark after which events have to be sent again; -1: nothing was lost.
static int lost_behind(struct pl_relay *relay, const char **region_r)
{
	int64_t before_us = pl_mono_us() - WELL_AFTER * relay->config->kafka.heartbeat_us;
	int behind = -1;

	for (int i = 0; i < relay->nregions; i++) {
		struct pl_mark_region *region = &relay->regions[i];
		int received = pl_marks_received(&relay->marks, region);

		// An old heartbeat says nothing about events published since.
		if (!region->heard || region->silent_us > WELL_AFTER * relay->config->kafka.heartbeat_us ||
		    !pl_marks_lacks(&relay->marks, received, region, before_us))
			continue;
		if (behind < 0 || received < behind) {
			behind = received;
			*region_r = region->name;
		}
	}
	return behind;
}

static int let_go(struct pl_relay *relay, struct pl_error *err)
{
	int at = received_by_all(relay);

	if (at == 0)
		return 0;
	if (pl_outbox_marks_rebase(relay->session, relay->marks.marks[at].id, err) < 0)
		return err->code;
	relay->delete_to = relay->marks.marks[at].floor;
	pl_marks_rebase(&relay->marks, at);
	return 0;
}

static void publish_regions(struct pl_relay *relay)
{
	pthread_mutex_lock(&relay->mutex);
	relay->nseen = relay->nregions;
	for (int i = 0; i < relay->nregions; i++) {
		const struct pl_mark_region *region = &relay->regions[i];
		struct pl_relay_region *seen = &relay->seen[i];

		snprintf(seen->name, sizeof(seen->name), "%s", region->name);
		seen->unapplied = region->unapplied;
		seen->kept_for = region->counts;
		seen->lost = region->lost || !region->counts;
		seen->disbelieved = region->disbelieved;
	}
	pthread_mutex_unlock(&relay->mutex);
}

// No region can have received numbers that were never given out. A report of them is
// somebody else's, or a message of somebody else was taken for one of ours; believing it
// would delete rows that no region has.
static void disbelieve(struct pl_relay *relay, struct pl_mark_region *region)
{
	region->disbelieved = region->heard && !pl_marks_possible(region, relay->streams.end);
	if (!region->disbelieved)
		return;
	region->heard = false;
	if (pl_log_limit_ok(&relay->report_limit, 60 * SECOND))
		pl_err("relay: region %s reports that it has received events that this region has never "
		       "published; nothing is deleted because of it; check which other programs may write to "
		       "the topics",
		       region->name);
}

static int look_at_regions(struct pl_relay *relay, int64_t now_us, struct pl_error *err)
{
	const char *name = NULL;
	int behind, code;

	list_regions(relay);
	code = pl_outbox_marks_heard(relay->session, relay->region->name, relay->regions, relay->nregions,
	                             err);
	if (code < 0)
		return code;
	for (int i = 0; i < relay->nregions; i++) {
		disbelieve(relay, &relay->regions[i]);
		judge(relay, &relay->regions[i]);
	}
	behind = lost_behind(relay, &name);
	if (behind >= 0 && !relay->rewind && now_us >= relay->rewind_at_us) {
		relay->rewind = true;
		pl_warning(
			"relay: region %s has not received %lld published events, which are lost in Kafka; "
			"publishing again from event %lld on",
			name, (long long)(relay->rows_total - relay->marks.marks[behind].rows_total),
			(long long)relay->marks.marks[behind].floor + 1);
	} else if (behind < 0 && now_us >= relay->rewind_at_us + SECOND * 60) {
		pl_backoff_reset(&relay->rewind_backoff);
	}
	publish_regions(relay);
	return let_go(relay, err);
}

// ---- publishing again

bool pl_relay_rewinds(const struct pl_relay *relay)
{
	return relay->rewind;
}

static int rewind_to(struct pl_relay *relay, int at, struct pl_error *err)
{
	const struct pl_mark *mark = &relay->marks.marks[at];
	int64_t rows = relay->rows_total - mark->rows_total;

	if (pl_outbox_marks_cut(relay->session, mark->id, err) < 0)
		return err->code;
	COUNT(relay, rewinds, 1);
	COUNT(relay, republished, rows);
	relay->rows_total = mark->rows_total;
	relay->kept = relay->kept > rows ? relay->kept - rows : 0;
	pl_marks_cut(&relay->marks, at);
	pl_outbox_begin(&relay->cursor, mark->floor);
	pl_streams_restart(&relay->streams, &mark->published);
	relay->marks.restarted_seq = relay->streams.next;
	relay->wanted = true;
	relay->marked_us = 0;
	return 0;
}

// Only with nothing in flight, so that a late answer is not mistaken for one to a new
// message.
static int rewind_if_asked(struct pl_relay *relay, int64_t now_us, struct pl_error *err)
{
	const char *name;
	int at;

	if (!relay->rewind || relay->in_flight.n > 0)
		return 0;
	at = lost_behind(relay, &name);
	relay->rewind = false;
	relay->rewind_at_us = now_us + pl_backoff_next(&relay->rewind_backoff);
	return rewind_to(relay, at >= 0 ? at : received_by_all(relay), err);
}

// ---- deleting

static int delete_some(struct pl_relay *relay, int64_t now_us, struct pl_error *err)
{
	int deleted = 0;

	if (relay->deleted_to >= relay->delete_to || now_us < relay->delete_at_us)
		return 0;
	relay->delete_at_us = now_us + DELETE_GAP_US;
	if (pl_outbox_delete(relay->session, &relay->deleted_to, relay->delete_to, DELETE_ROWS, &deleted,
	                     err) < 0)
		return err->code;
	relay->kept = relay->kept > deleted ? relay->kept - deleted : 0;
	return 0;
}

bool pl_relay_keep_marks(struct pl_relay *relay, int64_t now_us)
{
	struct pl_error err = { 0 };
	int code = mark_if_due(relay, now_us, &err);

	if (code == 0 && !has_others(relay) && newest(relay)->floor > relay->delete_to)
		code = let_go(relay, &err);
	if (code == 0 && has_others(relay) && now_us >= relay->look_at_us) {
		relay->look_at_us = now_us + LOOK_US;
		code = look_at_regions(relay, now_us, &err);
	}
	if (code == 0)
		code = rewind_if_asked(relay, now_us, &err);
	if (code == 0)
		code = delete_some(relay, now_us, &err);
	NOTE(relay, kept_rows, relay->kept);
	if (code == 0)
		return true;
	pl_relay_database_failed(relay, &err);
	return false;
}

int64_t pl_relay_marks_due_us(const struct pl_relay *relay)
{
	int64_t due_us = relay->look_at_us;

	if (!has_others(relay))
		due_us = INT64_MAX;
	if (relay->deleted_to < relay->delete_to && relay->delete_at_us < due_us)
		due_us = relay->delete_at_us;
	if ((pl_outbox_has_gap(&relay->cursor) || relay->in_flight.done > 0) && relay->settle_at_us < due_us)
		due_us = relay->settle_at_us;
	return mark_due_us(relay) < due_us ? mark_due_us(relay) : due_us;
}

// Called when the thread ends: makes a mark of what is acknowledged, so that the next
// relay does not send it again.
void pl_relay_end(struct pl_relay *relay)
{
	struct pl_error err = { 0 };
	struct pl_outbox_batch batch;
	int64_t before;

	if (!relay->leader || !take_settled(relay, &err))
		return;
	pl_outbox_advance(&relay->cursor, pl_in_flight_first(&relay->in_flight));
	for (int i = 0; i < 3 && pl_outbox_has_gap(&relay->cursor); i++) {
		if (pl_outbox_settle(relay->session, &relay->cursor, &err) < 0 ||
		    pl_outbox_read(relay->session, &relay->cursor, pl_in_flight_first(&relay->in_flight), 1,
		                   &batch, &err) < 0)
			return;
		pl_outbox_batch_fini(&batch);
	}
	relay->marked_us = 0;
	if (mark_if_due(relay, pl_mono_us(), &err) < 0 || has_others(relay) || let_go(relay, &err) < 0)
		return;
	do {
		before = relay->deleted_to;
		relay->delete_at_us = 0;
	} while (delete_some(relay, pl_mono_us(), &err) == 0 && relay->deleted_to > before);
}

int pl_relay_regions(struct pl_relay *relay, struct pl_relay_region regions_r[PL_REGIONS_MAX])
{
	int n;

	pthread_mutex_lock(&relay->mutex);
	n = relay->nseen;
	memcpy(regions_r, relay->seen, sizeof(regions_r[0]) * (size_t)n);
	pthread_mutex_unlock(&relay->mutex);
	return n;
}

void pl_relay_forget_regions(struct pl_relay *relay)
{
	pthread_mutex_lock(&relay->mutex);
	relay->nseen = 0;
	pthread_mutex_unlock(&relay->mutex);
	NOTE(relay, kept_rows, 0);
}
