// The member `word` of a heartbeat (plist_word in sql/014_identity.sql): who the region
// is, what it knows of the others, what it asks of them, and what it has published for
// them.
//
// Functions in the database read it, with casts that raise an error for a value of
// another kind, and one such row would stop healing in this region. So it is checked
// here, member by member, before it is stored.
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define PL_WORD_ID_MAX 64

// Which database has sent it.
struct pl_word_sender {
	char place[2 * PL_WORD_ID_MAX + 2]; // and run; "": it does not say; two databases have different ones
	char question[PL_WORD_ID_MAX + 1];  // "": it asks nothing
	bool accepted;                      // as the one that serves its region
	bool answers;                       // it quotes questions of others
};
// Of a word that was checked, or of none.
void pl_word_read_sender(const cJSON *word, struct pl_word_sender *sender_r);

// Members that this version does not know are not checked, except that the database can
// store them.
int pl_word_check(const cJSON *word, int64_t now_us, struct pl_error *err);

// Whether the database can store it: its numbers are integers of 64 bits.
bool pl_word_storable(const cJSON *json);
