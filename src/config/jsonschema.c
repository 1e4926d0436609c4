// The table of keys as JSON Schema (2020-12), for editors and for checks elsewhere.
//
// Called by `plist-admin config schema`. It accepts every single value that config/load
// accepts; contradictions between values are found by config/load_check only. Any scalar
// may be a string with ${…} instead.
// Threads: any.
#include "config/schema.h"

#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

static cJSON *object_schema(const struct pl_key *parent);

static void add_words(cJSON *array, const char *choices)
{
	while (*choices != '\0') {
		char word[64];
		size_t n = strcspn(choices, "|");
		memcpy(word, choices, n < sizeof(word) ? n : sizeof(word) - 1);
		word[n < sizeof(word) ? n : sizeof(word) - 1] = '\0';
		cJSON_AddItemToArray(array, cJSON_CreateString(word));
		choices += n + (choices[n] == '|');
	}
}

// Whether an unquoted number in YAML can be such a string ("8080").
static bool takes_number(const char *pattern)
{
	regex_t regex;

	if (pattern == NULL || regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) != 0)
		return pattern == NULL;
	bool takes = regexec(&regex, "8080", 0, NULL, 0) == 0;
	regfree(&regex);
	return takes;
}

static void add_type(cJSON *schema, const char *type, bool or_number)
{
	if (or_number) {
		cJSON *types = cJSON_AddArrayToObject(schema, "type");
		cJSON_AddItemToArray(types, cJSON_CreateString(type));
		cJSON_AddItemToArray(types, cJSON_CreateString("number"));
	} else {
		cJSON_AddStringToObject(schema, "type", type);
	}
}

static cJSON *string_schema(const struct pl_key *key)
{
	cJSON *schema = cJSON_CreateObject();

	if (key->choices != NULL) {
		add_words(cJSON_AddArrayToObject(schema, "enum"), key->choices);
		return schema;
	}
	add_type(schema, "string", takes_number(key->pattern));
	if (key->pattern != NULL)
		cJSON_AddStringToObject(schema, "pattern", key->pattern);
	if (key->type == PL_KEY_STRING && key->min > 0)
		cJSON_AddItemToObject(schema, "minLength", pl_json_new_int64(key->min));
	if (key->type == PL_KEY_STRING && key->max > 0)
		cJSON_AddItemToObject(schema, "maxLength", pl_json_new_int64(key->max));
	return schema;
}

static cJSON *integer_schema(const struct pl_key *key)
{
	cJSON *schema = cJSON_CreateObject();

	cJSON_AddStringToObject(schema, "type", "integer");
	if (key->min != 0 || key->max != 0) {
		cJSON_AddItemToObject(schema, "minimum", pl_json_new_int64(key->min));
		cJSON_AddItemToObject(schema, "maximum", pl_json_new_int64(key->max));
	}
	return schema;
}

static cJSON *scalar_schema(const struct pl_key *key)
{
	cJSON *schema;

	switch (key->type) {
	case PL_KEY_INTEGER: return integer_schema(key);
	case PL_KEY_BOOLEAN:
		schema = cJSON_CreateObject();
		cJSON_AddStringToObject(schema, "type", "boolean");
		return schema;
	case PL_KEY_NUMBER:
		schema = cJSON_CreateObject();
		cJSON_AddStringToObject(schema, "type", "number");
		return schema;
	case PL_KEY_DURATION:
	case PL_KEY_SIZE:
		schema = cJSON_CreateObject();
		cJSON_AddStringToObject(schema, "type", "string");
		cJSON_AddStringToObject(schema, "pattern",
		                        key->type == PL_KEY_SIZE ? "^[0-9]+(B|KiB|MiB|GiB)$"
		                                                 : "^[0-9]+(us|ms|s|m|h|d)$");
		return schema;
	default: return string_schema(key);
	}
}

// The value itself, a string with ${…}, or the word that means 0.
static cJSON *leaf_schema(const struct pl_key *key)
{
	cJSON *schema = cJSON_CreateObject();
	cJSON *ways = cJSON_AddArrayToObject(schema, "anyOf");
	cJSON *expansion = cJSON_CreateObject();

	cJSON_AddItemToArray(ways, scalar_schema(key));
	if (key->type == PL_KEY_STRINGS) {
		cJSON *list = cJSON_CreateObject();
		cJSON_AddStringToObject(list, "type", "array");
		cJSON_AddItemToObject(list, "items", scalar_schema(key));
		cJSON_AddItemToObject(list, "minItems", pl_json_new_int64(1));
		cJSON_AddItemToObject(list, "maxItems", pl_json_new_int64(key->max));
		cJSON_AddItemToArray(ways, list);
	}
	if (key->word != NULL) {
		cJSON *word = cJSON_CreateObject();
		cJSON_AddStringToObject(word, "const", key->word);
		cJSON_AddItemToArray(ways, word);
	}
	cJSON_AddStringToObject(expansion, "$ref", "#/$defs/expansion");
	cJSON_AddItemToArray(ways, expansion);
	return schema;
}

static cJSON *pairs_schema(void)
{
	cJSON *schema = cJSON_CreateObject();
	cJSON *types = cJSON_CreateArray();

	cJSON_AddStringToObject(schema, "type", "object");
	add_words(types, "string|number|boolean");
	cJSON_AddItemToObject(cJSON_AddObjectToObject(schema, "additionalProperties"), "type", types);
	return schema;
}

