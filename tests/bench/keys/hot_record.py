"""Writes per second if all clients write the same record."""

from keys import Key
from rounds import pgbench_rate

KEY = Key("PUT/s that succeed on one id, 64 connections", "pgbench on one row, best client count", 1.0, 0)


def turn(bench, turn):
    bench.figure("hot_record").add(*bench.turn(
        turn, lambda: bench.sample("hot_record", lambda: bench.stack.put_rate(
            mode="hot", ids=(1, 1), seconds=bench.turn_seconds)),
        lambda: pgbench_rate(bench, "put_one_row.sql")))
