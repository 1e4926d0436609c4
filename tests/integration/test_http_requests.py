"""Request headers: both forms of ids, generated ids, several versions in If-Match; and responses that cannot be sent.

Uses a separate daemon with handlers and routes of these tests.
"""

import re
import shutil
import signal
import socket
import time

import pytest
import yaml

from support import places
from support.client import new_id
from support.plistd import Plistd
from support.process import free_port

MANY_HEADERS = """local http = require "plist.http"
return { name = "headers", doc = "Answers with as many bytes of headers as it is asked for.", handle = function(req)
  local headers = {}
  for i = 1, tonumber(req.query.n) do headers["X-" .. i] = ("a"):rep(tonumber(req.query.size)) end
  return http.ok({ done = true }, headers)
end }
"""
RAISES = """return { name = "raises", doc = "Fails.", handle = function() error("on purpose") end }
"""


@pytest.fixture(scope="module")
def daemon(_two_regions):
    """Another daemon of us: /keyed uses Idempotency-Key, /free needs no id, /headers and /raises are test handlers."""
    stack = _two_regions
    folder = stack.folder / "plistd-requests"
    folder.mkdir(exist_ok=True)
    shutil.copytree(places.source() / "lua", folder / "lua", dirs_exist_ok=True)
    (folder / "lua" / "handlers" / "headers.lua").write_text(MANY_HEADERS)
    (folder / "lua" / "handlers" / "raises.lua").write_text(RAISES)
    config = stack.dictionary()
    port = free_port()
    config["regions"]["us"] |= {"listen": f"127.0.0.1:{port}", "control_socket": str(folder / "us.sock")}
    config["http"] = (config.get("http") or {}) | {"principal_header": "X-Client", "trusted_proxies": ["127.0.0.1"], "receive_timeout": "1s"}
    config["lua"]["path"] = str(folder / "lua")

    def write(path, **idempotency):
        return {"method": "PUT", "path": path, "handler": "handlers/property_put.lua", "resource": "properties", "lock": "optional",
                "idempotency": idempotency}
    config["routes"] += [
        write("/:region/keyed/:id", header="Idempotency-Key"),
        write("/:region/free/:id", required=False),
        write("/:region/keyed-free/:id", header="Idempotency-Key", required=False, on_duplicate="replay"),
        {"method": "GET", "path": "/:region/headers", "handler": "handlers/headers.lua"},
        {"method": "GET", "path": "/:region/raises", "handler": "handlers/raises.lua"},
    ]
    path = folder / "plist.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    daemon = Plistd(folder, "us", port, path, name="plistd-requests")
    with stack.hosting(daemon):
        try:
            yield daemon.start().wait_ready()
        finally:
            daemon.stop()


@pytest.fixture
def record(stack):
    return stack.new_record("us", everywhere=False)


