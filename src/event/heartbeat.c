// Heartbeats as JSON. Sent by the relay that publishes for its region, read by every
// applier, stored in region_heartbeats. They have their own topic, so that the topics of
// records contain only records.
//
// Threads: any; nothing is shared.
#include "event/heartbeat.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "record/vector.h"

#define AHEAD_US INT64_C(86400000000) // how far a clock may be ahead of this one

static const struct pl_json_limits limits = { .bytes = 1024 * 1024, .depth = 8, .nodes = 20000 };

static void print_place(struct pl_buf *buf, const struct pl_outbox_place *place, int64_t passed)
{
	pl_buf_printf(buf, ",\"position\":{\"generation\":%lld,\"id\":%lld", (long long)place->generation,
	              (long long)place->id);
	if (passed > place->id)
		pl_buf_printf(buf, ",\"passed\":%lld", (long long)passed);
	pl_buf_addc(buf, '}');
}

void pl_heartbeat_print(struct pl_buf *buf, const struct pl_heartbeat *heartbeat)
{
	char at[PL_TIME_TEXT_MAX];

	pl_buf_printf(buf,
	              "{\"region\":\"%s\",\"sent_at\":\"%s\",\"outbox_events\":%lld,\"outbox_oldest_at\":",
	              heartbeat->region, pl_clock_format_time(heartbeat->sent_at_us, at),
	              (long long)heartbeat->outbox_events);
	if (heartbeat->outbox_oldest_us)
		pl_buf_printf(buf, "\"%s\"", pl_clock_format_time(heartbeat->outbox_oldest_us, at));
	else
		pl_buf_adds(buf, "null");
	pl_buf_printf(buf, ",\"policies\":%s", heartbeat->policies);
	if (heartbeat->published)
		pl_buf_printf(buf, ",\"published\":%s", heartbeat->published);
	if (heartbeat->applied)
		pl_buf_printf(buf, ",\"applied\":%s", heartbeat->applied);
	if (heartbeat->word)
		pl_buf_printf(buf, ",\"word\":%s", heartbeat->word);
	if (heartbeat->fields)
		pl_buf_printf(buf, ",\"fields\":%s", heartbeat->fields);
	if (heartbeat->position.generation > 0)
		print_place(buf, &heartbeat->position, heartbeat->passed);
	pl_buf_addc(buf, '}');
}

void pl_heartbeat_print_position(struct pl_buf *buf, const char *region,
                                 const struct pl_outbox_place *position, int64_t passed,
                                 const char *published)
{
	pl_buf_printf(buf, "{\"region\":\"%s\",\"published\":%s", region, published);
	print_place(buf, position, passed);
	pl_buf_addc(buf, '}');
}

static int read_time(const cJSON *json, const char *name, int64_t *at_us_r)
{
	const char *text = pl_json_string(json, name);

	return text ? pl_clock_parse_time(text, strlen(text), at_us_r) : -1;
}

