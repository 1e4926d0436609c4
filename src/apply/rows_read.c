// The applier's SQL, the reading half: locks and reads the records. It also creates the
// object.
//
// Between apply/batch and PostgreSQL; the statements are in apply/statements.
// Threads: an object belongs to one.
#include "apply/rows.h"

#include "apply/rows_private.h"

#include <stdlib.h>
#include <string.h>

#include "apply/statements.h"
#include "base/clock.h"
#include "base/sha256.h"
#include "record/fields.h"
#include "record/unknown.h"
#include "store/params.h"

#define TEXT  PL_WIRE_TEXT
#define INT8  PL_WIRE_INT8
#define JSONB PL_WIRE_JSONB
#define TIME  PL_WIRE_TIMESTAMPTZ

static const enum pl_wire_type id_types[] = { INT8 };
static const enum pl_wire_type lock_types[] = { INT8, PL_WIRE_INT4 };
static const enum pl_wire_type pair_types[] = { TEXT, INT8 };
static const enum pl_wire_type question_types[] = { TEXT, TEXT };
static const enum pl_wire_type sibling_types[] = {
	TEXT, INT8, TEXT, PL_WIRE_INT4, JSONB, TIME, PL_WIRE_BOOL, JSONB, JSONB, TEXT, TEXT, PL_WIRE_BYTEA,
};
static const enum pl_wire_type conflict_types[] = {
	TEXT,  INT8,  TEXT,  PL_WIRE_BOOL, TEXT, TEXT,         TEXT,
	JSONB, JSONB, JSONB, JSONB,        TEXT, PL_WIRE_INT4, INT8,
};
static const enum pl_wire_type reresolve_types[] = { TEXT, INT8, TEXT, TEXT, TEXT, JSONB, JSONB, JSONB };
static const enum pl_wire_type dead_types[] = { TEXT,          PL_WIRE_INT4, INT8, PL_WIRE_BYTEA,
	                                        PL_WIRE_BYTEA, JSONB,        TEXT, TIME };
static const enum pl_wire_type parked_types[] = {
	TEXT,          INT8,          TEXT,  PL_WIRE_INT4, TEXT, PL_WIRE_INT4, INT8, TIME,
	PL_WIRE_BYTEA, PL_WIRE_BYTEA, JSONB, TEXT,         TEXT, TEXT,         TEXT, PL_WIRE_BOOL,
};
static const enum pl_wire_type clear_types[] = { TEXT, INT8, JSONB };
static const enum pl_wire_type own_types[] = { INT8, PL_WIRE_INT4, TEXT };
static const enum pl_wire_type row_head_types[PL_ROW_FIELDS] = { INT8, PL_WIRE_BOOL };
static const enum pl_wire_type row_tail_types[PL_ROW_TAIL] = {
	[PL_ROW_ORIGIN] = TEXT,       [PL_ROW_VERSION] = PL_WIRE_INT4, [PL_ROW_UPDATED_AT] = TIME,
	[PL_ROW_VECTOR] = JSONB,      [PL_ROW_DELETED] = PL_WIRE_BOOL, [PL_ROW_SIBLINGS] = PL_WIRE_BOOL,
	[PL_ROW_FIELD_TIMES] = JSONB, [PL_ROW_REQUEST] = TEXT,         [PL_ROW_UNKNOWN] = JSONB,
};
static const enum pl_wire_type request_types[PL_REQUEST_COLUMNS] = {
	[PL_REQUEST_ID] = TEXT,       [PL_REQUEST_PRINCIPAL] = TEXT, [PL_REQUEST_FINGERPRINT] = PL_WIRE_BYTEA,
	[PL_REQUEST_RESOURCE] = TEXT, [PL_REQUEST_RECORD] = INT8,    [PL_REQUEST_STATUS] = PL_WIRE_INT2,
	[PL_REQUEST_BODY] = JSONB,    [PL_REQUEST_VECTOR] = JSONB,   [PL_REQUEST_LOCATION] = TEXT,
	[PL_REQUEST_DOTS] = JSONB,    [PL_REQUEST_EXPIRES] = TIME,
};
static const enum pl_wire_type created_types[PL_CREATED_COLUMNS] = {
	[PL_CREATED_ID] = TEXT,       [PL_CREATED_PRINCIPAL] = TEXT, [PL_CREATED_FINGERPRINT] = PL_WIRE_BYTEA,
	[PL_CREATED_RESOURCE] = TEXT, [PL_CREATED_RECORD] = INT8,    [PL_CREATED_ORIGIN] = TEXT,
};
static const enum pl_wire_type position_types[PL_POSITION_COLUMNS] = {
	[PL_POSITION_TOPIC] = TEXT,
	[PL_POSITION_PARTITION] = PL_WIRE_INT4,
	[PL_POSITION_NEXT] = INT8,
	[PL_POSITION_EVENT_AT] = TIME,
};

