"""What a lane's rows cost, learned from its batches, and the choice among lanes: by properties, and by simulated load."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_workers import SECOND, SimulatedLane, SimulatedWorker, Simulation

from frontend.lane_cost import LaneCost, quickest

MS = 1_000_000
LEARNED = 1_000 * SECOND  # when


def lane(outstanding: int = 0, *batches: tuple[int, int], at: int = LEARNED) -> SimulatedLane:
    """`batches`: ns and rows of each."""
    made = SimulatedLane(outstanding, busy_since=at)
    for took, rows in batches:
        made.cost.learn(took, rows, at)
    return made


#: What a worker may say of a batch.
said = st.integers(-(1 << 64), 1 << 64)
batches = st.lists(st.tuples(said, said, st.integers(0, 1 << 63)), max_size=20)


@given(batches, st.integers(1, 1 << 16), st.integers(0, 1 << 63))
def test_whatever_a_worker_says(said: Sequence[tuple[int, int, int]], rows: int, now: int) -> None:
    """More rows take no less time, and none takes none or for ever."""
    cost = LaneCost()
    for took, batch_rows, when in said:
        cost.learn(took, batch_rows, when)
    assert cost.known == any(batch_rows > 0 for _, batch_rows, _ in said)
    if cost.known:
        assert 0 < cost.of(rows) <= cost.of(rows + 1) < math.inf
        assert cost.of(rows) / 2 * 0.999 <= cost.hoped(cost.of(rows), cost.of(rows), now) <= cost.of(rows) * 1.001


@given(st.integers(1_000, 60 * SECOND), st.integers(1, 10_000), st.integers(1, 50))
def test_alike_batches(took: int, rows: int, count: int) -> None:
    """As long as nothing else is known, a row takes its share."""
    cost = lane(0, *[(took, rows)] * count).cost
    assert cost.of(rows) == pytest.approx(took)
    assert cost.of(2 * rows) == pytest.approx(2 * took)


@given(
    st.integers(0, 100 * MS),
    st.integers(1, MS),
    st.lists(st.integers(1, 256), min_size=8, max_size=40).filter(lambda sizes: len(set(sizes)) > 1),
)
def test_a_batchs_own_time_and_a_rows(base: int, per_row: int, sizes: list[int]) -> None:
    """The line that batches lie on is between those that are possible, and comes close to theirs where sizes differ much."""
    base += 1_000
    cost = lane(0, *[(base + per_row * rows, rows) for rows in sizes]).cost
    slope = cost.of(101) - cost.of(100)
    assert per_row * 0.99 <= slope <= cost.of(1) * 1.01
    varied = lane(0, *[(base + per_row * rows, rows) for rows in [1, 200] * 20]).cost
    assert varied.of(101) - varied.of(100) <= per_row + 0.2 * base / 100


def test_batches_that_were_not_run() -> None:
    cost = lane(0, (5 * MS, 0), (5 * MS, -1)).cost
    assert not cost.known
    cost.learn(3 * MS, 3, LEARNED)
    cost.learn(0, 0, LEARNED)
    assert cost.of(3) == 3 * MS


def test_what_was_learned_gives_way() -> None:
    """Soon where batches are many, and at once where the last was long ago."""
    cost = lane(0, (100 * MS, 1)).cost
    for _ in range(30):
        cost.learn(MS, 1, LEARNED)
    assert MS < cost.of(1) < 3 * MS
    old = lane(0, (100 * MS, 1)).cost
    old.learn(MS, 1, LEARNED + 3600 * SECOND)
    assert old.of(1) == pytest.approx(MS)


counts = st.lists(st.integers(0, 1000), min_size=2, max_size=5)


@given(counts, st.integers(1, 64))
def test_nothing_is_known(outstanding: list[int], rows: int) -> None:
    lanes = [lane(count) for count in outstanding]
    assert quickest(lanes, rows, LEARNED) is lanes[outstanding.index(min(outstanding))]


@given(counts, st.integers(1, 64))
def test_workers_that_are_alike(outstanding: list[int], rows: int) -> None:
    lanes = [lane(count, (MS, 1)) for count in outstanding]
    assert quickest(lanes, rows, LEARNED).outstanding_rows == min(outstanding)


def test_the_slow_worker_gets_what_it_does_sooner() -> None:
    quick, slow = lane(0, (MS, 1)), lane(0, (3 * MS, 1))
    chosen = []
    for _ in range(8):
        found = quickest([slow, quick], 1, LEARNED)
        found.outstanding_rows += 1
        chosen.append("quick" if found is quick else "slow")
    assert chosen == ["quick", "quick", "slow", "quick", "quick", "slow", "quick", "quick"]


def test_an_unknown_lane_is_taken_for_the_best() -> None:
    quick, slow, unknown = lane(2, (MS, 1)), lane(0, (5 * MS, 1)), lane(1)
    assert quickest([slow, quick, unknown], 1, LEARNED) is unknown
    unknown.outstanding_rows = 3
    assert quickest([slow, quick, unknown], 1, LEARNED) is quick


@pytest.mark.parametrize("times", [1.5, 10, 1000])
def test_an_old_bad_figure_excludes_nobody_for_ever(times: float) -> None:
    """A lane that was slow is tried again at last, with one request, also where there never is more than one."""
    quick, slow = lane(0, (MS, 1)), lane(0, (int(times * MS), 1))
    now = LEARNED
    while quickest([quick, slow], 1, now) is quick:
        now += SECOND // 10
        quick.cost.learn(MS, 1, now)
    assert SECOND < now - LEARNED < 30 * SECOND
    slow.outstanding_rows = 1
    assert quickest([quick, slow], 1, now) is quick, "one is enough to learn from"
    slow.outstanding_rows = 0
    slow.cost.learn(MS // 2, 1, now)
    assert quickest([quick, slow], 1, now) is slow


def test_a_worker_that_hangs_is_not_tried() -> None:
    quick, hangs = lane(0, (MS, 1)), lane(1, (MS, 1))
    for seconds in (0, 10, 1000):
        assert quickest([hangs, quick], 1, LEARNED + seconds * SECOND) is quick


@given(st.integers(2, 500), st.integers(1, 100))
def test_a_busy_lane_that_does_not_answer(ahead: int, rows: int) -> None:
    """It takes at least as long again as it has taken by now, which at last is longer than the other takes."""
    silent, answers = lane(1, (10 * MS, 10)), lane(ahead, (10 * MS, 10))
    assert quickest([silent, answers], rows, LEARNED) is silent
    takes = int(answers.cost.of(ahead + rows))
    for factor, expected in ((0.5, silent), (1.5, answers), (100, answers)):
        now = LEARNED + int(factor * takes)
        answers.cost.learn(10 * MS, 10, now)
        assert quickest([silent, answers], rows, now) is expected
    silent.busy_since = now  # it had nothing to do until now
    assert quickest([silent, answers], rows, now) is silent


@given(st.lists(st.integers(0, 40), min_size=2, max_size=4), st.integers(8, 12))
def test_where_it_hardly_matters(outstanding: list[int], ms: int) -> None:
    """Lanes that differ by less than a quarter: that with the fewest rows."""
    lanes = [lane(count, *[(10 * MS, 1), (10 * MS, 100)] * 20) for count in outstanding]
    lanes[0].cost.learn(ms * MS, 1, LEARNED)
    assert quickest(lanes, 1, LEARNED).outstanding_rows == min(outstanding)


@pytest.mark.parametrize("per_row", [0, MS])
@pytest.mark.parametrize("base", [MS, 10 * MS])
def test_a_worker_that_stops_keeps_few(base: float, per_row: float) -> None:
    """Clients whose requests it has wait, and others go on, before anybody is told to avoid it."""
    workers = [SimulatedWorker(base, per_row), SimulatedWorker(base, per_row)]
    simulation = Simulation(workers, 32)
    simulation.run(1)
    workers[0].hangs = True
    stopped, works = simulation.run(1)
    assert simulation.lanes[0][0].outstanding_rows <= 24
    assert works > 10 * stopped
    simulation.go_on(0)
    simulation.run(1)
    one, two = simulation.run(1)
    assert 0.9 <= one / two <= 1.1


@pytest.mark.parametrize("front_ends", [1, 2, 3])
@pytest.mark.parametrize("most", [1, 64])
@pytest.mark.parametrize("clients", [16, 64, 200])
def test_speeds_of_one_to_three(front_ends: int, most: int, clients: int) -> None:
    workers = [SimulatedWorker(0, 3 * MS, most), SimulatedWorker(0, MS, most)]
    simulation = Simulation(workers, clients, front_ends)
    simulation.run(1)
    slow, quick = simulation.run(4)
    assert 2.6 <= quick / slow <= 3.4
    assert slow + quick >= 0.9 * 4 * sum(worker.rows_per_second for worker in workers)


@pytest.mark.parametrize("clients", [8, 32, 128])
def test_workers_alike_whose_batches_cost_more_than_their_rows(clients: int) -> None:
    """Neither gets all, for the large batches that it has."""
    simulation = Simulation([SimulatedWorker(5 * MS, MS / 10), SimulatedWorker(5 * MS, MS / 10)], clients)
    simulation.run(1)
    one, two = simulation.run(4)
    assert 0.9 <= one / two <= 1.1
    alone = Simulation([SimulatedWorker(5 * MS, MS / 10)], clients // 2)
    alone.run(1)
    assert one + two >= 0.95 * 2 * alone.run(4)[0]


def test_a_worker_that_becomes_slow_and_quick_again() -> None:
    workers = [SimulatedWorker(0, MS), SimulatedWorker(0, MS)]
    simulation = Simulation(workers, 32)
    simulation.run(2)
    workers[0].per_row = 20 * MS
    simulation.run(1)
    slow, quick = simulation.run(2)
    assert quick >= 10 * slow
    workers[0].per_row = MS
    simulation.run(3)
    one, two = simulation.run(2)
    assert 0.8 <= one / two <= 1.25
