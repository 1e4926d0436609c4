// Events: a row of the outbox made a Kafka message, and a Kafka message made an event again.
//
// Stands at both ends of Kafka: replicate/relay encodes, replicate/apply decodes. What is decoded may come from anyone, so everything is
// checked here, and what passes can be written to the database and shown to a policy without another look.
// Invariants: a decoded event that is not foreign has a dot that its vector holds; its texts are UTF-8 without NUL.
// Threads: any; nothing is shared.
#include "replicate/event.h"

#include <string.h>

#include "base/clock.h"
#include "base/sha256.h"
#include "base/utf8.h"

// A value is a record of at most PL_FIELDS_MAX members; strings may be long where the configuration allows it.
static const struct pl_json_limits value_limits = { .bytes = 1024 * 1024, .depth = 16, .nodes = 4096 };

#define SCHEMA "1"
#define PRINCIPAL_MAX 256    // bytes of 64 characters
#define REQUEST_ID_MAX 255
#define TRACEPARENT_MAX 256
#define POLICY_MAX 400

// --- out

static void add_header(struct pl_event_message *message, const char *name, const char *value)
{
	if (value && value[0])
		message->headers[message->nheaders++] = (struct pl_event_header){ name, value, strlen(value) };
}

// PostgreSQL's "2026-02-21 10:00:00.5+00" as RFC 3339; NULL if it is none ("infinity").
static const char *rfc3339(struct pl_arena *arena, const char *text)
{
	char at[PL_TIME_TEXT_MAX];
	int64_t us;

	if (!text || pl_time_parse(text, strlen(text), &us) < 0)
		return NULL;
	return pl_arena_strdup(arena, pl_time_format(us, at));
}

int pl_event_encode(struct pl_arena *arena, const struct pl_outbox_row *row, const char *policy, struct pl_event_message *message_r,
                    struct pl_error *err)
{
	struct pl_vector vector;
	int32_t counter;

	if (pl_vector_parse(&vector, row->vector, strlen(row->vector)) < 0)
		return pl_error_set(err, PL_EINVAL, "its vector %.60s is none", row->vector);
	counter = pl_vector_get(&vector, row->origin);
	if (counter == 0)
		return pl_error_set(err, PL_EINVAL, "its vector %.60s does not count its origin %s", row->vector, row->origin);

	memset(message_r, 0, sizeof *message_r);
	message_r->key = row->record_id;
	message_r->key_len = strlen(row->record_id);
	if (row->deleted) {
		add_header(message_r, "plist-deleted", row->value);
	} else {
		message_r->value = row->value;
		message_r->value_len = strlen(row->value);
	}
	add_header(message_r, "plist-event-id", pl_arena_printf(arena, "%s/%s/%s/%d", row->origin, row->resource, row->record_id, counter));
	add_header(message_r, "plist-origin", row->origin);
	add_header(message_r, "plist-vector", row->vector);
	add_header(message_r, "plist-request-id", row->request_id);
	add_header(message_r, "plist-principal", row->principal);
	add_header(message_r, "plist-fingerprint", row->fingerprint && !strncmp(row->fingerprint, "\\x", 2) ? row->fingerprint + 2 : NULL);
	add_header(message_r, "plist-status", row->status);
	add_header(message_r, "plist-expires", rfc3339(arena, row->expires_at));
	add_header(message_r, "plist-policy", policy);
	add_header(message_r, "plist-schema", SCHEMA);
	add_header(message_r, "plist-field-times", row->field_times);
	add_header(message_r, "traceparent", row->traceparent);
	return 0;
}

// --- in

enum header {
	H_ORIGIN, H_VECTOR, H_REQUEST_ID, H_PRINCIPAL, H_FINGERPRINT, H_STATUS, H_EXPIRES, H_EVENT_ID, H_POLICY, H_SCHEMA, H_FIELD_TIMES, H_DELETED,
	H_TRACEPARENT, H_COUNT
};

static const char *const header_names[H_COUNT] = {
	[H_ORIGIN] = "plist-origin", [H_VECTOR] = "plist-vector", [H_REQUEST_ID] = "plist-request-id", [H_PRINCIPAL] = "plist-principal",
	[H_FINGERPRINT] = "plist-fingerprint", [H_STATUS] = "plist-status", [H_EXPIRES] = "plist-expires", [H_EVENT_ID] = "plist-event-id",
	[H_POLICY] = "plist-policy", [H_SCHEMA] = "plist-schema", [H_FIELD_TIMES] = "plist-field-times", [H_DELETED] = "plist-deleted",
	[H_TRACEPARENT] = "traceparent",
};

struct reader {
	struct pl_arena *arena;
	const struct pl_event_header *found[H_COUNT]; // NULL: not there
	bool twice[H_COUNT];
	struct pl_error *err;
};

