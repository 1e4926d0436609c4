// The texts of the applier's statements. For replicate/apply_sql only.
#pragma once

#include "base/mem.h"
#include "config/config.h"

// Columns of the statement that writes a resource's rows, in the order of its parameters.
enum { PL_ROW_ID, PL_ROW_FRESH, PL_ROW_FIELDS }; // then each field, then these
enum { PL_ROW_ORIGIN, PL_ROW_VERSION, PL_ROW_UPDATED_AT, PL_ROW_VECTOR, PL_ROW_DELETED, PL_ROW_SIBLINGS, PL_ROW_FIELD_TIMES, PL_ROW_REQUEST, PL_ROW_TAIL };
// Then the requests to remember.
enum { PL_REQUEST_ID, PL_REQUEST_PRINCIPAL, PL_REQUEST_FINGERPRINT, PL_REQUEST_RESOURCE, PL_REQUEST_RECORD, PL_REQUEST_STATUS,
       PL_REQUEST_BODY, PL_REQUEST_VECTOR, PL_REQUEST_LOCATION, PL_REQUEST_DOTS, PL_REQUEST_EXPIRES, PL_REQUEST_COLUMNS };
#define PL_APPLY_COPY "COPY processed_requests (request_id, principal, fingerprint, resource, record_id, status, response_body, vector, location, " \
	"dots, expires_at) FROM STDIN (FORMAT binary)"
// Then the positions.
enum { PL_POSITION_TOPIC, PL_POSITION_PARTITION, PL_POSITION_NEXT, PL_POSITION_EVENT_AT, PL_POSITION_COLUMNS };

// PREPARE statements, NULL-ended: "apply_lock_N", "apply_write_N", "apply_write_new_N" for the resource of index N, and those that all share.
const char *const *pl_apply_texts(struct pl_arena *arena, const struct pl_config *config);
