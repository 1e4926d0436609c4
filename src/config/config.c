// A configuration as other rooms see it: reference counting and look-ups.
//
// Created by config/load.c. Invariant: after loading, only the reference count changes.
// Threads: any; the count is atomic.
#include "config/config.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "config/config_private.h"
#include "config/derive.h"

struct pl_config *pl_config_new(void)
{
	struct pl_arena *arena = pl_arena_new(16384);
	struct pl_config_holder *holder = pl_arena_alloc(arena, sizeof(*holder));

	atomic_init(&holder->refs, 1);
	holder->config.arena = arena;
	return &holder->config;
}

static struct pl_config_holder *holder_of(const struct pl_config *config)
{
	return (struct pl_config_holder *)(uintptr_t)config; // the configuration is its first member
}

struct pl_config *pl_config_ref(const struct pl_config *config)
{
	struct pl_config_holder *holder = holder_of(config);

	atomic_fetch_add_explicit(&holder->refs, 1, memory_order_relaxed);
	return &holder->config;
}

void pl_config_unref(struct pl_config **config_p)
{
	struct pl_config *config = *config_p;

	*config_p = NULL;
	while (config != NULL) { // and then the one that it was derived from
		struct pl_config_holder *holder = holder_of(config);
		struct pl_arena *arena = holder->config.arena; // holds the holder, too

		config = NULL;
		if (atomic_fetch_sub_explicit(&holder->refs, 1, memory_order_acq_rel) == 1) {
			config = holder->parent;
			pl_arena_free(&arena);
		}
	}
}

const struct pl_config *pl_config_as_loaded(const struct pl_config *config)
{
	while (holder_of(config)->parent != NULL)
		config = holder_of(config)->parent;
	return config;
}

const struct pl_region *pl_config_region(const struct pl_config *config, const char *name, size_t len)
{
	for (int i = 0; i < config->nregions; i++)
		if (strlen(config->regions[i].name) == len && memcmp(config->regions[i].name, name, len) == 0)
			return &config->regions[i];
	return NULL;
}

const struct pl_resource *pl_config_resource(const struct pl_config *config, const char *name)
{
	for (int i = 0; i < config->nresources; i++)
		if (strcmp(config->resources[i].name, name) == 0)
			return &config->resources[i];
	return NULL;
}

const struct pl_resource *pl_config_resource_of_topic(const struct pl_config *config, const char *topic)
{
	for (int i = 0; i < config->nresources; i++)
		if (strcmp(config->resources[i].topic, topic) == 0)
			return &config->resources[i];
	return NULL;
}

bool pl_config_source_is_handler(const char *path)
{
	return strncmp(path, "handlers/", strlen("handlers/")) == 0;
}

const struct pl_script_source *pl_config_source(const struct pl_config *config, const char *path)
{
	int low = 0, high = config->nsources; // they are sorted by path

	while (low < high) {
		int middle = low + (high - low) / 2;
		int sign = strcmp(path, config->sources[middle].path);
		if (sign == 0)
			return &config->sources[middle];
		if (sign < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

const char *pl_config_field_type(const struct pl_field *field, char text[PL_FIELD_TYPE_MAX])
{
	static const char *const names[] = {
		[PL_FIELD_INTEGER] = "integer", [PL_FIELD_STRING] = "string", [PL_FIELD_BOOLEAN] = "boolean"
	};

	if (field->type == PL_FIELD_DECIMAL)
		snprintf(text, PL_FIELD_TYPE_MAX, "decimal(%d,%d)", field->precision, field->scale);
	else
		snprintf(text, PL_FIELD_TYPE_MAX, "%s", names[field->type]);
	return text;
}

static void sort_fields(struct pl_resource *resource)
{
	struct pl_field retired[PL_FIELDS_MAX];
	int n = 0, nretired = 0;

	for (int i = 0; i < resource->nall; i++) {
		if (resource->fields[i].retired)
			retired[nretired++] = resource->fields[i];
		else
			resource->fields[n++] = resource->fields[i];
	}
	memcpy(resource->fields + n, retired, sizeof(retired[0]) * (size_t)nretired);
	resource->nfields = n;
}

// A name that is not a field is left out; loading has reported it.
static void find_unique(struct pl_resource *resource, int i)
{
	struct pl_unique *unique = &resource->uniques[i];

	unique->n = 0;
	for (const char *name = resource->unique[i]; *name != '\0'; name += *name == ',') {
		size_t len = strcspn(name, ",");
		int field = pl_config_field(resource, name, len);

		if (field >= 0 && unique->n < PL_UNIQUE_FIELDS_MAX)
			unique->fields[unique->n++] = field;
		name += len;
	}
}

void pl_config_sort_fields(struct pl_config *config)
{
	for (int i = 0; i < config->nresources; i++) {
		struct pl_resource *resource = &config->resources[i];

		sort_fields(resource);
		for (int k = 0; k < resource->nunique; k++)
			find_unique(resource, k);
		resource->referenced = false;
	}
	for (int i = 0; i < config->nresources; i++)
		for (int k = 0; k < config->resources[i].nfields; k++) {
			const char *name = config->resources[i].fields[k].references;
			struct pl_resource *to =
				name ? (struct pl_resource *)pl_config_resource(config, name) : NULL;

			if (to)
				to->referenced = true;
		}
}

bool pl_config_is_guarded(const struct pl_resource *resource)
{
	if (resource->nunique > 0 || resource->referenced)
		return true;
	for (int i = 0; i < resource->nfields; i++)
		if (resource->fields[i].references)
			return true;
	return false;
}

int pl_config_field(const struct pl_resource *resource, const char *name, size_t len)
{
	for (int i = 0; i < resource->nfields; i++)
		if (strlen(resource->fields[i].name) == len &&
		    memcmp(resource->fields[i].name, name, len) == 0)
			return i;
	return -1;
}

bool pl_config_authenticates(const struct pl_config *config)
{
	return pl_config_takes_tokens(config) || config->http.principal_header != NULL ||
	       config->auth.nclient_certs > 0;
}

bool pl_config_takes_tokens(const struct pl_config *config)
{
	return config->auth.api_keys != NULL || config->auth.has_jwt;
}
