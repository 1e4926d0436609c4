"""Executes plist-workflows(7): every command of the page is run here, unless the page says why it is not.

The first lines of the page describe its conventions. Manual steps (edit a file, restart a daemon) are marked with
`test: NAME`; here they are methods of that name in the class of the procedure.
"""

import contextlib
import os
import re
import shutil
import subprocess
import uuid
from decimal import Decimal

import pytest

from conftest import _kept
from support import places
from support.load import Load
from support.plistd import Plistd
from support.postgres import Postgres
from support.process import Timeout, free_port, wait_until
from support.workflows_page import PAGE, read_page

WORKFLOWS = read_page()


class Workflow:
    """One section of the page, and the situation that it describes."""

    own_stack = False

    def __init__(self, stack, folder):
        self.stack = stack
        self.folder = folder
        (folder / "policies").symlink_to(places.TOP / "lua" / "policies")
        programs = folder / "bin"
        programs.mkdir()
        (programs / "plist-admin").symlink_to(places.program("plist-admin"))
        self.more = {}

    def variables(self):
        urls = {f"{r.upper()}_DATABASE_URL": p.url for r, p in self.stack.postgres.items()}
        # Variables that plist itself reads must come from the page, not from the
        # environment of the tests.
        others = {k: v for k, v in os.environ.items() if k not in ("REGION", "DATABASE_URL", "PORT", "KAFKA_BROKER")}
        return others | urls | {"PLIST_CONFIG": str(self.stack.config), "NO_COLOR": "1",
                                                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"} | self.more

    def run(self, command):
        command = command.replace("127.0.0.1:8080", f"127.0.0.1:{self.stack.nginx.port}")
        return subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=self.folder, env=self.variables(), capture_output=True,
                              text=True, timeout=120, check=False)

    def edit(self, change):
        """Edits the configuration as an operator would. Edits accumulate."""
        before = self.stack.change

        def both(config):
            if before:
                before(config)
            change(config)
        self.stack.change = both
        self.stack.write_config()

    def reload(self):
        for daemon in self.stack.plistd.values():
            daemon.reload()
        for daemon in self.stack.plistd.values():
            daemon.wait_ready()

    @contextlib.contextmanager
    def situation(self):
        yield

    @contextlib.contextmanager
    def loaded(self):
        """Clients go on writing through NGINX; none of their requests is lost."""
        records = [self.stack.new_record() for _ in range(4)]
        with Load([self.stack.front("eu"), self.stack.front("us")], records, threads=3) as load:
            load.wait_accepted(20)
            yield
            load.wait_accepted(20)
        assert not load.errors and not {s for s in load.statuses if s >= 500}, (load.statuses, load.errors)

    def settled(self):
        """Waits until all events have arrived, before a command that must succeed."""
        for command in (["lag", "--max-seconds", "5"], ["status"]):
            wait_until(f"{command[0]} exits 0", lambda c=command: self.stack.admin(*c))


class look(Workflow):
    @contextlib.contextmanager
    def situation(self):
        self.settled()
        yield


