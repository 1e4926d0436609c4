"""A daemon under a hostile load: every probe of the tests in turn, handlers that burn their budgets, a thousand slow connections;
meanwhile good clients record what they wrote and measure how long they wait.

Each part is a separate process, so that no part waits for Python's lock while another works.
"""

import collections
import contextlib
import json
import multiprocessing
import os
import random
import re
import resource
import select
import shutil
import socket
import sys
import threading
import time

from . import places
from .client import new_id
from .hostile import get, processor_s, put, worker_threads
from .process import family, wait_until

LIMIT_MS = 500
MEMORY = 128 << 20
IDLE = 0.02  # the share of the time that an idle thread may use

HEAD = ("local http, records, json = require 'plist.http', require 'plist.records', require 'plist.json'\n"
        "return { handle = function(req) %s end }\n")

# Handlers that take all they can get: memory, large answers, and processor time, in
# ways that can be interrupted and in ways that cannot.
HANDLERS = {
    "spin": "while true do end",
    "swallow": "while true do pcall(function() while true do end end) end",
    "just-within": "local n = 0 for i = 1, 4000000 do n = n + i end return http.ok { n = n }",
    "sort": "local t = {} for i = 1, 3000 do t[i] = i end while true do table.sort(t, function(a, b) return (a * 7919) % 3001 < (b * 7919) % 3001 end) end",
    "gsub": "while true do (('x'):rep(100000)):gsub('.', function(c) return c:upper() end) end",
    "regex": "return http.ok(('a'):rep(20000):find(('a?'):rep(2000) .. ('a'):rep(2000) .. 'b'))",
    "backtrack": "return http.ok(('a'):rep(200000):match('(.-)(.-)(.-)b'))",
    "metamethods": "local t = setmetatable({}, { __index = function(_, k) return k + 1 end }) local n = 0 while true do n = t[n] end",
    "garbage": "local t = {} while true do pcall(function() for i = 1, 1e6 do t[i] = { i, {} } end end) t = {} end",
    "texts": "local t = {} while true do pcall(function() for i = 1, 100 do t[i] = ('x'):rep(1000000 + i) end end) t = {} end",
    "keeps": "local t = {} pcall(function() for i = 1, 20 do t[i] = ('x'):rep(1000000 + i) end end) for i = 1, 50 do records.get('properties', i) end "
             "return http.ok(#t)",
    "nested": "local t = { 1 } for i = 1, 60 do t = { t, i } end return http.ok(t)",
    "aliases": "local t = ('x'):rep(1000) for i = 1, 7 do t = { t, t, t, t, t, t, t, t, t, t } end return http.ok(t)",
    "wide": "local t = {} for i = 1, 100000 do t[i] = { a = i } end return http.ok(t)",
    "large": "return http.ok(('x'):rep(4000000))",
    "escaped": "return http.ok(('\\1'):rep(1300000))",
    "date": "return http.ok(os.date(('%c'):rep(4000000)))",
    "nuls": "local s = ('\\0'):rep(8000000) while true do local _ = s < s end",
    "number": "local s = ('1'):rep(8000000) while true do local _ = s + 1 end",
    "concat": "local t = {} for i = 1, 100000 do t[i] = 'abcdefgh' end while true do table.concat(t) end",
    "json": "local s = '[' .. ('[],'):rep(50000) .. '1]' while true do json.decode(s) end",
    "query": "return http.ok(require('plist.db').query('SELECT repeat(chr(120), 1000) AS t FROM generate_series(1, 500)'))",
}


def copy_scripts(root):
    """Copies the Lua files to `root`, and adds the hostile handlers."""
    shutil.copytree(places.TOP / "lua", root)
    (root.parent / "sql").symlink_to(places.TOP / "sql")  # where `migrate` looks for it
    for name, text in HANDLERS.items():
        (root / "handlers" / f"x_{name}.lua").write_text(HEAD % text)


def add_routes(config, root):
    """Adds a route GET /:region/x/NAME for each hostile handler below `root`."""
    config["lua"] = dict(config.get("lua") or {}, path=str(root))
    for name in HANDLERS:
        config["routes"].append({"method": "GET", "path": f"/:region/x/{name}", "handler": f"handlers/x_{name}.lua"})


