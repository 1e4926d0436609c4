// Heartbeats of other regions: whatever is in their topic is either a heartbeat or is
// refused with a reason.
//
// Threads: one.
#include "fuzz.h"

#include <string.h>

#include "event/heartbeat.h"
#include "record/vector.h"

#define NOW_US INT64_C(1800000000000000)

// Of a heartbeat, or of a shorter message in its topic.
static void check_position(const char *text, size_t size)
{
	struct pl_heartbeat_position told, back;
	struct pl_buf published = { 0 }, again = { 0 };

	if (pl_heartbeat_parse_position(text, size, NOW_US, &told) != 0)
		return;
	PROMISE(told.position.generation > 0 && told.position.id >= 0);
	pl_sequence_print(&published, &told.published);
	pl_heartbeat_print_position(&again, told.region, &told.position, told.passed, published.data);
	PROMISE(pl_heartbeat_parse_position(again.data, again.len, NOW_US, &back) == 0);
	PROMISE(back.position.id == told.position.id && strcmp(back.region, told.region) == 0);
	pl_sequence_fini(&told.published);
	pl_sequence_fini(&back.published);
	pl_buf_fini(&published);
	pl_buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_heartbeat heard = { 0 }, back = { 0 };
	struct pl_error err = { 0 };
	struct pl_buf text = { 0 };
	if (pl_heartbeat_parse(arena, size ? (const char *)data : "", size, NOW_US, &heard, &err) != 0) {
		PROMISE(err.text[0] != '\0');
	} else {
		PROMISE(pl_vector_region_name_ok(heard.region, strlen(heard.region)));
		PROMISE(heard.outbox_events >= 0 && heard.sent_at_us <= NOW_US + INT64_C(86400000000));
		pl_heartbeat_print(&text, &heard);
		PROMISE(pl_heartbeat_parse(arena, text.data, text.len, NOW_US, &back, &err) == 0);
		PROMISE(strcmp(back.region, heard.region) == 0 && back.sent_at_us == heard.sent_at_us);
		PROMISE(back.outbox_events == heard.outbox_events &&
		        back.outbox_oldest_us == heard.outbox_oldest_us);
	}
	check_position(size ? (const char *)data : "", size);
	pl_buf_fini(&text);
	pl_arena_free(&arena);
	return 0;
}
