// Which requests are running, in all workers of a daemon: one that comes again meanwhile is told so, whichever worker it reaches.
//
// Stands beside record/task.c, which enters a request when a write with its id begins and takes it out when the write has its outcome.
// Other daemons of the region are not asked: there the second execution waits for the first one's transaction and is then told "remembered".
// Threads: any. A lock is held for the time of one look into a hash table, and there are several, by the key.
#pragma once

#include <stdbool.h>

#include <uthash.h>

struct pl_running;

// Belongs to whoever runs the request, from entering to leaving; so does the key.
struct pl_running_entry {
	const void *key;
	unsigned len;       // bytes
	UT_hash_handle hh;
};

struct pl_running *pl_running_new(void);
// Everybody must have left.
void pl_running_free(struct pl_running **running);

// False, and nothing was entered, when a request of this key runs already.
bool pl_running_enter(struct pl_running *running, struct pl_running_entry *entry);
void pl_running_leave(struct pl_running *running, struct pl_running_entry *entry);
bool pl_running_has(struct pl_running *running, const void *key, unsigned len);
