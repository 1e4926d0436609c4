"""The references, on the same clusters and the same machine: pgbench, logical replication, the Express service."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

import psycopg2

from measure import median, watch
from support import places
from support.client import Client
from support.postgres import newest_binaries
from support.process import Server, free_port

HERE = pathlib.Path(__file__).resolve().parent


def connect(url):
    link = psycopg2.connect(url)
    link.autocommit = True
    return link


def run_sql(url, sql, *parameters):
    """Runs one statement in autocommit mode; VACUUM cannot run in the transaction that `with` would open."""
    with contextlib.closing(connect(url)) as link, link.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.fetchall() if cursor.description else None


@contextlib.contextmanager
def asking(url):
    """ask(sql) → rows over one connection, for polling: opening a connection costs more than a query."""
    with contextlib.closing(connect(url)) as link, link.cursor() as cursor:
        def ask(sql):
            cursor.execute(sql)
            return cursor.fetchall()
        yield ask


class PgBench:
    """pgbench in a separate database with plist's tables and a thousand rows."""

    def __init__(self, postgres):
        self.postgres = postgres
        self.url = f"postgresql://postgres@127.0.0.1:{postgres.port}/reference"
        run_sql(f"postgresql://postgres@127.0.0.1:{postgres.port}/postgres", "CREATE DATABASE reference")
        for file in sorted((places.TOP / "sql").glob("*.sql")):
            run_sql(self.url, file.read_text())
        run_sql(self.url, """INSERT INTO properties (id, price, bedrooms, bathrooms, region_origin, vector)
                             SELECT i, 100000 + i, i % 5, i % 3, 'us', '{"us":1}' FROM generate_series(1, 1000) i""")
        self.tidy()

    def tidy(self):
        """The same state as plist's tables before a measurement: an empty outbox and current statistics."""
        run_sql(self.url, "TRUNCATE outbox")
        run_sql(self.url, "TRUNCATE processed_requests")
        run_sql(self.url, "VACUUM ANALYZE")

    def warm_up(self):
        """Warms up, since full-page writes slow down the first second after a checkpoint. plist-load does the same."""
        self.run("put.sql", 8, 1)

    def run(self, script, clients, seconds, *more):
        """Transactions per second and the mean latency in µs."""
        argv = [newest_binaries() / "pgbench", "-n", "-M", "prepared", "-f", HERE / "pgbench" / script, "-c", clients,
                "-j", min(2, clients), "-T", max(1, round(seconds)), *more, self.url]
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
        if done.returncode or "aborted" in done.stderr:
            raise RuntimeError(f"pgbench: {done.stderr.strip()}")
        rate = float(re.search(r"tps = ([0-9.]+)", done.stdout).group(1))
        latency = float(re.search(r"latency average = ([0-9.]+) ms", done.stdout).group(1))
        return rate, latency * 1000

    def median_latency(self, script, seconds):
        """The median latency of one client in µs, from pgbench's transaction log."""
        with tempfile.TemporaryDirectory() as folder:
            self.run(script, 1, seconds, "--log", "--log-prefix", f"{folder}/log")
            lines = [line for file in pathlib.Path(folder).iterdir() for line in file.read_text().splitlines()]
        return median(int(line.split()[2]) for line in lines)

    def rate(self, script, clients, seconds):
        value, latency = self.run(script, clients, seconds)
        return value, {"clients": clients, "latency_us": latency}

    def best_clients(self, script, seconds, counts=(4, 8, 16, 32, 64)):
        """The client count at which pgbench is fastest on this machine, and all rates."""
        rates = {n: self.run(script, n, seconds)[0] for n in counts}
        return max(rates, key=rates.get), rates


class Express(Server):
    """The Express service with its own database. Its packages are installed by npm in the state folder."""
    name = "express"

    def __init__(self, folder, postgres, broker, modules, workers, pool):
        self.name = f"express-{workers}x{pool}"
        super().__init__(folder, free_port())
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = Client(self.url, "us")
        self.database_url = f"postgresql://postgres@127.0.0.1:{postgres.port}/express"
        self.more = {"PORT": self.port, "DATABASE_URL": self.database_url, "WORKERS": workers, "POOL": pool}
        if broker:
            self.more["KAFKA_BROKER"] = broker.address
        self.modules = modules

    @staticmethod
    def make_database(postgres):
        run_sql(f"postgresql://postgres@127.0.0.1:{postgres.port}/postgres", "CREATE DATABASE express")
        run_sql(f"postgresql://postgres@127.0.0.1:{postgres.port}/express", (HERE / "express" / "schema.sql").read_text())

    def prepare(self):
        shutil.copy(HERE / "express" / "server.js", self.modules / "server.js")

    def argv(self):
        return [shutil.which("node") or "node", self.modules / "server.js"]

    def environment(self):
        return dict(os.environ) | {k: str(v) for k, v in self.more.items()} | {"NODE_ENV": "production"}

    def is_up(self):
        return self.client.get("/health").status == 200

    def owns_port(self, port=None):
        return True  # the primary holds the listening socket and the workers the connections; is_up checks it


