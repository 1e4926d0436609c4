// A store without a database, for tests of script/: linked in place of store/store.
#include "fake_store.h"

#include <stdlib.h>
#include <string.h>

#define RECORDS_MAX    256
#define CALLS_MAX      16384
#define REMEMBERED_MAX 256

enum call_kind { CALL_WRITE, CALL_READ, CALL_QUERY, CALL_LOOKUP, CALL_STORE };

struct call {
	enum call_kind kind;
	void *what;
};

struct kept {
	char id[64];
	uint8_t fingerprint[PL_SHA256_SIZE];
	struct pl_remembered answer;
};

struct pl_store {
	struct pl_config *config;
	struct pl_arena *arena;
	struct pl_record *records[RECORDS_MAX];
	int nrecords;
	struct kept kept[REMEMBERED_MAX];
	int nkept;
	struct call calls[CALLS_MAX];
	int ncalls;
	bool forced;
	enum pl_outcome outcome;
	int code;
	int64_t next_id;
	int lookups, writes;
	const char *sql;
	struct pl_remember_answer stored;
	bool has_stored;
};

struct pl_store *fake_store_new(const struct pl_config *config)
{
	struct pl_store *store = pl_calloc(1, sizeof(*store));

	store->config = pl_config_ref(config);
	store->arena = pl_arena_new(0);
	store->next_id = 1000;
	return store;
}

void pl_store_free(struct pl_store **store_p)
{
	struct pl_store *store = *store_p;

	fake_store_run(store);
	pl_arena_free(&store->arena);
	pl_config_unref(&store->config);
	free(store);
	*store_p = NULL;
}

static void queue(struct pl_store *store, enum call_kind kind, void *what)
{
	if (store->ncalls == CALLS_MAX)
		pl_die("too many calls wait for the fake store");
	store->calls[store->ncalls++] = (struct call){ kind, what };
}

void pl_store_write(struct pl_store *store, struct pl_write *write)
{
	store->writes++;
	queue(store, CALL_WRITE, write);
}

void pl_store_read(struct pl_store *store, struct pl_read *read)
{
	queue(store, CALL_READ, read);
}

void pl_store_query(struct pl_store *store, struct pl_query *query)
{
	store->sql = pl_arena_strdup(store->arena, query->sql);
	queue(store, CALL_QUERY, query);
}

void pl_store_remembered(struct pl_store *store, struct pl_remember_lookup *lookup)
{
	store->lookups++;
	queue(store, CALL_LOOKUP, lookup);
}

void pl_store_remember_answer(struct pl_store *store, struct pl_remember_answer *answer)
{
	queue(store, CALL_STORE, answer);
}

static struct pl_record *find(const struct pl_store *store, int64_t id)
{
	for (int i = 0; i < store->nrecords; i++) {
		if (store->records[i]->id == id)
			return store->records[i];
	}
	return NULL;
}

// Includes the JSON, as a record from the database does.
static struct pl_record *copy(struct pl_arena *arena, const struct pl_record *from)
{
	struct pl_record *record = pl_record_new(arena, from->resource);
	const char **values = record->values;
	struct pl_buf json = { 0 };

	*record = *from;
	record->values = values;
	for (int i = 0; i < from->resource->nfields; i++)
		values[i] = from->values[i] ? pl_arena_strdup(arena, from->values[i]) : NULL;
	pl_record_print(&json, record);
	record->json = pl_arena_strndup(arena, json.data, json.len);
	pl_buf_fini(&json);
	return record;
}

static struct pl_record *add(struct pl_store *store, int64_t id)
{
	struct pl_record *record = pl_record_new(store->arena, &store->config->resources[0]);

	if (store->nrecords == RECORDS_MAX)
		pl_die("too many records for the fake store");
	record->id = id;
	strcpy(record->region_origin, "us");
	record->updated_at_us = INT64_C(1771668000123456);
	store->records[store->nrecords++] = record;
	return record;
}

static void raise_version(struct pl_record *record, int32_t version)
{
	record->version = version;
	pl_vector_set(&record->vector, "us", version);
}

void fake_store_put(struct pl_store *store, int64_t id, const char *price, const char *bedrooms,
                    int32_t version)
{
	struct pl_record *record = add(store, id);

	record->values[0] = pl_arena_strdup(store->arena, price);
	record->values[1] = bedrooms ? pl_arena_strdup(store->arena, bedrooms) : NULL;
	raise_version(record, version);
}

void fake_store_force_outcome(struct pl_store *store, enum pl_outcome outcome, int code)
{
	store->forced = true;
	store->outcome = outcome;
	store->code = code;
}

void fake_store_force_code(struct pl_store *store, int code)
{
	store->forced = true;
	store->code = code;
}

static bool take_forced(struct pl_store *store, struct pl_error *err)
{
	if (!store->forced)
		return false;
	store->forced = false;
	if (store->code)
		pl_error_set(err, store->code, "so the test wants it");
	return true;
}

