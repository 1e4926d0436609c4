"""NGINX with the configuration that `plist-admin nginx` generates."""

import json
import os
import shutil
import signal
import subprocess

from .client import Client
from .plistd import admin
from .process import Server, family, wait_until


class Nginx(Server):
    name = "nginx"
    stop_signal = signal.SIGTERM  # "fast"

    def __init__(self, folder, port, config, environment=dict, bound=True):
        super().__init__(folder, port, bound)
        self.config = config
        self.more = environment
        self.file = self.folder / "nginx.conf"
        self.url = f"http://127.0.0.1:{port}"
        self.client = Client(self.url)

    def secure(self, context):
        """Clients use HTTPS from now on."""
        self.url = self.url.replace("http:", "https:")
        self.client = Client(self.url, context=context)

    def made_of(self):
        return super().made_of() + [self.url]

    def prepare(self):
        self.write()
        done = subprocess.run([*self._command(), "-t"], capture_output=True, text=True, cwd=self.folder, check=False)
        if done.returncode:
            raise RuntimeError(f"nginx -t: {done.stderr}")

    def write(self):
        self.file.write_text(admin("nginx", config=self.config, environment=self.more()).stdout)

    def _command(self):
        binary = shutil.which("nginx") or "/usr/sbin/nginx"
        return [binary, "-p", f"{self.folder}/", "-e", str(self.log_path), "-c", str(self.file)]

    def argv(self):
        return [*self._command(), "-g", "daemon off;"]

    def is_up(self):
        return self.client.get("/nginx-health").status == 200

    def reload(self):
        """Reloads with the current YAML. Returns when no worker with the old configuration is left."""
        self.write()
        old = set(family(self.pid)[1:])
        os.kill(self.pid, signal.SIGHUP)

        def workers_are_new():
            workers = family(self.pid)[1:]
            return workers and not old & set(workers)
        wait_until("NGINX has new workers", workers_are_new)

    def logged(self, text):
        """The entries of the access log that contain the text."""
        return [json.loads(line) for line in (self.folder / "access.log").read_text().splitlines() if text in line]
