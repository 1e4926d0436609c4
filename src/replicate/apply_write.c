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

static bool by_copy(const struct pl_heard *heard, int n, bool careful)
{
	int first = 0;

	for (int i = 0; i < n; i++)
		first += !heard[i].later;
	return !careful && first >= COPY_AT;
}

static void add_requests(struct pl_apply_sql *sql, struct pl_columns *columns, int at, const struct pl_heard *heard, int n)
{
	for (int i = 0; i < n; i++)
		if (!heard[i].later)
			add_request(sql, columns, at, &heard[i]);
}

int pl_apply_sql_copy(struct pl_apply_sql *sql, struct pl_session *session, void (*meanwhile)(void *arg), void *arg, struct pl_error *err)
{
	const struct pl_buf *rows;
	PGresult *result;
	int code;

	if (sql->copy->columns[0].n == 0)
		return 0;
	result = pl_session_exec(session, PL_APPLY_COPY, 0, NULL, err);
	if (!result)
		return err->code;
	PQclear(result);
	rows = pl_columns_copy(sql->copy);
	if ((code = pl_session_copy_put(session, rows->data, rows->len, err)) < 0 || (code = pl_session_copy_close(session, NULL, err)) < 0)
		return code;
	if (meanwhile)
		meanwhile(arg);
	result = pl_session_receive(session, err);
	PQclear(result);
	return result ? 0 : err->code;
}

// --- rows

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

// One statement: the rows of one resource, and, with the first, positions and, unless they are many and new, requests.
static int send_rows(struct pl_apply_sql *sql, struct pl_session *session, bool careful, int resource, struct pl_error *err)
{
	struct pl_conn_params params = pl_columns_params(sql->rows[resource]);
	char statement[32];

	snprintf(statement, sizeof statement, careful ? "apply_write_%d" : "apply_write_new_%d", resource);
	return pl_session_send(session, statement, &params, err);
}

int pl_apply_sql_write(struct pl_apply_sql *sql, struct pl_session *session, bool careful, struct pl_target *const *targets, int n,
                       const struct pl_heard *heard, int nheard, const struct pl_position *positions, int npositions, struct pl_error *err)
{
	int from = 0, resource = n > 0 ? targets[0]->key.resource : 0, code, to, nrows;
	bool copied = by_copy(heard, nheard, careful);

	pl_columns_reset(sql->copy);
	do { // at least once, for the requests and positions
		struct pl_columns *columns = sql->rows[resource];
		int at = PL_ROW_FIELDS + sql->config->resources[resource].nfields + PL_ROW_TAIL;

		pl_columns_reset(columns);
		nrows = 0;
		for (to = from; to < n && targets[to]->key.resource == resource; to++)
			if (targets[to]->changed) {
				add_row(sql, columns, targets[to]);
				nrows++;
			}
		if (from == 0 && !copied)
			add_requests(sql, columns, at, heard, nheard);
		for (int i = 0; i < npositions && from == 0; i++)
			add_position(columns, at + PL_REQUEST_COLUMNS, &positions[i]);
		if ((from == 0 || nrows > 0) && (code = send_rows(sql, session, careful, resource, err)) < 0)
			return code;
		if (from == 0 && copied) // while the server is at the rows
			add_requests(sql, sql->copy, 0, heard, nheard);
		if ((from == 0 || nrows > 0) && (code = rows_written(session, nrows, err)) < 0)
			return code;
		from = to;
		resource = from < n ? targets[from]->key.resource : resource;
	} while (from < n);
	return 0;
}

static bool collect_pairs(struct pl_apply_sql *sql, struct pl_target *const *targets, int n, bool (*wanted)(const struct pl_target *target))
{
	pl_columns_reset(sql->pairs);
	for (int i = 0; i < n; i++)
		if (wanted(targets[i])) {
			pl_columns_text(sql->pairs, 0, targets[i]->resource->name);
			pl_columns_i64(sql->pairs, 1, targets[i]->key.id);
		}
	return sql->pairs->columns[0].n > 0;
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

int pl_apply_sql_siblings(struct pl_apply_sql *sql, struct pl_session *session, struct pl_target *const *targets, int n, struct pl_error *err)
{
	int code;

	if (collect_pairs(sql, targets, n, had_siblings) && (code = pl_apply_tell(session, "apply_siblings_delete", sql->pairs, err)) < 0)
		return code;
	pl_columns_reset(sql->siblings);
	for (int i = 0; i < n; i++)
		for (int j = 0; targets[i]->changed && targets[i]->state.n > 1 && j < targets[i]->state.n; j++)
			add_sibling(sql, targets[i], &targets[i]->state.writes[j]);
	return sql->siblings->columns[0].n > 0 ? pl_apply_tell(session, "apply_siblings_insert", sql->siblings, err) : 0;
}

int pl_apply_sql_close(struct pl_apply_sql *sql, struct pl_session *session, struct pl_target *const *targets, int n, struct pl_error *err)
{
	return collect_pairs(sql, targets, n, lost_siblings) ? pl_apply_tell(session, "apply_conflicts_close", sql->pairs, err) : 0;
}

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

int pl_apply_sql_conflicts(struct pl_apply_sql *sql, struct pl_session *session, const struct pl_conflict_row *rows, int n, struct pl_error *err)
{
	int code = 0;

	pl_columns_reset(sql->conflicts);
	pl_columns_reset(sql->anew);
	for (int i = 0; i < n; i++) {
		if (rows[i].event)
			add_conflict(sql, &rows[i]);
		else
			add_anew(sql, &rows[i]);
	}
	if (sql->conflicts->columns[0].n > 0)
		code = pl_apply_tell(session, "apply_conflicts_insert", sql->conflicts, err);
	if (code == 0 && sql->anew->columns[0].n > 0)
		code = pl_apply_tell(session, "apply_conflicts_anew", sql->anew, err);
	return code;
}

int pl_apply_sql_dead_letters(struct pl_apply_sql *sql, struct pl_session *session, const struct pl_dead_letter *letters, int n,
                              struct pl_error *err)
{
	struct pl_columns *c = sql->dead;

	if (n == 0)
		return 0;
	pl_columns_reset(c);
	for (int i = 0; i < n; i++) {
		pl_columns_text(c, 0, letters[i].topic);
		pl_columns_i64(c, 1, letters[i].partition);
		pl_columns_i64(c, 2, letters[i].offset);
		pl_columns_bytes(c, 3, letters[i].key, letters[i].key_len);
		pl_columns_bytes(c, 4, letters[i].value, letters[i].value_len);
		pl_columns_text(c, 5, letters[i].headers);
		pl_columns_text(c, 6, letters[i].error);
	}
	return pl_apply_tell(session, "apply_dead_letters", c, err);
}

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
