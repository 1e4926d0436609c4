"""plist as it is measured: two regions on durable clusters."""

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

from support import places
from support.plistd import admin
from support.postgres import Postgres
from support.process import free_port, stat_of, wait_until
from support.stack import Stack

from measure import TICKS, watch
from references import asking, connect, run_sql

# Only the session in this row publishes for the region. If it is a session of the
# benchmark, nothing is published.
LEADER = "plist_leaders WHERE name = 'relay'"

DURABLE = {
    "shared_buffers": "'512MB'", "max_wal_size": "'4GB'", "max_connections": 200, "wal_level": "logical", "track_commit_timestamp": "on",
    "autovacuum_naptime": "'10s'", "wal_retrieve_retry_interval": "'100ms'", "synchronous_commit": "on", "fsync": "on", "full_page_writes": "on",
    "min_wal_size": "'1GB'",
}
WAL_FILES = 64  # min_wal_size


class DurablePostgres(Postgres):
    """PostgreSQL as a careful operator configures it, for plist and for all references."""

    def prepare(self):
        super().prepare()
        with open(self.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
            file.writelines(f"{key} = {value}\n" for key, value in DURABLE.items())

    def wear_in(self):
        """Creates the WAL files in advance, as on a server that has been running for a while: creating one delays a commit."""
        with closing(connect(self.superuser_url)) as link, link.cursor() as cursor:
            for _ in range(WAL_FILES):
                cursor.execute("SELECT pg_logical_emit_message(false, 'bench', ''), pg_switch_wal()")
            cursor.execute("CHECKPOINT")


class BenchStack(Stack):
    def __init__(self, folder, workers=None):
        super().__init__(folder, broker="kafka", change=lambda config: self._settings(config, workers))
        self.postgres = {r: DurablePostgres(self.folder / f"db-{r}", free_port(), name=f"postgres-{r}") for r in self.regions}
        self.runs = 0

    @staticmethod
    def _settings(config, workers):
        config.setdefault("log", {})["level"] = "warning"
        for region, keys in config["regions"].items():  # NGINX runs on the same machine as both daemons
            keys["unix_socket"] = f"{region}.http"
        config["nginx"]["local_regions"] = list(config["regions"])
        if workers:
            config.setdefault("http", {})["workers"] = workers

    # Load.

    def load(self, region="us", port=None, mode="put", connections=64, seconds=4.0, warmup=0.7, ids=(1, 960), rate=0, prefix=None, more=()):
        """Runs plist-load; returns its results."""
        self.runs += 1
        versions = self.folder / "versions"
        if mode == "put":
            rows = run_sql(self.postgres[region].url, "SELECT id, version FROM properties WHERE id BETWEEN %s AND %s AND version <> 1", *ids)
            versions.write_text("".join(f"{i} {v}\n" for i, v in rows))
        argv = [places.program("tests/bench/plist-load"), "--port", port or self.plistd[region].port, "--mode", mode,
                "--connections", connections, "--seconds", seconds, "--warmup", warmup, "--ids", f"{ids[0]}:{ids[1]}",
                "--prefix", prefix or f"/{region}", "--tag", f"bench{self.runs}-{region}-{time.time_ns()}"]
        if mode == "put":
            argv += ["--versions", versions]
        if rate:
            argv += ["--rate", rate]
        argv += more
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=True, timeout=seconds + 60)
        books = json.loads(done.stdout)
        self.check_books(books, mode, argv)
        return books

    def load_fresh(self, port, seconds, connections=64):
        """Runs plist-load against rows that all have version 1, on any server."""
        self.runs += 1
        argv = [places.program("tests/bench/plist-load"), "--port", port, "--mode", "put", "--connections", connections, "--seconds", seconds,
                "--warmup", 0.7, "--ids", "1:960", "--tag", f"fresh{self.runs}-{time.time_ns()}"]
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=True, timeout=seconds + 60)
        books = json.loads(done.stdout)
        self.check_books(books, "put", argv)
        return books

    @staticmethod
    def check_books(books, mode, argv):
        """Fails unless all responses were the expected ones."""
        if mode != "hot" and (books["lost"] or set(books["statuses"]) - {"200"}):
            raise RuntimeError(f"unexpected answers: {books} of {argv}")

    def put_rate(self, **more):
        books = self.load(**more)
        return books["ok_rate"], books

    def tidy(self, region="us"):
        """The same state as pgbench's tables before a measurement."""
        url = self.postgres[region].superuser_url
        run_sql(url, "TRUNCATE processed_requests")
        run_sql(url, "VACUUM ANALYZE")
        run_sql(url, "CHECKPOINT")  # WAL files can be reused

    # Pausing parts.

    @contextmanager
    def relay_held(self, region="us"):
        """A block in which the region's relay does not publish, since a session of the benchmark is the leader."""
        url = self.postgres[region].url
        with closing(connect(url)) as link, link.cursor() as cursor:
            def taken():
                cursor.execute(f"SELECT pg_terminate_backend(pid) FROM {LEADER} AND pid IN (SELECT pid FROM pg_stat_activity)")
                cursor.execute("""UPDATE plist_leaders AS l SET pid = me.pid, backend_start = me.backend_start FROM pg_stat_activity AS me
                                  WHERE l.name = 'relay' AND me.pid = pg_backend_pid()
                                  AND (SELECT count(*) FROM pg_stat_activity AS a WHERE a.pid = l.pid) = 0""")
                return cursor.rowcount == 1
            wait_until("the benchmark is the leader", taken, 20, pause=0.01)
            try:
                yield
            finally:
                cursor.execute(f"UPDATE {LEADER.replace(' WHERE', ' SET pid = NULL WHERE')}")

    def wait_relay_back(self, region="us", timeout=20):
        """Waits until a relay is the leader again, after relay_held()."""
        held = f"SELECT 1 FROM {LEADER} AND pid IN (SELECT pid FROM pg_stat_activity)"
        with asking(self.postgres[region].url) as ask:
            watch("a session has the relay", lambda: ask(held), timeout)

    def outbox(self, region="us"):
        return run_sql(self.postgres[region].url, "SELECT plist.plist_outbox_unpublished()")[0][0]

    def wait_outbox_empty(self, region="us", timeout=120):
        with asking(self.postgres[region].url) as ask:
            watch("the outbox is empty", lambda: not ask("SELECT 1 WHERE plist.plist_outbox_unpublished() > 0"), timeout)

    def wait_level(self, timeout=180):
        """Waits until no event is in transit in either direction."""
        for region in self.regions:
            if self.plistd[region].running:
                self.wait_outbox_empty(region, timeout)

        def level():
            sums = {r: run_sql(self.postgres[r].url, "SELECT count(*), sum(version) FROM properties")[0] for r in self.regions}
            return len(set(sums.values())) == 1
        wait_until("the regions are level", level, timeout, pause=0.01)

    def start_all(self):
        self.start()
        with ThreadPoolExecutor() as both:
            list(both.map(DurablePostgres.wear_in, self.postgres.values()))
        admin("seed", config=self.config, timeout=300)
        self.tidy()
        return self

    def daemon_cpu(self, region="us"):
        """The processor time of the daemon in seconds."""
        fields = stat_of(self.plistd[region].pid)
        return (int(fields[11]) + int(fields[12])) / TICKS
