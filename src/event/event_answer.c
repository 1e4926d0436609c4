// The header plist-answer: see event_answer.h.
//
// Anyone who can write to the topic can write this header, and it becomes the answer to a
// client. So it may contain only what a handler could have answered.
// Threads: any; nothing is shared.
#include "event/event_answer.h"

#include <string.h>

#include "base/json.h"
#include "config/reserved.h"

static const struct pl_json_limits limits = { .bytes = PL_EVENT_ANSWER_MAX, .depth = 8, .nodes = 4096 };

static bool is_token(const char *name)
{
	static const char token[] = "!#$%&'*+-.^_`|~0123456789"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

	return name[0] && name[strspn(name, token)] == '\0';
}

static bool is_value(const char *value)
{
	for (; *value; value++)
		if (((unsigned char)*value < ' ' && *value != '\t') || *value == 0x7f)
			return false;
	return true;
}

static const char *headers_fault(const cJSON *headers)
{
	const cJSON *pair;

	if (!cJSON_IsArray(headers))
		return "has no list of headers";
	cJSON_ArrayForEach (pair, headers) {
		const cJSON *name = cJSON_GetArrayItem(pair, 0), *value = cJSON_GetArrayItem(pair, 1);

		if (cJSON_GetArraySize(pair) != 2 || !cJSON_IsString(name) || !cJSON_IsString(value) ||
		    !is_token(name->valuestring) || !is_value(value->valuestring) ||
		    pl_reserved_has(name->valuestring, PL_RESERVED_ANSWER))
			return "has a header that no handler can answer with";
	}
	return NULL;
}

static const char *body_fault(const cJSON *json)
{
	const cJSON *body = pl_json_get(json, "body"), *hex = pl_json_get(json, "hex");

	if (body && !cJSON_IsString(body))
		return "has a body that is not a text";
	if (hex && (!cJSON_IsString(hex) || strlen(hex->valuestring) % 2 != 0 ||
	            hex->valuestring[strspn(hex->valuestring, "0123456789abcdef")] != '\0'))
		return "has a body that is not hexadecimal";
	return NULL;
}

static const char *own_fault(const cJSON *json, struct pl_event_answer *answer_r)
{
	int64_t status, bytes;

	if (pl_json_int64(pl_json_get(json, "status"), &status) < 0 || status < 200 || status > 499)
		return "has no status from 200 to 499";
	answer_r->status = (int)status;
	if (pl_json_get(json, "bytes"))
		return pl_json_int64(pl_json_get(json, "bytes"), &bytes) < 0 || bytes < 1 ||
		                       !pl_json_string(json, "region")
		               ? "does not say how large the answer is, and where"
		               : NULL;
	const char *fault = headers_fault(pl_json_get(json, "headers"));

	return fault ? fault : body_fault(json);
}

static const char *location_fault(const char *location)
{
	return location && (location[0] != '/' || strlen(location) > 1024 || !is_value(location))
	               ? "has a location that is not a path"
	               : NULL;
}

int pl_event_answer_parse(struct pl_arena *arena, const char *text, struct pl_event_answer *answer_r,
                          struct pl_error *err)
{
	cJSON *json = pl_json_parse(text, strlen(text), &limits, err);
	const char *location = json ? pl_json_string(json, "location") : NULL, *fault;

	*answer_r = (struct pl_event_answer){ 0 };
	if (!json)
		return PL_EINVAL;
	if (!cJSON_IsObject(json)) {
		fault = "is not an object";
	} else if (pl_json_get(json, "status")) {
		answer_r->own = text;
		fault = own_fault(json, answer_r);
	} else {
		answer_r->location = location ? pl_arena_strdup(arena, location) : NULL;
		fault = location_fault(location);
	}
	cJSON_Delete(json);
	return fault ? pl_error_set(err, PL_EINVAL, "%s", fault) : 0;
}
