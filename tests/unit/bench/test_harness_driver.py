"""The driver: what it sends when, and what it makes of what comes back, in a time that passes only where it is told to."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import pytest

from bench.harness.arrivals import due_times
from bench.harness.driver import ClosedDriver, Driver, Finish, OpenDriver
from bench.harness.outcome import Window
from bench.harness.plan import Closed, Open, Plan
from bench.harness.share import Share, shares
from bench.harness.transport import CONNECTION, RIGHT, TIMEOUT, WRONG

MS = 1_000_000
BEGAN = 5_000 * MS

#: What becomes of the n-th request, sent at this time (ns since the load began): after how many ns it ends, and how.
Script = Callable[[int, int], tuple[int, str]]


class World:
    """A clock and a transport: every slot's request ends as the script says. Only `poll` lets time pass."""

    def __init__(self, script: Script) -> None:
        self.now = BEGAN
        self.sent: list[tuple[int, int, int]] = []  # when (ns since the load began), slot, request
        self.abandoned: list[int] = []
        self._script = script
        self._ends: list[tuple[int, int, str]] = []

    def clock(self) -> int:
        return self.now

    def send(self, slot: int, request: int) -> None:
        assert slot not in [other for _, other, _ in self._ends], "a slot carries one request at a time"
        since = self.now - BEGAN
        after, kind = self._script(len(self.sent), since)
        self.sent.append((since, slot, request))
        heapq.heappush(self._ends, (self.now + after, slot, kind))

    def poll(self, seconds: float) -> Iterator[tuple[int, str]]:
        end = self.now + round(seconds * 1e9)
        if not self._ends or self._ends[0][0] > end:
            self.now = end
            return
        self.now = max(self.now, self._ends[0][0])
        while self._ends and self._ends[0][0] <= self.now:
            _, slot, kind = heapq.heappop(self._ends)
            yield slot, kind

    def abandon(self, slot: int) -> None:
        self.abandoned.append(slot)
        self._ends = [end for end in self._ends if end[1] != slot]
        heapq.heapify(self._ends)

    def close(self) -> None: ...


def run(plan: Plan, script: Script, requests: int = 1) -> tuple[World, list[Window], Finish]:
    world, windows = World(script), list[Window]()
    kind: type[Driver] = ClosedDriver if isinstance(plan.shape, Closed) else OpenDriver
    (share,) = shares(plan)
    finish = kind(world, share, requests, windows.append, world.clock).run(BEGAN)
    return world, windows, finish


def after(milliseconds: int) -> Script:
    return lambda _, __: (milliseconds * MS, RIGHT)


def whole(windows: list[Window]) -> Window:
    together = Window()
    for window in windows:
        together.add(window)
    return together


def test_closed_every_answer_is_followed_by_a_request() -> None:
    world, windows, finish = run(Plan(Closed(3), seconds=2, warmup=1), after(10))
    assert [window.requests for window in windows] == [300, 300]  # 3 in 10 ms; those of the first second do not count
    assert finish.seconds == 2
    assert finish.generator.unsent == 0
    assert whole(windows).latencies.percentile(50) == pytest.approx(10 * MS, rel=0.01)
    assert sorted({slot for _, slot, _ in world.sent}) == [0, 1, 2]
    assert max(since for since, _, _ in world.sent) < 3000 * MS


def test_an_answer_belongs_to_the_window_in_which_it_comes() -> None:
    _, windows, finish = run(Plan(Closed(1), seconds=1.25, warmup=0, window=0.5), after(200))
    assert [window.requests for window in windows] == [2, 2, 2]  # at 200, 400 | 600, 800 | 1000, 1200, of a short one
    assert finish.seconds == 1.25