// One pass over the headers; others' are passed over.
static void find_headers(struct reader *r, const struct pl_event_header *headers, int n)
{
	for (int i = 0; i < n; i++)
		for (int h = 0; h < H_COUNT; h++) {
			const char *name = header_names[h];

			// The seventh letter tells nearly all of them apart.
			if (headers[i].name[0] != name[0] || strlen(headers[i].name) < 7 || headers[i].name[6] != name[6] ||
			    strcmp(headers[i].name, name) != 0)
				continue;
			r->twice[h] = r->found[h] != NULL;
			r->found[h] = &headers[i];
			break;
		}
}

// The header as text: *text_r NULL when it is not there. Headers that are bytes, or given twice, are refused.
static int text_header(struct reader *r, enum header h, size_t max, const char **text_r)
{
	const struct pl_event_header *found = r->found[h];
	const char *name = header_names[h];

	*text_r = NULL;
	if (!found)
		return 0;
	if (r->twice[h])
		return pl_error_set(r->err, PL_EINVAL, "header %s is given twice", name);
	if (!found->value || found->len == 0 || found->len > max)
		return pl_error_set(r->err, PL_EINVAL, "header %s is %s", name, found->len > max ? "too long" : "empty");
	if (memchr(found->value, '\0', found->len) || !pl_utf8_valid(found->value, found->len))
		return pl_error_set(r->err, PL_EINVAL, "header %s is no UTF-8 text", name);
	*text_r = pl_arena_strndup(r->arena, found->value, found->len);
	return 0;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int read_fingerprint(struct reader *r, struct pl_sibling *write)
{
	const char *text;
	uint8_t *bytes;

	if (text_header(r, H_FINGERPRINT, 2 * PL_SHA256_SIZE, &text) < 0)
		return PL_EINVAL;
	if (!text)
		return write->request_id ? pl_error_set(r->err, PL_EINVAL, "there is a request id and no header plist-fingerprint") : 0;
	bytes = pl_arena_alloc(r->arena, PL_SHA256_SIZE);
	for (int i = 0; i < PL_SHA256_SIZE; i++) {
		int high = hex_digit(text[2 * i]), low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return pl_error_set(r->err, PL_EINVAL, "header plist-fingerprint is not 64 hexadecimal digits");
		bytes[i] = (uint8_t)(high * 16 + low);
	}
	write->fingerprint = bytes;
	return 0;
}

static bool request_id_ok(const char *id)
{
	for (; *id; id++)
		if (!((*id >= 'A' && *id <= 'Z') || (*id >= 'a' && *id <= 'z') || (*id >= '0' && *id <= '9') || strchr("._~-", *id)))
			return false;
	return true;
}

static int read_request(struct reader *r, struct pl_event *event)
{
	const char *status, *expires;

	if (text_header(r, H_REQUEST_ID, REQUEST_ID_MAX, &event->write.request_id) < 0 ||
	    text_header(r, H_PRINCIPAL, PRINCIPAL_MAX, &event->write.principal) < 0 || read_fingerprint(r, &event->write) < 0 ||
	    text_header(r, H_STATUS, 3, &status) < 0 || text_header(r, H_EXPIRES, PL_TIME_TEXT_MAX, &expires) < 0)
		return PL_EINVAL;
	if (event->write.request_id && !request_id_ok(event->write.request_id))
		return pl_error_set(r->err, PL_EINVAL, "header plist-request-id is no request id");
	if (!event->write.principal)
		event->write.principal = "";
	event->status = 200;
	if (status) {
		if (strlen(status) != 3 || status[0] != '2' || strspn(status, "0123456789") != 3)
			return pl_error_set(r->err, PL_EINVAL, "header plist-status is %s, no 2xx", status);
		event->status = 200 + (status[1] - '0') * 10 + (status[2] - '0');
	}
	if (expires && pl_time_parse(expires, strlen(expires), &event->expires_at_us) < 0)
		return pl_error_set(r->err, PL_EINVAL, "header plist-expires is no RFC 3339 time");
	return 0;
}

// {"price":{"at":1771668000000000,"origin":"us"},…}
static int read_field_times(struct reader *r, struct pl_event *event)
{
	const char *text, *origin, *fault = NULL;
	int64_t at;
	cJSON *json;

	if (text_header(r, H_FIELD_TIMES, 64 * 1024, &text) < 0)
		return PL_EINVAL;
	if (!text || !event->resource->track_fields)
		return 0;
	json = pl_json_parse(text, strlen(text), &pl_json_default_limits, r->err);
	if (!json)
		return pl_error_prefix(r->err, "header plist-field-times");
	if (!cJSON_IsObject(json))
		fault = "is no object";
	for (const cJSON *entry = json->child; entry && !fault; entry = entry->next) {
		origin = pl_json_string(entry, "origin");
		if (!origin || !pl_region_name_ok(origin, strlen(origin)) || pl_json_int64(pl_json_get(entry, "at"), &at) < 0)
			fault = "does not say when and where each field was written";
	}
	cJSON_Delete(json);
	if (fault)
		return pl_error_set(r->err, PL_EINVAL, "header plist-field-times %s", fault);
	event->write.field_times = text;
	return 0;
}

static int read_dot(struct reader *r, struct pl_event *event)
{
	struct pl_sibling *write = &event->write;
	const char *origin, *vector, *schema;

	if (text_header(r, H_SCHEMA, 16, &schema) < 0 || text_header(r, H_ORIGIN, PL_REGION_MAX, &origin) < 0 ||
	    text_header(r, H_VECTOR, 4096, &vector) < 0)
		return PL_EINVAL;
	if (schema && strcmp(schema, SCHEMA) != 0)
		return pl_error_set(r->err, PL_EINVAL, "header plist-schema is %s; this program reads " SCHEMA, schema);
	if (!origin || !pl_region_name_ok(origin, strlen(origin)))
		return pl_error_set(r->err, PL_EINVAL, "header plist-origin is no name of a region");
	if (!vector || pl_vector_parse(&write->vector, vector, strlen(vector)) < 0)
		return pl_error_set(r->err, PL_EINVAL, "header plist-vector is no vector");
	strcpy(write->dot.region, origin);
	write->dot.counter = pl_vector_get(&write->vector, origin);
	if (write->dot.counter == 0)
		return pl_error_set(r->err, PL_EINVAL, "header plist-vector does not count its origin %s", origin);
	return 0;
}

// The record, from the value or, for a delete, from the header.
static int read_record(struct reader *r, const struct pl_resource *resource, const void *value, size_t value_len, struct pl_event *event)
{
	struct pl_record *record;
	cJSON *json;
	int code;

	json = pl_json_parse(value, value_len, &value_limits, r->err);
	if (!json)
		return PL_EINVAL;
	code = pl_record_parse(r->arena, resource, json, &record, r->err);
	cJSON_Delete(json);
	if (code < 0)
		return PL_EINVAL;
	event->id = record->id;
	event->version = record->version;
	event->write.values = record->values;
	event->write.updated_at_us = record->updated_at_us;
	if (event->foreign)
		strcpy(event->write.dot.region, record->region_origin);
	else if (strcmp(event->write.dot.region, record->region_origin) != 0)
		return pl_error_set(r->err, PL_EINVAL, "region_origin is %s, header plist-origin %s", record->region_origin, event->write.dot.region);
	return 0;
}

static bool is_key(const char *key, size_t len, int64_t id)
{
	int64_t n = 0;

	if (!key || len == 0 || len > 18 || key[0] == '0')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (key[i] < '0' || key[i] > '9')
			return false;
		n = n * 10 + (key[i] - '0');
	}
	return n == id;
}

