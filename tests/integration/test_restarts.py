"""Any server may be stopped, killed or frozen under load, in any order. No acknowledged write is lost, and no operator
action is needed."""

import shutil
import subprocess
import time
from decimal import Decimal

import pytest

from support.client import new_id
from support.load import Load
from support.process import wait_until
from support.proxy import Proxy

# The embedded broker loses what is in flight when it ends.
needs_kafka = pytest.mark.needs_kafka


def check_books(stack, load, records):
    """Compares the regions after a load: equal rows and vectors, correct versions, empty outboxes, all 2xx remembered."""
    stack.check_consistent()
    assert load.accepted, (load.statuses, load.errors)
    assert not load.faults, load.faults
    for region, database in stack.databases.items():
        known = {row[0] for row in database.rows("SELECT request_id FROM processed_requests WHERE record_id = ANY(%s)", records)}
        lost = load.accepted.keys() - known
        assert not lost, f"{region} does not know {len(lost)} of {len(load.accepted)} accepted requests: {sorted(lost)[:3]}"
        # A version is exactly the number of executions of the record's requests.
        for record, version, executed in database.rows(
                "SELECT p.id, p.version, (SELECT sum(n) FROM processed_requests q, LATERAL (SELECT count(*) AS n FROM "
                "jsonb_object_keys(q.dots)) AS d WHERE q.record_id = p.id) FROM properties p WHERE p.id = ANY(%s)", records):
            assert version == executed, f"{region}: record {record} has version {version} after {executed} executions"
        assert not database.value("SELECT count(*) FROM dead_letters WHERE error LIKE %s", "%internal%")


def interrupted(server, how):
    if how == "kill":
        server.kill()
    elif how == "stop":
        server.stop()
    else:
        server.pause()


def brought_back(server, how):
    if how == "pause":
        server.resume()
    else:
        server.start()


PARTS = {
    "kafka": lambda s: s.broker, "database-us": lambda s: s.postgres["us"], "database-eu": lambda s: s.postgres["eu"],
    "plistd-us": lambda s: s.plistd["us"], "plistd-eu": lambda s: s.plistd["eu"], "nginx": lambda s: s.nginx,
}


@pytest.mark.parametrize("how", ["kill", "stop"])
@pytest.mark.parametrize("part", [pytest.param("kafka", marks=needs_kafka), *list(PARTS)[1:]])
def test_nothing_is_lost_when_a_part_ends_under_load(stack, part, how):
    server = PARTS[part](stack)
    records = [stack.new_record(everywhere=False) for _ in range(12)]
    clients = [stack.front("us"), stack.front("eu")] if part == "nginx" else [
        stack.front("us"), stack.front("eu"), stack.client("us"), stack.client("eu")]
    with Load(clients, records, deletes=True) as load:
        load.wait_accepted(100)
        interrupted(server, how)
        if part in ("kafka", "plistd-us", "plistd-eu"):
            load.wait_accepted(60)  # the others go on writing
        brought_back(server, how)
        load.wait_accepted(100)
    check_books(stack, load, records)
    stack.wait_ready()


@pytest.mark.parametrize("part", ["kafka", "database-eu", "plistd-us"])
def test_nothing_is_lost_when_a_part_freezes_under_load(stack, part):
    """A frozen server: connections stay open without a response, which only timeouts detect."""
    server = PARTS[part](stack)
    records = [stack.new_record(everywhere=False) for _ in range(12)]
    front = stack.front("us")
    with Load([front, stack.client("us") if part != "plistd-us" else front], records) as load:
        load.wait_accepted(80)
        interrupted(server, "pause")
        frozen = time.monotonic()
        wait_until("six seconds have passed", lambda: time.monotonic() - frozen > 6)
        brought_back(server, "pause")
        load.wait_accepted(80)
    check_books(stack, load, records)


@needs_kafka
def test_nothing_is_lost_when_everything_ends_one_after_the_other(stack):
    records = [stack.new_record(everywhere=False) for _ in range(12)]
    with Load([stack.front("us"), stack.front("eu")], records, deletes=True) as load:
        load.wait_accepted(60)
        for part in PARTS.values():
            part(stack).kill()
            part(stack).start()
        load.wait_accepted(100)
    check_books(stack, load, records)


@needs_kafka
def test_writes_are_accepted_while_the_broker_is_down_and_travel_when_it_is_back(stack, us, eu):
    record = stack.new_record()
    stack.broker.kill()
    for version in range(1, 6):
        assert us.put(record, price=Decimal(version), version=version).status == 200
    assert stack.database("us").outbox() >= 5
    assert us.get("/health").status == 200
    stack.broker.start()
    stack.wait_version("eu", record, 6)
    stack.check_consistent()


