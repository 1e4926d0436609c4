// Which requests are running in a daemon: a request that comes again meanwhile is
// answered so, whichever worker receives it.
//
// Used by store/write_task.c, which enters a request when a write with its id is handed
// over and removes it when the write has its outcome. Other daemons of the region are
// not asked: there the second execution waits for the first one's transaction and is
// then answered "remembered".
// Threads: any. A lock is held for the time of one look into a hash table, and there are
// several, by the key.
#pragma once

#include <stdbool.h>

#include <uthash.h>

struct pl_running_ids;

// Owned by the caller, as is the key; both stay valid from entering to leaving.
struct pl_running_id {
	const void *key;
	unsigned len; // bytes
	UT_hash_handle hh;
};

struct pl_running_ids *pl_running_ids_new(void);
// All requests must have left.
void pl_running_ids_free(struct pl_running_ids **running_p);

// False if a request with this key is running already; then nothing was entered.
bool pl_running_ids_enter(struct pl_running_ids *running, struct pl_running_id *entry);
void pl_running_ids_leave(struct pl_running_ids *running, struct pl_running_id *entry);
bool pl_running_ids_has(struct pl_running_ids *running, const void *key, unsigned len);
