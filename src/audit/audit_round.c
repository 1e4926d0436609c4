// A round: compares all records with those of one other region. Called by audit.c; asks
// through audit_talk.c, reads through audit_look.c, and leaves what it has found to
// audit_results.c. Threads: the audit's.
#include "audit/audit_private.h"

#include <stdio.h>

#define AGAIN_US SECOND // between the two looks at a record

static void begin_ask(const struct pl_audit_round *round, const struct pl_resource *resource,
                      enum pl_audit_what what, struct pl_audit_message *ask_r, struct pl_buf *fields)
{
	memset(ask_r, 0, sizeof(*ask_r));
	snprintf(ask_r->to, sizeof(ask_r->to), "%s", round->with);
	ask_r->what = what;
	ask_r->resource = resource->name;
	pl_buf_reset(fields);
	pl_audit_fields_print(fields, resource);
	ask_r->fields = fields->data;
	ask_r->track = resource->track_fields;
}

static int answered_else(const struct pl_audit_round *round, struct pl_error *err)
{
	return pl_error_set(err, INCOMPLETE, "region %s answered something else", round->with);
}

// ---- single records

static void add(struct pl_audit_found *found, int64_t id, enum pl_difference is)
{
	found->ids[found->n] = id;
	found->is[found->n++] = is;
}

// Judges the records of the answer and adds those that differ to `found`. Returns the
// number of records in the answer, or a code.
static int judge(struct pl_audit_round *round, const struct pl_resource *resource, const char *ids,
                 struct pl_audit_found *found, struct pl_error *err)
{
	struct pl_audit *audit = round->audit;
	const struct pl_resource *shared = pl_audit_fields_shared(audit->answered, resource, &audit->answer);
	struct pl_buf lines = { 0 };
	const char *there = audit->answer.rows, *here;
	struct pl_audit_copy copies[2];
	PGresult *parked = pl_audit_look_parked(audit, resource, ids, err); // before the records
	int n = 0, code = parked ? pl_audit_look_records(audit, shared, ids, &lines, err) : err->code;

	here = lines.data;
	while (code == 0 && here && pl_audit_judge_parse(&there, &copies[1]) &&
	       pl_audit_judge_parse(&here, &copies[0]) && copies[0].id == copies[1].id) {
		enum pl_difference is = pl_audit_judge_copies(&copies[0].copy, &copies[1].copy);

		if (is != PL_DIFFERENCE_NONE && !pl_audit_look_is_parked(parked, copies[0].id))
			add(found, copies[0].id, is);
		n++;
	}
	PQclear(parked);
	pl_buf_fini(&lines);
	return code < 0 ? code : n;
}

static int ask_and_judge(struct pl_audit_round *round, const struct pl_resource *resource, const int64_t *ids,
                         int n, struct pl_audit_found *found, struct pl_error *err)
{
	struct pl_audit_message ask;
	struct pl_buf list = { 0 }, fields = { 0 };
	int code;

	begin_ask(round, resource, PL_AUDIT_RECORDS, &ask, &fields);
	for (int i = 0; i < n; i++) {
		pl_buf_addc(&list, i ? ',' : '{');
		pl_buf_add_i64(&list, ids[i]);
	}
	pl_buf_addc(&list, '}');
	ask.ids = list.data;
	code = pl_audit_ask(round->audit, &ask, err);
	if (code == 0)
		code = pl_audit_await(round, err);
	if (code == 0)
		code = pl_audit_wait_turn(round->audit, err);
	if (code == 0)
		code = judge(round, resource, list.data, found, err);
	if (code == 0)
		code = answered_else(round, err);
	pl_buf_fini(&list);
	pl_buf_fini(&fields);
	return code;
}

// Looks at the records in `found`; only those that differ stay in it.
static int look_once(struct pl_audit_round *round, struct pl_audit_found *found, struct pl_error *err)
{
	struct pl_audit_found *of = pl_malloc(sizeof(*of));
	int code = 0;

	memcpy(of, found, sizeof(*of));
	found->n = 0;
	for (int at = 0; at < of->n && code >= 0; at += code) {
		int n = of->n - at < PL_AUDIT_IDS_MAX ? of->n - at : PL_AUDIT_IDS_MAX;

		code = ask_and_judge(round, of->resource, of->ids + at, n, found, err);
	}
	free(of);
	return code < 0 ? code : 0;
}

