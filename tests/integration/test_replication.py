"""Replication: concurrent writes, deletes, remembered requests, events of other producers."""

import json
import threading
import time
from datetime import datetime, timezone
from decimal import Decimal

import pytest

from support.client import new_id
from support.hostile import processor_s, threads_named
from support.load import Load
from support.process import wait_until

TOPIC = "property-updates"


class apart:
    """A block in which the broker is paused, so that no region receives events."""

    def __init__(self, stack):
        self.stack = stack

    def __enter__(self):
        self.stack.broker.pause()

    def __exit__(self, *_):
        self.stack.broker.resume()


def at_once(*calls):
    """Runs the calls concurrently; returns their responses in order."""
    answers = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def run(i, call):
        barrier.wait()
        answers[i] = call()
    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def with_policy(policy, **resource):
    def change(config):
        config["resources"]["properties"].update(resource, policy=f"policies/{policy}.lua")
    return change


def wait_conflict(stack, record_id):
    for region in stack.regions:
        wait_until(f"{region} has seen the conflict", lambda r=region: stack.database(r).conflicts(record_id))


def test_a_write_in_one_region_is_read_in_the_other_within_five_seconds(stack, us, eu):
    record = stack.new_record(everywhere=False)
    wait_until("eu reads the new record", lambda: eu.read(record).status == 200, 5)
    written = us.put(record, price=Decimal("123456.78"), bedrooms=5, version=1)
    assert written.status == 200
    wait_until("eu reads the update", lambda: eu.read(record).json["version"] == 2, 5)
    there = eu.read(record)
    assert there.body == written.body
    assert there.etag == written.etag
    assert there.json["region_origin"] == "us"


def test_writes_travel_both_ways(stack, us, eu):
    record = stack.new_record("eu")
    assert us.put(record, price=Decimal("2.00"), version=1).status == 200
    stack.wait_version("eu", record, 2)
    answer = eu.put(record, price=Decimal("3.00"), version=2)
    assert (answer.status, answer.etag) == (200, '"eu:2+us:1"')
    stack.wait_version("us", record, 3)
    stack.check_consistent()


def test_a_delete_travels_and_leaves_a_tombstone(stack, us, eu):
    record = stack.new_record(price="77.00")
    assert us.delete(record, version=1).status == 204
    stack.wait_version("eu", record, 2)
    assert eu.read(record).status == 404
    row = stack.database("eu").property(record)
    assert row["deleted"] and row["price"] == Decimal("77.00")
    stack.check_consistent()


def test_a_delete_is_a_null_value_on_the_topic(stack, us):
    record = stack.new_record()
    assert us.delete(record, version=1).status == 204
    stack.settle()
    last = [m for m in stack.broker.consume(TOPIC) if m["key"] == str(record)][-1]
    assert last["payload"] is None
    assert last["headers"]["plist-origin"] == "us"
    assert json.loads(last["headers"]["plist-vector"]) == {"us": 2}


def test_an_event_is_the_record_as_http_shows_it(stack, us):
    record = stack.new_record()
    request_id = new_id()
    answer = us.put(record, price=Decimal("10.10"), version=1, request_id=request_id)
    stack.settle()
    event = [m for m in stack.broker.consume(TOPIC) if m["key"] == str(record)][-1]
    assert event["payload"] == answer.text
    headers = event["headers"]
    assert headers["plist-request-id"] == request_id
    assert headers["plist-event-id"] == f"us/properties/{record}/2"
    assert headers["plist-schema"] == "1"
    assert headers["plist-policy"].startswith("last_writer_wins sha256:")
    assert len(headers["plist-fingerprint"]) == 64


def test_traceparent_travels_with_the_event(stack, us):
    record = stack.new_record()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = us.request("PUT", us.path(record), {"price": 1, "version": 1}, new_id(), {"traceparent": trace})
    assert answer.status == 200
    stack.settle()
    event = [m for m in stack.broker.consume(TOPIC) if m["key"] == str(record)][-1]
    assert event["headers"]["traceparent"] == trace


