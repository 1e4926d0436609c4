"""Constraints, unique indexes, triggers, rules and policies of a table: writes of clients are refused until the table lacks
them or resources.X.tolerate lists them, and events of other regions are applied or parked meanwhile."""

import contextlib
import json
from decimal import Decimal
from types import SimpleNamespace

import pytest

from support.process import wait_until
from support.quiet import NO, YES

DEAR = "ALTER TABLE properties ADD COLUMN dear NUMERIC GENERATED ALWAYS AS (CASE WHEN price = {price} THEN price END) STORED; "
NO_DEAR = "ALTER TABLE properties DROP COLUMN dear CASCADE"
RAISE = "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$; "


def trigger(name, body, when="BEFORE INSERT OR UPDATE", condition="WHEN (NEW.price = {price})", each="FOR EACH ROW"):
    return (RAISE.format(name=name, body=body) + f"CREATE {'CONSTRAINT ' if when.startswith('AFTER') else ''}TRIGGER {name} {when} ON properties "
            f"{each} {condition} EXECUTE FUNCTION {name}()"), f"DROP FUNCTION {name}() CASCADE"


# What is made in eu and taken away again, how it is named, and what eu refuses then: that
# the record gets a price that another one has ("set"), or that this other one loses it
# ("change"). With a rule, PostgreSQL refuses plist's statements as such, so the event is
# not parked but stays in Kafka ("nothing").
KINDS = {
    "unique index": (("CREATE UNIQUE INDEX one_price ON properties (price) WHERE price = {price}", "DROP INDEX one_price"),
                     "index one_price", "set"),
    "unique constraint": ((DEAR + "ALTER TABLE properties ADD CONSTRAINT one_dear UNIQUE (dear)", NO_DEAR), "constraint one_dear", "set"),
    "deferred unique constraint": ((DEAR + "ALTER TABLE properties ADD CONSTRAINT one_dear UNIQUE (dear) DEFERRABLE INITIALLY DEFERRED", NO_DEAR),
                                   "constraint one_dear", "set"),
    "exclusion": (("ALTER TABLE properties ADD CONSTRAINT apart EXCLUDE USING btree (price WITH =) WHERE (price = {price})",
                   "ALTER TABLE properties DROP CONSTRAINT apart"), "constraint apart", "set"),
    "foreign key": ((DEAR + "CREATE TABLE prices (price NUMERIC PRIMARY KEY); "
                     "ALTER TABLE properties ADD CONSTRAINT known FOREIGN KEY (dear) REFERENCES prices NOT VALID", NO_DEAR + "; DROP TABLE prices"),
                    "constraint known", "set"),
    "foreign key of another table": ((DEAR + "ALTER TABLE properties ADD CONSTRAINT one_dear UNIQUE (dear); "
                                      "CREATE TABLE offers (dear NUMERIC CONSTRAINT offered REFERENCES properties (dear)); "
                                      "INSERT INTO offers VALUES ({price})", "DROP TABLE offers; " + NO_DEAR), "constraint offered", "change"),
    "check": (("ALTER TABLE properties ADD CONSTRAINT other_price CHECK (price <> {price}) NOT VALID",
               "ALTER TABLE properties DROP CONSTRAINT other_price"), "constraint other_price", "set"),
    "trigger that raises": (trigger("refuse", "RAISE 'not this price';"), "trigger refuse", "set"),
    "trigger that skips": (trigger("skip", "RETURN NULL;"), "trigger skip", "set"),
    "constraint trigger": (trigger("later", "RAISE 'not this price';", "AFTER INSERT OR UPDATE", "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
                                   "WHEN (NEW.price = {price})", ""), "trigger later", "set"),
    "rule": (("CREATE RULE ignored AS ON UPDATE TO properties WHERE NEW.price = {price} DO INSTEAD NOTHING", "DROP RULE ignored ON properties"),
             "rule ignored", "nothing"),
    "policy": (("ALTER TABLE properties ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; "
                "CREATE POLICY cheap ON properties USING (true) WITH CHECK (price <> {price})",
                "ALTER TABLE properties DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY; DROP POLICY cheap ON properties"),
               "policy cheap", "set"),
    "row level security": (("ALTER TABLE properties ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
                            "ALTER TABLE properties DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY"),
                           "row level security row_level_security", "set"),
}
PRICES = {kind: Decimal(987000 + i) for i, kind in enumerate(KINDS)}


def reasons(stack, region):
    """What /ready says on the operators' listener."""
    return " ".join(stack.plistd[region].operators.get("/ready").json.get("reasons", []))


