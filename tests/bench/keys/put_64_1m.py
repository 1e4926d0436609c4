"""Writes per second in a table of a million rows."""

import os

from keys import Key
from references import run_sql
from rounds import empty_outbox, fresh, put_64
from support.plistd import admin

KEY = Key("PUT/s at a million rows", "put_64", 0.85, 1.0)


def measure(bench, say):
    stack = bench.stack
    say("  generating a million rows")
    admin("seed", "--rows", "1000000", config=stack.config, timeout=900)
    low, high = run_sql(stack.postgres["us"].url, "SELECT min(id), max(id) FROM properties WHERE id > 1000")[0]
    for postgres in stack.postgres.values():
        run_sql(postgres.url, "VACUUM ANALYZE properties")
    os.sync()  # writes out what seeding has left in the system's cache
    with stack.relay_held("us"):
        for turn in bench.turns_within(9):
            empty_outbox(bench)
            fresh(bench)
            bench.figure("put_64_1m").add(*bench.turn(
                turn, lambda: bench.sample("put_64_1m", lambda: stack.put_rate(
                    seconds=bench.turn_seconds, ids=(low, high))),
                lambda: put_64(bench, bench.turn_seconds)))
        empty_outbox(bench)