def test_concurrent_writes_end_equal_by_the_last_writer(stack, us, eu):
    record = stack.new_record()
    with apart(stack):
        first = us.put(record, price=Decimal("11.00"), version=1)
        second = eu.put(record, price=Decimal("22.00"), version=1)
    assert (first.status, second.status) == (200, 200)
    wait_conflict(stack, record)
    stack.check_consistent()
    row = stack.database("us").property(record)
    assert (row["price"], row["version"], row["vector"]) == (Decimal("22.00"), 3, {"us": 2, "eu": 1})
    assert row["siblings"]
    assert us.read(record).etag == eu.read(record).etag == '"eu:1+us:2"'


def test_the_next_write_replaces_all_siblings_and_closes_the_conflict(stack, us, eu):
    record = stack.new_record()
    with apart(stack):
        us.put(record, price=Decimal("11.00"), version=1)
        eu.put(record, price=Decimal("22.00"), version=1)
    wait_conflict(stack, record)
    stack.settle()
    assert us.put(record, price=Decimal("33.00"), version=3).status == 200
    stack.wait_version("eu", record, 4)
    stack.check_consistent()
    for region in stack.regions:
        database = stack.database(region)
        assert not database.property(record)["siblings"]
        assert not database.rows("SELECT 1 FROM record_siblings WHERE record_id = %s", record)
        assert all(conflict["closed_at"] for conflict in database.conflicts(record))


def test_a_stale_version_after_a_merge_is_refused(stack, us, eu):
    record = stack.new_record()
    with apart(stack):
        us.put(record, price=Decimal("11.00"), version=1)
        eu.put(record, price=Decimal("22.00"), version=1)
    wait_conflict(stack, record)
    assert us.put(record, price=Decimal("44.00"), version=2).status == 409


@pytest.mark.parametrize(
    "policy, prices, winner",
    [
        ("last_writer_wins", ("50.00", "40.00"), "40.00"),
        ("region_order", ("50.00", "60.00"), "50.00"),
        ("highest_price", ("90.00", "80.00"), "90.00"),
        ("delete_wins", ("50.00", "40.00"), "40.00"),
    ])
def test_concurrent_updates_converge_with_every_shipped_policy(stack, us, eu, policy, prices, winner):
    record = stack.new_record()
    stack.reload_policy(with_policy(policy))
    with apart(stack):
        assert us.put(record, price=Decimal(prices[0]), version=1).status == 200
        assert eu.put(record, price=Decimal(prices[1]), version=1).status == 200
    wait_conflict(stack, record)
    stack.check_consistent()
    assert stack.database("us").property(record)["price"] == Decimal(winner)
    assert {c["policy_name"] for r in stack.regions for c in stack.database(r).conflicts(record)} == {policy}


def test_field_merge_takes_each_field_from_its_latest_write(stack, us, eu):
    stack.restart_daemons(with_policy("field_merge", track_fields=True))
    record = stack.new_record(bedrooms=1, bathrooms=1)
    with apart(stack):
        assert us.put(record, bedrooms=7, version=1).status == 200
        assert eu.put(record, bathrooms=8, version=1).status == 200
    wait_conflict(stack, record)
    stack.check_consistent()
    row = stack.database("eu").property(record)
    assert (row["bedrooms"], row["bathrooms"]) == (7, 8)


def test_a_delete_wins_over_a_later_update_where_the_policy_says_so(stack, us, eu):
    record = stack.new_record()
    stack.reload_policy(with_policy("delete_wins"))
    with apart(stack):
        assert us.delete(record, version=1).status == 204
        assert eu.put(record, price=Decimal("5.00"), version=1).status == 200
    wait_conflict(stack, record)
    stack.check_consistent()
    assert us.read(record).status == eu.read(record).status == 404


