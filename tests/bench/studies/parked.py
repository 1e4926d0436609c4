"""What parked events cost the others: how fast a region applies a full topic with none and with thousands that wait."""

from references import arrivals, run_sql, settle
from rounds import fresh, rate_of
from studies.compare import add_table
from support.client import new_id
from support.process import wait_until

NUMBERS = (1000, 10_000)
EVENTS = 40_000  # batches have up to 2,500, and those before the first change do not count
RECORD, COPIES = 900_000_000, 950_000_000
TITLE = "How fast eu applies a full topic of us while parked events wait there, which are refused again (events/s)"
# Copies of one parked event, each of another record and request, all of them due.
COPY = f"""INSERT INTO parked_events (resource, record_id, origin, counter, topic, partition, kafka_offset, key, value, headers, reason, sqlstate, retry_at)
    SELECT resource, n, origin, counter, topic, partition, 1000000000 + n, convert_to(n::text, 'UTF8'),
           convert_to(replace(convert_from(value, 'UTF8'), record_id::text, n::text), 'UTF8'),
           replace(replace(headers::text, h, h || n), '/' || record_id, '/' || n)::jsonb, reason, sqlstate, now()
    FROM bench_parked, generate_series({COPIES} + 1, {COPIES} + {{n}}) AS n,
         LATERAL (SELECT e ->> 'value' AS h FROM jsonb_array_elements(headers) e WHERE e ->> 'name' = 'plist-request-id') AS request"""


def park_one(stack):
    """One event that eu refuses, in a table from which it is copied."""
    us, eu = stack.postgres["us"].url, stack.postgres["eu"].url
    run_sql(eu, "ALTER TABLE properties ADD CONSTRAINT no_palaces CHECK (price < 900000000) NOT VALID")
    answer = stack.client("us").post(id=RECORD, price=900000001, request_id=new_id())
    if answer.status != 201:
        raise RuntimeError(f"us answers {answer}")
    wait_until("eu parks the event", lambda: run_sql(eu, "SELECT count(*) FROM parked_events")[0][0] == 1, 30)
    run_sql(eu, "CREATE TABLE bench_parked AS SELECT * FROM parked_events")
    run_sql(eu, "DELETE FROM parked_events")
    run_sql(us, f"DELETE FROM properties WHERE id = {RECORD}")


def applied(bench, say, parked):
    stack = bench.stack
    us, eu = stack.postgres["us"].url, stack.postgres["eu"].url
    fresh(bench)
    stack.wait_level()
    stack.tidy("eu")
    stack.plistd["eu"].stop()
    state = "SELECT sum((vector ->> 'us')::int) FROM properties WHERE id <= 1000"
    before = wanted = run_sql(us, state)[0][0]
    while wanted < before + EVENTS:
        stack.load(seconds=bench.seconds)
        wanted = run_sql(us, state)[0][0]
    stack.wait_outbox_empty("us")
    run_sql(eu, COPY.format(n=parked))
    settle(us, eu)
    rate = rate_of(f"{parked:,} parked", say, *arrivals(eu, state, wanted, stack.plistd["eu"].start))
    still = run_sql(eu, "SELECT count(*) FROM parked_events")[0][0]
    if still != parked:
        raise RuntimeError(f"{still} of {parked} events are still parked")
    run_sql(eu, "DELETE FROM parked_events")
    stack.wait_level()
    return rate.value


def measure(bench, say):
    eu = bench.stack.postgres["eu"].url
    park_one(bench.stack)
    rates = {}
    for turn in range(bench.rounds):
        for number in NUMBERS:
            ways = [("without", 0), ("with", number)]
            for way, parked in ways if turn % 2 == 0 else ways[::-1]:
                rates.setdefault((f"{number:,} parked", way), []).append(applied(bench, say, parked))
    run_sql(eu, "ALTER TABLE properties DROP CONSTRAINT no_palaces")
    run_sql(eu, "DROP TABLE bench_parked")
    add_table(bench, say, TITLE, {"without": "without them", "with": "with them"}, rates)
