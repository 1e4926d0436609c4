"""plist-admin: dead letters, conflicts, lag, the embedded broker, status."""

import contextlib
import json
import os
import re
import signal
import subprocess
from decimal import Decimal

import pytest

from support import places
from support.plistd import admin as run_admin
from support.process import wait_until
from support.quiet import NO, PARTIAL, UNREACHABLE, USAGE, YES, ask, data, empty, on_a_terminal, quiet  # noqa: F401 - fixtures


# ---- dead letters


LETTER = ("INSERT INTO dead_letters (topic, partition, kafka_offset, key, value, headers, error) "
          "VALUES ('property-updates', 3, %s, %s, %s, '[{\"name\": \"who\", \"value\": \"cron\"}]', 'line 1, column 1: no JSON')")


def test_dead_letters_are_listed_shown_and_dropped(empty):
    empty.database("eu").execute(LETTER, 42, b"7", b"\xff\x00<poison>\x1b[31m")
    letter = data(empty, "dead-letters", "list")["dead_letters"][0]
    assert (letter["region"], letter["partition"], letter["offset"], letter["key"]) == ("eu", 3, 42, "7")
    assert letter["value_base64"] == "/wA8cG9pc29uPhtbMzFt" and letter["headers"] == [{"name": "who", "value": "cron"}]
    shown = ask(empty, "dead-letters", "show", f"eu/{letter['id']}").stdout
    assert "no JSON" in shown and "<poison>" in shown and "\x1b" not in shown
    ask(empty, "dead-letters", "show", f"us/{letter['id']}", status=NO)

    refused = ask(empty, "dead-letters", "drop", f"eu/{letter['id']}", status=NO)
    assert "--yes" in refused.stderr
    assert empty.database("eu").value("SELECT count(*) FROM dead_letters") == 1
    ask(empty, "dead-letters", "drop", letter["id"], "--yes", status=USAGE)  # of which region?
    ask(empty, "dead-letters", "drop", letter["id"], "--yes", "--region", "eu")
    assert empty.database("eu").value("SELECT count(*) FROM dead_letters") == 0
    ask(empty, "dead-letters", "drop", f"eu/{letter['id']}", "--yes", status=NO)


@pytest.mark.parametrize("answer, left", [(b"y\n", 0), (b"n\n", 1), (b"\n", 1)])
def test_dropping_asks_on_a_terminal(empty, answer, left):
    database = empty.database("us")
    database.execute(LETTER, 1, b"1", b"x")
    number = database.value("SELECT max(id) FROM dead_letters")
    argv = [places.program("plist-admin"), "--config", empty.config, "dead-letters", "drop", f"us/{number}"]
    status, _ = on_a_terminal(argv, dict(os.environ), answer)
    assert (status, database.value("SELECT count(*) FROM dead_letters")) == (NO if left else YES, left)


# ---- conflicts


def sibling(origin, counter, price, bedrooms, deleted=False):
    return {"origin": origin, "counter": counter, "vector": {origin: counter}, "updated_at": f"2026-02-21T10:00:0{counter}.000000Z",
            "deleted": deleted, "fields": {"price": price, "bedrooms": bedrooms, "bathrooms": None}, "field_times": None,
            "request_id": f"request-{origin}", "principal": ""}


def put_conflict(stack, region, record, verdict, visible, kind="update_origin_differs", policy="last_writer_wins", days=0, closed=False):
    return stack.database(region).value(
        "WITH c AS (INSERT INTO conflicts (resource, record_id, type, detected_at, closed_at, policy_name, policy_sha256, siblings, verdict, "
        "visible, vector) VALUES ('properties', %s, %s, now() - %s * interval '1 day', CASE WHEN %s THEN now() END, %s, %s, %s, %s, %s, %s) "
        "RETURNING id) SELECT id FROM c", record, kind, days, closed, policy, "ab" * 32,
        json.dumps([sibling("us", 1, 100, 3), sibling("eu", 2, 200, 4)]), json.dumps(verdict), json.dumps(visible),
        json.dumps({"us": 1, "eu": 2}))


def visible(price, bedrooms):
    return {"fields": {"price": price, "bedrooms": bedrooms, "bathrooms": None}, "origin": "eu", "version": 3,
            "updated_at": "2026-02-21T10:00:02.000000Z", "deleted": False}


