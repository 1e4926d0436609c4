"""A region whose database is new, emptied, restored or copied: no dot is given twice, and nothing is served before the region is whole."""

import contextlib
import os
import shutil
import subprocess
from decimal import Decimal

import psycopg2
import pytest

from conftest import _kept, _lend
from support.client import new_id
from support.database import unless_deadlocked
from support.process import wait_until


@pytest.fixture(scope="module")
def _stack():
    yield from _kept("plist-heal-")


@pytest.fixture
def stack(request, _stack):
    return _lend(request, _stack)


def superuser(postgres, sql, database="postgres"):
    connection = psycopg2.connect(f"postgresql://postgres@127.0.0.1:{postgres.port}/{database}")
    connection.autocommit = True
    try:
        unless_deadlocked(connection.cursor().execute, sql)
    finally:
        connection.close()


def empty(stack, region):
    """Re-creates the region's database and its tables."""
    postgres = stack.postgres[region]
    postgres.database.close()
    superuser(postgres, "DROP DATABASE plist WITH (FORCE)")
    superuser(postgres, "CREATE DATABASE plist OWNER plist")
    stack.admin("migrate", "--region", region)


def snapshot(stack, region, folder):
    """A copy of the cluster's files, like a backup of its file system."""
    stack.postgres[region].stop()
    subprocess.run(["cp", "-a", stack.postgres[region].data, folder], check=True)
    stack.postgres[region].start()


def restore(stack, region, folder):
    postgres = stack.postgres[region]
    postgres.stop()
    shutil.rmtree(postgres.data)
    subprocess.run(["cp", "-a", folder, postgres.data], check=True)
    postgres.start()


def identity(stack, region):
    return stack.database(region).rows("SELECT region, generation, state FROM plist.identity")[0]


def write(stack, region, record):
    """Writes the record once more in the region; returns the request id and the vector."""
    def sent():
        row, request = stack.database(region).property(record), new_id()
        answer = stack.client(region).put(record, request_id=request, price=Decimal(row["version"] + 1), version=row["version"])
        return None if answer.status == 409 else (request, answer)  # an event of another region has come in between
    request, answer = wait_until(f"{region} takes a write of {record}", sent)
    assert answer.status == 200, answer
    assert answer.json["region_origin"] == region
    return request, stack.database(region).property(record)["vector"]


def state(stack, region):
    """The region's state according to the daemon's metrics."""
    return [name for name in ("settled", "rebuilding", "unsettled")
            if stack.plistd[region].metrics()[f'plist_region_state{{state="{name}"}}'] == 1]


def check_whole(stack, requests):
    stack.check_consistent()
    for region, database in stack.databases.items():
        for request in requests:
            assert database.remembered(request), f"{region} has forgotten {request}"


def test_a_region_is_whole_though_the_other_one_has_nothing_to_publish(_stack):
    """The first test, since no region may have published anything before: records that were seeded, or copied."""
    stack = _stack
    if any(database.value("SELECT count(*) FROM plist.outbox_marks") for database in stack.databases.values()):
        stack.renew()
    stack.plistd["eu"].stop()
    empty(stack, "eu")
    stack.plistd["eu"].start()
    stack.plistd["eu"].wait_ready()
    assert identity(stack, "eu")[2] == "settled"
    assert stack.database("us").value("SELECT count(*) FROM plist.outbox_marks") == 0
    check_whole(stack, [write(stack, "eu", stack.new_record("us"))[0]])


