"""Client certificates as credentials: through NGINX, at the daemon itself, and what nobody can forge."""

import contextlib
import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import urllib.parse

import pytest
import yaml

from support import places
from support.client import Client, new_id
from support.fronted import Fronted
from support.nginx import Nginx
from support.plistd import Plistd, admin
from support.process import free_port, wait_until
from support.tls import Authority, Deployment, context

HEADER = "X-Plist-Client-Certificate"
WHO = """local http = require "plist.http"
return { name = "who", doc = "Says who the client is.", handle = function(req)
  return http.ok { principal = req.principal or "", roles = req.roles, header = req.headers["x-plist-client-certificate"] or "" }
end }
"""


class Shown(Fronted):
    """A daemon of us and NGINX with TLS. Clients show certificates of `clients` to NGINX and of `direct` to the daemon."""

    def __init__(self, stack):
        self.folder = places.data_folder("plist-certificates-")
        self.folder.chmod(0o711)
        self.tls = Deployment(self.folder / "tls", ["us"])
        self.clients = Authority(self.folder / "tls", "clients-ca")
        self.direct = Authority(self.folder / "tls", "direct-ca")
        self.other = Authority(self.folder / "tls", "other-ca")
        self.port, port = free_port(), free_port()
        self.config = self.folder / "plist.yaml"
        self.dictionary = self.configure(stack.dictionary(), port)
        self.write()
        self.keys = {who: admin("keys", "add", who, "--role", "editor", config=self.config).stdout.strip() for who in ("anna", "shop")}
        self.daemon = Plistd(self.folder / "plistd", "us", port, self.config, name="plistd-certificates")
        self.daemon.secure(self.tls.front())
        self.nginx = Nginx(self.folder / "nginx", self.port, self.config)
        self.nginx.secure(self.tls.client())
        self.shop = self.clients.issue("shop", use="clientAuth")
        self.api = self.clients.issue("api", ("one.api.example",), use="clientAuth")
        self.batch = self.direct.issue("batch", use="clientAuth")

    def configure(self, config, port):
        lua = self.folder / "lua"
        shutil.copytree(places.source() / "lua", lua)
        (lua / "handlers" / "who.lua").write_text(WHO)
        config["lua"]["path"] = str(lua)
        config["routes"].append({"method": "GET", "path": "/:region/who", "handler": "handlers/who.lua"})
        for route in config["routes"]:
            if route["method"] != "GET":
                route["allow"] = ["editor"]
                route["idempotency"]["on_duplicate"] = "replay"
        config["regions"] = {"us": config["regions"]["us"] | {"listen": f"127.0.0.1:{port}", "control_socket": str(self.folder / "us.sock")}}
        config["kafka"]["brokers"] = f"127.0.0.1:{free_port()}"
        config["nginx"] |= {"listen": f"127.0.0.1:{self.port}", "connect_timeout": "2s"}
        self.tls.configure(config)
        config["nginx"]["tls"]["client_ca"] = str(self.clients.certificate)
        config["regions"]["us"]["tls"]["direct_ca"] = str(self.direct.certificate)
        config["http"] = {"trusted_proxies": ["127.0.0.1"]}
        config["security"] = {"clients": "required"}
        config["auth"] = {"api_keys": str(self.folder / "keys"), "client_certificates": [
            {"subject": "CN=shop,O=plist demo", "principal": "shop", "roles": ["editor"]},
            {"san": "DNS:*.api.example", "roles": ["editor", "auditor"]},
            {"subject": "CN=batch,O=plist demo", "principal": "batch", "roles": ["editor"]},
            # What NGINX shows the daemon must never be taken for a client's.
            {"subject": "CN=nginx-upstream,O=plist demo", "principal": "everybody", "roles": ["editor"]}]}
        return config

    def write(self, change=None):
        config = yaml.safe_load(yaml.safe_dump(self.dictionary))
        if change:
            change(config)
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))

    def front(self, own=None):
        return Client(self.nginx.url, "us", context=self.tls.client(own))

    def at_daemon(self, own):
        return Client(self.daemon.url, "us", context=context(self.tls.internal, own))


@pytest.fixture(scope="module")
def _shown(_two_regions):
    yield from Shown(_two_regions).running(_two_regions)


@pytest.fixture
def shown(stack, _shown):
    return _shown


def who(client, **headers):
    answer = client.request("GET", "/us/who", headers=headers)
    return (answer.json["principal"], answer.json["roles"], answer.json["header"]) if answer.status == 200 else answer.status