@needs_kafka
def test_lag_grows_while_the_broker_is_down(stack):
    def lag():
        return stack.client("eu").get("/eu/replication-lag").json["lag_seconds"]
    stack.broker.kill()
    wait_until("lag is over two seconds", lambda: lag() > 2)
    stack.broker.start()
    wait_until("lag is zero again", lambda: lag() == 0)


@needs_kafka
def test_events_of_a_broker_that_lost_its_disk_do_not_matter_to_what_was_applied(stack, us, eu):
    """Topic and offsets are lost together: the applier starts over on the new topic, and later writes are replicated."""
    record = stack.new_record()
    stack.settle()
    stack.broker.lose_disk()
    assert us.put(record, price=Decimal("2.00"), version=1).status == 200
    stack.wait_version("eu", record, 2)
    assert eu.put(record, price=Decimal("3.00"), version=2).status == 200
    stack.wait_version("us", record, 3)
    stack.check_consistent()


def test_with_its_database_down_a_daemon_answers_503_with_retry_after_and_health_is_still_200(stack, us):
    record = stack.new_record()
    stack.postgres["us"].stop()
    request_id = new_id()
    answer = us.put(record, price=5, version=1, request_id=request_id)
    assert answer.status == 503, answer
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json["retryable"] is True
    assert us.read(record).status == 503
    assert us.get("/health").json == {"status": "ok", "region": "us"}
    assert us.get("/ready").status == 503
    stack.postgres["us"].start()
    wait_until("the same request is taken", lambda: us.put(record, price=5, version=1, request_id=request_id).status == 200)
    stack.plistd["us"].wait_ready()  # each worker recovers by itself
    assert us.read(record).json["version"] == 2


def test_a_frozen_database_is_answered_within_the_deadline(stack, us):
    record = stack.new_record()
    stack.postgres["us"].pause()
    began = time.monotonic()
    answer = us.put(record, price=5, version=1)
    took = time.monotonic() - began
    stack.postgres["us"].resume()
    assert answer.status in (503, 504), answer
    assert took < 12, took
    assert us.get("/health").status == 200
    stack.check_consistent()


def test_a_daemon_that_is_told_to_stop_finishes_what_it_began_and_exits_0(stack):
    daemon = stack.plistd["us"]
    records = [stack.new_record() for _ in range(8)]
    with Load([stack.client("us")], records) as load:
        load.wait_accepted(50)
        daemon.stop()
        assert daemon.exit_status() == 0
        daemon.start()
        load.wait_accepted(20)
    # Every request that was accepted got its answer: a connection may be refused while no
    # daemon listens, but none is cut.
    assert not load.errors["ConnectionResetError"] and not load.errors["RemoteDisconnected"], load.errors
    check_books(stack, load, records)


@pytest.fixture
def second(stack):
    """Another daemon of us, ready."""
    daemon = stack.second_daemon("us")
    try:
        daemon.start()
        daemon.wait_ready()
        yield daemon
    finally:
        daemon.stop()


def test_two_daemons_may_serve_one_region(stack, us, second):
    records = [stack.new_record(everywhere=False) for _ in range(8)]
    with Load([us, second.client], records) as load:
        load.wait_accepted(100)
        stack.plistd["us"].kill()  # it has the relay's role
        load.wait_accepted(30)
        stack.plistd["us"].start()
        load.wait_accepted(60)
    check_books(stack, load, records)


def test_a_relay_whose_session_is_ended_while_it_lives_goes_on(stack, us, second):
    """On a busy machine a daemon may be taken for dead. It, or the other one, publishes again; nothing is lost or done twice."""
    records = [stack.new_record(everywhere=False) for _ in range(8)]
    database = stack.database("us")
    with Load([us, second.client], records) as load:
        for _ in range(3):
            load.wait_accepted(30)
            before = database.value("SELECT pid FROM plist_leaders WHERE name = 'relay'")
            database.execute("SELECT pg_terminate_backend(%s)", before)
            wait_until("a session is the relay again", lambda b=before: database.value(
                "SELECT count(*) FROM plist_leaders AS l JOIN pg_stat_activity USING (pid) WHERE l.name = 'relay' AND pid <> %s", b) == 1)
        load.wait_accepted(30)
    check_books(stack, load, records)


def test_the_other_daemon_of_a_region_takes_over_its_relay(stack, second):
    record = stack.new_record()
    stack.plistd["us"].kill()
    assert second.client.put(record, price=Decimal("2.00"), version=1).status == 200
    stack.wait_version("eu", record, 2)


