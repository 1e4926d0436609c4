"""A database of an earlier release is migrated to the schema plist: no data is lost and all names are the new ones."""

import pathlib
import re
import shutil

import psycopg2
import pytest

from support import places
from support.database import Database
from support.quiet import ask, data, empty, quiet  # noqa: F401 - fixtures

SCHEMA_FILE = next(pathlib.Path(places.source() / "sql").glob("*_schema_plist.sql"))
HASH = "decode(repeat('ab', 32), 'hex')"
FILL = f"""
INSERT INTO properties (id, price, region_origin, version, vector, siblings) VALUES
    (7, 100.00, 'us', 2, '{{"us":1,"eu":1}}', true), (8, 200.00, 'us', 1, '{{"us":1}}', false);
INSERT INTO processed_requests (request_id, fingerprint, resource, record_id, status, vector, dots, expires_at)
    VALUES ('kept', {HASH}, 'properties', 7, 200, '{{"us":1}}', '{{"us":1}}', now() + interval '1 day');
INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, status, expires_at)
    VALUES ('properties', 8, 'us', '{{}}', '{{"us":1}}', 'kept', {HASH}, 201, now() + interval '1 day');
INSERT INTO record_siblings (resource, record_id, origin, counter, vector, updated_at, fields)
    VALUES ('properties', 7, 'us', 1, '{{"us":1}}', now(), '{{}}'), ('properties', 7, 'eu', 1, '{{"eu":1}}', now(), '{{}}');
CREATE TABLE conflicts_2026_01 PARTITION OF conflicts FOR VALUES FROM ('2026-01-01 00:00:00+00') TO ('2026-02-01 00:00:00+00');
INSERT INTO conflicts (resource, record_id, type, detected_at, policy_name, policy_sha256, siblings, verdict, visible, vector, topic, partition, "offset")
    VALUES ('properties', 7, 'update_origin_differs', '2026-01-15', 'p', 'h', '[]', '{{"take":1}}', '{{}}', '{{"us":1}}', 't', 0, 41),
           ('properties', 7, 'update_origin_differs', now(), 'p', 'h', '[]', '{{"take":1}}', '{{}}', '{{"us":1}}', 't', 0, 42);
INSERT INTO dead_letters (topic, partition, "offset", error) VALUES ('t', 0, 43, 'unreadable');
INSERT INTO applied_positions (topic, partition, next_offset) VALUES ('t', 0, 44);
INSERT INTO region_heartbeats (region, sent_at) VALUES ('eu', now());
INSERT INTO restorations (conflict_id, resource, record_id, taken, request_id, restored_by, reason)
    VALUES (1, 'properties', 7, '{{}}', 'kept', 'somebody', 'because');
"""
TABLES = ("processed_requests", "outbox", "record_siblings", "conflicts", "dead_letters", "applied_positions", "region_heartbeats", "restorations")


@pytest.fixture
def old(empty, tmp_path):  # noqa: F811
    """A database of us from before the schema plist, with a row in every table; and a configuration for plist-admin."""
    shutil.copytree(places.source() / "lua", tmp_path / "before" / "lua")
    (tmp_path / "before" / "sql").mkdir()
    for file in (places.source() / "sql").glob("*.sql"):
        if file.name < SCHEMA_FILE.name:
            shutil.copy(file, tmp_path / "before" / "sql")
    url = empty.database("us").url
    maintenance = Database(re.sub("//[^@]+@", "//postgres@", url))  # plist's own role may not create databases
    maintenance.execute("CREATE DATABASE before_schema OWNER plist")
    database = Database(re.sub(r"/plist$", "/before_schema", url))

    def use(lua):
        def change(config):
            config["regions"]["us"]["database"] = database.url
            config["lua"]["path"] = str(lua)
        empty.write_config(change)

    use(tmp_path / "before" / "lua")
    ask(empty, "migrate", "--region", "us")
    connection = database.connect()
    with connection, connection.cursor() as cursor:
        cursor.execute(FILL)
    connection.close()
    use(places.source() / "lua")
    yield database
    database.close()
    maintenance.execute("DROP DATABASE before_schema WITH (FORCE)")
    maintenance.close()


