// The metrics of replication: the relay, the appliers, and how far this region is behind.
//
// Part of GET /metrics: see ops/metrics.c.
// Threads: any; reads values that other threads publish.
#include "ops/metrics_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apply/apply.h"
#include "base/clock.h"
#include "ops/ops_private.h"
#include "relay/relay.h"
#include "store/shared_writer.h"

static void print_relay(struct pl_buf *buf, const struct pl_relay_stats *s)
{
	pl_metrics_gauge(buf, "plist_relay_leader",
	                 "Whether the relay of this daemon publishes for the region.", s->leader);
	pl_metrics_counter(buf, "plist_relay_published_total", "Events that the broker has acknowledged.",
	                   s->published);
	pl_metrics_counter(buf, "plist_relay_batches_total", "Batches of events that were published.",
	                   s->batches);
	pl_metrics_counter(buf, "plist_relay_failures_total",
	                   "Events that were not delivered, and refusals of events that cannot be published.",
	                   s->failed);
	pl_metrics_counter(buf, "plist_relay_producers_replaced_total",
	                   "Kafka producers replaced because an event was not delivered.",
	                   s->producers_replaced);
	pl_metrics_counter(buf, "plist_relay_heartbeats_total", "Heartbeats sent.", s->heartbeats);
	pl_metrics_gauge(buf, "plist_relay_failing_seconds",
	                 "For how long the database has refused what the relay asks; 0: it does not.",
	                 (double)s->failing_us / 1e6);
	pl_metrics_gauge(buf, "plist_topic_problems",
	                 "Problems with the settings of topics at the broker; plist-admin status lists them.",
	                 s->topic_problems);
	pl_metrics_gauge(
		buf, "plist_outbox_refused_events",
		"Events in the outbox that cannot be published: Kafka refuses them, or they cannot be "
		"encoded.",
		(double)s->refused);
	pl_metrics_gauge(buf, "plist_outbox_events",
	                 "Events in the outbox that the broker has not acknowledged.",
	                 (double)s->outbox_events);
	double age_s = s->outbox_oldest_us ? (double)(pl_now_us() - s->outbox_oldest_us) / 1e6 : 0;
	pl_metrics_gauge(
		buf, "plist_outbox_oldest_age_seconds",
		"Age of the oldest event that the broker has not acknowledged; 0 when there is none.",
		age_s > 0 ? age_s : 0);
}

// Events that are kept until every other region has applied them.
static void print_kept(struct pl_buf *buf, struct pl_daemon *daemon, const struct pl_relay_stats *s)
{
	struct pl_relay_region regions[PL_REGIONS_MAX];
	int n = pl_relay_regions(daemon->relay, regions);
	pl_metrics_gauge(
		buf, "plist_outbox_kept_rows",
		"Events that the broker has acknowledged, kept until every other region has applied them.",
		(double)s->kept_rows);
	pl_metrics_counter(
		buf, "plist_relay_rewinds_total",
		"How often the relay went back because a region had not received what was published.",
		s->rewinds);
	pl_metrics_counter(buf, "plist_relay_republished_total",
	                   "Events published again because a region had not received them.", s->republished);
	pl_metrics_family(
		buf, "plist_outbox_unapplied_events", "gauge",
		"Events of this region that another one has not applied yet, as far as the relay that "
		"publishes knows.");
	for (int i = 0; i < n; i++)
		pl_metrics_labelled(buf, "plist_outbox_unapplied_events", "region", regions[i].name,
		                    (double)regions[i].unapplied);
	pl_metrics_family(
		buf, "plist_outbox_region_lost", "gauge",
		"Whether a region lacks events that are no longer kept: it asks for them by itself, "
		"unless repair is manual.");
	for (int i = 0; i < n; i++)
		pl_metrics_labelled(buf, "plist_outbox_region_lost", "region", regions[i].name,
		                    regions[i].lost);
	pl_metrics_family(buf, "plist_outbox_region_disbelieved", "gauge",
	                  "Whether a region claims to have received events that were never published.");
	for (int i = 0; i < n; i++)
		pl_metrics_labelled(buf, "plist_outbox_region_disbelieved", "region", regions[i].name,
		                    regions[i].disbelieved);
}

// What waits in the database, most of it for an operator.
static void print_waiting(struct pl_buf *buf, const struct pl_apply_stats *s)
{
	pl_metrics_gauge(buf, "plist_parked_events",
	                 "Events that the database refused and that will be retried.", (double)s->parked);
	pl_metrics_gauge(buf, "plist_dead_letters",
	                 "Messages that could not be applied and are kept in the table "
	                 "dead_letters.",
	                 (double)s->dead);
	pl_metrics_gauge(buf, "plist_created_twice",
	                 "Pairs of records that one request created in two regions and that are still there "
	                 "after a minute.",
	                 (double)s->left_twice);
}