def put(daemon, path, body, **headers):
    return daemon.client.request("PUT", path, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


# Ids.


def test_an_idempotency_key_in_quotes_is_the_same_as_without(daemon, record):
    key, path = new_id(), f"/us/keyed/{record}"
    assert put(daemon, path, {"price": 5, "version": 1}, Idempotency_Key=f'"{key}"').status == 200
    for again in (key, f'"{key}"'):
        assert put(daemon, path, {"price": 5, "version": 1}, Idempotency_Key=again).status == 422
    assert daemon.client.read(record).json["version"] == 2


def test_a_request_id_in_quotes_is_the_same_as_without_and_is_sent_back_bare(daemon, record):
    request_id = new_id()
    first = daemon.client.put(record, price=5, version=1, request_id=f'"{request_id}"')
    assert (first.status, first.headers["x-request-id"]) == (200, request_id)
    assert daemon.client.put(record, price=5, version=1, request_id=request_id).status == 422


@pytest.mark.parametrize("key", ['"', '""', '"a', 'a"', '"a b"', '"a\\"b"', '"a";p=1', '"a", "b"', "'a'", '"' + "x" * 256 + '"', '""a""'])
def test_a_header_that_is_neither_an_id_nor_a_quoted_id_is_400(daemon, record, key):
    answer = put(daemon, f"/us/keyed/{record}", {"price": 5, "version": 1}, Idempotency_Key=key)
    assert (answer.status, answer.json["title"]) == (400, "Idempotency-Key malformed")
    assert daemon.client.read(record).json["version"] == 1


def test_a_write_without_an_id_gets_one_where_none_is_required_and_is_remembered(daemon, stack, record):
    answer = put(daemon, f"/us/free/{record}", {"price": 5, "version": 1})
    assert answer.status == 200
    made = answer.headers["x-request-id"]
    assert re.fullmatch(r"plist-[0-9a-f]{16}", made)
    assert stack.database("us").remembered(made) is not None
    assert put(daemon, f"/us/free/{record}", {"price": 5, "version": 1}, X_Request_ID=made).status == 422


def test_a_generated_id_is_never_taken_from_another_header(daemon, stack, record):
    sent = new_id()
    for version in (1, 2):
        answer = put(daemon, f"/us/keyed-free/{record}", {"price": version, "version": version}, X_Request_ID=sent)
        assert (answer.status, answer.headers["x-request-id"]) == (200, sent)
        assert "idempotent-replayed" not in answer.headers
    assert stack.database("us").remembered(sent) is None


def test_an_id_is_still_required_by_default(daemon, record):
    assert put(daemon, f"/us/keyed/{record}", {"price": 5, "version": 1}, X_Request_ID=new_id()).json["title"] == "Idempotency-Key missing"


# If-Match.


def test_any_of_several_versions_in_if_match_lets_a_write_through(daemon, record):
    tags = ['"us:1"', '"us:2"', '"us:3"']
    for turn, order in enumerate((tags, tags[::-1], ['"nonsense"', 'W/"us:9"', '"us:9"', *tags])):
        answer = daemon.client.put(record, price=turn + 10, if_match=", ".join(order))
        assert (answer.status, answer.etag) == (200, f'"us:{turn + 2}"'), order
    assert daemon.client.put(record, price=1, if_match=", ".join(tags)).status == 412  # it has us:4 by now
    assert daemon.client.delete(record, if_match='"us:1","us:4"').status in (200, 204)


def test_if_match_on_several_lines_is_one_list(daemon, record):
    body = b'{"price":5}'
    received = daemon.client.raw(
        b"PUT /us/properties/%d HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nIf-Match: \"us:7\"\r\nIf-Match: \"us:1\"\r\nContent-Length: %d\r\n"
        b"Connection: close\r\n\r\n%s" % (record, new_id().encode(), len(body), body))
    assert received.startswith(b"HTTP/1.1 200 "), received[:200]


# Answers.


@pytest.mark.parametrize("n, size", [(1, 10), (2, 3900), (80, 90)])
def test_headers_that_fit_are_sent_whatever_the_request_brought(daemon, n, size):
    for more in ({}, {f"X-{i}": "b" * 75 for i in range(90)}):
        answer = daemon.client.get(f"/us/headers?n={n}&size={size}", **more)
        assert answer.status == 200 and len(answer.headers[f"x-{n}"]) == size


@pytest.mark.parametrize("n, size", [(3, 4000), (5, 4000), (20, 4000), (300, 50), (1, 5000)])
def test_headers_that_cannot_be_sent_are_500_and_a_line_in_the_log(daemon, n, size):
    mark = daemon.log_mark()
    answer = daemon.client.get(f"/us/headers?n={n}&size={size}")
    assert (answer.status, answer.json["title"]) == (500, "Internal error")
    assert "handlers/headers.lua" in daemon.log_text(mark) and answer.headers["x-request-id"] in daemon.log_text(mark)


def test_the_line_in_the_log_of_a_500_has_the_id_that_the_client_got_the_route_and_the_principal(daemon):
    mark = daemon.log_mark()
    answer = daemon.client.get("/us/raises", X_Client="anna")
    assert (answer.status, answer.json["detail"]) == (500, "The cause is in the server's log.")
    line = next(line for line in daemon.log_text(mark).splitlines() if "on purpose" in line)
    assert f"[request {answer.headers['x-request-id']}, GET /:region/raises, principal anna]" in line


# Through NGINX.


def chunked(body, extension=b"", trailer=b""):
    return b"".join(b"1%s\r\n%c\r\n" % (extension, c) for c in body) + b"0\r\n" + trailer + b"\r\n"


@pytest.mark.parametrize("extension, trailer", [(b"", b""), (b";name=value", b"X-Trailer: a\r\n")], ids=["plain", "extensions"])
def test_nginx_takes_chunks_and_sends_their_length(stack, record, extension, trailer):
    received = stack.front("us").raw(
        b"PUT /us/properties/%d HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n%s"
        % (record, new_id().encode(), chunked(b'{"price":5,"version":1}', extension, trailer)))
    assert received.startswith(b"HTTP/1.1 200 "), received[:300]


def test_queries_that_are_refused_do_not_turn_good_reads_away(stack, record):
    front = stack.front("us")
    for query in ("&".join(f"a{n}=b" for n in range(250)), "&" * 600):
        for _ in range(5):
            assert front.get(f"/us/properties?{query}").status == 400
            answer = front.read(record)
            assert (answer.status, answer.region) == (200, "us")


# Shutdown.


def test_a_daemon_stops_in_time_despite_hostile_clients(daemon):
    """A shutdown does not wait for endless chunks, incomplete heads, idle connections or responses that are not read."""
    sent = [b"POST /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 20000,
            b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: ", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"G",
            b"POST /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nContent-Length: 1000\r\n\r\n{"]
    connections = []
    try:
        for n in range(400):
            s = socket.create_connection(("127.0.0.1", daemon.port), timeout=5)
            s.sendall(sent[n % len(sent)])
            connections.append(s)
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        daemon.wait_ended(10)
        assert time.monotonic() - began < 5
    finally:
        for s in connections:
            s.close()
        daemon.start().wait_ready()
