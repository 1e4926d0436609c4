// JSON: accepted text is printed as JSON with the same meaning, and has one canonical
// form.
//
// Threads: one.
#include "fuzz.h"

#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

static const struct pl_json_limits wide = { .bytes = 1 << 20, .depth = 64, .nodes = 1 << 16 };

// Parses text again and compares the output of `write`. `must`: it must be accepted.
static void check_again(const struct pl_buf *text, const struct pl_buf *expected,
                        void (*write)(struct pl_buf *, const cJSON *), int must)
{
	struct pl_buf again = { 0 };
	cJSON *json = pl_json_parse(text->data, text->len, &wide, NULL);
	PROMISE(json != NULL || !must || text->len > wide.bytes);
	if (json != NULL) {
		write(&again, json);
		PROMISE(again.len == expected->len && memcmp(again.data, expected->data, expected->len) == 0);
	}
	cJSON_Delete(json);
	pl_buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pl_error err = { 0 };
	cJSON *json = pl_json_parse((const char *)data, size, &wide, &err);
	if (json == NULL) {
		PROMISE(err.code == PL_EINVAL && err.text[0] != '\0');
		return 0;
	}
	struct pl_buf printed = { 0 }, canonical = { 0 };
	int64_t number;
	pl_json_int64(json, &number);
	pl_json_print(&printed, json);
	pl_json_canonical(&canonical, json);
	PROMISE(pl_utf8_valid(printed.data, printed.len));
	check_again(&printed, &printed, pl_json_print, 1);
	check_again(&printed, &canonical, pl_json_canonical, 1);
	// The canonical form may exceed the limits: 1e900 has 901 digits there.
	check_again(&canonical, &canonical, pl_json_canonical, 0);
	cJSON_Delete(json);
	pl_buf_fini(&printed);
	pl_buf_fini(&canonical);
	return 0;
}
