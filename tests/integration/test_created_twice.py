"""Two regions execute one POST and create two records: that of the region that comes first by name stays, and every tool says so."""

from decimal import Decimal

import pytest

from support.client import new_id
from support.process import wait_until

FIELDS = {"price": Decimal("78.00"), "bedrooms": 2}


def ruled(rule):
    return lambda config: [r["idempotency"].update(on_duplicate=rule) for r in config["routes"] if "idempotency" in r]


def post(client, request_id):
    return client.request("POST", "/us/properties", FIELDS, request_id)


def executed_twice(stack, request_id):
    """Both regions execute the request before either receives the other's event. Returns the two responses."""
    stack.broker.pause()
    try:
        made = {region: post(stack.client(region), request_id) for region in ("us", "eu")}
    finally:
        stack.broker.resume()
    assert [a.status for a in made.values()] == [201, 201], made
    return made["us"], made["eu"]


def conflicts(stack, record_id):
    """For each region, whether each of the record's conflicts of type created_twice is closed."""
    return [[c["closed_at"] is not None for c in stack.database(r).conflicts(record_id) if c["type"] == "created_twice"]
            for r in stack.regions]


def wait_gone(stack, record_id):
    for region in stack.regions:
        wait_until(f"{region} has deleted {record_id}", lambda r=region: stack.client(r).read(record_id).status == 404)


@pytest.mark.parametrize("rule", ["replay", "reject"])
def test_one_post_that_two_regions_executed_leaves_one_record(stack, us, eu, rule):
    stack.reload(ruled(rule))
    request_id = new_id()
    gone, kept = executed_twice(stack, request_id)
    wait_gone(stack, gone.json["id"])
    for client in (us, eu):
        assert client.read(kept.json["id"]).json == kept.json
        again = post(client, request_id)
        if rule == "reject":
            assert (again.status, again.json["title"]) == (422, "Duplicate request")
        else:
            assert (again.status, again.body, again.etag, again.headers["location"]) == \
                (201, kept.body, kept.etag, kept.headers["location"])
    wait_until("both regions have closed the conflict", lambda: conflicts(stack, gone.json["id"]) == [[True], [True]])
    stack.check_consistent()
    assert stack.database("us").property(kept.json["id"])["version"] == 1
    listed = stack.admin("conflicts", "list", "--type", "created_twice", "--key", str(gone.json["id"]))
    assert listed.returncode == 0 and listed.stdout.count("created_twice") == 2, listed


def test_a_post_that_is_repeated_through_nginx_after_a_504_leaves_one_record(stack, us, eu):
    """us executes it too late for NGINX and is killed before it publishes the event; eu executes the retry."""
    stack.reload(ruled("replay"))
    database = stack.database("us")
    request_id = new_id()
    stack.write_config(lambda config: (config["nginx"].update(read_timeout="1s"), ruled("replay")(config)))
    stack.nginx.reload()
    database.execute("CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS "
                     "$$ BEGIN PERFORM pg_sleep(1.5); RETURN NEW; END $$")
    database.execute("CREATE TRIGGER late BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION late()")
    stack.broker.pause()
    try:
        assert post(stack.front(), request_id).status == 504
        wait_until("us has executed it", lambda: database.remembered(request_id))
        stack.plistd["us"].kill()
        kept = post(stack.front(), request_id)
        assert (kept.status, kept.region) == (201, "eu")
    finally:
        database.execute("DROP FUNCTION late() CASCADE")
        stack.broker.resume()
        stack.write_config(ruled("replay"))
        stack.nginx.reload()  # it waits as long as usual again, also in the tests after this one
    gone = database.remembered(request_id)["record_id"]
    stack.plistd["us"].start()
    wait_gone(stack, gone)
    again = post(stack.front(), request_id)
    assert (again.status, again.body, again.headers["location"]) == (201, kept.body, kept.headers["location"])
    stack.check_consistent()


def test_a_second_record_that_somebody_has_written_is_left_to_people(stack, us, eu):
    request_id = new_id()
    stack.broker.pause()
    try:
        made = {c.region: post(c, request_id).json for c in (us, eu)}
        assert us.put(made["us"]["id"], price=Decimal("79.00"), version=1).status == 200
    finally:
        stack.broker.resume()
    gone, kept = made["us"]["id"], made["eu"]["id"]
    wait_until("both regions leave it to an operator", lambda: conflicts(stack, gone) == [[False], [False]])
    for region in stack.regions:
        error = f"SELECT policy_error FROM conflicts WHERE record_id = {gone}"
        wait_until(f"{region} says what to do", lambda r=region: "delete one of the two" in str(stack.database(r).value(error)))
        assert all(stack.client(region).read(i).status == 200 for i in (gone, kept))
    for region in stack.regions:
        stack.database(region).execute("UPDATE created_twice SET found_at = found_at - interval '1 minute'")
        wait_until(f"a metric of {region} counts it", lambda r=region: stack.plistd[r].metrics()["plist_created_twice"] == 1)
    said = stack.admin("status", check=False)
    assert said.returncode == 1 and all(f"{r}: 1 request created two records" in said.stderr for r in stack.regions), said
    number = stack.database("us").value(f"SELECT id FROM conflicts WHERE record_id = {gone}")
    refused = stack.admin("conflicts", "restore", f"us/{number}", "--take", "1", "--by", "anna", "--reason", "none", check=False)
    assert refused.returncode == 1 and "delete the one that should go" in refused.stderr, refused
    assert us.delete(kept, version=1).status == 204
    wait_until("the conflict is closed everywhere", lambda: conflicts(stack, gone) == [[True], [True]])
    assert us.read(gone).json["price"] == Decimal("79.00")
    for region in stack.regions:
        wait_until(f"the metric of {region} is 0 again", lambda r=region: stack.plistd[r].metrics()["plist_created_twice"] == 0)
    stack.check_consistent()


def test_three_regions_agree_on_the_record_that_stays(stack3):
    request_id = new_id()
    stack3.broker.pause()
    try:
        made = {r: post(stack3.client(r), request_id).json["id"] for r in stack3.regions}
    finally:
        stack3.broker.resume()
    for region in ("us", "eu"):
        wait_gone(stack3, made[region])
    assert all(stack3.client(r).read(made["ap"]).status == 200 for r in stack3.regions)
    for region in stack3.regions:
        wait_until(f"{region} remembers ap's record",
                   lambda r=region: stack3.database(r).remembered(request_id)["record_id"] == made["ap"])
    stack3.check_consistent()
