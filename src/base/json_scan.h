// The strict scan that stands before cJSON: what it lets through, cJSON reads as it was meant. For json.c and its tests alone.
#pragma once

#include "base/json.h"

// Stands before the text of each number that was made a string. No UTF-8 text holds this byte and no escape yields it, so it
// cannot be mistaken for what a client sent.
#define PL_JSON_MARK '\xFF'

struct pl_json_scan {
	struct pl_buf text; // the same JSON, each number N become "\xFFN"
	size_t *keys;       // offset in the original of each object's key, in order
	int nkeys;
};

// 0, or -1 with *err. pl_json_scan_fini in both cases.
int pl_json_scan(struct pl_json_scan *scan, const char *text, size_t len, const struct pl_json_limits *limits,
                 struct pl_error *err);
void pl_json_scan_fini(struct pl_json_scan *scan);

// "line 1, column 17" of an offset, for sentences. Columns count characters.
#define PL_JSON_PLACE_MAX 64
char *pl_json_place(const char *text, size_t offset, char place[PL_JSON_PLACE_MAX]);

// Length of the JSON number at p, 0 if there is none.
size_t pl_json_number_len(const char *p, const char *end);
