"""The audit: differences that replication does not remove are found by the daemons themselves, and nothing else is reported."""

import json
import shutil
from decimal import Decimal

import pytest

from conftest import _lend, broker_kind
from support import places
from support.client import new_id
from support.load import Load
from support.process import Timeout, wait_until
from support.quiet import NO, UNREACHABLE, YES, ask
from support.rolling import GARAGE, Rolling, retire_field
from support.stack import Stack

REGIONS = ("us", "eu")


def often(config):
    config["audit"] = {"every": "1s", "rows_per_second": 100_000}
    config["resources"]["rooms"] = {
        "topic": "room-updates", "policy": "policies/last_writer_wins.lua",
        "fields": {"name": {"type": "string", "max_length": 65535}, "notes": {"type": "string", "max_length": 65535}, "seats": {"type": "integer"}}}


class Annexed(Stack):
    """With a second resource. Its table is in another schema, and has a column that plist does not know."""

    def fill(self):
        table = self.admin("schema", "sql", "rooms", "--table").stdout
        for database in self.databases.values():
            name, path = database.rows("SELECT current_database(), current_setting('search_path')")[0]
            database.execute(f"CREATE SCHEMA annex; SET search_path = annex; {table} RESET search_path; "
                             f"ALTER TABLE annex.rooms ADD COLUMN cleaned_at timestamptz; ALTER DATABASE {name} SET search_path = {path}, annex")


@pytest.fixture(scope="module")
def _stack():
    folder = places.data_folder("plist-audit-")
    stack = Annexed(folder, broker=broker_kind(), change=often)
    try:
        yield stack.start()
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stack(request, _stack):
    restored = _lend(request, _stack)
    wait_equal(restored)
    return restored


def found(stack, region):
    """{id: kind} of the differences that a region knows of."""
    return dict(stack.database(region).rows("SELECT record_id, difference FROM plist.audit_differences"))


def rounds(stack, region):
    """How many rounds have compared everything, and which one is the last that has begun."""
    return stack.database(region).rows("SELECT round, compared_at, begun_at <= finished_at AND why IS NULL, why FROM plist.audits")[0]


def wait_rounds(stack, region, n):
    """Waits until `n` rounds that begin from now on have compared everything."""
    for _ in range(n):
        before = stack.database(region).value("SELECT clock_timestamp()")
        wait_until(f"{region} compares everything ({rounds(stack, region)})",
                   lambda: stack.database(region).value("SELECT compared_at > begun_at AND begun_at > %s FROM plist.audits", before))  # noqa: B023


def wait_equal(stack):
    for region in REGIONS:
        wait_until(f"{region} has a whole round and no differences", lambda: found(stack, region) == {}  # noqa: B023
                   and stack.database(region).value("SELECT unlisted = 0 AND compared_at IS NOT NULL FROM plist.audits"))  # noqa: B023


def gauge(stack, region):
    return stack.plistd[region].metrics()["plist_audit_differing_records"]


def test_planted_differences_are_found_within_two_rounds_and_gone_after_a_repair(stack):
    changed, dropped, twice = (stack.new_record("us") for _ in range(3))
    for record in (changed, dropped, twice):
        stack.wait_version("eu", record, 1)
    eu, us = stack.database("eu"), stack.database("us")
    eu.execute("UPDATE properties SET price = 7 WHERE id = %s", changed)                   # by hand
    eu.execute("DELETE FROM properties WHERE id = %s", dropped)                            # an event that got lost
    eu.execute("UPDATE properties SET version = 2, vector = '{\"us\": 2}' WHERE id = %s", twice)  # one that was counted twice
    for region in REGIONS:
        wait_rounds(stack, region, 2)
    assert found(stack, "eu") == {changed: "content-differs", dropped: "missing"}
    assert found(stack, "us") == {changed: "content-differs", twice: "behind"}
    for region in REGIONS:
        wait_until(f"{region} counts them", lambda: gauge(stack, region) == 2)  # noqa: B023
        assert stack.plistd[region].metrics()["plist_audit_last_success_timestamp_seconds"] > 0
    status = ask(stack, "status", status=NO)
    assert f"eu: 2 records differ from region us: properties/{changed} (content-differs), properties/{dropped} (missing)" in status.stderr
    told = json.loads(ask(stack, "status", "-o", "json", status=NO).stdout)
    assert {r["region"]: r["differing"] for r in told["regions"]} == {"us": 2, "eu": 2}
    log = stack.plistd["eu"].log_text()
    assert "differ here from region us" in log or "differs here from region us" in log
    assert "plist-admin repair" in log
    stack.admin("repair", "properties", "--execute", "--take", "us", "--reason", "test")
    wait_equal(stack)
    for region in REGIONS:
        wait_until(f"{region} counts none", lambda: gauge(stack, region) == 0)  # noqa: B023
    wait_until("status is green", lambda: ask(stack, "status", status=YES))
    assert us.value("SELECT count(*) FROM properties WHERE id = ANY (%s)", [changed, dropped, twice]) == 3


