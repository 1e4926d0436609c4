"""The daemon as a process: how it is called, how it ends, what it does without its servers."""

import os
import signal
import socket
import subprocess
import threading
import time

import pytest
import yaml

from support import places
from support.client import Client, new_id
from support.plistd import Plistd
from support.process import free_port, wait_until


def plistd(*arguments, environment=None, timeout=20):
    env = {k: v for k, v in os.environ.items() if k not in ("REGION", "DATABASE_URL", "PORT", "KAFKA_BROKER", "PLIST_CONFIG")}
    return subprocess.run([places.program("plistd"), *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                          env=env | (environment or {}), check=False)


@pytest.fixture
def apart(stack, tmp_path):
    """Makes daemons of us of their own, with changes to the YAML; all are ended with the test."""
    made = []

    def make(change=None, environment=None, start=True):
        folder = tmp_path / f"plistd-{len(made)}"
        folder.mkdir()
        config = stack.dictionary()
        port = free_port()
        config["regions"]["us"] |= {"listen": f"127.0.0.1:{port}", "control": str(folder / "us.sock")}
        if change:
            change(config)
        path = folder / "plist.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        daemon = Plistd(folder, "us", port, path, environment=lambda: environment or {}, name=f"plistd-apart-{len(made)}")
        made.append(daemon)
        return daemon.start() if start else daemon
    yield make
    for daemon in made:
        if daemon.running:
            daemon.kill()


# Called.


def test_usage_and_version():
    assert plistd("--version").stdout.startswith("plistd ")
    assert "--check-config" in plistd("--help").stdout
    for wrong in (["--colour"], ["--config"], ["extra"], ["-c"]):
        done = plistd(*wrong)
        assert (done.returncode, done.stdout) == (64, ""), wrong
        assert "--help" in done.stderr


def test_a_good_configuration_is_checked_with_0(stack):
    done = plistd("--config", stack.config, "--check-config")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_bad_configuration_is_78_with_every_problem(stack, tmp_path):
    config = stack.dictionary()
    config["colour"] = "red"
    config["http"] = {"max_body": "much"}
    bad = tmp_path / "bad.yaml"
    bad.write_text(yaml.safe_dump(config, sort_keys=False))
    for arguments in (["--check-config"], ["--region", "us"]):
        done = plistd("--config", bad, *arguments)
        assert done.returncode == 78
        assert done.stderr.count(f"{bad}:") >= 2, done.stderr
    assert plistd("--config", tmp_path / "nowhere.yaml", "--region", "us").returncode == 78


def test_the_region_must_be_known(stack):
    assert plistd("--config", stack.config).returncode == 64
    assert plistd("--config", stack.config, "--region", "asia").returncode == 78
    assert plistd("--config", stack.config, environment={"REGION": "asia"}).returncode == 78


def test_an_address_that_is_taken_is_69(stack, apart):
    first = apart()
    second = apart(lambda c: c["regions"]["us"].update(listen=f"127.0.0.1:{first.port}"), start=False)
    assert exit_status(second.launch()) == 69
    assert str(first.port) in second.log_text()
    assert first.client.get("/health").status == 200


def test_port_and_region_come_from_the_environment(apart):
    port = free_port()
    daemon = apart(environment={"PORT": str(port), "REGION": "us"}, start=False)
    daemon.port = port
    daemon.launch()
    wait_until("it answers there", lambda: Client(f"http://127.0.0.1:{port}").get("/health").json["region"] == "us", 15)


# Ended.


def test_sigterm_answers_what_is_in_flight_and_ends_with_0(stack, apart):
    daemon = apart().wait_ready()
    record = stack.new_record("us", everywhere=False)
    holder = stack.database("us").connect()
    answers = []
    client = Client(daemon.url, "us")
    try:
        holder.cursor().execute("SELECT 1 FROM properties WHERE id = %s FOR UPDATE", (record,))
        thread = threading.Thread(target=lambda: answers.append(client.put(record, price=5, version=1)))
        thread.start()
        wait_until("the request waits for the row", lambda: stack.database("us").value(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'plist'"), 5)
        daemon.signal(signal.SIGTERM)
        wait_until("nobody new is let in", lambda: refused(daemon.port), 5)
    finally:
        holder.rollback()
        holder.close()
    thread.join()
    assert exit_status(daemon) == 0
    assert answers[0].status == 200
    assert answers[0].headers["connection"] == "close"
    assert daemon.log_contains("ended")


def exit_status(daemon, timeout=20):
    """Of a daemon that is ending. Its main thread may be gone for a moment before the process is."""
    daemon.wait_ended(timeout)
    wait_until(f"{daemon.name} has an exit status", lambda: daemon.exit_status() is not None, 10)
    return daemon.exit_status()


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_no_request_is_lost_when_a_busy_daemon_is_stopped(stack, apart, number):
    daemon = apart().wait_ready()
    records = [stack.new_record("us", everywhere=False) for _ in range(8)]
    lost, done = [], []

    def write(record):
        connection = None
        for version in range(1, 100000):
            body = b'{"price":5,"version":%d}' % version
            try:
                connection = connection or socket.create_connection(("127.0.0.1", daemon.port), timeout=10)
            except ConnectionRefusedError:
                return
            try:
                connection.sendall(b"PUT /us/properties/%d HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nContent-Length: %d\r\n\r\n%s"
                                   % (record, new_id().encode(), len(body), body))
                answer = connection.recv(65536)
            except OSError as error:
                answer = repr(error).encode()
            if not answer.startswith(b"HTTP/1.1 200 "):
                lost.append((record, version, answer[:200]))
                return
            done.append(record)
            if b"connection: close" in answer.lower():
                connection.close()
                connection = None
    threads = [threading.Thread(target=write, args=(r,)) for r in records]
    for thread in threads:
        thread.start()
    wait_until("it is busy", lambda: len(done) > 200, 20)
    daemon.signal(number)
    for thread in threads:
        thread.join()
    assert exit_status(daemon) == 0
    assert not lost, lost[:3]
    for record in records:
        assert stack.database("us").property(record)["version"] == 1 + done.count(record)


def test_what_is_not_answered_within_the_drain_timeout_is_not_waited_for(stack, apart):
    daemon = apart(lambda c: c.update(http={"drain_timeout": "1s", "request_timeout": "60s"},
                                      database={"statement_timeout": "60s", "lock_timeout": "60s"})).wait_ready()
    record = stack.new_record("us", everywhere=False)
    holder = stack.database("us").connect()
    answers = []
    client = Client(daemon.url, "us", timeout=30)
    try:
        holder.cursor().execute("SELECT 1 FROM properties WHERE id = %s FOR UPDATE", (record,))
        thread = threading.Thread(target=lambda: answers.append(client.put(record, price=5, version=1)))
        thread.start()
        wait_until("the request waits for the row", lambda: stack.database("us").value(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'plist'"), 5)
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        status = exit_status(daemon)
        assert time.monotonic() - began < 8
    finally:
        holder.rollback()
        holder.close()
    thread.join()
    assert answers[0].status in (503, 504)
    assert status == 0


def test_sigusr1_writes_the_state_into_the_log(apart):
    daemon = apart()
    mark = daemon.log_mark()
    daemon.signal(signal.SIGUSR1)
    daemon.wait_log('"region":"us"', mark)


def test_systemd_is_told(stack, apart, tmp_path):
    path = tmp_path / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(path))
        s.settimeout(15)
        daemon = apart(environment={"NOTIFY_SOCKET": str(path)})
        assert s.recv(100) == b"READY=1"
        daemon.hangup()
        assert [s.recv(100), s.recv(100)] == [b"RELOADING=1", b"READY=1"]
        daemon.signal(signal.SIGTERM)
        assert s.recv(100) == b"STOPPING=1"
        daemon.wait_ended(20)


# Without its servers.


def test_it_starts_without_database_and_broker_and_says_so(apart):
    def nowhere(config):
        config["regions"]["us"]["database"] = f"postgresql://nobody@127.0.0.1:{free_port()}/nowhere"
        config["kafka"]["brokers"] = f"127.0.0.1:{free_port()}"
    daemon = apart(nowhere)
    assert daemon.client.get("/health").status == 200
    ready = daemon.client.get("/ready")
    assert ready.status == 503
    assert len(ready.json["reasons"]) == 2, ready
    for answer in (daemon.client.read(1), daemon.client.put(1, price=5, version=1)):
        assert answer.status == 503
        assert answer.headers["retry-after"]
        assert answer.json["retryable"] is True
    assert daemon.client.get("/us/replication-lag").json["lag_seconds"] >= 0
    assert daemon.client.get("/metrics").status == 200
    assert "nobody@127" not in daemon.log_text() or "password" not in daemon.log_text()
    began = time.monotonic()
    daemon.stop()
    assert time.monotonic() - began < 15


def test_it_recovers_by_itself_when_the_database_comes(stack, apart):
    daemon = apart().wait_ready()
    record = stack.new_record("us", everywhere=False)
    stack.postgres["us"].stop()
    try:
        wait_until("it is not ready", lambda: daemon.client.get("/ready").status == 503, 15)
        assert daemon.client.get("/health").status == 200
        assert daemon.client.put(record, price=5, version=1).status == 503
    finally:
        stack.postgres["us"].start()
    daemon.wait_ready()
    assert Client(daemon.url, "us").put(record, price=5, version=1).status == 200


# The operators' socket.


def ask(path, line):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(str(path))
        s.sendall(line.encode() + b"\n")
        received = b""
        while not received.endswith(b"\n"):
            received += s.recv(65536)
        return yaml.safe_load(received)


def test_operators_may_ask_and_change(stack, apart):
    daemon = apart().wait_ready()
    path = daemon.folder / "us.sock"
    wait_until("it is ready for the operators, too", lambda: ask(path, '{"command":"status"}')["ready"], 10)
    assert path.stat().st_mode & 0o777 == 0o600
    status = ask(path, '{"command":"status"}')
    assert (status["ok"], status["region"], status["ready"], status["pid"]) == (True, "us", True, daemon.pid)
    assert len(status["workers"]) >= 1
    policies = ask(path, '{"command":"policies"}')["policies"]
    assert [p["resource"] for p in policies] == ["properties"]
    assert ask(path, '{"command":"log-level","level":"debug"}')["level"] == "debug"
    assert ask(path, '{"command":"reload"}')["restart_keys"] == []
    good = daemon.config.read_text()
    daemon.config.write_text(good.replace("handlers/property_get.lua", "handlers/nowhere.lua"))
    refusal = ask(path, '{"command":"reload"}')
    assert refusal["ok"] is False and refusal["problems"]
    daemon.config.write_text(good.replace("127.0.0.1", "localhost"))
    assert any("listen" in key for key in ask(path, '{"command":"reload"}')["restart_keys"])
    daemon.stop()
    assert not path.exists()


def test_metrics_are_those_of_the_manual(us):
    import re
    told = {re.sub(r"_(bucket|sum|count)$", "", re.split(r"[{ ]", line)[0]) for line in us.get("/metrics").text.splitlines()
            if line and not line.startswith("#")}
    manual = (places.TOP / "man" / "plistd.8").read_text()
    assert not [name for name in told if name not in manual]


@pytest.mark.skipif(not any(os.access(f"{d}/promtool", os.X_OK) for d in os.environ["PATH"].split(":")), reason="promtool is not here")
def test_promtool_has_nothing_to_say_about_the_metrics(us):
    done = subprocess.run(["promtool", "check", "metrics"], input=us.get("/metrics").body, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
