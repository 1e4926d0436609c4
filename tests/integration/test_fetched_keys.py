"""auth.jwt.jwks_url: keys that the daemon fetches, and what it does when it cannot."""

import contextlib
import http.server
import json
import ssl
import threading
import time

import pytest
import yaml

from support.client import Client
from support.jwt import Issuer
from support.plistd import Plistd, admin
from support.process import free_port, wait_until
from support.tls import Authority

REFRESH_S = 1


class Site:
    """An HTTPS server of an issuer. `how` says how it answers; `seen` are the requests."""

    def __init__(self, pair):
        self.how, self.text, self.seen = "answers", "", []
        self.pair, self.port, self.server = pair, free_port(), None
        self.url = f"https://127.0.0.1:{self.port}/jwks.json"
        self.start()

    def start(self):
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                site.seen.append((time.monotonic(), self.path, dict(self.headers)))
                with contextlib.suppress(OSError):
                    site.answer(self)

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pair.certificate, self.pair.key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def answer(self, request):
        if self.how.startswith("http"):
            request.send_response(302)
            request.send_header("Location", self.how)
            request.end_headers()
            return
        if self.how.isdigit():
            request.send_response(int(self.how))
            request.end_headers()
            return
        text = {"broken": '{"keys":[', "private": '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA","d":"AAAA"}]}', "empty": '{"keys":[]}',
                "nothing": ""}.get(self.how, self.text)
        request.send_response(200)
        request.end_headers()
        request.wfile.write(text.encode())
        if self.how == "huge":
            for _ in range(64):
                request.wfile.write(b" " * 16384)
        if self.how == "slow":
            for _ in range(120):  # each byte comes in time, the whole does not
                request.wfile.write(b" ")
                request.wfile.flush()
                time.sleep(0.25)


class Fetching:
    def __init__(self, stack, folder):
        self.folder = folder
        self.authority = Authority(folder / "tls", "issuer-ca")
        self.issuer = Issuer(folder / "issuer")
        self.site = Site(self.authority.issue("issuer", ("127.0.0.1",)))
        self.site.text = self.issuer.key_set()
        self.stack = stack
        self.config, port = folder / "plist.yaml", free_port()
        self.port = port
        self.write()
        self.daemon = Plistd(folder / "plistd", "us", port, self.config, name="plistd-fetching")

    def write(self, **jwt):
        config = self.stack.dictionary()
        config["regions"]["us"] |= {"listen": f"127.0.0.1:{self.port}", "control_socket": str(self.folder / "us.sock")}
        config["security"] = {"clients": "required"}
        config["auth"] = {"jwt": {"jwks_url": self.site.url, "jwks_ca": str(self.authority.certificate), "refresh": f"{REFRESH_S}s",
                                  "issuer": Issuer.name, "audience": "plist"} | jwt}
        config["auth"]["jwt"] = {k: v for k, v in config["auth"]["jwt"].items() if v is not None}
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))

    def token(self, issuer=None, algorithm="ES256", **more):
        return (issuer or self.issuer).token(algorithm, aud="plist", sub="anna", exp=int(time.time()) + 600, **more)

    def answer(self, token=None):
        return Client(self.daemon.url, "us").get("/us/properties?limit=1", Authorization=f"Bearer {token or self.token()}")

    def status(self, token=None):
        return self.answer(token).status

    def metric(self, name):
        return self.daemon.metrics()[f"plist_jwks_{name}"]

    def failed_for(self, words):
        """The daemon has failed to fetch the keys for this reason."""
        wait_until(f"the keys cannot be fetched: {words}", lambda: words in self.daemon.status()["jwks"].get("why", ""))


@pytest.fixture
def fetching(stack, tmp_path):
    made = Fetching(stack, tmp_path)
    try:
        made.daemon.start()
        made.daemon.wait_ready()
        yield made
    finally:
        if made.daemon.running:
            made.daemon.stop()
        made.site.stop()


def test_keys_are_fetched_and_new_ones_are_taken_when_they_are_due(fetching):
    assert fetching.status() == 200
    assert fetching.metric("keys") == 3
    path, headers = fetching.site.seen[0][1:]
    assert path == "/jwks.json" and "application/jwk-set+json" in headers["Accept"]
    token, other = fetching.token(), Issuer(fetching.folder / "issuer-2")
    assert fetching.status(token) == 200, "it is remembered now"
    fetching.site.text = other.key_set()
    wait_until("the new keys are in force", lambda: fetching.status(fetching.token(other)) == 200)
    assert fetching.status(token) == 401, "a key that is gone verifies nothing, not even what it has verified"
    assert fetching.daemon.log_contains("auth: fetched 3 keys from")


