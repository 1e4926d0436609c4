"""A reload activates a new configuration completely or not at all, without affecting requests."""

import re
import threading
from decimal import Decimal

import pytest

from support import places
from support.client import new_id
from support.load import Load
from support.plistd import admin
from support.process import wait_until


def puts(rule):
    def change(config):
        for route in config["routes"]:
            if route["method"] == "PUT":
                route["idempotency"]["on_duplicate"] = rule
    return change


def own_lua(stack, tmp_path, change=None):
    """A copy of lua/ that a test may change and that the stack uses. Returns its folder."""
    import shutil
    root = tmp_path / "lua"
    shutil.copytree(places.TOP / "lua", root)

    def both(config):
        config["lua"]["path"] = str(root)
        if change:
            change(config)
    stack.reload(both)
    return root


def test_a_retry_is_422_or_the_first_answer_as_the_yaml_says(stack, us):
    record = stack.new_record()
    request_id = new_id()
    first = us.put(record, price=Decimal("5.00"), version=1, request_id=request_id)
    assert first.status == 200

    def again():
        return us.put(record, price=Decimal("5.00"), version=1, request_id=request_id)
    assert again().status == 422
    stack.reload(puts("replay"))
    replayed = again()
    assert (replayed.status, replayed.body, replayed.etag) == (200, first.body, first.etag)
    assert replayed.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    stack.reload(puts("reject"))
    assert again().status == 422


def test_a_replay_is_the_first_answer_even_after_later_writes(stack, us):
    stack.reload(puts("replay"))
    record = stack.new_record()
    request_id = new_id()
    first = us.put(record, price=Decimal("5.00"), version=1, request_id=request_id)
    us.put(record, price=Decimal("6.00"), version=2)
    again = us.put(record, price=Decimal("5.00"), version=1, request_id=request_id)
    assert (again.status, again.body, again.etag) == (200, first.body, first.etag)
    assert us.read(record).json["price"] == Decimal("6.00")


def test_no_request_is_lost_over_many_reloads(stack, us):
    records = [stack.new_record() for _ in range(8)]
    with Load([us], records) as load:
        for turn in range(10):
            load.wait_accepted(20)
            stack.reload(puts("replay" if turn % 2 else "reject"))
        load.wait_accepted(20)
    assert not load.errors, load.errors
    assert set(load.statuses) <= {200, 409}, load.statuses
    stack.check_consistent()


def test_an_applier_keeps_its_place_in_its_group_over_a_reload(stack, us):
    """A consumer that rejoins the group has no partitions for a moment, and the daemon is not ready."""
    daemon = stack.plistd["eu"]
    mark = daemon.log_mark()
    for turn in range(10):
        stack.reload(puts("replay" if turn % 2 else "reject"))
        wait_until("the applier has it", lambda: daemon.metrics()["plist_apply_reresolve_pending"] == 0)
        assert daemon.client.get("/ready").status == 200
        stack.wait_version("eu", stack.new_record(), 1)
    assert "partitions" not in daemon.log_text(mark)