class add_region(Workflow):
    @contextlib.contextmanager
    def situation(self):
        with self.another_region(), self.loaded():
            yield

    @contextlib.contextmanager
    def another_region(self):
        self.stack.new_record(price="77.00")
        folder = places.data_folder("plist-ap-")
        self.postgres = Postgres(folder / "postgres-ap", free_port(), durable=False, name="postgres-ap").start()
        self.daemon = Plistd(folder / "plistd-ap", "ap", free_port(), self.stack.config, bound=True)
        self.more["AP_DATABASE_URL"] = self.postgres.url
        try:
            yield
            wait_until("the new region has the same rows",
                       lambda: self.postgres.database.properties() == self.stack.database("us").properties())
            created = self.daemon.client.post(price=Decimal("5.00"))
            assert created.status == 201
            self.stack.wait_version("eu", created.json["id"], 1)
        finally:
            self.daemon.stop()
            self.postgres.stop()
            for database in self.stack.databases.values():
                self.forget(database)

    @staticmethod
    def forget(database):
        """Another test's ap would wait for this one, and for a minute its policies would have to agree with those of the others."""
        wait_until("its last heartbeat is here", lambda: not database.value(
            "SELECT count(*) FROM plist.region_heartbeats WHERE region = 'ap' AND heard_at > now() - interval '3 s'"))
        database.execute("DELETE FROM plist.heard_databases WHERE region = 'ap'; DELETE FROM plist.region_heartbeats WHERE region = 'ap'")

    def add_ap_to_the_configuration(self):
        self.edit(lambda config: config["regions"].update(
            ap={"listen": f"127.0.0.1:{self.daemon.port}", "database": self.postgres.url, "control_socket": str(self.folder / "ap.sock")}))

    def reload_the_old_and_start_the_new(self):
        for daemon in self.stack.plistd.values():
            daemon.reload()
        self.daemon.start()
        for daemon in (*self.stack.plistd.values(), self.daemon):
            daemon.wait_ready()

        def content():
            # The topics still contain messages of other tests that no region can read. A
            # region reads one again if it ended before it had written its position.
            for database in (self.postgres.database, *self.stack.databases.values()):
                database.execute("DELETE FROM dead_letters")
            return self.stack.admin("status")
        wait_until("status exits 0", content)
        self.settled()


class drain(Workflow):
    @contextlib.contextmanager
    def situation(self):
        self.settled()
        with self.loaded():
            yield
        self.stack.check_consistent()
        self.settled()


class remove(Workflow):
    """A third region that is added and then removed."""

    @contextlib.contextmanager
    def situation(self):
        (self.folder / "adding").mkdir()
        self.adding = add_region(self.stack, self.folder / "adding")
        with self.adding.another_region():
            self.more = self.adding.more
            self.adding.add_ap_to_the_configuration()
            self.stack.admin("migrate", "--region", "ap")
            self.adding.reload_the_old_and_start_the_new()
            with self.loaded():
                yield
            self.stack.change = self.with_ap  # so that adding can end as if the region had never been removed
            self.stack.write_config()
            self.stack.admin("region", "resume", "ap")
            self.adding.daemon.start()
            for daemon in self.stack.plistd.values():
                daemon.restart()
            for daemon in (*self.stack.plistd.values(), self.adding.daemon):
                daemon.wait_ready()

    def stop_and_retire_ap(self):
        self.with_ap = self.stack.change
        self.adding.daemon.stop()

        def retire(config):
            del config["regions"]["ap"]
            config["retired_regions"] = ["ap"]
        self.edit(retire)
        for daemon in self.stack.plistd.values():
            daemon.reload()
        for daemon in self.stack.plistd.values():
            daemon.wait_ready()


class database_lost(Workflow):
    own_stack = True  # the region counts its writes under another key afterwards

    @contextlib.contextmanager
    def situation(self):
        with self.loaded():
            yield
        self.stack.check_consistent()

    def lose_the_database_of_eu(self):
        self.record = self.stack.new_record()
        postgres = self.stack.postgres["eu"]
        self.stack.plistd["eu"].stop()
        postgres.stop()
        shutil.rmtree(postgres.data)
        postgres.start()

    def start_eu(self):
        self.stack.plistd["eu"].start()
        self.stack.plistd["eu"].wait_ready()
        self.stack.wait_version("eu", self.record, 1)


class change_route(Workflow):
    def give_the_list_more_time(self):
        def change(config):
            for route in config["routes"]:
                if route["path"] == "/:region/properties" and route["method"] == "GET":
                    route["timeout"] = "20s"
        self.edit(change)

    def reload(self):
        assert self.run("plist-admin status").returncode == 1, "a daemon runs another configuration, and status does not say so"
        super().reload()
        self.settled()