def test_an_emptied_region_is_not_ready_until_it_has_everything(stack):
    records = [stack.new_record(region) for region in ("us", "eu") for _ in range(3)]
    requests = [write(stack, region, record)[0] for region in ("us", "eu") for record in records]
    stack.settle()
    generation = identity(stack, "eu")[1]
    base = stack.database("eu").value("SELECT id_base FROM id_ranges WHERE region = 'eu'")
    stack.plistd["eu"].stop()
    empty(stack, "eu")
    stack.postgres["us"].pause()  # us cannot publish what eu lacks
    stack.plistd["eu"].launch()
    stack.plistd["eu"].wait_up()
    answer = stack.client("eu").read(records[0])
    assert answer.status == 503 and answer.headers["x-plist-executed"] == "no"
    assert stack.client("eu").get("/ready").status == 503
    answer = stack.client("eu").post(price=Decimal("1.00"))
    assert answer.status == 503 and answer.headers["x-plist-executed"] == "no"
    assert state(stack, "eu") in (["rebuilding"], ["unsettled"])
    stack.postgres["us"].resume()
    stack.plistd["eu"].wait_ready()
    assert state(stack, "eu") == ["settled"]
    assert stack.plistd["us"].metrics()["plist_repair_served_total"] > 0
    assert identity(stack, "eu") == ("eu", generation + 1, "settled")
    assert stack.database("eu").value("SELECT id_base FROM id_ranges WHERE region = 'eu'") == base
    check_whole(stack, requests)
    vector = write(stack, "eu", records[0])[1]
    assert vector[f"eu.{generation + 1}"] == 1
    stack.check_consistent()


def test_a_restored_region_goes_on_counting_under_a_new_key(stack, tmp_path):
    record, other = stack.new_record("eu"), stack.new_record("us")
    write(stack, "eu", record)
    stack.settle()
    generation = identity(stack, "eu")[1]
    stack.plistd["eu"].stop()
    snapshot(stack, "eu", tmp_path / "data")
    stack.plistd["eu"].start()
    stack.plistd["eu"].wait_ready()
    assert identity(stack, "eu")[1] == generation  # a restarted server has lost nothing
    lost = [write(stack, "eu", record)[0] for _ in range(3)] + [write(stack, "us", other)[0]]
    stack.settle()
    stack.plistd["eu"].stop()
    restore(stack, "eu", tmp_path / "data")
    stack.plistd["eu"].start()
    stack.plistd["eu"].wait_ready()
    assert identity(stack, "eu") == ("eu", generation + 1, "settled")
    check_whole(stack, lost)
    before = stack.database("us").property(record)["vector"]
    vector = write(stack, "eu", record)[1]
    assert vector == before | {f"eu.{generation + 1}": 1}
    check_whole(stack, lost)


def test_a_database_restored_beneath_a_running_daemon_is_noticed(stack, tmp_path):
    record = stack.new_record("eu")
    stack.settle()
    generation = identity(stack, "eu")[1]
    snapshot(stack, "eu", tmp_path / "data")
    stack.plistd["eu"].wait_ready()
    lost = [write(stack, "eu", record)[0] for _ in range(2)]
    stack.settle()
    restore(stack, "eu", tmp_path / "data")
    wait_until("eu counts under a new key", lambda: identity(stack, "eu")[1] == generation + 1)
    stack.plistd["eu"].wait_ready()
    check_whole(stack, lost)


@pytest.mark.needs_kafka
@pytest.mark.parametrize("broker", ["keeps_its_disk", "loses_its_disk"])
def test_a_database_restored_from_a_backup_gets_back_what_was_written_since(stack, broker):
    """This includes the region's own writes, which the other regions know and whose dots must not be assigned twice. It also
    works if the backup's positions refer to topics that no longer exist."""
    us, eu = stack.client("us"), stack.client("eu")
    database = stack.postgres["us"]
    # Every partition of the old topic is made longer than the new one will be: a position
    # that the new topic reaches at once cannot be recognised as an old one.
    for _ in range(160):
        stack.new_record(everywhere=False)
    records = [stack.new_record() for _ in range(6)]
    stack.settle()
    database.stop()
    subprocess.run(["cp", "-a", database.data, database.folder / "backup"], check=True)
    database.start()
    if broker == "loses_its_disk":
        stack.broker.lose_disk()
    stack.wait_ready()
    request_id = new_id()
    for record in records[:4]:
        assert us.put(record, price=Decimal("2.00"), version=1).status == 200
    assert us.put(records[4], price=Decimal("2.00"), version=1, request_id=request_id).status == 200
    created = stack.new_record("us")
    stack.wait_version("eu", records[0], 2)
    assert eu.put(records[0], price=Decimal("3.00"), version=2).status == 200
    stack.settle()
    database.stop()
    shutil.rmtree(database.data)
    (database.folder / "backup").rename(database.data)
    database.start()
    wait_until("us has noticed", lambda: not stack.plistd["us"].status()["ready"])
    stack.plistd["us"].wait_ready(90)
    stack.wait_version("us", records[0], 3)
    stack.wait_version("us", created, 1)
    stack.check_consistent()
    assert us.put(records[4], price=Decimal("2.00"), version=1, request_id=request_id).status == 422
    for record in records[1:]:
        assert us.put(record, price=Decimal("4.00"), version=us.read(record).json["version"]).status == 200
    stack.check_consistent()
    assert stack.database("eu").property(records[1])["price"] == Decimal("4.00")


