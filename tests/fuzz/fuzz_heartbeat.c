// Heartbeats of other regions: whatever stands in their topic, it is one or it is refused with a reason.
//
// Threads: one.
#include "fuzz.h"

#include <string.h>

#include "replicate/heartbeat.h"
#include "record/vector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_heartbeat heard = {0}, back = {0};
	struct pl_error err = {0};
	struct pl_buf text = {0};
	if (pl_heartbeat_parse(arena, size ? (const char *)data : "", size, &heard, &err) != 0) {
		PROMISE(err.text[0] != '\0');
	} else {
		PROMISE(pl_region_name_ok(heard.region, strlen(heard.region)));
		PROMISE(heard.outbox_events >= 0);
		pl_heartbeat_print(&text, &heard);
		PROMISE(pl_heartbeat_parse(arena, text.data, text.len, &back, &err) == 0);
		PROMISE(strcmp(back.region, heard.region) == 0 && back.sent_at_us == heard.sent_at_us);
		PROMISE(back.outbox_events == heard.outbox_events && back.outbox_oldest_us == heard.outbox_oldest_us);
	}
	pl_buf_fini(&text);
	pl_arena_free(&arena);
	return 0;
}