@pytest.fixture
def decided(empty):
    """Some conflicts in us, of the records 1 to 4."""
    put_conflict(empty, "us", 1, {"take": 2}, visible(200, 4))
    put_conflict(empty, "us", 2, {"take": 1}, visible(100, 3), kind="update_deleted", days=3, closed=True)
    put_conflict(empty, "us", 3, {"merge": {"price": 200, "bedrooms": 3, "bathrooms": None}}, visible(200, 3), policy="field_merge", days=10)
    put_conflict(empty, "eu", 4, {"take": 2}, visible(200, 4))
    return empty


@pytest.mark.parametrize("arguments, records", [
    ([], {1, 2, 3, 4}), (["--region", "us"], {1, 2, 3}), (["--open"], {1, 3, 4}), (["--closed"], {2}), (["--key", "3"], {3}),
    (["--type", "update_deleted"], {2}), (["--policy", "field_merge"], {3}), (["--since", "5d"], {1, 2, 4}),
    (["--since", "5d", "--until", "1d"], {2}), (["--resource", "properties", "--limit", "1"], {1, 4}),
])
def test_conflicts_are_filtered(decided, arguments, records):
    assert {row["record_id"] for row in data(decided, "conflicts", "list", *arguments)["conflicts"]} == records


def test_a_filter_that_cannot_be_understood_is_refused(decided):
    assert "--since" in ask(decided, "conflicts", "list", "--since", "lately", status=USAGE).stderr
    ask(decided, "conflicts", "list", "--key", "seven", status=USAGE)
    assert "boats" in ask(decided, "conflicts", "list", "--resource", "boats", status=USAGE).stderr


def test_one_conflict_is_shown_side_by_side_with_the_winner_marked(decided):
    number = next(r["id"] for r in data(decided, "conflicts", "list", "--key", "1")["conflicts"])
    shown = ask(decided, "conflicts", "show", f"us/{number}").stdout
    assert re.search(r"us:1 +eu:2 \* +SHOWN", shown)
    assert re.search(r"^price +100 +200 +200", shown, re.M)
    assert re.search(r"^request_id +request-us +request-eu", shown, re.M)
    conflict = data(decided, "conflicts", "show", f"us/{number}")["conflicts"][0]
    assert [s["origin"] for s in conflict["siblings"]] == ["us", "eu"] and conflict["verdict"] == {"take": 2}


def test_of_a_merge_each_value_that_went_into_it_is_marked(decided):
    number = next(r["id"] for r in data(decided, "conflicts", "list", "--key", "3")["conflicts"])
    shown = ask(decided, "conflicts", "show", f"us/{number}").stdout
    assert re.search(r"^price +100 +200 \* +200", shown, re.M)
    assert re.search(r"^bedrooms +3 \* +4 +3", shown, re.M)


# ---- memory

MIB = 1 << 20
LARGE = "repeat('a', 900000)"


def within(stack, mib, *arguments, status=YES):
    """Runs plist-admin with a limit for its memory."""
    argv = ["prlimit", f"--data={mib * MIB}", places.program("plist-admin"), "--config", stack.config, *arguments]
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == status, f"exit {done.returncode}, not {status}\n{done.stdout[-1000:]}{done.stderr[-1000:]}"
    return done


