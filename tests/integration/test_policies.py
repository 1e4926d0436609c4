"""The life cycle of policies: refused before they go live, changed under load, replayed, undone."""

import json
import os
import pty
import re
import shutil
import socket
import subprocess
from decimal import ROUND_HALF_EVEN, Decimal

import pytest

from support import places
from support.client import new_id
from support.load import Load
from support.process import wait_until
from test_replication import apart, at_once, wait_conflict

COUNTS_CALLS = """
local policy = require "plist.policy"
local calls = 0
return {
  name = "counts_calls", doc = "Remembers how often it was asked.",
  resolve = function(rows) calls = calls + 1; return policy.take(calls % #rows + 1) end,
}
"""


@pytest.fixture(autouse=True)
def _as_the_yaml_says(stack):
    """Reloads before each test, since an activated policy stays in force until a reload."""
    yield
    stack.restore().reload()


def write_policy(root, name, text):
    (root / "policies" / f"{name}.lua").write_text(text)


@pytest.fixture
def lua(stack, tmp_path):
    """A copy of lua/ that a test may change; it is not in use until the test configures it."""
    root = tmp_path / "lua"
    shutil.copytree(places.TOP / "lua", root)
    return root


def on(root, policy=None, **resource):
    """A change of the YAML: this Lua directory, and this policy for properties."""
    def change(config):
        config["lua"]["path"] = str(root)
        if policy:
            resource["policy"] = f"policies/{policy}.lua"
        config["resources"]["properties"].update(resource)
    return change


# The check before a policy goes live.


def test_a_refused_policy_does_not_go_live_by_a_reload(stack, us, lua):
    record = stack.new_record()
    write_policy(lua, "counts_calls", COUNTS_CALLS)
    stack.write_config(on(lua, "counts_calls"))
    daemon = stack.plistd["us"]
    taken, refused = daemon.reloads()
    mark = daemon.log_mark()
    daemon.hangup()
    wait_until("the refusal is counted", lambda: daemon.reloads() == (taken, refused + 1))
    said = daemon.log_text(mark)
    assert "counts_calls.lua is refused for properties" in said, said
    assert us.put(record, price=Decimal("5.00"), version=1).status == 200
    named = stack.admin("policy", "list", "-o", "json", check=False)
    assert "counts_calls" not in daemon.operators.get("/metrics").text, named.stdout


def test_a_refused_policy_is_refused_by_the_check_and_at_start(stack, lua):
    write_policy(lua, "counts_calls", COUNTS_CALLS)
    stack.write_config(on(lua, "counts_calls"))
    done = stack.admin("config", "check", check=False)
    assert done.returncode == 1
    assert "is refused for properties" in done.stderr
    for more in (["--check-config"], []):
        argv = [*stack.plistd["us"].argv(), *more]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=stack.plistd["us"].environment())
        assert done.returncode == 78, done
        assert "is refused for properties" in done.stderr


def test_a_refused_shadow_is_a_warning(stack, lua):
    write_policy(lua, "counts_calls", COUNTS_CALLS)
    stack.write_config(on(lua, shadow_policy="policies/counts_calls.lua"))
    done = stack.admin("config", "check", check=False)
    assert done.returncode == 0
    assert "warning: the shadow policy policies/counts_calls.lua is refused" in done.stderr


# Going live without a restart.

HIGHEST = """
local policy = require "plist.policy"
return {
  name = "dearest", doc = "The highest price; the later of equals.",
  resolve = function(rows)
    local best = 1
    for i = 2, #rows do
      local row, top = rows[i], rows[best]
      if not row.deleted and (top.deleted or row.fields.price >= top.fields.price) then best = i end
    end
    return policy.take(best)
  end,
}
"""


def file_with(folder, name, text):
    path = folder / f"{name}.lua"
    path.write_text(text)
    return path


def concurrent(stack, us_price, eu_price, **fields):
    """The id of a record that us and eu wrote concurrently, eu later."""
    record = stack.new_record(**fields)
    with apart(stack):
        assert stack.client("us").put(record, price=Decimal(us_price), version=1).status == 200
        assert stack.client("eu").put(record, price=Decimal(eu_price), version=1).status == 200
    wait_conflict(stack, record)
    stack.settle()
    return record


def price(stack, region, record):
    return stack.database(region).property(record)["price"]


def wait_price(stack, record, value):
    for region in stack.regions:
        wait_until(f"{region} shows {value}", lambda r=region: price(stack, r, record) == Decimal(value))


