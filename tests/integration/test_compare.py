"""plist-admin compare, republish and repair: differences between regions are found, named correctly and repaired; events in transit are not reported."""

import contextlib
import itertools
import json
import re
import threading
from decimal import Decimal

import pytest

from support import places
from support.load import Load
from support.process import wait_until
from support.quiet import NO, UNREACHABLE, USAGE, YES, ask, data, empty, on_a_terminal, quiet  # noqa: F401 - fixtures

ROWS = ("INSERT INTO properties (id, price, bedrooms, bathrooms, region_origin, version, updated_at, vector) "
        "SELECT i, (i %% 1000) / 4.0, i %% 7, NULL, 'us', 2, '2026-02-21 10:00:00+00', '{\"us\": 2}' FROM generate_series(%s, %s) AS i")
SIBLING = ("INSERT INTO record_siblings (resource, record_id, origin, counter, vector, updated_at, fields) "
           "VALUES ('properties', %s, %s, %s, %s, '2026-02-21 10:00:00+00', '{\"price\": 1.00}')")


def plant(us, eu, base):
    """One difference of each kind among rows that both regions have; {id: kind}."""
    eu.execute("DELETE FROM properties WHERE id = %s", base)
    eu.execute("UPDATE properties SET vector = '{\"us\": 1}', version = 1, price = 7 WHERE id = %s", base + 1)
    eu.execute("UPDATE properties SET vector = '{\"us\": 1, \"eu\": 1}', region_origin = 'eu', price = 8 WHERE id = %s", base + 2)
    for database, counter in ((us, 2), (eu, 1)):
        database.execute("UPDATE properties SET has_siblings = true WHERE id = %s", base + 3)
        database.execute(SIBLING, base + 3, "us", counter, '{"us": 2}')
    us.execute("UPDATE properties SET price = 9 WHERE id = %s", base + 4)
    return {base: "missing", base + 1: "behind", base + 2: "concurrent", base + 3: "siblings-differ", base + 4: "content-differs"}


@pytest.fixture
def rows(empty):
    """10,000 equal rows in two regions, in two id ranges far apart."""
    for database in empty.databases.values():
        database.execute("TRUNCATE record_siblings")
        database.execute(ROWS, 1, 5000)
        database.execute(ROWS, 10_000_000_001, 10_000_005_000)
    return empty


def found(stack, *arguments, status=NO):
    return {d["id"]: d["difference"] for d in data(stack, "compare", "--at-once", *arguments, status=status)["differences"]}


def test_equal_regions_are_equal(rows):
    told = data(rows, "compare", "properties")
    assert told["differences"] == [] and told["resources"][0]["records"] == 10_000


def test_each_kind_of_difference_is_found_and_named(rows):
    us, eu = rows.database("us"), rows.database("eu")
    planted = plant(us, eu, 4090) | plant(us, eu, 10_000_000_001)  # also on both sides of a boundary between ranges
    assert found(rows) == planted
    assert found(rows, "--range", "4091..4092") == {4091: "behind", 4092: "concurrent"}
    assert found(rows, "--range", "..4090") == {4090: "missing"}
    assert found(rows, "--ids", "1,4094,4093") == {4093: "siblings-differ", 4094: "content-differs"}
    assert found(rows, "--range", "4095..10000000000", status=YES) == {}


def test_an_extra_record_a_tombstone_and_siblings_of_no_row_count_as_differences(rows):
    eu = rows.database("eu")
    eu.execute(ROWS, 777_777, 777_777)
    eu.execute("UPDATE properties SET deleted_at = now() WHERE id = 7")
    eu.execute(SIBLING, 9, "us", 2, '{"us": 2}')
    eu.execute(SIBLING, 888_888, "us", 2, '{"us": 2}')
    assert found(rows) == {7: "content-differs", 9: "siblings-differ", 777_777: "missing", 888_888: "siblings-differ"}


def test_changes_that_would_cancel_in_an_xor_are_seen(rows):
    """Two rows are exchanged between two ids of one range."""
    rows.database("eu").execute("UPDATE properties SET price = CASE id WHEN 11 THEN 12 ELSE 11 END / 4.0 WHERE id IN (11, 12)")
    assert set(found(rows)) == {11, 12}