class change_schema(Workflow):
    """Clients write in both regions all the time, including the field wherever it is known. No write and no value is lost."""

    own_stack = True  # schema diff is not satisfied with rows that hold the fields of other tests

    @contextlib.contextmanager
    def situation(self):
        self.settled()
        self.with_garage = self.stack.new_record()
        records = [self.stack.new_record() for _ in range(4)]
        try:
            with Load([self.stack.front("eu"), self.stack.front("us")], records, threads=2) as self.load:
                yield
                self.load.wait_accepted(20)
            assert not self.load.errors and not {s for s in self.load.statuses if s >= 500}, (self.load.statuses, self.load.errors)
            self.stack.check_consistent()
        finally:
            for region in self.stack.regions:
                self.stack.database(region).execute(
                    "ALTER TABLE properties DROP COLUMN IF EXISTS garage, DROP CONSTRAINT IF EXISTS price_is_positive; DELETE FROM plist.resource_fields WHERE name = 'garage'")

    def field(self, change):
        self.edit(lambda config: change(config["resources"]["properties"]["fields"]))

    def restart(self, region):
        self.load.wait_accepted(10)
        self.stack.plistd[region].restart()
        self.stack.plistd[region].wait_ready()
        self.load.wait_accepted(10)

    def values(self):
        query = "SELECT garage, unknown_fields FROM properties WHERE id = %s"
        return [self.stack.database(r).rows(query, self.with_garage) for r in self.stack.regions]

    def add_garage_to_the_configuration(self):
        self.field(lambda fields: fields.update(garage={"type": "integer", "min": 0, "max": 9}))

    def restart_us(self):
        self.restart("us")
        assert self.stack.client("us").put(self.with_garage, garage=2, version=1).status == 200
        self.stack.wait_version("eu", self.with_garage, 2)
        assert self.stack.client("eu").put(self.with_garage, price=Decimal("3.00"), version=2).status == 200
        said = self.run("plist-admin status").stderr
        assert "eu: properties: daemon" in said and "does not know the field garage yet" in said, said

    def restart_eu(self):
        self.restart("eu")
        wait_until("the value is in its column", lambda: self.values() == [[(2, None)]] * 2)
        self.agreed(0)

    def agreed(self, exit_status):
        """Waits until the heartbeats report the fields that the daemons know now."""
        diff = None

        def agreed():
            nonlocal diff
            diff = self.run("plist-admin schema diff")
            return diff.returncode == exit_status
        with contextlib.suppress(Timeout):
            wait_until(f"schema diff exits {exit_status}", agreed)
        assert agreed(), diff
        self.settled()

    def widen_garage(self):
        self.field(lambda fields: fields.update(garage={"type": "decimal", "precision": 4, "scale": 1, "min": 0, "max": 9}))

    def restart_for_fractions(self):
        self.restart("us")
        assert self.stack.client("us").put(self.with_garage, garage=Decimal("2.5"), version=3).status == 200
        self.restart("eu")
        wait_until("the value is in its column", lambda: self.values() == [[(Decimal("2.5"), None)]] * 2)
        self.agreed(0)

    def retire_garage(self):
        self.field(lambda fields: fields["garage"].update(retired=True))

    def restart_all(self):
        for region in self.stack.regions:
            self.restart(region)
        self.agreed(0 if "garage" in self.stack.dictionary()["resources"]["properties"]["fields"] else 1)
        assert "garage" not in self.stack.client("us").read(self.with_garage).json
        assert self.values() == [[(Decimal("2.5"), None)]] * 2

    def remove_garage(self):
        self.field(lambda fields: fields.pop("garage"))

    def tolerate_the_constraint(self):
        self.edit(lambda config: config["resources"]["properties"].update(tolerate=["price_is_positive"]))

    def forget_the_constraint(self):
        self.edit(lambda config: config["resources"]["properties"].pop("tolerate"))


class switch_replay(Workflow):
    def switch_to_replay(self):
        def change(config):
            for route in config["routes"]:
                if "idempotency" in route:
                    route["idempotency"]["on_duplicate"] = "replay"
        self.edit(change)

    def run(self, command):
        # Readers choose the id themselves; a stack that has run this page remembers it.
        self.id = getattr(self, "id", uuid.uuid4().hex)
        return super().run(command.replace("try-replay-1", self.id))