@pytest.mark.parametrize("clock", ["a right", "a wrong"])
def test_a_gap_that_nobody_keeps_is_closed_without_operator_action(stack, clock):
    """The region was down for longer than the outbox and Kafka keep events, and had a right or a wrong clock until then."""
    us, eu = stack.database("us"), stack.database("eu")
    records = [stack.new_record("us") for _ in range(4)]
    stack.settle()
    wait_until("the outbox is empty", lambda: us.value("SELECT count(*) FROM outbox") == 0)
    stack.plistd["eu"].stop()
    if clock == "a wrong":
        assert eu.execute("UPDATE applied_sequences SET applied_at = applied_at + interval '1 day' WHERE origin = 'us'")
    requests = [write(stack, "us", record)[0] for record in records]
    wait_until("Kafka has everything", lambda: us.outbox() == 0)
    eight_days_ago = "UPDATE region_heartbeats SET heard_at = now() - interval '8 days' WHERE region = 'eu'"

    def nothing_is_kept():
        us.execute(eight_days_ago)  # a heartbeat that was sent before the stop may be written after it
        return us.value("SELECT count(*) FROM outbox") == 0
    wait_until("us no longer keeps anything for eu", nothing_is_kept)
    stack.broker.delete_topic("property-updates")
    stack.plistd["eu"].start()
    wait_until("eu has asked", lambda: eu.value("SELECT count(*) FROM plist.asks WHERE purpose = 'gap'"))
    check_whole(stack, requests)
    wait_until("the gap is closed", lambda: eu.value("SELECT count(*) FROM plist.asks WHERE done_at IS NULL") == 0)
    stack.plistd["eu"].wait_ready()
    wait_until("status is green", lambda: stack.admin("status"))


def test_a_database_of_another_region_is_refused_with_the_reason(stack):
    daemon = stack.second_daemon("eu")
    stack.write_config(lambda c: c["regions"]["eu"].update(database=stack.postgres["us"].url.replace("127.0.0.1", "localhost")))
    try:
        daemon.launch()
        daemon.wait_up()
        reason = wait_until("it says why", lambda: daemon.log_contains("this database belongs to region us"))
        assert reason
        answer = daemon.client.get("/ready")
        assert answer.status == 503
        assert daemon.client.post(price=Decimal("1.00")).headers["x-plist-executed"] == "no"
        # It neither publishes for us nor takes events of eu, which it would hold for its
        # own, from us.
        assert daemon.metrics()["plist_relay_leader"] == 0
        members = "SELECT count(*) FROM plist.apply_members"
        wait_until("only the daemon of us takes partitions", lambda: stack.database("us").value(members) == 1)
        for _ in range(16):
            stack.new_record("eu")
        stack.check_consistent()
        assert stack.database("us").value("SELECT count(*) FROM dead_letters") == 0
    finally:
        daemon.stop()
        stack.write_config()


