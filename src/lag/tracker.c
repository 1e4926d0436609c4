// How far this region is behind: everything that is known about it, stored so that the
// answer is right at the moment of asking.
//
// Between the appliers, which write, and GET /:region/replication-lag, /metrics and
// plist-admin, which read.
// Threads: any; one lock, held briefly.
//
// What lag is
//
// Zero if no event is known that is not applied. Otherwise the age of the oldest such
// event. There are three ways to know of an event:
//
// - It is in Kafka, after our position. Events have a known time only once they are
//   fetched, so the tracker also remembers when it first saw an end that the position
//   has not reached since (the mark): the events are at least that old. With constant
//   traffic, the position passes each mark within moments, so the flow itself causes no
//   lag.
// - The applier holds it: then its broker's time is known. Between two batches of a
//   backlog, the last batch's time is used for the next one.
// - Its origin's heartbeat says that it is still in the outbox. Both times in a
//   heartbeat are the origin's, so clocks need not agree. While heartbeats arrive, the
//   age that they report is correct; when they stop, it keeps growing.
//
// None of this is known about a partition that no broker leads: as long as it has no
// leader, it is behind for at least that long. Nor about a silent origin: one without
// heartbeats for three intervals is behind for at least that long. To a daemon that has
// just started, an origin that it has not heard from yet is unknown, which is not 0.
// Events that an origin says it has published, and that did not arrive, are a gap: see
// apply/applier_sequences.c.
//
// While the broker is unavailable, nothing is known about new events, so lag counts
// from the last contact at which this region was up to date.
#include "lag/tracker.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define SECOND     INT64_C(1000000)
#define BEHIND_S   1.0
#define DELAYS     16
#define DELAYS_MIN 4            // the minimum number that says something about the clocks
#define CONTACT_US (5 * SECOND) // silence after which the broker counts as unavailable

struct partition {
	int applier;
	const char *topic;
	int32_t number;
	int64_t next, end, buffer;
	int64_t mark_end, mark_us; // 0: up to date
	int64_t unread_since_us;
};

struct origin {
	char region[PL_REGION_MAX + 1];
	// this region does not wait for an origin known only from its events and
	// heartbeats
	bool configured;
	int64_t outbox_events, outbox_age_us, heartbeat_us, last_event_us; // heartbeat_us: when it arrived
	int64_t buffer[PL_APPLIERS_MAX], oldest_us[PL_APPLIERS_MAX];
	char *policies;    // NULL: not reported
	int64_t before_us; // when the last heartbeat before this daemon's start arrived; 0: never
	struct pl_sequences published;
	int gaps[PL_APPLIERS_MAX]; // partitions in which events are missing, and since when
	int64_t gap_us;
	// How long the last heartbeats took to arrive, as the difference of the two
	// clocks.
	int64_t delays_us[DELAYS];
	int ndelays;
	struct pl_log_limit skew_limit;
};

struct pl_lag_tracker {
	pthread_mutex_t mutex;
	char own[PL_REGION_MAX + 1];
	int64_t patience_us; // a heartbeat that is older is overdue
	int64_t started_us, max_skew_us, interval_us;
	int npartitions;
	struct partition partitions[PL_LAG_PARTITIONS_MAX];
	int ntopics;
	char **topics; // each name once; kept until the end, since readers have pointers to them
	int norigins;
	struct origin origins[PL_REGIONS_MAX];
	bool up;
	int64_t contact_us, level_us; // the last contact; the last one at which nothing was behind
};

static struct origin *origin_named(struct pl_lag_tracker *tracker, const char *region)
{
	for (int i = 0; i < tracker->norigins; i++)
		if (strcmp(tracker->origins[i].region, region) == 0)
			return &tracker->origins[i];
	if (tracker->norigins == PL_REGIONS_MAX || strcmp(region, tracker->own) == 0)
		return NULL;
	memset(&tracker->origins[tracker->norigins], 0, sizeof(tracker->origins[0]));
	strncpy(tracker->origins[tracker->norigins].region, region, PL_REGION_MAX);
	return &tracker->origins[tracker->norigins++];
}

int64_t pl_lag_tracker_silent_us(const struct pl_config *config)
{
	return 3 * (config->kafka.heartbeat_us > SECOND ? config->kafka.heartbeat_us : SECOND);
}

