// What a misspelt word was meant to be: the nearest of the known ones, by Damerau and Levenshtein's distance.
//
// Used for commands, options, regions and resources. Threads: any; no state.
#include "admin/command.h"

#include <string.h>

#define WORD_MAX 64

static int min3(int a, int b, int c)
{
	int ab = a < b ? a : b;
	return ab < c ? ab : c;
}

// Insertions, deletions, exchanges and swaps of neighbours that lead from a to b; words too long count as far apart.
static int distance(const char *a, const char *b)
{
	size_t na = strlen(a), nb = strlen(b);
	int row[3][WORD_MAX + 1];
	if (na > WORD_MAX || nb > WORD_MAX)
		return WORD_MAX;
	for (size_t j = 0; j <= nb; j++)
		row[0][j] = (int)j;
	for (size_t i = 1; i <= na; i++) {
		int *before2 = row[(i + 1) % 3], *before = row[(i - 1) % 3], *now = row[i % 3];
		now[0] = (int)i;
		for (size_t j = 1; j <= nb; j++) {
			now[j] = min3(before[j] + 1, now[j - 1] + 1, before[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before2[j - 2] + 1 < now[j])
				now[j] = before2[j - 2] + 1;
		}
	}
	return row[na % 3][nb];
}

const char *pl_nearest(const char *word, const char *const *words)
{
	const char *best = NULL;
	// A third of the word may be wrong, and one letter of a very short one; else a suggestion is a guess.
	int limit = (int)strlen(word) / 3;
	if (limit < 1)
		limit = 1;
	for (; *words; words++) {
		int d = distance(word, *words);
		// A beginning is what people type who expect abbreviations.
		if (strlen(word) >= 3 && strncmp(*words, word, strlen(word)) == 0)
			d = 1;
		if (d <= limit) {
			limit = d - 1;
			best = *words;
		}
	}
	return best;
}
