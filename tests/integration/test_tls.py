"""TLS between clients, NGINX and daemons: what is served, and the message for each certificate that is refused."""

import contextlib
import http.client
import re
import resource
import socket
import ssl
import subprocess
import time

import pytest
import yaml

from support import places
from support.client import Client, new_id
from support.fronted import Fronted
from support.load import Load
from support.nginx import Nginx
from support.plistd import Plistd, admin
from support.process import free_port, wait_until
from support.tls import Authority, Deployment, context


class Secured(Fronted):
    """One daemon of us and NGINX with TLS, in addition to the shared stack. They use its database and no broker."""

    def __init__(self, stack):
        self.folder = places.data_folder("plist-tls-")
        self.folder.chmod(0o711)
        self.tls = Deployment(self.folder / "tls", ["us"])
        self.other = Authority(self.folder / "tls", "other-ca")
        self.port, self.plain, port = free_port(), free_port(), free_port()
        config = stack.dictionary()
        config["regions"] = {"us": config["regions"]["us"] | {"listen": f"127.0.0.1:{port}", "control_socket": str(self.folder / "us.sock")}}
        config["kafka"]["brokers"] = f"127.0.0.1:{free_port()}"
        config["nginx"]["listen"] = f"127.0.0.1:{self.port}"
        config["nginx"]["connect_timeout"] = "2s"  # the handshake is part of it
        self.tls.configure(config)
        config["nginx"]["tls"] |= {"hsts": "30d", "redirect": f"127.0.0.1:{self.plain}"}
        self.dictionary = config
        self.config = self.folder / "plist.yaml"
        self.write()
        self.daemon = Plistd(self.folder / "plistd", "us", port, self.config, name="plistd-tls")
        self.daemon.secure(self.tls.front())
        self.nginx = Nginx(self.folder / "nginx", self.port, self.config)
        self.nginx.secure(self.tls.client())

    def write(self, **nginx_tls):
        config = yaml.safe_load(yaml.safe_dump(self.dictionary))
        config["nginx"]["tls"] |= nginx_tls
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))

    def front(self):
        return Client(self.nginx.url, "us", context=self.tls.client())


@pytest.fixture(scope="module")
def _secured(_two_regions):
    yield from Secured(_two_regions).running(_two_regions)


@pytest.fixture
def secured(stack, _secured):
    return _secured


def curl(*arguments):
    return subprocess.run(["curl", "-sS", "-i", *map(str, arguments)], capture_output=True, text=True, timeout=20, check=False)


# Clients and NGINX.


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_write_goes_over_tls_from_the_client_to_the_daemon(stack, secured, version):
    record = stack.new_record("us", everywhere=False)
    done = curl("--cacert", secured.tls.public.certificate, f"--tlsv{version}", "--tls-max", version, "-X", "PUT", "-H", f"X-Request-ID: {new_id()}",
                "-d", '{"price":7,"version":1}', f"{secured.nginx.url}/us/properties/{record}")
    assert done.stdout.startswith("HTTP/2 200"), done
    assert "strict-transport-security: max-age=2592000" in done.stdout.lower()
    assert stack.database("us").property(record)["version"] == 2


def test_an_older_tls_is_refused_by_nginx_and_by_the_daemon(secured):
    for port in (secured.port, secured.daemon.port):
        done = curl("--cacert", secured.tls.public.certificate, "--tls-max", "1.1", "--ciphers", "DEFAULT:@SECLEVEL=0", f"https://127.0.0.1:{port}/health")
        assert done.returncode == 35, done


