// The applier's SQL, its writing half: rows, requests, positions, siblings, conflicts,
// dead letters. Between apply/batch and PostgreSQL.
//
// Threads: an object belongs to one.
#include <stdlib.h>
#include <string.h>

#include "apply/rows_private.h"
#include "apply/statements.h"
#include "base/clock.h"
#include "base/sha256.h"
#include "record/fields.h"
#include "store/store.h"

#define COPY_AT      64    // from this many requests on, COPY is faster
#define COPY_PIECE   32768 // bytes
#define LOCATION_MAX (PL_REGION_MAX + 128)

static int64_t one_number(PGresult *result)
{
	int64_t n = strtoll(PQgetvalue(result, 0, 0), NULL, 10);

	PQclear(result);
	return n;
}

static void add_row(struct pl_apply_rows *sql, struct pl_columns *columns,
                    const struct pl_touched_row *touched)
{
	const struct pl_sibling *row = &touched->row;
	int at = PL_ROW_FIELDS + touched->resource->nfields;

	pl_columns_i64(columns, PL_ROW_ID, touched->key.id);
	pl_columns_bool(columns, PL_ROW_FRESH, !touched->exists);
	for (int f = 0; f < touched->resource->nfields; f++)
		pl_columns_text(columns, PL_ROW_FIELDS + f, row->values[f]);
	pl_columns_text(columns, at + PL_ROW_ORIGIN, row->dot.region);
	pl_columns_i64(columns, at + PL_ROW_VERSION, touched->state.version);
	pl_columns_time(columns, at + PL_ROW_UPDATED_AT, row->updated_at_us);
	pl_columns_text(columns, at + PL_ROW_VECTOR, pl_apply_rows_vector_text(sql, &touched->state.vector));
	pl_columns_bool(columns, at + PL_ROW_DELETED, row->deleted);
	pl_columns_bool(columns, at + PL_ROW_SIBLINGS, touched->state.n > 1);
	pl_columns_text(columns, at + PL_ROW_FIELD_TIMES,
	                touched->resource->track_fields ? row->field_times : NULL);
	pl_columns_text(columns, at + PL_ROW_REQUEST, row->request_id);
	pl_columns_text(columns, at + PL_ROW_UNKNOWN, row->unknown);
}

// The body that the client received: a handler's own answer, or the record as in the
// event; none for a delete.
static const char *answered_body(struct pl_apply_rows *sql, const struct pl_event *event)
{
	struct pl_record record = { .resource = event->resource,
		                    .id = event->id,
		                    .values = event->write.values,
		                    .version = event->version,
		                    .updated_at_us = event->write.updated_at_us };

	if (event->answer.own) {
		pl_buf_reset(&sql->text);
		pl_buf_printf(&sql->text, "{\"" PL_REMEMBERED_WHOLE "\":%s}", event->answer.own);
		return sql->text.data;
	}
	if (event->write.deleted)
		return NULL;
	strcpy(record.region_origin, event->write.dot.region);
	pl_buf_reset(&sql->text);
	pl_record_print(&sql->text, &record);
	return sql->text.data;
}

static const char *dots_text(struct pl_apply_rows *sql, const struct pl_known_request *known_request)
{
	pl_buf_reset(&sql->text);
	for (int i = 0; i < known_request->ndots; i++) {
		pl_buf_adds(&sql->text, i ? ",\"" : "{\"");
		pl_buf_adds(&sql->text, known_request->dots[i].region);
		pl_buf_adds(&sql->text, "\":");
		pl_buf_add_i64(&sql->text, known_request->dots[i].counter);
	}
	pl_buf_addc(&sql->text, '}');
	return sql->text.data;
}

// The Location of the answer that created the record; NULL for other answers.
static const char *location_of(const struct pl_event *event, char location[LOCATION_MAX])
{
	if (event->status != 201 || event->answer.own)
		return NULL;
	if (event->answer.location)
		return event->answer.location;
	snprintf(location, LOCATION_MAX, "/%.*s/%s/%lld",
	         (int)pl_vector_region_len(event->write.dot.region, strlen(event->write.dot.region)),
	         event->write.dot.region, event->resource->name, (long long)event->id);
	return location;
}