def test_an_issuer_that_announces_a_new_key_before_it_signs_with_it_loses_no_request(fetching):
    other = Issuer(fetching.folder / "issuer-2")
    renamed = json.loads(other.key_set())["keys"]
    for key in renamed:
        key["kid"] += "-2"
    signs, statuses, stop = [fetching.token(), fetching.token(other, header={"kid": "es256-2"})], [], threading.Event()
    current = signs[0]

    def send():
        while not stop.is_set():
            statuses.append(fetching.status(current))
    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        old = json.loads(fetching.site.text)["keys"]
        for keys, signer in ((old + renamed, 0), (old + renamed, 1), (renamed, 1)):
            fetched = fetching.metric("fetches_total")
            fetching.site.text = json.dumps({"keys": keys})
            wait_until("the set is fetched", lambda f=fetched: fetching.metric("fetches_total") >= f + 2)
            current, n = signs[signer], len(statuses)
            wait_until("requests are answered", lambda at=n: len(statuses) > at + 20)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200} and fetching.status(signs[0]) == 401


@pytest.mark.parametrize("how, words", [
    ("503", "the answer has the status 503"), ("broken", "the answer is not a usable set of keys"), ("private", "keys[0]: it is a private key"), ("empty", "has no key for"),
    ("nothing", "the answer is not a usable set of keys"), ("huge", "the answer is larger than 256 KiB"), ("https://other.example/keys", "the answer is a redirect to https://other.example/keys")])
def test_while_a_fetch_fails_the_keys_stay_and_everything_says_why(fetching, how, words):
    failures = fetching.metric("fetch_failures_total")
    token = fetching.token()
    fetching.site.how = how
    fetching.failed_for(words)
    assert fetching.status(token) == 200 and fetching.status() == 200
    assert fetching.daemon.operators.get("/ready").status == 200
    assert fetching.metric("fetch_failures_total") > failures and fetching.metric("keys") == 3
    assert fetching.daemon.log_contains("those from before stay in force")
    wait_until("they are overdue", lambda: fetching.metric("overdue") == 1)
    fetched = fetching.metric("last_success_timestamp_seconds")
    fetching.site.how = "answers"
    wait_until("it is fetched again", lambda: fetching.metric("last_success_timestamp_seconds") > fetched)
    assert "why" not in fetching.daemon.status()["jwks"] and fetching.metric("overdue") == 0


def test_a_server_that_is_down_or_hangs_harms_nobody(fetching):
    fetching.site.stop()
    fetching.failed_for("Failed to connect")
    assert fetching.status() == 200
    fetching.site.how = "slow"
    fetching.site.start()
    fetching.failed_for("no answer in time")
    assert fetching.status() == 200


def test_a_daemon_that_stops_does_not_wait_for_a_slow_server(fetching):
    fetching.site.how, n = "slow", len(fetching.site.seen)
    wait_until("a fetch has begun", lambda: len(fetching.site.seen) > n)
    began = time.monotonic()
    fetching.daemon.stop()
    assert time.monotonic() - began < 5


def test_a_certificate_that_is_wrong_is_refused(fetching):
    other = Authority(fetching.folder / "tls", "other-ca")
    for pair in (other.issue("foreign", ("127.0.0.1",)), fetching.authority.issue("named", ("other-host",)),
                 fetching.authority.issue("late", ("127.0.0.1",), days=-1)):
        fetching.site.stop()
        fetching.site.pair = pair
        fetching.site.start()
        mark = fetching.daemon.log_mark()
        wait_until("it is refused", lambda m=mark: "SSL" in fetching.daemon.log_text(m) or "certificate" in fetching.daemon.status()["jwks"].get("why", ""))
        assert fetching.status() == 200


def test_without_any_keys_tokens_are_503_and_the_daemon_is_not_ready(stack, tmp_path):
    made = Fetching(stack, tmp_path)
    made.site.how = "503"
    made.daemon.start()
    try:
        made.daemon.wait_unready("the keys that verify tokens have not been fetched from", "the answer has the status 503")
        answer = made.answer()
        assert answer.status == 503 and answer.headers["x-plist-executed"] == "no" and answer.headers["retry-after"]
        assert Client(made.daemon.url, "us").get("/us/properties?limit=1").status == 401, "no token at all"
        made.site.how = "answers"
        made.daemon.wait_ready()
        assert made.status() == 200
    finally:
        made.daemon.stop()
        made.site.stop()


def test_an_unknown_key_fetches_early_but_at_most_once_in_ten_seconds(fetching):
    fetching.write(refresh="1h")
    fetching.daemon.reload()  # another refresh: the keys are fetched again, with the first one
    wait_until("the keys are there", lambda: fetching.daemon.operators.get("/ready").status == 200)
    began, other = fetching.site.seen[-1][0], Issuer(fetching.folder / "issuer-2")
    n, unknown = len(fetching.site.seen), other.key_set().replace('"es256"', '"es256-2"')
    fetching.site.text = unknown
    token = fetching.token(other, header={"kid": "es256-2"})

    def accepted():
        assert fetching.status() in (200, 401)
        return fetching.status(token) == 200
    wait_until("the new key is in force", accepted)
    assert fetching.site.seen[n][0] - began >= 9.5
    nonsense, asked = fetching.token(other, header={"kid": "nonsense"}), 0
    while asked < 200 and time.monotonic() - fetching.site.seen[n][0] < 8:
        assert fetching.status(nonsense) == 401
        asked += 1
    assert asked > 0 and len(fetching.site.seen) == n + 1