def escaped(pair):
    """As NGINX passes a certificate on."""
    return urllib.parse.quote(pair.certificate.read_text(), safe="")


def wait_said(shown, words, refused):
    """Sends a request that is refused until the log has the words: it takes only so many such lines in ten seconds."""
    mark = shown.daemon.log_mark()

    def said():
        refused()
        return words in shown.daemon.log_text(mark)
    wait_until(f"the log says {words}", said)


# Through NGINX.


def test_a_certificate_that_nginx_has_verified_says_who_a_client_is(shown):
    assert who(shown.front(shown.shop)) == ("shop", ["editor"], "")
    assert who(shown.front(shown.api)) == ("one.api.example", ["editor", "auditor"], "")
    assert shown.front(shown.shop).post(price=5).status == 201


def test_a_client_without_a_certificate_needs_other_credentials(shown):
    assert who(shown.front()) == 401
    assert who(shown.front(), Authorization=f"Bearer {shown.keys['anna']}") == ("anna", ["editor"], "")
    assert shown.front().get("/us/health").status == 200


def test_what_a_request_says_itself_comes_before_the_certificate(shown):
    assert who(shown.front(shown.shop), Authorization=f"Bearer {shown.keys['anna']}") == ("anna", ["editor"], "")
    assert who(shown.front(shown.shop), Authorization="Bearer plk_wrong") == 401


def test_certificates_of_others_expired_ones_and_those_of_servers_are_refused_by_nginx(shown):
    for own, why in ((shown.other.issue("mallory", use="clientAuth"), "not issued by an authority that this service accepts"),
                     (shown.batch, "not issued by an authority that this service accepts"),
                     (shown.clients.issue("late", use="clientAuth", days=-1), "has expired"),
                     (shown.clients.issue("server", use="serverAuth"), "not one for clients")):
        answer = shown.front(own).get("/us/who")
        assert answer.status == 403 and why in answer.json["detail"], (why, answer)


def test_a_certificate_that_no_entry_names_is_401_and_the_log_says_its_subject(shown):
    stranger = shown.clients.issue("stranger", use="clientAuth")
    answer = shown.front(stranger).get("/us/who")
    assert answer.status == 401 and "stranger" not in answer.text
    wait_said(shown, 'whose subject is "CN=stranger,O=plist demo"', lambda: who(shown.front(stranger)))


def test_request_ids_belong_to_the_principal_whatever_proved_it(stack, shown):
    record, request_id = stack.new_record("us", everywhere=False), new_id()

    def put(own=None, **headers):
        return shown.front(own).request("PUT", f"/us/properties/{record}", body={"price": 7, "version": 1}, request_id=request_id, headers=headers)
    first = put(shown.shop)
    assert first.status == 200
    assert put(shown.shop).text == first.text, "the stored answer"
    assert put(Authorization=f"Bearer {shown.keys['shop']}").text == first.text, "the same principal by its key"
    other = put(shown.api)
    assert other.status == 409, other  # executed, since the id is another one: and the version is the old one
    assert put(Authorization=f"Bearer {shown.keys['anna']}").status == 409


# Forged.


def test_the_header_of_a_client_is_replaced_by_nginx(shown):
    for name in (HEADER, HEADER.lower(), "X_Plist_Client_Certificate"):
        assert who(shown.front(), **{name: escaped(shown.shop)}) == 401, name
        assert who(shown.front(shown.api), **{name: escaped(shown.shop)}) == ("one.api.example", ["editor", "auditor"], ""), name


def test_a_client_of_the_daemon_cannot_speak_for_others(shown):
    batch = shown.at_daemon(shown.batch)
    assert who(batch) == ("batch", ["editor"], "")
    assert who(batch, **{HEADER: escaped(shown.shop)}) == ("batch", ["editor"], "")
    assert shown.batch.certificate.exists() and who(shown.at_daemon(shown.direct.issue("nobody", use="clientAuth")),
                                                    **{HEADER: escaped(shown.shop)}) == 401


def test_a_proxy_that_is_not_trusted_is_not_believed(shown):
    assert who(shown.at_daemon(shown.tls.nginx), **{HEADER: escaped(shown.shop)}) == ("shop", ["editor"], "")
    shown.write(lambda config: config["http"].update(trusted_proxies=["10.9.8.7"]))
    shown.daemon.reload()
    try:
        assert who(shown.at_daemon(shown.tls.nginx), **{HEADER: escaped(shown.shop)}) == 401
    finally:
        shown.write()
        shown.daemon.reload()


