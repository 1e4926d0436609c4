"""Daemons of one region with different YAMLs take over from each other, there and back: nothing is lost, and status is red
for exactly as long as something is missing."""

from dataclasses import dataclass
from decimal import Decimal

import pytest

from support.plistd import admin
from support.process import wait_until
from support.quiet import NO, YES
from support.rolling import add_field

DECIMAL = add_field("garage", type="decimal", precision=4, scale=1)


def properties(**keys):
    return lambda config: config["resources"]["properties"].update(keys)


def bedrooms(**keys):
    return lambda config: config["resources"]["properties"]["fields"]["bedrooms"].update(keys)


@dataclass
class Kind:
    """What the old daemon of eu has in its YAML and the new one has not, or the other way round."""

    old: tuple
    new: tuple
    body: dict                # what us writes
    us: tuple = ()            # what us needs for that
    column: str = None        # of garage
    guard: str = None         # a constraint of eu's table
    parks: tuple = ()         # which of the two cannot apply it

    @property
    def tolerated(self):
        """For plist-admin, which would report the constraint itself, too."""
        return (properties(tolerate=["no_palaces"]),) if self.guard else ()


KINDS = {
    "tolerate": Kind((properties(tolerate=["no_palaces"]),), (), {"price": Decimal("900000001.00")}, parks=("old", "new"),
                     guard="ADD CONSTRAINT no_palaces CHECK (price < 900000000) NOT VALID"),
    "a narrower bound": Kind((), (bedrooms(max=4),), {"bedrooms": 9}),
    "a wider field": Kind((add_field("garage", type="integer", max=99),), (DECIMAL,), {"garage": Decimal("1.5")}, (DECIMAL,),
                          "numeric(4,1)", parks=("old",)),
    "a field less": Kind((DECIMAL,), (), {"garage": Decimal("1.5")}, (DECIMAL,), "numeric(4,1)"),
}


class Region:
    """eu, with one of its daemons at a time in charge."""

    def __init__(self, stack, rolling, kind):
        self.stack, self.rolling, self.kind = stack, rolling, kind
        self.database = stack.database("eu")
        self.daemon, self.name = stack.plistd["eu"], "old"

    def take_over(self, daemon, name):
        """The daemon that was in charge is killed; the next one, which runs, takes over all of its partitions."""
        wait_until("both have their share", lambda: len(self.shares()) == 2 and self.shares()[1] - self.shares()[0] <= 1)
        everything = sum(self.shares())
        self.daemon.kill()
        self.daemon, self.name = daemon, name
        wait_until("the other one reads everything", lambda: self.shares() == [everything])

    def shares(self):
        return [n for n, in self.database.rows("SELECT count(*) FROM plist.partition_claims GROUP BY member ORDER BY 1")]

    def status(self):
        """plist-admin status with the daemon that is in charge."""
        def addresses(config):
            for region in self.stack.regions:
                folder = self.daemon.folder if region == "eu" and self.name == "new" else self.stack.folder
                config["regions"][region]["control_socket"] = str(folder / f"{region}.sock")
            config["regions"]["eu"]["listen"] = f"127.0.0.1:{self.daemon.port}"
        yaml = self.rolling.write_yaml("status", [*self.kind.us, *self.kind.tolerated, addresses])
        return admin("status", config=yaml, check=False)

    def parked(self):
        return self.database.value("SELECT count(*) FROM plist.parked_events")

    def version(self, record):
        return self.stack.database("eu").property(record)["version"]

    def check_missing(self, record, version):
        """The event is parked and not lost, and every tool says so, for as long as it is."""
        wait_until("it is parked", lambda: self.parked() > 0 and self.daemon.metrics()["plist_parked_events"] == self.parked())
        assert self.version(record) < version
        wait_until("status says so", lambda: any(f"eu: {self.parked()} parked events" in line for line in self.reasons()))

    def reasons(self):
        """Why status is red, apart from that the daemons have different YAMLs: one of them may not tolerate the constraint, or
        not know the field."""
        said = self.status()
        assert said.returncode in (YES, NO), said
        told = [line for line in said.stderr.splitlines() if " runs configuration " not in line and " does not know the field " not in line]
        return [line for line in told if not (self.kind.guard and "is not ready: writes to properties are refused" in line)]

    def check_complete(self, record, version):
        self.stack.wait_version("eu", record, version)
        wait_until("nothing is parked", lambda: self.parked() == 0)

        def nothing_is_missing():
            assert self.reasons() == []
            return True
        wait_until("status is red for nothing that is missing", nothing_is_missing)


@pytest.fixture
def region(request, stack, rolling):
    """The region with its old daemon, and what the kind needs in the tables and in us."""
    kind = KINDS[request.param]
    if kind.column:
        rolling.add_column("garage", kind.column)
    if kind.us:
        rolling.restart("us", *kind.us)
    if kind.guard:
        stack.database("eu").execute(f"ALTER TABLE properties {kind.guard}")
    rolling.restart("eu", *kind.old, ready=not kind.guard)
    try:
        yield Region(stack, rolling, kind)
    finally:
        if kind.guard:
            stack.database("eu").execute("ALTER TABLE properties DROP CONSTRAINT IF EXISTS no_palaces")


@pytest.mark.parametrize("region", KINDS, indirect=True)
def test_nothing_is_lost_when_daemons_with_different_yamls_take_over_there_and_back(stack, us, region):
    kind, version = region.kind, 1
    record = stack.new_record()
    old, new = stack.plistd["eu"], region.rolling.beside("eu", *kind.new, ready=not kind.guard)
    for daemon, name in ((new, "new"), (old, "old")):
        region.take_over(daemon, name)
        if name in kind.parks:
            assert us.put(record, version=version, **kind.body).status == 200
            region.check_missing(record, version + 1)
        else:  # and if the one before it has parked something, this one applies it
            region.check_complete(record, version)
            assert us.put(record, version=version, **kind.body).status == 200
            region.check_complete(record, version + 1)
        version += 1
        if name == "new":
            old.start()
    if kind.guard:
        stack.database("eu").execute("ALTER TABLE properties DROP CONSTRAINT no_palaces")
    if "old" in kind.parks:  # the one that can apply it comes back, or the constraint is gone
        new.start()
        if not kind.guard:
            region.take_over(new, "new")
    region.check_complete(record, version)
    stack.check_consistent()
    if kind.column:
        region.rolling.restart("eu", DECIMAL)
        for name, value in kind.body.items():
            region.rolling.wait_field(record, name, value)
