"""Failed regions behind NGINX: another region executes a request that was certainly not executed, once; others stay."""

import contextlib
import shutil
import threading
import time
from decimal import Decimal

import pytest

from support import places
from support.client import new_id
from support.process import wait_until


def executions(stack, request_id):
    """The number of regions that executed the request, once all events have been applied."""
    dots = {}
    for region in stack.regions:
        known = stack.database(region).remembered(request_id)
        dots |= known["dots"] if known else {}
    return len(dots)


def write(front, method, record, request_id, version=1):
    if method == "PUT":
        return front.put(record, price=Decimal("2.00"), version=version, request_id=request_id)
    if method == "POST":
        return front.post(price=Decimal("2.00"), request_id=request_id)
    return front.delete(record, version=version, request_id=request_id)


def moved(answer):
    return (answer.status // 100, answer.region) == (2, "eu") and not {"x-plist-executed", "x-accel-redirect"} & set(answer.headers)


@contextlib.contextmanager
def failing(stack, sqlstate):
    """Every write of us fails with this SQLSTATE, as on a standby or a full disk; events of eu are applied."""
    database = stack.database("us")
    database.execute("CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
                     f"$$BEGIN RAISE EXCEPTION 'made to fail' USING ERRCODE = '{sqlstate}'; END$$")
    database.execute("CREATE TRIGGER fail BEFORE INSERT ON outbox EXECUTE FUNCTION fail()")
    try:
        yield
    finally:
        database.execute("DROP FUNCTION fail CASCADE")


def test_a_database_that_refuses_connections_moves_writes_and_reads_within_the_connect_timeout(stack):
    records = [stack.new_record() for _ in range(3)]
    front, ids = stack.front("us"), [new_id() for _ in range(4)]
    stack.postgres["us"].kill()
    took = []
    for method, record, request_id in zip(("PUT", "POST", "DELETE", "POST"), (*records[:2], records[1], None), ids):
        began = time.monotonic()
        answer = write(front, method, record, request_id)
        took.append(time.monotonic() - began)
        assert moved(answer), answer
    assert max(took) < 0.5 + 0.3, f"the connect timeout is 500 ms: {took}"
    assert min(took) < 0.25, f"once the database is known to be down, no request waits: {took}"
    for _ in range(5):
        assert (front.read(records[2]).status, front.read(records[2]).region) == (200, "eu")
    wait_until("us has counted them", lambda: stack.plistd["us"].metrics()["plist_http_requests_not_executed_total"] >= 4)
    stack.postgres["us"].start()
    stack.wait_ready()
    stack.settle()
    assert [executions(stack, request_id) for request_id in ids] == [1] * 4
    wait_until("us answers again", lambda: front.read(records[2]).region == "us")


def test_with_every_database_down_the_client_hears_that_nothing_was_executed(stack):
    record = stack.new_record()
    for postgres in stack.postgres.values():
        postgres.kill()
    answer = stack.front("us").put(record, price=2, version=1)
    assert (answer.status, answer.headers["x-plist-executed"]) == (503, "no")
    assert answer.json["retryable"] is True and answer.headers["retry-after"] == "1"
    for postgres in stack.postgres.values():
        postgres.start()
    stack.wait_ready()


def test_a_daemon_redirects_only_to_a_location_that_its_proxy_has_named(stack, us):
    record = stack.new_record()
    stack.postgres["us"].kill()

    def ask(**headers):
        answer = us.request("PUT", f"/us/properties/{record}", body={"price": 2, "version": 1}, request_id=new_id(), headers=headers)
        assert (answer.status, answer.headers["x-plist-executed"]) == (503, "no"), answer
        return answer.headers.get("x-accel-redirect")
    assert ask() is None
    assert ask(**{"X-Plist-Next": "@us.write.2"}) == "@us.write.2"
    for place in ("", "@", "/metrics", "us.write.2", "@a b", "@a;b", "@" + "x" * 64, "@a\tb", "@ä"):
        assert ask(**{"X-Plist-Next": place}) is None, place
    raw = us.raw(b"PUT /us/properties/7 HTTP/1.1\r\nHost: x\r\nX-Request-ID: i\r\nX-Plist-Next: @a\r\nX-Plist-Next: @b\r\nConnection: close\r\n"
                 b"Content-Length: 23\r\n\r\n{\"price\":2,\"version\":1}")
    assert b"X-Plist-Executed: no" in raw and b"X-Accel-Redirect" not in raw
    stack.postgres["us"].start()
    stack.wait_ready()


@pytest.mark.parametrize("sqlstate", ["25006", "53100", "53300", "57014", "55P03"],
                         ids=["read_only", "disk_full", "too_many_connections", "too_slow", "locked"])
def test_a_write_that_the_database_has_undone_is_executed_by_the_next_region(stack, sqlstate):
    record, front = stack.new_record(), stack.front("us")
    ids = [new_id() for _ in range(3)]
    with failing(stack, sqlstate):
        for method, request_id in zip(("PUT", "POST", "DELETE"), ids):
            answer = write(front, method, record, request_id, 2 if method == "DELETE" else 1)
            assert moved(answer), answer
    stack.settle()
    assert [executions(stack, request_id) for request_id in ids] == [1] * 3


@pytest.mark.parametrize("sqlstate, status", [("23514", 400), ("P0001", 400), ("XX000", 500)])
def test_a_failure_that_the_write_itself_caused_is_not_tried_elsewhere(stack, sqlstate, status):
    record = stack.new_record()
    with failing(stack, sqlstate):
        answer = write(stack.front("us"), "PUT", record, new_id())
        assert answer.region == "us" and answer.status in (status, 400, 500), answer
        assert "x-plist-executed" not in answer.headers
    assert stack.database("eu").property(record)["version"] == 1


def test_a_frozen_database_keeps_what_it_was_sent_and_gives_up_the_rest(stack):
    records, front = [stack.new_record() for _ in range(6)], stack.front("us")
    sent, ids, answers = new_id(), [], []
    stack.postgres["us"].pause()
    try:
        first = threading.Thread(target=lambda: answers.append(write(front, "PUT", records[0], sent)))
        first.start()

        def noticed():
            ids.append(new_id())
            answer = write(front, "POST", None, ids[-1])
            assert answer.status in (201, 504), answer
            return moved(answer)
        wait_until("another region answers", noticed)
        first.join()
        assert answers[0].status == 504 or moved(answers[0]), answers
        assert front.read(records[5]).region == "eu"
        ids.append(new_id())
        assert moved(write(front, "PUT", records[1], ids[-1]))
    finally:
        stack.postgres["us"].resume()
    stack.wait_ready()
    stack.settle()
    assert all(executions(stack, request_id) <= 1 for request_id in (sent, *ids))
    assert executions(stack, ids[-1]) == executions(stack, ids[-2]) == 1


def test_a_full_queue_and_held_locks_move_writes(stack):
    def change(config):
        config.setdefault("http", {}).update(max_queued=1)
        # Writes wait for locks one after the other, each for less than its deadline.
        config.setdefault("database", {}).update(lock_timeout="300ms")
    stack.write_config(change)
    stack.plistd["us"].restart()
    stack.wait_ready()
    records = [stack.new_record() for _ in range(8)]
    ids, answers = [new_id() for _ in records], []
    front = stack.front("us")
    connection = stack.database("us").connect()
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM properties WHERE id = ANY(%s) FOR UPDATE", (records,))
        threads = [threading.Thread(target=lambda r=r, i=i: answers.append(write(front, "PUT", r, i))) for r, i in zip(records, ids)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    connection.close()
    assert len(answers) == 8
    assert [answer for answer in answers if not moved(answer)] == []
    wait_until("us has counted it", lambda: stack.plistd["us"].metrics()["plist_http_requests_overloaded_total"] >= 1)
    stack.settle()
    assert [executions(stack, request_id) for request_id in ids] == [1] * 8
    stack.write_config()
    stack.plistd["us"].restart()
    stack.wait_ready()


def test_a_daemon_that_drains_and_comes_back_costs_no_write(stack):
    front, ids, wrong, done = stack.front("us"), [], [], threading.Event()

    def post():
        while not done.is_set():
            request_id = new_id()
            answer = write(front, "POST", None, request_id)
            ids.append(request_id)
            if answer.status != 201:
                wrong.append(answer)
    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        stack.plistd["us"].stop()
        stack.plistd["us"].start()
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong and len(ids) > 20, wrong
    stack.wait_ready()
    stack.settle()
    assert {executions(stack, request_id) for request_id in ids} == {1}


def test_a_daemon_whose_database_lacks_tables_is_not_ready_and_moves_writes(stack):
    """Like a daemon that was started before `plist-admin migrate`."""
    record, front, database = stack.new_record(), stack.front("us"), stack.database("us")
    stack.plistd["us"].stop()
    database.execute("ALTER TABLE outbox RENAME TO outbox_elsewhere")
    try:
        stack.plistd["us"].start()
        ready = stack.client("us").get("/ready")
        assert (ready.status, ready.headers["x-plist-executed"]) == (503, "no")
        ids = [new_id(), new_id()]
        for method, request_id in zip(("PUT", "POST"), ids):
            answer = write(front, method, record, request_id)
            assert moved(answer), answer
    finally:
        database.execute("ALTER TABLE outbox_elsewhere RENAME TO outbox")
        stack.plistd["us"].restart()
    stack.wait_ready()
    stack.settle()
    assert [executions(stack, request_id) for request_id in ids] == [1, 1]


OWN = """local http = require 'plist.http'
local records = require 'plist.records'
local db = require 'plist.db'
return { name = 'own', doc = 'a test', handle = function(req)
    %s
end }
"""
PUT = "local record, err = records.update('properties', req.params.id, req.body, req.lock) if not record then return http.problem(err) end "
HANDLERS = {
    "says_503": PUT + "return http.problem(503, 'Own', 'after the write')",
    "says_504": PUT + "return http.problem(504, 'Own', 'after the write')",
    "reads_and_says_503": "return http.problem(503, 'Own', 'a read')",
    "sleeps": "local rows, err = db.query('SELECT pg_sleep(60)') return http.problem(err)",
    "large_headers": "local headers = {} for i = 1, 6 do headers['X-Filler-' .. i] = ('x'):rep(1000) end "
                     "return http.ok({}, headers)",
}


@pytest.fixture
def own(stack, tmp_path):
    """The stack with a route /:region/own/NAME/:id for each of HANDLERS: PUT if it writes, otherwise GET."""
    root = tmp_path / "lua"
    shutil.copytree(places.TOP / "lua", root)
    tmp_path.chmod(0o755)
    for name, text in HANDLERS.items():
        (root / "handlers" / f"own_{name}.lua").write_text(OWN % text)

    def change(config):
        config["lua"]["path"] = str(root)
        for name, text in HANDLERS.items():
            route = {"method": "GET", "path": f"/:region/own/{name}/:id", "handler": f"handlers/own_{name}.lua", "timeout": "300ms",
                     "resource": "properties"}
            if "records.update" in text:
                route |= {"method": "PUT", "lock": "required", "idempotency": {"header": "X-Request-ID", "required": True}}
            config["routes"].append(route)
    stack.reload(change)
    stack.nginx.reload()
    yield stack
    stack.write_config()
    stack.nginx.reload()


@pytest.mark.parametrize("status", [503, 504])
def test_a_handler_that_writes_and_then_answers_an_error_moves_nothing(own, status):
    record, request_id = own.new_record(), new_id()
    answer = own.front("us").request("PUT", f"/us/own/says_{status}/{record}", body={"price": 2, "version": 1}, request_id=request_id)
    assert (answer.status, answer.region, answer.json["version"]) == (200, "us", 2)  # committed, so the default answer is given
    assert "x-plist-executed" not in answer.headers
    own.settle()
    assert executions(own, request_id) == 1


@pytest.mark.parametrize("name", ["reads_and_says_503", "sleeps", "large_headers"])
def test_errors_of_a_handler_count_against_no_region(own, name):
    record, front = own.new_record(), own.front("us")
    for _ in range(5):
        answer = front.get(f"/us/own/{name}/{record}")
        assert answer.status == (200 if name == "large_headers" else 503), answer
    for _ in range(3):
        assert (front.read(record).status, front.read(record).region) == (200, "us")
