// Ids on the command line. Threads: the tool has one.
#include "admin/id_range.h"

#include <stdlib.h>
#include <string.h>

#include "admin/messages.h"
#include "admin/parse.h"

static int compare_ids(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

int pl_id_range_sort(int64_t *ids, int n)
{
	int left = 0;
	qsort(ids, (size_t)n, sizeof(ids[0]), compare_ids);
	for (int i = 0; i < n; i++)
		if (left == 0 || ids[left - 1] != ids[i])
			ids[left++] = ids[i];
	return left;
}

static int take_range(struct pl_invocation *invocation, const char *text, struct pl_id_range *range)
{
	const char *dots = strstr(text, "..");
	const char *first = dots ? pl_arena_strndup(invocation->arena, text, (size_t)(dots - text)) : text;
	const char *last = dots ? dots + 2 : text;
	if ((*first && pl_parse_count(first, &range->first)) ||
	    (*last && pl_parse_count(last, &range->last)) || (!*first && !*last) ||
	    range->first > range->last) {
		pl_fail("--range: '%s' is not a range of ids such as 1..500, 1.. or ..500", text);
		return PL_EXIT_USAGE;
	}
	return 0;
}

static int take_ids(struct pl_invocation *invocation, const char *text, struct pl_id_range *range)
{
	char *copy = pl_arena_strdup(invocation->arena, text), *rest = copy, *word;
	range->ids = pl_arena_array(invocation->arena, strlen(text) / 2 + 2, sizeof(range->ids[0]));
	while ((word = strsep(&rest, ",")))
		if (pl_parse_count(word, &range->ids[range->nids++])) {
			pl_fail("--ids: '%s' is not an id; ids are separated by commas: 1,7,12", word);
			return PL_EXIT_USAGE;
		}
	range->nids = pl_id_range_sort(range->ids, range->nids);
	return 0;
}

int pl_id_range_take(struct pl_invocation *invocation, struct pl_id_range *range_r)
{
	const char *range = pl_invocation_text(invocation, "range", NULL),
		   *ids = pl_invocation_text(invocation, "ids", NULL);
	*range_r = (struct pl_id_range){ .first = INT64_MIN, .last = INT64_MAX - 1 };
	if (range && ids) {
		pl_fail("--range and --ids cannot be combined");
		return PL_EXIT_USAGE;
	}
	return range ? take_range(invocation, range, range_r) : ids ? take_ids(invocation, ids, range_r) : 0;
}