def activate(stack, file, *arguments, **options):
    done = stack.admin("policy", "activate", file, "-o", "json", *arguments, **options)
    return done, {row["region"]: row for row in json.loads(done.stdout)["activated"]} if done.stdout else {}


def test_an_activated_policy_decides_open_conflicts_again_and_lasts_until_the_next_reload(stack, tmp_path):
    record = concurrent(stack, "900.00", "800.00")
    assert price(stack, "us", record) == Decimal("800.00")
    done, rows = activate(stack, file_with(tmp_path, "dearest", HIGHEST))
    assert set(rows) == {"us", "eu"}
    for row in rows.values():
        assert (row["policy"], row["was"], row["finished"], row["lasts"]) == ("dearest", "last_writer_wins", True, False), row
        assert row["open_conflicts"] >= 1 and row["changed"] >= 1
    assert "until the next reload or restart" in done.stderr
    assert re.search(r"plist\.yaml:\d+: resources\.properties\.policy: policies/dearest\.lua", done.stderr), done.stderr
    # The command has reported the end, so there is no need to wait.
    assert [price(stack, r, record) for r in stack.regions] == [Decimal("900.00")] * 2
    for region in stack.regions:
        assert 'policy="dearest"' in stack.plistd[region].operators.get("/metrics").text
        conflict = stack.database(region).conflicts(record)[0]
        assert conflict["policy_name"] == "dearest"
    assert price(stack, "us", concurrent(stack, "7.00", "6.00")) == Decimal("7.00")
    for daemon in stack.plistd.values():
        mark = daemon.log_mark()
        daemon.reload()
        assert "is no longer in force" in daemon.log_text(mark)
    wait_price(stack, record, "800.00")
    stack.check_consistent()


def test_a_policy_that_the_yaml_names_is_activated_as_it_is_and_lasts(stack, lua):
    stack.reload_policy(on(lua, "last_writer_wins"))
    record = concurrent(stack, "900.00", "800.00")
    write_policy(lua, "last_writer_wins", HIGHEST)
    done, rows = activate(stack, lua / "policies" / "last_writer_wins.lua")
    assert [row["lasts"] for row in rows.values()] == [True, True]
    assert "next reload" not in done.stderr
    assert [price(stack, r, record) for r in stack.regions] == [Decimal("900.00")] * 2
    for daemon in stack.plistd.values():
        daemon.reload()
    stack.check_consistent()
    assert price(stack, "us", record) == Decimal("900.00")


def test_a_refused_policy_is_not_activated(stack, tmp_path):
    before = stack.plistd["us"].operators.get("/metrics").text
    done, rows = activate(stack, file_with(tmp_path, "counts_calls", COUNTS_CALLS), check=False)
    assert (done.returncode, rows) == (1, {})
    assert "refused (not_deterministic)" in done.stderr and "Nothing was changed" in done.stderr
    now = stack.plistd["us"].operators.get("/metrics").text
    assert [line for line in now.splitlines() if line.startswith("plist_policy_info")] == \
        [line for line in before.splitlines() if line.startswith("plist_policy_info")]


