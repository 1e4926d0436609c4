"""Clients cannot make NGINX skip a region: only failures of the region itself count.

Uses the fake daemons of support/front.py. Each test causes a failure more often than max_fails allows, in both regions.
Then a read must still be answered by the region that it names.
"""

import json
import socket
import struct

import pytest

from support.client import new_id
from support.front import Front, is_problem
from support.process import wait_until

TIMES = 5  # max_fails is 3


@pytest.fixture(scope="module")
def front():
    front = Front()
    try:
        yield front.start()
    finally:
        front.stop()


@pytest.fixture(autouse=True)
def every_region_answers(front):
    front.behave()


def ask(front, way, region="us"):
    return front.client.get(f"/{region}/properties/7?as={way}")


def send(front, data, then=None):
    """Sends bytes on a new connection, which `then` reads and closes."""
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as connection:
        connection.sendall(data)
        if then:
            return then(connection)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def head(line="GET /us/properties/7 HTTP/1.1", *headers):
    return "\r\n".join([line, "Host: x", "Connection: close", *headers, "", ""]).encode()


def close_at_once(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def read_a_little(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    assert connection.recv(100)


def nobody_was_blamed(front):
    for _ in range(3):
        for region in front.names:
            answer = front.send("GET", region=region)
            assert (answer.status, answer.region) == (200, region)


@pytest.mark.parametrize("status", [400, 404, 408, 413, 418, 429, 500, 502, 503, 504])
def test_the_status_of_an_answer_counts_against_no_server(front, status):
    for _ in range(TIMES):
        for region in front.names:
            answer = ask(front, f"answers_{status}", region)
            assert answer.status == status, answer
    nobody_was_blamed(front)


def test_an_error_of_a_read_is_the_last_regions_own_answer_and_each_region_is_asked_once(front):
    answer = ask(front, "answers_503")
    assert answer.json == {"error": "of the daemon itself"}
    assert [len(front.daemons[region][0].received) for region in front.names] == [1, 1]


@pytest.mark.parametrize("size", [5000, 17000, 40000, 60000])
def test_large_headers_of_an_answer_go_through(front, size):
    for _ in range(TIMES):
        for region in front.names:
            answer = ask(front, f"headers_of_{size}", region)
            assert (answer.status, answer.region) == (200, region)
    nobody_was_blamed(front)


def test_a_slow_handler_is_waited_for(front):
    for _ in range(TIMES):
        assert ask(front, "slow").region == "us"
    nobody_was_blamed(front)


@pytest.mark.parametrize("way", ["slow", "large"])
def test_a_client_that_hangs_up_early_counts_against_no_server(front, way):
    for _ in range(TIMES):
        send(front, head(f"GET /us/properties/7?as={way} HTTP/1.1"), close_at_once)
    nobody_was_blamed(front)


def test_a_client_that_takes_a_large_answer_slowly_counts_against_no_server(front):
    for _ in range(TIMES):
        send(front, head("GET /us/properties/7?as=large HTTP/1.1"), read_a_little)
    nobody_was_blamed(front)


def test_a_read_that_brings_a_body_goes_the_way_of_writes(front):
    """A daemon that refuses such a request closes the connection without reading the body; the response may be lost."""
    for way in ("reads_and_closes", "reads_and_resets", "answers_413"):
        for method in ("GET", "HEAD", "OPTIONS"):
            for body in (b"x" * 20000, b"{}"):
                for _ in range(TIMES):
                    send(front, head(f"{method} /us/properties/7?as={way} HTTP/1.1", f"Content-Length: {len(body)}") + body)
    chunked = head("GET /us/properties/7?as=reads_and_resets HTTP/1.1", "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n"
    for _ in range(TIMES):
        assert b" 504 " in send(front, chunked)
    nobody_was_blamed(front)


def test_health_requests_cannot_make_nginx_skip_a_region(front):
    for line in ("POST /health?as=reads_and_closes HTTP/1.1", "GET /health?as=reads_and_closes HTTP/1.1"):
        for _ in range(TIMES):
            assert b" 504 " in send(front, head(line, "Content-Length: 2") + b"{}")
    assert front.client.get("/health").region == "us"
    nobody_was_blamed(front)


def test_a_read_with_an_empty_body_is_a_read(front):
    front.behave(us="reads_and_closes")
    assert b"X-Plist-Region: eu" in send(front, head("GET /us/properties/7 HTTP/1.1", "Content-Length: 0"))


def test_a_chunked_body_reaches_the_daemon_with_its_length(front):
    """A daemon does not accept chunked bodies from clients."""
    body = b"5\r\n{\"a\":\r\n2\r\n1}\r\n0\r\n\r\n"
    assert b" 200 " in send(front, head("PUT /us/properties/7 HTTP/1.1", "X-Request-ID: a", "Transfer-Encoding: chunked") + body)
    received, = front.daemons["us"][0].received
    assert received["headers"]["content-length"] == "7" and "transfer-encoding" not in received["headers"]
    assert received["body"] == b'{"a":1}'


HEADS = {
    "one_header_of_8_KiB": head("GET /us/properties/7 HTTP/1.1", "Cookie: " + "x" * 8000),
    "many_headers": head("GET /us/properties/7 HTTP/1.1", *(f"X-Filler-{i}: {'x' * 500}" for i in range(40))),
    "a_long_target": head("GET /us/properties/" + "7" * 9000 + " HTTP/1.1"),
}


@pytest.mark.parametrize("kind", HEADS)
def test_headers_that_a_daemon_cannot_take_do_not_reach_it(front, kind):
    for _ in range(TIMES):
        answer = send(front, HEADS[kind])
        assert answer.startswith(b"HTTP/1.1 431 "), answer[:200]
        problem = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert problem["status"] == 431 and problem["instance"].startswith("urn:plist:nginx:")
    assert not front.daemons["us"][0].received
    nobody_was_blamed(front)


def test_headers_that_a_daemon_can_take_reach_it(front):
    answer = send(front, head("GET /us/properties/7 HTTP/1.1", *(f"X-Filler-{i}: {'x' * 500}" for i in range(12))))
    assert b" 200 " in answer
    received, = front.daemons["us"][0].received
    assert "x-filler-11" in received["headers"]


@pytest.mark.parametrize("padding", [0, 100, 1000, 3000])
def test_pipelined_requests_of_any_number_are_all_answered(front, padding):
    """Together they are larger than any buffer, so that some heads continue in a second one."""
    request = f"GET /us/properties/7 HTTP/1.1\r\nHost: x\r\nX-Filler: {'x' * padding}\r\n\r\n".encode()
    n = 40000 // len(request)
    answers = send(front, request * n + head())
    assert (answers.count(b"HTTP/1.1 200 "), answers.count(b"HTTP/1.1 ")) == (n + 1, n + 1)


BROKEN = {
    "no_host": b"GET /us/properties/7 HTTP/1.0\r\n\r\n",
    "http_0_9": b"GET /us/properties/7\r\n\r\n",
    "another_host_in_the_target": head("GET http://evil?x=/us/properties/7 HTTP/1.1"),
    "two_lengths": head("GET /us/properties/7 HTTP/1.1", "Content-Length: 1", "Content-Length: 2"),
    "a_length_and_chunks": head("GET /us/properties/7 HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked"),
    "many_parameters": head("GET /us/properties/7?" + "&" * 600 + " HTTP/1.1"),
    "expects_continue": head("GET /us/properties/7 HTTP/1.1", "Expect: 100-continue"),
    "upgrades": head("GET /us/properties/7 HTTP/1.1", "Upgrade: websocket"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_request_counts_against_no_server(front, kind):
    for _ in range(TIMES):
        send(front, BROKEN[kind], lambda connection: connection.recv(65536))
    nobody_was_blamed(front)


def test_a_body_too_large_or_never_sent_counts_against_no_server(front):
    for _ in range(TIMES):
        assert is_problem(front.client.request("GET", "/us/properties/7", raw_body=b"x" * 70000), 413)
        send(front, head("GET /us/properties/7 HTTP/1.1", "Content-Length: 1000"), close_at_once)
        send(front, head("PUT /us/properties/7 HTTP/1.1", "Content-Length: 1000"), close_at_once)
    assert not front.daemons["us"][0].received
    nobody_was_blamed(front)


UNREADABLE = {
    "if_match_on_two_lines": head("GET /us/properties/7 HTTP/1.1", 'If-Match: "a"', 'If-Match: "b"'),
    "two_lengths": BROKEN["two_lengths"],
    "a_length_that_is_no_number": head("GET /us/properties/7 HTTP/1.1", "Content-Length: x"),
    "a_request_line_without_a_path": b"GET us HTTP/1.1\r\nHost: x\r\n\r\n",
    "a_name_with_a_nul": head("GET /us/properties/7 HTTP/1.1", "X\0: y"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_request_that_nginx_cannot_read_is_answered_with_a_problem(front, kind):
    answer = send(front, UNREADABLE[kind])
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1 ") == 1, answer[:200]
    assert b"\r\nX-Plist-Region: nginx\r\n" in answer
    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert problem["status"] == 400 and problem["instance"].startswith("urn:plist:nginx:")
    assert not front.daemons["us"][0].received


# What the log says about each request.

def logged(front, word):
    def line():
        lines = [json.loads(text) for text in (front.folder / "access.log").read_text().splitlines()]
        return next((entry for entry in lines if word in entry["uri"]), None)
    return wait_until("the request is logged", line)


def test_the_log_has_the_clients_address_and_the_id_that_a_read_got(front):
    """The daemon generates an id for a read without one; that id is logged."""
    word = new_id()
    answer = front.client.get(f"/us/properties/7?{word}")
    entry = logged(front, word)
    assert entry["client"] == "127.0.0.1"
    assert entry["request_id"] == answer.headers["x-request-id"] != ""


def test_an_answer_of_nginxs_own_has_an_id_that_the_log_knows(front):
    for path in (f"/mars/{new_id()}", f"/us-{new_id()}"):
        answer = front.client.get(path)
        assert is_problem(answer, 404)
        assert answer.headers["x-request-id"] == logged(front, path)["request_id"] != ""


def test_a_request_that_got_no_answer_is_logged_with_the_id_that_it_brought(front):
    word, request_id = new_id(), new_id()
    send(front, head(f"GET /us/properties/{word}?as=hangs HTTP/1.1", f"X-Request-ID: {request_id}"), close_at_once)
    entry = logged(front, word)
    assert (entry["status"], entry["request_id"]) == ("499", request_id)


# All regions are down, and one comes back.

def test_reads_come_back_with_the_first_region_that_does(front):
    """NGINX skips both regions for fail_timeout by then, but the last step of a read ignores failures."""
    front.behave(us="refuses", eu="refuses")
    for _ in range(20):
        assert front.send("GET").status == 503
    front.daemons["us"][0].behave("answers")
    answer = front.send("GET")
    assert (answer.status, answer.region) == (200, "us")
