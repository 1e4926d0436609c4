// The inside of the relay, for relay*.c only.
#pragma once

#include "relay/relay.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/wake.h"
#include "db/owner.h"
#include "db/session.h"
#include "event/audit_mail.h"
#include "event/heartbeat.h"
#include "kafka/client.h"
#include "kafka/linger.h"
#include "kafka/producer.h"
#include "kafka/topics.h"
#include "relay/in_flight.h"
#include "relay/outbox.h"
#include "relay/outbox_marks.h"
#include "relay/streams.h"
#include "script/policy_ids.h"

#define SECOND                INT64_C(1000000)
#define WINDOW                4 // batches in flight
#define IDLE_US               (SECOND / 20)
#define LOCK_US               (SECOND / 4)
#define SILENT_US             (10 * SECOND) // a leader that is silent for this long loses leadership
// replacing a producer sooner than this after the last time counts as a repeated
// failure
#define LIVED_US              (10 * SECOND)
#define TOPICS_US             (3 * SECOND)
#define HEARTBEAT_TAG         INT64_C(-1)
#define PL_RELAY_POSITION_TAG INT64_MIN
#define LETTER_TAG            INT64_C(-1) // minus the id of a dead letter

// A row that was passed to the producer.
struct pl_relay_sent {
	int64_t id;
	char what[128], topic[256];
	size_t bytes;
	bool too_large;
};

struct pl_relay {
	pthread_t thread;
	struct pl_wake *wake, *halt, *ended; // there is work; stop; the thread has stopped
	atomic_bool rung;
	_Atomic int64_t drain_until_us; // 0: not stopping
	pthread_mutex_t mutex;          // guards the next two
	struct pl_config *next_config;
	const struct pl_region *next_region;
	_Atomic(struct pl_audit_mail *) mail;
	_Atomic(atomic_bool *) beat_soon;

	// Used by the thread only.
	struct pl_config *config;
	const struct pl_region *region;
	struct pl_policy_ids *policies;
	struct pl_session *session;
	struct pl_producer *producer;
	struct pl_outbox_cursor cursor;
	struct pl_in_flight in_flight;
	// See relay_marks.c.
	struct pl_streams streams;
	struct pl_marks marks;
	struct pl_mark_region regions[PL_REGIONS_MAX];
	int nregions;
	int64_t rows_total, kept;      // acknowledged rows since the beginning; those that still exist
	int64_t deleted_to, delete_to; // ids
	int64_t generation;            // of the region's key; 0: it has none yet
	int64_t renumber_id;           // an event that had been set aside and is now published; 0: none
	bool rewind;                   // events must be published again when nothing is in flight
	struct pl_backoff rewind_backoff;
	int64_t marked_us, settle_at_us, look_at_us, rewind_at_us;
	// See relay_position.c.
	struct pl_outbox_place told;
	int64_t told_passed, told_floor, tell_at_us;
	struct pl_relay_region seen[PL_REGIONS_MAX]; // guarded by the mutex
	int nseen;
	struct pl_arena *arena; // of one batch
	struct pl_backoff backoff;
	struct pl_log_limit database_limit, broker_limit, delivery_limit;
	bool leader, topics_ready;
	bool accepted;       // the session's database, as the region's, at the last look
	bool asks;           // it was not, and this relay sends its heartbeats
	bool level;          // the last read left no rows behind
	bool wanted;         // there may be rows to read
	bool undelivered;    // an event was not delivered: start again
	bool heartbeat_sent; // and not yet acknowledged
	bool was_up;         // the state of the broker when it was last logged
	// Refusals: see relay_refused.c.
	int one_by_one, portion,
		used; // number of rows to send in portions; size of the next portion; of the last one
	bool alone, retrying,
		// what is in flight was sent alone; was refused before; all refused
		// events are to be retried now
		retry_all;
	int64_t refused, retry_at_us; // their number in the outbox; when to check whether one is due
	char refusal[256];            // the broker's last reason
	struct pl_relay_sent last;
	struct pl_log_limit refused_limit, report_limit;
	struct pl_backoff replace_backoff;
	int64_t producer_made_us;
	uint8_t producer_files[PL_SHA256_SIZE]; // certificates and keys when it was made
	uint8_t checked_files[PL_SHA256_SIZE];  // the same when they were found usable; of reloads
	int64_t try_at_us, poll_at_us, lock_at_us, delete_at_us, beat_at_us;
	struct pl_topics_question *question; // the pending query of the topics' settings
	int64_t ask_at_us;
	bool topics_refused;               // nothing may be published to one of the topics
	struct pl_topic_findings findings; // guarded by the mutex
	char trouble[PL_ERROR_TEXT_MAX];   // the database's last refusal; guarded by the mutex
	struct pl_linger linger;
	// Dead letters: see relay_letters.c.
	struct {
		int n; // sent and not answered
		int64_t look_at_us;
		struct pl_buf sent, refused; // "{1,2": ids to be noted
		struct pl_log_limit limit;
		struct pl_log_burst burst;
	} letters;

