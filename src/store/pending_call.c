// Calls that are one statement at the database: an entry in a list, from sending to the
// result.
//
// Used by store/query, store/remembered and store/write_answer. A call whose deadline
// passes is answered at once; its entry stays until the result comes.
// Threads: as for the list's owner.
#include <stdlib.h>

#include "store/store_private.h"

struct pl_pending_call *pl_pending_call_new(void *owner, struct pl_pending_call **list, void *call)
{
	struct pl_pending_call *pending = pl_calloc(1, sizeof(*pending));

	pending->owner = owner;
	pending->call = call;
	DL_APPEND(*list, pending);
	return pending;
}

void pl_pending_call_free(struct pl_pending_call **list_p, struct pl_pending_call *pending)
{
	DL_DELETE(*list_p, pending);
	free(pending);
}
