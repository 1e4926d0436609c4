"""NGINX with the configuration that `plist-admin nginx` generates, in front of fake daemons that can fail in many ways.

The fake daemons are small servers in this module, so neither a database nor a broker is needed.
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

import yaml

from . import places
from .client import Client, new_id
from .plistd import admin
from .process import free_port, wait_until

WRITES = ("PUT", "POST", "DELETE", "PATCH")
READ_TIMEOUT = 0.4
REGIONS = ("us", "eu", "ap")

# How a daemon fails. With UNSENT no part of a request is sent; with SENT it may have been
# executed.
UNSENT = ("refuses", "black_hole")
SENT = ("closes_unread", "resets_unread", "never_reads", "reads_and_closes", "reads_and_resets", "answers_502", "answers_503",
        "answers_504", "hangs", "half_a_header", "half_a_body", "talks_nonsense")
# With these NGINX has begun to send a response before it sees the failure (nonsense is
# HTTP/0.9 to it).
BEGUN = ("half_a_body", "talks_nonsense")
# With these the failure may occur before or after the first byte is sent.
RACING = ("closes_unread", "resets_unread")


class Daemon:
    """A fake daemon of a region: answers, or fails in a given way. Records what it received and executed.

    The query ?as=WAY selects the way for one request.
    """

    def __init__(self, region, path=None):
        self.region = region
        self.port = free_port()
        self.address = str(path) if path else ("127.0.0.1", self.port)
        self.lock = threading.Lock()
        self.behave("answers")

    def behave(self, how):
        """Sets the way for new connections and clears the records."""
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
            if isinstance(self.address, str):  # left behind by the previous listener, as by a killed daemon
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
        """Closes the listener and waits for open connections, so that nothing is executed later unnoticed."""
        if getattr(self, "listener", None) is None:
            return
        self.settle()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.listener = None
        for client in self.clients:
            client.close()

    def settle(self):
        """Releases waiting connections and waits until all connections have ended."""
        self.released.set()
        for thread in list(self.threads):
            thread.join(5)
            assert not thread.is_alive(), f"{self.region}: a connection does not end"

    def _fill_backlog(self):
        # Nothing accepts connections. If the backlog is full, the kernel drops new ones,
        # and connecting never succeeds.
        for _ in range(8):
            client = self.socket()
            client.setblocking(False)
            client.connect_ex(self.address)
            self.clients.append(client)
        # To find out whether the backlog is full, connect as NGINX does.
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
        wait_until("the backlog of the black hole is full", full)

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
            if self._way(request) == "refuses_work":
                with self.lock:
                    self.received.append(request)
            else:
                self._note(request)
            self._answer(connection, request, released)
            if self.how == "drops_kept" and request["headers"].get("connection") != "close":
                while not released.is_set() and not select.select([connection], [], [], 0.05)[0]:
                    pass
                if not released.is_set():
                    connection.recv(1)  # of the next request, which gets no response
        except OSError:
            pass
        finally:
            connection.close()

    def _way(self, request):
        return request["path"].partition("?as=")[2] or self.how

    def _note(self, request):
        with self.lock:
            self.received.append(request)
            if request["method"] in WRITES:
                self.executed.append(request["headers"].get("x-request-id"))

    def _answer(self, connection, request, released):
        body = json.dumps({"region": self.region, "status": "ok"}).encode()
        head = [f"X-Plist-Region: {self.region}", f"X-Request-ID: {request['headers'].get('x-request-id') or new_id()}", "Content-Type: application/json"]
        how = self._way(request)
        if how == "reads_and_closes":
            return
        if how == "reads_and_resets":
            reset(connection)
        elif how == "hangs":
            released.wait(10)
        elif how == "half_a_header":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Ty")
        elif how == "half_a_body":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n{\"half\":")
        elif how == "talks_nonsense":
            connection.sendall(b"\x00\x01\x02 what?\r\n\r\n")
        elif how == "refuses_work":
            send(connection, 503, head + not_executed(request), b'{"error":"of the daemon itself"}')
        elif how.startswith("headers_of_"):
            filler = [f"X-Filler-{i}: {'x' * 1000}" for i in range(int(how.removeprefix("headers_of_")) // 1016)]
            send(connection, 200, head + filler, body)
        elif how == "large":
            send(connection, 200, head, b"x" * 8_000_000)
        elif how == "slow":
            released.wait(READ_TIMEOUT * 0.6)
            send(connection, 200, head, body)
        elif how.startswith("answers_"):
            send(connection, int(how[8:]), head, b'{"error":"of the daemon itself"}')
        else:
            send(connection, 200, head, body, keep=how == "drops_kept")


def not_executed(request):
    """The headers of a response of plistd to a request that was certainly not executed."""
    place = request["headers"].get("x-plist-next")
    return ["X-Plist-Executed: no", *([f"X-Accel-Redirect: {place}"] if place else [])]


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def send(connection, status, head, body, keep=False):
    lines = [f"HTTP/1.1 {status} X", *head, f"Content-Length: {len(body)}", *([] if keep else ["Connection: close"]), "", ""]
    connection.sendall("\r\n".join(lines).encode() + body)


def read_request(connection):
    """A complete request, or None if it ended early."""
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


def is_problem(answer, status):
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "instance", "error"} <= set(answer.json)
    assert answer.json["status"] == status
    return True


class Front:
    """NGINX in front of one or more fake daemons for each region."""

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
            config["nginx"]["local_regions"] = list(self.names)
            for r, region in config["regions"].items():
                region["unix_socket"] = str(self.folder / r)
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
        """Sets the behaviour of each region's daemons (default: answers) and clears NGINX's memory of failures."""
        for region, daemons in self.daemons.items():
            for daemon in daemons:
                daemon.behave(how.get(region, "answers"))
        self.forget()

    def forget(self):
        # NGINX skips a region for a second after some failed reads. A reload clears this.
        generation = self.workers()
        self.process.send_signal(signal.SIGHUP)
        wait_until("NGINX has new workers", lambda: not generation & self.workers() and self.workers())

    def workers(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {int(pid) for pid in children}

    def send(self, method, region="us", request_id=None):
        """A request of the application; None if the response was cut off."""
        body = None if method in ("GET", "DELETE") else {"price": 1, "version": 1}
        try:
            return self.client.request(method, f"/{region}/properties/7", body=body, request_id=request_id or new_id())
        except OSError:
            return None
        except Exception as error:  # noqa: BLE001 - an incomplete response
            if type(error).__name__ in ("IncompleteRead", "BadStatusLine", "RemoteDisconnected"):
                return None
            raise

    def executions(self, request_id):
        """How often each region executed a write, after all connections have ended."""
        for daemon in self.all():
            daemon.settle()
        return {region: sum(d.executed.count(request_id) for d in daemons) for region, daemons in self.daemons.items()}
