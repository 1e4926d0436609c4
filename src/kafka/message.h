// Messages as Kafka carries them: key, value and headers, received or to be sent.
//
// Plain data; a message does not own what it points to.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pl_message_header {
	const char *name;
	const void *value;
	size_t len;
};
#define PL_MESSAGE_HEADERS_MAX 20

// An event to be sent. Points into the row and into the arena.
struct pl_outgoing_message {
	const char *key, *value; // value NULL: a delete
	size_t key_len, value_len;
	int32_t partition; // -1: the client chooses by the key
	int nheaders;
	struct pl_message_header headers[PL_MESSAGE_HEADERS_MAX];
	int nmore;
	const struct pl_message_header *more; // headers behind those, in any number
};

// A received message. What it points to belongs to the caller and is valid until the
// batch is done.
struct pl_message {
	const char *topic;
	int32_t partition;
	int64_t offset;
	int64_t broker_time_us; // 0: none
	// the database may lack this event: apply it even if it is our own
	bool unsure;
	const void *key, *value;
	size_t key_len, value_len; // value NULL: Kafka's null
	int nheaders;
	const struct pl_message_header *headers;
};
