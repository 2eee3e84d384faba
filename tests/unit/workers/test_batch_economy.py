"""What a queue learns: how large its batches had better be, that its outputs are no rows, and what its runs took in all."""

from __future__ import annotations

import numpy as np
import pytest
from queue_rig import FORM, NOW, Rig
from small_version import Array, SmallVersion

from workers.batch import Batch
from workers.batch_economy import BatchEconomy
from workers.limits import Closed, Limits
from workers.probe import Report

MS = 1_000_000
NO_ROWS = "its outputs' first dimension was not the batch, again and again"
PROVEN = "proven"
ADAPTIVE = Limits(1024)


def economy(limits: Limits = ADAPTIVE, seconds: float = 0.011, each: float = 0.001) -> BatchEconomy:
    return BatchEconomy(Report(FORM, True, PROVEN, True, seconds, 1024, each), limits)


def ran(economy: BatchEconomy, rows: int, nanoseconds: int, *, has_rows: bool = True, is_retried: bool = False) -> None:
    batch = Batch(rows, rows, Closed.IDLE, NOW, has_rows=has_rows, is_retried=is_retried)
    economy.took(rows, NOW)
    economy.ran(batch, NOW, NOW + nanoseconds)


def busy(economy: BatchEconomy, fixed: int, each: int, runs: int = 640) -> None:
    """Runs of several sizes, whose times are ns."""
    for number in range(runs):
        rows = (1, 4, 16)[number % 3]
        ran(economy, rows, fixed + each * rows)


# Sizes.


@pytest.mark.parametrize(
    ("seconds", "each", "least", "most"),
    [
        (0.011, 0.001, 200, 400),  # from there on 4 % of a batch's time, at most, are its fixed part
        (0.0101, 0.0001, 1024, 1024),
        (0.00001, 0.000001, 1024, 1024),  # in less than 5 ms
        (0.001, 0.001, 2, 5),  # nothing is gained by more, but something must be learned
        (0.2, 0.02, 20, 60),  # a second at most
        (3.0, 0.1, 28, 29),
        (0.0, 0.0, 1, 1024),  # nothing is known
    ],
)
def test_batches_as_large_as_is_worth_it(seconds: float, each: float, least: int, most: int) -> None:
    assert least <= economy(seconds=seconds, each=each).limits.most_rows <= most


def test_no_larger_than_was_said() -> None:
    assert economy(Limits(7)).limits.most_rows == 7
    assert economy(Limits(1)).limits.most_rows == 1


