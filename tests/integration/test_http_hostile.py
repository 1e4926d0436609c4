"""Clients that mean no good, or do not know better: raw bytes against a daemon of its own with small limits.

What each test ends with is the same: an ordinary client is answered, at once, by the same process.
"""

import json
import re
import select
import socket
import threading
import time

import pytest
import yaml

from support import places
from support.client import Client, new_id
from support.plistd import Plistd
from support.process import free_port, wait_until

CONNECTIONS = 200
RECEIVE_S = 2
IDLE_S = 3
BODY = 65536


@pytest.fixture(scope="module")
def daemon(_two_regions):
    """One more daemon of us: one worker, few connections, little patience."""
    stack = _two_regions
    stack.restore()
    config = stack.dictionary()
    folder = stack.folder / "plistd-hostile"
    folder.mkdir(exist_ok=True)
    port = free_port()
    config["regions"]["us"] |= {"listen": f"127.0.0.1:{port}", "control": str(folder / "us.sock")}
    config["http"] = (config.get("http") or {}) | {
        "workers": 1, "max_connections": CONNECTIONS, "receive_timeout": f"{RECEIVE_S}s", "idle_timeout": f"{IDLE_S}s",
        "max_body": f"{BODY}B"}
    path = folder / "plist.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    daemon = Plistd(folder, "us", port, path, name="plistd-hostile")
    daemon.first_line = daemon.log_mark()
    try:
        yield daemon.start().wait_ready()
    finally:
        daemon.stop()


@pytest.fixture
def record(stack):
    return stack.new_record("us", everywhere=False)


@pytest.fixture(autouse=True)
def unharmed(daemon):
    """The same process, answering at once, with nothing of the test left in flight."""
    pid = daemon.pid
    yield
    assert daemon.pid == pid, daemon.log_tail()
    began = time.monotonic()
    assert daemon.client.get("/health").status == 200
    assert time.monotonic() - began < 1
    wait_until("nothing is in flight", lambda: daemon.metrics()["plist_http_requests_in_flight"] <= 1, 5)


