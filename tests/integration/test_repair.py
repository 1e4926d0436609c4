"""plist-admin compare, republish and repair on running regions: events in transit are not reported, and differences are repaired."""

import json
import subprocess
import time
from decimal import Decimal

import pytest

from support import places
from support.client import new_id
from support.load import Load
from support.process import wait_until
from support.quiet import NO, USAGE, YES, ask, data
from test_replication import apart

SIBLING = ("INSERT INTO record_siblings (resource, record_id, origin, counter, vector, updated_at, fields) "
           "VALUES ('properties', %s, %s, 1, %s, now(), '{\"price\": 1.00, \"bedrooms\": null, \"bathrooms\": null}')")
KINDS = ["missing", "behind", "concurrent", "siblings-differ", "content-differs"]


def plant(stack, ids):
    """One difference of each kind in records that both regions have with the vector {us: 2}; {id: kind}."""
    us, eu = stack.database("us"), stack.database("eu")
    missing, behind, concurrent, siblings, content = ids
    eu.execute("DELETE FROM properties WHERE id = %s", missing)
    eu.execute("UPDATE properties SET vector = '{\"us\": 1}', version = 1, price = 7 WHERE id = %s", behind)
    eu.execute("UPDATE properties SET vector = '{\"us\": 1, \"eu\": 1}', region_origin = 'eu', price = 8, request_id = NULL, "
               "updated_at = updated_at + interval '1 second' WHERE id = %s", concurrent)
    us.execute("UPDATE properties SET has_siblings = true WHERE id = %s", siblings)
    us.execute(SIBLING, siblings, "us", '{"us": 1}')
    us.execute("UPDATE properties SET price = 9 WHERE id = %s", content)
    return dict(zip(ids, KINDS))


def differing(stack, *arguments, status=NO):
    return {d["id"]: d["difference"] for d in data(stack, "compare", *arguments, status=status)["differences"]}


@pytest.fixture
def records(stack, us):
    """Five records, each written twice in us, that both regions have."""
    with stack.reading("us", 10):
        ids = [stack.new_record() for _ in range(5)]
        for record in ids:
            assert us.put(record, price=Decimal("50.00"), version=1).status == 200
        for record in ids:
            stack.wait_version("eu", record, 2)
        stack.settle()
    yield ids
    ask(stack, "repair", "--execute", "--take", "us", "--reason", "the test is over")


def test_events_in_transit_are_never_reported_and_planted_differences_always(stack, us, eu, records):
    hot = [stack.new_record() for _ in range(12)]
    planted = plant(stack, records)
    with Load([us, eu], hot, threads=8, deletes=True) as load:
        load.wait_accepted(100)
        for _ in range(4):
            before = len(load.accepted)
            assert differing(stack) == planted
            assert len(load.accepted) > before
    ask(stack, "repair", "--execute", "--take", "eu", "--reason", "the test is over")
    stack.check_consistent()


def test_repair_shows_its_plan_and_makes_all_kinds_equal(stack, records):
    planted = plant(stack, records)
    plan = data(stack, "repair", status=NO)["plan"]
    assert [(p["action"], p["region"], p["records"]) for p in plan] == [
        ("republish", "us", 3), ("republish", "eu", 1), ("choose", None, 2)]
    assert differing(stack) == planted  # nothing was done

    told = ask(stack, "repair", "--execute", status=NO)
    assert "2 records still differ" in told.stderr
    assert set(differing(stack).values()) == {"siblings-differ", "content-differs"}

    ask(stack, "repair", "--execute", "--take", "us", status=USAGE)  # why?
    told = ask(stack, "repair", "--execute", "--take", "us", "--reason", "the price was mended by hand")
    assert "all regions are equal again" in told.stderr
    assert differing(stack, status=YES) == {}
    stack.check_consistent()
    content = records[4]
    assert stack.database("eu").property(content)["price"] == Decimal("9.00")
    note = stack.database("us").rows("SELECT taken_from, reason, copies->1->'fields'->'price' FROM plist.repairs WHERE record_id = %s", content)
    assert note == [("us", "the price was mended by hand", 50)]
    stack.wait_green()
    assert ask(stack, "repair").stderr.strip() == "there is nothing to repair"


