// Marks, compared with the reports of the regions.
//
// Threads: the relay's.
#include "relay/marks.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void pl_marks_init(struct pl_marks *marks)
{
	marks->n = 0;
	marks->marks = pl_calloc(PL_MARKS_MAX, sizeof(marks->marks[0]));
}

void pl_marks_fini(struct pl_marks *marks)
{
	pl_marks_cut(marks, -1);
	free(marks->marks);
	memset(marks, 0, sizeof(*marks));
}

static void remove_at(struct pl_marks *marks, int at)
{
	pl_sequence_fini(&marks->marks[at].published);
	marks->n--;
	memmove(&marks->marks[at], &marks->marks[at + 1], sizeof(marks->marks[0]) * (size_t)(marks->n - at));
}

void pl_marks_cut(struct pl_marks *marks, int at)
{
	while (marks->n > at + 1)
		remove_at(marks, marks->n - 1);
}

void pl_marks_rebase(struct pl_marks *marks, int at)
{
	for (; at > 0; at--)
		remove_at(marks, 0);
}

void pl_marks_add(struct pl_marks *marks, struct pl_mark *mark)
{
	if (marks->n == PL_MARKS_MAX) // it should have been thinned out
		remove_at(marks, marks->n / 2);
	marks->marks[marks->n++] = *mark;
	memset(mark, 0, sizeof(*mark));
}

int pl_marks_thin(struct pl_marks *marks, int64_t ids_r[PL_MARKS_MAX])
{
	int n = 0;

	if (marks->n < PL_MARKS_MAX)
		return 0;
	for (int i = 1; i < marks->n / 2; i++) {
		ids_r[n++] = marks->marks[i].id;
		remove_at(marks, i);
	}
	return n;
}

// ---- what a region has received

// How far it has received a partition without a gap. What precedes the base cannot be
// sent again, so a chain that begins there counts as complete.
static int64_t reached(int64_t base, const struct pl_sequence *s)
{
	if (!s)
		return 0;
	return s->seq < base && s->chain_to > 0 && s->chain_from <= base ? s->chain_to : s->seq;
}

static int64_t base_of(const struct pl_marks *marks, const char *topic, int partition)
{
	const struct pl_sequence *s = pl_sequence_find(&marks->marks[0].published, topic, partition);

	return s ? s->seq : 0;
}

// Whether the condition holds for a partition in which the mark is beyond the base.
static bool any_partition(const struct pl_marks *marks, const struct pl_mark *mark,
                          const struct pl_mark_region *region,
                          bool (*condition)(const struct pl_marks *marks, int64_t base, int64_t published,
                                            const struct pl_sequence *s))
{
	for (int i = 0; i < mark->published.n; i++) {
		const struct pl_sequence_topic *topic = &mark->published.topics[i];

		for (int j = 0; j < topic->n; j++) {
			int64_t base = base_of(marks, topic->name, j);

			if (topic->partitions[j].seq > base &&
			    condition(marks, base, topic->partitions[j].seq,
			              pl_sequence_find(&region->received, topic->name, j)))
				return true;
		}
	}
	return false;
}

static bool is_behind(const struct pl_marks *marks, int64_t base, int64_t published,
                      const struct pl_sequence *s)
{
	return reached(base, s) < published;
}

static bool will_not_come(const struct pl_marks *marks, int64_t base, int64_t published,
                          const struct pl_sequence *s)
{
	return s && reached(base, s) < published &&
	       (s->level ||
	        (s->chain_to >= marks->restarted_seq && s->chain_to > 0 && reached(base, s) != s->chain_to));
}

static bool lacks_the_base(const struct pl_marks *marks, const struct pl_mark_region *region)
{
	const struct pl_sequences *base = &marks->marks[0].published;

	for (int i = 0; i < base->n; i++)
		for (int j = 0; j < base->topics[i].n; j++) {
			const struct pl_sequence *s =
				pl_sequence_find(&region->received, base->topics[i].name, j);

			if (base->topics[i].partitions[j].seq > (s ? s->seq : 0))
				return true;
		}
	return false;
}

int pl_marks_received(const struct pl_marks *marks, struct pl_mark_region *region)
{
	int at = marks->n - 1;

	region->lost = region->heard && lacks_the_base(marks, region);
	if (!region->heard)
		return 0;
	while (at > 0 && any_partition(marks, &marks->marks[at], region, is_behind))
		at--;
	return at;
}

bool pl_marks_possible(const struct pl_mark_region *region, int64_t end)
{
	for (int i = 0; i < region->received.n; i++) {
		const struct pl_sequence_topic *topic = &region->received.topics[i];

		for (int j = 0; j < topic->n; j++)
			if (topic->partitions[j].seq >= end || topic->partitions[j].chain_to >= end)
				return false;
	}
	return true;
}

bool pl_marks_lacks(const struct pl_marks *marks, int received, const struct pl_mark_region *region,
                    int64_t before_us)
{
	for (int i = received + 1; i < marks->n && marks->marks[i].made_us < before_us; i++)
		if (any_partition(marks, &marks->marks[i], region, will_not_come))
			return true;
	return false;
}