static void add_request(struct pl_apply_rows *sql, struct pl_columns *columns, int at,
                        const struct pl_known_request *known_request)
{
	const struct pl_event *event = known_request->event;
	const struct pl_sibling *write = &event->write;
	char location[LOCATION_MAX];

	pl_columns_text(columns, at + PL_REQUEST_ID, write->request_id);
	pl_columns_text(columns, at + PL_REQUEST_PRINCIPAL, write->principal);
	pl_columns_bytes(columns, at + PL_REQUEST_FINGERPRINT, write->fingerprint, PL_SHA256_SIZE);
	pl_columns_text(columns, at + PL_REQUEST_RESOURCE, event->resource->name);
	pl_columns_i64(columns, at + PL_REQUEST_RECORD, event->id);
	pl_columns_i64(columns, at + PL_REQUEST_STATUS,
	               event->answer.own ? event->answer.status : event->status);
	pl_columns_text(columns, at + PL_REQUEST_BODY, answered_body(sql, event));
	pl_columns_text(columns, at + PL_REQUEST_VECTOR, pl_apply_rows_vector_text(sql, &write->vector));
	pl_columns_text(columns, at + PL_REQUEST_LOCATION, location_of(event, location));
	pl_columns_text(columns, at + PL_REQUEST_DOTS, dots_text(sql, known_request));
	pl_columns_time(columns, at + PL_REQUEST_EXPIRES, event->expires_at_us);
}

static void add_position(struct pl_columns *columns, int at, const struct pl_position *position)
{
	pl_columns_text(columns, at + PL_POSITION_TOPIC, position->topic);
	pl_columns_i64(columns, at + PL_POSITION_PARTITION, position->partition);
	pl_columns_i64(columns, at + PL_POSITION_NEXT, position->next_offset);
	pl_columns_time(columns, at + PL_POSITION_EVENT_AT, position->event_at_us);
}

static void add_numbers(struct pl_columns *columns, int at, const struct pl_sequence_write *write)
{
	pl_columns_text(columns, at + PL_NUMBERS_ORIGIN, write->of->origin);
	pl_columns_text(columns, at + PL_NUMBERS_TOPIC, write->of->topic);
	pl_columns_i64(columns, at + PL_NUMBERS_PARTITION, write->of->partition);
	pl_columns_i64(columns, at + PL_NUMBERS_SEQ, write->to.seq);
	pl_columns_i64(columns, at + PL_NUMBERS_CHAIN_FROM, write->to.chain_from);
	pl_columns_i64(columns, at + PL_NUMBERS_CHAIN_TO, write->to.chain_to);
	pl_columns_bool(columns, at + PL_NUMBERS_LEVEL, write->to.level);
	pl_columns_i64(columns, at + PL_NUMBERS_GENERATION, write->to.place.generation);
	pl_columns_i64(columns, at + PL_NUMBERS_OUTBOX_ID, write->to.place.id);
	pl_columns_i64(columns, at + PL_NUMBERS_RUN, write->to.run);
}

// ---- many requests at once: COPY
//
// It costs the server half as much as inserting the same rows by unnest(), but has no ON
// CONFLICT and needs two round trips. So it is used for many requests, none known yet.

static void add_requests(struct pl_apply_rows *sql, struct pl_columns *columns, int at,
                         const struct pl_known_request *known_requests, int n)
{
	for (int i = 0; i < n; i++)
		if (!known_requests[i].later)
			add_request(sql, columns, at, &known_requests[i]);
}

bool pl_apply_rows_copies(const struct pl_known_request *known_requests, int n)
{
	int first = 0;

	for (int i = 0; i < n; i++)
		first += !known_requests[i].later;
	return first >= COPY_AT;
}

static int put_rows(struct pl_session *session, const struct pl_buf *rows, struct pl_error *err)
{
	return pl_session_copy_put(session, rows->data, rows->len, err);
}

