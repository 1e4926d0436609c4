// What the client was answered, where it does not follow from the record: the header
// plist-answer of an event, a JSON object of at most PL_EVENT_ANSWER_MAX bytes.
//
//   {"location":"/eu/properties/7"}      the default answer, with this Location
//   {"status":409,"headers":[["Content-Type","text/plain"]],"body":"…"}
//                                        a handler's own answer; "hex" for a body that is
//                                        not a text
//   {"status":200,"region":"us","bytes":70000}
//                                        an answer too large to travel
//
// Unknown members are ignored.
#pragma once

#include "base/error.h"
#include "base/mem.h"

#define PL_EVENT_ANSWER_MAX 65536 // as in sql/012_answers.sql

struct pl_event_answer {
	const char *own;      // a handler's own answer or its size, as JSON; NULL: the default answer
	int status;           // of `own`
	const char *location; // of the default answer; NULL: as the origin and the id say
};

// Reads and checks the header's text; `text` stays in use. PL_EINVAL with a sentence that
// follows "header plist-answer".
int pl_event_answer_parse(struct pl_arena *arena, const char *text, struct pl_event_answer *answer_r,
                          struct pl_error *err);
