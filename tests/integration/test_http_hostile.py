"""Hostile and broken clients: raw bytes sent to a separate daemon with small limits.

Every test ends with the same checks: the same process answers an ordinary client at once, its worker threads are idle,
and the descriptors of the test's connections are closed. Chunks, targets and full buffers are in test_http_limits.
"""

import json
import re
import select
import socket
import threading
import time

import pytest

from support import places
from support.client import Client, new_id
from support.hostile import BODY, CONNECTIONS, IDLE_S, RECEIVE_S, Wire, at_once, daemon, get, put, record, smuggled, unharmed
from support.process import wait_until


# Slow clients, and many of them.


def test_1100_half_sent_requests_keep_nobody_out(daemon):
    half = []
    try:
        for _ in range(1100):
            s = socket.create_connection(("127.0.0.1", daemon.port), timeout=5)
            s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: ")
            half.append(s)
            if len(half) % 100 == 0:
                with at_once(daemon):
                    assert daemon.client.get("/health").status == 200
        assert daemon.metrics()["plist_http_connections"] <= CONNECTIONS + 1
        wait_until("they are counted", lambda: daemon.metrics()["plist_http_connections_evicted_total"] >= 1100 - CONNECTIONS - 64)
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


def test_a_client_that_does_not_read_its_answers_is_disconnected(daemon):
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
        wait_until("it was disconnected", lambda: daemon.metrics()["plist_http_connections_timed_out_total"] > before, IDLE_S + 5)


# Ambiguous requests.


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
def test_what_could_be_read_in_two_ways_is_400_and_nothing_after_it_is_executed(daemon, us, record, shape):
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


GARBAGE = {
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
    "nuls": b"\0" * 1000,
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no-target": b"GET\r\n\r\n",
    "empty-lines": b"\r\n" * 500 + b"X",
    "an-answer": b"HTTP/1.1 200 OK\r\n\r\n",
    "binary": b"\xff\xfe" * 200 + b"\r\n\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=list(GARBAGE))
def test_garbage_is_not_answered_as_if_it_were_a_request(daemon, garbage):
    with Wire(daemon) as wire:
        wire.send(garbage)
        wire.socket.settimeout(RECEIVE_S + 3)
        answer = wire.answer()
        assert answer is None or answer[0] in (400, 505)
        assert wire.closed(RECEIVE_S + 2)


# Requests that are too large.


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


def test_the_largest_body_is_accepted_and_one_byte_more_is_413(daemon, record):
    body = b'{"price":5,"version":1' + b" " * (BODY - 23) + b"}"
    assert len(body) == BODY
    path = f"/us/properties/{record}"
    with Wire(daemon) as wire:
        assert wire.send(put(path, body + b" ")).status() == 413
        assert wire.send(put(path, body)).status() == 200
        assert wire.send(get()).status() == 200


def test_a_huge_body_is_413_and_closed_before_it_has_all_come(daemon, record):
    with Wire(daemon) as wire:
        try:
            wire.send(b"PUT /us/properties/%d HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nContent-Length: 1000000000\r\n\r\n"
                      % (record, new_id().encode()) + b" " * 100000)
        except ConnectionError:
            pass
        assert wire.status() == 413
        assert wire.closed()


def test_a_client_that_expects_100_continue_gets_413_instead(daemon, record):
    with Wire(daemon) as wire:
        wire.send(b"PUT /us/properties/%d HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nContent-Length: 100000\r\n"
                  b"Expect: 100-continue\r\n\r\n" % (record, new_id().encode()))
        assert wire.status() == 413
        assert wire.closed()


def test_a_client_that_expects_100_continue_gets_it(daemon, record):
    body = b'{"price":5,"version":1}'
    with Wire(daemon) as wire:
        wire.send(b"PUT /us/properties/%d HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nContent-Length: %d\r\n"
                  b"Expect: 100-continue\r\n\r\n" % (record, new_id().encode(), len(body)))
        assert wire.status() == 100
        assert wire.send(body).status() == 200


# Making room.


def test_honest_connections_are_kept_while_slow_and_half_open_ones_come_and_go(daemon):
    """Seven connections in occasional use, among three times as many incomplete requests as fit, and clients that do not read."""
    honest = [Wire(daemon) for _ in range(7)]
    others = []
    try:
        for wire in honest:
            assert wire.send(get()).status() == 200
        before = daemon.metrics()["plist_http_connections_evicted_total"]
        for n in range(3 * CONNECTIONS):
            s = socket.create_connection(("127.0.0.1", daemon.port), timeout=5)
            s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: "[:1 + n % 30])
            others.append(s)
        wait_until("room was made", lambda: daemon.metrics()["plist_http_connections_evicted_total"] > before + CONNECTIONS)
        for wire in honest:
            assert wire.send(get()).status() == 200
    finally:
        for s in others:
            s.close()
        for wire in honest:
            wire.socket.close()


# Connections that are kept.


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


# Clients that hang up.


def waiting(stack, n):
    """Waits until n statements wait for a lock in the database of us."""
    wait_until(f"{n} wait for the row", lambda: stack.database("us").value(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'plist'") >= n)


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
    wait_until("the write is done", lambda: us.read(record).json["version"] == 2)

    def remembered():  # other sessions see a commit a moment before the daemon does
        again = Client(daemon.url, "us").put(record, request_id=request_id, price=5, version=1)
        return again if again.status != 409 else None
    assert wait_until("it is no longer in progress", remembered).status == 422


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


# Memory.


def test_a_daemon_that_serves_64_connections_stays_under_64_mib(daemon, stack):
    with open(places.program("plistd"), "rb") as program:
        if b"__asan_init" in (text := program.read()) or b"__tsan_init" in text:
            pytest.skip("a daemon with a sanitizer uses more memory")
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
