"""Database sessions under change: tables altered, replaced or moved, settings, passwords, poolers, silent and frozen servers.

The daemon recovers without operator action, or reports why it cannot.
"""

import contextlib
import os
import shutil
import subprocess
import threading
from collections import Counter
from decimal import Decimal

import psycopg2
import pytest
import yaml

from support import places
from support.database import Database, unless_deadlocked
from support.plistd import Plistd, admin
from support.postgres import Postgres
from support.process import Server, free_port, wait_until
from support.proxy import HANG, Proxy

MOVED = "ALTER TABLE properties SET SCHEMA elsewhere; ALTER DATABASE plist SET search_path = public, elsewhere, plist"
MOVED_BACK = "ALTER TABLE elsewhere.properties SET SCHEMA public; ALTER DATABASE plist SET search_path = public, plist; DROP SCHEMA elsewhere"
SWAPPED = """BEGIN; LOCK TABLE properties; ALTER TABLE properties RENAME TO properties_before;
  CREATE TABLE properties (LIKE properties_before INCLUDING ALL); INSERT INTO properties SELECT * FROM properties_before;
  DROP TABLE properties_before; COMMIT"""

# How another session changes the tables, and how it is undone.
CHANGES = {
    "a column is widened": ("ALTER TABLE properties ALTER price TYPE numeric(16,2)", "ALTER TABLE properties ALTER price TYPE numeric(12,2)"),
    "a column has another type": ("ALTER TABLE properties ALTER bedrooms TYPE bigint", "ALTER TABLE properties ALTER bedrooms TYPE integer"),
    "the tables of plist change": ("ALTER TABLE processed_requests ALTER resource TYPE varchar(63); ALTER TABLE outbox ALTER resource TYPE varchar(63);"
                                   "ALTER TABLE applied_positions ALTER partition TYPE bigint",
                                   "ALTER TABLE processed_requests ALTER resource TYPE text; "
                                   "ALTER TABLE outbox ALTER resource TYPE text; ALTER TABLE applied_positions ALTER partition TYPE integer"),
    "a table is replaced": (SWAPPED, None),
    "a table is moved to another schema": (f"CREATE SCHEMA elsewhere AUTHORIZATION plist; {MOVED}", MOVED_BACK),
}


@contextlib.contextmanager
def asked_all_the_time(stack, record):
    """Continuous reads by id, lists and writes in both regions; returns the statuses of each."""
    statuses, stop = Counter(), threading.Event()

    def ask(region):
        client = stack.client(region)
        version = None
        while not stop.wait(0.002):
            answer = client.read(record)
            statuses[region, "GET", answer.status] += 1
            version = answer.json.get("version", version)
            statuses[region, "list", client.get(f"/{region}/properties?limit=2").status] += 1
            statuses[region, "PUT", client.put(record, price=Decimal("7.00"), version=version).status] += 1
    threads = [threading.Thread(target=ask, args=(region,), daemon=True) for region in stack.regions]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def everywhere(stack, sql):
    """Runs SQL as the superuser, since a plain role may not do all of this."""
    for postgres in stack.postgres.values():
        unless_deadlocked(run_alone, postgres.superuser_url, sql)


def run_alone(url, sql):
    with contextlib.closing(psycopg2.connect(url)) as link:
        link.autocommit = True
        link.cursor().execute(sql)


@pytest.mark.parametrize("what", sorted(CHANGES))
def test_no_request_fails_and_all_is_replicated_when(stack, what):
    change, back = CHANGES[what]
    record = stack.new_record()
    with asked_all_the_time(stack, record) as statuses:
        wait_until("requests are answered", lambda: sum(statuses.values()) > 60)
        for sql in filter(None, (change, back)):
            everywhere(stack, sql if "DATABASE" in sql else f"SET ROLE plist; {sql}")
            seen = sum(statuses.values())
            wait_until("requests are answered", lambda s=seen: sum(statuses.values()) > s + 60)
    failed = {key: n for key, n in statuses.items() if key[2] not in (200, 409)}
    assert not failed, failed
    for region in stack.regions:
        client = stack.client(region)
        wait_until(f"{region} takes a write",
                   lambda c=client: c.put(record, price=Decimal("8.00"), version=c.read(record).json["version"]).status == 200)
    stack.wait_ready()
    stack.check_consistent()


