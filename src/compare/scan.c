// Finding the records that differ: see scan.h.
#include "compare/scan.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compare/digest.h"
#include "store/statement.h"

#define RANGE       (INT64_C(1) << PL_DIGEST_RANGE_BITS)
#define PIECE       (64 * RANGE) // ids per query: the progress advances about every 50 ms
#define EMPTY_PIECE INT64_MAX    // stands for no first id; -EMPTY_PIECE for no last id
// How many whole records a query reads: so many that they need about LOOK_BYTES.
#define LOOK_FIRST  16
#define LOOK_MOST   256
#define LOOK_BYTES  ((size_t)8 << 20)

// ---- querying all databases in parallel

typedef void digest_sql(struct pl_buf *sql, const struct pl_resource *resource, bool by_text);

static int prepare(struct pl_scan *scan, const char *name, const char *types, digest_sql *text, bool by_text,
                   struct pl_error *err)
{
	struct pl_buf sql = { 0 };
	int code = 0;
	pl_buf_printf(&sql, "PREPARE %s_%d (%s) AS ", name, scan->serial, types);
	text(&sql, scan->resource, by_text);
	for (int i = 0; i < scan->n && code == 0; i++) {
		scan->failed = i;
		code = pl_session_do(scan->sessions[i], sql.data, err);
	}
	pl_buf_fini(&sql);
	return code;
}

// Whether all servers hash values in the same way.
static bool of_one_major_version(const struct pl_scan *scan)
{
	int first = PQserverVersion(pl_session_pg(scan->sessions[0])) / 10000;
	for (int i = 1; i < scan->n; i++)
		if (PQserverVersion(pl_session_pg(scan->sessions[i])) / 10000 != first)
			return false;
	return first >= 14; // older versions cannot hash a row
}

int pl_scan_begin(struct pl_scan *scan, struct pl_error *err)
{
	static _Atomic int serial; // a session may serve several scans
	bool by_text = !of_one_major_version(scan);
	scan->serial = atomic_fetch_add(&serial, 1);
	for (int i = 0; i < scan->n; i++) {
		scan->failed = i;
		if (pl_session_do(scan->sessions[i], "SET jit = off", err) < 0 ||
		    pl_session_do(scan->sessions[i], "SET plan_cache_mode = force_custom_plan", err) < 0)
			return err->code;
	}
	if (prepare(scan, "compare_ranges", "bigint, bigint", pl_digest_ranges_sql, by_text, err) < 0 ||
	    prepare(scan, "compare_rows", "bigint, bigint", pl_digest_rows_sql, by_text, err) < 0 ||
	    prepare(scan, "compare_records", "bigint[]", pl_digest_records_sql, by_text, err) < 0)
		return err->code;
	return 0;
}

static void clear(const struct pl_scan *scan, PGresult **results)
{
	for (int i = 0; i < scan->n; i++) {
		PQclear(results[i]);
		results[i] = NULL;
	}
}

// Sends the query to all databases before it waits for the first answer. Returns all
// results, or a code and none.
static int ask(struct pl_scan *scan, const char *name, const char *const *params, int nparams,
               PGresult **results, struct pl_error *err)
{
	const struct pl_conn_params sent = { .n = nparams, .values = params };
	char statement[64];
	struct pl_error each;
	int code = 0, nsent = 0;
	snprintf(statement, sizeof(statement), "%s_%d", name, scan->serial);
	for (; nsent < scan->n && code == 0; nsent++) {
		scan->failed = nsent;
		code = pl_session_send(scan->sessions[nsent], statement, &sent, err);
		if (code < 0)
			break;
	}
	for (int i = 0; i < nsent; i++) {
		results[i] = pl_session_receive(scan->sessions[i], &each);
		if (results[i] || code < 0)
			continue;
		scan->failed = i;
		*err = each;
		code = each.code;
	}
	for (int i = nsent; i < scan->n; i++)
		results[i] = NULL;
	if (code < 0)
		clear(scan, results);
	return code;
}

// ---- merging the results

// Results of (place, n, digest), each ordered by place, read side by side.
struct merge {
	const struct pl_scan *scan;
	PGresult **results;
	int at[PL_REGIONS_MAX];
};

static int64_t place_of(const PGresult *result, int row)
{
	return strtoll(PQgetvalue(result, row, 0), NULL, 10);
}

// Gets the next place that any of the results contains; *differs_r: whether its digests
// are not the same everywhere. False at the end.
static bool next_place(struct merge *m, int64_t *place_r, bool *differs_r)
{
	const char *digest = NULL;
	bool any = false;
	*differs_r = false;
	for (int i = 0; i < m->scan->n; i++) {
		int64_t place = m->at[i] < PQntuples(m->results[i]) ? place_of(m->results[i], m->at[i]) : 0;
		if (m->at[i] < PQntuples(m->results[i]) && (!any || place < *place_r)) {
			*place_r = place;
			any = true;
		}
	}
	for (int i = 0; any && i < m->scan->n; i++) {
		if (m->at[i] >= PQntuples(m->results[i]) || place_of(m->results[i], m->at[i]) != *place_r) {
			*differs_r = true;
			continue;
		}
		const char *here = PQgetvalue(m->results[i], m->at[i]++, 2);
		*differs_r |= digest && strcmp(digest, here) != 0;
		digest = here;
	}
	return any;
}

