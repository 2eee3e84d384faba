"""Holding batches back: by which rules, and whether it pays, for clients in closed and open loops in simulated time."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from loop_thread import Clock, new_clock
from queue_rig import LONG, Rig
from simulated_clients import Cost, Outcome, Simulation, closed_loop, open_loop
from small_version import SmallVersion
from test_queue_limits import LABELS, new_table, why

from ringserve.options import ServerOptions
from shm.counters import CounterTable
from workers.batch_counters import BatchMeter
from workers.cost_model import CostModel
from workers.limits import Closed, Limits
from workers.linger import Linger

clock = new_clock
table = new_table

MS = 1_000_000
MOST_ROWS = 64
LONGEST = ServerOptions().max_linger_micros * 1e-6


# The rules.


def lingering(longest: int = 2 * MS, fixed: float = 0.01, rows: int = 8, every: int = 11 * MS) -> tuple[Linger, int]:
    """After batches of so many rows, one every so many ns, the last of which has just been answered; and the time."""
    linger = Linger(CostModel(fixed, fixed / 100), longest)
    now = 0
    for _ in range(30):
        linger.took(rows, now)
        now += every
        linger.ended(now)
    return linger, now


def test_it_waits_for_one_more_and_a_little_longer_for_each_that_comes() -> None:
    linger, now = lingering()
    assert linger.pays
    first = linger.until(1, now, now)
    assert first == pytest.approx(now + 2 * MS, abs=2), "a quarter of the fixed part were 2.5 ms: longer than allowed"
    second = linger.until(2, now, now + MS // 2)
    assert second == pytest.approx(now + MS // 2 + 1.25 * MS, abs=2)
    assert linger.until(2, now, now + MS // 2) == second, "while none comes it does not move"
    assert linger.until(5, now, now + MS) == pytest.approx(now + 1.5 * MS, abs=2)
    assert linger.until(6, now, now + 2 * MS) == 0


def test_it_waits_no_longer_than_a_part_of_the_run() -> None:
    linger, now = lingering(longest=1000 * MS, fixed=0.002, every=2 * MS)
    assert linger.until(1, now, now) == pytest.approx(now + MS // 2, rel=1e-6), "a quarter of the fixed part"
    at = now + MS // 2 - 30_000
    assert linger.until(2, now, at) == pytest.approx(now + 0.3 * 2.04 * MS, rel=1e-6), "three tenths of it in all"


def test_it_waits_from_when_nothing_runs_any_more() -> None:
    """What came while a batch ran has waited for that; what comes later is waited for from its own coming on."""
    linger, now = lingering()
    assert linger.until(3, now - 5 * MS, now) == linger.until(3, now, now)
    late = now + 50 * MS
    assert linger.until(4, late, late) > late


def test_where_it_does_not_wait() -> None:
    linger, now = lingering(longest=0)
    assert (linger.pays, linger.until(1, now, now)) == (False, 0), "it must not"
    linger, now = lingering()
    assert linger.until(0, now, now) == 0, "requests without rows"
    linger = Linger(CostModel(0.01, 0.0001), 2 * MS)
    assert (linger.pays, linger.until(1, 5, 5)) == (False, 0), "nothing is known"
    linger, now = lingering(rows=1)
    assert not linger.pays, "requests come seldom"
    linger, now = lingering(fixed=0.00005, every=50_000)
    assert not linger.pays, "a run costs next to nothing"
    linger, now = lingering()
    for _ in range(4):
        linger.took(1, now)
        now += 50 * MS
        linger.ended(now)
    assert not linger.pays, "they come seldom now"


# Whether it pays.


@dataclass(frozen=True)
class Scene:
    cost: Cost
    clients: int = 0  # in a closed loop, each of which is away for so many seconds, and up to so many more
    away: float = 0.0
    spread: float = 0.0
    load: float = 0.0  # in an open loop: of what the worker can do at most

    def play(self, linger: float) -> Outcome:
        simulation = Simulation(self.cost, linger, MOST_ROWS)
        if self.clients:
            closed_loop(simulation, self.clients, self.away, self.spread)
        else:
            open_loop(simulation, self.load * MOST_ROWS / (self.cost.fixed + MOST_ROWS * self.cost.each))
        return simulation.run(0.1 + 200 * self.cost.fixed)


COSTS = [Cost(fixed, fixed / share) for fixed in (0.001, 0.005, 0.02) for share in (4, 20, 200)]
QUICK = [Scene(cost, clients, 0.00005, 0.0002) for cost in COSTS for clients in (1, 4, 16)]
SLOW = [Scene(cost, 16, 0.001, cost.fixed) for cost in COSTS]
OPEN = [Scene(cost, load=load) for cost in COSTS for load in (0.1, 0.4, 0.7)]


@pytest.mark.parametrize("scene", [*QUICK, *SLOW, *OPEN])
def test_half_of_the_requests_wait_hardly_longer_for_it(scene: Scene) -> None:
    zero, linger = scene.play(0.0), scene.play(LONGEST)
    assert linger.median <= 1.1 * zero.median
    assert linger.rate >= 0.95 * zero.rate


@pytest.mark.parametrize("fixed", [0.005, 0.02])
def test_clients_that_ask_together_get_half_as_many_answers_again(fixed: float) -> None:
    """Without a wait the first of them is a batch by itself, or half of them are, again and again."""
    scene = Scene(Cost(fixed, fixed / 200), 16, 0.00005, 0.0002)
    zero, linger = scene.play(0.0), scene.play(LONGEST)
    assert linger.rate >= 1.4 * zero.rate
    assert linger.median <= 0.75 * zero.median
    assert linger.slowest <= 0.75 * zero.slowest
    assert linger.rows > 1.6 * zero.rows


def test_without_waits_the_simulation_answers_what_it_can() -> None:
    """Its own check: a client at a time gets an answer per run, and many get full batches."""
    alone = Scene(Cost(0.001, 0.0), 1).play(0.0)
    assert alone.rate == pytest.approx(1000, rel=0.02)
    assert alone.median == pytest.approx(0.001, rel=0.02)
    crowd = Scene(Cost(0.01, 0.0), 1000).play(0.0)
    assert crowd.rows == pytest.approx(MOST_ROWS, rel=0.05)
    assert crowd.rate == pytest.approx(MOST_ROWS / 0.01, rel=0.03)


# In a queue.


@pytest.mark.parametrize("packed", [False, True])
def test_a_batch_that_is_held_back_runs_without_another_request(clock: Clock, table: CounterTable, packed: bool) -> None:
    """Clients that came together again and again, and at last only one of them."""
    version = SmallVersion()
    with Rig(version, limits=Limits(6, linger=20 * MS), seconds=LONG, meter=BatchMeter(table, LABELS)) as rig:
        submit = rig.front.submit_packed if packed else rig.front.submit
        for _ in range(20):
            for value in range(6):
                submit(float(value), now=clock.now)
            assert rig.turn(clock.now)
            clock.now += round(LONG * 1e9)
            rig.post()
            rig.front.answers()
        assert why(table) == {Closed.FULL: 20}
        submit(1.0, now=clock.now)
        assert not rig.turn(clock.now)
        assert rig.queue.wake == clock.now + 20 * MS
        clock.now = rig.queue.wake
        submit(2.0, now=clock.now)
        assert not rig.turn(clock.now - MS)
        assert rig.turn(clock.now)
        rig.post()
        assert sorted((version.joined + version.alone)[-1]) == [1.0, 2.0]
        assert why(table) == {Closed.FULL: 20, Closed.LINGER: 1}
