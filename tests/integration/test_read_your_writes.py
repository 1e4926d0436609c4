"""Plist-Session: a client that carries its token never reads older than what it wrote or read, in whatever region."""

import contextlib
import itertools
import random
import threading
import time
from decimal import Decimal

import pytest

from support.client import new_id
from support.process import wait_until

TOKEN = "Plist-Session"


class Session:
    """A client that carries its token from answer to request. Each step may go to another client."""

    def __init__(self, token=None):
        self.token = token

    def request(self, client, method, path, body=None, request_id=None):
        headers = {TOKEN: self.token} if self.token else {}
        answer = client.request(method, path, body, request_id, headers)
        if answer.status < 500:
            assert len(answer.headers.get(TOKEN.lower(), "")) <= 400
            self.token = answer.headers.get(TOKEN.lower(), self.token)
        return answer

    def read(self, client, record):
        return self.request(client, "GET", client.path(record))

    def list(self, client, after):
        return self.request(client, "GET", f"{client.path()}?after={after}&limit=100")

    def put(self, client, record, **fields):
        return self.request(client, "PUT", client.path(record), fields, new_id())

    def post(self, client, **fields):
        return self.request(client, "POST", client.path(), fields, new_id())

    def delete(self, client, record):
        version = self.read(client, record).json["version"]
        return self.request(client, "DELETE", f"{client.path(record)}?version={version}", None, new_id())


@contextlib.contextmanager
def not_applying(stack, region):
    """The region serves requests, and applies no event of the others."""
    connection = stack.database(region).connect()
    try:
        cursor = connection.cursor()
        cursor.execute("BEGIN; LOCK TABLE plist.applied_positions IN EXCLUSIVE MODE")
        yield
    finally:
        connection.close()


def is_behind(answer):
    assert answer.status == 503, answer
    assert answer.headers["x-plist-executed"] == "no" and "retry-after" in answer.headers
    assert "Plist-Session" in answer.json["detail"]
    return True


def test_a_write_answers_with_a_token_and_a_read_without_one_does_not(stack, us):
    record = stack.new_record()
    answer = us.put(record, price=Decimal("2.00"), version=1)
    assert 8 < len(answer.headers["plist-session"]) <= 400
    assert "plist-session" not in us.read(record).headers
    assert us.delete(record, version=2).headers["plist-session"]
    assert us.post(price=Decimal("1.00")).headers["plist-session"]


def test_a_named_record_is_waited_for_in_another_region(stack, us, eu):
    record = stack.new_record()
    session = Session()
    with not_applying(stack, "eu"):
        assert session.put(us, record, price=Decimal("2.00"), version=1).status == 200
        assert us.read(record).json["version"] == 2
        assert session.read(us, record).json["version"] == 2
        assert eu.read(record).json["version"] == 1
        assert is_behind(session.read(eu, record))
    answer = wait_until("eu has it", lambda: (a := session.read(eu, record)).status == 200 and a)
    assert answer.json["version"] == 2


def test_a_record_that_the_token_does_not_name_and_a_list_wait_for_positions(stack, us, eu):
    record, other = stack.new_record(), stack.new_record()
    session = Session()
    wait_until("eu has reached all", lambda: session.list(eu, other - 1).status == 200)
    with not_applying(stack, "eu"):
        assert session.put(us, record, price=Decimal("2.00"), version=1).status == 200
        for answer in (session.read(eu, other), session.list(eu, record - 1), session.put(eu, other, price=Decimal("3.00"), version=1)):
            assert is_behind(answer)
            assert "region us" in answer.json["detail"]
        assert session.read(us, other).status == session.list(us, record - 1).status == 200
        assert session.post(eu, price=Decimal("1.00")).status == 201  # depends on nothing that was seen
    answer = wait_until("eu has reached it", lambda: (a := session.list(eu, record - 1)).status == 200 and a)
    assert answer.json[0]["version"] == 2


