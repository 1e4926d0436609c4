// Heartbeats as JSON. Sent by the relay that leads its region, read by every applier, kept in region_heartbeats.
//
// Threads: any; nothing is shared.
#include "replicate/heartbeat.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "record/vector.h"

static const struct pl_json_limits limits = { .bytes = 64 * 1024, .depth = 4, .nodes = 1000 };

void pl_heartbeat_print(struct pl_buf *buf, const struct pl_heartbeat *heartbeat)
{
	char at[PL_TIME_TEXT_MAX];

	pl_buf_printf(buf, "{\"region\":\"%s\",\"sent_at\":\"%s\",\"outbox_events\":%lld,\"outbox_oldest_at\":", heartbeat->region,
	              pl_time_format(heartbeat->sent_at_us, at), (long long)heartbeat->outbox_events);
	if (heartbeat->outbox_oldest_us)
		pl_buf_printf(buf, "\"%s\"", pl_time_format(heartbeat->outbox_oldest_us, at));
	else
		pl_buf_adds(buf, "null");
	pl_buf_printf(buf, ",\"policies\":%s}", heartbeat->policies);
}

static int read_time(const cJSON *json, const char *name, int64_t *at_us_r)
{
	const char *text = pl_json_string(json, name);

	return text ? pl_time_parse(text, strlen(text), at_us_r) : -1;
}

static int read_members(struct pl_arena *arena, const cJSON *json, struct pl_heartbeat *h, struct pl_error *err)
{
	const char *region = pl_json_string(json, "region");
	const cJSON *policies = pl_json_get(json, "policies");
	struct pl_buf buf = { 0 };

	if (!region || !pl_region_name_ok(region, strlen(region)))
		return pl_error_set(err, PL_EINVAL, "region is no name of a region");
	strcpy(h->region, region);
	if (read_time(json, "sent_at", &h->sent_at_us) < 0)
		return pl_error_set(err, PL_EINVAL, "sent_at is no time");
	if (pl_json_int64(pl_json_get(json, "outbox_events"), &h->outbox_events) < 0 || h->outbox_events < 0)
		return pl_error_set(err, PL_EINVAL, "outbox_events is no count");
	if (read_time(json, "outbox_oldest_at", &h->outbox_oldest_us) < 0)
		h->outbox_oldest_us = 0;
	if (cJSON_IsObject(policies))
		pl_json_print(&buf, policies);
	h->policies = pl_arena_strdup(arena, buf.len ? buf.data : "{}");
	pl_buf_fini(&buf);
	return 0;
}

int pl_heartbeat_parse(struct pl_arena *arena, const char *text, size_t len, struct pl_heartbeat *heartbeat_r, struct pl_error *err)
{
	cJSON *json = pl_json_parse(text, len, &limits, err);
	int code;

	memset(heartbeat_r, 0, sizeof *heartbeat_r);
	if (!json)
		return PL_EINVAL;
	code = cJSON_IsObject(json) ? read_members(arena, json, heartbeat_r, err) : pl_error_set(err, PL_EINVAL, "it is no JSON object");
	cJSON_Delete(json);
	return code;
}
