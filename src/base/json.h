// JSON as plist reads and writes it: cJSON with limits, and with numbers kept as the text
// that was received.
//
// cJSON alone would convert 500000.10 to a double, accept duplicate keys and trailing
// text, and truncate at "\u0000". So a scan checks the text first (RFC 8259, UTF-8,
// limits, no duplicate keys, no NUL), and a number becomes a cJSON_Raw item whose
// valuestring is its text, so that it is printed unchanged.
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

// Returns the value, to be freed with cJSON_Delete; or NULL, with *err naming the fault
// and its position ("line 1, column 17: …").
cJSON *pl_json_parse(const char *text, size_t len, const struct pl_json_limits *limits, struct pl_error *err);

bool pl_json_is_number(const cJSON *item);
const char *pl_json_number_text(const cJSON *item); // NULL if it is not a number
// -1 if it is not an integer or does not fit
int pl_json_int64(const cJSON *item, int64_t *value_r);
const char *pl_json_string(const cJSON *object, const char *key); // NULL if absent or not a string
const cJSON *pl_json_get(const cJSON *object, const char *key);   // case-sensitive

cJSON *pl_json_new_int64(int64_t value);
cJSON *pl_json_new_number(const char *text); // text must be a JSON number

// Appends compact text.
void pl_json_print(struct pl_buf *buf, const cJSON *item);
// Canonical text, for fingerprints: keys sorted by bytes, equal numbers in the same
// spelling (5e5 = 500000 = 500000.0).
void pl_json_canonical(struct pl_buf *buf, const cJSON *item);
// Appends the canonical spelling of a JSON number: "-0" -> "0", "1.50" -> "1.5", "5e2" ->
// "500".
void pl_json_canonical_number(struct pl_buf *buf, const char *text);