static const enum pl_wire_type numbers_types[PL_NUMBERS_COLUMNS] = {
	[PL_NUMBERS_ORIGIN] = TEXT,
	[PL_NUMBERS_TOPIC] = TEXT,
	[PL_NUMBERS_PARTITION] = PL_WIRE_INT4,
	[PL_NUMBERS_SEQ] = INT8,
	[PL_NUMBERS_CHAIN_FROM] = INT8,
	[PL_NUMBERS_CHAIN_TO] = INT8,
	[PL_NUMBERS_LEVEL] = PL_WIRE_BOOL,
	[PL_NUMBERS_GENERATION] = INT8,
	[PL_NUMBERS_OUTBOX_ID] = INT8,
	[PL_NUMBERS_RUN] = INT8,
};

#define COUNT(types)   ((int)(sizeof(types) / sizeof((types)[0])))
#define COLUMNS(types) pl_columns_new(COUNT(types), types)

static int append(enum pl_wire_type *types, int n, const enum pl_wire_type *more, int nmore)
{
	memcpy(types + n, more, sizeof(more[0]) * (size_t)nmore);
	return n + nmore;
}

// The parameters of the statement that writes rows: see apply/statements.
static struct pl_columns *row_columns(const struct pl_resource *resource)
{
	enum pl_wire_type types[PL_COLUMNS_MAX];
	int n = append(types, 0, row_head_types, PL_ROW_FIELDS);

	for (int i = 0; i < resource->nfields; i++)
		types[n++] = pl_params_field_type(&resource->fields[i]);
	n = append(types, n, row_tail_types, PL_ROW_TAIL);
	n = append(types, n, request_types, PL_REQUEST_COLUMNS);
	n = append(types, n, position_types, PL_POSITION_COLUMNS);
	n = append(types, n, numbers_types, PL_NUMBERS_COLUMNS);
	return pl_columns_new(n, types);
}

static struct pl_columns *position_columns(void)
{
	enum pl_wire_type types[PL_POSITION_COLUMNS + PL_NUMBERS_COLUMNS];
	int n = append(types, 0, position_types, PL_POSITION_COLUMNS);

	n = append(types, n, numbers_types, PL_NUMBERS_COLUMNS);
	return pl_columns_new(n, types);
}

struct pl_apply_rows *pl_apply_rows_new(const struct pl_config *config)
{
	struct pl_apply_rows *sql = pl_calloc(1, sizeof(*sql));

	sql->config = config;
	sql->arena = pl_arena_new(0);
	sql->setup = pl_apply_statements(sql->arena, config);
	sql->rows = pl_calloc((size_t)config->nresources + 1, sizeof(sql->rows[0]));
	for (int i = 0; i < config->nresources; i++)
		sql->rows[i] = row_columns(&config->resources[i]);
	sql->ids = COLUMNS(id_types);
	sql->locks = COLUMNS(lock_types);
	sql->pairs = COLUMNS(pair_types);
	sql->replaced = COLUMNS(pair_types);
	sql->settled = COLUMNS(pair_types);
	sql->questions = COLUMNS(question_types);
	sql->siblings = COLUMNS(sibling_types);
	sql->conflicts = COLUMNS(conflict_types);
	sql->reresolve = COLUMNS(reresolve_types);
	sql->dead = COLUMNS(dead_types);
	sql->parked = COLUMNS(parked_types);
	sql->clear = COLUMNS(clear_types);
	sql->own = COLUMNS(own_types);
	sql->created = COLUMNS(created_types);
	sql->notes = COLUMNS(pair_types);
	sql->returned = COLUMNS(pair_types);
	sql->requests = COLUMNS(request_types);
	sql->copy = COLUMNS(request_types);
	sql->copy->by_row = true;
	sql->positions = position_columns();
	return sql;
}

