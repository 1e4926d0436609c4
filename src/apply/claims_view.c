// What is known of the region's members and partitions at one moment, and the plan that
// follows from it.
//
// Threads: the claims'.
#include "apply/claims_private.h"

#define TOPICS_MAX 1024

void pl_claims_view_fini(struct claims_view *view)
{
	for (int i = 0; i < view->nmembers; i++) {
		free(view->members[i].name);
		free(view->members[i].topics);
	}
	for (int i = 0; i < view->npartitions; i++)
		free(view->partitions[i].topic);
	free(view->members);
	free(view->partitions);
	memset(view, 0, sizeof(*view));
}

struct claims_partition *pl_claims_view_partition(struct claims_view *view, const char *topic, int32_t number)
{
	for (int i = 0; i < view->npartitions; i++)
		if (view->partitions[i].number == number && strcmp(view->partitions[i].topic, topic) == 0)
			return &view->partitions[i];
	if (view->npartitions == view->cap) {
		view->cap = view->cap ? 2 * view->cap : 64;
		view->partitions =
			pl_realloc(view->partitions, sizeof(view->partitions[0]) * (size_t)view->cap);
	}
	view->partitions[view->npartitions] = (struct claims_partition){
		.topic = pl_strdup(topic), .number = number, .member = -1, .lane = -1, .to = -1
	};
	return &view->partitions[view->npartitions++];
}

void pl_claims_view_member(struct claims_view *view, const struct claims_member *member)
{
	int n = view->nmembers;

	view->members = pl_realloc(view->members, sizeof(view->members[0]) * (size_t)(n + 1));
	view->members[n] = *member;
	view->members[n].name = pl_strdup(member->name);
	view->members[n].topics = pl_strdup(member->topics);
	if (n > 0)
		view->members[n].first = view->members[n - 1].first + view->members[n - 1].lanes;
	view->nmembers++;
}

bool pl_claims_view_is_ours(const struct claims_view *view, int lane)
{
	const struct claims_member *us = view->ours < 0 ? NULL : &view->members[view->ours];

	return us && lane >= us->first && lane < us->first + us->lanes;
}

static void add_known(struct pl_claims *claims, struct claims_view *view)
{
	pthread_mutex_lock(&claims->mutex);
	for (int i = 0; i < claims->ntopics; i++)
		for (int j = 0; j < claims->topics[i].partitions; j++)
			pl_claims_view_partition(view, claims->topics[i].name, j)->exists = true;
	pthread_mutex_unlock(&claims->mutex);
}

static bool names(const char *list, const char *topic)
{
	size_t len = strlen(topic);

	for (const char *at = list; (at = strstr(at, topic)); at++)
		if ((at == list || at[-1] == ',') && (at[len] == ',' || !at[len]))
			return true;
	return false;
}

static int number_topics(const struct claims_view *view, const char **topics, int *of)
{
	int n = 0;

	for (int i = 0; i < view->npartitions; i++) {
		int j = 0;

		while (j < n && strcmp(topics[j], view->partitions[i].topic) != 0)
			j++;
		if (j == n && n < TOPICS_MAX)
			topics[n++] = view->partitions[i].topic;
		of[i] = j < TOPICS_MAX ? j : TOPICS_MAX - 1;
	}
	return n;
}

// A member that no broker answers reads nothing, if there is another one.
static bool somebody_hears(const struct claims_view *view)
{
	for (int i = 0; i < view->nmembers; i++)
		if (view->members[i].lives && view->members[i].hears)
			return true;
	return false;
}

static void plan(struct claims_view *view, const char **topics, int ntopics, const int *of)
{
	const struct claims_member *last = view->nmembers ? &view->members[view->nmembers - 1] : NULL;
	int nlanes = last ? last->first + last->lanes : 0;
	struct pl_shares_lane *lanes = pl_calloc((size_t)nlanes + 1, sizeof(lanes[0]));
	struct pl_shares_partition *shares = pl_calloc((size_t)view->npartitions + 1, sizeof(shares[0]));
	bool *reads = pl_calloc((size_t)(view->nmembers * ntopics) + 1, sizeof(reads[0]));
	bool hears = somebody_hears(view);

	for (int i = 0; i < view->nmembers; i++) {
		const struct claims_member *m = &view->members[i];

		for (int j = 0; j < ntopics; j++)
			reads[i * ntopics + j] =
				m->lives && (m->hears || !hears) && names(m->topics, topics[j]);
		for (int j = 0; j < m->lanes; j++)
			lanes[m->first + j].reads = &reads[i * ntopics];
	}
	for (int i = 0; i < view->npartitions; i++)
		shares[i] = (struct pl_shares_partition){ of[i], view->partitions[i].lane, -1 };
	pl_shares_plan(shares, view->npartitions, lanes, nlanes, ntopics);
	for (int i = 0; i < view->npartitions; i++) {
		struct claims_partition *p = &view->partitions[i];

		p->to = shares[i].to;
		// Its topic is no longer configured, or has fewer partitions now.
		if (!p->exists && pl_claims_view_is_ours(view, p->to))
			p->to = -1;
	}
	free(reads);
	free(shares);
	free(lanes);
}

// In the same order for every daemon of the region.
static int compare(const void *a, const void *b)
{
	const struct claims_partition *p = a, *q = b;
	int order = p->number < q->number ? -1 : p->number > q->number;

	return order ? order : strcmp(p->topic, q->topic);
}

void pl_claims_view_plan(struct pl_claims *claims, struct claims_view *view)
{
	const char *topics[TOPICS_MAX];
	int *of;

	add_known(claims, view);
	if (view->npartitions == 0)
		return;
	qsort(view->partitions, (size_t)view->npartitions, sizeof(view->partitions[0]), compare);
	of = pl_calloc((size_t)view->npartitions, sizeof(of[0]));
	plan(view, topics, number_topics(view, topics, of), of);
	free(of);
}
