"""A daemon of one region; and plist-admin as a function."""

import json
import os
import pathlib
import signal
import socket
import subprocess

from . import places
from .client import Client
from .process import PATIENCE_S, Server, wait_until


def _environment(more):
    # Variables that plist or the YAML of the tests reads are set here, not inherited: the
    # shell may have those of the demo.
    own = ("REGION", "DATABASE_URL", "PORT", "KAFKA_BROKER", "PLIST_RUN", "PLIST_CLIENTS", "PLIST_DATABASE_INSECURE")
    return {k: v for k, v in os.environ.items() if k not in own} | {k: str(v) for k, v in more.items()}


class Plistd(Server):
    stop_timeout = 30.0

    def __init__(self, folder, region, port, config, environment=dict, bound=True, name=None):
        self.name = name or f"plistd-{region}"
        super().__init__(folder, port, bound)
        self.region = region
        self.config = config
        self.more = environment
        self.url = f"http://127.0.0.1:{port}"
        self.client = Client(self.url, region)
        self.operators = Client(f"http://127.0.0.1:{port + 1000}")  # the default of admin.listen

    def secure(self, context):
        """The daemon speaks HTTPS."""
        self.url = self.url.replace("http:", "https:")
        self.client = Client(self.url, self.region, context=context)

    def argv(self):
        return [places.program("plistd"), "--config", self.config, "--region", self.region]

    def environment(self):
        return _environment(self.more())

    def made_of(self):
        return super().made_of() + sorted(f"{k}={v}" for k, v in self.more().items())

    def is_up(self):
        return self.client.get("/health").json == {"status": "ok", "region": self.region}

    def wait_ready(self, timeout=PATIENCE_S):
        """Waits until it has its database and its share of the partitions."""
        def ready():
            answer = self.operators.get("/ready")
            if answer.status != 200:
                raise AssertionError(answer)
            return True
        wait_until(f"{self.name} is ready", ready, timeout)
        return self

    def status(self):
        """The status that the operators' socket gives."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(str(pathlib.Path(self.config).parent / f"{self.region}.sock"))
            s.sendall(b'{"command":"status"}\n')
            return json.loads(s.makefile().readline())

    def wait_unready(self, *words, timeout=PATIENCE_S):
        """Waits until /ready says 503 and the operators' reasons contain the words."""
        def unready():
            told = self.operators.get("/ready")
            reasons = "; ".join(told.json["reasons"]) if told.status == 503 else ""
            return self.client.get("/ready").status == 503 and all(word in reasons for word in words) and reasons
        return wait_until(f"{self.name} is not ready: {', '.join(words)}", unready, timeout)

    def reloads(self):
        """The numbers of successful and failed reloads."""
        metrics = self.metrics()
        return metrics.get("plist_config_reloads_total", 0), metrics.get("plist_config_reload_failures_total", 0)

    def configuration(self):
        """Identifies the configuration that it runs."""
        return [name for name in self.metrics() if name.startswith("plist_config_info")]

    def hangup(self):
        """Asks for a reload."""
        self.signal(signal.SIGHUP)

    def reload(self, timeout=PATIENCE_S):
        """Asks for a reload and waits until it has succeeded."""
        before = self.reloads()
        self.hangup()
        wait_until(f"{self.name} has reloaded", lambda: self.reloads() != before, timeout)
        if self.reloads()[1] != before[1]:
            raise AssertionError(f"{self.name} refused the configuration:\n{self.log_tail(10)}")

    def recent_losses(self):
        """The kinds of what it has lost in the last ten minutes."""
        return [name for name, value in self.metrics().items() if name.startswith("plist_loss_recent") and value]

    def metrics(self):
        """{name or name{labels}: value} of /metrics."""
        values = {}
        for line in self.operators.get("/metrics").text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values


def admin(*arguments, config=None, environment=None, timeout=180, check=True):
    """Runs plist-admin. Returns the finished process, with stdout and stderr as text."""
    argv = [places.program("plist-admin")]
    if config:
        argv += ["--config", str(config)]
    argv += [str(a) for a in arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, env=_environment(environment or {}), check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done