struct pl_lag_tracker *pl_lag_tracker_new(const struct pl_config *config, const struct pl_region *region)
{
	struct pl_lag_tracker *tracker = pl_calloc(1, sizeof(*tracker));

	pthread_mutex_init(&tracker->mutex, NULL);
	strncpy(tracker->own, region->name, PL_REGION_MAX);
	tracker->patience_us = pl_lag_tracker_silent_us(config);
	tracker->contact_us = tracker->level_us = tracker->started_us = pl_now_us();
	pl_lag_tracker_regions(tracker, config);
	return tracker;
}

void pl_lag_tracker_regions(struct pl_lag_tracker *tracker, const struct pl_config *config)
{
	pthread_mutex_lock(&tracker->mutex);
	tracker->max_skew_us = config->max_clock_skew_us;
	tracker->interval_us = config->kafka.heartbeat_us;
	for (int i = 0; i < tracker->norigins; i++)
		tracker->origins[i].configured = false;
	for (int i = 0; i < config->nregions; i++) {
		struct origin *origin = origin_named(tracker, config->regions[i].name);

		if (origin)
			origin->configured = true;
	}
	pthread_mutex_unlock(&tracker->mutex);
}

static const char *topic_named(struct pl_lag_tracker *tracker, const char *name)
{
	for (int i = 0; i < tracker->ntopics; i++)
		if (strcmp(tracker->topics[i], name) == 0)
			return tracker->topics[i];
	tracker->topics =
		pl_realloc(tracker->topics, sizeof(tracker->topics[0]) * (size_t)(tracker->ntopics + 1));
	return tracker->topics[tracker->ntopics++] = pl_strdup(name);
}

static void drop_lane(struct pl_lag_tracker *tracker, int applier)
{
	int n = 0;

	for (int i = 0; i < tracker->npartitions; i++)
		if (tracker->partitions[i].applier != applier)
			tracker->partitions[n++] = tracker->partitions[i];
	tracker->npartitions = n;
}

void pl_lag_tracker_free(struct pl_lag_tracker **tracker_p)
{
	if (!*tracker_p)
		return;
	for (int i = 0; i < (*tracker_p)->ntopics; i++)
		free((*tracker_p)->topics[i]);
	free((*tracker_p)->topics);
	for (int i = 0; i < (*tracker_p)->norigins; i++) {
		free((*tracker_p)->origins[i].policies);
		pl_sequence_fini(&(*tracker_p)->origins[i].published);
	}
	pthread_mutex_destroy(&(*tracker_p)->mutex);
	free(*tracker_p);
	*tracker_p = NULL;
}

void pl_lag_tracker_assign(struct pl_lag_tracker *tracker, int applier,
                           const struct pl_lag_tracker_partition *partitions, int n)
{
	pthread_mutex_lock(&tracker->mutex);
	drop_lane(tracker, applier);
	for (int i = 0; i < n && tracker->npartitions < PL_LAG_PARTITIONS_MAX; i++)
		tracker->partitions[tracker->npartitions++] = (struct partition){
			.applier = applier,
			.topic = topic_named(tracker, partitions[i].topic),
			.number = partitions[i].partition,
			.next = partitions[i].next,
			.end = -1,
			.unread_since_us = partitions[i].unread_since_us,
		};
	for (int i = 0; i < tracker->norigins; i++)
		tracker->origins[i].buffer[applier] = tracker->origins[i].oldest_us[applier] = 0;
	pthread_mutex_unlock(&tracker->mutex);
}

static bool is_behind(const struct partition *p)
{
	return p->end >= 0 && p->next < p->end;
}

static void move_mark(struct partition *p, int64_t now_us)
{
	if (!is_behind(p)) {
		p->mark_us = 0;
	} else if (p->mark_us == 0 || p->next >= p->mark_end) {
		p->mark_us = now_us;
		p->mark_end = p->end;
	}
}

