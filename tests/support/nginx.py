"""NGINX with the configuration that `plist-admin nginx` prints for the YAML."""

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
        """Takes the YAML as it is now. When this returns nobody is left who answers by the old one."""
        self.write()
        old = set(family(self.pid)[1:])
        os.kill(self.pid, signal.SIGHUP)

        def workers_are_new():
            workers = family(self.pid)[1:]
            return workers and not old & set(workers)
        wait_until("NGINX has new workers", workers_are_new, 10)

    def logged(self, text):
        """The entries of the access log whose line has the text in it."""
        return [json.loads(line) for line in (self.folder / "access.log").read_text().splitlines() if text in line]
