// What differs between two texts: the longest common run of lines stays, the rest is taken away or put in.
//
// Quadratic in lines, which is nothing for configuration files; of texts larger than that only the fact is told.
// Threads: any; no state.
#include "admin/diff.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define LINES_MAX 4000
#define CONTEXT 3

struct lines { int n; const char **at; size_t *len; };

// One step from the old text to the new: ' ' a line of both, '-' one of the old, '+' one of the new.
struct step { char sign; int from, to; };

static void split(struct lines *lines, const char *text)
{
	for (const char *p = text; *p; lines->n++) {
		size_t len = strcspn(p, "\n");
		lines->at = pl_realloc(lines->at, (size_t)(lines->n + 1) * sizeof *lines->at);
		lines->len = pl_realloc(lines->len, (size_t)(lines->n + 1) * sizeof *lines->len);
		lines->at[lines->n] = p;
		lines->len[lines->n] = len;
		p += len + (p[len] == '\n');
	}
}

static void lines_fini(struct lines *lines)
{
	free(lines->at);
	free(lines->len);
}

static bool same(const struct lines *a, int i, const struct lines *b, int j)
{
	return a->len[i] == b->len[j] && memcmp(a->at[i], b->at[j], a->len[i]) == 0;
}

// common[i][j]: how many lines the rests from i and from j have in common, in order.
static struct step *walk(const struct lines *a, const struct lines *b, int *n_r)
{
	size_t width = (size_t)b->n + 1;
	uint16_t *common = pl_calloc((size_t)(a->n + 1) * width, sizeof *common);
	struct step *steps = pl_calloc((size_t)(a->n + b->n) + 1, sizeof *steps);
	int n = 0;
	for (int i = a->n - 1; i >= 0; i--)
		for (int j = b->n - 1; j >= 0; j--) {
			uint16_t down = common[(size_t)(i + 1) * width + (size_t)j], right = common[(size_t)i * width + (size_t)j + 1];
			common[(size_t)i * width + (size_t)j] =
				same(a, i, b, j) ? (uint16_t)(common[(size_t)(i + 1) * width + (size_t)j + 1] + 1) : down > right ? down : right;
		}
	for (int i = 0, j = 0; i < a->n || j < b->n; n++) {
		if (i < a->n && j < b->n && same(a, i, b, j))
			steps[n] = (struct step){ ' ', i++, j++ };
		else if (i < a->n && (j == b->n || common[(size_t)(i + 1) * width + (size_t)j] >= common[(size_t)i * width + (size_t)j + 1]))
			steps[n] = (struct step){ '-', i++, j };
		else
			steps[n] = (struct step){ '+', i, j++ };
	}
	free(common);
	*n_r = n;
	return steps;
}

static void print_hunk(struct pl_buf *out, const struct lines *a, const struct lines *b, const struct step *steps, int first, int end)
{
	int na = 0, nb = 0;
	for (int i = first; i < end; i++) {
		na += steps[i].sign != '+';
		nb += steps[i].sign != '-';
	}
	pl_buf_printf(out, "@@ -%d,%d +%d,%d @@\n", steps[first].from + (na > 0), na, steps[first].to + (nb > 0), nb);
	for (int i = first; i < end; i++) {
		const struct lines *text = steps[i].sign == '+' ? b : a;
		int at = steps[i].sign == '+' ? steps[i].to : steps[i].from;
		pl_buf_addc(out, steps[i].sign);
		pl_buf_add(out, text->at[at], text->len[at]);
		pl_buf_addc(out, '\n');
	}
}

// Changes nearer to each other than twice the context share a hunk.
static void print_hunks(struct pl_buf *out, const struct lines *a, const struct lines *b, const struct step *steps, int n)
{
	for (int i = 0; i < n; i++) {
		if (steps[i].sign == ' ')
			continue;
		int first = i > CONTEXT ? i - CONTEXT : 0, last = i;
		for (int j = i; j < n && j <= last + 2 * CONTEXT; j++)
			if (steps[j].sign != ' ')
				last = j;
		int end = last + CONTEXT + 1 < n ? last + CONTEXT + 1 : n;
		print_hunk(out, a, b, steps, first, end);
		i = end - 1;
	}
}

bool pl_diff(struct pl_buf *out, const char *from_name, const char *from, const char *to_name, const char *to)
{
	struct lines a = { 0 }, b = { 0 };
	if (strcmp(from, to) == 0)
		return false;
	split(&a, from);
	split(&b, to);
	pl_buf_printf(out, "--- %s\n+++ %s\n", from_name, to_name);
	if (a.n <= LINES_MAX && b.n <= LINES_MAX) {
		int n;
		struct step *steps = walk(&a, &b, &n);
		print_hunks(out, &a, &b, steps, n);
		free(steps);
	}
	lines_fini(&a);
	lines_fini(&b);
	return true;
}
