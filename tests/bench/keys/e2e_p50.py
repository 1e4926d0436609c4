"""The time from the commit in us to the commit in eu at 500 writes per second."""

from keys import Key
from measure import median
from references import LogicalReplication, run_sql, settle
from rounds import commit_gaps, fresh
from support.process import wait_until

KEY = Key("µs from commit in us to commit in eu at 500/s", "logical replication, µs", 10, 4, True)
SECONDS = 1.8  # each of 960 rows is written once, so that its last commit is the one that is timed


def figures(gaps):
    return median(gaps), {"n": len(gaps), "p99": gaps[int(len(gaps) * 0.99)]}


def replicated(logical):
    run_sql(logical.us_url, "UPDATE properties SET updated_at = '2000-01-01'")
    logical.wait_level()
    wait_until("row times", lambda: run_sql(logical.eu_url,
                                            "SELECT max(updated_at) < '2001-01-01' FROM properties")[0][0])
    logical.pgbench("-c", "8", "-j", "1", "-R", "500", "-T", "2")
    logical.wait_level()
    return figures(commit_gaps(logical.us_url, logical.eu_url, "updated_at > now() - interval '60 s'", "applied_at"))


def travelled(stack):
    stack.load(connections=16, seconds=SECONDS, warmup=0.0, rate=500)
    stack.wait_level()
    return figures(commit_gaps(stack.postgres["us"].url, stack.postgres["eu"].url,
                               "updated_at > now() - interval '4 s'"))


def measure(bench, say):
    stack = bench.stack
    us, eu = stack.postgres["us"], stack.postgres["eu"]
    stack.wait_level()
    fresh(bench)
    settle(us.url, eu.url)  # the latency of the disk dominates here
    logical = LogicalReplication(us, eu, timed=True)
    travelled(stack)  # not counted: the disk is still busy with what was truncated
    for turn in range(bench.rounds):
        bench.figure("e2e_p50").add(*bench.turn(
            turn, lambda: bench.sample("e2e_p50, µs", lambda: travelled(stack)),
            lambda: bench.sample("logical replication, µs", lambda: replicated(logical))))
    logical.drop()