// ---- searching a range

static void add_id(struct pl_scan *scan, int64_t id)
{
	if (scan->nids == PL_SCAN_IDS_MAX) {
		scan->more = true;
		return;
	}
	if (scan->nids == scan->ids_cap) {
		scan->ids_cap = scan->ids_cap ? 2 * scan->ids_cap : 1024;
		scan->ids = pl_realloc(scan->ids, (size_t)scan->ids_cap * sizeof(scan->ids[0]));
	}
	scan->ids[scan->nids++] = id;
}

static int ask_ids(struct pl_scan *scan, const char *name, int64_t from, int64_t to, PGresult **results,
                   struct pl_error *err)
{
	char first[24], end[24];
	const char *params[] = { first, end };
	snprintf(first, sizeof(first), "%lld", (long long)from);
	snprintf(end, sizeof(end), "%lld", (long long)to);
	return ask(scan, name, params, 2, results, err);
}

static int go_down(struct pl_scan *scan, int64_t from, int64_t to, struct pl_error *err)
{
	PGresult *results[PL_REGIONS_MAX] = { NULL };
	struct merge m = { .scan = scan, .results = results };
	int64_t id;
	bool differs;
	if (ask_ids(scan, "compare_rows", from, to, results, err) < 0)
		return err->code;
	while (next_place(&m, &id, &differs))
		if (differs)
			add_id(scan, id);
	clear(scan, results);
	return 0;
}

