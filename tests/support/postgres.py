"""A PostgreSQL cluster with its own data folder and port. Under root it runs as the user postgres, since it refuses root."""

import os
import pathlib
import pwd
import shutil
import signal
import subprocess

import psycopg2

from .database import Database
from .process import Server


def newest_binaries():
    """The bin folder of the newest installed PostgreSQL."""
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
        self.durable = durable  # fsync: needed to survive a power failure, but not the kill of a process
        super().__init__(folder, port, bound)
        self.data = self.folder / "data"
        self.url = f"postgresql://plist@127.0.0.1:{port}/plist"  # a plain role, as in production
        self.superuser_url = f"postgresql://postgres@127.0.0.1:{port}/plist"
        self.database = Database(self.url)
        self.pair = None

    def secure(self, pair, authority):
        """The server uses this certificate, and plist's roles can log in only over TLS."""
        self.pair = pair
        self.url += f"?sslmode=verify-full&sslrootcert={authority.certificate}"
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
        if self.pair:
            settings |= {"ssl": "on", "ssl_cert_file": "'server.crt'", "ssl_key_file": "'server.key'"}
            self.take_certificate()
        (self.data / "pg_hba.conf").write_text(
            "host all postgres 127.0.0.1/32 trust\n" + ("hostssl" if self.pair else "host") + " all all 127.0.0.1/32 trust\n")
        text = "".join(f"{key} = {value}\n" for key, value in settings.items())
        (self.data / "postgresql.auto.conf").write_text(text)
        # After a kill the pid in this file may belong to another process by now; ours
        # has ended.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def take_certificate(self):
        """Copies the certificate to where the server's user can read it."""
        for source, name in ((self.pair.certificate, "server.crt"), (self.pair.key, "server.key")):
            file = self.data / name
            file.write_bytes(source.read_bytes())
            file.chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(file, self.user, self.user)

    def _initialise(self):
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            account = pwd.getpwnam(self.user)
            os.chown(self.data, account.pw_uid, account.pw_gid)
        bound, self.bound = self.bound, False
        argv = self._wrap([newest_binaries() / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust",
                           "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
        self.bound = bound
        done = subprocess.run(argv, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"initdb: {done.stderr.strip()}")

    def argv(self):
        return [newest_binaries() / "postgres", "-D", self.data]

    def environment(self):
        # PG* variables of the caller are meant for another server.
        return {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C.UTF-8"}

    def is_up(self):
        """Whether this cluster answers. The first time, creates the roles and the database."""
        maintenance = Database(f"postgresql://postgres@127.0.0.1:{self.port}/postgres")
        try:
            self._take_from_superuser(maintenance)
            data = maintenance.value("SELECT current_setting('data_directory')")
            if pathlib.Path(data).resolve() != self.data.resolve():
                raise RuntimeError(f"port {self.port} is answered by another cluster: {data}")
            if not maintenance.rows("SELECT 1 FROM pg_database WHERE datname = 'plist'"):
                for role in ("plist LOGIN", "plist_query LOGIN NOINHERIT"):
                    maintenance.execute(f"CREATE ROLE {role}")
                maintenance.execute("CREATE DATABASE plist OWNER plist")
        finally:
            maintenance.close()
        return True

    def _take_from_superuser(self, maintenance):
        """A cluster of an earlier version has a superuser plist and no role postgres."""
        try:
            maintenance.value("SELECT 1")
        except psycopg2.OperationalError as error:
            if 'role "postgres" does not exist' not in str(error):
                raise
            old = Database(f"postgresql://plist@127.0.0.1:{self.port}/postgres")
            try:
                for sql in ("CREATE ROLE postgres SUPERUSER LOGIN", "CREATE ROLE plist_query LOGIN NOINHERIT"):
                    old.execute(sql)
            finally:
                old.close()
            maintenance.execute("ALTER ROLE plist NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")

    def stop(self, timeout=None):
        self.database.close()
        return super().stop(timeout)

    def kill(self):
        super().kill()
        self.database.close()
        return self
