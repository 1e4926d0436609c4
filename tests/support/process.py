"""A server process: started, waited for, paused, killed, and never mistaken for another process.

A server keeps one folder: its data, its log, and process.json, which says what was started. A process is recognised by
its pid together with the boot and the clock tick at which it started, so that a pid that the system reuses is not
taken for ours. A port counts as answered by us only if one of our processes holds the listening socket.

Threads: a server is started by the main thread (see `bound`), and used by one thread at a time.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import time

BOOT = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
# Below the range that the system uses for outgoing connections, so that the port of a
# server that is down for a moment stays free.
PORTS = range(18000, 31000)
# The workers of pytest run in parallel, each with its own ports.
if os.environ.get("PYTEST_XDIST_WORKER"):
    _WORKERS = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    PORTS = PORTS[int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) % _WORKERS::_WORKERS]


class Timeout(AssertionError):
    """A condition was not met in time."""


# How long something may take that is only waited for, on a machine with much other work.
# A test that says how fast something is names a time of its own.
# A daemon takes up to a minute to notice that librdkafka does not fetch a partition.
PATIENCE_S = 120.0


def is_stopped(pid):
    """Whether no thread of the process runs: a signal to stop reaches the others only when one of them has run again."""
    try:
        states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return not pathlib.Path(f"/proc/{pid}").exists()
    return set(states) <= set("TtZX")


def wait_until(what, predicate, timeout=PATIENCE_S, pause=0.02, growth=1.3):
    """Waits until predicate() is true and returns its value, polling less often over time. An exception counts as "not yet"
    and is reported on timeout."""
    end = time.monotonic() + timeout
    while True:
        last = None
        try:
            value = predicate()
            if value:
                return value
            last = value
        except Exception as error:  # noqa: BLE001 - any error is reported on timeout
            last = error
        if time.monotonic() >= end:
            raise Timeout(f"waited {timeout:g} s until {what}; last: {last!r}")
        time.sleep(pause)
        pause = min(pause * growth, 0.25)


def port_is_free(port):
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                s.bind((address, port))
        except OSError as error:
            if family == socket.AF_INET6 and error.errno in (97, 99):  # no IPv6 on this machine
                continue
            return False
    return True


_given = set()


def free_port(preferred=None):
    """A free port: the preferred one if it is free, otherwise a random one. The one 1000 above it is free as well: if a
    daemon listens on a port, its operators use that one."""
    def take(port):
        both = {port, port + 1000}
        if both & _given or not all(port_is_free(p) for p in both):
            return None
        _given.update(both)
        return port
    if preferred and take(preferred):
        return preferred
    chance = random.SystemRandom()
    for _ in range(1000):
        port = take(chance.choice(PORTS))
        if port:
            return port
    raise RuntimeError("no free port found")


def stat_of(pid):
    """The fields of /proc/PID/stat behind the process's name: state, parent, group, session, …"""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return stat[stat.rindex(")") + 2 :].split()


def started_at(pid):
    """The clock tick at which a running process started, or None. A zombie counts as running while other threads of it
    exist, since its sockets listen until the last of them has ended."""
    try:
        fields = stat_of(pid)
        ended = fields[0] in "ZX" and len(os.listdir(f"/proc/{pid}/task")) <= 1
    except OSError:
        return None
    return None if ended else int(fields[19])


def family(pid):
    """The process and all its living descendants, parents first."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(stat_of(entry)[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    found = [pid]
    for member in found:
        found.extend(children.get(member, []))
    return found


def end_orphans(record):
    """Ends the processes that a killed server has left behind: NGINX's workers outlive their master and keep its port.

    `record` is its process.json. Each server leads a session, whose number identifies them, and they run in its folder.
    """
    record = pathlib.Path(record)
    try:
        known = json.loads(record.read_text())
    except (OSError, ValueError):
        return
    if known.get("boot") != BOOT or started_at(known["pid"]):
        return  # an earlier boot, or it is running, or its pid has been reused
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            folder = pathlib.Path(os.readlink(f"/proc/{entry}/cwd"))
            if int(stat_of(entry)[3]) == known["pid"] and folder.is_relative_to(record.parent.resolve()):
                os.kill(int(entry), signal.SIGKILL)
                wait_until(f"{entry} has ended", lambda pid=entry: started_at(pid) is None)
        except OSError:
            continue  # it has ended meanwhile, or belongs to another user


def listening_inodes(port):
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = pathlib.Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(fields[9])
    return inodes


CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)
_started = []  # the servers' processes that have not been seen to end


def crashed():
    """What servers have crashed since the last call, whoever has started them: "plistd-us ended with SIGSEGV". The
    watchdog's abort is none; it says so."""
    ended = [(server, child) for server, child in _started if child.poll() is not None]
    _started[:] = [pair for pair in _started if pair not in ended]
    return [f"{server.name} ended with {signal.Signals(-child.returncode).name}" for server, child in ended
            if -child.returncode in CRASHES and "aborting, because nothing else" not in server.log_tail(5)]


