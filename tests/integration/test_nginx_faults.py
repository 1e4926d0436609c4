"""NGINX with the configuration that `plist-admin nginx` makes, before daemons that fail in every way there is.

What must hold: a write is executed at most once whatever happens to the daemons (except with `writes: always`, which says so), it is
answered by another region when nothing of it was sent, and reads are answered as long as one region can answer.
Stands alone: the daemons are small servers in this file, so neither a database nor a broker is needed.
"""

import json
import os
import pathlib
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
import yaml

from support import places
from support.client import Client, new_id
from support.plistd import admin
from support.process import free_port, wait_until

WRITES = ("PUT", "POST", "DELETE", "PATCH")
READ_TIMEOUT = 0.4
REGIONS = ("us", "eu", "ap")

# How a daemon fails. Those of UNSENT take nothing of a request; after the others it may have been executed.
UNSENT = ("refuses", "black_hole")
SENT = ("closes_unread", "resets_unread", "never_reads", "reads_and_closes", "reads_and_resets", "answers_502", "answers_503",
        "answers_504", "hangs", "half_a_header", "half_a_body", "talks_nonsense")
# With these NGINX has sent the client the beginning of an answer before it sees the fault (nonsense is HTTP/0.9 to it).
BEGUN = ("half_a_body", "talks_nonsense")
# With these the fault may come before the first byte is sent, or after.
RACING = ("closes_unread", "resets_unread")


class Daemon:
    """One region's daemon: answers, or fails in a given way. Knows which writes it executed and what it received."""

    def __init__(self, region, path=None):
        self.region = region
        self.port = free_port()
        self.address = str(path) if path else ("127.0.0.1", self.port)
        self.lock = threading.Lock()
        self.behave("answers")

    def behave(self, how):
        """From now on, for new connections. Forgets what it knew."""
        self.close()
        self.how = how
        self.executed = []
        self.received = []
        self.released = threading.Event()
        self.threads = []
        self.clients = []
        self.listener = None
        if how != "refuses":
            self.listener = self.socket()
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if isinstance(self.address, str):  # the one before left its name behind, as a daemon that was killed does
                pathlib.Path(self.address).unlink(missing_ok=True)
            self.listener.bind(self.address)
            if isinstance(self.address, str):
                os.chmod(self.address, 0o666)
            self.listener.listen(0 if how == "black_hole" else 128)
        if how == "black_hole":
            self._fill_backlog()
        elif self.listener:
            thread = threading.Thread(target=self._accept, args=(self.listener, self.released), daemon=True)
            thread.start()

    def socket(self):
        return socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)

    def close(self):
        """Ends the listener and waits for what is still going on, so that nothing is executed later unseen."""
        if getattr(self, "listener", None) is None:
            return
        self.settle()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.listener = None
        for client in self.clients:
            client.close()

    def settle(self):
        """Lets those that wait go on, and waits until every connection was served to its end."""
        self.released.set()
        for thread in list(self.threads):
            thread.join(5)
            assert not thread.is_alive(), f"{self.region}: a connection that does not end"

    def _fill_backlog(self):
        # Nobody accepts: when the queue is full the system drops what comes, and connecting takes for ever.
        for _ in range(8):
            client = self.socket()
            client.setblocking(False)
            client.connect_ex(self.address)
            self.clients.append(client)
        # Whether it is full is tried by connecting as NGINX will.
        def full():
            probe = self.socket()
            probe.settimeout(0.05)
            try:
                probe.connect(self.address)
            except (TimeoutError, OSError):
                return True
            finally:
                probe.close()
            return False
        wait_until("the queue of the black hole is full", full)

    def _accept(self, listener, released):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection, released), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, connection, released):
        try:
            connection.settimeout(10)
            if self.how == "closes_unread":
                return
            if self.how == "resets_unread":
                reset(connection)
                return
            if self.how == "never_reads":
                released.wait(10)
            request = read_request(connection)
            if request is None:
                return
            self._note(request)
            self._answer(connection, request, released)
            if self.how == "drops_kept" and request["headers"].get("connection") != "close":
                while not released.is_set() and not select.select([connection], [], [], 0.05)[0]:
                    pass
                if not released.is_set():
                    connection.recv(1)  # of the next request, which is swallowed
        except OSError:
            pass
        finally:
            connection.close()

    def _note(self, request):
        with self.lock:
            self.received.append(request)
            if request["method"] in WRITES:
                self.executed.append(request["headers"].get("x-request-id"))

    def _answer(self, connection, request, released):
        body = json.dumps({"region": self.region, "status": "ok"}).encode()
        head = [f"X-Plist-Region: {self.region}", f"X-Request-ID: {request['headers'].get('x-request-id', '')}", "Content-Type: application/json"]
        if self.how == "reads_and_closes":
            return
        if self.how == "reads_and_resets":
            reset(connection)
        elif self.how == "hangs":
            released.wait(10)
        elif self.how == "half_a_header":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Ty")
        elif self.how == "half_a_body":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n{\"half\":")
        elif self.how == "talks_nonsense":
            connection.sendall(b"\x00\x01\x02 what?\r\n\r\n")
        elif self.how.startswith("answers_"):
            send(connection, int(self.how[8:]), head, b'{"error":"of the daemon itself"}')
        else:
            send(connection, 200, head, body, keep=self.how == "drops_kept")


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def send(connection, status, head, body, keep=False):
    lines = [f"HTTP/1.1 {status} X", *head, f"Content-Length: {len(body)}", *([] if keep else ["Connection: close"]), "", ""]
    connection.sendall("\r\n".join(lines).encode() + body)


