"""Local clients' lanes in a worker's queue: answered like any other, out of memory that the client can't reach."""

from __future__ import annotations

import os
import struct
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_client import MOST_BYTES, LocalRig
from queue_rig import FLOATS, FORM, LONG, NOW, SPEC, Answer, good
from small_version import LIMIT, Array, SmallVersion, twice_and_one
from test_queue_pool import gated

from ringserve.errors import Code
from ringserve.signature import DEFAULT_SIGNATURE
from shm.layout import DESCRIPTOR, PACKED, POSITION_WORD, RELEASED, ROWS_WORD, SUBMITTED, VERDICT_WORD, Column, LaneSpec
from shm.packed import PackedTensor
from workers.engine import Answers, Form, RowFunction, Target
from workers.limits import Limits
from workers.planner import Piece, plan
from workers.probe import Report
from workers.queued_lane import Part
from workers.runner import Runner

ONE = PackedTensor(1, (1,), struct.pack("<f", 1.0))


def test_rows_are_answered() -> None:
    with LocalRig(SmallVersion()) as rig:
        rig.client.submit(1.0)
        rig.client.submit(2.0, 3.0)
        rig.turns()
        assert rig.client.answers() == [good(3.0), good(5.0, 7.0)]
        assert rig.client.hears(0), "rung"


def test_one_ring_a_batch() -> None:
    with LocalRig(SmallVersion()) as rig:
        for row in range(20):
            rig.client.submit(float(row))
        rig.turns()
        assert len(rig.client.batches()) == 1
        assert len(os.read(rig.client.bell_fd, 99)) == 1


def test_rows_of_a_client_and_a_front_end_share_a_batch() -> None:
    version = SmallVersion()
    with LocalRig(version) as rig:
        rig.client.submit(1.0, 2.0)
        rig.front.submit(3.0)
        rig.client.submit(4.0)
        rig.turns()
        assert rig.client.answers() == [good(3.0, 5.0), good(9.0)]
        assert rig.front.answers() == [good(7.0)]
        assert sorted(version.joined[0]) == [1.0, 2.0, 3.0, 4.0]


def test_an_error_stays_with_its_request() -> None:
    with LocalRig(SmallVersion()) as rig:
        rig.client.submit(1.0)
        rig.client.submit(-1.0)
        rig.front.submit(2.0)
        rig.turns()
        assert rig.client.answers() == [
            good(3.0),
            Answer(Code.INVALID_ARGUMENT, text="negative row -1", packed=True),
        ]
        assert rig.front.answers() == [good(5.0)]


def test_packed_requests_are_answered() -> None:
    with LocalRig(SmallVersion()) as rig:
        rig.client.submit_packed(1.0, 2.0)
        rig.client.submit_packed()
        rig.turns()
        assert rig.client.answers() == [good(3.0, 5.0, packed=True), good(packed=True)]


def test_more_rounds_than_slots() -> None:
    with LocalRig(SmallVersion()) as rig:
        for number in range(5 * SPEC.slots):
            rig.client.submit(float(number))
            if number % 3 == 0:
                rig.client.submit_packed(float(number))
            rig.turns()
            assert all(answer.values == (2.0 * number + 1,) for answer in rig.client.answers())


def test_batches_in_the_pool() -> None:
    version = gated(1.0)
    with LocalRig(version, seconds=LONG) as rig:
        rig.client.submit(1.0)
        rig.begin()
        rig.client.submit(2.0)
        rig.begin()
        version.gates[1.0].set()
        rig.turns()
        assert rig.client.answers() == [good(3.0), good(5.0)]


