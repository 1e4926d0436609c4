"""Events that the broker acknowledged and then lost are published again: they stay in the outbox until every region has applied them."""

import shutil
from decimal import Decimal

import pytest

from support.client import new_id
from support.process import wait_until

pytestmark = pytest.mark.needs_kafka


def write(stack, region, records):
    """Writes each record once; returns the request ids."""
    ids = [new_id() for _ in records]
    client = stack.client(region)
    for record, request_id in zip(records, ids):
        version = stack.database(region).property(record)["version"]
        assert client.put(record, price=Decimal(version), version=version, request_id=request_id).status == 200
    return ids


def acknowledged(stack, region="us"):
    wait_until("Kafka has acknowledged everything", lambda: stack.database(region).outbox() == 0)


def check_whole(stack, request_ids, timeout=60):
    stack.check_consistent(timeout)
    for region, database in stack.databases.items():
        unknown = [i for i in request_ids if not database.remembered(i)]
        assert not unknown, f"{region} does not remember {len(unknown)} of {len(request_ids)} requests"


def lose(stack):
    stack.broker.kill()
    shutil.rmtree(stack.broker.data)


@pytest.mark.parametrize("order", [("kafka", "eu", "us"), ("kafka", "us", "eu"), ("eu", "kafka", "us")])
def test_what_a_broker_loses_with_its_disk_is_published_again(stack, order):
    records = [stack.new_record() for _ in range(10)]
    stack.plistd["eu"].stop()
    ids = write(stack, "us", records)
    acknowledged(stack)
    stack.plistd["us"].kill()
    lose(stack)
    parts = {"kafka": stack.broker, "eu": stack.plistd["eu"], "us": stack.plistd["us"]}
    for part in order:
        parts[part].launch()
        if part == "kafka":
            parts[part].wait_up()
    for part in order:
        parts[part].wait_up()
    check_whole(stack, ids)


def test_events_are_kept_until_the_other_region_has_applied_them(stack):
    records = [stack.new_record() for _ in range(3)]
    stack.settle()
    wait_until("nothing is kept", lambda: stack.database("us").kept() == 0)
    stack.plistd["eu"].stop()
    write(stack, "us", records)
    acknowledged(stack)
    assert stack.database("us").kept() == 3
    wait_until("the metric says so", lambda: stack.plistd["us"].metrics()["plist_outbox_kept_rows"] == 3)
    stack.plistd["eu"].start()
    wait_until("nothing is kept", lambda: stack.database("us").kept() == 0)
    stack.check_consistent()


def test_a_topic_that_was_deleted_while_a_region_was_down_costs_nothing(stack):
    records = [stack.new_record() for _ in range(5)]
    stack.plistd["eu"].stop()
    ids = write(stack, "us", records)
    acknowledged(stack)
    stack.broker.delete_topic("property-updates")
    stack.plistd["eu"].start()
    check_whole(stack, ids)


def test_a_restarted_daemon_does_not_publish_again_what_is_kept(stack):
    records = [stack.new_record() for _ in range(5)]
    stack.settle()
    wait_until("nothing is kept", lambda: stack.database("us").kept() == 0)
    stack.plistd["eu"].stop()
    write(stack, "us", records)
    acknowledged(stack)
    kept = stack.database("us").kept()
    assert kept >= 5
    stack.plistd["us"].restart()
    wait_until("it publishes", lambda: stack.plistd["us"].metrics()["plist_relay_leader"] == 1)
    wait_until("the metric says so", lambda: stack.plistd["us"].metrics()["plist_outbox_kept_rows"] == kept)
    assert stack.plistd["us"].metrics()["plist_relay_published_total"] == 0
    stack.plistd["eu"].start()
    stack.check_consistent()


def test_an_origin_that_is_not_heard_from_is_silent_and_its_lag_grows(stack):
    def eu():
        return stack.client("us").get("/us/replication-lag").json["origins"]["eu"]
    wait_until("us receives eu's heartbeats", lambda: eu()["state"] == "ok")
    stack.plistd["eu"].stop()
    wait_until("eu is silent", lambda: eu()["state"] == "silent" and eu()["lag_seconds"] >= 3)
    metrics = stack.plistd["us"].metrics()
    assert metrics['plist_replication_origin_state{origin="eu",state="silent"}'] == 1, sorted(m for m in metrics if "state" in m)
    stack.plistd["eu"].start()
    wait_until("us receives eu's heartbeats again", lambda: eu()["state"] == "ok")


def test_another_region_is_heard_while_a_table_is_locked(stack, us):
    """Its heartbeats come through the same applier as events that wait for the table."""
    eu = stack.database("eu")

    def heard():
        return eu.value("SELECT heard_at FROM region_heartbeats WHERE region = 'us'")

    records = [stack.new_record() for _ in range(20)]
    holder = eu.connect()
    try:
        holder.cursor().execute("LOCK TABLE properties IN ACCESS EXCLUSIVE MODE")
        for version in range(1, 6):
            for record in records:
                assert us.put(record, price=Decimal(version), version=version).status == 200
        wait_until("eu has met the lock", lambda: stack.plistd["eu"].log_contains("keeping") or stack.plistd["eu"].metrics()["plist_apply_retries_total"] > 0)
        for _ in range(4):
            before = heard()
            wait_until("eu hears us", lambda: heard() > before)  # noqa: B023
        wait_until("us is not silent", lambda: stack.client("eu").get("/eu/replication-lag").json["origins"]["us"]["state"] == "behind")
    finally:
        holder.rollback()
        holder.close()
    for record in records:
        stack.wait_version("eu", record, 6)
    stack.check_consistent()
