// Gaps: whether everything that the other regions say they have published has arrived
// here.
//
// Called by apply/applier once a second. A heartbeat names the last number that its
// region has published to each partition. A number that has not arrived is not a gap
// yet: its message may be in flight, or in a backlog. It is a gap if this applier has
// reached the end of the partition, or has received later messages, and this is still
// so some heartbeats later. Then the region reports it in its own heartbeats (level,
// chain), and the origin republishes what it still has (relay/relay_marks.c). Until the
// message arrives, the origin's state is `gap`.
// Threads: the applier's.
#include "apply/applier_private.h"

#include "event/audit_mail.h"

#define ASK_MS 1000

static int64_t patience_us(const struct pl_applier *applier)
{
	int64_t us = 2 * applier->config->kafka.heartbeat_us;

	return us < SECOND ? SECOND : us;
}

// Whether the partition was read to its end. The broker is asked only if the last known
// end leaves that open. If it does not answer, nothing is known.
static bool is_level(struct pl_applier *applier, const struct pl_fetch_partition *p, bool *asks)
{
	struct pl_offset_range range = { .end = pl_consumer_end(applier->consumer, p->topic, p->partition) };
	struct pl_error ignored;

	if (!*asks || (range.end >= 0 && p->next >= 0 && p->next < range.end))
		return false;
	if (pl_consumer_ask_range(applier->consumer, p->topic, p->partition, ASK_MS, &range, &ignored) < 0) {
		*asks = false;
		return false;
	}
	return p->next < 0 ? range.first == range.end : p->next >= range.end;
}

// How long the origin's number `published` has been missing, as far as is known.
static int64_t missing_us(struct pl_applied_sequence *s, int64_t published, int64_t now_us)
{
	if (published <= s->known.seq) {
		s->claim = 0;
		return 0;
	}
	if (s->claim == 0 || s->known.seq >= s->claim || s->claim > published) {
		s->claim = published;
		s->claim_us = now_us;
	}
	return now_us - s->claim_us;
}

static void tell(struct pl_applier *applier, struct pl_applied_sequence *s, bool gap, int64_t published)
{
	if (gap && !s->reported) {
		atomic_fetch_add(&applier->stats.gaps_total, 1);
		pl_warning("events of region %s are missing in %s %d: received up to %lld, published "
		           "up to %lld; "
		           "region %s publishes them again if it still has them",
		           s->origin, s->topic, s->partition, (long long)s->known.seq, (long long)published,
		           s->origin);
	} else if (!gap && s->reported) {
		pl_notice("the events of region %s that were missing in %s %d have arrived", s->origin,
		          s->topic, s->partition);
	}
	s->reported = gap;
}

struct look {
	struct pl_applier *applier;
	bool asks;
	int64_t now_us;
	struct pl_sequence_write *writes;
	int nwrites, gaps;
};

static void look_at(struct look *look, const struct pl_lag_tracker_published *origin,
                    const struct pl_fetch_partition *p)
{
	const struct pl_sequence *published = pl_sequence_find(&origin->published, p->topic, p->partition);
	struct pl_applied_sequence *s;
	bool late, level;

	if (!published || published->seq == 0)
		return;
	s = pl_sequences_of(&look->applier->sequences, origin->region, strlen(origin->region), p->topic,
	                    p->partition);
	late = missing_us(s, published->seq, look->now_us) >= patience_us(look->applier);
	level = late && is_level(look->applier, p, &look->asks);
	if (late && (level || s->known.chain_to > 0))
		look->gaps++;
	tell(look->applier, s, late && (level || s->known.chain_to > 0), published->seq);
	if (level == s->known.level)
		return;
	look->writes[look->nwrites] = (struct pl_sequence_write){ s, s->known };
	look->writes[look->nwrites++].to.level = level;
}

bool pl_applier_check_sequences(struct pl_applier *applier, struct pl_error *err)
{
	struct pl_lag_tracker_published origins[PL_REGIONS_MAX];
	int n = pl_lag_tracker_published(applier->tracker, origins),
	    npartitions = applier->buffer.npartitions;
	struct look look = { .applier = applier, .now_us = pl_mono_us() };
	int code = pl_sequences_load(&applier->sequences, applier->tools.session, err);

	if (applier->consumer)
		pl_consumer_contact(applier->consumer, &look.asks);
	look.writes = pl_arena_array(applier->arena, (size_t)(n * npartitions) + 1, sizeof(look.writes[0]));
	for (int i = 0; i < n; i++) {
		look.gaps = 0;
		for (int j = 0; code == 0 && applier->consumer && j < npartitions; j++)
			look_at(&look, &origins[i], &applier->buffer.partitions[j]);
		pl_lag_tracker_gaps(applier->tracker, applier->index, origins[i].region, look.gaps,
		                    pl_now_us());
		pl_sequence_fini(&origins[i].published);
	}
	if (code == 0 && look.nwrites > 0)
		code = pl_apply_rows_positions(
			applier->tools.sql, applier->tools.session,
			&(struct pl_apply_outcome){ .numbers = look.writes, .nnumbers = look.nwrites }, err);
	if (code == 0)
		pl_sequences_written(look.writes, look.nwrites);
	return code == 0;
}

static void tell_audit(struct pl_applier *applier)
{
	struct pl_audit_mail *mail = atomic_load(&applier->mail);

	for (int i = 0; i < PL_REGIONS_MAX && mail; i++)
		if (applier->reached.of[i].passed.id > 0)
			pl_audit_mail_note_passed(mail, applier->reached.of[i].region,
			                          &applier->reached.of[i].passed);
}

void pl_applier_forget_reached(struct pl_applier *applier)
{
	struct pl_audit_mail *mail = atomic_load(&applier->mail);

	pl_reached_fini(&applier->reached);
	if (mail && applier->index == 0)
		pl_audit_mail_forget_passed(mail);
}

void pl_applier_reach(struct pl_applier *applier, int64_t now_us)
{
	struct pl_error err = { 0 };

	if (!pl_reached_due(&applier->reached, now_us) || !pl_session_connected(applier->tools.session) ||
	    applier->unchecked)
		return;
	if (pl_reached_look(&applier->reached, &applier->sequences, applier->tools.session, &err) < 0)
		pl_applier_database_failed(applier, &err);
	else
		tell_audit(applier);
}
