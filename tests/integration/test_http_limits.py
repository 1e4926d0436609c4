"""Requests that just fill the connection's buffer: chunks, queries, cookies, lengths, heads of any size; and odd targets.

libmicrohttpd reads requests into a buffer of fixed size, and some of its parsers do not handle a full buffer. Each request
here gets one response at once and leaves the daemon's workers idle and its descriptors closed.
"""

import http.client
import json
import socket
import time

import pytest

from support.client import new_id
from support.hostile import Wire, at_once, daemon, get, record, smuggled, unharmed, wait_until_quiet


# Chunks, which are never read.


CHUNKS = {
    "whole": b"17\r\n" + b'{"price":5,"version":1}' + b"\r\n0\r\n\r\n",
    "none-yet": b"",
    "letters": b"x\r\n",
    "bare-line-feeds": b'17\n{"price":5,"version":1}\n0\n\n',
    "overflow": b"fffffffffffffffffff\r\n{}",
    "size-without-end": b"0" * 20000,
    "long-extension": b"17;" + b"a" * 20000,
    "long-extension-that-ends": b"17;" + b"a" * 40000 + b"\r\n" + b'{"price":5,"version":1}' + b"\r\n0\r\n\r\n",
    "long-trailer": b"0\r\nX-A: " + b"a" * 20000,
    "many-trailers": b"0\r\n" + b"X-A: a\r\n" * 5000,
    "bare-trailer": b"0\r\nX-A: a\n\n",
}


@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.parametrize("shape", CHUNKS)
def test_a_chunked_request_is_411_at_once_and_closed(daemon, us, record, shape, method):
    with at_once(daemon), Wire(daemon) as wire:
        try:
            wire.send(b"%s %s HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nTransfer-Encoding: Chunked\r\n\r\n"
                      % (method.encode(), b"/us/properties/%d" % record, new_id().encode()) + CHUNKS[shape] + smuggled(record))
        except ConnectionError:
            pass
        status, headers, body = wire.answer()
        assert (status, headers["connection"], headers["x-plist-region"]) == (411, "close", "us")
        assert json.loads(body)["status"] == 411
        assert wire.closed()
        assert wire.received == b""
    assert us.read(record).json["version"] == 1


def test_a_chunked_request_behind_others_is_411_and_those_before_it_are_answered(daemon, us, record):
    with Wire(daemon) as wire:
        wire.send(get() * 3 + b"POST /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                  + b"1;" + b"a" * 20000 + smuggled(record))
        assert [wire.status() for _ in range(4)] == [200, 200, 200, 411]
        assert wire.closed(1) and wire.received == b""
    assert us.read(record).json["version"] == 1


def test_a_client_that_expects_100_continue_for_chunks_gets_411_instead(daemon, record):
    with Wire(daemon) as wire:
        wire.send(b"PUT /us/properties/%d HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nTransfer-Encoding: chunked\r\n"
                  b"Expect: 100-continue\r\n\r\n" % (record, new_id().encode()))
        assert wire.status() == 411
        assert wire.closed(1)


@pytest.mark.parametrize("framing, status", [("chunks", 411), ("length", 413)])
def test_a_client_that_is_still_sending_can_read_what_it_was_answered(daemon, record, framing, status):
    """Sends the request in pieces, as HTTP libraries do, and reads the response only at the end."""
    def pieces():
        for _ in range(20):
            time.sleep(0.001)  # each in a separate segment, and all of them long before the daemon gives up
            yield b" " * 100000
    headers = {"X-Request-ID": new_id()} | ({"Content-Length": "2000000"} if framing == "length" else {"Transfer-Encoding": "chunked"})
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=5)
    connection.request("PUT", f"/us/properties/{record}", body=pieces(), headers=headers, encode_chunked=framing == "chunks")
    assert connection.getresponse().status == status
    connection.close()