@pytest.mark.parametrize("rows", [300, 4])
def test_what_takes_long_to_copy_is_left_to_the_pool(rows: int) -> None:
    column = (1, Column("<f4", (1 << 12,)))
    spec = LaneSpec((column[1],), (FLOATS[1],), rows=1024, slots=64, request_bytes=1 << 14, answer_bytes=1 << 14)

    class First(SmallVersion):
        def row_function(self, signature: str, form: Form, inline: bool) -> RowFunction:
            return _First(self)

    class _First:
        def __init__(self, version: SmallVersion) -> None:
            self._version = version

        def run(self, rows: int, sources: Sequence[int], targets: Sequence[Target]) -> bool:
            self._version.joined.append([float(rows)])
            return True

    version = First()
    with LocalRig(version, spec=spec, form=Form((column,), (FLOATS,)), most_rows=1024) as rig:
        rig.client.producer.submit_rows(0, rows, [np.zeros((rows, 1 << 12), "<f4")], NOW)
        assert rig.loop.turn()
        assert rig.queue.in_flight == (rows == 300)
        rig.turns()
        assert version.joined == [[float(rows)]]
        assert rig.client.producer.completed == 1


# What the model gets is out of the client's reach.


class Scribbling(SmallVersion):
    """While it runs, the client writes over all of its lane."""

    def __init__(self) -> None:
        super().__init__()
        self.rig: LocalRig

    def compute(self, x: Array, log: list[list[float]]) -> Array:
        raise AssertionError("not called")

    def scribble(self) -> None:
        lane = self.rig.client.lane
        lane.inputs[0][:] = 77.0
        lane.requests[:] = b"\xff" * len(lane.requests)
        lane.descriptor_words[:] = memoryview(b"\xff" * lane.descriptor_words.nbytes).cast("Q")

    def run(self, signature: str, tensors: Sequence[PackedTensor], inline: bool) -> Answers:
        self.scribble()
        (tensor,) = tensors
        address = np.frombuffer(tensor.data, np.uint8).__array_interface__["data"][0]
        assert address % 64 == 0 or not len(tensor.data)
        self.alone.append(np.frombuffer(tensor.data, "<f4").tolist())
        return super().run(signature, tensors, inline)

    def row_function(self, signature: str, form: Form, inline: bool) -> RowFunction:
        return _ScribblingRows(self)


class _ScribblingRows:
    def __init__(self, version: Scribbling) -> None:
        self._version = version
        self._rows = SmallVersion().row_function("", FORM, True)

    def run(self, rows: int, sources: Sequence[int], targets: Sequence[Target]) -> bool:
        self._version.scribble()
        assert sources[0] % 64 == 0
        return self._rows.run(rows, sources, targets)


def test_rows_do_not_change_while_they_are_run() -> None:
    version = Scribbling()
    with LocalRig(version) as rig:
        version.rig = rig
        rig.client.submit(1.0)
        rig.client.submit(2.0, 3.0)
        rig.turns()
        assert rig.client.lane.outputs[0][:3].tolist() == [3.0, 5.0, 7.0]
        assert rig.client.producer.completed == 2


def test_rows_that_are_run_with_others_do_not_change() -> None:
    version = Scribbling()
    with LocalRig(version) as rig:
        version.rig = rig
        rig.client.submit(1.0)
        rig.front.submit(2.0)
        rig.turns()
        assert rig.client.lane.outputs[0][:1].tolist() == [3.0]
        assert rig.front.answers() == [good(5.0)]


def test_rows_that_are_merged_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another's packed request. What the client gives up meanwhile, by all its flags, is not run."""
    version = Scribbling()
    monkeypatch.setattr(Scribbling, "compute", SmallVersion.compute)
    with LocalRig(version, limits=Limits(2, by_deadline=True)) as rig:
        version.rig = rig
        rig.client.submit(1.0)
        rig.front.submit_packed(2.0)
        rig.client.submit(3.0, 4.0, 5.0)
        rig.turns()
        assert sorted(version.alone[0]) == [1.0, 2.0]
        assert rig.client.lane.outputs[0][:4].tolist() == [3.0, 0.0, 0.0, 0.0]
        assert rig.front.answers() == [good(5.0, packed=True)]
        assert rig.client.producer.completed == 2


