"""plist-security(7): a daemon whose role owns nothing, with the SQL of the page; and where secrets are not."""

import json
import pathlib
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from support import places
from support.client import Client, new_id
from support.database import Database
from support.jwt import Issuer
from support.plistd import Plistd, admin
from support.process import free_port, wait_until

DATABASE = "postgresql://plist_run@db-{}/plist?sslmode=verify-full&sslrootcert=/etc/plist/ca.crt"


def sql_of_the_page():
    page = (places.source() / "man" / "plist-security.7").read_text()
    block = re.search(r"^\.Bd -literal.*?\n(CREATE ROLE .*?)\n\.Ed", page, re.S | re.M).group(1)
    return [statement.strip() for statement in block.split(";") if statement.strip()]


def leave_as_months_ago(database):
    """No partition for this month, and rows that housekeeping has to delete."""
    for name, in database.rows("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'plist.conflicts'::regclass"):
        if not name.endswith("_default"):
            database.execute(f"DROP TABLE {name}")
    database.execute("INSERT INTO dead_letters (topic, partition, kafka_offset, error, received_at) VALUES ('modest', 0, 0, 'old', '2020-01-01')")
    database.execute(
        "INSERT INTO conflicts (resource, record_id, type, detected_at, policy_name, policy_sha256, siblings, verdict, visible, vector) "
        "VALUES ('properties', 993, 'update_origin_differs', '2020-01-01', 'p', 's', '[]', '{}', '{}', '{}')")


@pytest.fixture
def modest(stack):
    """A daemon of us that logs in as plist_run."""
    first, *grants = sql_of_the_page()
    superuser = Database(stack.postgres["us"].superuser_url)
    if not superuser.rows("SELECT 1 FROM pg_roles WHERE rolname = 'plist_run'"):
        superuser.execute(first)
    superuser.close()
    for grant in grants:
        stack.database("us").execute(grant)
    folder, port = stack.folder / "plistd-modest", free_port()
    folder.mkdir(exist_ok=True)

    def change(config):
        config["regions"]["us"] |= {"listen": f"127.0.0.1:{port}", "control_socket": str(folder / "us.sock"),
                                    "database": stack.postgres["us"].url.replace("//plist@", "//plist_run@")}
    daemon = Plistd(folder, "us", port, stack.write_yaml(folder / "plist.yaml", change), stack.environment, name="plistd-modest")
    stack.plistd["us"].stop()  # so that this daemon runs the relay, the applier and housekeeping
    leave_as_months_ago(stack.database("us"))
    try:
        yield daemon.start().wait_ready()
    finally:
        daemon.stop()
        stack.plistd["us"].start()


def test_a_daemon_whose_role_owns_nothing_does_all_that_a_daemon_does(stack, modest):
    us, eu = Client(modest.url, "us"), stack.client("eu")
    record = us.post(price=5).json["id"]
    assert us.put(record, price=6, version=1).status == 200
    stack.wait_version("eu", record, 2)
    assert eu.put(record, new_id(), price=7, version=2).status == 200
    stack.wait_version("us", record, 3)
    assert us.get("/us/properties?limit=1").status == 200
    assert us.delete(record, version=3).status == 204
    stack.settle()
    owned = stack.database("us").value("SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = 'plist_run'")
    assert owned == 0
    assert "permission denied" not in modest.log_tail(2000)


def test_housekeeping_as_a_role_that_owns_nothing_deletes_what_is_too_old(stack, modest):
    database = stack.database("us")
    wait_until("the dead letter is deleted", lambda: not database.rows("SELECT FROM dead_letters WHERE topic = 'modest'"))
    assert not database.conflicts(993)
    wait_until("a round has ended", lambda: modest.metrics()["plist_housekeeping_last_success_timestamp_seconds"] > 0)
    assert modest.metrics()["plist_housekeeping_failures_total"] == 0


def test_the_hardened_example_is_valid_but_for_the_secrets_that_it_names(stack, tmp_path):
    for name, secret in (("kafka-password", "x"), ("us.database", DATABASE.format("us")), ("eu.database", DATABASE.format("eu"))):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(secret + "\n")
    example = places.source() / "conf" / "plist-hardened.yaml"
    secrets = {"PLIST_SECRETS": tmp_path}
    assert admin("keys", "add", "shop", "--role", "editor", config=example, environment=secrets).returncode == 0
    done = admin("config", "check", config=example, environment=secrets)
    assert "is valid" in done.stderr
    assert "warning" not in done.stderr


# Secrets.


