"""The daemon, one process of one region; and plist-admin as a function."""

import os
import signal
import subprocess

from . import places
from .client import Client
from .process import Server, wait_until


def _environment(more):
    # Variables that plist itself reads must come from us, not from whoever started the tests.
    own = ("REGION", "DATABASE_URL", "PORT", "KAFKA_BROKER")
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

    def argv(self):
        return [places.program("plistd"), "--config", self.config, "--region", self.region]

    def environment(self):
        return _environment(self.more())

    def made_of(self):
        return super().made_of() + sorted(f"{k}={v}" for k, v in self.more().items())

    def is_up(self):
        return self.client.get("/health").json == {"status": "ok", "region": self.region}

    def wait_ready(self, timeout=30.0):
        """Until it has its database and its share of the partitions."""
        def ready():
            answer = self.client.get("/ready")
            if answer.status != 200:
                raise AssertionError(answer)
            return True
        wait_until(f"{self.name} is ready", ready, timeout)
        return self

    def reloads(self):
        """How many reloads were taken and how many refused."""
        metrics = self.metrics()
        return metrics.get("plist_config_reloads_total", 0), metrics.get("plist_config_reload_failures_total", 0)

    def hangup(self):
        """Asks for a reload."""
        self.signal(signal.SIGHUP)

    def reload(self, timeout=10.0):
        """Asks for a reload and waits until it is taken."""
        before = self.reloads()
        self.hangup()
        wait_until(f"{self.name} has reloaded", lambda: self.reloads() != before, timeout)
        if self.reloads()[1] != before[1]:
            raise AssertionError(f"{self.name} refused the configuration:\n{self.log_tail(10)}")

    def metrics(self):
        """{name or name{labels}: value} of /metrics."""
        values = {}
        for line in self.client.get("/metrics").text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values


def admin(*arguments, config=None, environment=None, timeout=60, check=True):
    """plist-admin, run to its end. Returns the finished process, with stdout and stderr as text."""
    argv = [places.program("plist-admin")]
    if config:
        argv += ["--config", str(config)]
    argv += [str(a) for a in arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, env=_environment(environment or {}), check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done
