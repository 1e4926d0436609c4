// The prepared statements of a resource, under one definition of it.
//
// Between the configuration and the connections. A reload adds sets of statements for
// the resources that changed. A request that began before the reload may still arrive
// with the old definition: it gets the old set, or a new one made from that definition.
// Threads: as for the database that they belong to.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/mem.h"
#include "store/database.h"

static struct pl_resource resource_copy(struct pl_arena *arena, const struct pl_resource *from)
{
	struct pl_resource copy = *from;

	copy.name = pl_arena_strdup(arena, from->name);
	copy.table = pl_arena_strdup(arena, from->table);
	copy.unique = NULL; // `uniques` says the same
	for (int i = 0; i < from->nall; i++) {
		copy.fields[i].name = pl_arena_strdup(arena, from->fields[i].name);
		if (from->fields[i].references)
			copy.fields[i].references = pl_arena_strdup(arena, from->fields[i].references);
	}
	return copy;
}

static bool same(const struct pl_statement_set *statement_set, const struct pl_buf *texts)
{
	for (int i = 0; i < PL_STATEMENT_KINDS; i++)
		if (strcmp(statement_set->texts[i], texts[i].data) != 0)
			return false;
	return true;
}

static struct pl_statement_set *set_new(struct pl_database *db, const struct pl_resource *resource,
                                        const struct pl_buf *texts)
{
	struct pl_statement_set *statement_set = pl_calloc(1, sizeof(*statement_set));

	statement_set->arena = pl_arena_new(0);
	statement_set->resource = resource_copy(statement_set->arena, resource);
	db->nsets++;
	for (int i = 0; i < PL_STATEMENT_KINDS; i++) {
		statement_set->texts[i] = pl_arena_strndup(statement_set->arena, texts[i].data, texts[i].len);
		snprintf(statement_set->names[i], sizeof(statement_set->names[i]), "plist_%d_%s", db->nsets,
		         pl_statement_kind_name(i));
	}
	LL_PREPEND(db->statement_sets, statement_set);
	return statement_set;
}

static void prepare(const struct pl_statement_set *statement_set, const struct pl_database_conn *on)
{
	for (int i = (int)on->first; i < (int)on->first + on->nkinds; i++)
		pl_conn_prepare(on->conn, statement_set->names[i], statement_set->texts[i]);
}

static void prepare_everywhere(struct pl_database *db, const struct pl_statement_set *statement_set)
{
	for (int i = 0; i < db->nconns; i++)
		prepare(statement_set, &db->conns[i]);
}

static void unprepare_everywhere(struct pl_database *db, const struct pl_statement_set *statement_set)
{
	for (int i = 0; i < db->nconns; i++) {
		const struct pl_database_conn *on = &db->conns[i];

		for (int kind = (int)on->first; kind < (int)on->first + on->nkinds; kind++)
			pl_conn_unprepare(on->conn, statement_set->names[kind]);
	}
}

static void set_free(struct pl_statement_set *statement_set)
{
	pl_arena_free(&statement_set->arena);
	free(statement_set);
}

// Found by its texts, so that the resource may be of any configuration.
static struct pl_statement_set *set_of(struct pl_database *db, const struct pl_resource *resource)
{
	struct pl_buf texts[PL_STATEMENT_KINDS] = { 0 };
	struct pl_statement_set *statement_set;

	for (int i = 0; i < PL_STATEMENT_KINDS; i++)
		pl_statement_text(&texts[i], i, db->config, resource, db->region, db->key);
	LL_FOREACH (db->statement_sets, statement_set)
		if (same(statement_set, texts))
			break;
	if (!statement_set) {
		statement_set = set_new(db, resource, texts);
		prepare_everywhere(db, statement_set);
	}
	for (int i = 0; i < PL_STATEMENT_KINDS; i++)
		pl_buf_fini(&texts[i]);
	return statement_set;
}

struct pl_statement_set *pl_statement_set_get(struct pl_database *db, const struct pl_resource *resource)
{
	const struct pl_config *config = db->config;

	if (resource >= config->resources && resource < config->resources + config->nresources)
		return db->set_of_resource[resource - config->resources];
	return set_of(db, resource); // the request began before the reload
}

void pl_statement_set_prepare_all(struct pl_database *db, const struct pl_database_conn *on)
{
	struct pl_statement_set *statement_set;

	LL_FOREACH (db->statement_sets, statement_set)
		prepare(statement_set, on);
}

void pl_statement_set_reconfigure(struct pl_database *db)
{
	struct pl_statement_set *statement_set, *next;

	LL_FOREACH (db->statement_sets, statement_set)
		statement_set->current = false;
	free(db->set_of_resource);
	db->set_of_resource = pl_calloc((size_t)db->config->nresources + 1, sizeof(db->set_of_resource[0]));
	for (int i = 0; i < db->config->nresources; i++) {
		db->set_of_resource[i] = set_of(db, &db->config->resources[i]);
		db->set_of_resource[i]->current = true;
	}
	LL_FOREACH_SAFE (db->statement_sets, statement_set, next) {
		if (statement_set->current || statement_set->users > 0)
			continue;
		unprepare_everywhere(db, statement_set);
		LL_DELETE(db->statement_sets, statement_set);
		set_free(statement_set);
	}
}

void pl_statement_set_free_all(struct pl_database *db)
{
	struct pl_statement_set *statement_set, *next;

	LL_FOREACH_SAFE (db->statement_sets, statement_set, next)
		set_free(statement_set);
	db->statement_sets = NULL;
	free(db->set_of_resource);
	db->set_of_resource = NULL;
}
