// Fields that this daemon does not know: see unknown.h.
#include "record/unknown.h"

#include <stdlib.h>
#include <string.h>

#include "record/record.h"

static const struct pl_json_limits stored_limits = { .bytes = 4 * 1024 * 1024, .depth = 16, .nodes = 8192 };

// Members of a list, to be printed in the order of their names.
struct members {
	const cJSON **items;
	int n;
};

// As the configuration spells the names of fields; id and the like are not among them.
static bool is_field_name(const char *name)
{
	static const char *const others[] = { "id", "region_origin", "version", "updated_at" };
	size_t len = strlen(name);

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strcmp(name, others[i]) == 0)
			return false;
	return len > 0 && len <= 63 && !(name[0] >= '0' && name[0] <= '9') &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789") == len;
}

static bool is_kept(const cJSON *item)
{
	return is_field_name(item->string) &&
	       (pl_json_is_number(item) || cJSON_IsString(item) || cJSON_IsBool(item));
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}

static const char *print(struct pl_arena *arena, struct members *members)
{
	struct pl_buf buf = { 0 };
	const char *text;

	if (members->n == 0)
		return NULL;
	qsort(members->items, (size_t)members->n, sizeof(members->items[0]), by_name);
	for (int i = 0; i < members->n; i++) {
		pl_buf_addc(&buf, i ? ',' : '{');
		pl_buf_add_json(&buf, members->items[i]->string, strlen(members->items[i]->string));
		pl_buf_addc(&buf, ':');
		pl_json_print(&buf, members->items[i]);
	}
	pl_buf_addc(&buf, '}');
	text = pl_arena_strndup(arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return text;
}

const char *pl_unknown_collect(struct pl_arena *arena, const struct pl_resource *resource, const cJSON *json)
{
	struct members rest = { 0 };

	for (const cJSON *item = json->child; item; item = item->next) {
		if (pl_config_field(resource, item->string, strlen(item->string)) >= 0 || !is_kept(item))
			continue;
		if (!rest.items) // rarely
			rest.items = pl_arena_array(arena, (size_t)cJSON_GetArraySize(json),
			                            sizeof(rest.items[0]));
		rest.items[rest.n++] = item;
	}
	return print(arena, &rest);
}

// Whether the value was taken as that of a known field.
static bool take_known(struct pl_arena *arena, const struct pl_resource *resource, const cJSON *item,
                       const char **values)
{
	int i = pl_config_field(resource, item->string, strlen(item->string));
	const char *text, *unfit = NULL;

	if (i < 0 || pl_changes_check_field_type(arena, &resource->fields[i], item, &text, &unfit) || unfit)
		return false;
	values[i] = text;
	return true;
}

void pl_unknown_split(struct pl_arena *arena, const struct pl_resource *resource, const char *text,
                      const char **values, const char **unknown_r)
{
	cJSON *json = text ? pl_json_parse(text, strlen(text), &stored_limits, NULL) : NULL;
	struct members rest = { .items = pl_arena_array(arena, (size_t)cJSON_GetArraySize(json) + 1,
		                                        sizeof(rest.items[0])) };

	for (const cJSON *item = cJSON_IsObject(json) ? json->child : NULL; item; item = item->next)
		if (!take_known(arena, resource, item, values) && is_kept(item))
			rest.items[rest.n++] = item;
	if (unknown_r)
		*unknown_r = print(arena, &rest);
	cJSON_Delete(json);
}

static bool any_has(cJSON *const *json, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (pl_json_get(json[i], name))
			return true;
	return false;
}

const char *pl_unknown_merge(struct pl_arena *arena, const char *const *all, int n)
{
	struct members members = { 0 };
	cJSON **json = pl_arena_alloc(arena, sizeof(json[0]) * (size_t)n + 1);
	const char *text;
	int room = 0;

	for (int i = 0; i < n; i++) {
		json[i] = all[i] ? pl_json_parse(all[i], strlen(all[i]), &stored_limits, NULL) : NULL;
		room += cJSON_GetArraySize(json[i]);
	}
	members.items = pl_arena_alloc(arena, sizeof(members.items[0]) * (size_t)room + 1);
	for (int i = n - 1; i >= 0; i--) // the latest first
		for (const cJSON *item = json[i] ? json[i]->child : NULL; item; item = item->next)
			if (!any_has(json + i + 1, n - i - 1, item->string))
				members.items[members.n++] = item;
	text = print(arena, &members);
	for (int i = 0; i < n; i++)
		cJSON_Delete(json[i]);
	return text;
}

bool pl_unknown_has(const char *unknown, const char *name)
{
	cJSON *json = pl_json_parse(unknown, strlen(unknown), &stored_limits, NULL);
	bool has = pl_json_get(json, name) != NULL;

	cJSON_Delete(json);
	return has;
}

void pl_unknown_print_members(struct pl_buf *buf, const char *unknown)
{
	size_t len = unknown ? strlen(unknown) : 0;

	if (len <= 2)
		return;
	pl_buf_addc(buf, ',');
	pl_buf_add(buf, unknown + 1, len - 2);
}