static void print_apply(struct pl_buf *buf, const struct pl_apply_stats *s)
{
	static const char events[] = "plist_apply_events_total";
	pl_metrics_family(buf, events, "counter", "Events read from Kafka, by outcome.");
	pl_metrics_labelled(buf, events, "outcome", "applied", (double)s->applied);
	pl_metrics_labelled(buf, events, "outcome", "stale", (double)s->stale);
	pl_metrics_labelled(buf, events, "outcome", "own", (double)s->own);
	pl_metrics_labelled(buf, events, "outcome", "dead_letter", (double)s->dead_letters);
	pl_metrics_labelled(buf, events, "outcome", "parked", (double)s->parked_total);
	print_waiting(buf, s);
	pl_metrics_counter(buf, "plist_apply_not_ours_total",
	                   "Events that name this region as origin but that it never "
	                   "wrote.",
	                   s->not_ours);
	pl_metrics_counter(buf, "plist_apply_heartbeats_refused_total",
	                   "Heartbeats that no region can have sent, or that the database refuses.",
	                   s->heartbeats_refused);
	pl_metrics_counter(
		buf, "plist_apply_returned_total",
		"Writes of this region that its database had lost and that another region republished.",
		s->returned);
	pl_metrics_counter(buf, "plist_apply_foreign_total",
	                   "Events of other producers, without plist's headers.", s->foreign);
	pl_metrics_counter(buf, "plist_apply_twins_total",
	                   "Writes recognised as a second execution of one request.", s->twins);
	pl_metrics_counter(buf, "plist_apply_batches_total", "Transactions of the applier.", s->batches);
	pl_metrics_counter(buf, "plist_apply_retries_total", "Transactions of the applier that were retried.",
	                   s->retries);
	pl_metrics_gauge(
		buf, "plist_apply_reresolve_pending",
		"Whether records with siblings are still being re-resolved after a start or a change of "
		"policy.",
		s->reresolve_pending);
	pl_metrics_gauge(buf, "plist_apply_reresolve_left",
	                 "Records that could not be re-resolved yet: locked by another session, or refused "
	                 "by the database.",
	                 (double)s->reresolve_left);
	pl_metrics_counter(
		buf, "plist_apply_consumers_replaced_total",
		"Kafka consumers replaced: after a fatal error, a changed topic, lost partitions or silence.",
		s->consumers_replaced);
	pl_metrics_counter(buf, "plist_replication_gaps_total",
	                   "Partitions in which events that another region had published were found missing.",
	                   s->gaps_total);
	pl_metrics_gauge(buf, "plist_apply_failing_seconds",
	                 "For how long events could not be applied; 0: they are.",
	                 (double)s->failing_us / 1e6);
	pl_metrics_gauge(buf, "plist_apply_partitions", "Partitions assigned to this daemon.", s->partitions);
}

static void print_apply_faults(struct pl_buf *buf, const struct pl_apply_stats *s)
{
	pl_metrics_gauge(buf, "plist_apply_leaderless_partitions",
	                 "Partitions that this daemon should read and that no broker leads.", s->leaderless);
	pl_metrics_gauge(buf, "plist_apply_commits_refused", "Whether offsets cannot be committed.",
	                 s->commits_refused);
	pl_metrics_gauge(buf, "plist_apply_policies_missing",
	                 "Whether policies could not be loaded, so that the last writer wins.",
	                 s->policies_missing);
	pl_metrics_gauge(buf, "plist_apply_unwatched_seconds",
	                 "For how long the broker has not said what there is to read, so that messages that "
	                 "do not arrive go unnoticed; 0: it does.",
	                 (double)s->blind_us / 1e6);
}

static void print_decisions(struct pl_buf *buf, const struct pl_apply_stats *s)
{
	static const char shadow[] = "plist_policy_shadow_total";

	pl_metrics_counter(buf, "plist_conflicts_total", "Concurrent writes detected.", s->conflicts);
	pl_metrics_counter(buf, "plist_policy_errors_total",
	                   "Conflicts that fell back to last_writer_wins because the policy failed.",
	                   s->policy_errors);
	pl_metrics_family(buf, shadow, "counter",
	                  "Decisions of shadow policies, compared with those in force.");
	pl_metrics_labelled(buf, shadow, "verdict", "same", (double)s->shadow_same);
	pl_metrics_labelled(buf, shadow, "verdict", "different", (double)s->shadow_different);
	pl_metrics_labelled(buf, shadow, "verdict", "failed", (double)s->shadow_failed);
}

