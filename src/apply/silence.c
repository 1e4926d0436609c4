// See silence.h.
#include "apply/silence.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

// if replacing the consumer was in vain: 48 s, 3 minutes, 13 minutes, an hour, …
#define PATIENCE_GROWS 4
#define PATIENCE_MAX   1000000

struct pl_silence_partition {
	char *topic;
	int32_t partition;
	int looks; // in a row that have found it behind, at the same position
	int64_t position;
	int64_t reported_end, reported_position; // when it was last called silent; -1: never
	int patience;                            // how many looks it takes to call it silent
	bool seen;                               // by the look that is being noted
};

static struct pl_silence_partition *find(struct pl_silence *silence, const struct pl_silence_look *look)
{
	struct pl_silence_partition *p;

	for (int i = 0; i < silence->n; i++) {
		p = &silence->partitions[i];
		if (p->partition == look->partition && strcmp(p->topic, look->topic) == 0)
			return p;
	}
	silence->partitions =
		pl_realloc(silence->partitions, sizeof(*silence->partitions) * (size_t)(silence->n + 1));
	p = &silence->partitions[silence->n++];
	*p = (struct pl_silence_partition){ .topic = pl_strdup(look->topic),
		                            .partition = look->partition,
		                            .reported_end = -1,
		                            .reported_position = -1,
		                            .patience = PL_SILENCE_LOOKS };
	return p;
}

static bool is_behind(const struct pl_silence_partition *p, const struct pl_silence_look *look)
{
	if (look->position < 0 ? look->first == look->end : look->position == look->end)
		return false;
	return p->looks == 0 || p->position == look->position;
}

static bool was_reported(const struct pl_silence_partition *p, const struct pl_silence_look *look)
{
	return p->reported_end == look->end && p->reported_position == look->position;
}

// Returns whether the partition is silent.
static bool note(struct pl_silence_partition *p, const struct pl_silence_look *look)
{
	p->seen = true;
	if (p->patience > PL_SILENCE_LOOKS && !was_reported(p, look)) {
		p->patience = PL_SILENCE_LOOKS;
		p->looks = 0;
	}
	p->looks = is_behind(p, look) ? p->looks + 1 : 0;
	p->position = look->position;
	return p->looks >= p->patience;
}

static void forget_unseen(struct pl_silence *silence)
{
	int n = 0;

	for (int i = 0; i < silence->n; i++) {
		if (silence->partitions[i].seen)
			silence->partitions[n++] = silence->partitions[i];
		else
			free(silence->partitions[i].topic);
	}
	silence->n = n;
}

int pl_silence_note(struct pl_silence *silence, const struct pl_silence_look *looks, int n)
{
	int found = -1;

	for (int i = 0; i < silence->n; i++)
		silence->partitions[i].seen = false;
	for (int i = 0; i < n; i++) {
		struct pl_silence_partition *p = find(silence, &looks[i]);

		if (!note(p, &looks[i]) || found >= 0)
			continue;
		p->reported_end = looks[i].end;
		p->reported_position = looks[i].position;
		p->patience = p->patience < PATIENCE_MAX ? PATIENCE_GROWS * p->patience : PATIENCE_MAX;
		found = i;
	}
	forget_unseen(silence);
	return found;
}

void pl_silence_restart(struct pl_silence *silence)
{
	for (int i = 0; i < silence->n; i++)
		silence->partitions[i].looks = 0;
}

void pl_silence_fini(struct pl_silence *silence)
{
	for (int i = 0; i < silence->n; i++)
		free(silence->partitions[i].topic);
	free(silence->partitions);
	*silence = (struct pl_silence){ 0 };
}