// A member of the heartbeat that is an object, as text; NULL: it is missing or invalid.
static const char *read_object(struct pl_arena *arena, const cJSON *object)
{
	struct pl_buf buf = { 0 };
	const char *text;

	if (!cJSON_IsObject(object))
		return NULL;
	pl_json_print(&buf, object);
	text = pl_arena_strndup(arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return text;
}

static bool are_sequences(const cJSON *json, int64_t now_us)
{
	struct pl_sequences sequences = { 0 };
	bool are = pl_sequence_parse(json, &sequences) == 0 && pl_sequences_plausible(&sequences, now_us);

	pl_sequence_fini(&sequences);
	return are;
}

static bool are_applied(const cJSON *applied, int64_t now_us)
{
	for (const cJSON *origin = applied->child; origin; origin = origin->next)
		if (!are_sequences(origin, now_us))
			return false;
	return cJSON_IsObject(applied);
}

static bool read_region(const cJSON *json, char region_r[PL_REGION_MAX + 1])
{
	const char *region = pl_json_string(json, "region");

	if (!region || !pl_vector_region_name_ok(region, strlen(region)) || strchr(region, '.'))
		return false;
	strcpy(region_r, region);
	return true;
}

static int read_numbers(struct pl_arena *arena, const cJSON *json, int64_t now_us, struct pl_heartbeat *h,
                        struct pl_error *err)
{
	const cJSON *published = pl_json_get(json, "published"), *applied = pl_json_get(json, "applied");
	const cJSON *word = pl_json_get(json, "word");

	if (published && !are_sequences(published, now_us))
		return pl_error_set(err, PL_EINVAL, "published are not numbers that can be true");
	if (applied && !are_applied(applied, now_us))
		return pl_error_set(err, PL_EINVAL, "applied are not numbers that can be true");
	h->published = read_object(arena, published);
	h->applied = read_object(arena, applied);
	h->word = read_object(arena, word);
	if (h->word && pl_word_check(word, now_us, err) < 0)
		return err->code;
	pl_word_read_sender(h->word ? word : NULL, &h->sender);
	return 0;
}

static int read_members(struct pl_arena *arena, const cJSON *json, int64_t now_us, struct pl_heartbeat *h,
                        struct pl_error *err)
{
	const char *policies = read_object(arena, pl_json_get(json, "policies"));

	if (!read_region(json, h->region))
		return pl_error_set(err, PL_EINVAL, "region is not the name of a region");
	if (read_time(json, "sent_at", &h->sent_at_us) < 0)
		return pl_error_set(err, PL_EINVAL, "sent_at is not a time");
	if (h->sent_at_us > now_us + AHEAD_US)
		return pl_error_set(err, PL_EINVAL, "sent_at is more than a day ahead of the clock");
	if (pl_json_int64(pl_json_get(json, "outbox_events"), &h->outbox_events) < 0 ||
	    h->outbox_events < 0 || h->outbox_events > PL_OUTBOX_ID_MAX)
		return pl_error_set(err, PL_EINVAL, "outbox_events is not a count");
	if (!pl_word_storable(json))
		return pl_error_set(err, PL_EINVAL, "a number in it is not an integer of 64 bits");
	if (read_time(json, "outbox_oldest_at", &h->outbox_oldest_us) < 0)
		h->outbox_oldest_us = 0;
	h->policies = policies ? policies : "{}";
	h->fields = read_object(arena, pl_json_get(json, "fields"));
	return read_numbers(arena, json, now_us, h, err);
}

int pl_heartbeat_parse(struct pl_arena *arena, const char *text, size_t len, int64_t now_us,
                       struct pl_heartbeat *heartbeat_r, struct pl_error *err)
{
	cJSON *json = pl_json_parse(text, len, &limits, err);
	int code;

	memset(heartbeat_r, 0, sizeof(*heartbeat_r));
	if (!json)
		return PL_EINVAL;
	code = cJSON_IsObject(json) ? read_members(arena, json, now_us, heartbeat_r, err)
	                            : pl_error_set(err, PL_EINVAL, "it is not a JSON object");
	cJSON_Delete(json);
	return code;
}

static bool read_place(const cJSON *json, struct pl_outbox_place *place_r)
{
	return pl_json_int64(pl_json_get(json, "generation"), &place_r->generation) == 0 &&
	       pl_json_int64(pl_json_get(json, "id"), &place_r->id) == 0 && place_r->generation > 0 &&
	       place_r->id >= 0;
}

// Missing where it says nothing more than the position.
static bool read_passed(const cJSON *json, int64_t now_us, struct pl_heartbeat_position *position_r)
{
	struct pl_outbox_place place = position_r->position;

	if (pl_json_get(json, "passed") && pl_json_int64(pl_json_get(json, "passed"), &place.id) < 0)
		return false;
	position_r->passed = place.id;
	return place.id >= position_r->position.id && pl_sequence_place_plausible(&place, now_us);
}

int pl_heartbeat_parse_position(const char *text, size_t len, int64_t now_us,
                                struct pl_heartbeat_position *position_r)
{
	cJSON *json = pl_json_parse(text, len, &limits, NULL);
	int code = -1;

	memset(position_r, 0, sizeof(*position_r));
	if (cJSON_IsObject(json) && read_region(json, position_r->region) &&
	    read_place(pl_json_get(json, "position"), &position_r->position) &&
	    pl_sequence_place_plausible(&position_r->position, now_us) &&
	    read_passed(pl_json_get(json, "position"), now_us, position_r) &&
	    are_sequences(pl_json_get(json, "published"), now_us))
		code = pl_sequence_parse(pl_json_get(json, "published"), &position_r->published);
	if (code < 0)
		pl_sequence_fini(&position_r->published);
	cJSON_Delete(json);
	return code;
}