static void print_up(struct pl_buf *buf, struct pl_daemon *daemon, const struct pl_relay_stats *relay,
                     const struct pl_apply_stats *apply)
{
	struct pl_error why;
	pl_metrics_family(buf, "plist_database_up", "gauge",
	                  "Whether a thread, or the shared writer, has its database connections.");
	pl_metrics_labelled(buf, "plist_database_up", "thread", "writes",
	                    pl_shared_writer_ready(daemon->writes, &why));
	pl_metrics_labelled(buf, "plist_database_up", "thread", "relay", relay->database_up);
	pl_metrics_labelled(buf, "plist_database_up", "thread", "apply", apply->database_up);
	pl_metrics_family(buf, "plist_broker_up", "gauge", "Whether a thread is connected to Kafka.");
	pl_metrics_labelled(buf, "plist_broker_up", "thread", "relay", relay->broker_up);
	pl_metrics_labelled(buf, "plist_broker_up", "thread", "apply", apply->broker_up);
}

static double known(double seconds)
{
	return seconds < 0 ? NAN : seconds;
}

// Each origin's state, as a 1 beside the other states' 0; and its clock.
static void print_states(struct pl_buf *buf, const struct pl_lag *lag)
{
	static const char name[] = "plist_replication_origin_state";
	pl_metrics_family(buf, name, "gauge",
	                  "The state of another region, as seen from this one: 1 for the one that it is in.");
	for (int i = 0; i < lag->norigins; i++)
		for (int state = PL_LAG_ORIGIN_OK; state <= PL_LAG_ORIGIN_GAP; state++)
			pl_buf_printf(buf, "%s{origin=\"%s\",state=\"%s\"} %d\n", name,
			              lag->origins[i].region,
			              pl_lag_origin_state_name((enum pl_lag_origin_state)state),
			              (int)lag->origins[i].state == state);
	pl_metrics_family(buf, "plist_clock_skew_seconds", "gauge",
	                  "By how much another region's clock is ahead of this one's.");
	for (int i = 0; i < lag->norigins; i++)
		if (lag->origins[i].skew_known)
			pl_metrics_labelled(buf, "plist_clock_skew_seconds", "origin", lag->origins[i].region,
			                    lag->origins[i].skew_seconds);
	pl_metrics_family(buf, "plist_clock_skew_excessive", "gauge",
	                  "Whether that is more than max_clock_skew, in either direction.");
	for (int i = 0; i < lag->norigins; i++)
		pl_metrics_labelled(buf, "plist_clock_skew_excessive", "origin", lag->origins[i].region,
		                    lag->origins[i].skew_excessive);
}

static void print_lag(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_lag *lag = pl_calloc(1, sizeof(*lag)); // large
	pl_apply_lag(daemon->apply, lag);
	pl_metrics_gauge(buf, "plist_replication_lag_seconds", "How far this region is behind the others.",
	                 known(lag->seconds));
	pl_metrics_gauge(buf, "plist_replication_events_behind",
	                 "Events of other regions that are known but not applied yet.",
	                 (double)lag->events_behind);
	pl_metrics_family(buf, "plist_replication_origin_lag_seconds", "gauge",
	                  "How far this region is behind another, by origin.");
	for (int i = 0; i < lag->norigins; i++)
		pl_metrics_labelled(buf, "plist_replication_origin_lag_seconds", "origin",
		                    lag->origins[i].region, known(lag->origins[i].seconds));
	pl_metrics_family(buf, "plist_replication_origin_events_behind", "gauge",
	                  "Events of another region that are known but not applied yet, by origin.");
	for (int i = 0; i < lag->norigins; i++)
		pl_metrics_labelled(buf, "plist_replication_origin_events_behind", "origin",
		                    lag->origins[i].region, (double)lag->origins[i].events_behind);
	print_states(buf, lag);
	free(lag);
}

void pl_metrics_replication(struct pl_buf *buf, struct pl_daemon *daemon)
{
	struct pl_relay_stats relay = { 0 };
	struct pl_apply_stats apply = { 0 };

	pl_relay_stats(daemon->relay, &relay);
	pl_apply_stats(daemon->apply, &apply);
	print_relay(buf, &relay);
	print_kept(buf, daemon, &relay);
	print_apply(buf, &apply);
	print_apply_faults(buf, &apply);
	print_decisions(buf, &apply);
	print_up(buf, daemon, &relay, &apply);
	print_lag(buf, daemon);
}
