// Reads the report of `compare -o json`. Threads: the tool has one.
#include "admin/differing.h"

#include <stdlib.h>
#include <string.h>

#include "admin/id_range.h"
#include "admin/messages.h"
#include "base/file.h"
#include "base/json.h"

#define REPORT_MAX ((size_t)1 << 30)

static const struct pl_json_limits limits = { .bytes = REPORT_MAX, .depth = 32, .nodes = 200 * 1000 * 1000 };

static int take(struct pl_invocation *invocation, const cJSON *report, const struct pl_resource *resource,
                const int64_t **ids_r, int *n_r)
{
	const cJSON *list = pl_json_get(report, "differences"), *each;
	int64_t *ids;
	int n = 0;
	if (!cJSON_IsArray(list))
		return -1;
	ids = pl_arena_array(invocation->arena, (size_t)cJSON_GetArraySize(list) + 1, sizeof(ids[0]));
	cJSON_ArrayForEach (each, list) {
		const char *name = pl_json_string(each, "resource");
		if (!name || pl_json_int64(pl_json_get(each, "id"), &ids[n]) < 0)
			return -1;
		n += strcmp(name, resource->name) == 0;
	}
	*n_r = pl_id_range_sort(ids, n);
	*ids_r = ids;
	return 0;
}

int pl_differing_read(struct pl_invocation *invocation, const char *file, const struct pl_resource *resource,
                      const int64_t **ids_r, int *n_r)
{
	struct pl_error err = { 0 };
	struct pl_buf text = { 0 };
	cJSON *report = NULL;
	int rc = PL_EXIT_USAGE;
	if (pl_file_read(file, REPORT_MAX, &text, &err) < 0 ||
	    !(report = pl_json_parse(text.data, text.len, &limits, &err)))
		pl_fail("%s: %s", file, err.text);
	else if (take(invocation, report, resource, ids_r, n_r) < 0)
		pl_fail("%s: this is not a report of 'plist-admin compare -o json'", file);
	else
		rc = 0;
	cJSON_Delete(report);
	pl_buf_fini(&text);
	return rc;
}
