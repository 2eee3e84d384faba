"""How many batches may run at a time, of all queues together that share the number."""

from __future__ import annotations


class BatchSeats:
    """Upstream's batch threads, which all models share. Of the loop's thread."""

    __slots__ = ("free",)

    def __init__(self, count: int) -> None:
        self.free = count