static int64_t at_least(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t at_most(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

// The id after the last one of a range or piece, at most the largest number.
static int64_t end_of(int64_t place, int64_t size)
{
	return place >= INT64_MAX / size ? INT64_MAX : (place + 1) * size;
}

static int64_t distance(int64_t from, int64_t to)
{
	int64_t n;

	return __builtin_sub_overflow(to, from, &n) ? INT64_MAX : n;
}

static int scan_piece(struct pl_scan *scan, int64_t from, int64_t to, struct pl_error *err)
{
	PGresult *results[PL_REGIONS_MAX] = { NULL };
	struct merge m = { .scan = scan, .results = results };
	int64_t range;
	bool differs;
	int code = ask_ids(scan, "compare_ranges", from, to, results, err);
	if (code < 0)
		return code;
	for (int i = 0; i < scan->n; i++)
		for (int row = 0; row < PQntuples(results[i]); row++)
			scan->rows[i] += strtoll(PQgetvalue(results[i], row, 1), NULL, 10);
	while (code == 0 && next_place(&m, &range, &differs)) {
		scan->ranges++;
		scan->ranges_different += differs;
		if (differs)
			code = go_down(scan, at_least(from, range * RANGE), at_most(to, end_of(range, RANGE)),
			               err);
	}
	clear(scan, results);
	return code;
}

// ---- skipping empty ranges

// Finds the smallest id in any database from scan->first on, and the largest one up to
// scan->last. EMPTY_PIECE and -EMPTY_PIECE: there is none.
static int find_bounds(struct pl_scan *scan, int64_t *first_r, int64_t *last_r, struct pl_error *err)
{
	struct pl_buf sql = { 0 };
	char first[24], last[24];
	const char *params[] = { first, last };
	int code = 0;
	*first_r = EMPTY_PIECE;
	*last_r = -EMPTY_PIECE;
	snprintf(first, sizeof(first), "%lld", (long long)scan->first);
	snprintf(last, sizeof(last), "%lld", (long long)scan->last);
	pl_buf_adds(&sql, "SELECT min(id), max(id) FROM ");
	pl_statement_table(&sql, scan->resource);
	pl_buf_printf(&sql,
	              " WHERE id >= $1::bigint AND id <= $2::bigint UNION ALL SELECT min(record_id), "
	              "max(record_id) FROM plist.record_siblings WHERE resource = '%s' AND record_id >= "
	              "$1::bigint "
	              "AND record_id <= $2::bigint",
	              scan->resource->name);
	for (int i = 0; i < scan->n && code == 0; i++) {
		PGresult *result = pl_session_exec(scan->sessions[i], sql.data, 2, params, err);
		scan->failed = i;
		for (int row = 0; result && row < PQntuples(result); row++) {
			if (PQgetisnull(result, row, 0))
				continue;
			*first_r = at_most(*first_r, place_of(result, row));
			*last_r = at_least(*last_r, strtoll(PQgetvalue(result, row, 1), NULL, 10));
		}
		code = result ? 0 : err->code;
		PQclear(result);
	}
	pl_buf_fini(&sql);
	return code;
}

// Ids may have wide gaps, since each region has its own range: the scan skips them.
static int skip_gap(struct pl_scan *scan, int64_t *from, struct pl_error *err)
{
	int64_t first = scan->first, next, last;
	int code;
	scan->first = *from;
	code = find_bounds(scan, &next, &last, err);
	scan->first = first;
	*from = next;
	return code;
}

int pl_scan_run(struct pl_scan *scan, struct pl_error *err)
{
	int64_t from, last, begin;
	int code = find_bounds(scan, &from, &last, err);
	begin = from;
	last = at_most(last, INT64_MAX - 1); // `to` is the id after it
	while (code == 0 && from <= last) {
		int64_t to = at_most(end_of(from / PIECE, PIECE), last + 1);
		int64_t seen = scan->ranges;
		code = scan_piece(scan, from, to, err);
		from = to;
		if (code == 0 && scan->ranges == seen && from <= last)
			code = skip_gap(scan, &from, err);
		if (scan->progress && code == 0)
			scan->progress(scan->arg, distance(begin, at_most(from, last + 1)),
			               distance(begin, last + 1));
	}
	return code;
}

void pl_scan_fini(struct pl_scan *scan)
{
	free(scan->ids);
	scan->ids = NULL;
	scan->nids = scan->ids_cap = 0;
}

// ---- whole records

static const char *cell(const PGresult *result, int row, int column)
{
	return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

static int64_t number(const PGresult *result, int row, int column)
{
	const char *text = cell(result, row, column);
	return text ? strtoll(text, NULL, 10) : 0;
}

static void read_copy(const PGresult *result, int row, struct pl_scan_copy *copy_r)
{
	const char *vector = cell(result, row, PL_DIGEST_VECTOR);
	memset(copy_r, 0, sizeof(*copy_r));
	copy_r->siblings = cell(result, row, PL_DIGEST_SIBLINGS);
	copy_r->copy.siblings = number(result, row, PL_DIGEST_SIBLINGS_DIGEST);
	if (!vector)
		return;
	copy_r->copy.exists = true;
	copy_r->vector = vector;
	copy_r->origin = cell(result, row, PL_DIGEST_ORIGIN);
	copy_r->version = cell(result, row, PL_DIGEST_VERSION);
	copy_r->updated_at = cell(result, row, PL_DIGEST_UPDATED_AT);
	copy_r->deleted = cell(result, row, PL_DIGEST_DELETED)[0] == 't';
	copy_r->has_siblings = cell(result, row, PL_DIGEST_HAS_SIBLINGS)[0] == 't';
	copy_r->fields = cell(result, row, PL_DIGEST_FIELDS);
	copy_r->copy.content = number(result, row, PL_DIGEST_CONTENT);
	// As in the applier: if the vector is damaged, all writes are attributed to the
	// row's origin.
	if (pl_vector_parse(&copy_r->copy.vector, vector, strlen(vector)) < 0) {
		copy_r->copy.vector.n = 0;
		pl_vector_set(&copy_r->copy.vector, copy_r->origin,
		              (int32_t)number(result, row, PL_DIGEST_VERSION));
	}
}

static int ask_records(struct pl_scan *scan, const int64_t *ids, int nids, PGresult **results,
                       struct pl_error *err)
{
	struct pl_buf list = { 0 };
	const char *params[1];
	int code;
	for (int i = 0; i < nids; i++) {
		pl_buf_addc(&list, i ? ',' : '{');
		pl_buf_add_i64(&list, ids[i]);
	}
	pl_buf_addc(&list, '}');
	params[0] = list.data;
	code = ask(scan, "compare_records", params, 1, results, err);
	pl_buf_fini(&list);
	return code;
}

// How many records the next query reads.
static void adapt_look(struct pl_scan *scan, PGresult *const *results)
{
	size_t bytes = 0;
	for (int i = 0; i < scan->n; i++)
		bytes += PQresultMemorySize(results[i]);
	if (bytes > LOOK_BYTES && scan->look > 1)
		scan->look /= 2;
	else if (bytes < LOOK_BYTES / 4 && scan->look < LOOK_MOST)
		scan->look *= 2;
}

int pl_scan_look(struct pl_scan *scan, const int64_t *ids, int nids, pl_scan_each_fn *each, void *arg,
                 struct pl_error *err)
{
	struct pl_scan_copy copies[PL_REGIONS_MAX];
	PGresult *results[PL_REGIONS_MAX] = { NULL };
	scan->look = scan->look ? scan->look : LOOK_FIRST;
	for (int at = 0, n; at < nids; at += n) {
		n = nids - at < scan->look ? nids - at : scan->look;
		if (ask_records(scan, ids + at, n, results, err) < 0)
			return err->code;
		adapt_look(scan, results);
		for (int row = 0; row < n; row++) {
			for (int i = 0; i < scan->n; i++)
				read_copy(results[i], row, &copies[i]);
			each(arg, ids[at + row], copies);
		}
		clear(scan, results);
	}
	return 0;
}
