"""Rolling changes of the schema under a load that keeps its own books: what every field of every record must be.

A life is one field from its first column to its last: it is added, changed in one way, retired, removed, and its column
dropped, daemon by daemon in a random order. Clients write all the time, each in the terms of the daemon that it asks. At
the end of each stage every region must have exactly what the books say, row by row and field by field.
"""

import contextlib
import itertools
import random
import threading
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from .client import new_id
from .process import wait_until
from .rolling import Rolling


def eager_housekeeping(config):
    """A change of the YAML: what is in unknown_fields is moved to its column soon."""
    config.setdefault("housekeeping", {}).update(expire_every="1s")


# ---- what a client may write into a field

def domain(spec):
    """(kind, least, most): the values that a daemon with this field takes from clients."""
    if spec["type"] == "string":
        return ("string", 0, spec.get("max_length", 255))
    if spec["type"] == "boolean":
        return ("boolean", 0, 1)
    scale = spec.get("scale", 2) if spec["type"] == "decimal" else 0
    digits = 10 ** (spec.get("precision", 12) - scale) - 1 if spec["type"] == "decimal" else 10**6
    digits = min(digits, 10**6)  # other tests of the stack expect ordinary prices
    return (scale, spec.get("min", 0), min(spec.get("max", digits), digits))


def domains(fields):
    return {name: domain(spec) for name, spec in fields.items() if not spec.get("retired")}


def both(a, b):
    """What two daemons take: numbers with the fewer decimals, in the narrower range."""
    shared = {}
    for name in a.keys() & b.keys():
        (kind, low, high), (other, least, most) = a[name], b[name]
        if kind == other or isinstance(kind, int) and isinstance(other, int):
            shared[name] = (kind if isinstance(kind, str) else min(kind, other), max(low, least), min(high, most))
    return shared


def comparable(stored):
    """A value of a JSON column as one of a column of its own."""
    return Decimal(str(stored)) if isinstance(stored, (int, float)) and not isinstance(stored, bool) else stored


def some(chance, allowed, required):
    """A body: values of one to three fields, now and then null."""
    names = chance.sample(sorted(allowed), chance.randint(1, min(3, len(allowed))))
    return {name: None if name not in required and chance.random() < 0.1 else value(chance, *allowed[name]) for name in names}


def value(chance, kind, low, high):
    if kind == "string":
        return "".join(chance.choice("abcäöü ") for _ in range(chance.randint(0, high)))
    if kind == "boolean":
        return chance.random() < 0.5
    return Decimal(chance.randint(low * 10**kind, high * 10**kind)).scaleb(-kind)


# ---- the clients

class Daemon:
    """A running plistd as the clients see it: what they may write there, and the requests that are on their way."""

    def __init__(self, region, client, fields):
        self.region, self.client = region, client
        self.allowed = domains(fields)
        self.required = set()  # what must not be null here
        self.busy = set()


