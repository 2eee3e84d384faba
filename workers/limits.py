"""What bounds the batches of a queue."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Closed(enum.StrEnum):
    """Why a batch took no more requests."""

    FULL = "full"
    TIMEOUT = "timeout"
    IDLE = "idle"  # the worker was free, and nothing was worth waiting for
    LINGER = "linger"  # a short wait ended
    ALONE = "alone"  # a request that can't be joined
    CLOSING = "closing"  # the version, or the server, is about to go


@dataclass(frozen=True, slots=True)
class Limits:
    """`most_rows`: of a batch. Times are ns."""

    most_rows: int = 1
    #: Of one request, with more rows than which it is refused; 0: any number, where one with more than `most_rows` runs by
    #: itself.
    most_request_rows: int = 0
    #: Bytes of packed inputs of a batch; 0: any number.
    most_bytes: int = 0
    #: From this age of its oldest request on a batch runs though it is not full.
    timeout: int = 0
    #: The longest that a batch is held back where that pays (`workers.linger`), up to `timeout` where there is one.
    linger: int = 0
    #: A batch is filled up to the first of these sizes that holds it; none: it runs as it is.
    sizes: tuple[int, ...] = ()
    #: Requests whose shapes differ may share a batch: they are filled up to the largest.
    pad: bool = False
    #: A request may be cut, its parts run in batches that follow one another.
    split: bool = False
    #: Of requests of one priority, the one whose deadline comes first, instead of the oldest.
    by_deadline: bool = False
    #: Requests are checked as upstream's batching checks them.
    by_parameters: bool = False
    #: Is nothing known that speaks against it?
    joinable: bool = True

    #: May requests share a batch?
    joins: bool = field(init=False)
    #: Does a batch take requests in the order in which they came, each as it is?
    in_order: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "joins", self.joinable and (self.most_rows > 1 or self.by_parameters))
        object.__setattr__(self, "in_order", not (self.pad or self.split or self.by_deadline))

    def executed(self, rows: int) -> int:
        """How many rows run, where a batch has `rows`: those that are too few are filled up."""
        if not self.sizes:
            return rows
        return next((size for size in self.sizes if size >= rows), rows)
