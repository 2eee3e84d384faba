"""Drives a transport of the load harness as far as its tests need it."""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from bench.harness.transport import Transport

LIMIT: Final = 20.0  # seconds


def drive(transport: Transport, count: int, slots: int) -> Counter[str]:
    """What became of so many requests, each slot's after the other."""
    kinds: Counter[str] = Counter()
    sent = min(slots, count)
    for slot in range(sent):
        transport.send(slot, 0)
    gives_up = time.monotonic() + LIMIT
    while kinds.total() < count:
        assert time.monotonic() < gives_up, kinds
        for slot, kind in transport.poll(0.05):
            kinds[kind] += 1
            if sent < count:
                transport.send(slot, 0)
                sent += 1
    return kinds