def test_sizes_are_learned_from_runs() -> None:
    one = economy()
    before = one.limits.most_rows
    busy(one, 10 * MS, 10 * MS)
    shrunk = one.limits.most_rows
    assert shrunk < before / 4
    busy(one, 10 * MS, MS // 100)
    assert one.limits.most_rows > 2 * before, "and again"


def test_sizes_that_were_given_are_kept() -> None:
    limits = Limits(64, timeout=5, sizes=(8, 64), by_parameters=True)
    one = economy(limits)
    busy(one, 10 * MS, 50 * MS)
    assert one.limits is limits


def test_of_many_short_runs_some_are_learned_from() -> None:
    """Learning from each would cost a tenth of a quick model's requests."""
    one = economy(seconds=0.0001, each=0.00001)
    ran(one, 1, 100_000)
    learned = one.cost._n
    for _ in range(80):
        ran(one, 1, 100_000)
    assert one.cost._n <= learned + 10
    ran(one, 1, 2 * MS)
    assert one.cost.predict(1) > 0.0001, "but from each that takes long"


def test_what_was_taken_for_slow_is_learned_from_the_first_run() -> None:
    one = economy(seconds=0.1)
    ran(one, 1, 100_000)
    assert one.cost.predict(1) < 0.001


def test_runs_that_failed_together_tell_nothing() -> None:
    one = economy()
    for _ in range(100):
        ran(one, 4, 900 * MS, is_retried=True)
    assert one.cost.predict(4) == pytest.approx(0.014)
    assert one.spent == 90_000 * MS, "they took their time all the same"


# Outputs that are no rows.


def test_after_eight_batches_without_rows_requests_run_one_by_one() -> None:
    one = economy(Limits(64, sizes=(8, 64), split=True, pad=True, most_request_rows=99, timeout=5, by_parameters=True))
    for _ in range(7):
        ran(one, 4, MS, has_rows=False)
    ran(one, 4, MS)
    for _ in range(7):
        ran(one, 4, MS, has_rows=False)
    assert (one.limits.joins, one.reason, one.explain()["batched"]) == (True, PROVEN, True)
    ran(one, 4, MS, has_rows=False)
    limits = one.limits
    assert (limits.joins, limits.sizes, limits.split, limits.pad) == (False, (), False, False)
    assert (limits.most_request_rows, limits.by_parameters) == (99, True), "a request is refused as before"
    assert (one.reason, one.explain()["batched"], one.explain()["reason"]) == (NO_ROWS, False, NO_ROWS)
    busy(one, MS, MS)
    assert (one.limits.joins, one.limits.most_rows) == (False, 1), "for ever"


def test_rows_that_are_none_stay_none_whatever_else_is_learned() -> None:
    one = economy()
    for _ in range(8):
        ran(one, 4, MS, has_rows=False)
    busy(one, 10 * MS, MS // 10)
    assert (one.limits.joins, one.limits.most_rows) == (False, 1)


def test_a_queue_of_a_version_whose_outputs_are_no_rows() -> None:
    """It runs them together, and then apart, eight times; then only apart."""

    def without_zeros(x: Array) -> Array:
        return np.compress(x != 0, x)

    version = SmallVersion(without_zeros)
    with Rig(version) as rig:
        for _ in range(10):
            for value in (1.0, 0.0, 2.0):
                rig.front.submit(value)
            rig.work()
            assert [answer.values for answer in rig.front.answers()] == [(1.0,), (), (2.0,)]
        assert version.joined == [[1.0, 0.0, 2.0]] * 8 + [[1.0], [0.0], [2.0]] * 2
        assert rig.queue.economy.reason == NO_ROWS
        assert rig.queue.explain(None)["reason"] == NO_ROWS


# Time.


def test_the_time_of_all_runs_counts() -> None:
    one = economy()
    for nanoseconds in (5, 7, 11):
        ran(one, 1, nanoseconds)
    assert one.spent == 23


def test_why_a_batch_runs_that_is_not_full() -> None:
    assert economy().closed() is Closed.IDLE
    assert economy(Limits(4, timeout=5)).closed() is Closed.TIMEOUT
    closing = economy(Limits(4, timeout=50))
    assert closing.hold(1, NOW, NOW) == NOW + 50
    assert closing.hold(1, NOW, NOW + 50) == 0
    closing.close()
    assert (closing.closed(), closing.waits, closing.hold(1, NOW, NOW)) == (Closed.CLOSING, False, 0)


def test_a_batch_that_was_held_back_is_told_from_one_that_was_not() -> None:
    one = economy(Limits(64, linger=20 * MS))
    now = NOW
    for _ in range(30):
        one.took(16, now)
        now += 20 * MS
        one.ran(Batch(16, 16, Closed.IDLE, now), now - 20 * MS, now)
    assert one.waits
    assert one.closed() is Closed.IDLE
    assert one.hold(4, now, now) > now
    assert one.closed() is Closed.LINGER
    one.took(4, now)
    assert one.closed() is Closed.IDLE


def test_a_version_that_was_never_timed_is_left_to_the_pool() -> None:
    """Until something is known of it."""
    with Rig(SmallVersion(), seconds=0.0) as rig:
        rig.front.submit(1.0)
        assert rig.turn()
        assert rig.queue.in_flight == 1
        rig.post()
        for _ in range(200):
            rig.front.submit(1.0)
            rig.work()
            rig.front.answers()
        rig.front.submit(1.0)
        assert rig.turn()
        assert rig.queue.in_flight == 0
