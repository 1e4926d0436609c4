"""Handlers that exceed their limits, hang in the C library, or fail after their write; and retries of their responses."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time

import pytest
import yaml

from support import places
from support.client import Client, new_id
from support.plistd import Plistd
from support.process import free_port, wait_until

HEAD = ("local http, records, json = require 'plist.http', require 'plist.records', require 'plist.json'\n"
        "return { handle = function(req) %s end }\n")

HANDLERS = {
    "callable": "local t = {} setmetatable(t, { __call = t }) t()",
    "nested": "local function f() while true do pcall(f) end end f()",
    "aliases": "local t = ('x'):rep(1000) for i = 1, 7 do t = { t, t, t, t, t, t, t, t, t, t } end return http.ok(t)",
    "deep": "local t = {} for i = 1, 30 do t = { t, t, t, t } end return http.ok(t)",
    "escaped": "return http.ok(('\\1'):rep(7000000))",
    "large": "return http.ok(('x'):rep(2000000))",
    "plain": "return http.status(200, ('x'):rep(2000000), { ['Content-Type'] = 'text/plain' })",
    "detail": "return http.problem(400, 'No', ('x'):rep(2000000))",
    "faults": "local e = {} for i = 1, 1000 do e[i] = { pointer = '/a', detail = ('x'):rep(10000) } end "
              "return http.problem(400, 'No', nil, { errors = e })",
    "date": "return http.ok(os.date(('%c'):rep(4000000)))",
    "nuls": "local s = ('\\0'):rep(8000000) while true do local _ = s < s end",
    "number": "local s = ('1'):rep(8000000) while true do local _ = s + 1 end",
    "filters": "local f = {} for i = 1, 5000 do f['f' .. i] = ('x'):rep(1000000) end return http.ok(records.list('properties', { filters = f }))",
    "title": "return http.problem(400, ('x'):rep(400000))",
    "control": "return http.problem(400, 'No', ('\\1'):rep(300000))",
    "marked": "return http.ok(json.array { a = 1 })",
    "statement": "return http.ok(require('plist.db').query('SELECT 1 AS one \\0 FROM nothing'))",
    "fits": "return http.ok(('x'):rep(900000))",
    "hangs": "if req.query.now then\n  os.date('%Y')\nend return http.ok { done = true }",
}

WRITES = {
    "raises": ("error('after the write')", 200),
    "loops": ("while true do end", 200),
    "says500": ("return http.problem(500, 'Sorry')", 200),
    "too_large": ("return http.ok(('x'):rep(2000000))", 200),
    "custom": ("return http.status(202, { b = 1, aa = r.price }, { ['X-Custom'] = 'one', Location = '/there' })", 202),
    "text": ("return http.status(200, 'plain', { ['Content-Type'] = 'text/plain', ETag = '\"own\"' })", 200),
    "refuses": ("return http.problem(409, 'No', 'because', { more = { 1, 2 } })", 409),
    "reset": ("return http.status(205, { a = 1 })", 205),
    "record": ("return http.ok(r, { ['X-Custom'] = 'two' })", 200),
}

BLOCKING_STRFTIME = r"""
#include <stddef.h>
#include <time.h>
#include <unistd.h>
size_t strftime(char *s, size_t max, const char *format, const struct tm *tm)
{
	while (access("%s", F_OK) == 0)
		usleep(10000);
	return 0;
}
"""


@pytest.fixture
def daemon_with(stack, tmp_path):
    made = []

    def make(change=None, environment=None):
        port = free_port()
        root = tmp_path / "lua"
        shutil.copytree(places.TOP / "lua", root)
        config = stack.dictionary()
        config["regions"]["us"] |= {"listen": f"127.0.0.1:{port}", "control_socket": str(tmp_path / "us.sock")}
        config["lua"] = dict(config.get("lua") or {}, path=str(root))
        config["http"] = dict(config.get("http") or {}, max_response="1MiB", workers=2)
        for name, text in HANDLERS.items():
            (root / "handlers" / f"x_{name}.lua").write_text(HEAD % text)
            config["routes"].append({"method": "GET", "path": f"/:region/x/{name}", "handler": f"handlers/x_{name}.lua"})
        for name, (text, _) in WRITES.items():
            (root / "handlers" / f"w_{name}.lua").write_text(
                HEAD % f"local r, e = records.update('properties', req.params.id, {{ price = 5 }}) if not r then return http.problem(e) end {text}")
            config["routes"].append({"method": "POST", "path": f"/:region/key/{name}/:id", "handler": f"handlers/w_{name}.lua",
                                     "resource": "properties", "lock": "none",
                                     "idempotency": {"header": "Idempotency-Key", "on_duplicate": "replay"}})
            for rule in ("replay", "reject"):
                config["routes"].append({"method": "POST", "path": f"/:region/{rule}/{name}/:id", "handler": f"handlers/w_{name}.lua",
                                         "resource": "properties", "lock": "none", "idempotency": {"on_duplicate": rule}})
        if change:
            change(config)
        path = tmp_path / "plist.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        daemon = Plistd(tmp_path, "us", port, path, environment=lambda: environment or {}, name="plistd-limits")
        made.append(daemon)
        return daemon.start().wait_ready()
    yield make
    for daemon in made:
        if daemon.running:
            daemon.kill()


def peak_rss_kib(daemon):
    with open(f"/proc/{daemon.pid}/status", encoding="ascii") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])


def test_every_handler_ends_within_its_limits_and_answers_no_more_than_it_may(daemon_with):
    daemon = daemon_with()
    client = Client(daemon.url, "us")
    before = peak_rss_kib(daemon)
    for name in HANDLERS:
        began = time.monotonic()
        answer = client.get(f"/us/x/{name}")
        took = time.monotonic() - began
        if name in ("fits", "hangs"):
            assert answer.status == 200, name
        else:
            assert answer.status == 500, (name, answer)
            assert daemon.log_contains(f"handlers/x_{name}.lua"), name
        assert took < 3, (name, took)
    assert daemon.log_contains("the answer's body (http.max_response) has more than 1048576 bytes")
    assert peak_rss_kib(daemon) - before < 200 * 1024
    assert client.get("/ready").status == 200


def test_a_retry_is_given_the_first_answer_whole(stack, daemon_with):
    client = Client(daemon_with().url, "us")
    for name, (_, status) in WRITES.items():
        record = stack.new_record("us", everywhere=False)
        first, second = twice(client, f"/us/replay/{name}/{record}")
        assert first.status == status, (name, first)
        assert client.read(record).json["price"] == 5
        assert (second.status, second.body) == (first.status, first.body), name
        assert passed_on(second) == passed_on(first), name
        assert second.headers["idempotent-replayed"] == "true"
        first, second = twice(client, f"/us/reject/{name}/{record}")
        assert (first.status, second.status) == (status, 422), name
        assert second.json["title"] == "Duplicate request"


def test_a_retry_with_an_idempotency_key_gets_the_first_response_byte_for_byte(stack, daemon_with):
    client = Client(daemon_with().url, "us")
    for name, (_, status) in WRITES.items():
        record = stack.new_record("us", everywhere=False)
        key = {"Idempotency-Key": new_id()}
        first, second = [client.request("POST", f"/us/key/{name}/{record}", {}, headers=key) for _ in range(2)]
        assert (first.status, second.status) == (status, status), (name, first, second)
        assert second.body == first.body, name
        assert second.headers["idempotent-replayed"] == "true"
        assert status != 205 or first.body == b""


def twice(client, path):
    request_id = new_id()
    return [client.request("POST", path, {}, request_id=request_id) for _ in range(2)]


def passed_on(answer):
    return {k: v for k, v in answer.headers.items() if k.lower() not in ("date", "idempotent-replayed", "plist-session")}


def hanging(folder):
    """A library with which handlers/x_hangs.lua hangs while a file exists; and that file."""
    flag, source, library = folder / "hang", folder / "hang.c", folder / "hang.so"
    source.write_text(BLOCKING_STRFTIME % flag)
    subprocess.run([os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-o", library, source], check=True)
    return flag, library


def test_the_service_manager_gets_keep_alives_except_while_a_worker_hangs(daemon_with, tmp_path):
    flag, library = hanging(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify.sock"))
        manager.settimeout(10)
        daemon = daemon_with(lambda config: config["lua"].update(abort_after="1m"),  # it is not to end meanwhile
                             {"LD_PRELOAD": str(library), "NOTIFY_SOCKET": str(tmp_path / "notify.sock"), "WATCHDOG_USEC": "2000000"})
        assert [manager.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        flag.touch()
        with subprocess.Popen(["curl", "-s", "-m", "30", f"{daemon.url}/us/x/hangs?now=1"], stdout=subprocess.DEVNULL):
            daemon.wait_log("service: a worker has done nothing for")
            manager.setblocking(False)
            with pytest.raises(BlockingIOError):
                while manager.recv(100):  # messages that were sent before
                    pass
            mark = daemon.log_mark()
            daemon.wait_log("service: a worker has done nothing for", mark)
            with pytest.raises(BlockingIOError):
                manager.recv(100)
            wait_until("the daemon is not ready", lambda: "a worker has done nothing for " in daemon.operators.get("/ready").text)
            assert daemon.metrics()["plist_workers_silent_seconds"] >= 10
            flag.unlink()
        manager.settimeout(10)
        assert manager.recv(100) == b"WATCHDOG=1"


def test_a_handler_that_hangs_is_logged_makes_the_daemon_unready_and_ends_it(daemon_with, tmp_path):
    flag, library = hanging(tmp_path)
    daemon = daemon_with(lambda config: config["lua"].update(stuck_after="1s", abort_after="10s"), {"LD_PRELOAD": str(library)})
    client = Client(daemon.url, "us")

    def hang():
        return subprocess.Popen(["curl", "-s", "-m", "30", f"{daemon.url}/us/x/hangs?now=1"], stdout=subprocess.DEVNULL)

    # A call that returns.
    flag.touch()
    with hang():
        wait_until("the watchdog has seen it", lambda: daemon.log_contains("watchdog: handlers/x_hangs.lua has not returned from one call for"))
        assert daemon.log_contains("at handlers/x_hangs.lua:3")
        wait_until("the daemon is not ready", lambda: other_worker(client, "/ready").status == 503, 9)
        assert "handlers/x_hangs.lua" in daemon.operators.get("/ready").text
        flag.unlink()
    wait_until("the daemon is ready again", lambda: client.get("/ready").status == 200)
    assert daemon.metrics()["plist_lua_stuck_total"] == 1

    # A call that does not.
    flag.touch()
    with hang():
        daemon.wait_ended(30)
    wait_until("it has an exit status", lambda: daemon.exit_status() is not None)
    assert daemon.exit_status() == -signal.SIGABRT
    assert daemon.log_contains("aborting, because nothing else can end that call")


def other_worker(client, path):
    """One of two workers is stuck: connections that it accepted get no response."""
    patient = Client(client.base, "us", timeout=1.0)
    for _ in range(20):
        try:
            return patient.get(path)
        except OSError:
            continue
    raise AssertionError("no worker answers")


def test_a_check_of_a_policy_that_hangs_has_a_verdict_within_seconds(stack, tmp_path):
    flag, source, library = tmp_path / "hang", tmp_path / "hang.c", tmp_path / "hang.so"
    source.write_text((BLOCKING_STRFTIME % flag).replace(
        "size_t strftime(char *s, size_t max, const char *format, const struct tm *tm)", "int strcoll(const char *a, const char *b)"))
    subprocess.run([os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-o", library, source], check=True)
    flag.touch()
    policy = tmp_path / "hangs.lua"
    policy.write_text("local policy = require 'plist.policy'\nreturn { name = 'hangs', doc = '', resolve = function(rows)\n"
                      "  local first = rows[1].origin < rows[2].origin\n  return policy.take(first and 1 or 2)\nend }\n")
    config = tmp_path / "plist.yaml"
    made = stack.dictionary()
    made["lua"] = dict(made.get("lua") or {}, stuck_after="1s")
    config.write_text(yaml.safe_dump(made, sort_keys=False))
    began = time.monotonic()
    done = subprocess.run([places.program("plist-admin"), "--config", config, "policy", "check", "--output", "json", policy], capture_output=True, text=True,
                          timeout=60, check=False, env=os.environ | {"LD_PRELOAD": str(library)})
    assert time.monotonic() - began < 20
    assert done.returncode == 1, done.stdout + done.stderr
    verdict = json.loads(done.stdout)["policies"][0]
    assert verdict["verdict"] == "over_budget"
    assert "hangs.lua:3" in verdict["why"] + verdict["detail"]
