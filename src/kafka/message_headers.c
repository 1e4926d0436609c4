// A message's headers as JSON text: see message_headers.h.
#include "kafka/message_headers.h"

#include <string.h>

#include "base/buf.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/utf8.h"

static const struct pl_json_limits limits = { .bytes = 16 << 20, .depth = 4, .nodes = 1 << 16 };

const char *pl_message_headers_print(struct pl_arena *arena, const struct pl_message *message)
{
	struct pl_buf buf = { 0 };
	const char *text;

	pl_buf_addc(&buf, '[');
	for (int i = 0; i < message->nheaders; i++) {
		const struct pl_message_header *h = &message->headers[i];
		const unsigned char *bytes = h->value;
		bool is_text = h->value && !memchr(h->value, '\0', h->len) && pl_utf8_valid(h->value, h->len);

		pl_buf_adds(&buf, i ? ",{\"name\":" : "{\"name\":");
		pl_buf_add_json(&buf, h->name, strlen(h->name));
		pl_buf_adds(&buf, is_text ? ",\"value\":" : ",\"hex\":\"");
		if (is_text)
			pl_buf_add_json(&buf, h->value, h->len);
		for (size_t j = 0; !is_text && bytes && j < h->len; j++)
			pl_buf_printf(&buf, "%02x", bytes[j]);
		pl_buf_adds(&buf, is_text ? "}" : "\"}");
	}
	pl_buf_addc(&buf, ']');
	text = pl_arena_strndup(arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return text;
}

const void *pl_message_bytes(struct pl_arena *arena, const char *digits, size_t *len_r)
{
	unsigned char *bytes;

	*len_r = digits ? strlen(digits) / 2 : 0;
	if (!digits)
		return NULL;
	bytes = pl_arena_alloc(arena, *len_r + 1);
	pl_hex_decode(digits, *len_r, bytes); // PostgreSQL or plist wrote them
	return bytes;
}

void pl_message_headers_parse(struct pl_arena *arena, const char *text, struct pl_message *message_r)
{
	cJSON *list = pl_json_parse(text, strlen(text), &limits, NULL);
	int n = list ? cJSON_GetArraySize(list) : 0;
	struct pl_message_header *headers = pl_arena_alloc(arena, sizeof(headers[0]) * (size_t)n + 1);

	message_r->nheaders = 0;
	message_r->headers = headers;
	for (const cJSON *item = list ? list->child : NULL; item; item = item->next) {
		const char *name = pl_json_string(item, "name"), *value = pl_json_string(item, "value"),
			   *digits = pl_json_string(item, "hex");
		struct pl_message_header *h = &headers[message_r->nheaders];

		if (!name || (!value && !digits))
			continue;
		h->name = pl_arena_strdup(arena, name);
		h->len = value ? strlen(value) : 0;
		h->value = value ? pl_arena_strndup(arena, value, h->len)
		                 : pl_message_bytes(arena, digits, &h->len);
		message_r->nheaders++;
	}
	cJSON_Delete(list);
}
