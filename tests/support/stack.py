"""A whole deployment: for each region a database and a daemon, between them a broker, in front NGINX; all from one YAML.

The YAML is conf/plist.yaml as it stands, with the addresses of this stack put in and, for tests, whatever `change` alters.
"""

import pathlib
from decimal import Decimal

import yaml

from . import places
from .client import Client
from .database import Database, differences, dishonest_versions
from .kafka import EmbeddedBroker, Kafka
from .nginx import Nginx
from .plistd import Plistd, admin
from .postgres import Postgres
from .process import free_port, wait_until


def application_config():
    """conf/plist.yaml as a dictionary."""
    return yaml.safe_load((places.TOP / "conf" / "plist.yaml").read_text())


class Stack:
    bound = True     # its servers end with us
    durable = False  # its databases need not survive a power failure

    def __init__(self, folder, regions=("us", "eu"), broker="kafka", change=None):
        """`broker`: "kafka" or "embedded". `change(config)` may alter the YAML's dictionary before it is written."""
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)
        self.regions = tuple(regions)
        self.config = self.folder / "plist.yaml"
        self.change = change
        self.postgres = {
            r: Postgres(self.folder / f"postgres-{r}", self.choose_port(f"postgres-{r}"), self.bound, self.durable, f"postgres-{r}")
            for r in self.regions}
        if broker == "kafka":
            self.broker = Kafka(self.folder / "kafka", self.choose_port("kafka"), self.choose_port("kafka-controller"), self.bound)
        else:
            self.broker = EmbeddedBroker(self.folder / "embedded-broker", self.choose_port("kafka"), self.bound)
        self.plistd = {
            r: Plistd(self.folder / f"plistd-{r}", r, self.choose_port(f"plistd-{r}"), self.config, self.environment, self.bound)
            for r in self.regions}
        self.nginx = Nginx(self.folder / "nginx", self.choose_port("nginx"), self.config, self.environment, self.bound)
        self._restart_to_restore = False
        self._ids = iter(range(10_000_001, 900_000_000))

    def choose_port(self, _name):
        return free_port()

    def environment(self):
        """The variables of which the YAML is made."""
        return {}

    def admin(self, *arguments, **options):
        """plist-admin with this stack's YAML."""
        return admin(*arguments, config=self.config, environment=self.environment(), **options)

    # What tests use.

    def client(self, region) -> Client:
        """A client of one region's own daemon."""
        return self.plistd[region].client

    def front(self, region=None) -> Client:
        """A client of NGINX, asking under the region's prefix."""
        return Client(self.nginx.url, region or self.regions[0])

    def second_daemon(self, region, **environment):
        """Another process that serves a region, to be started and stopped by the caller. Variables override what the YAML says."""
        port = free_port()
        folder = self.folder / f"plistd-{region}-2"
        more = {"PORT": port, "PLIST_RUN": folder, **environment}
        return Plistd(folder, region, port, self.config, lambda: self.environment() | more, self.bound, f"plistd-{region}-2")

    def database(self, region) -> Database:
        return self.postgres[region].database

    @property
    def databases(self):
        return {r: self.database(r) for r in self.regions}

    def new_record(self, region=None, price="100.00", everywhere=True, **fields):
        """A record of its own for a test: its id. It is in every region when this returns."""
        region = region or self.regions[0]
        record_id = next(self._ids)
        answer = self.client(region).post(id=record_id, price=Decimal(price), **fields)
        assert answer.status == 201, answer
        if everywhere:
            for other in self.regions:  # a consumer group waits 10 s for a member that an earlier test has killed
                self.wait_version(other, record_id, 1, 40)
        return record_id

    def wait_version(self, region, record_id, version, timeout=10.0):
        """Until a region's row has (at least) this version; the row."""
        def there():
            row = self.database(region).property(record_id)
            return row if row and row["version"] >= version else None
        return wait_until(f"{region} has version {version} of {record_id}", there, timeout)

    # The YAML.

    def dictionary(self):
        config = application_config()
        config["kafka"]["brokers"] = self.broker.address
        config.setdefault("lua", {}).update(path=str(places.source() / "lua"), checked=str(self.folder / "checked"))
        config["nginx"]["listen"] = f"127.0.0.1:{self.nginx.port}"
        config["regions"] = {
            r: {"listen": f"127.0.0.1:{self.plistd[r].port}", "database": self.postgres[r].url,
                "control": f"${{PLIST_RUN:-{self.folder}}}/{r}.sock"}
            for r in self.regions}
        if self.change:
            self.change(config)
        return config

    def write_config(self, change=None):
        """Writes the YAML; `change` comes on top of the stack's own and holds for this time only."""
        config = self.dictionary()
        if change:
            change(config)
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))

    def reload(self, change=None):
        """Writes the YAML and has the daemons take it. Returns when they have."""
        self.write_config(change)
        for daemon in self.plistd.values():
            daemon.reload()

    def restart_daemons(self, change=None):
        """Writes the YAML and has the daemons begin anew with it: for what a reload does not take over."""
        self.write_config(change)
        for daemon in self.plistd.values():
            daemon.stop()
        for daemon in self.plistd.values():
            daemon.start()
        self.wait_ready()
        self._restart_to_restore = change is not None

    def reload_policy(self, change):
        """reload(), and the appliers ask the new policy: they take a configuration between two batches, and then show anew what is open."""
        self.reload(change)
        for daemon in self.plistd.values():
            wait_until(f"{daemon.name} has shown anew what is open", lambda d=daemon: d.metrics()["plist_apply_anew_pending"] == 0, 15)

    # Running.

    def servers(self):
        return [*self.postgres.values(), self.broker, *self.plistd.values(), self.nginx]

    def start(self):
        """Everything that does not run yet; the slow ones side by side."""
        self.write_config()
        slow = (self.broker, *self.postgres.values())
        for server in slow:
            server.launch()
        for server in self.postgres.values():
            server.wait_up()
        self.admin("migrate")
        self.fill()
        self.broker.wait_up()
        for daemon in self.plistd.values():
            daemon.launch()
        for daemon in self.plistd.values():
            daemon.wait_up()
        self.nginx.start()
        self.wait_ready()
        return self

    def fill(self):
        """Puts records into the new databases; a test's stack begins empty."""

    def restore(self):
        """Brings back whatever a test has left stopped, paused, or with another YAML."""
        for server in self.servers():
            server.resume()
        changed = self.config.read_text() != yaml.safe_dump(self.dictionary(), sort_keys=False)
        if not all(server.running for server in self.servers()):
            self.start()
        if changed and self._restart_to_restore:
            self.restart_daemons()
        elif changed:
            self.reload()
        return self

    def wait_ready(self, timeout=60.0):
        for daemon in self.plistd.values():
            daemon.wait_ready(timeout)

    def stop(self):
        """Everything, clients before their servers; the first error is raised when all have been asked."""
        first = None
        for server in reversed(self.servers()):
            try:
                server.stop()
            except Exception as error:  # noqa: BLE001 - the others must be stopped too
                first = first or error
        if first:
            raise first

    # The ending that every test of replication has.

    def settle(self, timeout=30.0):
        """Until nothing is on its way: outboxes empty, and the regions show the same rows."""
        def empty():
            waiting = {r: self.database(r).outbox() for r in self.regions}
            if any(waiting.values()):
                raise AssertionError(f"outbox: {waiting}")
            return True

        def equal():
            told = differences(self.databases)
            if told:
                raise AssertionError("; ".join(told))
            return True
        wait_until("the outboxes are empty", empty, timeout)
        wait_until("the regions are equal", equal, timeout)

    def check_consistent(self, timeout=30.0):
        """settle(), and every version is the sum of its vector in every region."""
        self.settle(timeout)
        for region, database in self.databases.items():
            wrong = dishonest_versions(database)
            assert not wrong, f"{region}: version is not the sum of the vector: {wrong[:5]}"
