// Received sequence numbers, stored beside the positions and written with them.
//
// Between apply/batch, which takes messages, and the table applied_sequences. A parked
// event or dead letter counts as received, since it is in this database.
// Threads: an applier's.
#include "apply/sequences.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "event/event.h"
#include "record/edge.h"
#include "record/vector.h"

void pl_sequences_fini(struct pl_applied_sequences *sequences)
{
	for (int i = 0; i < sequences->n; i++) {
		free(sequences->all[i]->origin);
		free(sequences->all[i]->topic);
		free(sequences->all[i]);
	}
	free(sequences->all);
	memset(sequences, 0, sizeof(*sequences));
}

static bool is_of(const struct pl_applied_sequence *s, const char *origin, size_t len, const char *topic,
                  int32_t partition)
{
	return s->partition == partition && strncmp(s->origin, origin, len) == 0 && s->origin[len] == '\0' &&
	       strcmp(s->topic, topic) == 0;
}

static struct pl_applied_sequence *add(struct pl_applied_sequences *sequences, const char *origin, size_t len,
                                       const char *topic, int32_t partition)
{
	struct pl_applied_sequence *s = pl_calloc(1, sizeof(*s));

	if (sequences->n == sequences->cap) {
		sequences->cap = sequences->cap ? 2 * sequences->cap : 32;
		sequences->all =
			pl_realloc(sequences->all, sizeof(sequences->all[0]) * (size_t)sequences->cap);
	}
	s->origin = pl_strndup(origin, len);
	s->topic = pl_strdup(topic);
	s->partition = partition;
	return sequences->all[sequences->n++] = s;
}

const struct pl_sequence *pl_sequences_find(const struct pl_applied_sequences *sequences, const char *origin,
                                            const char *topic, int32_t partition)
{
	for (int i = 0; i < sequences->n; i++)
		if (is_of(sequences->all[i], origin, strlen(origin), topic, partition))
			return &sequences->all[i]->known;
	return NULL;
}

struct pl_applied_sequence *pl_sequences_of(struct pl_applied_sequences *sequences, const char *origin,
                                            size_t len, const char *topic, int32_t partition)
{
	if (sequences->last && is_of(sequences->last, origin, len, topic, partition))
		return sequences->last;
	for (int i = 0; i < sequences->n; i++)
		if (is_of(sequences->all[i], origin, len, topic, partition))
			return sequences->last = sequences->all[i];
	return sequences->last = add(sequences, origin, len, topic, partition);
}

static int64_t number(const PGresult *result, int row, int column)
{
	return strtoll(PQgetvalue(result, row, column), NULL, 10);
}

int pl_sequences_load(struct pl_applied_sequences *sequences, struct pl_session *session,
                      struct pl_error *err)
{
	PGresult *result = pl_session_exec_prepared(session, "apply_sequences_read", 0, NULL, err);

	if (!result)
		return err->code;
	for (int i = 0; i < sequences->n; i++)
		memset(&sequences->all[i]->known, 0, sizeof(sequences->all[i]->known));
	for (int i = 0; i < PQntuples(result); i++) {
		const char *origin = PQgetvalue(result, i, 0);

		pl_sequences_of(sequences, origin, strlen(origin), PQgetvalue(result, i, 1),
		                (int32_t)number(result, i, 2))
			->known =
			(struct pl_sequence){ .seq = number(result, i, 3),
			                      .chain_from = number(result, i, 4),
			                      .chain_to = number(result, i, 5),
			                      .level = PQgetvalue(result, i, 6)[0] == 't',
			                      .place = { number(result, i, 7), number(result, i, 8) },
			                      .run = number(result, i, 9) };
	}
	PQclear(result);
	return 0;
}

// The numbers are those of the region that published the message. For an event that was
// republished, this is not the region that wrote it.
static void read_publisher(const struct pl_message *m, struct pl_message_numbers *numbers)
{
	const struct pl_message_header *origin = NULL, *republished = NULL;
	char by[PL_REGION_MAX + 1];

	for (int i = 0; i < m->nheaders; i++)
		if (!republished && strcmp(m->headers[i].name, "plist-republished") == 0)
			republished = &m->headers[i];
		else if (!origin && strcmp(m->headers[i].name, "plist-origin") == 0)
			origin = &m->headers[i];
	if (!republished) {
		numbers->origin = origin ? origin->value : NULL;
		numbers->origin_len =
			origin && origin->value ? pl_vector_region_len(origin->value, origin->len) : 0;
	} else if (pl_event_republished_by(m, by)) {
		numbers->origin = republished->value; // it begins with the region's name
		numbers->origin_len = strlen(by);
	}
}

static bool is_known(const struct pl_config *config, const struct pl_message_numbers *numbers)
{
	char name[PL_REGION_MAX + 1];

	if (numbers->origin_len > PL_REGION_MAX)
		return false;
	memcpy(name, numbers->origin, numbers->origin_len);
	name[numbers->origin_len] = '\0';
	return pl_edge_name_known(config, name);
}

struct pl_message_numbers pl_sequences_numbers(const struct pl_message *m, const struct pl_config *config,
                                               const char *own)
{
	struct pl_message_numbers numbers = { 0 };
	const struct pl_message_header *seq = NULL, *run = NULL;

	for (int i = 0; i < m->nheaders; i++)
		if (strcmp(m->headers[i].name, PL_SEQUENCE_HEADER) == 0)
			seq = &m->headers[i];
		else if (strcmp(m->headers[i].name, PL_SEQUENCE_RUN_HEADER) == 0)
			run = &m->headers[i];
	read_publisher(m, &numbers);
	if (!numbers.origin || !seq || m->partition >= PL_SEQUENCE_PARTITIONS_MAX ||
	    (numbers.origin_len == strlen(own) && memcmp(numbers.origin, own, numbers.origin_len) == 0) ||
	    !pl_vector_region_name_ok(numbers.origin, numbers.origin_len) || !is_known(config, &numbers) ||
	    pl_sequence_parse_header(seq->value, seq->len, &numbers.header) < 0 ||
	    !pl_sequence_plausible(numbers.header.seq, pl_now_us()) ||
	    !pl_sequence_place_plausible(&numbers.header.place, pl_now_us()))
		numbers.origin = NULL;
	if (run && numbers.origin)
		numbers.header.run = pl_sequence_parse_run(run->value, run->len);
	if (numbers.header.run > numbers.header.seq) // a run begins at or before its messages
		numbers.header.run = 0;
	return numbers;
}

void pl_sequences_take(struct pl_applied_sequences *sequences, const struct pl_message *message,
                       const struct pl_message_numbers *numbers, struct pl_sequence_write *writes, int *n)
{
	struct pl_applied_sequence *of = pl_sequences_of(sequences, numbers->origin, numbers->origin_len,
	                                                 message->topic, message->partition);
	int i = *n;

	while (i > 0 && writes[i - 1].of != of)
		i--;
	if (i == 0) {
		writes[*n] = (struct pl_sequence_write){ of, of->known };
		i = ++*n;
	}
	pl_sequence_take(&writes[i - 1].to, numbers->header.seq, numbers->header.prev);
	pl_sequence_place(&writes[i - 1].to, &numbers->header.place);
	if (numbers->header.run > writes[i - 1].to.run)
		writes[i - 1].to.run = numbers->header.run;
}

void pl_sequences_written(const struct pl_sequence_write *writes, int n)
{
	for (int i = 0; i < n; i++)
		writes[i].of->known = writes[i].to;
}
