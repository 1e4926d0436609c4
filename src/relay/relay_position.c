// Up to which row of the outbox everything was published, for the other regions.
//
// Beside relay/relay. Each heartbeat carries the position with the sequence numbers that
// belong to it, and whenever it has moved it is sent in a message of its own, up to ten
// times a second: clients wait until a region has reached it (seen/seen.c). It is the
// cursor's floor, below which no more rows can appear (relay/outbox), except that
//
// - a row that Kafka refused was set aside, and the floor has passed it: the position
//   stays below the first of them, until it is published under another id. How far the
//   floor has passed them is reported, too: the audit goes by that, or one event that
//   Kafka refuses for good would end all comparing;
// - a row in flight, such as one that had been refused, may be below the floor.
//
// A relay that starts, or goes back, sends rows again, and the floor is lower than the
// position that it had reported. Positions that were reported remain true: the rows were
// acknowledged with those numbers. But a region may have received none of the last of
// them, and the first of the new numbers follows directly on what it has. So the first
// message of a run in each partition says where the run's numbers begin (the header
// plist-run), and from then on a region no longer believes positions that came with lower
// numbers (apply/reached).
// Threads: the relay's.
#include "relay/relay_private.h"

#define TELL_US (SECOND / 10)

static int first_refused(struct pl_relay *relay, int64_t *id_r, struct pl_error *err)
{
	*id_r = INT64_MAX;
	return relay->refused > 0 ? pl_outbox_first_refused(relay->session, id_r, err) : 0;
}

int pl_relay_position(struct pl_relay *relay, struct pl_outbox_place *position_r, int64_t *passed_r,
                      struct pl_error *err)
{
	int64_t refused, first = pl_in_flight_first(&relay->in_flight);
	int code = first_refused(relay, &refused, err);

	if (code < 0)
		return code;
	*position_r = (struct pl_outbox_place){ relay->generation, relay->cursor.floor };
	if (first <= position_r->id)
		position_r->id = first - 1;
	*passed_r = position_r->id;
	if (refused <= position_r->id)
		position_r->id = refused - 1;
	return 0;
}

static void send_position(struct pl_relay *relay, const struct pl_outbox_place *position, int64_t passed)
{
	struct pl_outgoing_message message = { .key = relay->region->name,
		                               .key_len = strlen(relay->region->name),
		                               .partition = -1 };
	struct pl_sequences settled = { 0 };
	struct pl_buf value = { 0 }, published = { 0 };
	struct pl_error err = { 0 };

	pl_streams_settled(&relay->streams, &settled);
	pl_sequence_print(&published, &settled);
	pl_heartbeat_print_position(&value, relay->region->name, position, passed, published.data);
	message.value = value.data;
	message.value_len = value.len;
	if (pl_producer_send(relay->producer, relay->config->kafka.heartbeat_topic, &message,
	                     PL_RELAY_POSITION_TAG, &err) == 0) {
		relay->told = *position;
		relay->told_passed = passed;
	}
	pl_sequence_fini(&settled);
	pl_buf_fini(&value);
	pl_buf_fini(&published);
}

static bool may_tell(const struct pl_relay *relay)
{
	return relay->config->nregions > 1 && relay->topics_ready && relay->generation > 0 &&
	       relay->cursor.floor > 0;
}

// False: the database failed.
bool pl_relay_tell_position(struct pl_relay *relay, int64_t now_us)
{
	struct pl_outbox_place position;
	int64_t passed;
	struct pl_error err = { 0 };

	if (!may_tell(relay) || now_us < relay->tell_at_us || relay->told_floor == relay->cursor.floor)
		return true;
	if (pl_relay_position(relay, &position, &passed, &err) < 0) {
		pl_relay_database_failed(relay, &err);
		return false;
	}
	relay->tell_at_us = now_us + TELL_US;
	relay->told_floor = relay->cursor.floor;
	if (position.id != relay->told.id || position.generation != relay->told.generation ||
	    passed != relay->told_passed)
		send_position(relay, &position, passed);
	return true;
}

int64_t pl_relay_position_due_us(const struct pl_relay *relay)
{
	return may_tell(relay) && relay->told_floor != relay->cursor.floor ? relay->tell_at_us : INT64_MAX;
}
