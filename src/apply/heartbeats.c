// Heartbeats: see heartbeats.h.
#include "apply/heartbeats.h"

#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/faults.h"
#include "lag/tracker.h"

#define SECOND INT64_C(1000000)
#define PLACES (PL_REGIONS_MAX * PL_HEARTBEAT_SENDERS_MAX)

void pl_heartbeats_fini(struct pl_heartbeats *heartbeats)
{
	for (int i = 0; i < PLACES; i++)
		if (heartbeats->of[i].arena)
			pl_arena_free(&heartbeats->of[i].arena);
}

static bool is_configured(const struct pl_config *config, const char *region)
{
	return pl_config_region(config, region, strlen(region)) != NULL;
}

static bool is_of(const struct pl_heartbeats *heartbeats, int i, const struct pl_heartbeat *heartbeat)
{
	return strcmp(heartbeats->of[i].region, heartbeat->region) == 0;
}

static bool asks_anew(const struct pl_heartbeats *heartbeats, int i, const struct pl_heartbeat *heartbeat)
{
	const struct pl_word_sender *sender = &heartbeat->sender;

	return sender->question[0] &&
	       (!is_of(heartbeats, i, heartbeat) ||
	        strcmp(heartbeats->of[i].heartbeat.sender.question, sender->question) != 0);
}

static bool is_older(const struct pl_heartbeats *heartbeats, int i, int than)
{
	return than < 0 || heartbeats->of[i].taken_us < heartbeats->of[than].taken_us;
}

// The sender's place, or a new one for it: a free one, unless its region has used up its
// own; otherwise that of its region's database which has been silent longest, or that of
// a region that is not configured. -1: none, since the sender's region is not configured.
static int place_of(const struct pl_heartbeats *heartbeats, const struct pl_config *config,
                    const struct pl_heartbeat *heartbeat)
{
	int unused = -1, oldest = -1, other = -1, n = 0;

	for (int i = 0; i < PLACES; i++) {
		if (heartbeats->of[i].region[0] == '\0') {
			unused = unused < 0 ? i : unused;
		} else if (is_of(heartbeats, i, heartbeat)) {
			if (strcmp(heartbeats->of[i].heartbeat.sender.place, heartbeat->sender.place) == 0)
				return i;
			oldest = is_older(heartbeats, i, oldest) ? i : oldest;
			n++;
		} else if (other < 0 && !is_configured(config, heartbeats->of[i].region)) {
			other = i;
		}
	}
	if (unused >= 0 && n < PL_HEARTBEAT_SENDERS_MAX)
		return unused;
	return oldest >= 0 ? oldest : is_configured(config, heartbeat->region) ? other : -1;
}

// The shorter message that reports only a position is not a heartbeat, and is not
// refused.
static void refuse(struct pl_heartbeats *heartbeats, const rd_kafka_message_t *message,
                   const struct pl_error *err)
{
	struct pl_heartbeat_position told;

	if (message->payload &&
	    pl_heartbeat_parse_position(message->payload, message->len, pl_now_us(), &told) == 0) {
		pl_sequence_fini(&told.published);
		return;
	}
	atomic_fetch_add(heartbeats->refused, 1);
	pl_faults_lost(PL_LOSS_HEARTBEAT);
	if (pl_log_limit_ok(&heartbeats->limit, 60 * SECOND))
		pl_warning("ignoring a heartbeat that no region can have sent: %s; "
		           "check which other programs may write to the topic %s",
		           err->text, rd_kafka_topic_name(message->rkt));
}

static const char *kept(struct pl_arena *arena, const char *text)
{
	return text ? pl_arena_strdup(arena, text) : NULL;
}

const struct pl_heartbeat *pl_heartbeats_take(struct pl_heartbeats *heartbeats, struct pl_arena *scratch,
                                              const struct pl_config *config,
                                              const rd_kafka_message_t *message)
{
	int64_t now_us = pl_mono_us();
	struct pl_heartbeat heartbeat;
	struct pl_error err = { 0 };
	int i;

	pl_arena_reset(scratch);
	if (pl_heartbeat_parse(scratch, message->payload ? message->payload : "", message->len, pl_now_us(),
	                       &heartbeat, &err) < 0) {
		refuse(heartbeats, message, &err);
		return NULL;
	}
	i = place_of(heartbeats, config, &heartbeat);
	if (i < 0 ||
	    (heartbeat.sent_at_us <= heartbeats->of[i].sent_at_us && is_of(heartbeats, i, &heartbeat) &&
	     strcmp(heartbeats->of[i].heartbeat.sender.place, heartbeat.sender.place) == 0 &&
	     now_us - heartbeats->of[i].taken_us < pl_lag_tracker_silent_us(config)))
		return NULL;
	heartbeats->asked |= asks_anew(heartbeats, i, &heartbeat);
	heartbeats->hurry |= heartbeats->asked || heartbeat.sender.answers;
	strcpy(heartbeats->of[i].region, heartbeat.region);
	heartbeats->of[i].sent_at_us = heartbeat.sent_at_us;
	heartbeats->of[i].taken_us = now_us;
	if (!heartbeats->of[i].arena)
		heartbeats->of[i].arena = pl_arena_new(0);
	pl_arena_reset(heartbeats->of[i].arena);
	heartbeat.policies = kept(heartbeats->of[i].arena, heartbeat.policies);
	heartbeat.published = kept(heartbeats->of[i].arena, heartbeat.published);
	heartbeat.applied = kept(heartbeats->of[i].arena, heartbeat.applied);
	heartbeat.word = kept(heartbeats->of[i].arena, heartbeat.word);
	heartbeat.fields = kept(heartbeats->of[i].arena, heartbeat.fields);
	heartbeats->of[i].heartbeat = heartbeat;
	heartbeats->of[i].dirty = true;
	return heartbeat.sender.accepted ? &heartbeats->of[i].heartbeat : NULL;
}

// The database refuses its values each time, for example characters that its encoding
// does not have.
static void drop(struct pl_heartbeats *heartbeats, const char *region, const struct pl_error *err)
{
	atomic_fetch_add(heartbeats->refused, 1);
	pl_faults_lost(PL_LOSS_HEARTBEAT);
	if (pl_log_limit_ok(&heartbeats->limit, 60 * SECOND))
		pl_warning("a heartbeat of region %s cannot be stored: %s", region, err->text);
}

int pl_heartbeats_flush(struct pl_heartbeats *heartbeats, const struct pl_apply_tools *tools,
                        struct pl_error *err)
{
	for (int i = 0; i < PLACES; i++) {
		int code;

		if (!heartbeats->of[i].dirty)
			continue;
		code = pl_apply_rows_heartbeat(tools->sql, tools->session, tools->region->name,
		                               &heartbeats->of[i].heartbeat,
		                               pl_lag_tracker_silent_us(tools->config), err);
		if (code == PL_EINVAL && strncmp(err->sqlstate, "22", 2) == 0)
			drop(heartbeats, heartbeats->of[i].region, err);
		else if (code < 0)
			return code;
		heartbeats->of[i].dirty = false;
	}
	heartbeats->stored |= heartbeats->asked;
	heartbeats->asked = heartbeats->hurry = false;
	return 0;
}