def test_the_other_daemon_publishes_when_the_one_that_did_is_frozen(stack, us, second):
    """Its database session, and so the relay's role, remains until PostgreSQL ends the silent session."""
    record = stack.new_record()
    try:
        stack.plistd["us"].pause()
        assert second.client.put(record, price=Decimal("2.00"), version=1).status == 200
        stack.wait_version("eu", record, 2)
        stack.plistd["us"].resume()
        assert us.put(record, price=Decimal("3.00"), version=2).status == 200
        stack.wait_version("eu", record, 3)
        stack.check_consistent()
    finally:
        stack.plistd["us"].resume()


@needs_kafka
def test_newer_events_are_read_whatever_offsets_the_group_has_committed(stack, us):
    """A broker that lost its disk restarts its offsets, but librdkafka may commit offsets of the lost topic."""
    record = stack.new_record()
    stack.settle()
    stack.plistd["eu"].pause()
    stack.broker.lose_disk()
    assert us.put(record, price=Decimal("2.00"), version=1).status == 200
    wait_until("it is in the new topic", lambda: stack.database("us").outbox() == 0)
    stack.broker.pass_over("property-updates", "plist-eu")
    stack.plistd["eu"].resume()
    stack.wait_version("eu", record, 2)
    stack.check_consistent()


@needs_kafka
def test_no_event_is_passed_over_when_the_broker_loses_its_disk_again_and_again(stack, us):
    """The topics are missing for a moment each time, and the group may form in that moment."""
    record = stack.new_record()
    for version in range(1, 6):
        stack.settle()
        stack.broker.lose_disk()
        assert us.put(record, price=Decimal(version), version=version).status == 200
        stack.wait_version("eu", record, version + 1)
    stack.check_consistent()


@needs_kafka
def test_no_event_is_lost_when_a_broker_without_its_disk_reuses_producer_ids(stack, us, eu):
    """The broker restarts its producer ids, so an old and a new producer may share one; an event of the second must not
    be taken for a duplicate of the first's."""
    def other_producer():
        """A relay's producer lives as long as its role."""
        database = stack.database("us")
        leader = "FROM plist_leaders WHERE name = 'relay'"
        before = database.rows(f"SELECT pid {leader}")
        database.execute(f"SELECT pg_terminate_backend(pid) {leader}")
        wait_until("a session has the relay again", lambda: database.rows(f"SELECT pid {leader}") != before)

    stack.settle()
    stack.broker.lose_disk()
    stack.restart_daemons()  # so that their producers get this broker's first ids
    record = stack.new_record()
    stack.settle()
    stack.broker.lose_disk()
    version = 1
    for _ in range(3):
        other_producer()
        for _ in range(4):
            assert us.put(record, price=Decimal("2.00"), version=version).status == 200
            version += 1
            stack.wait_version("eu", record, version)
        assert eu.put(record, price=Decimal("3.00"), version=version).status == 200
        version += 1
        stack.wait_version("us", record, version)
    stack.check_consistent()


@pytest.fixture
def behind_proxy(stack):
    """A daemon of us that reaches its database through a proxy that can drop responses."""
    proxy = Proxy(stack.postgres["us"].port)
    daemon = stack.second_daemon("us", DATABASE_URL=stack.postgres["us"].url.replace(f":{stack.postgres['us'].port}/", f":{proxy.port}/"))
    try:
        daemon.start()
        daemon.wait_ready()
        daemon.proxy = proxy
        yield daemon
    finally:
        proxy.heal()
        daemon.stop()
        proxy.stop()


def test_an_answer_lost_after_the_commit_is_found_again(stack, behind_proxy):
    """The daemon queries processed_requests over a new connection before it answers."""
    record = stack.new_record()
    behind_proxy.proxy.lose_answers()
    answer = behind_proxy.client.put(record, price=Decimal("2.00"), version=1)
    assert answer.status == 200, answer
    assert (answer.json["version"], answer.etag) == (2, '"us:2"')
    stack.check_consistent()
    assert stack.database("us").property(record)["version"] == 2


def test_an_outcome_that_cannot_be_found_out_is_504_and_the_retry_is_recognised(stack, behind_proxy):
    record = stack.new_record()
    request_id = new_id()
    behind_proxy.proxy.lose_answers(refuse_new=True)
    answer = behind_proxy.client.put(record, price=Decimal("2.00"), version=1, request_id=request_id)
    assert answer.status == 504, answer
    assert "outcome unknown, retry with the same X-Request-ID" in answer.text
    behind_proxy.proxy.heal()

    def again():
        return behind_proxy.client.put(record, price=Decimal("2.00"), version=1, request_id=request_id)
    wait_until("the database is reached again", lambda: again().status != 503)
    assert again().status == 422
    assert stack.database("us").property(record)["version"] == 2
    stack.check_consistent()