def test_an_event_that_met_a_locked_record_is_waited_for(stack, records):
    """Repair itself locks the records that it publishes again, so that another region's event may be parked for a second."""
    record = records[0]
    stack.database("eu").execute("UPDATE properties SET vector = '{\"us\": 1}', version = 1, price = 7 WHERE id = %s", record)
    holder = stack.database("eu").connect()
    holder.cursor().execute("SELECT FROM properties WHERE id = %s FOR UPDATE", (record,))
    repair = subprocess.Popen([places.program("plist-admin"), "--config", stack.config, "repair", "--execute"], stderr=subprocess.PIPE, text=True)
    try:
        wait_until("the event is parked", lambda: stack.database("eu").value("SELECT count(*) FROM parked_events WHERE sqlstate = '55P03'"))
        wait_until("repair waits for it, or has ended", lambda: repair.poll() is not None or stack.database("eu").value(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%FROM plist.parked_events WHERE sqlstate%' AND pid <> pg_backend_pid()"))
        assert repair.poll() is None
    finally:
        holder.rollback()
        holder.close()
    assert "all regions are equal again" in repair.communicate(timeout=60)[1]
    assert repair.returncode == 0


def test_a_chosen_tombstone_deletes_the_record_everywhere(stack, records):
    record = records[0]
    stack.database("eu").execute("UPDATE properties SET deleted_at = now() WHERE id = %s", record)
    ask(stack, "repair", "--execute", "--ids", record, "--take", "eu", "--reason", "it was sold")
    assert stack.client("us").read(record).status == 404
    stack.check_consistent()


def siblings(stack, region, record):
    return stack.database(region).rows("SELECT origin, counter FROM record_siblings WHERE record_id = %s ORDER BY 1, 2", record)


def test_siblings_that_no_row_claims_are_removed(stack, records):
    """Of a record that no region has, of one whose row knows nothing of them, and of a row that claims some and has none."""
    us, eu = stack.database("us"), stack.database("eu")
    lost, both, unclaimed, claimed = 960_000_001, 960_000_002, records[0], records[1]
    for database, record, origin in ((us, lost, "us"), (us, both, "us"), (eu, both, "eu"), (eu, unclaimed, "us")):
        database.execute(SIBLING, record, origin, json.dumps({origin: 1}))
    us.execute("INSERT INTO conflicts (resource, record_id, type, policy_name, policy_sha256, siblings, verdict, visible, vector) "
               "VALUES ('properties', %s, 'update_origin_differs', 'p', '', '[]', '{}', '{}', '{}')", lost)
    us.execute("UPDATE properties SET has_siblings = true WHERE id = %s", claimed)
    planted = dict.fromkeys((lost, both, unclaimed, claimed), "siblings-differ")
    assert differing(stack) == planted
    plan = data(stack, "repair", "--take", "eu", "--reason", "rest of a deleted row", status=NO)["plan"]
    assert [(p["action"], p["region"], p["records"]) for p in plan] == [("remove siblings", None, 3), ("write", "eu", 1)]
    assert "4 records still differ" in ask(stack, "repair", "--execute", status=NO).stderr  # nobody has chosen
    assert differing(stack) == planted

    told = ask(stack, "repair", "--execute", "--take", "eu", "--reason", "rest of a deleted row")
    assert told.stderr.strip() == "all regions are equal again"
    for record in planted:
        assert siblings(stack, "us", record) == siblings(stack, "eu", record) == []
    stack.check_consistent()
    notes = "SELECT record_id, request_id = '', jsonb_array_length(copies -> %s -> 'siblings') FROM plist.repairs WHERE reason = 'rest of a deleted row' ORDER BY 1"
    assert us.rows(notes, 0) == [(lost, True, 1), (both, True, 1)]
    assert sorted(eu.rows(notes, 1)) == sorted([(both, True, 1), (unclaimed, True, 1), (claimed, False, 0)])
    assert us.value("SELECT count(*) FROM conflicts WHERE record_id = %s AND closed_at IS NULL", lost) == 0


def test_siblings_of_a_deleted_row_do_not_join_those_of_a_later_conflict(stack, us, eu, records):
    record = records[0]
    stack.database("eu").execute(SIBLING, record, "us", '{"us": 1}')
    with stack.reading("us", 2), stack.reading("eu", 2):
        with apart(stack):
            assert [client.put(record, price=Decimal(price), version=2).status for client, price in ((us, "61.00"), (eu, "62.00"))] == [200, 200]
        stack.check_consistent()
    assert siblings(stack, "us", record) == siblings(stack, "eu", record) == [("eu", 1), ("us", 3)]


def test_a_rebuilt_region_takes_no_siblings_of_a_row_that_it_has(stack, records):
    has, lacks = records[0], records[1]
    us, eu = stack.database("us"), stack.database("eu")
    for record in (has, lacks):
        us.execute("UPDATE properties SET has_siblings = true WHERE id = %s", record)
        us.execute(SIBLING, record, "us", '{"us": 1}')
    eu.execute("DELETE FROM properties WHERE id = %s", lacks)
    ask(stack, "region", "rebuild", "eu", "--from", "us")
    assert (siblings(stack, "eu", has), siblings(stack, "eu", lacks)) == ([], [("us", 1)])


def test_one_repair_makes_a_missing_record_equal_whose_row_claims_siblings_that_it_has_not(stack, records):
    record = records[0]
    stack.database("us").execute("UPDATE properties SET has_siblings = true WHERE id = %s", record)
    stack.database("eu").execute("DELETE FROM properties WHERE id = %s", record)
    assert differing(stack) == {record: "missing"}
    ask(stack, "repair", "--execute", "--take", "us", "--reason", "eu lost it")
    assert stack.database("eu").property(record)["price"] == Decimal("50.00")
    stack.check_consistent()


def test_tombstones_that_differ_become_equal(stack, us, records):
    record = records[0]
    assert us.delete(record, version=2).status == 204
    stack.settle()
    stack.database("eu").execute("UPDATE properties SET price = 1, deleted_at = now() WHERE id = %s", record)
    assert differing(stack) == {record: "content-differs"}
    ask(stack, "repair", "--execute", "--take", "eu", "--reason", "eu knows the last price")
    assert us.read(record).status == 404
    assert stack.database("us").property(record)["price"] == Decimal("1.00")
    assert stack.database("eu").value("SELECT request_id LIKE 'reset-eu-%%' FROM plist.repairs WHERE record_id = %s", record)
    stack.check_consistent()


def test_a_region_takes_back_its_own_writes_that_it_has_lost(stack, us, eu, records):
    request = new_id()
    with stack.reading("us", 2):
        assert us.put(records[0], request, price=Decimal("77.00"), version=2).status == 200
        assert us.delete(records[1], version=2).status == 204
        stack.settle()
    database = stack.database("us")
    kept = database.value("SELECT count(*) FROM dead_letters")
    returned = stack.plistd["us"].metrics()["plist_apply_returned_total"]
    database.execute("DELETE FROM properties WHERE id = ANY(%s)", records)
    database.execute("DELETE FROM processed_requests WHERE record_id = ANY(%s)", records)
    assert set(differing(stack).values()) == {"missing"}
    rewinds = stack.plistd["eu"].metrics()["plist_relay_rewinds_total"]

    begun = time.monotonic()
    ask(stack, "repair", "--execute")
    assert time.monotonic() - begun < 25  # it does not wait for events that are kept in the outbox
    stack.check_consistent()
    # us has received what eu's relay published, although these are writes of us: nothing
    # is missing, and nothing is sent again.
    wait_until("eu's outbox is empty", lambda: stack.database("eu").value("SELECT count(*) FROM outbox") == 0)
    assert stack.plistd["eu"].metrics()["plist_relay_rewinds_total"] == rewinds
    assert stack.database("us").value("SELECT count(*) FROM applied_sequences WHERE chain_to > 0") == 0
    stack.wait_green()
    wait_until("us counts them", lambda: stack.plistd["us"].metrics()["plist_apply_returned_total"] == returned + 5)
    assert database.value("SELECT count(*) FROM dead_letters") == kept
    # The requests have come back as well, including those of earlier writes.
    again = us.put(records[0], request, price=Decimal("77.00"), version=2)
    assert again.status == 422 and again.json["title"] == "Duplicate request"
    here, there = (stack.database(r).rows("SELECT request_id, status, vector::text, dots::text FROM processed_requests "
                                          "WHERE record_id = ANY(%s) ORDER BY request_id", records) for r in ("us", "eu"))
    assert here == there and len(here) == 12


def test_republishing_everything_changes_nothing(stack, empty, records):  # rows that other tests have damaged become dead letters
    plant(stack, records)
    ask(stack, "repair", "--execute", "--take", "us", "--reason", "siblings of one region are not republished")
    before = {r: stack.database(r).rows("SELECT id, vector::text, updated_at, price FROM properties ORDER BY id") for r in stack.regions}
    for region in stack.regions:
        assert "are in the outbox again" in ask(stack, "republish", "properties", "--from", region, "--all").stderr
    stack.check_consistent()
    after = {r: stack.database(r).rows("SELECT id, vector::text, updated_at, price FROM properties ORDER BY id") for r in stack.regions}
    assert after == before
    stack.wait_green()


def test_two_requests_with_one_id_are_both_republished(stack, us, eu):
    """Each region executed one of them before it received the other."""
    request_id = new_id()
    prices = {us: Decimal("31.00"), eu: Decimal("32.00")}

    def put(client, price):
        return client.request("PUT", f"/us/properties/{record}", {"price": price, "version": 1}, request_id)

    def remembered(region):
        database = stack.database(region)
        return database.rows("SELECT encode(fingerprint, 'hex'), dots FROM processed_requests WHERE request_id = %s", request_id)

    with stack.reading("us", 3), stack.reading("eu", 3):
        record = stack.new_record()
        with apart(stack):
            assert [put(client, price).status for client, price in prices.items()] == [200, 200]
        stack.check_consistent()
    [(fingerprint, dots)] = remembered("us")
    assert len(dots) == 2 and any(" " in key for key in dots), dots
    lost = stack.database("eu")
    lost.execute("DELETE FROM properties WHERE id = %s", record)
    lost.execute("DELETE FROM processed_requests WHERE record_id = %s", record)
    ask(stack, "republish", "properties", "--from", "us", "--ids", record)
    stack.check_consistent()
    wait_until("eu remembers both", lambda: remembered("eu") and len(remembered("eu")[0][1]) == 2)
    assert remembered("eu") == [(fingerprint, dots)]
    for price in prices.values():
        assert put(eu, price).status == 422
    stack.wait_green()


def test_republish_accepts_the_report_of_compare(stack, records, tmp_path):
    stack.database("eu").execute("DELETE FROM properties WHERE id = ANY(%s)", records[:2])
    report = tmp_path / "report.json"
    report.write_text(ask(stack, "compare", "-o", "json", status=NO).stdout)
    told = ask(stack, "republish", "properties", "--from", "us", "--differing", report)
    assert "2 records" in told.stderr
    stack.check_consistent()
    ask(stack, "republish", "properties", "--from", "us", "--differing", stack.config, status=USAGE)


def test_an_interrupted_republishing_goes_on_where_it_was(stack, us):
    ids = [stack.new_record(everywhere=False) for _ in range(1100)]
    stack.settle()
    stack.database("eu").execute("DELETE FROM properties WHERE id = ANY(%s)", ids)
    call = ["republish", "properties", "--from", "us", "--range", f"{ids[0]}..{ids[-1]}"]
    argv = [places.program("plist-admin"), "--config", stack.config, *call, "--rate", "100"]
    first = subprocess.Popen([str(a) for a in argv], stderr=subprocess.DEVNULL)
    done = "SELECT coalesce(max(records), 0) FROM plist.republications WHERE ended_at IS NULL"
    wait_until("a batch is done", lambda: stack.database("us").value(done) >= 500)
    first.terminate()
    first.wait(10)
    told = ask(stack, *call)
    assert "continuing after 500 records" in told.stderr and "1,100 records" in told.stderr
    stack.check_consistent()


def test_the_rate_is_kept(stack, records):
    began = time.monotonic()
    ask(stack, "republish", "properties", "--from", "us", "--ids", ",".join(map(str, records)), "--rate", "5")
    assert time.monotonic() - began > 0.8


@pytest.mark.parametrize("arguments", [
    ["properties"], ["properties", "--from", "us"], ["properties", "--all"], ["boats", "--from", "us", "--all"],
    ["properties", "--from", "us", "--all", "--ids", "1"], ["properties", "--from", "ap", "--all"],
])
def test_a_republishing_that_cannot_be_understood_is_refused(stack, arguments):
    ask(stack, "republish", *arguments, status=USAGE)
