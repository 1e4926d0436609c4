// JSON input: the scan, cJSON, then numbers back to their text and a check for duplicate
// keys. Also the accessors of items.
//
// Bodies, events and headers are parsed here; json_print.c writes them. Numbers of cJSON
// are not used: a number is a cJSON_Raw item whose valuestring is its text.
// Invariants: a parsed tree contains no cJSON_Number, no string with a NUL, and no object
// with duplicate keys.
// Threads: any; a tree belongs to one thread at a time.
#include "base/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_scan.h"
#include "base/mem.h"

const struct pl_json_limits pl_json_default_limits = { .bytes = 64 * 1024, .depth = 16, .nodes = 4096 };

// A key of an object, and its position.
struct key {
	int object;
	int order; // in the text
	const char *name;
};

struct keys {
	struct key *list;
	int n, objects;
};

// Removes the marks of numbers, and collects keys in the order in which the scan met
// them.
static void settle(cJSON *item, struct keys *keys)
{
	if (cJSON_IsString(item) && item->valuestring[0] == PL_JSON_MARK) {
		memmove(item->valuestring, item->valuestring + 1, strlen(item->valuestring));
		item->type = cJSON_Raw;
		return;
	}
	bool object = cJSON_IsObject(item);
	int number = object ? keys->objects++ : 0;
	cJSON *child;
	cJSON_ArrayForEach (child, item) {
		if (object) {
			keys->list[keys->n] =
				(struct key){ .object = number, .order = keys->n, .name = child->string };
			keys->n++;
		}
		settle(child, keys);
	}
}

static int compare_keys(const void *a, const void *b)
{
	const struct key *x = a, *y = b;
	if (x->object != y->object)
		return x->object < y->object ? -1 : 1;
	int order = strcmp(x->name, y->name);
	return order != 0 ? order : x->order < y->order ? -1 : 1;
}

// The first key of the text that its object already had; NULL if there is none. Sorts the
// list.
static const struct key *find_duplicate(struct keys *keys)
{
	const struct key *first = NULL;
	qsort(keys->list, (size_t)keys->n, sizeof(keys->list[0]), compare_keys);
	for (int i = 1; i < keys->n; i++) {
		const struct key *key = &keys->list[i];
		if (key->object != key[-1].object || strcmp(key->name, key[-1].name) != 0)
			continue;
		if (first == NULL || key->order < first->order)
			first = key;
	}
	return first;
}

// Parses with cJSON what the scan accepted.
static cJSON *read_scanned(const struct pl_json_scan *scan, const char *text, struct pl_error *err)
{
	cJSON *json = cJSON_ParseWithLength(scan->text.data, scan->text.len);
	if (json == NULL) {
		pl_error_set(err, PL_EINTERNAL, "cJSON refused text that passed the check");
		return NULL;
	}
	struct keys keys = { .list = pl_calloc((size_t)scan->nkeys, sizeof(struct key)) };
	settle(json, &keys);
	const struct key *duplicate = find_duplicate(&keys);
	if (duplicate != NULL) {
		char place[PL_JSON_PLACE_MAX];
		pl_error_set(err, PL_EINVAL, "%s: duplicate key \"%.64s\"",
		             pl_json_scan_place(text, scan->keys[duplicate->order], place), duplicate->name);
		cJSON_Delete(json);
		json = NULL;
	}
	free(keys.list);
	return json;
}

cJSON *pl_json_parse(const char *text, size_t len, const struct pl_json_limits *limits, struct pl_error *err)
{
	struct pl_json_scan scan;
	cJSON *json = NULL;
	if (pl_json_scan(&scan, text, len, limits ? limits : &pl_json_default_limits, err) == 0)
		json = read_scanned(&scan, text, err);
	pl_json_scan_fini(&scan);
	return json;
}

static bool is_number_text(const char *text)
{
	size_t len = strlen(text);
	return len > 0 && pl_json_scan_number_len(text, text + len) == len;
}

bool pl_json_is_number(const cJSON *item)
{
	return cJSON_IsRaw(item) && item->valuestring != NULL && is_number_text(item->valuestring);
}

const char *pl_json_number_text(const cJSON *item)
{
	return pl_json_is_number(item) ? item->valuestring : NULL;
}

int pl_json_int64(const cJSON *item, int64_t *value_r)
{
	const char *text = pl_json_number_text(item);
	if (text == NULL)
		return -1;
	// 5.0 and 5e2 are integers, too: numbers with the same canonical spelling are
	// treated the same.
	struct pl_buf canonical = { 0 };
	if (strpbrk(text, ".eE") != NULL) {
		pl_json_canonical_number(&canonical, text);
		text = canonical.data;
	}
	char *end;
	errno = 0;
	long long value = strtoll(text, &end, 10);
	int code = errno == 0 && *end == '\0' ? 0 : -1;
	if (code == 0)
		*value_r = value;
	pl_buf_fini(&canonical);
	return code;
}

const cJSON *pl_json_get(const cJSON *object, const char *key)
{
	return cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object, key) : NULL;
}

const char *pl_json_string(const cJSON *object, const char *key)
{
	const cJSON *item = pl_json_get(object, key);
	return cJSON_IsString(item) ? item->valuestring : NULL;
}

static cJSON *made(cJSON *item)
{
	if (item == NULL)
		pl_die("out of memory: a JSON value");
	return item;
}

cJSON *pl_json_new_int64(int64_t value)
{
	struct pl_buf text = { 0 };
	pl_buf_add_i64(&text, value);
	cJSON *item = made(cJSON_CreateRaw(text.data));
	pl_buf_fini(&text);
	return item;
}

cJSON *pl_json_new_number(const char *text)
{
	return made(is_number_text(text) ? cJSON_CreateRaw(text) : cJSON_CreateNull());
}
