// Events: turns a row of the outbox into a Kafka message, and a Kafka message into an
// event.
//
// Used at both ends of Kafka: relay/relay encodes, apply/apply decodes. A message may
// come from anyone, so everything is checked here; an event that passes can be written
// to the database and passed to a policy without further checks.
// A delete travels with a null value, Kafka's own mark for it, and with the last record
// in the header plist-deleted. A consumer that knows only the value never sees a deleted
// record, and a region that receives the delete first can still create the complete
// tombstone.
// Invariants: a decoded event that is not foreign has a dot that its vector contains;
// its texts are UTF-8 without NUL.
// Threads: any; nothing is shared.
#include "event/event.h"

#include <string.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/sha256.h"
#include "base/utf8.h"
#include "record/edge.h"

// A value is a record with at most PL_FIELDS_MAX members; the configuration may allow
// long strings.
static const struct pl_json_limits value_limits = { .bytes = 1024 * 1024, .depth = 16, .nodes = 4096 };

#define SCHEMA          "1"
// The widths of columns; a test compares each with the tables.
#define PRINCIPAL_MAX   64 // characters
#define REQUEST_ID_MAX  255
#define VECTOR_TEXT_MAX (PL_VECTOR_MAX * (PL_REGION_MAX + 16) + 2)
#define TRACEPARENT_MAX 256
#define POLICY_MAX      400

// ---- encoding

static void add_header(struct pl_outgoing_message *message, const char *name, const char *value)
{
	if (value && value[0])
		message->headers[message->nheaders++] =
			(struct pl_message_header){ name, value, strlen(value) };
}

// PostgreSQL's "2026-02-21 10:00:00.5+00" as RFC 3339; NULL if it is not a time
// ("infinity").
static const char *rfc3339(struct pl_arena *arena, const char *text)
{
	char at[PL_TIME_TEXT_MAX];
	int64_t us;

	if (!text || pl_clock_parse_time(text, strlen(text), &us) < 0)
		return NULL;
	return pl_arena_strdup(arena, pl_clock_format_time(us, at));
}

int pl_event_encode(struct pl_arena *arena, const struct pl_outbox_row *row, const char *policy,
                    struct pl_outgoing_message *message_r, struct pl_error *err)
{
	struct pl_vector vector;
	int32_t counter;

	if (pl_vector_parse(&vector, row->vector, strlen(row->vector)) < 0)
		return pl_error_set(err, PL_EINVAL, "its vector %.60s is not a vector", row->vector);
	counter = pl_vector_get(&vector, row->origin);
	if (counter == 0)
		return pl_error_set(err, PL_EINVAL, "its vector %.60s does not count its origin %s",
		                    row->vector, row->origin);

	memset(message_r, 0, sizeof(*message_r));
	message_r->partition = -1;
	message_r->key = row->record_id;
	message_r->key_len = strlen(row->record_id);
	if (row->deleted) {
		add_header(message_r, "plist-deleted", row->value);
	} else {
		message_r->value = row->value;
		message_r->value_len = strlen(row->value);
	}
	add_header(
		message_r, "plist-event-id",
		pl_arena_printf(arena, "%s/%s/%s/%d", row->origin, row->resource, row->record_id, counter));
	add_header(message_r, "plist-origin", row->origin);
	add_header(message_r, "plist-vector", row->vector);
	add_header(message_r, "plist-request-id", row->request_id);
	add_header(message_r, "plist-principal", row->principal);
	add_header(message_r, "plist-fingerprint",
	           row->request_id && row->request_id[0] && row->fingerprint &&
	                           !strncmp(row->fingerprint, "\\x", 2)
	                   ? row->fingerprint + 2
	                   : NULL);
	add_header(message_r, "plist-status", row->status);
	add_header(message_r, "plist-expires", rfc3339(arena, row->expires_at));
	add_header(message_r, "plist-policy", policy);
	add_header(message_r, "plist-schema", SCHEMA);
	add_header(message_r, "plist-field-times", row->field_times);
	add_header(message_r, "traceparent", row->traceparent);
	add_header(message_r, "plist-reset", row->reset);
	add_header(message_r, "plist-republished", row->republished);
	add_header(message_r, "plist-answer", row->answer);
	return 0;
}

// ---- decoding

