// The member `word` of a heartbeat (plist_word in sql/014_identity.sql): who the region
// is, what it knows of the others, what it asks of them, and what it has published for
// them.
//
// Functions in the database read it, with casts that raise an error for a value of
// another kind, and one such row would stop healing in this region. So it is checked
// here, member by member, before it is stored.
#pragma once

#include <cjson/cJSON.h>
#include <stdint.h>

#include "base/error.h"

// Members that this version does not know are not checked, except that the database can
// store them.
int pl_word_check(const cJSON *word, int64_t now_us, struct pl_error *err);

// Whether the database can store it: its numbers are integers of 64 bits.
bool pl_word_storable(const cJSON *json);