SERVERS = ["nginx", "plistd"]
STRONG = [("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), ("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"), ("-tls1_3",)]
WEAK = [("-tls1", "-cipher", "ALL:@SECLEVEL=0"), ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
        *(("-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0") for cipher in (
            "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-AES128-CCM", "ECDHE-ECDSA-CAMELLIA128-SHA256",
            "DHE-RSA-AES128-GCM-SHA256", "ADH-AES128-GCM-SHA256", "eNULL")),
        ("-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_8_SHA256"), ("-tls1_2", "-cipher", "ALL:@SECLEVEL=0", "-sigalgs", "ECDSA+SHA1")]


def s_client(secured, server, *more, text=""):
    """openssl s_client with a certificate that the server accepts; without more arguments it is answered."""
    port, own = (secured.port, secured.tls.site) if server == "nginx" else (secured.daemon.port, secured.tls.nginx)
    return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-cert", own.certificate, "-key", own.key, *more],
                          input=text, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("server", SERVERS)
def test_only_new_protocols_with_strong_ciphers_are_spoken(secured, server):
    for offer in STRONG:
        done = s_client(secured, server, *offer)
        assert done.returncode == 0 and "Cipher is (NONE)" not in done.stdout, (offer, done)
    for offer in WEAK:
        done = s_client(secured, server, *offer)
        assert done.returncode and "Cipher is (NONE)" in done.stdout, (offer, done)
        assert "no ciphers available" not in done.stderr and "no cipher match" not in done.stderr, "the offer was sent"


@pytest.mark.parametrize("server", SERVERS)
def test_whatever_name_a_client_asks_for_it_gets_the_one_certificate(secured, server):
    right = (secured.tls.site if server == "nginx" else secured.tls.plistd["us"]).serial()
    for name in (None, "plistd", "wrong.example", "127.0.0.1", ".", "x" * 255):
        done = s_client(secured, server, *(["-servername", name] if name else ["-noservername"]))
        shown = subprocess.run(["openssl", "x509", "-noout", "-serial"], input=done.stdout, capture_output=True, text=True, check=False).stdout.strip()
        assert (done.returncode, shown) == (0, right), (name, done)


@pytest.mark.parametrize("server", SERVERS)
def test_a_session_is_not_negotiated_again(secured, server):
    done = s_client(secured, server, "-tls1_2", text="R\nGET /us/health HTTP/1.1\nHost: a\n\n")
    assert "RENEGOTIATING" in done.stdout + done.stderr and "HTTP/1.1 200" not in done.stdout, done
    assert secured.front().get("/us/health").status == secured.daemon.client.get("/health").status == 200


def test_http_is_redirected_and_on_the_port_for_https_refused_with_the_reason(secured):
    moved = Client(f"http://127.0.0.1:{secured.plain}").request("PUT", "/us/properties/7?a=b", body={})
    assert (moved.status, moved.headers["location"]) == (308, f"https://127.0.0.1:{secured.port}/us/properties/7?a=b")
    answer = Client(f"http://127.0.0.1:{secured.port}").get("/us/health")
    assert answer.status == 400 and "this port speaks HTTPS" in answer.json["detail"]


def test_a_client_certificate_that_is_missing_foreign_or_expired_is_answered_403_with_the_reason(secured):
    good = secured.tls.public.issue("alice", use="clientAuth")
    cases = [(None, "a client certificate is required"),
             (secured.tls.public.issue_later("early", use="clientAuth"), "is not valid yet"),
             (secured.other.issue("mallory", use="clientAuth"), "not issued by an authority that this service accepts"),
             (secured.tls.public.issue("late", use="clientAuth", days=-1), "has expired"),
             (secured.tls.site, "not one for clients")]
    secured.write(client_ca=str(secured.tls.public.certificate))
    secured.nginx.reload()
    try:
        for own, why in cases:
            answer = Client(secured.nginx.url, context=secured.tls.client(own)).get("/us/health")
            assert answer.status == 403 and why in answer.json["detail"], (own and own.name, answer)
            assert answer.headers["strict-transport-security"]
        assert Client(secured.nginx.url, context=secured.tls.client(good)).get("/us/health").status == 200
    finally:
        secured.write()
        secured.nginx.reload()


def test_a_connection_that_is_kept_open_lets_nobody_in_after_the_certificate_has_ended(secured):
    """NGINX looks at a certificate when a connection begins; the daemon, which gets no certificate here, at its end."""
    secured.write(client_ca=str(secured.tls.public.certificate))
    secured.nginx.reload()
    try:
        link = http.client.HTTPSConnection("127.0.0.1", secured.port, timeout=15, context=secured.tls.client(secured.tls.public.issue_for(4, "alice")))
        link.connect()
        socket_of_it = link.sock

        def ask(path):
            link.request("GET", path, headers={"X-Plist-Certificate-Ends": "Jan  1 00:00:00 2099 GMT"})  # NGINX replaces it
            answer = link.getresponse()
            assert link.sock is socket_of_it, "it is still the same connection"
            return answer.status, answer.read()
        assert ask("/us/health")[0] == ask("/us/properties?limit=1")[0] == 200
        wait_until("the certificate has ended", lambda: ask("/us/properties?limit=1")[0] != 200, 15)
        for path in ("/us/properties?limit=1", "/us/health", "/us/nothing"):
            status, text = ask(path)
            assert status == 403 and b"the client certificate has expired" in text, (path, status, text)
        link.close()
        kept = http.client.HTTPSConnection("127.0.0.1", secured.port, timeout=15, context=secured.tls.client(secured.tls.public.issue("alice", use="clientAuth")))
        kept.request("GET", "/us/health")
        assert kept.getresponse().read()
        secured.nginx.reload()
        wait_until("NGINX has ended the connection", lambda: is_closed(kept.sock), 15)
        kept.close()
    finally:
        secured.write()
        secured.nginx.reload()


# NGINX and daemons.


def test_the_daemon_refuses_clients_without_a_certificate_of_its_authority_and_says_why(secured):
    daemon, internal = secured.daemon, secured.tls.internal
    before = daemon.metrics()["plist_tls_refused_total"]
    cases = [(None, "it showed no certificate"),
             (secured.other.issue("mallory", use="clientAuth"), "its certificate is not signed by the authority in .*internal-ca.crt"),
             (internal.issue("late", use="clientAuth", days=-1), "its certificate has expired .*CN=late"),
             (secured.tls.plistd["us"], "its certificate is not one for clients")]
    for own, why in cases:
        for highest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            known = context(internal, own)
            known.maximum_version = highest
            with pytest.raises((ssl.SSLError, ConnectionError)):
                Client(daemon.url, context=known).get("/health")
        wait_until("the log says why", lambda w=why: re.search(f"tls: refused a connection from 127.0.0.1: {w}", daemon.log_text()))
    assert daemon.metrics()["plist_tls_refused_total"] == before + 2 * len(cases)
    assert daemon.client.get("/health").status == 200


@pytest.fixture(scope="module")
def chain(_secured):
    """chain(n) is a client certificate with those of its issuers, n in all."""
    issuers = [_secured.tls.internal]
    for i in range(19):
        issuers.append(issuers[-1].authority(f"between-{i}"))

    def made(n):
        pair = issuers[n - 1].issue(f"deep-{n}", use="clientAuth")
        pair.certificate.write_bytes(pair.certificate.read_bytes() + b"".join(i.certificate.read_bytes() for i in issuers[n - 1:0:-1]))
        return pair
    return made


def test_certificates_that_are_not_valid_yet_or_in_long_chains_are_refused_with_the_reason(secured, chain):
    daemon, internal = secured.daemon, secured.tls.internal
    for own, why in ((internal.issue_later("early", use="clientAuth"), "its certificate is not valid yet .*CN=early"),
                     (chain(20), "its chain has more than 16 certificates")):
        mark = daemon.log_mark()

        def said(own=own, why=why, mark=mark):  # the log takes only so many such lines in ten seconds
            assert not answers(secured, own)
            return re.search(why, daemon.log_text(mark))
        wait_until(f"the log says that {why}", said)


def test_long_chains_and_large_certificates_of_our_authority_are_accepted_up_to_a_bound(secured, chain):
    daemon, internal = secured.daemon, secured.tls.internal
    for n, served in ((3, True), (16, True), (17, False)):
        assert served == answers(secured, chain(n)), n
    before = daemon.resident_bytes()
    large = internal.issue("large", tuple(f"{i:06}.{'x' * 50}.example" for i in range(250)), use="clientAuth")
    assert answers(secured, large), "16 KiB"
    with socket.create_connection(("127.0.0.1", daemon.port)) as small, socket.create_connection(("127.0.0.1", daemon.port)) as larger:
        send_most_of_a_certificate(small, 60)
        with contextlib.suppress(ConnectionError):
            send_most_of_a_certificate(larger, 16000)
        wait_until("the larger one is refused", lambda: is_closed(larger))
        assert not is_closed(small), "which has until http.receive_timeout"
        assert daemon.resident_bytes() - before < 4 << 20


def answers(secured, own):
    try:
        return Client(secured.daemon.url, context=context(secured.tls.internal, own)).get("/health").status == 200
    except (ssl.SSLError, ConnectionError):
        return False


@pytest.mark.parametrize("wrong", ["name", "authority", "expired"])
def test_nginx_refuses_a_daemon_with_a_wrong_certificate_and_sends_it_nothing(stack, secured, wrong):
    daemon, good = secured.daemon, secured.tls.plistd["us"]
    kept = [file.read_bytes() for file in (good.key, good.certificate)]
    names = ("other-host",) if wrong == "name" else ("plistd",)
    issuer = secured.other if wrong == "authority" else secured.tls.internal
    good.become(issuer.issue("wrong", names, days=-1 if wrong == "expired" else 9))
    record, ours = stack.new_record("us", everywhere=False), daemon.log_mark()
    log = secured.nginx.folder / "error.log"
    mark = len(log.read_text())
    try:
        daemon.reload()
        assert secured.front().get("/us/health").status == 503
        answer = secured.front().put(record, price=7, version=1)
        assert answer.status == 503 and answer.headers["x-plist-executed"] == "no", answer
        assert daemon.metrics()["plist_certificate_misnamed"] == (wrong == "name")
        said = admin("status", "--region", "us", config=secured.config, check=False).stderr
        assert ("The name in the certificate does not match the expected" in said) == (wrong == "name"), said  # plist-admin is refused, too
    finally:
        for file, content in zip((good.key, good.certificate), kept):
            file.write_bytes(content)
        daemon.reload()
    assert stack.database("us").property(record)["version"] == 1
    why = {"name": 'does not match "plistd"', "authority": "unable to get local issuer certificate|unable to verify the first certificate",
           "expired": "certificate has expired"}[wrong]
    assert re.search(why, log.read_text()[mark:])
    if wrong != "authority":  # which only NGINX can see
        assert daemon.log_contains({"name": "is not a certificate for the name plistd", "expired": "expired at"}[wrong], ours)
    secured.nginx.reload()  # it skips a daemon that has failed for a while
    wait_until("NGINX reaches it again", lambda: secured.front().get("/us/health").status == 200)


def test_a_renewed_certificate_is_served_after_a_reload_and_no_connection_is_lost(secured):
    daemon, pair = secured.daemon, secured.tls.plistd["us"]
    kept = daemon.client.connect()
    kept.request("GET", "/health")
    assert kept.getresponse().read()
    before = serial_of(secured)
    pair.become(secured.tls.internal.issue("renewed", ("plistd", "localhost", "127.0.0.1")))
    daemon.reload()
    kept.request("GET", "/health")  # on the connection that began with the old one
    assert kept.getresponse().status == 200
    kept.close()
    assert serial_of(secured) == pair.serial() != before


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_reload_ends_the_sessions_that_could_be_resumed(secured, version):
    daemon, known = secured.daemon, secured.tls.front()
    known.maximum_version = ssl.TLSVersion[version]

    def connect(session):
        s = known.wrap_socket(socket.create_connection(("127.0.0.1", daemon.port)), server_hostname="plistd", session=session)
        with s:
            s.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert b"".join(iter(lambda: s.recv(4096), b"")).startswith(b"HTTP/1.1 200 ")
            return s.session, s.session_reused
    session, _ = connect(None)
    session, reused = connect(session)
    assert reused
    daemon.reload()
    session, reused = connect(session)
    assert not reused, "it would stand for a certificate that nobody has verified since"
    assert connect(session)[1]


def test_nginx_resumes_no_session_with_a_daemon_whose_certificate_has_ended(stack, secured):
    pair, record = secured.tls.plistd["us"], stack.new_record("us", everywhere=False)
    kept = [file.read_bytes() for file in (pair.key, pair.certificate)]
    pair.become(secured.tls.internal.issue_for(5, "short", ("plistd", "localhost", "127.0.0.1"), use="serverAuth"))
    try:
        secured.daemon.reload()
        assert [secured.front().put(record, price=7, version=n).status for n in (1, 2, 3)] == [200] * 3
        wait_until("NGINX refuses it", lambda: secured.front().put(record, price=7, version=1).status == 503)
    finally:
        for file, content in zip((pair.key, pair.certificate), kept):
            file.write_bytes(content)
        secured.daemon.reload()
        secured.nginx.reload()
        wait_until("NGINX reaches it again", lambda: secured.front().get("/us/health").status == 200)


def test_an_authority_that_a_reload_takes_away_accepts_no_old_session(secured):
    daemon, known = secured.daemon, secured.tls.front()
    ca = secured.tls.internal.certificate
    second = secured.other.issue("second", use="clientAuth")
    kept = ca.read_bytes()
    known.load_cert_chain(second.certificate, second.key)

    def session_of(session=None):
        with known.wrap_socket(socket.create_connection(("127.0.0.1", daemon.port)), server_hostname="plistd", session=session) as s:
            s.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert b"".join(iter(lambda: s.recv(4096), b"")).startswith(b"HTTP/1.1 200 ")
            return s.session
    try:
        ca.write_bytes(kept + secured.other.certificate.read_bytes())
        daemon.reload()
        session = session_of()
    finally:
        ca.write_bytes(kept)
        daemon.reload()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        session_of(session)


def serial_of(secured):
    """The serial number of the certificate that the daemon shows."""
    shown = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{secured.daemon.port}"], input="", capture_output=True, text=True, check=False)
    return subprocess.run(["openssl", "x509", "-noout", "-serial"], input=shown.stdout, capture_output=True, text=True, check=True).stdout.strip()


# Faults of the daemon's own files.


@pytest.mark.parametrize("fault, words", [
    ("another key", "is not the key of the certificate"), ("no file", "plistd-us.crt: No such file or directory"), ("open key", "plistd-us.key: holds secrets but has mode 0644; run chmod 600"),
    ("no PEM", "is not a file of certificates in PEM form"), ("half of it", "is not a file of certificates in PEM form"),
    ("half a key", "plistd-us.key: "), ("half an authority", "internal-ca.crt: is not a file of certificates in PEM form"),
    ("a folder", "plistd-us.crt: is a directory, not a regular file")])
def test_files_that_cannot_serve_are_refused_by_a_reload_and_by_a_start(secured, fault, words):
    daemon, pair = secured.daemon, secured.tls.plistd["us"]
    kept = {file: file.read_bytes() for file in (pair.key, pair.certificate, secured.tls.internal.certificate)}
    mark = daemon.log_mark()
    try:
        if fault == "another key":
            pair.key.write_bytes(secured.tls.site.key.read_bytes())
        elif fault == "open key":
            pair.key.chmod(0o644)
        elif fault == "no PEM":
            pair.certificate.write_text("hello\n")
        elif fault.startswith("half"):
            halve({"half of it": pair.certificate, "half a key": pair.key}.get(fault, secured.tls.internal.certificate))
        elif fault == "a folder":
            pair.certificate.unlink()
            pair.certificate.mkdir()
        else:
            pair.certificate.unlink()
        before = daemon.reloads()
        daemon.hangup()
        wait_until("the reload is refused", lambda: daemon.reloads() == (before[0], before[1] + 1))
        assert "regions.us.tls" in daemon.log_text(mark) and words in daemon.log_text(mark)
        assert daemon.client.get("/health").status == 200
        done = subprocess.run([places.program("plistd"), "-c", secured.config, "-r", "us"], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 78 and words in done.stderr, done
    finally:
        if fault == "a folder":
            pair.certificate.rmdir()
        for file, content in kept.items():
            file.write_bytes(content)
            file.chmod(0o600)
        daemon.reload()


def test_plist_admin_uses_no_key_that_others_can_read(secured):
    key = secured.tls.nginx.key

    def shown():
        done = admin("lag", config=secured.config, check=False)
        return done.stdout + done.stderr
    assert "holds secrets" not in shown()
    key.chmod(0o644)
    try:
        assert f"nginx.upstream_tls.key: {key}: holds secrets but has mode 0644; run chmod 600" in shown()
    finally:
        key.chmod(0o600)


def test_metrics_and_status_say_when_each_certificate_expires(secured):
    daemon = secured.daemon
    name = 'plist_certificate_expiry_timestamp_seconds{use="regions.us.tls.certificate"}'
    assert 89 < (daemon.metrics()[name] - time.time()) / 86400 < 91
    shown = {c["use"]: c for c in daemon.status()["certificates"]}
    assert set(shown) == {"regions.us.tls.certificate", "regions.us.tls.client_ca"}
    assert "CN=plistd-us" in shown["regions.us.tls.certificate"]["subject"] or "CN=renewed" in shown["regions.us.tls.certificate"]["subject"]


def halve(file):
    file.write_bytes(file.read_bytes()[:file.stat().st_size // 2])


def test_certificates_are_replaced_well_and_badly_without_a_lost_request(stack, secured):
    daemon, tls = secured.daemon, secured.tls
    files = [f for pair in (tls.plistd["us"], tls.nginx, tls.site, tls.internal) for f in (pair.certificate, pair.key)]
    kept = {file: file.read_bytes() for file in files}
    spoilt = [lambda: halve(tls.plistd["us"].certificate), lambda: halve(tls.plistd["us"].key), lambda: halve(tls.internal.certificate),
              lambda: tls.plistd["us"].key.write_bytes(tls.nginx.key.read_bytes())]
    try:
        with Load([secured.front()], [stack.new_record("us", everywhere=False) for _ in range(8)], threads=4) as load:
            for n, spoil in enumerate(spoilt):
                tls.plistd["us"].become(tls.internal.issue("fresh", ("plistd", "localhost", "127.0.0.1")))
                tls.nginx.become(tls.internal.issue("fresh", use="clientAuth"))
                tls.site.become(tls.public.issue("fresh", ("localhost", "127.0.0.1")))
                daemon.reload()
                if n % 2:
                    secured.nginx.reload()
                load.wait_accepted(5)
                assert serial_of(secured) == tls.plistd["us"].serial()
                good, before = {file: file.read_bytes() for file in files}, (serial_of(secured), daemon.reloads())
                spoil()
                daemon.hangup()
                wait_until("the reload is refused", lambda r=before[1]: daemon.reloads() == (r[0], r[1] + 1))
                assert daemon.metrics()["plist_config_last_reload_successful"] == 0
                load.wait_accepted(5)
                assert serial_of(secured) == before[0], "the one from before"
                for file, content in good.items():
                    file.write_bytes(content)
        assert not load.errors and set(load.statuses) <= {200, 409}, (load.errors, load.statuses)
        halve(tls.site.certificate)
        told = admin("status", "--timeout", "1s", config=secured.config, check=False)
        assert f"nginx.tls.certificate: {tls.site.certificate}: is not a file of certificates in PEM form" in told.stderr, told
        assert f"us: the daemon at 127.0.0.1:{daemon.port} has refused the last reload" in told.stderr, told
    finally:
        for file, content in kept.items():
            file.write_bytes(content)
        daemon.reload()
        secured.nginx.reload()


# Slow clients.


def hello(highest=ssl.TLSVersion.TLSv1_3):
    """A ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    known = ssl.create_default_context()
    known.maximum_version = highest
    tls = known.wrap_bio(incoming, outgoing, server_hostname="plistd")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def send_most_of_a_certificate(s, kib=60):
    """Goes on with the handshake, of TLS 1.2, up to the last byte of the client's certificate, which never comes."""
    certificate = b"\x0b" + (kib << 10).to_bytes(3, "big") + bytes(kib << 10)
    s.sendall(hello(ssl.TLSVersion.TLSv1_2))
    received = b""
    while b"\x0e\0\0\0" not in received:  # ServerHelloDone
        received += s.recv(65536)
    for at in range(0, len(certificate) - 1, 16384):
        piece = certificate[at:min(at + 16384, len(certificate) - 1)]
        s.sendall(b"\x16\x03\x03" + len(piece).to_bytes(2, "big") + piece)


def slow_clients(secured, n, whole):
    """n connections to the daemon: silent, in the middle of a handshake or certificate, and (`whole` of them) of a head."""
    first, known, opened = hello(), secured.tls.front(), []
    for i in range(n):
        s = socket.create_connection(("127.0.0.1", secured.daemon.port), timeout=60)
        if i < whole:
            s = known.wrap_socket(s, server_hostname="plistd")
            s.sendall(b"GET /us/properties/1 HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        elif i % 3 == 1:
            s.sendall(first[:len(first) // 2])
        elif i % 3 == 2:
            send_most_of_a_certificate(s)
        opened.append(s)
    return opened


def test_a_thousand_slow_clients_keep_no_good_one_out_and_are_closed_in_time(secured):
    daemon = secured.daemon
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    before = daemon.resident_bytes()
    slow = slow_clients(secured, 1000, 200)
    try:
        waits = []
        for _ in range(50):
            began = time.monotonic()
            assert Client(daemon.url, "us", context=secured.tls.front()).get("/health").status == 200
            waits.append(time.monotonic() - began)
        assert sorted(waits)[25] < 1, waits
        assert secured.front().get("/us/health").status == 200, "nor NGINX"
        grown = daemon.resident_bytes() - before
        assert grown < 150 << 20, grown
        wait_until("the daemon has closed them", lambda: all([is_closed(s) for s in slow]), 40)  # http.receive_timeout is 10 s
    finally:
        for s in slow:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_closed(s):
    s.settimeout(0)
    try:
        while s.recv(4096):  # a 408, or an alert
            pass
        return True
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