// In pieces, so that the server works on the first while the others are encoded.
int pl_apply_rows_copy_send(struct pl_apply_rows *sql, struct pl_session *session,
                            const struct pl_known_request *known_requests, int n, struct pl_error *err)
{
	PGresult *result = pl_session_exec(session, PL_APPLY_COPY, 0, NULL, err);
	int code;

	if (!result)
		return err->code;
	PQclear(result);
	pl_columns_reset(sql->copy);
	for (int i = 0; i < n; i++) {
		if (!known_requests[i].later)
			add_request(sql, sql->copy, 0, &known_requests[i]);
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

int pl_apply_rows_copy_receive(struct pl_session *session, struct pl_error *err)
{
	return pl_apply_rows_wait(session, err);
}

// ---- rows

static int rows_written(struct pl_session *session, int nrows, struct pl_error *err)
{
	PGresult *result = pl_session_receive(session, err);
	int64_t written;

	if (!result)
		return err->code;
	written = one_number(result);
	if (written == nrows)
		return 0;
	pl_error_set(err, PL_ECONFLICT, "%lld of %d rows had changed since they were read",
	             (long long)(nrows - written), nrows);
	err->retryable = true;
	return PL_ECONFLICT;
}

// One statement for each resource; the first one also writes the positions and the
// requests.
static void positions_ready(struct pl_apply_rows *sql, const struct pl_apply_outcome *outcome,
                            struct pl_columns *columns, int at)
{
	for (int i = 0; i < outcome->npositions; i++)
		add_position(columns, at, &outcome->positions[i]);
	for (int i = 0; i < outcome->nnumbers; i++)
		add_numbers(columns, at + PL_POSITION_COLUMNS, &outcome->numbers[i]);
}

static void rows_ready(struct pl_apply_rows *sql, const struct pl_apply_outcome *outcome)
{
	struct pl_columns *with_first;
	int at;

	pl_columns_reset(sql->positions);
	sql->first = -1; // without a record there is no request, and no table is needed
	for (int i = 0; i < sql->config->nresources; i++)
		pl_columns_reset(sql->rows[i]);
	for (int i = 0; i < outcome->ntouched; i++)
		if (outcome->touched_rows[i]->changed)
			add_row(sql, sql->rows[outcome->touched_rows[i]->key.resource],
			        outcome->touched_rows[i]);
	if (outcome->ntouched == 0) {
		positions_ready(sql, outcome, sql->positions, 0);
		return;
	}
	sql->first = outcome->touched_rows[0]->key.resource;
	with_first = sql->rows[sql->first];
	at = PL_ROW_FIELDS + sql->config->resources[sql->first].nfields + PL_ROW_TAIL;
	add_requests(sql, with_first, at, outcome->known_requests, outcome->nknown);
	positions_ready(sql, outcome, with_first, at + PL_REQUEST_COLUMNS);
}

static int write_rows(struct pl_apply_rows *sql, struct pl_session *session, bool upsert, int resource,
                      struct pl_error *err)
{
	char statement[32];
	int code;

	snprintf(statement, sizeof(statement), upsert ? "apply_write_%d" : "apply_write_new_%d", resource);
	code = pl_apply_rows_send(session, statement, sql->rows[resource], err);
	return code < 0 ? code : rows_written(session, sql->rows[resource]->columns[PL_ROW_ID].n, err);
}

// ---- siblings

static void collect_pairs(struct pl_columns *pairs, const struct pl_apply_outcome *outcome,
                          bool (*wanted)(const struct pl_touched_row *touched))
{
	pl_columns_reset(pairs);
	for (int i = 0; i < outcome->ntouched; i++)
		if (wanted(outcome->touched_rows[i])) {
			pl_columns_text(pairs, 0, outcome->touched_rows[i]->resource->name);
			pl_columns_i64(pairs, 1, outcome->touched_rows[i]->key.id);
		}
}

// A record that gets its first siblings now may already have others, of a row that
// somebody deleted by hand. They must not join the record's own.
static bool had_siblings(const struct pl_touched_row *touched)
{
	return touched->changed && (touched->flagged || touched->state.n > 1);
}

static bool lost_siblings(const struct pl_touched_row *touched)
{
	return touched->changed && touched->flagged && touched->state.n == 1;
}

static void add_sibling(struct pl_apply_rows *sql, const struct pl_touched_row *touched,
                        const struct pl_sibling *write)
{
	struct pl_columns *columns = sql->siblings;

	pl_columns_text(columns, 0, touched->resource->name);
	pl_columns_i64(columns, 1, touched->key.id);
	pl_columns_text(columns, 2, write->dot.region);
	pl_columns_i64(columns, 3, write->dot.counter);
	pl_columns_text(columns, 4, pl_apply_rows_vector_text(sql, &write->vector));
	pl_columns_time(columns, 5, write->updated_at_us);
	pl_columns_bool(columns, 6, write->deleted);
	pl_buf_reset(&sql->text);
	pl_fields_print(&sql->text, touched->resource, write->values, write->unknown);
	pl_columns_text(columns, 7, sql->text.data);
	pl_columns_text(columns, 8, write->field_times);
	pl_columns_text(columns, 9, write->request_id);
	pl_columns_text(columns, 10, write->principal ? write->principal : "");
	pl_columns_bytes(columns, 11, write->fingerprint, PL_SHA256_SIZE);
}

// Deletes the previous siblings, inserts the current ones, and closes the open conflicts
// of records that have none left.
static void siblings_ready(struct pl_apply_rows *sql, const struct pl_apply_outcome *outcome)
{
	collect_pairs(sql->replaced, outcome, had_siblings);
	collect_pairs(sql->settled, outcome, lost_siblings);
	pl_columns_reset(sql->siblings);
	for (int i = 0; i < outcome->ntouched; i++) {
		const struct pl_touched_row *touched = outcome->touched_rows[i];

		for (int j = 0; touched->changed && touched->state.n > 1 && j < touched->state.n; j++)
			add_sibling(sql, touched, &touched->state.writes[j]);
	}
}

// ---- conflicts

static void add_conflict(struct pl_apply_rows *sql, const struct pl_conflict_row *row)
{
	struct pl_columns *c = sql->conflicts;

	pl_columns_text(c, 0, row->touched->resource->name);
	pl_columns_i64(c, 1, row->touched->key.id);
	pl_columns_text(c, 2, row->type);
	pl_columns_bool(c, 3, row->closed);
	pl_columns_text(c, 4, row->policy_name);
	pl_columns_text(c, 5, row->policy_sha256);
	pl_columns_text(c, 6, row->policy_error);
	pl_columns_text(c, 7, row->siblings);
	pl_columns_text(c, 8, row->verdict);
	pl_columns_text(c, 9, row->visible);
	pl_columns_text(c, 10, pl_apply_rows_vector_text(sql, row->vector));
	pl_columns_text(c, 11, row->event->topic);
	pl_columns_i64(c, 12, row->event->partition);
	pl_columns_i64(c, 13, row->event->offset);
}

static void add_anew(struct pl_apply_rows *sql, const struct pl_conflict_row *row)
{
	struct pl_columns *c = sql->reresolve;

	pl_columns_text(c, 0, row->touched->resource->name);
	pl_columns_i64(c, 1, row->touched->key.id);
	pl_columns_text(c, 2, row->policy_name);
	pl_columns_text(c, 3, row->policy_sha256);
	pl_columns_text(c, 4, row->policy_error);
	pl_columns_text(c, 5, row->siblings);
	pl_columns_text(c, 6, row->verdict);
	pl_columns_text(c, 7, row->visible);
}

static void conflicts_ready(struct pl_apply_rows *sql, const struct pl_apply_outcome *outcome)
{
	pl_columns_reset(sql->conflicts);
	pl_columns_reset(sql->reresolve);
	for (int i = 0; i < outcome->nconflicts; i++) {
		if (outcome->conflicts[i].event)
			add_conflict(sql, &outcome->conflicts[i]);
		else
			add_anew(sql, &outcome->conflicts[i]);
	}
}

static void dead_letters_ready(struct pl_apply_rows *sql, const struct pl_apply_outcome *outcome)
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
		pl_columns_time(c, 7, letter->broker_time_us);
	}
}

