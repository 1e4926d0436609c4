"""For the scripts that show one thing: the running demo where there is one, else a stack of their own for as long as they run."""

import contextlib
import os
import shutil
from decimal import Decimal

from . import places


def say(text):
    print(text, flush=True)


@contextlib.contextmanager
def running_stack():
    """The demo of this clone if it runs, else a new stack with two regions, gone when the block ends."""
    from .demo import Demo, last_broker
    if last_broker():
        demo = Demo()
        if all(server.running for server in demo.servers()):
            say(f"using the running demo at {demo.nginx.url}")
            yield demo
            return
    from .stack import Stack
    broker = os.environ.get("PLIST_TEST_BROKER") or ("kafka" if places.kafka_jars() else "embedded")
    say(f"no demo runs here: starting two regions of my own (broker: {broker})")
    folder = places.data_folder("plist-alone-")
    stack = Stack(folder, broker=broker)
    try:
        yield stack.start()
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


def new_property(client):
    """A new record through the given client: its id and version."""
    answer = client.post(price=Decimal("100.00"))
    if answer.status != 201:
        raise SystemExit(f"FAILED: creating a property was answered {answer}")
    return answer.json["id"], answer.json["version"]
