"""A write that one region has acknowledged becomes visible in every region, or every tool reports that it does not: parked
events, forged events, and records that have reached a limit."""

import json
import re
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import psycopg2
import pytest

from support.database import Database
from support.process import wait_until
from support.quiet import NO, YES, ask, data

TOPIC = "property-updates"


@pytest.fixture
def clean(stack):
    """The stack without parked events and dead letters, before and after the test."""
    def clear():
        for region in stack.regions:
            stack.database(region).execute("TRUNCATE dead_letters, parked_events")
    clear()
    yield stack
    clear()


@pytest.fixture
def tolerant(clean):
    """The same, with daemons that tolerate the constraint that the test adds."""
    clean.reload(lambda config: config["resources"]["properties"].update(tolerate=["no_palaces"]))
    return clean


def parked(stack, region):
    return stack.database(region).value("SELECT count(*) FROM parked_events")


def metric(stack, region, name):
    return stack.plistd[region].metrics()[name]


def test_a_write_that_one_region_refuses_is_parked_and_arrives_when_the_table_is_mended(clean, us, eu):
    database = clean.database("eu")
    database.execute("ALTER TABLE properties ADD COLUMN agent text NOT NULL DEFAULT ''; ALTER TABLE properties ALTER COLUMN agent DROP DEFAULT")
    try:
        record = clean.new_record(everywhere=False)
        wait_until("eu parks the event", lambda: parked(clean, "eu") == 1)
        wait_until("the metric says so", lambda: metric(clean, "eu", "plist_parked_events") == 1)
        said = ask(clean, "status", status=NO)
        assert "eu: 1 parked events" in said.stderr
        event = data(clean, "parked", "list")["parked"][0]
        assert (event["region"], event["resource"], event["record"], event["column"], event["sqlstate"]) == ("eu", "properties", record, "agent", "23502")
        assert json.loads(event["value"])["id"] == record
        assert "still refused" in ask(clean, "parked", "retry", f"eu/{event['id']}", status=NO).stderr
        database.execute("UPDATE parked_events SET retry_at = now() + interval '1 hour'")
    finally:
        database.execute("ALTER TABLE properties DROP COLUMN agent")
    wait_until("eu notices that the table has changed", lambda: parked(clean, "eu") == 0)
    assert eu.read(record).body == us.read(record).body
    wait_until("the metric says so", lambda: metric(clean, "eu", "plist_parked_events") == 0)


def test_a_row_that_a_session_locks_delays_only_that_record(clean, us, eu):
    held, free = clean.new_record(), clean.new_record()
    with clean.database("eu").connect() as session:
        with session.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT FROM properties WHERE id = %s FOR UPDATE", (held,))
        assert us.put(held, price=Decimal("2.00"), version=1).status == 200
        assert us.put(free, price=Decimal("2.00"), version=1).status == 200
        clean.wait_version("eu", free, 2)
        wait_until("the event of the locked row is parked", lambda: parked(clean, "eu") == 1)
        session.rollback()
    clean.wait_version("eu", held, 2)
    wait_until("nothing is parked", lambda: parked(clean, "eu") == 0)


def meet(cursor, kind, records):
    """Another session locks what the applier needs last, and then what it has locked first."""
    low, high = records[0], records[1]
    if kind == "rows":
        cursor.execute("SELECT FROM properties WHERE id = %s FOR UPDATE", (high,))
    else:
        cursor.execute("INSERT INTO plist.processed_requests (request_id, fingerprint, resource, record_id, status, vector, dots, expires_at) "
                       "VALUES (%s, sha256('another'), 'properties', 0, 200, '{}', '{}', now() + interval '1 day')", (f"deadlock-{low}",))
    yield
    cursor.execute("SELECT FROM properties WHERE id = %s FOR UPDATE", (low,))
    yield


def blocks(superuser, session):
    return superuser.value("SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))", session.info.backend_pid)


