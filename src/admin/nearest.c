// Suggestions for misspelt words: commands, options, regions and resources. Threads:
// any; no state.
#include "admin/command.h"

#include <string.h>

#include "config/schema.h"

const char *pl_nearest(const char *word, const char *const *words)
{
	const char *best = NULL;
	int nearest = 0;
	for (; *words; words++) {
		int distance = pl_schema_distance(word, *words); // the same distance as for keys of the YAML
		// Some users expect abbreviations and type only the beginning.
		if (distance < 0 && strlen(word) >= 3 && strncmp(*words, word, strlen(word)) == 0)
			distance = 1;
		if (distance >= 0 && (!best || distance < nearest)) {
			nearest = distance;
			best = *words;
		}
	}
	return best;
}
