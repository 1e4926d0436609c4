// Other texts: times, JSON strings, connection strings without their passwords.
//
// Threads: one.
#include "fuzz.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"

static void check_time(const char *text, size_t len)
{
	int64_t at_us, back_us;
	char shown[PL_TIME_TEXT_MAX];
	if (pl_clock_parse_time(text, len, &at_us) != 0)
		return;
	pl_clock_format_time(at_us, shown);
	PROMISE(strlen(shown) == 27);
	PROMISE(pl_clock_parse_time(shown, strlen(shown), &back_us) == 0 && back_us == at_us);
}

static void check_json_string(const char *text, size_t len)
{
	struct pl_json_limits wide = { .bytes = SIZE_MAX, .depth = 1, .nodes = 1 };
	struct pl_buf buf = { 0 };
	pl_buf_add_json(&buf, text, len);
	cJSON *json = pl_json_parse(buf.data, buf.len, &wide, NULL);
	PROMISE((json != NULL) == (len == 0 || memchr(text, '\0', len) == NULL));
	cJSON_Delete(json);
	pl_buf_fini(&buf);
}

static void check_redaction(const char *text, size_t len)
{
	char *dsn = pl_strndup(text, len), *shown = pl_malloc(4 * len + 16);
	pl_log_redact_dsn(dsn, shown, 4 * len + 16);
	pl_log_redact_dsn(dsn, shown, len / 2 + 1);
	PROMISE(strlen(shown) <= len / 2);
	free(shown);
	free(dsn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = size ? (const char *)data : "";
	check_time(text, size);
	check_json_string(text, size);
	check_redaction(text, size);
	return 0;
}
