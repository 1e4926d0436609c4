// How far behind: what is known of it, kept so that the answer is right at the moment of asking.
//
// Stands between the applier's lanes, which note, and GET /:region/replication-lag, /metrics and the tool, which read.
// Threads: any; one lock, held for moments.
//
// What lag is
//
// Zero when nothing is known that is not applied. Otherwise the age of the oldest such event. An event is known in three ways:
//
//   - It is in Kafka, past our position. Events are dated only when they are fetched, so the board also remembers when it first saw an end
//     that the position has not reached since (the mark): what is behind is at least as old as that. With constant traffic the position passes
//     each mark within moments, so the flow itself is no lag.
//   - The lane holds it: then its broker's time is known. Between two batches of a backlog that of the last one stands for the next.
//   - Its origin says in a heartbeat that it is still in its outbox. Both times of a heartbeat are the origin's, so clocks need not agree;
//     while heartbeats come, the age they tell is right as it is, and when they stop it goes on growing.
//
// While the broker is away nothing can be known of new events, so lag counts from the last contact at which we were level.
#include "replicate/board.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define SECOND INT64_C(1000000)
#define CONTACT_US (5 * SECOND) // silence of the broker that counts as its absence

struct partition {
	int lane;
	const char *topic;
	int32_t number;
	int64_t next, end, hand;
	int64_t mark_end, mark_us; // 0: level
};

struct origin {
	char region[PL_REGION_MAX + 1];
	bool configured;           // one that only its events and heartbeats tell of has nothing for which this region waits
	int64_t outbox_events, outbox_age_us, heartbeat_us, last_event_us; // heartbeat_us: when it was heard
	int64_t hand[PL_LANES_MAX], oldest_us[PL_LANES_MAX];
	char *policies;            // NULL: not heard
};

struct pl_board {
	pthread_mutex_t mutex;
	char own[PL_REGION_MAX + 1];
	int64_t patience_us;       // a heartbeat that is older is overdue
	int npartitions; struct partition partitions[PL_LAG_PARTITIONS_MAX];
	int ntopics; char **topics; // each name once, until the end: readers keep pointers to them
	int norigins; struct origin origins[PL_REGIONS_MAX];
	bool up;
	int64_t contact_us, level_us; // the last contact; the last at which nothing was behind
};

static struct origin *origin_named(struct pl_board *board, const char *region)
{
	for (int i = 0; i < board->norigins; i++)
		if (strcmp(board->origins[i].region, region) == 0)
			return &board->origins[i];
	if (board->norigins == PL_REGIONS_MAX || strcmp(region, board->own) == 0)
		return NULL;
	memset(&board->origins[board->norigins], 0, sizeof board->origins[0]);
	strncpy(board->origins[board->norigins].region, region, PL_REGION_MAX);
	return &board->origins[board->norigins++];
}

struct pl_board *pl_board_new(const struct pl_config *config, const struct pl_region *region)
{
	struct pl_board *board = pl_calloc(1, sizeof *board);

	pthread_mutex_init(&board->mutex, NULL);
	strncpy(board->own, region->name, PL_REGION_MAX);
	board->patience_us = 3 * config->kafka.heartbeat_us > 3 * SECOND ? 3 * config->kafka.heartbeat_us : 3 * SECOND;
	board->contact_us = board->level_us = pl_now_us();
	pl_board_regions(board, config);
	return board;
}

void pl_board_regions(struct pl_board *board, const struct pl_config *config)
{
	pthread_mutex_lock(&board->mutex);
	for (int i = 0; i < board->norigins; i++)
		board->origins[i].configured = false;
	for (int i = 0; i < config->nregions; i++) {
		struct origin *origin = origin_named(board, config->regions[i].name);

		if (origin)
			origin->configured = true;
	}
	pthread_mutex_unlock(&board->mutex);
}

static const char *topic_named(struct pl_board *board, const char *name)
{
	for (int i = 0; i < board->ntopics; i++)
		if (strcmp(board->topics[i], name) == 0)
			return board->topics[i];
	board->topics = pl_realloc(board->topics, sizeof board->topics[0] * (size_t)(board->ntopics + 1));
	return board->topics[board->ntopics++] = pl_strdup(name);
}

static void drop_lane(struct pl_board *board, int lane)
{
	int n = 0;

	for (int i = 0; i < board->npartitions; i++)
		if (board->partitions[i].lane != lane)
			board->partitions[n++] = board->partitions[i];
	board->npartitions = n;
}

