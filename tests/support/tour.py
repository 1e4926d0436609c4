"""The demo's tour: requests to the running servers with their responses. Stops at the first unexpected response."""

import os
import sys
from decimal import Decimal

from .client import dump, new_id
from .process import wait_until

BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else ("", "", "")


class Tour:
    def __init__(self, demo):
        self.demo = demo
        self.front = demo.front("us")
        self.record = 7

    def walk(self):
        for part in (self.a_write_travels, self.a_stale_version, self.a_retry, self.two_writes_at_once, self.a_region_stops):
            part()
        print(f"\n{BOLD}   End of the tour.{PLAIN}", flush=True)
        return 0

    # Output.

    def head(self, text):
        print(f"\n{BOLD}-- {text}{PLAIN}", flush=True)

    def tell(self, text):
        print(f"   {text}", flush=True)

    def ask(self, method, path, expect, body=None, request_id=None):
        """Sends a request through NGINX, prints it as a curl command with the response, and checks the status."""
        shown = f"curl -X {method} $NGINX_URL{path}" if method != "GET" else f"curl $NGINX_URL{path}"
        if request_id:
            shown += f" -H 'X-Request-ID: {request_id}'"
        if body is not None:
            shown += f" -d '{dump(body)}'"
        print(f"   $ {shown}", flush=True)
        answer = self.front.request(method, path, body=body, request_id=request_id)
        text = answer.text if len(answer.text) <= 230 else answer.text[:227] + "..."
        mark = " (Idempotent-Replayed)" if "idempotent-replayed" in answer.headers else ""
        print(f"     {BOLD}{answer.status}{PLAIN}{mark} {DIM}answered by {answer.region}{PLAIN}  {text}", flush=True)
        if answer.status != expect:
            raise SystemExit(f"** expected {expect}; the logs are in {self.demo.folder} (./run logs)")
        return answer

    def version(self, region="us"):
        return self.demo.database(region).property(self.record)["version"]

    def wait_equal(self):
        """Waits until both regions show the same row; returns it."""
        def equal():
            rows = [self.demo.database(r).property(self.record) for r in self.demo.regions]
            return rows[0] if all(row == rows[0] for row in rows) else None
        return wait_until("both regions show the same row", equal)

    # The parts of the tour.

    def a_write_travels(self):
        self.head("A write in us is read in eu")
        version = self.wait_equal()["version"]
        price = Decimal(500000 + version * 1000).quantize(Decimal("0.01"))
        answer = self.ask("PUT", f"/us/properties/{self.record}", 200, {"price": price, "version": version}, new_id())
        written = answer.json["version"]

        def arrived():
            return self.demo.client("eu").read(self.record).json["version"] >= written
        wait_until("eu has it", arrived)
        self.ask("GET", f"/eu/properties/{self.record}", 200)

    def a_stale_version(self):
        self.head("A write with an outdated version is refused")
        self.ask("PUT", f"/us/properties/{self.record}", 409, {"price": Decimal("1.00"), "version": self.version() - 1}, new_id())

    def a_retry(self):
        self.head("A request id is executed once; the YAML defines what a retry gets")
        request = (f"/us/properties/{self.record}", {"bedrooms": 4, "price": Decimal("512000.00"), "version": self.version()}, new_id())
        path, body, request_id = request
        self.ask("PUT", path, 200, body, request_id)
        self.ask("PUT", path, 422, body, request_id)
        self.tell("changing one line of the YAML, `on_duplicate: reject` to `replay` for PUT, and reloading the daemons (SIGHUP)")
        self.demo.write_config(replay_puts)
        try:
            for daemon in self.demo.plistd.values():
                daemon.reload()
            self.ask("PUT", path, 200, body, request_id)
        finally:
            self.demo.write_config()
            for daemon in self.demo.plistd.values():
                daemon.reload()

    def two_writes_at_once(self):
        self.head("Two regions write the same record at the same time")
        self.tell("pausing the broker, so that neither region receives the other's write")
        version = self.wait_equal()["version"]
        seen = {r: len(self.demo.database(r).conflicts(self.record)) for r in self.demo.regions}
        self.demo.broker.pause()
        try:
            for region, price in (("us", "610000.00"), ("eu", "620000.00")):
                self.ask("PUT", f"/{region}/properties/{self.record}", 200, {"price": Decimal(price), "version": version}, new_id())
        finally:
            self.demo.broker.resume()
        self.tell("resuming the broker")

        def both_know():
            return all(len(self.demo.database(r).conflicts(self.record)) > seen[r] for r in self.demo.regions)
        wait_until("both regions have recorded the conflict", both_know)
        row = self.wait_equal()
        conflict = self.demo.database("us").conflicts(self.record)[-1]
        self.tell(f"both regions asked the policy {conflict['policy_name']} about both writes, oldest first; its answer was {dump(conflict['verdict'])}:")
        for region in self.demo.regions:
            self.ask("GET", f"/{region}/properties/{self.record}", 200)
        self.tell(f"version {row['version']} counts both writes; `plist-admin conflicts list` shows the decision")

    def a_region_stops(self):
        self.head("The daemon of us is killed; /us/... is still answered")
        daemon = self.demo.plistd["us"]
        daemon.kill()
        self.tell("kill -9 of the daemon of us")
        try:
            self.ask("GET", f"/us/properties/{self.record}", 200)
            version = self.version("eu")
            answer = self.ask("PUT", f"/us/properties/{self.record}", 200, {"price": Decimal("630000.00"), "version": version}, new_id())
        finally:
            daemon.start()
        self.tell("starting us again; it takes over the partitions of the killed process")
        daemon.wait_ready()
        self.tell("us is ready; it receives the missed writes from Kafka")
        wait_until("us has caught up", lambda: daemon.client.read(self.record).json["version"] >= answer.json["version"])
        # NGINX asks us again once its fail_timeout is over.
        wait_until("NGINX asks us again", lambda: self.front.read(self.record).region == "us")
        self.ask("GET", f"/us/properties/{self.record}", 200)

        def level():
            lag = self.demo.client("us").get("/us/replication-lag").json
            return lag["broker"] == "up" and lag["events_behind"] == 0 and lag["lag_seconds"] == 0
        wait_until("nothing is behind", level)
        self.ask("GET", "/us/replication-lag", 200)


def replay_puts(text):
    """conf/plist.yaml with the one line, or the one entry, of the PUT route changed."""
    start = text.index("method: PUT")
    end = text.index("on_duplicate: reject", start)
    return text[:end] + "on_duplicate: replay" + text[end + len("on_duplicate: reject"):]
