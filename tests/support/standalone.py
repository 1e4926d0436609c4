"""A stack for the demonstration scripts: the running demo, or a temporary one if the demo is not running."""

import contextlib
import os
import shutil
from decimal import Decimal

from . import places


def say(text):
    print(text, flush=True)


@contextlib.contextmanager
def running_stack():
    """The demo of this clone if it is running, otherwise a temporary stack with two regions."""
    from .demo import Demo, last_start
    if last_start():
        demo = Demo()
        if all(server.running for server in demo.servers()):
            say(f"using the running demo at {demo.nginx.url}")
            yield demo
            return
    from .stack import Stack
    broker = os.environ.get("PLIST_TEST_BROKER") or ("kafka" if places.kafka_jars() else "embedded")
    say(f"the demo is not running: starting two temporary regions (broker: {broker})")
    folder = places.data_folder("plist-alone-")
    stack = Stack(folder, broker=broker)
    try:
        yield stack.start()
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


def new_property(client):
    """Creates a record through the given client and returns its id and version."""
    answer = client.post(price=Decimal("100.00"))
    if answer.status != 201:
        raise SystemExit(f"FAILED: a POST of a new property was answered {answer}")
    return answer.json["id"], answer.json["version"]