static void parked_ready(struct pl_apply_rows *sql, const struct pl_apply_outcome *outcome)
{
	struct pl_columns *c = sql->parked;

	pl_columns_reset(c);
	for (int i = 0; i < outcome->nparked; i++) {
		const struct pl_parked *p = &outcome->parked[i];
		const struct pl_dead_letter *m = &p->message;

		pl_columns_text(c, 0, p->event ? p->event->resource->name : "");
		pl_columns_i64(c, 1, p->event ? p->event->id : 0);
		pl_columns_text(c, 2, p->event ? p->event->write.dot.region : "");
		pl_columns_i64(c, 3, p->event ? p->event->write.dot.counter : 0);
		pl_columns_text(c, 4, m->topic);
		pl_columns_i64(c, 5, m->partition);
		pl_columns_i64(c, 6, m->offset);
		pl_columns_time(c, 7, p->broker_time_us);
		pl_columns_bytes(c, 8, m->key, m->key_len);
		pl_columns_bytes(c, 9, m->value, m->value_len);
		pl_columns_text(c, 10, m->headers);
		pl_columns_text(c, 11, m->error);
		pl_columns_text(c, 12, p->sqlstate);
		pl_columns_text(c, 13, p->constraint);
		pl_columns_text(c, 14, p->column);
		pl_columns_bool(c, 15, p->lock);
	}
}

