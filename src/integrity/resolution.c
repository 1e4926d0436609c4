// See resolution.h.
#include "integrity/resolution.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"

static bool is_of(const struct pl_violation_record *record, const char *region)
{
	size_t len = pl_vector_region_len(record->origin, strlen(record->origin));

	return len == strlen(region) && memcmp(record->origin, region, len) == 0;
}

// Prints the violation: what is violated, and each record with its vector.
static void print(struct pl_buf *text, const struct pl_violation *violation)
{
	pl_buf_printf(text, "violation %s %s %s", violation->type, violation->resource->name,
	              violation->fields);
	for (int i = 0; i < violation->n; i++) {
		pl_buf_printf(text, " %lld ", (long long)violation->records[i].id);
		pl_vector_print(text, &violation->records[i].vector);
	}
}

// Derives a UUID of version 8, which is meant for derived ids.
static void derive(const char *what, int64_t id, struct pl_resolution_write *write)
{
	struct pl_buf text = { 0 };
	uint8_t *h = write->fingerprint, b[16];

	pl_buf_printf(&text, "%s changes %lld", what, (long long)id);
	pl_sha256(text.data, text.len, h);
	memcpy(b, h, sizeof(b));
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x80);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	snprintf(write->request_id, sizeof(write->request_id),
	         "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
	         b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
	pl_buf_fini(&text);
}

int pl_resolution_writes(const struct pl_violation *violation, const struct pl_rule_answer *answer,
                         const char *region, struct pl_resolution_write *writes_r)
{
	struct pl_buf text = { 0 };
	int found = 0;

	print(&text, violation);
	for (int i = 0; i < answer->n; i++) {
		const struct pl_violation_record *record = &violation->records[answer->changes[i].record];

		if (!is_of(record, region))
			continue;
		writes_r[found].record = record;
		writes_r[found].change = &answer->changes[i];
		derive(text.data, record->id, &writes_r[found++]);
	}
	pl_buf_fini(&text);
	return found;
}
