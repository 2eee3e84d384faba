"""What a queue's batches wait for, and in which order they run: timeouts, deadlines, priorities, seats that queues share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest
from queue_rig import LONG, NOW, Answer, Front, Rig, good
from small_version import SmallVersion
from test_batch_meter import numbers
from test_queue import EXPIRED
from test_queue_pool import gated

from ringserve.errors import Code
from shm.counter_families import BATCH_CLOSED
from shm.counters import CounterTable
from shm.layout import LOW
from workers.batch_counters import BatchMeter
from workers.batch_seats import BatchSeats
from workers.limits import Closed, Limits

LABELS = ("m", "1", "s", "cpu:0")

Submit = Callable[..., int]


@pytest.fixture
def version() -> SmallVersion:
    return SmallVersion()


@pytest.fixture(name="table")
def new_table() -> Iterator[CounterTable]:
    table = CounterTable.create(1 << 20)
    yield table
    table.close()


@pytest.fixture(name="submit", params=["rows", "packed"])
def way_to_submit(request: pytest.FixtureRequest) -> Callable[[Front], Submit]:
    """In columns, which are taken as they come, or packed, where each request is looked at."""
    return lambda front: front.submit if request.param == "rows" else front.submit_packed


def ran(version: SmallVersion) -> list[list[float]]:
    return version.joined + version.alone


def why(table: CounterTable) -> dict[str, int]:
    """How many batches were closed for which reason."""
    return {labels[-1]: found for labels, found in numbers(table, BATCH_CLOSED.name).items()}


# Time.


def test_a_batch_waits_until_its_oldest_request_has_waited_long_enough(
    version: SmallVersion, table: CounterTable, submit: Callable[[Front], Submit]
) -> None:
    with Rig(version, fronts=2, limits=Limits(9, timeout=10), meter=BatchMeter(table, LABELS)) as rig:
        submit(rig.fronts[1])(1.0, now=NOW + 3)
        submit(rig.fronts[0])(2.0, now=NOW + 5)
        for now in (NOW + 5, NOW + 12):
            assert not rig.turn(now)
            assert rig.queue.wake == NOW + 13
        assert rig.turn(NOW + 13)
        assert rig.queue.wake == 0
        assert [front.answers()[0].values for front in rig.fronts] == [(5.0,), (3.0,)]
        assert [sorted(rows) for rows in ran(version)] == [[1.0, 2.0]]
        assert why(table) == {Closed.TIMEOUT: 1}


def test_a_full_batch_waits_for_nothing(
    version: SmallVersion, table: CounterTable, submit: Callable[[Front], Submit]
) -> None:
    with Rig(version, limits=Limits(3, timeout=10), meter=BatchMeter(table, LABELS)) as rig:
        for value in (1.0, 2.0, 3.0, 4.0):
            submit(rig.front)(value)
        assert rig.turn()
        assert not rig.turn()
        assert rig.queue.wake == NOW + 10
        assert ran(version) == [[1.0, 2.0, 3.0]]
        assert rig.turns(NOW + 10) == 1
        assert [answer.values for answer in rig.front.answers()] == [(3.0,), (5.0,), (7.0,), (9.0,)]
        assert why(table) == {Closed.FULL: 1, Closed.TIMEOUT: 1}


def test_a_full_batch_on_both_sides_of_the_slots_end_waits_for_nothing(
    version: SmallVersion, submit: Callable[[Front], Submit]
) -> None:
    with Rig(version, limits=Limits(10, timeout=10)) as rig:
        for _ in range(13):  # of 64 slots
            for value in range(10):
                submit(rig.front)(float(value))
            assert rig.turn()
            assert [answer.values for answer in rig.front.answers()] == [(2.0 * value + 1,) for value in range(10)]


def test_a_request_that_does_not_fit_ends_the_wait_of_those_before(
    version: SmallVersion, submit: Callable[[Front], Submit]
) -> None:
    with Rig(version, limits=Limits(3, timeout=10)) as rig:
        submit(rig.front)(1.0, 2.0)
        assert not rig.turn()
        submit(rig.front)(3.0, 4.0, now=NOW + 5)
        assert rig.turn(NOW + 5)
        assert ran(version) == [[1.0, 2.0]]
        assert not rig.turn(NOW + 14)
        assert rig.turn(NOW + 15)


def test_without_a_timeout_a_request_runs_at_once(
    version: SmallVersion, table: CounterTable, submit: Callable[[Front], Submit]
) -> None:
    with Rig(version, limits=Limits(9), meter=BatchMeter(table, LABELS)) as rig:
        submit(rig.front)(1.0, 2.0)
        assert rig.turns() == 1
        assert rig.front.answers()[0].values == (3.0, 5.0)
        assert why(table) == {Closed.IDLE: 1}


def test_what_can_not_be_joined_waits_for_nobody(version: SmallVersion, table: CounterTable) -> None:
    with Rig(version, limits=Limits(timeout=10, joinable=False), meter=BatchMeter(table, LABELS)) as rig:
        for values in ([1.0], [2.0, 3.0]):
            rig.front.submit(*values)
            rig.front.submit_packed(*values)
        assert rig.turns() == 4
        assert sorted(ran(version)) == [[1.0], [1.0], [2.0, 3.0], [2.0, 3.0]]
        assert why(table) == {Closed.ALONE: 4}


def test_a_request_that_can_not_be_joined_is_a_batch_of_its_own_kind(version: SmallVersion, table: CounterTable) -> None:
    with Rig(version, limits=Limits(joinable=False), meter=BatchMeter(table, LABELS)) as rig:
        rig.front.submit(1.0)
        rig.work()
        assert why(table) == {Closed.ALONE: 1}


def test_a_request_from_the_future_holds_up_nobody(version: SmallVersion, submit: Callable[[Front], Submit]) -> None:
    """A client of its own lane may write any time into it."""
    with Rig(version, limits=Limits(9, timeout=10, by_deadline=True)) as rig:
        submit(rig.front)(1.0, now=NOW + 1_000_000)
        submit(rig.front)(2.0)
        assert not rig.turn(NOW + 2)
        assert rig.queue.wake == NOW + 12, "as if it had come just now"
        assert rig.turn(NOW + 12)
        assert ran(version) == [[1.0, 2.0]]


def test_packed_requests_and_rows_wait_for_each_other(version: SmallVersion) -> None:
    with Rig(version, limits=Limits(3, timeout=10)) as rig:
        rig.front.submit(1.0)
        assert not rig.turn()
        rig.front.submit_packed(2.0, now=NOW + 4)
        assert not rig.turn(NOW + 4)
        assert rig.queue.wake == NOW + 10
        rig.front.submit(3.0, now=NOW + 5)
        assert rig.turn(NOW + 5)
        assert ran(version) == [[1.0, 2.0, 3.0]]


def test_what_is_late_is_answered_while_others_wait(version: SmallVersion) -> None:
    with Rig(version, limits=Limits(9, timeout=100)) as rig:
        rig.front.submit(1.0, deadline=NOW + 5)
        rig.front.submit(2.0, now=NOW + 3)
        assert rig.turn(NOW + 6)
        assert rig.front.producer.completed == 1
        assert not rig.turn(NOW + 6)
        assert rig.queue.wake == NOW + 103
        rig.work(NOW + 103)
        assert rig.front.answers() == [EXPIRED, good(5.0)]


def test_by_upstreams_parameters_what_is_late_has_upstreams_error(version: SmallVersion) -> None:
    with Rig(version, limits=Limits(9, by_parameters=True)) as rig:
        rig.front.submit(1.0, deadline=NOW)
        rig.work()
        text = "Run() timeout exceeded while waiting in batching queue"
        assert rig.front.answers() == [Answer(Code.RESOURCE_EXHAUSTED, text=text, packed=True)]


# Orders.


def test_the_earliest_deadline_goes_first(version: SmallVersion, submit: Callable[[Front], Submit]) -> None:
    with Rig(version, limits=Limits(2, by_deadline=True)) as rig:
        for value, deadline in ((1.0, 0), (2.0, NOW + 90), (3.0, NOW + 50), (4.0, NOW + 70)):
            submit(rig.front)(value, deadline=deadline)
        assert rig.turn()
        assert sorted(rig.front.producer.early_numbers(0)) == [2, 3], "their answers need not wait for the others'"
        assert rig.front.bell.wait(0)
        rig.work()
        assert [answer.values for answer in rig.front.answers()] == [(3.0,), (5.0,), (7.0,), (9.0,)]
        assert ran(version) == [[3.0, 4.0], [2.0, 1.0]]


def test_requests_of_the_lower_priority_go_last(version: SmallVersion, submit: Callable[[Front], Submit]) -> None:
    with Rig(version, fronts=2, limits=Limits(2)) as rig:
        for front in rig.fronts:
            for value, flags in ((1.0, LOW), (2.0, 0), (3.0, LOW)):
                submit(front)(value, flags=flags, now=NOW + int(value))
        rig.work(NOW + 9)
        assert [sorted(rows) for rows in ran(version)] == [[2.0, 2.0], [1.0, 1.0], [3.0, 3.0]]
        for front in rig.fronts:
            assert [answer.values for answer in front.answers()] == [(3.0,), (5.0,), (7.0,)]


def test_lanes_are_looked_at_as_one(version: SmallVersion, submit: Callable[[Front], Submit]) -> None:
    """What came first runs first, whichever lane it is in."""
    with Rig(version, fronts=2, limits=Limits(1, by_deadline=True)) as rig:
        for value, lane in zip(count(1), (1, 0, 0, 1, 0, 1), strict=False):
            submit(rig.fronts[lane])(float(value), now=NOW + value)
        rig.work(NOW + 9)
        assert ran(version) == [[float(value)] for value in range(1, 7)]


# Seats.


def test_queues_share_their_seats() -> None:
    """As many batches run as there are seats, of whatever queue."""
    seats = BatchSeats(2)
    one, other = gated(1.0, 2.0), gated(3.0)
    with (
        Rig(one, limits=Limits(1), seats=seats, seconds=LONG, most_in_flight=9) as first,
        Rig(other, limits=Limits(1), seats=seats, seconds=LONG, most_in_flight=9) as second,
    ):
        first.front.submit(1.0)
        first.front.submit(2.0)
        second.front.submit(3.0)
        assert first.turns() == 2
        assert (seats.free, second.turn()) == (0, False)
        one.gates[2.0].set()
        first.post()
        assert (seats.free, second.turn(), seats.free) == (1, True, 0)
        one.gates[1.0].set()
        other.gates[3.0].set()
        first.post()
        second.post()
        assert seats.free == 2
        assert first.front.answers() == [good(3.0), good(5.0)]
        assert second.front.answers() == [good(7.0)]
