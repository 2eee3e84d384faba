"""The backlog's rules, one at a time: those of upstream's scheduler where it has them. Its clock is only a number."""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from dataclasses import dataclass

import pytest

from workers.backlog import Backlog, Turn
from workers.limits import Closed, Limits

SECOND = 1_000_000_000


@dataclass(eq=False)
class Asked:
    """A request as the backlog sees one."""

    name: str
    rows: int = 1
    key: Hashable = "a"
    low: bool = False
    enqueued: int = 1
    deadline: int = 0
    nbytes: int = 0
    is_gone: bool = False
    taken: int = 0


def backlog_of(limits: Limits, *requests: Asked) -> Backlog[Asked]:
    backlog: Backlog[Asked] = Backlog(limits)
    for request in requests:
        backlog.add(request)
    return backlog


def in_rows(*sizes: int) -> list[Asked]:
    return [Asked(str(index), rows) for index, rows in enumerate(sizes)]


def names(turn: Turn[Asked]) -> str:
    return " ".join(request.name for request, _, _ in turn.batch)


def rows(turn: Turn[Asked]) -> list[int]:
    return [count for _, _, count in turn.batch]


def batches(backlog: Backlog[Asked], now: int = SECOND) -> list[str]:
    """Of all that waits, one after the other."""
    found = []
    while backlog:
        found.append(names(backlog.next(now)))
    return found


def sizes(backlog: Backlog[Asked], now: int = SECOND) -> list[list[int]]:
    found = []
    while backlog:
        found.append(rows(backlog.next(now)))
    return found


# As upstream's tests of its scheduler have it.


def test_batches_are_made_in_order() -> None:
    """Each of two queues joins what it has."""
    first = backlog_of(Limits(10, timeout=SECOND), *in_rows(1, 3, 5))
    second = backlog_of(Limits(10, timeout=SECOND), *in_rows(2, 4))
    assert first.next(SECOND).batch == second.next(SECOND).batch == []
    assert sizes(first, SECOND + 1) == [[1, 3, 5]]
    assert sizes(second, SECOND + 1) == [[2, 4]]


def test_a_request_that_does_not_fit_begins_the_next_batch() -> None:
    """And nothing that comes after it is taken before it, though it would fit."""
    assert sizes(backlog_of(Limits(10), *in_rows(3, 5, 3, 1, 6))) == [[3, 5], [3, 1, 6]]


def test_a_request_that_does_not_fit_is_cut() -> None:
    backlog = backlog_of(Limits(10, most_request_rows=10, split=True), *in_rows(3, 5, 3, 1, 6, 1))
    assert sizes(backlog) == [[3, 5, 2], [1, 1, 6, 1]]


def test_a_request_is_cut_into_as_many_parts_as_it_needs() -> None:
    backlog = backlog_of(Limits(4, most_request_rows=20, split=True), *in_rows(3, 11, 2))
    parts = []
    while backlog:
        parts.append([(request.name, first, count) for request, first, count in backlog.next(SECOND).batch])
    assert parts == [[("0", 0, 3), ("1", 0, 1)], [("1", 1, 4)], [("1", 5, 4)], [("1", 9, 2), ("2", 0, 2)]]


@pytest.mark.parametrize("split", [False, True])
def test_a_batch_that_is_not_full_runs_once_its_oldest_request_is_so_old(split: bool) -> None:
    backlog = backlog_of(Limits(4, timeout=10, split=split), Asked("first", 1, enqueued=100))
    turn = backlog.next(109)
    assert (turn.batch, turn.wake) == ([], 110)
    turn = backlog.next(110)
    assert (names(turn), turn.closed, turn.oldest) == ("first", Closed.TIMEOUT, 100)
    # One that does not fit ends the wait of those before it, and waits from its own coming on.
    for request in (Asked("second", 2, enqueued=120), Asked("third", 3, enqueued=125)):
        backlog.add(request)
    turn = backlog.next(126)
    assert (rows(turn), turn.closed, turn.wake) == ([2, 2] if split else [2], Closed.FULL, 0)
    turn = backlog.next(134)
    assert (turn.batch, turn.wake) == ([], 135)
    turn = backlog.next(135)
    assert (names(turn), rows(turn), turn.closed) == ("third", [1] if split else [3], Closed.TIMEOUT)


def test_without_a_timeout_whatever_waits_runs() -> None:
    backlog = backlog_of(Limits(4), Asked("one", enqueued=SECOND))
    turn = backlog.next(SECOND)
    assert (names(turn), turn.closed, turn.wake) == ("one", Closed.IDLE, 0)
    backlog.add(Asked("two", enqueued=SECOND))
    assert batches(backlog) == ["two"]


# Beyond upstream's.


def test_nothing_waits() -> None:
    turn = Backlog[Asked](Limits(4, timeout=9)).next(5)
    assert (turn.batch, turn.dropped, turn.wake) == ([], [], 0)


def test_a_batch_is_held_back_until_it_is_full_or_the_time_has_come() -> None:
    backlog = backlog_of(Limits(3), *in_rows(1, 1))
    assert backlog.next(5, hold=9).wake == 9
    backlog.add(Asked("2"))
    turn = backlog.next(5, hold=9)
    assert (names(turn), turn.closed) == ("0 1 2", Closed.FULL)
    backlog.add(Asked("3"))
    assert names(backlog.next(9, hold=9)) == "3"


