"""What others than the regions write to the topic of heartbeats stops nothing and makes nobody believe what is not true."""

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from support.process import wait_until as waits
from test_read_your_writes import Session, is_behind, not_applying

TOPIC = "plist-heartbeats"
NO_DAY = 10**18 - 1  # a number that no relay has given out yet
UUID = "0b6cf5a1-7a1c-4dc1-9a4a-0a3d1b2c3d4e"


def wait_until(what, condition):
    return waits(what, condition)


def at(**later):
    return (datetime.now(timezone.utc) + timedelta(**later)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def forge(stack, region, sent=None, **members):
    heartbeat = {"region": region, "sent_at": sent or at(seconds=1), "outbox_events": 0, "outbox_oldest_at": None, "policies": {}}
    stack.broker.produce(TOPIC, region, json.dumps(heartbeat | members))


def refused(stack, region):
    return stack.plistd[region].metrics()["plist_apply_heartbeats_refused_total"]


def heard(stack, region, origin):
    return stack.client(region).get(f"/{region}/replication-lag").json["origins"][origin]


@pytest.mark.parametrize("members", [
    {"word": {"known": {"us": {"generation": "x"}}}},
    {"word": {"known": {"us": {"generation": 2**63 - 1, "outbox_id": 1}}}},
    {"word": {"identity": {"incarnation": UUID, "state": "settled", "generation": None, "high": 1}}},
    {"word": {"asks": {}}},
    {"word": {"asks": [{"id": "a", "of": "us", "since": "yesterday"}]}},
    {"published": {"property-updates": str(NO_DAY)}},
    {"applied": {"us": {"property-updates": ",".join([str(NO_DAY)] * 8)}}},
    {"sent": "2199-01-01T00:00:00.000000Z"},
], ids=lambda members: json.dumps(members)[:60])
def test_a_heartbeat_that_no_region_can_have_sent_is_ignored_and_counted(stack, us, eu, members):
    record = stack.new_record()
    before = refused(stack, "us")
    forge(stack, "eu", **{"sent": at(hours=20)} | members)  # believed until eu's own heartbeats are as late
    wait_until("us has counted it", lambda: refused(stack, "us") > before)
    assert stack.plistd["us"].metrics()['plist_loss_recent{kind="heartbeat"}'] == 1
    answer = us.put(record, price=Decimal("2.00"), version=1)
    assert answer.status == 200
    assert eu.put(stack.new_record("eu"), price=Decimal("2.00"), version=1).status == 200
    stack.check_consistent()
    for _ in range(3):  # what heals a region looks each second
        seen = heard(stack, "us", "eu")["last_heartbeat_at"]
        wait_until("us hears the next one", lambda: heard(stack, "us", "eu")["last_heartbeat_at"] > seen)
        assert stack.plistd["us"].status()["ready"]
    assert stack.database("us").rows("SELECT state, generation FROM plist.identity") == [("settled", 1)]
    assert heard(stack, "us", "eu")["state"] == "ok"


def test_a_number_that_the_database_cannot_store_does_not_stop_the_applier(stack, us, eu):
    record, before = stack.new_record(), refused(stack, "us")
    text = '{"region":"eu","sent_at":"%s","outbox_events":0,"policies":{"properties":1e999999}}' % at(hours=20)
    stack.broker.produce(TOPIC, "eu", text)
    wait_until("us has counted it", lambda: refused(stack, "us") > before)
    assert eu.put(record, price=Decimal("2.00"), version=1).status == 200
    stack.wait_version("us", record, 2)


def test_a_clock_that_is_put_back_silences_a_region_only_for_a_moment(stack):
    forge(stack, "eu", sent=at(hours=20))
    wait_until("us has it", lambda: stack.database("us").value(
        "SELECT sent_at > now() + interval '19 hours' FROM region_heartbeats WHERE region = 'eu'"))
    wait_until("us hears the true ones again", lambda: stack.database("us").value(
        "SELECT sent_at < now() + interval '1 hour' FROM region_heartbeats WHERE region = 'eu'"))
    wait_until("eu is not silent", lambda: heard(stack, "us", "eu")["state"] == "ok")


def test_heartbeats_of_many_names_take_no_place_of_a_configured_region(stack):
    for number in range(20):
        forge(stack, f"nowhere-{number}")
    stack.plistd["us"].stop()
    for number in range(20):
        forge(stack, f"nowhere-{number}")
    stack.plistd["us"].start()
    for number in range(20):
        forge(stack, f"nowhere-{number}")
    seen = heard(stack, "us", "eu")["last_heartbeat_at"]
    wait_until("us hears eu", lambda: heard(stack, "us", "eu")["last_heartbeat_at"] not in (None, seen))
    for region in stack.regions:
        stack.database(region).execute("DELETE FROM region_heartbeats WHERE region LIKE 'nowhere-%'")


def test_a_position_that_a_region_has_not_told_satisfies_no_session(stack, us, eu):
    record, other = stack.new_record(), stack.new_record()
    session = Session()
    wait_until("eu has reached all", lambda: session.list(eu, other - 1).status == 200)
    for position in ({"generation": 1, "id": 10**12}, {"generation": 10**9, "id": 1}):
        stack.broker.produce(TOPIC, "us", json.dumps({"region": "us", "published": {}, "position": position}))
    before = refused(stack, "eu")
    stack.broker.produce(TOPIC, "us", "x")  # behind them, in the same partition
    wait_until("eu has read them", lambda: refused(stack, "eu") > before)
    with not_applying(stack, "eu"):
        assert session.put(us, record, price=Decimal("2.00"), version=1).status == 200
        assert is_behind(session.read(eu, other))
        assert is_behind(session.list(eu, record - 1))
    answer = wait_until("eu has it", lambda: (a := session.list(eu, record - 1)).status == 200 and a)
    assert answer.json[0]["version"] == 2


def test_a_claim_to_have_received_what_was_never_published_deletes_nothing(stack, us):
    database = stack.database("us")
    with not_applying(stack, "eu"):
        record = stack.new_record("us", everywhere=False)
        for version in range(1, 4):
            assert us.put(record, price=Decimal("2.00"), version=version).status == 200
        mine = f"SELECT count(*) FROM outbox WHERE record_id = {record}"
        assert database.value(mine) == 4
        ahead = int((datetime.now(timezone.utc) + timedelta(hours=20)).timestamp() * 10**6)
        for _ in range(3):
            forge(stack, "eu", applied={"us": {"property-updates": ",".join([str(ahead)] * 8)}})
        wait_until("us does not believe it", lambda: "that this region has never published" in stack.plistd["us"].log_text())
        disbelieved = 'plist_outbox_region_disbelieved{region="eu"}'
        assert stack.plistd["us"].metrics()[disbelieved] == 1
        assert database.value(mine) == 4
    stack.check_consistent()
    wait_until("eu is believed again", lambda: stack.plistd["us"].metrics()[disbelieved] == 0)


def test_numbers_of_made_up_regions_are_not_kept(stack, us):
    """Each name that is kept makes every heartbeat longer, until the broker refuses them."""
    record = stack.new_record()
    for number in range(3):
        headers = (("plist-origin", f"nowhere-{number}"), ("plist-seq", "12/10/1/1"), ("plist-republished", f"nobody-{number}"))
        stack.broker.produce("property-updates", record, "{}", headers[:2])
        stack.broker.produce("property-updates", record, "{}", headers)
    assert us.put(record, price=Decimal("2.00"), version=1).status == 200
    wait_until("they are dead letters", lambda: stack.database("eu").value("SELECT count(*) FROM dead_letters") >= 6)
    assert stack.database("eu").rows("SELECT origin FROM applied_sequences WHERE origin LIKE 'no%'") == []
    stack.check_consistent()
    for region in stack.regions:
        stack.database(region).execute("TRUNCATE dead_letters")


def test_nothing_is_published_again_for_a_region_that_is_not_configured(stack):
    asks = json.dumps({"asks": [{"id": "made-up", "of": "us", "since": None}]})
    stack.database("us").execute("INSERT INTO region_heartbeats (region, sent_at, heard_at, word) VALUES ('nowhere', now(), now() + interval '50 s', %s)", asks)

    def served():  # a true heartbeat of eu may take the place of the forged one before us has stored it
        forge(stack, "eu", word={"asks": [{"id": "of-eu", "of": "us", "since": at(hours=-1)}]})
        return stack.database("us").value("SELECT count(*) FROM served_asks WHERE id = 'of-eu'") == 1
    wait_until("us has served what eu seems to ask", served)
    assert stack.database("us").value("SELECT count(*) FROM served_asks WHERE id = 'made-up'") == 0
    for region in stack.regions:
        stack.database(region).execute("DELETE FROM region_heartbeats WHERE region = 'nowhere'")
    stack.check_consistent()
