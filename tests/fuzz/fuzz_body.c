// Bodies of writes: either all faults are listed, or every value is one that its column
// accepts. Also parses records from their JSON.
//
// Threads: one.
#include "fuzz.h"

#include <string.h>

#include "record/record.h"
#include "resource.h"

static void check_record(struct pl_arena *arena, const cJSON *json)
{
	struct pl_record *record = NULL, *back = NULL;
	struct pl_error err = { 0 };
	if (pl_record_parse(arena, &fuzz_resource, json, &record, &err) != 0) {
		PROMISE(err.text[0] != '\0');
		return;
	}
	struct pl_buf text = { 0 }, again = { 0 };
	struct pl_json_limits wide = { .bytes = SIZE_MAX, .depth = 16, .nodes = 100 };
	pl_record_print(&text, record);
	cJSON *printed = pl_json_parse(text.data, text.len, &wide, &err);
	PROMISE(printed != NULL);
	PROMISE(pl_record_parse(arena, &fuzz_resource, printed, &back, &err) == 0);
	pl_record_print(&again, back);
	PROMISE(again.len == text.len && memcmp(again.data, text.data, text.len) == 0);
	cJSON_Delete(printed);
	pl_buf_fini(&text);
	pl_buf_fini(&again);
}

static void check_changes(struct pl_arena *arena, enum pl_body_kind kind, const cJSON *json)
{
	static const char *const also[] = { "id", "version", NULL };
	struct pl_changes changes = { 0 };
	struct pl_fault *faults = pl_changes_parse(arena, &fuzz_resource, kind, json, also, &changes);
	for (const struct pl_fault *fault = faults; fault != NULL; fault = fault->next)
		PROMISE(fault->pointer != NULL && fault->detail != NULL);
	if (faults != NULL)
		return;
	for (int i = 0; i < fuzz_resource.nfields; i++)
		if (fuzz_resource.fields[i].required && (kind == PL_BODY_CREATE || changes.set[i]))
			PROMISE(changes.set[i] && changes.values[i] != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cJSON *json = pl_json_parse((const char *)data, size, NULL, NULL);
	if (json == NULL)
		return 0;
	struct pl_arena *arena = pl_arena_new(0);
	check_changes(arena, PL_BODY_CREATE, json);
	check_changes(arena, PL_BODY_UPDATE, json);
	check_record(arena, json);
	pl_arena_free(&arena);
	cJSON_Delete(json);
	return 0;
}
