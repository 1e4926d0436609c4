"""plist-admin schema diff and schema sql: configuration, tables and daemons compared."""

import json

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
