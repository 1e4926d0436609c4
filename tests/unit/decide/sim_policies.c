// Input for the simulated cluster: a resource, its values, and policies written in C.
#include "sim_policies.h"

#include <stdlib.h>
#include <string.h>

enum { PRICE, BEDS, NOTE };

const struct pl_resource sim_resource = {
	.name = "properties", .title = "Property", .table = "properties", .topic = "property-updates",
	.policy = "policies/simulated.lua",
	.track_fields = true, .nfields = 3,
	.fields = {
		[PRICE] = { .name = "price", .type = PL_FIELD_DECIMAL, .required = true, .precision = 12,
			    .scale = 2 },
		[BEDS] = { .name = "bedrooms", .type = PL_FIELD_INTEGER },
		[NOTE] = { .name = "note", .type = PL_FIELD_STRING, .max_length = 255 },
	},
};

const char *sim_value(const struct pl_sim_rules *rules, struct pl_arena *arena, int field, uint32_t n)
{
	if (field == PRICE)
		return pl_arena_printf(arena, "%u.00", n);
	if (field == BEDS)
		return n ? pl_arena_printf(arena, "%u", n) : NULL;
	return pl_arena_printf(arena, "says \"\xc3\xa4 %u\"", n);
}

// ---- policies

static int take_row(struct pl_verdict *verdict_r, int i)
{
	verdict_r->take = i;
	verdict_r->merged = NULL;
	return 0;
}

static int last_writer_wins(void *arg, const struct pl_policy_question *q, struct pl_arena *arena,
                            struct pl_verdict *verdict_r, struct pl_error *err)
{
	return take_row(verdict_r, q->n - 1);
}

static int first_of_all(void *arg, const struct pl_policy_question *q, struct pl_arena *arena,
                        struct pl_verdict *verdict_r, struct pl_error *err)
{
	return take_row(verdict_r, 0);
}

static int highest_price(void *arg, const struct pl_policy_question *q, struct pl_arena *arena,
                         struct pl_verdict *verdict_r, struct pl_error *err)
{
	int best = 0;

	for (int i = 1; i < q->n; i++)
		if (atof(q->rows[i].values[PRICE]) >= atof(q->rows[best].values[PRICE]))
			best = i;
	return take_row(verdict_r, best);
}

// Useless but pure: it decides by something that is not one of the record's fields.
static int smallest_request(void *arg, const struct pl_policy_question *q, struct pl_arena *arena,
                            struct pl_verdict *verdict_r, struct pl_error *err)
{
	int best = 0;

	for (int i = 1; i < q->n; i++)
		if (strcmp(q->rows[i].request_id ? q->rows[i].request_id : "",
		           q->rows[best].request_id ? q->rows[best].request_id : "") < 0)
			best = i;
	return take_row(verdict_r, best);
}

static int region_order(void *arg, const struct pl_policy_question *q, struct pl_arena *arena,
                        struct pl_verdict *verdict_r, struct pl_error *err)
{
	int best = 0;

	for (int i = 1; i < q->n; i++)
		if (strcmp(q->rows[i].dot.region, q->rows[best].dot.region) < 0)
			best = i;
	return take_row(verdict_r, best);
}

static int delete_wins(void *arg, const struct pl_policy_question *q, struct pl_arena *arena,
                       struct pl_verdict *verdict_r, struct pl_error *err)
{
	for (int i = q->n - 1; i >= 0; i--)
		if (q->rows[i].deleted)
			return take_row(verdict_r, i);
	return take_row(verdict_r, q->n - 1);
}

static int mean_price(void *arg, const struct pl_policy_question *q, struct pl_arena *arena,
                      struct pl_verdict *verdict_r, struct pl_error *err)
{
	double sum = 0;

	for (int i = 0; i < q->n; i++)
		sum += atof(q->rows[i].values[PRICE]);
	verdict_r->take = -1;
	verdict_r->merged =
		pl_arena_alloc(arena, sizeof(verdict_r->merged[0]) * (size_t)q->resource->nfields);
	for (int f = 0; f < q->resource->nfields; f++)
		verdict_r->merged[f] = q->rows[q->n - 1].values[f];
	verdict_r->merged[PRICE] = pl_arena_printf(arena, "%.2f", sum / q->n);
	return 0;
}

// Takes each field from the row in which it was written last.
static int field_merge(void *arg, const struct pl_policy_question *q, struct pl_arena *arena,
                       struct pl_verdict *verdict_r, struct pl_error *err)
{
	int64_t best_at[PL_FIELDS_MAX] = { 0 };

	verdict_r->take = -1;
	verdict_r->merged =
		pl_arena_alloc(arena, sizeof(verdict_r->merged[0]) * (size_t)q->resource->nfields);
	for (int i = 0; i < q->n; i++) {
		cJSON *times = pl_json_parse(q->rows[i].field_times, strlen(q->rows[i].field_times),
		                             &pl_json_default_limits, NULL);

		for (int f = 0; f < q->resource->nfields; f++) {
			int64_t at = 0;

			pl_json_int64(pl_json_get(pl_json_get(times, q->resource->fields[f].name), "at"),
			              &at);
			if (at >= best_at[f]) {
				best_at[f] = at;
				verdict_r->merged[f] = q->rows[i].values[f];
			}
		}
		cJSON_Delete(times);
	}
	return 0;
}

// A pure function that fails for some inputs: the fallback must be the same in all
// regions.
static int fails_sometimes(void *arg, const struct pl_policy_question *q, struct pl_arena *arena,
                           struct pl_verdict *verdict_r, struct pl_error *err)
{
	if (q->rows[0].deleted || !q->rows[0].values[BEDS])
		return pl_error_set(err, PL_ESCRIPT, "simulated.lua:1: attempt to index a nil value");
	return take_row(verdict_r, 0);
}

const struct sim_policy sim_policies[] = {
	{ "last_writer_wins", last_writer_wins }, { "first_of_all", first_of_all },
	{ "highest_price", highest_price },       { "region_order", region_order },
	{ "delete_wins", delete_wins },           { "mean_price", mean_price },
	{ "field_merge", field_merge },           { "fails_sometimes", fails_sometimes },
	{ "smallest_request", smallest_request },
};
const int sim_npolicies = sizeof(sim_policies) / sizeof(sim_policies[0]);