def put_together(stack, superuser, records):
    """One write of each record in us. They arrive in eu while its applier waits for the row of another one, and so are
    one batch, if that is fast enough."""
    us, first = stack.client("us"), stack.new_record()
    with superuser.connect() as gate, gate.cursor() as cursor:
        cursor.execute("SELECT FROM properties WHERE id = %s FOR UPDATE", (first,))
        assert us.put(first, price=Decimal("3.00"), version=1).status == 200
        wait_until("the applier waits", lambda: blocks(superuser, gate), pause=0.005)
        for record in records:
            assert us.put(record, request_id=f"deadlock-{record}", price=Decimal("3.00"), version=1).status == 200
        wait_until("they are published", lambda: stack.database("us").outbox() == 0, pause=0.005)
        gate.rollback()


@pytest.mark.parametrize("victim", ["the applier", "the other session"])
@pytest.mark.parametrize("kind", ["rows", "a request and a row"])
def test_a_deadlock_holds_up_no_record_but_those_that_it_is_about(clean, kind, victim):
    """PostgreSQL ends the transaction of the one that looks for deadlocks first. The daemon waits for a lock for 250 ms."""
    postgres, met = clean.postgres["eu"], 0
    superuser = Database(postgres.superuser_url)  # plist's role may not set it
    superuser.execute(f"ALTER SYSTEM SET deadlock_timeout = '{'100ms' if victim == 'the applier' else '10s'}'")
    superuser.execute("SELECT pg_reload_conf()")
    try:
        for _ in range(12):
            records, seen = [clean.new_record() for _ in range(3)], postgres.log_mark()
            with superuser.connect() as session, session.cursor() as cursor:
                cursor.execute(f"SET deadlock_timeout = '{'10ms' if victim == 'the other session' else '10s'}'")
                steps = meet(cursor, kind, records)
                next(steps)
                put_together(clean, superuser, records)
                wait_until("the applier waits for the other session, or has given up",
                           lambda s=session: blocks(superuser, s) or parked(clean, "eu"), pause=0.005)
                try:
                    next(steps)
                    clean.wait_version("eu", records[2], 2)
                except psycopg2.errors.DeadlockDetected:
                    assert victim == "the other session"
                session.rollback()
            for record in records:
                clean.wait_version("eu", record, 2)
            wait_until("nothing is parked", lambda: parked(clean, "eu") == 0)
            met += postgres.log_text(seen).count("deadlock detected") > 0
            if met == 2:
                break
    finally:
        superuser.execute("ALTER SYSTEM RESET deadlock_timeout")
        superuser.execute("SELECT pg_reload_conf()")
        superuser.close()
    assert met == 2, "the two did not meet in a deadlock"
    clean.check_consistent()


def test_a_parked_event_can_be_given_up(tolerant, us):
    tolerant.database("eu").execute("ALTER TABLE properties ADD CONSTRAINT no_palaces CHECK (price < 900000000) NOT VALID")
    try:
        record = tolerant.new_record()
        assert us.put(record, price=Decimal("900000001.00"), version=1).status == 200
        wait_until("eu parks the event", lambda: parked(tolerant, "eu") == 1)
        number = data(tolerant, "parked", "list")["parked"][0]["id"]
        assert "no_palaces" in ask(tolerant, "parked", "show", f"eu/{number}").stdout
        assert "--yes" in ask(tolerant, "parked", "drop", f"eu/{number}", status=NO).stderr
        ask(tolerant, "parked", "drop", f"eu/{number}", "--yes")
        ask(tolerant, "parked", "drop", f"eu/{number}", "--yes", status=NO)
        ask(tolerant, "parked", "show", f"eu/{number}", status=NO)
    finally:
        tolerant.database("eu").execute("ALTER TABLE properties DROP CONSTRAINT no_palaces")
    assert us.put(record, price=Decimal("5.00"), version=2).status == 200
    tolerant.wait_version("eu", record, 3)