def test_rows_in_parts_and_filled_up() -> None:
    version = SmallVersion()
    limits = Limits(4, most_request_rows=9, sizes=(2, 4), split=True, by_parameters=True)
    with LocalRig(version, limits=limits) as rig:
        rig.client.submit(1.0, 2.0, 3.0, 4.0, 5.0)
        rig.client.submit_packed(6.0, 7.0)
        rig.turns()
        assert rig.client.answers() == [good(3.0, 5.0, 7.0, 9.0, 11.0), good(13.0, 15.0, packed=True)]
        assert sorted(version.alone) == [[1.0, 2.0, 3.0, 4.0], [5.0, 5.0], [6.0, 7.0]]


def test_answers_come_in_the_order_of_the_requests() -> None:
    """Others may read theirs as soon as they are there; a client looks at the next one only."""
    version = gated(1.0)
    with LocalRig(version, limits=Limits(1, by_deadline=True), seconds=LONG) as rig:
        rig.client.submit(1.0)
        rig.begin()
        rig.client.submit(2.0)
        rig.front.submit(3.0)
        rig.begin()
        until = rig.loop.doorbell
        while not rig.front.producer.completed:
            assert until.wait(LIMIT)
            rig.begin()
        assert (rig.client.producer.completed, rig.client.producer.early) == (0, 0)
        version.gates[1.0].set()
        rig.turns()
        assert rig.client.answers() == [good(3.0), good(5.0)]


BOOLS = LaneSpec.for_columns((Column("|b1", (2,)), Column("<f4", ())), (Column("<f4", ()),), slots=8, ring_bytes=1 << 14)


def test_bools_are_bools_whatever_the_client_writes() -> None:
    with LocalRig(SmallVersion(), form=None, spec=BOOLS) as rig:
        flags = rig.client.lane.inputs[0].view(np.uint8)
        flags[:3] = [[0, 1], [2, 255], [128, 0]]
        private = rig.local.take_rows(0, 3)
        assert private.columns(rig.local.row_bytes, 3)[0].tolist() == [0, 1, 1, 1, 1, 0]
        columns = rig.client.lane.inputs
        rig.client.producer.submit_rows(0, 3, [columns[0][:3], columns[1][:3]], 1)
        rig.local.consumer.head()
        assert bytes(rig.local.rows_of(0)[0]) == b"\x00\x01\x01\x01\x01\x00"
        part = Part(rig.local, rig.local.consumer.take(1), Piece(1, 0, 3))
        runner = Runner(SmallVersion(), DEFAULT_SIGNATURE, Report(None, True, ""))
        runner._source_bytes = [2, 4]
        assert runner._gather([part, part], 0)[0].view(np.uint8).reshape(-1).tolist() == [0, 1, 1, 1, 1, 0] * 2


def test_packed_requests_do_not_change_while_they_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    version = Scribbling()
    monkeypatch.setattr(Scribbling, "compute", SmallVersion.compute)
    with LocalRig(version) as rig:
        version.rig = rig
        rig.client.submit_packed(1.0, 2.0)
        rig.turns()
        assert version.alone[0] == [1.0, 2.0]
        assert rig.client.producer.completed == 1


