"""Who may send requests: API keys, roles of routes, principals of trusted proxies; at the daemon and through NGINX."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import time

import psycopg2
import pytest

from support import places
from support.client import Client, new_id
from support.plistd import Plistd, admin
from support.process import free_port, wait_until

WHO = """local http = require "plist.http"
return { name = "who", doc = "Says who the client is.", handle = function(req)
  return http.ok { principal = req.principal or "", roles = req.roles, authorization = req.headers.authorization or "",
    client = req.headers["x-client"] or "" }
end }
"""
PROBLEM = "application/problem+json"


class Keyed(Client):
    """A client with a key."""

    def __init__(self, base, region, key):
        super().__init__(base, region)
        self.key = key

    def request(self, method, path, body=None, request_id=None, headers=None, raw_body=None):
        headers = {"Authorization": f"Bearer {self.key}"} | (headers or {})
        return super().request(method, path, body, request_id, headers, raw_body)


class Secured:
    """The stack with keys for anna and ben, editors, and for carl, who has no role."""

    def __init__(self, stack):
        self.stack = stack
        self.file = stack.folder / "keys"
        self.lua = stack.folder / "lua-auth"
        shutil.copytree(places.source() / "lua", self.lua, dirs_exist_ok=True)
        (self.lua / "handlers" / "who.lua").write_text(WHO)
        stack.write_config(self.change)
        self.anna = self.add("anna", "--role", "editor", "--role", "auditor")
        self.ben = self.add("ben", "--role", "editor")
        self.carl = self.add("carl")
        stack.reload(self.change)

    def change(self, config):
        config["security"] = {"clients": "required"}
        config["auth"] = {"api_keys": str(self.file)}
        config["lua"]["path"] = str(self.lua)
        config["routes"].append({"method": "GET", "path": "/:region/who", "handler": "handlers/who.lua"})
        for route in config["routes"]:
            if route["method"] != "GET":
                route["allow"] = ["editor"]
                route["idempotency"]["on_duplicate"] = "replay"

    def add(self, *arguments):
        return self.keys("add", *arguments).stdout.strip()

    def keys(self, *arguments, check=True):
        return self.stack.admin("keys", *arguments, check=check)

    def reload(self):
        for daemon in self.stack.plistd.values():
            daemon.reload()

    def client(self, key, region="us"):
        return Keyed(self.stack.plistd[region].url, region, key)

    def front(self, key, region="us"):
        return Keyed(self.stack.nginx.url, region, key)


@pytest.fixture
def secured(stack):
    secured = Secured(stack)
    yield secured
    secured.file.unlink()


@contextlib.contextmanager
def counted(daemon, name, by):
    """The workers publish their counters a few times per second."""
    time.sleep(0.5)
    before = daemon.metrics()[name]
    yield
    wait_until(f"{name} has grown by {by}", lambda: daemon.metrics()[name] - before >= by)
    assert daemon.metrics()[name] - before == by, name


class Connection:
    """One connection to a daemon, as NGINX shares it among clients."""

    def __init__(self, daemon):
        self.link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=15)
        self.link.connect()
        self.socket = self.link.sock

    def who(self, *keys):
        """The principal of a request with this key; or the status of the refusal."""
        self.link.putrequest("GET", "/us/who")
        for key in keys:
            self.link.putheader("Authorization", f"Bearer {key}")
        self.link.endheaders()
        answer = self.link.getresponse()
        body = answer.read()
        assert self.link.sock is self.socket, "it is still the same connection"
        return json.loads(body)["principal"] if answer.status == 200 else answer.status


def test_a_connection_that_is_shared_knows_each_request_by_its_own_key(secured):
    """A daemon remembers what a connection has proved last; that must never count for another key, or for none."""
    connection = Connection(secured.stack.plistd["us"])
    wrong = secured.anna[:-1] + ("a" if secured.anna[-1] != "a" else "b")
    asked = [(secured.anna,), (secured.anna,), (wrong,), (secured.anna,), (secured.ben,), (), (secured.anna,), (secured.anna[:-1],),
             (secured.ben, secured.ben), (secured.ben,)]
    assert [connection.who(*keys) for keys in asked] == ["anna", "anna", 401, "anna", "ben", 401, "anna", 401, 401, "ben"]


def test_a_key_ends_on_a_connection_that_has_used_it(secured):
    daemon = secured.stack.plistd["us"]
    short = secured.add("dora", "--expires", "4s")
    daemon.reload()
    connection, other = Connection(daemon), Connection(daemon)
    if other.who(short) == "dora":  # unless the machine was too slow
        wait_until("the key has expired", lambda: other.who(short) == 401)
    assert [connection.who(secured.ben) for _ in range(3)] == ["ben"] * 3
    secured.keys("revoke", secured.ben[4:12])
    assert connection.who(secured.ben) == "ben", "until the reload"
    daemon.reload()
    assert connection.who(secured.ben) == 401
    assert connection.who(secured.anna) == "anna"


class Slow:
    """A write whose sender waits before the last part of it."""

    def __init__(self, daemon, key, record, head):
        body = b'{"price":6,"version":1}'
        text = (f"PUT /us/properties/{record} HTTP/1.1\r\nHost: a\r\nX-Request-ID: {new_id()}\r\nAuthorization: Bearer {key}\r\n"
                f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
        at = text.index(b"\r\nContent") if head else len(text) - 5
        self.rest = text[at:]
        self.socket = socket.create_connection(("127.0.0.1", daemon.port), timeout=15)
        self.socket.sendall(text[:at])

    def status(self):
        with self.socket as s:
            s.sendall(self.rest)
            return int(b"".join(iter(lambda: s.recv(4096), b"")).split()[1])


def test_a_slow_request_is_from_whom_its_key_names_when_it_is_complete(secured):
    """Who has begun a request cannot keep a key that is revoked, or that expires, in use."""
    daemon, key = secured.stack.plistd["us"], secured.add("dora", "--role", "editor", "--expires", "6s")
    daemon.reload()
    records = [secured.client(secured.anna).post(price=5).json["id"] for _ in range(4)]

    def begin(*writes):
        begun = [Slow(daemon, k, record, head) for k, record, head in writes]
        wait_until("the heads that are complete have been read", lambda: daemon.metrics()["plist_http_requests_in_flight"] >= 2)
        return begun
    slow = begin((secured.ben, records[0], True), (secured.ben, records[1], False), (secured.anna, records[3], False))
    secured.keys("revoke", secured.ben[4:12])
    daemon.reload()
    assert [s.status() for s in slow] == [401, 401, 200]
    slow = begin((key, records[2], False), (secured.anna, records[3], False))
    wait_until("the key has expired", lambda: secured.client(key).get("/us/who").status == 401)
    assert [s.status() for s in slow] == [401, 409], "409: it has version 2 by now"
    assert [secured.client(secured.anna).read(r).json["version"] for r in records] == [1, 1, 1, 2]


def check_refusal(answer):
    assert answer.status == 401, answer
    assert answer.headers["content-type"] == PROBLEM
    assert answer.headers["www-authenticate"] == 'Bearer realm="plist"'
    assert "x-plist-executed" not in answer.headers
    return {k: v for k, v in answer.json.items() if k != "instance"}


def test_only_the_whole_key_lets_a_client_in_and_no_refusal_says_what_was_wrong(secured):
    stack, us = secured.stack, secured.stack.plistd["us"]
    expired = secured.add("anna", "--expires", "1ms")
    secured.reload()
    wrong = secured.anna[:-1] + ("a" if secured.anna[-1] != "a" else "b")
    unknown = "plk_" + "a" * 8 + secured.anna[12:]
    headers = ([], [("Authorization", "")], [("Authorization", secured.anna)], [("Authorization", f"Basic {secured.anna}")],
               [("Authorization", "Bearer ")], [("Authorization", f"Bearer {wrong}")], [("Authorization", f"Bearer {unknown}")],
               [("Authorization", f"Bearer {expired}")], [("Authorization", f"Bearer {secured.anna} x")],
               [("X-API-Key", secured.anna)], [("Cookie", f"key={secured.anna}")], [("Authorization", f"Bearer\t{secured.anna}")],
               [("Authorization", f"Bearer {secured.anna}, Bearer {secured.anna}")], [("Authorization", f"Bearer:{secured.anna}")],
               [("Authorization", f'Bearer "{secured.anna}"')], [("Authorization", f"Bearer {secured.anna}\t{secured.anna}")],
               [("Authorization", f"Bearer {secured.anna.upper()}")], [("Authorization", "Bearer " + "a" * 6000)],
               [("Authorization", "Bearer " + "a." * 3000)], [("Proxy-Authorization", f"Bearer {secured.anna}")])
    with counted(us, "plist_http_requests_unauthenticated_total", len(headers) + 1):
        told = [check_refusal(us.client.request("GET", "/us/properties/1", headers=dict(h))) for h in headers]
        twice = us.client.raw(f"GET /us/properties/1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {secured.anna}\r\n"
                              f"Authorization: Bearer {secured.anna}\r\nConnection: close\r\n\r\n".encode())
        assert twice.startswith(b"HTTP/1.1 401 ")
    assert all(t == told[0] for t in told), told
    assert secured.client(secured.anna).read(1).status in (200, 404)
    assert us.client.request("GET", "/us/who", headers={"authorization": f"bEaReR {secured.anna}"}).json["principal"] == "anna"
    assert stack.plistd["us"].client.get("/health").status == 200
    assert stack.plistd["us"].client.get("/ready").status == 200


def test_handlers_see_the_principal_and_its_roles_but_never_the_key(secured):
    answer = secured.client(secured.anna).get("/us/who")
    assert answer.json == {"principal": "anna", "roles": ["editor", "auditor"], "authorization": "", "client": ""}
    assert secured.client(secured.carl).get("/us/who").json["roles"] == []


def test_a_route_is_for_the_roles_that_it_allows(secured):
    us = secured.stack.plistd["us"]
    record = secured.client(secured.anna).post(price=5).json["id"]
    assert secured.client(secured.carl).read(record).status == 200
    with counted(us, "plist_http_requests_forbidden_total", 2):
        answer = secured.client(secured.carl).put(record, price=6, version=1)
        assert answer.status == 403 and answer.headers["content-type"] == PROBLEM and answer.json["retryable"] is False
        assert "editor" not in answer.text
        assert secured.client(secured.carl).delete(record, version=1).status == 403
    assert secured.client(secured.ben).put(record, price=6, version=1).status == 200


@pytest.mark.parametrize("way", ["client", "front"])
def test_a_request_id_belongs_to_its_principal(secured, way):
    """Nobody can replay, block or guess another's answer, in any region."""
    as_ = getattr(secured, way)
    record, request_id = as_(secured.anna).post(price=5).json["id"], new_id()
    first = as_(secured.anna).put(record, request_id, price=7, version=1)
    assert first.status == 200
    guess = as_(secured.ben).put(record, request_id, price=7, version=1)
    assert guess.status == 409 and "idempotent-replayed" not in guess.headers, "ben's request is a different one"
    blocked = as_(secured.ben).put(record, request_id, price=8, version=2)
    assert blocked.status == 200, "anna's id does not block ben"
    again = as_(secured.anna).put(record, request_id, price=7, version=1)
    assert again.headers["idempotent-replayed"] == "true" and again.body == first.body
    secured.stack.settle()
    elsewhere = as_(secured.anna, "eu").put(record, request_id, price=7, version=1)
    assert elsewhere.headers["idempotent-replayed"] == "true" and elsewhere.body == first.body
    assert as_(secured.carl, "eu").put(record, request_id, price=7, version=1).status == 403