@pytest.mark.parametrize("table", ["identity", "outbox_sequence"])
def test_a_deleted_row_that_says_what_the_database_is_is_named_and_made_again_under_a_new_key(stack, table):
    record = stack.new_record("us")
    request = write(stack, "eu", record)[0]
    stack.settle()
    database, generation = stack.database("eu"), identity(stack, "eu")[1]
    following = database.value("SELECT next FROM plist.outbox_sequence")
    database.execute(f"DELETE FROM plist.{table}")
    stack.plistd["eu"].wait_unready(f"the row of plist.{table} is missing")
    wait_until("eu is whole under a new key", lambda: database.rows("SELECT FROM plist.identity WHERE state = 'settled' AND generation > %s", generation))
    stack.plistd["eu"].wait_ready()
    assert database.value("SELECT next FROM plist.outbox_sequence") >= following
    check_whole(stack, [request])
    vector = write(stack, "eu", record)[1]
    assert vector[f"eu.{identity(stack, 'eu')[1]}"] == 1
    stack.check_consistent()


def test_deleted_rows_with_which_nothing_is_lost_are_made_again(stack):
    database = stack.database("eu")
    base = wait_until("eu has a range of ids", lambda: database.value("SELECT id_base FROM id_ranges WHERE region = 'eu'"))
    generation = identity(stack, "eu")[1]
    database.execute("DELETE FROM plist.plist_leaders")
    wait_until("the leaders' rows are there again", lambda: database.value("SELECT count(*) FROM plist.plist_leaders") == 2)
    database.execute("DELETE FROM plist.id_ranges")  # where the ids begin has been seen at the latest by the same look
    wait_until("eu's range is there again", lambda: database.value("SELECT id_base FROM id_ranges WHERE region = 'eu'") == base)
    created = stack.client("eu").post(price=Decimal("1.00"))
    assert created.status == 201 and base < created.json["id"] < base + 10**12
    assert identity(stack, "eu") == ("eu", generation, "settled")


def test_rows_are_not_made_in_a_table_that_a_dump_is_just_restoring(stack):
    """The rows of a dump come before the keys: one that is made meanwhile would be there twice."""
    database = stack.database("eu")
    looks = "SELECT max(query_start) FROM pg_stat_activity WHERE application_name = 'plistd eu heal' AND pid <> pg_backend_pid()"
    leaders = database.rows("SELECT name, pid, backend_start, since FROM plist.plist_leaders")
    database.execute("ALTER TABLE plist.plist_leaders DROP CONSTRAINT plist_leaders_pkey; DELETE FROM plist.plist_leaders")
    for _ in range(3):
        last = database.value(looks)
        wait_until("the healing thread has looked again", lambda: database.value(looks) > last)
    assert database.value("SELECT count(*) FROM plist.plist_leaders") == 0
    for leader in leaders:
        database.execute("INSERT INTO plist.plist_leaders (name, pid, backend_start, since) VALUES (%s, %s, %s, %s)", *leader)
    database.execute("ALTER TABLE plist.plist_leaders ADD CONSTRAINT plist_leaders_pkey PRIMARY KEY (name)")
    stack.wait_green()


class Copy:
    """A copy of eu's database on the same server, and a daemon of eu whose YAML names it."""

    def __init__(self, stack):
        self.stack, self.server = stack, stack.postgres["eu"]
        self.url = f"postgresql://plist@127.0.0.1:{self.server.port}/copy"
        self.daemon = stack.second_daemon("eu")

    def __enter__(self):
        dump = subprocess.run(["pg_dump", "-d", self.server.superuser_url], check=True, capture_output=True).stdout
        superuser(self.server, "CREATE DATABASE copy OWNER plist")
        subprocess.run(["psql", "-q", "-d", f"postgresql://postgres@127.0.0.1:{self.server.port}/copy"], input=dump, check=True,
                       capture_output=True, env=os.environ)
        # On another server, none of these would exist.
        self.rows("UPDATE plist.plist_leaders SET pid = 0; DELETE FROM plist.apply_members; DELETE FROM plist.partition_claims")
        return self

    def refused(self):
        return "is served by another database" in self.daemon.operators.get("/ready").text

    def __exit__(self, *_):
        self.daemon.stop()
        self.stack.write_config()
        superuser(self.server, "DROP DATABASE copy WITH (FORCE)")

    def launch(self):
        self.stack.write_config(self.is_named_by)
        self.daemon.launch()
        self.daemon.wait_up()

    def is_named_by(self, config):
        config["regions"]["eu"].update(database=self.url)

    @contextlib.contextmanager
    def configured(self):
        self.stack.write_config(self.is_named_by)
        try:
            yield
        finally:
            self.stack.write_config()

    def rows(self, sql, *arguments):
        connection = psycopg2.connect(self.url)
        connection.autocommit = True
        try:
            cursor = connection.cursor()
            cursor.execute(sql, arguments)
            return cursor.fetchall() if cursor.description else None
        finally:
            connection.close()