def test_thousands_of_parked_events_are_retried_in_one_go(tolerant, us):
    """Copies of one parked event, for records that no region has."""
    number, first = 2000, 950_000_001
    database = tolerant.database("eu")
    database.execute("ALTER TABLE properties ADD CONSTRAINT no_palaces CHECK (price < 900000000) NOT VALID")
    try:
        record = tolerant.new_record(price="900000001.00", everywhere=False)
        wait_until("eu parks the event", lambda: parked(tolerant, "eu") == 1)
        database.execute(
            "INSERT INTO parked_events (resource, record_id, origin, counter, topic, partition, kafka_offset, key, value, headers, reason, retry_at) "
            "SELECT resource, n, origin, counter, topic, partition, 1000000 + n, convert_to(n::text, 'UTF8'), convert_to(replace(convert_from(value, "
            "'UTF8'), record_id::text, n::text), 'UTF8'), replace(replace(headers::text, h, h || n), '/' || record_id, '/' || n)::jsonb, reason, "
            "now() + interval '1 hour' FROM parked_events, generate_series(%s, %s) AS n, LATERAL (SELECT e ->> 'value' AS h FROM "
            "jsonb_array_elements(headers) e WHERE e ->> 'name' = 'plist-request-id') AS request", first, first + number - 1)
    finally:
        database.execute("ALTER TABLE properties DROP CONSTRAINT no_palaces")
    # The daemon notices by itself that the table has changed, and may have begun.
    assert re.search(r"eu: (\d+|no) parked events", ask(tolerant, "parked", "retry", "--all").stderr)
    wait_until("all are applied", lambda: parked(tolerant, "eu") == 0)
    assert database.value("SELECT count(*) FROM properties WHERE id BETWEEN %s AND %s", first, first + number - 1) == number
    tolerant.wait_green()
    tolerant.spoil()


def test_a_dead_letter_that_a_new_configuration_can_read_is_applied_when_it_is_retried(clean, us):
    record = clean.new_record()
    clean.settle()
    value = {"id": record, "price": 9.5, "bedrooms": 2, "bathrooms": 1, "region_origin": "mars", "version": 5,
             "updated_at": datetime.now(timezone.utc).isoformat()}
    clean.broker.produce(TOPIC, record, json.dumps(value))
    for region in clean.regions:
        wait_until(f"{region} keeps it", lambda r=region: clean.database(r).value("SELECT count(*) FROM dead_letters") == 1)
    refused = ask(clean, "dead-letters", "retry", "--all", status=NO).stderr
    assert "1 of 1 dead letters is still not applicable" in refused and "dead-letters list --region us" in refused
    assert clean.database("us").rows("SELECT tries, retry_at FROM dead_letters") == [(1, None)]
    clean.reload(lambda config: config.update(retired_regions=["mars"]))
    number = data(clean, "dead-letters", "list", "--region", "us")["dead_letters"][0]["id"]
    assert "applied" in ask(clean, "dead-letters", "retry", f"us/{number}").stderr
    ask(clean, "dead-letters", "retry", f"us/{number}", status=NO)
    ask(clean, "dead-letters", "retry", "--all")
    for region in clean.regions:
        assert clean.wait_version(region, record, 5)["region_origin"] == "mars"
    clean.check_consistent()
    clean.spoil()  # without mars, no region could read the record again