def test_a_later_update_wins_over_a_delete_with_the_last_writer(stack, us, eu):
    record = stack.new_record()
    with apart(stack):
        assert us.delete(record, version=1).status == 204
        assert eu.put(record, price=Decimal("5.00"), version=1).status == 200
    wait_conflict(stack, record)
    stack.check_consistent()
    assert us.read(record).json["price"] == eu.read(record).json["price"] == Decimal("5.00")


def test_two_regions_creating_one_id_at_once_end_equal(stack, us, eu):
    record = next(stack._ids)
    with apart(stack):
        assert us.post(id=record, price=Decimal("1.00")).status == 201
        assert eu.post(id=record, price=Decimal("2.00")).status == 201
    wait_conflict(stack, record)
    stack.check_consistent()
    assert stack.database("us").property(record)["vector"] == {"us": 1, "eu": 1}
    assert stack.database("us").conflicts(record)[0]["type"] == "insert_exists"


def test_a_change_of_policy_resolves_open_conflicts_again(stack, us, eu):
    record = stack.new_record()
    with apart(stack):
        us.put(record, price=Decimal("900.00"), version=1)
        eu.put(record, price=Decimal("800.00"), version=1)
    wait_conflict(stack, record)
    stack.settle()
    assert stack.database("us").property(record)["price"] == Decimal("800.00")
    stack.reload_policy(with_policy("highest_price"))
    for region in stack.regions:
        wait_until(f"{region} shows the new policy's answer",
                   lambda r=region: stack.database(r).property(record)["price"] == Decimal("900.00"))
    stack.check_consistent()


def test_many_concurrent_writes_of_few_records_end_equal(stack, us, eu):
    records = [stack.new_record() for _ in range(4)]
    for _ in range(12):
        for record in records:
            versions = [stack.database(r).property(record)["version"] for r in stack.regions]
            at_once(lambda: us.put(record, price=Decimal("1.50"), version=versions[0]),
                    lambda: eu.put(record, price=Decimal("2.50"), version=versions[1]))
    stack.check_consistent()


def test_one_request_sent_to_both_regions_counts_as_one_write(stack, us, eu):
    """A request is sent to two regions before they receive each other's event: no conflict, one remembered request."""
    record = stack.new_record()
    request_id = new_id()
    body = {"price": Decimal("31.00"), "version": 1}
    with apart(stack):
        for client in (us, eu):
            assert client.request("PUT", f"/us/properties/{record}", body, request_id).status == 200
    stack.wait_version("us", record, 3)
    stack.wait_version("eu", record, 3)
    stack.check_consistent()
    for region in stack.regions:
        database = stack.database(region)
        assert not database.conflicts(record)
        assert database.remembered(request_id)["dots"] == {"us": 2, "eu": 1}
        assert database.property(record)["price"] == Decimal("31.00")


def test_a_late_twin_does_not_override_a_later_write(stack, us, eu):
    record = stack.new_record()
    request_id = new_id()
    body = {"price": Decimal("31.00"), "version": 1}
    with apart(stack):
        assert us.request("PUT", f"/us/properties/{record}", body, request_id).status == 200
        assert us.put(record, price=Decimal("32.00"), version=2).status == 200
        assert eu.request("PUT", f"/us/properties/{record}", body, request_id).status == 200
    stack.wait_version("us", record, 4)
    stack.wait_version("eu", record, 4)
    stack.check_consistent()
    assert stack.database("us").property(record)["price"] == Decimal("32.00")