def test_a_wait_ends_as_soon_as_the_region_has_what_was_seen(stack, us, eu):
    """Without a partition no request fails, and few wait for long."""
    stack.reload(lambda config: config.setdefault("http", {}).update(session_wait="10s"))
    record = stack.new_record()
    slowest = 0
    for round_ in range(1, 11):
        session = Session()
        assert session.put(us, record, price=Decimal(round_), version=round_).status == 200
        began = time.monotonic()
        answer = session.list(eu, record - 1)
        slowest = max(slowest, time.monotonic() - began)
        assert answer.status == 200
        assert answer.json[0]["version"] == round_ + 1
    assert slowest < 5, slowest

    def counted():  # by the workers, whose numbers are told a few times in a second
        metrics = stack.plistd["eu"].metrics()
        return metrics["plist_session_waits_total"] >= 1 and metrics["plist_session_wait_seconds_total"] > 0 and metrics["plist_session_waiting"] == 0
    wait_until("eu has counted them", counted)


def test_nginx_takes_a_request_to_the_region_that_has_what_was_seen(stack, us):
    record = stack.new_record()
    session = Session()
    with not_applying(stack, "eu"):
        assert session.put(us, record, price=Decimal("2.00"), version=1).status == 200
        for answer in (session.read(stack.front("eu"), record), session.list(stack.front("eu"), record - 1),
                       session.put(stack.front("eu"), record, price=Decimal("3.00"), version=2)):
            assert (answer.status, answer.region) == (200, "us"), answer
    wait_until("eu has counted them", lambda: stack.plistd["eu"].metrics()["plist_session_timeouts_total"] >= 3)


def test_a_token_covers_what_was_read(stack, us, eu):
    """What one client wrote in us, another one read there: it does not read older in eu, neither the record nor lists."""
    record, other = stack.new_record(), stack.new_record()
    session, lister = Session("new"), Session("new")
    with not_applying(stack, "eu"):
        assert us.put(record, price=Decimal("2.00"), version=1).status == 200
        assert session.read(us, record).json["version"] == 2
        assert lister.list(us, record - 1).status == 200
        assert is_behind(session.read(eu, record))
        assert is_behind(session.read(eu, other))
        assert is_behind(lister.read(eu, record))
    wait_until("eu has it", lambda: lister.read(eu, record).status == 200)
    assert lister.read(eu, record).json["version"] == 2


def listed(session, us, record):
    return session.list(us, record - 1).json[0]["version"] == 2


def refused(session, us, record):
    return session.put(us, record, price=Decimal("9.00"), version=1).json["current_version"] == 2


def found_deleted(session, us, record):
    assert us.delete(record, version=2).status == 204
    return session.read(us, record).status == 404


def refused_since_it_is_deleted(session, us, record):
    assert us.delete(record, version=2).status == 204
    return session.put(us, record, price=Decimal("9.00"), version=1).status == 404


@pytest.mark.parametrize("shows", [listed, refused, found_deleted, refused_since_it_is_deleted])
def test_a_record_that_was_seen_before_is_not_read_older_than_another_answer_has_shown_it(stack, us, eu, shows):
    """The token names the record as it was read first."""
    record = stack.new_record()
    session = Session("new")
    assert session.read(us, record).json["version"] == 1
    with not_applying(stack, "eu"):
        assert us.put(record, price=Decimal("2.00"), version=1).status == 200
        assert shows(session, us, record)
        assert is_behind(session.read(eu, record))
    last = wait_until("eu has it", lambda: (a := session.read(eu, record)).status != 503 and a)
    assert last.status == 404 or last.json["version"] == 2


def test_a_record_that_was_seen_before_is_not_read_older_than_a_stored_answer_has_shown_it(stack, us, eu):
    stack.reload(lambda config: [r["idempotency"].update(on_duplicate="replay") for r in config["routes"] if "idempotency" in r])
    record, request_id, change = stack.new_record(), new_id(), {"price": Decimal("2.00"), "version": 1}
    session = Session("new")
    assert session.read(us, record).json["version"] == 1
    with not_applying(stack, "eu"):
        assert us.request("PUT", us.path(record), change, request_id).status == 200
        again = session.request(us, "PUT", us.path(record), change, request_id)
        assert (again.headers["idempotent-replayed"], again.json["version"]) == ("true", 2)
        assert is_behind(session.read(eu, record))


