"""Unique values and references, with the hotel of plist-policies(7): refused within a region, found and resolved between them."""

import json
import random
import re
import shutil
import threading
import time
from decimal import Decimal

import pytest
import yaml

from support import places
from support.client import new_id
from support.process import wait_until
from support.stack import Stack

HANDLERS = {
    "create": """
local records, http = require "plist.records", require "plist.http"
return { name = "{name}_create", doc = "A new one.", handle = function(req)
  local record, err = records.create("{name}", req.body)
  if not record then return http.problem(err) end
  return http.created(record)
end }""",
    "put": """
local records, http = require "plist.records", require "plist.http"
return { name = "{name}_put", doc = "A change.", handle = function(req)
  local record, err = records.update("{name}", req.params.id, req.body)
  if not record then return http.problem(err) end
  return http.ok(record)
end }""",
    "get": """
local records, http = require "plist.records", require "plist.http"
return { name = "{name}_get", doc = "One.", handle = function(req)
  local record, err = records.get("{name}", req.params.id)
  if not record then return http.problem(err) end
  return http.ok(record)
end }""",
    "delete": """
local records, http = require "plist.records", require "plist.http"
return { name = "{name}_delete", doc = "Deletes one.", handle = function(req)
  local record, err = records.delete("{name}", req.params.id)
  if not record then return http.problem(err) end
  return http.no_content()
end }""",
}
RESOURCES = ("rooms", "bookings", "notes")
METHODS = {"create": ("POST", ""), "put": ("PUT", "/:id"), "get": ("GET", "/:id"), "delete": ("DELETE", "/:id")}


def shown(path):
    """A block of the manual, as a reader would copy it."""
    text = (places.TOP / "man" / "plist-policies.7").read_text()
    block = re.search(r'\.\\" file: ' + re.escape(path) + r"\n\.Bd -literal[^\n]*\n(.*?)\.Ed\n", text, re.S)
    return block.group(1).replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")


class Hotel(Stack):
    """Two regions with the resources of the manual."""

    def __init__(self, folder, **options):
        self.lua = folder / "lua"
        shutil.copytree(places.TOP / "lua", self.lua)
        (folder / "sql").symlink_to(places.source() / "sql")  # where plist-admin looks for migrations
        (self.lua / "violations").mkdir()
        rule = "violations/first_booking_stays.lua"
        (self.lua / rule).write_text(shown(rule))
        for name in RESOURCES:
            for verb, text in HANDLERS.items():
                (self.lua / "handlers" / f"{name}_{verb}.lua").write_text("--- A test.\n" + text.replace("{name}", name))
        super().__init__(folder / "stack", change=self.furnish, **options)

    def furnish(self, config):
        config["lua"]["path"] = str(self.lua)
        config["resources"].update(yaml.safe_load(shown("conf/hotel.yaml"))["resources"])
        config["resources"]["notes"] = {"topic": "note-updates", "unique": [["text"]], "fields": {
            "text": {"type": "string", "max_length": 5000}}}
        for name in RESOURCES:
            for verb, (method, tail) in METHODS.items():
                route = {"method": method, "path": f"/:region/{name}{tail}", "handler": f"handlers/{name}_{verb}.lua"}
                config["routes"].append(route | ({"idempotency": {}} if method != "GET" else {}))

    def fill(self):
        for name in RESOURCES:
            sql = self.admin("schema", "sql", name, "--table").stdout
            for database in self.databases.values():
                database.execute(sql)
        for database in self.databases.values():  # what a tree cannot hold, a hash can
            database.execute("DROP INDEX IF EXISTS notes_text_idx")
            database.execute("CREATE INDEX ON notes USING hash (text)")

    def send(self, region, method, path, **body):
        return self.client(region).request(method, f"/{region}/{path}", body or None, request_id=new_id())

    def room(self):
        """A new room that every region knows."""
        made = self.send("us", "POST", "rooms", name="blue")
        assert made.status == 201, made
        number = made.json["id"]
        for region in self.regions:
            wait_until(f"{region} has room {number}", lambda r=region: self.send(r, "GET", f"rooms/{number}").status == 200)
        return number

    def book(self, region, room, day, guest="anna"):
        return self.send(region, "POST", "bookings", room=room, day=day, guest=guest)

    def violations(self):
        return {r: self.database(r).value("SELECT count(*) FROM violations WHERE gone_at IS NULL") for r in self.regions}

    def conflicts(self, kind):
        listed = self.admin("conflicts", "list", "--type", kind, "-o", "json").stdout
        return json.loads(listed)["conflicts"]


