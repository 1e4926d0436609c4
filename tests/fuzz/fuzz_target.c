// Targets of requests: path and query, decoded. An accepted target is UTF-8 without
// control characters.
//
// Threads: one.
#include "fuzz.h"

#include <string.h>

#include "base/utf8.h"
#include "http/target.h"

static void check_text(const char *text)
{
	PROMISE(pl_utf8_valid(text, strlen(text)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_target target = { 0 };
	const char *why = NULL;
	int status = pl_target_parse(arena, size ? (const char *)data : "", size, &target, &why);
	if (status != 0) {
		PROMISE(status >= 400 && status < 500);
		PROMISE(why != NULL);
	} else {
		PROMISE(target.asterisk || (target.nsegments >= 1 && target.nsegments <= PL_SEGMENTS_MAX));
		for (int i = 0; i < target.nsegments; i++)
			check_text(target.segments[i]);
		for (const struct pl_param *param = target.query; param != NULL; param = param->next) {
			check_text(param->name);
			check_text(param->value);
		}
	}
	pl_arena_free(&arena);
	return 0;
}
