// Members of a JSON object, as the answers of the control socket have them.
#include "ops/members.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

void pl_members_add_text(struct pl_buf *members, const char *name, const char *value)
{
	pl_buf_printf(members, ",\"%s\":", name);
	pl_buf_add_json(members, value, strlen(value));
}

void pl_members_add_time(struct pl_buf *members, const char *name, int64_t at_us)
{
	char at[PL_TIME_TEXT_MAX];
	if (at_us)
		pl_buf_printf(members, ",\"%s\":\"%s\"", name, pl_clock_format_time(at_us, at));
	else
		pl_buf_printf(members, ",\"%s\":null", name);
}

void pl_members_add_list(struct pl_buf *members, const char *name, const char *const *texts, int n)
{
	if (!members)
		return;
	pl_buf_printf(members, ",\"%s\":[", name);
	for (int i = 0; i < n; i++) {
		pl_buf_adds(members, i ? "," : "");
		pl_buf_add_json(members, texts[i], strlen(texts[i]));
	}
	pl_buf_addc(members, ']');
}

void pl_members_add_diagnostics(struct pl_buf *members, const char *name,
                                const struct pl_diagnostics *diagnostics, bool warnings)
{
	const char **texts = pl_calloc((size_t)diagnostics->n + 1, sizeof(texts[0]));
	int n = 0;
	for (int i = 0; i < diagnostics->n; i++)
		if (diagnostics->lines[i].warning == warnings)
			texts[n++] = diagnostics->lines[i].text;
	pl_members_add_list(members, name, texts, n);
	free(texts);
}
