"""A complete deployment from one YAML: a database and a daemon for each region, a broker, and NGINX in front.

The YAML is conf/plist.yaml with the addresses of this stack and, for tests, the changes that `change` makes.
"""

import contextlib
import json
import pathlib
import shutil
from decimal import Decimal

import yaml

from . import places
from .client import Client
from .database import Database, differences, dishonest_versions
from .kafka import EmbeddedBroker, Kafka
from .nginx import Nginx
from .plistd import Plistd, admin
from .postgres import Postgres
from .process import PATIENCE_S, free_port, wait_until
from .tls import Deployment


def application_config():
    """conf/plist.yaml as a dictionary."""
    return yaml.safe_load((places.TOP / "conf" / "plist.yaml").read_text())


class Stack:
    bound = True     # its servers end with this process
    durable = False  # its databases need not survive a power failure

    def __init__(self, folder, regions=("us", "eu"), broker="kafka", change=None, tls=False):
        """`broker`: "kafka" or "embedded". `change(config)` may alter the YAML's dictionary before it is written.

        `tls`: every connection is encrypted and verified, with certificates that are made in the folder.
        """
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
        self.tls = Deployment(self.folder / "tls", self.regions) if tls else None
        if tls:
            self._secure()
        self._restart_to_restore = False
        self.failed = False  # a test has failed and may have left anything
        self._lossy = []     # daemons that had lost something when the test began
        self._guests = []    # daemons of test modules that use this stack's databases
        self._ids = iter(range(10_000_001, 900_000_000))

    def choose_port(self, _name):
        return free_port()

    def _secure(self):
        for region, postgres in self.postgres.items():
            postgres.secure(self.tls.postgres[region], self.tls.internal)
            self.plistd[region].secure(self.tls.front())
        self.broker.secure(self.tls.broker, self.tls.internal, self.tls.broker_properties())
        self.nginx.secure(self.tls.client())

    def configure_tls(self, config):
        """Puts the certificates into the YAML's dictionary, if there are any."""
        if self.tls:
            self.tls.configure(config)
            config["kafka"]["properties"] = self.tls.broker_properties()

    def environment(self):
        """The environment variables that the YAML uses."""
        return {}

    def admin(self, *arguments, **options):
        """plist-admin with this stack's YAML."""
        if arguments[:1] == ("status",):
            self.forget_losses()
        return admin(*arguments, config=self.config, environment=self.environment(), **options)

    # For tests.

    def wait_green(self):
        """Waits until `status` exits 0; if it does not, the failure says what `status` says."""
        def green():
            said = self.admin("status", check=False)
            assert said.returncode == 0, said.stderr
            return True
        wait_until("status is green", green)

    def client(self, region) -> Client:
        """A client of one region's own daemon."""
        return self.plistd[region].client

    def front(self, region=None) -> Client:
        """A client of NGINX that uses the region's prefix."""
        return Client(self.nginx.url, region or self.regions[0], context=self.nginx.client.context)

    def second_daemon(self, region, **environment):
        """Another daemon of a region, started and stopped by the caller. Variables override the YAML."""
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
        """Creates a record for a test and returns its id once all regions have the record."""
        region = region or self.regions[0]
        record_id = next(self._ids)
        answer = self.client(region).post(id=record_id, price=Decimal(price), **fields)
        assert answer.status == 201, answer
        if everywhere:
            for other in self.regions:  # a daemon that an earlier test has killed may still be starting
                self.wait_version(other, record_id, 1)
        return record_id

    def wait_version(self, region, record_id, version, timeout=PATIENCE_S):
        """Waits until a region's row has at least this version; returns the row."""
        def there():
            row = self.database(region).property(record_id)
            return row if row and row["version"] >= version else None
        return wait_until(f"{region} has version {version} of {record_id}", there, timeout)

    # The YAML.

    def dictionary(self):
        config = application_config()
        config["kafka"]["brokers"] = self.broker.address
        config.setdefault("lua", {}).update(path=str(places.source() / "lua"))
        config["nginx"]["listen"] = f"127.0.0.1:{self.nginx.port}"
        config["regions"] = {
            r: {"listen": f"127.0.0.1:{self.plistd[r].port}", "database": self.postgres[r].url,
                "control_socket": f"${{PLIST_RUN:-{self.folder}}}/{r}.sock"}
            for r in self.regions}
        self.configure_tls(config)
        if self.change:
            self.change(config)
        return config

    def write_config(self, change=None):
        """Writes the YAML. `change` is applied after the stack's own change, this time only."""
        self.write_yaml(self.config, *([change] if change else []))

    def write_yaml(self, path, *changes):
        """The YAML with these changes, in another file; returns its path."""
        config = self.dictionary()
        for change in changes:
            change(config)
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    def reload(self, change=None):
        """Writes the YAML, reloads the daemons, and waits until they have succeeded."""
        self.write_config(change)
        for daemon in self.plistd.values():
            daemon.reload()

    def restart_daemons(self, change=None):
        """Writes the YAML and restarts the daemons, for keys that need a restart."""
        self.write_config(change)
        for daemon in self.plistd.values():
            daemon.stop()
        for daemon in self.plistd.values():
            daemon.start()
        self.wait_ready()
        self._restart_to_restore = change is not None

    def reload_policy(self, change):
        """Reloads, and waits until the appliers use the new policy and have decided open conflicts again."""
        self.reload(change)
        for daemon in self.plistd.values():
            wait_until(f"{daemon.name} has decided open conflicts again", lambda d=daemon: d.metrics()["plist_apply_reresolve_pending"] == 0)

    # Running.

    def servers(self):
        return [*self.postgres.values(), self.broker, *self.plistd.values(), self.nginx]

    def start(self):
        """Starts all servers that are not running, slow ones concurrently."""
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
        self._own = [daemon.configuration() for daemon in self.plistd.values()]
        return self

    def fill(self):
        """Seeds new databases; the stack of a test starts empty."""

    def spoil(self):
        """The next test gets empty servers: Kafka still has events of rows that a test has deleted, and a region that reads
        them again, or for the first time, would have the rows."""
        self.failed = True

    @contextlib.contextmanager
    def hosting(self, daemon, has_broker=True):
        """A daemon that a test module runs over one of this stack's databases: it is not there while they are renewed,
        when it would publish for its region in place of the stack's own daemon, or tell its clients what is missing.

        `has_broker`: it uses the stack's broker. One that has none is never ready, so nobody may wait for that."""
        self.restore()
        guest = daemon, has_broker
        self._guests.append(guest)
        try:
            yield
        finally:
            self._guests.remove(guest)

    def renew(self):
        """Starts again with empty servers, so that a test that failed does not fail those after it."""
        guests = [guest for guest in self._guests if guest[0].running]
        for daemon, _ in guests:
            daemon.resume()
            daemon.stop()
        self._renew()
        for daemon, has_broker in guests:
            daemon.start()
            if has_broker:
                daemon.wait_ready()

    def _renew(self):
        for server in self.servers():
            server.resume()
        for database in self.databases.values():
            database.close()
        self.stop()
        for server in self.servers():
            shutil.rmtree(server.folder)
            server.folder.mkdir()
            server.folder.chmod(0o711)
        self._restart_to_restore = self.failed = False
        self.start()

    def forget_losses(self):
        """What was lost during earlier tests would keep status red for ten minutes: before a test asks for it, the daemons
        that had lost something when the test began are new ones."""
        for daemon in self._lossy:
            if daemon.running:
                ready = daemon.operators.get("/ready").status == 200  # else the test has a reason
                daemon.stop()
                daemon.start()
                if ready:
                    daemon.wait_ready()
        self._lossy = []

    def restore(self):
        """Restores what a test has left stopped, paused, or with another YAML."""
        if self.failed:
            self.renew()
        for server in self.servers():
            server.resume()
        changed = self.config.read_text() != yaml.safe_dump(self.dictionary(), sort_keys=False)
        own = self._own
        if not all(server.running for server in self.servers()):
            self.start()
        # A test may have written the YAML back without reloading it.
        changed = changed or [daemon.configuration() for daemon in self.plistd.values()] != own
        if changed and self._restart_to_restore:
            self.restart_daemons()
        elif changed:
            self.reload()
        self._own = own
        self._lossy = [daemon for daemon in self.plistd.values() if daemon.recent_losses()]
        self.wait_ready()  # a test may have started a daemon without waiting for it
        if any(database.value("SELECT count(*) FROM parked_events") for database in self.databases.values()):
            self.admin("parked", "retry", "--all", check=False)  # rows that a test had locked
        for database in self.databases.values():  # or status would stay red
            database.execute("DELETE FROM dead_letters; DELETE FROM parked_events")
        return self

    def wait_ready(self, timeout=PATIENCE_S):
        for daemon in self.plistd.values():
            daemon.wait_ready(timeout)

    def stop(self):
        """Stops all servers, clients first. The first error is raised at the end."""
        first = None
        for server in reversed(self.servers()):
            try:
                server.stop()
            except Exception as error:  # noqa: BLE001 - the others must be stopped too
                first = first or error
        if first:
            raise first

    # The end of every replication test.

    def settle(self, timeout=PATIENCE_S):
        """Waits until the outboxes are empty and all regions show the same rows."""
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

    def events_read(self, region):
        """How many events a region has taken from Kafka, its own ones included."""
        prefix = "plist_apply_events_total{"
        return sum(value for name, value in self.plistd[region].metrics().items() if name.startswith(prefix))

    @contextlib.contextmanager
    def reading(self, region, events):
        """Waits at the end until the region has read so many events: late ones would meet what is changed by hand from there on.

        After a reload a region decides about its own events as about others', since its database might have lost them.
        Events of before may be among those that are counted, so nothing else may be left to read either."""
        wanted = self.events_read(region) + events
        yield
        wait_until(f"{region} has read {events} events", lambda: self.events_read(region) >= wanted)
        self.wait_all_read(region)

    def wait_all_read(self, *regions):
        """Waits until no event is left in an outbox, or in Kafka for these regions (all without arguments)."""
        def all_read(region):
            if any(database.outbox() for database in self.databases.values()):
                return False
            lag = json.loads(self.admin("lag", "--region", region, "-o", "json", check=False).stdout)
            return all(p["events_behind"] == 0 for p in lag["partitions"])
        for region in regions or self.regions:
            wait_until(f"{region} has read all events", lambda r=region: all_read(r))

    def check_consistent(self, timeout=PATIENCE_S):
        """settle(), and checks that every version is the sum of its vector in every region."""
        self.settle(timeout)
        for region, database in self.databases.items():
            wrong = dishonest_versions(database)
            assert not wrong, f"{region}: version is not the sum of the vector: {wrong[:5]}"
