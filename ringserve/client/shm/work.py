"""An operation's requests on their way through a lane, and their answers."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final

from ringserve.client.failures import unforeseen
from ringserve.client.shm.limit import Limit
from ringserve.errors import ServingError
from shm.producer import LaneProducer

_logger = logging.getLogger(__name__)

#: What is told to whoever started it: an answer, or a ServingError.
Tell = Callable[[Any], None]

#: Requests [start, end) of a lane, and whose they are: in the order in which they were submitted.
Inside = deque[tuple[int, int, "Work"]]

PORTION: Final = 1024  # requests that are given back to the lane together, a quarter of its slots


class Work(ABC):
    """Everything here happens with the lane's lock held, but for `deliver`."""

    __slots__ = ("deadline", "flags", "limit", "nbytes", "outcome", "settled", "tell", "waker")

    def __init__(self, limit: Limit, tell: Tell | None) -> None:
        """`tell`: None where a thread waits for the outcome."""
        self.limit = limit
        self.deadline = limit.deadline
        self.flags = 0  # of its requests' descriptors
        self.tell = tell
        self.settled = False
        self.outcome: Any = None
        #: That it keeps while it waits for room in the lane, where `own` was called.
        self.nbytes = 0
        #: Of the thread that waits while another one listens to the lane: gets something when it has to look.
        self.waker: SimpleQueue[None] | None = None

    @abstractmethod
    def submit(self, producer: LaneProducer, inside: Inside, now: int) -> bool:
        """Put into the lane what is not there yet, as far as it has room; says whether all of it is there now."""

    @abstractmethod
    def read(self, producer: LaneProducer, start: int, end: int) -> bool:
        """Requests [start, end), which it has put `inside`, are completed: copy their answers. Was that the rest of them?

        Sets `outcome` then. May raise ServingError, which then is the outcome.
        """

    @abstractmethod
    def own(self) -> None:
        """The caller may change its arrays from now on: make copies of what is not in the lane yet, and set `nbytes`."""

    def collect(self, producer: LaneProducer, start: int, end: int) -> bool:
        """As `read`, of a work that may be settled already. Says whether it was settled now."""
        if self.settled:
            return False
        try:
            over = self.read(producer, start, end)
        except ServingError as error:
            self.outcome = error
            over = True
        except Exception as error:  # whatever it is, somebody waits
            self.outcome = unforeseen(error)
            over = True
        self.settled = over
        return over

    def settle(self, error: ServingError) -> bool:
        """Say that it has failed. False: it was settled before."""
        if self.settled:
            return False
        self.settled = True
        self.outcome = error
        return True

    def deliver(self) -> None:
        """Say to whoever waits that it is settled. Without the lane's lock."""
        if self.tell is not None:
            try:
                self.tell(self.outcome)
            except Exception:  # the caller's own: the others are to be told all the same
                _logger.exception("what was to be told of an answer failed")
        elif self.waker is not None:
            self.waker.put(None)
