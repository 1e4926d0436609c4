// Streams: numbers are assigned in order, each only once. `prev` of a message is the
// number before it in its partition, or the last one that is known to have arrived.
//
// Threads: the relay's.
#include "relay/streams.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void pl_streams_fini(struct pl_streams *streams)
{
	for (int i = 0; i < streams->n; i++) {
		free(streams->topics[i].name);
		free(streams->topics[i].streams);
	}
	free(streams->topics);
	memset(streams, 0, sizeof(*streams));
}

int pl_streams_topic(struct pl_streams *streams, const char *name)
{
	for (int i = 0; i < streams->n; i++)
		if (strcmp(streams->topics[i].name, name) == 0)
			return i;
	streams->topics = pl_realloc(streams->topics, sizeof(streams->topics[0]) * (size_t)(streams->n + 1));
	streams->topics[streams->n] = (struct pl_stream_topic){ .name = pl_strdup(name) };
	return streams->n++;
}

static void reserve(struct pl_stream_topic *topic, int n)
{
	if (n <= topic->n)
		return;
	topic->streams = pl_realloc(topic->streams, sizeof(topic->streams[0]) * (size_t)n);
	for (int i = topic->n; i < n; i++)
		topic->streams[i] = (struct pl_stream){ .broken = -1 };
	topic->n = n;
}

bool pl_streams_resize(struct pl_streams *streams, int at, int partitions)
{
	struct pl_stream_topic *topic = &streams->topics[at];
	bool fewer = false;

	if (partitions > PL_SEQUENCE_PARTITIONS_MAX)
		partitions = PL_SEQUENCE_PARTITIONS_MAX;
	reserve(topic, partitions);
	for (int i = partitions; i < topic->n; i++) {
		fewer |= topic->streams[i].settled > 0;
		topic->streams[i] = (struct pl_stream){ .broken = -1 };
	}
	topic->partitions = partitions;
	return fewer;
}

void pl_streams_forget_sizes(struct pl_streams *streams)
{
	for (int i = 0; i < streams->n; i++)
		streams->topics[i].partitions = 0;
}

uint32_t pl_streams_slot(int topic, int32_t partition)
{
	return (uint32_t)topic << 12 | (uint32_t)partition;
}

struct pl_stream *pl_streams_at(const struct pl_streams *streams, uint32_t slot)
{
	return &streams->topics[slot >> 12].streams[slot & 0xfff];
}

int64_t pl_streams_previous(const struct pl_stream *stream)
{
	return stream->broken >= 0 ? stream->broken : stream->sent;
}

int64_t pl_streams_take(struct pl_streams *streams, struct pl_stream *stream)
{
	stream->broken = -1;
	return stream->sent = streams->next++;
}

void pl_streams_break(struct pl_stream *stream, int64_t prev)
{
	if (stream->broken < 0 || prev < stream->broken)
		stream->broken = prev;
}

void pl_streams_restart(struct pl_streams *streams, const struct pl_sequences *published)
{
	for (int i = 0; i < streams->n; i++)
		for (int j = 0; j < streams->topics[i].n; j++)
			streams->topics[i].streams[j] = (struct pl_stream){ .broken = -1 };
	for (int i = 0; i < published->n; i++) {
		int topic = pl_streams_topic(streams, published->topics[i].name);

		int n = published->topics[i].n, known = streams->topics[topic].partitions;

		reserve(&streams->topics[topic], n);
		for (int j = 0; j < (known > 0 && known < n ? known : n); j++) {
			struct pl_stream *stream = &streams->topics[topic].streams[j];

			stream->sent = stream->settled = published->topics[i].partitions[j].seq;
		}
	}
}

void pl_streams_settled(const struct pl_streams *streams, struct pl_sequences *published)
{
	pl_sequence_fini(published);
	for (int i = 0; i < streams->n; i++) {
		const struct pl_stream_topic *topic = &streams->topics[i];
		int n = topic->partitions > 0 ? topic->partitions : topic->n;

		for (int j = n - 1; j >= 0; j--)
			pl_sequence_at(published, topic->name, j)->seq = topic->streams[j].settled;
	}
}
