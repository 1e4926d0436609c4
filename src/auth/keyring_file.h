// Changes the file with the hashes of API keys, for plist-admin keys.
//
// Each change replaces the whole file, so that a daemon that reloads reads either the
// old or the new one. Other lines, including comments, stay as they are.
#pragma once

#include "auth/keyring.h"
#include "base/buf.h"

// A file that is open for a change, locked against others.
struct pl_keyring_file {
	const char *path;
	char *fresh; // path of the file that will replace it; it is the lock
	int fd;
	struct pl_arena *arena;
	struct pl_buf text;
	struct pl_keyring ring;
};

// Reads and locks the file; it may be missing if `create`. Returns 0, PL_EBUSY if another
// change is running, or the errors of pl_keyring_read. After success, and only then,
// the caller must end the change with pl_keyring_file_abandon or _commit. Strings are
// in `arena`.
int pl_keyring_file_open(struct pl_keyring_file *file, struct pl_arena *arena, const char *path, bool create,
                         struct pl_error *err);
// Change the text. Line numbers are those of the ring that was read; removing a line
// changes the numbers of those after it.
void pl_keyring_file_add(struct pl_keyring_file *file, const struct pl_api_key *key);
void pl_keyring_file_remove(struct pl_keyring_file *file, int line);
void pl_keyring_file_replace(struct pl_keyring_file *file, int line, const struct pl_api_key *key);
// Writes the new text to the disk and replaces the old file. Ends the change.
int pl_keyring_file_commit(struct pl_keyring_file *file, struct pl_error *err);
void pl_keyring_file_abandon(struct pl_keyring_file *file);