// ---- requests that created a record

static void add_created(struct pl_apply_rows *sql, const struct pl_known_request *known_request)
{
	const struct pl_event *event = known_request->event;
	const struct pl_sibling *write = &event->write;
	struct pl_columns *c = sql->created;

	if (pl_vector_sum(&write->vector) != 1 || write->deleted) // no record's first write
		return;
	pl_columns_text(c, PL_CREATED_ID, write->request_id);
	pl_columns_text(c, PL_CREATED_PRINCIPAL, write->principal);
	pl_columns_bytes(c, PL_CREATED_FINGERPRINT, write->fingerprint, PL_SHA256_SIZE);
	pl_columns_text(c, PL_CREATED_RESOURCE, event->resource->name);
	pl_columns_i64(c, PL_CREATED_RECORD, event->id);
	pl_columns_text(c, PL_CREATED_ORIGIN, write->dot.region);
}

static void created_ready(struct pl_apply_rows *sql, const struct pl_apply_outcome *outcome)
{
	pl_columns_reset(sql->created);
	for (int i = 0; i < outcome->nknown; i++)
		if (!outcome->known_requests[i].later)
			add_created(sql, &outcome->known_requests[i]);
}

// What the written records now cover; parked events that are covered are removed.
static void clear_ready(struct pl_apply_rows *sql, const struct pl_apply_outcome *outcome)
{
	pl_columns_reset(sql->clear);
	for (int i = 0; i < outcome->ntouched && outcome->clear_parked; i++) {
		const struct pl_touched_row *touched = outcome->touched_rows[i];

		if (!touched->changed)
			continue;
		pl_columns_text(sql->clear, 0, touched->resource->name);
		pl_columns_i64(sql->clear, 1, touched->key.id);
		pl_columns_text(sql->clear, 2, pl_apply_rows_vector_text(sql, &touched->state.vector));
	}
}

// Records that may violate what holds between records: they are noted with the write.
static bool is_guarded(const struct pl_touched_row *touched)
{
	return touched->changed && pl_config_is_guarded(touched->resource);
}

// Deleted records that are there again: another region has written them meanwhile.
static bool is_returned(const struct pl_touched_row *touched)
{
	return touched->changed && touched->was_deleted && !touched->row.deleted;
}

// ---- the complete outcome

void pl_apply_rows_ready(struct pl_apply_rows *sql, const struct pl_apply_outcome *outcome)
{
	rows_ready(sql, outcome);
	siblings_ready(sql, outcome);
	conflicts_ready(sql, outcome);
	dead_letters_ready(sql, outcome);
	parked_ready(sql, outcome);
	clear_ready(sql, outcome);
	created_ready(sql, outcome);
	collect_pairs(sql->notes, outcome, is_guarded);
	collect_pairs(sql->returned, outcome, is_returned);
}

static int exec_if_any(struct pl_session *session, const char *statement, struct pl_columns *columns,
                       struct pl_error *err)
{
	return columns->columns[0].n > 0 ? pl_apply_rows_exec(session, statement, columns, err) : 0;
}

int pl_apply_rows_write(struct pl_apply_rows *sql, struct pl_session *session, bool upsert,
                        struct pl_error *err)
{
	int code = 0;