// In the order in which they are sent.
enum header {
	H_DELETED,
	H_EVENT_ID,
	H_ORIGIN,
	H_VECTOR,
	H_REQUEST_ID,
	H_PRINCIPAL,
	H_FINGERPRINT,
	H_STATUS,
	H_EXPIRES,
	H_POLICY,
	H_SCHEMA,
	H_FIELD_TIMES,
	H_TRACEPARENT,
	H_RESET,
	H_REPUBLISHED,
	H_ANSWER,
	H_COUNT
};

struct header_name {
	const char *text;
	size_t len;
};

#define NAME(text)                     \
	{                              \
		text, sizeof(text) - 1 \
	}

static const struct header_name header_names[H_COUNT] = {
	[H_DELETED] = NAME("plist-deleted"),         [H_EVENT_ID] = NAME("plist-event-id"),
	[H_ORIGIN] = NAME("plist-origin"),           [H_VECTOR] = NAME("plist-vector"),
	[H_REQUEST_ID] = NAME("plist-request-id"),   [H_PRINCIPAL] = NAME("plist-principal"),
	[H_FINGERPRINT] = NAME("plist-fingerprint"), [H_STATUS] = NAME("plist-status"),
	[H_EXPIRES] = NAME("plist-expires"),         [H_POLICY] = NAME("plist-policy"),
	[H_SCHEMA] = NAME("plist-schema"),           [H_FIELD_TIMES] = NAME("plist-field-times"),
	[H_TRACEPARENT] = NAME("traceparent"),       [H_RESET] = NAME("plist-reset"),
	[H_REPUBLISHED] = NAME("plist-republished"), [H_ANSWER] = NAME("plist-answer"),
};

struct reader {
	struct pl_arena *arena;
	const struct pl_message_header *found[H_COUNT]; // NULL: it is missing
	bool twice[H_COUNT];
	struct pl_error *err;
};

// One pass over the headers; foreign ones are skipped. Each is looked for from where the
// last one was found, since they arrive in this order.
static void find_headers(struct reader *r, const struct pl_message *message)
{
	const struct pl_message_header *headers = message->headers;
	int next = 0;

	for (int i = 0; i < message->nheaders; i++) {
		size_t len = strlen(headers[i].name);

		for (int k = 0; k < H_COUNT; k++) {
			int h = (next + k) % H_COUNT;

			if (len != header_names[h].len ||
			    memcmp(headers[i].name, header_names[h].text, len) != 0)
				continue;
			r->twice[h] = r->found[h] != NULL;
			r->found[h] = &headers[i];
			next = h + 1;
			break;
		}
	}
}

// The header as text; *text_r is NULL if it is missing. Headers that are not text, or
// are repeated, are refused.
static int text_header(struct reader *r, enum header h, size_t max, const char **text_r)
{
	const struct pl_message_header *found = r->found[h];
	const char *name = header_names[h].text;

	*text_r = NULL;
	if (!found)
		return 0;
	if (r->twice[h])
		return pl_error_set(r->err, PL_EINVAL, "header %s is given twice", name);
	if (!found->value || found->len == 0 || found->len > max)
		return pl_error_set(r->err, PL_EINVAL, "header %s is %s", name,
		                    found->len > max ? "too long" : "empty");
	if (memchr(found->value, '\0', found->len) || !pl_utf8_valid(found->value, found->len))
		return pl_error_set(r->err, PL_EINVAL, "header %s is not UTF-8", name);
	*text_r = pl_arena_strndup(r->arena, found->value, found->len);
	return 0;
}

static int read_fingerprint(struct reader *r, struct pl_sibling *write)
{
	const char *text;
	uint8_t *bytes;

	if (text_header(r, H_FINGERPRINT, 2 * PL_SHA256_SIZE, &text) < 0)
		return PL_EINVAL;
	if (!text)
		return write->request_id
		               ? pl_error_set(r->err, PL_EINVAL,
		                              "there is a request id and no header plist-fingerprint")
		               : 0;
	bytes = pl_arena_alloc(r->arena, PL_SHA256_SIZE);
	if (!pl_hex_decode(text, PL_SHA256_SIZE, bytes))
		return pl_error_set(r->err, PL_EINVAL,
		                    "header plist-fingerprint is not 64 hexadecimal digits");
	write->fingerprint = bytes;
	return 0;
}

static bool request_id_ok(const char *id)
{
	for (; *id; id++)
		if (!((*id >= 'A' && *id <= 'Z') || (*id >= 'a' && *id <= 'z') ||
		      (*id >= '0' && *id <= '9') || strchr("._~-", *id)))
			return false;
	return true;
}

