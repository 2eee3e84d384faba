"""Drives one transport from one thread: which slot sends when, and what became of it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.harness.arrivals import due_times
from bench.harness.outcome import Generator, Window
from bench.harness.plan import Open
from bench.harness.recorder import Recorder
from bench.harness.share import Share
from bench.harness.transport import CONNECTION, TIMEOUT, Transport
from bench.histogram import Histogram

_LOOK: Final = 50_000_000  # ns; how often it is looked for requests that have taken too long, at least
_REST: Final = 10_000_000  # ns; a closed loop's slot that has lost its connection pauses for so long
_NOTHING: Final = -1  # in the place of a time: no request is on its way


@dataclass(frozen=True, slots=True)
class Finish:
    """What a driver knows at its end, beside the windows."""

    generator: Generator
    seconds: float  # measured
    sent: Histogram  # ns since requests really went out
    failed: Histogram  # the same, of those that failed


class Driver(ABC):
    """Runs once. Times are nanoseconds of the clock."""

    def __init__(
        self,
        transport: Transport,
        share: Share,
        requests: int,
        emit: Callable[[Window], None],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`requests`: how many the transport has, which are sent in turn. `emit` is given the windows as they end."""
        plan = share.plan
        self._transport = transport
        self._share = share
        self._clock = clock
        self._requests = requests
        self._next = share.index * requests // plan.processes
        self._due = [_NOTHING] * share.slots
        self._sent = [_NOTHING] * share.slots
        self._outstanding = 0
        self._timeout = int(plan.timeout * 1e9)
        self._look = min(_LOOK, self._timeout // 10)
        self._recorder = Recorder(plan, emit)
        self._stopped = False

    def stop(self) -> None:
        """End soon, with what there is; from any thread."""
        self._stopped = True

    def run(self, began: int) -> Finish:
        """The warm-up begins at this time. Returns when all that was sent has ended in some way."""
        recorder, clock = self._recorder, self._clock
        recorder.begin(began)
        self._until, self._next_look = recorder.measured_until, began + self._look
        self._begin(began)
        self._poll_until(recorder.measured_from)
        cpu = -time.process_time()
        self._poll_until(recorder.measured_until)
        cpu += time.process_time()
        unsent = self._unsent()
        while self._outstanding and not self._stopped:
            self._poll(clock(), self._next_look)
        seconds = recorder.finish(clock())
        generator = Generator(cpu / seconds if seconds else 0.0, self._late(), unsent)
        return Finish(generator, seconds, recorder.sent, recorder.failed)

    def _poll_until(self, end: int) -> None:
        now = self._clock()
        while now < end and not self._stopped:
            now = self._poll(now, min(end, self._next_look, self._wanted()))

    def _poll(self, now: int, until: int) -> int:
        """Once, until this time at the longest: the time after it."""
        clock = self._clock
        for slot, kind in self._transport.poll((until - now) / 1e9 if until > now else 0):
            self._end(slot, kind, clock())
        now = clock()
        self._recorder.turn(now)
        self._turn(now)
        if now >= self._next_look:
            self._give_up(now)
        return now

    def _end(self, slot: int, kind: str, now: int) -> None:
        if now >= self._recorder.turning:
            self._recorder.turn(now)
        if kind:
            self._recorder.failure(kind, now - self._sent[slot])
        else:
            self._recorder.answer(now - self._due[slot], now - self._sent[slot])
        self._sent[slot] = _NOTHING
        self._outstanding -= 1
        self._free(slot, kind, now)

    def _send(self, slot: int, due: int, now: int) -> None:
        self._due[slot] = due
        self._sent[slot] = now
        self._outstanding += 1
        number = self._next
        self._next = number + 1 if number + 1 < self._requests else 0
        self._transport.send(slot, number)

    def _give_up(self, now: int) -> None:
        """On requests that have been on their way for too long."""
        latest = now - self._timeout
        for slot, sent in enumerate(self._sent):
            if _NOTHING < sent <= latest:
                self._transport.abandon(slot)
                self._end(slot, TIMEOUT, now)
        self._next_look = now + self._look

    @abstractmethod
    def _begin(self, began: int) -> None: ...

    @abstractmethod
    def _free(self, slot: int, kind: str, now: int) -> None:
        """A slot's request has ended, as this kind."""

    @abstractmethod
    def _turn(self, now: int) -> None:
        """Send what is to be sent by now."""

    @abstractmethod
    def _wanted(self) -> int:
        """When `_turn` has something to do next."""

    def _late(self) -> float:
        """Seconds; see Generator."""
        late = self._recorder.late
        return late.percentile(99) / 1e9 if late.total else 0.0

    def _unsent(self) -> int:
        return 0


class ClosedDriver(Driver):
    """Every answer is followed by the slot's next request."""

    def _begin(self, began: int) -> None:
        self._resting: deque[tuple[int, int]] = deque()  # until when, which slot: a server that is down is not stormed
        for slot in range(len(self._sent)):
            now = self._clock()
            self._send(slot, now, now)

    def _free(self, slot: int, kind: str, now: int) -> None:
        if now >= self._until:
            return
        if kind == CONNECTION:
            self._resting.append((now + _REST, slot))
        else:
            self._send(slot, now, now)

    def _turn(self, now: int) -> None:
        while self._resting and self._resting[0][0] <= now < self._until:
            _, slot = self._resting.popleft()
            self._send(slot, now, now)

    def _wanted(self) -> int:
        return self._resting[0][0] if self._resting else self._until


class OpenDriver(Driver):
    """Requests go out when they are due; where no slot is free then, they wait for one, and their time runs."""

    def _begin(self, began: int) -> None:
        plan = self._share.plan
        assert isinstance(plan.shape, Open)
        self._offsets = due_times(plan.shape, plan.seed, self._share.index, plan.processes)
        self._waiting: deque[int] = deque()  # when they were due
        self._idle = deque(range(self._share.slots))
        self._began = began
        self._freed = [began] * len(self._sent)
        self._next_due = began + next(self._offsets)

    def _free(self, slot: int, kind: str, now: int) -> None:
        if self._waiting and now < self._until:
            self._send(slot, self._waiting.popleft(), now)
            return
        self._freed[slot] = now
        self._idle.append(slot)
        if now >= self._next_due:
            self._turn(now)

    def _turn(self, now: int) -> None:
        while self._next_due <= now and self._next_due < self._until:
            if self._idle:
                slot, sent = self._idle.popleft(), self._clock()
                self._recorder.lateness(sent - max(self._next_due, self._freed[slot]))
                self._send(slot, self._next_due, sent)
            else:
                self._waiting.append(self._next_due)
            self._next_due = self._began + next(self._offsets)

    def _wanted(self) -> int:
        return self._next_due  # with no slot free too: what is due then begins to wait

    def _unsent(self) -> int:
        return len(self._waiting)
