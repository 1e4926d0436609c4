"""How fast a region applies a full topic if it has written a tenth of the records concurrently."""

from keys import Key
from references import LogicalReplication, arrivals, run_sql, settle
from rounds import first_over, fresh, rate_of

KEY = Key("events/s from a full topic, siblings and Lua for 10 %", "logical replication of small transactions", 1.2, 2.4)
TABLE = "What logical replication carries, events/s, and apply over it"


def applied(bench, say):
    stack = bench.stack
    us, eu = stack.postgres["us"], stack.postgres["eu"]
    fresh(bench)
    stack.wait_level()
    stack.tidy("eu")  # eu is measured
    with stack.relay_held("eu"):
        stack.load(region="eu", connections=16, seconds=0.8, warmup=0, ids=(1, 96), rate=100)
        stack.plistd["eu"].stop()
        stack.load(seconds=bench.seconds)
        stack.wait_outbox_empty("us")
        state = "SELECT sum((vector ->> 'us')::int) FROM properties WHERE id <= 1000"
        wanted = run_sql(us.url, state)[0][0]
        settle(us.url, eu.url)
        subject = rate_of("apply", say, *arrivals(eu.url, state, wanted, stack.plistd["eu"].start))
    stack.wait_level()
    return subject


def carried(bench, say, what, logical):
    logical.resume()  # skips what plist has written in the meantime
    logical.wait_level()
    logical.wait_decoded()
    logical.suspend()
    logical.pgbench("-c", "32", "-j", "2", "-t", "1000" if bench.quick else "2000")
    settle(*(postgres.url for postgres in bench.stack.postgres.values()), logical.us_url, logical.eu_url)
    reference = rate_of(what, say, *logical.catch_up())
    logical.suspend()  # otherwise it would read the log during the next turn
    return reference


def measure(bench, say):
    us, eu = bench.stack.postgres["us"], bench.stack.postgres["eu"]
    logical = LogicalReplication(us, eu)
    beside = None if bench.quick else LogicalReplication(us, eu, remembering=True)
    rates = []
    for _ in range(bench.rounds):
        subject = applied(bench, say)
        reference = carried(bench, say, "logical replication", logical)
        bench.figure("apply").add(subject, reference)
        if beside:
            more = carried(bench, say, "with the remembered requests", beside)
            rates.append((subject.value, reference.value, more.value))
    logical.drop()
    if beside:
        beside.drop()
        bench.table(TABLE, ("of each write", "events/s", "ratio"),
                    first_over(rates, "the records, the key", "and the remembered requests, as plist does"))
