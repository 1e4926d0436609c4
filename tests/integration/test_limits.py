"""How many requests a client may send: 429 of the daemon and of NGINX, by principal and by address."""

import http.client
import time

import pytest

from support.client import Client, new_id
from support.plistd import Plistd
from support.process import free_port, wait_until

PROBLEM = "application/problem+json"


@pytest.fixture
def limited(stack):
    """limited(change, *names) loads a configuration with limits, also into NGINX. Returns the stack and keys of these names."""
    def load(change, *names):
        stack.write_config(change)
        keys = {name: stack.admin("keys", "add", name).stdout.strip() for name in names}
        stack.reload(change)
        stack.nginx.reload()
        return stack, keys
    yield load
    (stack.folder / "keys").unlink(missing_ok=True)
    stack.write_config()
    stack.nginx.reload()


def check_limited(answer, limit, region):
    assert answer.status == 429, answer
    assert answer.headers["content-type"] == PROBLEM and answer.json["retryable"] is True
    assert int(answer.headers["retry-after"]) >= 1
    assert int(answer.headers["ratelimit-limit"]) == limit
    assert answer.headers["ratelimit-remaining"] == "0" and int(answer.headers["ratelimit-reset"]) >= 1
    assert "x-plist-executed" not in answer.headers
    assert answer.region == region


def statuses(client, n, path="/us/properties?limit=1", **headers):
    answers = [client.get(path, **headers) for _ in range(n)]
    return [a.status for a in answers], answers[-1]


def test_an_address_gets_its_burst_and_then_the_rate(limited):
    def change(config):
        config["limits"] = {"per_address": {"rate": 1, "burst": 4}}
        config["http"] = {"trusted_proxies": ["127.0.0.1"]}
    us = limited(change)[0].plistd["us"]
    one, other = {"X_Forwarded_For": "203.0.113.1"}, {"X_Forwarded_For": "203.0.113.2"}
    before = us.metrics()["plist_http_requests_limited_total"]
    seen, last = statuses(us.client, 8, **one)
    assert seen[:4] == [200] * 4 and seen.count(429) >= 2, seen
    check_limited(last, 4, "us")
    assert us.client.get("/us/properties?limit=1", X_Forwarded_For="203.0.113.1, 203.0.113.2").status == 200, "another client"
    assert us.client.get("/health", **one).status == us.client.get("/ready", **one).status == 200
    wait_until("a token has come back", lambda: us.client.get("/us/properties?limit=1", **one).status == 200)
    assert us.client.get("/us/properties?limit=1", **other).status == 200
    wait_until("they are counted", lambda: us.metrics()["plist_http_requests_limited_total"] >= before + 2)


@pytest.mark.parametrize(("method", "path", "status", "address"), [
    ("GET", "/us/nothing", 404, "203.0.113.11"), ("GET", "/mars/properties", 404, "203.0.113.12"), ("POST", "/us/properties/1", 405, "203.0.113.13"),
    ("OPTIONS", "/us/properties", 204, "203.0.113.14")])
def test_requests_that_no_route_answers_count_as_well(limited, method, path, status, address):
    def change(config):
        config["limits"] = {"per_address": {"rate": 1, "burst": 4}}
        config["http"] = {"trusted_proxies": ["127.0.0.1"]}
    us = limited(change)[0].plistd["us"]
    answers = [us.client.request(method, path, headers={"X-Forwarded-For": address}) for _ in range(30)]
    assert [a.status for a in answers[:4]] == [status] * 4 and {a.status for a in answers} == {status, 429}
    check_limited(next(a for a in answers if a.status == 429), 4, "us")


def test_a_limited_write_has_not_used_up_its_id(limited):
    stack, _ = limited(lambda config: config.update(limits={"per_address": {"rate": 1, "burst": 2}}))
    us, request_id = stack.client("us"), new_id()
    record = us.post(price=5).json["id"]
    us.read(record)
    answer = us.put(record, request_id, price=6, version=1)
    check_limited(answer, 2, "us")
    wait_until("it may be sent", lambda: us.put(record, request_id, price=6, version=1).status == 200)