def test_what_was_read_of_a_third_region_is_covered(stack3):
    """eu has applied a write of us, ap has not: a client that has read it in eu does not read older in ap."""
    us, eu, ap = (stack3.client(r) for r in stack3.regions)
    record, other = stack3.new_record(), stack3.new_record()
    session = Session("new")
    with not_applying(stack3, "ap"):
        assert us.put(record, price=Decimal("2.00"), version=1).status == 200
        stack3.wait_version("eu", record, 2)
        assert session.read(eu, record).json["version"] == 2
        assert is_behind(session.read(ap, record))
        assert is_behind(session.read(ap, other))
    wait_until("ap has it", lambda: session.read(ap, other).status == 200)
    assert session.read(ap, record).json["version"] == 2


def test_a_deleted_record_does_not_come_back(stack, us, eu):
    record = stack.new_record()
    session = Session()
    with not_applying(stack, "eu"):
        assert session.delete(us, record).status == 204
        assert eu.read(record).status == 200
        assert is_behind(session.read(eu, record))
    wait_until("eu has it", lambda: session.read(eu, record).status == 404)
    for region in stack.regions:
        stack.database(region).execute("DELETE FROM properties WHERE id = %s", record)  # as housekeeping does, after weeks
    assert session.read(eu, record).status == 404
    stack.spoil()


def test_a_retry_gets_a_token_too(stack, us, eu):
    stack.reload(lambda config: [r["idempotency"].update(on_duplicate="replay") for r in config["routes"] if "idempotency" in r])
    record, request_id = stack.new_record(), new_id()
    session = Session()
    assert us.put(record, price=Decimal("2.00"), version=1, request_id=request_id).headers["plist-session"]
    stack.wait_version("eu", record, 2)
    for client in (us, eu):
        again = client.put(record, price=Decimal("2.00"), version=1, request_id=request_id)
        assert (again.status, again.headers["idempotent-replayed"]) == (200, "true")
        session.token = again.headers["plist-session"]
        assert wait_until("eu has reached it", lambda: (a := session.list(eu, record - 1)).status == 200 and a).json[0]["version"] == 2


def test_tokens_combine(stack, us, eu):
    one, two = stack.new_record(), stack.new_record()
    a, b = Session(), Session()
    assert a.put(us, one, price=Decimal("2.00"), version=1).status == 200
    assert b.put(eu, two, price=Decimal("2.00"), version=1).status == 200
    both = Session(f"{a.token}, {b.token}")
    with not_applying(stack, "eu"):
        c = Session()
        assert c.put(us, one, price=Decimal("3.00"), version=2).status == 200
        assert is_behind(Session(f"{c.token}, {b.token}").read(eu, one))
    wait_until("eu has both", lambda: both.list(eu, one - 1).status == 200)
    assert len(both.token) <= 400


def test_old_records_of_a_session_are_covered_by_its_positions(stack, us, eu):
    records = [stack.new_record(everywhere=False) for _ in range(30)]
    session = Session()
    for record in records:
        stack.wait_version("eu", record, 1)
    with not_applying(stack, "eu"):
        for record in records:
            assert session.put(us, record, price=Decimal("2.00"), version=1).status == 200
        assert len(session.token) <= 400
        assert is_behind(session.read(eu, records[0]))
    wait_until("eu has reached it", lambda: session.read(eu, records[0]).status == 200)
    assert session.read(eu, records[0]).json["version"] == 2


@pytest.mark.parametrize("token", ["x", "AQAAAAAA", "new,", "ä", "A" * 401, ",".join(["new"] * 9)])
def test_a_malformed_token_is_refused(stack, us, token):
    answer = us.request("GET", us.path(1), headers={TOKEN: token.encode("latin-1").decode("latin-1")})
    assert answer.status == 400
    assert answer.json["title"] == "Plist-Session malformed"


def test_waiting_requests_do_not_keep_others_from_being_answered(stack, us, eu):
    record = stack.new_record()
    session = Session()
    with not_applying(stack, "eu"):
        assert session.put(us, record, price=Decimal("2.00"), version=1).status == 200
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(Session(session.token).list(eu, record - 1))) for _ in range(40)]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        for _ in range(20):
            assert eu.read(record).status == 200
        assert time.monotonic() - began < 5
        for thread in threads:
            thread.join()
        assert len(answers) == 40 and all(is_behind(answer) for answer in answers)


