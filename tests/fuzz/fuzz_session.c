// Session tokens: whatever a client sends is either a token or is refused with a
// reason. A token that was accepted is printed within its limit, and accepted again.
//
// Threads: one.
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "seen/seen.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pl_region regions[] = { { .name = "us" }, { .name = "eu" } };
	struct pl_config config = { .regions = regions, .nregions = 2 };
	struct pl_seen seen = { 0 }, again = { 0 };
	char *text = pl_strndup(size ? (const char *)data : "", size), printed[PL_SEEN_TEXT_MAX + 1];
	const char *why = pl_seen_parse(&seen, &config, text);

	PROMISE(seen.npositions <= 2 && seen.nrecords <= PL_SEEN_RECORDS_MAX);
	if (why) {
		PROMISE(*why != '\0');
	} else {
		pl_seen_print(printed, &seen);
		PROMISE(strlen(printed) <= PL_SEEN_TEXT_MAX);
		PROMISE(!pl_seen_parse(&again, &config, printed));
		PROMISE(memcmp(again.positions, seen.positions, sizeof(seen.positions)) == 0);
		for (int i = 0; i < again.nrecords; i++)
			PROMISE(memcmp(&again.records[i], &seen.records[i], sizeof(seen.records[i])) == 0);
	}
	free(text);
	return 0;
}
