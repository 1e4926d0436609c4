// The applier's SQL, its writing half: rows, requests, positions, siblings, conflicts, dead letters.
//
// Beside replicate/apply_sql.c, which reads. Threads: an object belongs to one.
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/sha256.h"
#include "replicate/apply_sql_in.h"
#include "replicate/apply_text.h"
#include "replicate/fields.h"

#define COPY_AT 64                        // requests from which on COPY is the shorter way
#define COPY_PIECE 32768                  // bytes
#define LOCATION_MAX (PL_REGION_MAX + 128)

static int64_t one_number(PGresult *result)
{
	int64_t n = strtoll(PQgetvalue(result, 0, 0), NULL, 10);

	PQclear(result);
	return n;
}

static void add_row(struct pl_apply_sql *sql, struct pl_columns *columns, const struct pl_target *target)
{
	const struct pl_sibling *row = &target->row;
	int at = PL_ROW_FIELDS + target->resource->nfields;

	pl_columns_i64(columns, PL_ROW_ID, target->key.id);
	pl_columns_bool(columns, PL_ROW_FRESH, !target->exists);
	for (int f = 0; f < target->resource->nfields; f++)
		pl_columns_text(columns, PL_ROW_FIELDS + f, row->values[f]);
	pl_columns_text(columns, at + PL_ROW_ORIGIN, row->dot.region);
	pl_columns_i64(columns, at + PL_ROW_VERSION, target->state.version);
	pl_columns_time(columns, at + PL_ROW_UPDATED_AT, row->updated_at_us);
	pl_columns_text(columns, at + PL_ROW_VECTOR, pl_apply_vector_text(sql, &target->state.vector));
	pl_columns_bool(columns, at + PL_ROW_DELETED, row->deleted);
	pl_columns_bool(columns, at + PL_ROW_SIBLINGS, target->state.n > 1);
	pl_columns_text(columns, at + PL_ROW_FIELD_TIMES, target->resource->track_fields ? row->field_times : NULL);
	pl_columns_text(columns, at + PL_ROW_REQUEST, row->request_id);
}

// What the client was answered for it: the record as the event has it; nothing for a delete.
static const char *answered_body(struct pl_apply_sql *sql, const struct pl_event *event)
{
	struct pl_record record = { .resource = event->resource, .id = event->id, .values = event->write.values, .version = event->version,
		.updated_at_us = event->write.updated_at_us };

	if (event->write.deleted)
		return NULL;
	strcpy(record.region_origin, event->write.dot.region);
	pl_buf_reset(&sql->text);
	pl_record_print(&sql->text, &record);
	return sql->text.data;
}

static const char *dots_text(struct pl_apply_sql *sql, const struct pl_heard *heard)
{
	pl_buf_reset(&sql->text);
	for (int i = 0; i < heard->ndots; i++) {
		pl_buf_adds(&sql->text, i ? ",\"" : "{\"");
		pl_buf_adds(&sql->text, heard->dots[i].region);
		pl_buf_adds(&sql->text, "\":");
		pl_buf_add_i64(&sql->text, heard->dots[i].counter);
	}
	pl_buf_addc(&sql->text, '}');
	return sql->text.data;
}

// What it was called in the answer that created it; NULL for another.
static const char *location_of(const struct pl_event *event, char location[LOCATION_MAX])
{
	if (event->status != 201)
		return NULL;
	snprintf(location, LOCATION_MAX, "/%s/%s/%lld", event->write.dot.region, event->resource->name, (long long)event->id);
	return location;
}

static void add_request(struct pl_apply_sql *sql, struct pl_columns *columns, int at, const struct pl_heard *heard)
{
	const struct pl_event *event = heard->event;
	const struct pl_sibling *write = &event->write;
	char location[LOCATION_MAX];

	pl_columns_text(columns, at + PL_REQUEST_ID, write->request_id);
	pl_columns_text(columns, at + PL_REQUEST_PRINCIPAL, write->principal);
	pl_columns_bytes(columns, at + PL_REQUEST_FINGERPRINT, write->fingerprint, PL_SHA256_SIZE);
	pl_columns_text(columns, at + PL_REQUEST_RESOURCE, event->resource->name);
	pl_columns_i64(columns, at + PL_REQUEST_RECORD, event->id);
	pl_columns_i64(columns, at + PL_REQUEST_STATUS, event->status);
	pl_columns_text(columns, at + PL_REQUEST_BODY, answered_body(sql, event));
	pl_columns_text(columns, at + PL_REQUEST_VECTOR, pl_apply_vector_text(sql, &write->vector));
	pl_columns_text(columns, at + PL_REQUEST_LOCATION, location_of(event, location));
	pl_columns_text(columns, at + PL_REQUEST_DOTS, dots_text(sql, heard));
	pl_columns_time(columns, at + PL_REQUEST_EXPIRES, event->expires_at_us);
}