@pytest.fixture(scope="module")
def hotel(tmp_path_factory):
    folder = places.data_folder("plist-hotel-")
    stack = Hotel(folder, broker="embedded")
    try:
        yield stack.start()
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_of_64_clients_that_book_one_room_one_succeeds(hotel):
    room, answers = hotel.room(), []
    threads = [threading.Thread(target=lambda: answers.append(hotel.book("us", room, "monday"))) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(a.status for a in answers) == [201] + [409] * 63
    refused = next(a for a in answers if a.status == 409).json
    assert refused["title"] == "Conflict: value already in use" and refused["detail"] == "Another Booking has the same room and day."
    assert refused["errors"] == [{"pointer": "/room", "detail": "is already in use"}, {"pointer": "/day", "detail": "is already in use"}]
    assert refused["retryable"] is False


def test_references_hold_for_clients(hotel):
    refused = hotel.book("us", 9_000_000_000_000, "monday")
    assert refused.status == 409 and refused.json["errors"] == [
        {"pointer": "/room", "detail": "refers to a record that does not exist"}], refused
    room = hotel.room()
    booking = hotel.book("us", room, "monday").json["id"]
    kept = hotel.send("us", "DELETE", f"rooms/{room}")
    assert (kept.status, kept.json["title"], kept.json["detail"]) == \
        (409, "Conflict: Room is in use", "bookings.room refers to this record."), kept
    assert hotel.send("us", "DELETE", f"bookings/{booking}").status == 204
    assert hotel.send("us", "DELETE", f"rooms/{room}").status == 204


def test_two_bookings_of_one_room_in_two_regions_are_found_and_one_is_compensated(hotel):
    room = hotel.room()
    hotel.broker.pause()
    try:
        made = {r: hotel.book(r, room, "friday", guest=r) for r in hotel.regions}
    finally:
        hotel.broker.resume()
    assert [a.status for a in made.values()] == [201, 201], made
    first, second = sorted(a.json["id"] for a in made.values())
    for region in hotel.regions:
        wait_until(f"{region} has moved the later booking",
                   lambda r=region: hotel.send(r, "GET", f"bookings/{second}").json["waiting"] is True)
        assert hotel.send(region, "GET", f"bookings/{first}").json["room"] == room
        assert hotel.send(region, "GET", f"bookings/{second}").json["room"] is None
    wait_until("no violation is left", lambda: set(hotel.violations().values()) == {0})
    found = [c for c in hotel.conflicts("multiple_unique_conflicts") if c["record_id"] == first]
    assert {c["region"] for c in found} == {"us", "eu"} and all(c["closed_at"] for c in found), found
    assert [s["id"] for s in found[0]["siblings"]] == [first, second]
    changes = {r: hotel.database(r).value("SELECT count(*) FROM outbox WHERE record_id = %s", second) for r in hotel.regions}
    executed = sum(hotel.database(r).value(
        "SELECT count(*) FROM processed_requests WHERE record_id = %s AND dots ? %s", second, r) for r in hotel.regions)
    assert executed == 2, (executed, changes)  # its booking, and one change


def test_however_long_a_value_is_that_two_regions_have_given_twice_it_is_found_until_it_is_gone(hotel):
    """And those that come after it: the table of violations has a key, which has a limit."""
    chance = random.Random(1)
    long, short = "".join(chr(chance.randrange(0x4e00, 0x9fff)) for _ in range(5000)), "short"
    hotel.broker.pause()
    try:
        made = {text: [hotel.send(r, "POST", "notes", text=text) for r in hotel.regions] for text in (long, short)}
    finally:
        hotel.broker.resume()
    assert all(a.status == 201 for answers in made.values() for a in answers), made
    wait_until("both violations are found in both regions", lambda: set(hotel.violations().values()) == {2})
    for text in (long, short):
        second = made[text][1].json
        assert hotel.send("eu", "DELETE", f"notes/{second['id']}", version=1).status == 204
    wait_until("no violation is left", lambda: set(hotel.violations().values()) == {0})


@pytest.mark.parametrize("kind", ["short", "long"])
def test_however_many_records_share_a_value_a_conflict_names_the_first_ones_and_counts_them(hotel, kind):
    """An aggregate of all would not fit into PostgreSQL's memory. The others follow when the first ones have changed."""
    us = hotel.database("us")
    chance = random.Random(2)
    text = "shared" if kind == "short" else "".join(chr(chance.randrange(0x4e00, 0x9fff)) for _ in range(400))
    first = {"short": 700_000_000, "long": 800_000_000}[kind]
    us.execute("INSERT INTO notes (id, text, region_origin, vector) SELECT %s + n, %s, 'us', jsonb_build_object('us', 1) "
               "FROM generate_series(1, 2500) AS n", first, text)
    us.execute("INSERT INTO integrity_checks (resource, record_id) VALUES ('notes', %s)", first + 7)
    named = ("SELECT (verdict ->> 'records')::int, jsonb_array_length(siblings), (siblings -> 0 ->> 'id')::int FROM conflicts "
             "WHERE closed_at IS NULL AND record_id BETWEEN %s AND %s ORDER BY id DESC LIMIT 1")

    def found(*what):
        return lambda: us.rows(named, first, first + 2500) == [what]
    try:
        wait_until("the first are named", found(2500, 1000, first + 1))
        assert any(c["record_id"] == first + 1 and c["verdict"]["records"] == 2500 for c in hotel.conflicts("multiple_unique_conflicts"))
        assert "(by 2500 records)" in hotel.admin("conflicts", "list", "--region", "us").stdout
        us.execute("UPDATE notes SET text = id::text WHERE id BETWEEN %s AND %s", first, first + 1000)
        wait_until("the next are named", found(1500, 1000, first + 1001))
    finally:
        us.execute("DELETE FROM notes WHERE id BETWEEN %s AND %s", first, first + 2500)
    wait_until("no violation is left", lambda: hotel.violations()["us"] == 0)


def test_a_reference_that_two_regions_broke_together_is_shown_until_it_is_gone(hotel):
    room = hotel.room()
    hotel.broker.pause()
    try:
        booking = hotel.book("us", room, "sunday").json["id"]
        assert hotel.send("eu", "DELETE", f"rooms/{room}").status == 204
    finally:
        hotel.broker.resume()
    wait_until("both regions have found it", lambda: hotel.violations() == {"us": 1, "eu": 1})
    told = hotel.admin("status", check=False)
    assert told.returncode == 1 and "violation of unique values or references" in told.stderr, told
    wait_until("the metric counts it", lambda: hotel.plistd["us"].metrics()["plist_open_violations"] == 1)
    assert all(c["closed_at"] is None for c in hotel.conflicts("reference_missing") if c["record_id"] == booking)
    assert hotel.send("us", "PUT", f"bookings/{booking}", guest="bert").status == 200  # it can still be written
    assert hotel.send("us", "PUT", f"bookings/{booking}", room=None).status == 200
    wait_until("it is gone", lambda: hotel.violations() == {"us": 0, "eu": 0})
    assert all(c["closed_at"] for c in hotel.conflicts("reference_missing") if c["record_id"] == booking)


SEED = """INSERT INTO bookings (id, room, day, guest, region_origin, version, vector) SELECT {first} + n, {room}, '{day}', 'seed', 'us', 1, '{{"us": 1}}'
    FROM generate_series(0, {more}) AS n ON CONFLICT (id) DO NOTHING"""


def test_a_clients_write_waits_for_a_seed_and_is_checked_against_it(hotel, tmp_path):
    room, answers = hotel.room(), []
    (tmp_path / "one.sql").write_text(SEED.format(first=700_000_001, room=room, day="sunday", more=0) + "; SELECT pg_sleep(1)")
    seeding = threading.Thread(target=lambda: answers.append(hotel.admin("seed", tmp_path / "one.sql", "--region", "us")))
    seeding.start()
    wait_until("the seed has inserted its row", lambda: hotel.database("us").value(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == 1)
    booked = hotel.book("us", room, "sunday")
    seeding.join()
    assert booked.status == 409 and booked.json["detail"] == "Another Booking has the same room and day.", booked
    assert "shared by several" not in answers[0].stderr, answers


def test_what_a_seed_violates_is_said_and_found(hotel, tmp_path):
    room = hotel.room()
    (tmp_path / "two.sql").write_text(SEED.format(first=700_000_011, room=room, day="someday", more=1))
    (tmp_path / "nowhere.sql").write_text(SEED.format(first=700_000_021, room=999_999_999, day="someday", more=0))
    told = hotel.admin("seed", tmp_path / "two.sql", tmp_path / "nowhere.sql").stderr
    for region in hotel.regions:
        assert f"{region}: 1 values of (room,day) are shared by several records of bookings" in told, told
        assert f"{region}: 1 records of bookings refer by room to a record that does not exist" in told, told
    wait_until("a rule has moved one of the two", lambda: hotel.send("us", "GET", "bookings/700000012").json["waiting"] is True)
    wait_until("both regions show the other", lambda: hotel.violations() == {"us": 1, "eu": 1})
    assert hotel.send("us", "PUT", "bookings/700000021", room=None).status == 200
    wait_until("it is gone", lambda: hotel.violations() == {"us": 0, "eu": 0})


def test_a_restored_write_does_not_take_a_value_that_another_record_has_now(hotel):
    room = hotel.room()
    booking = hotel.book("us", room, "monday").json["id"]
    wait_until("eu has it", lambda: hotel.send("eu", "GET", f"bookings/{booking}").status == 200)
    hotel.broker.pause()
    try:
        for region, day in (("us", "tuesday"), ("eu", "thursday")):
            assert hotel.send(region, "PUT", f"bookings/{booking}", day=day).status == 200
    finally:
        hotel.broker.resume()
    wait_until("us has decided", lambda: hotel.database("us").value(
        "SELECT count(*) FROM conflicts WHERE record_id = %s AND type = 'update_origin_differs'", booking) == 1)
    shown = hotel.send("us", "GET", f"bookings/{booking}").json["day"]
    lost = {"tuesday": "thursday", "thursday": "tuesday"}[shown]
    assert hotel.book("us", room, lost).status == 201
    number, siblings = hotel.database("us").rows("SELECT id, siblings FROM conflicts WHERE record_id = %s AND type = 'update_origin_differs'", booking)[0]
    take = 1 + next(i for i, sibling in enumerate(siblings) if sibling["fields"]["day"] == lost)
    told = hotel.admin("conflicts", "restore", f"us/{number}", "--take", str(take), "--reason", "a test", "--yes", check=False)
    assert told.returncode == 1 and f"us refused to write bookings/{booking}: another record has the same room,day" in told.stderr, told
    assert hotel.send("us", "GET", f"bookings/{booking}").json["day"] == shown


def test_the_rule_of_the_manual_passes_its_check_and_the_indexes_are_named(hotel):
    checked = hotel.admin("policy", "check", str(hotel.lua / "violations" / "first_booking_stays.lua"), "--resource", "bookings")
    assert "accepted: first_booking_stays" in checked.stdout + checked.stderr, checked
    (hotel.lua / "violations" / "nothing.lua").write_text(
        '--- Decides nothing.\nreturn { name = "nothing", doc = "Decides nothing.", resolve = function() error("undecided") end }\n')
    refused = hotel.admin("policy", "check", str(hotel.lua / "violations" / "nothing.lua"), "--resource", "bookings", check=False)
    assert refused.returncode == 1 and "The smallest violation that shows it has these records:" in refused.stderr, refused
    assert hotel.admin("schema", "diff").returncode == 0
    hotel.database("us").execute("DROP INDEX bookings_room_day_idx")
    try:
        lacks = hotel.admin("schema", "diff", check=False)
        assert lacks.returncode == 1 and "index (room,day)" in lacks.stdout, lacks
        sql = hotel.admin("schema", "sql", "bookings").stdout
        assert 'CREATE INDEX CONCURRENTLY ON "bookings" ("room", "day");' in sql and '("room");' not in sql, sql
    finally:
        hotel.database("us").execute('CREATE INDEX ON bookings (room, day)')


def test_a_locked_table_of_one_resource_holds_up_no_other(hotel):
    """An operator keeps eu's rooms locked. Their events wait, alone in their batch, when those of properties arrive."""
    database, room, record = hotel.database("eu"), hotel.room(), hotel.new_record()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'plistd eu apply%'"
    with database.connect() as session:
        with session.cursor() as cursor:
            cursor.execute("LOCK TABLE rooms IN ACCESS EXCLUSIVE MODE")
        for number in range(5):
            assert hotel.send("us", "PUT", f"rooms/{room}", name=f"blue {number}", version=number + 1).status == 200
        wait_until("an applier of eu waits for the table", lambda: database.value(waiting) > 0, pause=0.02)
        took = []
        for version in range(1, 5):
            since = time.monotonic()
            assert hotel.client("us").put(record, price=Decimal(version), version=version).status == 200
            hotel.wait_version("eu", record, version + 1)
            took.append(time.monotonic() - since)
        assert took[0] < 5 and sorted(took[1:])[1] < 1.5, took
        assert database.value("SELECT count(*) FROM parked_events WHERE resource = 'rooms' AND sqlstate = '55P03'") == 5
        assert "5 parked events" in hotel.admin("status", check=False).stderr
        session.rollback()
    wait_until("eu has the room", lambda: hotel.send("eu", "GET", f"rooms/{room}").json["name"] == "blue 4")
    wait_until("nothing is parked", lambda: database.value("SELECT count(*) FROM parked_events") == 0)
    hotel.check_consistent()
