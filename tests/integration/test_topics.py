"""Topics that are changed while daemons run: settings that lose writes, limits, partition counts, re-created topics."""

import re
import time
from datetime import datetime, timezone
from decimal import Decimal

import pytest

from support.client import new_id
from support.process import wait_until

pytestmark = pytest.mark.needs_kafka

RECORDS, HEARTBEATS = "property-updates", "plist-heartbeats"


def metric(stack, region, name):
    found = re.search(rf"^{name} (\S+)$", stack.plistd[region].operators.get("/metrics").text, re.M)
    return float(found.group(1))


def silence(stack, region, origin):
    """The number of seconds since a region received anything from another."""
    heard = stack.client(region).get(f"/{region}/replication-lag").json["origins"].get(origin, {}).get("last_heartbeat_at")
    return (datetime.now(timezone.utc) - datetime.fromisoformat(heard.replace("Z", "+00:00"))).total_seconds() if heard else 1e9


def made_again(broker, topic, partitions):
    """Deletes and re-creates a topic. A client may cause it to be created in between, with another number of partitions."""
    broker.delete_topic(topic)
    count = 0

    def there():
        nonlocal count
        count = partitions_of(broker, topic)
        return count > 0
    wait_until("the topic exists again", there)
    if count < partitions:
        broker.extend_topic(topic, partitions)


def partitions_of(broker, topic):
    return {t["topic"]: len(t["partitions"]) for t in broker.metadata()["topics"]}.get(topic, 0)


def asked_again(stack):
    """A reload makes the relays query the topics' settings at once."""
    for daemon in stack.plistd.values():
        daemon.reload()


@pytest.fixture
def topic(stack):
    """The topic of records, whose settings are restored."""
    yield RECORDS
    stack.broker.set_topic(RECORDS, cleanup_policy="delete", retention_ms=604800000, max_message_bytes=1048588)


@pytest.mark.parametrize("partitions", [12, 1], ids=["more", "fewer"])
def test_heartbeats_are_heard_again_when_their_topic_was_made_again_with_another_number_of_partitions(stack, partitions):
    stack.settle()
    began = time.time()
    made_again(stack.broker, HEARTBEATS, partitions)
    for region, origin in (("us", "eu"), ("eu", "us")):
        # A region that looked just when the topic was gone creates it instead.
        wait_until("the change was noticed", lambda: metric(stack, region, "plist_apply_consumers_replaced_total") > 0 or
                   stack.plistd[region].log_contains(f"topic {HEARTBEATS} does not exist; it will be created"))
        wait_until("heartbeats arrive", lambda: silence(stack, region, origin) < min(3, time.time() - began))


def test_writes_travel_when_their_topic_was_extended(stack, us):
    record = stack.new_record()
    stack.settle()
    stack.broker.extend_topic(RECORDS, 13)
    for version in range(1, 4):
        assert us.put(record, price=Decimal(version), version=version).status == 200
        stack.wait_version("eu", record, version + 1)
    more = [stack.new_record("us", everywhere=False) for _ in range(20)]  # in all partitions, including the new ones
    for each in more:
        stack.wait_version("eu", each, 1)
    stack.check_consistent()


def test_writes_travel_when_their_topic_was_made_again_with_another_number_of_partitions(stack, us, eu):
    record = stack.new_record()
    stack.settle()
    made_again(stack.broker, RECORDS, 5)
    assert us.put(record, price=Decimal("2.00"), version=1).status == 200
    stack.wait_version("eu", record, 2)
    assert eu.put(record, price=Decimal("3.00"), version=2).status == 200
    stack.wait_version("us", record, 3)
    more = [stack.new_record("us", everywhere=False) for _ in range(20)]
    for each in more:
        stack.wait_version("eu", each, 1)
    stack.check_consistent()