def test_rows_run_alone_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where they lie: the joined run fails, and meanwhile the client has changed the descriptors too."""

    class Failing(Scribbling):
        def row_function(self, signature: str, form: Form, inline: bool) -> RowFunction:
            self.scribble()
            return _Never()

    class _Never:
        def run(self, rows: int, sources: Sequence[int], targets: Sequence[Target]) -> bool:
            return False

    monkeypatch.setattr(Scribbling, "compute", SmallVersion.compute)
    version = Failing()
    with LocalRig(version) as rig:
        version.rig = rig
        rig.client.submit(1.0, 2.0)
        rig.client.submit(3.0)
        rig.turns()
        assert [len(rows) for rows in version.alone[::2]] == [2, 1]
        assert rig.client.producer.completed == 2
        assert not rig.local.dropped


# What can't be.


def raw(rig: LocalRig, message: bytes, length: int | None = None, position: int = 0, rows: int = 1) -> int:
    """Submit these bytes as a packed request."""
    client = rig.client
    number = client.submit(0.0)
    client.lane.requests[position % SPEC.request_bytes :][: len(message)] = message
    descriptor = client.lane.descriptors[number % SPEC.slots]
    descriptor["position"], descriptor["length"] = position, len(message) if length is None else length
    descriptor["rows"], descriptor["flags"] = rows, PACKED
    return number


def message(
    *tensors: tuple[int, tuple[int, ...], bytes],
    count: int | None = None,
    offset: int | None = None,
    nbytes: int | None = None,
) -> bytes:
    """A packed message, right or wrong."""
    head, data = b"", b""
    start = -(-(16 + sum(24 + 8 * len(shape) for _, shape, _ in tensors)) // 64) * 64
    for dtype, shape, content in tensors:
        at = start + len(data) if offset is None else offset
        head += struct.pack("<IIQQ", dtype, len(shape), at, len(content) if nbytes is None else nbytes)
        head += struct.pack(f"<{len(shape)}Q", *shape)
        data += content + bytes(-len(content) % 64)
    whole = start + len(data)
    return (struct.pack("<QII", whole, len(tensors) if count is None else count, 0) + head).ljust(start, b"\0") + data


F = bytes(4)
REFUSED = [
    (message(), "expected 1 input tensors, got 0"),
    (message((1, (1,), F), (1, (1,), F)), "expected 1 input tensors, got 2"),
    (message((1, (1,), F), count=65536), "expected 1 input tensors, got 65536"),
    (message((1, (1,), F), count=2**32 - 1), "expected 1 input tensors, got 4294967295"),
    (message((2, (1,), bytes(8))), "Expects arg[0] to be float but double is provided"),
    (message((7, (1,), bytes(8))), "Expects arg[0] to be float but string is provided"),
    (message((20, (1,), F)), "Expects arg[0] to be float but resource is provided"),
    (message((2**32 - 1, (1,), F)), "Expects arg[0] to be float but type_4294967195 is provided"),
    (message((1, (2,), F)), "4 bytes do not make a float tensor of the shape [2]"),
    (message((1, (2**62, 4), F)), "4 bytes do not make a float tensor of the shape [4611686018427387904, 4]"),
    (message((1, (2**32, 2**32), b"")), "0 bytes do not make a float tensor of the shape [4294967296, 4294967296]"),
    (message((1, (2**63,), F)), "packed tensor has a negative dimension"),
    (message((1, (2**64 - 1, 2**64 - 1), F)), "packed tensor has a negative dimension"),
    (message((1, (1,) * 255, F)), "packed tensor lies outside its message"),
    (message((1, (1,), F), offset=2**63), "packed tensor lies outside its message"),
    (message((1, (1,), F), offset=4), "packed tensor lies outside its message"),
    (message((1, (1,), F), nbytes=2**64 - 1), "packed tensor lies outside its message"),
    (b"", "packed message is shorter than its header"),
    (b"\xff" * 11, "packed message is shorter than its header"),
    (struct.pack("<QII", 2**64 - 1, 1, 0), "packed message is longer than its room"),
    (struct.pack("<QII", 16, 1, 0), "packed message ends inside its header"),
]


@pytest.mark.parametrize(("sent", "text"), REFUSED)
def test_packed_requests_that_can_not_be(sent: bytes, text: str) -> None:
    version = SmallVersion()
    with LocalRig(version) as rig:
        raw(rig, sent)
        rig.client.submit(1.0)
        rig.turns()
        first, second = rig.client.answers()
        assert (first.code, first.text, second) == (Code.INVALID_ARGUMENT, text, good(3.0))
        assert version.alone == [[1.0]]


def test_tensors_in_one_another() -> None:
    with LocalRig(SmallVersion()) as rig:
        rig.local.signature = replace(rig.local.signature, inputs=rig.local.signature.inputs * 3)
        length = 128 + 256
        sent = message(*[(1, (64,), bytes(256))] * 3, offset=128)[:length]
        raw(rig, struct.pack("<Q", length) + sent[8:])
        rig.turns()
        (answer,) = rig.client.answers()
        assert (answer.code, answer.text) == (Code.INVALID_ARGUMENT, "packed tensors lie in one another")


@pytest.mark.parametrize("shape", [(0, 2**40), (2**40, 0), (0, 2**63 - 1, 2**63 - 1), (0, SPEC.request_bytes // 4 + 1)])
def test_nothing_of_great_width(shape: tuple[int, ...]) -> None:
    with LocalRig(SmallVersion()) as rig:
        raw(rig, message((1, shape, b"")))
        rig.turns()
        (answer,) = rig.client.answers()
        assert answer.code == Code.RESOURCE_EXHAUSTED
        assert "are larger than a lane" in answer.text


def test_a_request_may_have_so_many_bytes_only() -> None:
    count = (MOST_BYTES - 64) // 4
    with LocalRig(SmallVersion(lambda x: x[:1])) as rig:
        rig.client.submit_packed(*[1.0] * count)
        rig.turns()
        assert rig.client.answers() == [good(1.0, packed=True)]
        rig.client.submit_packed(*[1.0] * (count + 1))
        rig.turns()
        (answer,) = rig.client.answers()
        assert answer.code == Code.RESOURCE_EXHAUSTED
        assert "--max_request_bytes" in answer.text


@pytest.mark.parametrize(
    ("position", "length"),
    [(0, SPEC.request_bytes + 1), (SPEC.request_bytes, 1), (2**64 - 1, 1), (2**64 - 64, 128), (1, 2**64 - 1)],
)
def test_packed_requests_outside_the_ring(position: int, length: int) -> None:
    with LocalRig(SmallVersion()) as rig:
        raw(rig, b"", length, position)
        rig.turns()
        (answer,) = rig.client.answers()
        assert (answer.code, answer.text) == (Code.INVALID_ARGUMENT, "packed request lies outside its ring")


def set_word(word: int, value: int) -> Callable[[LocalRig], None]:
    def harm(rig: LocalRig) -> None:
        number = rig.client.submit(1.0)
        rig.client.lane.descriptor_words[number % SPEC.slots * 8 + word] = value

    return harm


def set_cursor(cursor: int, value: int) -> Callable[[LocalRig], None]:
    def harm(rig: LocalRig) -> None:
        rig.client.lane.words[cursor] = value

    return harm


WORD = st.one_of(
    st.integers(0, 4), st.integers(250, 260), st.sampled_from([2**32 - 1, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1)
)


@settings(deadline=None)
@given(st.lists(st.tuples(WORD, WORD, st.sampled_from([0] * 9 + [1, 2, 2**64 - 1])), min_size=1, max_size=80), st.booleans())
def test_no_words_lead_to_rows_outside_the_columns(words: list[tuple[int, int, int]], follow: bool) -> None:
    """`follow`: each request's rows come after those of the one before, as far as that is possible."""
    window = np.zeros(len(words), dtype=DESCRIPTOR)
    after = words[0][0]
    for descriptor, (position, rows, deadline) in zip(window, words, strict=True):
        descriptor["position"] = after % 2**64 if follow else position
        descriptor["rows"], descriptor["flags"] = rows & 0xFFFFFFFF, rows >> 32 & 0xFFFFFFFF
        descriptor["deadline"] = deadline
        after += rows & 0xFFFFFFFF
    found = plan([(0, window)], 2, 32)
    assert found.is_odd or found.pieces
    taken = 0
    for _, piece in found.pieces:
        assert 1 <= piece.requests <= len(words) - taken
        if not 0 < piece.rows <= SPEC.rows - piece.row:  # which `check` does not let pass
            return
        requests = window[taken : taken + piece.requests]
        assert piece.row >= 0
        assert all(int(d["position"]) >= 0 and int(d["position"]) + int(d["rows"]) <= SPEC.rows for d in requests)
        assert sum(int(d["rows"]) for d in requests) == piece.rows
        taken += piece.requests