def test_a_write_that_is_running_keeps_nobody_else_from_using_its_id(secured):
    anna, ben, request_id = secured.client(secured.anna), secured.client(secured.ben), new_id()
    locked, other = anna.post(price=5).json["id"], anna.post(price=5).json["id"]
    with psycopg2.connect(secured.stack.postgres["us"].url) as holder, concurrent.futures.ThreadPoolExecutor() as pool:
        holder.cursor().execute("SELECT FROM properties WHERE id = %s FOR UPDATE", (locked,))
        running = pool.submit(anna.put, locked, request_id, price=6, version=1)
        wait_until("the write waits", lambda: secured.stack.plistd["us"].metrics()["plist_http_requests_in_flight"] >= 1)
        answer = ben.put(other, request_id, price=6, version=1)
        assert answer.status == 200, answer
        holder.rollback()
        assert running.result().status in (200, 503), "503: it has waited for too long"


@pytest.mark.parametrize("way", ["client", "front"])
def test_no_refusal_says_whether_a_record_or_an_id_is_there(secured, way):
    as_ = getattr(secured, way)
    request_id = new_id()
    there = as_(secured.anna).post(request_id, price=5).json["id"]
    unknown = secured.anna[:-1] + ("a" if secured.anna[-1] != "a" else "b")

    def told(answer):
        problem = {k: v for k, v in answer.json.items() if k != "instance"} if answer.body else None
        return answer.status, problem, {k: v for k, v in answer.headers.items() if k not in ("date", "x-request-id")}
    for key, status in ((unknown, 401), ("", 401), (secured.carl, 403)):
        for method, body in (("PUT", {"price": 6, "version": 1}), ("DELETE", None), ("POST", {"price": 6})):
            seen = [told(as_(key).request(method, "/us/properties" + ("" if method == "POST" else f"/{record}"), body, used, {"If-Match": '"1"'}))
                    for record in (there, there + 1) for used in (request_id, new_id())]
            assert seen[0][0] == status and all(s == seen[0] for s in seen), (method, seen)