static int characters(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xC0) != 0x80;
	return n;
}

static int read_request(struct reader *r, struct pl_event *event)
{
	const char *status, *expires;

	if (text_header(r, H_REQUEST_ID, REQUEST_ID_MAX, &event->write.request_id) < 0 ||
	    text_header(r, H_PRINCIPAL, 4 * PRINCIPAL_MAX, &event->write.principal) < 0 ||
	    read_fingerprint(r, &event->write) < 0 || text_header(r, H_STATUS, 3, &status) < 0 ||
	    text_header(r, H_EXPIRES, PL_TIME_TEXT_MAX, &expires) < 0)
		return PL_EINVAL;
	if (event->write.request_id && !request_id_ok(event->write.request_id))
		return pl_error_set(r->err, PL_EINVAL, "header plist-request-id is not a request id");
	if (!event->write.principal)
		event->write.principal = "";
	if (characters(event->write.principal) > PRINCIPAL_MAX)
		return pl_error_set(r->err, PL_EINVAL, "header plist-principal is longer than %d characters",
		                    PRINCIPAL_MAX);
	event->status = 200;
	if (status) {
		if (strlen(status) != 3 || status[0] != '2' || strspn(status, "0123456789") != 3)
			return pl_error_set(r->err, PL_EINVAL, "header plist-status is %s, not 2xx", status);
		event->status = 200 + (status[1] - '0') * 10 + (status[2] - '0');
	}
	if (expires && pl_clock_parse_time(expires, strlen(expires), &event->expires_at_us) < 0)
		return pl_error_set(r->err, PL_EINVAL, "header plist-expires is not an RFC 3339 time");
	return 0;
}

static int read_answer(struct reader *r, struct pl_event *event)
{
	const char *text;

	if (text_header(r, H_ANSWER, PL_EVENT_ANSWER_MAX, &text) < 0)
		return PL_EINVAL;
	if (!text)
		return 0;
	return pl_event_answer_parse(r->arena, text, &event->answer, r->err) < 0
	               ? pl_error_prefix(r->err, "header plist-answer")
	               : 0;
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
		if (!origin || !pl_vector_region_name_ok(origin, strlen(origin)) ||
		    pl_json_int64(pl_json_get(entry, "at"), &at) < 0 || at < PL_TIME_MIN_US ||
		    at > PL_TIME_MAX_US || cJSON_GetArraySize(entry) != 2)
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
	const char *origin, *vector, *schema, *fault;

	if (text_header(r, H_SCHEMA, 16, &schema) < 0 ||
	    text_header(r, H_ORIGIN, PL_REGION_MAX, &origin) < 0 ||
	    text_header(r, H_VECTOR, VECTOR_TEXT_MAX, &vector) < 0)
		return PL_EINVAL;
	if (schema && strcmp(schema, SCHEMA) != 0)
		return pl_error_set(r->err, PL_EINVAL,
		                    "header plist-schema is %s; this program reads " SCHEMA, schema);
	if (!origin || !pl_vector_region_name_ok(origin, strlen(origin)))
		return pl_error_set(r->err, PL_EINVAL, "header plist-origin is not the name of a region");
	if (!vector || pl_vector_parse(&write->vector, vector, strlen(vector)) < 0)
		return pl_error_set(r->err, PL_EINVAL, "header plist-vector is not a vector");
	strcpy(write->dot.region, origin);
	write->dot.counter = pl_vector_get(&write->vector, origin);
	fault = pl_edge_vector_fault(r->arena, NULL, &write->vector);
	if (fault)
		return pl_error_set(r->err, PL_EINVAL, "it could not be written on top of: %s", fault);
	if (write->dot.counter == 0)
		return pl_error_set(r->err, PL_EINVAL, "header plist-vector does not count its origin %s",
		                    origin);
	return 0;
}

// What an operator's reset replaced: see pl_decide_take.
static int read_reset(struct reader *r, struct pl_event *event)
{
	const char *text;
	struct pl_vector *reset;

	if (text_header(r, H_RESET, VECTOR_TEXT_MAX, &text) < 0)
		return PL_EINVAL;
	if (!text)
		return 0;
	event->reset = reset = pl_arena_alloc(r->arena, sizeof(*reset));
	return pl_vector_parse(reset, text, strlen(text)) == 0
	               ? 0
	               : pl_error_set(r->err, PL_EINVAL, "header plist-reset is not a vector");
}