static void add_position(struct pl_columns *columns, int at, const struct pl_position *position)
{
	pl_columns_text(columns, at + PL_POSITION_TOPIC, position->topic);
	pl_columns_i64(columns, at + PL_POSITION_PARTITION, position->partition);
	pl_columns_i64(columns, at + PL_POSITION_NEXT, position->next_offset);
	pl_columns_time(columns, at + PL_POSITION_EVENT_AT, position->event_at_us);
}

// --- many requests at once: COPY
//
// It costs the server half of what the same rows cost by unnest(), but knows no ON CONFLICT and needs two round trips: for many requests of which none
// is known yet.

static void add_requests(struct pl_apply_sql *sql, struct pl_columns *columns, int at, const struct pl_heard *heard, int n)
{
	for (int i = 0; i < n; i++)
		if (!heard[i].later)
			add_request(sql, columns, at, &heard[i]);
}

bool pl_apply_sql_copies(const struct pl_heard *heard, int n)
{
	int first = 0;

	for (int i = 0; i < n; i++)
		first += !heard[i].later;
	return first >= COPY_AT;
}

static int put_rows(struct pl_session *session, const struct pl_buf *rows, struct pl_error *err)
{
	return pl_session_copy_put(session, rows->data, rows->len, err);
}

// A piece of them at a time, so that the server is at the first while the others are being made.
int pl_apply_sql_copy_send(struct pl_apply_sql *sql, struct pl_session *session, const struct pl_heard *heard, int n, struct pl_error *err)
{
	PGresult *result = pl_session_exec(session, PL_APPLY_COPY, 0, NULL, err);
	int code;

	if (!result)
		return err->code;
	PQclear(result);
	pl_columns_reset(sql->copy);
	for (int i = 0; i < n; i++) {
		if (!heard[i].later)
			add_request(sql, sql->copy, 0, &heard[i]);
		if (sql->copy->rows.len < COPY_PIECE)
			continue;
		if ((code = put_rows(session, &sql->copy->rows, err)) < 0)
			return code;
		pl_buf_reset(&sql->copy->rows);
	}
	if ((code = put_rows(session, pl_columns_copy(sql->copy), err)) < 0)
		return code;
	return pl_session_copy_close(session, NULL, err);
}

int pl_apply_sql_copy_receive(struct pl_session *session, struct pl_error *err)
{
	return pl_apply_told(session, err);
}

// --- rows

static int rows_written(struct pl_session *session, int nrows, struct pl_error *err)
{
	PGresult *result = pl_session_receive(session, err);
	int64_t written;

	if (!result)
		return err->code;
	written = one_number(result);
	if (written == nrows)
		return 0;
	pl_error_set(err, PL_ECONFLICT, "%lld of %d rows were not as they had been read", (long long)(nrows - written), nrows);
	err->retryable = true;
	return PL_ECONFLICT;
}

// The rows of each resource are one statement's; with the first one's go the positions and the requests.
static void rows_ready(struct pl_apply_sql *sql, const struct pl_apply_outcome *outcome)
{
	struct pl_columns *with_first;
	int at;

	for (int i = 0; i < sql->config->nresources; i++)
		pl_columns_reset(sql->rows[i]);
	for (int i = 0; i < outcome->ntargets; i++)
		if (outcome->targets[i]->changed)
			add_row(sql, sql->rows[outcome->targets[i]->key.resource], outcome->targets[i]);
	sql->first = outcome->ntargets > 0 ? outcome->targets[0]->key.resource : 0;
	with_first = sql->rows[sql->first];
	at = PL_ROW_FIELDS + sql->config->resources[sql->first].nfields + PL_ROW_TAIL;
	add_requests(sql, with_first, at, outcome->heard, outcome->nheard);
	for (int i = 0; i < outcome->npositions; i++)
		add_position(with_first, at + PL_REQUEST_COLUMNS, &outcome->positions[i]);
}

