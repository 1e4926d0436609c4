// The effective configuration, for people and machines.
//
// Called by plist-admin. A walk over the table makes a tree, which is then written as
// JSON or YAML. Invariant: no secret gets into the tree. config/load accepts the YAML
// (dollar signs are doubled for that).
// Threads: any.
#include "config/show.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "config/schema.h"

static cJSON *members(const struct pl_key *parent, const void *base);

static cJSON *redacted(const char *dsn)
{
	char text[1024];

	return cJSON_CreateString(pl_log_redact_dsn(dsn, text, sizeof(text)));
}

static cJSON *strings(const struct pl_key *key, const void *base)
{
	const char *const *list =
		*(const char *const *const *)(const void *)((const char *)base + key->offset);

	return cJSON_CreateStringArray(list, pl_schema_count(key, base));
}

// Of texts such as "a,b".
static cJSON *lists(const struct pl_key *key, const void *base)
{
	const char *const *list =
		*(const char *const *const *)(const void *)((const char *)base + key->offset);
	cJSON *array = cJSON_CreateArray();

	for (int i = 0; i < pl_schema_count(key, base); i++) {
		cJSON *inner = cJSON_CreateArray();

		for (const char *at = list[i]; *at != '\0'; at += *at == ',') {
			char name[256];
			size_t len = strcspn(at, ",");

			snprintf(name, sizeof(name), "%.*s", (int)len, at);
			cJSON_AddItemToArray(inner, cJSON_CreateString(name));
			at += len;
		}
		cJSON_AddItemToArray(array, inner);
	}
	return array;
}

static cJSON *pairs(const struct pl_key *key, const void *base)
{
	const struct pl_pair *list =
		*(struct pl_pair *const *)(const void *)((const char *)base + key->offset);
	cJSON *object = cJSON_CreateObject();

	for (int i = 0; i < pl_schema_count(key, base); i++)
		cJSON_AddStringToObject(object, list[i].key,
		                        pl_schema_is_secret_setting(list[i].key) ? "***" : list[i].value);
	return object;
}

static cJSON *scalar(const struct pl_key *key, const void *base)
{
	struct pl_buf text = { 0 };
	cJSON *item = NULL;

	if (pl_config_value_print(key, base, &text)) {
		if (key->flags & PL_KEY_SECRET)
			item = redacted(text.data);
		else if (key->type == PL_KEY_BOOLEAN)
			item = cJSON_CreateBool(pl_config_value_int(key, base) != 0);
		else if (key->type == PL_KEY_NUMBER ||
		         (key->type == PL_KEY_INTEGER &&
		          (key->word == NULL || pl_config_value_int(key, base) != 0)))
			item = pl_json_new_number(text.data);
		else
			item = cJSON_CreateString(text.data);
	}
	pl_buf_fini(&text);
	return item;
}

static cJSON *named(const struct pl_key *key, const void *base)
{
	cJSON *object = cJSON_CreateObject();

	for (int i = 0; i < pl_schema_count(key, base); i++) {
		const void *element = pl_schema_element(key, base, i);
		cJSON_AddItemToObject(object, *(const char *const *)element, members(key, element));
	}
	return object;
}

static cJSON *sequence(const struct pl_key *key, const void *base)
{
	cJSON *array = cJSON_CreateArray();

	for (int i = 0; i < pl_schema_count(key, base); i++)
		cJSON_AddItemToArray(array, members(key, pl_schema_element(key, base, i)));
	return array;
}

// Values that config/load would refuse: the limits of a number if the field is not one.
static bool is_idle(const struct pl_key *parent, const char *leaf, const void *base)
{
	if (parent == NULL || strcmp(parent->path, "resources.<name>.fields") != 0)
		return false;
	enum pl_field_type type = ((const struct pl_field *)base)->type;
	if (strcmp(leaf, "precision") == 0 || strcmp(leaf, "scale") == 0)
		return type != PL_FIELD_DECIMAL;
	return strcmp(leaf, "max_length") == 0 && type != PL_FIELD_STRING;
}

// A map of which nothing is set says nothing.
static cJSON *map(const struct pl_key *key, const void *base)
{
	cJSON *object = members(key, base);

	if (object->child)
		return object;
	cJSON_Delete(object);
	return NULL;
}