void pl_lag_tracker_progress(struct pl_lag_tracker *tracker, int applier,
                             const struct pl_lag_tracker_partition *partitions, int n, int64_t now_us)
{
	int at = 0;
	bool level = true;

	pthread_mutex_lock(&tracker->mutex);
	for (int i = 0; i < tracker->npartitions && at < n; i++) {
		struct partition *p = &tracker->partitions[i];

		if (p->applier != applier)
			continue;
		p->next = partitions[at].next < 0 ? 0 : partitions[at].next;
		p->end = partitions[at].end;
		p->buffer = partitions[at].buffer;
		move_mark(p, now_us);
		level = level && !is_behind(p);
		at++;
	}
	for (int i = 0; i < tracker->norigins && level; i++)
		tracker->origins[i].oldest_us[applier] = 0;
	pthread_mutex_unlock(&tracker->mutex);
}

void pl_lag_tracker_holds(struct pl_lag_tracker *tracker, int applier,
                          const struct pl_lag_tracker_held *buffer, int n)
{
	pthread_mutex_lock(&tracker->mutex);
	for (int i = 0; i < tracker->norigins;
	     i++) { // the age of the last ones is remembered until the applier is up to date
		tracker->origins[i].buffer[applier] = 0;
		if (n > 0)
			tracker->origins[i].oldest_us[applier] = 0;
	}
	for (int i = 0; i < n; i++) {
		struct origin *origin = origin_named(tracker, buffer[i].region);

		if (!origin)
			continue;
		origin->buffer[applier] = buffer[i].events;
		origin->oldest_us[applier] = buffer[i].oldest_us;
	}
	pthread_mutex_unlock(&tracker->mutex);
}

void pl_lag_tracker_applied(struct pl_lag_tracker *tracker, const char *region, int64_t event_us)
{
	struct origin *origin;

	pthread_mutex_lock(&tracker->mutex);
	origin = origin_named(tracker, region);
	if (origin && event_us > origin->last_event_us)
		origin->last_event_us = event_us;
	pthread_mutex_unlock(&tracker->mutex);
}

// The smallest delay is the difference of the clocks plus a short way through Kafka.
static bool skew_of(const struct origin *o, int64_t *skew_us_r)
{
	int n = o->ndelays < DELAYS ? o->ndelays : DELAYS;
	int64_t least = INT64_MAX;

	for (int i = 0; i < n; i++)
		least = o->delays_us[i] < least ? o->delays_us[i] : least;
	*skew_us_r = -least;
	return n >= DELAYS_MIN;
}

// Heartbeats that arrive in a burst have waited in Kafka and say nothing about clocks.
static void note_delay(struct pl_lag_tracker *tracker, struct origin *o, int64_t delay_us, int64_t since_us)
{
	int64_t skew_us;

	if (since_us < tracker->interval_us / 2)
		return;
	o->delays_us[o->ndelays++ % DELAYS] = delay_us;
	if (o->ndelays == 2 * DELAYS)
		o->ndelays = DELAYS;
	if (skew_of(o, &skew_us) && llabs(skew_us) > tracker->max_skew_us &&
	    pl_log_limit_ok(&o->skew_limit, 600 * SECOND))
		pl_warning("the clock of region %s is %.3f s %s this one's; last_writer_wins compares such "
		           "times",
		           o->region, (double)llabs(skew_us) / 1e6, skew_us > 0 ? "ahead of" : "behind");
}

void pl_lag_tracker_heartbeat(struct pl_lag_tracker *tracker, const struct pl_heartbeat *heartbeat,
                              int64_t now_us)
{
	struct origin *origin;

	pthread_mutex_lock(&tracker->mutex);
	origin = origin_named(tracker, heartbeat->region);
	if (origin) {
		origin->outbox_events = heartbeat->outbox_events;
		origin->outbox_age_us = heartbeat->outbox_events && heartbeat->outbox_oldest_us
		                                ? heartbeat->sent_at_us - heartbeat->outbox_oldest_us
		                                : 0;
		note_delay(tracker, origin, now_us - heartbeat->sent_at_us, now_us - origin->heartbeat_us);
		origin->heartbeat_us = now_us;
		pl_sequence_fini(&origin->published);
		if (heartbeat->published)
			pl_sequence_parse_text(heartbeat->published, &origin->published);
		free(origin->policies);
		origin->policies = pl_strdup(heartbeat->policies);
	}
	pthread_mutex_unlock(&tracker->mutex);
}

int pl_lag_tracker_published(struct pl_lag_tracker *tracker,
                             struct pl_lag_tracker_published published_r[PL_REGIONS_MAX])
{
	int n = 0;