def test_rows_of_any_size_are_read_in_bounded_memory(empty):
    """60 of 900 kB each, which would be several times 54 MB in memory."""
    eu = empty.database("eu")
    eu.execute(f"INSERT INTO dead_letters (topic, partition, kafka_offset, key, value, error) SELECT 'property-updates', 3, n, '7', "
               f"convert_to({LARGE}, 'UTF8'), 'no JSON' FROM generate_series(1, 60) AS n")
    eu.execute(f"INSERT INTO parked_events (resource, record_id, origin, counter, topic, partition, kafka_offset, key, value, reason, "
               f"retry_at) SELECT 'properties', n, 'us', 1, 'property-updates', 3, n, '7', convert_to({LARGE}, 'UTF8'), 'refused', now() FROM generate_series(1, 60) AS n")
    eu.execute(f"INSERT INTO conflicts (resource, record_id, type, policy_name, policy_sha256, siblings, verdict, visible, vector) SELECT "
               f"'properties', n, 'update_origin_differs', 'last_writer_wins', '', jsonb_build_array(%s::jsonb || jsonb_build_object("
               f"'request_id', {LARGE}), %s::jsonb), '{{\"take\": 2}}', %s, '{{}}' FROM generate_series(1, 60) AS n",
               json.dumps(sibling("us", 1, 100, 3)), json.dumps(sibling("eu", 2, 200, 4)), json.dumps(visible(200, 4)))
    for noun, table, detail in (("dead-letters", "dead_letters", "value_base64"), ("parked", "parked", "value"), ("conflicts", "conflicts", "siblings")):
        assert len(within(empty, 64, noun, "list", "--limit", "500").stdout.splitlines()) == 61
        listed = within(empty, 160, noun, "list", "--limit", "500", "-o", "json")
        rows = json.loads(listed.stdout)[table]
        whole = [row for row in rows if row[detail] is not None]
        assert len(rows) == 60 and 5 <= len(whole) <= 18 and whole == rows[:len(whole)], (len(rows), len(whole))
        assert f"the long texts of {60 - len(whole)} rows are left out" in listed.stderr
        number = rows[-1]["id"]
        assert json.loads(within(empty, 64, noun, "show", f"eu/{number}", "-o", "json").stdout)[table][0][detail]
    replayed = within(empty, 64, "policy", "replay", "policies/last_writer_wins.lua", "--since", "1d", "-o", "json")
    assert sum(region["conflicts"] for region in json.loads(replayed.stdout)["regions"]) == 60


def test_a_conflict_that_does_not_exist_is_status_1(decided):
    ask(decided, "conflicts", "show", "999999", status=NO)
    ask(decided, "conflicts", "show", "ap/1", status=USAGE)
    ask(decided, "conflicts", "show", "first", status=USAGE)


# ---- without a broker, without daemons


def test_lag_without_a_broker_says_that_it_cannot_be_known(empty):
    found = data(empty, "lag", "--max-seconds", "5", "--timeout", "500ms", status=PARTIAL)
    assert {row["verdict"] for row in found["regions"]} == {"broker-down"}
    assert all(row["seconds"] is None for row in found["regions"])
    assert "kafka" in ask(empty, "lag", "--timeout", "500ms", status=PARTIAL).stderr


def test_lag_has_a_status_of_its_own_if_nothing_can_be_reached(empty):
    for server in empty.postgres.values():
        server.stop()
    ask(empty, "lag", "--timeout", "500ms", status=UNREACHABLE)


def test_an_event_in_an_outbox_counts_as_lag_of_its_age(empty):
    empty.database("us").execute(
        "INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, status, expires_at, created_at) "
        "VALUES ('properties', 1, 'us', '{}', '{\"us\": 1}', 'r', sha256(''), 200, now() + interval '1 day', now() - interval '1 minute')")
    found = data(empty, "lag", "--timeout", "500ms", status=PARTIAL)
    eu = next(row for row in found["origins"] if row["region"] == "eu")
    assert eu["outbox"] == 1 and 59 < eu["seconds"] < 120


# ---- removing a region


@pytest.fixture
def leaving(empty):
    """eu is drained, its outbox is empty, and us has received all of it but the last events of one partition."""
    us, eu = empty.database("us"), empty.database("eu")
    eu.execute("UPDATE plist.identity SET drained = true")
    eu.execute("INSERT INTO outbox_marks (floor_id, published, rows_total, deleted) VALUES (7, '{\"property-updates\": \"0,107,109\"}', 7, true)")
    us.execute("INSERT INTO applied_sequences (origin, topic, partition, seq, applied_at) VALUES ('eu', 'property-updates', 1, 107, now()), "
               "('eu', 'property-updates', 2, 105, '2026-02-21 10:00:00+00')")
    yield empty
    eu.execute("UPDATE plist.identity SET drained = false")
    eu.execute("TRUNCATE outbox_marks")
    us.execute("TRUNCATE applied_sequences, plist.asks")