	// Before the requests are overwritten. Without `upsert` none of them is known.
	if (upsert && (code = exec_if_any(session, "apply_created_twice", sql->created, err)) < 0)
		return code;
	// The first statement is always executed: it writes positions and requests, too.
	if (sql->first < 0 &&
	    (sql->positions->columns[0].n > 0 || sql->positions->columns[PL_POSITION_COLUMNS].n > 0) &&
	    (code = pl_apply_rows_exec(session, "apply_positions", sql->positions, err)) < 0)
		return code;
	for (int i = sql->first; i >= 0 && i < sql->config->nresources; i++)
		if ((i == sql->first || sql->rows[i]->columns[PL_ROW_ID].n > 0) &&
		    (code = write_rows(sql, session, upsert, i, err)) < 0)
			return code;
	if ((code = exec_if_any(session, "apply_siblings_delete", sql->replaced, err)) < 0 ||
	    (code = exec_if_any(session, "apply_siblings_insert", sql->siblings, err)) < 0 ||
	    (code = exec_if_any(session, "apply_conflicts_close", sql->settled, err)) < 0 ||
	    (code = exec_if_any(session, "apply_conflicts_insert", sql->conflicts, err)) < 0 ||
	    (code = exec_if_any(session, "apply_conflicts_reresolve", sql->reresolve, err)) < 0 ||
	    (code = exec_if_any(session, "apply_park", sql->parked, err)) < 0 ||
	    (code = exec_if_any(session, "apply_parked_clear", sql->clear, err)) < 0 ||
	    (code = exec_if_any(session, "apply_integrity_notes", sql->notes, err)) < 0 ||
	    (code = exec_if_any(session, "apply_twice_again", sql->returned, err)) < 0)
		return code;
	return exec_if_any(session, "apply_dead_letters", sql->dead, err);
}

// Requests that share their id with another one of this batch: one statement cannot
// insert an id and then update it.
int pl_apply_rows_later(struct pl_apply_rows *sql, struct pl_session *session,
                        const struct pl_known_request *known_requests, int n, struct pl_error *err)
{
	int code = 0;

	for (int i = 0; i < n && code == 0; i++) {
		if (!known_requests[i].later)
			continue;
		pl_columns_reset(sql->created);
		add_created(sql, &known_requests[i]);
		if ((code = exec_if_any(session, "apply_created_twice", sql->created, err)) < 0)
			break;
		pl_columns_reset(sql->requests);
		add_request(sql, sql->requests, 0, &known_requests[i]);
		code = pl_apply_rows_exec(session, "apply_remember", sql->requests, err);
	}
	return code;
}

// ---- without a batch

int pl_apply_rows_positions(struct pl_apply_rows *sql, struct pl_session *session,
                            const struct pl_apply_outcome *outcome, struct pl_error *err)
{
	if (outcome->npositions == 0 && outcome->nnumbers == 0)
		return 0;
	pl_columns_reset(sql->positions);
	positions_ready(sql, outcome, sql->positions, 0);
	return pl_apply_rows_exec(session, "apply_positions", sql->positions, err);
}

int pl_apply_rows_heartbeat(struct pl_apply_rows *sql, struct pl_session *session, const char *own,
                            const struct pl_heartbeat *heartbeat, int64_t silence_us, struct pl_error *err)
{
	char sent[PL_TIME_TEXT_MAX], oldest[PL_TIME_TEXT_MAX], events[24], silence[32];
	const char *params[11] = { own,
		                   heartbeat->region,
		                   pl_clock_format_time(heartbeat->sent_at_us, sent),
		                   events,
		                   heartbeat->outbox_oldest_us
		                           ? pl_clock_format_time(heartbeat->outbox_oldest_us, oldest)
		                           : NULL,
		                   heartbeat->policies,
		                   heartbeat->published,
		                   heartbeat->applied,
		                   heartbeat->word,
		                   heartbeat->fields,
		                   silence };
	PGresult *result;

	snprintf(events, sizeof(events), "%lld", (long long)heartbeat->outbox_events);
	snprintf(silence, sizeof(silence), "%.3f", (double)silence_us / 1e6);
	result = pl_session_exec_prepared(session, "apply_heartbeat", 11, params, err);
	if (!result)
		return err->code;
	PQclear(result);
	return 0;
}