	pthread_mutex_lock(&tracker->mutex);
	for (int i = 0; i < tracker->norigins; i++) {
		memset(&published_r[n], 0, sizeof(published_r[n]));
		memcpy(published_r[n].region, tracker->origins[i].region, sizeof(published_r[n].region));
		pl_sequence_copy(&published_r[n++].published, &tracker->origins[i].published);
	}
	pthread_mutex_unlock(&tracker->mutex);
	return n;
}

static int gaps_of(const struct origin *o)
{
	int n = 0;

	for (int i = 0; i < PL_APPLIERS_MAX; i++)
		n += o->gaps[i];
	return n;
}

void pl_lag_tracker_gaps(struct pl_lag_tracker *tracker, int applier, const char *region, int partitions,
                         int64_t now_us)
{
	struct origin *origin;

	pthread_mutex_lock(&tracker->mutex);
	origin = origin_named(tracker, region);
	if (origin) {
		origin->gaps[applier] = partitions;
		if (gaps_of(origin) == 0)
			origin->gap_us = 0;
		else if (origin->gap_us == 0)
			origin->gap_us = now_us;
	}
	pthread_mutex_unlock(&tracker->mutex);
}

void pl_lag_tracker_heard_before(struct pl_lag_tracker *tracker, const char *region, int64_t heard_us)
{
	struct origin *origin;

	pthread_mutex_lock(&tracker->mutex);
	origin = origin_named(tracker, region);
	if (origin && heard_us > origin->before_us)
		origin->before_us = heard_us;
	pthread_mutex_unlock(&tracker->mutex);
}

int pl_lag_tracker_policies(struct pl_lag_tracker *tracker, struct pl_arena *arena,
                            struct pl_lag_tracker_policies policies_r[PL_REGIONS_MAX])
{
	int n = 0;

	pthread_mutex_lock(&tracker->mutex);
	for (int i = 0; i < tracker->norigins; i++)
		if (tracker->origins[i].policies)
			policies_r[n++] = (struct pl_lag_tracker_policies){
				pl_arena_strdup(arena, tracker->origins[i].region),
				pl_arena_strdup(arena, tracker->origins[i].policies)
			};
	pthread_mutex_unlock(&tracker->mutex);
	return n;
}

static bool is_level(const struct pl_lag_tracker *tracker)
{
	for (int i = 0; i < tracker->npartitions; i++)
		if (is_behind(&tracker->partitions[i]) || tracker->partitions[i].end < 0)
			return false;
	return true;
}

void pl_lag_tracker_contact(struct pl_lag_tracker *tracker, bool up, int64_t now_us)
{
	pthread_mutex_lock(&tracker->mutex);
	tracker->up = up;
	if (up) {
		tracker->contact_us = now_us;
		if (is_level(tracker))
			tracker->level_us = now_us;
	}
	pthread_mutex_unlock(&tracker->mutex);
}

// ---- reading

static double age(int64_t from_us, int64_t now_us)
{
	return from_us > 0 && now_us > from_us ? (double)(now_us - from_us) / 1e6 : 0;
}

static double larger(double a, double b)
{
	return a > b ? a : b;
}

// The oldest event that the applier holds, or last held, of any origin.
static int64_t oldest_held(const struct pl_lag_tracker *tracker, int applier)
{
	int64_t oldest_us = 0;

	for (int i = 0; i < tracker->norigins; i++) {
		int64_t at_us = tracker->origins[i].oldest_us[applier];

		if (at_us > 0 && (oldest_us == 0 || at_us < oldest_us))
			oldest_us = at_us;
	}
	return oldest_us;
}

// The state of the origin apart from what is waiting, and since when.
static void judge(const struct pl_lag_tracker *tracker, const struct origin *o, struct pl_lag_origin *to,
                  int64_t now_us)
{
	int64_t heard_us = o->heartbeat_us ? o->heartbeat_us
	                   : o->before_us  ? o->before_us
	                                   : tracker->started_us;

	to->gaps = gaps_of(o);
	to->state = to->seconds > BEHIND_S ? PL_LAG_ORIGIN_BEHIND : PL_LAG_ORIGIN_OK;
	if (o->configured && now_us - heard_us > tracker->patience_us &&
	    (o->heartbeat_us || now_us - tracker->started_us > tracker->patience_us)) {
		to->state = PL_LAG_ORIGIN_SILENT;
		to->seconds = larger(to->seconds, age(heard_us, now_us));
	} else if (o->configured && !o->heartbeat_us) {
		to->state = PL_LAG_ORIGIN_UNKNOWN;
		to->seconds = -1;
	}
	if (to->gaps > 0) {
		to->state = PL_LAG_ORIGIN_GAP;
		to->seconds = larger(to->seconds, age(o->gap_us, now_us));
	}
}

