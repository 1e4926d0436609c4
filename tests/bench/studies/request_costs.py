"""Where the time of a request goes: processor time per request, by program, in user mode and in the kernel.

The figures come from /proc, so that anyone can repeat the measurement without a profiler. A GET of plist and a SELECT
of pgbench cost the kernel the same two system calls at each end of a connection; what plist adds is the difference.
"""

import resource

from measure import TICKS, machine_ticks
from references import run_sql
from rounds import best_clients, fresh_beside_pgbench, level_again
from support.process import family, stat_of

QUICK = True
PARTS = ("daemon", "its kernel", "PostgreSQL", "its kernel", "load", "its kernel", "all", "idle")


def _spent(pids):
    """User and kernel seconds of these processes and their ended children. A process that ends meanwhile is included in its parent."""
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
    """The costs of run(), which returns the number of requests that it made: a figure for each of PARTS, in µs per request."""
    before = _books(stack)
    requests = run()
    return [(now - then) * 1e6 / max(1, requests) for now, then in zip(_books(stack), before)]


def measure(bench, say):
    stack, seconds, rows = bench.stack, max(1, round(bench.turn_seconds)), []

    def load(mode):
        return lambda: stack.load(mode=mode, seconds=seconds, warmup=0.3)["requests"]

    def pgbench(script):
        clients = best_clients(bench, script)
        return lambda: bench.pgbench.rate(script, clients, seconds)[0] * seconds
    with stack.relay_held("us"):
        for what, run in (("PUT", load("put")), ("pgbench's write", pgbench("put.sql")), ("GET", load("get")), ("pgbench's SELECT", pgbench("get.sql"))):
            fresh_beside_pgbench(bench)
            rows.append((what, *of(stack, run)))
        run_sql(stack.postgres["us"].url, "TRUNCATE outbox")
    level_again(bench)
    bench.table("Processor time of a request, µs: of each program and of the kernel for it; of all that ran; idle (64 connections)",
                         ("of a", *PARTS), rows)