static cJSON *member(const struct pl_key *key, const void *base)
{
	switch (key->type) {
	case PL_KEY_MAP:
		if (key->size == sizeof(bool) && !*(const bool *)((const char *)base + key->offset))
			return NULL; // such a map was not given
		return map(key, base);
	case PL_KEY_NAMED: return named(key, base);
	case PL_KEY_SEQUENCE: return sequence(key, base);
	case PL_KEY_STRINGS: return strings(key, base);
	case PL_KEY_LISTS: return pl_schema_count(key, base) > 0 ? lists(key, base) : NULL;
	case PL_KEY_PAIRS: return pl_schema_count(key, base) > 0 ? pairs(key, base) : NULL;
	default: return scalar(key, base);
	}
}

static cJSON *members(const struct pl_key *parent, const void *base)
{
	cJSON *object = cJSON_CreateObject();

	for (const struct pl_key *key = NULL; (key = pl_schema_next(parent, key)) != NULL;) {
		bool hidden = is_idle(parent, pl_schema_leaf(key), base) || !pl_schema_is_given(key, base);
		cJSON *item = hidden ? NULL : member(key, base);
		if (item != NULL)
			cJSON_AddItemToObject(object, pl_schema_leaf(key), item);
	}
	return object;
}

// ---- YAML

static bool is_plain(const char *text)
{
	static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-";
	static const char *const words[] = { "true", "false", "null", "yes", "no", "on", "off", "y", "n" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(text, words[i]) == 0)
			return false;
	return *text != '\0' && *text != '-' && *text != '.' && text[strspn(text, safe)] == '\0';
}

static void yaml_scalar(struct pl_buf *buf, const cJSON *item)
{
	struct pl_buf doubled = { 0 };

	if (!cJSON_IsString(item)) {
		pl_json_print(buf, item);
		return;
	}
	if (is_plain(item->valuestring)) {
		pl_buf_adds(buf, item->valuestring);
		return;
	}
	for (const char *p = item->valuestring; *p != '\0'; p++) {
		if (*p == '$')
			pl_buf_addc(&doubled, '$');
		pl_buf_addc(&doubled, *p);
	}
	pl_buf_add_json(buf, doubled.data != NULL ? doubled.data : "", doubled.len);
	pl_buf_fini(&doubled);
}

static void indent(struct pl_buf *buf, int depth)
{
	for (int i = 0; i < depth; i++)
		pl_buf_adds(buf, "  ");
}

static void yaml_members(struct pl_buf *buf, const cJSON *object, int depth, bool first_indented);

// ["a", ["b", "c"]] on one line.
static void yaml_flow(struct pl_buf *buf, const cJSON *array)
{
	const cJSON *item;

	pl_buf_addc(buf, '[');
	cJSON_ArrayForEach (item, array) {
		if (item != array->child)
			pl_buf_adds(buf, ", ");
		if (cJSON_IsArray(item))
			yaml_flow(buf, item);
		else
			yaml_scalar(buf, item);
	}
	pl_buf_addc(buf, ']');
}

static void yaml_list(struct pl_buf *buf, const cJSON *array, int depth)
{
	const cJSON *item;

	if (cJSON_IsObject(array->child)) {
		pl_buf_addc(buf, '\n');
		cJSON_ArrayForEach (item, array) {
			indent(buf, depth);
			pl_buf_adds(buf, "- ");
			yaml_members(buf, item, depth + 1, true);
		}
		return;
	}
	pl_buf_addc(buf, ' ');
	yaml_flow(buf, array);
	pl_buf_addc(buf, '\n');
}

static void yaml_members(struct pl_buf *buf, const cJSON *object, int depth, bool first_indented)
{
	const cJSON *item;

	cJSON_ArrayForEach (item, object) {
		if (!(first_indented && item == object->child))
			indent(buf, depth);
		pl_buf_adds(buf, item->string);
		pl_buf_addc(buf, ':');
		if (cJSON_IsObject(item)) {
			pl_buf_addc(buf, '\n');
			yaml_members(buf, item, depth + 1, false);
		} else if (cJSON_IsArray(item)) {
			yaml_list(buf, item, depth + 1);
		} else {
			pl_buf_addc(buf, ' ');
			yaml_scalar(buf, item);
			pl_buf_addc(buf, '\n');
		}
	}
}

void pl_config_show(const struct pl_config *config, enum pl_show_format format, struct pl_buf *buf)
{
	cJSON *tree = members(NULL, config);

	if (format == PL_SHOW_YAML) {
		yaml_members(buf, tree, 0, false);
	} else {
		pl_json_print(buf, tree);
		pl_buf_addc(buf, '\n');
	}
	cJSON_Delete(tree);
}