def test_nothing_is_reported_under_load(stack):
    ids = [stack.new_record(region) for region in REGIONS for _ in range(20)]
    before = {region: stack.plistd[region].log_text().count("differ") for region in REGIONS}
    with Load([stack.client(region) for region in REGIONS], ids, threads=4, deletes=True) as load:
        load.wait_accepted(50)
        for region in REGIONS:
            wait_rounds(stack, region, 3)
        load.wait_accepted(50)
    wait_rounds(stack, "eu", 1)
    for region in REGIONS:
        assert found(stack, region) == {}
        log = stack.plistd[region].log_text()
        assert log.count("differ") == before[region], log[-3000:]


def test_what_is_on_its_way_is_not_a_difference(stack):
    """A write of us cannot be applied in eu for a while. Only its position tells that it is not lost."""
    record = stack.new_record("us")
    wait_rounds(stack, "eu", 1)
    holder = stack.database("eu").connect()
    try:
        holder.cursor().execute("SELECT FROM properties WHERE id = %s FOR UPDATE", (record,))
        assert stack.client("us").put(record, price=Decimal("5.00"), version=1).status == 200
        with pytest.raises(Timeout):
            wait_until("eu reports it", lambda: found(stack, "eu"), 6)
    finally:
        holder.rollback()
        holder.close()
    stack.wait_version("eu", record, 2)
    wait_rounds(stack, "eu", 1)
    assert found(stack, "eu") == {}


def test_a_record_that_changes_all_the_time_is_not_a_difference_however_late_its_writes_are(stack):
    """Nothing can be applied in eu while its table is locked, and nothing is parked. us writes the record again at each look."""
    record = stack.new_record("us")
    wait_rounds(stack, "eu", 1)
    written = 1
    holder = stack.database("eu").connect()

    def reported():
        nonlocal written
        assert stack.client("us").put(record, price=Decimal(written), version=written).status == 200
        written += 1
        return found(stack, "eu")
    try:
        holder.cursor().execute("LOCK TABLE properties IN SHARE MODE")
        with pytest.raises(Timeout):
            wait_until("eu reports it", reported, 6)
        assert stack.database("eu").property(record)["version"] == 1
    finally:
        holder.rollback()
        holder.close()
    stack.wait_version("eu", record, written)
    wait_rounds(stack, "eu", 1)
    assert found(stack, "eu") == {}


def test_a_record_whose_event_is_parked_is_left_out_and_the_rest_is_compared(stack):
    parked, other = stack.new_record("us"), stack.new_record("us")
    eu = stack.database("eu")
    holder = eu.connect()
    try:
        holder.cursor().execute("SELECT FROM properties WHERE id = %s FOR UPDATE", (parked,))
        assert stack.client("us").put(parked, price=Decimal("5.00"), version=1).status == 200
        wait_until("it is parked", lambda: eu.value("SELECT count(*) FROM parked_events") == 1)
        eu.execute("UPDATE properties SET price = 7 WHERE id = %s", other)
        wait_rounds(stack, "eu", 2)
        assert found(stack, "eu") == {other: "content-differs"}
    finally:
        holder.rollback()
        holder.close()
    stack.wait_version("eu", parked, 2)
    eu.execute("UPDATE properties SET price = 100 WHERE id = %s", other)
    wait_equal(stack)


@pytest.mark.needs_kafka
def test_an_event_that_kafka_refuses_for_good_is_a_difference_and_the_rest_is_compared(stack):
    large, other = stack.new_record("us"), stack.new_record("us")
    stack.settle()
    stack.broker.set_topic("property-updates", max_message_bytes=700)
    try:
        assert stack.client("us").put(large, price=Decimal("2.00"), version=1, request_id=new_id() + "x" * 215).status == 200
        wait_until("it is refused", lambda: stack.plistd["us"].metrics()["plist_outbox_refused_events"] == 1)
        stack.database("eu").execute("UPDATE properties SET price = 7 WHERE id = %s", other)
        for region in REGIONS:
            wait_rounds(stack, region, 2)
        assert found(stack, "eu") == {large: "behind", other: "content-differs"}
        assert found(stack, "us") == {other: "content-differs"}
        told = ask(stack, "status", status=NO).stderr
        assert "us: 1 event cannot be published" in told and f"properties/{large} (behind)" in told
    finally:
        stack.broker.set_topic("property-updates", max_message_bytes=1048588)
    stack.database("eu").execute("UPDATE properties SET price = 100 WHERE id = %s", other)
    stack.admin("outbox", "retry", "--all", "--region", "us")
    stack.wait_version("eu", large, 2)
    wait_equal(stack)


