// Events that cannot be published: finds them, sets them aside in the outbox, and
// retries them.
//
// Beside relay/relay. A broker refuses whole batches, so a refusal concerns all events
// of a batch and does not name the one that caused it. They are sent again in smaller
// and smaller portions, with nothing else in flight, until a single event is refused.
// That one stays in the outbox with the reason (relay/outbox) and is skipped from then
// on. The producer is not at fault and is kept. An event that cannot be encoded, or
// whose resource is not configured, is set aside immediately.
//
// Each of them is retried at a set time, alone, so that it cannot fail others. A change
// of the configuration or of a topic makes all of them due, and a takeover those whose
// resource the previous relay did not know.
// Threads: the relay's.
#include "relay/relay_private.h"

#define RETRY_LOOK_US SECOND
#define RETRY_GAP_US  (SECOND / 50) // between two retries, so that other events are not delayed

bool pl_relay_refuse(struct pl_relay *relay, int64_t id, const char *what, const char *why)
{
	struct pl_error err = { 0 };
	int refusals;

	if (pl_outbox_refuse(relay->session, id, why, &refusals, &err) < 0) {
		pl_relay_database_failed(relay, &err);
		return false;
	}
	COUNT(relay, failed, 1);
	if (refusals != 1)
		return true;
	NOTE(relay, refused, ++relay->refused);
	if (pl_log_limit_ok(&relay->refused_limit, SECOND / 10))
		pl_err("event %lld (%s) cannot be published: %s; it stays in the outbox and is "
		       "retried; others are not affected",
		       (long long)id, what, why);
	return true;
}

// They did not arrive, which the next message of each partition says.
static void break_refused(struct pl_relay *relay)
{
	pl_relay_break(relay, PL_IN_FLIGHT_REFUSED, false);
	pl_in_flight_drop(&relay->in_flight, PL_IN_FLIGHT_REFUSED, INT64_MAX);
}

// The only one that was in flight.
static bool refuse_the_last(struct pl_relay *relay)
{
	char why[1024];
	const struct pl_relay_sent *last = &relay->last;

	snprintf(why, sizeof(why), "%s (%zu bytes for topic %s%s)", relay->refusal, last->bytes, last->topic,
	         last->too_large ? "; raise its max.message.bytes, and the consumers' and replicas' fetch "
	                           "limits with it"
	                         : "");
	break_refused(relay);
	pl_id_ranges_add(&relay->cursor.read, last->id); // skipped by reads from now on; only retried
	relay->retrying = false;
	return pl_relay_refuse(relay, last->id, last->what, why);
}

bool pl_relay_settle_refused(struct pl_relay *relay)
{
	int n;

	if (relay->in_flight.refused == 0 || relay->in_flight.sent > 0)
		return true;
	if (relay->alone)
		return refuse_the_last(relay);
	n = pl_in_flight_recall(&relay->in_flight);
	break_refused(relay);
	relay->one_by_one += n;
	relay->portion = (n < relay->used ? n : relay->used) / 2;
	if (relay->portion < 1)
		relay->portion = 1;
	relay->wanted = true;
	return true;
}

bool pl_relay_retry_due(const struct pl_relay *relay, int64_t now_us)
{
	return relay->refused > 0 && relay->one_by_one == 0 && now_us >= relay->retry_at_us;
}

bool pl_relay_retry_refused(struct pl_relay *relay, int64_t now_us)
{
	struct pl_outbox_batch batch;
	struct pl_error err = { 0 };

	if (relay->retry_all && pl_outbox_retry(relay->session, &err) == 0) {
		relay->retry_all = false;
		relay->retry_at_us = 0;
	}
	if (err.code == 0 &&
	    (!pl_relay_retry_due(relay, now_us) || relay->in_flight.sent > 0 || relay->in_flight.refused > 0))
		return true;
	if (err.code != 0 || pl_outbox_read_refused(relay->session, &batch, &err) < 0) {
		pl_relay_database_failed(relay, &err);
		return false;
	}
	relay->retry_at_us = now_us + (batch.n > 0 ? RETRY_GAP_US : RETRY_LOOK_US);
	if (batch.n > 0) {
		relay->alone = relay->retrying = true;
		relay->used = 1;
		pl_relay_send_row(relay, &batch.rows[0]);
	}
	pl_outbox_batch_fini(&batch);
	pl_arena_reset(relay->arena);
	return true;
}