void pl_apply_rows_free(struct pl_apply_rows **rows_p)
{
	struct pl_apply_rows *sql = *rows_p;

	if (!sql)
		return;
	for (int i = 0; i < sql->config->nresources; i++)
		pl_columns_free(&sql->rows[i]);
	free(sql->rows);
	pl_columns_free(&sql->ids);
	pl_columns_free(&sql->locks);
	pl_columns_free(&sql->pairs);
	pl_columns_free(&sql->replaced);
	pl_columns_free(&sql->settled);
	pl_columns_free(&sql->questions);
	pl_columns_free(&sql->siblings);
	pl_columns_free(&sql->conflicts);
	pl_columns_free(&sql->reresolve);
	pl_columns_free(&sql->dead);
	pl_columns_free(&sql->parked);
	pl_columns_free(&sql->clear);
	pl_columns_free(&sql->own);
	pl_columns_free(&sql->created);
	pl_columns_free(&sql->notes);
	pl_columns_free(&sql->returned);
	pl_columns_free(&sql->requests);
	pl_columns_free(&sql->positions);
	pl_columns_free(&sql->copy);
	pl_buf_fini(&sql->text);
	pl_arena_free(&sql->arena);
	free(sql);
	*rows_p = NULL;
}

const char *const *pl_apply_rows_setup(const struct pl_apply_rows *sql)
{
	return sql->setup;
}

// ---- helpers

int pl_apply_rows_send(struct pl_session *session, const char *statement, struct pl_columns *columns,
                       struct pl_error *err)
{
	struct pl_conn_params params = pl_columns_params(columns);

	return pl_session_send(session, statement, &params, err);
}

PGresult *pl_apply_rows_query(struct pl_session *session, const char *statement, struct pl_columns *columns,
                              struct pl_error *err)
{
	return pl_apply_rows_send(session, statement, columns, err) < 0 ? NULL
	                                                                : pl_session_receive(session, err);
}

int pl_apply_rows_wait(struct pl_session *session, struct pl_error *err)
{
	PGresult *result = pl_session_receive(session, err);

	PQclear(result);
	return result ? 0 : err->code;
}

int pl_apply_rows_exec(struct pl_session *session, const char *statement, struct pl_columns *columns,
                       struct pl_error *err)
{
	int code = pl_apply_rows_send(session, statement, columns, err);

	return code < 0 ? code : pl_apply_rows_wait(session, err);
}

// A cell's text, copied into the arena; NULL for SQL null.
static const char *kept(struct pl_arena *arena, const PGresult *result, int row, int column)
{
	const char *text = pl_apply_rows_cell(result, row, column);

	return text ? pl_arena_strndup(arena, text, (size_t)PQgetlength(result, row, column)) : NULL;
}

static int64_t kept_time(const PGresult *result, int row, int column)
{
	const char *text = pl_apply_rows_cell(result, row, column);
	int64_t at_us;

	return text && pl_clock_parse_time(text, strlen(text), &at_us) == 0 ? at_us : 0;
}

const char *pl_apply_rows_vector_text(struct pl_apply_rows *sql, const struct pl_vector *vector)
{
	pl_buf_reset(&sql->text);
	pl_vector_print(&sql->text, vector);
	return sql->text.data;
}

