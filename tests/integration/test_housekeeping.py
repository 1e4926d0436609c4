"""What housekeeping removes and what it keeps."""

import contextlib

import pytest

from support.client import new_id
from support.process import wait_until


@pytest.fixture
def database(stack):
    stack.reload_policy(lambda config: config.update(
        housekeeping={"expire_every": "100ms", "expire_batch": 50}, conflicts={"retention": "30d"}))
    return stack.database("us")


def remember(database, request_id, expires, record_id=1):
    database.execute(
        "INSERT INTO processed_requests (request_id, fingerprint, resource, record_id, status, vector, dots, expires_at) "
        "VALUES (%s, sha256(''), 'properties', %s, 200, '{}', '{}', now() + %s::interval)", request_id, record_id, expires)


def conflict(database, record_id, age):
    database.execute(
        "INSERT INTO conflicts (resource, record_id, type, detected_at, policy_name, policy_sha256, siblings, verdict, visible, vector) "
        "VALUES ('properties', %s, 'update_origin_differs', now() - %s::interval, 'p', 's', '[]', '{}', '{}', '{}')", record_id, age)


def partitions(database):
    return {row[0] for row in database.rows(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'conflicts'::regclass")}


def test_expired_requests_are_forgotten_and_others_are_not(database):
    tag = new_id()
    for n in range(120):
        remember(database, f"{tag}-old-{n}", "-1 second")
    remember(database, f"{tag}-new", "1 hour")
    wait_until("the expired ones are gone",
               lambda: database.value("SELECT count(*) FROM processed_requests WHERE request_id LIKE %s", f"{tag}-%") == 1)
    assert database.remembered(f"{tag}-new")


def test_a_request_is_forgotten_when_it_has_expired_by_the_clock_of_every_region_that_is_heard(database):
    """What a region with a wrong clock forgot too early, a retry there would execute again."""
    tag = new_id()
    database.execute("INSERT INTO region_heartbeats (region, sent_at, heard_at, outbox_events) "
                     "VALUES ('late', now() - interval '1 day', now() + interval '20 seconds', 0)")
    try:
        remember(database, f"{tag}-hour", "-1 hour")
        remember(database, f"{tag}-days", "-2 days")
        wait_until("that of two days ago is forgotten", lambda: database.remembered(f"{tag}-days") is None)
        assert database.remembered(f"{tag}-hour")
    finally:
        database.execute("DELETE FROM region_heartbeats WHERE region = 'late'")
    wait_until("the other is forgotten, too", lambda: database.remembered(f"{tag}-hour") is None)


def test_requests_of_concurrent_writes_are_remembered_while_their_siblings_exist(database):
    """They identify twins; without them a later read would show another row."""
    tag = new_id()
    database.execute("INSERT INTO record_siblings (resource, record_id, origin, counter, vector, updated_at, fields) "
                     "VALUES ('properties', 900000001, 'us', 1, '{\"us\": 1}', now(), '{}')")
    remember(database, f"{tag}-twin", "-1 second", 900_000_001)
    remember(database, f"{tag}-other", "-1 second", 900_000_002)
    wait_until("the other is forgotten", lambda: database.remembered(f"{tag}-other") is None)
    assert database.remembered(f"{tag}-twin")
    database.execute("DELETE FROM record_siblings WHERE record_id = 900000001")
    wait_until("it is forgotten, too", lambda: database.remembered(f"{tag}-twin") is None)


def test_an_expired_id_may_be_used_again(database, stack, us):
    request_id = new_id()
    with stack.reading("us", 2):
        record = stack.new_record("us", everywhere=False)
        assert us.put(record, request_id=request_id, price=5, version=1).status == 200
        assert us.put(record, request_id=request_id, price=5, version=1).status == 422
    database.execute("UPDATE processed_requests SET expires_at = now() - interval '1 second' WHERE request_id = %s", request_id)
    wait_until("it is forgotten", lambda: database.remembered(request_id) is None)
    assert us.put(record, request_id=request_id, price=5, version=2).status == 200


def test_there_is_a_partition_for_this_month_and_the_next(database):
    wanted = set(database.rows("SELECT to_char(now() AT TIME ZONE 'UTC', '\"conflicts_\"YYYY_MM'), "
                               "to_char((now() AT TIME ZONE 'UTC') + interval '1 month', '\"conflicts_\"YYYY_MM')")[0])
    wait_until("both are there", lambda: wanted <= partitions(database))


def test_conflicts_past_their_retention_are_deleted_and_their_months_dropped(database, stack):
    old = database.rows("SELECT to_char(month, '\"conflicts_\"YYYY_MM'), month::text, (month + interval '1 month')::text FROM "
                        "date_trunc('month', (now() AT TIME ZONE 'UTC') - interval '100 days') month")[0]
    database.execute(f"CREATE TABLE {old[0]} PARTITION OF conflicts FOR VALUES FROM ('{old[1]}+00') TO ('{old[2]}+00')")
    conflict(database, 991, "100 days")
    conflict(database, 992, "31 days")
    conflict(database, 993, "29 days")
    stack.plistd["us"].reload()  # the daily check is due at once after a reload
    wait_until("the month is dropped", lambda: old[0] not in partitions(database))
    wait_until("the old one is deleted", lambda: not database.conflicts(992))
    assert not database.conflicts(991)
    assert len(database.conflicts(993)) == 1


def test_dead_letters_past_their_retention_are_deleted(database, stack):
    for days, offset in ((29, 1), (31, 2)):
        database.execute("INSERT INTO dead_letters (topic, partition, kafka_offset, error, received_at) "
                         "VALUES ('retention', 0, %s, 'test', now() - %s * interval '1 day')", offset, days)
    stack.plistd["us"].reload()  # the hourly part of a round is due at once after a reload
    wait_until("the older one is gone", lambda: database.rows("SELECT kafka_offset FROM dead_letters WHERE topic = 'retention'") == [(1,)])


def test_conflicts_that_came_before_their_partition_are_moved_into_it(database, stack):
    month = database.value("SELECT to_char(now() AT TIME ZONE 'UTC', '\"conflicts_\"YYYY_MM')")
    wait_until("it is there", lambda: month in partitions(database))
    database.execute(f"ALTER TABLE conflicts DETACH PARTITION {month}")
    database.execute(f"DROP TABLE {month}")
    conflict(database, 994, "0 seconds")
    stack.plistd["us"].reload()
    wait_until("the partition is there again, with the row",
               lambda: month in partitions(database)
               and database.value("SELECT tableoid::regclass::text FROM conflicts WHERE record_id = 994") == month)


def test_housekeeping_goes_on_after_the_database_was_down(database, stack):
    stack.postgres["us"].restart()
    tag = new_id()
    wait_until("the database is back", lambda: database.value("SELECT 1") == 1)
    remember(database, tag, "-1 second")
    wait_until("it is forgotten", lambda: database.remembered(tag) is None)


def test_what_another_session_has_locked_holds_up_no_other_task(database):
    """Values of new fields cannot be moved to the columns of a locked table, which is the first thing that is tried."""
    tag = new_id()
    holder = database.connect()
    try:
        with holder.cursor() as cursor:
            cursor.execute("LOCK TABLE properties")
            remember(database, f"{tag}-old", "-1 second")
            wait_until("the request is forgotten", lambda: database.remembered(f"{tag}-old") is None)
    finally:
        holder.close()


def test_closed_pairs_of_twins_are_forgotten_with_their_requests_and_conflicts(database, stack):
    tag = new_id()
    for n, age in ((1, "31 days"), (2, "31 days"), (3, "1 day")):
        database.execute(
            "INSERT INTO created_twice_closed (resource, record_id, origin, kept_id, kept_origin, request_id, principal, closed_at) "
            "VALUES ('properties', %s, 'us', 1, 'eu', %s, '', now() - %s::interval)", 900_000_100 + n, f"{tag}-{n}", age)
    remember(database, f"{tag}-2", "1 hour")
    kept = "SELECT array_agg(record_id - 900000100 ORDER BY record_id) FROM created_twice_closed WHERE request_id LIKE %s"
    stack.reload_policy(lambda config: config.update(  # it is done after a reload, and then once an hour
        housekeeping={"expire_every": "150ms", "expire_batch": 50}, conflicts={"retention": "30d"}))
    wait_until("the first one is gone", lambda: database.value(kept, f"{tag}-%") == [2, 3])
    database.execute("DELETE FROM created_twice_closed")


# ---- values that are not in their columns

@contextlib.contextmanager
def refused(database, record):
    database.execute(f"ALTER TABLE properties ADD CONSTRAINT guard CHECK (id <> {record} OR bedrooms IS NULL) NOT VALID")
    try:
        yield "violates check constraint"
    finally:
        database.execute("ALTER TABLE properties DROP CONSTRAINT guard")


def skip_if(database, condition):
    database.execute(f"CREATE OR REPLACE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF {condition} THEN RETURN NULL; END IF; "
                     "RETURN NEW; END'")


@contextlib.contextmanager
def skipped(database, record):
    skip_if(database, f"NEW.id = {record} AND NEW.bedrooms IS NOT NULL")
    database.execute("CREATE TRIGGER guard BEFORE UPDATE ON properties FOR EACH ROW EXECUTE FUNCTION guard()")
    try:
        yield "a trigger skips the change"
    finally:
        database.execute("DROP FUNCTION guard CASCADE")


@contextlib.contextmanager
def unfit(database, record):
    """A value of another type, which a daemon of another configuration has left there."""
    put_aside(database, '"three"', [record])
    try:
        yield "does not fit the type"
    finally:
        put_aside(database, "3", [record])


def put_aside(database, value, records):
    """As if a daemon that does not know the field had applied their events."""
    database.execute("UPDATE properties SET unknown_fields = jsonb_build_object('bedrooms', %s::jsonb) WHERE id = ANY(%s)", value, records)


def bedrooms(database, records):
    return [row[0] for row in database.rows("SELECT bedrooms FROM properties WHERE id = ANY(%s) ORDER BY id", records)]


@pytest.fixture
def records(database, stack):
    """Three records, which are in the end what they were in the other region, too."""
    made = [stack.new_record() for _ in range(3)]
    yield made
    database.execute("UPDATE properties SET bedrooms = NULL, unknown_fields = NULL WHERE id = ANY(%s)", made)


@pytest.mark.parametrize("hindrance", [refused, skipped, unfit])
def test_a_row_whose_value_cannot_be_moved_to_its_column_holds_up_no_other_and_is_shown(database, stack, us, records, hindrance):
    before, record, after = records
    daemon = stack.plistd["us"]
    stack.forget_losses()  # asking for status would start it again below, and it would not have counted yet
    mark = daemon.log_mark()
    with hindrance(database, record) as reason:
        put_aside(database, "3", records if hindrance != unfit else [before, after])
        wait_until("the others are moved", lambda: bedrooms(database, records) == [3, None, 3])
        wait_until("it is counted", lambda: daemon.metrics()["plist_housekeeping_fields_left"] == 1)
        wait_until("the log names it", lambda: f"of the record {record}: " in daemon.log_text(mark) and reason in daemon.log_text(mark))
        if hindrance != unfit:
            assert us.read(record).json["bedrooms"] == 3, "clients see it"
        said = stack.admin("status", check=False)
        assert said.returncode == 1 and "cannot move values from unknown_fields" in said.stderr, said.stderr
    wait_until("it is moved once nothing hinders it", lambda: bedrooms(database, records) == [3, 3, 3])
    wait_until("none is counted", lambda: daemon.metrics()["plist_housekeeping_fields_left"] == 0)


def test_a_locked_row_whose_value_cannot_be_moved_to_its_column_holds_up_no_other(database, records):
    before, record, after = records
    with skipped(database, record), contextlib.closing(database.connect()) as holder:
        put_aside(database, "3", [record])
        with holder.cursor() as cursor:
            cursor.execute("SELECT FROM properties WHERE id = %s FOR UPDATE", (record,))
            skip_if(database, "false")
            put_aside(database, "3", [before, after])
            wait_until("the others are moved", lambda: bedrooms(database, records) == [3, None, 3])
        holder.rollback()
        wait_until("it is moved when it is free", lambda: bedrooms(database, records) == [3, 3, 3])


def test_many_rows_whose_values_cannot_be_moved_hold_up_no_other(database, stack):
    record = stack.new_record()
    columns = "price, region_origin, vector, unknown_fields"
    database.execute("ALTER TABLE properties ADD CONSTRAINT guard CHECK (bedrooms <> 77) NOT VALID")
    try:
        database.execute(f"INSERT INTO properties (id, {columns}) SELECT 2000000000 + n, price, region_origin, vector, '{{\"bedrooms\": 77}}' "
                         "FROM properties, generate_series(1, 600) AS n WHERE id = %s", record)
        database.execute(f"INSERT INTO properties (id, {columns}) SELECT 2000001000, price, region_origin, vector, '{{\"bedrooms\": 3}}' "
                         "FROM properties WHERE id = %s", record)
        wait_until("the last one is moved", lambda: bedrooms(database, [2000001000]) == [3])
        wait_until("the others are counted", lambda: stack.plistd["us"].metrics()["plist_housekeeping_fields_left"] == 600)
    finally:
        database.execute("DELETE FROM properties WHERE id BETWEEN 2000000001 AND 2000001000; ALTER TABLE properties DROP CONSTRAINT guard")


def test_values_of_a_retired_field_go_when_its_column_is_dropped_and_others_stay(database, stack):
    """Otherwise they would come back with another field of that name, in some regions."""
    record = stack.new_record()
    database.execute("INSERT INTO resource_fields (resource, name, type, retired) VALUES ('properties', 'cellar', 'integer', true), "
                     "('properties', 'attic', 'integer', false)")
    try:
        database.execute("UPDATE properties SET unknown_fields = '{\"cellar\": 1, \"attic\": 2, \"loft\": 3}' WHERE id = %s", record)
        wait_until("the value is gone", lambda: database.value("SELECT unknown_fields FROM properties WHERE id = %s", record) == {"attic": 2, "loft": 3})
    finally:
        database.execute("DELETE FROM resource_fields WHERE name IN ('cellar', 'attic')")
        database.execute("UPDATE properties SET unknown_fields = NULL WHERE id = %s", record)