// "us" or "us; request".
static bool split_republished(const char *text, size_t len, char region_r[PL_REGION_MAX + 1],
                              bool *request_only_r)
{
	const char *end = memchr(text, ';', len);
	size_t name = end ? (size_t)(end - text) : len;

	*request_only_r =
		end && len - name == strlen("; request") && memcmp(end, "; request", len - name) == 0;
	if ((end && !*request_only_r) || !pl_vector_region_name_ok(text, name))
		return false;
	memcpy(region_r, text, name);
	region_r[name] = '\0';
	return true;
}

bool pl_event_republished_by(const struct pl_message *message, char region_r[PL_REGION_MAX + 1])
{
	const struct pl_message_header *headers = message->headers;
	bool request_only;

	for (int i = 0; i < message->nheaders; i++)
		if (strcmp(headers[i].name, header_names[H_REPUBLISHED].text) == 0)
			return headers[i].value &&
			       split_republished(headers[i].value, headers[i].len, region_r, &request_only);
	return false;
}

static int read_republished(struct reader *r, struct pl_event *event)
{
	char region[PL_REGION_MAX + 1];
	const char *text;

	if (text_header(r, H_REPUBLISHED, PL_REGION_MAX + sizeof("; request"), &text) < 0)
		return PL_EINVAL;
	if (!text)
		return 0;
	if (!split_republished(text, strlen(text), region, &event->republished.request_only))
		return pl_error_set(r->err, PL_EINVAL, "header plist-republished names no region");
	event->republished.region = pl_arena_strdup(r->arena, region);
	return 0;
}

// As read_record, of a text in any form.
static int parse_record(struct reader *r, const struct pl_event *event, const void *value, size_t value_len,
                        struct pl_record **record_r)
{
	const struct pl_resource *resource = event->resource;
	const char *fault;
	cJSON *json;
	int code;

	json = pl_json_parse(value, value_len, &value_limits, r->err);
	if (!json)
		return PL_EINVAL;
	code = pl_record_parse(r->arena, resource, json, record_r, r->err);
	fault = code == 0 && event->foreign ? pl_record_fault(r->arena, resource, json)
	                                    : NULL; // not validated yet
	cJSON_Delete(json);
	if (code < 0)
		return PL_EINVAL;
	if (fault || (event->foreign && (*record_r)->mistyped))
		return pl_error_set(r->err, PL_EINVAL, "%s", fault ? fault : (*record_r)->unfit);
	return 0;
}

// Reads the record from the value or, for a delete, from the header.
static int read_record(struct reader *r, const struct pl_resource *resource, const void *value,
                       size_t value_len, struct pl_event *event)
{
	struct pl_record *record =
		event->foreign ? NULL : pl_record_read_printed(r->arena, resource, value, value_len);

	if (!record && parse_record(r, event, value, value_len, &record) < 0)
		return PL_EINVAL;
	if (record->id < 1 || record->id > PL_ID_MAX)
		return pl_error_set(r->err, PL_EINVAL, "id is not an integer from 1 to 2^53-1");
	if (!pl_vector_region_name_ok(record->region_origin, strlen(record->region_origin)))
		return pl_error_set(r->err, PL_EINVAL, "region_origin is not the name of a region");
	if (record->version < 1 || record->version > PL_VERSION_MAX)
		return pl_error_set(r->err, PL_EINVAL, "version is not an integer from 1 to %d",
		                    PL_VERSION_MAX);
	event->unfit = record->unfit;
	event->id = record->id;
	event->version = record->version;
	event->write.values = record->values;
	event->write.unknown = record->unknown;
	event->write.updated_at_us = record->updated_at_us;
	if (event->foreign)
		pl_vector_region_of(record->region_origin, event->write.dot.region);
	else if (!pl_vector_same_region(event->write.dot.region, record->region_origin))
		return pl_error_set(r->err, PL_EINVAL, "region_origin is %s, header plist-origin %s",
		                    record->region_origin, event->write.dot.region);
	return 0;
}