@pytest.mark.parametrize("lock", ["version", "etag"])
@pytest.mark.parametrize("told_by, written_in", [("us", "us"), ("us", "eu"), ("eu", "us"), ("eu", "eu")])
def test_a_lock_on_either_execution_of_a_request_is_honoured(stack, lock, told_by, written_in):
    """The client knows one of the two executions. The other one is no reason to refuse its write."""
    record = stack.new_record()
    request_id = new_id()
    body = {"price": Decimal("31.00"), "version": 1}
    with apart(stack):
        answers = {r: stack.client(r).request("PUT", f"/us/properties/{record}", body, request_id) for r in ("us", "eu")}
    for region in stack.regions:
        stack.wait_version(region, record, 3)
    told = answers[told_by]
    locked = {"if_match": told.etag} if lock == "etag" else {"version": told.json["version"]}
    written = stack.client(written_in).put(record, price=Decimal("32.00"), **locked)
    assert (written.status, written.json["version"], written.json["price"]) == (200, 4, Decimal("32.00")), written
    again = stack.client(written_in).put(record, price=Decimal("33.00"), **locked)
    assert again.status == (412 if lock == "etag" else 409), "now there is another write"
    for region in stack.regions:
        stack.wait_version(region, record, 4)
    stack.check_consistent()


def test_a_lock_does_not_hide_a_write_that_is_concurrent_with_an_execution(stack, us, eu):
    """eu's second write is another client's. Only an entity tag shows whether the client knows everything but a second execution."""
    record = stack.new_record()
    request_id = new_id()
    body = {"price": Decimal("31.00"), "version": 1}
    with apart(stack):
        told, _ = [c.request("PUT", f"/us/properties/{record}", body, request_id) for c in (us, eu)]
        other = eu.put(record, bedrooms=4, version=2)
        assert (told.status, other.status) == (200, 200)
    for region in stack.regions:
        stack.wait_version(region, record, 4)
    for client in (us, eu):
        assert client.put(record, price=Decimal("1.00"), version=2).status == 409
        assert client.put(record, price=Decimal("1.00"), if_match=told.etag).status == 412
        assert client.put(record, price=Decimal("1.00"), version=3).status == 409, "several states had this number"
    known = us.put(record, price=Decimal("2.00"), if_match=other.etag)
    assert (known.status, known.json["bedrooms"]) == (200, 4)
    stack.wait_version("eu", record, 5)
    stack.check_consistent()


@pytest.mark.parametrize("rule", ["reject", "replay"])
def test_a_retry_in_the_other_region_is_recognised(stack, us, eu, rule):
    if rule == "replay":
        stack.reload(lambda config: [r["idempotency"].update(on_duplicate="replay") for r in config["routes"] if "idempotency" in r])
    record = stack.new_record()
    request_id = new_id()
    body = {"price": Decimal("31.00"), "version": 1}
    first = us.request("PUT", f"/us/properties/{record}", body, request_id)
    assert first.status == 200
    wait_until("eu remembers the request", lambda: stack.database("eu").remembered(request_id))
    again = eu.request("PUT", f"/us/properties/{record}", body, request_id)
    if rule == "reject":
        assert (again.status, again.json["title"]) == (422, "Duplicate request")
    else:
        assert (again.status, again.body, again.etag) == (200, first.body, first.etag)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.region == "eu"
    other = eu.request("PUT", f"/us/properties/{record}", dict(body, price=Decimal("32.00")), request_id)
    assert (other.status, other.json["title"]) == (422, "Request ID reused with a different request")
    assert stack.database("us").property(record)["version"] == 2


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_creates_and_deletes_are_replayed_in_the_other_region(stack, us, eu, method):
    stack.reload(lambda config: [r["idempotency"].update(on_duplicate="replay") for r in config["routes"] if "idempotency" in r])
    request_id = new_id()
    if method == "POST":
        arguments = ("POST", "/us/properties", {"price": Decimal("5.00")}, request_id)
    else:
        arguments = ("DELETE", f"/us/properties/{stack.new_record()}?version=1", None, request_id)
    first = us.request(*arguments)
    assert first.status in (201, 204)
    wait_until("eu remembers the request", lambda: stack.database("eu").remembered(request_id))
    again = eu.request(*arguments)
    assert (again.status, again.body, again.headers.get("location")) == (first.status, first.body, first.headers.get("location"))
    assert again.headers["idempotent-replayed"] == "true"


