"""Requests that go before older ones in the backlog: those with an earlier deadline, those of a higher priority."""

from __future__ import annotations

import pytest
from test_backlog import SECOND, Asked, backlog_of, batches, names

from workers.backlog import LOW_SHARE, LOW_WAITS_NS
from workers.limits import Limits


def test_the_earliest_deadline_goes_first() -> None:
    deadlines = [0, 90, 30, 0, 60, 30]
    requests = [Asked(str(number), deadline=deadline) for number, deadline in enumerate(deadlines)]
    assert batches(backlog_of(Limits(2, by_deadline=True), *requests), 10) == ["2 5", "4 1", "0 3"]


def test_an_earlier_deadline_goes_before_the_rest_of_a_request_that_was_cut() -> None:
    backlog = backlog_of(Limits(2, most_request_rows=9, split=True, by_deadline=True), Asked("0", 3, deadline=90))
    assert names(backlog.next(10)) == "0"
    backlog.add(Asked("1", deadline=50))
    turn = backlog.next(10)
    assert [(request.name, first) for request, first, _ in turn.batch] == [("1", 0), ("0", 2)]


def test_the_oldest_is_waited_for_though_others_go_first() -> None:
    backlog = backlog_of(
        Limits(9, timeout=10, by_deadline=True), Asked("0", enqueued=5), Asked("1", enqueued=9, deadline=99)
    )
    assert backlog.next(14).wake == 15
    assert names(backlog.next(15)) == "1 0"


def test_requests_of_the_lower_priority_fill_what_the_others_leave() -> None:
    requests = [Asked(f"low {number}", 3, low=True) for number in range(3)]
    backlog = backlog_of(Limits(10), *requests, Asked("one", 1), Asked("two", 3))
    assert batches(backlog) == ["one two low 0 low 1", "low 2"]


def test_requests_of_the_lower_priority_run_when_no_others_wait() -> None:
    low = [Asked(f"low {number}", key="b", low=True) for number in range(2)]
    backlog = backlog_of(Limits(1), *low, Asked("one"), Asked("two"))
    assert batches(backlog) == ["one", "two", "low 0", "low 1"]


@pytest.mark.parametrize("key", ["a", "b"])
def test_requests_of_the_lower_priority_are_not_put_off_for_ever(key: str) -> None:
    """From half a second on they lead one batch of four, though the others never end."""
    came = SECOND
    backlog = backlog_of(Limits(1), *(Asked("low", key=key, low=True, enqueued=came) for _ in range(3)))

    def turn(now: int) -> str:
        while len(backlog) < 6:
            backlog.add(Asked("high", enqueued=now))
        return names(backlog.next(now))

    assert {turn(came + LOW_WAITS_NS - 1) for _ in range(50)} == {"high"}
    led = [turn(came + LOW_WAITS_NS) for _ in range(1 + 3 * LOW_SHARE)]
    assert led == ["low", *(["high"] * (LOW_SHARE - 1) + ["low"]) * 2, *["high"] * LOW_SHARE]


def test_a_look_that_finds_nothing_to_run_is_nobodys_turn() -> None:
    """Where each batch is looked at several times before it runs, the lower priority's turn must not pass meanwhile."""
    came = SECOND
    backlog = backlog_of(Limits(2), *(Asked("low", key=key, low=True, enqueued=came) for key in "bcd"))
    ran: list[str] = []
    for now in range(came + LOW_WAITS_NS, came + LOW_WAITS_NS + 2 * LOW_SHARE):
        if not ran or ran[-1] == "high":
            backlog.add(Asked("high", enqueued=now))
        for _ in range(LOW_SHARE - 1):
            assert not backlog.next(now, hold=now + 1).batch
        ran.append(names(backlog.next(now)))
    assert ran == (["high"] * (LOW_SHARE - 1) + ["low"]) * 2


def test_the_lower_priority_has_no_turn_for_batches_that_it_was_not_there_to_see() -> None:
    backlog = backlog_of(Limits(1), *(Asked("high") for _ in range(10)))
    for _ in range(10 - LOW_SHARE):
        backlog.next(SECOND)
    backlog.add(Asked("low", low=True, enqueued=1))
    assert batches(backlog) == ["high"] * (LOW_SHARE - 1) + ["low", "high"]


def test_a_turn_of_the_lower_priority_is_not_spent_on_one_that_is_late() -> None:
    """What runs in its place is another one's, and its own turn is the next one still."""
    limits = Limits(1, by_deadline=True)
    lows = Asked("low", key="c", low=True), Asked("late", key="b", low=True, deadline=SECOND)
    backlog = backlog_of(limits, *lows, *(Asked("high") for _ in range(LOW_SHARE - 1)))
    assert [names(backlog.next(SECOND - 1)) for _ in range(LOW_SHARE - 1)] == ["high"] * (LOW_SHARE - 1)
    backlog.add(Asked("another", key="b"))
    turn = backlog.next(SECOND)
    assert (names(turn), [request.name for request in turn.dropped]) == ("another", ["late"])
    backlog.add(Asked("high"))
    assert batches(backlog) == ["low", "high"]


def test_who_takes_the_place_of_one_that_must_wait_goes_by_priority() -> None:
    limits = Limits(3, timeout=2 * LOW_WAITS_NS)
    backlog = backlog_of(limits, Asked("0", key="b", low=True), *(Asked("high", 3) for _ in range(LOW_SHARE - 1)))
    while len(backlog) > 1:
        backlog.next(5)
    for name, low in (("low", True), ("high", False), ("high", False)):
        backlog.add(Asked(name, low=low))
    assert names(backlog.next(LOW_WAITS_NS + 1)) == "high high low"