static int write_rows(struct pl_apply_sql *sql, struct pl_session *session, bool careful, int resource, struct pl_error *err)
{
	char statement[32];
	int code;

	snprintf(statement, sizeof statement, careful ? "apply_write_%d" : "apply_write_new_%d", resource);
	code = pl_apply_send(session, statement, sql->rows[resource], err);
	return code < 0 ? code : rows_written(session, sql->rows[resource]->columns[PL_ROW_ID].n, err);
}

// --- siblings

static void collect_pairs(struct pl_columns *pairs, const struct pl_apply_outcome *outcome, bool (*wanted)(const struct pl_target *target))
{
	pl_columns_reset(pairs);
	for (int i = 0; i < outcome->ntargets; i++)
		if (wanted(outcome->targets[i])) {
			pl_columns_text(pairs, 0, outcome->targets[i]->resource->name);
			pl_columns_i64(pairs, 1, outcome->targets[i]->key.id);
		}
}

static bool had_siblings(const struct pl_target *target)
{
	return target->changed && target->flagged;
}

static bool lost_siblings(const struct pl_target *target)
{
	return target->changed && target->flagged && target->state.n == 1;
}

static void add_sibling(struct pl_apply_sql *sql, const struct pl_target *target, const struct pl_sibling *write)
{
	struct pl_columns *columns = sql->siblings;

	pl_columns_text(columns, 0, target->resource->name);
	pl_columns_i64(columns, 1, target->key.id);
	pl_columns_text(columns, 2, write->dot.region);
	pl_columns_i64(columns, 3, write->dot.counter);
	pl_columns_text(columns, 4, pl_apply_vector_text(sql, &write->vector));
	pl_columns_time(columns, 5, write->updated_at_us);
	pl_columns_bool(columns, 6, write->deleted);
	pl_buf_reset(&sql->text);
	pl_fields_print(&sql->text, target->resource, write->values);
	pl_columns_text(columns, 7, sql->text.data);
	pl_columns_text(columns, 8, write->field_times);
	pl_columns_text(columns, 9, write->request_id);
	pl_columns_text(columns, 10, write->principal ? write->principal : "");
	pl_columns_bytes(columns, 11, write->fingerprint, PL_SHA256_SIZE);
}

// Those that were are deleted, those that stand inserted; and where none stand any more, the open conflicts are closed.
static void siblings_ready(struct pl_apply_sql *sql, const struct pl_apply_outcome *outcome)
{
	collect_pairs(sql->replaced, outcome, had_siblings);
	collect_pairs(sql->settled, outcome, lost_siblings);
	pl_columns_reset(sql->siblings);
	for (int i = 0; i < outcome->ntargets; i++) {
		const struct pl_target *target = outcome->targets[i];

		for (int j = 0; target->changed && target->state.n > 1 && j < target->state.n; j++)
			add_sibling(sql, target, &target->state.writes[j]);
	}
}

// --- conflicts

static void add_conflict(struct pl_apply_sql *sql, const struct pl_conflict_row *row)
{
	struct pl_columns *c = sql->conflicts;

	pl_columns_text(c, 0, row->target->resource->name);
	pl_columns_i64(c, 1, row->target->key.id);
	pl_columns_text(c, 2, row->type);
	pl_columns_bool(c, 3, row->closed);
	pl_columns_text(c, 4, row->policy_name);
	pl_columns_text(c, 5, row->policy_sha256);
	pl_columns_text(c, 6, row->policy_error);
	pl_columns_text(c, 7, row->siblings);
	pl_columns_text(c, 8, row->verdict);
	pl_columns_text(c, 9, row->visible);
	pl_columns_text(c, 10, pl_apply_vector_text(sql, row->vector));
	pl_columns_text(c, 11, row->event->topic);
	pl_columns_i64(c, 12, row->event->partition);
	pl_columns_i64(c, 13, row->event->offset);
}

static void add_anew(struct pl_apply_sql *sql, const struct pl_conflict_row *row)
{
	struct pl_columns *c = sql->anew;

	pl_columns_text(c, 0, row->target->resource->name);
	pl_columns_i64(c, 1, row->target->key.id);
	pl_columns_text(c, 2, row->policy_name);
	pl_columns_text(c, 3, row->policy_sha256);
	pl_columns_text(c, 4, row->policy_error);
	pl_columns_text(c, 5, row->siblings);
	pl_columns_text(c, 6, row->verdict);
	pl_columns_text(c, 7, row->visible);
}

