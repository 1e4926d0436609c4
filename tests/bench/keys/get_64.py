"""Reads per second of 64 connections."""

from keys import Key
from rounds import pgbench_rate

KEY = Key("GET/s, 64 connections, Lua handler", "pgbench SELECT by key, best client count", 1.1, 1.9)


def turn(bench, turn):
    bench.figure("get_64").add(*bench.turn(
        turn, lambda: bench.sample("get_64", lambda: bench.stack.put_rate(mode="get", seconds=bench.turn_seconds)),
        lambda: pgbench_rate(bench, "get.sql")))
