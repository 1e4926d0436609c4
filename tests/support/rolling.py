"""Daemons of one stack with different YAMLs, as during the rollout of a schema change."""

from .plistd import Plistd
from .process import free_port, wait_until


def add_field(name, **keys):
    """A change of the YAML: another field of the properties."""
    return lambda config: config["resources"]["properties"]["fields"].update({name: keys})


GARAGE = add_field("garage", type="integer", min=0, max=9)


def retire_field(name):
    """A change of the YAML: the field is retired."""
    return lambda config: config["resources"]["properties"]["fields"][name].update(retired=True)


def remove_field(name):
    """A change of the YAML: the field is gone."""
    return lambda config: config["resources"]["properties"]["fields"].pop(name)


class Rolling:
    def __init__(self, stack):
        self.stack = stack
        self.changed = set()
        self.seconds = []
        self.columns = set()

    def sql(self, statement):
        """Runs a statement in the database of every region."""
        for database in self.stack.databases.values():
            database.execute(statement)

    def add_column(self, name, kind):
        """The first step of adding a field."""
        self.columns.add(name)
        self.sql(f"ALTER TABLE properties ADD COLUMN {name} {kind}")

    def drop_column(self, name):
        self.columns.discard(name)
        self.sql(f"ALTER TABLE properties DROP COLUMN {name}")

    def write_yaml(self, name, changes):
        """The YAML of the stack with these changes, in a separate file."""
        return self.stack.write_yaml(self.stack.folder / f"{name}.yaml", *changes)

    def restart(self, region, *changes, ready=True):
        """The region's daemon with the stack's YAML and these changes; waits until it is ready, if it can be."""
        daemon = self.stack.plistd[region]
        daemon.stop()
        daemon.config = self.write_yaml(f"plist-{region}", changes) if changes else self.stack.config
        self.changed.add(region)
        daemon.start()
        if ready:
            daemon.wait_ready()

    def beside(self, region, *changes, ready=True):
        """A second daemon of the region, with these changes; waits until it is ready, if it can be."""
        port, folder = free_port(), self.stack.folder / f"plistd-{region}-beside"
        more = {"PORT": port, "PLIST_RUN": folder}
        daemon = Plistd(folder, region, port, self.write_yaml(f"plist-{region}-beside", changes), lambda: self.stack.environment() | more,
                        self.stack.bound, f"plistd-{region}-beside")
        self.seconds.append(daemon)
        daemon.start()
        if ready:
            daemon.wait_ready()
        return daemon

    def end(self):
        """Restores the stack, and drops the columns that were added."""
        for daemon in self.seconds:
            daemon.stop()
        for region in self.changed:
            self.stack.plistd[region].stop()
            self.stack.plistd[region].config = self.stack.config
        if self.stack.failed:  # the next test gets new servers
            return
        for region in self.changed:
            self.stack.plistd[region].start()
        self.stack.wait_ready()
        self.stack.wait_all_read()  # events that are read later would bring their fields back
        for name in list(self.columns):
            self.drop_column(name)
        self.sql("UPDATE properties SET unknown_fields = NULL WHERE unknown_fields IS NOT NULL; DELETE FROM plist.resource_fields")

    def field(self, region, record, name):
        return self.stack.database(region).value(f"SELECT {name} FROM properties WHERE id = %s", record)

    def wait_field(self, record, name, value, regions=None):
        """Waits until the column has the value in the regions, and unknown_fields is empty there."""
        query = f"SELECT {name}, unknown_fields FROM properties WHERE id = %s"
        for region in regions or self.stack.regions:
            wait_until(f"{region} has {name} = {value}", lambda r=region: self.stack.database(r).rows(query, record) == [(value, None)])

    def wait_equal(self, *fields):
        """Waits until all rows are equal in all regions, these fields included, and nothing is left in unknown_fields."""
        self.stack.check_consistent()
        query = f"SELECT id, {', '.join(fields)}, unknown_fields FROM properties ORDER BY id"

        def equal():
            rows = [database.rows(query) for database in self.stack.databases.values()]
            told = [pair for pair in zip(rows[0], rows[-1]) if pair[0] != pair[1] or pair[0][-1] is not None]
            assert not told and all(r == rows[0] for r in rows), told[:3]
            return True
        wait_until("the fields are equal everywhere", equal)