def test_what_ends_after_the_stretch_counts_but_not_for_the_rate() -> None:
    def script(number: int, since: int) -> tuple[int, str]:
        return (900 * MS, RIGHT) if since >= 980 * MS else (20 * MS, RIGHT)

    _, windows, _ = run(Plan(Closed(1), seconds=1, warmup=0), script)
    assert whole(windows).requests == 49
    assert whole(windows).latencies.total == 50
    assert whole(windows).latencies.percentile(100) == pytest.approx(900 * MS, rel=0.01)


def test_requests_are_sent_in_turn_each_process_from_a_place_of_its_own() -> None:
    world, _, _ = run(Plan(Closed(1), seconds=1, warmup=0), after(100), requests=4)
    assert [request for _, _, request in world.sent[:6]] == [0, 1, 2, 3, 0, 1]
    world = World(after(100))
    second = shares(Plan(Closed(2), seconds=1, warmup=0, processes=2))[1]
    ClosedDriver(world, second, 4, lambda _: None, world.clock).run(BEGAN)
    assert [request for _, _, request in world.sent[:3]] == [2, 3, 0]


def test_failures_are_counted_by_kind_and_have_no_latency() -> None:
    def script(number: int, since: int) -> tuple[int, str]:
        return 10 * MS, (RIGHT, WRONG, "503")[number % 3]

    _, windows, _ = run(Plan(Closed(1), seconds=0.3, warmup=0), script)
    assert whole(windows).errors == {WRONG: 10, "503": 10}
    assert whole(windows).requests == whole(windows).latencies.total == 10


def test_a_request_without_an_answer_is_given_up_and_its_slot_goes_on() -> None:
    def script(number: int, since: int) -> tuple[int, str]:
        return (3600_000 * MS, RIGHT) if number == 1 else (100 * MS, RIGHT)

    world, windows, _ = run(Plan(Closed(1), seconds=3, warmup=0, timeout=1), script)
    assert world.abandoned == [0]
    assert whole(windows).errors == {TIMEOUT: 1}
    assert world.sent[2][0] == pytest.approx(1100 * MS, abs=100 * MS)


def test_requests_that_hang_at_the_end_are_failures() -> None:
    def script(number: int, since: int) -> tuple[int, str]:
        return (3600_000 * MS, RIGHT) if since >= 900 * MS else (100 * MS, RIGHT)

    world, windows, _ = run(Plan(Closed(4), seconds=1, warmup=0, timeout=5), script)
    assert whole(windows).errors == {TIMEOUT: 4}
    assert len(windows) == 1
    assert world.now - BEGAN == pytest.approx(5900 * MS, abs=100 * MS)


def test_a_server_that_is_down_is_not_stormed() -> None:
    world, windows, _ = run(Plan(Closed(1), seconds=1, warmup=0), lambda _, __: (0, CONNECTION))
    assert whole(windows).errors == {CONNECTION: 100}
    assert len(world.sent) == 100


def test_constant_arrivals_are_sent_when_they_are_due() -> None:
    world, windows, finish = run(Plan(Open(100, "constant"), seconds=2, warmup=1), after(3))
    assert [since for since, _, _ in world.sent] == [10 * MS * number for number in range(300)]
    assert [window.requests for window in windows] == [100, 100]
    assert finish.generator.late == 0
    assert finish.generator.unsent == 0


def test_poisson_arrivals_are_sent_when_they_are_due() -> None:
    plan = Plan(Open(1000, "poisson"), seconds=1, warmup=0, seed=7)
    world, _, _ = run(plan, after(1))
    expected = [due for due in islice(due_times(Open(1000), 7), 2000) if due < 1000 * MS]
    assert [since for since, _, _ in world.sent] == expected


