"""The highest write rate through NGINX at which the other region keeps up, with everything running at once."""

from keys import Key
from references import run_sql
from rounds import fresh_beside_pgbench, pgbench_rate

KEY = Key("PUT/s that both regions, Kafka and NGINX sustain", "pgbench, best client count", 0.7, 1.5)


def total(bench, region):
    return run_sql(bench.stack.postgres[region].url, "SELECT sum(version) FROM properties")[0][0]


def holds(bench, rate):
    """Whether the rate was reached and eu was less than a fifth of a second behind when the load ended."""
    stack = bench.stack
    books = stack.load(port=stack.nginx.port, seconds=bench.seconds, rate=rate)
    behind = int(total(bench, "us") - total(bench, "eu"))
    stack.wait_level()
    return books["ok_rate"] > 0.95 * rate and behind < max(200, rate / 5), books["ok_rate"]


def sustained(bench, reference, say):
    low, high = reference / 4, reference * 2
    for _ in range(5 if bench.quick else 7):
        rate = (low * high) ** 0.5
        kept, seen = holds(bench, rate)
        say(f"    {rate:,.0f}/s: {'kept' if kept else 'not kept'} ({seen:,.0f}/s)")
        low, high = (seen, high) if kept else (low, rate)
        if high / low < 1.05:
            break
    return low


def measure(bench, say):
    for _ in range(max(1, bench.rounds // 2)):
        fresh_beside_pgbench(bench)
        reference = pgbench_rate(bench, "put.sql", bench.seconds)
        subject = bench.sample("full_chain", lambda r=reference.value: (sustained(bench, r, say), {}))
        bench.figure("full_chain").add(subject, reference)