def ask(stack, region, request):
    """Sends one raw request to a region's control socket."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        s.connect(str(stack.folder / f"{region}.sock"))
        s.sendall(json.dumps(request).encode() + b"\n")
        line = b""
        while not line.endswith(b"\n"):
            line += s.recv(65536)
    return json.loads(line)


@pytest.mark.parametrize("member, value, sentence", [
    ("text", COUNTS_CALLS, "is refused for properties"),
    ("text", "return {", "counts.lua:1"),
    ("path", "handlers/property_put.lua", "cannot be the path of a policy"),
    ("path", "plist/spec.lua", "cannot be the path of a policy"),
    ("path", "policies/x\u0007.lua", "cannot be the path of a policy"),
    ("resource", "houses", "no resource"),
    ("text", None, "are required"),
])
def test_the_daemon_trusts_no_client(stack, member, value, sentence):
    request = {"command": "activate", "resource": "properties", "path": "policies/counts.lua", "text": HIGHEST} | {member: value}
    answer = ask(stack, "us", {k: v for k, v in request.items() if v is not None})
    assert answer["ok"] is False
    assert sentence in answer["error"], answer
    assert 'policy="last_writer_wins"' in stack.plistd["us"].operators.get("/metrics").text


def test_a_region_whose_daemon_is_down_is_reported(stack, tmp_path):
    file = file_with(tmp_path, "dearest", HIGHEST)
    stack.plistd["eu"].stop()
    done, rows = activate(stack, file, check=False)
    assert (done.returncode, set(rows)) == (4, {"us"})
    assert "eu: no daemon can be reached" in done.stderr
    done, rows = activate(stack, file, "--region", "eu", check=False)
    assert (done.returncode, rows) == (3, {})


def test_regions_that_change_their_policy_at_different_times_end_equal_under_writes(stack, us, eu, tmp_path):
    records = [stack.new_record(bedrooms=1) for _ in range(12)]
    file = file_with(tmp_path, "dearest", HIGHEST)
    with Load([us, eu], records) as load:
        load.wait_accepted(100)
        activate(stack, file, "--region", "us")
        load.wait_accepted(300)
        activate(stack, file, "--region", "eu")
        load.wait_accepted(100)
    assert not load.errors, load.errors
    stack.check_consistent()
    # There were siblings while the policies differed; the common one has decided every
    # conflict that is open.
    for region in stack.regions:
        database = stack.database(region)
        assert database.value("SELECT count(*) FROM conflicts WHERE record_id = ANY(%s)", records) > 20
        names = database.rows("SELECT DISTINCT policy_name FROM conflicts WHERE closed_at IS NULL AND record_id = ANY(%s)", records)
        assert {n for n, in names} <= {"dearest"}
        for record in records:
            standing = [d for d, in database.rows(
                "SELECT (fields->>'price')::numeric FROM record_siblings WHERE resource = 'properties' AND record_id = %s AND NOT deleted", record)]
            if standing:
                assert price(stack, region, record) == max(standing)


def mismatch(stack, region):
    """The values of plist_policy_mismatch, by the other region."""
    return {re.search(r'region="(\w+)"', name)[1]: (value, name) for name, value in stack.plistd[region].metrics().items()
            if name.startswith("plist_policy_mismatch{")}


def test_regions_with_different_policies_are_seen_and_gone_when_they_agree(stack, tmp_path):
    wait_until("each has received the other's heartbeats", lambda: mismatch(stack, "us") and mismatch(stack, "eu"))
    file = file_with(tmp_path, "dearest", HIGHEST)
    activate(stack, file, "--region", "us")
    for region, other in (("us", "eu"), ("eu", "us")):
        wait_until(f"{region} sees the mismatch", lambda r=region, o=other: mismatch(stack, r)[o][0] == 1)
    hashes = set(re.findall(r'sha256="([0-9a-f]{64})"', mismatch(stack, "us")["eu"][1]))
    assert len(hashes) == 2
    for command in ("status", "lag"):
        # The command uses heartbeats too, and the last one of a region may still name the
        # policy that the previous test activated.
        def told(name=command):
            done = stack.admin(name, "-o", "json", check=False)
            rows = json.loads(done.stdout)["policies"]
            return (all(h[:12] in done.stderr for h in hashes) and "until they agree, they may show different rows" in done.stderr
                    and {(r["region"], r["policy"], r["agrees"]) for r in rows} == {("us", "dearest", False), ("eu", "last_writer_wins", False)}
                    and {r["policy_sha256"] for r in rows} == hashes)
        wait_until(f"{command} warns with both hashes and says which region uses which policy", told)
    activate(stack, file, "--region", "eu")
    for region, other in (("us", "eu"), ("eu", "us")):
        wait_until(f"{region} sees that they agree", lambda r=region, o=other: mismatch(stack, r)[o][0] == 0)
    for command in ("status", "lag"):
        wait_until(f"{command} no longer warns", lambda c=command: "until they agree" not in stack.admin(c, check=False).stderr)


# Replay: what another rule would have decided.

MEAN_OF_THE_LIVING = """
local policy = require "plist.policy"
local decimal = require "plist.decimal"
return {
  name = "mean", doc = "The mean of the prices that are not deleted; deleted if all are.",
  resolve = function(rows)
    local sum, n, last = decimal "0", 0, nil
    for i, row in ipairs(rows) do
      if not row.deleted then sum, n, last = sum + row.fields.price, n + 1, i end
    end
    if n < 2 then return policy.take(last or #rows) end
    local fields = {}
    for name, value in pairs(rows[last].fields) do fields[name] = value end
    fields.price = sum:div(n, 2)
    return policy.merge(fields)
  end,
}
"""


def mean_by_hand(siblings):
    """The same rule in Python over a row of the conflicts table: (fields, deleted) as they would be shown."""
    living = [s for s in siblings if not s["deleted"]]
    if len(living) < 2:
        shown = living[0] if living else siblings[-1]
        return shown["fields"], shown["deleted"]
    mean = sum(Decimal(s["fields"]["price"]) for s in living) / len(living)
    return living[-1]["fields"] | {"price": mean.quantize(Decimal("0.01"), ROUND_HALF_EVEN)}, False


def exact(text):
    return json.loads(text, parse_float=Decimal)


def decided_by_hand(conflicts):
    """How many conflicts the mean decides differently, how many equally, and how many are unreadable (see test_housekeeping.py)."""
    different = same = unreadable = 0
    for siblings, visible in conflicts:
        siblings, visible = exact(siblings), exact(visible)
        if not siblings or "fields" not in visible:
            unreadable += 1
            continue
        fields, deleted = mean_by_hand(siblings) if len(siblings) > 1 else (visible["fields"], visible["deleted"])
        if deleted and visible["deleted"] or not deleted and not visible["deleted"] and fields == visible["fields"]:
            same += 1
        else:
            different += 1
    return different, same, unreadable


def test_replay_agrees_with_an_independent_computation(stack, us, eu, tmp_path):
    records = [stack.new_record(bedrooms=1) for _ in range(6)]
    with Load([us, eu], records, deletes=True) as load:
        load.wait_accepted(250)
    stack.settle()
    stack.database("us").execute(
        "INSERT INTO conflicts (resource, record_id, type, detected_at, policy_name, policy_sha256, siblings, verdict, visible, vector) "
        "VALUES ('properties', %s, 'update_origin_differs', now(), 'p', 's', '[]', '{}', '{}', '{}')", records[0])
    file = file_with(tmp_path, "mean", MEAN_OF_THE_LIVING)
    expected = {region: decided_by_hand(stack.database(region).rows(
        "SELECT siblings::text, visible::text FROM conflicts WHERE resource = 'properties' AND type <> 'created_twice'")) for region in stack.regions}
    done = stack.admin("policy", "replay", file, "-o", "json", check=False)
    told = {r["region"]: (r["different"], r["same"], r["unreadable"]) for r in json.loads(done.stdout)["regions"]}
    assert told == expected
    assert done.returncode == 1 and expected["us"][0] > 10 and expected["us"][2] >= 1, expected
    assert len(json.loads(done.stdout)["samples"]) == 10
    # A replay of the rule that is in force changes no decision that it made.
    done = stack.admin("policy", "replay", places.TOP / "lua/policies/last_writer_wins.lua", "--since", "1h", "-o", "json", check=False)
    latest = json.loads(done.stdout)["regions"]
    assert all(r["failed"] == 0 for r in latest), latest
    assert {r["region"]: (r["conflicts"], r["unreadable"]) for r in latest} == {region: stack.database(region).rows(
        "SELECT count(*), count(*) FILTER (WHERE siblings = '[]') FROM conflicts WHERE resource = 'properties' "
        "AND type <> 'created_twice' AND detected_at >= now() - interval '1 hour'"
    )[0] for region in stack.regions}


# Shadow policies.

LOOPS = """
local policy = require "plist.policy"
local decimal = require "plist.decimal"
return {
  name = "loops", doc = "Never ends for one price, 6666.66, which no check comes upon.",
  resolve = function(rows)
    for _, row in ipairs(rows) do
      while row.fields.price * 3 == decimal "19999.98" do end
    end
    return policy.take(1)
  end,
}
"""


def shadow_counts(stack, region):
    metrics = stack.plistd[region].metrics()
    return {v: metrics[f'plist_policy_shadow_total{{verdict="{v}"}}'] for v in ("same", "different", "failed")}


def test_a_shadow_counts_differences_and_touches_no_result(stack, lua):
    write_policy(lua, "loops", LOOPS)
    stack.reload_policy(on(lua, shadow_policy="policies/highest_price.lua"))
    before = {r: shadow_counts(stack, r) for r in stack.regions}
    different = concurrent(stack, "900.00", "800.00")
    same = concurrent(stack, "700.00", "750.00")
    for region in stack.regions:
        def counted(r=region):  # a moment after the rows were written
            now = shadow_counts(stack, r)
            assert (now["different"] - before[r]["different"], now["same"] - before[r]["same"]) == (1, 1)
            return True
        wait_until(f"{region} has counted both", counted)
        assert price(stack, region, different) == Decimal("800.00")
        assert price(stack, region, same) == Decimal("750.00")
        assert stack.database(region).conflicts(different)[0]["policy_error"] is None
    # A shadow that never ends costs its budget and nothing else.
    stack.reload_policy(on(lua, shadow_policy="policies/loops.lua"))
    record = concurrent(stack, "6666.66", "5.00")
    for region in stack.regions:
        wait_until(f"{region} has counted it", lambda r=region: shadow_counts(stack, r)["failed"] >= before[r]["failed"] + 1)
        assert price(stack, region, record) == Decimal("5.00")
        conflict = stack.database(region).conflicts(record)[0]
        assert (conflict["policy_name"], conflict["policy_error"]) == ("last_writer_wins", None)
    stack.check_consistent()


# Failures of a live policy.


def test_a_policy_that_raises_for_some_input_is_marked_and_a_corrected_one_decides_again(stack, lua, tmp_path):
    raises = 'local decimal = require "plist.decimal"' + HIGHEST.replace("local row, top = rows[i], rows[best]",
                             'local row, top = rows[i], rows[best]\n      if row.fields.price * 3 == decimal "12963.03" then error("not this one \\xe2\\x82 \\x1b[31m") end')
    assert raises != HIGHEST
    write_policy(lua, "raises", raises)
    stack.reload_policy(on(lua, "raises"))
    record = concurrent(stack, "9000.00", "4321.01")
    for region in stack.regions:
        conflict = stack.database(region).conflicts(record)[0]
        assert "not this one ??  [31m" in conflict["policy_error"]  # text that both a database and a terminal can take
        assert price(stack, region, record) == Decimal("4321.01")
        wait_until(f"{region} has counted it", lambda r=region: stack.plistd[r].metrics()["plist_policy_errors_total"] >= 1)
    activate(stack, file_with(tmp_path, "dearest", HIGHEST))
    for region in stack.regions:
        conflict = stack.database(region).conflicts(record)[0]
        assert (conflict["policy_name"], conflict["policy_error"]) == ("dearest", None)
        assert price(stack, region, record) == Decimal("9000.00")
    stack.check_consistent()


def meet(us, eu, record, price):
    """Both regions write the price concurrently, eu with another field too; a conflict unless one of them was too late."""
    at_once(lambda: us.put(record, price=Decimal(price), version=1), lambda: eu.put(record, price=Decimal(price), bedrooms=2, version=1))


def apart_meet(stack, records, price, failures=0):
    """Creates one conflict of this price for each record. Returns eu's processor time and the number of policy failures,
    once there are so many."""
    def counted():
        metrics = stack.plistd["eu"].metrics()
        return metrics["process_cpu_seconds_total"], metrics["plist_policy_errors_total"]
    before = counted()
    with apart(stack):
        for record in records:
            meet(stack.client("us"), stack.client("eu"), record, price)
    for record in records:
        wait_conflict(stack, record)
    wait_until("the failures are counted", lambda: counted()[1] >= before[1] + failures)
    return tuple(now - then for now, then in zip(counted(), before))


def test_a_policy_that_loops_stops_no_partition_and_costs_less_than_100_ms_each_time(stack, us, eu, lua):
    write_policy(lua, "loops", LOOPS)
    stack.reload_policy(on(lua, "loops"))
    stack.wait_ready()
    quiet, noisy = stack.new_record(), [stack.new_record() for _ in range(12)]
    calm_s, none = apart_meet(stack, [stack.new_record() for _ in range(12)], "5.00")
    loops_s, overruns = apart_meet(stack, noisy, "6666.66", len(noisy))
    assert none == 0 and overruns >= len(noisy), (none, overruns)
    # Processor time, not wall-clock time, so that a busy machine does not matter. Only
    # the policy differs.
    assert (loops_s - calm_s) / overruns < 0.1, (loops_s, calm_s, overruns)
    for record in noisy:
        error = stack.database("eu").conflicts(record)[0]["policy_error"]
        assert "used up its instructions" in error, error  # by the instruction count, which is the same everywhere, not by the clock
    # Nothing is blocked: neither another record nor this one, whose later events are in
    # the same partition.
    for record, version in ((quiet, 1), *((record, 3) for record in noisy)):
        assert us.put(record, price=Decimal("3.00"), version=version).status == 200
        stack.wait_version("eu", record, version + 1)
    stack.check_consistent()


# Undoing a decision.


def restore(stack, conflict, *arguments, **options):
    return stack.admin("conflicts", "restore", f"us/{conflict}", "--reason", "a typing error", "--by", "ann", *arguments, **options)


def conflict_of(stack, record):
    return stack.database("us").value("SELECT id FROM conflicts WHERE record_id = %s ORDER BY id DESC", record)


def test_a_restored_write_is_an_ordinary_write_made_once(stack, us):
    record = concurrent(stack, "900.00", "800.00")
    conflict = conflict_of(stack, record)
    assert us.read(record).json["version"] == 3
    done = restore(stack, conflict, "--take", "1", "--yes")
    assert "written as version 4" in done.stderr
    assert stack.database("us").value("SELECT count(*) FROM processed_requests WHERE record_id = %s AND principal = 'plist-admin'", record) == 1
    row = stack.wait_version("eu", record, 4)
    assert (row["price"], row["version"], row["siblings"]) == (Decimal("900.00"), 4, False)
    stack.check_consistent()
    kept = stack.database("us").rows("SELECT conflict_id, record_id, taken->>'origin', restored_by, reason FROM restorations WHERE record_id = %s", record)
    assert kept == [(conflict, record, "us", "ann", "a typing error")]
    assert all(c["closed_at"] for c in stack.database("us").conflicts(record))
    done = restore(stack, conflict, "--take", "1", "--yes")
    assert "nothing was written" in done.stderr
    assert us.read(record).json["version"] == 4
    assert stack.database("us").value("SELECT count(*) FROM restorations WHERE record_id = %s", record) == 1
    # After another write the same restore is a new decision.
    assert us.put(record, price=Decimal("1.00"), version=4).status == 200
    assert "written as version 6" in restore(stack, conflict, "--take", "1", "--yes").stderr
    stack.wait_version("eu", record, 6)
    stack.check_consistent()


def test_a_restore_that_was_interrupted_before_its_note_is_completed(stack, us):
    record = concurrent(stack, "900.00", "800.00")
    conflict = conflict_of(stack, record)
    restore(stack, conflict, "--take", "1", "--yes")
    stack.database("us").execute("DELETE FROM restorations WHERE record_id = %s", record)
    restore(stack, conflict, "--take", "1", "--yes")
    assert us.read(record).json["version"] == 4
    assert stack.database("us").value("SELECT count(*) FROM restorations WHERE record_id = %s", record) == 1


def test_a_deleted_sibling_can_be_restored_and_a_missing_one_is_refused(stack, us, eu):
    record = stack.new_record()
    with apart(stack):
        assert us.delete(record, version=1).status == 204
        assert eu.put(record, price=Decimal("5.00"), version=1).status == 200
    wait_conflict(stack, record)
    conflict = conflict_of(stack, record)
    assert restore(stack, conflict, "--take", "3", "--yes", check=False).returncode == 2
    restore(stack, conflict, "--take", "1", "--yes")
    stack.wait_version("eu", record, 4)
    assert us.read(record).status == eu.read(record).status == 404
    stack.check_consistent()


def test_a_row_that_was_written_while_the_operator_thought_is_not_overwritten(stack, us):
    record = concurrent(stack, "900.00", "800.00")
    terminal, other = pty.openpty()
    argv = [places.program("plist-admin"), "--config", str(stack.config), "conflicts", "restore", f"us/{conflict_of(stack, record)}", "--take", "1",
            "--reason", "a typing error"]
    child = subprocess.Popen(argv, stdin=other, stderr=other, stdout=subprocess.DEVNULL, env={**os.environ, **stack.environment()})
    os.close(other)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(terminal, 4096)
    assert us.put(record, price=Decimal("1.00"), version=3).status == 200
    os.write(terminal, b"y\n")
    try:
        while piece := os.read(terminal, 4096):
            said += piece
    except OSError:  # the other side is closed
        pass
    assert child.wait(30) == 1
    assert b"was written in the meantime" in said, said
    os.close(terminal)
    stack.check_consistent()
    assert price(stack, "us", record) == Decimal("1.00")
    assert not stack.database("us").value("SELECT count(*) FROM restorations WHERE record_id = %s", record)


# For the retention of conflicts see
# tests/integration/test_housekeeping.py.
