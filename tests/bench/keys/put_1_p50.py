"""The latency of a single write."""

from keys import Key

KEY = Key("µs of a PUT at one connection, median", "pgbench -c 1, the same write, µs, median", 1.25, 1.0, True)


def put_1(bench):
    books = bench.stack.load(connections=1, seconds=bench.turn_seconds)
    return books["p50_us"], books


def turn(bench, turn):
    bench.figure("put_1_p50").add(*bench.turn(
        turn, lambda: bench.sample("put_1, µs", lambda: put_1(bench)),
        lambda: bench.sample("pgbench -c 1, µs", lambda: bench.pgbench.median_latency("put.sql", bench.turn_seconds))))
