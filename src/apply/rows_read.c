// The applier's SQL: filling in the statements of replicate/apply_text, and reading what they answer.
//
// Stands between replicate/batch, which decides, and PostgreSQL.
// Threads: an object belongs to one.
#include "replicate/apply_sql.h"

#include "replicate/apply_sql_in.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/sha256.h"
#include "record/params.h"
#include "replicate/apply_text.h"
#include "replicate/fields.h"

#define TEXT  PL_WIRE_TEXT
#define INT8  PL_WIRE_INT8
#define JSONB PL_WIRE_JSONB
#define TIME  PL_WIRE_TIMESTAMPTZ

static const enum pl_wire_type id_types[] = { INT8 };
static const enum pl_wire_type pair_types[] = { TEXT, INT8 };
static const enum pl_wire_type question_types[] = { TEXT, TEXT };
static const enum pl_wire_type sibling_types[] = {
	TEXT, INT8, TEXT, PL_WIRE_INT4, JSONB, TIME, PL_WIRE_BOOL, JSONB, JSONB, TEXT, TEXT, PL_WIRE_BYTEA,
};
static const enum pl_wire_type conflict_types[] = {
	TEXT, INT8, TEXT, PL_WIRE_BOOL, TEXT, TEXT, TEXT, JSONB, JSONB, JSONB, JSONB, TEXT, PL_WIRE_INT4, INT8,
};
static const enum pl_wire_type anew_types[] = { TEXT, INT8, TEXT, TEXT, TEXT, JSONB, JSONB, JSONB };
static const enum pl_wire_type dead_types[] = { TEXT, PL_WIRE_INT4, INT8, PL_WIRE_BYTEA, PL_WIRE_BYTEA, JSONB, TEXT };
static const enum pl_wire_type row_head_types[PL_ROW_FIELDS] = { INT8, PL_WIRE_BOOL };
static const enum pl_wire_type row_tail_types[PL_ROW_TAIL] = {
	[PL_ROW_ORIGIN] = TEXT, [PL_ROW_VERSION] = PL_WIRE_INT4, [PL_ROW_UPDATED_AT] = TIME, [PL_ROW_VECTOR] = JSONB, [PL_ROW_DELETED] = PL_WIRE_BOOL,
	[PL_ROW_SIBLINGS] = PL_WIRE_BOOL, [PL_ROW_FIELD_TIMES] = JSONB, [PL_ROW_REQUEST] = TEXT,
};
static const enum pl_wire_type request_types[PL_REQUEST_COLUMNS] = {
	[PL_REQUEST_ID] = TEXT, [PL_REQUEST_PRINCIPAL] = TEXT, [PL_REQUEST_FINGERPRINT] = PL_WIRE_BYTEA, [PL_REQUEST_RESOURCE] = TEXT,
	[PL_REQUEST_RECORD] = INT8, [PL_REQUEST_STATUS] = PL_WIRE_INT2, [PL_REQUEST_BODY] = JSONB, [PL_REQUEST_VECTOR] = JSONB,
	[PL_REQUEST_LOCATION] = TEXT, [PL_REQUEST_DOTS] = JSONB, [PL_REQUEST_EXPIRES] = TIME,
};
static const enum pl_wire_type position_types[PL_POSITION_COLUMNS] = {
	[PL_POSITION_TOPIC] = TEXT, [PL_POSITION_PARTITION] = PL_WIRE_INT4, [PL_POSITION_NEXT] = INT8, [PL_POSITION_EVENT_AT] = TIME,
};

#define COUNT(types) ((int)(sizeof (types) / sizeof (types)[0]))
#define COLUMNS(types) pl_columns_new(COUNT(types), types)

static int append(enum pl_wire_type *types, int n, const enum pl_wire_type *more, int nmore)
{
	memcpy(types + n, more, sizeof more[0] * (size_t)nmore);
	return n + nmore;
}

