"""put_64 over the daemon's own batch statement sent by libpq, 32 rows at a time: the cost of HTTP, Lua and checks.

All workers of a daemon write over one connection, and so does the reference. The table below the keys also shows two
connections, which keep the database busy on two processors; a service needs part of one to receive its requests.
"""

import json
import subprocess

from keys import Key
from rounds import first_over
from support import places

KEY = Key("PUT/s, 64 connections",
          "direct libpq, the same statement, 32 rows a batch, over one connection as the daemon's", 0.5, 0.8)
TABLE = "The batch statement sent by libpq, 32 rows at a time, and put_64 over it"


def direct_rate(bench, connections):
    argv = [places.program("tests/bench/plist-direct"), bench.stack.config, "us", bench.turn_seconds, "32", connections]
    books = json.loads(subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=True).stdout)
    return books["rate"], books


def references(bench):
    return [lambda n=n: bench.sample(f"direct batches of 32, connections: {n}", lambda: direct_rate(bench, n))
            for n in (1, 2)]


def add(bench, subject, one, two):
    bench.figure("put_64_vs_batch").add(subject, one)
    turns = bench.notes.setdefault("put_64_vs_batch", [])
    turns.append((subject.value, one.value, two.value))
    bench.table(TABLE, ("connections", "rows/s", "ratio"), first_over(turns, "1, the key", "2"))
