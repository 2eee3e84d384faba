"""The worker's loop: sleep on the doorbell, run what waits in the queues, sleep again."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from shm.consumer import BrokenLaneError, LaneConsumer
from shm.doorbell import Doorbell
from shm.layout import SUBMITTED
from workers.local_bells import LocalBells
from workers.local_lane import LocalLane
from workers.queue import Queue
from workers.queued_lane import QueuedLane

_logger = logging.getLogger(__name__)


#: While some queues are busy, all the others are looked at once in so many ns a lane: 4 % of the time, at 100 ns a look.
_LOOK_NS: Final = 2500

#: A queue whose runs have taken so much longer than another's lets that one go first.
_QUANTUM_NS: Final = 2_000_000


class Loop:
    """Runs in the process's main thread. Other threads hand it commands, which run between batches.

    One system call wakes it for any number of requests. Queues take turns, a batch each, by the time that their runs have
    taken: one whose batches take a hundred times as long as another's gets a hundredth of its turns, while both have
    requests. Only those are visited that a look at all lanes found waiting: hundreds of models cost a quick one next to
    nothing. What comes after the look has rung, or will ring, the doorbell, so that nothing is missed by going to sleep
    without another.
    """

    def __init__(self, doorbell: Doorbell) -> None:
        self.doorbell = doorbell
        self._bells = LocalBells(doorbell)
        self.queues: list[Queue] = []
        self.stopping = False
        self._recovering = False
        self._commands: deque[Callable[[], None]] = deque()
        self._watched: list[tuple[memoryview, LaneConsumer, Queue]] = []  # every lane, flat: the look is the quicker
        self._stale = False  # that list; clients may open and leave lanes by the hundred between two looks
        self._active: list[Queue] = []  # with requests waiting when last seen
        self._recent: list[Queue] = []  # those that the last look found
        self._next_look = 0
        self._laden: set[Queue] = set()  # with requests that no lane shows any more
        self._held: dict[Queue, int] = {}  # that hold a batch back, and until when
        self._floor = 0  # ns of runs: a queue that had nothing to run is not behind of those that had

    def add(self, *queues: Queue) -> None:
        """Serve these too. In the loop's thread."""
        self.queues += queues
        self.watch()

    def remove(self, queue: Queue) -> None:
        """In the loop's thread."""
        self.queues.remove(queue)
        self._laden.discard(queue)
        self._held.pop(queue, None)
        self.watch()

    def put(self, lane: QueuedLane, queue: Queue) -> None:
        """Serve one more lane of a queue. In the loop's thread."""
        queue.add(lane)
        if isinstance(lane, LocalLane):
            self._bells.add(lane)
        self.watch()

    def drop(self, lane: QueuedLane) -> None:
        """Let a lane go, if it is there. In the loop's thread."""
        for queue in self.queues:
            if lane in queue.lanes:
                queue.remove(lambda one: one is lane)
                self.watch()
        lane.drop()

    def watch(self) -> None:
        """Lanes have come or gone. In the loop's thread."""
        self._watched = []
        self._stale = True
        self._active = self._recent = []
        self._next_look = 0

    def post(self, command: Callable[[], None]) -> None:
        """Run `command` in the loop's thread, soon. Callable from any thread."""
        self._commands.append(command)
        self.doorbell.ring()

    def run(self) -> None:
        """Until `stopping` is set, by a command."""
        while not self.stopping:
            self._sleep()
            if self._recent:  # most likely it is they again, who need not wait for a look at hundreds of lanes
                self._active = self._recent
                self._next_look = sys.maxsize
                self.turn()
            self._next_look = 0
            while self.turn():
                pass

    def _sleep(self) -> None:
        """Until the doorbell is rung, or a batch that is held back is to run."""
        timeout = None
        if self._held and not self._recovering:
            timeout = max(min(self._held.values()) - time.monotonic_ns(), 0) * 1e-9
        if self._bells:
            self._hear(-1 if timeout is None else timeout)
        else:
            self.doorbell.wait(timeout)

    def _hear(self, timeout: float = -1) -> None:
        """As the doorbell's `wait`, where there are local clients, which ring their own bells."""
        for lane in self._bells.wait(timeout):
            self.drop(lane)

    def turn(self) -> bool:
        """One batch of every queue that has one. Says whether any had."""
        while self._commands:
            self._commands.popleft()()
        now = time.monotonic_ns()
        if self._recovering:
            return self._turn_recovering(now)
        if now >= self._next_look or not self._active:
            self._look(now)
        active = self._active
        while active:
            first = self._those_next(active)
            rest = active[len(first) :]
            active = [queue for queue in first if self._turn(queue, now)] + rest
            if len(active) > len(rest) or not rest:
                break
            # Whoever's turn it was has nothing to run, or must not yet: that holds up nobody else.
        self._active = active
        return bool(active)

    def _those_next(self, active: list[Queue]) -> list[Queue]:
        """Of the active queues, which are put into this order, those whose turn it is: their runs have taken the least."""
        if len(active) > 1:
            active.sort(key=_spent)
        limit = active[0].economy.spent + _QUANTUM_NS
        return [queue for queue in active if queue.economy.spent <= limit]

    def _look(self, now: int) -> None:
        """Find the queues in which requests wait."""
        if self._stale:
            self._watched = [(lane.consumer.lane.words, lane.consumer, q) for q in self.queues for lane in q.lanes]
            self._stale = False
        submitted = SUBMITTED
        waiting = [queue for words, consumer, queue in self._watched if words[submitted] != consumer.taken]
        if self._laden or self._held:
            waiting += self._laden
            waiting += [queue for queue, until in self._held.items() if until <= now]
        self._active = active = list(dict.fromkeys(waiting)) if len(waiting) > 1 else waiting
        if active:
            for queue in active:
                queue.economy.spent = max(queue.economy.spent, self._floor)
            self._floor = min(map(_spent, active)) if len(active) > 1 else active[0].economy.spent
            self._recent = active
        self._next_look = now + _LOOK_NS * len(self._watched)

    def _turn(self, queue: Queue, now: int) -> bool:
        try:
            did = queue.turn(now)
        except BrokenLaneError as error:
            _logger.error("a lane of %s is closed, its %s broke it: %s", queue.signature, queue.who_broke(), error)
            queue.close_broken_lanes()
            self.watch()
            did = True  # the requests in its other lanes wait on the same ring
        if queue.is_laden:
            self._laden.add(queue)
        elif self._laden:
            self._laden.discard(queue)
        if queue.wake:
            self._held[queue] = queue.wake
        elif self._held:
            self._held.pop(queue, None)
        return did

    def _turn_recovering(self, now: int) -> bool:
        """Suspects first, one at a time and nothing beside it."""
        if any(queue.in_flight for queue in self.queues):
            return False
        suspected = [queue for queue in self.queues if queue.suspects][:1]
        self._recovering = bool(suspected)
        busy = [self._turn(queue, now) for queue in suspected or self.queues]
        return self._recovering or any(busy)

    def recover(self) -> None:
        """A lane with suspects was added. Until all suspects are settled nothing runs beside one: if a worker dies, it is
        known of what.
        """
        self._recovering = True

    def beat(self) -> None:
        """Write the heartbeat into every lane: this worker still takes turns. A command, posted once a second."""
        if self._bells:
            self._hear(0)  # a worker that is never idle hears of clients that are gone as well
        now = time.monotonic_ns()
        for queue in self.queues:
            for lane in queue.lanes:
                lane.consumer.beat(now)


def _spent(queue: Queue) -> int:
    return queue.economy.spent
