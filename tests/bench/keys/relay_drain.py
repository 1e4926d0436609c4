"""How fast the relay publishes a full outbox. Measured by put_64_relay, which fills the outbox anyway."""

import time

from keys import Key
from rounds import put_64, rate_of

KEY = Key("events/s of a full outbox into Kafka", "put_64", 1.5, 4)


def drained(bench, say):
    """Returns the writes per second that filled the outbox."""
    stack = bench.stack
    with stack.relay_held("us"):
        alone = put_64(bench)
        events = stack.outbox()
    stack.wait_relay_back()
    begun = time.monotonic()
    stack.wait_outbox_empty()
    subject = rate_of("relay_drain", say, events, time.monotonic() - begun)
    bench.figure("relay_drain").add(subject, alone)
    return alone