def test_both_rows_are_shown_side_by_side(rows):
    plant(rows.database("us"), rows.database("eu"), 100)
    shown = ask(rows, "compare", "--at-once", "--ids", "104", status=NO).stdout
    assert re.search(r"properties/104 +content-differs +us +newest +2 +\{\"us\": 2\} .* price 9.00\n- +- +eu +newest .* price 26.00", shown)
    difference = data(rows, "compare", "--at-once", "--ids", "100", status=NO)["differences"][0]
    assert [(c["region"], c["state"]) for c in difference["copies"]] == [("us", "newest"), ("eu", "missing")]
    assert difference["copies"][0]["fields"] == {"price": 25, "bedrooms": 2, "bathrooms": None}


def test_the_page_shows_what_differs_and_needs_nothing_else(rows, tmp_path):
    planted = plant(rows.database("us"), rows.database("eu"), 100)
    page = tmp_path / "compare.html"
    ask(rows, "compare", "--at-once", "--html", page, status=NO)
    text = page.read_text()
    for record, kind in planted.items():
        assert re.search(rf"properties/{record}<span class=\"kind bad\">{kind}<", text)
    assert '<td class="v d">9.00</td><td class="v d">26.00</td>' in text
    assert "http" not in text and "<script" not in text and "src=" not in text


def test_only_the_first_ones_are_shown_and_all_are_counted(rows):
    rows.database("eu").execute("DELETE FROM properties WHERE id <= 2500")
    told = data(rows, "compare", "--at-once", "--limit", "10", status=NO)
    assert told["resources"][0]["missing"] == 2500 and len(told["differences"]) == 10


def test_a_region_that_cannot_be_reached_is_named(rows):
    rows.postgres["eu"].stop()
    assert "eu" in ask(rows, "compare", "--timeout", "500ms", status=UNREACHABLE).stderr


def test_what_cannot_be_waited_for_is_not_called_a_difference(rows):
    """No broker runs here, so there is no way to know whether the difference is in transit."""
    plant(rows.database("us"), rows.database("eu"), 100)
    told = ask(rows, "compare", "--wait", "1s", "--timeout", "500ms", status=UNREACHABLE)
    assert "may still be in transit" in told.stderr and "properties/100" not in told.stdout


UNAPPLIED = ("INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, status, expires_at) "
             "VALUES ('properties', %s, 'us', '{}', jsonb_build_object('us', %s), 'r', sha256(''), 200, now())")


@contextlib.contextmanager
def changing(stack, record):
    """Writes the record again and again in us, and applies each write in eu when us has made the next one: eu is always behind."""
    us, eu = (stack.database(region).connect() for region in ("us", "eu"))
    ends = threading.Event()

    def write(connection, n, more, *values):
        connection.cursor().execute("UPDATE properties SET version = %s, vector = jsonb_build_object('us', %s), price = %s WHERE id = %s; "
                                    + more, (n, n, n % 1000, record, *values))
        connection.commit()

    def run():
        for n in itertools.count(3):
            write(us, n, UNAPPLIED, record, n)
            if n > 3:
                write(eu, n - 1, "SELECT 1")
                us.cursor().execute("DELETE FROM outbox WHERE vector = jsonb_build_object('us', %s)", (n - 1,))
                us.commit()
            if ends.is_set():
                return
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()
        us.close()
        eu.close()


def test_a_record_that_changes_all_the_time_is_never_called_a_difference(rows):
    rows.broker.start()
    try:
        with changing(rows, 77):
            wait_until("a look sees it", lambda: found(rows) == {77: "behind"})
            for _ in range(6):
                assert data(rows, "compare", "properties")["differences"] == []
    finally:
        rows.broker.stop()


@pytest.mark.parametrize("arguments", [
    ["boats"], ["--range", "7..3"], ["--range", "x"], ["--ids", "1,b"], ["--ids", "1", "--range", "1..2"], ["--region", "us"],
])
def test_a_call_that_cannot_be_understood_is_refused(rows, arguments):
    ask(rows, "compare", *arguments, status=USAGE)


def test_a_terminal_sees_progress(rows):
    argv = [places.program("plist-admin"), "--config", rows.config, "compare", "properties"]
    status, drawn = on_a_terminal(argv, {"TERM": "xterm", "PATH": "/usr/bin"})
    assert status == YES and re.search(r"properties \[#+\.*\] +\d+%", drawn)