// The id in a message key; 0: it is not an id.
static int64_t id_of_key(const char *key, size_t len)
{
	int64_t n = 0;

	if (!key || len == 0 || len > 18 || key[0] == '0')
		return 0;
	for (size_t i = 0; i < len; i++) {
		if (key[i] < '0' || key[i] > '9')
			return 0;
		n = n * 10 + (key[i] - '0');
	}
	return n;
}

int pl_event_own_dot(const struct pl_message *message, int64_t *id_r, struct pl_dot *dot_r)
{
	struct reader r = { .arena = NULL };
	char origin[PL_REGION_MAX + 1];
	struct pl_vector vector;
	int64_t id = id_of_key(message->key, message->key_len);
	int32_t counter;

	find_headers(&r, message);
	if (!r.found[H_ORIGIN] || r.twice[H_ORIGIN] || !r.found[H_ORIGIN]->value ||
	    r.found[H_ORIGIN]->len > PL_REGION_MAX || r.found[H_ORIGIN]->len == 0)
		return -1;
	memcpy(origin, r.found[H_ORIGIN]->value, r.found[H_ORIGIN]->len);
	origin[r.found[H_ORIGIN]->len] = '\0';
	if (!pl_vector_region_name_ok(origin, strlen(origin)) || !r.found[H_VECTOR] || r.twice[H_VECTOR] ||
	    !r.found[H_VECTOR]->value ||
	    pl_vector_parse(&vector, r.found[H_VECTOR]->value, r.found[H_VECTOR]->len) < 0)
		return -1;
	counter = pl_vector_get(&vector, origin);
	if (id <= 0 || counter <= 0)
		return -1;
	*id_r = id;
	strcpy(dot_r->region, origin);
	dot_r->counter = counter;
	return 0;
}

static int read_own(struct reader *r, const struct pl_message *message, struct pl_event *event)
{
	const void *value = message->value;
	const char *deleted;

	if (read_dot(r, event) < 0 || read_reset(r, event) < 0 || read_republished(r, event) < 0 ||
	    read_request(r, event) < 0 || read_answer(r, event) < 0 || read_field_times(r, event) < 0 ||
	    text_header(r, H_EVENT_ID, 512, &event->event_id) < 0 ||
	    text_header(r, H_POLICY, POLICY_MAX, &event->policy) < 0 ||
	    text_header(r, H_DELETED, value_limits.bytes, &deleted) < 0)
		return PL_EINVAL;
	if (text_header(r, H_TRACEPARENT, TRACEPARENT_MAX, &event->traceparent) < 0)
		event->traceparent = NULL; // it is optional: no reason to lose a write
	if (!value != !!deleted)
		return pl_error_set(r->err, PL_EINVAL,
		                    value ? "it has a value and a header plist-deleted"
		                          : "it has neither value nor header plist-deleted");
	event->write.deleted = deleted != NULL;
	if (read_record(r, event->resource, deleted ? deleted : value,
	                deleted ? strlen(deleted) : message->value_len, event) < 0)
		return PL_EINVAL;
	if (event->version != pl_vector_sum(&event->write.vector))
		return pl_error_set(r->err, PL_EINVAL, "version %d is not the sum of header plist-vector",
		                    event->version);
	if (id_of_key(message->key, message->key_len) != event->id)
		return pl_error_set(r->err, PL_EINVAL, "its key is not its record's id %lld",
		                    (long long)event->id);
	if (!event->event_id)
		event->event_id = pl_arena_printf(r->arena, "%s/%s/%lld/%d", event->write.dot.region,
		                                  event->resource->name, (long long)event->id,
		                                  event->write.dot.counter);
	return 0;
}

int pl_event_decode(struct pl_arena *arena, const struct pl_resource *resource,
                    const struct pl_message *message, struct pl_event **event_r, struct pl_error *err)
{
	struct pl_event *event = pl_arena_alloc(arena, sizeof(*event));
	struct pl_error own;
	struct reader r = { .arena = arena, .err = err ? err : &own };

	find_headers(&r, message);
	event->resource = resource;
	event->topic = message->topic;
	event->partition = message->partition;
	event->offset = message->offset;
	event->broker_time_us = message->broker_time_us;
	event->write.principal = "";
	event->foreign = !r.found[H_ORIGIN];
	*event_r = event;
	if (!event->foreign)
		return read_own(&r, message, event);
	if (!message->value)
		return pl_error_set(err, PL_EINVAL,
		                    "it has neither a value nor plist's headers for a delete");
	return read_record(&r, resource, message->value, message->value_len, event);
}
