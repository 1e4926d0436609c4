"""What the measurements of keys/ and studies/ share: rounds on one region, pgbench beside them, equal tables."""

import psycopg2
import psycopg2.extras

from measure import Sample, median
from references import run_sql


def best_clients(bench, script):
    """pgbench's best client count for a script, determined once a run."""
    if script not in bench.best:
        bench.best[script] = bench.pgbench.best_clients(script, bench.turn_seconds)[0]
    return bench.best[script]


def pgbench_rate(bench, script, seconds=None):
    clients = best_clients(bench, script)
    return bench.sample(f"pgbench {script}, {clients} clients",
                        lambda: bench.pgbench.rate(script, clients, seconds or bench.turn_seconds))


def put_64(bench, seconds=None):
    return bench.sample("put_64", lambda: bench.stack.put_rate(seconds=seconds or bench.seconds))


def fresh(bench):
    bench.pgbench.tidy()
    bench.stack.tidy()


def fresh_beside_pgbench(bench):
    fresh(bench)
    bench.pgbench.warm_up()


def empty_outbox(bench):
    run_sql(bench.stack.postgres["us"].url, "TRUNCATE outbox")


def alone(bench, turns, prepare=fresh_beside_pgbench):
    """For each turn, region us alone on fresh tables. Nothing is published, since pgbench publishes nothing either."""
    with bench.stack.relay_held("us"):
        for turn in turns:
            empty_outbox(bench)
            prepare(bench)
            yield turn
        empty_outbox(bench)
    level_again(bench)


def level_again(bench):
    """Copies the rows of us to eu, since the outbox of us was discarded, so that both regions are equal again."""
    stack = bench.stack
    rows = run_sql(stack.postgres["us"].url,
                   "SELECT id, price, version, region_origin, updated_at, vector::text FROM properties")
    with psycopg2.connect(stack.postgres["eu"].url) as link, link.cursor() as cursor:
        psycopg2.extras.execute_values(cursor, """
            UPDATE properties p SET price = v.price, version = v.version, region_origin = v.origin, updated_at = v.at,
                                    vector = v.vector::jsonb
            FROM (VALUES %s) v(id, price, version, origin, at, vector) WHERE p.id = v.id""", rows, page_size=5000)
    link.close()


def first_over(turns, *names):
    """Rows of a table: each reference's median, and the subject's ratio to it. A turn is (subject, reference, …)."""
    return [(name, f"{median(turn[i] for turn in turns):,.0f}", f"{median(turn[0] / turn[i] for turn in turns):.2f}")
            for i, name in enumerate(names, 1)]


def rate_of(what, say, events, seconds):
    say(f"  {what}: {events} events in {seconds:.2f} s: {events / seconds:,.0f}/s")
    return Sample(events / seconds, 0.0, seconds)


COMMITTED = "pg_xact_commit_timestamp(xmin)"


def commit_gaps(us_url, eu_url, where, arrived=COMMITTED):
    """For each row, µs between its last commit in us, by PostgreSQL's commit timestamp, and its arrival in eu."""
    sql = "SELECT id, version, extract(epoch from {}) FROM properties WHERE " + where
    eu = {row[0]: row for row in run_sql(eu_url, sql.format(arrived))}
    us = run_sql(us_url, sql.format(COMMITTED))
    gaps = sorted(float(eu[i][2] - at) * 1e6 for i, v, at in us if i in eu and eu[i][1] == v)
    if not gaps or gaps[len(gaps) // 2] <= 0:
        middle = gaps[len(gaps) // 2] if gaps else None
        raise RuntimeError(f"{len(gaps)} gaps with a median of {middle} µs: this is not a valid measurement")
    return gaps