static cJSON *lists_schema(const struct pl_key *key)
{
	cJSON *schema = cJSON_CreateObject(), *inner = cJSON_CreateObject();

	cJSON_AddStringToObject(inner, "type", "array");
	cJSON_AddStringToObject(cJSON_AddObjectToObject(inner, "items"), "type", "string");
	cJSON_AddItemToObject(inner, "minItems", pl_json_new_int64(1));
	cJSON_AddStringToObject(schema, "type", "array");
	cJSON_AddItemToObject(schema, "items", inner);
	cJSON_AddItemToObject(schema, "minItems", pl_json_new_int64(1));
	cJSON_AddItemToObject(schema, "maxItems", pl_json_new_int64(key->max));
	return schema;
}

static cJSON *key_schema(const struct pl_key *key)
{
	cJSON *schema;

	if (key->type == PL_KEY_MAP) {
		schema = object_schema(key);
		cJSON_ReplaceItemInObjectCaseSensitive(schema, "type", cJSON_Parse("[\"object\",\"null\"]"));
	} else if (key->type == PL_KEY_NAMED) {
		schema = cJSON_CreateObject();
		cJSON_AddStringToObject(schema, "type", "object");
		cJSON_AddStringToObject(cJSON_AddObjectToObject(schema, "propertyNames"), "pattern",
		                        key->pattern);
		cJSON_AddItemToObject(schema, "minProperties", pl_json_new_int64(key->min));
		cJSON_AddItemToObject(schema, "maxProperties", pl_json_new_int64(key->max));
		cJSON_AddItemToObject(schema, "additionalProperties", object_schema(key));
	} else if (key->type == PL_KEY_SEQUENCE) {
		schema = cJSON_CreateObject();
		cJSON_AddStringToObject(schema, "type", "array");
		cJSON_AddItemToObject(schema, "minItems", pl_json_new_int64(key->min));
		cJSON_AddItemToObject(schema, "maxItems", pl_json_new_int64(key->max));
		cJSON_AddItemToObject(schema, "items", object_schema(key));
	} else if (key->type == PL_KEY_PAIRS) {
		schema = pairs_schema();
	} else if (key->type == PL_KEY_LISTS) {
		schema = lists_schema(key);
	} else {
		schema = leaf_schema(key);
	}
	cJSON_AddStringToObject(schema, "description", key->doc);
	if (key->def != NULL && key->type != PL_KEY_STRINGS) {
		bool bare = key->type == PL_KEY_BOOLEAN || (key->type == PL_KEY_INTEGER && key->word == NULL);
		cJSON_AddItemToObject(schema, "default",
		                      bare ? cJSON_CreateRaw(key->def) : cJSON_CreateString(key->def));
	}
	return schema;
}

// Either "database" or "database_file", but not both.
static void add_twin(cJSON *schema, cJSON *properties, const struct pl_key *key)
{
	char name[64];
	cJSON *twin = cJSON_CreateObject(), *both = cJSON_CreateArray();

	snprintf(name, sizeof(name), "%s_file", pl_schema_leaf(key));
	cJSON_AddStringToObject(twin, "type", "string");
	cJSON_AddStringToObject(twin, "description",
	                        "A file that contains the value, relative to the directory of the YAML "
	                        "file.");
	cJSON_AddItemToObject(properties, name, twin);
	cJSON_AddItemToArray(both, cJSON_CreateString(pl_schema_leaf(key)));
	cJSON_AddItemToArray(both, cJSON_CreateString(name));
	cJSON_AddItemToObject(cJSON_AddObjectToObject(schema, "not"), "required", both);
}

static cJSON *object_schema(const struct pl_key *parent)
{
	cJSON *schema = cJSON_CreateObject();
	cJSON *required = cJSON_CreateArray();

	cJSON_AddStringToObject(schema, "type", "object");
	cJSON *properties = cJSON_AddObjectToObject(schema, "properties");
	for (const struct pl_key *key = NULL; (key = pl_schema_next(parent, key)) != NULL;) {
		cJSON_AddItemToObject(properties, pl_schema_leaf(key), key_schema(key));
		if (key->flags & PL_KEY_SECRET)
			add_twin(schema, properties, key);
		if ((key->flags & PL_KEY_REQUIRED) && key->env == NULL)
			cJSON_AddItemToArray(required, cJSON_CreateString(pl_schema_leaf(key)));
	}
	if (cJSON_GetArraySize(required) > 0)
		cJSON_AddItemToObject(schema, "required", required);
	else
		cJSON_Delete(required);
	cJSON_AddBoolToObject(schema, "additionalProperties", false);
	return schema;
}

void pl_jsonschema_print(struct pl_buf *buf)
{
	cJSON *schema = object_schema(NULL);
	cJSON *whole = cJSON_CreateObject();

	cJSON_AddStringToObject(whole, "$schema", "https://json-schema.org/draft/2020-12/schema");
	cJSON_AddStringToObject(whole, "title", "plist.yaml");
	while (schema->child != NULL) {
		cJSON *item = cJSON_DetachItemViaPointer(schema, schema->child);
		char name[64];
		snprintf(name, sizeof(name), "%s", item->string);
		cJSON_AddItemToObject(whole, name, item);
	}
	cJSON_Delete(schema);
	cJSON *expansion = cJSON_AddObjectToObject(cJSON_AddObjectToObject(whole, "$defs"), "expansion");
	cJSON_AddStringToObject(expansion, "type", "string");
	cJSON_AddStringToObject(expansion, "pattern", "\\$\\{");
	cJSON_AddStringToObject(expansion, "description",
	                        "A value from the environment: ${VAR}, ${VAR:-default} or ${VAR:?message}.");
	char *text = cJSON_Print(whole);
	pl_buf_adds(buf, text);
	pl_buf_addc(buf, '\n');
	cJSON_free(text);
	cJSON_Delete(whole);
}