def test_a_principal_is_limited_wherever_it_sends_from(limited):
    def change(config):
        config["limits"] = {"per_principal": {"rate": 1, "burst": 3}}
        config["http"] = {"trusted_proxies": ["127.0.0.1"]}
        config["auth"] = {"api_keys": "keys"}
    stack, keys = limited(change, "anna", "ben", "anna")
    more = stack.admin("keys", "add", "anna").stdout.strip()
    stack.reload(change)
    us = Client(stack.plistd["us"].url, "us")

    def read(name, address):
        return us.get("/us/properties?limit=1", Authorization=f"Bearer {keys[name]}", X_Forwarded_For=address)
    keys["anna again"] = more
    answers = [read(("anna", "anna again")[i % 2], f"203.0.113.{i}") for i in range(6)]
    assert [a.status for a in answers[:3]] == [200] * 3
    check_limited(answers[-1], 3, "us")
    assert read("ben", "203.0.113.1").status == 200
    assert statuses(us, 5)[0] == [200] * 5, "clients without credentials have no principal"


def test_nginx_limits_an_address_by_the_same_keys_and_sends_nothing_elsewhere(limited):
    stack, _ = limited(lambda config: config.update(limits={"per_address": {"rate": 1, "burst": 3}},
                                                    http={"trusted_proxies": ["10.255.255.1"]}))
    text = stack.nginx.file.read_text()
    assert "rate=1r/s" in text and "burst=2 nodelay" in text
    seen, last = statuses(stack.front("us"), 6)
    assert 429 in seen and set(seen) <= {200, 429}, seen
    assert last.region in ("nginx", "us")
    stack.reload()  # now only NGINX limits
    wait_until("NGINX lets one pass", lambda: stack.front("us").get("/us/properties?limit=1").status == 200)
    answers = [stack.front("us").get("/us/properties?limit=1") for _ in range(5)]
    check_limited(next(a for a in answers if a.status == 429), 3, "nginx")
    write = next(a for a in (stack.front("us").put(1, price=1, version=1) for _ in range(5)) if a.status == 429)
    check_limited(write, 3, "nginx")


# Addresses.


def read_from(port, source, host="127.0.0.1", **headers):
    """The status of a read from an address of this machine."""
    connection = http.client.HTTPConnection(host, port, timeout=15, source_address=(source, 0))
    connection.request("GET", "/us/properties?limit=1", headers={k.replace("_", "-"): v for k, v in headers.items()})
    status = connection.getresponse().status
    connection.close()
    return status


FORGED = [{"X_Forwarded_For": "203.0.113.{}"}, {"X_Forwarded_For": "127.0.0.1, 203.0.113.{}"}, {"X_Real_IP": "203.0.113.{}"},
          {"Forwarded": "for=203.0.113.{}"}, {"X_Client_IP": "203.0.113.{}"}]


@pytest.mark.parametrize("way", ["the daemon", "NGINX"])
def test_no_client_gets_another_limit_by_naming_another_address(limited, way):
    def change(config):
        config["limits"] = {"per_address": {"rate": 1, "burst": 4}}
        config["http"] = {"trusted_proxies": ["10.255.255.1" if way == "the daemon" else "127.0.0.1"]}
    stack = limited(lambda config: None)[0]  # NGINX limits nothing
    stack.reload(change)
    port = stack.plistd["us"].port if way == "the daemon" else stack.nginx.port
    for number, forged in enumerate(FORGED):
        began = time.monotonic()
        seen = [read_from(port, f"127.0.0.{number + 2}", **{k: v.format(i) for k, v in forged.items()}) for i in range(12)]
        assert seen.count(200) <= 4 + 1 + time.monotonic() - began, (forged, seen)


