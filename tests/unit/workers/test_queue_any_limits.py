"""Whatever bounds a queue's batches, every request gets its own answer, once."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from queue_rig import LONG, NOW, Answer, Front, Rig
from small_version import SmallVersion
from test_batch_sizes import too_many
from test_queue import GONE
from test_queue_limits import ran

from ringserve.errors import Code
from shm.layout import LOW
from workers.limits import Limits

TIMEOUT = 1000
SIZES = (2, 3, 8, 12)


@dataclass(frozen=True)
class Sent:
    lane: int
    values: tuple[float, ...]
    packed: bool
    low: bool
    deadline: int
    abandoned: bool

    def to(self, front: Front) -> None:
        submit = front.submit_packed if self.packed else front.submit
        number = submit(*self.values, deadline=self.deadline, flags=LOW if self.low else 0)
        if self.abandoned:
            front.producer.abandon(number)

    def check(self, answer: Answer, limits: Limits) -> None:
        if self.deadline == NOW:
            late = Code.RESOURCE_EXHAUSTED if limits.by_parameters else Code.DEADLINE_EXCEEDED
            assert answer.code == late
        elif self.abandoned:
            assert answer == GONE
        elif 0 < limits.most_request_rows < len(self.values):
            assert answer == too_many(len(self.values), limits.most_request_rows)
        elif min(self.values) < 0:
            negative = [f"negative row {value:g}" for value in self.values if value < 0]
            assert answer.code == Code.INVALID_ARGUMENT
            assert answer.text in negative, "of one of its parts"
        else:
            assert (answer.code, answer.values) == (Code.OK, tuple(2 * value + 1 for value in self.values))


SENT = st.builds(
    Sent,
    lane=st.integers(0, 1),
    values=st.lists(st.sampled_from([-2.0, -1.0, *range(40)]).map(float), min_size=1, max_size=9).map(tuple),
    packed=st.booleans(),
    low=st.sampled_from([False, False, True]),
    deadline=st.sampled_from([0, 0, 0, 0, NOW, NOW + 2 * TIMEOUT]),
    abandoned=st.sampled_from([False] * 9 + [True]),
)


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    most_rows = draw(st.integers(1, 9))
    by_parameters = draw(st.booleans())
    joinable = draw(st.sampled_from([True, True, True, False]))
    split = joinable and by_parameters and draw(st.booleans())
    return Limits(
        most_rows=most_rows,
        most_request_rows=max(most_rows, draw(st.integers(5, 9)) if split else 0) if by_parameters else 0,
        most_bytes=draw(st.sampled_from([0, 0, 24])),
        timeout=draw(st.sampled_from([0, TIMEOUT])),
        sizes=draw(st.sampled_from([(), SIZES])) if joinable else (),
        pad=draw(st.booleans()),
        split=split,
        by_deadline=draw(st.booleans()),
        by_parameters=by_parameters,
        joinable=joinable,
    )


@settings(deadline=None)
@given(st.lists(st.lists(SENT, max_size=7), max_size=5), limits(), st.booleans())
def test_every_request_gets_its_own_answer(bursts: list[list[Sent]], limits: Limits, slow: bool) -> None:
    version = SmallVersion()
    with Rig(version, fronts=2, limits=limits, seconds=LONG if slow else 1e-5) as rig:
        for burst in bursts:
            for sent in burst:
                sent.to(rig.fronts[sent.lane])
            rig.turns(NOW)
            rig.work(NOW + TIMEOUT)
            for lane, front in enumerate(rig.fronts):
                own = [sent for sent in burst if sent.lane == lane]
                records = front.batches()
                assert (records[-1].end if records else front.producer.released) == front.producer.completed
                for sent, answer in zip(own, front.answers(), strict=True):
                    sent.check(answer, limits)
            assert not rig.queue.is_laden
            assert rig.queue.in_flight == 0
    most = limits.executed(limits.most_rows)
    largest = limits.most_rows if limits.split else max((len(sent.values) for burst in bursts for sent in burst), default=0)
    assert all(len(rows) <= max(most, limits.executed(largest)) for rows in ran(version))
