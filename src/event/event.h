// An event: one write as it travels through Kafka. Value: the record as HTTP shows it
// (none for a delete); headers: the rest.
//
//   plist-event-id     us/properties/7/5      origin, resource, record, counter: the same
//                                             write always has the same id
//   plist-origin       us
//   plist-vector       {"eu":1,"us":5}
//   plist-request-id   as the client sent it;  plist-principal: absent when there is none
//   plist-fingerprint  64 hex digits
//   plist-status       200 | 201 | 204        what the client was answered, so that every
//                                             region can replay it
//   plist-expires      RFC 3339                until when the request is remembered
//   plist-answer       {"location":…}        the answer where it does not follow from the
//                                             record: event_answer.h
//   plist-policy       last_writer_wins sha256:…    the origin's policy at that time
//   plist-schema       1
//   plist-field-times  {"price":{"at":…,"origin":"us"}}   only with track_fields
//   plist-deleted      the last record, as JSON; present only on a delete, whose value is
//                      null (Kafka's own sign of a deletion)
//   traceparent        as received
//   plist-reset        {"us":1073741824}      only of an operator's reset: the counts
//                                             that it replaces by lower ones
//   plist-republished  eu                     the region that published it again; with
//                      eu; request            "; request" it is no write to be taken, and
//                                             teaches its request alone; so a handler's
//                                             own answer follows the write's event
//
//   plist-seq          281/280                its number in the partition and that of the
//                                             message before it: see event/sequence.h
//
// An event without plist-origin comes from another producer of the same value: `foreign`.
#pragma once

#include "base/error.h"
#include "event/event_answer.h"
#include "kafka/message.h"
#include "record/record.h"
#include "record/sibling.h"

// The region that republished it, taken from the header up to ";", and whether only its
// request must be remembered.
struct pl_republished {
	const char *region; // NULL: it was not republished
	bool request_only;
};

struct pl_event {
	const struct pl_resource *resource;
	int64_t id;
	bool foreign;            // no headers: taken by (version, updated_at, region_origin)
	struct pl_sibling write; // dot, vector, time, values, request id, …
	int32_t version;         // as in the value; used for foreign events only
	int status;
	struct pl_event_answer answer; // empty: as the status and the record say
	int64_t expires_at_us;         // 0 = unknown
	const char *event_id, *policy, *traceparent;
	const struct pl_vector *reset; // NULL: an ordinary write
	struct pl_republished republished;
	bool returned; // a write of the region that applies it, republished by another one
	const char *
		// why a value does not fit its column as this configuration describes
		// it; NULL: all fit
		unfit;
	const char *topic;
	int32_t partition;
	int64_t offset;
	int64_t broker_time_us; // the broker's timestamp, 0 if none
};

// What the event points to is in `arena`. PL_EINVAL with a sentence if it cannot be
// read; it then becomes a dead letter.
int pl_event_decode(struct pl_arena *arena, const struct pl_resource *resource,
                    const struct pl_message *message, struct pl_event **event_r, struct pl_error *err);

// Reads from an event in this region's own name what is needed to check whether the
// region wrote it: its record's id and its dot. -1: not readable; both are unchanged.
int pl_event_own_dot(const struct pl_message *message, int64_t *id_r, struct pl_dot *dot_r);

// The region named by the header plist-republished, without "; request". False: there
// is no such header.
bool pl_event_republished_by(const struct pl_message *message, char region_r[PL_REGION_MAX + 1]);

// A write as it is in the outbox, in PostgreSQL's text format. NULL is SQL's null.
struct pl_outbox_row {
	int64_t id;
	const char *resource, *record_id, *origin, *value, *vector, *field_times, *request_id, *principal;
	const char *fingerprint; // "\x…" as bytea prints
	const char *status, *expires_at, *traceparent, *reset, *republished, *answer;
	bool deleted;
	int64_t created_at_us;
};

// `policy` is the value of the header plist-policy ("last_writer_wins sha256:…"), or
// NULL. PL_EINVAL: the row is not a valid event (its vector lacks its origin), which
// only SQL by hand can cause.
int pl_event_encode(struct pl_arena *arena, const struct pl_outbox_row *row, const char *policy,
                    struct pl_outgoing_message *message_r, struct pl_error *err);
