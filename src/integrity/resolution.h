// Decides which region executes which of the changes that resolve a violation: pure
// code.
//
// Every region that sees a violation asks the same rule about the same records. Each
// region executes only the changes of records whose last write is its own, with a
// request id that is derived from the violation. So each change is executed once, in
// the region where a client has last written the record, and travels like any other
// write.
//
// For a moment, regions may see different records. A rule that orders records by
// something that never changes, and changes all but the first, decides the same about
// any two of them: a record that is not the first of a few is not the first of more. So
// no region undoes what another one decided, and the violation ends.
// Threads: any.
#pragma once

#include "base/sha256.h"
#include "script/rule.h"

#define PL_RESOLUTION_ID_SIZE 37 // a UUID, with the NUL

struct pl_resolution_write {
	const struct pl_violation_record *record;
	const struct pl_rule_change *change;
	char request_id[PL_RESOLUTION_ID_SIZE];
	uint8_t fingerprint[PL_SHA256_SIZE];
};

// Selects the changes that `region` executes. Returns their number; `writes_r` must
// have room for all changes.
int pl_resolution_writes(const struct pl_violation *violation, const struct pl_rule_answer *answer,
                         const char *region, struct pl_resolution_write *writes_r);
