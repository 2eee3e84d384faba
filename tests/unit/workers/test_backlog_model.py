"""The backlog against a plain list, searched from end to end for everything."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from test_backlog import Asked

from workers.backlog import LOW_SHARE, LOW_WAITS_NS, Backlog, Turn
from workers.limits import Closed, Limits

Line = object  # a key, or a request without one


class Model:
    """All that waits, oldest first. Lines that are ready are noted in the order in which they became so."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.waiting: list[Asked] = []
        self.ready: list[Line] = []
        self.since_low = 0

    def line(self, request: Asked) -> Line:
        return request if request.key is None else request.key

    def left(self, request: Asked) -> int:
        return request.rows - request.taken

    def add(self, request: Asked) -> None:
        self.waiting.append(request)
        self.note()

    def note(self) -> None:
        rows: Counter[Line] = Counter()
        for request in self.waiting:
            rows[self.line(request)] += self.left(request)
        ready = [line for line, count in rows.items() if isinstance(line, Asked) or count >= self.limits.most_rows]
        self.ready = [line for line in self.ready if line in ready] + [line for line in ready if line not in self.ready]

    def in_order(self, low: bool, line: Line | None = None) -> list[Asked]:
        found = [
            one for one in self.waiting if one.low == low and (line is None or self.line(one) == line)
        ]  # sorting keeps the order of those that are alike
        return sorted(found, key=lambda one: one.deadline or 1 << 65) if self.limits.by_deadline else found

    def is_dead(self, request: Asked, now: int) -> bool:
        return not request.taken and (request.is_gone or 0 < request.deadline <= now)

    def leader(self, now: int) -> Asked:
        high, low = self.in_order(False), self.in_order(True)
        if not low or not high:
            return (high or low)[0]
        its_turn = self.since_low >= LOW_SHARE - 1 and now - low[0].enqueued >= LOW_WAITS_NS
        return (low if its_turn else high)[0]

    def next(self, now: int, hold: int) -> Turn[Asked]:
        turn: Turn[Asked] = Turn()
        while True:
            while self.waiting and self.is_dead(self.waiting[0], now):
                self.drop(self.waiting[0], turn)
            if not self.waiting:
                return turn
            leader = self.leader(now)
            line = self.line(leader)
            due = max(hold, self.waiting[0].enqueued + self.limits.timeout)
            if line not in self.ready and now < due:
                if not self.ready:
                    turn.wake = due
                    return turn
                line = self.ready[0]
            turn.closed = Closed.TIMEOUT if self.limits.timeout else Closed.IDLE
            if line in self.ready:
                turn.closed = Closed.ALONE if isinstance(line, Asked) else Closed.FULL
            low_first = leader.low and line == self.line(leader)
            self.fill(self.in_order(low_first, line) + self.in_order(not low_first, line), now, turn)
            if turn.batch:
                is_low = turn.batch[0][0].low
                self.since_low = 0 if is_low else self.since_low + any(one.low for one in self.waiting)
                return turn

    def fill(self, line: list[Asked], now: int, turn: Turn[Asked]) -> None:
        most, split = self.limits.most_rows, self.limits.split
        for request in line:
            if self.is_dead(request, now):
                self.drop(request, turn)
                continue
            room = most - turn.rows
            if turn.batch and ((self.left(request) > room and not split) or room <= 0):
                break
            nbytes = request.nbytes + sum(one.nbytes for one, _, _ in turn.batch)
            if turn.batch and 0 < self.limits.most_bytes < nbytes:
                break
            count = min(self.left(request), room) if split and request.key is not None else self.left(request)
            turn.batch.append((request, request.taken, count))
            turn.rows += count
            turn.oldest = min(one.enqueued for one, _, _ in turn.batch)
            if request.taken + count == request.rows:
                self.waiting.remove(request)
            request.taken += count
            self.note()
            if turn.rows >= most:
                break

    def drop(self, request: Asked, turn: Turn[Asked]) -> None:
        turn.dropped.append(request)
        self.waiting.remove(request)
        self.note()


@dataclass(frozen=True)
class Arrival:
    rows: int
    key: str | None
    low: bool
    patience: int  # from its coming to its deadline; 0: no deadline
    nbytes: int


@dataclass(frozen=True)
class Look:
    """After so many ns."""

    later: int
    hold: int


@dataclass(frozen=True)
class Leaving:
    """Nobody waits any more for the request that came so many before the last one."""

    before: int


ARRIVAL = st.builds(
    Arrival,
    rows=st.integers(1, 7),
    key=st.sampled_from(["a", "a", "a", "b", "b", None]),
    low=st.sampled_from([False, False, True]),
    patience=st.sampled_from([0, 0, 0, 1, 5, 30, LOW_WAITS_NS]),
    nbytes=st.integers(0, 9),
)
LOOK = st.builds(
    Look,
    later=st.sampled_from([0, 0, 1, 3, 10, LOW_WAITS_NS - 1, LOW_WAITS_NS]),
    hold=st.sampled_from([0, 0, 0, 4, 11]),
)
STEPS = st.lists(st.one_of(ARRIVAL, ARRIVAL, ARRIVAL, LOOK, LOOK, st.builds(Leaving, before=st.integers(0, 4))), max_size=60)


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    return Limits(
        most_rows=draw(st.integers(1, 8)),
        timeout=draw(st.sampled_from([0, 0, 4, 20])),
        most_bytes=draw(st.sampled_from([0, 0, 0, 12])),
        split=draw(st.booleans()),
        by_deadline=draw(st.booleans()),
    )