static enum pl_outcome remembered(const struct pl_store *store, const char *id, const uint8_t *fingerprint,
                                  struct pl_remembered *answer_r)
{
	for (int i = 0; i < store->nkept; i++) {
		if (strcmp(store->kept[i].id, id) != 0)
			continue;
		if (memcmp(store->kept[i].fingerprint, fingerprint, PL_SHA256_SIZE) != 0)
			return PL_OUTCOME_REUSED;
		*answer_r = store->kept[i].answer;
		return PL_OUTCOME_REMEMBERED;
	}
	return PL_OUTCOME_NOT_FOUND;
}

static void remember(struct pl_store *store, const struct pl_write *write, const struct pl_record *record)
{
	struct kept *kept = &store->kept[store->nkept];
	struct pl_buf text = { 0 };

	if (!write->request_id[0] || store->nkept == REMEMBERED_MAX)
		return;
	store->nkept++;
	strcpy(kept->id, write->request_id);
	memcpy(kept->fingerprint, write->fingerprint, sizeof(kept->fingerprint));
	kept->answer.status = write->op == PL_WRITE_CREATE ? 201 : write->op == PL_WRITE_DELETE ? 204 : 200;
	kept->answer.deleted = write->op == PL_WRITE_DELETE;
	kept->answer.vector = record->vector;
	if (write->op != PL_WRITE_DELETE) {
		pl_record_print(&text, record);
		kept->answer.body = pl_arena_strdup(store->arena, text.data);
		pl_buf_fini(&text);
	}
	if (write->op == PL_WRITE_CREATE)
		kept->answer.location =
			pl_arena_printf(store->arena, "/us/properties/%lld", (long long)record->id);
}

static enum pl_outcome lock_outcome(const struct pl_write *write, const struct pl_record *record)
{
	if (write->has_version && write->version != record->version)
		return PL_OUTCOME_VERSION;
	if (write->has_etag && !write->etag_any &&
	    (write->etag_never || !pl_vector_equal(&write->etag, &record->vector)))
		return PL_OUTCOME_ETAG;
	if (write->lock == PL_LOCK_REQUIRED && !write->has_version && !write->has_etag)
		return PL_OUTCOME_UNLOCKED;
	return PL_OUTCOME_DONE;
}

static void change(struct pl_store *store, const struct pl_write *write, struct pl_record *record)
{
	for (int i = 0; write->op != PL_WRITE_DELETE && i < record->resource->nfields; i++) {
		if (write->changes.set[i])
			record->values[i] = write->changes.values[i]
			                            ? pl_arena_strdup(store->arena, write->changes.values[i])
			                            : NULL;
	}
	raise_version(record, record->version + 1);
	record->deleted = write->op == PL_WRITE_DELETE;
}

static enum pl_outcome carry_out(struct pl_store *store, struct pl_write *write)
{
	struct pl_record *record = find(store, write->id);
	enum pl_outcome outcome =
		remembered(store, write->request_id, write->fingerprint, &write->remembered);

	if (outcome != PL_OUTCOME_NOT_FOUND)
		return outcome;
	if (write->op == PL_WRITE_CREATE) {
		if (record && !record->deleted) {
			write->record = copy(write->arena, record);
			return PL_OUTCOME_EXISTS;
		}
		record = record ? record : add(store, write->id ? write->id : store->next_id++);
	} else if (!record || record->deleted) {
		return PL_OUTCOME_NOT_FOUND;
	} else {
		outcome = lock_outcome(write, record);
		if (outcome != PL_OUTCOME_DONE) {
			write->record = copy(write->arena, record);
			return outcome;
		}
	}
	change(store, write, record);
	write->record = copy(write->arena, record);
	remember(store, write, record);
	return PL_OUTCOME_DONE;
}

static void answer_write(struct pl_store *store, struct pl_write *write)
{
	if (take_forced(store, &write->err))
		write->outcome = store->outcome;
	else
		write->outcome = carry_out(store, write);
	write->done(write, write->arg);
}

static void answer_read(struct pl_store *store, struct pl_read *read)
{
	const struct pl_record *record = find(store, read->id);

	if (take_forced(store, &read->err))
		read->code = store->code;
	else if (!record || record->deleted)
		read->code = PL_ENOTFOUND;
	else
		read->record = copy(read->arena, record);
	read->done(read, read->arg);
}

// A list returns all records. Any other statement returns a row of its parameters: p1,
// p2, …, the last as numeric, the others as text.
static void answer_query(struct pl_store *store, struct pl_query *query)
{
	if (take_forced(store, &query->err)) {
		query->code = store->code;
	} else if (strncmp(query->sql, "list ", 5) == 0) {
		query->nrows = store->nrecords < query->max_rows ? store->nrecords : query->max_rows;
	} else {
		query->nrows = 1;
		query->ncolumns = query->nparams;
		query->columns =
			pl_arena_array(query->arena, (size_t)query->nparams + 1, sizeof(query->columns[0]));
		query->types =
			pl_arena_array(query->arena, (size_t)query->nparams + 1, sizeof(query->types[0]));
		query->values = query->params;
		for (int i = 0; i < query->nparams; i++) {
			query->columns[i] = pl_arena_printf(query->arena, "p%d", i + 1);
			query->types[i] = i == query->nparams - 1 ? 1700 : 25;
		}
	}
	query->done(query, query->arg);
}