def test_a_difference_is_remembered_by_a_daemon_that_starts(stack):
    record = stack.new_record("us")
    stack.database("eu").execute("UPDATE properties SET bedrooms = 9 WHERE id = %s", record)
    wait_until("eu has found it", lambda: found(stack, "eu") == {record: "content-differs"})
    stack.plistd["us"].stop()
    stack.plistd["eu"].restart()
    wait_until("eu still counts it", lambda: gauge(stack, "eu") == 1)
    stack.database("eu").execute("UPDATE properties SET bedrooms = NULL WHERE id = %s", record)
    wait_until("nobody answers", lambda: "silent" in (rounds(stack, "eu")[3] or ""))
    assert found(stack, "eu") == {record: "content-differs"}  # which nobody can say yet
    stack.plistd["us"].start()
    wait_equal(stack)


def test_the_command_starts_a_round_and_says_what_it_found(stack):
    record = stack.new_record("us")
    stack.database("eu").execute("DELETE FROM properties WHERE id = %s", record)
    told = json.loads(ask(stack, "audit", "--now", "-o", "json", status=NO).stdout)
    assert {(d["region"], d["with"], d["resource"], d["record"], d["difference"]) for d in told["differences"]} == {
        ("eu", "us", "properties", record, "missing")}
    assert {a["region"]: a["state"] for a in told["audits"]} == {"us": "equal", "eu": "differs"}
    stack.admin("republish", "properties", "--from", "us", "--ids", str(record))
    stack.wait_version("eu", record, 1)
    wait_equal(stack)
    assert "equal" in ask(stack, "audit", status=YES).stdout
    stack.plistd["us"].stop()
    assert "silent" in ask(stack, "audit", "--now", "--region", "eu", "--wait", "50s", status=UNREACHABLE).stdout
    stack.plistd["us"].start()


@pytest.fixture
def by_request(stack):
    """The same with rounds only when somebody asks for them."""
    def seldom(config):
        often(config)
        config["audit"]["every"] = "0s"
    stack.change = seldom
    stack.write_config()
    try:
        for region in REGIONS:
            stack.plistd[region].reload()
        yield stack
    finally:
        stack.change = often
        stack.write_config()
        for region in REGIONS:
            stack.plistd[region].reload()


def test_a_record_that_differed_is_looked_at_again_without_a_round(by_request):
    record = by_request.new_record("us")
    by_request.database("eu").execute("UPDATE properties SET price = 7 WHERE id = %s", record)

    def both_find_it():  # not at once if one has just been started and does not hear the other
        ask(by_request, "audit", "--now", status=NO)
        return all(found(by_request, region) == {record: "content-differs"} for region in REGIONS)

    wait_until("both find it", both_find_it, 120)
    number = rounds(by_request, "eu")[0]
    by_request.database("eu").execute("UPDATE properties SET price = 100 WHERE id = %s", record)
    wait_until("it does not differ any more", lambda: found(by_request, "eu") == {} and gauge(by_request, "eu") == 0)
    assert rounds(by_request, "eu")[0] == number
    wait_until("nor in us", lambda: found(by_request, "us") == {})


def test_regions_that_know_different_fields_compare_those_that_both_know(stack):
    """us knows a field more, and has retired another one, which is behind the others in its list."""
    rolling = Rolling(stack)
    try:
        rolling.add_column("garage", "INTEGER")
        rolling.restart("us", GARAGE, retire_field("bedrooms"))
        changed = stack.new_record("us")
        stack.new_record("us", garage=3, bathrooms=2)
        stack.database("eu").execute("UPDATE properties SET price = 7 WHERE id = %s", changed)
        for region in REGIONS:
            wait_rounds(stack, region, 2)
            assert found(stack, region) == {changed: "content-differs"}
        stack.database("eu").execute("UPDATE properties SET price = 100 WHERE id = %s", changed)
        wait_equal(stack)
    finally:
        rolling.end()


