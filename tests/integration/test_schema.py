"""plist-admin schema diff and schema sql: configuration, tables and daemons compared."""

import json
from decimal import Decimal

import pytest

from support.plistd import admin
from support.process import wait_until
from support.rolling import GARAGE


def diff(stack):
    """The findings, as (region, object, finding, run), and the exit status."""
    done = stack.admin("schema", "diff", "-o", "json", check=False)
    assert done.returncode in (0, 1), done.stderr
    return [(f["region"], f["object"], f["finding"], f["run"]) for f in json.loads(done.stdout)["findings"]], done.returncode


def test_nothing_differs_in_a_fresh_stack(stack):
    def agrees():
        found = diff(stack)
        assert found == ([], 0)
        return True
    wait_until("the schema agrees", agrees)


@pytest.mark.parametrize("change, undo, told, run", [
    ("ALTER TABLE properties ALTER COLUMN bedrooms TYPE numeric(5,1)", "ALTER TABLE properties ALTER COLUMN bedrooms TYPE integer",
     "column bedrooms", "ALTER TABLE \"properties\" ALTER COLUMN \"bedrooms\" TYPE INTEGER;"),
    ("UPDATE properties SET bedrooms = 0 WHERE bedrooms IS NULL; ALTER TABLE properties ALTER COLUMN bedrooms SET NOT NULL",
     "ALTER TABLE properties ALTER COLUMN bedrooms DROP NOT NULL",
     "column bedrooms", "ALTER TABLE \"properties\" ALTER COLUMN \"bedrooms\" DROP NOT NULL;"),
    ("ALTER TABLE properties ALTER COLUMN bedrooms SET DEFAULT 1", "ALTER TABLE properties ALTER COLUMN bedrooms DROP DEFAULT",
     "column bedrooms", "ALTER TABLE \"properties\" ALTER COLUMN \"bedrooms\" DROP DEFAULT;"),
    ("ALTER TABLE properties ADD COLUMN agent text NOT NULL DEFAULT ''", "ALTER TABLE properties DROP COLUMN agent",
     "column agent", "ALTER TABLE \"properties\" ALTER COLUMN \"agent\" DROP DEFAULT, ALTER COLUMN \"agent\" DROP NOT NULL;"),
    ("ALTER TABLE properties ADD CONSTRAINT cheap CHECK (price < 1e9)", "ALTER TABLE properties DROP CONSTRAINT cheap",
     "constraint cheap", "ALTER TABLE \"properties\" DROP CONSTRAINT \"cheap\";"),
    ("CREATE UNIQUE INDEX one_each ON properties (id, price)", "DROP INDEX one_each", "index one_each", "DROP INDEX \"one_each\";"),
    ("CREATE TRIGGER t BEFORE UPDATE ON properties FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
     "DROP TRIGGER t ON properties", "trigger t", "DROP TRIGGER \"t\" ON \"properties\";"),
], ids=["type", "not null", "default", "another column", "constraint", "index", "trigger"])
def test_each_difference_of_a_table_is_named_with_what_to_run(stack, change, undo, told, run):
    database = stack.database("eu")
    before = database.rows("SELECT id, bedrooms FROM properties")
    database.execute(change)
    try:
        findings, status = diff(stack)
        assert [(f[0], f[1], f[3]) for f in findings] == [("eu", told, run)] and status == 1
        if "TYPE" in run:
            database.execute(run)
            assert diff(stack) == ([], 0)
    finally:
        database.execute(undo)
        for record, bedrooms in before:
            if bedrooms is None and "SET NOT NULL" in change:
                database.execute("UPDATE properties SET bedrooms = NULL WHERE id = %s", record)


def test_a_field_is_reported_until_every_table_and_daemon_has_it(stack, rolling):
    path = rolling.write_yaml("next", [GARAGE])

    def findings():
        done = admin("schema", "diff", "-o", "json", config=path, environment=stack.environment(), check=False)
        return {(f["region"], f["object"].split()[0], f["finding"]) for f in json.loads(done.stdout)["findings"]}
    missing = {(region, "column", "is missing") for region in stack.regions}
    unknown = {(region, "daemon", "does not know the field garage yet") for region in stack.regions}
    wait_until("tables and daemons lack it", lambda: findings() == missing | unknown)
    sql = admin("schema", "sql", "properties", config=path, environment=stack.environment()).stdout
    assert sql.count("ALTER TABLE \"properties\" ADD COLUMN \"garage\" INTEGER;") == len(stack.regions)
    rolling.add_column("garage", "integer")
    assert findings() == unknown
    rolling.restart("us", GARAGE)
    wait_until("only eu lacks it", lambda: findings() == {u for u in unknown if u[0] == "eu"})