@pytest.mark.parametrize("line", ["OPTIONS /us/properties/1", "OPTIONS *", "GET /health", "GET /metrics", "PATCH /us/properties/1", "GET /nowhere", "HEAD /health"])
def test_a_body_that_is_too_large_is_kept_for_no_request(daemon, line):
    before = daemon.resident_bytes()
    with Wire(daemon) as wire:
        try:
            wire.send(line.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + b" " * 900000 + get())
        except ConnectionError:
            pass
        answer = wire.answer(head=line.startswith("HEAD"))
        assert answer[0] >= 400
        assert wire.status() in (200, None)
    with Wire(daemon) as wire:
        wire.send(line.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n" + b" " * 65536)
        assert wire.answer(head=line.startswith("HEAD"))[0] >= 400
        assert wire.closed(1)
    assert daemon.resident_bytes() - before < 4 << 20


CODINGS = {
    "capitals": (b"TRANSFER-ENCODING: CHUNKED", 411),
    "no-blank": (b"Transfer-Encoding:chunked", 411),
    "tab": (b"Transfer-Encoding:\tchunked", 411),
    "list": (b"Transfer-Encoding: gzip, chunked", 400),
    "list-of-itself": (b"Transfer-Encoding: chunked, chunked", 400),
    "comma": (b"Transfer-Encoding: chunked,", 400),
    "parameter": (b"Transfer-Encoding: chunked;a=b", 400),
    "quoted": (b'Transfer-Encoding: "chunked"', 400),
    "identity": (b"Transfer-Encoding: identity", 400),
    "empty": (b"Transfer-Encoding:", 400),
    "twice": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
    "and-identity": (b"Transfer-Encoding: identity\r\ntransfer-encoding: chunked", 400),
    "trailing-blank": (b"Transfer-Encoding: chunked ", 400),
    "vertical-tab": (b"Transfer-Encoding: \x0bchunked", 400),
    "blank-before-colon": (b"Transfer-Encoding : chunked", 400),
    "folded": (b"Transfer-Encoding:\r\n chunked", 400),
    "and-length": (b"Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
    "and-length-first": (b"Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
}


@pytest.mark.parametrize("shape", CODINGS)
def test_however_a_transfer_encoding_is_written_no_chunk_is_read(daemon, us, record, shape):
    header, expected = CODINGS[shape]
    with at_once(daemon), Wire(daemon) as wire:
        try:
            wire.send(b"POST /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\n" + header + b"\r\n\r\n"
                      + b"1;" + b"a" * 20000 + smuggled(record))
        except ConnectionError:
            pass
        assert wire.status() == expected
        assert wire.closed() and wire.received == b""
    assert us.read(record).json["version"] == 1


def test_1150_chunk_extensions_take_no_worker_away(daemon):
    """Requests that once blocked a worker permanently: an endless chunk line fills the connection's buffer."""
    wires = []
    try:
        for n in range(1150):
            s = socket.create_connection(("127.0.0.1", daemon.port), timeout=5)
            s.sendall(b"POST /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 20000)
            wires.append(s)
            if n % 100 == 0:
                with at_once(daemon):
                    assert daemon.client.get("/health").status == 200
        wait_until_quiet(daemon)  # although no client closed its connection
    finally:
        for s in wires:
            s.close()


# Where the connection's buffer ends.


def assert_refused_at_once(daemon, request, statuses, send_whole=True):
    """One response with one of these statuses, and the end of the connection, within a second."""
    with at_once(daemon), Wire(daemon) as wire:
        try:
            wire.send(request)
        except ConnectionError:
            assert not send_whole
        status, headers, body = wire.answer()
        assert status in statuses, status
        assert headers["connection"].lower() == "close"
        assert b"HTTP/1." not in body
        assert wire.closed()
        assert wire.received == b""


QUERIES = {
    "250-parameters": b"&".join(b"a%d=b" % n for n in range(250)),
    "600-ampersands": b"&" * 600,
    "65-parameters": b"&".join([b"a=b"] * 65),
    "4000-parameters": b"&".join([b"a"] * 4000),
    "ampersands-and-one": b"&" * 100 + b"a=b",
}


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("more", [b"", b"Content-Length: 5\r\n", b"".join(b"X-%d: a\r\n" % n for n in range(90))], ids=["plain", "body", "headers"])
def test_too_many_query_parameters_are_400_at_once(daemon, query, more):
    request = b"GET /us/properties?" + QUERIES[query] + b" HTTP/1.1\r\nHost: x\r\n" + more + b"\r\n"
    assert_refused_at_once(daemon, request, [400, 431] if len(request) > 8192 else [400])


def test_64_query_parameters_are_accepted_with_many_headers_and_a_second_request(daemon):
    query = b"&".join([b"a=b"] * 64)
    with Wire(daemon) as wire:
        wire.send((b"GET /health?" + query + b" HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(90)) + b"\r\n") * 2)
        assert [wire.status(), wire.status()] == [200, 200]


COOKIES = {"pairs": b"a=b; " * 1500, "names": b"a;" * 3900, "commas": b"," * 7900, "quoted": b'a="' + b"b" * 7000, "long": b"a=" + b"b" * 7900}


@pytest.mark.parametrize("shape", COOKIES)
def test_cookies_that_do_not_fit_the_buffer_are_431_and_others_mean_nothing(daemon, shape):
    request = b"GET /health HTTP/1.1\r\nHost: x\r\nCookie: " + COOKIES[shape] + b"\r\n\r\n"
    with Wire(daemon) as wire:
        with at_once(daemon):
            status, _, body = wire.send(request).answer()
        assert b"HTTP/1." not in body
        assert status in (200, 431)
        if shape in ("names", "commas"):
            assert status == 431
        if status == 200:
            assert wire.send(get()).status() == 200
        else:
            assert wire.closed(1) and wire.received == b""


def test_cookies_with_a_bad_length_have_one_answer(daemon):
    assert_refused_at_once(daemon, b"POST /us/properties HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\nCookie: " + b"a;" * 3900 + b"\r\n\r\n", [400, 431])


LENGTHS = {"letters": (b"x", 400), "empty": (b"", 400), "signed": (b"+5", 400), "negative": (b"-5", 400), "hexadecimal": (b"0x5", 400), "list": (b"5, 5", 400),
           "fraction": (b"5.0", 400), "blank-inside": (b"5 5", 400), "20-digits": (b"9" * 20, 413), "300-digits": (b"9" * 300, 413),
           "19-digits": (b"9" * 19, 413), "zeros": (b"0" * 30, 413), "trailing-letter": (b"5a", 400),
           "trailing-blank": (b"5 ", 400), "trailing-tab": (b"5\t", 400)}


@pytest.mark.parametrize("shape", LENGTHS)
@pytest.mark.parametrize("method", [b"POST", b"GET"])
def test_a_bad_length_has_one_answer(daemon, us, record, shape, method):
    value, status = LENGTHS[shape]
    assert_refused_at_once(daemon, b"%s /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nContent-Length: %s\r\n\r\n" % (method, value)
                           + smuggled(record), [status])
    assert us.read(record).json["version"] == 1


HEADS = {
    "target": (b"GET /" + b"a" * 100000, [414]),
    "target-with-end": (b"GET /" + b"a" * 15000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", [414]),
    "target-8200": (b"GET /" + b"a" * 8200 + b" HTTP/1.1\r\nHost: x\r\n\r\n", [414]),
    "query": (b"GET /health?" + b"a" * 100000, [414]),
    "query-with-end": (b"GET /health?" + b"a&" * 7000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", [414]),
    "method": (b"A" * 100000, [414]),
    "header-value": (b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 100000, [431]),
    "header-name": (b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"a" * 100000, [431]),
    "many-headers": (b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X-A: a\r\n" * 10000, [431]),
    "many-short-headers": (b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * 10000, [431]),
    "folded": (b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: a\r\n" + b" a\r\n" * 20000, [431]),
    "folded-with-end": (b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: a\r\n" + b" a\r\n" * 1000 + b"\r\n", [400]),
    "empty-lines": (b"\r\n" * 50000, [400, 414]),
}


@pytest.mark.parametrize("shape", HEADS)
def test_a_head_that_fills_the_buffer_is_refused_at_once(daemon, shape):
    request, statuses = HEADS[shape]
    assert_refused_at_once(daemon, request, statuses, send_whole=False)


@pytest.mark.parametrize("size", [*range(7800, 8400, 100), *range(11000, 25200, 700), *range(23800, 24700, 97)])
def test_a_head_of_any_size_has_one_answer(daemon, size):
    """The library cannot build a response if little of the buffer is left; the client must still get one."""
    for count in (1, 99):
        lines = b"".join(b"X-%d: %s\r\n" % (n, b"a" * (size // count - 9)) for n in range(count))
        with Wire(daemon) as wire:
            try:
                wire.send(b"GET /health HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")
            except ConnectionError:
                pass
            assert wire.status() in ([200, 431] if size < 8400 else [431]), (size, count)
            if size >= 8400:
                assert wire.closed(1) and wire.received == b"", (size, count)


def test_requests_sent_together_that_fill_the_buffer_are_all_answered(daemon):
    """Pipelined data in the buffer must leave room for the response to the first request."""
    for padding in (10, 500, 3000, 7000):
        request = b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * padding + b"\r\n\r\n"
        n = 60000 // len(request)
        with Wire(daemon) as wire:
            wire.send(request * n)
            assert [wire.status() for _ in range(n)] == [200] * n, padding


# Targets.


TARGETS = [
    ("http://evil?x=/us/properties/{id}", 404),
    ("http://evil", 404),
    ("HTTP://x/us/properties/{id}", 200),
    ("https://x:80/us/properties/{id}?a=b", 200),
    ("http://[::1]:80/us/properties/{id}", 200),
    ("http://?x=/us/properties/{id}", 400),
    ("http:///us/properties/{id}", 400),
    ("http://user@evil/us/properties/{id}", 400),
    ("http://user:secret@evil/us/properties/{id}", 400),
    ("http:/us/properties/{id}", 400),
    ("http:us/properties/{id}", 400),
    ("ftp://evil/us/properties/{id}", 400),
    ("us/properties/{id}", 400),
    ("evil:443", 400),
    ("?x=/us/properties/{id}", 400),
    ("*/us/properties/{id}", 400),
    ("//evil/us/properties/{id}", 404),
    ("http://evil#/us/properties/{id}", 400),
    ("http://evil\\/us/properties/{id}", 400),
    ("http://:80/us/properties/{id}", 400),
    ("/us/properties/{id}", 200),
    ("*", 405),
]


@pytest.mark.parametrize("target, status", TARGETS)
def test_only_the_path_of_a_target_is_routed(daemon, record, target, status):
    with Wire(daemon) as wire:
        assert wire.send(get(target.format(id=record))).status() == status
        if status == 400:
            assert wire.closed(1)


def test_connect_is_refused(daemon):
    with Wire(daemon) as wire:
        assert wire.send(b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n").status() == 400
        assert wire.closed(1)