def test_a_request_for_a_round_outlives_the_daemon_that_begins_it(by_request):
    eu, us = by_request.plistd["eu"], by_request.plistd["us"]
    us.stop()  # so the round goes on until eu finds out
    before = rounds(by_request, "eu")[0]
    by_request.database("eu").execute("UPDATE plist.audits SET wished_at = clock_timestamp()")
    try:
        wait_until("eu begins a round", lambda: rounds(by_request, "eu")[0] > before)
        eu.kill()
    finally:
        us.start()
        eu.start()
    wait_until("the next daemon ends it", lambda: by_request.database("eu").value(
        "SELECT finished_at > begun_at AND why IS NULL AND wished_at IS NULL AND round > %s FROM plist.audits", before + 1))


def test_a_table_that_cannot_be_read_is_reported_to_the_region_that_asks(stack):
    for region in REGIONS:
        wait_rounds(stack, region, 1)
    holder = stack.database("eu").connect()
    try:
        holder.cursor().execute("LOCK TABLE properties IN ACCESS EXCLUSIVE MODE")
        wait_until("us knows why", lambda: "region eu: properties: its database says: canceling" in (rounds(stack, "us")[3] or ""))
    finally:
        holder.rollback()
        holder.close()
    wait_equal(stack)


def test_records_at_the_ends_of_the_ids_are_compared(stack):
    """Also by compare, which once went on without end."""
    ids = [-2**63, -1, 2**53 - 1, 2**63 - 2]
    us = stack.database("us")
    us.execute("INSERT INTO properties (id, price, region_origin, version, updated_at, vector) "
               "SELECT i, 5, 'us', 1, '2026-02-21 10:00:00+00', '{\"us\": 1}' FROM unnest(%s::bigint[]) AS i", ids)
    try:
        wait_until("eu finds them", lambda: found(stack, "eu") == dict.fromkeys(ids, "missing"))
        told = json.loads(ask(stack, "compare", "-o", "json", status=NO).stdout)
        assert {d["id"] for d in told["differences"]} == set(ids)
    finally:
        us.execute("DELETE FROM properties WHERE id = ANY (%s)", ids)
    wait_equal(stack)


def test_a_forged_ask_does_not_read_the_table(stack):
    body = {"to": "eu", "id": "f0", "ask": "rows", "resource": "properties", "fields": "", "track": False, "ranges": 1, "major": 15}
    ends = '"from":-9223372036854775808,"until":9223372036854775807'  # more than a number can say apart
    forged = json.dumps({"region": "us", "audit": body})[:-2] + "," + ends + "}}"

    def refused():  # the line is logged once in 10 seconds
        stack.broker.produce("plist-heartbeats", "us", forged, headers=[("plist-audit", "eu")])
        return "it asks for more than a range" in stack.plistd["eu"].log_text()

    wait_until("eu refuses it", refused)
    wait_rounds(stack, "eu", 1)


def test_a_message_that_no_region_can_have_sent_is_counted_and_logged(stack):
    wait_rounds(stack, "eu", 1)

    def counted():  # by the daemon that publishes, when it reads its mail
        stack.broker.produce("plist-heartbeats", "us", '{"region": "us", "audit": 7}', headers=[("plist-audit", "eu")])
        return stack.plistd["eu"].metrics()["plist_audit_messages_refused_total"] > 0

    wait_until("eu counts it", counted)
    assert stack.plistd["eu"].log_contains("audit: ignoring a message that no region can have sent")
    assert stack.plistd["eu"].metrics()['plist_loss_recent{kind="audit_message"}'] == 1
    told = stack.admin("status", check=False)
    assert told.returncode == 1 and "has in the last ten minutes ignored messages of audits" in told.stderr
    wait_rounds(stack, "eu", 1)


def test_only_the_daemon_that_publishes_audits_and_all_report(stack):
    record = stack.new_record("us")
    stack.database("eu").execute("DELETE FROM properties WHERE id = %s", record)
    wait_until("eu has found it", lambda: found(stack, "eu") == {record: "missing"})
    second = stack.second_daemon("eu")
    second.start()
    try:
        wait_until("the second daemon reports it", lambda: second.metrics()["plist_audit_differing_records"] == 1)
        wait_rounds(stack, "eu", 1)
        assert second.metrics()["plist_audit_rounds_total"] == 0 and second.metrics()["plist_audit_answers_total"] == 0
        stack.plistd["eu"].stop()  # now the other one does
        wait_until("the second daemon audits", lambda: second.metrics()["plist_audit_rounds_total"] > 0)
    finally:
        second.stop()
        stack.plistd["eu"].start()
    stack.admin("republish", "properties", "--from", "us", "--ids", str(record))
    wait_equal(stack)


