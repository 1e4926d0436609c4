"""The daemon as a process: command line, shutdown, and operation without database and broker."""

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
from support.plistd import Plistd, admin
from support.process import free_port, wait_until
from test_heal import superuser


def plistd(*arguments, environment=None, timeout=60):
    env = {k: v for k, v in os.environ.items() if k not in ("REGION", "DATABASE_URL", "PORT", "KAFKA_BROKER", "PLIST_CONFIG")}
    return subprocess.run([places.program("plistd"), *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                          env=env | (environment or {}), check=False)


@pytest.fixture
def apart(stack, tmp_path):
    """Creates additional daemons of us with a changed YAML; all are stopped with the test."""
    made = []

    def make(change=None, environment=None, start=True):
        folder = tmp_path / f"plistd-{len(made)}"
        folder.mkdir()
        config = stack.dictionary()
        port = free_port()
        config["regions"]["us"] |= {"listen": f"127.0.0.1:{port}", "control_socket": str(folder / "us.sock")}
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


# Command line.


def test_usage_and_version_are_printed():
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
    wait_until("it answers there", lambda: Client(f"http://127.0.0.1:{port}").get("/health").json["region"] == "us")


def test_a_log_that_lacks_lines_and_a_missing_control_socket_are_shown_by_metrics(stack, apart):
    daemon = apart(lambda c: c["regions"]["us"].update(control_socket="/proc/us.sock"), start=False)
    argv = daemon.argv()
    daemon.argv = lambda: ["/bin/sh", "-c", 'exec "$0" "$@" 2>/dev/full', *argv]
    found, good = daemon.start().metrics(), stack.plistd["us"].metrics()
    assert found["plist_log_lines_dropped_total"] > 0
    assert (found["plist_log_incomplete"], found["plist_control_socket_up"]) == (1, 0)
    assert (good["plist_log_lines_dropped_total"], good["plist_log_incomplete"], good["plist_control_socket_up"]) == (0, 0, 1)


# Another server.


def test_all_sessions_follow_a_changed_service_file_after_a_reload(stack, apart, tmp_path):
    """Another database stands for another server; there is no broker, so that nobody else hears of the copy."""
    postgres, services = stack.postgres["us"], tmp_path / "services"

    def lead_to(database):
        services.write_text(f"[plist]\nhost=127.0.0.1\nport={postgres.port}\nuser=plist\ndbname={database}\n")

    def sessions(database):
        return stack.database("us").value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name ~ '^plistd? us '", database)

    def change(config):
        config["regions"]["us"]["database"] = "service=plist"
        config["kafka"]["brokers"] = f"127.0.0.1:{free_port()}"

    superuser(postgres, "CREATE DATABASE elsewhere OWNER plist")
    stack.plistd["us"].stop()
    try:
        dump = subprocess.run(["pg_dump", "-d", postgres.superuser_url], check=True, capture_output=True).stdout
        subprocess.run(["psql", "-q", "-d", f"postgresql://postgres@127.0.0.1:{postgres.port}/elsewhere"], input=dump, check=True, capture_output=True)
        lead_to("plist")
        daemon = apart(change, environment={"PGSERVICEFILE": str(services)})
        wait_until("its threads have sessions", lambda: sessions("plist") >= 7)
        lead_to("elsewhere")
        daemon.hangup()
        wait_until("all are on the other server", lambda: sessions("plist") == 0 and sessions("elsewhere") >= 5)
        assert daemon.log_contains("connections reach another server or database now")
        daemon.kill()
    finally:
        stack.plistd["us"].start()
        superuser(postgres, "DROP DATABASE elsewhere WITH (FORCE)")


# Shutdown.


def test_sigterm_answers_what_is_in_flight_and_ends_with_0(stack, apart):
    daemon = apart(lambda c: c.update(http={"request_timeout": "60s"}, database={"statement_timeout": "60s", "lock_timeout": "60s"})).wait_ready()
    record = stack.new_record("us", everywhere=False)
    holder = stack.database("us").connect()
    answers = []
    client = Client(daemon.url, "us", timeout=60)
    try:
        holder.cursor().execute("SELECT 1 FROM properties WHERE id = %s FOR UPDATE", (record,))
        thread = threading.Thread(target=lambda: answers.append(client.put(record, price=5, version=1)))
        thread.start()
        wait_until("the request waits for the row", lambda: stack.database("us").value(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'plist'"))
        daemon.signal(signal.SIGTERM)
        wait_until("new connections are refused", lambda: refused(daemon.port))
    finally:
        holder.rollback()
        holder.close()
    thread.join()
    assert exit_status(daemon) == 0
    assert answers[0].status == 200
    assert answers[0].headers["connection"] == "close"
    assert daemon.log_contains("ended")


def exit_status(daemon):
    """The exit status of a daemon that is ending, whose main thread may end before the process does."""
    daemon.wait_ended()
    wait_until(f"{daemon.name} has an exit status", lambda: daemon.exit_status() is not None)
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
    wait_until("it is busy", lambda: len(done) > 200)
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
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'plist'"))
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


def test_systemd_is_notified(stack, apart, tmp_path):
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
        daemon.wait_ended()


def test_a_service_manager_that_cannot_be_reached_is_logged_and_shown(stack, apart, tmp_path):
    daemon = apart(environment={"NOTIFY_SOCKET": str(tmp_path / "nobody.sock")})
    daemon.wait_log("service: READY=1 was not sent to the service manager")
    assert daemon.metrics()['plist_loss_recent{kind="service_message"}'] == 1
    told = admin("status", "--region", "us", config=daemon.config, check=False)
    assert "has in the last ten minutes failed to reach the service manager" in told.stderr


# Without database and broker.


def test_it_starts_without_database_and_broker_and_says_so(apart):
    def nowhere(config):
        config["regions"]["us"]["database"] = f"postgresql://nobody@127.0.0.1:{free_port()}/nowhere"
        config["kafka"]["brokers"] = f"127.0.0.1:{free_port()}"
    daemon = apart(nowhere)
    assert daemon.client.get("/health").status == 200
    ready = daemon.operators.get("/ready")
    assert ready.status == 503
    assert len(ready.json["reasons"]) == 2, ready
    assert ready.json["reasons"][0].startswith("the database is unavailable: ")
    public = daemon.client.get("/ready")
    assert (public.status, public.json["title"]) == (503, "Not ready")
    assert "reasons" not in public.json and "database" not in public.text
    for answer in (daemon.client.read(1), daemon.client.put(1, price=5, version=1)):
        assert answer.status == 503
        assert answer.headers["retry-after"]
        assert answer.json["retryable"] is True
    assert (daemon.client.get("/us/replication-lag").json["lag_seconds"] or 0) >= 0  # null: not known yet
    assert daemon.operators.get("/metrics").status == 200
    assert "nobody@127" not in daemon.log_text() or "password" not in daemon.log_text()
    began = time.monotonic()
    daemon.stop()
    assert time.monotonic() - began < 15


def test_it_recovers_by_itself_when_the_database_comes(stack, apart):
    daemon = apart().wait_ready()
    record = stack.new_record("us", everywhere=False)
    stack.postgres["us"].stop()
    try:
        wait_until("it is not ready", lambda: daemon.client.get("/ready").status == 503)
        assert daemon.client.get("/health").status == 200
        assert daemon.client.put(record, price=5, version=1).status == 503
    finally:
        stack.postgres["us"].start()
    daemon.wait_ready()
    assert Client(daemon.url, "us").put(record, price=5, version=1).status == 200


# The control socket.


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
    wait_until("it is ready for the operators, too", lambda: ask(path, '{"command":"status"}')["ready"])
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


def test_what_needs_a_restart_waits_for_it(stack, apart):
    daemon = apart(lambda c: c["regions"].update(ap={"listen": "127.0.0.1:1"})).wait_ready()
    path = daemon.folder / "us.sock"
    first = daemon.client.post(price=1).json["id"]
    config = yaml.safe_load(daemon.config.read_text())
    config["regions"] = {"before": {"listen": "127.0.0.1:2"}} | config["regions"]  # us is no longer the first
    config["regions"]["us"]["id_base"] = 7_000_000_000_000
    config["resources"]["rooms"] = {"topic": "rooms", "fields": {"beds": {"type": "integer"}}}
    config["resources"]["properties"]["fields"]["garage"] = {"type": "boolean"}
    config["routes"].append({"method": "GET", "path": "/:region/rooms/:id", "handler": "handlers/property_get.lua"})
    daemon.config.write_text(yaml.safe_dump(config, sort_keys=False))
    for _ in range(2):  # and the next reload still reports it
        keys = ask(path, '{"command":"reload"}')["restart_keys"]
        assert {"regions.us.id_base", "resources.rooms", "resources.properties.fields.garage"} <= set(keys), keys
    assert ask(path, '{"command":"status"}')["config"]["restart_keys"] == keys
    assert daemon.metrics()["plist_config_restart_keys"] == len(keys)
    second = daemon.client.post(price=1)
    assert second.status == 201 and "garage" not in second.json and second.json["id"] - first < 1000
    assert daemon.client.get("/us/rooms/1").status == 404
    assert daemon.client.put(second.json["id"], price=2, version=1).status == 200
    config["regions"]["us"].pop("id_base")
    config["resources"].pop("rooms")
    config["resources"]["properties"]["fields"].pop("garage")
    config["routes"].pop()
    daemon.config.write_text(yaml.safe_dump(config, sort_keys=False))
    assert ask(path, '{"command":"reload"}')["restart_keys"] == []
    daemon.stop()
    daemon.start().wait_ready()  # us is the second region now, and its database keeps its range of ids
    assert daemon.client.post(price=1).json["id"] - first < 1000


def test_a_clients_error_names_the_constraint_and_no_values(stack, us):
    database = stack.database("us")
    stack.reload(lambda config: config["resources"]["properties"].update(tolerate=["one_price"]))
    database.execute("CREATE UNIQUE INDEX one_price ON properties (price, bathrooms) WHERE price > 900000")
    try:
        assert us.post(price=987654, bathrooms=3).status == 201
        refused = us.post(price=987654, bathrooms=3)

        def logged():  # where operators can find it, once in a second
            us.post(price=987654, bathrooms=3)
            return "987654" in stack.plistd["us"].log_text()
        wait_until("the log has the values", logged)
    finally:
        database.execute("DROP INDEX one_price")
    assert refused.status == 400 and "one_price" in refused.json["detail"], refused
    assert [fault["pointer"] for fault in refused.json["errors"]] == ["/price", "/bathrooms"]
    assert "987654" not in refused.text


def test_a_fifo_in_the_place_of_a_file_is_refused_at_once(stack, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    config = stack.dictionary()
    config["regions"]["us"].pop("database")
    config["regions"]["us"]["database_file"] = str(tmp_path / "fifo")
    (tmp_path / "plist.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for file in ("plist.yaml", "fifo"):
        done = plistd("-c", tmp_path / file, "-r", "us")
        assert done.returncode == 78 and "not a regular file" in done.stderr, done


def test_a_long_check_of_a_policy_says_how_far_it_is(stack, tmp_path):
    (tmp_path / "lua" / "policies").mkdir(parents=True)
    (tmp_path / "lua" / "handlers").mkdir()
    (tmp_path / "lua" / "policies" / "slow.lua").write_text(
        "return { name = 'slow', doc = 'Takes its time.', resolve = function(rows)\n"
        "  local n = 0 for i = 1, 40000 do n = n + i % 7 end\n"
        "  return require('plist.policy').take(n > 0 and #rows or 1) end }\n")
    config = stack.dictionary()
    config["lua"] = {"path": str(tmp_path / "lua")}
    config["resources"]["properties"]["policy"] = "policies/slow.lua"
    for file in (places.source() / "lua" / "handlers").iterdir():
        (tmp_path / "lua" / "handlers" / file.name).write_text(file.read_text())
    (tmp_path / "plist.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    done = plistd("--check-config", "-c", tmp_path / "plist.yaml", "-r", "us")
    assert "policies: still checking policies/slow.lua for properties" in done.stderr, done
    assert "policies: checked policies/slow.lua for properties in" in done.stderr, done


def test_metrics_are_those_of_the_manual(stack):
    import re
    told = {re.sub(r"_(bucket|sum|count)$", "", re.split(r"[{ ]", line)[0]) for line in stack.plistd["us"].operators.get("/metrics").text.splitlines()
            if line and not line.startswith("#")}
    manual = (places.TOP / "man" / "plistd.8").read_text()
    assert not [name for name in told if name not in manual]


@pytest.mark.skipif(not any(os.access(f"{d}/promtool", os.X_OK) for d in os.environ["PATH"].split(":")), reason="promtool is not here")
def test_promtool_has_nothing_to_say_about_the_metrics(stack):
    done = subprocess.run(["promtool", "check", "metrics"], input=stack.plistd["us"].operators.get("/metrics").body, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