def test_session_wait_0_does_not_wait(stack, us, eu):
    stack.reload(lambda config: config.setdefault("http", {}).update(session_wait="0s"))
    record = stack.new_record()
    session = Session()
    with not_applying(stack, "eu"):
        assert session.put(us, record, price=Decimal("2.00"), version=1).status == 200
        began = time.monotonic()
        assert is_behind(session.read(eu, record))
        assert time.monotonic() - began < 0.5


REGIONS = ("us", "eu", "ap")


class Wanderer(threading.Thread):
    """A client behind NGINX that goes to another region at each step, writes and reads a few shared records, and remembers
    the vector that it has last seen of each."""

    def __init__(self, stack, records, seed, stop):
        super().__init__()
        self.fronts = [stack.front(region) for region in REGIONS]
        self.records = records
        self.random = random.Random(seed)
        self.stop = stop
        self.session = Session("new")
        self.seen = {}
        self.steps = self.moved = self.refused = 0
        self.wrong = []

    def run(self):
        try:
            at = 0
            while not self.stop.is_set():
                at = (at + 1 + self.random.randrange(len(self.fronts) - 1)) % len(self.fronts)
                self.step(self.fronts[at])
        except Exception as error:  # noqa: BLE001 - told by the test
            self.wrong.append(repr(error))

    def step(self, front):
        record = self.random.choice(self.records)
        way = self.random.random()
        if way < 0.4:
            answer = self.session.put(front, record, price=Decimal(self.random.randrange(1, 1000)))
        elif way < 0.8:
            answer = self.session.read(front, record)
        else:
            answer = self.session.list(front, self.records[0] - 1)
        self.steps += 1
        self.moved += answer.region not in (front.region, "nginx")
        self.refused += answer.status != 200
        if answer.status != 200:
            assert answer.status in (503, 504), answer  # 504: the outcome of a write is unknown
            return
        if isinstance(answer.json, list):
            for row in answer.json:
                known = sum(self.seen.get(row["id"], {}).values())
                self.check(row["version"] >= known, answer, row["id"], f"version {row['version']}")
        else:
            vector = vector_of(answer.etag)
            was = self.seen.get(record, {})
            self.check(all(vector.get(region, 0) >= n for region, n in was.items()), answer, record, vector)
            self.seen[record] = vector

    def check(self, good, answer, record, shown):
        if not good:
            self.wrong.append(f"step {self.steps}: {answer.region} showed {record} as {shown} after {self.seen[record]}")


def vector_of(etag):
    return {name: int(n) for name, n in (part.split(":") for part in etag.strip('"').split("+"))}


def test_no_client_reads_older_than_it_wrote_or_read_in_whatever_region_under_partitions(stack3):
    """Regions stop applying in turn, and the broker is cut off, while clients go from region to region."""
    stack3.reload(lambda config: [route.update(lock="optional") for route in config["routes"] if "lock" in route])
    records = [stack3.new_record() for _ in range(4)]
    stop = threading.Event()
    clients = [Wanderer(stack3, records, seed, stop) for seed in range(5)]

    def total(name):
        return sum(getattr(client, name) for client in clients)

    def go_on(steps):
        least = total("steps") + steps
        wait_until("the clients have gone on", lambda: total("steps") >= least)

    for client in clients:
        client.start()
    try:
        end = time.monotonic() + 20
        for turn in itertools.count():
            go_on(10)
            with not_applying(stack3, REGIONS[turn % 3]):
                go_on(25)
                if turn % 3 == 1:
                    stack3.broker.pause()
                    go_on(15)
                    stack3.broker.resume()
            if turn >= 2 and time.monotonic() > end:
                break
    finally:
        stop.set()
        stack3.broker.resume()
        for client in clients:
            client.join(60)
    wrong = [text for client in clients for text in client.wrong]
    assert not wrong, wrong[:5]
    print(f"{total('steps')} steps, {total('moved')} answered by another region, {total('refused')} refused")
    assert total("moved") > 0 and total("refused") < total("steps") / 2
    stack3.check_consistent()