def probes():
    """All requests of the tests of hostile clients, as bytes."""
    from integration import test_http_hostile as hostile, test_http_limits as limits
    chunked = b"POST /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    made = list(hostile.AMBIGUOUS.values()) + list(hostile.GARBAGE.values())
    made += [chunked + data for data in limits.CHUNKS.values()]
    made += [b"POST /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\n" + header + b"\r\n\r\n1;" + b"a" * 20000 for header, _ in limits.CODINGS.values()]
    made += [b"GET /us/properties?" + query + b" HTTP/1.1\r\nHost: x\r\n\r\n" for query in limits.QUERIES.values()]
    made += [b"GET /health HTTP/1.1\r\nHost: x\r\nCookie: " + cookie + b"\r\n\r\n" for cookie in limits.COOKIES.values()]
    made += [b"POST /us/properties HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nContent-Length: " + length + b"\r\n\r\n" for length, _ in limits.LENGTHS.values()]
    made += [request for request, _ in limits.HEADS.values()]
    made += [get(target.format(id=1)) for target, _ in limits.TARGETS]
    return made


class Part(multiprocessing.Process):
    """A process that plays its part until end() is called, and then returns its findings."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port = port
        self.ours, self.theirs = multiprocessing.Pipe()

    def run(self):
        self.stopping = threading.Event()
        threading.Thread(target=self.wait_for_the_end, daemon=True).start()
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        self.theirs.send(self.play())

    def wait_for_the_end(self):
        self.theirs.recv()
        self.stopping.set()

    def end(self):
        """Ends the part; returns what play() returned."""
        self.ours.send("end")
        while not self.ours.poll(0.1):
            if not self.is_alive() and not self.ours.poll():  # it may have told its findings since, and ended
                raise AssertionError(f"{type(self).__name__} ended too early, with exit code {self.exitcode}")
        found = self.ours.recv()
        self.join(10)
        return found

    def connect(self, timeout=20.0):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def in_threads(self, n, work):
        threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def receive(s):
    """One response with a Content-Length: status and body. None if the connection has ended."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = s.recv(65536)
        if not more:
            return None
        data += more
    top, _, body = data.partition(b"\r\n\r\n")
    lower = top.lower()
    at = lower.find(b"content-length: ")
    length = int(lower[at + 16:].split(b"\r\n", 1)[0]) if at >= 0 else 0
    while len(body) < length:
        more = s.recv(1 << 20)
        if not more:
            return None
        body += more
    return int(top.split(b" ", 2)[1]), body