def test_three_regions_compare_with_each_other(stack3):
    records = {region: stack3.new_record(region) for region in stack3.regions}
    # A region that has just been started may still be silent for another one.
    wait_until("all have compared", lambda: stack3.admin("audit", "--now", check=False).returncode == YES, 120)
    stack3.database("ap").execute("DELETE FROM properties WHERE id = %s", records["us"])
    told = json.loads(ask(stack3, "audit", "--now", "-o", "json", status=NO).stdout)
    assert {(d["region"], d["with"], d["record"], d["difference"]) for d in told["differences"]} == {
        ("ap", other, records["us"], "missing") for other in ("us", "eu")}
    stack3.admin("republish", "properties", "--from", "us", "--ids", str(records["us"]))
    stack3.wait_version("ap", records["us"], 1)
    told = json.loads(ask(stack3, "audit", "--now", "-o", "json", status=YES).stdout)
    assert len(told["audits"]) == 6 and {a["state"] for a in told["audits"]} == {"equal"}


def test_more_differences_than_are_listed_are_all_counted(stack):
    rows = ("INSERT INTO properties (id, price, region_origin, version, updated_at, vector) "
            "SELECT i, 5, 'us', 1, '2026-02-21 10:00:00+00', '{\"us\": 1}' FROM generate_series(%s::bigint, %s::bigint) AS i")
    first = 77_000_000_001
    stack.database("us").execute(rows, first, first + 1499)
    try:
        wait_until("eu has counted them", lambda: gauge(stack, "eu") == 1500)
        assert stack.database("eu").value("SELECT count(*) FROM plist.audit_differences") == 1000
        assert found(stack, "us") == {}  # which has all
    finally:
        stack.database("us").execute("DELETE FROM properties WHERE id >= %s AND id < %s", first, first + 1500)
    wait_equal(stack)


def test_large_records_of_a_table_in_another_schema_are_found_and_repaired(stack):
    """Of 128 KB each, so that no command may keep the copies of all of them."""
    n, text = 70, "(SELECT string_agg(md5(i::text || j::text || %s), '') FROM generate_series(1, 2000) AS j)"
    for database in stack.databases.values():
        database.execute(f"INSERT INTO annex.rooms (id, name, notes, region_origin, version, updated_at, vector) SELECT i, {text}, {text}, "
                         "'us', 1, '2026-02-21 10:00:00+00', '{\"us\": 1}' FROM generate_series(1, %s) AS i", "a", "b", n)
    wait_rounds(stack, "eu", 1)
    assert found(stack, "eu") == {}
    stack.database("eu").execute("UPDATE annex.rooms SET seats = 7 WHERE id > 1")
    stack.database("us").execute("DELETE FROM annex.rooms WHERE id = 1")
    for region, own in (("us", {1: "missing"}), ("eu", {})):
        wait_until(f"{region} finds them", lambda: found(stack, region) == dict.fromkeys(range(2, n + 1), "content-differs") | own)  # noqa: B023

    told = ask(stack, "compare", "rooms", "-o", "json", status=NO)
    differences = json.loads(told.stdout)["differences"]
    assert [d["id"] for d in differences] == list(range(1, n + 1))
    kept = [d["copies"] is not None for d in differences]
    assert kept[0] and not kept[-1] and kept == sorted(kept, reverse=True)
    assert f"the copies of the last {kept.count(False)} of them are not shown" in told.stderr
    page = stack.folder / "compared.html"
    ask(stack, "compare", "rooms", "--html", page, status=NO)
    assert page.read_text().count("The copies are not shown") == kept.count(False)

    plan = json.loads(ask(stack, "repair", "rooms", "-o", "json", status=NO).stdout)["plan"]
    assert [(p["action"], p["region"], p["records"]) for p in plan] == [("republish", "eu", 1), ("choose", None, n - 1)]
    told = json.loads(ask(stack, "repair", "rooms", "--execute", "--take", "eu", "--reason", "test", "-o", "json").stdout)
    assert told["differences"] == []
    for database in stack.databases.values():
        assert database.rows("SELECT count(*), sum(seats), min(length(name) + length(notes)) FROM annex.rooms") == [(n, 7 * (n - 1), 128_000)]
    wait_equal(stack)
    stack.spoil()
