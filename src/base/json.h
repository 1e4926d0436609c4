// JSON as plist reads and writes it: cJSON behind limits, with numbers kept as the text that came.
//
// cJSON alone would turn 500000.10 into a double, take duplicate keys and text after the value, and cut "\u0000".
// Here a scan checks the text first (RFC 8259, UTF-8, limits, no duplicate keys, no NUL), and a number becomes a cJSON_Raw item
// whose valuestring is its text, so that printing gives it back unchanged.
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

struct pl_json_limits {
	size_t bytes;
	int depth;
	int nodes;
};
extern const struct pl_json_limits pl_json_default_limits; // 64 KiB, depth 16, 4096 nodes

// The value, to be freed with cJSON_Delete; NULL with *err saying what and where ("line 1, column 17: …").
cJSON *pl_json_parse(const char *text, size_t len, const struct pl_json_limits *limits, struct pl_error *err);

bool pl_json_is_number(const cJSON *item);
const char *pl_json_number_text(const cJSON *item);           // NULL if it is no number
int pl_json_int64(const cJSON *item, int64_t *value_r);       // -1 if it is no integer or does not fit
const char *pl_json_string(const cJSON *object, const char *key); // NULL if absent or no string
const cJSON *pl_json_get(const cJSON *object, const char *key);   // case-sensitive

cJSON *pl_json_new_int64(int64_t value);
cJSON *pl_json_new_number(const char *text); // text must be a JSON number

// Compact text, appended.
void pl_json_print(struct pl_buf *buf, const cJSON *item);
// Canonical text: keys sorted by bytes, numbers in one spelling (5e5 = 500000 = 500000.0). For fingerprints.
void pl_json_canonical(struct pl_buf *buf, const cJSON *item);
// One spelling of a JSON number, appended: "-0" -> "0", "1.50" -> "1.5", "5e2" -> "500".
void pl_json_canonical_number(struct pl_buf *buf, const char *text);