def test_an_event_in_a_regions_own_name_that_it_never_wrote_is_an_alarm(clean, us, eu):
    record = clean.new_record()
    assert us.put(record, price=Decimal("2.00"), version=1).status == 200
    clean.settle()
    event = [m for m in clean.broker.consume(TOPIC) if m["key"] == str(record)][-1]
    value = json.loads(event["payload"], parse_float=Decimal)
    value["version"] = 5000
    headers = dict(event["headers"], **{"plist-vector": '{"us":5000}'})
    clean.broker.produce(TOPIC, record, json.dumps(value, default=float), headers=headers.items(), partition=event["partition"])
    wait_until("us keeps it as a dead letter", lambda: clean.database("us").value(
        "SELECT count(*) FROM dead_letters WHERE error LIKE %s", "%never made%") == 1)
    wait_until("us counts it", lambda: metric(clean, "us", "plist_apply_not_ours_total") >= 1)
    assert "us: 1 dead letters" in ask(clean, "status", status=NO).stderr
    # eu has applied it; the next write of the record makes the regions equal again.
    clean.wait_version("eu", record, 5000)
    assert eu.put(record, price=Decimal("3.00"), version=5000).status == 200
    clean.wait_version("us", record, 5001)
    clean.check_consistent()


def foreign(record, **members):
    value = {"id": record, "price": 9.5, "bedrooms": 2, "bathrooms": 1, "region_origin": "eu", "version": 5,
             "updated_at": datetime.now(timezone.utc).isoformat()}
    return json.dumps(value | members)


@pytest.mark.parametrize("change", [
    {"version": 2**31 - 1}, {"version": 2**31 - 2}, {"region_origin": "zz"}, {"updated_at": "9999-12-31T23:59:59.999999Z"},
    {"updated_at": (datetime.now(timezone.utc) + timedelta(days=3)).isoformat()},
], ids=["counter", "nearly-counter", "name", "year-9999", "three-days"])
def test_a_forged_event_does_not_reach_a_row(clean, us, eu, change):
    record = clean.new_record()
    clean.broker.produce(TOPIC, record, foreign(record, **change))
    for region in clean.regions:
        wait_until(f"{region} keeps it as a dead letter", lambda r=region: clean.database(r).value("SELECT count(*) FROM dead_letters") == 1)
    assert us.put(record, price=Decimal("3.00"), version=1).status == 200
    clean.wait_version("eu", record, 2)
    clean.check_consistent()


FORGED = {
    "ahead": ({"us": 1, "eu": 5000}, {}), "next": ({"us": 1, "eu": 1}, {}), "null": ({"us": 1, "eu": 1}, {"bedrooms": None}),
    "unknown": ({"us": 1, "eu": 2}, {"pool": True}), "concurrent": ({"eu": 3}, {}), "no-price": ({"us": 1, "eu": 1}, {"price": None}),
}


@pytest.mark.parametrize("vector, members", FORGED.values(), ids=list(FORGED))
def test_the_alarm_of_a_forged_event_names_the_command_that_makes_the_regions_equal(clean, eu, vector, members):
    record = clean.new_record("us")
    clean.settle()
    value = foreign(record, version=sum(vector.values()), **members)
    partition = next(m["partition"] for m in clean.broker.consume(TOPIC) if m["key"] == str(record))
    clean.broker.produce(TOPIC, record, value, partition=partition, headers=[
        ("plist-origin", "eu"), ("plist-vector", json.dumps(vector)), ("plist-schema", "1")])
    wait_until("eu raises the alarm", lambda: clean.database("eu").value("SELECT count(*) FROM dead_letters") == 1)
    assert "1 of them are writes in the name of eu" in ask(clean, "status", status=NO).stderr
    assert eu.put(record, price=Decimal("7.00"), version=1).status == 200
    error = clean.database("eu").value("SELECT error FROM dead_letters")
    command = error.split("'plist-admin ")[1].split("'")[0].split()
    assert command == ["record", "reset", f"properties/{record}", "--in", "eu"]
    ask(clean, *command, "--yes")
    version = eu.read(record).json["version"]
    assert clean.wait_version("us", record, version)["price"] == Decimal("7.00")
    ask(clean, "dead-letters", "drop", f"eu/{data(clean, 'dead-letters', 'list')['dead_letters'][0]['id']}", "--yes")
    clean.wait_green()
    clean.check_consistent()