static void conflicts_ready(struct pl_apply_sql *sql, const struct pl_apply_outcome *outcome)
{
	pl_columns_reset(sql->conflicts);
	pl_columns_reset(sql->anew);
	for (int i = 0; i < outcome->nconflicts; i++) {
		if (outcome->conflicts[i].event)
			add_conflict(sql, &outcome->conflicts[i]);
		else
			add_anew(sql, &outcome->conflicts[i]);
	}
}

static void dead_letters_ready(struct pl_apply_sql *sql, const struct pl_apply_outcome *outcome)
{
	struct pl_columns *c = sql->dead;

	pl_columns_reset(c);
	for (int i = 0; i < outcome->ndead; i++) {
		const struct pl_dead_letter *letter = &outcome->dead[i];

		pl_columns_text(c, 0, letter->topic);
		pl_columns_i64(c, 1, letter->partition);
		pl_columns_i64(c, 2, letter->offset);
		pl_columns_bytes(c, 3, letter->key, letter->key_len);
		pl_columns_bytes(c, 4, letter->value, letter->value_len);
		pl_columns_text(c, 5, letter->headers);
		pl_columns_text(c, 6, letter->error);
	}
}

// --- all of it

void pl_apply_sql_ready(struct pl_apply_sql *sql, const struct pl_apply_outcome *outcome)
{
	rows_ready(sql, outcome);
	siblings_ready(sql, outcome);
	conflicts_ready(sql, outcome);
	dead_letters_ready(sql, outcome);
}

static int tell_if_any(struct pl_session *session, const char *statement, struct pl_columns *columns, struct pl_error *err)
{
	return columns->columns[0].n > 0 ? pl_apply_tell(session, statement, columns, err) : 0;
}

int pl_apply_sql_write(struct pl_apply_sql *sql, struct pl_session *session, bool careful, struct pl_error *err)
{
	int code;

	for (int i = sql->first; i < sql->config->nresources; i++) // the first in any case, for what goes with it
		if ((i == sql->first || sql->rows[i]->columns[PL_ROW_ID].n > 0) && (code = write_rows(sql, session, careful, i, err)) < 0)
			return code;
	if ((code = tell_if_any(session, "apply_siblings_delete", sql->replaced, err)) < 0 ||
	    (code = tell_if_any(session, "apply_siblings_insert", sql->siblings, err)) < 0 ||
	    (code = tell_if_any(session, "apply_conflicts_close", sql->settled, err)) < 0 ||
	    (code = tell_if_any(session, "apply_conflicts_insert", sql->conflicts, err)) < 0 ||
	    (code = tell_if_any(session, "apply_conflicts_anew", sql->anew, err)) < 0)
		return code;
	return tell_if_any(session, "apply_dead_letters", sql->dead, err);
}

// The requests whose id another one of this batch has: one statement cannot insert an id and then join it.
int pl_apply_sql_later(struct pl_apply_sql *sql, struct pl_session *session, const struct pl_heard *heard, int n, struct pl_error *err)
{
	int code = 0;

	for (int i = 0; i < n && code == 0; i++) {
		if (!heard[i].later)
			continue;
		pl_columns_reset(sql->requests);
		add_request(sql, sql->requests, 0, &heard[i]);
		code = pl_apply_tell(session, "apply_remember", sql->requests, err);
	}
	return code;
}

// --- beside the batches

int pl_apply_sql_positions(struct pl_apply_sql *sql, struct pl_session *session, const struct pl_position *positions, int n,
                           struct pl_error *err)
{
	if (n == 0)
		return 0;
	pl_columns_reset(sql->positions);
	for (int i = 0; i < n; i++)
		add_position(sql->positions, 0, &positions[i]);
	return pl_apply_tell(session, "apply_positions", sql->positions, err);
}

int pl_apply_sql_heartbeat(struct pl_apply_sql *sql, struct pl_session *session, const struct pl_heartbeat *heartbeat, struct pl_error *err)
{
	char sent[PL_TIME_TEXT_MAX], oldest[PL_TIME_TEXT_MAX], events[24];
	const char *params[5] = { heartbeat->region, pl_time_format(heartbeat->sent_at_us, sent), events,
		heartbeat->outbox_oldest_us ? pl_time_format(heartbeat->outbox_oldest_us, oldest) : NULL, heartbeat->policies };
	PGresult *result;

	snprintf(events, sizeof events, "%lld", (long long)heartbeat->outbox_events);
	result = pl_session_exec_prepared(session, "apply_heartbeat", 5, params, err);
	if (!result)
		return err->code;
	PQclear(result);
	return 0;
}