def count(database, names):
    return {name: database.value(f"SELECT count(*) FROM {name}") for name in names}


def test_all_rows_are_there_afterwards_and_each_file_is_applied_once(empty, old):  # noqa: F811
    before = count(old, TABLES)
    assert all(before.values())
    applied = ask(empty, "migrate", "--region", "us").stderr
    assert SCHEMA_FILE.name in applied and "001_plist.sql" not in applied
    old.close()  # a new session has the database's search_path
    assert count(old, TABLES) == before
    assert list(count(old, [f"plist.{name}" for name in TABLES]).values()) == list(before.values())
    assert old.value("SELECT count(*) FROM ONLY plist.conflicts_2026_01") == 1
    assert "applied" not in ask(empty, "migrate", "--region", "us").stderr
    states = {row["state"] for row in data(empty, "migrate", "--status", "--region", "us")["migrations"]}
    assert states == {"applied"}


def test_plists_tables_are_in_the_schema_and_the_records_stay_where_they_were(empty, old):  # noqa: F811
    ask(empty, "migrate", "--region", "us")
    old.close()
    places_of = dict(old.rows("SELECT relname, relnamespace::regnamespace::text FROM pg_class WHERE relkind IN ('r', 'p') "
                              "AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)"))
    assert {name for name, schema in places_of.items() if schema == "public"} == {"properties"}
    assert set(TABLES) | {"migrations", "conflicts_default", "conflicts_2026_01"} <= {name for name, schema in places_of.items() if schema == "plist"}
    # Tables that people create by hand do not land among plist's, although the role is
    # called plist.
    assert old.value("SELECT current_schema()") == "public"


def test_columns_have_the_names_and_types_that_they_should_have(empty, old):  # noqa: F811
    ask(empty, "migrate", "--region", "us")
    old.close()
    assert old.rows("SELECT id, has_siblings FROM properties ORDER BY id") == [(7, True), (8, False)]
    assert old.rows("SELECT kafka_offset FROM conflicts ORDER BY 1") == [(41,), (42,)]
    assert old.value("SELECT kafka_offset FROM dead_letters") == 43
    assert old.rows("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'plist' AND data_type = 'character varying'") == []
    assert old.value("SELECT collation_name FROM information_schema.columns WHERE table_schema = 'plist' AND table_name = 'processed_requests' "
                     "AND column_name = 'request_id'") == "C"
    old.rows("SELECT plist_replace_siblings('properties', 7)")
    assert old.value("SELECT count(*) FROM record_siblings") == 0
    assert old.value("SELECT count(*) FROM conflicts WHERE closed_at IS NULL") == 0


@pytest.mark.parametrize("statement", [
    "UPDATE processed_requests SET status = 500",
    "UPDATE processed_requests SET fingerprint = 'short'",
    "UPDATE processed_requests SET dots = '[]'",
    "UPDATE outbox SET vector = '[]'",
    "UPDATE record_siblings SET counter = 0 WHERE origin = 'us'",
    "UPDATE conflicts SET type = 'quarrel'",
    "UPDATE dead_letters SET kafka_offset = -1",
    "UPDATE applied_positions SET next_offset = -1",
])
def test_values_that_plist_never_writes_are_refused(empty, old, statement):  # noqa: F811
    ask(empty, "migrate", "--region", "us")
    old.close()
    with pytest.raises(psycopg2.errors.CheckViolation):
        old.execute(statement)


def test_applied_a_second_time_by_hand_it_changes_nothing(empty, old):  # noqa: F811
    ask(empty, "migrate", "--region", "us")
    old.close()
    schema = ("SELECT c.oid, c.relname, a.attname, a.atttypid FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
              "WHERE relnamespace IN ('plist'::regnamespace, 'public'::regnamespace) ORDER BY 1, 3")
    before, constraints = old.rows(schema), old.value("SELECT count(*) FROM pg_constraint")
    old.execute(SCHEMA_FILE.read_text())
    assert old.rows(schema) == before
    assert old.value("SELECT count(*) FROM pg_constraint") == constraints
    assert count(old, ["properties", *TABLES])["outbox"] == 1