static int look_twice(struct pl_audit_round *round, struct pl_audit_found *found, struct pl_error *err)
{
	int code = look_once(round, found, err);

	if (code == 0 && found->n > 0)
		code = pl_audit_wait(round->audit, pl_mono_us() + AGAIN_US, err);
	return code == 0 && found->n > 0 ? look_once(round, found, err) : code;
}

// ---- ranges

// Compares the digests of the answer with those of the same span here. Returns the
// number of places that differ, or a code.
static int compare(struct pl_audit_round *round, const struct pl_resource *resource, int64_t *places_r,
                   int max, struct pl_error *err)
{
	struct pl_audit *audit = round->audit;
	const struct pl_audit_message *answer = &audit->answer;
	struct pl_audit_span span = { answer->from, answer->until, answer->what == PL_AUDIT_RANGES,
		                      answer->by_text };
	struct pl_buf lines = { 0 };
	int64_t n;
	int code = pl_audit_await(round, err);

	if (code == 0)
		code = pl_audit_wait_turn(audit, err);
	if (code < 0)
		return code;
	n = pl_audit_look_digests(audit, pl_audit_fields_shared(audit->answered, resource, answer), &span,
	                          &lines, err);
	code = n < 0 ? (int)n
	             : pl_audit_judge_digests(lines.data ? lines.data : "", answer->rows, places_r, max);
	if (n > 0 && span.ranges)
		round->records += n;
	pl_buf_fini(&lines);
	if (code > 0 && !pl_audit_judge_places(places_r, code, span.ranges ? PL_DIGEST_RANGE_BITS : 0,
	                                       span.from, span.until))
		return answered_else(round, err);
	return code;
}

static int look_at_range(struct pl_audit_round *round, const struct pl_resource *resource, int64_t range,
                         struct pl_error *err)
{
	struct pl_audit_found *found = pl_malloc(sizeof(*found));
	struct pl_audit_message ask;
	struct pl_buf fields = { 0 };
	int code;

	found->resource = resource;
	begin_ask(round, resource, PL_AUDIT_ROWS, &ask, &fields);
	ask.from = range * RANGE;
	ask.until = range == INT64_MAX / RANGE ? INT64_MAX : (range + 1) * RANGE;
	code = pl_audit_ask(round->audit, &ask, err);
	pl_buf_fini(&fields);
	if (code == 0 && (round->audit->answer.from != ask.from || round->audit->answer.until != ask.until))
		code = answered_else(round, err);
	if (code == 0)
		code = compare(round, resource, found->ids, RANGE, err);
	found->n = code > 0 ? code : 0;
	if (code > 0)
		code = look_twice(round, found, err);
	if (code == 0 && found->n > 0)
		code = pl_audit_results_found(round, found, err);
	free(found);
	return code;
}

static bool advances(struct pl_audit_round *round, int64_t *from, struct pl_error *err)
{
	const struct pl_audit_message *answer = &round->audit->answer;

	if (answer->from < *from || !pl_audit_judge_span(answer->from, answer->until, RANGE * RANGES_MAX)) {
		answered_else(round, err);
		return false;
	}
	*from = answer->until;
	return true;
}

static int look_at_resource(struct pl_audit_round *round, const struct pl_resource *resource,
                            struct pl_error *err)
{
	int64_t from = INT64_MIN, ranges[RANGES_MAX];
	struct pl_audit_message ask;
	struct pl_buf fields = { 0 };
	int code = 0;