def test_a_region_is_not_removed_while_another_one_lacks_what_it_no_longer_keeps(leaving):
    """us was silent for longer than outbox.retention, so eu's outbox is empty all the same."""
    refused = ask(leaving, "region", "remove", "eu", status=NO)
    assert "us lacks what eu has written since 2026-02-21T10:00:00" in refused.stderr
    assert "no other region has all of it" in refused.stderr
    assert "--leave-behind" in refused.stderr and "is applied in every other region" not in refused.stdout + refused.stderr
    told = ask(leaving, "region", "remove", "eu", "--leave-behind")
    assert "us lacks what eu has written" in told.stderr  # said all the same
    leaving.database("us").execute("UPDATE applied_sequences SET seq = 109 WHERE partition = 2")
    gone = ask(leaving, "region", "remove", "eu")
    assert "everything it wrote is applied in every other region" in gone.stdout + gone.stderr


def test_a_region_that_has_received_nothing_of_another_lacks_all(leaving):
    leaving.database("us").execute("TRUNCATE applied_sequences")
    refused = ask(leaving, "region", "remove", "eu", status=NO)
    assert "us lacks what eu has written since the beginning, in 2 partitions" in refused.stderr


def test_asks_that_a_retired_region_never_answered_are_named(leaving):
    us = leaving.database("us")
    us.execute("INSERT INTO plist.asks (id, of_region, purpose) VALUES ('one', 'ap', 'gap')")
    leaving.write_config(lambda c: c.update(retired_regions=["ap"]))
    told = ask(leaving, "region", "remove", "ap")
    assert "us: it has asked ap for events that it lacks" in told.stderr
    assert us.value("SELECT count(*) FROM plist.asks") == 0


# ---- the embedded broker


@pytest.fixture
def broker(empty):
    empty.broker.start()
    yield empty.broker
    empty.broker.stop()


def test_the_embedded_broker_says_that_it_keeps_nothing(broker):
    assert "keeps messages in memory only" in broker.log_text()
    broker.produce("property-updates", "1", "{}")
    assert [m["payload"] for m in broker.consume("property-updates")] == ["{}"]
    broker.restart()
    assert not any(t["topic"] == "property-updates" for t in broker.metadata()["topics"])


def test_the_embedded_broker_refuses_a_port_that_is_taken(broker):
    done = run_admin("broker", "--listen", broker.address, check=False, timeout=20)
    assert done.returncode == UNREACHABLE
    assert broker.address in done.stderr


def test_lag_counts_what_waits_in_the_partitions(empty, broker):
    for key in range(6):
        broker.produce("property-updates", str(key), "{}")
    found = data(empty, "lag")
    us = [row for row in found["partitions"] if row["region"] == "us"]
    assert sum(row["events_behind"] for row in us) == 6
    assert all(row["seconds"] >= 0 for row in us)
    assert {row["verdict"] for row in us} <= {"ok", "catching-up"}
    ask(empty, "lag", "--max-seconds", "0", status=NO)
    ask(empty, "lag", "--max-seconds", "600")
    assert {row["daemon"] for row in found["regions"]} == {"down"}


def test_a_position_in_the_database_counts_as_far_as_the_topic_goes(empty, broker):
    broker.produce("property-updates", "1", "{}", partition=0)
    empty.database("us").execute("INSERT INTO applied_positions VALUES ('property-updates', 0, 1, now())")
    empty.database("eu").execute("INSERT INTO applied_positions VALUES ('property-updates', 0, 9000, now())")  # of a topic that is gone
    partitions = {(row["region"], row["partition"]): row for row in data(empty, "lag")["partitions"]}
    assert partitions["us", 0]["events_behind"] == 0 and partitions["us", 0]["verdict"] == "ok"
    assert partitions["eu", 0]["events_behind"] == 1