static void answer_lookup(struct pl_store *store, struct pl_remember_lookup *lookup)
{
	if (take_forced(store, &lookup->err)) {
		lookup->code = store->code;
		lookup->outcome = store->outcome;
	} else {
		lookup->outcome =
			remembered(store, lookup->request_id, lookup->fingerprint, &lookup->remembered);
	}
	lookup->done(lookup, lookup->arg);
}

static const char *keep(struct pl_store *store, const char *text)
{
	return text ? pl_arena_strdup(store->arena, text) : NULL;
}

// Remembers an answer as the database does: see store/write_outcome.c.
static void amend(struct pl_store *store, const struct pl_remember_answer *answer)
{
	static const char head[] = "{\"" PL_REMEMBERED_WHOLE "\":";

	for (int i = 0; i < store->nkept; i++) {
		struct pl_remembered *kept = &store->kept[i].answer;

		if (strcmp(store->kept[i].id, answer->request_id) != 0)
			continue;
		if (strncmp(answer->body, head, sizeof(head) - 1) != 0)
			pl_die("the fake store was given an incomplete answer: %s", answer->body);
		kept->status = answer->status;
		kept->body = kept->location = NULL;
		kept->whole = pl_arena_strndup(store->arena, answer->body + sizeof(head) - 1,
		                               strlen(answer->body) - sizeof(head));
	}
}

static void answer_store(struct pl_store *store, struct pl_remember_answer *answer)
{
	store->has_stored = true;
	store->stored = *answer;
	store->stored.body = keep(store, answer->body);
	store->stored.value = keep(store, answer->value);
	store->stored.vector = keep(store, answer->vector);
	store->stored.request_id = keep(store, answer->request_id);
	if (take_forced(store, &answer->err))
		answer->code = store->code;
	else
		amend(store, answer);
	answer->done(answer, answer->arg);
}

int fake_store_waiting(const struct pl_store *store)
{
	return store->ncalls;
}

void fake_store_answer(struct pl_store *store, int which)
{
	struct call call = store->calls[which];

	memmove(&store->calls[which], &store->calls[which + 1],
	        sizeof(call) * (size_t)(--store->ncalls - which));
	switch (call.kind) {
	case CALL_WRITE: answer_write(store, call.what); break;
	case CALL_READ: answer_read(store, call.what); break;
	case CALL_QUERY: answer_query(store, call.what); break;
	case CALL_LOOKUP: answer_lookup(store, call.what); break;
	case CALL_STORE: answer_store(store, call.what); break;
	}
}

void fake_store_run(struct pl_store *store)
{
	while (store->ncalls > 0)
		fake_store_answer(store, 0);
}

void pl_store_list_sql(struct pl_query *query, const struct pl_resource *resource, int64_t after, int limit,
                       const struct pl_filter *filters, int nfilters)
{
	struct pl_buf text = { 0 };

	pl_buf_printf(&text, "list %s after %lld limit %d", resource->name, (long long)after, limit);
	for (int i = 0; i < nfilters; i++)
		pl_buf_printf(&text, " %s%s%s", resource->fields[filters[i].field].name,
		              filters[i].op == PL_FILTER_EQ    ? "="
		              : filters[i].op == PL_FILTER_MIN ? ">="
		                                               : "<=",
		              filters[i].value);
	query->sql = pl_arena_strdup(query->arena, text.data);
	query->max_rows = limit + 1;
	pl_buf_fini(&text);
}

int pl_store_list_page(const struct pl_query *query, bool *more_r)
{
	*more_r = query->nrows == query->max_rows;
	return query->nrows - *more_r;
}

// A list returns the records of the fake store. There is one store at a time.
struct pl_record *pl_store_list_record(const struct pl_query *query, const struct pl_resource *resource,
                                       int i, struct pl_error *err)
{
	struct pl_record *record = pl_record_new(query->arena, resource);

	record->id = i + 1;
	record->values[0] = "1.00";
	record->version = 1;
	strcpy(record->region_origin, "us");
	pl_vector_set(&record->vector, "us", 1);
	return record;
}

const char *fake_store_last_sql(const struct pl_store *store)
{
	return store->sql ? store->sql : "";
}

const struct pl_remember_answer *fake_store_last_stored(const struct pl_store *store)
{
	return store->has_stored ? &store->stored : NULL;
}

int fake_store_lookups(const struct pl_store *store)
{
	return store->lookups;
}

int fake_store_writes(const struct pl_store *store)
{
	return store->writes;
}
