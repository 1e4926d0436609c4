"""Writes per second through NGINX."""

from keys import Key
from rounds import alone, pgbench_rate

KEY = Key("PUT/s through NGINX", "pgbench, best client count", 1.3, 2.0)


def measure(bench, say):
    stack = bench.stack
    for turn in alone(bench, bench.turns_within(9)):
        bench.figure("put_64_nginx").add(*bench.turn(
            turn, lambda: bench.sample("put_64_nginx", lambda: stack.put_rate(
                port=stack.nginx.port, seconds=bench.turn_seconds)),
            lambda: pgbench_rate(bench, "put.sql")))
