// One statement answers both questions: which positions has this region reached, and
// which positions cover everything that can be read here? It is executed before a read
// for the first answer, and after it for the second.
#include "seen/positions.h"

#include <stdlib.h>
#include <string.h>

enum { REGION, REACHED_GENERATION, REACHED_ID, LATEST_GENERATION, LATEST_ID, COLUMNS };

#define ROWS_MAX 1000 // regions, including former ones

void pl_seen_positions_ask(struct pl_query *query, const char *own)
{
	query->sql = "SELECT region, reached_generation, reached_id, latest_generation, latest_id FROM "
		     "plist.plist_positions($1)";
	query->nparams = 1;
	query->params = pl_arena_alloc(query->arena, sizeof(query->params[0]));
	query->params[0] = pl_arena_strdup(query->arena, own);
	query->max_rows = ROWS_MAX;
	query->own = true;
}

static const char *cell(const struct pl_query *answer, int row, int column)
{
	const char *text = answer->values[row * COLUMNS + column];

	return text ? text : "0";
}

static int64_t number(const struct pl_query *answer, int row, int column)
{
	return strtoll(cell(answer, row, column), NULL, 10);
}

// Whether the position is reached for every region whose name has this hash; usually
// there is one.
static bool is_reached(const struct pl_query *answer, const struct pl_seen_position *position)
{
	bool any = false;

	for (int i = 0; i < answer->nrows; i++) {
		const char *region = cell(answer, i, REGION);
		int64_t generation = number(answer, i, REACHED_GENERATION),
			id = number(answer, i, REACHED_ID);

		if (pl_seen_hash(region, strlen(region)) != position->region)
			continue;
		if (id <= 0 || generation < position->generation ||
		    (generation == position->generation && id < position->id))
			return false;
		any = true;
	}
	return any;
}

// NULL: the region is not configured, so it is not waited for.
static const char *name_of(const struct pl_config *config, uint32_t region)
{
	for (int i = 0; i < config->nregions; i++)
		if (pl_seen_hash(config->regions[i].name, strlen(config->regions[i].name)) == region)
			return config->regions[i].name;
	return NULL;
}

bool pl_seen_positions_reached(const struct pl_query *answer, const struct pl_seen *seen,
                               const struct pl_config *config, const char **missing_r)
{
	for (int i = 0; i < seen->npositions; i++) {
		const char *name = name_of(config, seen->positions[i].region);

		if (name && !is_reached(answer, &seen->positions[i])) {
			*missing_r = name;
			return false;
		}
	}
	return true;
}

void pl_seen_positions_add(const struct pl_query *answer, struct pl_seen *seen)
{
	for (int i = 0; i < answer->nrows; i++)
		pl_seen_add_position(seen, cell(answer, i, REGION), number(answer, i, LATEST_GENERATION),
		                     number(answer, i, LATEST_ID));
}