class change_policy(Workflow):
    """Creates a conflict that highest_price decides differently from last_writer_wins."""

    @contextlib.contextmanager
    def situation(self):
        record = self.stack.new_record()
        self.stack.broker.pause()
        try:
            for region, price in (("us", "900.00"), ("eu", "800.00")):
                assert self.stack.client(region).put(record, price=Decimal(price), version=1).status == 200
        finally:
            self.stack.broker.resume()
        for region in self.stack.regions:
            wait_until(f"{region} has seen the conflict", lambda r=region: self.stack.database(r).conflicts(record))
        yield

    def name_highest_price(self):
        self.edit(lambda config: config["resources"]["properties"].update(policy="policies/highest_price.lua"))

    def reload_us_only(self):
        self.stack.plistd["us"].reload()

    def reload(self):
        super().reload()
        self.settled()


class region_down(Workflow):
    @contextlib.contextmanager
    def situation(self):
        self.record = self.stack.new_record(price="12.00")
        self.stack.plistd["us"].kill()
        self.stack.postgres["us"].kill()
        yield

    def run(self, command):
        return super().run(command.replace("/us/properties/1", f"/us/properties/{self.record}"))

    def bring_it_back(self):
        self.stack.restore()
        self.settled()


class lag_grows(Workflow):
    """us writes while a table lock blocks eu's applier."""

    @contextlib.contextmanager
    def situation(self):
        record = self.stack.new_record()
        self.lock = self.stack.database("eu").connect()
        self.lock.cursor().execute("LOCK TABLE properties IN EXCLUSIVE MODE")
        assert self.stack.client("us").put(record, price=Decimal("9.00"), version=1).status == 200
        wait_until("eu is behind by more than half a second",
                   lambda: self.run("plist-admin lag --max-seconds 0.5").returncode == 1)
        try:
            yield
        finally:
            self.lock.close()

    def end_the_cause(self):
        self.lock.rollback()
        self.settled()


class poison(Workflow):
    @contextlib.contextmanager
    def situation(self):
        for region in self.stack.regions:
            self.stack.database(region).execute("TRUNCATE dead_letters")
        self.stack.broker.produce("property-updates", "7", "this is no record")
        for region in self.stack.regions:
            wait_until(f"{region} has it as a dead letter", lambda r=region: self.numbers(r))
        yield
        for region in self.stack.regions:
            assert not self.numbers(region)

    def numbers(self, region):
        return self.stack.database(region).rows("SELECT id FROM dead_letters ORDER BY id")

    def run(self, command):
        # The page shows the ids of a region's first dead letter.
        for region in self.stack.regions:
            for (number,) in self.numbers(region):
                command = command.replace(f"{region}/1", f"{region}/{number}")
        return super().run(command)


class parked(Workflow):
    """eu's table has a column that us does not know."""

    @contextlib.contextmanager
    def situation(self):
        self.database = self.stack.database("eu")
        self.database.execute("ALTER TABLE properties ADD COLUMN agent text NOT NULL DEFAULT ''; ALTER TABLE properties ALTER COLUMN agent DROP DEFAULT")
        try:
            self.stack.new_record(everywhere=False)
            wait_until("eu parks the event", lambda: self.database.value("SELECT count(*) FROM parked_events"))
            yield
            assert not self.database.value("SELECT count(*) FROM parked_events")
        finally:
            self.mend_the_table()

    def mend_the_table(self):
        self.database.execute("ALTER TABLE properties DROP COLUMN IF EXISTS agent")


class created_twice(Workflow):
    """Both regions executed one POST, and the record of us has been written since."""

    @contextlib.contextmanager
    def situation(self):
        request_id = str(uuid.uuid4())
        us, eu = self.stack.client("us"), self.stack.client("eu")
        self.stack.broker.pause()
        try:
            second = us.post(request_id, price=Decimal("1.00")).json["id"]
            first = eu.request("POST", "/us/properties", {"price": Decimal("1.00")}, request_id).json["id"]
            assert us.put(second, price=Decimal("2.00"), version=1).status == 200
        finally:
            self.stack.broker.resume()
        states = "SELECT closed_at IS NOT NULL FROM conflicts WHERE type = 'created_twice' AND record_id = %s"
        for region in self.stack.regions:
            wait_until(f"{region} lists the pair", lambda r=region: self.stack.database(r).value(states, second) is False)
        yield
        assert us.delete(first, version=1).status == 204
        for region in self.stack.regions:
            wait_until(f"{region} closes it", lambda r=region: self.stack.database(r).value(states, second))