class Good(Part):
    """Clients that read and write their own records, and know what must be in them.

    Findings: the number of requests; the slowest ones, as (ms, what, when it began); faults, as sentences.
    """

    def __init__(self, port, records, pause=0.02):
        super().__init__(port)
        self.records, self.pause = records, pause

    def play(self):
        self.took, self.faults, self.lock = [], [], threading.Lock()
        self.in_threads(len(self.records), lambda i: self.client(self.records[i]))
        self.took.sort(reverse=True)
        return {"requests": len(self.took), "slowest": self.took[:200],
                "part": {f"p{part}": self.took[len(self.took) * (100 - part) // 100][0] for part in (50, 90, 99)} if self.took else {},
                "faults": self.faults[:20]}

    def client(self, record):
        version = price = 1
        while not self.stopping.is_set():
            with self.connect() as s:
                for _ in range(50):  # then a new connection
                    price += 1
                    if not self.ask(s, record, put(f"/us/properties/{record}", b'{"price":%d,"version":%d}' % (price, version)), version + 1, price):
                        return
                    version += 1
                    if not self.ask(s, record, get(f"/us/properties/{record}"), version, price) or self.stopping.wait(self.pause):
                        return

    def ask(self, s, record, request, version, price):
        began = time.monotonic()
        try:
            s.sendall(request)
            answer = receive(s)
        except OSError as error:
            answer = None, str(error)
        took = (time.monotonic() - began) * 1000
        row = json.loads(answer[1]) if answer and answer[0] == 200 else None
        with self.lock:
            self.took.append((round(took, 1), request[:3].decode(), began))
            if row is None or (row["version"], float(row["price"])) != (version, price):
                self.faults.append(f"{request[:40]!r}: {answer}, expected version {version} and price {price} of {record} after {took:.0f} ms")
        return row is not None


class Waits(Part):
    """How long the workers of a daemon were ready to run but had no processor, which is not the daemon's fault.

    Findings: samples, each with the time and, for each worker, the seconds that it has waited so far.
    """

    def __init__(self, port, pid):
        super().__init__(port)
        self.watched = pid

    def play(self):
        threads, samples = worker_threads(self.watched), []
        while not self.stopping.wait(0.01):
            samples.append((time.monotonic(), [self.waited(tid) for tid in threads]))
        return samples

    def waited(self, tid):
        try:
            with open(f"/proc/{self.watched}/task/{tid}/schedstat", encoding="ascii") as schedstat:
                return int(schedstat.read().split()[1]) / 1e9
        except OSError:
            return 0.0  # a short-lived thread of a worker, whose name it has at first


def waited_ms(samples, began, ended):
    """The longest wait of a worker between two times, in ms."""
    inside = [waits for at, waits in samples if began - 0.02 <= at <= ended + 0.02]
    return max((1000 * (b - a) for a, b in zip(inside[0], inside[-1])), default=0.0) if inside else 0.0


class Probes(Part):
    """Plays all probes in turn, again and again. Findings: their number; those whose connection stayed open and silent."""

    def play(self):
        made, n, silent = probes(), 0, []
        while not self.stopping.is_set():
            for probe in made:
                if self.stopping.is_set():
                    break
                n += 1
                if not self.probe(probe):
                    silent.append(repr(probe[:80]))
        return {"probes": n, "silent": silent[:5]}

    def probe(self, probe):
        """Whether an answer came or the connection was closed. An incomplete request is answered at the receive timeout."""
        with self.connect() as s:
            try:
                s.sendall(probe)
                s.shutdown(socket.SHUT_WR)
                return bool(select.select([s], [], [], 20)[0])
            except OSError:
                return True


class Burners(Part):
    """Clients that call hostile handlers, one request per thread at a time. Findings: answers by status; the slowest answer of each handler, in ms."""

    def __init__(self, port, threads=12, names=None):
        super().__init__(port)
        self.threads, self.names = threads, list(names or HANDLERS)

    def play(self):
        self.statuses, self.slowest, self.lock = {}, {}, threading.Lock()
        self.in_threads(self.threads, self.burn)
        return {"statuses": self.statuses, "slowest": dict(sorted(self.slowest.items(), key=lambda item: -item[1])[:6])}

    def burn(self, number):
        chance = random.Random(number)
        while not self.stopping.is_set():
            name = chance.choice(self.names)
            began = time.monotonic()
            try:
                with self.connect(60) as s:
                    s.sendall(get(f"/us/x/{name}"))
                    answer = receive(s)
            except OSError:
                answer = None
            took = round((time.monotonic() - began) * 1000)
            status = str(answer[0] if answer else "ended")
            with self.lock:
                self.statuses[status] = self.statuses.get(status, 0) + 1
                self.slowest[name] = max(took, self.slowest.get(name, 0))


class Slow(Part):
    """`n` connections of clients that are slow in various ways; one that is closed is opened again.

    Findings: the number of connections that were opened; by kind, the number that were open at the end.
    """

    KINDS = ("head", "body", "half-open", "reader", "reader", "idle")

    def __init__(self, port, n=1000):
        super().__init__(port)
        self.n = n

    def play(self):
        self.chance, self.made, self.poll = random.Random(1), 0, select.epoll()
        self.open = {}
        try:
            while not self.stopping.is_set():
                self.fill()
                for fd, event in self.poll.poll(0.05):
                    self.look(fd, event)
                self.drip()
            return {"connections": self.made, "open": {kind: sum(1 for s in self.open.values() if s.kind == kind) for kind in set(self.KINDS)}}
        finally:
            for s in self.open.values():
                s.close()

    def fill(self):
        """Opens only a few at a time, since the listener's backlog is not under test."""
        for _ in range(min(50, self.n - len(self.open))):
            kind = self.KINDS[self.made % len(self.KINDS)]
            s = SlowSocket(kind)
            try:
                s.begin(self.port, self.chance)
            except OSError:
                s.close()
                continue
            self.made += 1
            self.open[s.fileno()] = s
            self.poll.register(s.fileno(), select.EPOLLIN if kind != "reader" else select.EPOLLRDHUP)

    def look(self, fd, event):
        s = self.open[fd]
        try:
            ended = bool(event & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP)) or (s.kind != "half-open" and not s.socket.recv(65536))
        except OSError:
            ended = True
        if ended:
            self.poll.unregister(fd)
            self.open.pop(fd).close()

    def drip(self):
        """Sends or reads a byte on some of the connections."""
        for s in self.chance.sample(list(self.open.values()), min(20, len(self.open))):
            try:
                s.drip()
            except OSError:
                pass  # noticed by the next poll


class SlowSocket:
    def __init__(self, kind):
        self.kind = kind
        self.socket = socket.socket()

    def fileno(self):
        return self.socket.fileno()

    def close(self):
        self.socket.close()

    def begin(self, port, chance):
        s = self.socket
        if self.kind == "reader":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(5)
        s.connect(("127.0.0.1", port))
        s.settimeout(0.0)
        if self.kind == "head":
            s.send(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: "[:chance.randint(1, 40)])
        elif self.kind == "body":
            s.send(put("/us/properties/1", b" " * 60000, new_id())[:chance.randint(100, 60000)])
        elif self.kind == "half-open":
            s.send(put("/us/properties/1", b" " * 60000, new_id())[:chance.randint(1, 200)])
            s.shutdown(socket.SHUT_WR)
        elif self.kind == "reader":
            s.send(get(f"/us/x/{chance.choice(['large', 'escaped', 'large', 'query'])}"))
        else:
            s.send(get("/health"))

    def drip(self):
        if self.kind in ("head", "body"):
            self.socket.send(b"a")
        elif self.kind == "reader":
            self.socket.recv(1000)


class Watch(threading.Thread):
    """The largest resident memory of a process while this runs, and when it was seen."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.process, self.most, self.at = daemon, 0, 0.0
        self.stopping = threading.Event()

    def run(self):
        began = time.monotonic()
        while not self.stopping.wait(0.05):
            now = self.process.resident_bytes()
            if now > self.most:
                self.most, self.at = now, time.monotonic() - began

    def end(self):
        self.stopping.set()
        self.join()
        return self.most


def descriptors(daemon):
    """The descriptors of a process, counted by kind: clients, connections by their remote port, files."""
    peers = {}
    with open("/proc/net/tcp", encoding="ascii") as table:
        for row in table.readlines()[1:]:
            fields = row.split()
            local, remote = (int(address.split(":")[1], 16) for address in fields[1:3])
            peers[f"socket:[{fields[9]}]"] = "client" if local == daemon.port and remote else f"connection to port {remote}"
    found = collections.Counter()
    for fd in os.listdir(f"/proc/{daemon.pid}/fd"):
        try:
            name = os.readlink(f"/proc/{daemon.pid}/fd/{fd}")
            found[peers.get(name) or re.sub(r":?\[.*", "", name)] += 1
        except FileNotFoundError:
            pass
    return found


class Priority(threading.Thread):
    """Keeps the priority of a stack's processes, and of this one, above that of others on the machine.

    Linux's scheduler makes each session a separate group, and PostgreSQL starts a session for each connection.
    """

    def __init__(self, servers, nice):
        super().__init__(daemon=True)
        self.servers, self.nice = servers, nice

    def run(self):
        while True:
            for member in [os.getpid()] + [member for server in self.servers if server.pid for member in family(server.pid)]:
                try:
                    with open(f"/proc/{member}/autogroup", "w", encoding="ascii") as group:
                        group.write(str(self.nice))
                except OSError:
                    pass  # it has ended
                time.sleep(0.1)  # the kernel allows ten changes a second


def busy_threads(pid, for_s=1.0):
    """The names of the threads that use more than IDLE of the time, with their share of it."""
    def used():
        return {tid: processor_s(pid, tid) for tid in os.listdir(f"/proc/{pid}/task")}
    before = used()
    time.sleep(for_s)
    after = used()
    busy = []
    for tid, now in after.items():
        part = (now - before.get(tid, 0)) / for_s
        if part > IDLE:
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{tid}/comm", encoding="ascii") as comm:  # it may have ended
                busy.append(f"{comm.read().strip()} {part:.0%}")
    return busy


def attack(daemon, records, seconds, slow=1000, burners=12, parts=None):
    """Attacks a daemon whose YAML has add_routes() for so many seconds. Returns the findings, for report() and faults()."""
    memory_before = daemon.resident_bytes()
    made = {"good": Good(daemon.port, records), "waits": Waits(daemon.port, daemon.pid)}
    hostile = {"probes": lambda: Probes(daemon.port), "burners": lambda: Burners(daemon.port, burners), "slow": lambda: Slow(daemon.port, slow)}
    for part in made.values():
        part.start()
    for _ in range(20):  # each worker opens its session for queries with its first query
        answer = daemon.client.get("/us/x/query")
        assert answer.status == 200, answer
    time.sleep(1)  # the daemon has served its clients before it is attacked
    descriptors_before = descriptors(daemon)
    del descriptors_before["client"]
    began = time.monotonic()
    attackers = {name: make() for name, make in hostile.items() if parts is None or name in parts}
    for part in attackers.values():
        part.start()
    made |= attackers
    watch = Watch(daemon)
    watch.start()
    time.sleep(seconds)
    found = {name: part.end() for name, part in made.items()}  # the good ones first: the attack lasts until they have ended
    found["began"] = began
    found |= {"memory": watch.end(), "memory at": watch.at, "memory before": memory_before}
    try:
        wait_until("the descriptors are closed", lambda: not descriptors(daemon) - descriptors_before, 15)
    except AssertionError:
        pass
    found["descriptors left"] = dict(descriptors(daemon) - descriptors_before)
    try:
        wait_until("no thread is busy", lambda: not busy_threads(daemon.pid, 0.5), 15)
    except AssertionError:
        pass
    found["busy"] = busy_threads(daemon.pid)
    found["memory after"] = daemon.resident_bytes()
    return found


def faults(found):
    """The expectations that were not met, as sentences."""
    told = list(found["good"]["faults"])
    for took, what, began in found["good"]["slowest"]:
        waited = waited_ms(found["waits"], began, began + took / 1000)
        if took - waited >= LIMIT_MS:
            told.append(f"a good {what} took {took:.0f} ms (limit {LIMIT_MS}); a worker waited {waited:.0f} ms of that for a processor")
    if not found["good"]["requests"]:
        told.append("no good request was answered")
    if found["memory"] >= MEMORY:
        told.append(f"the daemon had {found['memory'] >> 20} MiB in memory (limit {MEMORY >> 20}), {found['memory at']:.0f} s after the start")
    if found["descriptors left"]:
        told.append(f"descriptors are left: {found['descriptors left']}")
    if found["busy"]:
        told.append(f"threads are busy although there are no clients: {', '.join(found['busy'])}")
    told += [f"a probe was neither answered nor disconnected: {probe}" for probe in found.get("probes", {}).get("silent", [])]
    return told


def report(found, out=sys.stdout):
    good = found["good"]
    slowest = [f"{what} {took:.0f} ({waited_ms(found['waits'], began, began + took / 1000):.0f} waiting for a processor, {began - found['began']:.1f} s)"
               for took, what, began in good["slowest"][:5]]
    print(f"good requests: {good['requests']}, {good['part']} ms; slowest: {', '.join(slowest)}", file=out)
    print(f"memory: {found['memory before'] >> 20} MiB before, at most {found['memory'] >> 20}, {found['memory after'] >> 20} after", file=out)
    for name in ("probes", "burners", "slow"):
        if name in found:
            print(f"{name}: {found[name]}", file=out)
    print(f"descriptors left: {found['descriptors left'] or 'none'}; busy threads: {found['busy'] or 'none'}", file=out, flush=True)
