#!/usr/bin/python3
"""The demo's servers, for ./run: `demo.py up kafka|embedded [tls]`, `tour`, `addresses`, `status`, `env`, `stop`.

This is the stack of the tests, except that it outlives this program, keeps its data and ports in .state/demo, uses a
copy of conf/plist.yaml (in which the tour changes a line), and is seeded.
"""

import json
import os
import pathlib
import shlex
import sys

import yaml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support import places  # noqa: E402
from support.process import end_orphans, free_port, started_at  # noqa: E402
from support.stack import Stack  # noqa: E402

FOLDER = (places.STATE / "demo").resolve()
# The usual ports. If one is in use, another port is chosen.
USUAL_PORTS = {"nginx": 8080, "nginx-tls": 8443, "plistd-us": 8001, "plistd-eu": 8002, "kafka": 9092, "kafka-controller": 9093,
               "postgres-us": 5441, "postgres-eu": 5442}


def last_start():
    """The broker of the demo's last start and whether it used TLS, or None."""
    try:
        known = json.loads((FOLDER / "demo.json").read_text())
        return known["broker"], known.get("tls", False)
    except (OSError, ValueError, KeyError):
        return None


def say(text):
    print(f"   {text}", flush=True)


class Demo(Stack):
    bound = False
    durable = True

    def __init__(self, broker=None, tls=False):
        os.environ.setdefault("PLIST_BUILD", str(FOLDER.parent / "build"))
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.kept = FOLDER / "demo.json"
        try:
            self.known = json.loads(self.kept.read_text())
        except (OSError, ValueError):
            self.known = {"ports": {}}
        self.kind = broker or self.known.get("broker", "kafka")
        self.starting = broker is not None  # otherwise the demo is only inspected or stopped, and keeps its ports
        self.known["tls"] = tls if self.starting else self.known.get("tls", False)
        super().__init__(FOLDER, broker=self.kind, tls=self.known["tls"])
        self.known["broker"] = self.kind
        self.kept.write_text(json.dumps(self.known, indent=2) + "\n")

    def choose_port(self, name):
        """The last port if the server still runs there or the port is free, else the usual one, else any."""
        ports = self.known["ports"]
        kept = "nginx-tls" if name == "nginx" and self.known["tls"] else name
        if kept not in ports or not (self._runs(name) or not self.starting):
            ports[kept] = free_port(ports.get(kept) or USUAL_PORTS[kept])
        return ports[kept]

    def _runs(self, name):
        folder = {"kafka": ("kafka", "embedded-broker"), "kafka-controller": ("kafka",)}.get(name, (name,))
        for record in (FOLDER / f / "process.json" for f in folder):
            try:
                known = json.loads(record.read_text())
            except (OSError, ValueError):
                continue
            if started_at(known["pid"]) == known["tick"]:
                return True
        return False

    def environment(self):
        return {
            "US_DATABASE_URL": self.postgres["us"].url, "EU_DATABASE_URL": self.postgres["eu"].url,
            "PLIST_RUN": FOLDER, "KAFKA_BROKER": self.broker.address, "NGINX_LISTEN": f"127.0.0.1:{self.nginx.port}",
            **{f"{r.upper()}_{what}": f"127.0.0.1:{self.plistd[r].port}" for r in self.regions for what in ("LISTEN", "UPSTREAM")},
        }

    def write_config(self, change=None):
        text = (places.TOP / "conf" / "plist.yaml").read_text()
        text = change(text) if change else text
        if self.tls:
            config = yaml.safe_load(text)
            self.configure_tls(config)
            text = "# conf/plist.yaml, with the certificates of this demo.\n" + yaml.safe_dump(config, sort_keys=False)
        self.config.write_text(text)
        lua = FOLDER.parent / "lua"
        if lua.resolve() != (places.TOP / "lua").resolve():
            lua.unlink(missing_ok=True)
            lua.symlink_to(places.TOP / "lua")

    def fill(self):
        if not self.database("us").value("SELECT EXISTS (SELECT FROM properties)"):
            say("seeding 1,000 properties into both databases")
        self.admin("seed")

    # Commands.

    def up(self):
        for server in reversed(self.servers()):
            if server.stale:
                say(f"{server.name} runs an older program or uses older addresses: stopping it")
                server.stop()
        running = [daemon for daemon in self.plistd.values() if daemon.running]
        self.start()
        for daemon in running:
            daemon.reload()
        for server in self.servers():
            say(f"{server.name:14} pid {server.pid:<7} port {server.port}")

    def shell_environment(self):
        return {"NGINX_URL": self.nginx.url, "US_URL": self.plistd["us"].url, "EU_URL": self.plistd["eu"].url,
                **({"CURL_CA_BUNDLE": self.tls.trusted()} if self.tls else {}), **self.environment(), "PLIST_CONFIG": self.config, "PLIST_BIN": pathlib.Path(places.program("plistd")).parent}

    def env(self):
        if not self.nginx.running:
            print("the demo is not running; ./run demo starts it", file=sys.stderr)
            return 1
        for name, value in self.shell_environment().items():
            print(f"export {name}={shlex.quote(str(value))}")
        return 0

    def status(self):
        down = 0
        for server in self.servers():
            state = "up" if server.running and server.owns_port() else "DOWN"
            down += state != "up"
            print(f"{server.name:16} {state:5} pid {server.pid or '-':<8} 127.0.0.1:{server.port:<6} {server.log_path}")
        return 1 if down else 0

    def _curl(self):
        return f"curl --cacert {self.tls.public.certificate}" if self.tls else "curl"

    def _addresses_of_tls(self):
        if not self.tls:
            return ""
        folder = self.tls.public.certificate.parent
        return f"""   certificates          {folder}: public-ca signs for clients, internal-ca for the servers
   All connections are verified. `./run env` also sets CURL_CA_BUNDLE, so that curl trusts public-ca. The daemons
   require a certificate: curl --cacert {self.tls.internal.certificate} \\
     --cert {self.tls.nginx.certificate} --key {self.tls.nginx.key} {self.plistd['us'].url}/health
"""

    def addresses(self):
        print(f"""
   NGINX, both regions   {self.nginx.url}            try: {self._curl()} {self.nginx.url}/us/properties/7
   us, eu directly       {self.plistd['us'].url}  {self.plistd['eu'].url}
   databases             {self.postgres['us'].url}
                         {self.postgres['eu'].url}
   broker                {self.broker.address} ({self.kind})
   configuration         {self.config}
{self._addresses_of_tls()}
   eval "$(./run env)" sets these in your shell, ./run logs shows the logs, ./run stop stops the demo.""", flush=True)


def main(arguments):
    command = arguments[0]
    if command in ("up", "stop"):
        for record in FOLDER.glob("*/process.json"):
            end_orphans(record)
    if command == "up":
        wanted = arguments[1], "tls" in arguments[2:]
        if last_start() not in (None, wanted):
            Demo().stop()
        Demo(*wanted).up()
        return 0
    demo = Demo()
    if command == "tour":
        from support.tour import Tour
        return Tour(demo).walk()
    return getattr(demo, command)() or 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (AssertionError, RuntimeError, OSError, places.Missing) as error:
        sys.exit(f"** {error}")
    except KeyboardInterrupt:
        print("\n** interrupted; servers that were started are still running (./run stop)", file=sys.stderr)
        sys.exit(130)