def read_request(connection):
    """A whole request, or None when it never became one."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    method, path, _ = lines[0].split(" ")
    pairs = [line.split(": ", 1) for line in lines[1:]]
    headers = {name.lower(): value for name, value in pairs}
    while len(body) < int(headers.get("content-length", 0)):
        chunk = connection.recv(65536)
        if not chunk:
            return None
        body += chunk
    return {"method": method, "path": path, "headers": headers, "pairs": pairs, "body": body}


class Front:
    """NGINX before one or more daemons for each region."""

    def __init__(self, writes="unsent", regions=2, daemons=1, beside=False, change=None):
        self.folder = places.data_folder("plist-nginx-")
        self.port = free_port()
        self.names = REGIONS[:regions]
        self.daemons = {r: [Daemon(r, self.folder / r if beside and i == 0 else None) for i in range(daemons)] for r in self.names}
        self.client = Client(f"http://127.0.0.1:{self.port}")
        self.process = None
        self.write_yaml(writes, beside, change)

    def write_yaml(self, writes, beside, change):
        config = yaml.safe_load((places.TOP / "conf" / "plist.yaml").read_text())
        config["lua"] = {"path": str(self.folder / "lua")}
        config["http"] = {"max_body": "64KiB"}
        config["regions"] = {
            r: {"listen": f"127.0.0.1:{self.daemons[r][0].port}", "upstream": [f"127.0.0.1:{d.port}" for d in self.daemons[r]],
                "database": f"postgresql://nobody@127.0.0.1:1/{r}"} for r in self.names}
        config["nginx"] |= {"listen": f"127.0.0.1:{self.port}", "connect_timeout": "200ms", "read_timeout": f"{int(READ_TIMEOUT * 1000)}ms",
                            "fail_timeout": "1s"}
        config["nginx"]["failover"]["writes"] = writes
        if beside:
            config["nginx"]["beside"] = list(self.names)
            for r, region in config["regions"].items():
                region["socket"] = str(self.folder / r)
        if change:
            change(config)
        files = {route["handler"] for route in config["routes"]} | {res["policy"] for res in config["resources"].values()}
        for file in files:
            path = self.folder / "lua" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("return {}\n")
        (self.folder / "plist.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        (self.folder / "nginx.conf").write_text(admin("nginx", config=self.folder / "plist.yaml").stdout)

    def command(self, *more, user=()):
        binary = shutil.which("nginx") or "/usr/sbin/nginx"
        return [*user, binary, "-p", f"{self.folder}/", "-e", str(self.folder / "error.log"), "-c", str(self.folder / "nginx.conf"), *more]

    def start(self, user=()):
        done = subprocess.run(self.command("-t", user=user), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        self.process = subprocess.Popen(self.command("-g", "daemon off;", user=user))
        wait_until("NGINX answers", lambda: self.client.get("/nginx-health").status == 200)
        return self

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)
        for daemon in self.all():
            daemon.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def all(self):
        return [d for daemons in self.daemons.values() for d in daemons]

    def behave(self, **how):
        """How each region's daemons behave; those that are not named answer. Starts without a memory of earlier failures."""
        for region, daemons in self.daemons.items():
            for daemon in daemons:
                daemon.behave(how.get(region, "answers"))
        self.forget()

    def forget(self):
        # NGINX leaves a region alone for a second after some failed reads. A reload begins anew.
        generation = self.workers()
        self.process.send_signal(signal.SIGHUP)
        wait_until("NGINX has new workers", lambda: not generation & self.workers() and self.workers())

    def workers(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {int(pid) for pid in children}

    def send(self, method, region="us", request_id=None):
        """A request as the application's; None when NGINX cut the answer off."""
        body = None if method in ("GET", "DELETE") else {"price": 1, "version": 1}
        try:
            return self.client.request(method, f"/{region}/properties/7", body=body, request_id=request_id or new_id())
        except OSError:
            return None
        except Exception as error:  # noqa: BLE001 - an answer that ends in its middle
            if type(error).__name__ in ("IncompleteRead", "BadStatusLine", "RemoteDisconnected"):
                return None
            raise

    def executions(self, request_id):
        """How often a write was executed, after everything that was under way has ended."""
        for daemon in self.all():
            daemon.settle()
        return {region: sum(d.executed.count(request_id) for d in daemons) for region, daemons in self.daemons.items()}


@pytest.fixture(scope="module", params=[{"regions": 2}, {"regions": 3}, {"regions": 2, "beside": True}],
                ids=["two_regions", "three_regions", "two_regions_by_socket"])
def regions(request):
    return request.param


def _front(**options):
    front = Front(**options)
    try:
        yield front.start()
    finally:
        front.stop()


def _fronts(writes):
    @pytest.fixture(scope="module", name=writes)
    def fronts(regions):
        yield from _front(writes=writes, **regions)
    return fronts


unsent, always, never = (_fronts(writes) for writes in ("unsent", "always", "never"))


@pytest.fixture(scope="module", params=[False, True], ids=["by_address", "one_by_socket"])
def two_daemons(request):
    yield from _front(daemons=2, beside=request.param)


def is_problem(answer, status):
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "instance", "error"} <= set(answer.json)
    assert answer.json["status"] == status
    return True


