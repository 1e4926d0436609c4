"""Where the time of a request goes: processor time by program, its own and the kernel's for it, per request.

By the kernel's own books (/proc), so that anyone can repeat it without a profiler. Not a key, but what explains the keys: a GET of the product
and a SELECT of pgbench cost the kernel the same two system calls at each end of a connection, and are compared by what is added to them.
"""

import resource

from measure import TICKS, machine_ticks
from support.process import family, stat_of

PARTS = ("daemon", "its kernel", "PostgreSQL", "its kernel", "load", "its kernel", "all", "idle")


def _spent(pids):
    """Seconds of these processes and of those of their children that ended: their own and the kernel's. One that ends meanwhile counts with its parent."""
    own = kernel = 0
    for pid in pids:
        try:
            fields = [int(f) for f in stat_of(pid)[11:15]]
        except OSError:
            continue
        own, kernel = own + fields[0] + fields[2], kernel + fields[1] + fields[3]
    return own / TICKS, kernel / TICKS


def _books(stack):
    load = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (*_spent([stack.plistd["us"].pid]), *_spent(family(stack.postgres["us"].pid)), load.ru_utime, load.ru_stime,
            *(ticks / TICKS for ticks in machine_ticks()))


def of(stack, run):
    """What run() → the number of requests that it made cost: a figure for each of PARTS, in µs a request."""
    before = _books(stack)
    requests = run()
    return [(now - then) * 1e6 / max(1, requests) for now, then in zip(_books(stack), before)]