static int read_own(struct reader *r, const void *key, size_t key_len, const void *value, size_t value_len, struct pl_event *event)
{
	const char *deleted;

	if (read_dot(r, event) < 0 || read_request(r, event) < 0 || read_field_times(r, event) < 0 ||
	    text_header(r, H_EVENT_ID, 512, &event->event_id) < 0 || text_header(r, H_POLICY, POLICY_MAX, &event->policy) < 0 ||
	    text_header(r, H_DELETED, value_limits.bytes, &deleted) < 0)
		return PL_EINVAL;
	if (text_header(r, H_TRACEPARENT, TRACEPARENT_MAX, &event->traceparent) < 0)
		event->traceparent = NULL; // others' business; no reason to lose a write
	if (!value != !!deleted)
		return pl_error_set(r->err, PL_EINVAL, value ? "it has a value and a header plist-deleted" : "it has neither value nor header plist-deleted");
	event->write.deleted = deleted != NULL;
	if (read_record(r, event->resource, deleted ? deleted : value, deleted ? strlen(deleted) : value_len, event) < 0)
		return PL_EINVAL;
	if (event->version != pl_vector_sum(&event->write.vector))
		return pl_error_set(r->err, PL_EINVAL, "version %d is not the sum of header plist-vector", event->version);
	if (!is_key(key, key_len, event->id))
		return pl_error_set(r->err, PL_EINVAL, "its key is not its record's id %lld", (long long)event->id);
	if (!event->event_id)
		event->event_id = pl_arena_printf(r->arena, "%s/%s/%lld/%d", event->write.dot.region, event->resource->name,
		                                  (long long)event->id, event->write.dot.counter);
	return 0;
}

int pl_event_decode(struct pl_arena *arena, const struct pl_resource *resource, const void *key, size_t key_len, const void *value,
                    size_t value_len, const struct pl_event_header *headers, int nheaders, struct pl_event **event_r, struct pl_error *err)
{
	struct pl_event *event = pl_arena_alloc(arena, sizeof *event);
	struct pl_error own;
	struct reader r = { .arena = arena, .err = err ? err : &own };

	find_headers(&r, headers, nheaders);
	event->resource = resource;
	event->write.principal = "";
	event->foreign = !r.found[H_ORIGIN];
	*event_r = event;
	if (!event->foreign)
		return read_own(&r, key, key_len, value, value_len, event);
	if (!value)
		return pl_error_set(err, PL_EINVAL, "it has no value, and no headers of ours that would make it a delete");
	return read_record(&r, resource, value, value_len, event);
}