class Books:
    """Clients, each with records of its own; `expected` says what each field must be. A record is written in changing
    regions, under the lock of its version, so each write has seen all those before it. One more client writes the records
    of `contended` in all regions at the same time; only that they are equal in the end is known of them."""

    def __init__(self, daemons, records, contended, threads=3, seed=1):
        self.daemons, self.contended = daemons, contended
        self.expected = {record: {} for record in records}
        self.versions = dict.fromkeys(records, 1)
        self.required = set()
        self.orders = {}  # record -> what to write next: a function of the fields that it has
        self.written = Counter()
        self.failures = []
        self.lock = threading.Lock()
        self.paused = False
        self._stop = threading.Event()
        chances = [random.Random(seed * 1000 + n) for n in range(threads + 2)]
        turns = [(chances[n], lambda chance, own=records[n::threads]: self.write(chance, own)) for n in range(threads)]
        turns += [(chance, self.contend) for chance in chances[threads:]]
        self._threads = [threading.Thread(target=self._run, args=turn, daemon=True) for turn in turns]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
            assert not thread.is_alive(), "a client hangs"
        self.check_clients()

    def check_clients(self):
        assert not self.failures, self.failures[:3]

    def wait_written(self, more, timeout=60):
        """Waits until every region has taken this many more writes."""
        goals = {daemon.region: self.written[daemon.region] + more for daemon in self.daemons}

        def done():
            self.check_clients()
            return all(self.written[region] >= goal for region, goal in goals.items())
        wait_until(f"every region takes {more} more writes", done, timeout)

    def change(self, daemon=None, allowed=None, required=None):
        """From now on clients write only this at the daemon, and no null where it is required; returns when nothing else
        is on its way."""
        with self.lock:
            if daemon:
                daemon.allowed = allowed
            self.required = self.required if required is None else required
            before = {token for each in self.daemons for token in each.busy}
        wait_until("the requests of before are answered", lambda: not any(before & each.busy for each in self.daemons), 60)

    @contextlib.contextmanager
    def pause(self):
        """No client writes meanwhile, and no answer is outstanding."""
        self.paused = True
        self.change()
        try:
            yield
        finally:
            self.paused = False

    def _run(self, chance, turn):
        try:
            while not self._stop.wait(0.005):
                turn(chance)
        except Exception as failure:  # noqa: BLE001 - told by the thread of the test
            self.failures.append(failure)

    @contextlib.contextmanager
    def _daemon(self, chance):
        """One to ask, what may be written there, and what must not be null; no daemon during a pause."""
        token = object()
        with self.lock:
            daemon = None if self.paused else chance.choice(self.daemons)
            if daemon:
                daemon.busy.add(token)
            allowed, required = dict(daemon.allowed) if daemon else {}, {"price"} | self.required | (daemon.required if daemon else set())
        try:
            yield daemon, allowed, required
        finally:
            if daemon:
                with self.lock:
                    daemon.busy.discard(token)

    def contend(self, chance):
        with self._daemon(chance) as (daemon, allowed, required):
            if not daemon:
                return
            record = chance.choice(self.contended)
            with contextlib.suppress(OSError):
                read = daemon.client.read(record)
                if read.status == 200:
                    answer = daemon.client.put(record, version=read.json["version"], **some(chance, allowed, required))
                    assert answer.status in (200, 409) or answer.status > 500, answer

    def write(self, chance, records):
        """One write of one of these records at some daemon, unless that does not have the latest version yet."""
        with self._daemon(chance) as (daemon, allowed, required):
            if not daemon:
                return
            record = chance.choice([r for r in records if r in self.orders] or records)
            order = self.orders.get(record)
            body = order(self.expected[record]) if order else some(chance, allowed, required)
            if body.keys() <= allowed.keys() and self._is_current(daemon, record):
                self._insist(daemon, record, body)
                self.orders.pop(record, None)

    def write_all(self, order):
        """Has order(fields) written into each record."""
        self.orders = dict.fromkeys(self.expected, order)

        def done():
            self.check_clients()
            return not self.orders
        wait_until("all records are written", done, 60)

    def _is_current(self, daemon, record):
        try:
            read = daemon.client.read(record)
        except OSError:
            return False
        return read.status == 200 and read.json["version"] == self.versions[record]

    def _insist(self, daemon, record, body):
        """Sends it until the answer says whether it was written."""
        request_id, sent = new_id(), body | {"version": self.versions[record]}
        for _ in range(600):
            try:
                answer = daemon.client.put(record, request_id=request_id, **sent)
            except OSError:
                answer = None
            if answer is None or answer.status in (502, 503, 504) or (answer.status == 409 and "retry-after" in answer.headers):
                self._stop.wait(0.1)
                continue
            assert answer.status == 200 or (answer.status == 422 and answer.json["title"] == "Duplicate request"), (daemon.region, sent, answer)
            self.expected[record].update(body)
            self.versions[record] += 1
            self.written[daemon.region] += 1
            return
        raise AssertionError(f"{daemon.region} does not say whether {sent} was written")


# ---- lives of fields

@dataclass
class Step:
    """SQL for each region's table, then the fields for each daemon, then SQL again."""

    fields: dict
    before: str = None
    after: str = None
    regions: object = None  # how many of them get the fields, or which; None: all
    where: str = None       # the only region whose table changes; None: all
    refusing: bool = False  # that region refuses events from here on, and parks them


