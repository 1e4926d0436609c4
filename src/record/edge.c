// The limits of what a record may hold: see edge.h.
#include "record/edge.h"

#include <string.h>

#include "base/clock.h"

void pl_edge_keep_names(const struct pl_config *config)
{
	for (int i = 0; i < config->nregions; i++)
		pl_vector_region_name_keep(config->regions[i].name);
	for (int i = 0; i < config->nretired; i++)
		pl_vector_region_name_keep(config->retired_regions[i]);
}

bool pl_edge_name_known(const struct pl_config *config, const char *name)
{
	for (int i = 0; i < config->nregions; i++)
		if (pl_vector_same_region(config->regions[i].name, name))
			return true;
	for (int i = 0; i < config->nretired; i++)
		if (pl_vector_same_region(config->retired_regions[i], name))
			return true;
	return false;
}

const char *pl_edge_vector_fault(struct pl_arena *arena, const struct pl_config *config,
                                 const struct pl_vector *vector)
{
	for (int i = 0; i < vector->n; i++) {
		const char *region;
		int32_t counter = pl_vector_at(vector, i, &region);

		if (config && !pl_edge_name_known(config, region))
			return pl_arena_printf(
				arena,
				"its vector names %s, which is neither a region nor in retired_regions",
				region);
		if (counter > PL_COUNTER_MAX)
			return pl_arena_printf(arena,
			                       "its vector counts %d writes of region %s; the maximum is %d",
			                       counter, region, PL_COUNTER_MAX);
	}
	if (pl_vector_sum(vector) > PL_VERSION_MAX)
		return pl_arena_printf(arena, "its version is %lld; the maximum is %d",
		                       (long long)pl_vector_sum(vector), PL_VERSION_MAX);
	return NULL;
}

const char *pl_edge_until(struct pl_arena *arena, const struct pl_resource *resource,
                          const struct pl_record *record, int64_t now_us)
{
	int64_t from_us = record->updated_at_us - PL_AHEAD_US;
	char at[PL_TIME_TEXT_MAX];

	if (from_us <= now_us)
		return pl_arena_printf(arena, "until an operator has run plist-admin record reset %s/%lld",
		                       resource->name, (long long)record->id);
	return pl_arena_printf(arena,
	                       "until %s, or until an operator has run plist-admin record reset %s/%lld; the "
	                       "clock of region %s, or of whatever else wrote the record, is or was wrong",
	                       pl_clock_format_time(from_us, at), resource->name, (long long)record->id,
	                       record->region_origin);
}

const char *pl_edge_fault(struct pl_arena *arena, const struct pl_config *config,
                          const struct pl_record *record, const char *region, int64_t now_us)
{
	const struct pl_vector *vector = &record->vector;
	const char *fault = pl_edge_vector_fault(arena, config, vector);
	char at[PL_TIME_TEXT_MAX];

	if (record->guessed)
		return "its vector is not a map of regions to counts";
	if (fault)
		return fault;
	if (pl_vector_get(vector, region) == PL_COUNTER_MAX)
		return pl_arena_printf(arena,
		                       "its vector counts %d writes of region %s, which is the maximum",
		                       PL_COUNTER_MAX, region);
	if (pl_vector_get(vector, region) == 0 && vector->n >= PL_VECTOR_MAX)
		return pl_arena_printf(
			arena, "its vector names %d regions, which is the maximum, and %s is not among them",
			vector->n, region);
	if (record->version != pl_vector_sum(vector))
		return pl_arena_printf(arena, "its version is %d, and its vector counts %lld writes",
		                       record->version, (long long)pl_vector_sum(vector));
	if (record->version == PL_VERSION_MAX)
		return pl_arena_printf(arena, "its version is %d, which is the maximum", PL_VERSION_MAX);
	if (record->updated_at_us > now_us + PL_AHEAD_US)
		return pl_arena_printf(arena, "its updated_at, %s, is more than a day ahead of the clock",
		                       pl_clock_format_time(record->updated_at_us, at));
	return NULL;
}