UNPUBLISHED = ("INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, status, expires_at) VALUES "
               "('properties', %s, 'eu', '{\"id\":%s,\"price\":1.00,\"bedrooms\":null,\"bathrooms\":null,\"region_origin\":\"eu\","
               "\"version\":7,\"updated_at\":\"2026-02-21T10:00:00.000000Z\"}', '{\"eu\": 7}', 'of-the-copy', sha256(''), 200, "
               "now() + interval '1 day')")
WRITTEN = ("SELECT (SELECT count(*) FROM properties), (SELECT max(id) FROM properties), (SELECT count(*) FROM processed_requests), "
           "(SELECT count(*) FROM outbox), (SELECT count(*) FROM outbox_marks), (SELECT max(next) FROM plist.outbox_sequence), "
           "(SELECT count(*) FROM plist.apply_members), (SELECT count(*) FROM partition_claims), (SELECT sum(next_offset) FROM "
           "applied_positions), (SELECT sum(seq) FROM applied_sequences), (SELECT count(*) FROM conflicts)")


def place(stack):
    """Of the database that us takes for that of eu: what eu's last heartbeat said."""
    return stack.database("us").value("SELECT word -> 'identity' ->> 'place' FROM region_heartbeats WHERE region = 'eu'")


def check_harmless(stack, copy, ghost):
    """While the copy is refused: nothing of it arrives, nothing arrives there, and the region goes on."""
    right = stack.database("eu").value("SELECT md5(plist.plist_place())")
    wait_until("the right database speaks for eu", lambda: place(stack) == right)
    before = copy.rows(WRITTEN)
    beats = stack.database("us").value("SELECT sent_at FROM region_heartbeats WHERE region = 'eu'")
    requests = [write(stack, region, stack.new_record(region))[0] for region in ("us", "eu") for _ in range(4)]
    us = stack.database("us")

    def some_heartbeats_later():
        assert place(stack) == right
        return us.value("SELECT sent_at > %s + interval '3 seconds' FROM region_heartbeats WHERE region = 'eu'", beats)
    wait_until("eu was heard for a while", some_heartbeats_later)
    assert copy.daemon.metrics()["plist_relay_leader"] == 0
    assert copy.rows(WRITTEN) == before
    for database in stack.databases.values():
        assert not database.remembered("of-the-copy")
        assert database.value("SELECT count(*) FROM properties WHERE id = %s", ghost) == 0
    stack.settle()
    check_whole(stack, requests)
    assert stack.client("eu").get("/ready").status == 200


def test_a_copy_of_a_region_s_database_publishes_nothing_and_applies_nothing(stack):
    """A clone or a restored backup that still says that it is eu's, while eu runs."""
    stack.settle()
    key = identity(stack, "eu")
    with Copy(stack) as copy:
        ghost = 900_000_000 + next(stack._ids)
        copy.rows(UNPUBLISHED, ghost, ghost)
        copy.launch()
        wait_until("it says why", copy.refused)
        assert copy.daemon.client.get("/ready").status == 503
        assert copy.daemon.client.post(price=Decimal("1.00")).headers["x-plist-executed"] == "no"
        assert copy.rows("SELECT count(*) FROM plist.apply_members") == [(0,)]
        check_harmless(stack, copy, ghost)
        incarnation = stack.database("eu").value("SELECT incarnation FROM plist.identity")
        for text in (copy.daemon.operators.get("/ready").text, copy.daemon.log_text()):
            assert f"another database (incarnation {incarnation})" in text
            assert f"this one is database copy at 127.0.0.1, port {copy.server.port}" in text
        listed = stack.admin("region", "list", "--region", "eu", check=False).stdout
        assert "refused" in listed
        stack.write_config()
        assert "speaks for the region, too" in stack.admin("status", check=False).stderr
        assert stack.plistd["eu"].metrics()["plist_region_other_databases"] == 1
    assert identity(stack, "eu") == key
    stack.wait_green()