def test_a_daemon_is_not_ready_while_a_table_is_missing_even_without_requests(stack):
    """The daemon checks its sessions even if there are no requests."""
    database = stack.database("us")
    database.execute("ALTER TABLE properties RENAME TO properties_away")
    try:
        stack.plistd["us"].wait_unready("the database is unavailable", "properties", "does not exist")
        assert stack.client("us").get("/health").status == 200
    finally:
        database.execute("ALTER TABLE properties_away RENAME TO properties")
    stack.wait_ready()
    record = stack.new_record("us")
    assert stack.client("us").read(record).status == 200


def test_a_daemon_is_not_ready_while_only_the_applier_cannot_work(stack):
    database = stack.database("us")
    database.execute("ALTER TABLE applied_positions RENAME TO positions_away")
    try:
        stack.plistd["us"].wait_unready("events of other regions have not been applied", "applied_positions")
        assert stack.plistd["us"].metrics()["plist_apply_failing_seconds"] > 0
    finally:
        database.execute("ALTER TABLE positions_away RENAME TO applied_positions")
    stack.wait_ready()
    stack.check_consistent()


# Databases without tables.


@pytest.fixture
def empty(tmp_path):
    """A cluster whose database has no tables yet."""
    folder = places.data_folder("plist-empty-")
    server = Postgres(folder / "postgres", free_port(), durable=False)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def daemon_on(stack, tmp_path):
    """Creates a daemon of us on another database: daemon_on(database=URL). With own_topics it writes nothing that the stack's regions read."""
    made = []

    def make(start=True, own_topics=False, **keys):
        folder = tmp_path / f"plistd-{len(made)}"
        folder.mkdir()
        config = stack.dictionary()
        port = free_port()
        config["kafka"]["group"] = f"plist-apart-{port}"
        if own_topics:
            config["kafka"]["heartbeat_topic"] = f"heartbeats-{port}"
            config["resources"]["properties"]["topic"] = f"updates-{port}"
        config["regions"]["us"] |= {"listen": f"127.0.0.1:{port}", "control_socket": str(folder / "us.sock")} | keys
        if "database_file" in keys:
            del config["regions"]["us"]["database"]
        path = folder / "plist.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        daemon = Plistd(folder, "us", port, path, name=f"plistd-on-{len(made)}")
        made.append(daemon)
        return daemon.start() if start else daemon
    yield make
    for daemon in made:
        if daemon.running:
            daemon.kill()


def migrate(daemon, *arguments, **options):
    return admin("migrate", "--region", "us", "--folder", places.source() / "sql", *arguments, config=daemon.config, **options)


def test_a_daemon_that_began_before_the_tables_becomes_ready_with_them(stack, daemon_on, empty):
    daemon = daemon_on(database=empty.url, own_topics=True)
    daemon.wait_unready("run plist-admin migrate")
    migrate(daemon)
    daemon.wait_ready()
    assert daemon.client.post(id=1, price=Decimal("1.00")).status == 201
    assert daemon.client.read(1).status == 200
    assert "superuser" not in daemon.log_text()


