// The relay: publishes the outbox in order and deletes what every other region has
// applied. There is one per region (a row of plist_leaders).
//
// Threads: one of its own. pl_relay_wake may be called from any.
#pragma once

#include <stdatomic.h>

#include "base/buf.h"
#include "config/config.h"

struct pl_relay;
struct pl_audit_mail;

struct pl_relay_stats {
	uint64_t published, batches, failed, producers_replaced, heartbeats;
	// When last checked: events that the broker has not acknowledged; events that
	// cannot be published; events that are kept until every other region has
	// applied them.
	int64_t outbox_events, refused, kept_rows;
	uint64_t rewinds, republished; // how often, and how many events were published again
	int64_t outbox_oldest_us;      // pl_now_us of its oldest row; 0: empty
	bool leader;                   // it publishes for the region
	bool database_up, broker_up;
	int64_t last_publish_us;
	int64_t failing_us;              // for how long the database has refused what the relay asks
	char trouble[PL_ERROR_TEXT_MAX]; // why; only while it is failing
	int64_t sent_id;                 // the largest id of the outbox that others may know
	int topic_problems;              // problems of the topics' settings: see pl_relay_topics
};

struct pl_relay *pl_relay_start(const struct pl_config *config, const struct pl_region *region,
                                struct pl_error *err);
void pl_relay_wake(struct pl_relay *relay);
// While it publishes, it sends what is put into this box; wake it then.
void pl_relay_set_mail(struct pl_relay *relay, struct pl_audit_mail *mail);
// When *beat_soon is set, the next heartbeat is sent without waiting for its time.
void pl_relay_set_beat_soon(struct pl_relay *relay, atomic_bool *beat_soon);
void pl_relay_reconfigure(struct pl_relay *relay, const struct pl_config *config,
                          const struct pl_region *region);
// Whether Kafka's certificates and keys, if they have changed since the last call, can be
// used. Threads: that of a reload.
int pl_relay_check_files(struct pl_relay *relay, const struct pl_config *config,
                         const struct pl_region *region, struct pl_error *err);
// Publishes what it can within `drain_us`, then ends the thread. The rest stays in the
// outbox.
void pl_relay_stop(struct pl_relay **relay_p, int64_t drain_us);
void pl_relay_stats(struct pl_relay *relay, struct pl_relay_stats *stats_r);
// The server process of the session with which it leads; 0: it does not. The number lives
// as long as the relay.
const _Atomic int *pl_relay_process(const struct pl_relay *relay);
// The state of the other regions, as seen by the relay that publishes; empty if it is
// another daemon's.
struct pl_relay_region {
	char name[PL_REGION_MAX + 1];
	int64_t unapplied; // this region's events that it has not applied, as far as is known
	bool kept_for;     // events are kept for it
	bool lost;         // it lacks events that were deleted
	bool disbelieved;  // it claims to have received what was never published
};
int pl_relay_regions(struct pl_relay *relay, struct pl_relay_region regions_r[PL_REGIONS_MAX]);
// The relay that publishes checks the topics' settings. Appends the problems as a JSON
// array of sentences, and sets `refused_r` to the first reason why nothing is published
// ("": there is none).
void pl_relay_topics(struct pl_relay *relay, struct pl_buf *json, char refused_r[PL_ERROR_TEXT_MAX]);