static struct pl_touched_row *find_touched(struct pl_touched_row *const *touched_rows, int n,
                                           const struct pl_resource *resource, int64_t id)
{
	int low = 0, high = n;

	while (resource && low < high) {
		int middle = low + (high - low) / 2;
		const struct pl_touched_row_key *key = &touched_rows[middle]->key;

		if (key->resource == resource->index && key->id == id)
			return touched_rows[middle];
		if (key->resource < resource->index || (key->resource == resource->index && key->id < id))
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

// ---- reading

// The row is the only write.
static void stand_alone(struct pl_arena *arena, struct pl_touched_row *touched)
{
	touched->state.writes = pl_arena_alloc(arena, sizeof(touched->state.writes[0]));
	touched->state.writes[0] = touched->row;
	touched->state.n = 1;
}

static void read_row(struct pl_arena *arena, const PGresult *result, int i, struct pl_touched_row *touched)
{
	const struct pl_resource *resource = touched->resource;
	struct pl_sibling *row = &touched->row;
	int at = 1 + resource->nfields;
	const char *vector = pl_apply_rows_cell(result, i, at + 3);

	row->values = pl_arena_alloc(arena, sizeof(row->values[0]) * (size_t)resource->nfields + 1);
	for (int f = 0; f < resource->nfields; f++)
		row->values[f] = kept(arena, result, i, 1 + f);
	strncpy(row->dot.region, pl_apply_rows_cell(result, i, at), PL_REGION_MAX);
	row->updated_at_us = kept_time(result, i, at + 2);
	// Edited by hand: count all writes to the region that the row names.
	if (!vector || pl_vector_parse(&row->vector, vector, strlen(vector)) < 0) {
		memset(&row->vector, 0, sizeof(row->vector));
		pl_vector_set(&row->vector, row->dot.region,
		              (int32_t)strtol(pl_apply_rows_cell(result, i, at + 1), NULL, 10));
	}
	row->dot.counter = pl_vector_get(&row->vector, row->dot.region);
	row->deleted = pl_apply_rows_cell(result, i, at + 4)[0] == 't';
	row->field_times = kept(arena, result, i, at + 6);
	row->request_id = kept(arena, result, i, at + 7);
	if (pl_apply_rows_cell(result, i, at + 8))
		pl_unknown_split(arena, resource, pl_apply_rows_cell(result, i, at + 8), row->values,
		                 &row->unknown);
	row->principal = "";
	touched->exists = true;
	touched->was_deleted = row->deleted;
	touched->flagged = pl_apply_rows_cell(result, i, at + 5)[0] == 't';
	touched->state.known = true;
	touched->state.vector = row->vector;
	touched->state.version = (int32_t)pl_vector_sum(&row->vector);
	stand_alone(arena, touched);
}

// How many of the first rows belong to one resource.
static int of_one_resource(struct pl_touched_row *const *touched_rows, int n)
{
	int same = 0;

	while (same < n && touched_rows[same]->resource == touched_rows[0]->resource)
		same++;
	return same;
}

struct loading {
	struct pl_apply_rows *sql;
	struct pl_session *session;
	struct pl_arena *arena;
	const struct pl_rows_to_lock *wanted;
};

// Locks the rows of one resource, and asks for their texts if each row may be as large;
// or `again` for those that came without them.
static int send_lock(const struct loading *l, struct pl_touched_row *const *touched_rows, int n, bool again,
                     struct pl_error *err)
{
	struct pl_columns *columns = l->sql->locks;
	char statement[32];

	pl_columns_reset(columns);
	for (int i = 0; i < n; i++)
		if (!again || touched_rows[i]->cut)
			pl_columns_i64(columns, 0, touched_rows[i]->key.id);
	pl_columns_i64(columns, 1, again ? INT32_MAX : PL_APPLY_ROWS_BYTES / l->wanted->n);
	snprintf(statement, sizeof(statement),
	         l->wanted->skip_locked ? "apply_lock_free_%d" : "apply_lock_%d",
	         touched_rows[0]->resource->index);
	return pl_apply_rows_send(l->session, statement, columns, err);
}

// Returns how many of the rows came without their texts, or a code.
static int receive_locked(const struct loading *l, struct pl_touched_row *const *touched_rows, int n,
                          bool again, struct pl_error *err)
{
	PGresult *result = pl_session_receive(l->session, err);
	int at = 0, ncut = 0;

	if (!result)
		return err->code;
	for (int i = 0; i < PQntuples(result); i++) { // both ascend by id
		int64_t id = strtoll(pl_apply_rows_cell(result, i, 0), NULL, 10), size;

		while (at < n && touched_rows[at]->key.id < id)
			at++;
		if (at == n || touched_rows[at]->key.id != id)
			continue;
		size = strtoll(pl_apply_rows_cell(result, i, PQnfields(result) - 1), NULL, 10);
		l->sql->loaded += again ? 0 : size;
		touched_rows[at]->cut = !again && size > PL_APPLY_ROWS_BYTES / l->wanted->n;
		if (touched_rows[at]->cut)
			ncut++;
		else
			read_row(l->arena, result, i, touched_rows[at]);
	}
	PQclear(result);
	return ncut;
}

static int load_rows(const struct loading *l, struct pl_touched_row *const *touched_rows, int n,
                     struct pl_error *err)
{
	int ncut = receive_locked(l, touched_rows, n, false, err), code;

	if (ncut < 0)
		return ncut;
	if (l->sql->loaded > PL_APPLY_ROWS_BYTES && l->wanted->n > 1)
		return pl_error_set(err, PL_EBUSY, "the records of %d events have more than %d bytes",
		                    l->wanted->n, PL_APPLY_ROWS_BYTES);
	if (ncut > 0 && ((code = send_lock(l, touched_rows, n, true, err)) < 0 ||
	                 (code = receive_locked(l, touched_rows, n, true, err)) < 0))
		return code;
	return 0;
}

static void read_sibling(struct pl_arena *arena, const PGresult *result, int i,
                         struct pl_touched_row *touched)
{
	struct pl_sibling *writes = pl_arena_alloc(arena, sizeof(writes[0]) * (size_t)(touched->state.n + 1)),
			  *write;

	if (touched->state.n > 0)
		memcpy(writes, touched->state.writes, sizeof(writes[0]) * (size_t)touched->state.n);
	write = &writes[touched->state.n++];
	touched->state.writes = writes;
	strncpy(write->dot.region, pl_apply_rows_cell(result, i, 2), PL_REGION_MAX);
	write->dot.counter = (int32_t)strtol(pl_apply_rows_cell(result, i, 3), NULL, 10);
	if (pl_vector_parse(&write->vector, pl_apply_rows_cell(result, i, 4),
	                    (size_t)PQgetlength(result, i, 4)) < 0)
		pl_vector_set(&write->vector, write->dot.region, write->dot.counter);
	write->updated_at_us = kept_time(result, i, 5);
	write->deleted = pl_apply_rows_cell(result, i, 6)[0] == 't';
	write->values =
		pl_fields_parse(arena, touched->resource, pl_apply_rows_cell(result, i, 7), &write->unknown);
	write->field_times = kept(arena, result, i, 8);
	write->request_id = kept(arena, result, i, 9);
	write->principal = kept(arena, result, i, 10);
	write->fingerprint = pl_apply_rows_fingerprint(arena, result, i, 11);
}

static int load_siblings(struct pl_apply_rows *sql, struct pl_session *session, struct pl_arena *arena,
                         struct pl_touched_row *const *touched_rows, int n, struct pl_error *err)
{
	PGresult *result;

	pl_columns_reset(sql->pairs);
	for (int i = 0; i < n; i++)
		if (touched_rows[i]->flagged) {
			pl_columns_text(sql->pairs, 0, touched_rows[i]->resource->name);
			pl_columns_i64(sql->pairs, 1, touched_rows[i]->key.id);
			// the row is the policy's result, not a write
			touched_rows[i]->state.n = 0;
		}
	if (sql->pairs->columns[0].n == 0)
		return 0;
	result = pl_apply_rows_query(session, "apply_siblings_read", sql->pairs, err);
	if (!result)
		return err->code;
	for (int i = 0; i < PQntuples(result); i++) {
		struct pl_touched_row *touched = find_touched(
			touched_rows, n, pl_config_resource(sql->config, pl_apply_rows_cell(result, i, 0)),
			strtoll(pl_apply_rows_cell(result, i, 1), NULL, 10));

		if (touched && touched->flagged)
			read_sibling(arena, result, i, touched);
	}
	// flagged by hand, without siblings: the row is the only write
	for (int i = 0; i < n; i++)
		if (touched_rows[i]->flagged && touched_rows[i]->state.n == 0)
			stand_alone(arena, touched_rows[i]);
	PQclear(result);
	return 0;
}

int pl_apply_rows_lock(struct pl_apply_rows *sql, struct pl_session *session,
                       const struct pl_rows_to_lock *wanted, struct pl_error *err)
{
	const struct loading l = { .sql = sql, .session = session, .wanted = wanted };

	return wanted->n > 0
	               ? send_lock(&l, wanted->rows, of_one_resource(wanted->rows, wanted->n), false, err)
	               : 0;
}

static int find_locked(struct pl_apply_rows *sql, struct pl_session *session,
                       struct pl_touched_row *const *touched_rows, int n, struct pl_error *err)
{
	char statement[32];
	PGresult *result;

	pl_columns_reset(sql->ids);
	for (int i = 0; i < n; i++)
		if (!touched_rows[i]->exists)
			pl_columns_i64(sql->ids, 0, touched_rows[i]->key.id);
	if (sql->ids->columns[0].n == 0)
		return 0;
	snprintf(statement, sizeof(statement), "apply_there_%d", touched_rows[0]->resource->index);
	result = pl_apply_rows_query(session, statement, sql->ids, err);
	if (!result)
		return err->code;
	for (int i = 0; i < PQntuples(result); i++) {
		struct pl_touched_row *touched =
			find_touched(touched_rows, n, touched_rows[0]->resource,
		                     strtoll(pl_apply_rows_cell(result, i, 0), NULL, 10));

		if (touched)
			touched->locked = true;
	}
	PQclear(result);
	return 0;
}

int pl_apply_rows_load(struct pl_apply_rows *sql, struct pl_session *session, struct pl_arena *arena,
                       const struct pl_rows_to_lock *wanted, struct pl_error *err)
{
	const struct loading l = { sql, session, arena, wanted };
	struct pl_touched_row *const *rows = wanted->rows;
	int code;

	sql->loaded = 0;
	for (int from = 0, same; from < wanted->n; from += same) {
		same = of_one_resource(rows + from, wanted->n - from);
		if ((from > 0 && (code = send_lock(&l, rows + from, same, false, err)) < 0) ||
		    (code = load_rows(&l, rows + from, same, err)) < 0 ||
		    (wanted->skip_locked && (code = find_locked(sql, session, rows + from, same, err)) < 0))
			return code;
	}
	return load_siblings(sql, session, arena, rows, wanted->n, err);
}

int64_t pl_apply_rows_loaded(const struct pl_apply_rows *sql)
{
	return sql->loaded;
}

// ---- positions, and records with siblings

int pl_apply_rows_where(struct pl_apply_rows *sql, struct pl_session *session, struct pl_arena *arena,
                        struct pl_position **positions_r, int *n_r, struct pl_error *err)
{
	PGresult *result = pl_session_exec_prepared(session, "apply_where", 0, NULL, err);

	if (!result)
		return err->code;
	*n_r = PQntuples(result);
	*positions_r = pl_arena_alloc(arena, sizeof(**positions_r) * (size_t)*n_r + 1);
	for (int i = 0; i < *n_r; i++)
		(*positions_r)[i] = (struct pl_position){
			.topic = kept(arena, result, i, 0),
			.partition = (int32_t)strtol(pl_apply_rows_cell(result, i, 1), NULL, 10),
			.next_offset = strtoll(pl_apply_rows_cell(result, i, 2), NULL, 10)
		};
	PQclear(result);
	return 0;
}

int pl_apply_rows_flagged(struct pl_session *session, struct pl_arena *arena, const struct pl_flagged *after,
                          int limit, struct pl_flagged **found_r, struct pl_error *err)
{
	char id[24], most[12];
	const char *params[3] = { after->resource, id, most };
	PGresult *result;
	int n;

	snprintf(id, sizeof(id), "%lld", (long long)after->id);
	snprintf(most, sizeof(most), "%d", limit);
	result = pl_session_exec_prepared(session, "apply_flagged", 3, params, err);
	if (!result)
		return err->code;
	n = PQntuples(result);
	*found_r = pl_arena_alloc(arena, sizeof(**found_r) * (size_t)n + 1);
	for (int i = 0; i < n; i++)
		(*found_r)[i] = (struct pl_flagged){ kept(arena, result, i, 0),
			                             strtoll(pl_apply_rows_cell(result, i, 1), NULL, 10),
			                             PL_FLAGGED_DONE };
	PQclear(result);
	return n;
}

int pl_apply_rows_count_flagged(struct pl_session *session, int64_t *n_r, struct pl_error *err)
{
	PGresult *result = pl_session_exec_prepared(session, "apply_count_flagged", 0, NULL, err);

	if (!result)
		return err->code;
	*n_r = strtoll(pl_apply_rows_cell(result, 0, 0), NULL, 10);
	PQclear(result);
	return 0;
}
