// JSON: whatever is taken prints as JSON that means the same, and has one canonical text.
//
// Threads: one.
#include "fuzz.h"

#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

static const struct pl_json_limits wide = {.bytes = 1 << 20, .depth = 64, .nodes = 1 << 16};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pl_error err = {0};
	cJSON *json = pl_json_parse((const char *)data, size, &wide, &err);
	if (json == NULL) {
		PROMISE(err.code == PL_EINVAL && err.text[0] != '\0');
		return 0;
	}
	struct pl_buf printed = {0}, canonical = {0}, again = {0};
	int64_t number;
	pl_json_int64(json, &number);
	pl_json_print(&printed, json);
	pl_json_canonical(&canonical, json);
	PROMISE(pl_utf8_valid(printed.data, printed.len));
	cJSON_Delete(json);

	json = pl_json_parse(printed.data, printed.len, &wide, NULL);
	if (json == NULL && printed.len <= wide.bytes)
		PROMISE(!"what was printed is taken");
	if (json != NULL) {
		pl_json_print(&again, json);
		PROMISE(again.len == printed.len && memcmp(again.data, printed.data, printed.len) == 0);
		pl_buf_reset(&again);
		pl_json_canonical(&again, json);
		PROMISE(again.len == canonical.len && memcmp(again.data, canonical.data, canonical.len) == 0);
		cJSON_Delete(json);
	}

	// Canonical text is its own canonical text. (It may have passed the limits: 1e900 is 901 digits there.)
	json = pl_json_parse(canonical.data, canonical.len, &wide, NULL);
	if (json != NULL) {
		pl_buf_reset(&again);
		pl_json_canonical(&again, json);
		PROMISE(again.len == canonical.len && memcmp(again.data, canonical.data, canonical.len) == 0);
		cJSON_Delete(json);
	}
	pl_buf_fini(&printed);
	pl_buf_fini(&canonical);
	pl_buf_fini(&again);
	return 0;
}