// The origin of events that were not fetched yet is unknown, so they count for each
// one. The total counts them once.
static double read_partitions(const struct pl_lag_tracker *tracker, struct pl_lag *lag, int64_t now_us,
                              int64_t *unfetched_r)
{
	double unfetched_seconds = 0;

	*unfetched_r = 0;
	for (int i = 0; i < tracker->npartitions; i++) {
		const struct partition *p = &tracker->partitions[i];
		int64_t behind = is_behind(p) ? p->end - p->next : 0;
		double seconds = behind ? larger(age(p->mark_us, now_us),
		                                 age(oldest_held(tracker, p->applier), now_us))
		                        : age(p->unread_since_us, now_us);

		lag->partitions[lag->npartitions++] =
			(struct pl_lag_partition){ p->topic, p->number, p->next, p->end, seconds };
		lag->events_behind += behind;
		lag->seconds = larger(lag->seconds, seconds);
		if (behind > p->buffer)
			*unfetched_r += behind - p->buffer;
		if (behind > p->buffer || p->unread_since_us)
			unfetched_seconds = larger(unfetched_seconds, seconds);
	}
	return unfetched_seconds;
}

static void read_origin(const struct pl_lag_tracker *tracker, const struct origin *o, struct pl_lag *lag,
                        int64_t now_us, int64_t unfetched, double unfetched_seconds)
{
	struct pl_lag_origin *to = &lag->origins[lag->norigins++];
	int64_t unsent = o->configured ? o->outbox_events : 0, skew_us;

	memcpy(to->region, o->region, sizeof(to->region));
	to->outbox_events = unsent;
	to->last_event_us = o->last_event_us;
	to->last_heartbeat_us = o->heartbeat_us;
	to->events_behind = unsent + unfetched;
	to->seconds = unfetched_seconds;
	for (int applier = 0; applier < PL_APPLIERS_MAX; applier++) {
		to->events_behind += o->buffer[applier];
		to->seconds =
			larger(to->seconds, o->buffer[applier] ? age(o->oldest_us[applier], now_us) : 0);
	}
	if (unsent > 0) {
		int64_t silence_us = now_us - o->heartbeat_us;
		double seconds = (double)o->outbox_age_us / 1e6 +
		                 (silence_us > tracker->patience_us ? (double)silence_us / 1e6 : 0);

		to->seconds = larger(to->seconds, seconds);
	}
	judge(tracker, o, to, now_us);
	to->skew_known = skew_of(o, &skew_us);
	to->skew_seconds = to->skew_known ? (double)skew_us / 1e6 : 0;
	to->skew_excessive = to->skew_known && llabs(skew_us) > tracker->max_skew_us;
	lag->events_behind += unsent;
	lag->seconds = larger(lag->seconds, to->seconds);
}

void pl_lag_tracker_read(struct pl_lag_tracker *tracker, struct pl_lag *lag_r, int64_t now_us)
{
	int64_t unfetched;
	double unfetched_seconds;

	memset(lag_r, 0, sizeof(*lag_r));
	pthread_mutex_lock(&tracker->mutex);
	unfetched_seconds = read_partitions(tracker, lag_r, now_us, &unfetched);
	for (int i = 0; i < tracker->norigins; i++)
		read_origin(tracker, &tracker->origins[i], lag_r, now_us, unfetched, unfetched_seconds);
	lag_r->broker_up = tracker->up && now_us - tracker->contact_us < CONTACT_US;
	lag_r->last_contact_us = tracker->contact_us;
	if (!lag_r->broker_up)
		lag_r->seconds = larger(lag_r->seconds, age(tracker->level_us, now_us));
	for (int i = 0; i < lag_r->norigins && lag_r->seconds == 0; i++)
		if (lag_r->origins[i].state == PL_LAG_ORIGIN_UNKNOWN)
			lag_r->seconds = -1;
	pthread_mutex_unlock(&tracker->mutex);
}