def refuses(stack, region):
    return stack.plistd[region].metrics()['plist_resource_writes_refused{resource="properties"}'] == 1


def wait_refusing(stack, *regions, refusing=True):
    for region in regions:
        wait_until(f"{region} {'refuses' if refusing else 'accepts'} writes", lambda r=region: refuses(stack, r) == refusing)


def findings(stack, region="eu"):
    done = stack.admin("schema", "diff", "-o", "json", check=False)
    assert done.returncode in (0, 1), done.stderr
    return {f["object"]: f for f in json.loads(done.stdout)["findings"] if f["region"] == region}


def status(stack):
    return stack.admin("status", check=False)


@contextlib.contextmanager
def made(stack, kind, *regions):
    """The kind's object in these regions, and what the tests need to know of it."""
    (make, undo), name, refused = KINDS[kind]
    price = PRICES[kind]
    done = []
    try:
        for region in regions:
            stack.database(region).execute(make.replace("{price}", str(price)))
            done.append(region)
        yield SimpleNamespace(name=name.split()[-1], object=name, price=price, refused=refused, undo=undo)
    finally:
        for region in done:
            with contextlib.suppress(Exception):  # a test has done it
                stack.database(region).execute(undo)
        wait_refusing(stack, *done, refusing=False)


def parked(stack, region="eu"):
    return stack.database(region).value("SELECT count(*) FROM parked_events")


