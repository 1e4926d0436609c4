// The prepared statements of a resource, under one definition of it.
//
// Stands between the configuration and the connections. A reload makes other shapes for the resources that changed; a request that began
// before it may still come with the old definition, and is given the old shape, or one made anew for it.
// Threads: belongs to the store's worker.
#include <string.h>

#include "record/parts.h"

static struct pl_resource resource_copy(struct pl_arena *arena, const struct pl_resource *from)
{
	struct pl_resource copy = *from;

	copy.name = pl_arena_strdup(arena, from->name);
	copy.table = pl_arena_strdup(arena, from->table);
	for (int i = 0; i < from->nfields; i++)
		copy.fields[i].name = pl_arena_strdup(arena, from->fields[i].name);
	return copy;
}

static bool same(const struct pl_shape *shape, const struct pl_buf *texts)
{
	for (int i = 0; i < PL_STATEMENT_KINDS; i++)
		if (strcmp(shape->texts[i], texts[i].data) != 0)
			return false;
	return true;
}

static struct pl_shape *shape_new(struct pl_store *store, const struct pl_resource *resource, const struct pl_buf *texts)
{
	struct pl_shape *shape = pl_calloc(1, sizeof *shape);

	shape->arena = pl_arena_new(0);
	shape->resource = resource_copy(shape->arena, resource);
	store->nshapes++;
	for (int i = 0; i < PL_STATEMENT_KINDS; i++) {
		shape->texts[i] = pl_arena_strndup(shape->arena, texts[i].data, texts[i].len);
		snprintf(shape->names[i], sizeof shape->names[i], "plist_%d_%s", store->nshapes, pl_statement_kind_name(i));
	}
	LL_PREPEND(store->shapes, shape);
	return shape;
}

// What each kind of connection has prepared.
static void prepare_everywhere(struct pl_store *store, const struct pl_shape *shape)
{
	for (int i = 0; i < store->nwriters; i++)
		pl_shape_prepare(shape, store->writers[i].conn, PL_STATEMENT_CHANGE_BATCH, PL_STATEMENT_MIXED_BATCH);
	for (int i = 0; i < store->nreaders; i++)
		pl_shape_prepare(shape, store->readers[i], PL_STATEMENT_ASK, PL_STATEMENT_READ);
	if (store->careful.conn)
		pl_shape_prepare(shape, store->careful.conn, PL_STATEMENT_CAREFUL, PL_STATEMENT_CAREFUL);
}

static void unprepare(const struct pl_shape *shape, struct pl_conn *conn)
{
	for (int i = 0; conn && i < PL_STATEMENT_KINDS; i++)
		pl_conn_unprepare(conn, shape->names[i]); // says nothing of those it does not have
}

static void shape_free(struct pl_shape *shape)
{
	pl_arena_free(&shape->arena);
	free(shape);
}

// By its texts: for a resource of any configuration.
static struct pl_shape *shape_of(struct pl_store *store, const struct pl_resource *resource)
{
	struct pl_buf texts[PL_STATEMENT_KINDS] = { 0 };
	struct pl_shape *shape;

	for (int i = 0; i < PL_STATEMENT_KINDS; i++)
		pl_statement_text(&texts[i], i, resource, store->region);
	LL_FOREACH(store->shapes, shape)
		if (same(shape, texts))
			break;
	if (!shape) {
		shape = shape_new(store, resource, texts);
		prepare_everywhere(store, shape);
	}
	for (int i = 0; i < PL_STATEMENT_KINDS; i++)
		pl_buf_fini(&texts[i]);
	return shape;
}

struct pl_shape *pl_shape_get(struct pl_store *store, const struct pl_resource *resource)
{
	const struct pl_config *config = store->config;

	if (resource >= config->resources && resource < config->resources + config->nresources)
		return store->shape_of_resource[resource - config->resources];
	return shape_of(store, resource); // of a request that began before the reload
}

void pl_shape_prepare(const struct pl_shape *shape, struct pl_conn *conn, enum pl_statement_kind first, enum pl_statement_kind last)
{
	for (int i = (int)first; i <= (int)last; i++)
		pl_conn_prepare(conn, shape->names[i], shape->texts[i]);
}

void pl_shapes_prepare(struct pl_store *store, struct pl_conn *conn, enum pl_statement_kind first, enum pl_statement_kind last)
{
	struct pl_shape *shape;

	LL_FOREACH(store->shapes, shape)
		pl_shape_prepare(shape, conn, first, last);
}

void pl_shapes_reconfigure(struct pl_store *store)
{
	struct pl_shape *shape, *next;

	LL_FOREACH(store->shapes, shape)
		shape->current = false;
	free(store->shape_of_resource);
	store->shape_of_resource = pl_calloc((size_t)store->config->nresources + 1, sizeof(struct pl_shape *));
	for (int i = 0; i < store->config->nresources; i++) {
		store->shape_of_resource[i] = shape_of(store, &store->config->resources[i]);
		store->shape_of_resource[i]->current = true;
	}
	LL_FOREACH_SAFE(store->shapes, shape, next) {
		if (shape->current || shape->users > 0)
			continue;
		for (int i = 0; i < store->nwriters; i++)
			unprepare(shape, store->writers[i].conn);
		for (int i = 0; i < store->nreaders; i++)
			unprepare(shape, store->readers[i]);
		unprepare(shape, store->careful.conn);
		LL_DELETE(store->shapes, shape);
		shape_free(shape);
	}
}

void pl_shapes_free(struct pl_store *store)
{
	struct pl_shape *shape, *next;

	LL_FOREACH_SAFE(store->shapes, shape, next)
		shape_free(shape);
	store->shapes = NULL;
	free(store->shape_of_resource);
}
