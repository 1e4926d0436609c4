// Lag as JSON, for people and their scripts.
//
// Threads: any; nothing is shared.
#include "lag/lag.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

const char *pl_lag_origin_state_name(enum pl_lag_origin_state state)
{
	static const char *const names[] = { "ok", "behind", "unknown", "rebuilding", "silent", "gap" };

	return names[state];
}

// Milliseconds are enough, 0 is "0", and what is not known is null.
static void add_seconds(struct pl_buf *buf, double seconds)
{
	char text[48];
	size_t len = (size_t)snprintf(text, sizeof(text), "%.3f", seconds);

	if (seconds < 0) {
		pl_buf_adds(buf, "null");
		return;
	}

	while (text[len - 1] == '0')
		len--;
	if (text[len - 1] == '.')
		len--;
	pl_buf_add(buf, text, len);
}

static void add_time(struct pl_buf *buf, int64_t at_us)
{
	char at[PL_TIME_TEXT_MAX];

	if (at_us == 0)
		pl_buf_adds(buf, "null");
	else
		pl_buf_printf(buf, "\"%s\"", pl_clock_format_time(at_us, at));
}

static void add_origin(struct pl_buf *buf, const struct pl_lag_origin *origin)
{
	pl_buf_printf(buf, "\"%s\":{\"state\":\"%s\",\"lag_seconds\":", origin->region,
	              pl_lag_origin_state_name(origin->state));
	add_seconds(buf, origin->seconds);
	pl_buf_printf(buf, ",\"events_behind\":%lld,\"outbox_events\":%lld,\"last_event_at\":",
	              (long long)origin->events_behind, (long long)origin->outbox_events);
	add_time(buf, origin->last_event_us);
	pl_buf_adds(buf, ",\"last_heartbeat_at\":");
	add_time(buf, origin->last_heartbeat_us);
	pl_buf_printf(buf, ",\"gaps\":%d,\"clock_skew_seconds\":", origin->gaps);
	if (origin->skew_known)
		pl_buf_printf(buf, "%.3f}", origin->skew_seconds);
	else
		pl_buf_adds(buf, "null}");
}

static void add_partition(struct pl_buf *buf, const struct pl_lag_partition *partition)
{
	pl_buf_adds(buf, "{\"topic\":");
	pl_buf_add_json(buf, partition->topic, strlen(partition->topic));
	pl_buf_printf(buf, ",\"partition\":%d,\"committed\":%lld,\"end\":", partition->partition,
	              (long long)partition->committed);
	if (partition->end < 0)
		pl_buf_adds(buf, "null");
	else
		pl_buf_add_i64(buf, partition->end);
	pl_buf_adds(buf, ",\"lag_seconds\":");
	add_seconds(buf, partition->seconds);
	pl_buf_addc(buf, '}');
}

void pl_lag_print(struct pl_buf *buf, const struct pl_lag *lag)
{
	pl_buf_adds(buf, "{\"lag_seconds\":");
	add_seconds(buf, lag->seconds);
	pl_buf_printf(buf, ",\"events_behind\":%lld,\"broker\":\"%s\",\"last_contact_at\":",
	              (long long)lag->events_behind, lag->broker_up ? "up" : "down");
	add_time(buf, lag->last_contact_us);
	pl_buf_adds(buf, ",\"origins\":{");
	for (int i = 0; i < lag->norigins; i++) {
		if (i)
			pl_buf_addc(buf, ',');
		add_origin(buf, &lag->origins[i]);
	}
	pl_buf_adds(buf, "},\"partitions\":[");
	for (int i = 0; i < lag->npartitions; i++) {
		if (i)
			pl_buf_addc(buf, ',');
		add_partition(buf, &lag->partitions[i]);
	}
	pl_buf_adds(buf, "]}");
}
