// Checks of what is said about records as a whole: fields that are unique, and
// references from one resource to another.
//
// A part of the last step of loading: see load_check.c.
// Threads: any.
#include "config/load_private.h"

#include <stdlib.h>
#include <string.h>

#define INTEGER_MAX INT64_C(2147483647)

static const struct pl_field *field_named(const struct pl_resource *resource, const char *name, size_t len)
{
	for (int i = 0; i < resource->nall; i++)
		if (strlen(resource->fields[i].name) == len &&
		    memcmp(resource->fields[i].name, name, len) == 0)
			return &resource->fields[i];
	return NULL;
}

// Whether the list has the name before `at`.
static bool is_before(const char *list, const char *at, size_t len)
{
	for (const char *name = list; name < at; name += strcspn(name, ",") + 1)
		if (strcspn(name, ",") == len && memcmp(name, at, len) == 0)
			return true;
	return false;
}

static void check_unique(struct pl_load *load, const struct pl_resource *resource, const char *list)
{
	const struct pl_yaml_node *node = pl_load_named(load, "resources", resource->name);

	for (const char *name = list; *name != '\0'; name += *name == ',') {
		int len = (int)strcspn(name, ",");
		const struct pl_field *field = field_named(resource, name, (size_t)len);

		if (field == NULL)
			pl_load_fault(load, node, "unique", "resources.%s.unique: there is no field \"%.*s\"",
			              resource->name, len, name);
		else if (field->retired)
			pl_load_fault(load, node, "unique",
			              "resources.%s.unique: %s is retired, so no request can change it",
			              resource->name, field->name);
		if (is_before(list, name, (size_t)len))
			pl_load_fault(load, node, "unique", "resources.%s.unique: [%s] lists %.*s twice",
			              resource->name, list, len, name);
		name += len;
	}
}

static int compare_indices(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

// Whether two lists name the same fields, in any order.
static bool same_fields(const struct pl_unique *a, const struct pl_unique *b)
{
	struct pl_unique x = *a, y = *b;

	if (x.n != y.n || x.n == 0)
		return false;
	qsort(x.fields, (size_t)x.n, sizeof(x.fields[0]), compare_indices);
	qsort(y.fields, (size_t)y.n, sizeof(y.fields[0]), compare_indices);
	return memcmp(x.fields, y.fields, sizeof(x.fields[0]) * (size_t)x.n) == 0;
}

static void check_uniques(struct pl_load *load, const struct pl_resource *resource)
{
	for (int i = 0; i < resource->nunique; i++) {
		check_unique(load, resource, resource->unique[i]);
		for (int j = 0; j < i; j++)
			if (same_fields(&resource->uniques[i], &resource->uniques[j]))
				pl_load_fault(load, pl_load_named(load, "resources", resource->name),
				              "unique", "resources.%s.unique: [%s] is listed twice",
				              resource->name, resource->unique[i]);
	}
}

// Regions assign ids that an integer of 32 bits cannot hold.
static bool too_narrow(const struct pl_load *load, const struct pl_field *field)
{
	if (field->type == PL_FIELD_DECIMAL)
		return field->precision < 16;
	for (int i = 0; i < load->config->nregions; i++)
		if (load->config->regions[i].id_base > INTEGER_MAX)
			return true;
	return false;
}

static void check_reference(struct pl_load *load, const struct pl_resource *resource,
                            const struct pl_field *field)
{
	const struct pl_yaml_node *fields =
		pl_yaml_member(pl_load_named(load, "resources", resource->name), "fields");
	const struct pl_yaml_node *node = pl_yaml_member(fields, field->name);
	const char *label = pl_arena_printf(load->arena, "resources.%s.fields.%s.references", resource->name,
	                                    field->name);

	if (pl_config_resource(load->config, field->references) == NULL)
		pl_load_fault(load, node, "references", "%s: there is no resource \"%.64s\"", label,
		              field->references);
	if (field->retired)
		pl_load_fault(load, node, "references",
		              "%s: the field is retired, so no request can change it", label);
	if (field->type != PL_FIELD_INTEGER && (field->type != PL_FIELD_DECIMAL || field->scale != 0))
		pl_load_fault(load, node, "references",
		              "%s: the field must be an integer, or a decimal with scale: 0", label);
	else if (too_narrow(load, field))
		pl_load_warn(load, node, "references",
		             "%s: the field cannot hold the ids that regions assign to new records; a "
		             "decimal with precision: 16 and scale: 0 can",
		             label);
}

static bool has_any(const struct pl_resource *resource)
{
	bool any = resource->nunique > 0;

	for (int i = 0; i < resource->nfields; i++)
		any |= resource->fields[i].references != NULL;
	return any;
}

void pl_load_check_integrity(struct pl_load *load)
{
	for (int i = 0; i < load->config->nresources; i++) {
		const struct pl_resource *resource = &load->config->resources[i];
		const struct pl_yaml_node *node = pl_load_named(load, "resources", resource->name);
		const char *label = pl_arena_printf(load->arena, "resources.%s", resource->name);

		check_uniques(load, resource);
		for (int k = 0; k < resource->nall; k++)
			if (resource->fields[k].references != NULL)
				check_reference(load, resource, &resource->fields[k]);
		if (resource->violations == NULL)
			continue;
		pl_load_check_script(load, node, "violations", label, resource->violations);
		if (!has_any(resource))
			pl_load_warn(load, node, "violations",
			             "%s.violations: nothing can be violated: the resource has neither "
			             "unique nor a field with references",
			             label);
	}
}