class Life:
    """One field, from its first column to its last."""

    column = "integer"
    first = {"type": "integer", "min": 0, "max": 9}

    def __init__(self, field, play):
        self.field, self.play, self.chance = field, play, play.chance

    def begin(self, fields):
        yield Step(fields | {self.field: dict(self.first)}, before=f"ADD COLUMN {self.field} {self.column}")

    def change(self, fields, books):
        """Between the beginning and the end; `fields` is what the beginning made."""
        yield from ()

    def end(self, fields, field=None):
        field = field or self.field
        yield Step(self.changed(fields, field, retired=True))
        yield Step({name: spec for name, spec in fields.items() if name != field}, after=f"DROP COLUMN {field}")

    def changed(self, fields, field=None, **keys):
        field = field or self.field
        return fields | {field: fields[field] | keys}


class Retire(Life):
    """A field is retired, comes back, and is retired again."""

    def change(self, fields, books):
        yield Step(self.changed(fields, retired=True))
        yield Step(fields)


class Default(Life):
    """A column has a default, which no record may show."""

    def begin(self, fields):
        for step in super().begin(fields):
            step.before += f", ALTER COLUMN {self.field} SET DEFAULT 7"
            step.after = f"ALTER COLUMN {self.field} DROP DEFAULT"
            yield step


class Require(Life):
    """A field is filled, required, and optional again."""

    def change(self, fields, books):
        books.change(required={self.field})
        books.write_all(lambda _: {self.field: Decimal(self.chance.randint(0, 9))})
        yield Step(self.changed(fields, required=True))
        yield Step(fields)
        books.change(required=set())


class Widen(Life):
    """An integer becomes a decimal."""

    def change(self, fields, books):
        yield Step(fields | {self.field: {"type": "decimal", "precision": 6, "scale": 1, "min": 0, "max": 99}},
                   before=f"ALTER COLUMN {self.field} TYPE numeric(6,1)")


class Lengthen(Life):
    """A string and its column may be longer."""

    column = "varchar(10)"
    first = {"type": "string", "max_length": 10}

    def change(self, fields, books):
        yield Step(self.changed(fields, max_length=40), before=f"ALTER COLUMN {self.field} TYPE varchar(40)")


class Shorten(Life):
    """A string may only be shorter; what is there stays."""

    column = "text"
    first = {"type": "string", "max_length": 40}

    def change(self, fields, books):
        yield Step(self.changed(fields, max_length=10))


class Narrow(Life):
    """A decimal and then its column get fewer digits, of which none was used."""

    column = "numeric(8,2)"
    first = {"type": "decimal", "precision": 8, "scale": 2, "min": 0, "max": 5000}

    def change(self, fields, books):
        yield Step(self.changed(fields, precision=6), after=f"ALTER COLUMN {self.field} TYPE numeric(6,2)")


class Lower(Life):
    """A bound is lower in one region for a while, which applies what the others take."""

    def change(self, fields, books):
        yield Step(self.changed(fields, max=4), regions=1)
        yield Step(fields)


class Refuse(Life):
    """A constraint of one region refuses for a while what the others take."""

    def guard(self):
        """Two actions of ALTER TABLE: one that refuses what is above 4, and one that ends it. Not for records that all
        regions write at once: a client of this region would be told of what another one has written."""
        others = ", ".join(map(str, self.play.books.contended))
        return f"ADD CONSTRAINT {self.field}_guard CHECK ({self.field} <= 4 OR id IN ({others})) NOT VALID", f"DROP CONSTRAINT {self.field}_guard"

    def change(self, fields, books):
        region, low = self.chance.choice(self.play.stack.regions), self.changed(fields, max=4)
        refuse, take = self.guard()
        yield Step(low)
        books.write_all(lambda _: {self.field: Decimal(self.chance.randint(0, 4))})
        yield Step(low, after=refuse, where=region)
        yield Step(fields, regions=[r for r in self.play.stack.regions if r != region], where=region, refusing=True)
        yield Step(fields, regions=[], before=take, where=region)
        yield Step(fields)