def test_a_reload_keeps_the_keys_while_the_server_is_down(fetching):
    fetching.site.stop()
    fetching.failed_for("Failed to connect")
    fetching.daemon.reload()
    assert fetching.status() == 200
    fetching.write(refresh="2s")  # the same keys, less often
    fetching.daemon.reload()
    assert fetching.status() == 200 and fetching.daemon.client.get("/ready").status == 200
    fetching.write(jwks_url=fetching.site.url + "?other")  # nothing is known of those
    fetching.daemon.reload()
    fetching.daemon.wait_unready("have not been fetched from")
    assert fetching.status() == 503


def test_a_reload_changes_how_often_the_keys_are_fetched(fetching):
    fetching.write(refresh="1h")
    fetching.daemon.reload()
    n, began = len(fetching.site.seen), time.monotonic()
    fetching.write(refresh="3s")
    fetching.daemon.reload()
    assert fetching.status() == 200, "the keys from before the reload are kept, whether or not they are fetched again at once"
    fetching.site.text = Issuer(fetching.folder / "other").key_set()
    wait_until("they are fetched again", lambda: len(fetching.site.seen) >= n + 2)
    assert fetching.site.seen[n + 1][0] - began >= 2
    wait_until("the former keys are gone", lambda: fetching.status() == 401, 10)


@pytest.mark.parametrize("jwt, words", [
    ({"jwks_url": "http://issuer.example/keys"}, "auth.jwt.jwks_url: must begin with https://"),
    ({"jwks_url": "http://127.0.0.1.example/keys"}, "auth.jwt.jwks_url: must begin with https://"),
    ({"jwks_url": "http://[::2]/keys"}, "auth.jwt.jwks_url: must begin with https://"),
    ({"jwks_url": "https://anna:secret@issuer.example/keys"}, "must not contain a user or password"),
    ({"jwks_url": "ftp://issuer.example/keys"}, "auth.jwt.jwks_url: must be a URL"),
    ({"jwks_url": None}, "auth.jwt.keys: is missing"),
    ({"keys": "keys.json"}, "auth.jwt: keys and jwks_url are both given")])
def test_settings_that_are_not_safe_are_refused(fetching, jwt, words):
    fetching.write(**jwt)
    done = admin("config", "check", config=fetching.config, check=False)
    assert done.returncode == 1 and words in done.stderr, done
    assert "secret" not in done.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:8/keys", "http://[::1]:8/keys", "http://localhost/keys", "https://issuer.example"])
def test_loopback_needs_no_tls(fetching, url):
    fetching.write(jwks_url=url)
    assert admin("config", "check", config=fetching.config).returncode == 0


def online(fetching):
    """The problems that `config check --online` names with the URL of the keys. Other checks have their own tests."""
    done = admin("config", "check", "--online", "--timeout", "10s", "-o", "json", config=fetching.config, check=False)
    problems = [p for p in json.loads(done.stdout)["problems"] if "auth.jwt.jwks_url" in p["message"]]
    assert not any(p["severity"] == "error" for p in problems) or done.returncode == 1
    return [f"{p['severity']}: {p['message']}" for p in problems]


@pytest.fixture
def checked(stack, tmp_path):
    """The configuration and the site, without a daemon."""
    made = Fetching(stack, tmp_path)
    try:
        yield made
    finally:
        made.site.stop()


def test_the_check_of_the_configuration_fetches_the_keys(checked):
    assert online(checked) == []
    assert [path for _, path, _ in checked.site.seen] == ["/jwks.json"]
    key_set = json.loads(checked.site.text)
    checked.site.text = json.dumps({"keys": [*key_set["keys"], {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA", "kid": "other"}]})
    warning, = online(checked)
    assert warning.startswith("warning") and "1 of 4 keys are not used" in warning


@pytest.mark.parametrize("how, words", [
    ("503", "the answer has the status 503"), ("broken", "the answer is not a usable set of keys"), ("private", "keys[0]: it is a private key"),
    ("empty", "has no key for"), ("huge", "the answer is larger than 256 KiB"), ("https://other.example/keys", "which is not followed")])
def test_the_check_says_what_is_wrong_with_the_answer(checked, how, words):
    checked.site.how = how
    error, = online(checked)
    assert error.startswith("error") and checked.site.url in error and words in error


def test_the_check_says_why_the_keys_cannot_be_reached(checked):
    checked.site.stop()
    error, = online(checked)
    assert error.startswith("error") and "Failed to connect" in error
    other = Authority(checked.folder / "tls", "other-ca")
    for pair in (other.issue("foreign", ("127.0.0.1",)), checked.authority.issue("named", ("other-host",)),
                 checked.authority.issue("late", ("127.0.0.1",), days=-1)):
        checked.site.stop()
        checked.site.pair = pair
        checked.site.start()
        error, = online(checked)
        assert error.startswith("error") and "the server's certificate is not trusted: SSL" in error
