"""The control socket: which users may read, which may change something, and the audit lines in the log."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from support.plistd import Plistd
from support.process import free_port, wait_until

ASK = """import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[3]))
os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[1])
    s.sendall(sys.argv[4].encode() + b"\\n")
    print(s.makefile().readline())
"""
CROWD = """import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
open_ones = []
for _ in range(16):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.sendall(b'{"command":"status"}\\n' * int(sys.argv[3]))
    s.recv(1)
    open_ones.append(s)
print("connected", flush=True)
sys.stdin.read()
"""
VIEWER, STRANGER, OPERATORS, OPERATOR = 54001, 54002, 54003, 54004


@pytest.fixture
def daemon(stack):
    """Another daemon of us. The user VIEWER may read; the group OPERATORS may do everything."""
    folder = stack.folder / "plistd-operators"
    shutil.rmtree(folder, ignore_errors=True)  # the log of an earlier test
    folder.mkdir()
    folder.chmod(0o755)
    port = free_port()

    def change(config):
        config["regions"]["us"] |= {"listen": f"127.0.0.1:{port}", "control_socket": str(folder / "us.sock")}
        config["control"] = {"viewers": [str(VIEWER)], "operators": [f"@{OPERATORS}"]}
    daemon = Plistd(folder, "us", port, stack.write_yaml(folder / "plist.yaml", change), stack.environment, name="plistd-operators")
    yield daemon.start()
    daemon.stop()


def ask(daemon, uid, gid, **request):
    path = daemon.folder / "us.sock"
    if uid == os.geteuid():
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(path))
            s.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(s.makefile().readline())
    done = subprocess.run([sys.executable, "-c", ASK, str(path), str(uid), str(gid), json.dumps(request)],
                          capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def audits(daemon):
    return [line for line in daemon.log_tail(500).splitlines() if "audit: " in line]


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")


@needs_root
def test_a_viewer_looks_and_changes_nothing(daemon):
    for command in ("status", "lag", "metrics", "policies"):
        assert ask(daemon, VIEWER, VIEWER, command=command)["ok"], command
    assert not audits(daemon), "reading leaves no audit line"
    for request in ({"command": "reload"}, {"command": "log-level", "level": "debug"},
                    {"command": "activate", "resource": "properties", "path": "policies/x.lua", "text": "return {}"}):
        answer = ask(daemon, VIEWER, VIEWER, **request)
        assert not answer["ok"] and "control.operators does not list it" in answer["error"]
    lines = audits(daemon)
    assert len(lines) == 3 and all(f"uid {VIEWER}" in line and "not allowed" in line for line in lines)
    assert "activate properties policies/x.lua" in lines[2]


@needs_root
def test_an_operator_may_do_everything_and_each_action_is_a_line(daemon):
    assert ask(daemon, STRANGER, OPERATORS, command="log-level", level="info")["ok"]
    assert ask(daemon, STRANGER, OPERATORS, command="log-level", level="loud")["ok"] is False
    assert ask(daemon, STRANGER, OPERATORS, command="reload")["ok"]
    lines = audits(daemon)
    assert [line.split("control socket: ")[1] for line in lines] == [
        "log-level info: done", "log-level loud: failed: level must be debug, info, notice, warning or error", "reload: done"]
    assert all(f"uid {STRANGER}" in line and "pid " in line for line in lines)


@needs_root
def test_a_user_that_no_list_names_may_not_even_look(daemon):
    answer = ask(daemon, STRANGER, STRANGER, command="status")
    assert not answer["ok"] and "may not use the command" in answer["error"] and len(answer) == 2


@needs_root
@pytest.mark.parametrize(("who", "lines"), [(STRANGER, 1), (STRANGER, 5000), (VIEWER, 1), (VIEWER, 1000)])
def test_no_user_can_keep_operators_away_or_fill_the_log(daemon, who, lines):
    with subprocess.Popen([sys.executable, "-c", CROWD, str(daemon.folder / "us.sock"), str(who), str(lines)],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as crowd:
        try:
            assert crowd.stdout.readline() == "connected\n", "it has all places, and takes none of its answers"
            for _ in range(3):
                assert ask(daemon, OPERATOR, OPERATORS, command="log-level", level="info")["ok"]
        finally:
            crowd.stdin.close()
    refusals = [line for line in audits(daemon) if "not allowed" in line]
    assert len(refusals) <= 20, "10 in 10 seconds"
    assert bool(refusals) == (who == STRANGER)


def test_a_signal_is_audited_with_its_sender(daemon):
    os.kill(daemon.pid, signal.SIGHUP)
    wait_until("the reload is in the log", lambda: audits(daemon))
    assert f"uid {os.geteuid()}, pid {os.getpid()}) with a signal: reload: done" in audits(daemon)[0]


def test_without_lists_only_the_daemons_own_user_can_connect(stack):
    assert (stack.config.parent / "us.sock").stat().st_mode & 0o777 == 0o600


def test_the_socket_answers_lag_and_metrics(daemon):
    assert "origins" in ask(daemon, os.geteuid(), os.getegid(), command="lag")["lag"]
    assert "# TYPE plist_http_connections gauge" in ask(daemon, os.geteuid(), os.getegid(), command="metrics")["text"]


def test_a_web_page_whose_name_leads_to_this_machine_is_not_answered_in_a_browser(daemon):
    """The operators' listener asks nobody for credentials. A browser sends the name of the page that asks (DNS rebinding)."""
    port = daemon.operators.port
    for host in ("rebound.example", f"rebound.example:{port}", "localhost.rebound.example", f"127.0.0.1.rebound.example:{port}"):
        for path in ("/metrics", "/ready", "/health", "/nothing"):
            answer = daemon.operators.request("GET", path, headers={"Host": host})
            assert answer.status == 421 and "plist_" not in answer.text, (host, path, answer)
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", "LOCALHOST", f"[::1]:{port}", socket.gethostname()):
        assert daemon.operators.request("GET", "/metrics", headers={"Host": host}).status == 200, host