def test_migrate_says_what_an_administrator_has_to_do_for_the_role_of_queries(stack, daemon_on, empty):
    root = Database(f"postgresql://postgres@127.0.0.1:{empty.port}/postgres")
    daemon = daemon_on(database=empty.url, start=False)
    root.execute("DROP ROLE plist_query")
    done = migrate(daemon, check=False)
    assert done.returncode == 1
    assert "CREATE ROLE plist_query LOGIN" in done.stderr
    root.execute("CREATE ROLE plist_query LOGIN SUPERUSER")
    done = migrate(daemon, check=False)
    assert done.returncode == 1 and "may do more than read" in done.stderr
    root.execute("ALTER ROLE plist_query NOSUPERUSER")
    migrate(daemon)
    # A role that may create roles needs no administrator.
    root.execute("ALTER ROLE plist CREATEROLE")
    root.close()
    run_as_superuser(empty, "DROP OWNED BY plist_query")
    run_as_superuser(empty, "DROP ROLE plist_query")
    assert "created the role plist_query" in migrate(daemon).stderr


def test_a_superuser_is_warned_of_at_the_start(stack, daemon_on):
    daemon = daemon_on(database=stack.postgres["us"].superuser_url)
    wait_until("the log says so", lambda: 'the role "postgres" is a superuser' in daemon.log_text())
    assert daemon.metrics()['plist_risk{kind="superuser"}'] == 1 and stack.plistd["us"].metrics()['plist_risk{kind="superuser"}'] == 0
    assert "uses a superuser of its database" in admin("status", "--region", "us", config=daemon.config, check=False).stderr


# Servers.


@pytest.fixture
def silent():
    """A server that accepts connections and never responds."""
    proxy = Proxy(free_port())
    proxy.mode = HANG
    yield proxy
    proxy.stop()


@pytest.mark.parametrize("hosts", ["host", "hostaddr", "url", "service"])
def test_a_silent_first_host_does_not_keep_the_second_from_being_tried(stack, daemon_on, silent, tmp_path, hosts, monkeypatch):
    port = stack.postgres["us"].port
    service = tmp_path / "services"
    service.write_text(f"[plist]\nhost=127.0.0.1,127.0.0.1\nport={silent.port},{port}\nuser=plist\ndbname=plist\n")
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    dsn = {"host": f"host=127.0.0.1,127.0.0.1 port={silent.port},{port} user=plist dbname=plist",
           "hostaddr": f"hostaddr=127.0.0.1,127.0.0.1 port={silent.port},{port} user=plist dbname=plist target_session_attrs=read-write",
           "url": f"postgresql://plist@127.0.0.1:{silent.port},127.0.0.1:{port}/plist?target_session_attrs=primary",
           "service": "service=plist"}[hosts]
    daemon = daemon_on(database=dsn)
    daemon.wait_ready()
    done = migrate(daemon, "--status")
    assert "004_query_role.sql" in done.stdout


def test_the_log_says_for_each_host_why_it_was_not_used(stack, daemon_on, silent):
    daemon = daemon_on(database=f"postgresql://plist@127.0.0.1:{silent.port},127.0.0.1:{free_port()}/plist")
    wait_until("both are named", lambda: "no answer within the time limit; " in daemon.log_text() and "refused" in daemon.log_text())