@pytest.mark.parametrize("running", [True, False], ids=["while its origin runs", "while both regions are stopped"])
def test_what_was_in_a_partition_that_its_topic_no_longer_has_is_published_again(stack, us, running):
    """Nobody reads that partition any more, so no region can say that it lacks what was in it."""
    stack.settle()
    stack.broker.extend_topic(RECORDS, 16)
    stack.plistd["us"].restart()  # its producer uses the new ones
    records = [stack.new_record("us") for _ in range(24)]
    stack.settle()
    where = {message["key"]: message["partition"] for message in stack.broker.consume(RECORDS)}
    record = next(each for each in records if where[str(each)] >= 8)
    stack.plistd["eu"].stop()
    assert us.put(record, price=Decimal("2.00"), version=1).status == 200
    wait_until("it is in Kafka", lambda: stack.database("us").outbox() == 0)
    if not running:
        stack.plistd["us"].stop()
    stack.broker.delete_topic(RECORDS)
    if not running:
        stack.plistd["us"].start()
    stack.plistd["eu"].start()
    stack.wait_version("eu", record, 2)
    assert partitions_of(stack.broker, RECORDS) == 8
    stack.check_consistent()
    wait_until("nothing is kept", lambda: stack.database("us").kept() == 0)


def test_nothing_is_published_to_a_compacted_topic_and_every_tool_says_so(stack, us, topic):
    record = stack.new_record()
    stack.settle()
    stack.broker.set_topic(topic, cleanup_policy="compact")
    asked_again(stack)
    stack.plistd["us"].wait_unready("property-updates is compacted")
    assert us.put(record, price=Decimal("2.00"), version=1).status == 200
    checked = stack.admin("config", "check", "--online", check=False)
    assert checked.returncode == 1
    assert "--entity-name property-updates --add-config cleanup.policy=delete" in checked.stderr
    status = stack.admin("status", check=False)
    assert status.returncode == 1 and "property-updates is compacted" in status.stderr
    assert stack.database("us").outbox() == 1
    stack.broker.set_topic(topic, cleanup_policy="delete")
    stack.wait_version("eu", record, 2)
    stack.wait_ready()
    assert stack.admin("config", "check", "--online").returncode == 0


def test_a_short_retention_is_named_and_refuses_nothing(stack, us, topic):
    stack.broker.set_topic(topic, retention_ms=3600000)
    asked_again(stack)
    checked = stack.admin("config", "check", "--online", check=False)
    assert checked.returncode == 0
    assert "keeps messages for 3600 s (retention.ms), less than kafka.min_retention (86400 s)" in checked.stderr
    wait_until("the daemon has noticed", lambda: metric(stack, "us", "plist_topic_problems") == 1)
    assert us.get("/ready").status == 200
    assert "less than kafka.min_retention" in stack.admin("status", check=False).stderr


def test_an_event_too_large_for_its_topic_waits_alone_and_travels_when_the_topic_takes_it(stack, us, topic):
    large, small = stack.new_record(), stack.new_record()
    stack.settle()
    replaced = metric(stack, "us", "plist_relay_producers_replaced_total")
    stack.broker.set_topic(topic, max_message_bytes=700)
    assert us.put(large, price=Decimal("2.00"), version=1, request_id=new_id() + "x" * 215).status == 200
    wait_until("it is refused", lambda: metric(stack, "us", "plist_outbox_refused_events") == 1)
    for version in range(1, 6):
        assert us.put(small, price=Decimal(version), version=version).status == 200
        stack.wait_version("eu", small, version + 1)
    assert metric(stack, "us", "plist_relay_producers_replaced_total") == replaced
    listed = stack.admin("outbox", "list", "--region", "us", "-o", "json").stdout
    assert "Message size too large" in listed and "max.message.bytes" in listed
    status = stack.admin("status", check=False)
    assert status.returncode == 1 and "1 event cannot be published" in status.stderr
    stack.broker.set_topic(topic, max_message_bytes=1048588)
    assert "1 refused events are being retried" in stack.admin("outbox", "retry", "--all", "--region", "us").stderr
    stack.wait_version("eu", large, 2)
    stack.check_consistent()
    assert stack.admin("outbox", "retry", "us/1", check=False).returncode == 1


@pytest.mark.parametrize("properties", ["group.instance.id: node-1", "transactional.id: plist"])
def test_properties_that_break_replication_are_refused_with_the_reason(stack, tmp_path, properties):
    text = stack.config.read_text()
    file = tmp_path / "plist.yaml"
    file.write_text(re.sub(r"^kafka:\n", f"kafka:\n  properties: {{ {properties} }}\n", text, flags=re.M))
    checked = stack.admin("config", "check", str(file), check=False)
    assert checked.returncode == 1
    assert f"kafka.properties.{properties.split(':')[0]}: is not supported" in checked.stderr
