"""plist under measurement: two regions on durable clusters, and what can be asked of them."""

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

from support import places
from support.plistd import Plistd, admin
from support.postgres import Postgres
from support.process import free_port, stat_of, wait_until
from support.stack import Stack

from measure import TICKS, watch
from references import asking, connect, run_sql

# The relay's advisory lock: whoever holds it is the region's only publisher. Holding it from here keeps the outbox where it is.
RELAY_LOCK = "hashtext('plist-relay')"

DURABLE = {
    "shared_buffers": "'512MB'", "max_wal_size": "'4GB'", "max_connections": 200, "wal_level": "logical", "track_commit_timestamp": "on",
    "autovacuum_naptime": "'10s'", "wal_retrieve_retry_interval": "'100ms'", "synchronous_commit": "on", "fsync": "on", "full_page_writes": "on",
    "min_wal_size": "'1GB'",
}
WAL_FILES = 64  # as many as min_wal_size holds


class DurablePostgres(Postgres):
    """As a careful operator sets it up; the same for plist and for all that it is measured against."""

    def prepare(self):
        super().prepare()
        with open(self.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
            file.writelines(f"{key} = {value}\n" for key, value in DURABLE.items())

    def wear_in(self):
        """As it is once it has run for a while: the files of its log are there to be used again. To make each anew costs whoever commits next."""
        with closing(connect(self.url)) as link, link.cursor() as cursor:
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
        for region, keys in config["regions"].items():  # NGINX is beside both daemons
            keys["socket"] = f"{region}.http"
        config["nginx"]["beside"] = list(config["regions"])
        if workers:
            config.setdefault("http", {})["workers"] = workers

    # Load.

    def load(self, region="us", port=None, mode="put", connections=64, seconds=4.0, warmup=0.7, ids=(1, 960), rate=0, prefix=None):
        """One run of plist-load: its books."""
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
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=True, timeout=seconds + 60)
        books = json.loads(done.stdout)
        self.check_books(books, mode, argv)
        return books

    def load_fresh(self, port, seconds, connections=64):
        """A run against rows that all stand at version 1, wherever they are."""
        self.runs += 1
        argv = [places.program("tests/bench/plist-load"), "--port", port, "--mode", "put", "--connections", connections, "--seconds", seconds,
                "--warmup", 0.7, "--ids", "1:960", "--tag", f"fresh{self.runs}-{time.time_ns()}"]
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=True, timeout=seconds + 60)
        books = json.loads(done.stdout)
        self.check_books(books, "put", argv)
        return books

    @staticmethod
    def check_books(books, mode, argv):
        """A figure counts only if every answer was the expected one."""
        if mode != "hot" and (books["lost"] or set(books["statuses"]) - {"200"}):
            raise RuntimeError(f"answers that should not be: {books} of {argv}")

    def put_rate(self, **more):
        books = self.load(**more)
        return books["ok_rate"], books

    def tidy(self, region="us"):
        """As pgbench's tables are made before it is measured."""
        url = self.postgres[region].url
        run_sql(url, "TRUNCATE processed_requests")
        run_sql(url, "VACUUM ANALYZE")
        run_sql(url, "CHECKPOINT")  # the files of the log can be used again

    # Parts held back.

    @contextmanager
    def relay_held(self, region="us"):
        """The region's relay does not publish: its lock is ours. A relay that has it gives it up only when its session ends."""
        url = self.postgres[region].url
        with closing(connect(url)) as link, link.cursor() as cursor:
            def taken():
                cursor.execute(f"SELECT pg_try_advisory_lock({RELAY_LOCK})")
                if cursor.fetchone()[0]:
                    return True
                cursor.execute("""SELECT pg_terminate_backend(pid) FROM pg_locks
                                  WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()""")
                return False
            wait_until("the relay's lock is ours", taken, 20, pause=0.01)
            try:
                yield
            finally:
                cursor.execute(f"SELECT pg_advisory_unlock({RELAY_LOCK})")

    def wait_relay_back(self, region="us", timeout=20):
        """After relay_held(): until the relay has its lock again, for which it looks once in a while."""
        held = f"SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = ({RELAY_LOCK}::bigint & 4294967295)::oid"
        with asking(self.postgres[region].url) as ask:
            watch("the relay has its lock", lambda: ask(held), timeout)

    def outbox(self, region="us"):
        return run_sql(self.postgres[region].url, "SELECT count(*) FROM outbox")[0][0]

    def wait_outbox_empty(self, region="us", timeout=120):
        with asking(self.postgres[region].url) as ask:
            watch("the outbox is empty", lambda: not ask("SELECT 1 FROM outbox LIMIT 1"), timeout)

    def wait_level(self, timeout=180):
        """Until nothing is on its way in either direction."""
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
        """Processor seconds that the daemon has used."""
        fields = stat_of(self.plistd[region].pid)
        return (int(fields[11]) + int(fields[12])) / TICKS
