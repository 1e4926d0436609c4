"""A PostgreSQL cluster of its own: data folder, port, user. As root it runs as the user `postgres`, since it refuses root."""

import os
import pathlib
import pwd
import shutil
import signal
import subprocess

from .database import Database
from .process import Server


def newest_binaries():
    """The bin folder of the newest PostgreSQL that is installed."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    if not initdb:
        raise FileNotFoundError("PostgreSQL is not installed (Debian package: postgresql)")
    return pathlib.Path(initdb).parent


class Postgres(Server):
    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": ends the sessions, rolls back, writes out
    user = "postgres"

    def __init__(self, folder, port, bound=True, durable=True, name="postgres"):
        self.name = name
        self.durable = durable  # fsync: a killed process loses nothing without it, a machine without power does
        super().__init__(folder, port, bound)
        self.data = self.folder / "data"
        self.url = f"postgresql://plist@127.0.0.1:{port}/plist"
        self.database = Database(self.url)

    def prepare(self):
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        settings = {
            "listen_addresses": "'127.0.0.1'", "port": self.port, "unix_socket_directories": "''",
            "fsync": "on" if self.durable else "off", "full_page_writes": "on" if self.durable else "off",
            "max_connections": 100, "shared_buffers": "'64MB'", "max_wal_size": "'512MB'",
            "log_min_messages": "warning", "log_line_prefix": "'%m [%p] '", "autovacuum_naptime": "'20s'",
        }
        text = "".join(f"{key} = {value}\n" for key, value in settings.items())
        (self.data / "postgresql.auto.conf").write_text(text)
        # After a kill the pid in this file may be some other process by now; the one that we know has ended.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _initialise(self):
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            account = pwd.getpwnam(self.user)
            os.chown(self.data, account.pw_uid, account.pw_gid)
        bound, self.bound = self.bound, False
        argv = self._wrap([newest_binaries() / "initdb", "-D", self.data, "-U", "plist", "-A", "trust",
                           "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
        self.bound = bound
        done = subprocess.run(argv, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"initdb: {done.stderr.strip()}")

    def argv(self):
        return [newest_binaries() / "postgres", "-D", self.data]

    def environment(self):
        # Whatever PG* the caller has set is about another server.
        return {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C.UTF-8"}

    def is_up(self):
        """Answers, and is this cluster; the first time, the database is made."""
        maintenance = Database(f"postgresql://plist@127.0.0.1:{self.port}/postgres")
        try:
            data = maintenance.value("SELECT current_setting('data_directory')")
            if pathlib.Path(data).resolve() != self.data.resolve():
                raise RuntimeError(f"port {self.port} is answered by another cluster: {data}")
            if not maintenance.rows("SELECT 1 FROM pg_database WHERE datname = 'plist'"):
                maintenance.execute("CREATE DATABASE plist")
        finally:
            maintenance.close()
        return True

    def stop(self, timeout=None):
        self.database.close()
        return super().stop(timeout)

    def kill(self):
        super().kill()
        self.database.close()
        return self