@pytest.mark.parametrize("way", ["client", "front"])
def test_only_the_builtin_paths_are_there_for_a_client_without_credentials(secured, way):
    as_ = getattr(secured, way)
    wrong = secured.anna[:-1] + ("a" if secured.anna[-1] != "a" else "b")

    def told(key, method, path):
        answer = as_(key).request(method, path, headers={"X-Request-ID": "same"})
        return answer.status, answer.body, {k: v for k, v in answer.headers.items() if k != "date"}
    asked = [(m, p) for p in ("/us/properties/1", "/us/properties", "/us/properties/none", "/us/who", "/us/nothing", "/us", "/us/", "/us/a/b/c")
             for m in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND") if way == "client" or p != "/us"]
    if way == "client":  # NGINX itself says which regions there are
        asked += [("GET", "/"), ("GET", "/mars/properties/1"), ("GET", "/metrics"), ("OPTIONS", "*")]
    for key in ("", wrong):
        first = told(key, *asked[0])
        assert first[0] == 401
        for method, path in asked[1:]:
            assert told(key, method, path) == first, (method, path)
    for path in ("/health", "/us/health", "/us/replication-lag"):
        assert as_("").get(path).status == 200
    assert as_(secured.carl).get("/us/nothing").status == 404
    assert as_(secured.carl).request("OPTIONS", "/us/properties/1").headers["allow"] == as_(secured.anna).request("OPTIONS", "/us/properties/1").headers["allow"]


@pytest.mark.parametrize("way", ["client", "front"])
def test_no_page_of_another_origin_may_send_a_request_id_or_read_an_answer(secured, way):
    """A browser asks first, and must be allowed to: certificates that it shows by itself serve no other site."""
    anna = getattr(secured, way)(secured.anna)
    there = anna.post(price=5).json["id"]
    asks = {"Origin": "https://other.example", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-request-id"}
    for answer in (anna.request("OPTIONS", f"/us/properties/{there}", headers=asks),
                   anna.request("GET", f"/us/properties/{there}", headers={"Origin": "https://other.example"})):
        assert answer.status in (200, 204) and not [name for name in answer.headers if name.startswith("access-control-")], answer
    plain = {"Origin": "https://other.example", "Content-Type": "text/plain"}  # what a page may send without asking
    assert anna.request("POST", "/us/properties", headers=plain, raw_body=b'{"price":6}').status == 400


def test_the_operators_listener_has_no_records_for_anybody(secured):
    operators = secured.stack.plistd["us"].operators
    there = secured.client(secured.anna).post(price=5).json["id"]
    for method in ("GET", "PUT", "DELETE", "PATCH", "POST"):
        answer = operators.request(method, f"/us/properties/{there}", {"price": 7, "version": 1}, new_id(), {"Authorization": f"Bearer {secured.anna}"})
        assert answer.status == 404 and secured.anna not in answer.text, answer
    assert secured.client(secured.anna).read(there).json["version"] == 1


def test_nginx_passes_a_refusal_on_and_asks_no_other_region(secured):
    stack = secured.stack
    eu = stack.plistd["eu"].metrics()["plist_http_requests_unauthenticated_total"]
    with counted(stack.plistd["us"], "plist_http_requests_unauthenticated_total", 2):
        for answer in (stack.front("us").read(1), stack.front("us").put(1, price=1, version=1)):
            check_refusal(answer)
            assert answer.region == "us"
    assert stack.plistd["eu"].metrics()["plist_http_requests_unauthenticated_total"] == eu
    assert secured.front(secured.anna).get("/us/who").json["principal"] == "anna"
    assert secured.front(secured.carl).put(1, price=1, version=1).status == 403


def test_keys_are_rotated_and_revoked_without_a_refused_request(secured):
    def ids():
        return {k["id"]: k for k in json.loads(secured.keys("list", "-o", "json").stdout)["keys"]}

    old = secured.anna[4:12]
    assert ids()[old]["roles"] == ["editor", "auditor"] and ids()[old]["expires_at"] is None
    fresh = secured.keys("rotate", old, "--grace", "1h").stdout.strip()
    secured.reload()
    assert [secured.client(k).get("/us/who").json["principal"] for k in (secured.anna, fresh)] == ["anna", "anna"]
    assert ids()[old]["expires_at"] and ids()[fresh[4:12]]["roles"] == ["editor", "auditor"]
    secured.keys("revoke", old)
    assert secured.client(secured.anna).get("/us/who").status == 200, "valid until the reload"
    secured.reload()
    assert secured.client(secured.anna).get("/us/who").status == 401
    assert secured.client(fresh).get("/us/who").status == 200
    assert secured.keys("revoke", old, check=False).returncode == 1


def test_a_bad_file_of_keys_changes_nothing_at_a_reload_and_prevents_a_start(secured, tmp_path):
    stack, us = secured.stack, secured.stack.plistd["us"]
    secured.file.chmod(0o644)
    refused = us.reloads()[1]
    us.hangup()
    wait_until("the reload is refused", lambda: us.reloads()[1] == refused + 1)
    assert secured.client(secured.anna).get("/us/who").status == 200
    checked = stack.admin("config", "check", check=False)
    assert checked.returncode == 1 and "run chmod 600" in checked.stderr
    second = stack.second_daemon("us")
    with pytest.raises(Exception, match="exit|ended|78"):
        second.start()
    secured.file.chmod(0o600)
    secured.reload()


def test_no_key_is_in_any_output(secured):
    stack = secured.stack
    secrets = [k[13:] for k in (secured.anna, secured.ben, secured.carl)]
    secured.client(secured.anna).post(price=5)
    secured.client(secured.anna[:-1] + "!").get("/us/who")
    secured.front(secured.anna).get("/us/who")
    texts = [stack.admin("config", "show").stdout, secured.keys("list").stdout, secured.keys("list", "-o", "json").stdout,
             json.dumps(stack.plistd["us"].status()), stack.plistd["us"].client.get("/metrics").text, secured.file.read_text()]
    texts += [(server.folder / "log").read_text(errors="replace") for server in stack.plistd.values() if (server.folder / "log").exists()]
    texts += [server.log_tail(100000) for server in (*stack.plistd.values(), stack.nginx)]
    texts.append((stack.nginx.folder / "access.log").read_text())
    for process in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            texts.append(open(f"/proc/{process}/cmdline", "rb").read().decode(errors="replace"))
    for secret in secrets:
        assert not any(secret in text for text in texts)


OF_PLIST = ["plist-admin", "plist:violation", "plist:created-twice", "plist:anything", "plist:", "PLIST:violation", "Plist-Admin"]


def test_no_client_gets_a_key_or_certificate_with_a_principal_of_plists_own(secured):
    stack, before = secured.stack, secured.file.read_text()
    for name in OF_PLIST:
        done = secured.keys("add", name, check=False)
        assert done.returncode == 2 and "cannot be a principal" in done.stderr, (name, done)
    rules = [rule for i, name in enumerate(OF_PLIST) for rule in ({"subject": f"CN={i}", "principal": name}, {"san": f"URI:{name}"})]
    stack.write_config(lambda config: (secured.change(config), config["auth"].update(client_certificates=rules)))
    told = stack.admin("config", "check", check=False).stderr
    for i in range(len(rules)):
        assert re.search(rf"auth.client_certificates\[{i}\].(principal|san): the principal of a client cannot be plist-admin or a name", told), (rules[i], told)
    stack.write_config(secured.change)
    for name in OF_PLIST:
        secured.file.write_text(before.replace(" carl ", f" {name} "))
        assert "the third field must be a principal" in secured.keys("list", check=False).stderr, name
    secured.file.write_text(before)


# Principals of proxies.


@pytest.fixture
def proxied(stack):
    """The stack with principals that a proxy sets. `change(address)` is the YAML's change that trusts the proxy at that address."""
    lua = stack.folder / "lua-auth"
    shutil.copytree(places.source() / "lua", lua, dirs_exist_ok=True)
    (lua / "handlers" / "who.lua").write_text(WHO)

    def change(trusted):
        def change_config(config):
            config["http"] = {"principal_header": "X-Client", "trusted_proxies": [trusted]}
            config["security"] = {"clients": "required"}
            config["lua"]["path"] = str(lua)
            config["routes"].append({"method": "GET", "path": "/:region/who", "handler": "handlers/who.lua"})
        return change_config
    yield stack, change


def test_a_principal_counts_only_from_a_trusted_proxy(proxied):
    stack, change = proxied
    stack.reload(change("127.0.0.0/8"))
    us = stack.plistd["us"].client
    assert us.get("/us/who", X_Client="anna").json == {"principal": "anna", "roles": [], "authorization": "", "client": ""}
    assert us.get("/us/who").status == 401
    for name in ("a b", *OF_PLIST):
        assert us.get("/us/who", X_Client=name).status == 400, name
    stack.reload(change("10.0.0.0/8"))
    assert us.get("/us/who", X_Client="anna").status == 401


def test_nginx_lets_no_client_say_who_it_is(proxied):
    stack, change = proxied
    stack.reload(change("127.0.0.1"))
    stack.nginx.reload()
    try:
        assert stack.front("us").get("/us/who", X_Client="anna").status == 401
        assert stack.front("us").request("PUT", "/us/properties/1", body={"price": 1, "version": 1}, request_id=new_id(),
                                         headers={"X-Client": "anna"}).status == 401
    finally:
        stack.write_config()
        stack.nginx.reload()


# The choice between open and authenticated clients.


def test_a_daemon_that_other_machines_reach_starts_only_with_a_choice_made(stack, tmp_path):
    port = free_port()

    def daemon(name, **more):
        def change(config):
            config["regions"]["us"] |= {"listen": f"0.0.0.0:{port}", "control_socket": str(tmp_path / "us.sock")}
            config |= more
        folder = tmp_path / name
        folder.mkdir()
        stack.write_config(change)
        return Plistd(folder, "us", port, stack.config, stack.environment, name=name)
    silent = daemon("silent")
    with pytest.raises(Exception, match="exit|ended|78"):
        silent.start()
    assert "set security.clients to required, or to open" in silent.log_tail(20)
    check = stack.admin("config", "check", check=False)
    assert check.returncode == 1 and "regions.us.listen: other machines can reach 0.0.0.0" in check.stderr
    chosen = daemon("chosen", security={"clients": "open"})
    chosen.start()
    chosen.stop()


def test_a_configuration_that_requires_credentials_needs_a_source_of_them(stack):
    stack.write_config(lambda config: config.update(security={"clients": "required"}))
    assert "set auth.api_keys" in stack.admin("config", "check", check=False).stderr
    stack.write_config(lambda config: config["routes"][0].update(allow=["editor"]))
    assert "routes[0].allow" in stack.admin("config", "check", check=False).stderr
    stack.write_config(lambda config: config.update(http={"principal_header": "X-Client"}))
    assert "set http.trusted_proxies" in stack.admin("config", "check", check=False).stderr


def test_a_sighup_is_enough_to_let_a_new_client_in(secured):
    fresh = secured.add("dora")
    assert secured.client(fresh).get("/us/who").status == 401
    us = secured.stack.plistd["us"]
    before = us.reloads()
    os.kill(us.pid, signal.SIGHUP)
    wait_until("it has reloaded", lambda: us.reloads() != before)
    assert secured.client(fresh).get("/us/who").json["principal"] == "dora"
    assert admin("keys", "list", config=secured.stack.config, environment=secured.stack.environment()).returncode == 0