// The parameters of the statement that writes rows, as replicate/apply_text has them.
static struct pl_columns *row_columns(const struct pl_resource *resource)
{
	enum pl_wire_type types[PL_COLUMNS_MAX];
	int n = append(types, 0, row_head_types, PL_ROW_FIELDS);

	for (int i = 0; i < resource->nfields; i++)
		types[n++] = pl_params_field_type(&resource->fields[i]);
	n = append(types, n, row_tail_types, PL_ROW_TAIL);
	n = append(types, n, request_types, PL_REQUEST_COLUMNS);
	n = append(types, n, position_types, PL_POSITION_COLUMNS);
	return pl_columns_new(n, types);
}

struct pl_apply_sql *pl_apply_sql_new(const struct pl_config *config)
{
	struct pl_apply_sql *sql = pl_calloc(1, sizeof *sql);

	sql->config = config;
	sql->arena = pl_arena_new(0);
	sql->setup = pl_apply_texts(sql->arena, config);
	sql->rows = pl_calloc((size_t)config->nresources + 1, sizeof sql->rows[0]);
	for (int i = 0; i < config->nresources; i++)
		sql->rows[i] = row_columns(&config->resources[i]);
	sql->ids = COLUMNS(id_types);
	sql->pairs = COLUMNS(pair_types);
	sql->replaced = COLUMNS(pair_types);
	sql->settled = COLUMNS(pair_types);
	sql->questions = COLUMNS(question_types);
	sql->siblings = COLUMNS(sibling_types);
	sql->conflicts = COLUMNS(conflict_types);
	sql->anew = COLUMNS(anew_types);
	sql->dead = COLUMNS(dead_types);
	sql->requests = COLUMNS(request_types);
	sql->copy = COLUMNS(request_types);
	sql->copy->by_row = true;
	sql->positions = COLUMNS(position_types);
	return sql;
}

void pl_apply_sql_free(struct pl_apply_sql **at)
{
	struct pl_apply_sql *sql = *at;

	if (!sql)
		return;
	for (int i = 0; i < sql->config->nresources; i++)
		pl_columns_free(&sql->rows[i]);
	free(sql->rows);
	pl_columns_free(&sql->ids);
	pl_columns_free(&sql->pairs);
	pl_columns_free(&sql->replaced);
	pl_columns_free(&sql->settled);
	pl_columns_free(&sql->questions);
	pl_columns_free(&sql->siblings);
	pl_columns_free(&sql->conflicts);
	pl_columns_free(&sql->anew);
	pl_columns_free(&sql->dead);
	pl_columns_free(&sql->requests);
	pl_columns_free(&sql->positions);
	pl_columns_free(&sql->copy);
	pl_buf_fini(&sql->text);
	pl_arena_free(&sql->arena);
	free(sql);
	*at = NULL;
}

const char *const *pl_apply_sql_setup(const struct pl_apply_sql *sql)
{
	return sql->setup;
}

// --- small things

int pl_apply_send(struct pl_session *session, const char *statement, struct pl_columns *columns, struct pl_error *err)
{
	struct pl_conn_params params = pl_columns_params(columns);

	return pl_session_send(session, statement, &params, err);
}

PGresult *pl_apply_ask(struct pl_session *session, const char *statement, struct pl_columns *columns, struct pl_error *err)
{
	return pl_apply_send(session, statement, columns, err) < 0 ? NULL : pl_session_receive(session, err);
}

int pl_apply_told(struct pl_session *session, struct pl_error *err)
{
	PGresult *result = pl_session_receive(session, err);

	PQclear(result);
	return result ? 0 : err->code;
}

int pl_apply_tell(struct pl_session *session, const char *statement, struct pl_columns *columns, struct pl_error *err)
{
	int code = pl_apply_send(session, statement, columns, err);

	return code < 0 ? code : pl_apply_told(session, err);
}

