"""Writes per second of 64 connections, and put_64_vs_batch, which uses the same samples."""

from keys import Key, put_64_vs_batch
from rounds import pgbench_rate, put_64

KEY = Key("PUT/s, 64 connections, Lua handler", "pgbench, the same write, best client count", 2.0, 3.0)


def turn(bench, turn):
    beside = put_64_vs_batch.references(bench) if bench.wanted("put_64_vs_batch") else []
    reference, subject, *batches = bench.turn(turn, lambda: pgbench_rate(bench, "put.sql"),
                                              lambda: put_64(bench, bench.turn_seconds), *beside)
    bench.figure("put_64").add(subject, reference)
    if batches:
        put_64_vs_batch.add(bench, subject, *batches)