# Writes, unsent.

@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("fault", UNSENT)
def test_a_write_that_was_not_sent_is_executed_by_the_next_region(unsent, method, fault):
    unsent.behave(us=fault)
    request_id, start = new_id(), time.monotonic()
    answer = unsent.send(method, request_id=request_id)
    assert (answer.status, answer.region) == (200, "eu")
    assert time.monotonic() - start < 0.2 + 0.5, "the connect timeout is 200 ms"
    assert unsent.executions(request_id) == {r: int(r == "eu") for r in unsent.names}


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("fault", SENT)
def test_a_write_that_was_sent_is_executed_at_most_once(unsent, method, fault):
    unsent.behave(us=fault)
    request_id = new_id()
    answer = unsent.send(method, request_id=request_id)
    done = unsent.executions(request_id)
    assert sum(done.values()) <= 1, done
    if done["eu"]:
        assert fault in RACING and (answer.status, answer.region) == (200, "eu")
    elif fault.startswith("answers_"):
        assert answer.status == int(fault[8:]) and answer.json == {"error": "of the daemon itself"}
    elif fault in BEGUN:
        assert answer is None  # the client sees that it is not whole
    else:
        assert is_problem(answer, 504)
        assert answer.json["detail"] == "outcome unknown, retry with the same X-Request-ID"
        assert answer.headers["x-request-id"] == request_id and answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("first", UNSENT)
@pytest.mark.parametrize("second", SENT)
def test_a_write_stops_at_the_region_that_it_was_sent_to(unsent, first, second):
    unsent.behave(us=first, eu=second)
    request_id = new_id()
    unsent.send("PUT", request_id=request_id)
    done = unsent.executions(request_id)
    assert done["us"] == 0 and sum(done.values()) <= 1, done
    assert done.get("ap", 0) == 0 or second in RACING, done


def test_with_all_regions_away_nothing_was_written_and_the_first_one_back_answers(unsent):
    unsent.behave(**{r: "refuses" for r in unsent.names})
    for _ in range(3):
        for method in WRITES:
            answer = unsent.send(method)
            assert is_problem(answer, 503) and answer.json["retryable"] is True and answer.headers["retry-after"] == "1"
        assert unsent.send("GET").status == 503
    unsent.daemons["eu"][0].behave("answers")
    answer = unsent.send("PUT")
    assert (answer.status, answer.region) == (200, "eu"), "writes remember no failures"
    wait_until("reads are answered again", lambda: unsent.send("GET").region == "eu", 3)


