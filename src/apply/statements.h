// The texts of the applier's statements, for apply/rows only.
#pragma once

#include "base/mem.h"
#include "config/config.h"

// Columns of the statement that writes a resource's rows, in parameter order.
enum { PL_ROW_ID, PL_ROW_FRESH, PL_ROW_FIELDS }; // then each field, then these
enum {
	PL_ROW_ORIGIN,
	PL_ROW_VERSION,
	PL_ROW_UPDATED_AT,
	PL_ROW_VECTOR,
	PL_ROW_DELETED,
	PL_ROW_SIBLINGS,
	PL_ROW_FIELD_TIMES,
	PL_ROW_REQUEST,
	PL_ROW_UNKNOWN,
	PL_ROW_TAIL
};
// Then the requests to remember.
enum {
	PL_REQUEST_ID,
	PL_REQUEST_PRINCIPAL,
	PL_REQUEST_FINGERPRINT,
	PL_REQUEST_RESOURCE,
	PL_REQUEST_RECORD,
	PL_REQUEST_STATUS,
	PL_REQUEST_BODY,
	PL_REQUEST_VECTOR,
	PL_REQUEST_LOCATION,
	PL_REQUEST_DOTS,
	PL_REQUEST_EXPIRES,
	PL_REQUEST_COLUMNS
};
// Requests that created a record, to be compared with what is remembered of them.
enum {
	PL_CREATED_ID,
	PL_CREATED_PRINCIPAL,
	PL_CREATED_FINGERPRINT,
	PL_CREATED_RESOURCE,
	PL_CREATED_RECORD,
	PL_CREATED_ORIGIN,
	PL_CREATED_COLUMNS
};
#define PL_APPLY_COPY                                                                              \
	"COPY plist.processed_requests (request_id, principal, fingerprint, resource, record_id, " \
	"status, response_body, vector, location, dots, expires_at) FROM STDIN (FORMAT binary)"
// Then the positions.
enum {
	PL_POSITION_TOPIC,
	PL_POSITION_PARTITION,
	PL_POSITION_NEXT,
	PL_POSITION_EVENT_AT,
	PL_POSITION_COLUMNS
};
// Then the sequence numbers.
enum {
	PL_NUMBERS_ORIGIN,
	PL_NUMBERS_TOPIC,
	PL_NUMBERS_PARTITION,
	PL_NUMBERS_SEQ,
	PL_NUMBERS_CHAIN_FROM,
	PL_NUMBERS_CHAIN_TO,
	PL_NUMBERS_LEVEL,
	PL_NUMBERS_GENERATION,
	PL_NUMBERS_OUTBOX_ID,
	PL_NUMBERS_RUN,
	PL_NUMBERS_COLUMNS
};

// PREPARE statements, NULL-ended: "apply_lock_N", "apply_lock_free_N", "apply_there_N",
// "apply_own_N", "apply_write_N" and "apply_write_new_N" for the resource with index N,
// and those that all resources share.
const char *const *pl_apply_statements(struct pl_arena *arena, const struct pl_config *config);