	while (code == 0) {
		int64_t rows = round->audit->config->audit.rows_per_second;

		begin_ask(round, resource, PL_AUDIT_RANGES, &ask, &fields);
		ask.from = from;
		ask.ranges = rows < RANGE ? 1 : rows / RANGE > RANGES_MAX ? RANGES_MAX : (int)(rows / RANGE);
		code = pl_audit_ask(round->audit, &ask, err);
		if (code < 0 || round->audit->answer.end)
			break;
		if (!advances(round, &from, err)) {
			code = err->code;
			break;
		}
		code = compare(round, resource, ranges, RANGES_MAX, err);
		for (int i = 0, n = code; i < n && code >= 0; i++)
			code = look_at_range(round, resource, ranges[i], err);
		code = code < 0 ? code : 0;
	}
	pl_buf_fini(&fields);
	return code;
}

// ---- rounds

static void note(struct pl_audit_round *round, const struct pl_error *err)
{
	if (!round->why[0])
		snprintf(round->why, sizeof(round->why), "%s", err->text);
}

static void count(struct pl_audit_round *round)
{
	struct pl_audit *audit = round->audit;

	pthread_mutex_lock(&audit->lock);
	audit->stats.rounds++;
	audit->stats.incomplete += round->why[0] != '\0';
	audit->stats.records += (uint64_t)round->records;
	pthread_mutex_unlock(&audit->lock);
}

// A resource that cannot be compared is skipped: the other region does not know it, or
// a database refuses to read it. Any other failure ends the round. Notes why not all
// records could be compared.
static int look_at_all(struct pl_audit_round *round, struct pl_error *err)
{
	const struct pl_config *config = round->audit->config;
	int code = 0;

	for (int i = 0; i < config->nresources && code == 0; i++) {
		err->sqlstate[0] = '\0';
		code = look_at_resource(round, &config->resources[i], err);
		if (code < 0 && err->sqlstate[0]) // this resource's table; others may be readable
			code = pl_error_set(err, PL_ENOTFOUND, "%s: %s", config->resources[i].name,
			                    pl_arena_strdup(round->audit->answered, err->text));
		if (code == PL_ENOTFOUND || code == INCOMPLETE)
			note(round, err);
		code = code == PL_ENOTFOUND ? 0 : code;
	}
	return code == INCOMPLETE ? 0 : code;
}

int pl_audit_round(struct pl_audit *audit, const char *with, struct pl_error *err)
{
	struct pl_audit_round round = { .audit = audit, .with = with };
	int code = pl_audit_results_begin(&round, err);

	if (code == 0)
		code = look_at_all(&round, err);
	if (code == 0)
		code = pl_audit_results_end(&round, err);
	if (code == 0)
		count(&round);
	if (code == 0 && round.why[0])
		pl_info("audit: not all records were compared with those of region %s: %s", with, round.why);
	else if (code == 0)
		pl_debug("audit: %lld records were compared with those of region %s",
		         (long long)round.records, with);
	return code;
}

// ---- records that differ, again

static void take_ids(const char *list, struct pl_audit_found *found)
{
	char *behind;

	for (found->n = 0; *list && found->n < RANGE; list = *behind == ',' ? behind + 1 : behind) {
		found->ids[found->n++] = strtoll(list, &behind, 10);
		if (behind == list)
			break;
	}
}

static int recheck(struct pl_audit_round *round, const char *resource, const char *ids, struct pl_error *err)
{
	struct pl_audit_found *found = pl_malloc(sizeof(*found));
	int code = 0;

	found->resource = pl_config_resource(round->audit->config, resource);
	take_ids(ids, found);
	if (found->resource)
		code = look_twice(round, found, err);
	else
		found->n = 0; // the resource is no longer configured
	if (code == 0)
		code = pl_audit_results_gone(round, resource, found, ids, err);
	free(found);
	return code;
}

int pl_audit_recheck(struct pl_audit *audit, const char *with, struct pl_error *err)
{
	struct pl_audit_round round = { .audit = audit, .with = with };
	PGresult *open = pl_audit_results_open(audit, with, err);
	int code = open ? 0 : err->code;

	for (int i = 0; open && i < PQntuples(open) && code == 0; i++)
		code = recheck(&round, PQgetvalue(open, i, 0), PQgetvalue(open, i, 1), err);
	PQclear(open);
	// Whatever could not be compared is left to the next round.
	return code == INCOMPLETE || code == PL_ENOTFOUND || err->sqlstate[0] ? 0 : code;
}
