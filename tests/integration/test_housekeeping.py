"""What housekeeping removes and what it keeps."""

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
