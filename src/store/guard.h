// The locks under which a write is checked against other records.
//
// A write that sets unique fields or a reference, or deletes a record that may be
// referred to, takes PostgreSQL's advisory locks for it, in a statement of its
// transaction that precedes its own. So its own statement has a later snapshot, which
// shows everything that writes with the same locks have committed: of two writes that
// would take one value, the second one sees the first.
//
// The locks of a write, from its values alone:
//
//	the resource          shared. A session that takes it exclusively has waited
//	                      for all writes that are in flight
//	the fields of a set   shared if the write names all of them, otherwise exclusive:
//	                      its other values are the row's, which no other write may
//	                      change meanwhile
//	the values of a set   exclusive; none if one of them is null
//	a record's id         exclusive for its delete, shared for a reference to it
//
// Events take none of them and are never checked.
// Threads: any; an object belongs to one.
#pragma once

#include "base/buf.h"
#include "store/store.h"

struct pl_guard_lock {
	int64_t key;
	bool shared;
	bool value; // of a set's values
};

struct pl_guard {
	struct pl_guard_lock *locks; // ascending by key
	int n;
};

// In `arena`; n is 0 if the write needs none.
void pl_guard_of_write(struct pl_guard *guard_r, struct pl_arena *arena, const struct pl_write *write);
// The resource's own lock, which every guarded write takes shared.
int64_t pl_guard_resource_key(const struct pl_resource *resource);
// The statement that takes the own locks of all resources that need any, exclusively;
// nothing is added if none does. A session that writes many rows takes them, so that
// later writes are checked against these rows (plist-admin seed).
void pl_guard_lock_all(struct pl_buf *sql, const struct pl_config *config);
// Whether they take the same value.
bool pl_guard_same_value(const struct pl_guard *a, const struct pl_guard *b);

// The locks of a statement's writes; zeroed is empty.
struct pl_guard_union {
	struct pl_guard guard;
	int room;
};
// False: the write excludes one that is in it, and was not added.
bool pl_guard_union_add(struct pl_guard_union *all, const struct pl_guard *guard);
void pl_guard_union_fini(struct pl_guard_union *all);

// The parameters of pl_statement_guard_locks: "{1,2}" of those that are exclusive, and of
// the shared ones.
void pl_guard_params(const struct pl_guard *guard, struct pl_buf *exclusive, struct pl_buf *shared);