def test_a_corrected_event_that_names_the_readers_own_region_is_applied_everywhere(clean):
    record = clean.new_record("us")
    clean.broker.produce(TOPIC, record, foreign(record, price=-1))
    for region in clean.regions:
        wait_until(f"{region} keeps it as a dead letter", lambda r=region: clean.database(r).value("SELECT count(*) FROM dead_letters") == 1)
    for version, origin in ((2, "us"), (3, "eu")):
        clean.broker.produce(TOPIC, record, foreign(record, region_origin=origin, version=version))
        for region in clean.regions:
            clean.wait_version(region, record, version)
    clean.check_consistent()


SPOILT = [
    "vector = '{\"us\": 2147483647}', version = 2147483647", "vector = '{\"us\": 2147483646}', version = 2147483646",
    "updated_at = '9999-12-31 23:59:59.999999+00'", "updated_at = 'infinity'", "version = 77", "vector = '{\"zz\": 1}'",
    "vector = (SELECT jsonb_object_agg('r' || i, 1) FROM generate_series(1, 64) i), version = 64", "vector = '[]'",
]


@pytest.mark.parametrize("where", ["one", "both"])
@pytest.mark.parametrize("spoilt", SPOILT, ids=["counter", "nearly", "year-9999", "infinity", "sum", "name", "names", "no-vector"])
def test_a_record_at_the_edge_is_shown_refused_with_a_reason_and_reset(clean, us, eu, spoilt, where):
    with clean.reading("us", 1), clean.reading("eu", 1):
        record = clean.new_record()
        clean.settle()
    for region in clean.regions if where == "both" else ["us"]:
        clean.database(region).execute(f"UPDATE properties SET {spoilt} WHERE id = %s", record)
    shown = us.read(record)
    assert shown.status == 200
    assert us.get(f"/us/properties?after={record - 1}&limit=5").status == 200
    refused = us.put(record, price=Decimal("3.00"), version=shown.json["version"])
    assert refused.status == 409 and f"plist-admin record reset properties/{record}" in refused.json["detail"]
    assert ("not written until 9999-12-30T23:59:59.999999Z, or until an operator" in refused.json["detail"]) == ("updated_at" in spoilt)
    assert us.delete(record, version=shown.json["version"]).status == 409
    ask(clean, "record", "reset", f"properties/{record}", "--yes")
    assert clean.database("us").value("SELECT principal FROM outbox WHERE record_id = %s ORDER BY id DESC LIMIT 1", record) == "plist-admin"
    version = us.read(record).json["version"]
    wait_until("the regions are equal", lambda: us.read(record).body == eu.read(record).body)
    written = us.put(record, price=Decimal("4.00"), version=version)
    assert written.status == 200
    clean.wait_version("eu", record, written.json["version"])
    assert eu.put(record, price=Decimal("5.00"), version=written.json["version"]).status == 200
    assert "nothing was changed" in ask(clean, "record", "reset", f"properties/{record}", "--yes", status=YES).stderr
    clean.check_consistent()


def test_resetting_a_record_that_can_be_written_points_to_repair_if_the_copies_differ(clean):
    record = clean.new_record()
    clean.settle()
    assert "repair" not in ask(clean, "record", "reset", f"properties/{record}", "--yes").stderr
    clean.database("eu").execute("UPDATE properties SET bedrooms = 77 WHERE id = %s", record)
    said = ask(clean, "record", "reset", f"properties/{record}", "--yes").stderr
    assert "nothing was changed" in said and f"plist-admin repair properties --ids {record}" in said
    ask(clean, "repair", "--ids", str(record), "--take", "us", "--reason", "a test", "--execute")
    clean.check_consistent()


def test_resetting_a_record_that_is_not_there_says_so(clean):
    assert "none of the reachable regions" in ask(clean, "record", "reset", "properties/999999999", "--yes", status=NO).stderr
    assert "properties/7" in ask(clean, "record", "reset", "nonsense", status=2).stderr
