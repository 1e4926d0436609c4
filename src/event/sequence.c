// Sequence numbers: stored by topic and partition, printed, parsed, and updated.
//
// Threads: any; nothing is shared.
#include "event/sequence.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define TOPICS_MAX 256
#define SECOND     INT64_C(1000000)
#define AHEAD_US   (86400 * SECOND)

static const struct pl_json_limits limits = { .bytes = 1024 * 1024, .depth = 2, .nodes = 1000 };

void pl_sequence_fini(struct pl_sequences *sequences)
{
	for (int i = 0; i < sequences->n; i++) {
		free(sequences->topics[i].name);
		free(sequences->topics[i].partitions);
	}
	free(sequences->topics);
	memset(sequences, 0, sizeof(*sequences));
}

static struct pl_sequence_topic *topic_named(const struct pl_sequences *sequences, const char *name)
{
	for (int i = 0; i < sequences->n; i++)
		if (strcmp(sequences->topics[i].name, name) == 0)
			return &sequences->topics[i];
	return NULL;
}

static struct pl_sequence_topic *add_topic(struct pl_sequences *sequences, const char *name)
{
	struct pl_sequence_topic *topic;

	if (sequences->n == TOPICS_MAX)
		return NULL;
	sequences->topics =
		pl_realloc(sequences->topics, sizeof(sequences->topics[0]) * (size_t)(sequences->n + 1));
	topic = &sequences->topics[sequences->n++];
	*topic = (struct pl_sequence_topic){ .name = pl_strdup(name) };
	return topic;
}

struct pl_sequence *pl_sequence_at(struct pl_sequences *sequences, const char *name, int32_t partition)
{
	struct pl_sequence_topic *topic = topic_named(sequences, name);

	if (partition < 0 || partition >= PL_SEQUENCE_PARTITIONS_MAX ||
	    (!topic && !(topic = add_topic(sequences, name))))
		return NULL;
	if (partition >= topic->n) {
		topic->partitions =
			pl_realloc(topic->partitions, sizeof(topic->partitions[0]) * (size_t)(partition + 1));
		memset(&topic->partitions[topic->n], 0,
		       sizeof(topic->partitions[0]) * (size_t)(partition + 1 - topic->n));
		topic->n = partition + 1;
	}
	return &topic->partitions[partition];
}

const struct pl_sequence *pl_sequence_find(const struct pl_sequences *sequences, const char *name,
                                           int32_t partition)
{
	const struct pl_sequence_topic *topic = topic_named(sequences, name);

	return topic && partition >= 0 && partition < topic->n ? &topic->partitions[partition] : NULL;
}

void pl_sequence_copy(struct pl_sequences *to, const struct pl_sequences *from)
{
	pl_sequence_fini(to);
	for (int i = 0; i < from->n; i++)
		for (int j = from->topics[i].n - 1; j >= 0; j--)
			*pl_sequence_at(to, from->topics[i].name, j) = from->topics[i].partitions[j];
}

// ---- text formats

static void print_partition(struct pl_buf *buf, const struct pl_sequence *s)
{
	pl_buf_add_i64(buf, s->seq);
	if (s->chain_to > 0) {
		pl_buf_addc(buf, '!');
		pl_buf_add_i64(buf, s->chain_from);
		pl_buf_addc(buf, '-');
		pl_buf_add_i64(buf, s->chain_to);
	}
	if (s->level)
		pl_buf_addc(buf, '$');
}

void pl_sequence_print(struct pl_buf *buf, const struct pl_sequences *sequences)
{
	pl_buf_addc(buf, '{');
	for (int i = 0; i < sequences->n; i++) {
		const struct pl_sequence_topic *topic = &sequences->topics[i];

		pl_buf_adds(buf, i ? "," : "");
		pl_buf_add_json(buf, topic->name, strlen(topic->name));
		pl_buf_adds(buf, ":\"");
		for (int j = 0; j < topic->n; j++) {
			pl_buf_adds(buf, j ? "," : "");
			print_partition(buf, &topic->partitions[j]);
		}
		pl_buf_addc(buf, '"');
	}
	pl_buf_addc(buf, '}');
}

// Parses digits at *at, which is moved behind them. -1: there are none, or too many.
static int64_t read_number(const char **at, const char *end)
{
	int64_t n = 0;
	const char *begin = *at;

	for (; *at < end && **at >= '0' && **at <= '9'; ++*at) {
		if (*at - begin == 18)
			return -1;
		n = n * 10 + (**at - '0');
	}
	return *at == begin ? -1 : n;
}

