// Shares: see shares.h.
#include "apply/shares.h"

#include <stdlib.h>

#include "base/mem.h"

struct plan {
	struct pl_shares_partition *partitions;
	int n;
	const struct pl_shares_lane *lanes;
	int nlanes, ntopics;
	int *loads; // of each lane
	int *of;    // of each lane, for each topic
};

static int *count_of(const struct plan *plan, int lane, int topic)
{
	return &plan->of[lane * plan->ntopics + topic];
}

static void put(struct plan *plan, struct pl_shares_partition *p, int lane)
{
	p->to = lane;
	plan->loads[lane]++;
	++*count_of(plan, lane, p->topic);
}

static void take_away(struct plan *plan, struct pl_shares_partition *p)
{
	plan->loads[p->to]--;
	--*count_of(plan, p->to, p->topic);
}

// What stays where it is, unless that applier cannot read it.
static void keep(struct plan *plan)
{
	for (int i = 0; i < plan->n; i++) {
		struct pl_shares_partition *p = &plan->partitions[i];

		p->to = -1;
		if (p->lane >= 0 && plan->lanes[p->lane].reads[p->topic])
			put(plan, p, p->lane);
	}
}

static bool is_better(const struct plan *plan, int lane, int than, int topic)
{
	if (than < 0 || plan->loads[lane] != plan->loads[than])
		return than < 0 || plan->loads[lane] < plan->loads[than];
	return *count_of(plan, lane, topic) < *count_of(plan, than, topic);
}

static void give_out(struct plan *plan)
{
	for (int i = 0; i < plan->n; i++) {
		struct pl_shares_partition *p = &plan->partitions[i];
		int best = -1;

		for (int lane = 0; lane < plan->nlanes && p->to < 0; lane++)
			if (plan->lanes[lane].reads[p->topic] && is_better(plan, lane, best, p->topic))
				best = lane;
		if (best >= 0)
			put(plan, p, best);
	}
}

struct move {
	int from, to, topic; // from < 0: none is needed
	int gain, spread;    // the differences of the loads, and of the topic's
};

static void consider(const struct plan *plan, struct move *best, int from, int to)
{
	int gain = plan->loads[from] - plan->loads[to];

	if (gain < 2 || gain < best->gain)
		return;
	for (int topic = 0; topic < plan->ntopics; topic++) {
		int have = *count_of(plan, from, topic), spread = have - *count_of(plan, to, topic);

		if (have > 0 && plan->lanes[to].reads[topic] && (gain > best->gain || spread > best->spread))
			*best = (struct move){ from, to, topic, gain, spread };
	}
}

static struct move next_move(const struct plan *plan)
{
	struct move best = { .from = -1 };

	for (int from = 0; from < plan->nlanes; from++)
		for (int to = 0; to < plan->nlanes; to++)
			consider(plan, &best, from, to);
	return best;
}

// The last partition of the topic, since the first are given out first.
static void make(struct plan *plan, const struct move *move)
{
	int i = plan->n - 1;

	while (plan->partitions[i].to != move->from || plan->partitions[i].topic != move->topic)
		i--;
	take_away(plan, &plan->partitions[i]);
	put(plan, &plan->partitions[i], move->to);
}

void pl_shares_plan(struct pl_shares_partition *partitions, int n, const struct pl_shares_lane *lanes,
                    int nlanes, int ntopics)
{
	struct plan plan = { partitions, n, lanes, nlanes, ntopics, NULL, NULL };
	struct move move;

	plan.loads = pl_calloc((size_t)nlanes + 1, sizeof(plan.loads[0]));
	plan.of = pl_calloc((size_t)(nlanes * ntopics) + 1, sizeof(plan.of[0]));
	keep(&plan);
	give_out(&plan);
	while ((move = next_move(&plan)).from >= 0)
		make(&plan, &move);
	free(plan.loads);
	free(plan.of);
}
