// An event: one write as it travels through Kafka. Value: the record as HTTP shows it (none for a delete); headers: the rest.
//
//   plist-event-id     us/properties/7/5      origin, resource, record, counter: the same write has the same id for ever
//   plist-origin       us
//   plist-vector       {"eu":1,"us":5}
//   plist-request-id   as the client sent it;  plist-principal: absent when there is none
//   plist-fingerprint  64 hex digits
//   plist-status       200 | 201 | 204        what the client was answered, so that every region can replay it
//   plist-expires      RFC 3339                until when the request is remembered
//   plist-policy       last_writer_wins sha256:…    the origin's policy at that time
//   plist-schema       1
//   plist-field-times  {"price":{"at":…,"origin":"us"}}   only with track_fields
//   plist-deleted      the last record, as JSON; present only on a delete, whose value is null (Kafka's own sign of a deletion)
//   traceparent        as received
//
// An event without plist-origin comes from another producer of the same value: `foreign`.
#pragma once

#include "base/error.h"
#include "record/record.h"
#include "script/policy.h"

struct pl_event {
	const struct pl_resource *resource;
	int64_t id;
	bool foreign;                 // no headers: taken by (version, updated_at, region_origin)
	struct pl_sibling write;      // dot, vector, time, values, request id, …
	int32_t version;              // as the value says; used for foreign events only
	int status;
	int64_t expires_at_us;        // 0 = unknown
	const char *event_id, *policy, *traceparent;
	const char *topic; int32_t partition; int64_t offset;
	int64_t broker_time_us;       // the broker's timestamp, 0 if none
};

struct pl_event_header { const char *name; const void *value; size_t len; };

// Everything the event points to lives in `arena`. PL_EINVAL with a sentence when it cannot be read: a dead letter.
int pl_event_decode(struct pl_arena *arena, const struct pl_resource *resource, const void *key, size_t key_len, const void *value,
                    size_t value_len, const struct pl_event_header *headers, int nheaders, struct pl_event **event_r, struct pl_error *err);

// A write as it stands in the outbox, in PostgreSQL's texts. NULL where the column is.
struct pl_outbox_row {
	int64_t id;
	const char *resource, *record_id, *origin, *value, *vector, *field_times, *request_id, *principal;
	const char *fingerprint;      // "\x…" as bytea prints
	const char *status, *expires_at, *traceparent;
	bool deleted;
	int64_t created_at_us;
};

#define PL_EVENT_HEADERS_MAX 13

// An event as Kafka takes it. Points into the row and into the arena.
struct pl_event_message {
	const char *key, *value;      // value NULL: a delete
	size_t key_len, value_len;
	int nheaders;
	struct pl_event_header headers[PL_EVENT_HEADERS_MAX];
};

// `policy` is what the header plist-policy says ("last_writer_wins sha256:…"), or NULL. PL_EINVAL: the row is no event (a vector without its
// origin), which only a hand in the table can make.
int pl_event_encode(struct pl_arena *arena, const struct pl_outbox_row *row, const char *policy, struct pl_event_message *message_r,
                    struct pl_error *err);