def test_of_two_databases_of_a_region_that_were_both_accepted_one_is_refused(stack):
    """Kafka was unreachable when the second one was accepted, or an operator said --alone."""
    stack.settle()
    with Copy(stack) as copy:
        ghost = 900_000_000 + next(stack._ids)
        copy.rows("UPDATE plist.identity SET place = plist.plist_place(), generation = 0, run = plist.plist_run()")
        copy.launch()
        wait_until("it is refused", copy.refused)  # perhaps before it has published anything
        wait_until("its sessions have asked again", lambda: copy.daemon.metrics()["plist_relay_leader"] == 0)
        copy.rows(UNPUBLISHED, ghost, ghost)
        check_harmless(stack, copy, ghost)


def test_a_refused_copy_does_not_take_over_while_the_right_daemon_is_restarted(stack):
    """Once the operator has decided for it, its own daemon is started again."""
    stack.settle()
    with Copy(stack) as copy:
        copy.launch()
        wait_until("it says why", copy.refused)
        stack.write_config()
        stack.plistd["eu"].stop()
        gone = copy.rows("SELECT max(heard_at) FROM plist.heard_databases WHERE region = 'eu' AND state <> 'new'")[0][0]
        wait_until("it has been silent for long", lambda: copy.rows("SELECT now() > %s + interval '8 seconds'", gone)[0][0])
        assert copy.daemon.client.get("/ready").status == 503
        assert copy.rows("SELECT generation FROM plist.identity") == [(identity(stack, "eu")[1],)]
        stack.plistd["eu"].start()
        wait_until("the region serves again", lambda: stack.client("eu").get("/ready").status == 200)


def test_a_copy_that_is_started_while_the_right_database_is_silent_waits_until_the_operator_decides(stack):
    """The right daemon is just being restarted, or its PostgreSQL is: nobody answers the copy, but us remembers."""
    stack.settle()
    generation = identity(stack, "eu")[1]
    with Copy(stack) as copy:
        stack.plistd["eu"].stop()
        copy.launch()
        wait_until("it says what it waits for", lambda: "plist-admin region accept eu" in copy.daemon.operators.get("/ready").text)
        silent = copy.rows("SELECT now()")[0][0]
        wait_until("it would have listened for long enough", lambda: copy.rows("SELECT now() > %s + interval '8 seconds'", silent)[0][0])
        assert copy.daemon.client.post(price=Decimal("1.00")).headers["x-plist-executed"] == "no"
        assert copy.rows("SELECT generation FROM plist.identity") == [(generation,)]
        assert "plist-admin region accept eu" in stack.admin("status", check=False).stderr
        stack.write_config()
        stack.plistd["eu"].start()
        stack.plistd["eu"].wait_ready()  # as if there were no copy
        wait_until("it is refused", copy.refused)
        incarnation = stack.database("eu").value("SELECT incarnation FROM plist.identity")
        with copy.configured():
            assert incarnation in stack.admin("region", "accept", "eu", check=False).stderr  # it lives
            stack.plistd["eu"].stop()
            wait_until("the operator decides for the copy", lambda: stack.admin("region", "accept", "eu", check=False).returncode == 0)
        wait_until("it has taken over", lambda: copy.rows("SELECT generation, state FROM plist.identity") == [(generation + 1, "settled")])
        copy.daemon.stop()
        stack.write_config()
        stack.plistd["eu"].start()  # at another address than the copy, which is gone for good
        wait_until("it waits", lambda: "plist-admin region accept eu" in stack.plistd["eu"].operators.get("/ready").text)
        wait_until("the operator decides", lambda: stack.admin("region", "accept", "eu", check=False).returncode == 0)
        stack.plistd["eu"].wait_ready()
    check_whole(stack, [write(stack, "eu", stack.new_record("us"))[0]])