def test_several_certificates_or_nonsense_identify_nobody(shown):
    nginx = shown.at_daemon(shown.tls.nginx)
    for text in ("nonsense", "too-large", escaped(shown.shop)[:-40], escaped(shown.shop).replace("M", "%00", 1)):
        assert who(nginx, **{HEADER: text}) == 401, text
    with shown_socket(shown) as s:
        line = f"{HEADER}: {escaped(shown.shop)}\r\n"
        s.sendall(f"GET /us/who HTTP/1.1\r\nHost: a\r\n{line}{line}Connection: close\r\n\r\n".encode())
        assert s.recv(100).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_several_credentials_in_one_request_identify_nobody_through_nginx(shown, version):
    def status(*headers):
        command = ["curl", "-sS", version, "--cacert", shown.tls.public.certificate, "-o", "/dev/null", "-w", "%{http_code} %{http_version}"]
        done = subprocess.run([*map(str, command), *(word for h in headers for word in ("-H", h)), f"{shown.nginx.url}/us/who"],
                              capture_output=True, text=True, timeout=30, check=True)
        code, spoken = done.stdout.split()
        assert spoken == version.removeprefix("--http")
        return int(code)
    anna, shop = (f"Authorization: Bearer {shown.keys[who]}" for who in ("anna", "shop"))
    assert status(anna) == 200
    for headers in ((anna, shop), (anna, anna), (anna, "Authorization:;"), (f"{anna}, Bearer {shown.keys['shop']}",), (anna, anna.lower()),
                    (f"Proxy-{anna}",), (anna.replace("n:", "n_:"),), (f"X-Forwarded-{anna}",), (f"{HEADER}: {escaped(shown.shop)}",),
                    (f"{HEADER}: {escaped(shown.shop)}", f"Connection: {HEADER}")):
        assert status(*headers) in (400, 401), "400: NGINX refuses the header on several lines"
    assert status() == 401


def shown_socket(shown):
    """A connection to the daemon as NGINX makes it."""
    return context(shown.tls.internal, shown.tls.nginx).wrap_socket(socket.create_connection(("127.0.0.1", shown.daemon.port)), server_hostname="plistd")


def test_what_nginx_shows_the_daemon_is_nobodys_credential(shown):
    assert who(shown.at_daemon(shown.tls.nginx)) == 401


def test_a_certificate_that_is_too_large_is_refused_and_a_long_head_still_is_431(shown):
    names = tuple(f"n{i:03}.{'x' * 50}.example" for i in range(40))
    large = shown.clients.issue("large", names, use="clientAuth")
    assert who(shown.front(large)) == 401
    wait_said(shown, "larger than NGINX passes on", lambda: who(shown.front(large)))
    assert who(shown.front(shown.shop), **{"X-Long": "x" * 3000}) == ("shop", ["editor"], "")
    for n in (4700, 5500, 7500):
        assert shown.front(shown.shop).request("GET", "/us/who", headers={"X-Long": "x" * n, "X-Long-2": "x" * n}).status == 431, n


def test_without_tls_only_the_unix_socket_is_believed_and_no_port(shown):
    port, front = free_port(), free_port()

    def beside(config):
        region = config["regions"]["us"]
        region |= {"listen": f"127.0.0.1:{port}", "unix_socket": str(shown.folder / "us.http"), "control_socket": str(shown.folder / "us2.sock")}
        del region["tls"], config["nginx"]["upstream_tls"]
        config["http"]["trusted_proxies"].append("unix")
        config["nginx"] |= {"local_regions": ["us"], "listen": f"127.0.0.1:{front}"}
    shown.write(beside)
    config = shown.folder / "beside.yaml"
    config.write_text(shown.config.read_text())
    shown.write()
    daemon = Plistd(shown.folder / "plistd-beside", "us", port, config, name="plistd-beside")
    nginx = Nginx(shown.folder / "nginx-beside", front, config)
    nginx.secure(shown.tls.client())
    try:
        daemon.start()
        nginx.start()
        assert who(Client(nginx.url, context=shown.tls.client(shown.shop))) == ("shop", ["editor"], "")
        assert who(daemon.client, **{HEADER: escaped(shown.shop)}) == 401
    finally:
        for server in (nginx, daemon):
            if server.running:
                server.kill()


