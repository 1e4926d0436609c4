"""Where the time of a request goes: processor time by program, its own and the kernel's for it, per request.

By the kernel's own books (/proc), so that anyone can repeat it without a profiler. Not a key, but what explains the keys: a GET of the product
and a SELECT of pgbench cost the kernel the same two system calls at each end of a connection, and are compared by what is added to them.
"""

import pathlib
import resource

from measure import TICKS
from support.process import family

PARTS = ("daemon", "its kernel", "PostgreSQL", "its kernel", "load", "its kernel", "all", "idle")


def _spent(pid):
    """Seconds of a process and of those of its children that ended: its own and the kernel's."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0, 0.0
    fields = [int(f) for f in text[text.rindex(")") + 2:].split()[11:15]]
    return (fields[0] + fields[2]) / TICKS, (fields[1] + fields[3]) / TICKS


def _sum(pids):
    pairs = [_spent(pid) for pid in pids]
    return sum(own for own, _ in pairs), sum(kernel for _, kernel in pairs)


def _machine():
    fields = [int(f) / TICKS for f in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return sum(fields) - fields[3] - fields[4], fields[3]


def _books(stack):
    load = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (*_spent(stack.plistd["us"].pid), *_sum(family(stack.postgres["us"].pid)), load.ru_utime, load.ru_stime, *_machine())


def cost(stack, run):
    """What run() → the number of requests that it made cost: a figure for each of PARTS, in µs a request."""
    before = _books(stack)
    requests = run()
    return [(now - then) * 1e6 / max(1, requests) for now, then in zip(_books(stack), before)]


def table(bench, clients):
    """Title, columns and rows. `clients(script)`: how many pgbench has for a script."""
    stack, seconds = bench.stack, max(1, round(bench.turn_seconds))

    def load(mode):
        return lambda: stack.load(mode=mode, seconds=seconds, warmup=0.3)["requests"]

    def pgbench(script):
        return lambda: bench.pgbench.rate(script, clients(script), seconds)[0] * seconds
    rows = []
    for what, run in (("PUT", load("put")), ("pgbench's write", pgbench("put.sql")), ("GET", load("get")), ("pgbench's SELECT", pgbench("get.sql"))):
        bench.pgbench.tidy()
        stack.tidy()
        rows.append((what, *cost(stack, run)))
    return "Processor time of a request, µs: of each program and of the kernel for it; of all that ran; idle (64 connections)", ("of a", *PARTS), rows