# Events of other producers.


def foreign(record, **members):
    value = {"id": record, "price": 9.5, "bedrooms": 2, "bathrooms": 1, "region_origin": "us", "version": 5,
             "updated_at": datetime.now(timezone.utc).isoformat()}
    return json.dumps(value | members)


def test_an_event_of_another_producer_is_applied(stack):
    record = stack.new_record()
    stack.broker.produce(TOPIC, record, foreign(record, remark="members that we do not know do not matter"))
    for region in stack.regions:
        row = stack.wait_version(region, record, 5)
        assert (row["price"], row["region_origin"], row["version"]) == (Decimal("9.50"), "us", 5)
    stack.check_consistent()
    for region in stack.regions:  # "remark" is kept as an unknown field
        stack.database(region).execute("UPDATE properties SET unknown_fields = NULL WHERE id = %s", record)


def test_an_older_event_of_another_producer_is_ignored(stack, us):
    record = stack.new_record()
    stack.broker.produce(TOPIC, record, foreign(record, version=5))
    stack.wait_version("us", record, 5)
    stack.broker.produce(TOPIC, record, foreign(record, version=4, price=1))
    stack.broker.produce(TOPIC, record, foreign(record, version=6, price=2))
    for region in stack.regions:
        assert stack.wait_version(region, record, 6)["price"] == Decimal("2.00")
    assert us.put(record, price=Decimal("3.00"), version=6).json["version"] == 7
    stack.wait_version("eu", record, 7)
    stack.check_consistent()


@pytest.mark.parametrize(
    "key, value",
    [
        (None, "this is no JSON"), (None, "[]"), (None, '{"id":1}'), (None, b"\xff\xfe\x00"), ("not-a-number", "{}"), (None, None),
        (None, "bad-origin"), (None, "price-too-long"),
    ],
    ids=["no-json", "an-array", "members-missing", "bytes", "key-is-no-number", "null-without-headers", "bad-origin", "bad-price"])
def test_a_message_that_is_not_an_event_is_set_aside_and_stops_nothing(stack, us, key, value):
    record = stack.new_record()
    if value == "bad-origin":
        value = foreign(record, region_origin="No Region!")
    elif value == "price-too-long":
        value = foreign(record, price=10**15)
    before = {r: stack.database(r).value("SELECT count(*) FROM dead_letters") for r in stack.regions}
    stack.broker.produce(TOPIC, key or record, value)
    for region in stack.regions:
        wait_until(f"{region} keeps the dead letter",
                   lambda r=region: stack.database(r).value("SELECT count(*) FROM dead_letters") == before[r] + 1)
        assert stack.database(region).value("SELECT error FROM dead_letters ORDER BY id DESC LIMIT 1")
    # The partition is not blocked: an event of the same key arrives after it.
    assert us.put(record, price=Decimal("8.00"), version=1).status == 200
    stack.wait_version("eu", record, 2)
    stack.check_consistent()


def test_an_event_that_arrives_twice_changes_nothing(stack, us):
    record = stack.new_record()
    us.put(record, price=Decimal("8.00"), version=1)
    stack.settle()
    event = [m for m in stack.broker.consume(TOPIC) if m["key"] == str(record)][-1]
    stack.broker.produce(TOPIC, record, event["payload"], headers=event["headers"].items(), partition=event["partition"])
    us.put(record, price=Decimal("9.00"), version=2)
    stack.wait_version("eu", record, 3)
    stack.check_consistent()
    assert not stack.database("eu").conflicts(record)


# The check before a policy goes live tries many inputs, but not this one.
RAISES_FOR_ONE_PRICE = """
local policy = require "plist.policy"
local decimal = require "plist.decimal"
return {
  name = "broken", doc = "Raises for one price, 1234.56, which no check comes upon: the file does not name it.",
  resolve = function(rows)
    for _, row in ipairs(rows) do
      if row.fields.price * 3 == decimal "3703.68" then error("no idea") end
    end
    return policy.take(#rows)
  end,
}
"""