def test_the_longer_of_two_waits_counts() -> None:
    backlog = backlog_of(Limits(3, timeout=10), Asked("one", enqueued=4))
    assert backlog.next(5, hold=9).wake == 14
    assert backlog.next(5, hold=20).wake == 20


def test_a_request_that_is_larger_than_a_batch_runs_by_itself() -> None:
    assert sizes(backlog_of(Limits(4), *in_rows(1, 9, 2, 2, 1))) == [[1], [9], [2, 2], [1]]


def test_only_requests_of_one_key_share_a_batch() -> None:
    """Led by the oldest, which takes those of its key before older ones of others."""
    requests = [Asked(str(number), key=key) for number, key in enumerate("abcabca")]
    assert batches(backlog_of(Limits(2), *requests)) == ["0 3", "1 4", "2 5", "6"]


def test_a_request_without_a_key_shares_no_batch() -> None:
    requests = [Asked("0"), Asked("1", key=None), Asked("2", key=None), Asked("3"), Asked("4", rows=0, key=None)]
    backlog = backlog_of(Limits(9, timeout=SECOND), *requests)
    found = [backlog.next(5) for _ in range(3)]
    assert [(names(turn), turn.closed) for turn in found] == [(name, Closed.ALONE) for name in "124"]
    assert backlog.next(5).wake == SECOND + 1
    assert batches(backlog, 2 * SECOND) == ["0 3"]


def test_a_request_without_a_key_is_not_cut() -> None:
    """Its rows are no more than what it says of itself."""
    backlog = backlog_of(Limits(2, most_request_rows=9, split=True), Asked("odd", 5, key=None), Asked("even", 5))
    assert sizes(backlog) == [[5], [2], [2], [1]]


def test_a_full_batch_need_not_wait_for_the_oldest_request() -> None:
    backlog = backlog_of(Limits(2, timeout=100), Asked("0"), Asked("1", key="b"), Asked("2", key="b"))
    assert names(backlog.next(5)) == "1 2"
    assert backlog.next(5).wake == 101


def test_batches_that_are_full_run_in_the_order_in_which_they_were_filled() -> None:
    order = ["a", "b", "c", "c", "a", "b"]
    backlog = backlog_of(Limits(2, timeout=100), Asked("x", key="x"), *(Asked(key, key=key) for key in order))
    assert [names(backlog.next(5)) for _ in range(3)] == ["c c", "a a", "b b"]
    assert backlog.next(5).wake == 101


def test_a_batch_has_so_many_bytes_only() -> None:
    requests = [Asked(str(number), nbytes=nbytes) for number, nbytes in enumerate((40, 60, 1, 500, 99, 1))]
    assert batches(backlog_of(Limits(9, most_bytes=100), *requests)) == ["0 1", "2", "3", "4 5"]


def test_those_whose_time_is_over_are_dropped() -> None:
    requests = [
        Asked("late", deadline=50),
        Asked("in time", deadline=51),
        Asked("gone", is_gone=True),
        Asked("late too", deadline=49),
        Asked("any time"),
    ]
    backlog = backlog_of(Limits(9), *requests)
    turn = backlog.next(50)
    assert names(turn) == "in time any time"
    assert [request.name for request in turn.dropped] == ["late", "gone", "late too"]
    assert (len(backlog), backlog.rows, backlog.oldest) == (0, 0, 0)


def test_those_that_are_dropped_are_not_waited_for() -> None:
    """The batch is held back as long as is due to the oldest that is left."""
    backlog = backlog_of(Limits(9, timeout=10), Asked("late", deadline=12, enqueued=3), Asked("one", enqueued=8))
    turn = backlog.next(12)
    assert ([request.name for request in turn.dropped], turn.batch, turn.wake) == (["late"], [], 18)
    assert names(backlog.next(18)) == "one"


def test_nothing_is_left_but_what_is_dropped() -> None:
    backlog = backlog_of(Limits(9, timeout=10), Asked("late", deadline=5), Asked("gone", key=None, is_gone=True))
    turn = backlog.next(6)
    assert ([request.name for request in turn.dropped], turn.batch, turn.wake) == (["late", "gone"], [], 0)
    assert not backlog


def test_a_request_that_has_begun_to_run_is_run_to_its_end() -> None:
    request = Asked("cut", 5, deadline=20)
    backlog = backlog_of(Limits(3, most_request_rows=9, split=True), request)
    assert rows(backlog.next(10)) == [3]
    request.is_gone = True
    turn = backlog.next(30)
    assert (rows(turn), turn.dropped) == ([2], [])


class Key:
    """Compared by what it is."""


def test_nothing_is_kept_of_a_key_whose_requests_have_run() -> None:
    key = Key()
    kept = weakref.ref(key)
    backlog = backlog_of(Limits(4), Asked("0", key=key), Asked("1", key=key, is_gone=True), Asked("2"))
    del key
    assert batches(backlog) == ["0", "2"]
    assert kept() is None


def test_what_nobody_is_to_answer_is_forgotten() -> None:
    kept, gone = Asked("kept", 2), Asked("gone", 9)
    limits = Limits(4, timeout=10, most_request_rows=9, split=True)
    backlog = backlog_of(limits, gone, kept, Asked("gone", key=None))
    assert names(backlog.next(5)) == "gone", "a part of it runs meanwhile"
    backlog.forget(lambda request: request.name == "gone")
    assert (len(backlog), backlog.rows, backlog.oldest) == (1, 2, 1)
    turn = backlog.next(5)
    assert (turn.batch, turn.dropped, turn.wake) == ([], [], 11)
    assert batches(backlog) == ["kept"]
