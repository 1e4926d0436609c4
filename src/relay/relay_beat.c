// Heartbeats, and what is counted for them and for the statistics.
//
// Beside relay/relay. The leader's heartbeat speaks for the region. If its
// database was not accepted (db/owner.h), it says only who it is, what it knows of the
// others and what it asks, since they may be waiting to hear from it, too: what it has
// published, received and served could be those of another database of the region.
// Threads: the relay's.
#include "relay/daemon_fields.h"
#include "relay/relay_private.h"

#define SOON_US (SECOND / 10) // between two heartbeats, whoever asks for them

// The number of rows in the outbox that the broker has not acknowledged. The statistics
// also count acknowledged rows above the floor, which are subtracted here.
static int look_at_outbox(struct pl_relay *relay, struct pl_outbox_look *look_r, struct pl_error *err)
{
	int64_t first = pl_in_flight_first(&relay->in_flight), acknowledged;
	int code = pl_outbox_look(relay->session, relay->leader ? relay->cursor.floor : -1,
	                          !relay->leader       ? 0
	                          : first == INT64_MAX ? relay->cursor.high
	                                               : first - 1,
	                          look_r, err);

	if (code < 0 || !relay->leader)
		return code;
	acknowledged = relay->cursor.read.ids - relay->in_flight.n;
	look_r->events -= acknowledged < look_r->events ? acknowledged : look_r->events;
	if (look_r->events < relay->in_flight.n)
		look_r->events = relay->in_flight.n;
	return 0;
}

// The position belongs to the generation that was read with the word.
static int add_numbers(struct pl_relay *relay, struct pl_heartbeat *heartbeat, struct pl_buf *applied,
                       struct pl_error *err)
{
	int code = pl_outbox_marks_applied(relay->session, applied, err);

	return code < 0 ? code : pl_relay_position(relay, &heartbeat->position, &heartbeat->passed, err);
}

static void send_heartbeat(struct pl_relay *relay, struct pl_heartbeat *heartbeat)
{
	struct pl_outgoing_message message = { .key = relay->region->name,
		                               .key_len = strlen(relay->region->name),
		                               .partition = -1 };
	struct pl_buf value = { 0 }, policies = { 0 }, published = { 0 }, applied = { 0 }, word = { 0 },
		      fields = { 0 };
	struct pl_sequences settled = { 0 };
	struct pl_error err = { 0 };

	pl_policy_ids_print(&policies, relay->policies);
	pl_streams_settled(&relay->streams, &settled);
	pl_sequence_print(&published, &settled);
	heartbeat->policies = policies.data;
	if (pl_outbox_marks_word(relay->session, relay->region->name, relay->leader, &word,
	                         &relay->generation, &err) < 0 ||
	    (relay->leader && add_numbers(relay, heartbeat, &applied, &err) < 0) ||
	    pl_daemon_fields_beat(relay->session, relay->config, relay->region, &fields, &err) < 0) {
		pl_relay_database_failed(relay, &err);
	} else {
		heartbeat->published = relay->leader ? published.data : NULL;
		heartbeat->applied = relay->leader ? applied.data : NULL;
		heartbeat->word = word.data;
		heartbeat->fields = fields.data;
		pl_heartbeat_print(&value, heartbeat);
		message.value = value.data;
		message.value_len = value.len;
		relay->heartbeat_sent =
			pl_producer_send(relay->producer, relay->config->kafka.heartbeat_topic, &message,
		                         HEARTBEAT_TAG, &err) == 0;
	}
	pl_sequence_fini(&settled);
	pl_buf_fini(&value);
	pl_buf_fini(&policies);
	pl_buf_fini(&published);
	pl_buf_fini(&applied);
	pl_buf_fini(&word);
	pl_buf_fini(&fields);
}

// For a daemon that does not lead: the leader's heartbeat says what it knows.
static bool note_fields(struct pl_relay *relay)
{
	struct pl_buf all = { 0 };
	struct pl_error err = { 0 };
	int code = pl_daemon_fields_beat(relay->session, relay->config, relay->region, &all, &err);

	pl_buf_fini(&all);
	if (code < 0)
		pl_relay_database_failed(relay, &err);
	return code == 0;
}

void pl_relay_set_beat_soon(struct pl_relay *relay, atomic_bool *beat_soon)
{
	atomic_store(&relay->beat_soon, beat_soon);
}

static bool is_due(struct pl_relay *relay, int64_t now_us)
{
	atomic_bool *soon = atomic_load(&relay->beat_soon);
	int64_t last_us = relay->beat_at_us - relay->config->kafka.heartbeat_us;

	return now_us >= relay->beat_at_us ||
	       (soon && now_us >= last_us + SOON_US && atomic_exchange(soon, false));
}

bool pl_relay_beat_if_due(struct pl_relay *relay, int64_t now_us)
{
	struct pl_heartbeat heartbeat = { .sent_at_us = pl_now_us() };
	struct pl_outbox_look look;
	struct pl_error err = { 0 };

	if (!is_due(relay, now_us))
		return true;
	relay->beat_at_us = pl_mono_us() + relay->config->kafka.heartbeat_us;
	if (pl_session_look(relay->session, &err) < 0 || look_at_outbox(relay, &look, &err) < 0) {
		pl_relay_database_failed(relay, &err);
		return false;
	}
	strcpy(heartbeat.region, relay->region->name);
	heartbeat.outbox_events = look.events;
	heartbeat.outbox_oldest_us = look.events > 0 ? heartbeat.sent_at_us - look.oldest_age_us : 0;
	NOTE(relay, outbox_events, look.events);
	NOTE(relay, outbox_oldest_us, heartbeat.outbox_oldest_us);
	NOTE(relay, refused, relay->refused = look.refused);
	if (relay->topics_ready && !relay->heartbeat_sent)
		send_heartbeat(relay, &heartbeat);
	if (!relay->leader)
		return !relay->accepted || note_fields(relay);
	if (!relay->topics_ready) // without a broker nothing else is asked
		pl_relay_database_works(relay);
	return true;
}