def test_a_failed_write_moves_no_other_request(unsent):
    unsent.behave(us="answers_503")
    for _ in range(10):
        assert unsent.send("PUT").status == 503
    unsent.daemons["us"][0].behave("answers")
    for _ in range(10):
        assert unsent.send("PUT").region == "us"
        assert unsent.send("GET").region == "us"


def test_a_region_that_comes_back_takes_its_writes_at_once(unsent):
    unsent.behave(us="refuses")
    assert unsent.send("PUT").region == "eu"
    unsent.daemons["us"][0].behave("answers")
    assert unsent.send("PUT").region == "us"


# Writes, always and never.

@pytest.mark.parametrize("fault", [*UNSENT, *SENT])
def test_never_sends_a_write_to_another_region(never, fault):
    never.behave(us=fault)
    request_id = new_id()
    answer = never.send("PUT", request_id=request_id)
    done = never.executions(request_id)
    assert sum(done.values()) == done["us"] <= 1, done
    assert not any(d.received for r in never.names[1:] for d in never.daemons[r])
    if fault in UNSENT:
        assert is_problem(answer, 503)
    elif not fault.startswith("answers_") and fault not in BEGUN + RACING:
        assert is_problem(answer, 504)


@pytest.mark.parametrize("fault", [*UNSENT, *(f for f in SENT if f not in BEGUN)])
def test_always_sends_a_write_to_the_next_region_after_any_fault(always, fault):
    always.behave(us=fault)
    request_id = new_id()
    answer = always.send("PUT", request_id=request_id)
    assert (answer.status, answer.region) == (200, "eu")
    assert always.executions(request_id)["eu"] == 1


def test_always_tells_an_unknown_outcome_from_nothing_written(always):
    always.behave(**{r: "reads_and_closes" for r in always.names})
    assert is_problem(always.send("PUT"), 504)
    always.behave(**{r: "refuses" for r in always.names})
    assert is_problem(always.send("PUT"), 503)


# Reads.

@pytest.mark.parametrize("fault", [*UNSENT, *(f for f in SENT if f not in BEGUN)])
def test_a_read_survives_a_region(unsent, fault):
    unsent.behave(us=fault)
    for _ in range(4):
        answer = unsent.send("GET")
        assert (answer.status, answer.region) == (200, "eu")


@pytest.mark.parametrize("fault", [*UNSENT, *(f for f in SENT if f not in BEGUN)])
def test_a_read_survives_all_regions_but_one(unsent, fault):
    alive = unsent.names[-1]
    unsent.behave(**{r: fault for r in unsent.names[:-1]})
    for region in unsent.names:
        answer = unsent.send("GET", region=region)
        assert (answer.status, answer.region) == (200, alive)


def test_a_region_that_is_away_is_left_alone_by_reads_for_a_while(unsent):
    unsent.behave(us="black_hole")
    for _ in range(3):
        unsent.send("GET")
    start = time.monotonic()
    for _ in range(3):
        assert unsent.send("GET").region == "eu"
    assert time.monotonic() - start < 0.2, "each would wait 200 ms to connect"
    unsent.daemons["us"][0].behave("answers")
    wait_until("the region is asked again", lambda: unsent.send("GET").region == "us", 5)


def test_a_read_that_no_region_can_answer_gets_the_last_ones_own_answer(unsent):
    unsent.behave(**{r: "answers_503" for r in unsent.names})
    answer = unsent.send("GET")
    assert answer.status == 503 and answer.json == {"error": "of the daemon itself"}


def test_health_is_answered_while_one_region_lives(unsent):
    unsent.behave(**{r: "refuses" for r in unsent.names[:-1]})
    answer = unsent.client.get("/health")
    assert (answer.status, answer.json["status"], answer.region) == (200, "ok", unsent.names[-1])
    assert unsent.client.get("/nginx-health").json == {"status": "ok"}


def test_a_kept_connection_that_swallows_a_request_is_felt_by_nobody(unsent):
    """As a daemon does that closes an idle connection in the very moment in which NGINX uses it."""
    unsent.behave(us="drops_kept")
    for _ in range(10):
        request_id = new_id()
        assert unsent.send("GET").status == 200
        answer = unsent.send("PUT", request_id=request_id)
        assert (answer.status, answer.region) == (200, "us")
    us = unsent.daemons["us"][0]
    assert len(us.executed) == len(set(us.executed)) == 10


# Order and share.