def test_watching_looks_again_until_it_is_interrupted(empty, broker):
    argv = [places.program("plist-admin"), "--config", empty.config, "lag", "--interval", "100ms", "-o", "json"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    looks = 0
    for line in process.stdout:
        looks += '"origins"' in line
        if looks == 3:
            break
    process.send_signal(signal.SIGINT)
    process.wait(10)
    assert looks == 3


# ---- everything up


def test_status_is_yes_when_all_is_well_and_says_what_runs(stack):
    stack.wait_ready()
    stack.settle()
    stack.wait_green()
    found = data(stack, "status")
    assert {row["daemons"] for row in found["regions"]} == {"1 of 1 ready"}
    assert {row["database"] for row in found["regions"]} == {"up"}
    assert all(row["version"] and re.fullmatch("[0-9a-f]{64}", row["config_sha256"]) for row in found["daemons"])
    assert {(row["region"], row["policy"]) for row in found["policies"]} == {("us", "last_writer_wins"), ("eu", "last_writer_wins")}
    assert found["warnings"] == []


def test_status_distinguishes_a_daemon_that_is_down_from_a_database_that_is_down(stack):
    stack.plistd["us"].stop()
    found = data(stack, "status", status=PARTIAL)
    assert [row["state"] for row in found["daemons"]] == ["down", "ready"]
    stack.restore()
    stack.postgres["eu"].stop()
    found = data(stack, "status", "--timeout", "1s", status=PARTIAL)
    assert [row["database"] for row in found["regions"]] == ["up", "down"]


@pytest.mark.parametrize("table", ["conflicts", "dead_letters", "outbox_sequence", "plist_leaders", "restorations"])
def test_status_names_a_table_that_is_missing(stack, table):
    stack.wait_ready()
    stack.settle()
    database = stack.database("us")
    database.execute(f"ALTER TABLE plist.{table} RENAME TO renamed")
    try:
        assert f"us: the database lacks what its migrations made: table plist.{table}" in ask(stack, "status", status=NO).stderr
    finally:
        database.execute(f"ALTER TABLE plist.renamed RENAME TO {table}")
    stack.wait_green()


def test_a_daemon_that_cannot_publish_is_not_ready_and_says_why(stack, us):
    stack.wait_ready()
    database = stack.database("us")
    database.execute("ALTER TABLE plist.outbox_sequence RENAME TO renamed; SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                     "WHERE application_name = 'plistd us relay'")
    try:
        stack.new_record(everywhere=False)
        stack.plistd["us"].wait_unready("events of this region have not been published")
        assert "outbox_sequence" not in us.get("/ready").text
        assert stack.plistd["us"].metrics()["plist_relay_failing_seconds"] > 0
    finally:
        database.execute("ALTER TABLE plist.renamed RENAME TO outbox_sequence")
    stack.wait_ready()
    stack.settle()


def test_status_warns_of_policies_that_differ_with_both_hashes(stack):
    stack.wait_ready()
    stack.settle()
    hashes = {p["name"]: p["sha256"] for p in data(stack, "policy", "list")["policies"]}
    stack.write_config(lambda config: config["resources"]["properties"].update(policy="policies/region_order.lua"))
    stack.plistd["us"].reload()
    done = ask(stack, "status", status=NO)
    assert hashes["region_order"][:12] in done.stderr and hashes["last_writer_wins"][:12] in done.stderr
    assert any("policy" in row["warning"] for row in data(stack, "status", status=NO)["warnings"])


def test_status_warns_of_records_that_are_not_checked_for_violations(stack):
    """As when the look for violations fails again and again."""
    database = stack.database("eu")
    stack.wait_green()
    with contextlib.closing(database.connect()) as checker:  # the daemon looks after a reload, but not without this lock
        checker.cursor().execute("SELECT pg_advisory_lock(hashtext('plist-integrity'))")
        database.execute("INSERT INTO integrity_checks (resource, record_id, due_at) VALUES ('properties', 1, now() - interval '2 minutes')")
        try:
            assert "eu: 1 record that events have changed has been waiting" in ask(stack, "status", status=NO).stderr
        finally:
            database.execute("DELETE FROM integrity_checks")
    stack.wait_green()


def test_status_warns_of_a_daemon_with_another_configuration(stack):
    stack.wait_ready()
    stack.settle()
    stack.write_config(lambda config: config["log"].update(level="warning") if "log" in config else config.update(log={"level": "warning"}))
    assert "another configuration" in ask(stack, "status", status=NO).stderr or "runs configuration" in ask(stack, "status", status=NO).stderr


def test_lag_is_level_when_nothing_is_on_its_way(stack):
    stack.wait_ready()
    stack.new_record()
    stack.settle()
    wait_until("lag is level", lambda: stack.admin("lag", "--max-seconds", "1", check=False).returncode == YES)
    # A consumer that has just rejoined has to wait for the next heartbeats of the others.
    wait_until("heartbeats of all regions have arrived", lambda: {row["verdict"] for row in data(stack, "lag")["origins"]} == {"ok"})
    found = data(stack, "lag")
    assert {row["daemon"] for row in found["regions"]} == {"up"}
    assert all(0 <= row["heard_seconds_ago"] < 10 for row in found["origins"])


def test_lag_takes_the_heartbeats_from_a_daemon_if_its_database_cannot_be_reached(stack):
    stack.wait_ready()
    wait_until("heartbeats of all regions have arrived", lambda: {row["verdict"] for row in data(stack, "lag")["origins"]} == {"ok"})
    away = {"REGION": "eu", "DATABASE_URL": "postgresql://plist@127.0.0.1:1/plist"}

    def told():  # a heartbeat may be late
        done = run_admin("lag", "-o", "json", config=stack.config, environment=stack.environment() | away, check=False)
        assert done.returncode == PARTIAL
        eu = next(row for row in json.loads(done.stdout)["origins"] if row["region"] == "eu")
        return eu["verdict"] == "ok" and 0 <= eu["heard_seconds_ago"] < 10
    wait_until("the daemon tells them", told)


def test_lag_shows_how_far_behind_a_region_is_whose_applier_waits(stack):
    stack.wait_ready()
    record = stack.new_record()
    lock = stack.database("eu").connect()
    try:
        # Lock the whole table: if only a row is locked, its event is parked.
        lock.cursor().execute("LOCK TABLE properties IN EXCLUSIVE MODE")
        assert stack.client("us").put(record, price=Decimal("9.00"), version=1).status == 200
        wait_until("eu is behind", lambda: stack.admin("lag", "--max-seconds", "0.3", check=False).returncode == NO)

        def behind():
            eu = next(row for row in data(stack, "lag")["regions"] if row["region"] == "eu")
            return eu["events_behind"] >= 1 and eu["seconds"] > 0.3
        wait_until("it says by how much", behind)
    finally:
        lock.close()
    wait_until("eu has caught up", lambda: stack.admin("lag", "--max-seconds", "1", check=False).returncode == YES)


def test_seeded_regions_take_writes(stack):
    stack.wait_ready()
    ask(stack, "seed", "--rows", "1500")
    answer = stack.client("us").put(1200, price=Decimal("123.45"), version=1)
    assert answer.status == 200
    stack.wait_version("eu", 1200, 2)
    assert stack.client("eu").get("/eu/properties/1200").json["version"] == 2


def test_a_real_conflict_is_open_until_a_later_write(stack):
    stack.wait_ready()
    record = stack.new_record(price="100.00")
    stack.broker.pause()
    for region, price in (("us", "200.00"), ("eu", "300.00")):
        assert stack.client(region).put(record, price=Decimal(price), version=1).status == 200
    stack.broker.resume()

    def detected(*filters):
        found = data(stack, "conflicts", "list", "--key", record, *filters)["conflicts"]
        return found if {row["region"] for row in found} == {"us", "eu"} else None
    for row in wait_until("both regions have detected it", lambda: detected("--open")):
        assert (row["writes"], row["policy"], row["type"]) == (2, "last_writer_wins", "update_origin_differs")
        winner = row["siblings"][row["verdict"]["take"] - 1]
        assert row["shown"] == f"{winner['origin']}:{winner['counter']}"
        shown = ask(stack, "conflicts", "show", f"{row['region']}/{row['id']}").stdout
        assert re.search(rf"{winner['origin']}:{winner['counter']} \*", shown)
        assert re.search(r"^price +200.00 +300.00 +(200|300).00", shown, re.M)
    stack.settle()
    row = stack.database("us").property(record)
    assert row["price"] == Decimal(str(winner["fields"]["price"]))
    assert stack.client("us").put(record, price=Decimal("400.00"), version=row["version"]).status == 200
    wait_until("both regions have closed it", lambda: detected("--closed"))
