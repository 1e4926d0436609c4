"""Fields that come and go, region by region and daemon by daemon: no value is lost and none becomes null."""

from decimal import Decimal

from support.process import wait_until
from support.rolling import GARAGE, add_field, remove_field, retire_field


def unknown(stack, region, record):
    return stack.database(region).value("SELECT unknown_fields FROM properties WHERE id = %s", record)


def test_a_field_that_one_region_does_not_know_survives_the_writes_of_that_region(stack, rolling, us, eu):
    record = stack.new_record()
    rolling.add_column("garage", "integer")
    rolling.restart("us", GARAGE)
    assert us.put(record, garage=2, version=1).json["garage"] == 2
    stack.wait_version("eu", record, 2)
    assert unknown(stack, "eu", record) == {"garage": 2}
    answer = eu.put(record, price=Decimal("7.00"), version=2)
    assert answer.status == 200 and "garage" not in answer.json
    stack.wait_version("us", record, 3)
    assert (us.read(record).json["garage"], rolling.field("us", record, "garage")) == (2, 2)

    rolling.restart("eu", GARAGE)
    assert eu.read(record).json["garage"] == 2
    rolling.wait_field(record, "garage", 2)
    assert us.read(record).etag == eu.read(record).etag
    assert us.read(record).json == eu.read(record).json
    assert eu.put(record, garage=3, version=3).status == 200
    rolling.wait_field(record, "garage", 3)


def test_an_old_and_a_new_daemon_of_one_region_pass_on_each_others_fields(stack, rolling, us, eu):
    record = stack.new_record()
    rolling.add_column("garage", "integer")
    rolling.restart("eu", GARAGE)
    new = rolling.beside("us", GARAGE).client
    assert new.put(record, garage=3, version=1).status == 200
    assert us.put(record, price=Decimal("8.00"), version=2).status == 200
    stack.wait_version("eu", record, 3)
    assert (new.read(record).json["garage"], eu.read(record).json["garage"]) == (3, 3)
    assert "garage" not in us.read(record).json

    assert eu.put(record, garage=4, version=3).status == 200
    stack.wait_version("us", record, 4)
    assert new.read(record).json["garage"] == 4, "whichever daemon of us applied it"
    assert us.put(record, bedrooms=1, version=4).status == 200
    rolling.wait_field(record, "garage", 4)
    stack.wait_version("eu", record, 5)
    assert eu.put(record, garage=None, version=5).status == 200
    rolling.wait_field(record, "garage", None)
    assert new.read(record).json["garage"] is None


def test_a_default_of_a_column_that_a_daemon_does_not_know_is_no_value(stack, rolling, us, eu):
    rolling.add_column("garage", "integer DEFAULT 1")
    rolling.restart("eu", GARAGE)
    rolling.beside("us", GARAGE)
    record = stack.new_record("us")
    rolling.wait_field(record, "garage", None)
    assert us.read(record).etag == eu.read(record).etag