def test_regions_are_asked_in_the_order_of_the_yaml_beginning_with_the_named_one(unsent):
    unsent.behave(us="refuses")
    for _ in range(20):
        assert unsent.send("GET").region == "eu" and unsent.send("PUT").region == "eu"
    assert not any(d.received for r in unsent.names[2:] for d in unsent.daemons[r])
    unsent.behave(eu="refuses")
    after_eu = unsent.names[2 % len(unsent.names)]
    for _ in range(20):
        assert unsent.send("GET", region="eu").region == after_eu
        assert unsent.send("PUT", region="eu").region == after_eu


def test_writes_stay_in_their_region_while_one_of_its_daemons_lives(two_daemons):
    two_daemons.behave()
    for _ in range(20):
        assert two_daemons.send("PUT").region == "us"
    shares = [len(d.executed) for d in two_daemons.daemons["us"]]
    assert min(shares) >= 5, f"both take their share: {shares}"
    two_daemons.daemons["us"][0].behave("refuses")
    for _ in range(20):
        request_id = new_id()
        assert two_daemons.send("PUT", request_id=request_id).region == "us"
        assert two_daemons.executions(request_id) == {"us": 1, "eu": 0}
    two_daemons.daemons["us"][1].behave("refuses")
    assert two_daemons.send("PUT").region == "eu"


# What goes through, and what does not.

def test_requests_arrive_as_they_were_sent(unsent):
    unsent.behave()
    headers = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "If-Match": '"eu:1+us:2"'}
    path = "/us/properties/7%2F8?min_price=1&q=a%20b%3Bc"
    answer = unsent.client.request("PUT", path, raw_body=b'{"price": 500000.10}', request_id="a.b_c~d-1", headers=headers)
    assert answer.status == 200 and answer.headers["x-request-id"] == "a.b_c~d-1"
    received, = unsent.daemons["us"][0].received
    assert (received["method"], received["path"], received["body"]) == ("PUT", path, b'{"price": 500000.10}')
    assert received["headers"]["x-request-id"] == "a.b_c~d-1"
    assert received["headers"]["traceparent"] == headers["traceparent"]
    assert received["headers"]["if-match"] == headers["If-Match"]
    assert received["headers"]["host"] == f"127.0.0.1:{unsent.port}"


def test_a_request_id_that_is_given_twice_arrives_twice(unsent):
    unsent.behave()
    raw = b"PUT /us/properties/7 HTTP/1.1\r\nHost: x\r\nX-Request-ID: one\r\nX-Request-ID: two\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    assert b" 200 " in unsent.client.raw(raw)
    received, = unsent.daemons["us"][0].received
    assert [value for name, value in received["pairs"] if name.lower() == "x-request-id"] == ["one", "two"]


def test_a_write_through_the_next_region_arrives_whole(unsent):
    unsent.behave(us="refuses")
    body = b'{"note":"' + b"x" * 60000 + b'"}'
    answer = unsent.client.request("POST", "/us/properties?a=%2F", raw_body=body, request_id="id-1", headers={"traceparent": "00-1-2-03"})
    assert (answer.status, answer.region) == (200, "eu")
    received, = unsent.daemons["eu"][0].received
    assert (received["path"], received["body"]) == ("/us/properties?a=%2F", body)
    assert received["headers"]["traceparent"] == "00-1-2-03"


def test_an_unknown_region_and_a_body_too_large_are_problems(unsent):
    unsent.behave()
    for path in ("/mars/properties/7", "/", "/metrics", "/us"):
        assert is_problem(unsent.client.get(path), 404)
    answer = unsent.client.request("PUT", "/us/properties/7", raw_body=b"x" * 65537, request_id="id-2")
    assert is_problem(answer, 413) and answer.headers["x-request-id"] == "id-2"
    assert not unsent.daemons["us"][0].received


def test_every_request_is_logged_with_its_id_and_what_was_sent(unsent):
    unsent.behave(us="refuses")
    request_id = new_id()
    unsent.send("PUT", request_id=request_id)

    def line():
        lines = [json.loads(text) for text in (unsent.folder / "access.log").read_text().splitlines()]
        return next((entry for entry in lines if entry["request_id"] == request_id), None)
    entry = wait_until("the request is logged", line)
    assert entry["status"] == "200" and entry["region"] == "eu"
    sent = entry["upstream_bytes_sent"].split(" : ")
    assert sent[0] == "0" and int(sent[1]) > 0


def test_an_unprivileged_user_can_run_it():
    front = Front()
    user = ()
    if os.getuid() == 0:
        user = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
        shutil.chown(front.folder, "nobody", "nogroup")
    try:
        front.start(user=user)
        assert front.send("PUT").status == 200
    finally:
        front.stop()