void pl_board_free(struct pl_board **at)
{
	if (!*at)
		return;
	for (int i = 0; i < (*at)->ntopics; i++)
		free((*at)->topics[i]);
	free((*at)->topics);
	for (int i = 0; i < (*at)->norigins; i++)
		free((*at)->origins[i].policies);
	pthread_mutex_destroy(&(*at)->mutex);
	free(*at);
	*at = NULL;
}

void pl_board_assign(struct pl_board *board, int lane, const struct pl_board_partition *partitions, int n)
{
	pthread_mutex_lock(&board->mutex);
	drop_lane(board, lane);
	for (int i = 0; i < n && board->npartitions < PL_LAG_PARTITIONS_MAX; i++)
		board->partitions[board->npartitions++] = (struct partition){
			.lane = lane, .topic = topic_named(board, partitions[i].topic), .number = partitions[i].partition, .next = partitions[i].next, .end = -1,
		};
	for (int i = 0; i < board->norigins; i++)
		board->origins[i].hand[lane] = board->origins[i].oldest_us[lane] = 0;
	pthread_mutex_unlock(&board->mutex);
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

void pl_board_progress(struct pl_board *board, int lane, const struct pl_board_partition *partitions, int n, int64_t now_us)
{
	int at = 0;
	bool level = true;

	pthread_mutex_lock(&board->mutex);
	for (int i = 0; i < board->npartitions && at < n; i++) {
		struct partition *p = &board->partitions[i];

		if (p->lane != lane)
			continue;
		p->next = partitions[at].next < 0 ? 0 : partitions[at].next;
		p->end = partitions[at].end;
		p->hand = partitions[at].hand;
		move_mark(p, now_us);
		level = level && !is_behind(p);
		at++;
	}
	for (int i = 0; i < board->norigins && level; i++)
		board->origins[i].oldest_us[lane] = 0;
	pthread_mutex_unlock(&board->mutex);
}

void pl_board_holds(struct pl_board *board, int lane, const struct pl_board_hand *hand, int n)
{
	pthread_mutex_lock(&board->mutex);
	for (int i = 0; i < board->norigins; i++) { // how old the last ones were stays known until the lane is level
		board->origins[i].hand[lane] = 0;
		if (n > 0)
			board->origins[i].oldest_us[lane] = 0;
	}
	for (int i = 0; i < n; i++) {
		struct origin *origin = origin_named(board, hand[i].region);

		if (!origin)
			continue;
		origin->hand[lane] = hand[i].events;
		origin->oldest_us[lane] = hand[i].oldest_us;
	}
	pthread_mutex_unlock(&board->mutex);
}

void pl_board_applied(struct pl_board *board, const char *region, int64_t event_us)
{
	struct origin *origin;

	pthread_mutex_lock(&board->mutex);
	origin = origin_named(board, region);
	if (origin && event_us > origin->last_event_us)
		origin->last_event_us = event_us;
	pthread_mutex_unlock(&board->mutex);
}

void pl_board_heartbeat(struct pl_board *board, const struct pl_heartbeat *heartbeat, int64_t now_us)
{
	struct origin *origin;

	pthread_mutex_lock(&board->mutex);
	origin = origin_named(board, heartbeat->region);
	if (origin) {
		origin->outbox_events = heartbeat->outbox_events;
		origin->outbox_age_us = heartbeat->outbox_events && heartbeat->outbox_oldest_us ? heartbeat->sent_at_us - heartbeat->outbox_oldest_us : 0;
		origin->heartbeat_us = now_us;
		free(origin->policies);
		origin->policies = pl_strdup(heartbeat->policies);
	}
	pthread_mutex_unlock(&board->mutex);
}

int pl_board_policies(struct pl_board *board, struct pl_arena *arena, struct pl_board_policies policies_r[PL_REGIONS_MAX])
{
	int n = 0;

	pthread_mutex_lock(&board->mutex);
	for (int i = 0; i < board->norigins; i++)
		if (board->origins[i].policies)
			policies_r[n++] = (struct pl_board_policies){ pl_arena_strdup(arena, board->origins[i].region),
			                                              pl_arena_strdup(arena, board->origins[i].policies) };
	pthread_mutex_unlock(&board->mutex);
	return n;
}

static bool is_level(const struct pl_board *board)
{
	for (int i = 0; i < board->npartitions; i++)
		if (is_behind(&board->partitions[i]) || board->partitions[i].end < 0)
			return false;
	return true;
}

void pl_board_contact(struct pl_board *board, bool up, int64_t now_us)
{
	pthread_mutex_lock(&board->mutex);
	board->up = up;
	if (up) {
		board->contact_us = now_us;
		if (is_level(board))
			board->level_us = now_us;
	}
	pthread_mutex_unlock(&board->mutex);
}

// --- reading

static double age(int64_t from_us, int64_t now_us)
{
	return from_us > 0 && now_us > from_us ? (double)(now_us - from_us) / 1e6 : 0;
}

static double larger(double a, double b)
{
	return a > b ? a : b;
}

// The oldest event that the lane holds, or held last, of any origin.
static int64_t oldest_held(const struct pl_board *board, int lane)
{
	int64_t oldest_us = 0;

	for (int i = 0; i < board->norigins; i++) {
		int64_t at_us = board->origins[i].oldest_us[lane];

		if (at_us > 0 && (oldest_us == 0 || at_us < oldest_us))
			oldest_us = at_us;
	}
	return oldest_us;
}

// Of what is in Kafka and was not fetched, the origin cannot be known: it counts for each. The sum counts it once.
static double read_partitions(const struct pl_board *board, struct pl_lag *lag, int64_t now_us, int64_t *unfetched_r)
{
	double unfetched_seconds = 0;

	*unfetched_r = 0;
	for (int i = 0; i < board->npartitions; i++) {
		const struct partition *p = &board->partitions[i];
		int64_t behind = is_behind(p) ? p->end - p->next : 0;
		double seconds = behind ? larger(age(p->mark_us, now_us), age(oldest_held(board, p->lane), now_us)) : 0;

		lag->partitions[lag->npartitions++] = (struct pl_lag_partition){ p->topic, p->number, p->next, p->end, seconds };
		lag->events_behind += behind;
		lag->seconds = larger(lag->seconds, seconds);
		if (behind > p->hand) {
			*unfetched_r += behind - p->hand;
			unfetched_seconds = larger(unfetched_seconds, seconds);
		}
	}
	return unfetched_seconds;
}

static void read_origin(const struct pl_board *board, const struct origin *o, struct pl_lag *lag, int64_t now_us, int64_t unfetched,
                        double unfetched_seconds)
{
	struct pl_lag_origin *to = &lag->origins[lag->norigins++];
	int64_t unsent = o->configured ? o->outbox_events : 0;

	memcpy(to->region, o->region, sizeof to->region);
	to->outbox_events = unsent;
	to->last_event_us = o->last_event_us;
	to->last_heartbeat_us = o->heartbeat_us;
	to->events_behind = unsent + unfetched;
	to->seconds = unfetched_seconds;
	for (int lane = 0; lane < PL_LANES_MAX; lane++) {
		to->events_behind += o->hand[lane];
		to->seconds = larger(to->seconds, o->hand[lane] ? age(o->oldest_us[lane], now_us) : 0);
	}
	if (unsent > 0) {
		int64_t silence_us = now_us - o->heartbeat_us;
		double seconds = (double)o->outbox_age_us / 1e6 + (silence_us > board->patience_us ? (double)silence_us / 1e6 : 0);

		to->seconds = larger(to->seconds, seconds);
	}
	lag->events_behind += unsent;
	lag->seconds = larger(lag->seconds, to->seconds);
}

void pl_board_read(struct pl_board *board, struct pl_lag *lag_r, int64_t now_us)
{
	int64_t unfetched;
	double unfetched_seconds;

	memset(lag_r, 0, sizeof *lag_r);
	pthread_mutex_lock(&board->mutex);
	unfetched_seconds = read_partitions(board, lag_r, now_us, &unfetched);
	for (int i = 0; i < board->norigins; i++)
		read_origin(board, &board->origins[i], lag_r, now_us, unfetched, unfetched_seconds);
	lag_r->broker_up = board->up && now_us - board->contact_us < CONTACT_US;
	lag_r->last_contact_us = board->contact_us;
	if (!lag_r->broker_up)
		lag_r->seconds = larger(lag_r->seconds, age(board->level_us, now_us));
	pthread_mutex_unlock(&board->mutex);
}