@pytest.fixture
def secretive(stack, tmp_path):
    """A second daemon of us that knows a secret of each kind, and logs all that it can."""
    folder, port = tmp_path, free_port()
    for name, secret in (("database", stack.postgres["us"].url.replace("//plist@", "//plist:hush-database@")), ("kafka", "hush-kafka")):
        (folder / name).touch(0o600)
        (folder / name).write_text(secret + "\n")
    config = stack.dictionary()
    config["log"] = {"level": "debug"}
    config["regions"]["us"] |= {"listen": f"127.0.0.1:{port}", "control_socket": str(folder / "us.sock"), "database_file": str(folder / "database")}
    del config["regions"]["us"]["database"]
    config["kafka"]["properties"] = {"sasl.username": "plist", "sasl.password_file": str(folder / "kafka"), "ssl.key.password": "hush-key", "debug": "all"}
    issuer = Issuer(folder / "issuer")
    (folder / "jwks").write_text(issuer.key_set())
    config["auth"] = {"api_keys": str(folder / "keys"), "jwt": {"keys": str(folder / "jwks"), "issuer": Issuer.name, "audience": "plist"}}
    (folder / "plist.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    key = admin("keys", "add", "anna", config=folder / "plist.yaml").stdout.strip()
    daemon = Plistd(folder, "us", port, folder / "plist.yaml", name="plistd-secretive")
    claims = {"aud": "plist", "sub": "anna", "exp": int(time.time()) + 600}
    daemon.tokens = [issuer.token("ES256", **claims), issuer.token("EdDSA", **claims | {"aud": "hush"}), issuer.token("RS256", **claims | {"exp": 1})]
    daemon.secrets = ["hush-database", "hush-kafka", "hush-key", key[13:], *(part for t in daemon.tokens for part in t.split(".")[1:])]
    daemon.key = key
    try:
        yield daemon.start().wait_ready()
    finally:
        daemon.stop()


COMMANDS = (["config", "show"], ["config", "show", "--defaults"], ["config", "check", "--online"], ["status"], ["lag"], ["routes"], ["nginx"],
            ["keys", "list"], ["kafka", "acls"], ["schema", "diff"], ["parked", "list"], ["dead-letters", "list"])


def told_by_admin(daemon, words, output):
    return admin(*words, *(["-o", output] if words[0] != "nginx" and words[1:] != ["acls"] else []), config=daemon.config, check=False)


def told_by(daemon, statuses=(0, 1)):
    """{where: text} of everything that the programs say of themselves."""
    told = {}
    for key in (daemon.key, daemon.key[:-1] + "a", "plk_hush", *daemon.tokens, *(t[:-4] for t in daemon.tokens)):
        answer = daemon.client.get("/us/properties?limit=1", Authorization=f"Bearer {key}")
        told[f"answer {len(told)}"] = answer.text + str(answer.headers)
    daemon.signal(signal.SIGUSR1)
    wait_until("the state is logged", lambda: daemon.log_contains("state: {"))
    daemon.reload()
    told |= {"/metrics": daemon.operators.get("/metrics").text, "/ready": daemon.operators.get("/ready").text}
    runs = [(words, output) for words in COMMANDS for output in ("table", "json")]
    with ThreadPoolExecutor(6) as pool:  # most of them wait for a server
        for (words, output), done in zip(runs, pool.map(lambda run: told_by_admin(daemon, *run), runs)):
            assert done.returncode in statuses, (words, done)
            told[" ".join([*words, output])] = done.stdout + done.stderr
    status = json.dumps(daemon.status())
    told |= {"the control socket": status, "the operators' listener": daemon.operators.get(f"/us/properties?key={daemon.key[:12]}").text}
    for file in ("cmdline", "environ"):  # everything is in files here
        told[file] = pathlib.Path(f"/proc/{daemon.pid}/{file}").read_bytes().decode(errors="replace")
    told["ps"] = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(daemon.pid)], capture_output=True, text=True, check=True).stdout
    told["the log"] = daemon.log_text()
    return told


def test_no_secret_is_in_a_log_an_output_or_the_list_of_processes(secretive):
    told = told_by(secretive)
    assert all(told.values())
    assert not [(where, secret) for where, text in told.items() for secret in secretive.secrets if secret in text]


def test_errors_of_a_database_and_a_broker_show_no_secret(secretive):
    folder = pathlib.Path(secretive.config).parent
    (folder / "database").write_text(f"postgresql://plist:hush-database@127.0.0.1:{free_port()}/plist\n")
    config = yaml.safe_load((folder / "plist.yaml").read_text())
    config["kafka"]["brokers"] = f"127.0.0.1:{free_port()}"
    (folder / "plist.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    secretive.stop()
    secretive.start().wait_unready("the database is unavailable")
    told = told_by(secretive, (0, 1, 3, 4))  # 3, 4: no database was reached, or only some
    assert not [(where, secret) for where, text in told.items() for secret in secretive.secrets if secret in text]


def test_no_core_is_dumped_unless_somebody_asks_for_it(secretive):
    def limit():
        line = re.search(r"^Max core file size +(\w+) +(\w+)", pathlib.Path(f"/proc/{secretive.pid}/limits").read_text(), re.M)
        return line.groups()
    assert limit() == ("1", "1")
    secretive.stop()
    secretive.argv = lambda: [places.program("plistd"), "--config", secretive.config, "--region", "us", "--core-dumps"]
    secretive.start()
    assert limit() != ("1", "1")
    assert risks(secretive) == {"core_dumps"}


def test_the_tool_dumps_no_core_either(secretive):
    command = [places.program("plist-admin"), "--config", secretive.config, "lag", "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tool:
        try:
            assert tool.stdout.readline(), "it runs"
            limits = pathlib.Path(f"/proc/{tool.pid}/limits").read_text()
        finally:
            tool.terminate()
    assert re.search(r"^Max core file size +1 +1 ", limits, re.M), limits


def risks(daemon):
    return {name.split('"')[1] for name, value in daemon.metrics().items() if name.startswith("plist_risk") and value}


def test_too_few_descriptors_are_a_risk_that_status_notes(secretive):
    assert risks(secretive) == set()
    secretive.stop()
    secretive.argv = lambda: ["prlimit", "--nofile=600:600", places.program("plistd"), "--config", secretive.config, "--region", "us"]
    secretive.start()
    assert secretive.metrics()["process_max_fds"] == 600
    assert risks(secretive) == {"descriptors"}
    told = admin("status", "--region", "us", "-o", "json", config=secretive.config, check=False)
    (note,) = json.loads(told.stdout)["notes"]
    assert re.fullmatch("us: the daemon at .* may need more file descriptors than it can open; .*", note["note"])
    assert f"note: {note['note']}" in told.stderr and note["note"] not in str(json.loads(told.stdout)["warnings"])
