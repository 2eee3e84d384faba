"""The worker's loop: sleep on the doorbell, run what waits in the queues, sleep again."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from shm.consumer import BrokenLaneError
from shm.doorbell import Doorbell
from workers.queue import Queue

_logger = logging.getLogger(__name__)


class Loop:
    """Runs in the process's main thread. Other threads hand it commands, which run between batches.

    One system call wakes it for any number of requests. Queues take turns, a batch each.
    """

    def __init__(self, doorbell: Doorbell) -> None:
        self.doorbell = doorbell
        self.queues: list[Queue] = []
        self.stopping = False
        self._recovering = False
        self._commands: deque[Callable[[], None]] = deque()

    def post(self, command: Callable[[], None]) -> None:
        """Run `command` in the loop's thread, soon. Callable from any thread."""
        self._commands.append(command)
        self.doorbell.ring()

    def run(self) -> None:
        """Until `stopping` is set, by a command."""
        while not self.stopping:
            self.doorbell.wait()
            while self.turn():
                pass

    def turn(self) -> bool:
        """One batch of every queue that has one. Says whether any had."""
        while self._commands:
            self._commands.popleft()()
        now = time.monotonic_ns()
        queues = self.queues
        if self._recovering:
            if any(queue.in_flight for queue in queues):
                return False
            queues = [queue for queue in queues if queue.suspects][:1] or queues
            self._recovering = bool(queues and queues[0].suspects)
        busy = self._recovering
        for queue in queues:
            try:
                busy |= queue.turn(now)
            except BrokenLaneError as error:
                _logger.error("a lane of %s is closed, its front end broke it: %s", queue.signature, error)
                queue.close_broken_lanes()
                busy = True  # the requests in its other lanes wait on the same ring
        return busy

    def recover(self) -> None:
        """A lane with suspects was added. Until all suspects are settled nothing runs beside one: if a worker dies, it is
        known of what.
        """
        self._recovering = True

    def beat(self) -> None:
        """Write the heartbeat into every lane: this worker still takes turns. A command, posted once a second."""
        now = time.monotonic_ns()
        for queue in self.queues:
            for lane in queue.lanes:
                lane.consumer.beat(now)