static int read_partition(const char **at, const char *end, struct pl_sequence *s)
{
	if ((s->seq = read_number(at, end)) < 0)
		return -1;
	if (*at < end && **at == '!') {
		++*at;
		if ((s->chain_from = read_number(at, end)) < 0 || *at == end || *(*at)++ != '-' ||
		    (s->chain_to = read_number(at, end)) < 0)
			return -1;
	}
	s->level = *at < end && **at == '$';
	*at += s->level;
	return 0;
}

static int read_topic(const char *name, const char *text, struct pl_sequences *sequences)
{
	const char *end = text + strlen(text);

	for (int32_t i = 0; text < end; i++) {
		struct pl_sequence read = { 0 }, *s;

		if (read_partition(&text, end, &read) < 0 || !(s = pl_sequence_at(sequences, name, i)))
			return -1;
		*s = read;
		if (text < end && (*text++ != ',' || text == end))
			return -1;
	}
	return 0;
}

int pl_sequence_parse(const cJSON *json, struct pl_sequences *sequences_r)
{
	if (!cJSON_IsObject(json))
		return -1;
	for (const cJSON *topic = json->child; topic; topic = topic->next)
		if (!cJSON_IsString(topic) || read_topic(topic->string, topic->valuestring, sequences_r) < 0)
			return -1;
	return 0;
}

int pl_sequence_parse_text(const char *text, struct pl_sequences *sequences_r)
{
	cJSON *json = pl_json_parse(text, strlen(text), &limits, NULL);
	int code = json ? pl_sequence_parse(json, sequences_r) : -1;

	cJSON_Delete(json);
	return code;
}

static bool next_number(const char **at, const char *end, int64_t *n_r)
{
	return *at < end && *(*at)++ == '/' && (*n_r = read_number(at, end)) >= 0;
}

int pl_sequence_parse_header(const void *value, size_t len, struct pl_sequence_header *header_r)
{
	const char *at = value, *end = at + len;

	*header_r = (struct pl_sequence_header){ 0 };
	if (!value || (header_r->seq = read_number(&at, end)) <= 0 ||
	    !next_number(&at, end, &header_r->prev) || header_r->prev >= header_r->seq)
		return -1;
	if (at == end) // of a program that does not say it
		return 0;
	return next_number(&at, end, &header_r->place.generation) &&
	                       next_number(&at, end, &header_r->place.id) && at == end
	               ? 0
	               : -1;
}

int64_t pl_sequence_parse_run(const void *value, size_t len)
{
	const char *at = value, *end = at + len;
	int64_t run = value ? read_number(&at, end) : 0;

	return run > 0 && at == end ? run : 0;
}

bool pl_sequence_place_is_later(const struct pl_outbox_place *a, const struct pl_outbox_place *b)
{
	return a->generation > b->generation || (a->generation == b->generation && a->id > b->id);
}

void pl_sequence_place(struct pl_sequence *s, const struct pl_outbox_place *place)
{
	if (pl_sequence_place_is_later(place, &s->place))
		s->place = *place;
}

// ---- plausibility

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

bool pl_sequence_plausible(int64_t number, int64_t now_us)
{
	return number <= now_us + AHEAD_US;
}

bool pl_sequences_plausible(const struct pl_sequences *sequences, int64_t now_us)
{
	for (int i = 0; i < sequences->n; i++)
		for (int j = 0; j < sequences->topics[i].n; j++) {
			const struct pl_sequence *s = &sequences->topics[i].partitions[j];

			if (!pl_sequence_plausible(larger(s->seq, s->chain_to), now_us))
				return false;
		}
	return true;
}

bool pl_sequence_place_plausible(const struct pl_outbox_place *place, int64_t now_us)
{
	return place->generation >= 0 && place->generation <= (now_us + AHEAD_US) / SECOND &&
	       place->id >= 0 && place->id <= PL_OUTBOX_ID_MAX;
}

// ---- updating

bool pl_sequence_take(struct pl_sequence *s, int64_t seq, int64_t prev)
{
	s->level = false;
	if (prev <= s->seq) {
		s->seq = larger(s->seq, seq);
	} else if (s->chain_to > 0 && prev <= s->chain_to && seq >= s->chain_from) {
		// It continues the chain, or fills a part of the gap before it.
		s->chain_from = prev < s->chain_from ? prev : s->chain_from;
		s->chain_to = larger(s->chain_to, seq);
	} else if (seq > s->chain_to) {
		s->chain_from = prev;
		s->chain_to = seq;
	}
	if (s->chain_to > 0 && s->chain_from <= s->seq) {
		s->seq = larger(s->seq, s->chain_to);
		s->chain_from = s->chain_to = 0;
	}
	if (s->chain_to > 0 && s->chain_to <= s->seq)
		s->chain_from = s->chain_to = 0;
	return s->chain_to == 0;
}