def test_time_counts_from_when_a_request_was_due_and_apart_from_that_from_when_it_was_sent() -> None:
    """One slot, and a server that stalls once for 500 ms: the 49 requests that were due meanwhile are late."""

    def script(number: int, since: int) -> tuple[int, str]:
        return (500 * MS, RIGHT) if number == 10 else (0, RIGHT)

    _, windows, finish = run(Plan(Open(100, "constant", slots=1), seconds=2, warmup=0), script)
    latencies = whole(windows).latencies
    assert latencies.total == finish.sent.total == 200
    late = 1 - np.cumsum(latencies.counts)[0] / 200
    assert late == pytest.approx(0.25, abs=0.01)  # of what was due in these 500 ms
    assert latencies.percentile(87.5) == pytest.approx(250 * MS, rel=0.1)  # half of these waited for half of it or more
    assert int((finish.sent.counts[1:]).sum()) == 1  # as a closed loop sees it
    assert finish.generator.late == 0  # it was the server's doing


def test_requests_that_find_no_slot_until_the_end_are_told() -> None:
    world, windows, finish = run(Plan(Open(100, "constant", slots=1), seconds=1, warmup=0), after(100))
    assert len(world.sent) == 10
    assert whole(windows).requests == 9  # the tenth came at 1000 ms, when it was over
    assert finish.generator.unsent == 90


class SlowWorld(World):
    """Each look at what has ended takes 4 ms, as on a machine that is short of processor time."""

    def poll(self, seconds: float) -> Iterator[tuple[int, str]]:
        yield from super().poll(seconds)
        self.now += 4 * MS


def test_a_generator_that_is_late_itself_says_so() -> None:
    world = SlowWorld(after(1))
    (share,) = shares(Plan(Open(1000, "constant"), seconds=1, warmup=0))
    finish = OpenDriver(world, share, 1, lambda _: None, world.clock).run(BEGAN)
    assert finish.generator.late == pytest.approx(0.003, rel=0.01)  # at best 0, at worst 3 ms


def test_stopped_early_it_keeps_what_there_is() -> None:
    windows: list[Window] = []

    def script(number: int, since: int) -> tuple[int, str]:
        if since >= 1500 * MS:
            driver.stop()
        return 10 * MS, RIGHT

    world = World(script)
    (share,) = shares(Plan(Closed(1), seconds=60, warmup=0))
    driver = ClosedDriver(world, share, 1, windows.append, world.clock)
    finish = driver.run(BEGAN)
    assert [window.requests for window in windows] == [99, 51]  # the one at 1000 ms is in the second
    assert finish.seconds == pytest.approx(1.5, abs=0.02)


def test_stopped_in_the_warm_up_there_is_nothing() -> None:
    windows: list[Window] = []
    world = World(after(10))
    (share,) = shares(Plan(Closed(1), seconds=1, warmup=1))
    driver = ClosedDriver(world, share, 1, windows.append, world.clock)
    driver.stop()
    assert driver.run(BEGAN).seconds == 0
    assert windows == []


def test_processes_share_slots_and_rate() -> None:
    assert [share.slots for share in shares(Plan(Closed(7), seconds=1, processes=3))] == [3, 2, 2]
    assert [share.plan.processes for share in shares(Plan(Closed(2), seconds=1, processes=3))] == [2, 2]
    plan = Plan(Open(100, slots=5), seconds=1, processes=2)
    assert [Share.from_wire(share.to_wire()) for share in shares(plan)] == shares(plan)


def test_constant_arrivals_of_all_processes_make_one_beat() -> None:
    parts = [list(islice(due_times(Open(300, "constant"), 0, index, 3), 2000)) for index in range(3)]
    together = sorted(due for part in parts for due in part)
    assert together == pytest.approx([number * 1e9 / 300 for number in range(6000)], abs=1)


def test_poisson_arrivals_have_the_rate_and_its_spread() -> None:
    parts = [list(islice(due_times(Open(1000), 3, index, 2), 100_000)) for index in range(2)]
    assert parts[0] != parts[1]
    assert parts[0] == list(islice(due_times(Open(1000), 3, 0, 2), 100_000))
    together = np.sort(np.array(parts).ravel())
    gaps = np.diff(together[: len(together) // 2])
    assert gaps.mean() == pytest.approx(1e6, rel=0.02)
    assert gaps.std() == pytest.approx(1e6, rel=0.03)
