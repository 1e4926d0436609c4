"""Behaviour that depends on the number of regions, tested with us, eu and ap."""

from decimal import Decimal

import pytest

from support.client import new_id
from support.load import Load
from support.process import wait_until


def test_writes_of_three_regions_at_once_end_equal(stack3):
    record = stack3.new_record()
    stack3.broker.pause()
    for n, region in enumerate(stack3.regions):
        assert stack3.client(region).put(record, price=Decimal(n + 1), version=1).status == 200
    stack3.broker.resume()
    for region in stack3.regions:
        stack3.wait_version(region, record, 4)
    stack3.check_consistent()
    row = stack3.database("us").property(record)
    assert (row["price"], row["version"], row["vector"]) == (Decimal("3.00"), 4, {"us": 2, "eu": 1, "ap": 1})
    etags = {stack3.client(r).read(record).etag for r in stack3.regions}
    assert etags == {'"ap:1+eu:1+us:2"'}


@pytest.mark.parametrize("policy", ["last_writer_wins", "region_order", "highest_price", "delete_wins"])
def test_three_regions_under_load_end_equal_with_every_policy(stack3, policy):
    stack3.reload(lambda config: config["resources"]["properties"].update(policy=f"policies/{policy}.lua"))
    records = [stack3.new_record(everywhere=False) for _ in range(4)]
    with Load([stack3.client(r) for r in stack3.regions], records, threads=6, deletes=True) as load:
        load.wait_accepted(150)
    stack3.check_consistent()
    assert load.accepted and not load.faults, load.faults


def test_a_request_sent_to_three_regions_counts_as_one_write(stack3):
    record = stack3.new_record()
    request_id = new_id()
    body = {"price": Decimal("31.00"), "version": 1}
    stack3.broker.pause()
    for region in stack3.regions:
        assert stack3.client(region).request("PUT", f"/us/properties/{record}", body, request_id).status == 200
    stack3.broker.resume()
    for region in stack3.regions:
        stack3.wait_version(region, record, 4)
    stack3.check_consistent()
    for region in stack3.regions:
        assert not stack3.database(region).conflicts(record)
        assert stack3.database(region).remembered(request_id)["dots"] == {"us": 2, "eu": 1, "ap": 1}


def test_a_request_is_remembered_in_every_region(stack3):
    record = stack3.new_record()
    request_id = new_id()
    assert stack3.client("ap").put(record, price=Decimal("9.00"), version=1, request_id=request_id).status == 200
    for region in ("us", "eu"):
        wait_until(f"{region} remembers", lambda r=region: stack3.database(r).remembered(request_id))
        assert stack3.client(region).put(record, price=Decimal("9.00"), version=1, request_id=request_id).status == 422


def test_failover_goes_through_the_regions_in_their_order(stack3):
    record = stack3.new_record()
    front = stack3.front("us")

    def served_by(region):
        return lambda: front.read(record).region == region and front.read(record).status == 200
    wait_until("us answers", served_by("us"))
    stack3.plistd["us"].kill()
    assert front.read(record).status == 200
    wait_until("eu answers for us", served_by("eu"))
    answer = front.put(record, price=Decimal("2.00"), version=1)
    assert (answer.status, answer.region) == (200, "eu")
    stack3.wait_version("ap", record, 2)  # or it would be published when eu is back
    stack3.plistd["eu"].kill()
    assert front.read(record).status == 200
    wait_until("ap answers for us", served_by("ap"))
    answer = front.put(record, price=Decimal("3.00"), version=2)
    assert (answer.status, answer.region) == (200, "ap")
    for region in ("us", "eu"):
        stack3.plistd[region].start()
    wait_until("us answers again", served_by("us"))
    stack3.check_consistent()


def test_each_prefix_fails_over_to_the_ones_after_it_and_then_from_the_start(stack3):
    record = stack3.new_record()
    stack3.plistd["ap"].kill()
    front = stack3.front("ap")
    assert front.read(record).status == 200
    assert front.read(record).region in ("us", "eu")
    answer = front.put(record, price=Decimal("2.00"), version=1)
    assert answer.status == 200


def test_a_region_that_was_down_catches_up_with_both_others(stack3):
    records = [stack3.new_record() for _ in range(5)]
    stack3.plistd["eu"].kill()
    for record in records:
        assert stack3.client("us").put(record, price=Decimal("2.00"), version=1).status == 200
        stack3.wait_version("ap", record, 2)
        assert stack3.client("ap").put(record, price=Decimal("3.00"), version=2).status == 200
    stack3.plistd["eu"].start()
    for record in records:
        stack3.wait_version("eu", record, 3)
    stack3.check_consistent()
