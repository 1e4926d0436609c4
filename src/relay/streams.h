// Streams: the sequence numbers of the messages that the relay sends to each partition.
#pragma once

#include "event/sequence.h"

struct pl_stream {
	int64_t sent;    // the number of the last message passed to the producer
	int64_t settled; // the largest acknowledged number whose earlier rows are acknowledged, too
	int64_t broken;  // >= 0: messages after it may be missing, and the next message says so
};

struct pl_stream_topic {
	char *name;
	int partitions; // 0: unknown
	int n;          // the largest number of partitions so far
	struct pl_stream *streams;
};

struct pl_streams {
	int64_t next, end; // reserved numbers
	int n;
	struct pl_stream_topic *topics;
};

void pl_streams_fini(struct pl_streams *streams);
// The topic's index, which does not change; adds the topic.
int pl_streams_topic(struct pl_streams *streams, const char *name);
// Sets the topic's present number of partitions. True: it was larger before.
bool pl_streams_resize(struct pl_streams *streams, int topic, int partitions);
void pl_streams_forget_sizes(struct pl_streams *streams);
// The next message's number and the previous one, as the header's value. A slot is a
// stream's index, to be kept with the row.
uint32_t pl_streams_slot(int topic, int32_t partition);
struct pl_stream *pl_streams_at(const struct pl_streams *streams, uint32_t slot);
int64_t pl_streams_previous(const struct pl_stream *stream);
int64_t pl_streams_take(struct pl_streams *streams, struct pl_stream *stream);
// Notes that a message that followed `prev` may not arrive.
void pl_streams_break(struct pl_stream *stream, int64_t prev);
// Starts again after `published`.
void pl_streams_restart(struct pl_streams *streams, const struct pl_sequences *published);
// Copies the settled numbers to `published`, without partitions that no longer exist.
void pl_streams_settled(const struct pl_streams *streams, struct pl_sequences *published);
