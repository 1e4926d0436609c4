// What regions say to each other when one compares its records with another's: an ask,
// and its answer. They travel on the topic of the heartbeats; daemons that do not know
// them ignore them, like any message there that is not a heartbeat.
//
// A message has a header, PL_AUDIT_HEADER, with the region that it is for, so that the
// others need not read it.
// Threads: any; nothing is shared.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"
#include "config/config.h"

#define PL_AUDIT_HEADER  "plist-audit"
#define PL_AUDIT_ID_SIZE 40
#define PL_AUDIT_BYTES   (200 * 1024) // an answer's rows end at the first one beyond it
#define PL_AUDIT_IDS_MAX 200          // records of one ask

enum pl_audit_what {
	PL_AUDIT_RANGES,  // digests of ranges of ids
	PL_AUDIT_ROWS,    // digests of single records
	PL_AUDIT_RECORDS, // how records are: vectors, and digests of their contents and siblings
	PL_AUDIT_WHATS,
};

// Texts are in the caller's arena.
struct pl_audit_message {
	char region[PL_REGION_MAX + 1], to[PL_REGION_MAX + 1];
	char id[PL_AUDIT_ID_SIZE]; // of the ask, and of its answer
	bool is_answer;
	enum pl_audit_what what;
	const char *resource;
	const char *fields;  // "price decimal(12,2);bedrooms integer;": what the digests cover
	bool track;          // they cover the times of fields
	int64_t from, until; // ids: the first one, and the one after the last

	// Of an ask.
	int ranges;      // how many at most, from the first on that has a record
	int major;       // of the database server's version
	const char *ids; // "{1,2}": of records, ascending; at most PL_AUDIT_IDS_MAX

	// Of an answer.
	const char *fault; // why there is none, in words; NULL: there is one
	bool by_text;      // how it was hashed: see compare/digest
	bool end;          // there are no more records
	// {region: [generation, id]}: the positions that cover everything that it shows
	const char *positions;
	// "place digest" or "id content siblings vector", one a line
	const char *rows;
};

void pl_audit_message_print(struct pl_buf *buf, const struct pl_audit_message *message);
// 0 or PL_EINVAL.
int pl_audit_message_parse(struct pl_arena *arena, const char *text, size_t len,
                           struct pl_audit_message *message_r, struct pl_error *err);