class regions_differ(Workflow):
    """eu lacks one record, and has another price for a second one."""

    @contextlib.contextmanager
    def situation(self):
        lost, changed = self.stack.new_record(), self.stack.new_record()
        # A region that has just been started may still be silent for another one.
        wait_until("all have compared", lambda: self.stack.admin("audit", "--now", check=False).returncode == 0, 120)
        database = self.stack.database("eu")
        database.execute("DELETE FROM properties WHERE id = %s", lost)
        database.execute("UPDATE properties SET price = 7 WHERE id = %s", changed)
        yield
        assert str(changed) in (self.folder / "differences.html").read_text()
        self.stack.check_consistent()
        assert database.property(changed)["price"] == Decimal("100.00")


class record_at_the_edge(Workflow):
    @contextlib.contextmanager
    def situation(self):
        with self.stack.reading("us", 1), self.stack.reading("eu", 1):
            self.record = self.stack.new_record()
        for region in self.stack.regions:
            self.stack.database(region).execute("UPDATE properties SET updated_at = 'infinity' WHERE id = %s", self.record)
        yield
        wait_until("it is written again", lambda: self.stack.client("eu").put(self.record, price=Decimal("3.00"), version=2).status == 200)

    def run(self, command):
        return super().run(command.replace("properties/7", f"properties/{self.record}"))


class rotate_password(Workflow):
    """Uses a separate role, so that other logins do not change; the server requires a password for it."""

    @contextlib.contextmanager
    def situation(self):
        self.file = self.folder / "database"
        self.file.touch(0o600)
        self.file.write_text(self.stack.postgres["us"].url + "\n")
        self.edit(self.use_the_file)
        yield

    def use_the_file(self, config):
        del config["regions"]["us"]["database"]
        config["regions"]["us"]["database_file"] = str(self.file)

    def write_the_file(self):
        self.file.write_text(self.stack.postgres["us"].url.replace("plist@", "plist:a-new-one@") + "\n")

    def connect_again(self):
        for daemon in self.stack.plistd.values():
            daemon.reload()
        self.stack.database("us").execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'plist%%us%%'")
        self.stack.wait_ready()
        self.settled()


def test_every_workflow_of_the_page_is_known_here():
    assert set(WORKFLOWS) == {c.__name__ for c in Workflow.__subclasses__()}


def test_every_command_that_the_page_shows_is_run_or_has_a_reason():
    for steps in WORKFLOWS.values():
        for step in steps:
            assert step.kind == "test" or step.argument.strip()
            assert (step.kind in ("run", "not run")) == bool(step.commands), f"{PAGE.name}:{step.line}"
    # Nothing would find a command outside of a block.
    assert not re.search(r"^\.Dl ", PAGE.read_text(), re.M)


@pytest.fixture
def own_stack():
    yield from _kept("plist-own-")


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_the_page_is_true(request, tmp_path, name):
    stack = request.getfixturevalue("own_stack" if globals()[name].own_stack else "stack")
    workflow = globals()[name](stack, tmp_path)
    before = stack.change
    try:
        with workflow.situation():
            for step in WORKFLOWS[name]:
                if step.kind == "test":
                    getattr(workflow, step.argument)()
                elif step.kind == "run":
                    for i, command in enumerate(step.commands):
                        wanted = int(step.argument) if i == len(step.commands) - 1 else 0
                        done = workflow.run(command)
                        assert done.returncode == wanted, \
                            f"{PAGE.name}:{step.line}: {command}\nexit {done.returncode}, not {wanted}\n{done.stdout}{done.stderr}"
    finally:
        stack.change = before
