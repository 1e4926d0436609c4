// Moves values from unknown_fields to the columns of their fields: an event may have been
// applied by a daemon that did not know the field. A row's vector and version stay, since
// nothing of what it says changes.
//
// For housekeeping. Threads: any; nothing is shared.
#pragma once

#include "config/config.h"
#include "db/session.h"

struct pl_fold {
	int64_t moved;     // rows
	int64_t forgotten; // rows with values of retired fields whose columns were dropped
	// Rows whose values stay where they are, also after a moment: the database
	// refuses the change, another session has locked the row, a trigger skips the
	// change, or a value does not fit the type of its field.
	int64_t left;
	int64_t first;                  // the id of one of them,
	char reason[PL_ERROR_TEXT_MAX]; // and why it is left
};

// Does so for all rows of a resource; one that is left holds up no other. Returns 0 or a
// code.
int pl_fold_resource(struct pl_session *session, const struct pl_resource *resource, struct pl_fold *fold_r,
                     struct pl_error *err);