BROKEN = {
    "not-yaml": "resources: [", "empty": "", "unknown-key": "colour: red\n{}", "no-such-handler": None, "duplicate-key": "{}\nnginx: {}\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_file_changes_nothing_is_logged_and_counted(stack, us, name):
    record = stack.new_record()
    good = stack.config.read_text()
    text = BROKEN[name]
    if text is None:
        broken = good.replace("handlers/property_put.lua", "handlers/nowhere.lua")
    else:
        broken = text.replace("{}", good, 1)
    daemon = stack.plistd["us"]
    mark = daemon.log_mark()
    taken, refused = daemon.reloads()
    stack.config.write_text(broken)
    try:
        daemon.hangup()
        wait_until("the refusal is counted", lambda: daemon.reloads() == (taken, refused + 1))
        assert re.search(re.escape(str(stack.config)) + r":\d+:\d+: ", daemon.log_text(mark)) or name == "empty", daemon.log_text(mark)
        assert us.put(record, price=Decimal("5.00"), version=1).status == 200
    finally:
        stack.config.write_text(good)
    daemon.reload()


def test_a_lua_file_that_does_not_compile_is_refused_whole(stack, us, tmp_path):
    root = own_lua(stack, tmp_path)
    daemon = stack.plistd["us"]
    record = stack.new_record()
    handler = root / "handlers" / "property_get.lua"
    good = handler.read_text()
    handler.write_text("return {")
    taken, refused = daemon.reloads()
    mark = daemon.log_mark()
    daemon.hangup()
    wait_until("the refusal is counted", lambda: daemon.reloads() == (taken, refused + 1))
    assert "property_get.lua:1" in daemon.log_text(mark)
    assert us.read(record).status == 200
    handler.write_text(good)
    daemon.reload()
    assert us.read(record).status == 200


def test_a_worker_that_does_not_take_a_reload_over_is_counted_logged_and_red(stack, us, tmp_path):
    """A file whose main part fails now and then may pass the check and then fail in a worker."""
    stack.forget_losses()  # a daemon that is started again for `status` would not have this file's history
    root = own_lua(stack, tmp_path)
    daemon = stack.plistd["us"]
    record = stack.new_record()
    handler = root / "handlers" / "property_get.lua"
    good = handler.read_text()
    handler.write_text(f'assert(math.random() < 0.7, "by chance")\n{good}')
    mark = daemon.log_mark()

    def is_taken_in_part():
        taken, refused = daemon.reloads()
        daemon.hangup()
        wait_until("the reload has ended", lambda: daemon.reloads() != (taken, refused))
        return daemon.reloads()[0] > taken and daemon.metrics()["plist_config_last_reload_successful"] == 0
    assert any(is_taken_in_part() for _ in range(60))
    wait_until("it is logged", lambda: "workers keep the former configuration (the log says why); reload again" in daemon.log_text(mark))
    assert "passed its check but cannot be loaded; the old one stays in force" in daemon.log_text(mark)
    assert "workers keep the former configuration" in daemon.status()["config"]["reload_error"]
    told = stack.admin("status", check=False)
    assert told.returncode == 1 and "has refused the last reload, or one of its workers has" in told.stderr
    assert all(us.read(record).status == 200 for _ in range(20))
    handler.write_text(good)
    daemon.reload()
    assert daemon.metrics()["plist_config_last_reload_successful"] == 1
    assert "reload_error" not in daemon.status()["config"]


def test_a_changed_handler_takes_effect_with_a_reload(stack, us, tmp_path):
    root = own_lua(stack, tmp_path)
    record = stack.new_record()
    handler = root / "handlers" / "property_get.lua"
    handler.write_text('local http = require "plist.http"\n'
                       'return { name = "other", doc = "Says so.", handle = function() return http.ok { other = true } end }\n')
    assert "other" not in us.read(record).json
    stack.plistd["us"].reload()
    assert us.read(record).json == {"other": True}


def patient(config):
    """A write may wait for its row as long as a reload takes."""
    config.setdefault("http", {}).update(request_timeout="60s")
    config.setdefault("database", {}).update(statement_timeout="60s", lock_timeout="60s")


def test_a_request_in_flight_keeps_the_configuration_that_it_began_with(stack, rolling, us):
    rolling.restart("us", patient)
    record = stack.new_record()
    holder = stack.database("us").connect()
    answers = []
    try:
        holder.cursor().execute("SELECT 1 FROM properties WHERE id = %s FOR UPDATE", (record,))
        thread = threading.Thread(target=lambda: answers.append(us.put(record, price=5, version=1)))
        thread.start()
        wait_until("the request waits for the row", lambda: stack.database("us").value(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'plist'"))
        rolling.write_yaml("plist-us", [patient, lambda config: config.update(routes=[r for r in config["routes"] if r["method"] != "PUT"])])
        stack.plistd["us"].reload()
    finally:
        holder.rollback()
        holder.close()
    thread.join()
    assert answers[0].status == 200
    assert us.put(record, price=5, version=2).status == 405


# The walk-through of plist-handlers(7), done as the page says.


def literal_blocks(page):
    """The literal displays (.Bd -literal … .Ed) of an mdoc page, as a reader would copy them."""
    text = (places.TOP / "man" / page).read_text()
    blocks = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed$", text, re.S | re.M)
    return [b.replace("\\e", "\\").replace("\\&", "").replace("\\-", "-").replace("\\(aq", "'").replace("\\(dq", '"') for b in blocks]


def test_a_new_route_is_added_as_the_manual_says(stack, us, tmp_path):
    blocks = literal_blocks("plist-handlers.7")
    handler = next(b for b in blocks if "price_per_bedroom" in b and "handle" in b)
    route = next(b for b in blocks if "price-per-bedroom" in b and "method" in b)
    import yaml
    root = own_lua(stack, tmp_path)
    (root / "handlers" / "price_per_bedroom.lua").write_text(handler)
    record = stack.new_record(price="100.00", bedrooms=3)
    assert us.get(f"/us/properties/{record}/price-per-bedroom").status == 404

    def change(config):
        config["lua"]["path"] = str(root)
        config["routes"] += yaml.safe_load(route)
    stack.reload(change)
    answer = us.get(f"/us/properties/{record}/price-per-bedroom")
    assert answer.status == 200, answer
    assert Decimal("33.33") in answer.json.values()


# Each value of the example, if made wrong, is refused with file, line and column.


def test_the_shipped_configuration_passes_the_check(stack):
    environment = {"US_DATABASE_URL": "postgresql://localhost/us", "EU_DATABASE_URL": "postgresql://localhost/eu"}
    done = admin("config", "check", config=places.TOP / "conf" / "plist.yaml", environment=environment)
    assert done.returncode == 0