class Server:
    """Base of all servers. A subclass defines argv(), is_up(), and prepare() for the first start."""

    name = "server"
    stop_signal = signal.SIGTERM
    stop_timeout = 20.0
    start_timeout = PATIENCE_S
    user = None  # the user to run as if we are root

    def __init__(self, folder, port, bound=True):
        """`bound`: the server ends when this process ends, for any reason. The demo's servers outlive it."""
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)
        self.port = port
        self.bound = bound
        self.log_path = self.folder / f"{self.name}.log"
        self._record = self.folder / "process.json"
        self._child = None
        self._pid, self._tick = self._recall()

    # Defined by subclasses.

    def prepare(self):
        pass

    def argv(self):
        raise NotImplementedError

    def environment(self):
        return dict(os.environ)

    def is_up(self):
        return True

    # State.

    def _recall(self):
        try:
            known = json.loads(self._record.read_text())
        except (OSError, ValueError):
            return None, None
        return (known["pid"], known["tick"]) if known.get("boot") == BOOT else (None, None)

    @property
    def pid(self):
        """The pid of our process if it is running, otherwise None."""
        if self._child is not None:
            self._child.poll()  # reaps a child that has ended
        if self._pid and started_at(self._pid) == self._tick:
            return self._pid
        return None

    @property
    def running(self):
        return self.pid is not None

    def owns_port(self, port=None):
        """Whether one of our processes holds the listening socket of the port."""
        pid, inodes = self.pid, listening_inodes(port or self.port)
        if not pid or not inodes:
            return False
        wanted = {f"socket:[{inode}]" for inode in inodes}
        for member in family(pid):
            try:
                for fd in os.scandir(f"/proc/{member}/fd"):
                    try:
                        if os.readlink(fd.path) in wanted:
                            return True
                    except OSError:
                        continue
            except OSError:
                continue
        return False

    # Starting.

    def launch(self):
        """Starts the process without waiting for it."""
        if self.running:
            return self
        self.prepare()
        argv = [str(a) for a in self._wrap(self.argv())]
        with open(self.log_path, "ab") as log:
            self._child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, env=self.environment(),
                start_new_session=True)
        _started.append((self, self._child))
        self._pid, self._tick = self._child.pid, started_at(self._child.pid)
        self._record.write_text(json.dumps({"pid": self._pid, "tick": self._tick, "boot": BOOT, "made_of": self.made_of()}))
        return self

    def made_of(self):
        """What the running process was started with; if this has changed since, the process is outdated."""
        program = shutil.which(str(self.argv()[0])) or str(self.argv()[0])
        return [str(a) for a in self.argv()] + [str(os.stat(program).st_mtime_ns)]

    @property
    def stale(self):
        """Whether it runs with other arguments or another program than it would now be started with."""
        if not self.running:
            return False
        try:
            return json.loads(self._record.read_text()).get("made_of") != self.made_of()
        except (OSError, ValueError):
            return True

    def _wrap(self, argv):
        wrap = []
        if self.user and os.geteuid() == 0:
            wrap += [f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
        if self.bound:
            wrap += ["--pdeathsig", signal.Signals(self.stop_signal).name[3:]]
        return ["setpriv", *wrap, "--", *argv] if wrap else argv

    def wait_up(self, timeout=None):
        def up():
            if not self.running:
                raise EOFError  # reported below, with the log
            return self.is_up() and (not self.port or self.owns_port())

        timeout = timeout or self.start_timeout
        end = time.monotonic() + timeout
        while True:
            try:
                wait_until(f"{self.name} answers on port {self.port}", up, min(0.5, max(0.05, end - time.monotonic())))
                return self
            except Timeout as error:
                if not self.running:
                    raise Timeout(f"{self.name} ended while starting:\n{self.log_tail()}") from None
                if time.monotonic() > end:
                    raise Timeout(f"{error} ({timeout:g} s in all)\n{self.log_tail()}") from None

    def start(self, timeout=None):
        return self.launch().wait_up(timeout)

    # Ending. Each of these signals only a process that `pid` has just recognised.

    def signal(self, number):
        pid = self.pid
        if pid:
            os.kill(pid, number)
        return pid

    def stop(self, timeout=None):
        """Asks the process to end and waits. If it does not end in time, it is killed, and that is an error."""
        self.resume()
        if self.signal(self.stop_signal):
            try:
                self.wait_ended(timeout or self.stop_timeout)
            except Timeout:
                self._where_it_hangs()
                self.kill()
                raise Timeout(f"{self.name} did not end within {timeout or self.stop_timeout:g} s of SIG"
                              f"{signal.Signals(self.stop_signal).name[3:]}:\n{self.log_tail()}") from None
        self._forget()
        return self

    def _where_it_hangs(self):
        """Writes the stacks of all threads to the log if a debugger is installed."""
        if shutil.which("gdb"):
            done = subprocess.run(["gdb", "-p", str(self.pid), "-batch", "-ex", "thread apply all bt 12"],
                                  capture_output=True, text=True, timeout=60, check=False)
            stacks = [line for line in done.stdout.splitlines() if line.startswith(("Thread", "#"))]
            with open(self.log_path, "a", encoding="utf-8") as log:
                log.write("\n".join(stacks) + "\n")

    def kill(self):
        """Sends SIGKILL to the process and its children, like a machine failure."""
        pid = self.pid
        if pid:
            members = {member: started_at(member) for member in self._frozen_family(pid)}
            for member in members:
                try:
                    os.kill(member, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.wait_ended()
            # A child that ends a moment later still holds what the next process needs,
            # such as PostgreSQL's shared memory.
            wait_until(f"the children of {self.name} have ended", lambda: not any(began and started_at(m) == began for m, began in members.items()))
        self._forget()
        return self

    def _frozen_family(self, pid):
        """The process and its descendants, after it has been stopped: a server that is still running could fork a child
        between the look and the kill, and PostgreSQL does not start while an old backend is alive."""
        try:
            os.kill(pid, signal.SIGSTOP)
            wait_until(f"{self.name} has stopped", lambda: stat_of(pid)[0] in "tTZX")
        except OSError:
            pass  # it has ended
        return family(pid)

    def _forget(self):
        self._record.unlink(missing_ok=True)

    def wait_ended(self, timeout=PATIENCE_S):
        wait_until(f"{self.name} has ended", lambda: not self.running, timeout)
        return self

    def exit_status(self):
        """The exit status of a child, negative for a signal. None if another run started the process."""
        return self._child.poll() if self._child else None

    def restart(self, timeout=None):
        self.stop()
        return self.start(timeout)

    def pause(self):
        """Stops the process: connections stay open, but nothing is answered. Returns when no thread of it runs any more."""
        self._each(signal.SIGSTOP)
        pid = self.pid
        wait_until(f"{self.name} has stopped", lambda: all(map(is_stopped, family(pid) if pid else ())), pause=0.001)
        return self

    def resume(self):
        self._each(signal.SIGCONT)
        return self

    def _each(self, number):
        pid = self.pid
        for member in family(pid) if pid else ():
            try:
                os.kill(member, number)
            except ProcessLookupError:
                pass

    # The log.

    def log_mark(self):
        """A position in the log, for log_contains(…, since=mark)."""
        return self.log_path.stat().st_size if self.log_path.exists() else 0

    def log_text(self, since=0):
        if not self.log_path.exists():
            return ""
        with open(self.log_path, "rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")

    def log_contains(self, text, since=0):
        return text in self.log_text(since)

    def wait_log(self, text, since=0, timeout=PATIENCE_S):
        wait_until(f"the log of {self.name} says {text!r}", lambda: self.log_contains(text, since), timeout)

    def log_tail(self, lines=40):
        return "\n".join(f"  {self.name}| {line}" for line in self.log_text().splitlines()[-lines:])

    # Its memory.

    def resident_bytes(self, what="VmRSS"):
        """What is resident now; with VmHWM the most that ever was."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1]) * 1024
        return 0