def test_the_printed_table_can_be_made(stack):
    sql = stack.admin("schema", "sql", "properties", "--table").stdout
    database = stack.database("us")
    database.execute("CREATE SCHEMA made; SET search_path = made; " + sql)
    try:
        made = database.rows("SELECT column_name FROM information_schema.columns WHERE table_schema = 'made' ORDER BY 1")
        assert made == database.rows("SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND "
                                     "table_name = 'properties' ORDER BY 1")
    finally:
        database.execute("SET search_path = public, plist; DROP SCHEMA made CASCADE")


# ---- what schema sql prints, executed

ROOMS = {"topic": "room-updates", "fields": {
    "seats": {"type": "integer"}, "price": {"type": "decimal", "precision": 8, "scale": 2}, "name": {"type": "string", "max_length": 20},
    "open": {"type": "boolean"}, "day": {"type": "integer", "required": True}}}


class Rooms:
    """A resource that only the file knows. Its tables were made of what schema sql printed."""

    def __init__(self, stack, path):
        self.stack, self.path = stack, path

    def admin(self, *arguments):
        done = admin("schema", *arguments, config=self.path, environment=self.stack.environment(), check=False)
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    def diff(self):
        return {(f["region"], f["object"]) for f in json.loads(self.admin("diff", "-o", "json"))["findings"] if f["resource"] == "rooms"}

    def sql(self):
        """What it prints for the region eu."""
        return self.admin("sql", "rooms", "--region", "eu")


@pytest.fixture
def rooms(stack, rolling):
    made = Rooms(stack, rolling.write_yaml("rooms", [lambda config: config["resources"].update(rooms=ROOMS)]))
    try:
        assert made.diff() == {(region, "table rooms") for region in stack.regions}
        for region in stack.regions:
            stack.database(region).execute(made.admin("sql", "rooms", "--region", region))
        assert made.diff() == set()
        stack.database("eu").execute("INSERT INTO rooms (id, seats, price, name, open, day, region_origin, vector) VALUES "
                                     "(1, 3, 7.25, 'blue ', true, 1, 'eu', '{\"eu\": 1}')")
        yield made
    finally:
        for database in stack.databases.values():
            database.execute("DROP TABLE IF EXISTS rooms; DROP SEQUENCE IF EXISTS rooms_ids")


MISFITS = [
    "DROP COLUMN open",
    "ALTER seats TYPE text",
    "ALTER seats TYPE text, ALTER seats SET DEFAULT 'none'",
    "ALTER seats TYPE smallint",
    "ALTER open TYPE text",
    "ALTER open TYPE integer USING open::integer",
    "ALTER price TYPE text",
    "ALTER price TYPE boolean USING true",
    "ALTER price TYPE numeric(7,2)",
    "ALTER name TYPE varchar(6)",
    "ALTER seats SET NOT NULL",
    "ALTER seats SET DEFAULT 1",
]
ROUNDED = ["seats TYPE numeric(5,1) USING 3.5", "price TYPE numeric(9,3) USING 7.255", "price TYPE double precision USING 7.255",
           "price TYPE numeric USING 7.255", "seats TYPE money USING 3.5::numeric::money"]
FITTING = "ALTER price TYPE numeric(12,2), ALTER seats TYPE bigint, ALTER name TYPE varchar(50)"
ROW = "SELECT seats, price, name, open, day FROM rooms"


def test_what_schema_sql_prints_makes_the_table_fit(stack, rooms):
    database = stack.database("eu")
    for change in MISFITS:
        database.execute("UPDATE rooms SET seats = 3, price = 7.25, name = 'blue ', open = true, day = 1")
        database.execute(f"ALTER TABLE rooms {change}")
        printed = rooms.sql()
        assert "nothing is missing" not in printed, change
        database.execute(printed)
        assert "nothing is missing" in rooms.sql(), change
        kept = (3, Decimal(1) if "USING true" in change else Decimal("7.25"), "blue ", None if "DROP" in change else True, 1)
        assert database.rows(ROW) == [kept], change


def test_what_would_round_values_is_only_printed_as_a_comment(stack, rooms):
    database = stack.database("eu")
    for change in ROUNDED:
        database.execute(f"ALTER TABLE rooms ALTER {change}")
        before, printed = database.rows(ROW), rooms.sql()
        database.execute(f"{printed}\nSELECT 1")
        assert database.rows(ROW) == before, change
        comment, = [line for line in printed.splitlines() if line.startswith("-- ALTER TABLE")]
        database.execute(comment.removeprefix("-- "))
        assert "nothing is missing" in rooms.sql(), change


def test_a_column_that_takes_more_digits_than_its_field_is_no_difference(stack, rooms):
    stack.database("eu").execute(f"ALTER TABLE rooms {FITTING}")
    assert rooms.diff() == set()
