"""The works that a lane has accepted: those whose requests are in it, and those that wait for room."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from ringserve.client.failures import again
from ringserve.client.shm.work import Inside, Work
from ringserve.errors import Code, ServingError
from shm.producer import LaneProducer

_MOST_WAITING: Final = 4096  # works
_MOST_WAITING_BYTES: Final = 64 << 20


def full() -> ServingError:
    """As the server says it, in upstream's words."""
    text = "The batch scheduling queue to which this task was submitted is full"
    return ServingError(Code.UNAVAILABLE, text)


class LaneWorks:
    """Everything here happens with the lane's lock held. What is returned as settled is for the caller to deliver, without
    it.
    """

    def __init__(self, producer: LaneProducer) -> None:
        self.to_tell = 0  # of those that are not settled
        self._producer = producer
        self._inside: Inside = deque()
        self._waiting: deque[Work] = deque()  # in the order in which they came
        self._waiting_bytes = 0

    @property
    def idle(self) -> bool:
        """No request is under way."""
        return not self._inside and not self._waiting

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    def put(self, work: Work, now: int) -> bool:
        """Into the lane. False: others wait already, or there is no room for all of it."""
        if self._waiting or not work.submit(self._producer, self._inside, now):
            return False
        self.to_tell += work.tell is not None
        return True

    def queue(self, work: Work, now: int) -> bool:
        """It waits for room, if there is none even now. False: too many that are to be told do already."""
        waiting = self._waiting
        if not waiting and self.put(work, now):
            return True
        if work.tell is not None:
            if waiting and (len(waiting) >= _MOST_WAITING or self._waiting_bytes >= _MOST_WAITING_BYTES):
                return False
            work.own()
            self.to_tell += 1
        waiting.append(work)
        self._waiting_bytes += work.nbytes
        return True

    def collect(self) -> Sequence[Work]:
        """Read what is completed, and give its room back; returns what is settled by that."""
        inside, producer = self._inside, self._producer
        completed = producer.completed
        if not inside or inside[0][1] > completed:
            return ()
        settled = []
        end = 0
        while inside and inside[0][1] <= completed:
            start, end, work = inside.popleft()
            if work.collect(producer, start, end):
                settled.append(work)
                self.to_tell -= work.tell is not None
        producer.release(end)
        return settled

    def make_use_of_room(self, now: int) -> None:
        """Put what waits into the lane, as far as there is room."""
        waiting = self._waiting
        while waiting:
            work = waiting[0]
            if not work.settled and not work.submit(self._producer, self._inside, now):
                break
            waiting.popleft()
            self._waiting_bytes -= work.nbytes

    def unsettled(self) -> list[Work]:
        works = dict.fromkeys([*[work for _, _, work in self._inside], *self._waiting])
        return [work for work in works if not work.settled]

    def give_up(self, work: Work, error: ServingError) -> bool:
        """The worker need not answer it any more. False: it was settled before."""
        if not self._settle(work, error):
            return False
        with suppress(ValueError):
            self._waiting.remove(work)
            self._waiting_bytes -= work.nbytes
        completed = self._producer.completed
        for start, end, whose in self._inside:
            if whose is work:
                for number in range(max(start, completed), end):
                    self._producer.abandon(number)
        return True

    def fail(self, error: ServingError) -> Sequence[Work]:
        """All that has no answer. The lane is not used any more."""
        settled = [*self.collect(), *[work for work in self.unsettled() if self._settle(work, error)]]
        self._inside.clear()
        self._waiting.clear()
        return settled

    def _settle(self, work: Work, error: ServingError) -> bool:
        if not work.settle(again(error)):
            return False
        self.to_tell -= work.tell is not None
        return True