def test_a_policy_that_raises_falls_back_and_is_marked(stack, us, eu, tmp_path):
    record = stack.new_record()
    root = tmp_path / "lua"
    copy_lua(root)
    (root / "policies" / "broken.lua").write_text(RAISES_FOR_ONE_PRICE)

    def change(config):
        config["lua"]["path"] = str(root)
        config["resources"]["properties"]["policy"] = "policies/broken.lua"
    stack.reload_policy(change)
    with apart(stack):
        us.put(record, price=Decimal("1234.56"), version=1)
        eu.put(record, price=Decimal("80.00"), version=1)
    wait_conflict(stack, record)
    stack.check_consistent()
    for region in stack.regions:
        assert "no idea" in stack.database(region).conflicts(record)[0]["policy_error"]
        assert stack.database(region).property(record)["price"] == Decimal("80.00")
    # A corrected policy answers the same siblings.
    stack.reload_policy(with_policy("highest_price"))
    for region in stack.regions:
        wait_until(f"{region} asked the corrected policy",
                   lambda r=region: stack.database(r).property(record)["price"] == Decimal("1234.56"))


def copy_lua(root):
    import shutil
    from support import places
    shutil.copytree(places.TOP / "lua", root)


def test_lag_shows_what_is_behind_and_returns_to_zero(stack, us, eu):
    record = stack.new_record()

    def lag():
        return eu.get("/eu/replication-lag").json
    wait_until("nothing is behind", lambda: lag()["events_behind"] == 0 and lag()["lag_seconds"] == 0)
    with apart(stack):
        us.put(record, price=Decimal("1.00"), version=1)
        wait_until("eu knows that it may be behind", lambda: lag()["lag_seconds"] > 0)
    wait_until("nothing is behind again", lambda: lag()["events_behind"] == 0 and lag()["lag_seconds"] == 0)
    assert "us" in lag()["origins"]


def test_a_region_that_is_not_configured_has_no_outbox_to_wait_for(stack):
    """A region that was removed from the YAML, or belongs to another application: its last heartbeat may report unsent events."""
    sent = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    stack.broker.produce("plist-heartbeats", "gone", json.dumps(
        {"region": "gone", "sent_at": sent, "outbox_events": 1, "outbox_oldest_at": sent, "policies": {}}))
    for region in stack.regions:
        def lag():
            return stack.client(region).get(f"/{region}/replication-lag").json
        wait_until("the heartbeat has arrived", lambda: "gone" in lag()["origins"])
        assert lag()["origins"]["gone"]["events_behind"] == 0
        wait_until("nothing is behind", lambda: lag()["events_behind"] == 0 and lag()["lag_seconds"] == 0)
        stack.postgres[region].database.execute("DELETE FROM region_heartbeats WHERE region = 'gone'")


@pytest.mark.parametrize("name", ["relay", "apply", "claims", "heal", "audit"])
def test_no_thread_of_a_daemon_spins_while_there_are_writes(stack, us, eu, name):
    """A thread that asks again and again whether something is due takes a processor from those that have work."""
    ids = [stack.new_record() for _ in range(8)]
    watched = [(region, stack.plistd[region].pid, tid) for region in ("us", "eu") for tid in threads_named(stack.plistd[region].pid, name)]
    with Load([us, eu], ids, threads=2) as load:
        load.wait_accepted(20)
        began, before = time.monotonic(), [processor_s(pid, tid) for _, pid, tid in watched]
        wait_until("three seconds have passed", lambda: time.monotonic() - began > 3)
        took = time.monotonic() - began
        used = {(region, tid): processor_s(pid, tid) - b for (region, pid, tid), b in zip(watched, before)}
    assert all(s < took / 3 for s in used.values()), (took, used)