static const char *cell(const PGresult *result, int row, int column)
{
	return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

// A cell's text in the arena; NULL is null.
static const char *kept(struct pl_arena *arena, const PGresult *result, int row, int column)
{
	const char *text = cell(result, row, column);

	return text ? pl_arena_strndup(arena, text, (size_t)PQgetlength(result, row, column)) : NULL;
}

static int64_t kept_time(const PGresult *result, int row, int column)
{
	const char *text = cell(result, row, column);
	int64_t at_us;

	return text && pl_time_parse(text, strlen(text), &at_us) == 0 ? at_us : 0;
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 0;
}

static const uint8_t *fingerprint_of(struct pl_arena *arena, const char *digits)
{
	uint8_t *bytes;

	if (!digits || strlen(digits) != 2 * PL_SHA256_SIZE)
		return NULL;
	bytes = pl_arena_alloc(arena, PL_SHA256_SIZE);
	for (int i = 0; i < PL_SHA256_SIZE; i++)
		bytes[i] = (uint8_t)(hex(digits[2 * i]) * 16 + hex(digits[2 * i + 1]));
	return bytes;
}

// bytea as text, "\x…"
static const uint8_t *kept_fingerprint(struct pl_arena *arena, const PGresult *result, int row, int column)
{
	const char *text = cell(result, row, column);

	return text && strncmp(text, "\\x", 2) == 0 ? fingerprint_of(arena, text + 2) : NULL;
}

const char *pl_apply_vector_text(struct pl_apply_sql *sql, const struct pl_vector *vector)
{
	pl_buf_reset(&sql->text);
	pl_vector_print(&sql->text, vector);
	return sql->text.data;
}

static const struct pl_resource *resource_named(const struct pl_apply_sql *sql, const char *name)
{
	return pl_config_resource(sql->config, name);
}

static struct pl_target *find_target(struct pl_target *const *targets, int n, const struct pl_resource *resource, int64_t id)
{
	int low = 0, high = n;

	while (resource && low < high) {
		int middle = low + (high - low) / 2;
		const struct pl_target_key *key = &targets[middle]->key;

		if (key->resource == resource->index && key->id == id)
			return targets[middle];
		if (key->resource < resource->index || (key->resource == resource->index && key->id < id))
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

// --- reading

// The row is the one write that stands.
static void stand_alone(struct pl_arena *arena, struct pl_target *target)
{
	target->state.writes = pl_arena_alloc(arena, sizeof target->state.writes[0]);
	target->state.writes[0] = target->row;
	target->state.n = 1;
}

static void read_row(struct pl_arena *arena, const PGresult *result, int i, struct pl_target *target)
{
	const struct pl_resource *resource = target->resource;
	struct pl_sibling *row = &target->row;
	int at = 1 + resource->nfields;
	const char *vector = cell(result, i, at + 3);

	row->values = pl_arena_alloc(arena, sizeof row->values[0] * (size_t)resource->nfields + 1);
	for (int f = 0; f < resource->nfields; f++)
		row->values[f] = kept(arena, result, i, 1 + f);
	strncpy(row->dot.region, cell(result, i, at), PL_REGION_MAX);
	row->updated_at_us = kept_time(result, i, at + 2);
	if (!vector || pl_vector_parse(&row->vector, vector, strlen(vector)) < 0) { // a hand in the table: count all to whom it names
		memset(&row->vector, 0, sizeof row->vector);
		pl_vector_set(&row->vector, row->dot.region, (int32_t)strtol(cell(result, i, at + 1), NULL, 10));
	}
	row->dot.counter = pl_vector_get(&row->vector, row->dot.region);
	row->deleted = cell(result, i, at + 4)[0] == 't';
	row->field_times = kept(arena, result, i, at + 6);
	row->request_id = kept(arena, result, i, at + 7);
	row->principal = "";
	target->exists = true;
	target->flagged = cell(result, i, at + 5)[0] == 't';
	target->state.known = true;
	target->state.vector = row->vector;
	target->state.version = (int32_t)pl_vector_sum(&row->vector);
	stand_alone(arena, target);
}

// How many of the first targets are of one resource.
static int of_one_resource(struct pl_target *const *targets, int n)
{
	int same = 0;

	while (same < n && targets[same]->resource == targets[0]->resource)
		same++;
	return same;
}

// Of one resource: their rows.
static int send_lock(struct pl_apply_sql *sql, struct pl_session *session, struct pl_target *const *targets, int n, struct pl_error *err)
{
	char statement[32];

	pl_columns_reset(sql->ids);
	for (int i = 0; i < n; i++)
		pl_columns_i64(sql->ids, 0, targets[i]->key.id);
	snprintf(statement, sizeof statement, "apply_lock_%d", targets[0]->resource->index);
	return pl_apply_send(session, statement, sql->ids, err);
}

static int receive_locked(struct pl_session *session, struct pl_arena *arena, struct pl_target *const *targets, int n, struct pl_error *err)
{
	PGresult *result = pl_session_receive(session, err);
	int at = 0;

	if (!result)
		return err->code;
	for (int i = 0; i < PQntuples(result); i++) { // both are ascending by id
		int64_t id = strtoll(cell(result, i, 0), NULL, 10);

		while (at < n && targets[at]->key.id < id)
			at++;
		if (at < n && targets[at]->key.id == id)
			read_row(arena, result, i, targets[at]);
	}
	PQclear(result);
	return 0;
}

static void read_sibling(struct pl_arena *arena, const PGresult *result, int i, struct pl_target *target)
{
	struct pl_sibling *writes = pl_arena_alloc(arena, sizeof writes[0] * (size_t)(target->state.n + 1)), *write;

	if (target->state.n > 0)
		memcpy(writes, target->state.writes, sizeof writes[0] * (size_t)target->state.n);
	write = &writes[target->state.n++];
	target->state.writes = writes;
	strncpy(write->dot.region, cell(result, i, 2), PL_REGION_MAX);
	write->dot.counter = (int32_t)strtol(cell(result, i, 3), NULL, 10);
	if (pl_vector_parse(&write->vector, cell(result, i, 4), (size_t)PQgetlength(result, i, 4)) < 0)
		pl_vector_set(&write->vector, write->dot.region, write->dot.counter);
	write->updated_at_us = kept_time(result, i, 5);
	write->deleted = cell(result, i, 6)[0] == 't';
	write->values = pl_fields_parse(arena, target->resource, cell(result, i, 7));
	write->field_times = kept(arena, result, i, 8);
	write->request_id = kept(arena, result, i, 9);
	write->principal = kept(arena, result, i, 10);
	write->fingerprint = kept_fingerprint(arena, result, i, 11);
}

static int load_siblings(struct pl_apply_sql *sql, struct pl_session *session, struct pl_arena *arena, struct pl_target *const *targets, int n,
                         struct pl_error *err)
{
	PGresult *result;

	pl_columns_reset(sql->pairs);
	for (int i = 0; i < n; i++)
		if (targets[i]->flagged) {
			pl_columns_text(sql->pairs, 0, targets[i]->resource->name);
			pl_columns_i64(sql->pairs, 1, targets[i]->key.id);
			targets[i]->state.n = 0; // the row is what is shown, not what stands
		}
	if (sql->pairs->columns[0].n == 0)
		return 0;
	result = pl_apply_ask(session, "apply_siblings_read", sql->pairs, err);
	if (!result)
		return err->code;
	for (int i = 0; i < PQntuples(result); i++) {
		struct pl_target *target = find_target(targets, n, resource_named(sql, cell(result, i, 0)), strtoll(cell(result, i, 1), NULL, 10));

		if (target && target->flagged)
			read_sibling(arena, result, i, target);
	}
	for (int i = 0; i < n; i++) // a flag without siblings was set by hand: then the row is all there is
		if (targets[i]->flagged && targets[i]->state.n == 0)
			stand_alone(arena, targets[i]);
	PQclear(result);
	return 0;
}

int pl_apply_sql_lock(struct pl_apply_sql *sql, struct pl_session *session, struct pl_target *const *targets, int n, struct pl_error *err)
{
	return n > 0 ? send_lock(sql, session, targets, of_one_resource(targets, n), err) : 0;
}

int pl_apply_sql_load(struct pl_apply_sql *sql, struct pl_session *session, struct pl_arena *arena, struct pl_target *const *targets, int n,
                      struct pl_error *err)
{
	int code;

	for (int from = 0, same; from < n; from += same) {
		same = of_one_resource(targets + from, n - from);
		if (from > 0 && (code = send_lock(sql, session, targets + from, same, err)) < 0)
			return code;
		if ((code = receive_locked(session, arena, targets + from, same, err)) < 0)
			return code;
	}
	return load_siblings(sql, session, arena, targets, n, err);
}

// --- what is remembered of requests

struct found { int n, cap; struct pl_remembrance *items; };

static struct pl_remembrance *add_found(struct found *found, const struct pl_question *question, const uint8_t *fingerprint,
                                        const struct pl_dot *dots, int n)
{
	if (found->n == found->cap) {
		found->cap = found->cap ? 2 * found->cap : 64;
		found->items = pl_realloc(found->items, sizeof found->items[0] * (size_t)found->cap);
	}
	found->items[found->n] = (struct pl_remembrance){ .target = question->target,
		.twins = { question->request_id, question->principal, fingerprint, n, dots } };
	return &found->items[found->n++];
}

static bool read_dot(const cJSON *item, size_t len, struct pl_dot *dot)
{
	int64_t counter;

	if (!pl_region_name_ok(item->string, len) || pl_json_int64(item, &counter) < 0 || counter < 1 || counter > INT32_MAX)
		return false;
	memcpy(dot->region, item->string, len);
	dot->counter = (int32_t)counter;
	return true;
}

// {"us": 5, "eu": 3, "ap 9f…": 2}: those without a fingerprint are the row's own, the others another request's under the same id.
static void read_dots(struct pl_arena *arena, const char *text, const uint8_t *fingerprint, const struct pl_question *question,
                      struct found *found)
{
	cJSON *map = pl_json_parse(text, strlen(text), &pl_json_default_limits, NULL);
	struct pl_dot *dots = pl_arena_alloc(arena, sizeof dots[0] * (size_t)(cJSON_GetArraySize(map) + 1));
	int n = 0;

	for (const cJSON *item = map ? map->child : NULL; item; item = item->next) {
		const char *space = strchr(item->string, ' ');
		struct pl_dot *other;

		if (!space) {
			n += read_dot(item, strlen(item->string), &dots[n]);
			continue;
		}
		other = pl_arena_alloc(arena, sizeof *other);
		if (read_dot(item, (size_t)(space - item->string), other) && fingerprint_of(arena, space + 1))
			add_found(found, question, fingerprint_of(arena, space + 1), other, 1);
	}
	if (n > 0 && fingerprint)
		add_found(found, question, fingerprint, dots, n);
	cJSON_Delete(map);
}

static int compare_questions(const void *a, const void *b)
{
	const struct pl_question *x = a, *y = b;
	int order = strcmp(x->request_id, y->request_id);

	return order != 0 ? order : strcmp(x->principal, y->principal);
}

static const struct pl_question *first_question(const struct pl_question *sorted, int n, const struct pl_question *wanted)
{
	int low = 0, high = n;

	while (low < high) {
		int middle = low + (high - low) / 2;

		if (compare_questions(&sorted[middle], wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return sorted + low;
}

static void read_remembered(struct pl_apply_sql *sql, const PGresult *result, int i, struct pl_arena *arena, const struct pl_question *sorted,
                            int n, struct found *found)
{
	const struct pl_question wanted = { cell(result, i, 0), cell(result, i, 1), NULL };
	const struct pl_resource *resource = resource_named(sql, cell(result, i, 3));
	int64_t id = strtoll(cell(result, i, 4), NULL, 10);

	for (const struct pl_question *q = first_question(sorted, n, &wanted); q < sorted + n && compare_questions(q, &wanted) == 0; q++)
		if (q->target->resource == resource && q->target->key.id == id) {
			read_dots(arena, cell(result, i, 5), kept_fingerprint(arena, result, i, 2), q, found);
			return;
		}
}

int pl_apply_sql_remembered(struct pl_apply_sql *sql, struct pl_session *session, struct pl_arena *arena, struct pl_question *questions,
                            int n, struct pl_remembrance **found_r, int *nfound_r, struct pl_error *err)
{
	struct found found = { 0 };
	PGresult *result;

	*nfound_r = 0;
	if (n == 0)
		return 0;
	qsort(questions, (size_t)n, sizeof questions[0], compare_questions);
	pl_columns_reset(sql->questions);
	for (int i = 0; i < n; i++) {
		pl_columns_text(sql->questions, 0, questions[i].request_id);
		pl_columns_text(sql->questions, 1, questions[i].principal);
	}
	result = pl_apply_ask(session, "apply_remembered", sql->questions, err);
	if (!result)
		return err->code;
	for (int i = 0; i < PQntuples(result); i++)
		read_remembered(sql, result, i, arena, questions, n, &found);
	PQclear(result);
	*found_r = pl_arena_alloc(arena, sizeof found.items[0] * (size_t)found.n + 1);
	if (found.n > 0)
		memcpy(*found_r, found.items, sizeof found.items[0] * (size_t)found.n);
	*nfound_r = found.n;
	free(found.items);
	return 0;
}

// --- where it is, and what stands

int pl_apply_sql_where(struct pl_apply_sql *sql, struct pl_session *session, struct pl_arena *arena, struct pl_position **positions_r, int *n_r,
                       struct pl_error *err)
{
	PGresult *result = pl_session_exec_prepared(session, "apply_where", 0, NULL, err);

	if (!result)
		return err->code;
	*n_r = PQntuples(result);
	*positions_r = pl_arena_alloc(arena, sizeof **positions_r * (size_t)*n_r + 1);
	for (int i = 0; i < *n_r; i++)
		(*positions_r)[i] = (struct pl_position){ .topic = kept(arena, result, i, 0),
			.partition = (int32_t)strtol(cell(result, i, 1), NULL, 10), .next_offset = strtoll(cell(result, i, 2), NULL, 10) };
	PQclear(result);
	return 0;
}

int pl_apply_sql_flagged(struct pl_apply_sql *sql, struct pl_session *session, struct pl_arena *arena, const struct pl_flagged *after, int limit,
                         struct pl_flagged **found_r, int *n_r, struct pl_error *err)
{
	char id[24], most[12];
	const char *params[3] = { after->resource, id, most };
	PGresult *result;

	snprintf(id, sizeof id, "%lld", (long long)after->id);
	snprintf(most, sizeof most, "%d", limit);
	result = pl_session_exec_prepared(session, "apply_flagged", 3, params, err);
	if (!result)
		return err->code;
	*n_r = PQntuples(result);
	*found_r = pl_arena_alloc(arena, sizeof **found_r * (size_t)*n_r + 1);
	for (int i = 0; i < *n_r; i++)
		(*found_r)[i] = (struct pl_flagged){ kept(arena, result, i, 0), strtoll(cell(result, i, 1), NULL, 10) };
	PQclear(result);
	return 0;
}

int pl_apply_sql_count_flagged(struct pl_session *session, int64_t *n_r, struct pl_error *err)
{
	PGresult *result = pl_session_exec_prepared(session, "apply_count_flagged", 0, NULL, err);

	if (!result)
		return err->code;
	*n_r = strtoll(cell(result, 0, 0), NULL, 10);
	PQclear(result);
	return 0;
}
