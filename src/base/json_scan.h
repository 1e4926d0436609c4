// The strict scan before cJSON: text that passes it is parsed by cJSON as intended. For
// json.c and its tests only.
#pragma once

#include "base/json.h"

// Precedes the text of each number that was turned into a string. UTF-8 text never
// contains this byte and no escape produces it, so it cannot come from a client.
#define PL_JSON_MARK '\xFF'

struct pl_json_scan {
	struct pl_buf text; // the same JSON, with each number N replaced by "\xFFN"
	size_t *keys;       // offset in the original text of each key, in order
	int nkeys;
};

// Returns 0, or -1 with *err. Call pl_json_scan_fini in both cases.
int pl_json_scan(struct pl_json_scan *scan, const char *text, size_t len, const struct pl_json_limits *limits,
                 struct pl_error *err);
void pl_json_scan_fini(struct pl_json_scan *scan);

// The position of an offset as text, "line 1, column 17". Columns count characters.
#define PL_JSON_PLACE_MAX 64
char *pl_json_scan_place(const char *text, size_t offset, char place[PL_JSON_PLACE_MAX]);

// Length of the JSON number at p, or 0 if there is none.
size_t pl_json_scan_number_len(const char *p, const char *end);
