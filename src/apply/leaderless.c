// See leaderless.h.
#include "apply/leaderless.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

static struct pl_leaderless_partition *find(const struct pl_leaderless *leaderless, const char *topic,
                                            int32_t partition)
{
	for (int i = 0; i < leaderless->n; i++)
		if (leaderless->each[i].partition == partition &&
		    strcmp(leaderless->each[i].topic, topic) == 0)
			return &leaderless->each[i];
	return NULL;
}

static struct pl_leaderless_partition *add(struct pl_leaderless *leaderless, const char *topic,
                                           int32_t partition, int64_t now_us)
{
	leaderless->each =
		pl_realloc(leaderless->each, sizeof(leaderless->each[0]) * (size_t)(leaderless->n + 1));
	leaderless->each[leaderless->n] = (struct pl_leaderless_partition){ .topic = pl_strdup(topic),
		                                                            .partition = partition,
		                                                            .since_us = now_us };
	return &leaderless->each[leaderless->n++];
}

// Removes those of the topic that have a leader.
static bool forget_unseen(struct pl_leaderless *leaderless, const char *topic)
{
	bool changed = false;
	int n = 0;

	for (int i = 0; i < leaderless->n; i++) {
		struct pl_leaderless_partition *p = &leaderless->each[i];

		if (p->seen || strcmp(p->topic, topic) != 0) {
			leaderless->each[n++] = *p;
			continue;
		}
		if (p->looks >= PL_LEADERLESS_LOOKS) {
			pl_notice("kafka: %s %d has a leader again", p->topic, (int)p->partition);
			changed = true;
		}
		free(p->topic);
	}
	leaderless->n = n;
	return changed;
}

bool pl_leaderless_note(struct pl_leaderless *leaderless, const char *topic, const int32_t *partitions, int n,
                        int64_t now_us)
{
	bool changed = false;

	for (int i = 0; i < leaderless->n; i++)
		leaderless->each[i].seen = false;
	for (int i = 0; i < n; i++) {
		struct pl_leaderless_partition *p = find(leaderless, topic, partitions[i]);

		if (!p)
			p = add(leaderless, topic, partitions[i], now_us);
		p->seen = true;
		if (++p->looks != PL_LEADERLESS_LOOKS)
			continue;
		pl_warning("kafka: %s %d has no leader: no broker that has a current copy of it is "
		           "available; its events are not applied until one is",
		           topic, (int)partitions[i]);
		changed = true;
	}
	return forget_unseen(leaderless, topic) || changed;
}

int64_t pl_leaderless_since(const struct pl_leaderless *leaderless, const char *topic, int32_t partition)
{
	const struct pl_leaderless_partition *p = find(leaderless, topic, partition);

	return p && p->looks >= PL_LEADERLESS_LOOKS ? p->since_us : 0;
}

void pl_leaderless_fini(struct pl_leaderless *leaderless)
{
	for (int i = 0; i < leaderless->n; i++)
		free(leaderless->each[i].topic);
	free(leaderless->each);
	*leaderless = (struct pl_leaderless){ 0 };
}
