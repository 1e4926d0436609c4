"""A daemon for tests with hostile clients: raw connections, and the checks that follow each of them.

A test module imports the fixtures that it uses: daemon, record, unharmed.
"""

import contextlib
import os
import select
import socket
import threading
import time

import pytest
import yaml

from .client import new_id
from .plistd import Plistd
from .process import free_port, wait_until

CONNECTIONS = 200
RECEIVE_S = 2
IDLE_S = 3
BODY = 65536


@pytest.fixture(scope="module")
def daemon(_two_regions):
    """An additional daemon of us with one worker, few connections and short timeouts."""
    stack = _two_regions
    stack.restore()
    config = stack.dictionary()
    folder = stack.folder / "plistd-hostile"
    folder.mkdir(exist_ok=True)
    port = free_port()
    config["regions"]["us"] |= {"listen": f"127.0.0.1:{port}", "control_socket": str(folder / "us.sock")}
    config["http"] = (config.get("http") or {}) | {
        "workers": 1, "max_connections": CONNECTIONS, "receive_timeout": f"{RECEIVE_S}s", "idle_timeout": f"{IDLE_S}s",
        "max_body": f"{BODY}B"}
    path = folder / "plist.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    daemon = Plistd(folder, "us", port, path, name="plistd-hostile")
    daemon.first_line = daemon.log_mark()
    try:
        yield daemon.start().wait_ready()
    finally:
        daemon.stop()


@pytest.fixture
def record(stack):
    return stack.new_record("us", everywhere=False)


def threads_named(pid, name):
    """The ids of a daemon's threads whose names begin like this."""
    found = []
    for tid in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{tid}/comm", encoding="ascii") as comm:
                if comm.read().startswith(name):
                    found.append(tid)
        except OSError:
            pass  # a short-lived thread
    assert found, (pid, name)
    return found


def worker_threads(pid):
    """The thread ids of the workers of a daemon."""
    return threads_named(pid, "worker")


def processor_s(pid, tid):
    """Processor time that a thread has used, in seconds; 0 for one that has ended."""
    try:
        with open(f"/proc/{pid}/task/{tid}/schedstat", encoding="ascii") as schedstat:
            return int(schedstat.read().split()[0]) / 1e9
    except OSError:
        return 0.0


def waited_s(daemon):
    """How long the daemon's workers and this thread were ready to run so far but had no processor, in seconds by thread."""
    waited = {}
    for thread in [f"{daemon.pid}/task/{tid}" for tid in worker_threads(daemon.pid)] + [f"self/task/{threading.get_native_id()}"]:
        with contextlib.suppress(OSError):  # a short-lived thread of a worker, whose name it has at first
            with open(f"/proc/{thread}/schedstat", encoding="ascii") as schedstat:
                waited[thread] = int(schedstat.read().split()[1]) / 1e9
    return waited


@contextlib.contextmanager
def at_once(daemon):
    """Checks that the block takes less than a second, apart from the time in which somebody else had the processor."""
    began, before = time.monotonic(), waited_s(daemon)
    yield
    took = time.monotonic() - began
    waited = sum(s - before.get(thread, 0) for thread, s in waited_s(daemon).items())
    assert took - waited < 1, (took, waited)


def workers_are_idle(pid, for_s=0.1):
    """Whether every worker thread uses less than a twentieth of the time."""
    threads = worker_threads(pid)
    before = [processor_s(pid, tid) for tid in threads]
    time.sleep(for_s)
    return all(processor_s(pid, tid) - b < for_s / 20 for tid, b in zip(threads, before))


def connections_of(daemon):
    """The number of descriptors of the daemon that are accepted connections."""
    inodes = set()
    for fd in os.listdir(f"/proc/{daemon.pid}/fd"):
        try:
            inodes.add(os.readlink(f"/proc/{daemon.pid}/fd/{fd}"))
        except FileNotFoundError:
            pass
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(1 for row in rows if int(row[1].split(":")[1], 16) == daemon.port and row[3] != "0A" and f"socket:[{row[9]}]" in inodes)


def wait_until_quiet(daemon, within=5.0):
    """Waits until no connection is open and all workers are idle."""
    wait_until("every descriptor is closed", lambda: connections_of(daemon) == 0, within)
    wait_until("the workers are idle", lambda: workers_are_idle(daemon.pid), within)


@pytest.fixture(autouse=True)
def unharmed(daemon):
    """Checks that the same process answers at once, and that no request, descriptor or busy thread is left."""
    pid = daemon.pid
    yield
    assert daemon.pid == pid, daemon.log_tail()
    with at_once(daemon):
        assert daemon.client.get("/health").status == 200
    wait_until("nothing is in flight", lambda: daemon.metrics()["plist_http_requests_in_flight"] <= 1)
    wait_until_quiet(daemon)


class Wire:
    """A raw connection."""

    def __init__(self, daemon, timeout=10.0):
        self.socket = socket.create_connection(("127.0.0.1", daemon.port), timeout=timeout)
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)
        return self

    def answer(self, head=False):
        """The next response: status, headers, body. None if the connection has ended."""
        while b"\r\n\r\n" not in self.received:
            if not self._more():
                return None
        top, _, rest = self.received.partition(b"\r\n\r\n")
        lines = top.decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
        length = 0 if head else int(headers.get("content-length", 0))
        while len(rest) < length:
            if not self._more():
                return None
            rest = self.received.partition(b"\r\n\r\n")[2]
        self.received = rest[length:]
        return int(lines[0].split(" ")[1]), headers, rest[:length]

    def status(self):
        answer = self.answer()
        return answer and answer[0]

    def _more(self):
        try:
            chunk = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self.received += chunk
        return bool(chunk)

    def closed(self, within=5.0):
        """Whether the other side has closed the connection, after any remaining data."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            readable, _, _ = select.select([self.socket], [], [], max(0.0, end - time.monotonic()))
            if readable and not self._more():
                return True
        return False


def put(path, body, request_id=None, more=b""):
    return (b"PUT %s HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nContent-Length: %d\r\n%s\r\n%s"
            % (path.encode(), (request_id or new_id()).encode(), len(body), more, body))


def get(path="/health"):
    return b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode()


def smuggled(record):
    """A write that is smuggled behind another request."""
    return put(f"/us/properties/{record}", b'{"price":666,"version":1}')