	struct {
		_Atomic uint64_t published, batches, failed, producers_replaced, heartbeats, rewinds,
			republished;
		_Atomic int topic_problems;
		_Atomic int64_t outbox_events, outbox_oldest_us, last_publish_us, refused, kept_rows, sent_id;
		_Atomic int64_t failing_since_us; // pl_mono_us; 0: the database does what it is asked
		_Atomic int process;              // of the leader's session; 0: this is not the leader
		atomic_bool leader, database_up, broker_up;
	} stats;
};

#define COUNT(relay, what, n) \
	atomic_fetch_add_explicit(&(relay)->stats.what, (uint64_t)(n), memory_order_relaxed)
#define NOTE(relay, what, value) atomic_store_explicit(&(relay)->stats.what, (value), memory_order_relaxed)

void pl_relay_database_failed(struct pl_relay *relay, const struct pl_error *err);
void pl_relay_database_works(struct pl_relay *relay);
bool pl_relay_have_database(struct pl_relay *relay);
bool pl_relay_leads(struct pl_relay *relay);
// relay_beat.c. False: the database failed; the next attempt is due at try_at_us.
bool pl_relay_beat_if_due(struct pl_relay *relay, int64_t now_us);
bool pl_relay_have_producer(struct pl_relay *relay);
// Drops the producer if files have changed that it read when it was made.
void pl_relay_renew_producer(struct pl_relay *relay);
bool pl_relay_producer_lives(struct pl_relay *relay);

// The message's sequence numbers, as headers whose values are in `text`, and its
// partition.
int pl_relay_number(struct pl_relay *relay, const struct pl_resource *resource,
                    struct pl_outgoing_message *message, struct pl_in_flight_row *row,
                    struct pl_sequence_text *text, struct pl_error *err);
// Notes how many partitions a topic has. What was published to others is published again.
void pl_relay_has_partitions(struct pl_relay *relay, const char *topic, int partitions);
// Schedules rows in flight to be read again: all, or those in `state`.
void pl_relay_break(struct pl_relay *relay, enum pl_in_flight_state state, bool all);
// Called when the session became the relay: starts after the newest mark.
int pl_relay_begin(struct pl_relay *relay, struct pl_error *err);
bool pl_relay_settle(struct pl_relay *relay);
// Makes marks, checks what the regions have applied, deletes rows, goes back. False:
// the database failed.
bool pl_relay_keep_marks(struct pl_relay *relay, int64_t now_us);
int64_t pl_relay_marks_due_us(const struct pl_relay *relay);
bool pl_relay_rewinds(const struct pl_relay *relay);
void pl_relay_end(struct pl_relay *relay);
void pl_relay_forget_regions(struct pl_relay *relay);

// Every row of the outbox up to it was published; and up to `passed_r`, if those that
// Kafka has refused are left out.
int pl_relay_position(struct pl_relay *relay, struct pl_outbox_place *position_r, int64_t *passed_r,
                      struct pl_error *err);
bool pl_relay_tell_position(struct pl_relay *relay, int64_t now_us);
int64_t pl_relay_position_due_us(const struct pl_relay *relay);

// False: nothing more can be sent now; this row and those after it are read again.
bool pl_relay_send_row(struct pl_relay *relay, const struct pl_outbox_row *row);

// Sends dead letters to their topic, if one is configured. False: the database failed.
bool pl_relay_send_letters(struct pl_relay *relay, int64_t now_us);
void pl_relay_letter_sent(struct pl_relay *relay, int64_t tag, enum pl_delivery what, const char *why);
void pl_relay_forget_letters(struct pl_relay *relay);

// Queries the topics' settings from time to time, and handles the answers.
void pl_relay_watch_topics(struct pl_relay *relay, int64_t now_us);
void pl_relay_forget_topics_question(struct pl_relay *relay);
void pl_relay_forget_topics(struct pl_relay *relay);

// Sends what the audit has to say.
void pl_relay_send_mail(struct pl_relay *relay);

// Sets an event aside; `what` is a sentence for people. False: the database failed.
bool pl_relay_refuse(struct pl_relay *relay, int64_t id, const char *what, const char *why);
// Called when everything in flight was answered: handles the refused events. False: the
// database failed.
bool pl_relay_settle_refused(struct pl_relay *relay);
// Whether to retry one of them, for which nothing else may be in flight.
bool pl_relay_retry_due(const struct pl_relay *relay, int64_t now_us);
bool pl_relay_retry_refused(struct pl_relay *relay, int64_t now_us);
