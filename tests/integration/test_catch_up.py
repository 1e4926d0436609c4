"""A region that was away has a long backlog before it. Its daemon's memory does not grow with it."""

import pytest

from support.catch_up import is_caught_up, write_events
from support.process import wait_until

# More events than the daemon may hold at once; the campaign `catch-up` has a million.
FIRST, RECORDS, VERSIONS = 5_000_000, 10_000, 10
MIB = 1 << 20


@pytest.mark.needs_kafka
def test_a_backlog_does_not_take_memory_and_what_it_took_is_given_back(stack):
    daemon = stack.plistd["eu"]
    try:
        daemon.stop()
        write_events(stack, FIRST, RECORDS, VERSIONS)
        daemon.start()
        wait_until("eu has caught up", lambda: is_caught_up(stack, "eu", FIRST, RECORDS, VERSIONS), 600)
        highest = daemon.resident_bytes("VmHWM")
        assert highest < 96 * MIB, highest / MIB
        wait_until("most of it was given back", lambda: daemon.resident_bytes() < 40 * MIB)
        stack.check_consistent()
    finally:
        stack.spoil()
