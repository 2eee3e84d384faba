"""The order in which requests run that are not simply taken as they came: by priority, deadline, shape, and in parts.

Pure: no lane, no engine, no clock. Requests of one *key* may share a batch. A batch is led by the request whose turn it is,
and takes others of the same key in their order, until the next one does not fit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from workers.limits import Closed, Limits

#: From this age on a request of the lower priority is let through though others wait, in one batch of so many.
LOW_WAITS_NS: Final = 500_000_000
LOW_SHARE: Final = 4

_NO_DEADLINE: Final = 1 << 64


class Request(Protocol):
    """What the backlog needs to know of one. Times are ns of CLOCK_MONOTONIC; a deadline of 0: none."""

    @property
    def key(self) -> Hashable: ...  # None: it shares no batch

    @property
    def rows(self) -> int: ...

    @property
    def low(self) -> bool: ...

    @property
    def nbytes(self) -> int:
        """Of its inputs, where they count."""

    @property
    def enqueued(self) -> int: ...

    @property
    def deadline(self) -> int: ...

    @property
    def is_gone(self) -> bool:
        """Does nobody wait for it any more?"""

    taken: int  # rows that are in batches: the backlog counts them


R = TypeVar("R", bound=Request)


@dataclass(slots=True)
class Turn(Generic[R]):
    """What runs next. Without a batch: nothing before `wake`, if that is not 0."""

    batch: list[tuple[R, int, int]] = field(default_factory=list)  # a request, the first row of it, how many
    dropped: list[R] = field(default_factory=list)  # expired, or nobody waits for them: they don't run
    rows: int = 0
    nbytes: int = 0
    closed: Closed = Closed.IDLE
    oldest: int = 0  # when the oldest request of the batch came
    wake: int = 0


@dataclass(slots=True, eq=False)
class _Line(Generic[R]):
    """The requests of one key."""

    key: Hashable
    high: _Heap[R] = field(default_factory=list)
    low: _Heap[R] = field(default_factory=list)
    rows: int = 0


@dataclass(slots=True, eq=False)
class _Entry(Generic[R]):
    request: R
    line: _Line[R]
    waits: bool = True


_Heap: TypeAlias = list[tuple[int, int, _Entry[R]]]  # rank, order of arrival, request


class Backlog(Generic[R]):
    """Requests wait here until they are in a batch, whole, or are dropped."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits  #: may change between two calls
        self._lines: dict[Hashable, _Line[R]] = {}
        self._high: _Heap[R] = []
        self._low: _Heap[R] = []
        self._arrivals: deque[_Entry[R]] = deque()
        self._ready: dict[_Line[R], None] = {}  # lines with a batch that need not wait, in the order in which it was so
        self._order = 0
        self._since_low = 0  # batches since the last that a request of the lower priority led, while one waited
        self._count = 0
        self.rows = 0  # of all that waits

    def __len__(self) -> int:
        return self._count

    @property
    def oldest(self) -> int:
        """When the oldest request came, of those that wait; 0: there is none."""
        arrivals = self._arrivals
        while arrivals and not arrivals[0].waits:
            arrivals.popleft()
        return arrivals[0].request.enqueued if arrivals else 0

    def add(self, request: R) -> None:
        line = self._lines.get(request.key) if request.key is not None else None
        if line is None:
            line = _Line(request.key)
            if request.key is not None:
                self._lines[request.key] = line
        entry = _Entry(request, line)
        rank = (request.deadline or _NO_DEADLINE) if self.limits.by_deadline else 0
        place = rank, self._order, entry
        self._order += 1
        heappush(self._low if request.low else self._high, place)
        heappush(line.low if request.low else line.high, place)
        self._arrivals.append(entry)
        self._count += 1
        line.rows += request.rows
        self.rows += request.rows
        if request.key is None or line.rows >= self.limits.most_rows:
            self._ready[line] = None

    def forget(self, is_gone: Callable[[R], bool]) -> None:
        """Let go of these requests, which nobody is to answer."""
        gone: Turn[R] = Turn()
        for entry in list(self._arrivals):
            if entry.waits and is_gone(entry.request):
                self._remove(entry, gone)
        self._sweep()

    def next(self, now: int, hold: int = 0) -> Turn[R]:
        """What runs next. `hold`: a batch that isn't full waits until then, and at least for the limits' timeout."""
        turn: Turn[R] = Turn()
        while self._count and not turn.batch:
            self._drop_oldest(now, turn)
            leader = self._leader(now)
            if leader is None:
                break
            line = self._choose(leader.line, now, max(hold, self.oldest + self.limits.timeout), turn)
            if line is None:
                break
            # A request of the lower priority leads where it is its turn, though others of its line wait.
            low_leads = leader.request.low and line is leader.line
            self._fill((line.low, line.high) if low_leads else (line.high, line.low), now, turn)
            if turn.batch:
                self._since_low = 0 if turn.batch[0][0].low else self._since_low + bool(_first(self._low))
        return turn

    def _drop_oldest(self, now: int, turn: Turn[R]) -> None:
        """The dead that nothing else would come across for long."""
        while self.oldest and self._is_dead(entry := self._arrivals[0], now):
            self._remove(entry, turn)

    def _choose(self, line: _Line[R], now: int, due: int, turn: Turn[R]) -> _Line[R] | None:
        """This line, or another one if that need not wait; None: nothing runs now."""
        if line not in self._ready and now < due:
            if not self._ready:
                turn.wake = due
                return None
            line = next(iter(self._ready))
        if line in self._ready:
            turn.closed = Closed.FULL if line.key is not None else Closed.ALONE
        else:
            turn.closed = Closed.TIMEOUT if self.limits.timeout else Closed.IDLE
        return line

    def _leader(self, now: int) -> _Entry[R] | None:
        high, low = _first(self._high), _first(self._low)
        if low is None or high is None:
            return high or low
        is_its_turn = self._since_low + 1 >= LOW_SHARE and now - low.request.enqueued >= LOW_WAITS_NS
        return low if is_its_turn else high

    def _fill(self, heaps: Sequence[_Heap[R]], now: int, turn: Turn[R]) -> None:
        limits = self.limits
        for heap in heaps:
            while (entry := _first(heap)) is not None:
                if self._is_dead(entry, now):
                    self._remove(entry, turn)
                    continue
                request = entry.request
                rest, room = request.rows - request.taken, limits.most_rows - turn.rows
                if rest > room and turn.batch and not (limits.split and room > 0):
                    return
                if 0 < limits.most_bytes < turn.nbytes + request.nbytes and turn.batch:
                    return
                rows = min(rest, room) if limits.split and entry.line.key is not None else rest
                self._take(entry, rows, turn)
                if turn.rows >= limits.most_rows:
                    return

    def _take(self, entry: _Entry[R], rows: int, turn: Turn[R]) -> None:
        request = entry.request
        turn.batch.append((request, request.taken, rows))
        turn.rows += rows
        turn.nbytes += request.nbytes
        turn.oldest = min(turn.oldest or request.enqueued, request.enqueued)
        request.taken += rows
        entry.line.rows -= rows
        self.rows -= rows
        if request.taken >= request.rows:
            self._forget(entry)
        elif entry.line.rows < self.limits.most_rows:
            self._ready.pop(entry.line, None)

    def _remove(self, entry: _Entry[R], turn: Turn[R]) -> None:
        rest = entry.request.rows - entry.request.taken
        entry.line.rows -= rest
        self.rows -= rest
        turn.dropped.append(entry.request)
        self._forget(entry)

    def _forget(self, entry: _Entry[R]) -> None:
        line = entry.line
        entry.waits = False
        self._count -= 1
        if not self._count:
            self._sweep()
        if line.rows < self.limits.most_rows:
            self._ready.pop(line, None)
        if _first(line.high) is None and _first(line.low) is None and line.key is not None:
            self._lines.pop(line.key, None)

    def _sweep(self) -> None:
        """Let go of those that wait no more: with them go their lanes' memory, and their inputs."""
        self._arrivals = deque(entry for entry in self._arrivals if entry.waits)
        for heap in (self._high, self._low, *(heap for line in self._lines.values() for heap in (line.high, line.low))):
            heap[:] = [place for place in heap if place[2].waits]
            heapify(heap)

    @staticmethod
    def _is_dead(entry: _Entry[R], now: int) -> bool:
        """One that is in batches in part runs to its end."""
        request = entry.request
        return not request.taken and (0 < request.deadline <= now or request.is_gone)


def _first(heap: _Heap[R]) -> _Entry[R] | None:
    while heap and not heap[0][2].waits:
        heappop(heap)
    return heap[0][2] if heap else None
