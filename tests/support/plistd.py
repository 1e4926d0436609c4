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
    return {k: v for k, v in os.environ.items() if k not in own} | {k: str(v) for k, v in (more or {}).items()}


class Plistd(Server):
    stop_timeout = 30.0

    def __init__(self, folder, region, port, config, environment=None, bound=True, name=None):
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
        return _environment(self.more)

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

    def hangup(self):
        """Asks for a reload."""
        self.signal(signal.SIGHUP)

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
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, env=_environment(environment), check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done