class Pair:
    """The backlog and the model, each with requests of its own that are the same."""

    def __init__(self, limits: Limits) -> None:
        self.backlog: Backlog[Asked] = Backlog(limits)
        self.model = Model(limits)
        self.now = 1000
        self.asked: list[tuple[Asked, Asked]] = []
        self.ran: Counter[str] = Counter()  # rows
        self.dropped: Counter[str] = Counter()

    def add(self, arrival: Arrival) -> None:
        name = str(len(self.asked))
        deadline = self.now + arrival.patience if arrival.patience else 0
        asked = name, arrival.rows, arrival.key, arrival.low, self.now, deadline, arrival.nbytes
        self.asked.append((Asked(*asked), Asked(*asked)))
        self.backlog.add(self.asked[-1][0])
        self.model.add(self.asked[-1][1])

    def leave(self, before: int) -> None:
        if before < len(self.asked):
            for request in self.asked[-1 - before]:
                request.is_gone = True

    def look(self, hold: int = 0) -> Turn[Asked]:
        turn = self.backlog.next(self.now, self.now + hold if hold else 0)
        assert shown(turn) == shown(self.model.next(self.now, self.now + hold if hold else 0))
        assert len(self.backlog) == len(self.model.waiting)
        assert self.backlog.rows == sum(self.model.left(one) for one in self.model.waiting)
        assert self.backlog.oldest == (self.model.waiting[0].enqueued if self.model.waiting else 0)
        self.count(turn)
        return turn

    def count(self, turn: Turn[Asked]) -> None:
        """What holds of any batch, whatever the model says."""
        assert not turn.wake or (not turn.batch and turn.wake > self.now)
        assert turn.rows == sum(rows for _, _, rows in turn.batch)
        assert turn.rows <= self.backlog.limits.most_rows or len(turn.batch) == 1
        assert len({self.model.line(request) for request, _, _ in turn.batch}) <= 1
        for request, first, rows in turn.batch:
            assert first == self.ran[request.name], "its rows run in their order"
            assert first or not request.deadline or request.deadline > self.now, "nothing that is late begins to run"
            self.ran[request.name] += rows
        for request in turn.dropped:
            assert request.is_gone or 0 < request.deadline <= self.now
            self.dropped[request.name] += 1


def shown(turn: Turn[Asked]) -> object:
    batch = [(request.name, first, rows) for request, first, rows in turn.batch]
    return batch, [request.name for request in turn.dropped], turn.rows, turn.closed, turn.oldest, turn.wake


@settings(deadline=None)
@given(limits(), STEPS)
def test_as_the_model(limits: Limits, steps: list[Arrival | Look | Leaving]) -> None:
    pair = Pair(limits)
    for step in steps:
        if isinstance(step, Arrival):
            pair.add(step)
        elif isinstance(step, Leaving):
            pair.leave(step.before)
        else:
            pair.now += step.later
            pair.look(step.hold)
    while pair.backlog:
        turn = pair.look()
        assert turn.batch or turn.dropped or turn.wake
        pair.now = turn.wake or pair.now
    for request, _ in pair.asked:
        name = request.name
        assert (pair.ran[name], pair.dropped[name]) in {(request.rows, 0), (0, 1)}, "it ends once, with all its rows"


@settings(deadline=None)
@given(st.lists(st.tuples(STEPS, limits()), max_size=6))
def test_limits_may_change_at_any_time(phases: list[tuple[list[Arrival | Look | Leaving], Limits]]) -> None:
    """As they do while a queue learns: nothing is lost for it, and nothing waits for ever."""
    backlog: Backlog[Asked] = Backlog(Limits(4))
    ends: Counter[str] = Counter()
    asked: list[Asked] = []
    now = 1000

    def look(hold: int = 0) -> Turn[Asked]:
        turn = backlog.next(now, hold)
        for request, _, rows in turn.batch:
            ends[request.name] += rows
        for request in turn.dropped:
            assert not request.taken
            ends[request.name] += request.rows
        return turn

    for steps, limits in phases:
        backlog.limits = limits
        for step in steps:
            if isinstance(step, Arrival):
                asked.append(Asked(str(len(asked)), step.rows, step.key, step.low, now, now + step.patience, step.nbytes))
                backlog.add(asked[-1])
            elif isinstance(step, Look):
                now += step.later
                look(now + step.hold)
    while backlog:
        turn = look()
        assert turn.batch or turn.dropped or turn.wake > now
        now = max(now, turn.wake)
    assert {request.name: request.rows for request in asked} == ends


@settings(deadline=None)
@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3)), min_size=1, max_size=12))
def test_the_lower_priority_gets_its_share(most_rows: int, lows: list[tuple[str, int]]) -> None:
    """While requests that go first never end: of any four batches after the first half second one is led by a low one."""
    now = 10 * LOW_WAITS_NS
    backlog: Backlog[Asked] = Backlog(Limits(most_rows))
    waiting = [Asked("low", rows, key, low=True, enqueued=now) for key, rows in lows]
    for request in waiting:
        backlog.add(request)
    led: list[bool] = []
    while any(request.taken < request.rows for request in waiting):
        backlog.add(Asked("high", most_rows, "a", enqueued=now))
        led.append(backlog.next(now + LOW_WAITS_NS).batch[0][0].low)
        assert any(led[-LOW_SHARE:]) or len(led) < LOW_SHARE
