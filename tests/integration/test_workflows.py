"""plist-workflows(7), run as it is printed: every command that the page shows is run here, or the page says why it is not.

The page's own conventions stand in its first lines. What an operator does by hand (edit a file, restart a daemon) the page marks
with `test: NAME`; here it is the method of that name of the workflow's class.
"""

import contextlib
import os
import re
import subprocess
import uuid
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from support import places
from support.plistd import Plistd
from support.postgres import Postgres
from support.process import free_port, wait_until

PAGE = places.TOP / "man" / "plist-workflows.7"


@dataclass
class Step:
    kind: str  # "run", "not run", "shown", "test"
    argument: str
    line: int
    commands: list = field(default_factory=list)


def commands_of(lines):
    """Lines that begin with "$ ", each with those that continue it."""
    commands = []
    for text in lines:
        text = text.replace("\\e", "\\")
        if text.startswith("$ "):
            commands.append(text[2:])
        elif commands and commands[-1].endswith("\\"):
            commands[-1] += "\n" + text
    return commands


def read_page():
    """{workflow: [steps]}. A literal block without a mark is an error of the page."""
    workflows, name, mark, block = {}, None, None, None
    for number, text in enumerate(PAGE.read_text().splitlines(), 1):
        told = re.match(r'\.\\" (workflow|run|not run|shown|test): (.+)$', text)
        if block is not None:
            if text == ".Ed":
                mark.commands = commands_of(block)
                workflows[name].append(mark)
                mark = block = None
            else:
                block.append(text)
        elif text.startswith(".Bd -literal"):
            assert mark, f"{PAGE.name}:{number}: a block that is not marked"
            block = []
        elif told and number > 10:
            kind, argument = told.groups()
            if kind == "workflow":
                name = argument
                workflows[name] = []
            elif kind == "test":
                workflows[name].append(Step(kind, argument, number))
            else:
                mark = Step(kind, argument, number)
        else:
            assert mark is None, f"{PAGE.name}:{number}: a mark that no block follows"
    return workflows


WORKFLOWS = read_page()


class Workflow:
    """One section of the page, and the situation that it speaks of."""

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
        # What plist itself reads must come from the page, not from whoever started the tests.
        others = {k: v for k, v in os.environ.items() if k not in ("REGION", "DATABASE_URL", "PORT", "KAFKA_BROKER")}
        return others | urls | {"PLIST_CONFIG": str(self.stack.config), "NO_COLOR": "1",
                                                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"} | self.more

    def run(self, command):
        command = command.replace("127.0.0.1:8080", f"127.0.0.1:{self.stack.nginx.port}")
        return subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=self.folder, env=self.variables(), capture_output=True,
                              text=True, timeout=120, check=False)

    def edit(self, change):
        """The configuration, changed by hand. Later edits come on top."""
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

    def settled(self):
        """Before a question that must be answered with yes: what is on its way has arrived."""
        for command in (["lag", "--max-seconds", "5"], ["status"]):
            wait_until(f"{command[0]} is content", lambda c=command: self.stack.admin(*c), 60)


class look(Workflow):
    @contextlib.contextmanager
    def situation(self):
        self.settled()
        yield


class add_region(Workflow):
    @contextlib.contextmanager
    def situation(self):
        self.stack.new_record(price="77.00")
        folder = places.data_folder("plist-ap-")
        self.postgres = Postgres(folder / "postgres-ap", free_port(), durable=False, name="postgres-ap").start()
        self.daemon = Plistd(folder / "plistd-ap", "ap", free_port(), self.stack.config, bound=True)
        self.more["AP_DATABASE_URL"] = self.postgres.url
        try:
            yield
            wait_until("the new region has the same rows",
                       lambda: self.postgres.database.properties() == self.stack.database("us").properties(), 30)
            created = self.daemon.client.post(price=Decimal("5.00"))
            assert created.status == 201
            self.stack.wait_version("eu", created.json["id"], 1)
        finally:
            self.daemon.stop()
            self.postgres.stop()

    def add_ap_to_the_configuration(self):
        self.edit(lambda config: config["regions"].update(
            ap={"listen": f"127.0.0.1:{self.daemon.port}", "database": self.postgres.url, "control": str(self.folder / "ap.sock")}))

    def restart_the_old_and_start_the_new(self):
        for daemon in self.stack.plistd.values():
            daemon.restart()
        self.daemon.start()
        for daemon in (*self.stack.plistd.values(), self.daemon):
            daemon.wait_ready()
        self.settled()


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


class switch_replay(Workflow):
    def switch_to_replay(self):
        def change(config):
            for route in config["routes"]:
                if "idempotency" in route:
                    route["idempotency"]["on_duplicate"] = "replay"
        self.edit(change)

    def run(self, command):
        # The id is the reader's own; a stack that has run this page before remembers it.
        self.id = getattr(self, "id", uuid.uuid4().hex)
        return super().run(command.replace("try-replay-1", self.id))


class change_policy(Workflow):
    """There is a conflict that the highest price decides otherwise than the last writer."""

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
            wait_until(f"{region} has seen the conflict", lambda r=region: self.stack.database(r).conflicts(record), 15)
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
    """us writes, and eu's applier stands still: a lock on the row that it has to write."""

    @contextlib.contextmanager
    def situation(self):
        record = self.stack.new_record()
        self.lock = self.stack.database("eu").connect()
        self.lock.cursor().execute("SELECT 1 FROM properties WHERE id = %s FOR UPDATE", (record,))
        assert self.stack.client("us").put(record, price=Decimal("9.00"), version=1).status == 200
        wait_until("eu is behind by more than half a second",
                   lambda: self.run("plist-admin lag --max-seconds 0.5").returncode == 1, 10)
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
            wait_until(f"{region} has put it aside", lambda r=region: self.numbers(r))
        yield
        for region in self.stack.regions:
            assert not self.numbers(region)

    def numbers(self, region):
        return self.stack.database(region).rows("SELECT id FROM dead_letters ORDER BY id")

    def run(self, command):
        # The page's numbers are those of a region's first letter.
        for region in self.stack.regions:
            for (number,) in self.numbers(region):
                command = command.replace(f"{region}/1", f"{region}/{number}")
        return super().run(command)


class rotate_password(Workflow):
    """A role of its own, so that the others' logins stay as they are; the server asks for a password where it comes from."""

    @contextlib.contextmanager
    def situation(self):
        self.file = self.folder / "database"
        self.file.write_text(self.stack.postgres["us"].url + "\n")
        self.edit(self.use_the_file)
        yield

    def use_the_file(self, config):
        del config["regions"]["us"]["database"]
        config["regions"]["us"]["database_file"] = str(self.file)

    def write_the_file(self):
        self.file.write_text(self.stack.postgres["us"].url.replace("plist@", "plist:a-new-one@") + "\n")

    def restart_us(self):
        self.stack.plistd["eu"].reload()
        self.stack.plistd["us"].restart()
        self.stack.wait_ready()
        self.settled()


def test_every_workflow_of_the_page_is_known_here():
    assert set(WORKFLOWS) == {c.__name__ for c in Workflow.__subclasses__()}


def test_every_command_that_the_page_shows_is_run_or_has_a_reason():
    for steps in WORKFLOWS.values():
        for step in steps:
            assert step.kind == "test" or step.argument.strip()
            assert (step.kind in ("run", "not run")) == bool(step.commands), f"{PAGE.name}:{step.line}"
    # A command outside of a block would be found by nobody.
    assert not re.search(r"^\.Dl ", PAGE.read_text(), re.M)


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_the_page_is_true(stack, tmp_path, name):
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