def install_express(folder):
    """Runs npm install once; returns the folder that contains node_modules."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "express" / "package.json").read_text()
    have = folder / "package.json"
    if not have.exists() or have.read_text() != wanted or not (folder / "node_modules").is_dir():
        have.write_text(wanted)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
    return folder


def arrivals(url, state, wanted, start, timeout=180):
    """(events, seconds) from the first change of the number that `state` returns, after start(), until it is `wanted`.

    Each event adds one to that number. The time before the first change and the events seen with it do not count.
    """
    with asking(url) as ask:
        def now():
            return ask(state)[0][0]
        before = now()
        start()
        watch("the first change arrives", lambda: now() != before, timeout)
        begun, seen = time.monotonic(), now()
        watch("all has arrived", lambda: now() == wanted, timeout)
        return int(wanted - seen), time.monotonic() - begun


def settle(*urls):
    """Vacuums, checkpoints and syncs now, so that leftovers of earlier work do not disturb what is timed next."""
    for url in urls:
        url = url.replace("//plist@", "//postgres@")
        run_sql(url, "VACUUM ANALYZE")
        run_sql(url, "CHECKPOINT")
    os.sync()


class LogicalReplication:
    """PostgreSQL's own replication of the reference table, us → eu.

    A replicated transaction keeps the commit timestamp of its origin, so the timestamp in eu is not that of its arrival.
    With `timed`, a trigger in eu records the arrival just before the commit. With `remembering`, each write also stores
    its request, and both are replicated.
    """

    def __init__(self, us, eu, timed=False, remembering=False):
        self.us, self.eu = us, eu
        self.name = "logical_remembering" if remembering else "logical"
        self.script = HERE / "pgbench" / f"{self.name}.sql"
        self.us_url = f"postgresql://postgres@127.0.0.1:{us.port}/{self.name}"
        self.eu_url = f"postgresql://postgres@127.0.0.1:{eu.port}/{self.name}"
        for postgres, url in ((us, self.us_url), (eu, self.eu_url)):
            run_sql(f"postgresql://postgres@127.0.0.1:{postgres.port}/postgres", f"CREATE DATABASE {self.name}")
            if remembering:
                run_sql(url, (places.TOP / "sql" / "001_plist.sql").read_text())
            run_sql(url, """CREATE TABLE properties (id bigint PRIMARY KEY, price decimal(12,2) NOT NULL, bedrooms integer, bathrooms integer,
                            region_origin varchar(32) NOT NULL, version integer NOT NULL, updated_at timestamptz NOT NULL)
                            WITH (fillfactor = 80)""")
        run_sql(self.us_url, """INSERT INTO properties SELECT i, 100000 + i, i % 5, i % 3, 'us', 1, now() FROM generate_series(1, 1000) i""")
        run_sql(self.us_url, f"CREATE PUBLICATION bench FOR TABLE properties{', processed_requests' if remembering else ''}")
        run_sql(self.eu_url, f"CREATE SUBSCRIPTION {self.name} CONNECTION '{self.us_url}' PUBLICATION bench")
        self.wait_level()
        if timed:
            run_sql(self.eu_url, "ALTER TABLE properties ADD COLUMN applied_at timestamptz")
            run_sql(self.eu_url, """CREATE FUNCTION note_arrival() RETURNS trigger LANGUAGE plpgsql AS
                                    $$ BEGIN NEW.applied_at := clock_timestamp(); RETURN NEW; END $$""")
            run_sql(self.eu_url, "CREATE TRIGGER note_arrival BEFORE UPDATE ON properties FOR EACH ROW EXECUTE FUNCTION note_arrival()")
            run_sql(self.eu_url, "ALTER TABLE properties ENABLE ALWAYS TRIGGER note_arrival")

    def wait_level(self, timeout=120):
        versions = "SELECT count(*), coalesce(sum(version), 0) FROM properties"
        wanted = run_sql(self.us_url, versions)
        with asking(self.eu_url) as ask:
            watch("logical replication is level", lambda: ask(versions) == wanted, timeout)

    def catch_up(self):
        """Resumes; returns how many transactions arrive after the first ones, and in how many seconds."""
        versions = "SELECT sum(version) FROM properties"
        return arrivals(self.eu_url, versions, run_sql(self.us_url, versions)[0][0], self.resume)

    def wait_decoded(self, timeout=120):
        """Waits until it has read the whole WAL of us."""
        end = run_sql(self.us_url, "SELECT pg_current_wal_lsn()")[0][0]
        read = f"SELECT bool_and(confirmed_flush_lsn >= '{end}') FROM pg_replication_slots WHERE slot_name = '{self.name}'"
        with asking(self.us_url) as ask:
            watch("logical replication has read the log", lambda: ask(read)[0][0], timeout)

    def pgbench(self, *arguments):
        argv = [newest_binaries() / "pgbench", "-n", "-M", "prepared", "-f", self.script, *arguments, self.us_url]
        subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=True)

    def suspend(self):
        run_sql(self.eu_url, f"ALTER SUBSCRIPTION {self.name} DISABLE")

    def resume(self):
        run_sql(self.eu_url, f"ALTER SUBSCRIPTION {self.name} ENABLE")

    def drop(self):
        run_sql(self.eu_url, f"DROP SUBSCRIPTION {self.name}")
        for postgres in (self.us, self.eu):
            run_sql(f"postgresql://postgres@127.0.0.1:{postgres.port}/postgres", f"DROP DATABASE {self.name} WITH (FORCE)")
