// Messages of a topic: whatever a producer has sent is either an event or a dead letter
// with a reason.
//
// An input is text: the key on the first line, a header "name: value" on each following
// one, an empty line, the value. Without the empty line there is no value (a delete).
// Threads: one.
#include "fuzz.h"

#include <string.h>

#include "base/mem.h"
#include "event/event.h"
#include "resource.h"

#define HEADERS_MAX 20

static const char *line_end(const char *p, const char *end)
{
	const char *at = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
	return at ? at : end;
}

static void read_message(struct pl_message *message, struct pl_message_header *headers,
                         struct pl_arena *arena, const char *text, size_t size)
{
	const char *end = text + size, *p = line_end(text, end);
	message->headers = headers;
	message->key = text;
	message->key_len = (size_t)(p - text);
	while (p < end) {
		const char *line = p + 1;
		p = line_end(line, end);
		if (p == line && p < end) {
			message->value = line + 1;
			message->value_len = (size_t)(end - line - 1);
			return;
		}
		const char *colon = p > line ? memchr(line, ':', (size_t)(p - line)) : NULL;
		if (colon == NULL || message->nheaders == HEADERS_MAX)
			continue;
		const char *value = colon + 1 < p && colon[1] == ' ' ? colon + 2 : colon + 1;
		headers[message->nheaders++] = (struct pl_message_header){
			.name = pl_arena_strndup(arena, line, (size_t)(colon - line)),
			.value = value,
			.len = (size_t)(p - value),
		};
	}
}

static void check_event(const struct pl_event *event)
{
	const struct pl_sibling *write = &event->write;
	PROMISE(event->resource == &fuzz_resource && event->id > 0);
	PROMISE(pl_vector_region_name_ok(write->dot.region, strlen(write->dot.region)));
	for (int i = 0; i < fuzz_resource.nfields; i++)
		PROMISE(write->deleted || !fuzz_resource.fields[i].required || write->values[i] != NULL);
	if (!event->foreign) {
		PROMISE(write->dot.counter > 0);
		PROMISE(pl_vector_get(&write->vector, write->dot.region) == write->dot.counter);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_message_header headers[HEADERS_MAX];
	struct pl_message message = { 0 };
	struct pl_event *event = NULL;
	struct pl_error err = { 0 };
	read_message(&message, headers, arena, size ? (const char *)data : "", size);
	if (pl_event_decode(arena, &fuzz_resource, &message, &event, &err) == 0)
		check_event(event);
	else
		PROMISE(err.code == PL_EINVAL && err.text[0] != '\0');
	pl_arena_free(&arena);
	return 0;
}