class PgBouncer(Server):
    name = "pgbouncer"
    user = "postgres"

    def __init__(self, folder, port, database_port, mode, more):
        self.database_port, self.mode, self.more = database_port, mode, more
        super().__init__(folder, port)

    def prepare(self):
        (self.folder / "users").write_text('"plist" ""\n"plist_query" ""\n')
        self.file = self.folder / "pgbouncer.ini"
        self.file.write_text(f"[databases]\nplist = host=127.0.0.1 port={self.database_port} dbname=plist\n[pgbouncer]\n"
                             f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\nauth_type = trust\n"
                             f"auth_file = {self.folder / 'users'}\npool_mode = {self.mode}\n{self.more}\n")
        for path in (self.folder, self.file, self.folder / "users"):
            path.chmod(0o755)

    def argv(self):
        return [shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:" + os.environ["PATH"]), self.file]

    def is_up(self):
        link = psycopg2.connect(f"postgresql://plist@127.0.0.1:{self.port}/plist", connect_timeout=3)
        link.close()
        return True


@pytest.fixture
def pooler(stack):
    made = []

    def make(mode, more=""):
        folder = places.data_folder("plist-pooler-")
        made.append(PgBouncer(folder, free_port(), stack.postgres["us"].port, mode, more))
        return made[-1].start()
    yield make
    for server in made:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.mark.parametrize("mode, more", [
    ("transaction", ""), ("statement", ""), ("transaction", "default_pool_size = 1"),
    ("transaction", "server_round_robin = 1\nmin_pool_size = 5"),
], ids=["transaction", "statement", "one-backend", "round-robin"])
def test_a_pooler_that_shares_sessions_is_refused_with_the_reason(stack, daemon_on, pooler, mode, more):
    url = f"postgresql://plist@127.0.0.1:{pooler(mode, more).port}/plist"
    daemon = daemon_on(database=url)
    daemon.wait_unready("pool_mode")
    assert daemon.client.read(7).status == 503
    daemon.stop()  # it would take the only backend over and over again
    done = migrate(daemon, "--status", check=False)
    assert done.returncode != 0 and "pool_mode = session" in done.stderr


def test_a_pooler_that_gives_each_client_its_own_session_is_accepted(stack, daemon_on, pooler):
    daemon = daemon_on(database=f"postgresql://plist@127.0.0.1:{pooler('session').port}/plist")
    daemon.wait_ready()
    record = stack.new_record("us")
    assert daemon.client.put(record, price=Decimal("2.00"), version=1).status == 200


# Frozen by an operator.


def freeze_database(postgres, on):
    run_as_superuser(postgres, f"ALTER DATABASE plist {'SET' if on else 'RESET'} default_transaction_read_only{' = on' if on else ''}")


def freeze_role(postgres, on):
    run_as_superuser(postgres, f"ALTER ROLE plist {'SET' if on else 'RESET'} default_transaction_read_only{' = on' if on else ''}")


def freeze_server(postgres, on):
    run_as_superuser(postgres, f"ALTER SYSTEM {'SET' if on else 'RESET'} default_transaction_read_only{' = on' if on else ''}")
    run_as_superuser(postgres, "SELECT pg_reload_conf()")


def run_as_superuser(postgres, sql):
    with contextlib.closing(psycopg2.connect(postgres.superuser_url)) as link:
        link.autocommit = True
        with link.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
            cursor.execute(sql)


@pytest.mark.parametrize("freeze", [freeze_database, freeze_role, freeze_server])
def test_a_frozen_database_is_read_and_not_written(stack, us, eu, freeze):
    record = stack.new_record()
    postgres = stack.postgres["us"]
    applier = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'plistd us apply%%' AND backend_start > %s"
    began = stack.database("us").value("SELECT clock_timestamp()")
    freeze(postgres, True)
    try:
        if freeze is not freeze_server:  # the setting applies to new sessions, which the daemon opens within a second
            wait_until("the applier has a new session", lambda: stack.database("us").value(applier, began))
        stack.plistd["us"].wait_unready("default_transaction_read_only")
        answer = us.put(record, price=Decimal("5.00"), version=1)
        assert (answer.status, answer.json["retryable"]) == (503, True)
        assert "default_transaction_read_only" in answer.json["detail"]
        assert us.read(record).json["version"] == 1
        assert us.get("/us/properties?limit=2").status == 200
        assert eu.put(record, price=Decimal("6.00"), version=1).status == 200
        wait_until("the applier waits", lambda: "takes no writes" in stack.plistd["us"].log_text())
        assert us.read(record).json["version"] == 1
    finally:
        freeze(postgres, False)
    stack.wait_ready()
    stack.wait_version("us", record, 2)
    assert us.put(record, price=Decimal("7.00"), version=2).status == 200
    stack.check_consistent()


def test_a_standby_is_read_and_not_written_until_it_is_promoted(stack, us, eu):
    record = stack.new_record()
    postgres = stack.postgres["us"]
    postgres.stop()
    signal_file = postgres.data / "standby.signal"
    signal_file.touch()
    os.chown(signal_file, postgres.data.stat().st_uid, postgres.data.stat().st_gid)
    try:
        postgres.start()
        stack.plistd["us"].wait_unready("standby")
        assert us.read(record).json["version"] == 1
        answer = us.put(record, price=Decimal("5.00"), version=1)
        assert answer.status == 503 and "standby" in answer.json["detail"]
        assert eu.put(record, price=Decimal("6.00"), version=1).status == 200
    finally:
        with contextlib.closing(psycopg2.connect(postgres.superuser_url)) as link:
            link.cursor().execute("SELECT pg_promote()")
    stack.wait_ready()
    stack.wait_version("us", record, 2)
    assert us.put(record, price=Decimal("7.00"), version=2).status == 200
    stack.check_consistent()


# Passwords.


@contextlib.contextmanager
def asks_for_passwords(postgres):
    """plist and plist_query need a password at this server; the superuser does not."""
    file = postgres.data / "pg_hba.conf"
    before = file.read_text()
    file.write_text("host all plist,plist_query 127.0.0.1/32 scram-sha-256\n" + before)
    run_as_superuser(postgres, "SELECT pg_reload_conf()")
    try:
        yield
    finally:
        file.write_text(before)
        run_as_superuser(postgres, "SELECT pg_reload_conf()")
        run_as_superuser(postgres, "ALTER ROLE plist PASSWORD NULL; ALTER ROLE plist_query PASSWORD NULL")


def cut_all(postgres):
    run_as_superuser(postgres, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'plist%'")


def sessions_of_us(postgres):
    """What the sessions of the daemons of us at this server are for."""
    root = Database(postgres.superuser_url)
    names = root.rows("SELECT DISTINCT application_name FROM pg_stat_activity WHERE application_name ~ '^plistd? us '")
    root.close()
    return {name for name, in names}


def test_a_changed_password_is_used_by_the_next_connection(stack, daemon_on, tmp_path):
    postgres = stack.postgres["us"]
    file = tmp_path / "database"
    file.touch(0o600)

    def change(password):
        run_as_superuser(postgres, f"ALTER ROLE plist PASSWORD '{password}'; ALTER ROLE plist_query PASSWORD '{password}'")
        file.write_text(postgres.url.replace("plist@", f"plist:{password}@") + "\n")
    stack.plistd["us"].stop()
    with asks_for_passwords(postgres):
        change("first")
        daemon = daemon_on(database_file=str(file)).wait_ready()
        pid = daemon.pid
        change("second")
        cut_all(postgres)
        daemon.wait_ready()
        # The same with a reload, which does not ask for a restart; a change to another
        # database does.
        change("third")
        daemon.reload()
        cut_all(postgres)
        daemon.wait_ready()
        assert "only after a restart" not in daemon.log_text()
        before = sessions_of_us(postgres)
        file.write_text(stack.postgres["eu"].url.replace("plist@", "plist:third@") + "\n")
        daemon.reload()
        assert "a new value of regions.us.database takes effect only after a restart" in daemon.log_text()
        cut_all(postgres)
        daemon.wait_ready()
        wait_until("every thread is back", lambda: before <= sessions_of_us(postgres))
        assert not sessions_of_us(stack.postgres["eu"])
        assert daemon.pid == pid
        daemon.stop()


# Queries of handlers.


@pytest.fixture
def query(stack, tmp_path):
    """Runs SQL through a handler's db.query: query(sql, ...) returns the response."""
    root = tmp_path / "lua"
    shutil.copytree(places.TOP / "lua", root)
    (root / "handlers" / "sql.lua").write_text("""
local db, http = require "plist.db", require "plist.http"
return { handle = function(req)
  local rows, err = db.query(req.body.sql)
  if not rows then return http.problem(err) end
  return http.ok({ rows = rows })
end }
""")

    def change(config):
        config["lua"]["path"] = str(root)
        config["routes"].append({"method": "POST", "path": "/:region/sql", "handler": "handlers/sql.lua", "idempotency": {"required": False}})
    stack.reload(change)
    return lambda sql, region="us": stack.client(region).request("POST", f"/{region}/sql", body={"sql": sql})


def test_a_query_runs_as_a_separate_role_and_can_read_the_tables(stack, query):
    record = stack.new_record("us")
    assert query("SELECT current_user AS c, session_user AS s").json["rows"] == [{"c": "plist_query", "s": "plist_query"}]
    assert query(f"SELECT id FROM properties WHERE id = {record}").json["rows"] == [{"id": record}]
    for table in ("conflicts", "plist.conflicts", "record_siblings", "processed_requests"):
        assert query(f"SELECT count(*) AS n FROM {table}").status == 200, table


REFUSED = [
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'plist'",
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'plist'",
    "SELECT set_config('role', 'plist', false), pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'plist'",
    "SELECT set_config('role', 'postgres', false)",
    "SELECT set_config('session_authorization', 'postgres', false)",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT lo_export(1, '/tmp/x')",
    "SELECT nextval('properties_ids')",
    "SELECT lo_put(lo_create(4711), 0, 'x'), nextval('properties_ids')",
    "SELECT * FROM plist_leaders",
    "SELECT * FROM plist.migrations",
    "SELECT FROM properties FOR UPDATE",
    "SELECT query_to_xml('DELETE FROM properties', true, true, '')",
    "SELECT 1; DELETE FROM properties",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "WITH d AS (DELETE FROM properties RETURNING id) SELECT * FROM d",
    "SELECT $1",  # the parameter is missing: a fault of the handler, not of the connection
]


@pytest.mark.parametrize("sql", REFUSED)
def test_a_query_cannot(stack, query, sql):
    relay = stack.database("us").value("SELECT pid FROM plist_leaders WHERE name = 'relay'")
    count = stack.database("us").value("SELECT count(*) FROM properties")
    answer = query(sql)
    assert answer.status == 500, answer
    assert stack.database("us").value("SELECT pid FROM plist_leaders WHERE name = 'relay'") == relay
    assert stack.database("us").value("SELECT count(*) FROM properties") == count
    assert query("SELECT 1 AS one").json["rows"] == [{"one": 1}]


def test_nothing_of_a_query_is_left_in_its_session(stack, query):
    for sql in ("SELECT pg_advisory_lock(4711)", "SELECT pg_advisory_lock_shared(1, 2), pg_advisory_xact_lock(3)",
                "SELECT set_config('TimeZone', 'Asia/Tokyo', false), set_config('statement_timeout', '0', false), set_config('plist.x', '1', false), "
                "set_config('default_transaction_read_only', 'off', false)"):
        assert query(sql).status == 200, sql
        wait_until("no lock is left", lambda: not stack.database("us").rows(
            "SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND a.usename = 'plist_query'"))
        for _ in range(4):  # both workers
            rows = query("SELECT current_setting('TimeZone') AS z, current_setting('statement_timeout') AS t, current_setting('plist.x', true) AS x, "
                         "current_setting('default_transaction_read_only') AS r").json["rows"]
            assert [(r["z"], r["t"], r.get("x") or "", r["r"]) for r in rows] == [("UTC", "5s", "", "on")]


def test_a_metric_tells_that_queries_cannot_be_executed(stack, query):
    def down():
        return stack.plistd["us"].metrics()["plist_store_query_connections_down"]

    assert query("SELECT 1 AS one").status == 200 and down() == 0
    run_as_superuser(stack.postgres["us"], "ALTER ROLE plist_query NOLOGIN")
    try:
        run_as_superuser(stack.postgres["us"], "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'plist_query'")
        wait_until("it is above 0", lambda: down() > 0)
    finally:
        run_as_superuser(stack.postgres["us"], "ALTER ROLE plist_query LOGIN")
    wait_until("it is 0 again", lambda: down() == 0)
    assert query("SELECT 1 AS one").status == 200


def test_a_query_cannot_keep_the_relay_from_working_by_any_lock(stack, query, us):
    """A query holds the lock that relays used in earlier versions; the relay loses its session and becomes leader again."""
    holder = threading.Thread(target=lambda: query("SELECT pg_advisory_lock(hashtext('plist-relay')), pg_advisory_lock(hashtext('plist-housekeeping')), "
                                                   "pg_advisory_lock(hashtext('plist-migrate')), pg_sleep(4)"))
    database = stack.database("us")
    database.execute("SELECT pg_terminate_backend(pid) FROM plist_leaders WHERE name = 'relay'")
    holder.start()
    record = stack.new_record("us", everywhere=False)
    stack.wait_version("eu", record, 1)
    stack.admin("migrate", "--region", "us", "--folder", places.source() / "sql")
    holder.join(20)
    assert us.read(record).status == 200


LARGE = {
    "one_value": "SELECT repeat('x', 60000000) AS a",
    "many_rows": "SELECT repeat('x', 100000) AS a FROM generate_series(1, 1000)",
}


@pytest.mark.parametrize("shape", LARGE)
def test_a_result_that_does_not_fit_the_memory_of_a_handler_is_not_read(stack, query, shape):
    daemon = stack.plistd["us"]
    query("SELECT 1 AS one")
    before = resident_mib(daemon)
    for _ in range(4):
        answer = query(LARGE[shape])
        assert answer.status == 500, answer
    assert daemon.log_contains("the result is larger than 8388608 bytes")
    assert resident_mib(daemon) - before < 48
    assert query("SELECT repeat('x', 3000000) AS a").status == 200
    assert query("SELECT 1 AS one").json["rows"] == [{"one": 1}]


def resident_mib(daemon):
    with open(f"/proc/{daemon.pid}/status", encoding="ascii") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) // 1024


def test_a_query_that_ends_its_own_session_fails_alone(stack, query):
    answer = query("SELECT pg_terminate_backend(pg_backend_pid())")
    assert answer.status == 503, answer
    assert query("SELECT 1 AS one").json["rows"] == [{"one": 1}]
    assert stack.client("us").get("/us/properties?limit=1").status == 200


# Rows that plist did not write.


def test_a_write_whose_vector_a_trigger_spoils_is_refused_and_a_spoilt_row_is_shown(stack, us):
    """A vector that cannot be read counts as the version, in the row's own region."""
    stack.reload(lambda config: config["resources"]["properties"].update(tolerate=["never"]))
    record = stack.new_record("us")
    written_at = stack.database("us").value("SELECT updated_at FROM properties WHERE id = %s", record)
    run_as_superuser(stack.postgres["us"], f"""
        CREATE FUNCTION never() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN NEW.vector = '{{"us": "two"}}'; RETURN NEW; END $$;
        CREATE TRIGGER never BEFORE UPDATE ON properties FOR EACH ROW WHEN (NEW.id = {record}) EXECUTE FUNCTION never()""")
    try:
        answer = us.put(record, price=Decimal("5.00"), version=1)
        assert answer.status == 400 and "changed a column that plist manages" in answer.json["detail"], answer
        run_as_superuser(stack.postgres["us"], f"UPDATE properties SET version = 2, price = 5 WHERE id = {record}")
        read = us.read(record)
        assert (read.status, read.json["version"], read.json["price"]) == (200, 2, Decimal("5.00")), read
    finally:
        run_as_superuser(stack.postgres["us"], f"""DROP FUNCTION never() CASCADE;
            UPDATE properties SET updated_at = '{written_at.isoformat()}', version = 1, vector = '{{"us": 1}}', price = 100 WHERE id = {record}""")
