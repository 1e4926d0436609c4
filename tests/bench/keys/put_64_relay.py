"""Writes per second while the relay publishes; and relay_drain. Only us, its database and Kafka are running."""

from keys import Key, relay_drain
from rounds import fresh

KEY = Key("PUT/s while the relay publishes", "put_64", 0.6, 0.8)


def relayed(bench):
    subject = bench.sample("put_64_relay", lambda: bench.stack.put_rate(seconds=bench.seconds))
    bench.stack.wait_outbox_empty()
    return subject


def measure(bench, say):
    stack = bench.stack
    stack.plistd["eu"].stop()
    for turn in range(bench.rounds):
        fresh(bench)
        if bench.wanted("put_64_relay"):
            bench.figure("put_64_relay").add(*bench.turn(turn, lambda: relayed(bench),
                                                         lambda: relay_drain.drained(bench, say)))
        else:
            relay_drain.drained(bench, say)
    stack.plistd["eu"].start()
    stack.plistd["eu"].wait_ready()
    stack.wait_level()