def assert_refused(answer, name):
    assert answer.status == 503 and answer.headers["x-plist-executed"] == "no", answer
    assert name in answer.json["detail"] and "nothing was written" in answer.json["detail"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_may_refuse_events_stops_writes_while_it_is_there_and_loses_none(stack, us, eu, kind):
    stack.wait_green()
    other, record = stack.new_record(price=str(PRICES[kind])), stack.new_record()
    with made(stack, kind, "eu") as guard:
        wait_refusing(stack, "eu")
        assert_refused(eu.put(record, price=Decimal("2.00"), version=1), guard.name)
        assert_refused(eu.post(price=Decimal("2.00")), guard.name)
        if kind != "row level security":  # which hides the rows from plist too
            assert eu.read(record).status == 200
        assert not refuses(stack, "us") and us.put(record, price=Decimal("3.00"), version=1).status == 200
        written = us.put(other, price=Decimal("4.00"), version=1) if guard.refused == "change" else us.put(record, price=guard.price, version=2)
        assert written.status == 200
        if guard.refused != "nothing":
            wait_until("eu parks the event", lambda: parked(stack) > 0)
        assert guard.name in reasons(stack, "eu") and "resources.properties.tolerate" in reasons(stack, "eu")
        said = status(stack)
        assert said.returncode == NO and f"the {guard.object}" in said.stderr
        assert guard.object in findings(stack) and findings(stack)[guard.object]["run"].endswith(";")
        assert f"has the {guard.object}" in stack.plistd["eu"].log_text()
        stack.database("eu").execute(guard.undo)
        wait_refusing(stack, "eu", refusing=False)
    stack.admin("parked", "retry", "--all")
    stack.check_consistent()
    stack.wait_green()
    assert eu.put(record, price=Decimal("5.00"), version=eu.read(record).json["version"]).status == 200
    stack.check_consistent()


def test_rows_that_a_trigger_has_changed_are_found_as_soon_as_it_is_gone(stack, us):
    stack.wait_green()
    record, price = stack.new_record(), Decimal(987900)
    make, undo = trigger("halve", "NEW.price := NEW.price / 2; RETURN NEW;")
    eu = stack.database("eu")
    eu.execute(make.replace("{price}", str(price)))
    try:
        wait_refusing(stack, "eu")
        assert us.put(record, price=price, version=1).status == 200
        wait_until("eu has half", lambda: eu.value("SELECT price FROM properties WHERE id = %s", record) == price / 2)
    finally:
        eu.execute(undo)
    wait_refusing(stack, "eu", refusing=False)
    wait_until("eu knows that it differs", lambda: f"properties/{record} (content-differs)" in status(stack).stderr)
    stack.admin("repair", "properties", "--execute", "--take", "us", "--reason", "test")
    stack.admin("audit", "--now", check=False)  # by itself, it looks again later
    stack.wait_green()
    stack.check_consistent()


@pytest.mark.parametrize("kind", KINDS)
def test_what_schema_diff_says_to_run_takes_it_away(stack, kind):
    if kind == "foreign key of another table":
        stack.new_record(price=str(PRICES[kind]))  # which it refers to
    with made(stack, kind, "eu") as guard:
        lines = stack.admin("schema", "sql", "properties", "--region", "eu").stdout.splitlines()
        assert guard.object.split()[-1] in findings(stack)[guard.object]["run"] or "ROW LEVEL" in findings(stack)[guard.object]["run"]
        assert f"-- {findings(stack)[guard.object]['run']}" in lines and all(line.startswith("-- ") for line in lines), lines
        for _ in range(2):  # without its policies, row level security is left
            for name, finding in findings(stack).items():
                if name.split()[0] in ("constraint", "index", "trigger", "rule", "policy", "row"):
                    stack.database("eu").execute(finding["run"])
        assert findings(stack) == {}, guard


@pytest.mark.parametrize("kind", ["unique index", "trigger that raises", "policy"])
def test_a_name_that_tolerate_lists_stops_nothing_and_a_reload_changes_it(stack, us, eu, kind):
    record = stack.new_record()
    with made(stack, kind, "us", "eu") as guard:
        wait_refusing(stack, "us", "eu")
        assert_refused(us.put(record, price=Decimal("2.00"), version=1), guard.name)
        stack.reload(lambda config: config["resources"]["properties"].update(tolerate=[guard.name]))
        wait_refusing(stack, "us", "eu", refusing=False)
        assert guard.object not in findings(stack)
        assert us.put(record, price=Decimal("2.00"), version=1).status == 200
        stack.wait_version("eu", record, 2)
        assert eu.put(record, price=Decimal("3.00"), version=2).status == 200
        stack.wait_green()
        stack.reload()
        wait_refusing(stack, "us", "eu")
        assert status(stack).returncode == NO
    wait_refusing(stack, "us", "eu", refusing=False)
    stack.wait_green()
    stack.check_consistent()


def test_daemons_start_with_such_a_table_and_say_so_before_they_listen(stack, us, eu):
    record = stack.new_record()
    with made(stack, "check", "us", "eu") as guard:
        for region in stack.regions:
            stack.plistd[region].stop()
        for region in stack.regions:
            stack.plistd[region].start()
        for region, client in (("us", us), ("eu", eu)):
            wait_until(f"{region} listens", lambda c=client: c.get("/health").status == 200)
            assert_refused(client.put(record, price=Decimal("2.00"), version=1), guard.name)
            assert client.read(record).status == 200
            log = stack.plistd[region].log_text()
            assert log.rindex(f"has the {guard.object}") < log.rindex("start: serving region")
    wait_refusing(stack, "us", "eu", refusing=False)
    assert us.put(record, price=Decimal("2.00"), version=1).status == 200
    stack.check_consistent()


def test_nginx_sends_writes_to_the_region_whose_table_is_right(stack):
    record = stack.new_record()
    with made(stack, "check", "eu"):
        wait_refusing(stack, "eu")
        front = stack.front("eu")
        assert front.read(record).region == "eu"
        written = front.put(record, price=Decimal("2.00"), version=1)
        assert (written.status, written.region) == (200, "us"), written
    stack.check_consistent()


def test_a_retry_of_an_answered_request_is_recognised_while_writes_are_refused(stack, eu):
    record = stack.new_record()
    assert eu.put(record, request_id="tolerate-once", price=Decimal("2.00"), version=1).status == 200
    before = eu.put(record, request_id="tolerate-once", price=Decimal("2.00"), version=1)
    with made(stack, "check", "eu") as guard:
        wait_refusing(stack, "eu")
        again = eu.put(record, request_id="tolerate-once", price=Decimal("2.00"), version=1)
        assert (again.status, again.body) == (before.status, before.body) and again.status != 503
        assert_refused(eu.put(record, price=Decimal("3.00"), version=2), guard.name)


def idle_trigger(name, when, more=""):
    """A trigger that is of no harm where it fires, if it does."""
    return (RAISE.format(name=name, body="RETURN NULL;") + f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION {name}(){more}",
            f"DROP FUNCTION {name}() CASCADE")


HARMLESS = {
    "an index": ("CREATE INDEX plain ON properties (price)", "DROP INDEX plain"),
    "a unique index of the id": ("CREATE UNIQUE INDEX same ON properties (id)", "DROP INDEX same"),
    "a trigger after writes": idle_trigger("after", "AFTER INSERT OR UPDATE ON properties FOR EACH ROW"),
    "a trigger of statements": idle_trigger("note", "BEFORE UPDATE ON properties"),
    "a trigger before deletes": idle_trigger("keep", "BEFORE DELETE ON properties FOR EACH ROW"),
    "a disabled trigger": idle_trigger("off", "BEFORE UPDATE ON properties FOR EACH ROW", "; ALTER TABLE properties DISABLE TRIGGER off"),
    "a foreign key to the id": ("CREATE TABLE photos (property BIGINT REFERENCES properties (id))", "DROP TABLE photos"),
    "a policy that plist is not subject to": ("ALTER TABLE properties ENABLE ROW LEVEL SECURITY; CREATE POLICY others ON properties USING (false)",
                                              "ALTER TABLE properties DISABLE ROW LEVEL SECURITY; DROP POLICY others ON properties"),
    "a rule for deletes": ("CREATE RULE kept AS ON DELETE TO properties DO INSTEAD NOTHING", "DROP RULE kept ON properties"),
}


@pytest.mark.parametrize("harmless", HARMLESS)
def test_what_cannot_refuse_or_change_a_write_needs_no_listing(stack, us, eu, harmless):
    make, undo = HARMLESS[harmless]
    record = stack.new_record()
    stack.database("eu").execute(make)
    try:
        assert findings(stack) == {}
        wait_until("eu has looked", lambda: eu.put(record, price=Decimal("2.00"), version=1).status == 200)
        assert us.put(record, price=Decimal("3.00"), version=stack.wait_version("us", record, 2)["version"]).status == 200
        stack.check_consistent()
        assert not refuses(stack, "eu")
    finally:
        stack.database("eu").execute(undo)


def test_a_rule_cannot_be_tolerated(stack, eu):
    record = stack.new_record()
    with made(stack, "rule", "eu") as guard:
        stack.reload(lambda config: config["resources"]["properties"].update(tolerate=[guard.name]))
        wait_refusing(stack, "eu")
        assert_refused(eu.put(record, price=Decimal("2.00"), version=1), guard.name)
        assert "even if tolerate lists it" in findings(stack)[guard.object]["finding"]
        wait_until("the log says so", lambda: "it cannot be tolerated" in stack.plistd["eu"].log_text())
    stack.reload()
    wait_refusing(stack, "eu", refusing=False)
    stack.wait_green()
    stack.check_consistent()


def test_a_name_that_the_table_does_not_have_is_a_warning(stack):
    stack.write_config(lambda config: config["resources"]["properties"].update(tolerate=["one_price"]))
    told = findings(stack)
    assert list(told) == ["tolerate one_price"] and "resources.properties.tolerate" in told["tolerate one_price"]["finding"]
    done = stack.admin("config", "check", "--online", check=False)
    assert done.returncode == YES and "tolerate one_price" in done.stderr, done
    with made(stack, "unique index", "us", "eu"):
        assert findings(stack) == {}
    with made(stack, "unique index", "eu"):
        done = stack.admin("schema", "diff", check=False)
        assert done.returncode == YES and "in another region's" in done.stdout, done
        assert stack.admin("schema", "diff", "--region", "us", check=False).returncode == NO
    with made(stack, "check", "us", "eu"):
        done = stack.admin("config", "check", "--online", check=False)
        assert done.returncode == NO and "other_price" in done.stderr, done
    stack.write_config()


def test_a_partition_is_looked_at_and_what_it_inherits_is_named_once(stack):
    """A table of one's own: it is made beside the daemons, which do not serve it."""
    database = stack.database("eu")
    columns = stack.admin("schema", "sql", "properties", "--table").stdout.split("CREATE SEQUENCE")[0]
    table = columns.replace("properties", "parts").replace(") WITH (fillfactor = 80)", ") PARTITION BY HASH (id)")
    database.execute(table + "CREATE SEQUENCE parts_ids; ALTER TABLE parts ADD CONSTRAINT cheap CHECK (price > 0); "
                     "CREATE UNIQUE INDEX pair ON parts (id, price); "
                     "CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0); "
                     "ALTER TABLE parts_0 ADD CONSTRAINT own CHECK (price < 1e9)")
    try:
        stack.write_config(lambda config: config["resources"]["properties"].update(table="parts"))
        told = {name for name in findings(stack) if not name.startswith("column")}
        assert told == {"constraint cheap", "index pair", "constraint own"}
        database.execute(findings(stack)["constraint own"]["run"])
        assert "constraint own" not in findings(stack)
    finally:
        database.execute("DROP TABLE parts; DROP SEQUENCE parts_ids")
        stack.write_config()
