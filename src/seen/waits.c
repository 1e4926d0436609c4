// The counters belong to the process, since all its workers wait for one database.
#include "seen/waits.h"

#include <stdatomic.h>

static struct {
	_Atomic uint64_t waits, timeouts, refused;
	_Atomic int64_t total_us;
	_Atomic int waiting;
} all;

bool pl_seen_waits_enter(void)
{
	if (atomic_fetch_add(&all.waiting, 1) < PL_SEEN_WAITS_MAX) {
		atomic_fetch_add(&all.waits, 1);
		return true;
	}
	atomic_fetch_sub(&all.waiting, 1);
	atomic_fetch_add(&all.refused, 1);
	return false;
}

void pl_seen_waits_leave(int64_t waited_us, bool in_vain)
{
	atomic_fetch_sub(&all.waiting, 1);
	atomic_fetch_add(&all.total_us, waited_us);
	if (in_vain)
		atomic_fetch_add(&all.timeouts, 1);
}

void pl_seen_waits_read(struct pl_seen_waits *waits_r)
{
	*waits_r = (struct pl_seen_waits){ all.waits, all.timeouts, all.refused, all.total_us, all.waiting };
}
