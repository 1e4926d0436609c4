// A message's headers as JSON text, for tables that keep messages whole: parked events
// and dead letters.
//
//   [{"name": "plist-event", "value": "us/1"}, {"name": "raw", "hex": "00ff"}, …]
//
// In their order, duplicates included; a value that is not text without NULs is in
// hexadecimal digits.
// Threads: any; nothing is shared.
#pragma once

#include "base/mem.h"
#include "kafka/message.h"

const char *pl_message_headers_print(struct pl_arena *arena, const struct pl_message *message);
// Fills in the headers of `message_r`; what is not in the form above is passed over.
void pl_message_headers_parse(struct pl_arena *arena, const char *text, struct pl_message *message_r);
// Decodes hexadecimal digits, in pairs; NULL stays NULL.
const void *pl_message_bytes(struct pl_arena *arena, const char *digits, size_t *len_r);