class Wire:
    """A connection of raw bytes."""

    def __init__(self, daemon, timeout=10.0):
        self.socket = socket.create_connection(("127.0.0.1", daemon.port), timeout=timeout)
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)
        return self

    def answer(self, head=False):
        """The next answer: status, headers, body. None when the connection has ended."""
        while b"\r\n\r\n" not in self.received:
            if not self._more():
                return None
        top, _, rest = self.received.partition(b"\r\n\r\n")
        lines = top.decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
        length = 0 if head else int(headers.get("content-length", 0))
        while len(rest) < length:
            if not self._more():
                return None
            rest = self.received.partition(b"\r\n\r\n")[2]
        self.received = rest[length:]
        return int(lines[0].split(" ")[1]), headers, rest[:length]

    def status(self):
        answer = self.answer()
        return answer and answer[0]

    def _more(self):
        try:
            chunk = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self.received += chunk
        return bool(chunk)

    def closed(self, within=5.0):
        """Whether the other side has closed it, after whatever else it had to say."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            readable, _, _ = select.select([self.socket], [], [], max(0.0, end - time.monotonic()))
            if readable and not self._more():
                return True
        return False


def put(path, body, request_id=None, more=b""):
    return (b"PUT %s HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nContent-Length: %d\r\n%s\r\n%s"
            % (path.encode(), (request_id or new_id()).encode(), len(body), more, body))


def get(path="/health"):
    return b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode()


# Slow, and many.


def test_1100_half_sent_requests_keep_nobody_out(daemon):
    half = []
    try:
        for _ in range(1100):
            s = socket.create_connection(("127.0.0.1", daemon.port), timeout=5)
            s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: ")
            half.append(s)
            if len(half) % 100 == 0:
                began = time.monotonic()
                assert daemon.client.get("/health").status == 200
                assert time.monotonic() - began < 1, len(half)
        assert daemon.metrics()["plist_http_connections"] <= CONNECTIONS + 1
        assert daemon.metrics()["plist_http_connections_evicted_total"] >= 1100 - CONNECTIONS - 64
    finally:
        for s in half:
            s.close()


def test_a_head_that_comes_byte_by_byte_is_ended_by_the_clock(daemon):
    with Wire(daemon) as wire:
        began = time.monotonic()
        wire.socket.settimeout(0.1)
        for byte in b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"a" * 1000:
            try:
                wire.send(bytes([byte]))
                if select.select([wire.socket], [], [], 0.05)[0]:
                    break
            except OSError:
                break
        took = time.monotonic() - began
        assert RECEIVE_S - 0.5 < took < RECEIVE_S + 2
        wire.socket.settimeout(5)
        assert wire.closed()


def test_a_body_that_does_not_come_is_answered_408_and_closed(daemon, record):
    with Wire(daemon) as wire:
        began = time.monotonic()
        wire.send(b"PUT /us/properties/%d HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nContent-Length: 100\r\n\r\n{"
                  % (record, new_id().encode()))
        status, headers, body = wire.answer()
        assert (status, headers["connection"], headers["x-plist-region"]) == (408, "close", "us")
        assert json.loads(body)["status"] == 408
        assert RECEIVE_S - 0.5 < time.monotonic() - began < RECEIVE_S + 2
        assert wire.closed()


def test_a_connection_that_says_nothing_is_closed(daemon):
    with Wire(daemon) as wire:
        assert wire.closed(RECEIVE_S + 2)


def test_a_connection_may_idle_between_requests_for_a_while(daemon):
    with Wire(daemon) as wire:
        assert wire.send(get()).status() == 200
        began = time.monotonic()
        assert wire.closed(IDLE_S + 2)
        assert time.monotonic() - began > IDLE_S - 0.5


def test_a_second_request_that_comes_slowly_is_ended_too(daemon):
    with Wire(daemon) as wire:
        assert wire.send(get()).status() == 200
        wire.send(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        answer = wire.answer()
        assert answer is None or answer[0] == 408
        assert wire.closed(IDLE_S + RECEIVE_S)


def test_a_client_that_does_not_read_its_answers_is_let_go(daemon):
    before = daemon.metrics()["plist_http_connections_timed_out_total"]
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", daemon.port))
        s.settimeout(1)
        try:
            for _ in range(2000):
                s.sendall(get("/metrics") * 20)
        except OSError:
            pass
        wait_until("it was let go", lambda: daemon.metrics()["plist_http_connections_timed_out_total"] > before, IDLE_S + 5)


# What could be read in two ways.


def smuggled(record):
    """A write that hides behind another request."""
    return put(f"/us/properties/{record}", b'{"price":666,"version":1}')


AMBIGUOUS = {
    "length-and-chunked": b"POST /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nContent-Length: 6\r\n"
                          b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked-and-length": b"POST /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nTransfer-Encoding: chunked\r\n"
                          b"Content-Length: 6\r\n\r\n0\r\n\r\n",
    "two-lengths": b"POST /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "length-list": b"POST /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nContent-Length: 0, 44\r\n\r\n",
    "signed-length": b"POST /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nContent-Length: +0\r\n\r\n",
    "chunked-twice": b"POST /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nTransfer-Encoding: chunked\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown-coding": b"POST /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "blank-before-colon": b"POST /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nContent-Length : 0\r\n\r\n",
    "folded-line": b"POST /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nX-A: b\r\n Content-Length: 44\r\n\r\n",
    "bare-line-feed": b"GET /health HTTP/1.1\nHost: x\n\n",
    "bare-carriage-return": b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: b\rContent-Length: 44\r\n\r\n",
    "nul-in-value": b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: b\0c\r\n\r\n",
    "nul-last": b"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-ID: b\0\r\n\r\n",
    "nul-in-target": b"GET /health\0x HTTP/1.1\r\nHost: x\r\n\r\n",
    "encoded-nul": b"GET /health%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "encoded-line-end": b"GET /health%0d%0aX-A:b HTTP/1.1\r\nHost: x\r\n\r\n",
    "two-hosts": b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no-host": b"GET /health HTTP/1.1\r\n\r\n",
    "host-with-path": b"GET /health HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "version-1.2": b"GET /health HTTP/1.2\r\nHost: x\r\n\r\n",
    "small-letters": b"get /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "two-blanks": b"GET  /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "blank-in-target": b"GET /hea lth HTTP/1.1\r\nHost: x\r\n\r\n",
    "chunked-in-1.0": b"POST /us/properties HTTP/1.0\r\nHost: x\r\nX-Request-ID: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("shape", AMBIGUOUS)
def test_what_could_be_read_in_two_ways_is_400_and_nothing_behind_it_is_done(daemon, us, record, shape):
    with Wire(daemon) as wire:
        wire.send(AMBIGUOUS[shape] + smuggled(record))
        status, headers, _ = wire.answer()
        assert status == 400
        assert headers["connection"].lower() == "close"
        assert wire.closed()
        assert b"HTTP/1.1" not in wire.received
    assert us.read(record).json["version"] == 1


@pytest.mark.parametrize("shape", ["nul-in-value", "two-hosts", "encoded-nul", "small-letters"])
def test_a_refusal_of_ours_is_a_problem_that_names_the_region(daemon, shape):
    with Wire(daemon) as wire:
        _, headers, body = wire.send(AMBIGUOUS[shape]).answer()
        assert headers["x-plist-region"] == "us" and headers["x-request-id"]
        assert headers["content-type"] == "application/problem+json"
        assert json.loads(body)["status"] == 400


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100, b"\0" * 1000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                                     b"GET\r\n\r\n", b"\r\n" * 500 + b"X", b"HTTP/1.1 200 OK\r\n\r\n", b"\xff\xfe" * 200 + b"\r\n\r\n"],
                         ids=["tls", "nuls", "http2", "no-target", "empty-lines", "an-answer", "binary"])
def test_garbage_is_not_answered_as_if_it_were_a_request(daemon, garbage):
    with Wire(daemon) as wire:
        wire.send(garbage)
        wire.socket.settimeout(RECEIVE_S + 3)
        answer = wire.answer()
        assert answer is None or answer[0] in (400, 505)
        assert wire.closed(RECEIVE_S + 2)


# Too much.


def test_a_head_that_is_too_large_is_431(daemon):
    for size, statuses in ((8000, [200]), (20000, [431]), (40000, [431, None])):
        with Wire(daemon) as wire:
            try:
                wire.send(b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * size + b"\r\n\r\n")
            except ConnectionError:
                pass
            assert wire.status() in statuses, size


def test_many_headers_are_431(daemon):
    with Wire(daemon) as wire:
        wire.send(b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(150)) + b"\r\n")
        assert wire.status() == 431


def test_a_target_that_is_too_long_is_414(daemon):
    with Wire(daemon) as wire:
        wire.send(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.status() == 414


def test_the_largest_body_is_taken_and_one_byte_more_is_413(daemon, record):
    body = b'{"price":5,"version":1' + b" " * (BODY - 23) + b"}"
    assert len(body) == BODY
    path = f"/us/properties/{record}"
    with Wire(daemon) as wire:
        assert wire.send(put(path, body + b" ")).status() == 413
        assert wire.send(put(path, body)).status() == 200
        assert wire.send(get()).status() == 200


def test_a_chunked_body_that_is_too_large_is_413_and_the_connection_goes_on(daemon, record):
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    with Wire(daemon) as wire:
        wire.send(b"PUT /us/properties/%d HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nTransfer-Encoding: chunked\r\n\r\n"
                  % (record, new_id().encode()) + chunk * 20 + b"0\r\n\r\n")
        assert wire.status() == 413
        assert wire.send(get()).status() == 200


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_huge_body_is_413_and_closed_before_it_has_all_come(daemon, record, framing):
    head = b"PUT /us/properties/%d HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\n" % (record, new_id().encode())
    with Wire(daemon) as wire:
        try:
            if framing == "length":
                wire.send(head + b"Content-Length: 1000000000\r\n\r\n")
                wire.send(b" " * 100000)
            else:
                wire.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + b"100000\r\n" + b" " * 0x100000 + b"\r\n")
                wire.send(b"100000\r\n" + b" " * 0x100000)
        except ConnectionError:
            pass
        assert wire.status() == 413
        assert wire.closed()


def test_who_expects_100_continue_is_told_413_instead(daemon, record):
    with Wire(daemon) as wire:
        wire.send(b"PUT /us/properties/%d HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nContent-Length: 100000\r\n"
                  b"Expect: 100-continue\r\n\r\n" % (record, new_id().encode()))
        assert wire.status() == 413
        assert wire.closed()


def test_who_expects_100_continue_gets_it(daemon, record):
    body = b'{"price":5,"version":1}'
    with Wire(daemon) as wire:
        wire.send(b"PUT /us/properties/%d HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nContent-Length: %d\r\n"
                  b"Expect: 100-continue\r\n\r\n" % (record, new_id().encode(), len(body)))
        assert wire.status() == 100
        assert wire.send(body).status() == 200


@pytest.mark.parametrize("chunks", [b"x\r\n", b"-1\r\n{}\r\n0\r\n\r\n", b"2\r\n{}0\r\n\r\n", b"2;" + b"a" * 10 + b"\r\n{}xx\r\n0\r\n\r\n",
                                    b"\r\n{}\r\n0\r\n\r\n", b"fffffffffffffffffff\r\n{}", b"0x2\r\n{}\r\n0\r\n\r\n"],
                         ids=["letters", "negative", "no-line-end", "extension", "empty-size", "overflow", "0x"])
def test_broken_chunks_are_refused(daemon, us, record, chunks):
    with Wire(daemon) as wire:
        wire.send(b"PUT /us/properties/%d HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nTransfer-Encoding: chunked\r\n\r\n"
                  % (record, new_id().encode()) + chunks)
        answer = wire.answer()
        assert answer is None or answer[0] in (400, 413), answer
        assert wire.closed(RECEIVE_S + 2)
    assert us.read(record).json["version"] == 1


def test_a_body_in_many_small_chunks_is_taken(daemon, record):
    body = b'{"price":5,"version":1}'
    chunks = b"".join(b"1;name=value\r\n%c\r\n" % c for c in body)
    with Wire(daemon) as wire:
        wire.send(b"PUT /us/properties/%d HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nTransfer-Encoding: chunked\r\n\r\n"
                  % (record, new_id().encode()) + chunks + b"0\r\nX-Trailer: a\r\n\r\n")
        assert wire.status() == 200


# Keeping a connection.


def test_requests_sent_together_are_answered_in_order(daemon, stack, record):
    other = stack.new_record("us", price="7.00", everywhere=False)
    with Wire(daemon) as wire:
        wire.send(b"".join(get(f"/us/properties/{n}") for n in [record, other] * 15) + get("/nowhere") + get("/health"))
        ids = [json.loads(wire.answer()[2])["id"] for _ in range(30)]
        assert ids == [record, other] * 15
        assert [wire.status(), wire.status()] == [404, 200]


def test_writes_sent_together_are_done_one_after_the_other(daemon, us, record):
    path = f"/us/properties/{record}"
    with Wire(daemon) as wire:
        wire.send(b"".join(put(path, b'{"price":%d,"version":%d}' % (n, n)) for n in range(1, 11)))
        assert [wire.status() for _ in range(10)] == [200] * 10
    assert us.read(record).json["version"] == 11


def test_a_connection_is_used_again_after_every_refusal(daemon, record):
    path = f"/us/properties/{record}"
    refused = [
        (get("/nowhere"), 404), (get("/asia/properties/1"), 404), (b"PATCH %s HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" % path.encode(), 405),
        (b"PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" % path.encode(), 400), (put(path, b"no json"), 400),
        (put(path, b'{"price":"x","version":1}'), 400), (put(path, b'{"price":1,"version":9}'), 409), (put(path, b'{"price":1}'), 428),
        (put(path, b"{}", more=b"Content-Encoding: gzip\r\n"), 415), (put(path, b" " * 70000), 413),
        (put("/us/properties/999999998", b'{"price":1,"version":1}'), 404),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 204),
    ]
    with Wire(daemon) as wire:
        for request, status in refused:
            assert wire.send(request).status() == status, request[:80]
            assert wire.send(get(path)).status() == 200, request[:80]


def test_a_body_that_comes_with_a_get_is_not_the_next_request(daemon, us, record):
    hidden = smuggled(record)
    with Wire(daemon) as wire:
        wire.send(b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(hidden) + hidden + get("/ready"))
        assert [wire.status(), wire.status()] == [200, 200]
    assert us.read(record).json["version"] == 1


def test_http_1_0_is_answered_and_closed(daemon):
    with Wire(daemon) as wire:
        assert wire.send(b"GET /health HTTP/1.0\r\n\r\n").status() == 200
        assert wire.closed()


def test_head_has_no_body_and_the_next_answer_is_not_lost(daemon, record):
    with Wire(daemon) as wire:
        wire.send(b"HEAD /us/properties/%d HTTP/1.1\r\nHost: x\r\n\r\n" % record + get())
        status, headers, _ = wire.answer(head=True)
        assert status == 200 and int(headers["content-length"]) > 0 and headers["etag"] == '"us:1"'
        assert wire.answer()[2] == b'{"status":"ok","region":"us"}'


# Hanging up.


def waiting(stack, n):
    """Until n statements wait for a lock in the database of us."""
    wait_until(f"{n} wait for the row", lambda: stack.database("us").value(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'plist'") >= n, 5)


def test_a_write_whose_client_hangs_up_is_done_and_remembered(daemon, stack, us, record):
    request_id = new_id()
    body = b'{"price":5,"version":1}'
    holder = stack.database("us").connect()
    try:
        holder.cursor().execute("SELECT 1 FROM properties WHERE id = %s FOR UPDATE", (record,))
        wire = Wire(daemon)
        wire.send(put(f"/us/properties/{record}", body, request_id))
        waiting(stack, 1)
        wire.socket.close()
    finally:
        holder.rollback()
        holder.close()
    wait_until("the write is done", lambda: us.read(record).json["version"] == 2, 5)

    def remembered():  # others see a commit a moment before the daemon hears of it
        again = Client(daemon.url, "us").put(record, request_id=request_id, price=5, version=1)
        return again if again.status != 409 else None
    assert wait_until("it is no longer in progress", remembered, 5).status == 422


def test_clients_that_hang_up_by_the_hundred_do_no_harm(daemon, stack, us):
    records = [stack.new_record("us", everywhere=False) for _ in range(10)]
    stop = threading.Event()

    def hang_up():
        n = 0
        while not stop.is_set():
            n += 1
            with Wire(daemon) as wire:
                request = put(f"/us/properties/{records[n % 10]}", b'{"price":5,"version":1}')
                wire.send(request[:len(request) - n % 60])
                if n % 3 == 0:
                    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
    threads = [threading.Thread(target=hang_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        assert daemon.client.get("/health").status == 200
        assert us.read(records[0]).status == 200
    stop.set()
    for thread in threads:
        thread.join()
    assert all(us.read(r).json["version"] <= 2 for r in records)


def test_a_client_that_hangs_up_in_the_middle_of_its_body_changes_nothing(daemon, us, record):
    for cut in (0, 1, 10):
        with Wire(daemon) as wire:
            request = put(f"/us/properties/{record}", b'{"price":5,"version":1}')
            wire.send(request[:len(request) - 1 - cut])
            wire.socket.shutdown(socket.SHUT_WR)
            answer = wire.answer()
            assert answer is None or answer[0] >= 400
    assert us.read(record).json["version"] == 1


# Its size.


def test_a_daemon_that_serves_64_connections_stays_under_64_mib(daemon, stack):
    with open(places.program("plistd"), "rb") as program:
        if b"__asan_init" in (text := program.read()) or b"__tsan_init" in text:
            pytest.skip("built with a sanitizer, which has memory of its own")
    records = [stack.new_record("us", everywhere=False) for _ in range(64)]
    wires = [Wire(daemon) for _ in records]
    try:
        for turn in range(1, 30):
            for wire, record in zip(wires, records):
                wire.send(put(f"/us/properties/{record}", b'{"price":%d,"version":%d}' % (turn, turn)) + get(f"/us/properties/{record}"))
            for wire in wires:
                assert [wire.status(), wire.status()] == [200, 200]
        assert daemon.metrics()["plist_http_connections"] >= 64
        assert daemon.resident_bytes() < 64 << 20
    finally:
        for wire in wires:
            wire.socket.close()


def test_the_log_of_all_this_has_no_line_that_a_client_has_made(daemon):
    for line in daemon.log_text(daemon.first_line).splitlines():
        assert re.match(r"^\d{4}-\d\d-\d\dT", line), line