# At the daemon itself.


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_client_of_the_daemon_is_who_its_certificate_says_in_each_session(shown, version):
    known = context(shown.tls.internal, shown.batch)
    known.maximum_version = ssl.TLSVersion[version]
    session = None
    for _ in range(3):  # the later ones resume the first
        s = known.wrap_socket(socket.create_connection(("127.0.0.1", shown.daemon.port)), server_hostname="plistd", session=session)
        with s:
            s.sendall(b"GET /us/who HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            text = b"".join(iter(lambda: s.recv(4096), b""))
            assert b'"principal":"batch"' in text.replace(b" ", b""), text
            assert session is None or s.session_reused
            session = s.session


def test_an_address_that_a_client_of_the_daemon_names_does_not_count(shown):
    def refused():
        return who(shown.at_daemon(shown.batch), **{"X-Forwarded-For": "192.0.2.7", "Authorization": "Bearer plk_x"})
    assert refused() == 401
    wait_said(shown, "of a client at 127.0.0.1", refused)


def test_foreign_and_expired_certificates_do_not_reach_the_daemon(shown):
    for own, why in ((shown.other.issue("batch", use="clientAuth"), "is not signed by the authority in .*internal-ca.crt .* or .*direct-ca.crt"),
                     (shown.clients.issue("batch-2", use="clientAuth"), "is not signed by the authority in"),
                     (shown.direct.issue("batch-3", use="clientAuth", days=-1), "its certificate has expired")):
        mark = shown.daemon.log_mark()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            shown.at_daemon(own).get("/us/who")
        wait_until("the log says why", lambda w=why, m=mark: re.search(w, shown.daemon.log_text(m)))


# Connections and sessions that last.


class Lasting:
    """A connection to a server that is kept open."""

    def __init__(self, port, known):
        self.link = http.client.HTTPSConnection("127.0.0.1", port, timeout=15, context=known)
        self.link.connect()
        self.socket = self.link.sock

    def ask(self, path, **headers):
        """The status, or the principal that /us/who tells."""
        assert self.link.sock is self.socket, "it is still the same connection"
        self.link.request("GET", path, headers=headers)
        self.answer = self.link.getresponse()
        body = self.answer.read()
        return json.loads(body)["principal"] if self.answer.status == 200 and path.endswith("/who") else self.answer.status

    def is_closed(self):
        return self.answer.headers["connection"] == "close" and self.link.sock is None


@contextlib.contextmanager
def added(authority, other):
    """The file of an authority has another one as well; the caller reloads."""
    kept = authority.certificate.read_bytes()
    authority.certificate.write_bytes(kept + other.certificate.read_bytes())
    try:
        yield lambda: authority.certificate.write_bytes(kept)
    finally:
        authority.certificate.write_bytes(kept)


def as_nginx(shown):
    return {HEADER: escaped(shown.shop)}


@pytest.fixture(scope="module")
def second(_shown):
    """An authority whose certificates are accepted for a while."""
    return Authority(_shown.folder / "tls" / "second", "second-ca")


def test_a_connection_of_a_client_ends_with_the_authority_that_vouched_for_it(shown, second):
    own = second.issue("batch", use="clientAuth")
    with added(shown.direct, second) as take_away:
        shown.daemon.reload()
        one, other, faithful = (Lasting(shown.daemon.port, context(shown.tls.internal, pair))
                                for pair in (own, own, shown.direct.issue_for(3600, "batch")))
        assert [c.ask("/us/who") for c in (one, other, faithful)] == ["batch"] * 3
        take_away()
        mark = shown.daemon.log_mark()
        shown.daemon.reload()
    assert one.ask("/us/who") == 401 and one.is_closed()
    assert other.ask("/us/health") == 401 and other.is_closed()
    assert [faithful.ask("/us/who") for _ in range(3)] == ["batch"] * 3, "on the same connection"
    assert re.search(r"tls: ends a connection from 127.0.0.1: its certificate is not signed by .* \(.*CN=batch", shown.daemon.log_text(mark))


def test_a_connection_of_nginx_ends_with_the_authority_that_vouched_for_it(shown, second):
    with added(shown.tls.internal, second) as take_away:
        shown.daemon.reload()
        ended, faithful = (Lasting(shown.daemon.port, context(shown.tls.internal, own)) for own in (
            second.issue("nginx-2", use="clientAuth"), shown.tls.nginx))
        assert [c.ask("/us/who", **as_nginx(shown)) for c in (ended, faithful)] == ["shop"] * 2
        take_away()
        shown.daemon.reload()
    assert ended.ask("/us/who", **as_nginx(shown)) == 503 and ended.is_closed()
    assert ended.answer.headers["x-plist-executed"] == "no", "so NGINX goes on to the next region"
    assert [faithful.ask("/us/who", **as_nginx(shown)) for _ in range(3)] == ["shop"] * 3


def test_no_connection_outlives_the_certificate_that_began_it(shown):
    client = Lasting(shown.daemon.port, context(shown.tls.internal, shown.direct.issue_for(4, "batch")))
    nginx = Lasting(shown.daemon.port, context(shown.tls.internal, shown.tls.internal.issue_for(4, "nginx-upstream")))
    ended = set()

    def both_ended():
        for connection, expected, refused in ((client, ("batch",), 401), (nginx, ("shop",), 503)):
            if connection not in ended:
                told = connection.ask("/us/who", **as_nginx(shown))
                assert told in (*expected, refused), told
                ended.update({connection} if told == refused and connection.is_closed() else ())
        return len(ended) == 2
    assert not both_ended()
    wait_until("both have ended", both_ended)


def session_of(shown, known, session=None):
    """A session with NGINX, whether it continues the one given, and the status of a request."""
    s = known.wrap_socket(socket.create_connection(("127.0.0.1", shown.port)), server_hostname="localhost", session=session)
    with s:
        s.sendall(b"GET /us/who HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        text = b"".join(iter(lambda: s.recv(4096), b""))
        return s.session, s.session_reused, int(text.split()[1])


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_session_with_nginx_outlives_neither_the_certificate_nor_its_authority(shown, version):
    alike = Authority(shown.folder / "tls" / "alike", "clients-ca")  # another key, the same name
    kept = shown.clients.certificate.read_bytes()

    def begun(own):
        known = shown.tls.client(own)
        known.maximum_version = ssl.TLSVersion[version]
        session, _, status = session_of(shown, known)
        assert status == 200
        return known, session
    withdrawn, late = begun(shown.shop), begun(shown.clients.issue_for(3, "shop"))
    shown.clients.certificate.write_bytes(alike.certificate.read_bytes())
    shown.nginx.reload()
    try:
        assert session_of(shown, *withdrawn)[1:] == (False, 403)
    finally:
        shown.clients.certificate.write_bytes(kept)
        shown.nginx.reload()
    wait_until("the certificate has expired", lambda: session_of(shown, late[0])[2] == 403)
    assert session_of(shown, *late)[1:] == (False, 403)


def test_nginx_keeps_no_connection_of_a_client_with_a_certificate_open_for_long(shown):
    text = shown.nginx.file.read_text()
    assert text.count("keepalive_time 1m;") == text.count("keepalive_timeout 1m;") == 1
    shown.nginx.file.write_text(text.replace("keepalive_time 1m;", "keepalive_time 1s;"))
    shown.nginx.write = lambda: None
    try:
        shown.nginx.reload()
        lasting = Lasting(shown.port, shown.tls.client(shown.shop))
        wait_until("NGINX ends it", lambda: lasting.ask("/us/who") == "shop" and lasting.is_closed())
    finally:
        del shown.nginx.write
        shown.nginx.reload()


@pytest.mark.parametrize("shared", ["the same", "signed by it"])
def test_an_authority_that_could_make_a_client_pass_for_nginx_is_refused(shown, shared):
    ca = shown.tls.internal.certificate
    if shared == "signed by it":
        ca = shown.folder / "tls" / "between.crt"
        request, extensions = ca.with_suffix(".csr"), ca.with_suffix(".ext")
        extensions.write_text("basicConstraints=CA:TRUE\n")
        run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=between", "-keyout", ca.with_suffix(".key"), "-out", request)
        run("x509", "-req", "-in", request, "-CA", shown.tls.internal.certificate, "-CAkey", shown.tls.internal.key, "-CAcreateserial", "-days", "9",
            "-extfile", extensions, "-out", ca)
    shown.write(lambda config: config["regions"]["us"]["tls"].update(direct_ca=str(ca)))
    try:
        done = subprocess.run([places.program("plistd"), "-c", shown.config, "-r", "us"], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 78 and "so a client could pass for NGINX" in done.stderr, done
    finally:
        shown.write()


def run(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