def test_each_of_many_addresses_has_a_limit_of_its_own(limited):
    us = limited(lambda config: config.update(limits={"per_address": {"rate": 1, "burst": 4}}))[0].plistd["us"]
    began = time.monotonic()
    for i in range(2, 42):
        seen = [read_from(us.port, f"127.0.{i}.{i}") for _ in range(6)]
        assert seen[:4] == [200] * 4, (i, seen)
        assert seen.count(200) <= 4 + 1 + time.monotonic() - began, seen


@pytest.fixture
def everywhere(stack):
    """A daemon of us that listens on all addresses, IPv6 ones as well; it believes 127.0.0.1."""
    folder, port = stack.folder / "plistd-everywhere", free_port()
    folder.mkdir(exist_ok=True)

    def change(config):
        config["regions"]["us"] |= {"listen": f"[::]:{port}", "control_socket": str(folder / "us.sock"), "admin_listen": f"127.0.0.1:{port + 1000}"}
        config |= {"security": {"clients": "open"}, "limits": {"per_address": {"rate": 1, "burst": 4}}, "http": {"trusted_proxies": ["127.0.0.1"]}}
    daemon = Plistd(folder, "us", port, stack.write_yaml(folder / "plist.yaml", change), stack.environment, name="plistd-everywhere")
    yield daemon.start()
    daemon.stop()


def test_an_ipv4_address_is_the_same_client_on_a_socket_for_ipv6(everywhere):
    began, port = time.monotonic(), everywhere.port

    def served(*arguments, **headers):
        return [read_from(port, *arguments, **headers) for _ in range(6)].count(200)
    assert served("127.0.0.2") >= 4
    assert served("::1", "::1") >= 4, "another client"
    assert served("127.0.0.1", X_Forwarded_For="203.0.113.30") >= 4, "the proxy is trusted by its IPv4 address"
    more = served("127.0.0.1", X_Forwarded_For="::ffff:203.0.113.30") + served("127.0.0.2", X_Forwarded_For="203.0.113.31") \
        + served("::1", "::1", X_Forwarded_For="203.0.113.32")
    assert more <= 3 * (1 + time.monotonic() - began), "they are known, or not trusted"


def addressed(stack):
    """Makes NGINX take the header X-Test-Address for the address from which a request comes."""
    def write():
        text = stack.admin("nginx").stdout
        assert text.count("\nhttp {\n") == 1
        stack.nginx.file.write_text(text.replace("\nhttp {\n", "\nhttp {\nset_real_ip_from 127.0.0.1; real_ip_header X-Test-Address;\n"))
    return write


@pytest.mark.parametrize(("one", "same", "other"), [
    ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:2::1"), ("2001:db80:a0a:d0a::a", "2001:db80:a0a:d0a:d0a::", "2001:db80:a0a:d0b::a"),
    ("198.51.100.1", "198.51.100.1", "198.51.100.2"), ("::ffff:198.51.100.7", "::ffff:198.51.100.7", "::ffff:198.51.100.8")])
def test_nginx_and_the_daemon_count_an_ipv6_network_as_one_client(limited, one, same, other, monkeypatch):
    """A client usually has a whole network of 64 bits, and would get the limit of each of its addresses."""
    def change(config):
        config["limits"] = {"per_address": {"rate": 1, "burst": 4}}
        config["http"] = {"trusted_proxies": ["127.0.0.1"]}
    stack = limited(change)[0]

    def check(client, header):
        def served(address):
            return sum(client.get("/us/properties?limit=1", **{header: address}).status == 200 for _ in range(6))
        began = time.monotonic()
        together = served(one) + served(same)
        assert together <= 4 + 1 + (time.monotonic() - began), "the burst, and what came back since"
        assert served(other) >= 4
    check(stack.client("us"), "X_Forwarded_For")
    with monkeypatch.context() as patch:
        patch.setattr(stack.nginx, "write", addressed(stack))
        stack.nginx.reload()
        stack.reload()  # now only NGINX limits
        check(stack.front("us"), "X_Test_Address")