def many_rows(rig: LocalRig) -> None:
    rig.client.submit(*[1.0] * (SPEC.rows // 2 + 1))


BREAKING = [
    set_word(POSITION_WORD, SPEC.rows),
    set_word(POSITION_WORD, 2**64 - 1),
    set_word(ROWS_WORD, 0),
    set_word(ROWS_WORD, SPEC.rows + 1),
    set_word(ROWS_WORD, 2**32 - 1),
    set_word(ROWS_WORD, 4 << 32 | SPEC.rows + 1),
    set_cursor(SUBMITTED, SPEC.slots + 1),
    set_cursor(SUBMITTED, 2**63),
    set_cursor(SUBMITTED, 2**64 - 1),
    many_rows,
]


@pytest.mark.parametrize("harm", BREAKING)
def test_a_lane_that_can_not_be_used_is_closed(harm: Callable[[LocalRig], None], caplog: pytest.LogCaptureFixture) -> None:
    with LocalRig(SmallVersion()) as rig:
        rig.front.submit(2.0)
        harm(rig)
        rig.turns()
        assert rig.front.answers() == [good(5.0)]
        assert rig.queue.lanes == [rig.queue.lanes[0]]
        assert rig.client.is_gone
        assert rig.client.producer.completed == 0
    assert "its client broke it" in caplog.text


def test_slots_that_were_not_given_back() -> None:
    """Their answers would be kept without end."""
    with LocalRig(SmallVersion()) as rig:
        lane = rig.client.lane
        for _ in range(SPEC.slots):
            raw(rig, message((1, (1,), F)))
            rig.turns()
        assert rig.client.producer.completed == SPEC.slots
        lane.words[RELEASED] = 2**64 - 1  # as if
        lane.words[SUBMITTED] = SPEC.slots + 1
        rig.turns()
        assert rig.client.is_gone


def test_what_was_given_back_stays_so() -> None:
    with LocalRig(SmallVersion()) as rig:
        for _ in range(3 * SPEC.slots):
            rig.client.submit_packed(1.0)
            rig.turns()
            rig.client.producer.release(rig.client.producer.submitted)
            rig.local.consumer._reclaim()
            rig.client.lane.words[RELEASED] = 0
        assert not rig.client.is_gone
        assert not rig.local.consumer._answers_held


def test_nobody_waits_for_room_in_a_clients_lane() -> None:
    with LocalRig(SmallVersion()) as rig:
        for _ in range(SPEC.slots):
            raw(rig, message((1, (64,), bytes(256))))
        rig.turns()
        answers = rig.client.answers()
        codes = {answer.code for answer in answers}
        assert codes == {Code.OK, Code.RESOURCE_EXHAUSTED}
        rig.client.submit(1.0)
        rig.turns()
        assert rig.client.answers() == [good(3.0)]


def test_verdicts_are_the_workers_own() -> None:
    """A client that writes into them deceives itself only."""
    with LocalRig(SmallVersion()) as rig:
        number = rig.client.submit(1.0)
        rig.client.lane.descriptor_words[number * 8 + VERDICT_WORD] = 2**64 - 1
        rig.turns()
        assert rig.client.producer.completed == 1
        assert rig.local.consumer.codes(rig.queue.lanes[0].consumer.take(0)) is None


def test_claimed_rows_do_not_count() -> None:
    with LocalRig(SmallVersion(twice_and_one)) as rig:
        for position, sent in enumerate((message((1, (3,), bytes(12))), b"", message((1, (0,), b"")))):
            raw(rig, sent, position=position * 1024, rows=2**32 - 1)
        rig.begin()
        assert [record.rows for record in rig.client.batches()] == [3, 1, 1]
        assert rig.queue.in_flight == 0


def test_a_lane_that_goes_leaves_nothing_behind() -> None:
    with LocalRig(SmallVersion()) as rig:
        rig.client.submit(1.0)
        rig.turns()
        mapped = weakref.ref(rig.local.consumer.lane.segment)
        rig.loop.drop(rig.local)
        assert not any(lane.is_local for lane in rig.queue.lanes)
        assert (rig.local.doorbell.fd, rig.local.consumer.lane.segment.fd) == (-1, -1)
        del rig.client.lanes[:], rig.local
        assert mapped() is None
        assert rig.client.hears(0)
        assert rig.client.is_gone