class Swallow(Refuse):
    """A trigger of one region skips for a while what the others take."""

    def guard(self):
        for region in self.play.stack.regions:
            self.play.stack.database(region).execute(
                "CREATE OR REPLACE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
        others = ", ".join(map(str, self.play.books.contended))
        return (f"CREATE TRIGGER {self.field}_guard BEFORE INSERT OR UPDATE ON properties FOR EACH ROW WHEN (NEW.{self.field} > 4 AND "
                f"NEW.id NOT IN ({others})) EXECUTE FUNCTION swallow()", f"DROP TRIGGER {self.field}_guard ON properties")


class NotNull(Life):
    """A field is required, its column NOT NULL; then one region lags behind with this while the others write null."""

    def change(self, fields, books):
        region = self.chance.choice(self.play.stack.regions)
        required, null, not_null = self.changed(fields, required=True), *(f"ALTER COLUMN {self.field} {do} NOT NULL" for do in ("DROP", "SET"))
        books.change(required={self.field})
        self.play.fill(self.field)
        yield Step(required)
        yield Step(required, before=not_null)
        for daemon in books.daemons:
            daemon.required = {self.field} if daemon.region == region else set()
        for other in self.play.stack.regions:
            if other != region:
                self.play.alter(null, other)
        yield Step(fields, regions=[r for r in self.play.stack.regions if r != region], where=region)
        books.change(required=set())
        yield Step(fields, regions=[], where=region, refusing=True)
        yield Step(fields, regions=[], before=null, where=region)
        yield Step(fields)
        for daemon in books.daemons:
            daemon.required = set()


class Rename(Life):
    """A second field takes the values over, and the first one goes."""

    def change(self, fields, books):
        new = f"{self.field}_new"
        yield Step(fields | {new: dict(self.first)}, before=f"ADD COLUMN {new} integer")
        books.write_all(lambda has: {new: has.get(self.field)})

    def end(self, fields, field=None):
        yield from super().end(fields)
        rest = {name: spec for name, spec in fields.items() if name != self.field}
        yield from super().end(rest, f"{self.field}_new")


LIVES = {life.__name__.lower(): life for life in (
    Retire, Default, Require, Widen, Lengthen, Shorten, Narrow, Lower, Rename, Refuse, Swallow, NotNull)}


# ---- the play

class Play:
    """Lives, one after the other, in a stack that runs."""

    def __init__(self, stack, seed, records=12, pace=10):
        self.stack, self.chance, self.pace = stack, random.Random(seed), pace
        self.rolling = Rolling(stack)
        self.fields = dict(stack.dictionary()["resources"]["properties"]["fields"])
        self.daemons = {region: Daemon(region, stack.client(region), self.fields) for region in stack.regions}
        own, contended = ([stack.new_record() for _ in range(n)] for n in (records, 3))
        self.books = Books(list(self.daemons.values()), own, contended, seed=seed)
        self.books.change(required={"price"})
        for expected in self.books.expected.values():
            expected["price"] = Decimal("100.00")
        self.numbers = itertools.count(1)
        self.columns = set()
        self.tolerated = []
        self.running = {}  # region -> the fields that its daemon was restarted with

    def run(self, lives, say=print):
        """Lives by name, each with a field of its own. The stack is as it was afterwards."""
        try:
            with self.books:
                for name in lives:
                    self.live(LIVES[name](f"f{next(self.numbers)}_{name}", self), say)
        finally:
            for database in self.stack.databases.values():
                database.execute("DROP FUNCTION IF EXISTS swallow CASCADE")
            for column in self.columns:
                self.alter(f"DROP COLUMN IF EXISTS {column}, DROP COLUMN IF EXISTS {column}_new")
            self.rolling.end()

    def live(self, life, say):
        say(f"{life.field}: {life.__doc__}", flush=True)
        before = self.fields
        self.columns.add(life.field)
        self.tolerated = [f"{life.field}_guard"]
        for stage in (life.begin, lambda fields: life.change(fields, self.books), life.end):
            for step in stage(self.fields):
                self.step(step)
        assert self.fields == before
        self.columns.discard(life.field)

    def step(self, step):
        if step.before:
            self.alter(step.before, step.where)
        for region in step.regions if isinstance(step.regions, list) else self.shuffled()[:step.regions]:
            self.restart(region, step.fields)
        gone = self.fields.keys() - step.fields.keys()
        self.fields = step.fields
        if step.refusing:
            self.wait_refused(step.where)
        else:
            self.books.wait_written(self.pace)
            self.check(gone)
        if step.after:
            self.alter(step.after, step.where)
        for expected in self.books.expected.values():
            for name in gone:
                expected.pop(name, None)

    def shuffled(self):
        return self.chance.sample(self.stack.regions, len(self.stack.regions))

    def alter(self, action, where=None):
        for region in [where] if where else self.shuffled():
            self.stack.database(region).execute(action if " TRIGGER " in action else f"ALTER TABLE properties {action}")

    def fill(self, field):
        """Clients write a value into each row that has none."""
        def filled():
            self.books.check_clients()
            empty = {(region, row) for region, database in self.stack.databases.items()
                     for row, in database.rows(f"SELECT id FROM properties WHERE {field} IS NULL")}
            for region, record in empty:
                if record in self.books.expected:
                    self.books.orders[record] = lambda _: {field: Decimal(self.chance.randint(0, 9))}
                else:
                    client = self.daemons[region].client
                    client.put(record, version=client.read(record).json["version"], **{field: Decimal(0)})
            return not empty
        wait_until(f"every row has a value of {field}", filled, 60, pause=0.5)

    def wait_refused(self, region):
        """Clients write what the region refuses, and go on writing everywhere else."""
        database = self.stack.database(region)
        wait_until(f"something is parked in {region}", lambda: database.value("SELECT count(*) FROM parked_events") > 0, 60)
        others = [daemon for daemon in self.books.daemons if daemon.region != region]
        goals = [self.books.written[daemon.region] + self.pace for daemon in others]

        def done():
            self.books.check_clients()
            return all(self.books.written[daemon.region] >= goal for daemon, goal in zip(others, goals))
        wait_until("the others take more writes", done, 60)

    def restart(self, region, fields):
        """The region's daemon with these fields, while clients write what both it and the next one take."""
        if self.running.get(region) == fields:
            return
        self.running[region] = fields
        daemon, after = self.daemons[region], domains(fields)
        self.books.change(daemon, both(daemon.allowed, after))
        self.books.wait_written(2)
        changed = {"fields": fields, "tolerate": self.tolerated}
        self.rolling.restart(region, lambda config: config["resources"]["properties"].update(changed), eager_housekeeping)
        self.books.change(daemon, after)

    def check(self, gone=()):
        """Nothing is parked, every region has what the books say, and the rows are equal in all columns."""
        with self.books.pause():
            for region, database in self.stack.databases.items():
                wait_until(f"nothing is parked in {region}", lambda d=database: d.value("SELECT count(*) FROM parked_events") == 0, 60)
            self.stack.check_consistent(60)
            names = sorted(self.fields.keys() | gone)
            rows = wait_until(f"{', '.join(names)} are equal everywhere and in their columns", lambda: self.equal_rows(names, gone), 60)
            for record, expected in self.books.expected.items():
                said = (self.books.versions[record], *(expected.get(name) for name in names))
                assert rows[record] == said, f"{record}: the regions have {rows[record]}, the books say {said} ({names})"

    def equal_rows(self, names, gone):
        """{id: (version, value of each field)}, which is the same in all regions."""
        query = f"SELECT id, version, {', '.join(names)}, unknown_fields FROM properties ORDER BY id"
        regions = [{row[0]: self.shown(row, names, gone) for row in database.rows(query)} for database in self.stack.databases.values()]
        for rows in regions[1:]:
            told = [(record, rows.get(record), row) for record, row in regions[0].items() if rows.get(record) != row]
            assert not told and rows.keys() == regions[0].keys(), f"{len(told)} rows differ: {told[:2]}"
        return regions[0]

    def shown(self, row, names, gone):
        """A row's version and values. What no daemon knows any more may be in unknown_fields until its column is dropped,
        and goes with the row's next write after that; anything else has to be in its column."""
        unknown = row[-1] or {}
        wrong = unknown.keys() & self.fields.keys()
        assert not wrong, f"{row[0]}: {unknown}"
        return (row[1], *(comparable(unknown[name]) if name in gone and name in unknown else v for name, v in zip(names, row[2:-1])))