def test_siblings_and_conflicts_hold_fields_that_this_region_does_not_know(stack, rolling, us, eu):
    record = stack.new_record()
    rolling.add_column("garage", "integer")
    rolling.restart("us", GARAGE)
    stack.broker.pause()
    assert us.put(record, garage=5, version=1).status == 200
    assert eu.put(record, price=Decimal("9.00"), version=1).status == 200
    stack.broker.resume()
    for region in stack.regions:
        stack.wait_version(region, record, 3)
    siblings = "SELECT origin, (fields ->> 'garage')::int FROM record_siblings WHERE record_id = %s ORDER BY origin"
    for region in stack.regions:
        assert stack.database(region).rows(siblings, record) == [("eu", None), ("us", 5)]
    assert [s["fields"].get("garage") for s in stack.database("eu").conflicts(record)[0]["siblings"]] == [5, None]

    rolling.restart("eu", GARAGE)
    assert us.read(record).json == eu.read(record).json
    assert us.read(record).etag == eu.read(record).etag
    done = stack.admin("compare", "properties", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_merge_takes_an_unknown_field_from_the_latest_sibling_that_has_it(stack, rolling, us, eu):
    stack.restart_daemons(lambda config: config["resources"]["properties"].update(policy="policies/field_merge.lua", track_fields=True))
    merge = [GARAGE, lambda config: config["resources"]["properties"].update(policy="policies/field_merge.lua", track_fields=True)]
    record = stack.new_record()
    rolling.add_column("garage", "integer")
    rolling.restart("us", *merge)
    stack.broker.pause()
    assert us.put(record, garage=6, version=1).status == 200
    assert eu.put(record, price=Decimal("10.00"), version=1).status == 200
    stack.broker.resume()
    for region in stack.regions:
        stack.wait_version(region, record, 3)
    assert us.read(record).json["garage"] == 6 and us.read(record).json["price"] == Decimal("10.00")
    assert unknown(stack, "eu", record) == {"garage": 6}
    assert eu.put(record, bedrooms=2, version=3).status == 200
    rolling.wait_field(record, "garage", 6, ["us"])
    rolling.restart("eu", *merge)
    rolling.wait_equal("garage")


def test_a_value_of_another_type_waits_until_the_type_is_known(stack, rolling, us, eu):
    """A field is widened: a value that does not fit here yet is parked, and the daemon that knows the new type applies it."""
    rolling.add_column("garage", "numeric(4,1)")
    rolling.restart("eu", GARAGE)
    rolling.restart("us", add_field("garage", type="decimal", precision=4, scale=1))
    record = stack.new_record()
    assert us.put(record, garage=Decimal("1.5"), version=1).status == 200
    wait_until("it is parked", lambda: stack.database("eu").value("SELECT reason FROM parked_events WHERE record_id = %s", record))
    rolling.restart("eu", add_field("garage", type="decimal", precision=4, scale=1))
    rolling.wait_field(record, "garage", Decimal("1.5"))


def test_what_an_old_daemon_has_parked_is_applied_at_once_when_a_new_one_takes_over(stack, rolling, us, eu):
    decimal = add_field("garage", type="decimal", precision=4, scale=1)
    rolling.add_column("garage", "numeric(4,1)")
    rolling.restart("eu", GARAGE)
    rolling.restart("us", decimal)
    new = rolling.beside("eu", decimal)
    database = stack.database("eu")
    database.execute("CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.retry_at := now() + interval '1 hour'; RETURN NEW; END $$; "
                     "CREATE TRIGGER later BEFORE INSERT ON plist.parked_events FOR EACH ROW EXECUTE FUNCTION later()")
    try:
        records = [stack.new_record(everywhere=False, garage=Decimal("1.5")) for _ in range(16)]
        wait_until("each daemon has read its partitions", lambda: database.value(
            "SELECT (SELECT count(*) FROM parked_events) + (SELECT count(*) FROM properties WHERE id = ANY(%s))", records) == len(records))
        wait_until("the new one knows of what the old one has parked", lambda: new.metrics()["plist_parked_events"] > 0)
        stack.plistd["eu"].kill()
        for record in records:
            rolling.wait_field(record, "garage", Decimal("1.5"))
    finally:
        database.execute("DROP FUNCTION later CASCADE")


def test_a_region_that_requires_a_field_changes_others_of_a_record_that_lacks_it(stack, rolling, us, eu):
    rolling.restart("us", lambda config: config["resources"]["properties"]["fields"]["bedrooms"].update(required=True))
    record = stack.new_record("eu")
    assert us.put(record, bedrooms=None, version=1).status == 400
    changed = us.put(record, price=Decimal("7.00"), version=1)
    assert (changed.status, changed.json["bedrooms"]) == (200, None), changed
    stack.wait_version("eu", record, 2)
    assert eu.read(record).json == us.read(record).json


def test_a_field_is_retired_and_removed_region_by_region_and_comes_back_with_its_values(stack, rolling, us, eu):
    record = stack.new_record(bathrooms=2)
    rolling.restart("us", retire_field("bathrooms"))
    assert "bathrooms" not in us.read(record).json
    refused = us.put(record, bathrooms=5, version=1)
    assert (refused.status, refused.json["errors"]) == (400, [{"pointer": "/bathrooms", "detail": "is not a field of this resource"}])
    assert us.put(record, price=Decimal("2.00"), version=1).status == 200
    stack.wait_version("eu", record, 2)
    assert eu.read(record).json["bathrooms"] == 2
    assert eu.put(record, bathrooms=3, version=2).status == 200
    rolling.wait_field(record, "bathrooms", 3)

    rolling.restart("eu", retire_field("bathrooms"))
    rolling.restart("us", remove_field("bathrooms"))
    assert us.put(record, price=Decimal("3.00"), version=3).status == 200
    stack.wait_version("eu", record, 4)
    rolling.wait_field(record, "bathrooms", 3)
    rolling.restart("eu", remove_field("bathrooms"))
    assert eu.put(record, price=Decimal("4.00"), version=4).status == 200
    stack.wait_version("us", record, 5)

    for region in stack.regions:
        rolling.restart(region)
    assert us.read(record).json == eu.read(record).json
    assert us.read(record).json["bathrooms"] == 3
    rolling.wait_equal("bathrooms")


def test_a_field_whose_column_is_gone_after_it_was_retired_is_kept_nowhere(stack, rolling, us, eu):
    rolling.add_column("garage", "integer")
    for region in stack.regions:
        rolling.restart(region, GARAGE)
    record = stack.new_record(garage=1)
    for region in stack.regions:
        rolling.restart(region, GARAGE, retire_field("garage"))
    rolling.restart("us")
    stack.database("us").execute("ALTER TABLE properties DROP COLUMN garage")
    assert eu.put(record, price=Decimal("5.00"), version=1).status == 200
    stack.wait_version("us", record, 2)
    assert unknown(stack, "us", record) is None
    assert us.put(record, price=Decimal("6.00"), version=2).status == 200
    stack.wait_version("eu", record, 3)
    stack.database("us").execute("ALTER TABLE properties ADD COLUMN garage integer")


def test_a_value_that_does_not_fit_its_type_does_not_come_back_after_the_field_was_written_again(stack, rolling, us, eu):
    """Another region's daemon was a step ahead when this one did not know the field at all."""
    record, other = stack.new_record(), stack.new_record()
    database = stack.database("eu")
    for changed in (record, other):
        database.execute("UPDATE properties SET unknown_fields = '{\"bedrooms\": 1.5}' WHERE id = %s", changed)
    assert eu.put(record, bedrooms=2, version=1).status == 200
    assert eu.put(other, bathrooms=2, version=1).status == 200
    assert (unknown(stack, "eu", record), unknown(stack, "eu", other)) == (None, {"bedrooms": 1.5})
    database.execute("UPDATE properties SET unknown_fields = NULL WHERE id = %s", other)
    stack.wait_version("us", record, 2)
    assert us.read(record).json == eu.read(record).json
