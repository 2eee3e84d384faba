"""A transport of the load harness, driven in the test's own process."""

from __future__ import annotations

import time
from collections import Counter

from bench.harness.request_set import RequestSet
from bench.harness.transport import Transport
from bench.harness.transports import open_transport

LIMIT = 30.0


def drive(requests: RequestSet, count: int, slots: int = 4) -> Counter[str]:
    """Send so many requests, in turn: how many ended how."""
    transport = open_transport(requests, slots)
    try:
        return drive_open(transport, len(requests.requests), count, slots)
    finally:
        transport.close()


def drive_open(transport: Transport, requests: int, count: int, slots: int) -> Counter[str]:
    """All slots are ready before, and after."""
    kinds: Counter[str] = Counter()
    sent = min(slots, count)
    for slot in range(sent):
        transport.send(slot, slot % requests)
    gives_up = time.monotonic() + LIMIT
    while kinds.total() < count:
        assert time.monotonic() < gives_up, f"{kinds} of {count}"
        for slot, kind in transport.poll(0.1):
            kinds[kind] += 1
            if sent < count:
                transport.send(slot, sent % requests)
                sent += 1
    return kinds
