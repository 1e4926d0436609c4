"""Two migrated databases without daemons, for the tests of plist-admin; and functions that run plist-admin.

A test module imports the fixtures `quiet` and `empty` by name.
"""

import json
import os
import pty
import select
import shutil
import subprocess
import time

import pytest

from . import places
from .stack import Stack

YES, NO, USAGE, UNREACHABLE, PARTIAL = range(5)


@pytest.fixture(scope="module")
def quiet():
    """Two migrated databases without daemons."""
    folder = places.data_folder("plist-admin-")
    stack = Stack(folder, broker="embedded")
    stack.write_config()
    try:
        for server in stack.postgres.values():
            server.launch()
        for server in stack.postgres.values():
            server.wait_up()
        stack.admin("migrate")
        yield stack
    finally:
        for server in stack.postgres.values():
            server.stop()
        if not os.environ.get("PLIST_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def empty(quiet):
    """The same, with empty tables."""
    for server in quiet.postgres.values():
        server.resume()
        server.start()
        server.database.execute("TRUNCATE properties, conflicts, dead_letters, parked_events, outbox, region_heartbeats, applied_positions")
    quiet.write_config()
    return quiet


def ask(stack, *arguments, status=YES, **options):
    done = stack.admin(*arguments, check=False, **options)
    assert done.returncode == status, f"exit {done.returncode}, not {status}\n{done.stdout}{done.stderr}"
    return done


def data(stack, *arguments, status=YES, **options):
    """The JSON output of a command."""
    return json.loads(ask(stack, *arguments, "-o", "json", status=status, **options).stdout)


def on_a_terminal(argv, environment, answer=None, timeout=60):
    """Runs a command with a terminal as all three streams; returns its status and output."""
    master, slave = pty.openpty()
    process = subprocess.Popen([str(a) for a in argv], stdin=slave, stdout=slave, stderr=slave, env=environment, close_fds=True)
    os.close(slave)
    drawn, end, answered = b"", time.monotonic() + timeout, answer is None
    while time.monotonic() < end:
        ready, _, _ = select.select([master], [], [], 0.1)
        if ready:
            try:
                piece = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            drawn += piece
        if not answered and b"[y/N]" in drawn:
            os.write(master, answer)
            answered = True
    os.close(master)
    return process.wait(timeout=timeout), drawn.decode()
